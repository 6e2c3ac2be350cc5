use std::sync::Arc;

use arrow::array::{
    ArrayRef, DurationMillisecondArray, DurationNanosecondArray, IntervalDayTimeArray, IntervalMonthDayNanoArray,
    IntervalYearMonthArray, Time32MillisecondArray, Time32SecondArray,
};
use arrow::datatypes::{IntervalDayTime, IntervalMonthDayNano};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;

use super::{call_mixed, check, check_error};
use crate::scalar::kda_extract::udf;

const UNITS: [&str; 6] = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];

/// The fields of a column's first value from `first` on, with a NULL in the row after.
fn fields(column: ArrayRef, first: usize) -> Vec<String> {
    let extract = |unit: &&str| {
        let args = [ColumnarValue::Scalar(ScalarValue::from(*unit)), ColumnarValue::Array(column.clone())];
        let field = call_mixed(&udf(), args.into_iter()).expect("a field");
        assert!(field.is_null(1), "{unit}");
        array_value_to_string(&field, 0).expect("printable")
    };
    UNITS[first..].iter().map(extract).collect()
}

#[tokio::test]
async fn fields_of_times() {
    for (unit, expected) in
        [("year", "2004"), ("MONTH", "9"), ("DAY", "30"), ("HOUR", "13"), ("MINUTE", "48"), ("SECOND", "23.500")]
    {
        check(&format!("kda_extract('{unit}', TIMESTAMP '2004-09-30 13:48:23.5')"), expected).await;
    }
    for (unit, expected) in [("YEAR", "1969"), ("DAY", "31"), ("HOUR", "23"), ("MINUTE", "59"), ("SECOND", "59.999")] {
        check(&format!("kda_extract('{unit}', TIMESTAMP '1969-12-31 23:59:59.9999')"), expected).await;
    }
    check("kda_extract('MONTH', DATE '1969-12-31')", "12").await;
    check("kda_extract('HOUR', DATE '1969-12-31')", "0").await;
    check("kda_extract('SECOND', TIME '13:48:23')", "23.000").await;
    check("arrow_typeof(kda_extract('SECOND', DATE '2000-01-01'))", "Decimal128(5, 3)").await;
    check("arrow_typeof(kda_extract('YEAR', DATE '2000-01-01'))", "Int64").await;
    check("kda_extract('YEAR', CAST(NULL AS TIMESTAMP))", "").await;
    check("kda_extract('SECOND', NULL)", "").await;
}

/// INTERVAL '2 3:4:5.678' DAY TO SECOND, kda-sql-reference.md Appendix A.
#[test]
fn fields_of_intervals() {
    let ms = ((2 * 24 + 3) * 60 + 4) * 60_000 + 5_678;
    let positive = ["2", "3", "4", "5.678"];
    let negative = ["-2", "-3", "-4", "-5.678"];
    for (sign, expected) in [(1, positive), (-1, negative)] {
        let month_day_nano = |months, days, ns| Some(IntervalMonthDayNano::new(months, days, ns));
        let columns: [ArrayRef; 5] = [
            Arc::new(DurationMillisecondArray::from(vec![Some(sign * ms), None])),
            Arc::new(DurationNanosecondArray::from(vec![Some(sign * (ms * 1_000_000 + 999_999)), None])),
            Arc::new(IntervalMonthDayNanoArray::from(vec![month_day_nano(0, 0, sign * ms * 1_000_000), None])),
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                month_day_nano(0, sign as i32 * 2, sign * (ms - 172_800_000) * 1_000_000),
                None,
            ])),
            Arc::new(IntervalDayTimeArray::from(vec![Some(IntervalDayTime::new(0, (sign * ms) as i32)), None])),
        ];
        for column in columns {
            assert_eq!(fields(column, 2), expected);
        }
    }
    let months: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![Some(-40), None]));
    let extract = |unit: &str| {
        let args = [ColumnarValue::Scalar(ScalarValue::from(unit)), ColumnarValue::Array(months.clone())];
        array_value_to_string(&call_mixed(&udf(), args.into_iter()).expect("a field"), 0).expect("printable")
    };
    assert_eq!([extract("YEAR"), extract("MONTH")], ["-3", "-4"]);
}

#[test]
fn fields_of_times_of_day() {
    let columns: [ArrayRef; 2] = [
        Arc::new(Time32SecondArray::from(vec![Some(86_399), None])),
        Arc::new(Time32MillisecondArray::from(vec![Some(86_399_000), None])),
    ];
    for column in columns {
        assert_eq!(fields(column, 3), ["23", "59", "59.000"]);
    }
}

#[tokio::test]
async fn units_that_a_type_does_not_have_are_refused_when_planned() {
    check_error("kda_extract('YEAR', TIME '10:00:00')", "cannot extract YEAR from").await;
    check_error("kda_extract('WEEK', DATE '2000-01-01')", "unknown unit of time WEEK").await;
    check_error("kda_extract(5, DATE '2000-01-01')", "must be a name such as 'HOUR'").await;
    check_error("kda_extract('YEAR', 5)", "cannot extract YEAR from BIGINT").await;
    check_error("(SELECT max(kda_extract(y, DATE '2000-01-01')) FROM (VALUES ('DAY')) AS t(y))", "must be a constant").await;
}
