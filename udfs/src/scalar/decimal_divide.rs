//! DECIMAL_DIVIDE(a, b): the function behind `a / b` of exact numbers one of which is a DECIMAL, with the digits that KDA gives
//! it (kda-sql-reference.md §1.7): `5.0 / 2` is 2.500000000000.
//!
//! Input:  DECIMAL(p1, s1) and DECIMAL(p2, s2); whole numbers count as DECIMAL(3 | 5 | 10 | 19, 0).
//! Output: s = max(6, s1 + p2 + 1) digits after the point and p1 − s1 + s2 before it; of more than 38 together the ones after
//!         the point give way (§8.2). The last digit is rounded half away from zero. NULL for NULL.
//! Errors: other types, when the query is planned; a division by zero or a result out of range, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::compute::kernels::arity::try_binary;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, FieldRef, i256};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{any_nullable, zip_columns};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `decimal_divide`.
pub fn udf() -> Arc<ScalarUDF> {
    static DIVIDE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(DecimalDivide::default())));
    DIVIDE.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DecimalDivide {
    signature: Signature,
}

impl Default for DecimalDivide {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

/// Precision and scale of an exact number.
pub(super) fn digits(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (19, 0),
        _ => return None,
    })
}

/// Precision and scale of a quotient; the reference's formula, within 38 digits.
fn quotient((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> (u8, i8) {
    let max = i32::from(DECIMAL128_MAX_PRECISION);
    let whole = i32::from(p1) - i32::from(s1) + i32::from(s2);
    let scale = (i32::from(s1) + i32::from(p2) + 1).max(6);
    let scale = scale.min((max - whole).max(0));
    ((whole + scale).clamp(1, max) as u8, scale as i8)
}

impl ScalarUDFImpl for DecimalDivide {
    fn name(&self) -> &str {
        "decimal_divide"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a quotient has the digits of its operands")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [a, b] = args.arg_fields else { return plan_err!("a quotient has two operands") };
        let (Some(one), Some(other)) = (digits(a.data_type()), digits(b.data_type())) else {
            return plan_err!("cannot divide {} by {}: DECIMAL_DIVIDE takes exact numbers", sql_type_name(a), sql_type_name(b));
        };
        let (precision, scale) = quotient(one, other);
        Ok(SqlType::Decimal(precision, scale).field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let target = args.return_field.data_type().clone();
        zip_columns(&args.args[0], &args.args[1], |a, b| Ok(divide(a, b, &target)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_MATH,
                "Returns the quotient of two exact numbers with at least six digits after the point.",
                "decimal_divide(a, b)",
            )
            .with_sql_example(
                r#"```sql
> select decimal_divide(CAST(5.0 AS DECIMAL(2, 1)), CAST(2 AS INT)) as x;
+----------------+
| x              |
+----------------+
| 2.500000000000 |
+----------------+
```"#,
            )
            .with_argument("a", "A DECIMAL or whole number.")
            .with_argument("b", "Another.")
            .with_alternative_syntax("a / b, in KDA SQL")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}

/// The column as DECIMAL of its own digits, and its scale.
pub(super) fn decimals(column: &ArrayRef) -> Result<(Decimal128Array, i8), ArrowError> {
    const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };
    let (precision, scale) =
        digits(column.data_type()).ok_or_else(|| ArrowError::CastError(format!("{} is no exact number", column.data_type())))?;
    let column = cast_with_options(column, &DataType::Decimal128(precision, scale), &STRICT)?;
    Ok((column.as_primitive::<Decimal128Type>().clone(), scale))
}

fn divide(a: &ArrayRef, b: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let ((a, s1), (b, s2)) = (decimals(a)?, decimals(b)?);
    let &DataType::Decimal128(precision, scale) = target else {
        return Err(ArrowError::CastError(format!("a quotient is no {target}")));
    };
    // a·10^−s1 ÷ b·10^−s2 in units of 10^−scale; never fewer digits than a has, unless 38 do not suffice.
    let shift = i32::from(scale) - i32::from(s1) + i32::from(s2);
    let narrow = 10_i128.checked_pow(shift.unsigned_abs());
    let wide = i256::from_i128(10).checked_pow(shift.unsigned_abs());
    let out_of_range = || ArrowError::ArithmeticOverflow("a quotient has more than 38 digits".to_owned());
    let divide = |a: i128, b: i128| {
        if b == 0 {
            return Err(ArrowError::DivideByZero);
        }
        let operands = narrow.and_then(|factor| match shift >= 0 {
            true => Some((a.checked_mul(factor)?, b)),
            false => Some((a, b.checked_mul(factor)?)),
        });
        let quotient = match operands {
            Some((a, b)) => rounded(a, b).ok_or_else(out_of_range)?,
            // Few operands are so long.
            None => {
                let (a, b, factor) = (i256::from_i128(a), i256::from_i128(b), wide.ok_or_else(out_of_range)?);
                let operands = if shift >= 0 { a.checked_mul(factor).zip(Some(b)) } else { Some(a).zip(b.checked_mul(factor)) };
                operands.and_then(|(a, b)| rounded_wide(a, b)).ok_or_else(out_of_range)?
            }
        };
        Decimal128Type::validate_decimal_precision(quotient, precision, scale).map_err(|_| out_of_range())?;
        Ok(quotient)
    };
    let quotients: Decimal128Array = try_binary::<_, _, _, Decimal128Type>(&a, &b, divide)?;
    Ok(Arc::new(quotients.with_data_type(target.clone())))
}

/// The quotient, rounded half away from zero; None if it has too many digits.
fn rounded(a: i128, b: i128) -> Option<i128> {
    let (whole, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    // rest·2 ≥ |b| without an overflow.
    let up = rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs();
    let away = if (a < 0) == (b < 0) { 1 } else { -1 };
    if up { whole.checked_add(away) } else { Some(whole) }
}

/// As [`rounded`], of more digits.
pub(super) fn rounded_wide(a: i256, b: i256) -> Option<i128> {
    let (whole, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    let up = rest.wrapping_abs() >= b.wrapping_abs().wrapping_sub(rest.wrapping_abs());
    let away = if (a < i256::ZERO) == (b < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
    if up { whole.checked_add(away)?.to_i128() } else { whole.to_i128() }
}
