//! Rows of values in comparisons become comparisons of their values, which have NULL, types and padding by themselves
//! (kda-sql-reference.md §1.9).
//!
//! | Written | In the tree |
//! | --- | --- |
//! | `(a, b) IN ((x, y), …)` | `(a = x AND b = y) OR …`; with NOT in front `NOT (…)` |
//! | `(a, b) = (x, y)`, `<>` | `a = x AND b = y`, `NOT (…)` |
//! | `(a, b) < (x, y)` and the others | `a < x OR (a = x AND b < y)` |

use sqlparser::ast::{BinaryOperator, Expr, Spanned, UnaryOperator};

use super::calls::binary;
use crate::diagnostic::Diagnostic;

/// Replaces `expr` if it has such a form, before its operands are visited.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), Box<Diagnostic>> {
    let compared = match expr {
        Expr::InList { expr: row, list, negated } => {
            let Some(row) = values(row) else { return Ok(()) };
            let Some(rows) = list.iter().map(values).collect::<Option<Vec<_>>>() else { return Ok(()) };
            let equals = rows.into_iter().map(|other| equal(row, other)).collect::<Result<Vec<_>, _>>()?;
            let Some(any) = joined(equals, BinaryOperator::Or) else { return Ok(()) };
            if *negated { not(any) } else { any }
        }
        Expr::BinaryOp { left, op, right } => {
            let (Some(left), Some(right)) = (values(left), values(right)) else { return Ok(()) };
            match op {
                BinaryOperator::Eq => equal(left, right)?,
                BinaryOperator::NotEq => not(equal(left, right)?),
                BinaryOperator::Lt | BinaryOperator::Gt | BinaryOperator::LtEq | BinaryOperator::GtEq => {
                    ordered(left, op, right)?
                }
                _ => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    *expr = Expr::Nested(Box::new(compared));
    Ok(())
}

/// The values of a row of several, in parentheses or not.
fn values(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Nested(inner) => values(inner),
        Expr::Tuple(values) => Some(values),
        _ => None,
    }
}

fn equal(row: &[Expr], other: &[Expr]) -> Result<Expr, Box<Diagnostic>> {
    check_widths(row, other)?;
    let equals = row.iter().zip(other).map(|(one, other)| binary(one.clone(), BinaryOperator::Eq, other.clone()));
    let all = joined(equals, BinaryOperator::And);
    all.ok_or_else(|| Box::new(Diagnostic::error("a row of values has none")))
}

/// By the first values that differ; the last ones are compared by `op` itself.
fn ordered(row: &[Expr], op: &BinaryOperator, other: &[Expr]) -> Result<Expr, Box<Diagnostic>> {
    check_widths(row, other)?;
    let strictly = match op {
        BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::Gt,
        strict => strict.clone(),
    };
    let mut pairs = row.iter().zip(other).rev();
    let Some((one, other)) = pairs.next() else { return Err(Box::new(Diagnostic::error("a row of values has none"))) };
    let last = binary(one.clone(), op.clone(), other.clone());
    Ok(pairs.fold(last, |behind, (one, other)| {
        let differs = binary(one.clone(), strictly.clone(), other.clone());
        let equals = binary(one.clone(), BinaryOperator::Eq, other.clone());
        binary(differs, BinaryOperator::Or, Expr::Nested(Box::new(binary(equals, BinaryOperator::And, nested(behind)))))
    }))
}

fn check_widths(row: &[Expr], other: &[Expr]) -> Result<(), Box<Diagnostic>> {
    if row.len() == other.len() {
        return Ok(());
    }
    let message = format!("a row of {} values is compared with one of {}", row.len(), other.len());
    let problem = Diagnostic::error(message);
    let place = other.first().or(row.first()).map(Spanned::span);
    Err(Box::new(match place {
        Some(span) => problem.at(span),
        None => problem,
    }))
}

fn joined(exprs: impl IntoIterator<Item = Expr>, op: BinaryOperator) -> Option<Expr> {
    exprs.into_iter().map(nested).reduce(|one, other| binary(one, op.clone(), other))
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(expr)) }
}
