//! INTERVAL_TEXT, INTERVAL_NUMBER, TO_INTERVAL, INTERVAL_MULTIPLY, INTERVAL_DIVIDE and DECIMAL_DIVIDE.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, DurationMillisecondArray, Int32Array};
use arrow::datatypes::{DataType, Decimal128Type, DurationMillisecondType};
use datafusion::common::ScalarValue;

use super::{call, call_columns, check, check_error};
use crate::scalar::{decimal_divide, interval_cast, interval_scale};

#[tokio::test]
async fn intervals_are_text_by_their_fields() {
    check("interval_text(INTERVAL '2 days 6 minutes 11.5 seconds', 'DAY TO SECOND', 20)", "+2 00:06:11.5").await;
    check("interval_text(INTERVAL '-52 months', 'YEAR TO MONTH', 20)", "-4-04").await;
    check("interval_text(371, 'SECOND', 20)", "+371").await;
    check("interval_text(-0.5, 'SECOND', 20)", "-0.5").await;
    // The one cast that cuts.
    check("interval_text(INTERVAL '371 seconds', 'MINUTE TO SECOND', 3)", "+6:").await;
    check("interval_text(CAST(NULL AS INTERVAL), 'DAY', 3)", "").await;
    check_error("interval_text(5, 'DAY TO HOUR', 9)", "BIGINT is no INTERVAL DAY TO HOUR").await;
    check_error("interval_text(INTERVAL '1 day', 'DAY TO YEAR', 9)", "is no qualifier of an interval").await;
    check_error("interval_text(INTERVAL '1 month 1 day', 'DAY', 9)", "an interval of months and days is no INTERVAL DAY").await;
}

#[tokio::test]
async fn an_interval_of_one_field_is_the_number_of_its_units() {
    check("interval_number(INTERVAL '371 seconds', 'MINUTE')", "6").await;
    check("interval_number(INTERVAL '-90 seconds', 'MINUTE')", "-1").await;
    check("interval_number(INTERVAL '1.25 seconds', 'SECOND')", "1.250").await;
    check("interval_number(INTERVAL '30 months', 'YEAR')", "2").await;
    check_error("interval_number(INTERVAL '1 day', 'DAY TO HOUR')", "INTERVAL DAY TO HOUR is no number").await;
}

#[tokio::test]
async fn text_is_read_by_the_fields_and_nothing_else() {
    check("interval_number(to_interval(' -1 02:03 ', 'DAY TO MINUTE'), 'MINUTE')", "-1563").await;
    check("to_interval(INTERVAL '90 seconds', 'MINUTE') = INTERVAL '1 minute'", "true").await;
    check_error("to_interval('1:60', 'MINUTE TO SECOND')", "'1:60' is no INTERVAL MINUTE TO SECOND").await;
    check_error("to_interval('1-2', 'YEAR TO MONTH')", "cannot be cast to INTERVAL YEAR TO MONTH").await;
}

#[tokio::test]
async fn intervals_are_scaled_by_any_number() {
    check("interval_multiply(INTERVAL '1 hour', 1.5) = INTERVAL '90 minutes'", "true").await;
    check("interval_multiply(INTERVAL '3 months', 2) = INTERVAL '6 months'", "true").await;
    check("interval_divide(INTERVAL '7 months', 2) = INTERVAL '3 months'", "true").await;
    check("interval_divide(INTERVAL '1 day', CAST(-0.5 AS DOUBLE)) = INTERVAL '-48 hours'", "true").await;
    // What is below a millisecond is dropped.
    check("interval_divide(INTERVAL '1 second', 3) = INTERVAL '0.333 seconds'", "true").await;
    check_error("interval_divide(INTERVAL '1 day', 0)", "ivide by zero").await;
    check_error("interval_divide(INTERVAL '1 day', CAST(0 AS DOUBLE))", "ivide by zero").await;
    check_error("interval_multiply(INTERVAL '100000 days', 9223372036854775807)", "out of range").await;
    check_error("interval_multiply(5, 5)", "it takes an interval and a number").await;
}

#[test]
fn columns_of_durations_keep_their_type() {
    let durations: ArrayRef = Arc::new(DurationMillisecondArray::from(vec![Some(1_500), None, Some(-1)]));
    let scaled = call(&interval_scale::multiply_udf(), durations.clone(), &[ScalarValue::Int32(Some(3))]).expect("in range");
    let ms: Vec<_> = scaled.as_primitive::<DurationMillisecondType>().iter().collect();
    assert_eq!(ms, [Some(4_500), None, Some(-3)]);
    let texts = call(&interval_cast::text_udf(), durations, &["SECOND".into(), ScalarValue::Int64(Some(9))]).expect("fits");
    assert_eq!(texts.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("+1.5"), None, Some("-0.001")]);
}

/// The formula of kda-sql-reference.md §1.7, and the last digit rounded.
#[test]
fn quotients_have_the_digits_of_the_reference() {
    let divide = |a: Vec<Option<i128>>, (p, s): (u8, i8), b: Vec<Option<i32>>| {
        let a: ArrayRef = Arc::new(Decimal128Array::from(a).with_precision_and_scale(p, s).expect("fits"));
        let b: ArrayRef = Arc::new(Int32Array::from(b));
        call_columns(&decimal_divide::udf(), &[a, b])
    };
    let quotients = divide(vec![Some(50), Some(20), Some(-20), None], (2, 1), vec![Some(2), Some(3), Some(3), Some(1)]);
    let quotients = quotients.expect("in range");
    assert_eq!(quotients.data_type(), &DataType::Decimal128(13, 12));
    let raw: Vec<_> = quotients.as_primitive::<Decimal128Type>().iter().collect();
    assert_eq!(raw, [Some(2_500_000_000_000), Some(666_666_666_667), Some(-666_666_666_667), None]);
    assert!(divide(vec![Some(1)], (2, 1), vec![Some(0)]).expect_err("zero").to_string().contains("ivide by zero"));
    // Of more than 38 digits those after the point give way.
    let wide = divide(vec![Some(10_i128.pow(37))], (38, 2), vec![Some(4)]).expect("in range");
    assert_eq!(wide.data_type(), &DataType::Decimal128(38, 2));
    assert_eq!(wide.as_primitive::<Decimal128Type>().value(0), 10_i128.pow(37) / 4);
    assert_eq!(wide.null_count(), 0);
}
