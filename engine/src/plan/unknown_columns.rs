//! All columns of a query that do not exist: the planner stops at the first.
//!
//! The one that it names is replaced by NULL and the query planned again, until it finds fault with something else or with
//! nothing. This costs a plan per unknown column, and happens only for a query that is wrong.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, Spanned, Value, VisitMut, VisitorMut};
use sqlparser::tokenizer::Span;

/// Unknown columns that are looked for before the search is given up.
const COLUMNS_MAX: usize = 20;

/// The planner's errors about `query`: `first`, and if that is about an unknown column, those about the others. `plan` plans a
/// query and gives its error, if it has one.
pub(crate) fn all_unknown_columns(
    query: &Query,
    first: DataFusionError,
    plan: &mut dyn FnMut(Query) -> Option<DataFusionError>,
) -> Vec<DataFusionError> {
    let mut query = query.clone();
    let mut errors = vec![first];
    while errors.len() < COLUMNS_MAX
        && let Some(span) = errors.last().and_then(place_of_column)
    {
        let mut replace = Replace { span, done: false };
        // The visitor never breaks off.
        let _ = query.visit(&mut replace);
        // What stands nowhere in the text cannot be taken out of it, and would be found again.
        let next = if replace.done { plan(query.clone()) } else { None };
        match next.filter(|next| place_of_column(next).is_some_and(|place| place != span)) {
            Some(next) => errors.push(next),
            None => break,
        }
    }
    errors
}

/// Where the unknown column stands that the error is about.
fn place_of_column(error: &DataFusionError) -> Option<Span> {
    match error.find_root() {
        DataFusionError::SchemaError(root, _) if matches!(root.as_ref(), SchemaError::FieldNotFound { .. }) => {
            let span = error.diagnostic()?.span?;
            let location = |at: datafusion::common::Location| sqlparser::tokenizer::Location::new(at.line, at.column);
            Some(Span::new(location(span.start), location(span.end)))
        }
        _ => None,
    }
}

/// Replaces the column at a place by NULL.
struct Replace {
    span: Span,
    done: bool,
}

impl Replace {
    fn is_it(&self, expr: &Expr) -> bool {
        let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let span = expr.span();
        is_column && span != Span::empty() && span.start <= self.span.start && self.span.end <= span.end
    }
}

impl VisitorMut for Replace {
    type Break = ();

    /// An item of a select list keeps its name: what stands around the query may read it.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            let name = match &*expr {
                Expr::Identifier(name) => Some(name),
                Expr::CompoundIdentifier(names) => names.last(),
                _ => None,
            };
            let Some(alias) = name.map(|name| Ident::with_quote('"', &name.value)) else { continue };
            if self.is_it(expr) {
                *item = SelectItem::ExprWithAlias { expr: Expr::Value(Value::Null.with_empty_span()), alias };
                self.done = true;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.is_it(expr) {
            *expr = Expr::Value(Value::Null.with_empty_span());
            self.done = true;
        }
        ControlFlow::Continue(())
    }
}
