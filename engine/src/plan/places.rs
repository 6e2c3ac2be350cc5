//! Where in a query a name stands that DataFusion's planner reports without a place, or with a place that is larger than the name.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::ast::{
    self, BinaryOperator, Expr, Ident, ObjectName, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned, Visit, Visitor,
};

use super::explain_error::explain_error;
use super::expr_text::function_name;
use super::function::place_at_call;
use super::query::StreamSchemas;
use crate::diagnostic::{Diagnostic, Span};

/// DataFusion's error about `query` in our words, at the place in it that it is about, if that can be found.
pub(crate) fn explain_in(error: &DataFusionError, streams: &StreamSchemas, query: &ast::Query) -> Diagnostic {
    let problem = place_at_call(explain_error(error, streams), query);
    match error.find_root() {
        DataFusionError::Plan(message) if let Some(name) = message.strip_prefix("Invalid qualifier ") => {
            at(problem, wildcard(query, name))
        }
        _ => narrow(problem, error, query),
    }
}

/// `problem` at the column that it is about, which stands inside of its place; without one, in an ORDER BY.
pub(crate) fn narrow(problem: Diagnostic, error: &DataFusionError, query: &ast::Query) -> Diagnostic {
    let DataFusionError::SchemaError(schema_error, _) = error.find_root() else { return problem };
    let (SchemaError::FieldNotFound { field, .. } | SchemaError::AmbiguousReference { field }) = schema_error.as_ref() else {
        return problem;
    };
    let relation = field.relation.as_ref().map(|relation| relation.table());
    let place = column(query, &field.name, relation, problem.span);
    let problem = at(problem, place);
    match relation.filter(|relation| names_item(query, relation)) {
        Some(item) => problem.hint(format!(
            "{item} is an item of the select list itself: its fields are read around it, as in SELECT STREAM t.{item}.{} FROM (SELECT \
             STREAM … AS {item} FROM …) AS t.",
            field.name
        )),
        None => problem,
    }
}

/// The division in the queries of tables inside of `query`, which are computed when it is planned; if they have several, the only one of
/// those queries that has any.
pub(super) fn division_of_tables(query: &ast::Query, streams: &StreamSchemas) -> Option<Span> {
    struct Queries<'a> {
        streams: &'a StreamSchemas,
        found: Vec<(Span, Vec<Span>)>,
    }
    impl Visitor for Queries<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
            let of_streams = ast::visit_relations(query, |name| {
                let ident = name.0.last().and_then(|part| part.as_ident());
                match ident.is_some_and(|ident| self.streams.contains_key(&ident.value)) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            let span = Span::from(query.span());
            let is_inside = |(other, _): &(Span, _)| other.start <= span.start && span.end <= other.end;
            if of_streams.is_continue() && !self.found.iter().any(is_inside) {
                let mut divisions = Vec::new();
                // The visitor never breaks off.
                let _ = ast::visit_expressions(query, |expr| {
                    if let Expr::BinaryOp { op: BinaryOperator::Divide | BinaryOperator::Modulo, .. } = expr {
                        divisions.push(Span::from(expr.span()));
                    }
                    ControlFlow::<()>::Continue(())
                });
                self.found.push((span, divisions));
            }
            ControlFlow::Continue(())
        }
    }
    let mut queries = Queries { streams, found: Vec::new() };
    // As above.
    let _ = query.visit(&mut queries);
    queries.found.retain(|(_, divisions)| !divisions.is_empty());
    match queries.found.as_slice() {
        [(query, divisions)] => Some(if let [only] = divisions.as_slice() { *only } else { *query }),
        _ => None,
    }
}

/// True if `name` is what a select list calls an item.
fn names_item(query: &ast::Query, name: &str) -> bool {
    struct Items<'a>(&'a str);
    impl Visitor for Items<'_> {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let is_named = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value == self.0);
            if select.projection.iter().any(is_named) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    query.visit(&mut Items(name)).is_break()
}

/// A problem that begins with a call, as in `SUM("v") cannot be computed`, at the call, if the query has one of its name only.
pub(super) fn at_call(problem: Diagnostic, query: &ast::Query) -> Diagnostic {
    struct Calls<'a>(&'a str, Vec<Span>);
    impl Visitor for Calls<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && let Some(name) = function.name.0.last().and_then(|part| part.as_ident())
                && function_name(&name.value) == self.0
            {
                self.1.push(name.span.into());
            }
            ControlFlow::Continue(())
        }
    }
    let name = problem.message.split('(').next().filter(|name| problem.span.is_none() && name.len() < problem.message.len());
    let Some(name) = name.map(str::to_owned) else { return problem };
    let mut calls = Calls(&name, Vec::new());
    // The visitor never breaks off.
    let _ = query.visit(&mut calls);
    match calls.1.as_slice() {
        [only] => problem.at(*only),
        _ => problem,
    }
}

fn at(problem: Diagnostic, place: Option<Span>) -> Diagnostic {
    match place {
        Some(place) => problem.at(place),
        None => problem,
    }
}

/// Where `query` names the column: inside of `area` if that is known, else in an ORDER BY, of which the planner knows no places.
fn column(query: &ast::Query, name: &str, relation: Option<&str>, area: Option<Span>) -> Option<Span> {
    struct Columns<'a> {
        name: &'a str,
        relation: Option<&'a str>,
        area: Option<Span>,
        /// Only what stands in an ORDER BY, whose expressions are visited apart.
        in_order: bool,
        found: Vec<(bool, Span)>,
    }
    impl Columns<'_> {
        fn add(&mut self, parts: &[Ident], span: Span) {
            let [.., last] = parts else { return };
            let is_inside = self.area.is_none_or(|area| area.start <= span.start && span.end <= area.end);
            if last.value == self.name && span != Span::default() && is_inside {
                let before = parts.len().checked_sub(2).map(|place| parts[place].value.as_str());
                self.found.push((self.relation.is_some() && before == self.relation, span));
            }
        }
    }
    impl Visitor for Columns<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
            if let Some(order) = query.order_by.as_ref().filter(|_| self.in_order) {
                let mut columns = Columns { in_order: false, found: Vec::new(), ..*self };
                let _ = order.visit(&mut columns);
                self.found.extend(columns.found);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                _ if self.in_order => {}
                Expr::Identifier(ident) => self.add(std::slice::from_ref(ident), expr.span().into()),
                Expr::CompoundIdentifier(parts) => self.add(parts, expr.span().into()),
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut columns = Columns { name, relation, area, in_order: area.is_none(), found: Vec::new() };
    // The visitor never breaks off.
    let _ = query.visit(&mut columns);
    let with_relation = columns.found.iter().find(|(is_of_relation, _)| *is_of_relation);
    with_relation.or(columns.found.first()).map(|(_, span)| *span)
}

/// Where a select list has `name.*`.
fn wildcard(query: &ast::Query, name: &str) -> Option<Span> {
    struct Wildcards<'a>(&'a str);
    impl Visitor for Wildcards<'_> {
        type Break = Span;
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Span> {
            let ident = |of: &ObjectName| of.0.last().and_then(|part| part.as_ident()).cloned();
            for item in &select.projection {
                if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), _) = item
                    && let Some(ident) = ident(of).filter(|ident| ident.value == self.0)
                {
                    return ControlFlow::Break(ident.span.into());
                }
            }
            ControlFlow::Continue(())
        }
    }
    query.visit(&mut Wildcards(name)).break_value()
}
