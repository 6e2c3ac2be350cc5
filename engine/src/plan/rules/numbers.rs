//! Numbers of several types beside each other (kda-sql-reference.md §1.7): a DECIMAL beside a REAL or DOUBLE becomes a DOUBLE.
//!
//! DataFusion compares and merges both as DECIMAL(30, 15), where 1e30 fails and 1e-18 is 0. A literal is converted when the query is
//! planned. Whole numbers stay with DataFusion: beside a REAL they are REAL, beside a DOUBLE they are DOUBLE.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Between, InList, ScalarFunction};
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, Operator, cast};

/// Functions whose result is one of their arguments.
const CHOOSING: &[&str] = &["coalesce", "greatest", "least", "nvl"];

/// Gives the operands of `expr`, whose own operands are done, the type that they have together.
pub(super) fn typed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if takes_numbers(op) && are_mixed([&*left, &*right], schema) => {
            let [left, right] = [as_double(*left, schema)?, as_double(*right, schema)?];
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::Between(Between { expr, negated, low, high }) if are_mixed([&*expr, &*low, &*high], schema) => {
            let [expr, low, high] = [as_double(*expr, schema)?, as_double(*low, schema)?, as_double(*high, schema)?];
            Transformed::yes(Expr::Between(Between::new(Box::new(expr), negated, Box::new(low), Box::new(high))))
        }
        Expr::InList(InList { expr, list, negated }) if are_mixed(list.iter().chain([&*expr]), schema) => {
            let list = list.into_iter().map(|item| as_double(item, schema)).collect::<Result<_>>()?;
            Transformed::yes(Expr::InList(InList::new(Box::new(as_double(*expr, schema)?), list, negated)))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if CHOOSING.contains(&func.name()) && are_mixed(&args, schema) => {
            let args = args.into_iter().map(|argument| as_double(argument, schema)).collect::<Result<_>>()?;
            Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        Expr::Case(case) => in_case(case, schema)?.update_data(Expr::Case),
        expr => Transformed::no(expr),
    })
}

/// True if the operands of `op` are numbers where one of them is.
fn takes_numbers(op: Operator) -> bool {
    use Operator::{Divide, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Plus};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | Plus | Minus | Multiply | Divide | Modulo
    )
}

/// What is compared, and what the CASE gives: all of one type, as its type is otherwise taken for that of its first result.
fn in_case(mut case: Case, schema: &DFSchema) -> Result<Transformed<Case>> {
    let mut changed = false;
    if let Some(base) = &mut case.expr
        && are_mixed(case.when_then_expr.iter().map(|(when, _)| &**when).chain([&**base]), schema)
    {
        changed = true;
        for compared in case.when_then_expr.iter_mut().map(|(when, _)| when).chain([base]) {
            **compared = as_double(std::mem::take(&mut **compared), schema)?;
        }
    }
    let results = case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
    let types = results.map(|result| result.get_type(schema)).collect::<Result<Vec<_>>>()?;
    if let Some(together) = common(&types) {
        let results = case.when_then_expr.iter_mut().map(|(_, then)| then).chain(&mut case.else_expr);
        for (result, data_type) in results.zip(&types) {
            if data_type.is_numeric() && *data_type != together {
                changed = true;
                **result = converted(std::mem::take(&mut **result), &together)?;
            }
        }
    }
    Ok(if changed { Transformed::yes(case) } else { Transformed::no(case) })
}

/// The type that numbers of these types have together; None if there are none, or other values among them.
pub(super) fn common(types: &[DataType]) -> Option<DataType> {
    let typed: Vec<_> = types.iter().filter(|data_type| !data_type.is_null()).collect();
    if typed.is_empty() || !typed.iter().all(|data_type| data_type.is_numeric()) {
        return None;
    }
    if mixes(typed.iter().copied()) {
        return Some(DataType::Float64);
    }
    let first = typed[0].clone();
    typed[1..].iter().try_fold(first, |one, other| type_union_coercion(&one, other))
}

/// The two sides of an equality that is no expression, such as a key of a join.
pub(super) fn sides(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    match are_mixed([&left, &right], schema) {
        true => Ok((as_double(left, schema)?, as_double(right, schema)?)),
        false => Ok((left, right)),
    }
}

/// True for exact numbers with a point beside approximate ones.
pub(super) fn mixes<'a>(types: impl Iterator<Item = &'a DataType> + Clone) -> bool {
    types.clone().any(DataType::is_floating) && types.clone().any(DataType::is_decimal) && { types }.all(DataType::is_numeric)
}

fn are_mixed<'a>(exprs: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) -> bool {
    // What has no type has a problem, which is found later.
    let types = exprs.into_iter().filter_map(|expr| expr.get_type(schema).ok()).filter(|data_type| !data_type.is_null());
    mixes(types.collect::<Vec<_>>().iter())
}

/// A number as DOUBLE; NULL stays.
pub(super) fn as_double(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let data_type = expr.get_type(schema)?;
    if data_type.is_null() || data_type == DataType::Float64 { Ok(expr) } else { converted(expr, &DataType::Float64) }
}

/// A literal is converted now.
fn converted(expr: Expr, data_type: &DataType) -> Result<Expr> {
    Ok(match expr {
        Expr::Literal(value, _) => Expr::Literal(value.cast_to(data_type)?, None),
        expr => cast(expr, data_type.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approximate_wins_over_decimals_whatever_the_order() {
        use DataType::{Decimal128, Float32, Float64, Int32, Int64, Null, Utf8};
        for (types, expected) in [
            (vec![Float64, Decimal128(2, 1)], Some(Float64)),
            (vec![Decimal128(2, 1), Float32], Some(Float64)),
            (vec![Decimal128(2, 1), Int64, Float32], Some(Float64)),
            (vec![Int32, Float32], Some(Float32)),
            (vec![Null, Int32, Decimal128(3, 2)], Some(Decimal128(12, 2))),
            (vec![Int32, Int64], Some(Int64)),
            (vec![Utf8, Int64], None),
            (vec![Null], None),
        ] {
            assert_eq!(common(&types), expected, "{types:?}");
        }
    }
}
