//! `(a, b) IN (SELECT x, y …)`, which DataFusion's planner has for one column only, becomes EXISTS with the columns compared one by one
//! (kda-sql-reference.md §1.9).
//!
//! | Written | In the tree |
//! | --- | --- |
//! | `(a, b) IN (q)` | `EXISTS (SELECT 1 FROM (q) AS "$row"("$1", "$2") WHERE a = "$1" AND b = "$2")` |
//! | `(a, b) NOT IN (q)` | `NOT EXISTS (… WHERE (a = "$1" AND b = "$2") IS NOT FALSE)`: a row with NULL may be the one |

use sqlparser::ast::{BinaryOperator, Expr, Ident, Query, SelectItem, SetExpr, Spanned, TableFactor, UnaryOperator};
use sqlparser::parser::{Parser, ParserError};

use super::calls::{binary, take};
use crate::diagnostic::Diagnostic;
use crate::sql::dialect::KdaDialect;

/// Replaces `expr` if it has such a form, before its operands are visited.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), Box<Diagnostic>> {
    // NOT around it is part of the form: EXISTS is TRUE or FALSE where IN is UNKNOWN.
    if let Expr::UnaryOp { op: UnaryOperator::Not, expr: operand } = expr
        && let Some(row) = of_row(operand)
        && let Expr::InSubquery { negated, .. } = row
    {
        *negated = !*negated;
        *expr = take(row);
    }
    let Some(Expr::InSubquery { expr: row, subquery, negated }) = of_row(expr) else { return Ok(()) };
    let Expr::Tuple(columns) = row.as_mut() else { return Ok(()) };
    if let Some(selected) = width(&subquery.body)
        && selected != columns.len()
    {
        let message = format!("a row of {} values is compared with a query of {selected}", columns.len());
        return Err(Box::new(Diagnostic::error(message).at(columns[0].span())));
    }
    let equals = columns.iter_mut().enumerate().map(|(place, column)| {
        let other = Expr::CompoundIdentifier(vec![quoted("$row"), quoted(&name(place))]);
        binary(take(column), BinaryOperator::Eq, other)
    });
    let all = equals.reduce(|one, other| binary(one, BinaryOperator::And, other));
    let Some(all) = all else { return Ok(()) };
    let condition = if *negated { Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(all)))) } else { all };
    let query = of_rows(std::mem::replace(subquery.as_mut(), empty()?), columns.len(), condition)?;
    *expr = Expr::Exists { subquery: Box::new(query), negated: *negated };
    Ok(())
}

/// The comparison of a row with a query, in parentheses or not.
fn of_row(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::Nested(inner) => of_row(inner),
        Expr::InSubquery { expr: row, .. } if matches!(row.as_ref(), Expr::Tuple(_)) => Some(expr),
        _ => None,
    }
}

/// How many columns a query selects, if it has no wildcard.
fn width(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) => {
            let plain = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
            select.projection.iter().all(plain).then_some(select.projection.len())
        }
        SetExpr::Query(query) => width(&query.body),
        SetExpr::SetOperation { left, .. } => width(left),
        SetExpr::Values(values) => values.rows.first().map(|row| row.len()),
        _ => None,
    }
}

fn name(place: usize) -> String {
    format!("${}", place + 1)
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// `SELECT 1 FROM (rows) AS "$row"("$1", …) WHERE condition`.
fn of_rows(rows: Query, columns: usize, condition: Expr) -> Result<Query, Box<Diagnostic>> {
    let names: Vec<_> = (0..columns).map(|place| format!("\"{}\"", name(place))).collect();
    let mut query = parsed(&format!("SELECT 1 FROM (SELECT 1) AS \"$row\"({}) WHERE TRUE", names.join(", ")))?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.selection = Some(condition);
        if let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|table| &mut table.relation) {
            **subquery = rows;
        }
    }
    Ok(query)
}

fn empty() -> Result<Query, Box<Diagnostic>> {
    parsed("SELECT 1")
}

fn parsed(sql: &str) -> Result<Query, Box<Diagnostic>> {
    let query = Parser::new(&KdaDialect).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
    query.map(|query| *query).map_err(|problem: ParserError| Box::new(Diagnostic::error(problem.to_string())))
}
