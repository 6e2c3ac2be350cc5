//! KDA's result types of exact arithmetic (kda-sql-reference.md §1.7): `5.0 / 2` is 2.500000000000.
//!
//! | Operation on DECIMAL(p1, s1), DECIMAL(p2, s2) | Scale | Precision |
//! | --- | --- | --- |
//! | `+`, `-` | the greater of both | integer digits of the larger, the scale and 1 |
//! | `*` | s1 + s2 | p1 + p2 |
//! | `/` | the greater of 6 and s1 + p2 + 1 | p1 − s1 + s2 and the scale |
//!
//! An INTEGER counts as DECIMAL(10, 0). Beyond the greatest precision, 38 or what the switch `decimal_precision_max` says, the scale
//! shrinks first (§8.2). Arrow divides to four digits more than the dividend has, and refuses products of too many digits, so functions
//! of their own take the place of `/` and of such products.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use kinesql_udfs::scalar::{decimal_divide, decimal_multiply};

use super::numbers;

/// The least scale of a quotient.
const QUOTIENT_SCALE_MIN: i8 = 6;

/// The rule for `expr`, whose operands have KDA's types.
pub(super) fn typed(expr: Expr, schema: &DFSchema, most: u8) -> Result<Transformed<Expr>> {
    let (left, op, right) = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => (left.as_ref(), *op, right.as_ref()),
        // The planner has found too many digits already.
        Expr::ScalarFunction(function) => match (function.name(), function.args.as_slice()) {
            // One of them has become a DOUBLE since.
            ("decimal_multiply", [left, right])
                if left.get_type(schema)?.is_floating() || right.get_type(schema)?.is_floating() =>
            {
                let side = |side: &Expr| numbers::as_double(side.clone(), schema).map(Box::new);
                let product = BinaryExpr::new(side(left)?, Operator::Multiply, side(right)?);
                return Ok(Transformed::yes(Expr::BinaryExpr(product)));
            }
            ("decimal_multiply", [left, right]) => (left, Operator::Multiply, right),
            _ => return Ok(Transformed::no(expr)),
        },
        _ => return Ok(Transformed::no(expr)),
    };
    // What has no type has a problem, which is found later.
    let (Ok(one), Ok(other)) = (left.get_type(schema), right.get_type(schema)) else { return Ok(Transformed::no(expr)) };
    let is_decimal = [&one, &other].iter().any(|data_type| matches!(data_type, DataType::Decimal128(..)));
    let (Some((p1, s1)), Some((p2, s2)), true) = (digits(&one), digits(&other), is_decimal) else {
        return Ok(Transformed::no(expr));
    };
    let Some((precision, scale)) = result_type(op, (p1, s1), (p2, s2), most) else { return Ok(Transformed::no(expr)) };
    let result = DataType::Decimal128(precision, scale);
    let operand = |expr: &Expr, from: &DataType, to: DataType| if *from == to { expr.clone() } else { cast(expr.clone(), to) };
    let computed = match op {
        Operator::Divide => decimal_divide::udf().call(vec![left.clone(), right.clone()]),
        // Arrow computes all digits of a product, for which there is no place.
        Operator::Multiply if u32::from(p1) + u32::from(p2) > u32::from(DECIMAL128_MAX_PRECISION) => {
            let operands =
                [operand(left, &one, DataType::Decimal128(p1, s1)), operand(right, &other, DataType::Decimal128(p2, s2))];
            decimal_multiply::udf().call(operands.into())
        }
        _ => {
            // A result that may have more digits than there are is computed with more of them, and the cast fails its row.
            let is_long = result_type(op, (p1, s1), (p2, s2), DECIMAL256_MAX_PRECISION)
                .is_some_and(|(precision, _)| precision > DECIMAL128_MAX_PRECISION);
            let exact = |precision, scale| match is_long {
                true => DataType::Decimal256(precision, scale),
                false => DataType::Decimal128(precision, scale),
            };
            let (left, right) = (operand(left, &one, exact(p1, s1)), operand(right, &other, exact(p2, s2)));
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
    };
    Ok(Transformed::yes(if computed.get_type(schema)? == result { computed } else { cast(computed, result) }))
}

/// Precision and scale of exact numbers.
fn digits(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (19, 0),
        _ => return None,
    })
}

/// Precision and scale of a result, of at most `most` digits; None for what is no arithmetic.
fn result_type(op: Operator, (p1, s1): (u8, i8), (p2, s2): (u8, i8), most: u8) -> Option<(u8, i8)> {
    let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    let (whole, scale) = match op {
        Operator::Plus | Operator::Minus => (whole(p1, s1).max(whole(p2, s2)) + 1, i16::from(s1.max(s2))),
        Operator::Multiply => (whole(p1, s1) + whole(p2, s2), i16::from(s1) + i16::from(s2)),
        Operator::Divide => (whole(p1, s1) + i16::from(s2), i16::from(QUOTIENT_SCALE_MIN).max(i16::from(s1) + i16::from(p2) + 1)),
        _ => return None,
    };
    let scale = scale.min(i16::from(most) - whole).max(0);
    let precision = (whole + scale).clamp(1, i16::from(most));
    Some((u8::try_from(precision).ok()?, i8::try_from(scale).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_types_of_the_reference() {
        use Operator::{Divide, Minus, Multiply, Plus};
        let integer = (10, 0);
        for (op, left, right, expected) in [
            (Divide, (2, 1), integer, (13, 12)),
            (Plus, (2, 1), integer, (12, 1)),
            (Minus, (10, 2), (10, 5), (14, 5)),
            (Multiply, (10, 2), (10, 5), (20, 7)),
            (Divide, (10, 2), (1, 0), (14, 6)),
        ] {
            assert_eq!(result_type(op, left, right, 38), Some(expected), "{left:?} {op} {right:?}");
        }
        assert_eq!(result_type(Operator::Eq, integer, integer, 38), None);
    }

    #[test]
    fn beyond_the_greatest_precision_the_scale_shrinks_first() {
        assert_eq!(result_type(Operator::Multiply, (10, 4), (10, 5), 18), Some((18, 7)));
        assert_eq!(result_type(Operator::Divide, (18, 0), (18, 0), 18), Some((18, 0)));
        assert_eq!(result_type(Operator::Divide, (38, 10), (38, 10), 38), Some((38, 0)));
        assert_eq!(result_type(Operator::Plus, (38, 10), (38, 10), 38), Some((38, 9)));
    }
}
