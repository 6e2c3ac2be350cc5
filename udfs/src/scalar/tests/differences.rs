//! TS_MINUS, TSDIFF, TO_TIMESTAMP, UNIX_TIMESTAMP and MONOTONIC.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, Time32MillisecondArray, TimestampMillisecondArray,
};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::logical_expr::ColumnarValue;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};

use super::{call, call_columns, call_mixed, check, check_error};
use crate::scalar::{floor_to, monotonic, round_number, to_timestamp, ts_minus, tsdiff, unix_timestamp};

/// Vectors of kda-sql-reference.md, §1.5 and Appendix A.
#[tokio::test]
async fn differences_of_the_reference() {
    for (qualifier, expected) in [("MINUTE", "6"), ("SECOND", "371.000"), ("HOUR", "0"), ("minute to second", "PT371S")] {
        check(&format!("ts_minus(TIME '12:03:34', TIME '11:57:23', '{qualifier}')"), expected).await;
    }
    check("CAST(ts_minus(TIME '12:03:34', TIME '11:57:23', 'SECOND') * 1000 AS BIGINT)", "371000").await;
    check("ts_minus(TIME '11:57:23', TIME '12:03:34', 'MINUTE')", "-6").await;
}

/// What KDA SQL does with `(a - b) qualifier`, kda-sql-reference.md §1.5, §5.4, §5.7.
#[tokio::test]
async fn differences_are_numbers_and_intervals_to_compute_with() {
    let minus =
        |qualifier: &str| format!("ts_minus(TIMESTAMP '2004-09-30 12:03:34.5', TIMESTAMP '2004-09-30 11:57:23', '{qualifier}')");
    let (seconds, interval) = (minus("SECOND"), minus("DAY TO SECOND"));
    check(&format!("CAST({seconds} * 1000 AS BIGINT)"), "371500").await;
    check(&format!("floor({seconds} / 10)"), "37").await;
    check(&format!("kda_extract('MINUTE', {interval})"), "6").await;
    check(&format!("kda_extract('SECOND', {interval})"), "11.500").await;
    check(&format!("{interval} > INTERVAL '6 minutes'"), "true").await;
    check(&format!("TIMESTAMP '2004-09-30 11:57:23' + {interval}"), "2004-09-30T12:03:34.500").await;
    check(&format!("abs({interval})"), "PT371.5S").await;
}

#[tokio::test]
async fn differences_are_cut_towards_zero() {
    let late = "TIMESTAMP '2004-03-31 13:48:23.5'";
    for (early, qualifier, expected) in [
        ("TIMESTAMP '2004-03-29 13:48:24'", "DAY", "1"),
        ("TIMESTAMP '2004-02-29 13:48:23'", "MONTH", "1"),
        ("TIMESTAMP '2004-02-29 13:48:23'", "YEAR", "0"),
        ("TIMESTAMP '2003-03-31 13:48:23.5'", "YEAR", "1"),
        ("TIMESTAMP '2003-03-31 13:48:23.6'", "YEAR", "0"),
        ("TIMESTAMP '2003-03-31 13:48:23.6'", "MONTH", "11"),
        ("TIMESTAMP '2004-03-31 13:48:23'", "SECOND", "0.500"),
        ("TIMESTAMP '2004-03-31 12:48:22'", "DAY TO HOUR", "PT3600S"),
        ("TIMESTAMP '2003-02-28 00:00:00'", "YEAR TO MONTH", "1 years 1 mons"),
    ] {
        check(&format!("ts_minus({late}, {early}, '{qualifier}')"), expected).await;
        let negative =
            if expected.starts_with('0') && !expected.contains('.') { expected.to_owned() } else { format!("-{expected}") };
        if !qualifier.contains(" TO ") {
            check(&format!("ts_minus({early}, {late}, '{qualifier}')"), &negative).await;
        }
    }
    check("ts_minus(DATE '2004-03-01', DATE '2004-02-28', 'DAY')", "2").await;
    check("ts_minus(DATE '2004-03-01', DATE '2004-02-28', 'HOUR')", "48").await;
}

