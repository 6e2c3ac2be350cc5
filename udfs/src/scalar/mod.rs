//! Scalar functions, one per file.

pub mod abs;
mod calendar;
pub mod change_case;
pub mod char_to;
pub mod coalesce;
pub mod compare_periods;
mod date_pattern;
mod decimal;
pub mod decimal_divide;
pub mod decimal_multiply;
mod fast_regex;
pub mod fast_regex_log_parse;
pub mod fixed_column_log_parse;
pub mod floor_to;
pub mod initcap;
mod instant;
pub mod interval_cast;
mod interval_round;
pub mod interval_scale;
pub mod is_like;
mod java_regex;
pub mod kda_cast;
pub mod kda_extract;
mod log_columns;
mod log_record;
pub mod logarithm;
pub mod modulo;
pub mod monotonic;
pub mod nonzero;
pub mod nullif;
pub mod overlay;
mod pattern_cache;
pub mod power;
mod qualifier;
pub mod regex_log_parse;
pub mod regex_replace;
pub mod round_number;
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
pub mod to_char;
pub mod to_timestamp;
pub mod trim;
pub mod ts_minus;
pub mod tsdiff;
mod type_family;
mod unit;
pub mod unix_timestamp;
pub mod variable_column_log_parse;
mod w3c_format;
pub mod w3c_log_parse;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

/// All scalar functions.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        step::udf(),
        floor_to::floor_udf(),
        floor_to::ceil_udf(),
        nonzero::udf(),
        char_to::date_udf(),
        char_to::time_udf(),
        char_to::timestamp_udf(),
        to_char::date_udf(),
        to_char::time_udf(),
        to_char::timestamp_udf(),
        to_timestamp::udf(),
        unix_timestamp::udf(),
        tsdiff::udf(),
        ts_minus::udf(),
        compare_periods::udf(),
        interval_cast::text_udf(),
        interval_cast::number_udf(),
        interval_cast::interval_udf(),
        interval_scale::multiply_udf(),
        interval_scale::divide_udf(),
        decimal_divide::udf(),
        kda_extract::udf(),
        monotonic::udf(),
        abs::udf(),
        round_number::floor_udf(),
        round_number::ceil_udf(),
        logarithm::exp_udf(),
        logarithm::ln_udf(),
        logarithm::log10_udf(),
        power::udf(),
        modulo::udf(),
        nullif::udf(),
        coalesce::udf(),
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
    ]
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

/// Applies `function` to two arguments of one length; of two values it gives one value.
fn zip_columns(
    left: &ColumnarValue,
    right: &ColumnarValue,
    function: impl FnOnce(&ArrayRef, &ArrayRef) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    if let (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) = (left, right) {
        let value = function(&left.to_array()?, &right.to_array()?)?;
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?));
    }
    let columns = ColumnarValue::values_to_arrays(&[left.clone(), right.clone()])?;
    Ok(ColumnarValue::Array(function(&columns[0], &columns[1])?))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
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
