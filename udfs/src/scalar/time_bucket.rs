//! Rounding of times and whole numbers to buckets of one width.
//!
//! Input and output: any TIMESTAMP, DATE, TIME or integer array, read and written in its own unit.
//! A bucket is `[start, end)`; `start` is a multiple of the width counted from 0: 1970-01-01 00:00:00 UTC, midnight
//! for a TIME. Months are counted from January 1970. What lies before is rounded towards the past, not towards 1970
//! (kda-sql-reference.md §8.6).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DataFusionError, Result, exec_err};

use super::calendar::{civil_from_days, days_from_civil};

/// The buckets of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buckets {
    /// So many units of the column wide; positive.
    Units(i64),
    /// So many calendar months wide; positive. A day has so many units of the column.
    Months { count: i64, units_per_day: i64 },
}

/// Which end of its bucket stands for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rounding {
    /// The start.
    Down,
    /// The end, except that a start stays what it is.
    Up,
}

/// The units of a TIMESTAMP, DATE or TIME that make up one day; None for any other type.
pub(crate) fn units_per_day(data_type: &DataType) -> Option<i64> {
    let unit = match data_type {
        DataType::Date32 => return Some(1),
        DataType::Date64 => TimeUnit::Millisecond,
        DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => *unit,
        _ => return None,
    };
    let units_per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    Some(86_400 * units_per_second)
}

/// The error of a value whose rounding its type cannot hold.
pub(crate) fn out_of_range(value: &str, rounding: Rounding) -> DataFusionError {
    let direction = if rounding == Rounding::Up { "up" } else { "down" };
    ArrowError::ArithmeticOverflow(format!("{value} cannot be rounded {direction}: the result is out of range")).into()
}

impl Buckets {
    /// Rounds every value of `column`; the result has the column's type. Fails for a value whose bucket leaves the
    /// range of that type, and for types without buckets.
    pub(crate) fn round(self, column: &ArrayRef, rounding: Rounding) -> Result<ArrayRef> {
        macro_rules! rounded {
            ($type:ty) => {
                self.round_values::<$type>(column.as_primitive(), rounding)
            };
        }
        match column.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => rounded!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => rounded!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => rounded!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => rounded!(TimestampNanosecondType),
            DataType::Date32 => rounded!(Date32Type),
            DataType::Date64 => rounded!(Date64Type),
            DataType::Time32(TimeUnit::Second) => rounded!(Time32SecondType),
            DataType::Time32(_) => rounded!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => rounded!(Time64MicrosecondType),
            DataType::Time64(_) => rounded!(Time64NanosecondType),
            DataType::Int8 => rounded!(Int8Type),
            DataType::Int16 => rounded!(Int16Type),
            DataType::Int32 => rounded!(Int32Type),
            DataType::Int64 => rounded!(Int64Type),
            DataType::UInt8 => rounded!(UInt8Type),
            DataType::UInt16 => rounded!(UInt16Type),
            DataType::UInt32 => rounded!(UInt32Type),
            other => exec_err!("a value of type {other} has no buckets"),
        }
    }

    /// Neighbouring rows mostly share a bucket, so that a subtraction and a comparison per row decide; only a row in
    /// another bucket than the row before it pays for a division or a look at the calendar.
    fn round_values<T>(self, column: &PrimitiveArray<T>, rounding: Rounding) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i64> + TryFrom<i64>,
    {
        // Rounding up takes the end of the bucket that holds the value before: a start then belongs to the bucket it ends.
        let shift = i64::from(rounding == Rounding::Up);
        let one_day = match column.data_type() {
            DataType::Time32(_) | DataType::Time64(_) => units_per_day(column.data_type()),
            _ => None,
        };
        let (mut start, mut width, mut result) = (0_i64, 0_u64, T::default_value());
        let mut rounded = vec![T::default_value(); column.len()];
        for (row, (slot, value)) in rounded.iter_mut().zip(column.values()).enumerate() {
            let value: i64 = (*value).into();
            // A bucket kept here ends within an i64: what lies before it wraps to more than its width.
            if value.wrapping_sub(shift).wrapping_sub(start) as u64 >= width && column.is_valid(row) {
                let bucket = value.checked_sub(shift).and_then(|value| self.around(value));
                let kept = bucket.and_then(|(bucket_start, bucket_end)| {
                    let edge = if rounding == Rounding::Up { bucket_end? } else { bucket_start };
                    let in_range = one_day.is_none_or(|units| edge < units);
                    let native = T::Native::try_from(edge).ok().filter(|_| in_range)?;
                    Some((bucket_start, bucket_end.unwrap_or(i64::MAX), native))
                });
                let Some((bucket_start, bucket_end, native)) = kept else {
                    return Err(out_of_range(&shown(column, row, value), rounding));
                };
                (start, width, result) = (bucket_start, bucket_end.abs_diff(bucket_start), native);
            }
            *slot = result;
        }
        let rounded = PrimitiveArray::<T>::try_new(rounded.into(), column.nulls().cloned())?;
        Ok(Arc::new(rounded.with_data_type(column.data_type().clone())))
    }

    /// Start and end of the bucket that holds `value`; no end if it lies past the largest i64, None if the start does.
    fn around(self, value: i64) -> Option<(i64, Option<i64>)> {
        match self {
            Buckets::Units(width) => {
                let start = value.checked_sub(value.rem_euclid(width))?;
                Some((start, start.checked_add(width)))
            }
            Buckets::Months { count, units_per_day } => {
                let (year, month, _) = civil_from_days(value.div_euclid(units_per_day));
                let month = (year - 1970) * 12 + i64::from(month) - 1;
                let first = month.checked_sub(month.rem_euclid(count))?;
                Some((start_of_month(first, units_per_day)?, start_of_month(first.checked_add(count)?, units_per_day)))
            }
        }
    }
}

