use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int32Array, UInt8Array};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use super::{call, check, check_error};
use crate::scalar::nonzero::udf;

#[tokio::test]
async fn fails_for_every_zero_and_passes_null() {
    for zero in ["0", "0.0", "-0.0", "CAST(0 AS DECIMAL(5, 2))", "CAST(0 AS TINYINT)", "CAST(0 AS REAL)"] {
        check_error(&format!("nonzero({zero})"), "Divide by zero").await;
    }
    check("nonzero(2.5)", "2.5").await;
    check("nonzero(CAST(NULL AS DOUBLE))", "").await;
    check("nonzero(NULL)", "").await;
    check("nonzero(CAST('NaN' AS DOUBLE))", "NaN").await;
    check_error("nonzero('x')", "cannot compare Utf8 with zero").await;
}

#[test]
fn fails_with_the_error_of_arrows_division() {
    let mut values = vec![1.0; 200];
    values[150] = -0.0;
    let zeros: [ArrayRef; 4] = [
        Arc::new(Float64Array::from(values)),
        Arc::new(Int32Array::from(vec![1, 0])),
        Arc::new(UInt8Array::from(vec![0])),
        Arc::new(Decimal128Array::from(vec![5, 0])),
    ];
    for column in zeros {
        let error = call(&udf(), column, &[]).expect_err("a zero");
        assert!(
            matches!(&error, DataFusionError::ArrowError(error, _) if matches!(**error, ArrowError::DivideByZero)),
            "{error}"
        );
    }
}

#[test]
fn passes_the_column_itself_even_with_zeros_under_null() {
    let column: ArrayRef = Arc::new(Int32Array::new(vec![1, 0, 2].into(), Some(vec![true, false, true].into())));
    let passed = call(&udf(), column.clone(), &[]).expect("no zero");
    assert!(Arc::ptr_eq(&column, &passed));
    // The row a slice leaves out does not count.
    let column: ArrayRef = Arc::new(Int32Array::from(vec![0, 7, 8]).slice(1, 2));
    assert_eq!(&call(&udf(), column.clone(), &[]).expect("no zero"), &column);
}
