//! POWER(base, exponent) (kda-sql-reference.md §5.7).
//!
//! Input:  any two numbers.
//! Output: DOUBLE; NULL for NULL. What is past the largest DOUBLE is infinite (§8.2).
//! Errors: zero to a negative power and a negative number to one that is not whole, for the row; other types, when the
//!         query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::kernels::arity::try_binary;
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::kda_cast::cast;
use super::{any_nullable, zip_columns};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `power`, also called `pow`, as DataFusion's is: under either name it is this one.
pub fn udf() -> Arc<ScalarUDF> {
    static POWER: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Power::default())));
    POWER.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Power {
    aliases: Vec<String>,
    signature: Signature,
}

impl Default for Power {
    fn default() -> Self {
        Self { aliases: vec!["pow".to_owned()], signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Power {
    fn name(&self) -> &str {
        "power"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if args.arg_fields.iter().any(|field| !field.data_type().is_numeric() && !field.data_type().is_null()) {
            let [base, exponent] = [0, 1].map(|place: usize| sql_type_name(&args.arg_fields[place]));
            return plan_err!("cannot raise {base} to the power of {exponent}: POWER takes two numbers");
        }
        Ok(SqlType::Double.field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        zip_columns(&args.args[0], &args.args[1], |bases, exponents| {
            let (bases, exponents) = (cast(bases, SqlType::Double)?, cast(exponents, SqlType::Double)?);
            let powers: Float64Array =
                try_binary(bases.as_primitive::<Float64Type>(), exponents.as_primitive::<Float64Type>(), power)?;
            Ok(Arc::new(powers) as ArrayRef)
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(DOC_SECTION_MATH, "Returns a number raised to the power of another.", "power(base, exponent)")
                .with_sql_example(
                    r#"```sql
> select power(4, -2) as x;
+--------+
| x      |
+--------+
| 0.0625 |
+--------+
```"#,
                )
                .with_argument("base", "A number. Zero has no negative powers, a negative number only whole ones.")
                .with_argument("exponent", "A number.")
                .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn power(base: f64, exponent: f64) -> Result<f64, ArrowError> {
    let undefined =
        (base == 0.0 && exponent < 0.0) || (base < 0.0 && base.is_finite() && exponent.is_finite() && exponent.fract() != 0.0);
    if undefined {
        let rule = if base == 0.0 { "zero has no negative power" } else { "a negative number has only whole powers" };
        return Err(ArrowError::ComputeError(format!("cannot raise {base} to the power of {exponent}: {rule}")));
    }
    Ok(base.powf(exponent))
}
