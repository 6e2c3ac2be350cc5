//! FLOOR(x), CEIL(x): the nearest whole number below or above (kda-sql-reference.md §5.7). FLOOR(x TO unit) is floor_to.rs.
//!
//! Input:  any number.
//! Output: the argument's type; of DECIMAL(p, s) DECIMAL(p, 0). NULL for NULL. Whole numbers are passed, not copied.
//! Order:  that of the number.
//! Errors: other types, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::decimal::power_of_ten;
use super::time_bucket::Rounding;
use super::{map_column, order_of_first};
use crate::sql_type::sql_type_name;

/// The function `floor`.
pub fn floor_udf() -> Arc<ScalarUDF> {
    static FLOOR: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| RoundNumber::udf(Rounding::Down));
    FLOOR.clone()
}

/// The function `ceil`, also called `ceiling`.
pub fn ceil_udf() -> Arc<ScalarUDF> {
    static CEIL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| RoundNumber::udf(Rounding::Up));
    CEIL.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundNumber {
    rounding: Rounding,
    aliases: Vec<String>,
    signature: Signature,
}

impl RoundNumber {
    fn udf(rounding: Rounding) -> Arc<ScalarUDF> {
        let aliases = if rounding == Rounding::Up { vec!["ceiling".to_owned()] } else { Vec::new() };
        Arc::new(ScalarUDF::from(RoundNumber { rounding, aliases, signature: Signature::any(1, Volatility::Immutable) }))
    }
}

impl ScalarUDFImpl for RoundNumber {
    fn name(&self) -> &str {
        match self.rounding {
            Rounding::Down => "floor",
            Rounding::Up => "ceil",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} depends on its argument", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let source = &args.arg_fields[0];
        let data_type = match source.data_type() {
            DataType::Decimal128(precision, scale) if *scale > 0 => DataType::Decimal128(*precision, 0),
            exact if exact.is_integer() || exact.is_null() || matches!(exact, DataType::Decimal128(..)) => exact.clone(),
            float @ (DataType::Float32 | DataType::Float64) => float.clone(),
            _ => {
                let name = self.name().to_uppercase();
                return plan_err!("cannot round {}: {name}(x) takes a number, {name}(x TO unit) a time", sql_type_name(source));
            }
        };
        Ok(Arc::new(Field::new(self.name(), data_type, source.is_nullable())))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let up = self.rounding == Rounding::Up;
        map_column(&args.args[0], |column| {
            Ok(match column.data_type() {
                DataType::Float32 => {
                    let round = if up { f32::ceil } else { f32::floor };
                    Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(round)) as ArrayRef
                }
                DataType::Float64 => {
                    let round = if up { f64::ceil } else { f64::floor };
                    Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(round))
                }
                DataType::Decimal128(precision, scale) if *scale > 0 => {
                    let one = power_of_ten(scale.unsigned_abs().into()).unwrap_or(i128::MAX);
                    // The quotient has a digit less than the precision, so that one more cannot overflow.
                    let round = |value: i128| value.div_euclid(one) + i128::from(up && value.rem_euclid(one) != 0);
                    let rounded = column.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(round);
                    Arc::new(rounded.with_data_type(DataType::Decimal128(*precision, 0)))
                }
                _ => column.clone(),
            })
        })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(order_of_first(inputs))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 2]> = LazyLock::new(|| {
            [("floor", "largest whole number that is not above", "-4"), ("ceil", "smallest whole number that is not below", "-3")]
                .map(|(name, what, result)| {
                    Documentation::builder(DOC_SECTION_MATH, format!("Returns the {what} a number."), format!("{name}(x)"))
                        .with_sql_example(format!(
                            "```sql\n> select {name}(CAST(-3.3 AS DECIMAL(2, 1))) as x;\n+----+\n| x  |\n+----+\n\
                             | {result} |\n+----+\n```"
                        ))
                        .with_argument("x", "A number. The result has its type; of a DECIMAL no digits after the point.")
                        .with_related_udf(format!("{name}_to"))
                        .build()
                })
        });
        Some(&DOCUMENTATION[usize::from(self.rounding == Rounding::Up)])
    }
}
