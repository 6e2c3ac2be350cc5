use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, Decimal128Array, Float32Array, Int8Array, Int64Array, Time32MillisecondArray,
    Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    UInt64Array,
};
use arrow::datatypes::{IntervalDayTime, IntervalMonthDayNano};
use datafusion::common::{Result, ScalarValue};

use super::{call, check, check_error};

fn days_and_milliseconds(days: i32, milliseconds: i32) -> ScalarValue {
    ScalarValue::IntervalDayTime(Some(IntervalDayTime { days, milliseconds }))
}

fn step(column: impl Array + 'static, by: ScalarValue) -> Result<ArrayRef> {
    call(&crate::scalar::step::udf(), Arc::new(column), &[by])
}

fn check_step(column: impl Array + 'static, by: ScalarValue, expected: impl Array + 'static) {
    let expected: ArrayRef = Arc::new(expected);
    assert_eq!(&step(column, by).expect("a result"), &expected);
}

/// Vectors of kda-sql-reference.md, Appendix A.
#[tokio::test]
async fn floors_to_multiples_since_1970() {
    check("step(23, 5)", "20").await;
    check("step(30, 10)", "30").await;
    for (step, expected) in [
        ("10' SECOND", "2004-09-30T13:48:20"),
        ("5' MINUTE", "2004-09-30T13:45:00"),
        ("2' HOUR", "2004-09-30T12:00:00"),
        ("1' YEAR", "2004-01-01T00:00:00"),
        ("2' MONTH", "2004-09-01T00:00:00"),
        ("5' MONTH", "2004-08-01T00:00:00"),
        ("7' YEAR", "1998-01-01T00:00:00"),
    ] {
        check(&format!("step(TIMESTAMP '2004-09-30 13:48:23', INTERVAL '{step})"), expected).await;
    }
    // The page's own formula; its example, 2004-09-25, is one day off.
    check("step(TIMESTAMP '2004-09-27 13:48:23', INTERVAL '5' DAY)", "2004-09-24T00:00:00").await;
}

#[tokio::test]
async fn times_before_1970_are_floored_towards_the_past() {
    check("step(TIMESTAMP '1969-12-31 23:59:59', INTERVAL '10 seconds')", "1969-12-31T23:59:50").await;
    check("step(TIMESTAMP '1969-12-31 23:59:59', INTERVAL '1' YEAR)", "1969-01-01T00:00:00").await;
    check("step(TIMESTAMP '1969-11-30 00:00:00', INTERVAL '5' MONTH)", "1969-08-01T00:00:00").await;
    check("step(-1, 5)", "-5").await;
    // A nanosecond before 1970 is in the second before it.
    check_step(
        TimestampNanosecondArray::from(vec![-1]),
        days_and_milliseconds(0, 1_000),
        TimestampNanosecondArray::from(vec![-1_000_000_000]),
    );
}

#[tokio::test]
async fn null_gives_null() {
    check("step(CAST(NULL AS TIMESTAMP), INTERVAL '1' DAY)", "").await;
    check("step(CAST(NULL AS INT), 5)", "").await;
    check("step(NULL, 5)", "").await;
    check("step(TIMESTAMP '2004-09-30 13:48:23', NULL)", "").await;
    check("arrow_typeof(step(CAST(NULL AS TIMESTAMP), INTERVAL '1' DAY))", "Timestamp(ns)").await;
    check_step(
        TimestampMillisecondArray::from(vec![Some(12_345), None, Some(12_999), Some(9)]),
        days_and_milliseconds(0, 1_000),
        TimestampMillisecondArray::from(vec![Some(12_000), None, Some(12_000), Some(0)]),
    );
}

