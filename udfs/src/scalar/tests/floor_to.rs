use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Date32Array, Time32MillisecondArray, TimestampMillisecondArray, TimestampNanosecondArray};
use datafusion::common::{Result, ScalarValue};

use super::{call, check, check_error};
use crate::scalar::floor_to::{ceil_udf, floor_udf};

fn both(column: impl Array + 'static, unit: &str) -> [Result<ArrayRef>; 2] {
    let column: ArrayRef = Arc::new(column);
    [floor_udf(), ceil_udf()].map(|function| call(&function, column.clone(), &[ScalarValue::from(unit)]))
}

#[tokio::test]
async fn rounds_to_the_calendar_and_keeps_exact_boundaries() {
    for (unit, floor, ceil) in [
        ("SECOND", "2024-02-29T10:20:30", "2024-02-29T10:20:31"),
        ("Minute", "2024-02-29T10:20:00", "2024-02-29T10:21:00"),
        ("HOUR", "2024-02-29T10:00:00", "2024-02-29T11:00:00"),
        ("DAY", "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
        ("month", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("YEAR", "2024-01-01T00:00:00", "2025-01-01T00:00:00"),
    ] {
        check(&format!("floor_to(TIMESTAMP '2024-02-29 10:20:30.5', '{unit}')"), floor).await;
        check(&format!("ceil_to(TIMESTAMP '2024-02-29 10:20:30.5', '{unit}')"), ceil).await;
        check(&format!("floor_to(TIMESTAMP '2024-01-01 00:00:00', '{unit}')"), "2024-01-01T00:00:00").await;
        check(&format!("ceil_to(TIMESTAMP '2024-01-01 00:00:00', '{unit}')"), "2024-01-01T00:00:00").await;
    }
    // kda-sql-reference.md, Appendix A: both rows fall into the window that ends at 22:50:00.
    for row in ["22:49:10", "22:49:15"] {
        check(&format!("floor_to(TIMESTAMP '2024-01-01 {row}', 'MINUTE')"), "2024-01-01T22:49:00").await;
    }
}

#[tokio::test]
async fn times_before_1970_are_rounded_towards_past_and_future() {
    check("floor_to(TIMESTAMP '1969-12-31 23:59:59', 'DAY')", "1969-12-31T00:00:00").await;
    check("ceil_to(TIMESTAMP '1969-12-31 23:59:59', 'DAY')", "1970-01-01T00:00:00").await;
    check("floor_to(TIMESTAMP '1969-11-30 23:59:59', 'YEAR')", "1969-01-01T00:00:00").await;
    check("ceil_to(TIMESTAMP '1969-11-30 23:59:59', 'MONTH')", "1969-12-01T00:00:00").await;
    let [floor, ceil] = both(TimestampNanosecondArray::from(vec![-1, 1]), "SECOND");
    assert_eq!(floor.expect("in range").as_ref(), &TimestampNanosecondArray::from(vec![-1_000_000_000, 0]));
    assert_eq!(ceil.expect("in range").as_ref(), &TimestampNanosecondArray::from(vec![0, 1_000_000_000]));
}

#[tokio::test]
async fn dates_and_times_of_day_keep_their_types() {
    check("floor_to(DATE '2024-02-29', 'MONTH')", "2024-02-01").await;
    check("ceil_to(DATE '2024-02-29', 'YEAR')", "2025-01-01").await;
    check("ceil_to(DATE '2024-02-29', 'HOUR')", "2024-02-29").await;
    check("floor_to(DATE '2024-02-29', 'DAY')", "2024-02-29").await;
    check("floor_to(TIME '10:20:30', 'HOUR')", "10:00:00").await;
    check("ceil_to(TIME '10:20:30', 'MINUTE')", "10:21:00").await;
    check("ceil_to(TIME '23:00:00', 'HOUR')", "23:00:00").await;
    let [floor, ceil] = both(Date32Array::from(vec![Some(-1), None]), "MONTH");
    assert_eq!(floor.expect("in range").as_ref(), &Date32Array::from(vec![Some(-31), None]));
    assert_eq!(ceil.expect("in range").as_ref(), &Date32Array::from(vec![Some(0), None]));
}

#[tokio::test]
async fn null_gives_null() {
    check("floor_to(CAST(NULL AS TIMESTAMP), 'HOUR')", "").await;
    check("ceil_to(NULL, 'HOUR')", "").await;
    let [floor, ceil] = both(TimestampMillisecondArray::from(vec![Some(1), None, Some(999)]), "second");
    assert_eq!(floor.expect("in range").as_ref(), &TimestampMillisecondArray::from(vec![Some(0), None, Some(0)]));
    assert_eq!(ceil.expect("in range").as_ref(), &TimestampMillisecondArray::from(vec![Some(1_000), None, Some(1_000)]));
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    check_error("floor_to(5, 'DAY')", "cannot round BIGINT to a unit of time").await;
    check_error("floor_to(TIMESTAMP '2004-09-30 13:48:23', 'FORTNIGHT')", "unknown unit of time FORTNIGHT: expected YEAR").await;
    check_error("floor_to(TIMESTAMP '2004-09-30 13:48:23', NULL)", "must be a name").await;
    check_error("floor_to(TIMESTAMP '2004-09-30 13:48:23', 1)", "must be a name").await;
    check_error("floor_to(TIME '10:20:30', 'DAY')", "a TIME has no DAY").await;
    let [_, ceil] = both(Time32MillisecondArray::from(vec![0, 86_399_999]), "HOUR");
    assert!(ceil.expect_err("past midnight").strip_backtrace().contains("23:59:59.999 cannot be rounded up"));
}
