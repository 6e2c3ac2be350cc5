//! DECIMAL_MULTIPLY(a, b): the function behind `a * b` of DECIMALs whose product has more digits than a DECIMAL holds
//! (kda-sql-reference.md §1.7, §8.2). Arrow refuses products of more than 38 digits after the point, and those whose exact value
//! exceeds 38 digits even where the rounded one does not.
//!
//! Input:  DECIMAL(p1, s1) and DECIMAL(p2, s2); whole numbers count as DECIMAL(3 | 5 | 10 | 19, 0).
//! Output: s1 + s2 digits after the point and p1 − s1 + p2 − s2 before it; of more than 38 together the ones after the point give
//!         way. The last digit is rounded half away from zero. NULL for NULL.
//! Errors: other types, when the query is planned; a result out of range, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Decimal128Array};
use arrow::compute::kernels::arity::try_binary;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, FieldRef, i256};
use arrow::error::ArrowError;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::decimal_divide::{decimals, digits, rounded_wide};
use super::{any_nullable, zip_columns};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `decimal_multiply`. It has no name in SQL: the engine puts it in place of `*`.
pub fn udf() -> Arc<ScalarUDF> {
    static MULTIPLY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(DecimalMultiply::default())));
    MULTIPLY.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DecimalMultiply {
    signature: Signature,
}

impl Default for DecimalMultiply {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

/// Precision and scale of a product; the reference's formula, within 38 digits.
fn product((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> (u8, i8) {
    let max = i32::from(DECIMAL128_MAX_PRECISION);
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let whole = p1 - s1 + p2 - s2;
    let scale = (s1 + s2).min(max - whole).max(0);
    ((whole + scale).clamp(1, max) as u8, scale as i8)
}

impl ScalarUDFImpl for DecimalMultiply {
    fn name(&self) -> &str {
        "decimal_multiply"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a product has the digits of its operands")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [a, b] = args.arg_fields else { return plan_err!("a product has two operands") };
        let (Some(one), Some(other)) = (digits(a.data_type()), digits(b.data_type())) else {
            return plan_err!(
                "cannot multiply {} by {}: DECIMAL_MULTIPLY takes exact numbers",
                sql_type_name(a),
                sql_type_name(b)
            );
        };
        let (precision, scale) = product(one, other);
        Ok(SqlType::Decimal(precision, scale).field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let target = args.return_field.data_type().clone();
        zip_columns(&args.args[0], &args.args[1], |a, b| Ok(multiply(a, b, &target)?))
    }
}

fn multiply(a: &ArrayRef, b: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let ((a, s1), (b, s2)) = (decimals(a)?, decimals(b)?);
    let &DataType::Decimal128(precision, scale) = target else {
        return Err(ArrowError::CastError(format!("a product is no {target}")));
    };
    // a·10^−s1 · b·10^−s2 in units of 10^−scale: at most 76 digits, which fit 256 bits, less those that give way.
    let divisor = i256::from_i128(10).wrapping_pow((i32::from(s1) + i32::from(s2) - i32::from(scale)).unsigned_abs());
    let out_of_range = || ArrowError::ArithmeticOverflow("a product has more than 38 digits".to_owned());
    let multiply = |a: i128, b: i128| {
        let exact = i256::from_i128(a).checked_mul(i256::from_i128(b)).ok_or_else(out_of_range)?;
        let product = rounded_wide(exact, divisor).ok_or_else(out_of_range)?;
        Decimal128Type::validate_decimal_precision(product, precision, scale).map_err(|_| out_of_range())?;
        Ok(product)
    };
    let products: Decimal128Array = try_binary::<_, _, _, Decimal128Type>(&a, &b, multiply)?;
    Ok(Arc::new(products.with_data_type(target.clone())))
}
