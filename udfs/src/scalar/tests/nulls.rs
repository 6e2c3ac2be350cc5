//! NULLIF and COALESCE.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, StringArray};
use datafusion::common::ScalarValue;

use super::{call, call_columns, check, check_error};
use crate::scalar::nullif;

#[tokio::test]
async fn nullif_has_the_type_of_its_first_argument() {
    check("nullif(5, 5)", "").await;
    check("nullif(5, 6)", "5").await;
    check("nullif(2, 2.0)", "").await;
    check("nullif(2, 2.5)", "2").await;
    check("arrow_typeof(nullif(CAST(2 AS SMALLINT), 2.5))", "Int16").await;
    check("nullif('a', 'b')", "a").await;
    check("nullif(CAST('-0.0' AS DOUBLE), CAST('0.0' AS REAL))", "").await;
    check("nullif(CAST('1e200' AS DOUBLE), CAST(2 AS DECIMAL(5, 2)))", "1e200").await;
    check("nullif(NULL, 5)", "").await;
    check("nullif(5, NULL)", "5").await;
    check("nullif(CAST(NULL AS INT), 5)", "").await;
    check("nullif(5, CAST(NULL AS INT))", "5").await;
    check("nullif(DATE '2000-01-01', DATE '2000-01-01')", "").await;
    check("nullif(TRUE, FALSE)", "true").await;
    check_error("nullif(5, '5')", "cannot compare BIGINT with VARCHAR(65535) in NULLIF").await;
    check_error("nullif(DATE '2000-01-01', 5)", "cannot compare DATE with BIGINT").await;
}

#[test]
fn nullif_of_columns() {
    let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None]));
    let b: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let expected: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(2), None]));
    assert_eq!(&call_columns(&nullif::udf(), &[a.clone(), b]).expect("numbers"), &expected);
    let expected: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None]));
    assert_eq!(&call(&nullif::udf(), a, &[ScalarValue::Int64(Some(2))]).expect("numbers"), &expected);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("-"), Some("x"), None]));
    let none = call(&nullif::udf(), texts, &[ScalarValue::from("-")]).expect("texts");
    assert_eq!((none.is_null(0), none.is_valid(1), none.is_null(2)), (true, true, true));
}

#[tokio::test]
async fn coalesce_is_the_first_that_is_not_null() {
    check("coalesce(NULL, 5, 6)", "5").await;
    check("coalesce(NULL, CAST(NULL AS INT))", "").await;
    check("coalesce(x, 1) FROM (VALUES (CAST(NULL AS INT))) AS t(x)", "1").await;
    check("coalesce(x, y, 'z') FROM (VALUES (CAST(NULL AS VARCHAR), 'y')) AS t(x, y)", "y").await;
    check("arrow_typeof(coalesce(CAST(1 AS SMALLINT), CAST(2 AS INT)))", "Int32").await;
    check("coalesce(1, 2.5)", "1.0").await;
    check("arrow_typeof(coalesce(CAST(1 AS DECIMAL(5, 2)), CAST(2 AS DECIMAL(6, 1))))", "Decimal128(7, 2)").await;
    // Of an approximate and an exact number an approximate one.
    check("arrow_typeof(coalesce(CAST(1 AS DOUBLE), CAST(2 AS DECIMAL(5, 2))))", "Float64").await;
    check("arrow_typeof(coalesce(CAST(1 AS DECIMAL(5, 2)), 3, CAST(2 AS REAL)))", "Float64").await;
    check("coalesce(CAST('1e200' AS DOUBLE), CAST(2 AS DECIMAL(5, 2)))", "1e200").await;
    // What follows the first that is not NULL is not computed.
    check("coalesce(x, 1 / y) FROM (VALUES (5, 0)) AS t(x, y)", "5").await;
    check_error("coalesce(5, 'x')", "COALESCE of BIGINT and VARCHAR(65535): its arguments must be of one kind").await;
    check_error("coalesce(DATE '2000-01-01', TIMESTAMP '2000-01-01 00:00:00')", "COALESCE of DATE and").await;
}
