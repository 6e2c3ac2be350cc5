//! The temporal predicates: every way in which two periods can lie to each other.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;

use super::{call_mixed, check, check_error};
use crate::scalar::compare_periods;

/// Allen's thirteen relations of a period to [4, 8), by the bounds of the left one.
const LEFT: [(&str, i32, i32); 13] = [
    ("before", 0, 3),
    ("meets", 0, 4),
    ("overlaps", 2, 6),
    ("finished by", 2, 8),
    ("contains", 2, 10),
    ("starts", 4, 6),
    ("equals", 4, 8),
    ("started by", 4, 10),
    ("during", 5, 7),
    ("finishes", 6, 8),
    ("overlapped by", 6, 10),
    ("met by", 8, 10),
    ("after", 9, 10),
];

/// Names of the relations in which the predicate is true.
fn true_in(predicate: &str) -> Vec<&'static str> {
    let column = |value: fn(&(&str, i32, i32)) -> i32| {
        ColumnarValue::Array(Arc::new(Date32Array::from_iter_values(LEFT.iter().map(value))) as ArrayRef)
    };
    let day = |day| ColumnarValue::Scalar(ScalarValue::Date32(Some(day)));
    let args = [
        ColumnarValue::Scalar(ScalarValue::from(predicate)),
        column(|(_, start, _)| *start),
        column(|(_, _, end)| *end),
        day(4),
        day(8),
    ];
    let holds = call_mixed(&compare_periods::udf(), args.into_iter()).expect("dates");
    LEFT.iter().zip(holds.as_boolean()).filter(|(_, holds)| *holds == Some(true)).map(|((name, ..), _)| *name).collect()
}

#[test]
fn each_predicate_is_true_in_its_relations_of_allen() {
    assert_eq!(true_in("EQUALS"), ["equals"]);
    assert_eq!(true_in("CONTAINS"), ["finished by", "contains", "equals", "started by"]);
    assert_eq!(true_in("STRICTLY CONTAINS"), ["contains"]);
    let overlapping =
        ["overlaps", "finished by", "contains", "starts", "equals", "started by", "during", "finishes", "overlapped by"];
    assert_eq!(true_in("OVERLAPS"), overlapping);
    assert_eq!(true_in("STRICTLY OVERLAPS"), ["overlaps", "contains", "during", "overlapped by"]);
    assert_eq!(true_in("PRECEDES"), ["before", "meets"]);
    assert_eq!(true_in("STRICTLY PRECEDES"), ["before"]);
    assert_eq!(true_in("IMMEDIATELY PRECEDES"), ["meets"]);
    assert_eq!(true_in("SUCCEEDS"), ["met by", "after"]);
    assert_eq!(true_in("STRICTLY SUCCEEDS"), ["after"]);
    assert_eq!(true_in("IMMEDIATELY SUCCEEDS"), ["met by"]);
    // Two pairs of bars in the documentation's pictures, one in those of the narrower forms.
    assert_eq!(true_in("LEADS"), ["overlaps", "finished by"]);
    assert_eq!(true_in("STRICTLY LEADS"), ["overlaps"]);
    assert_eq!(true_in("IMMEDIATELY LEADS"), ["finished by"]);
    assert_eq!(true_in("LAGS"), ["started by", "overlapped by"]);
    assert_eq!(true_in("STRICTLY LAGS"), ["overlapped by"]);
    assert_eq!(true_in("IMMEDIATELY LAGS"), ["started by"]);
}

#[tokio::test]
async fn a_period_contains_its_start_and_not_its_end() {
    let contains = |predicate: &str, t: &str| {
        format!(
            "compare_periods('{predicate}', TIMESTAMP '2024-01-01 00:00:00', TIMESTAMP '2024-01-01 01:00:00', TIMESTAMP '2024-01-01 {t}')"
        )
    };
    check(&contains("CONTAINS", "00:00:00"), "true").await;
    check(&contains("CONTAINS", "00:59:59.999"), "true").await;
    check(&contains("CONTAINS", "01:00:00"), "false").await;
    check(&contains("strictly contains", "00:00:00"), "false").await;
    check(&contains("STRICTLY CONTAINS", "00:00:00.001"), "true").await;
    check_error(&contains("OVERLAPS", "00:00:00"), "OVERLAPS compares two periods; only CONTAINS takes a point").await;
}

#[tokio::test]
async fn any_null_bound_makes_it_null() {
    let dates = "DATE '2024-01-01', DATE '2024-01-02', DATE '2024-01-05'";
    check(&format!("compare_periods('PRECEDES', {dates}, NULL)"), "").await;
    check(&format!("compare_periods('EQUALS', NULL, {dates})"), "").await;
    check("compare_periods('CONTAINS', NULL, NULL, NULL)", "").await;
}

#[tokio::test]
async fn bounds_are_times_of_one_type() {
    check_error("compare_periods('MEETS', NULL, NULL, NULL, NULL)", "periods have no relation MEETS: expected EQUALS, CONTAINS")
        .await;
    check_error("compare_periods('EQUALS', 1, 2, 3, 4)", "a bound of a period must be a TIMESTAMP, DATE or TIME, not BIGINT")
        .await;
    check_error(
        "compare_periods('EQUALS', DATE '2024-01-01', DATE '2024-01-01', TIME '00:00:00', TIME '00:00:00')",
        "the bounds of periods must be of one type, not DATE and",
    )
    .await;
    check("compare_periods('PRECEDES', TIME '00:00:00', TIME '01:00:00', TIME '01:00:00', TIME '02:00:00')", "true").await;
}
