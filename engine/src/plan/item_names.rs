//! Gives the items of a select list names: their text, and names that differ.
//!
//! The column of `SELECT STREAM price * 2 …` is called `price * 2`, that of a field of a record, `q.r.COLUMN1`, `COLUMN1`. KDA fills a stream's columns by place, so a select list may name a column twice (`SELECT STREAM price, price`);
//! DataFusion wants different names. The second one is called `price0`, an expression `EXPR$1` after its place, as
//! Calcite calls them, from which KDA's SQL stems.

use std::collections::HashSet;

use sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins,
};

use super::rowtime::relation_name;
use crate::diagnostic::Span;
use crate::sql::ItemTexts;
use crate::types::ROWTIME;

/// Longest text that becomes a name.
const NAME_MAX: usize = 64;

/// Calls the expressions in the select lists of `query` and of the queries in its FROM after their `texts`.
pub(crate) fn name_by_text(query: &mut Query, texts: &ItemTexts) {
    for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        name_by_text(&mut cte.query, texts);
    }
    in_body(&mut query.body, texts, true);
}

/// `is_first`: the names of a UNION are those of its first branch.
fn in_body(body: &mut SetExpr, texts: &ItemTexts, is_first: bool) {
    match body {
        SetExpr::Select(select) => {
            let place = Span::from(select.select_token.0.span).start;
            if let Some(texts) = texts.get(&place).filter(|_| is_first) {
                name_items(select, texts);
            }
            select.from.iter_mut().for_each(|table| in_tables(table, texts));
        }
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, texts, is_first);
            in_body(right, texts, false);
        }
        SetExpr::Query(query) => in_body(&mut query.body, texts, is_first),
        _ => {}
    }
}

fn in_tables(table: &mut TableWithJoins, texts: &ItemTexts) {
    for factor in std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation)) {
        match factor {
            TableFactor::Derived { subquery, .. } => name_by_text(subquery, texts),
            TableFactor::NestedJoin { table_with_joins, .. } => in_tables(table_with_joins, texts),
            _ => {}
        }
    }
}

/// An expression whose text cannot be a name is called after its place, as in [`make_unique`].
fn name_items(select: &mut Select, texts: &[String]) {
    if select.projection.len() != texts.len() {
        return;
    }
    let mut taken = aliases(&select.projection);
    let relations = named_relations(&select.from);
    for (place, (item, text)) in select.projection.iter_mut().zip(texts).enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if let Some(field) = field_of_record(expr, relations.as_deref())
            && taken.insert(field.clone())
        {
            // DataFusion calls it `q.r[COLUMN1]`.
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', field) };
            continue;
        }
        if is_column(expr) {
            continue;
        }
        let has_comment = ["--", "//", "/*"].iter().any(|comment| text.contains(comment));
        let is_name = !has_comment && text.chars().count() <= NAME_MAX && !taken.contains(text);
        let name = if is_name { text.clone() } else { format!("EXPR${place}") };
        if taken.insert(name.clone()) {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
        }
    }
}

/// The names of the relations in FROM; None if one of them has none, as those inside it can be named then.
fn named_relations(from: &[TableWithJoins]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for table in from {
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => {
                    names.extend(named_relations(std::slice::from_ref(table_with_joins))?);
                }
                factor => names.push(relation_name(factor)?.value),
            }
        }
    }
    Some(names)
}

/// The last part of a name that reaches into a record: `alias.column.field`, or `column.field`.
fn field_of_record(expr: &Expr, relations: Option<&[String]>) -> Option<String> {
    let Expr::CompoundIdentifier(parts) = expr else { return None };
    let reaches = match parts.as_slice() {
        [first, _] => relations.is_some_and(|relations| !relations.contains(&first.value)),
        _ => parts.len() > 2,
    };
    let field = &parts.last()?.value;
    (reaches && field != ROWTIME).then(|| field.clone())
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
/// `alone` is true if there is only one relation.
pub fn make_unique(items: &mut [SelectItem], alone: bool) {
    let mut taken = HashSet::new();
    let named: HashSet<String> = items.iter().filter_map(given_name).collect();
    // `*` has every column, whatever they are, `t.*` those of t.
    let all = items.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let of_relation = |item: &SelectItem| match item {
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone())
        }
        _ => None,
    };
    let relations: HashSet<String> = items.iter().filter_map(of_relation).collect();
    let in_wildcard = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_)) => all || alone && !relations.is_empty(),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            all || parts.len() > 1 && relations.contains(&parts[parts.len() - 2].value)
        }
        _ => false,
    };
    // Aliases and columns first: they keep their names, expressions need none.
    for item in items.iter_mut() {
        let Some(name) = given_name(item) else { continue };
        let column = matches!(item, SelectItem::UnnamedExpr(_));
        if !in_wildcard(item) && taken.insert(name.clone()) || name == ROWTIME && !column {
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
pub(super) fn given_name(item: &SelectItem) -> Option<String> {
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
