//! MOD(a, b): what is left of `a` divided by `b` (kda-sql-reference.md §1.7, §5.7).
//!
//! Input:  two whole numbers: TINYINT to BIGINT, DECIMAL(p, 0).
//! Output: the larger type of the two, with the sign of `a`; NULL for NULL.
//! Errors: `b` = 0, for the row (`ArrowError::DivideByZero`); other types, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::compute::kernels::arity::try_binary;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{any_nullable, zip_columns};
use crate::sql_type::sql_type_name;

/// The function `mod`.
pub fn udf() -> Arc<ScalarUDF> {
    static MOD: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Modulo::default())));
    MOD.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Modulo {
    signature: Signature,
}

impl Default for Modulo {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Modulo {
    fn name(&self) -> &str {
        "mod"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of MOD depends on its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let (a, b) = (args.arg_fields[0].data_type(), args.arg_fields[1].data_type());
        let Some(data_type) = larger(a, b) else {
            let [a, b] = [0, 1].map(|place: usize| sql_type_name(&args.arg_fields[place]));
            return plan_err!("cannot divide {a} by {b} with a rest: MOD takes two whole numbers");
        };
        Ok(Arc::new(Field::new(self.name(), data_type, any_nullable(args.arg_fields))))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_field.data_type();
        zip_columns(&args.args[0], &args.args[1], |a, b| Ok(rest(a, b, data_type)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_MATH,
                "Returns what is left of a whole number divided by another; it has the sign of the first.",
                "mod(a, b)",
            )
            .with_sql_example(
                r#"```sql
> select mod(-4, 3) as m;
+----+
| m  |
+----+
| -1 |
+----+
```"#,
            )
            .with_argument("a", "A whole number.")
            .with_argument("b", "A whole number that is not zero.")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}

/// Digits that a whole type can have; None of other types.
fn digits(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 | DataType::UInt8 => Some(3),
        DataType::Int16 | DataType::UInt16 => Some(5),
        DataType::Int32 | DataType::UInt32 => Some(10),
        DataType::Int64 => Some(19),
        DataType::UInt64 => Some(20),
        DataType::Decimal128(precision, 0) => Some(*precision),
        _ => None,
    }
}

/// A DECIMAL beside a whole type counts by its digits; a type without sign, which no SQL column has, is the next larger one.
fn larger(a: &DataType, b: &DataType) -> Option<DataType> {
    if a.is_null() || b.is_null() {
        let other = if a.is_null() { b } else { a };
        return if other.is_null() { Some(DataType::Int32) } else { larger(other, other) };
    }
    let precision = digits(a)?.max(digits(b)?);
    let is_decimal = |data_type: &DataType| matches!(data_type, DataType::Decimal128(..) | DataType::UInt64);
    if is_decimal(a) || is_decimal(b) {
        return Some(DataType::Decimal128(precision, 0));
    }
    let bits = |data_type: &DataType| data_type.primitive_width().unwrap_or(8) << u8::from(data_type.is_unsigned_integer());
    Some(match bits(a).max(bits(b)) {
        1 => DataType::Int8,
        2 => DataType::Int16,
        4 => DataType::Int32,
        _ => DataType::Int64,
    })
}

fn rest(a: &ArrayRef, b: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    macro_rules! rest {
        ($type:ty) => {{
            let (a, b) = (cast(a, data_type)?, cast(b, data_type)?);
            let rest: PrimitiveArray<$type> = try_binary(a.as_primitive::<$type>(), b.as_primitive::<$type>(), |a, b| {
                // The smallest number divided by −1 has no quotient but a rest of 0.
                if b == 0 { Err(ArrowError::DivideByZero) } else { Ok(a.wrapping_rem(b)) }
            })?;
            rest
        }};
    }
    Ok(match data_type {
        DataType::Int8 => Arc::new(rest!(Int8Type)),
        DataType::Int16 => Arc::new(rest!(Int16Type)),
        DataType::Int32 => Arc::new(rest!(Int32Type)),
        DataType::Int64 => Arc::new(rest!(Int64Type)),
        _ => {
            let rest: Decimal128Array = rest!(Decimal128Type);
            Arc::new(rest.with_data_type(data_type.clone()))
        }
    })
}
