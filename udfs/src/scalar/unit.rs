//! The units of time that SQL names (kda-sql-reference.md §1.5).

use datafusion::common::{DataFusionError, Result, ScalarValue, plan_datafusion_err};

/// A unit of time; a smaller one compares as greater, as the fields of an interval are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    /// By its name in any case.
    pub(crate) fn parse(name: &str) -> Result<Unit> {
        Ok(match name.trim().to_ascii_uppercase().as_str() {
            "YEAR" => Unit::Year,
            "MONTH" => Unit::Month,
            "DAY" => Unit::Day,
            "HOUR" => Unit::Hour,
            "MINUTE" => Unit::Minute,
            "SECOND" => Unit::Second,
            other => return Err(unknown(other)),
        })
    }

    /// By a constant that names it.
    pub(crate) fn of_constant(constant: &ScalarValue) -> Result<Unit> {
        match constant.try_as_str().flatten() {
            Some(name) => Unit::parse(name),
            None => Err(plan_datafusion_err!("a unit of time must be a name such as 'HOUR', not {constant}")),
        }
    }

    /// None of years and months, which differ in length.
    pub(crate) fn milliseconds(self) -> Option<i64> {
        match self {
            Unit::Year | Unit::Month => None,
            Unit::Day => Some(86_400_000),
            Unit::Hour => Some(3_600_000),
            Unit::Minute => Some(60_000),
            Unit::Second => Some(1_000),
        }
    }
}

fn unknown(name: &str) -> DataFusionError {
    plan_datafusion_err!("unknown unit of time {name}: expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND")
}
