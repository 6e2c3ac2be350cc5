//! NONZERO: passes numbers through and fails for zero. The engine puts it around divisors, so that a division by zero
//! fails for floating point as it does for exact numbers (kda-sql-reference.md §1.7).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, Datum, Scalar};
use arrow::compute::kernels::cmp::eq;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

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

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if arguments[0].is_numeric() || arguments[0].is_null() {
            return Ok(arguments[0].clone());
        }
        plan_err!("NONZERO takes a number, not {}", arguments[0])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let argument = &args.args[0];
        if argument.data_type().is_null() {
            return Ok(argument.clone());
        }
        let zero: Scalar<ArrayRef> = ScalarValue::new_zero(&argument.data_type())?.to_scalar()?;
        let values = argument.to_array(args.number_rows)?;
        // NULL is not zero; −0.0 is: arrow orders it apart, so it is compared by itself.
        let any_zero = |zero: &dyn Datum| Ok::<_, ArrowError>(eq(&values, zero)?.true_count() > 0);
        let negative_zero = match values.data_type() {
            DataType::Float64 => Some(ScalarValue::Float64(Some(-0.0))),
            DataType::Float32 => Some(ScalarValue::Float32(Some(-0.0))),
            _ => None,
        };
        let negative_zero = negative_zero.map(|zero| zero.to_scalar()).transpose()?;
        if any_zero(&zero)? || negative_zero.is_some_and(|zero| any_zero(&zero).unwrap_or(false)) {
            return Err(ArrowError::DivideByZero.into());
        }
        Ok(argument.clone())
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            let section = DocSection { label: "Math Functions", ..DocSection::default() };
            Documentation::builder(section, "Returns its argument, and fails if that is zero.", "nonzero(x)").with_argument("x", "A number.").build()
        });
        Some(&DOCUMENTATION)
    }
}
