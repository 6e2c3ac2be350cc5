//! Scalar functions, one per file.

mod calendar;
pub mod change_case;
mod decimal;
mod fast_regex;
pub mod fast_regex_log_parse;
pub mod fixed_column_log_parse;
pub mod floor_to;
pub mod initcap;
pub mod is_like;
mod java_regex;
pub mod kda_cast;
mod log_columns;
mod log_record;
pub mod nonzero;
pub mod overlay;
mod pattern_cache;
pub mod regex_log_parse;
pub mod regex_replace;
mod similar_pattern;
pub mod similar_to;
pub mod step;
pub mod substring;
pub mod substring_similar;
pub mod sys_log_parse;
#[cfg(test)]
mod tests;
mod text_arguments;
mod text_function;
mod time_bucket;
pub mod trim;
pub mod variable_column_log_parse;
mod w3c_format;
pub mod w3c_log_parse;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

/// All scalar functions.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let mut all = vec![step::udf(), floor_to::floor_udf(), floor_to::ceil_udf(), nonzero::udf()];
    all.extend([
        change_case::upper_udf(),
        change_case::lower_udf(),
        initcap::udf(),
        overlay::udf(),
        substring::udf(),
        substring::from_udf(),
        substring_similar::udf(),
        trim::both_udf(),
        trim::leading_udf(),
        trim::trailing_udf(),
        regex_replace::udf(),
        similar_to::udf(),
        is_like::udf(),
        fast_regex_log_parse::udf(),
        fixed_column_log_parse::udf(),
        regex_log_parse::udf(),
        sys_log_parse::udf(),
        variable_column_log_parse::udf(),
        w3c_log_parse::udf(),
    ]);
    all
}

/// Applies `function` to an argument that is a column or one value, and gives back the same of the two.
fn map_column(argument: &ColumnarValue, function: impl FnOnce(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match argument {
        ColumnarValue::Array(column) => Ok(ColumnarValue::Array(function(column)?)),
        ColumnarValue::Scalar(value) => {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&function(&value.to_array()?)?, 0)?))
        }
    }
}

fn any_nullable(fields: &[FieldRef]) -> bool {
    fields.iter().any(|field| field.is_nullable())
}

/// The order of a function that rises with its first argument while the others are constant.
fn order_of_first(inputs: &[ExprProperties]) -> SortProperties {
    match inputs.split_first() {
        Some((first, others)) if others.iter().all(|other| other.sort_properties == SortProperties::Singleton) => {
            first.sort_properties
        }
        _ => SortProperties::Unordered,
    }
}
