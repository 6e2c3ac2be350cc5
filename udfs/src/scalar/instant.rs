//! Times of any unit as milliseconds, the unit that KDA counts in (kda-sql-reference.md §1.6).

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;

use super::date_pattern::DAY_MS;

/// A TIMESTAMP or DATE in milliseconds since 1970-01-01 00:00:00 UTC, a TIME since midnight, a duration as it is. Parts of
/// a millisecond are dropped towards the past, those of a duration towards zero. Columns in milliseconds are not copied.
pub(crate) fn milliseconds(column: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let unit = match column.data_type() {
        DataType::Null => return Ok(Int64Array::new_null(column.len())),
        DataType::Date32 => {
            let days = cast(column, &DataType::Int32)?;
            return Ok(days.as_primitive::<arrow::datatypes::Int32Type>().unary(|days| i64::from(days) * DAY_MS));
        }
        DataType::Date64 => TimeUnit::Millisecond,
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) | DataType::Duration(unit) => *unit,
        other => return Err(ArrowError::CastError(format!("{other} is no time"))),
    };
    let counts = match column.data_type() {
        DataType::Time32(_) => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(column, &DataType::Int64)?,
    };
    let counts = counts.as_primitive::<Int64Type>();
    let divisor = match unit {
        TimeUnit::Millisecond => return Ok(counts.clone()),
        TimeUnit::Second => {
            return counts.try_unary(|seconds| {
                let ms: Option<i64> = seconds.checked_mul(1_000);
                ms.ok_or_else(|| ArrowError::ArithmeticOverflow(format!("{seconds} seconds are out of range")))
            });
        }
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1_000_000,
    };
    Ok(match column.data_type() {
        DataType::Duration(_) => counts.unary(|count| count / divisor),
        _ => counts.unary(|count| count.div_euclid(divisor)),
    })
}
