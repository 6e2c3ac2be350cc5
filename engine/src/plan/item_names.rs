//! Gives the items of a select list names: their text, and names that differ.
//!
//! The column of `SELECT STREAM price * 2 …` is called `price * 2`. KDA fills a stream's columns by place, so a select list may name a column twice (`SELECT STREAM price, price`);
//! DataFusion wants different names. The second one is called `price0`, an expression `EXPR$1` after its place, as
//! Calcite calls them, from which KDA's SQL stems.

use std::collections::HashSet;

use datafusion::common::Result;
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr};

use crate::types::ROWTIME;

/// Longest text that becomes a name.
const NAME_MAX: usize = 64;

/// Calls the expressions in the outermost select list of `query` after their `texts`.
pub fn name_by_text(query: &mut Query, texts: &[String]) {
    let Some(select) = first_select(&mut query.body).filter(|select| select.projection.len() == texts.len()) else { return };
    let mut taken = aliases(&select.projection);
    for (item, text) in select.projection.iter_mut().zip(texts) {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let has_comment = ["--", "//", "/*"].iter().any(|comment| text.contains(comment));
        if !is_column(expr) && !has_comment && text.chars().count() <= NAME_MAX && taken.insert(text.clone()) {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', text) };
        }
    }
}

/// Calls the columns of `plan`, which DataFusion made of `query`, as [`name_by_text`] would: `1 + 1`, not `Int64(1) + Int64(1)`.
pub fn name_columns(plan: LogicalPlan, query: &Query, texts: &[String]) -> Result<LogicalPlan> {
    let mut named = query.clone();
    name_by_text(&mut named, texts);
    let columns = plan.schema().columns();
    let Some(select) = first_select(&mut named.body).filter(|select| select.projection.len() == columns.len()) else {
        return Ok(plan);
    };
    let names = select.projection.iter().zip(&columns).map(|(item, column)| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(_) => Some(column.name.clone()),
        // A wildcard that happens to be one column.
        _ => None,
    });
    let Some(names) = names.collect::<Option<Vec<_>>>() else { return Ok(plan) };
    let as_they_are = names.iter().zip(&columns).all(|(name, column)| *name == column.name);
    if as_they_are || names.iter().collect::<HashSet<_>>().len() < names.len() {
        return Ok(plan);
    }
    let columns = columns.into_iter().zip(names).map(|(column, name)| PlanExpr::Column(column).alias(name));
    LogicalPlanBuilder::from(plan).project(columns.collect::<Vec<_>>())?.build()
}

fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn aliases(items: &[SelectItem]) -> HashSet<String> {
    let aliases = items.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    });
    aliases.collect()
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// Gives a new name to every item whose name an earlier item has: the name means the first one (kda-sql-reference.md §8.3).
pub fn make_unique(items: &mut [SelectItem]) {
    let mut taken = HashSet::new();
    let named: HashSet<String> = items.iter().filter_map(given_name).collect();
    // `*` has every column, whatever they are.
    let all = items.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    // Aliases and columns first: they keep their names, expressions need none.
    for item in items.iter_mut() {
        let Some(name) = given_name(item) else { continue };
        let column = matches!(item, SelectItem::UnnamedExpr(_));
        if !(all && column) && taken.insert(name.clone()) || name == ROWTIME && !column {
            continue;
        }
        let mut numbered = (0..).map(|number| format!("{name}{number}"));
        let Some(fresh) = numbered.find(|name| !named.contains(name) && !taken.contains(name)) else { continue };
        taken.insert(fresh.clone());
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', fresh) };
        }
    }
    for (place, item) in items.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if !taken.insert(name_of(expr)) && !is_column(expr) {
            let fresh = format!("EXPR${place}");
            taken.insert(fresh.clone());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', fresh) };
        }
    }
}

/// The name that the query gives an item: its alias, or that of its column.
fn given_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(expr) if is_column(expr) => Some(name_of(expr)),
        _ => None,
    }
}

/// The name that DataFusion gives a result: that of the column, also under a CAST, or the text of the expression.
fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| ident.value.clone()).unwrap_or_default(),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => name_of(expr),
        expr => expr.to_string(),
    }
}
