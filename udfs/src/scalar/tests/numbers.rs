//! ABS, FLOOR, CEIL, EXP, LN, LOG10, POWER, MOD.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DurationMillisecondArray, Float32Array, Float64Array, Int8Array, Int32Array,
    IntervalMonthDayNanoArray, IntervalYearMonthArray,
};
use arrow::datatypes::{Decimal128Type, Float64Type, IntervalMonthDayNano};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;

use super::{call, call_columns, check, check_error};
use crate::scalar::{abs, logarithm, modulo, power, round_number};

/// Vectors of kda-sql-reference.md, §5.7 and Appendix A.
#[tokio::test]
async fn numbers_of_the_reference() {
    check("floor(-3.3)", "-4.0").await;
    check("floor(CAST(-3.3 AS DECIMAL(2, 1)))", "-4").await;
    check("mod(-4, 3)", "-1").await;
    check("power(3, 2)", "9.0").await;
    check("power(4, -2)", "0.0625").await;
}

#[tokio::test]
async fn floor_and_ceil_keep_the_type() {
    for (x, floor, ceil) in [
        ("CAST(-3.3 AS DECIMAL(4, 2))", "-4", "-3"),
        ("CAST(9.99 AS DECIMAL(3, 2))", "9", "10"),
        ("CAST(-3 AS DECIMAL(4, 2))", "-3", "-3"),
        ("CAST(12 AS DECIMAL(4, 0))", "12", "12"),
        ("CAST(2.5 AS REAL)", "2.0", "3.0"),
        ("CAST(7 AS SMALLINT)", "7", "7"),
        ("9223372036854775807", "9223372036854775807", "9223372036854775807"),
        ("CAST(NULL AS DOUBLE)", "", ""),
        ("NULL", "", ""),
    ] {
        check(&format!("floor({x})"), floor).await;
        check(&format!("ceil({x})"), ceil).await;
        check(&format!("ceiling({x})"), ceil).await;
    }
    check("arrow_typeof(floor(CAST(1.5 AS DECIMAL(4, 2))))", "Decimal128(4, 0)").await;
    check("arrow_typeof(ceil(CAST(7 AS SMALLINT)))", "Int16").await;
    check("arrow_typeof(ceil(CAST(7 AS REAL)))", "Float32").await;
    check_error("floor('x')", "FLOOR(x) takes a number, FLOOR(x TO unit) a time").await;
    check_error("ceil(DATE '2000-01-01')", "cannot round DATE").await;
    let column: ArrayRef = Arc::new(Float32Array::from(vec![Some(-0.5), None, Some(f32::INFINITY)]));
    let expected: ArrayRef = Arc::new(Float32Array::from(vec![Some(-1.0), None, Some(f32::INFINITY)]));
    assert_eq!(&call(&round_number::floor_udf(), column, &[]).expect("numbers"), &expected);
}

#[tokio::test]
async fn abs_of_numbers_and_intervals() {
    check("abs(-5)", "5").await;
    check("abs(-2.5)", "2.5").await;
    check("abs(CAST(-2.5 AS DECIMAL(3, 1)))", "2.5").await;
    check("arrow_typeof(abs(CAST(-2.5 AS DECIMAL(3, 1))))", "Decimal128(3, 1)").await;
    check("abs(CAST(NULL AS INT))", "").await;
    check("abs(NULL)", "").await;
    check("arrow_typeof(abs(CAST(1 AS SMALLINT)))", "Int16").await;
    check("abs(CAST('-inf' AS REAL))", "inf").await;
    check_error("abs('x')", "ABS takes a number or an interval").await;
    let smallest: ArrayRef = Arc::new(Int8Array::from(vec![-128]));
    let error = call(&abs::udf(), smallest, &[]).expect_err("no +128");
    assert!(error.to_string().contains("the absolute value of -128 is out of the range"), "{error}");
    let under_null: ArrayRef = Arc::new(Int8Array::new(vec![-128, -1].into(), Some(vec![false, true].into())));
    let expected: ArrayRef = Arc::new(Int8Array::from(vec![None, Some(1)]));
    assert_eq!(&call(&abs::udf(), under_null, &[]).expect("NULL"), &expected);
    let step = IntervalMonthDayNano::new;
    let pairs: [[ArrayRef; 2]; 3] = [
        [
            Arc::new(DurationMillisecondArray::from(vec![Some(-5), None, Some(7)])),
            Arc::new(DurationMillisecondArray::from(vec![Some(5), None, Some(7)])),
        ],
        [Arc::new(IntervalYearMonthArray::from(vec![-40])), Arc::new(IntervalYearMonthArray::from(vec![40]))],
        [
            Arc::new(IntervalMonthDayNanoArray::from(vec![step(0, 0, -5), step(-2, 0, 0), step(0, 1, -5), step(0, -1, 5)])),
            Arc::new(IntervalMonthDayNanoArray::from(vec![step(0, 0, 5), step(2, 0, 0), step(0, 1, -5), step(0, 1, -5)])),
        ],
    ];
    for [column, expected] in pairs {
        assert_eq!(&call(&abs::udf(), column, &[]).expect("in range"), &expected);
    }
}

