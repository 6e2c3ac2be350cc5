//! Gives the items of a select list names that differ.
//!
//! KDA fills a stream's columns by place, so a select list may name a column twice (`SELECT STREAM price, price`);
//! DataFusion wants different names. The second one is called `price0`, an expression `EXPR$1` after its place, as
//! Calcite calls them, from which KDA's SQL stems.

use std::collections::HashSet;

use sqlparser::ast::{Expr, Ident, SelectItem};

/// Adds an alias to every item whose name an earlier item has.
pub fn make_unique(items: &mut [SelectItem]) {
    let aliases = items.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    });
    let mut taken: HashSet<String> = aliases.collect();
    // `*` has every column, whatever they are.
    let all = items.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    // Columns first: they keep their names, expressions need none.
    for columns in [true, false] {
        for (place, item) in items.iter_mut().enumerate() {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            if is_column(expr) != columns {
                continue;
            }
            let name = name_of(expr);
            if (all && columns) || !taken.insert(name.clone()) {
                let mut numbered = (0..).map(|number| format!("{name}{number}"));
                let fresh = if columns { numbered.find(|name| !taken.contains(name)) } else { None };
                let fresh = fresh.unwrap_or_else(|| format!("EXPR${place}"));
                taken.insert(fresh.clone());
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', fresh) };
            }
        }
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
