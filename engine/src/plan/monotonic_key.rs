//! `GROUP BY MONOTONIC(x)` groups by `x` as well: the select list may name it alone (kda-sql-reference.md §1.12, §2.6).

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Select, Visit, Visitor, VisitorMut,
};

use super::rowtime::is_aggregate_name;

/// Adds the columns that stand in a MONOTONIC of GROUP BY to it, if the query names them elsewhere.
pub(super) fn group_by_column(query: &mut ast::Query) {
    struct Keys;
    impl VisitorMut for Keys {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            in_select(select);
            ControlFlow::Continue(())
        }
    }
    // The visitor never breaks off.
    let _ = ast::VisitMut::visit(query, &mut Keys);
}

fn in_select(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
    let columns = keys.iter().filter_map(column_of_monotonic);
    let added: Vec<Expr> = columns
        .filter(|column| !keys.iter().any(|key| is_same(key, column)))
        .filter(|column| {
            select.projection.iter().any(|item| names(item, column)) || select.having.iter().any(|c| names(c, column))
        })
        .cloned()
        .collect();
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        keys.extend(added);
    }
}

/// The column in `MONOTONIC(column)`.
fn column_of_monotonic(key: &Expr) -> Option<&Expr> {
    let Expr::Function(ast::Function { name, args: FunctionArguments::List(list), over: None, .. }) = key else { return None };
    let is_monotonic = name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| name.value == "monotonic");
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(column @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))))]
            if is_monotonic =>
        {
            Some(column)
        }
        _ => None,
    }
}

/// True for two names of one column: with the same relation before it, or with one at most.
fn is_same(one: &Expr, other: &Expr) -> bool {
    match (one, other) {
        (Expr::Identifier(column), Expr::CompoundIdentifier(parts))
        | (Expr::CompoundIdentifier(parts), Expr::Identifier(column)) => {
            parts.last().is_some_and(|last| last.value == column.value)
        }
        (one, other) => one == other,
    }
}

/// True if `column` stands in `part` outside of aggregates and of MONOTONIC.
fn names(part: &impl Visit, column: &Expr) -> bool {
    struct Finder<'a> {
        column: &'a Expr,
        inside: usize,
    }
    fn hides(expr: &Expr) -> bool {
        matches!(expr, Expr::Function(function) if is_aggregate_name(&function.name)) || column_of_monotonic(expr).is_some()
    }
    impl Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.inside += usize::from(hides(expr));
            if self.inside == 0 && is_same(expr, self.column) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.inside -= usize::from(hides(expr));
            ControlFlow::Continue(())
        }
    }
    part.visit(&mut Finder { column, inside: 0 }).is_break()
}