#[test]
fn every_type_of_time_keeps_its_type() {
    let ten_seconds = days_and_milliseconds(0, 10_000);
    check_step(TimestampSecondArray::from(vec![19, -1]), ten_seconds.clone(), TimestampSecondArray::from(vec![10, -10]));
    check_step(
        TimestampMicrosecondArray::from(vec![19_999_999]).with_timezone("+02:00"),
        ScalarValue::DurationNanosecond(Some(10_000_000_000)),
        TimestampMicrosecondArray::from(vec![10_000_000]).with_timezone("+02:00"),
    );
    check_step(
        Time32MillisecondArray::from(vec![86_399_999]),
        ten_seconds.clone(),
        Time32MillisecondArray::from(vec![86_390_000]),
    );
    check_step(
        Time64NanosecondArray::from(vec![86_399_999_999_999]),
        ten_seconds.clone(),
        Time64NanosecondArray::from(vec![86_390_000_000_000]),
    );
    // 10 seconds divide a day, so every day is a multiple.
    check_step(Date32Array::from(vec![-1, 12_688]), ten_seconds, Date32Array::from(vec![-1, 12_688]));
    check_step(Date32Array::from(vec![-1, 12_688]), days_and_milliseconds(5, 0), Date32Array::from(vec![-5, 12_685]));
    check_step(
        Date32Array::from(vec![-1, 12_688]),
        ScalarValue::IntervalYearMonth(Some(12)),
        Date32Array::from(vec![-365, 12_418]),
    );
    let day_and_second = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 1, 1_000_000_000)));
    check_step(TimestampSecondArray::from(vec![86_400, 86_401]), day_and_second, TimestampSecondArray::from(vec![0, 86_401]));
}

#[test]
fn every_type_of_number_keeps_its_type() {
    check_step(
        Int8Array::from(vec![Some(-128), None, Some(127)]),
        ScalarValue::Int64(Some(4)),
        Int8Array::from(vec![Some(-128), None, Some(124)]),
    );
    check_step(Int8Array::from(vec![127]), ScalarValue::Int64(Some(1_000)), Int8Array::from(vec![0]));
    check_step(UInt64Array::from(vec![u64::MAX]), ScalarValue::Int32(Some(10)), UInt64Array::from(vec![u64::MAX - 5]));
    check_step(
        Float32Array::from(vec![2.75, -0.25, f32::INFINITY]),
        ScalarValue::Float64(Some(0.5)),
        Float32Array::from(vec![2.5, -0.5, f32::INFINITY]),
    );
    let decimals = |values: Vec<i128>| Decimal128Array::from(values).with_precision_and_scale(5, 2).expect("a decimal type");
    for quarter in [ScalarValue::Decimal128(Some(250), 6, 3), ScalarValue::Float64(Some(0.25))] {
        check_step(decimals(vec![130, -130, 125]), quarter, decimals(vec![125, -150, 125]));
    }
    check_step(decimals(vec![130, -130]), ScalarValue::Int64(Some(1)), decimals(vec![100, -200]));
}

#[test]
fn results_out_of_range_name_the_value() {
    let message = |result: Result<ArrayRef>| result.expect_err("out of range").strip_backtrace();
    assert!(message(step(Int8Array::from(vec![1, -128]), ScalarValue::Int64(Some(5)))).contains("-128 cannot be rounded down"));
    let decimals = Decimal128Array::from(vec![-995]).with_precision_and_scale(3, 1).expect("a decimal type");
    assert!(message(step(decimals, ScalarValue::Int64(Some(10)))).contains("-99.5 cannot be rounded down"));
    assert!(step(Int64Array::from(vec![i64::MIN]), ScalarValue::Int64(Some(10))).is_err());
}

#[tokio::test]
async fn wrong_steps_are_refused_when_planned() {
    check_error("step(TIMESTAMP '2004-09-30 13:48:23', INTERVAL '-1 second')", "must be positive").await;
    check_error("step(TIMESTAMP '2004-09-30 13:48:23', INTERVAL '0' DAY)", "must be positive").await;
    check_error("step(1, 0)", "must be positive, not 0").await;
    check_error("step(1.5, -0.5)", "must be positive, not -0.5").await;
    check_error("step(1, 0.5)", "STEP takes").await;
    check_error("step('x', 5)", "cannot round Utf8 to multiples of Int64: STEP takes a time and an interval, or two numbers")
        .await;
    check_error("step(TIMESTAMP '2004-09-30 13:48:23', 5)", "STEP takes").await;
    check_error("step(TIMESTAMP '2004-09-30 13:48:23', INTERVAL '1 month 1 day')", "cannot be mixed").await;
    check_error("step(TIME '13:48:23', INTERVAL '1' MONTH)", "a TIME has none").await;
    check_error("step(DATE '2004-09-30', INTERVAL '5' HOUR)", "not a whole number of the units of Date32").await;
    check_error("step(CAST(1.5 AS DECIMAL(3, 1)), 0.25)", "finer or larger than DECIMAL(3, 1)").await;
    check_error("(SELECT max(step(y, y)) FROM (VALUES (1), (2)) AS t(y))", "must be a constant").await;
}
