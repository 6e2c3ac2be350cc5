//! Intervals by their qualifier: which fields they have, how they are written and read (kda-sql-reference.md §1.5, §1.8).
//!
//! An interval is a number of months (`YEAR TO MONTH`) or of milliseconds (`DAY TO SECOND`). No Arrow type holds the fields that it
//! is written with, so they go along as the name of the qualifier. A difference of one field, `(a - b) MINUTE`, is the number of its
//! units; [`Qualifier::counts`] takes it as well.

use std::fmt::{self, Write};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Decimal128Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use datafusion::common::{Result, ScalarValue, plan_err};

use super::date_pattern::DAY_MS;
use super::instant::milliseconds;
use super::unit::Unit;

/// The fields of an interval, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Qualifier {
    pub(crate) first: Unit,
    pub(crate) last: Unit,
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |unit: Unit| format!("{unit:?}").to_uppercase();
        f.write_str(&name(self.first))?;
        if self.first == self.last { Ok(()) } else { write!(f, " TO {}", name(self.last)) }
    }
}

impl Qualifier {
    /// `MINUTE`, `DAY TO SECOND`; precisions are for the caller to drop, as every value fits.
    pub(crate) fn of_constant(constant: Option<&ScalarValue>) -> Result<Self> {
        let Some(text) = constant.and_then(|constant| constant.try_as_str().flatten()) else {
            return plan_err!("the qualifier of an interval must be a constant such as 'DAY TO SECOND'");
        };
        let upper = text.to_ascii_uppercase();
        let (first, last) = upper.split_once(" TO ").unwrap_or((&upper, &upper));
        let (first, last) = (Unit::parse(first)?, Unit::parse(last)?);
        let mixed = (first <= Unit::Month) != (last <= Unit::Month);
        if first > last || mixed {
            return plan_err!("{text} is no qualifier of an interval: its fields go from YEAR to MONTH or from DAY to SECOND");
        }
        Ok(Self { first, last })
    }

    /// The only field.
    pub(crate) fn one_field(self) -> Option<Unit> {
        (self.first == self.last).then_some(self.first)
    }

    pub(crate) fn is_of_months(self) -> bool {
        self.last <= Unit::Month
    }

    /// Months or milliseconds of one unit.
    fn size(unit: Unit) -> i64 {
        unit.milliseconds().unwrap_or(if unit == Unit::Year { 12 } else { 1 })
    }

    /// True if a column of this type can have such intervals.
    pub(crate) fn is_held_by(self, data_type: &DataType) -> bool {
        match data_type {
            DataType::Null | DataType::Interval(IntervalUnit::MonthDayNano) => true,
            DataType::Interval(IntervalUnit::YearMonth) => self.is_of_months(),
            DataType::Duration(_) | DataType::Interval(IntervalUnit::DayTime) => !self.is_of_months(),
            number => number.is_numeric() && self.first == self.last,
        }
    }