#[tokio::test]
async fn null_gives_null() {
    check("ts_minus(NULL, TIME '10:00:00', 'HOUR')", "").await;
    check("ts_minus(CAST(NULL AS TIMESTAMP), CAST(NULL AS TIMESTAMP), 'MONTH')", "").await;
    check("tsdiff(NULL, 5)", "").await;
    check("to_timestamp(NULL)", "").await;
    check("unix_timestamp(NULL)", "").await;
    check("monotonic(NULL)", "").await;
    let a: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(5_000), None, Some(-1_999)]));
    let b: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(1_000), Some(1), Some(0)]));
    let seconds = ["SECOND", "MINUTE"].map(|qualifier| {
        let args = [ColumnarValue::Array(a.clone()), ColumnarValue::Array(b.clone()), ColumnarValue::Scalar(qualifier.into())];
        call_mixed(&ts_minus::udf(), args.into_iter()).expect("in range")
    });
    let expected = Decimal128Array::from(vec![Some(4_000), None, Some(-1_999)]).with_precision_and_scale(19, 3).expect("fits");
    assert_eq!(seconds[0].as_ref(), &expected as &dyn Array);
    assert_eq!(seconds[1].as_ref(), &Int64Array::from(vec![Some(0), None, Some(0)]) as &dyn Array);
}

#[tokio::test]
async fn wrong_differences_are_refused() {
    check_error("ts_minus(TIME '10:00:00', DATE '2000-01-01', 'DAY')", "both must be of the same type").await;
    check_error("ts_minus(5, 3, 'DAY')", "cannot subtract BIGINT from BIGINT").await;
    check_error("ts_minus(TIME '10:00:00', TIME '10:00:00', 'MONTH')", "no years and months").await;
    check_error("ts_minus(DATE '2000-01-01', DATE '2000-01-01', 'SECOND TO DAY')", "is no qualifier of an interval").await;
    check_error("ts_minus(DATE '2000-01-01', DATE '2000-01-01', 'MONTH TO DAY')", "is no qualifier of an interval").await;
    check_error("ts_minus(DATE '2000-01-01', DATE '2000-01-01', 'WEEK')", "unknown unit of time WEEK").await;
    check_error("tsdiff(DATE '2000-01-01', DATE '2000-01-01')", "TSDIFF takes two TIMESTAMPs or two BIGINTs").await;
    check_error("tsdiff(5, TIMESTAMP '2000-01-01 00:00:00')", "TSDIFF takes two").await;
    check_error("tsdiff(-2, 9223372036854775807)", "9223372036854775807 - -2 is out of the range of BIGINT").await;
    let ends: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![i64::MIN]));
    let starts: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![i64::MAX]));
    for qualifier in ["SECOND", "DAY", "DAY TO SECOND"] {
        let args =
            [ColumnarValue::Array(starts.clone()), ColumnarValue::Array(ends.clone()), ColumnarValue::Scalar(qualifier.into())];
        let error = call_mixed(&ts_minus::udf(), args.into_iter()).expect_err("too far");
        assert!(error.to_string().contains("out of range"), "{error}");
    }
}