/// A value in a message; of times without a text, the years of which are too large, the number that it is.
fn shown(column: &dyn Array, row: usize, value: i64) -> String {
    let text = ArrayFormatter::try_new(column, &FormatOptions::new()).and_then(|texts| texts.value(row).try_to_string());
    text.unwrap_or_else(|_| match column.data_type() {
        DataType::Timestamp(unit, _) => format!("a TIMESTAMP of {value} {} since 1970", units_of(*unit)),
        DataType::Date32 => format!("a DATE of {value} days since 1970"),
        _ => value.to_string(),
    })
}

fn units_of(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}

/// The start of a month counted from January 1970.
fn start_of_month(month: i64, units_per_day: i64) -> Option<i64> {
    let year = 1970 + month.div_euclid(12);
    // Years outside these have no i64 of the coarsest unit, seconds or days of a DATE; the bound keeps the calendar exact.
    if !(-300_000_000_000..=300_000_000_000).contains(&year) {
        return None;
    }
    days_from_civil(year, month.rem_euclid(12) as u32 + 1, 1).checked_mul(units_per_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(values: Vec<Option<i64>>, buckets: Buckets, rounding: Rounding) -> Result<Vec<Option<i64>>> {
        let column: ArrayRef = Arc::new(PrimitiveArray::<TimestampMillisecondType>::from(values));
        Ok(buckets.round(&column, rounding)?.as_primitive::<TimestampMillisecondType>().iter().collect())
    }

    #[test]
    fn every_order_of_rows_gives_the_same_buckets() {
        let values: Vec<i64> = (-40..40).flat_map(|value| [value, -value, value * 7 % 31]).collect();
        let down: Vec<_> = values.iter().map(|value| Some(value.div_euclid(10) * 10)).collect();
        let up: Vec<_> = values.iter().map(|value| Some((value + 9).div_euclid(10) * 10)).collect();
        let values: Vec<_> = values.into_iter().map(Some).collect();
        assert_eq!(round(values.clone(), Buckets::Units(10), Rounding::Down).expect("in range"), down);
        assert_eq!(round(values, Buckets::Units(10), Rounding::Up).expect("in range"), up);
    }

    #[test]
    fn ends_of_the_range_are_rounded_or_refused_but_never_wrap() {
        let units = Buckets::Units(1_000);
        assert_eq!(
            round(vec![Some(i64::MAX), Some(i64::MIN + 2_000)], units, Rounding::Down).expect("in range")[0],
            Some(i64::MAX - 807)
        );
        assert_eq!(round(vec![Some(0), Some(i64::MAX), Some(0)], units, Rounding::Down).expect("in range")[2], Some(0));
        assert!(round(vec![Some(i64::MAX)], units, Rounding::Up).is_err());
        assert!(round(vec![Some(i64::MIN)], units, Rounding::Down).is_err());
        assert!(round(vec![Some(i64::MIN)], units, Rounding::Up).is_err());
        let years = Buckets::Months { count: 12, units_per_day: 86_400_000 };
        assert!(round(vec![Some(i64::MAX)], years, Rounding::Down).is_ok());
        assert!(round(vec![Some(i64::MAX)], years, Rounding::Up).is_err());
        assert!(round(vec![Some(i64::MIN)], years, Rounding::Down).is_err());
    }

    #[test]
    fn what_lies_under_null_is_not_read() {
        let values =
            PrimitiveArray::<TimestampMillisecondType>::new(vec![5, i64::MIN, 17].into(), Some(vec![true, false, true].into()));
        let column: ArrayRef = Arc::new(values);
        let rounded = Buckets::Units(10).round(&column, Rounding::Down).expect("the row out of range is NULL");
        let expected: ArrayRef = Arc::new(PrimitiveArray::<TimestampMillisecondType>::from(vec![Some(0), None, Some(10)]));
        assert_eq!(&rounded, &expected);
    }
}
