//! EXP(x), LN(x), LOG10(x): the exponential function and its inverses (kda-sql-reference.md §5.7).
//!
//! Input:  any number.
//! Output: DOUBLE; NULL for NULL. An EXP past the largest DOUBLE is infinite (§8.2).
//! Order:  that of the number.
//! Errors: a logarithm of zero or less, for the row; other types, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::kda_cast::cast;
use super::{any_nullable, map_column, order_of_first};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `exp`.
pub fn exp_udf() -> Arc<ScalarUDF> {
    static EXP: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Exponential::udf(Kind::Exp));
    EXP.clone()
}

/// The function `ln`.
pub fn ln_udf() -> Arc<ScalarUDF> {
    static LN: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Exponential::udf(Kind::Ln));
    LN.clone()
}

/// The function `log10`.
pub fn log10_udf() -> Arc<ScalarUDF> {
    static LOG10: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Exponential::udf(Kind::Log10));
    LOG10.clone()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Exp,
    Ln,
    Log10,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exponential {
    kind: Kind,
    signature: Signature,
}

impl Exponential {
    fn udf(kind: Kind) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Exponential { kind, signature: Signature::any(1, Volatility::Immutable) }))
    }
}

impl ScalarUDFImpl for Exponential {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Exp => "exp",
            Kind::Ln => "ln",
            Kind::Log10 => "log10",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let source = &args.arg_fields[0];
        if !source.data_type().is_numeric() && !source.data_type().is_null() {
            let name = self.name().to_uppercase();
            return plan_err!("cannot take {name} of {}: it takes a number", sql_type_name(source));
        }
        Ok(SqlType::Double.field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map_column(&args.args[0], |column| {
            let numbers = cast(column, SqlType::Double)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            let values: Float64Array = match self.kind {
                Kind::Exp => numbers.unary(f64::exp),
                Kind::Ln => positive(numbers)?.unary(f64::ln),
                Kind::Log10 => positive(numbers)?.unary(f64::log10),
            };
            Ok(Arc::new(values) as ArrayRef)
        })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(order_of_first(inputs))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 3]> = LazyLock::new(|| {
            [
                ("exp", "Returns e to the power of a number.", "0"),
                ("ln", "Returns the natural logarithm of a number, and fails if that is zero or less.", "1"),
                ("log10", "Returns the logarithm to the base 10 of a number, and fails if that is zero or less.", "100"),
            ]
            .map(|(name, what, argument)| {
                let result = if argument == "0" {
                    "1.0"
                } else if argument == "1" {
                    "0.0"
                } else {
                    "2.0"
                };
                Documentation::builder(DOC_SECTION_MATH, what, format!("{name}(x)"))
                    .with_sql_example(format!(
                        "```sql\n> select {name}({argument}) as x;\n+-----+\n| x   |\n+-----+\n| {result} |\n+-----+\n```"
                    ))
                    .with_argument("x", "A number.")
                    .build()
            })
        });
        Some(&DOCUMENTATION[self.kind as usize])
    }
}

/// Fails for the first number that has no logarithm.
fn positive(numbers: &Float64Array) -> Result<&Float64Array, ArrowError> {
    let wrong = (0..numbers.len()).find(|row| numbers.value(*row) <= 0.0 && numbers.is_valid(*row));
    match wrong {
        Some(row) => {
            let number = numbers.value(row);
            Err(ArrowError::ComputeError(format!("{number} has no logarithm: it must be greater than zero")))
        }
        None => Ok(numbers),
    }
}
