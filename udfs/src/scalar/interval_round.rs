//! FLOOR(i TO unit) and CEIL(i TO unit) of intervals (kda-sql-reference.md §5.7): whole units, downwards or upwards.
//!
//! Input and output: an interval or duration, read and written in its own type. Days count 24 hours.
//! Errors: months rounded to a part of a month, or time to months; a result out of range, for the row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, DurationMillisecondType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, plan_err};

use super::time_bucket::Rounding;
use super::unit::Unit;

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_DAY: i64 = 86_400_000_000_000;

/// True for the types of intervals.
pub(crate) fn is_interval(data_type: &DataType) -> bool {
    use DataType::{Duration, Interval};
    matches!(data_type, Duration(TimeUnit::Millisecond) | Interval(IntervalUnit::YearMonth | IntervalUnit::MonthDayNano))
}

/// Fails if no interval of this type has units of this kind.
pub(crate) fn check(data_type: &DataType, unit: Unit) -> Result<()> {
    match (data_type, unit.milliseconds()) {
        (DataType::Duration(_), None) => plan_err!("an interval of days and less has no {}", name(unit)),
        (DataType::Interval(IntervalUnit::YearMonth), Some(_)) => {
            plan_err!("an interval of years and months has no {}", name(unit))
        }
        _ => Ok(()),
    }
}

/// Rounds every interval of `column`, which is of a type that [`is_interval`], to whole units.
pub(crate) fn round(column: &ArrayRef, unit: Unit, rounding: Rounding) -> Result<ArrayRef> {
    check(column.data_type(), unit)?;
    let months_per_unit = if unit == Unit::Year { 12 } else { 1 };
    let ms_per_unit = unit.milliseconds().unwrap_or(1);
    Ok(match column.data_type() {
        DataType::Duration(_) => {
            let values = column.as_primitive::<DurationMillisecondType>();
            Arc::new(values.try_unary::<_, DurationMillisecondType, _>(|ms| whole(ms, ms_per_unit, rounding))?)
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let values = column.as_primitive::<IntervalYearMonthType>();
            let round = |months: i32| narrow(whole(i64::from(months), months_per_unit, rounding)?);
            Arc::new(values.try_unary::<_, IntervalYearMonthType, _>(round)?)
        }
        _ => {
            let mixed =
                || ArrowError::ComputeError(format!("an interval cannot be rounded to {}: it is of another kind", name(unit)));
            let round = |value: IntervalMonthDayNano| {
                let time = i64::from(value.days).checked_mul(NS_PER_DAY).and_then(|days| days.checked_add(value.nanoseconds));
                let time = time.ok_or_else(out_of_range)?;
                match unit.milliseconds() {
                    None if time != 0 => Err(mixed()),
                    None => {
                        Ok(IntervalMonthDayNano::new(narrow(whole(i64::from(value.months), months_per_unit, rounding)?)?, 0, 0))
                    }
                    Some(_) if value.months != 0 => Err(mixed()),
                    Some(ms) => Ok(IntervalMonthDayNano::new(0, 0, whole(time, ms * NS_PER_MS, rounding)?)),
                }
            };
            let values = column.as_primitive::<IntervalMonthDayNanoType>();
            Arc::new(values.try_unary::<_, IntervalMonthDayNanoType, _>(round)?)
        }
    })
}

fn whole(value: i64, size: i64, rounding: Rounding) -> Result<i64, ArrowError> {
    let (units, rest) = (value.div_euclid(size), value.rem_euclid(size));
    let units = if rounding == Rounding::Up && rest > 0 { units + 1 } else { units };
    units.checked_mul(size).ok_or_else(out_of_range)
}

fn narrow(months: i64) -> Result<i32, ArrowError> {
    i32::try_from(months).map_err(|_| out_of_range())
}

fn out_of_range() -> ArrowError {
    ArrowError::ArithmeticOverflow("an interval is out of range".to_owned())
}

fn name(unit: Unit) -> String {
    format!("{unit:?}").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_units_are_found_downwards_and_upwards() {
        for (value, down, up) in [(90, 60, 120), (60, 60, 60), (0, 0, 0), (-1, -60, 0), (-60, -60, -60)] {
            assert_eq!(whole(value, 60, Rounding::Down).expect("in range"), down, "{value}");
            assert_eq!(whole(value, 60, Rounding::Up).expect("in range"), up, "{value}");
        }
        assert!(whole(i64::MIN, 60, Rounding::Down).is_err());
        assert!(whole(i64::MAX, 60, Rounding::Up).is_err());
    }
}
