//! What stands in a query where it means nothing, found in its tree before planning, because here places are known.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem, SetExpr, Spanned, Value, Visit,
    Visitor,
};

use super::rowtime::{first_aggregate, is_aggregate_name};
use crate::diagnostic::{Diagnostic, Span, count};
use crate::sql::STAGGER;
use crate::types::ROWTIME;

/// What a query is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Streams,
    Tables,
}

/// Aggregates in WHERE, aggregates and numbers in GROUP BY, aggregates inside of aggregates, arguments that no function has, subqueries of several columns and
/// a ROWTIME that is set twice.
pub(super) fn check_places(query: &ast::Query, reads: Reads) -> Vec<Diagnostic> {
    struct Places(Reads, Vec<Diagnostic>);
    impl Visitor for Places {
        type Break = ();
        fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
            if let Some(aggregate) = select.selection.as_ref().and_then(first_aggregate) {
                let problem = Diagnostic::error(format!("{} is not allowed in WHERE", aggregate.value.to_uppercase()));
                let hint = "Filter groups with HAVING, or aggregate in a query in FROM, in parentheses, and filter its rows.";
                self.1.push(problem.at(aggregate.span).label("an aggregate of many rows").hint(hint));
            }
            if let ast::GroupByExpr::Expressions(keys, _) = &select.group_by {
                let clause = if keys.iter().any(is_stagger) { "PARTITION BY of a window" } else { "GROUP BY" };
                self.1.extend(keys.iter().filter_map(|key| wrong_key(key, clause, &select.projection)));
            }
            if self.0 == Reads::Streams {
                self.1.extend(second_rowtime(&select.projection));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) => self.1.extend(wrong_arguments(function, self.0)),
                Expr::Subquery(query) | Expr::InSubquery { subquery: query, .. } => self.1.extend(several_columns(query)),
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut places = Places(reads, Vec::new());
    // The visitor never breaks off.
    let _ = query.visit(&mut places);
    places.1
}

fn is_stagger(key: &Expr) -> bool {
    matches!(key, Expr::Function(function) if name_of(function).is_some_and(|name| name.value == STAGGER))
}

fn name_of(function: &Function) -> Option<&Ident> {
    function.name.0.last().and_then(|part| part.as_ident())
}

/// An aggregate is computed of the groups, and cannot make them.
fn wrong_key(key: &Expr, clause: &str, items: &[SelectItem]) -> Option<Diagnostic> {
    let hint = "Groups are made of the values of rows. Aggregates stand in the select list and in HAVING.";
    if let Some(aggregate) = first_aggregate(key) {
        let problem = Diagnostic::error(format!("{} is not allowed in {clause}", aggregate.value.to_uppercase()));
        return Some(problem.at(aggregate.span).label("an aggregate of many rows").hint(hint));
    }
    let Expr::Value(value) = key else { return None };
    let Value::Number(number, _) = &value.value else { return None };
    let is_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if items.iter().any(is_wildcard) {
        return None;
    }
    let item = number.parse::<usize>().ok()?.checked_sub(1).and_then(|place| items.get(place));
    let Some(item) = item else {
        let problem = Diagnostic::error(format!("{clause} {number}: the select list has {}", count(items.len(), "item")));
        return Some(problem.at(value.span).hint(format!("A number in {clause} is the place of an item, from 1.")));
    };
    let aggregate = first_aggregate(item)?;
    let name = aggregate.value.to_uppercase();
    let problem = Diagnostic::error(format!("{clause} {number}: item {number} of the select list has the aggregate {name}"));
    Some(problem.at(value.span).hint(hint))
}

/// The second item of a list that is the row's time.
fn second_rowtime(items: &[SelectItem]) -> Option<Diagnostic> {
    let mut sets_rowtime = false;
    let mut times = Vec::new();
    for item in items {
        match item {
            SelectItem::ExprWithAlias { alias, .. } if alias.value == ROWTIME => {
                sets_rowtime = true;
                times.push(Span::from(item.span()));
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) if name.value == ROWTIME => times.push(name.span.into()),
            _ => {}
        }
    }
    let second = times.get(1).filter(|_| sets_rowtime)?;
    let problem = Diagnostic::error("the select list has ROWTIME twice").at(*second);
    Some(problem.hint("A row has one time. Give the other one a name of its own: ROWTIME AS \"time\"."))
}

/// An aggregate inside of another, or a `*` that is no rows to count.
fn wrong_arguments(function: &Function, reads: Reads) -> Option<Diagnostic> {
    let (name, FunctionArguments::List(list)) = (name_of(function)?, &function.args) else { return None };
    let written = name.value.to_uppercase();
    let is_all = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
    if written != "COUNT" && list.args.iter().any(is_all) {
        let problem = Diagnostic::error(format!("{written} cannot take *")).at(name.span);
        return Some(problem.hint("Only COUNT takes *: it counts rows. Other functions take an expression."));
    }
    if written == "COUNT" && function.over.is_none() && list.args.len() != 1 && reads == Reads::Streams {
        let problem = Diagnostic::error(format!("COUNT has {}", count(list.args.len(), "argument"))).at(name.span);
        return Some(problem.label("expected COUNT(*) or COUNT(x)"));
    }
    if function.over.is_some() || !is_aggregate_name(&function.name) {
        return None;
    }
    let inner = list.args.iter().find_map(first_aggregate)?;
    let inner_name = inner.value.to_uppercase();
    let problem = Diagnostic::error(format!("{inner_name} cannot stand inside {written}: both are aggregates")).at(inner.span);
    Some(problem.hint("Compute the inner one in a query in FROM, in parentheses."))
}

/// What stands for a value has one column.
fn several_columns(query: &ast::Query) -> Option<Diagnostic> {
    let (columns, place) = width(&query.body)?;
    if columns < 2 {
        return None;
    }
    let problem = Diagnostic::error(format!("a subquery in an expression gives one column, this one gives {columns}")).at(place);
    Some(problem.hint("For several columns join it: FROM … JOIN (SELECT …) AS alias ON …."))
}

/// How many columns a query selects, if it has no wildcard; and where.
fn width(body: &SetExpr) -> Option<(usize, Span)> {
    let place = |spans: &mut dyn Iterator<Item = sqlparser::tokenizer::Span>| spans.map(Span::from).reduce(Span::union);
    match body {
        SetExpr::Select(select) => {
            let plain = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
            let items = &select.projection;
            items.iter().all(plain).then(|| Some((items.len(), place(&mut items.iter().map(Spanned::span))?)))?
        }
        SetExpr::Query(query) => width(&query.body),
        SetExpr::SetOperation { left, .. } => width(left),
        SetExpr::Values(values) => {
            let row = values.rows.first()?;
            Some((row.len(), place(&mut row.iter().map(Spanned::span))?))
        }
        _ => None,
    }
}
