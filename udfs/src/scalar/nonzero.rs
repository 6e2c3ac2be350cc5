//! NONZERO: passes numbers through and fails for zero. The engine puts it around divisors, so that a division by zero
//! fails for floating point as it does for exact numbers (kda-sql-reference.md §1.7).
//!
//! Input:  any number. NULL and NaN pass, −0.0 does not.
//! Output: the argument itself, not a copy.
//! Errors: `ArrowError::DivideByZero`, which arrow's own division of exact numbers fails with.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrowPrimitiveType, PrimitiveArray, downcast_primitive_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::order_of_first;

/// The function `nonzero`.
pub fn udf() -> Arc<ScalarUDF> {
    static NONZERO: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Nonzero::default())));
    NONZERO.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nonzero {
    signature: Signature,
}

impl Default for Nonzero {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Nonzero {
    fn name(&self) -> &str {
        "nonzero"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of NONZERO depends on its argument")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = &args.arg_fields[0];
        if field.data_type().is_numeric() || field.data_type().is_null() {
            return Ok(Arc::new(Field::new(self.name(), field.data_type().clone(), field.is_nullable())));
        }
        plan_err!("cannot compare {} with zero: a divisor must be a number", field.data_type())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = match &args.args[0] {
            ColumnarValue::Array(values) => values.clone(),
            ColumnarValue::Scalar(value) => value.to_array()?,
        };
        let values = values.as_ref();
        let zero = downcast_primitive_array!(
            values => has_zero(values),
            _ => false
        );
        if zero {
            return Err(ArrowError::DivideByZero.into());
        }
        Ok(args.args[0].clone())
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(order_of_first(inputs))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(DOC_SECTION_MATH, "Returns its argument, and fails if that is zero.", "nonzero(x)")
                .with_sql_example(
                    r#"```sql
> select 1.0 / nonzero(x) from (values (2.0)) as t(x);
+--------------------------------+
| Float64(1) / nonzero(t.x)      |
+--------------------------------+
| 0.5                            |
+--------------------------------+
```"#,
                )
                .with_argument("x", "A number.")
                .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn has_zero<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>) -> bool {
    const ROWS: usize = 64;
    let zero = T::default_value();
    // No early exit within a chunk, so that it compiles to comparisons of several rows at once.
    values.values().chunks(ROWS).enumerate().any(|(chunk, rows)| {
        rows.iter().fold(false, |found, value| found | (*value == zero))
            && rows.iter().enumerate().any(|(row, value)| *value == zero && values.is_valid(chunk * ROWS + row))
    })
}