#[tokio::test]
async fn milliseconds_since_1970_and_back() {
    check("tsdiff(TIMESTAMP '2004-09-30 13:48:23', TIMESTAMP '2004-09-30 13:48:24.5')", "1500").await;
    check("tsdiff(TIMESTAMP '2004-09-30 13:48:24.5', TIMESTAMP '2004-09-30 13:48:23')", "-1500").await;
    check("tsdiff(1000, 400)", "-600").await;
    check("to_timestamp(1171920225250)", "2007-02-19T21:23:45.250").await;
    check("to_timestamp(CAST(1171920225.0 AS BIGINT) * 1000)", "2007-02-19T21:23:45").await;
    check("to_timestamp(-0.5)", "1969-12-31T23:59:59.999").await;
    check("unix_timestamp(TIMESTAMP '2007-02-19 21:23:45.25')", "1171920225250").await;
    check("unix_timestamp(TIMESTAMP '1969-12-31 23:59:59.9999')", "-1").await;
    check("unix_timestamp(to_timestamp(-5))", "-5").await;
    check_error("to_timestamp('2007-02-19 21:23:45')", "TO_TIMESTAMP takes milliseconds").await;
    check_error("to_timestamp(1e300)", "is out of the range of BIGINT").await;
    check_error("unix_timestamp(DATE '2000-01-01')", "UNIX_TIMESTAMP takes a TIMESTAMP").await;
    let ms: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let times = call(&to_timestamp::udf(), ms.clone(), &[]).expect("in range");
    assert_eq!(times.as_ref(), &TimestampMillisecondArray::from(vec![Some(1), None]) as &dyn Array);
    let back = call(&unix_timestamp::udf(), times, &[]).expect("in range");
    assert_eq!(&back, &ms);
    assert_eq!(
        back.as_primitive::<Int64Type>().values().as_ptr(),
        ms.as_primitive::<Int64Type>().values().as_ptr(),
        "not copied"
    );
}

#[test]
fn every_type_of_time_can_be_subtracted() {
    let pairs: [[ArrayRef; 2]; 2] = [
        [Arc::new(Date32Array::from(vec![i32::MAX])), Arc::new(Date32Array::from(vec![i32::MAX - 3]))],
        [Arc::new(Time32MillisecondArray::from(vec![86_399_999])), Arc::new(Time32MillisecondArray::from(vec![0]))],
    ];
    for ([a, b], expected) in pairs.into_iter().zip([72, 23]) {
        let args = [ColumnarValue::Array(a), ColumnarValue::Array(b), ColumnarValue::Scalar("HOUR".into())];
        let hours = call_mixed(&ts_minus::udf(), args.into_iter()).expect("in range");
        assert_eq!(hours.as_primitive::<Int64Type>().value(0), expected);
    }
    let a: ArrayRef = Arc::new(Int64Array::from(vec![5]));
    assert_eq!(call_columns(&tsdiff::udf(), &[a.clone(), a]).expect("in range").as_primitive::<Int64Type>().value(0), 0);
}

#[test]
fn monotonic_passes_the_column_itself() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(3)]));
    assert!(Arc::ptr_eq(&column, &call(&monotonic::udf(), column.clone(), &[]).expect("passes")));
}

/// kda-sql-reference.md §1.12.
#[test]
fn order_follows_the_arguments() {
    let with = |order: SortProperties| ExprProperties {
        sort_properties: order,
        range: Interval::make_unbounded(&DataType::Int64).expect("a range"),
        preserves_lex_ordering: false,
        strictly_order_preserving: false,
    };
    let ascending = SortProperties::Ordered(SortOptions { descending: false, nulls_first: false });
    let descending = SortProperties::Ordered(SortOptions { descending: true, nulls_first: false });
    let (constant, unordered) = (SortProperties::Singleton, SortProperties::Unordered);
    let check_order = |function: &datafusion::logical_expr::ScalarUDF, inputs: &[SortProperties], expected: SortProperties| {
        let inputs: Vec<_> = inputs.iter().copied().map(with).collect();
        assert_eq!(function.output_ordering(&inputs).expect("an order"), expected, "{} {inputs:?}", function.name());
    };
    check_order(&ts_minus::udf(), &[ascending, constant, constant], ascending);
    check_order(&ts_minus::udf(), &[constant, ascending, constant], descending);
    check_order(&ts_minus::udf(), &[ascending, ascending, constant], unordered);
    check_order(&tsdiff::udf(), &[constant, ascending], ascending);
    check_order(&tsdiff::udf(), &[ascending, constant], descending);
    check_order(&to_timestamp::udf(), &[descending], descending);
    check_order(&unix_timestamp::udf(), &[ascending], ascending);
    check_order(&monotonic::udf(), &[unordered], ascending);
    check_order(&monotonic::udf(), &[constant], constant);
    check_order(&round_number::floor_udf(), &[ascending], ascending);
    check_order(&floor_to::floor_udf(), &[ascending, constant], ascending);
}
