//! Where in a query a problem is that DataFusion's planner reports without a place: a function that does not take an argument, a
//! comparison of types that do not compare.
//!
//! The expressions of the query are planned alone, over the FROM that they stand behind; the smallest one that fails with the same
//! message is the place. This costs a plan per expression, and happens only for a query that is wrong.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Spanned, Value, Visit, Visitor};
use sqlparser::tokenizer::Span as PlanSpan;

use crate::diagnostic::Span;

/// Expressions that are tried before the search is given up.
const PROBES_MAX: usize = 200;

/// The place of the problem in `query`. `problem_of` plans a query and gives its problem, if it has one, which for `query` itself
/// is `message`.
pub(crate) fn locate(query: &Query, message: &str, problem_of: &mut dyn FnMut(Query) -> Option<String>) -> Option<Span> {
    let mut selects = Selects(Vec::new());
    // The visitor never breaks off.
    let _ = query.visit(&mut selects);
    let mut left = PROBES_MAX;
    let mut fails = |probe: Query| {
        left = left.saturating_sub(1);
        left > 0 && problem_of(probe).is_some_and(|problem| same(&problem, message))
    };
    for select in &selects.0 {
        let mut fails_in_list = |expr: &Expr| fails(probe(query, select, expr));
        // What is wrong below is found there.
        if fails_in_list(&Expr::Value(Value::Null.with_empty_span())) {
            continue;
        }
        for expr in expressions(select) {
            if fails_in_list(&expr) {
                return smallest(&expr, &mut fails_in_list);
            }
        }
        // A condition that is none is a value like any other in a list.
        for (condition, probe) in conditions(query, select) {
            if fails(probe) {
                return place(condition);
            }
        }
    }
    None
}

/// True for messages about the same problem. In a select list it is found before numbers have their types.
fn same(one: &str, other: &str) -> bool {
    one == other || one.replace("Int64", "Int32") == other.replace("Int64", "Int32")
}

/// The place of the smallest part of `expr` that fails; of `expr` if none does.
fn smallest(expr: &Expr, fails: &mut dyn FnMut(&Expr) -> bool) -> Option<Span> {
    let mut parts = Parts { depth: 0, found: Vec::new() };
    // The visitor never breaks off.
    let _ = expr.visit(&mut parts);
    // The deepest ones first: a part that fails makes all around it fail.
    parts.found.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    let failing = parts.found.iter().find(|(_, part)| fails(part)).map_or(expr, |(_, part)| part);
    place(failing).or_else(|| place(expr))
}

fn place(expr: &Expr) -> Option<Span> {
    Some(expr.span()).filter(|span| *span != PlanSpan::empty()).map(Span::from)
}

/// `select` with nothing but `expr` in its list.
fn probe(query: &Query, select: &Select, expr: &Expr) -> Query {
    let select = Select {
        distinct: None,
        projection: vec![SelectItem::UnnamedExpr(expr.clone())],
        selection: None,
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        having: None,
        ..select.clone()
    };
    Query { body: Box::new(SetExpr::Select(Box::new(select))), order_by: None, ..query.clone() }
}

/// The conditions of `select`, each with a query that has no other.
fn conditions<'a>(query: &Query, select: &'a Select) -> Vec<(&'a Expr, Query)> {
    let of = |select: Select| Query { body: Box::new(SetExpr::Select(Box::new(select))), order_by: None, ..query.clone() };
    let nothing = || vec![SelectItem::UnnamedExpr(Expr::Value(Value::Null.with_empty_span()))];
    let alone = Select { distinct: None, projection: nothing(), selection: None, having: None, ..select.clone() };
    let no_groups = GroupByExpr::Expressions(Vec::new(), Vec::new());
    let filtered = Select { selection: select.selection.clone(), group_by: no_groups, ..alone.clone() };
    let grouped = Select { having: select.having.clone(), ..alone };
    let filter = select.selection.iter().map(|condition| (condition, of(filtered.clone())));
    filter.chain(select.having.iter().map(|condition| (condition, of(grouped.clone())))).collect()
}

/// The expressions of every clause but FROM.
fn expressions(select: &Select) -> Vec<Expr> {
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    let groups: &[Expr] = match &select.group_by {
        GroupByExpr::Expressions(exprs, _) => exprs,
        GroupByExpr::All(_) => &[],
    };
    items.chain(&select.selection).chain(groups).chain(&select.having).cloned().collect()
}

/// Every SELECT of a query, the outer ones first.
struct Selects(Vec<Select>);

impl Visitor for Selects {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.0.push(select.clone());
        ControlFlow::Continue(())
    }
}

/// The parts of an expression with their depth in it.
struct Parts {
    depth: usize,
    found: Vec<(usize, Expr)>,
}

impl Visitor for Parts {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let has_parts = !matches!(expr, Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Interval(_));
        if self.depth > 0 && has_parts {
            self.found.push((self.depth, expr.clone()));
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}