    /// Months or milliseconds of the intervals in a column.
    pub(crate) fn counts(self, column: &ArrayRef) -> Result<Int64Array, ArrowError> {
        let mixed = || ArrowError::CastError(format!("an interval of months and days is no INTERVAL {self}"));
        match column.data_type() {
            DataType::Null => Ok(Int64Array::new_null(column.len())),
            DataType::Duration(_) => milliseconds(column),
            DataType::Interval(IntervalUnit::YearMonth) => {
                Ok(column.as_primitive::<IntervalYearMonthType>().unary::<_, Int64Type>(i64::from))
            }
            DataType::Interval(IntervalUnit::DayTime) => Ok(column
                .as_primitive::<IntervalDayTimeType>()
                .unary::<_, Int64Type>(|value| i64::from(value.days) * DAY_MS + i64::from(value.milliseconds))),
            DataType::Interval(IntervalUnit::MonthDayNano) => column
                .as_primitive::<IntervalMonthDayNanoType>()
                .try_unary::<_, Int64Type, _>(|value| match (self.is_of_months(), value.months, value.days, value.nanoseconds) {
                    (true, months, 0, 0) => Ok(i64::from(months)),
                    (false, 0, days, nanoseconds) => Ok(i64::from(days) * DAY_MS + nanoseconds / 1_000_000),
                    _ => Err(mixed()),
                }),
            _ => {
                // Units of the one field, to the thousandth.
                const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };
                let size = i128::from(Self::size(self.last));
                let thousandths = cast_with_options(column, &DataType::Decimal128(38, 3), &STRICT)?;
                thousandths.as_primitive::<Decimal128Type>().try_unary::<_, Int64Type, _>(|thousandths| {
                    let count = thousandths.checked_mul(size).and_then(|count| i64::try_from(count / 1_000).ok());
                    count.ok_or_else(|| ArrowError::ArithmeticOverflow("an interval is out of range".to_owned()))
                })
            }
        }
    }

    /// What is smaller than the last field is dropped; milliseconds are part of the seconds.
    pub(crate) fn cut(self, count: i64) -> i64 {
        if self.last == Unit::Second { count } else { count / Self::size(self.last) * Self::size(self.last) }
    }

    /// Writes `+2 00:06:11.5`, `+4-04`: a sign, the first field, the others with two digits, the fraction without trailing zeros.
    pub(crate) fn write(self, count: i64, out: &mut String) {
        out.push(if count < 0 { '-' } else { '+' });
        let mut rest = count.unsigned_abs();
        let fields = UNITS.iter().copied().filter(|unit| (self.first..=self.last).contains(unit));
        for unit in fields {
            let size = Self::size(unit).unsigned_abs();
            if unit > self.first {
                out.push(separator(unit));
            }
            let _ = if unit > self.first { write!(out, "{:02}", rest / size) } else { write!(out, "{}", rest / size) };
            rest %= size;
        }
        if self.last == Unit::Second && rest > 0 {
            let fraction = format!(".{rest:03}");
            out.push_str(fraction.trim_end_matches('0'));
        }
    }

    /// Reads what [`Qualifier::write`] writes, with or without the sign; None for anything else.
    pub(crate) fn parse(self, text: &str) -> Option<i64> {
        let text = text.trim_matches(' ');
        let (negative, mut rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let mut count = 0_i64;
        for unit in UNITS.iter().copied().filter(|unit| (self.first..=self.last).contains(unit)) {
            if unit > self.first {
                rest = rest.strip_prefix(separator(unit))?.trim_start_matches(' ');
            }
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let value: i64 = rest.get(..digits)?.parse().ok()?;
            if unit > self.first && value >= limit(unit) {
                return None;
            }
            count = count.checked_add(value.checked_mul(Self::size(unit))?)?;
            rest = &rest[digits..];
        }
        if self.last == Unit::Second
            && let Some(fraction) = rest.strip_prefix('.')
        {
            if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            let thousandths: String = fraction.chars().chain("00".chars()).take(3).collect();
            count = count.checked_add(thousandths.parse().ok()?)?;
            rest = "";
        }
        if rest.is_empty() { Some(if negative { -count } else { count }) } else { None }
    }
}

const UNITS: [Unit; 6] = [Unit::Year, Unit::Month, Unit::Day, Unit::Hour, Unit::Minute, Unit::Second];

/// What stands before a field that is not the first.
fn separator(unit: Unit) -> char {
    match unit {
        Unit::Month => '-',
        Unit::Hour => ' ',
        _ => ':',
    }
}

/// A field that is not the first is below this.
fn limit(unit: Unit) -> i64 {
    match unit {
        Unit::Month => 12,
        Unit::Hour => 24,
        _ => 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qualifier(name: &str) -> Qualifier {
        Qualifier::of_constant(Some(&ScalarValue::from(name))).expect("a qualifier")
    }

    /// kda-sql-reference.md §1.5 and Appendix A.
    #[test]
    fn written_and_read_by_the_fields() {
        for (name, count, text) in [
            ("MINUTE TO SECOND", 371_000, "+6:11"),
            ("MINUTE", 360_000, "+6"),
            ("SECOND", 371_000, "+371"),
            ("DAY TO SECOND", 2 * DAY_MS + 371_000, "+2 00:06:11"),
            ("DAY TO MINUTE", 3 * DAY_MS + 15_600_000, "+3 04:20"),
            ("DAY TO HOUR", -2 * DAY_MS - 14_400_000, "-2 04"),
            ("YEAR TO MONTH", 52, "+4-04"),
            ("MONTH", -7, "-7"),
            ("SECOND", -500, "-0.5"),
            ("HOUR TO SECOND", 100 * 3_600_000 + 1, "+100:00:00.001"),
            ("DAY", 0, "+0"),
        ] {
            let qualifier = qualifier(name);
            let mut written = String::new();
            qualifier.write(count, &mut written);
            assert_eq!(written, text, "{name}");
            assert_eq!(qualifier.parse(text), Some(count), "{name} {text}");
            assert_eq!(qualifier.to_string(), name);
        }
        assert_eq!(qualifier("DAY TO SECOND").parse(" 2 3:4:5.678 "), Some(2 * DAY_MS + 11_045_678));
        for wrong in ["", "x", "1:60", "1", "1:2:3", "1:2.", "1:-2", "--1:2"] {
            assert_eq!(qualifier("MINUTE TO SECOND").parse(wrong), None, "{wrong}");
        }
    }
}
