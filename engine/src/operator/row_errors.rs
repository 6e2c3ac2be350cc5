//! Evaluating a batch in which some rows may fail: the failing ones are found by halving, the others go on.

use arrow::record_batch::RecordBatch;

use super::Output;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::error_rows::ErrorReporter;

/// Evaluates `evaluate` on `batch`. If it fails, on its halves, down to the rows that fail alone.
///
/// `succeeded` gets the results in row order, each with the rows it was computed from; `failed` gets every failing row
/// (a batch of one) and why. k failing rows of n cost about k·log₂(n) further evaluations; without failures there is one.
/// Errors that are not about data end the evaluation.
pub fn evaluate_rows<T>(
    batch: RecordBatch,
    evaluate: &mut dyn FnMut(&RecordBatch) -> Result<T>,
    succeeded: &mut dyn FnMut(RecordBatch, T) -> Result<()>,
    failed: &mut dyn FnMut(RecordBatch, Error),
) -> Result<()> {
    if batch.num_rows() == 0 {
        return Ok(());
    }
    match evaluate(&batch) {
        Ok(value) => succeeded(batch, value),
        Err(error) if !matches!(error.kind(), ErrorKind::Data) => Err(error),
        Err(error) if batch.num_rows() == 1 => {
            failed(batch, error);
            Ok(())
        }
        Err(_) => {
            let half = batch.num_rows() / 2;
            evaluate_rows(batch.slice(0, half), evaluate, succeeded, failed)?;
            evaluate_rows(batch.slice(half, batch.num_rows() - half), evaluate, succeeded, failed)
        }
    }
}

/// The results of `evaluate` on `batch` in row order, each with the rows it was computed from. Failing rows go to `out` as rows of
/// `error_stream`; see [`evaluate_rows`].
pub fn evaluate_or_report<T>(
    batch: RecordBatch,
    mut evaluate: impl FnMut(&RecordBatch) -> Result<T>,
    reporter: &ErrorReporter,
    out: &mut Output,
) -> Result<Vec<(RecordBatch, T)>> {
    let mut evaluated = Vec::with_capacity(1);
    let mut errors = Vec::new();
    evaluate_rows(
        batch,
        &mut evaluate,
        &mut |batch, value| {
            evaluated.push((batch, value));
            Ok(())
        },
        &mut |row, error| errors.push(reporter.row(&row, &error)),
    )?;
    errors.into_iter().for_each(|error| out.error(error));
    Ok(evaluated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    #[test]
    fn only_the_failing_rows_are_lost_and_order_is_kept() {
        let column: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let (mut kept, mut lost, mut calls) = (Vec::new(), Vec::new(), 0);
        let numbers = |batch: &RecordBatch| arrow::array::AsArray::as_primitive::<Int32Type>(batch.column(0)).values().to_vec();
        evaluate_rows(
            batch,
            &mut |batch| {
                calls += 1;
                let values = numbers(batch);
                if values.contains(&7) || values.contains(&500) { Err(Error::data("division by zero")) } else { Ok(values) }
            },
            &mut |_, values| {
                kept.extend(values);
                Ok(())
            },
            &mut |row, error| lost.push((numbers(&row), error.message().to_owned())),
        )
        .expect("data errors do not end it");
        assert_eq!(kept, (0..1000).filter(|n| *n != 7 && *n != 500).collect::<Vec<_>>());
        assert_eq!(lost, [(vec![7], "division by zero".to_owned()), (vec![500], "division by zero".to_owned())]);
        assert!(calls < 50, "{calls} evaluations for two failing rows of 1,000");
    }

    #[test]
    fn an_error_that_is_not_about_data_ends_it() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let result = evaluate_rows::<()>(batch, &mut |_| Err(Error::internal("bug")), &mut |_, ()| Ok(()), &mut |_, _| {
            panic!("not a row's fault")
        });
        assert_eq!(result.expect_err("internal").kind(), ErrorKind::Internal);
    }
}
