//! Floors of time: whole milliseconds, or calendar months.
//!
//! Input and output: `Timestamp(ms)` arrays. Times before 1970 are floored towards the past, not towards 1970
//! (kda-sql-reference.md §8.6).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use chrono::{DateTime, Datelike, NaiveDate};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

/// The width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Milliseconds, counted from 1970-01-01 00:00:00.
    Milliseconds(i64),
    /// Calendar months, counted from January 1970.
    Months(i64),
}

/// Rounds every instant of `column` (a timestamp, date or time of day) down to a multiple of `width`, or up if `up`;
/// the result has the column's type.
pub fn bucket(column: &ArrayRef, width: Width, up: bool) -> Result<ArrayRef> {
    if !matches!(column.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_)) {
        return exec_err!("a value of type {} is not a time", column.data_type());
    }
    let is_time_of_day = matches!(column.data_type(), DataType::Time32(_) | DataType::Time64(_));
    let milliseconds = if is_time_of_day {
        let milliseconds = cast(column, &DataType::Time32(TimeUnit::Millisecond))?;
        cast(&cast(&milliseconds, &DataType::Int32)?, &DataType::Int64)?
    } else {
        column.clone()
    };
    let instants = cast(&milliseconds, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
    let instants = instants.as_primitive::<TimestampMillisecondType>();
    let rounded: PrimitiveArray<TimestampMillisecondType> = match width {
        Width::Milliseconds(width) if width > 0 => floor_milliseconds(instants, width, up),
        Width::Months(width) if width > 0 => instants.try_unary(|time| round_months(time, width, up))?,
        _ => return exec_err!("the width of a time bucket must be positive"),
    };
    let rounded: ArrayRef = Arc::new(rounded);
    if is_time_of_day {
        let number = cast(&cast(&rounded, &DataType::Int64)?, &DataType::Int32)?;
        return Ok(cast(&cast(&number, &DataType::Time32(TimeUnit::Millisecond))?, column.data_type())?);
    }
    Ok(cast(&rounded, column.data_type())?)
}

/// Neighbouring rows mostly share a bucket: dividing only where they do not makes this a comparison per row.
fn floor_milliseconds(instants: &PrimitiveArray<TimestampMillisecondType>, width: i64, up: bool) -> PrimitiveArray<TimestampMillisecondType> {
    let (mut start, mut end) = (0, 0);
    let rounded = instants.values().iter().map(|time| {
        // Rounding up is rounding down one millisecond earlier, plus one bucket.
        let time = if up { time.saturating_sub(1) } else { *time };
        if time < start || time >= end {
            start = time.div_euclid(width).saturating_mul(width);
            end = start.saturating_add(width);
        }
        if up { end } else { start }
    });
    PrimitiveArray::new(rounded.collect(), instants.nulls().cloned())
}

fn round_months(time: i64, width: i64, up: bool) -> Result<i64> {
    let date = DateTime::from_timestamp_millis(time).ok_or_else(|| exec_datafusion_err!("time {time} ms is out of range"))?;
    let month = (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0());
    let floor = month.div_euclid(width) * width;
    let start = start_of_month(floor)?;
    if up && start < time { start_of_month(floor + width) } else { Ok(start) }
}

fn start_of_month(month: i64) -> Result<i64> {
    let year = i32::try_from(1970 + month.div_euclid(12)).ok();
    let date = year.and_then(|year| NaiveDate::from_ymd_opt(year, month.rem_euclid(12) as u32 + 1, 1));
    let date = date.and_then(|date| date.and_hms_opt(0, 0, 0));
    date.map(|date| date.and_utc().timestamp_millis()).ok_or_else(|| exec_datafusion_err!("month {month} since 1970 is out of range"))
}
