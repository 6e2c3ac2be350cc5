//! ORDER BY of a query that gives its rows another ROWTIME, by the ROWTIME that they come with (kda-sql-reference.md §2.8).
//!
//! | Written | Planned |
//! | --- | --- |
//! | `SELECT a, t AS ROWTIME FROM s ORDER BY s.ROWTIME, b` | `SELECT a, "$time" AS ROWTIME FROM (SELECT a, t AS "$time" FROM s ORDER BY s.ROWTIME, b)` |
//! | `SELECT a, t AS ROWTIME FROM s ORDER BY t WITHIN i, s.ROWTIME` | `SELECT a, ROWTIME FROM (SELECT a, t AS ROWTIME, s.ROWTIME AS "$time" FROM s ORDER BY t WITHIN i, "$time")` |
//!
//! So rows are first sorted and then get their time. A list with a wildcard has to end or begin with the time, as the places of the
//! columns behind a wildcard are not known here; other lists with one are left as they are, and the planner refuses them.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, OrderByKind,
    Query, Select, SelectItem, SetExpr, Spanned, TableAlias, TableFactor, TableWithJoins, Value, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut, WildcardAdditionalOptions,
};

use super::rowtime::{is_aggregating, is_rowtime, is_within, stream_join};
use crate::types::ROWTIME;

/// The time that stands aside.
const TIME: &str = "$time";
/// The query that sorts.
const SORTED: &str = "$sorted";

/// Splits the queries of `query`, its derived tables too, that sort by a time that they replace.
pub(super) fn split_overrides(query: &mut Query) {
    struct Queries;
    impl VisitorMut for Queries {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            write_out_ordinal(query);
            if let Some(split) = split(query) {
                *query = split;
            }
            ControlFlow::Continue(())
        }
    }
    // The visitor never breaks off.
    let _ = query.visit(&mut Queries);
}

/// `ORDER BY 1 WITHIN …` names an item of the select list: the planner knows ordinals only where they stand alone.
fn write_out_ordinal(query: &mut Query) {
    if !is_within(query) {
        return;
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(OrderByKind::Expressions(sorts)) = query.order_by.as_mut().map(|order| &mut order.kind) else { return };
    let Some(Expr::Function(Function { args: FunctionArguments::List(list), .. })) = sorts.first_mut().map(|sort| &mut sort.expr)
    else {
        return;
    };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(time))) = list.args.first_mut() else { return };
    let ordinal = match time {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse::<usize>().ok(),
        _ => None,
    };
    // Behind a wildcard the place of an item is not that of its column.
    let items = select.projection.iter().map_while(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    if let Some(item) = ordinal.and_then(|ordinal| items.into_iter().nth(ordinal.checked_sub(1)?)) {
        *time = item.clone();
    }
}

fn split(query: &Query) -> Option<Query> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let place = select.projection.iter().position(|item| alias_of(item).is_some_and(|alias| alias.value == ROWTIME))?;
    let time_of_stream = time_of_stream(query)?;
    let joins_streams = select.from.iter().any(|from| stream_join(from).is_some());
    if is_aggregating(select) || select.distinct.is_some() || joins_streams {
        return None;
    }
    let is_carrier = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(expr) if is_rowtime(expr));
    if select.projection.iter().any(is_carrier) {
        return None;
    }
    let mut inner = query.clone();
    let within = is_within(query);
    let SetExpr::Select(sorting) = inner.body.as_mut() else { return None };
    let mut outer = Select { selection: None, named_window: Vec::new(), ..Select::clone(select) };
    outer.projection = outer_list(&mut sorting.projection, place, within)?;
    if within {
        sorting.projection.push(SelectItem::ExprWithAlias { expr: time_of_stream, alias: quoted(TIME) });
    } else if let SelectItem::ExprWithAlias { alias, .. } = &mut sorting.projection[place] {
        *alias = quoted(TIME);
    }
    if let Some(order) = &mut inner.order_by {
        // Of the two times the one that stands aside is known by its own name now.
        let _ = ast::visit_expressions_mut(order, |expr| {
            let moved = match expr {
                Expr::CompoundIdentifier(_) if within => is_rowtime(expr),
                Expr::Identifier(_) if !within => is_rowtime(expr),
                _ => false,
            };
            if moved {
                *expr = Expr::Identifier(Ident { span: expr.span(), ..quoted(TIME) });
            }
            ControlFlow::<()>::Continue(())
        });
    }
    let derived = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(inner),
        alias: Some(TableAlias { explicit: true, name: quoted(SORTED), columns: Vec::new(), at: None }),
        sample: None,
    };
    outer.from = vec![TableWithJoins { relation: derived, joins: Vec::new() }];
    Some(Query { body: Box::new(SetExpr::Select(Box::new(outer))), order_by: None, ..query.clone() })
}

/// The select list around the query that sorts, whose own gives every item a name; None if the place of the time is not known.
fn outer_list(items: &mut [SelectItem], place: usize, within: bool) -> Option<Vec<SelectItem>> {
    let of_sorted = |name: &str| Expr::CompoundIdentifier(vec![quoted(SORTED), quoted(name)]);
    let time = SelectItem::ExprWithAlias { expr: of_sorted(if within { ROWTIME } else { TIME }), alias: quoted(ROWTIME) };
    let is_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if items.iter().any(is_wildcard) {
        let hidden = ExcludeSelectItem::Multiple(vec![ObjectName::from(quoted(TIME))]);
        let options = WildcardAdditionalOptions { opt_exclude: Some(hidden), ..WildcardAdditionalOptions::default() };
        let all = SelectItem::Wildcard(options);
        return match place {
            0 => Some(vec![time, all]),
            place if place + 1 == items.len() => Some(vec![all, time]),
            _ => None,
        };
    }
    let named = items.iter_mut().enumerate().map(|(index, item)| {
        if index == place {
            return time.clone();
        }
        if let SelectItem::UnnamedExpr(expr) = item
            && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: quoted(&format!("EXPR${index}")) };
        }
        let name = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(|name| name.value.clone()),
            item => alias_of(item).map(|alias| alias.value.clone()),
        };
        SelectItem::UnnamedExpr(of_sorted(&name.unwrap_or_default()))
    });
    Some(named.collect())
}

/// The `s.ROWTIME` of ORDER BY.
fn time_of_stream(query: &Query) -> Option<Expr> {
    struct Finder;
    impl Visitor for Finder {
        type Break = Expr;
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Expr> {
            match expr {
                Expr::CompoundIdentifier(_) if is_rowtime(expr) => ControlFlow::Break(expr.clone()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.order_by.as_ref()?.visit(&mut Finder).break_value()
}

fn alias_of(item: &SelectItem) -> Option<&Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        _ => None,
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