#[tokio::test]
async fn logarithms() {
    check("exp(0)", "1.0").await;
    check("exp(1000)", "inf").await;
    check("ln(exp(CAST(2 AS DECIMAL(3, 1))))", "2.0").await;
    check("log10(1000)", "3.0").await;
    check("arrow_typeof(exp(CAST(0 AS REAL)))", "Float64").await;
    for function in ["exp", "ln", "log10"] {
        check(&format!("{function}(CAST(NULL AS INT))"), "").await;
        check_error(&format!("{function}('x')"), "it takes a number").await;
    }
    check_error("ln(0)", "0 has no logarithm: it must be greater than zero").await;
    check_error("log10(-0.5)", "-0.5 has no logarithm").await;
    let zero_under_null: ArrayRef = Arc::new(Float64Array::new(vec![0.0, 1.0].into(), Some(vec![false, true].into())));
    let logarithms = call(&logarithm::ln_udf(), zero_under_null, &[]).expect("NULL");
    assert_eq!(logarithms.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [None, Some(0.0)]);
}

#[tokio::test]
async fn powers() {
    check("power(0, 0)", "1.0").await;
    check("power(-2, 3)", "-8.0").await;
    check("power(10, 400)", "inf").await;
    check("power(NULL, 2)", "").await;
    check("power(0, CAST(NULL AS INT))", "").await;
    check("arrow_typeof(power(CAST(3 AS DECIMAL(3, 1)), CAST(1 AS REAL)))", "Float64").await;
    check_error("power(0, -1)", "cannot raise 0 to the power of -1: zero has no negative power").await;
    check_error("power(-8, 0.5)", "cannot raise -8 to the power of 0.5: a negative number has only whole powers").await;
    check_error("power('x', 2)", "POWER takes two numbers").await;
    let bases: ArrayRef = Arc::new(Float64Array::from(vec![Some(4.0), None]));
    let roots = call(&power::udf(), bases, &[ScalarValue::Float64(Some(0.5))]).expect("defined");
    assert_eq!(roots.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [Some(2.0), None]);
}

#[tokio::test]
async fn rests() {
    check("mod(4, -3)", "1").await;
    check("mod(CAST(7 AS DECIMAL(10, 0)), 4)", "3").await;
    check("mod(-9223372036854775808, -1)", "0").await;
    check("mod(NULL, 3)", "").await;
    check("mod(CAST(NULL AS INT), 0)", "").await;
    check("mod(NULL, NULL)", "").await;
    for (types, expected) in [
        (["TINYINT", "SMALLINT"], "Int16"),
        (["INT", "TINYINT"], "Int32"),
        (["INT", "BIGINT"], "Int64"),
        (["DECIMAL(5, 0)", "DECIMAL(7, 0)"], "Decimal128(7, 0)"),
        (["DECIMAL(5, 0)", "INT"], "Decimal128(10, 0)"),
    ] {
        let [a, b] = types;
        check(&format!("arrow_typeof(mod(CAST(5 AS {a}), CAST(3 AS {b})))"), expected).await;
    }
    check_error("mod(5, 0)", "Divide by zero").await;
    check_error("mod(5.5, 2)", "cannot divide DOUBLE by BIGINT with a rest: MOD takes two whole numbers").await;
    check_error("mod(CAST(5 AS DECIMAL(5, 2)), 2)", "MOD takes two whole numbers").await;
    let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(-7)]));
    let b: ArrayRef = Arc::new(Decimal128Array::from(vec![4, 0, 4]).with_precision_and_scale(3, 0).expect("fits"));
    let rests = call_columns(&modulo::udf(), &[a.clone(), b]).expect("a zero beside NULL does not count");
    assert_eq!(rests.as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>(), [Some(3), None, Some(-3)]);
    let error = call(&modulo::udf(), a.slice(0, 1), &[ScalarValue::Int32(Some(0))]).expect_err("a zero");
    assert!(matches!(&error, DataFusionError::ArrowError(error, _) if matches!(**error, ArrowError::DivideByZero)), "{error}");
}
