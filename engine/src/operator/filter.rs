//! Filter: keeps rows whose condition is TRUE (WHERE, HAVING); UNKNOWN drops (kda-sql-reference.md §2.5).
//!
//! Input, output: the same columns.  State: none.
//! Errors: a row whose condition fails goes to `error_stream`, the others go on.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;

use super::row_errors::evaluate_rows;
use super::{Operator, Output};
use crate::error::{Error, Result};
use crate::runtime::error_rows::ErrorReporter;

/// Keeps rows whose condition is TRUE.
pub struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
    reporter: ErrorReporter,
}

impl Filter {
    /// Keeps rows for which `predicate` is TRUE.
    pub fn new(predicate: Arc<dyn PhysicalExpr>, reporter: ErrorReporter) -> Self {
        Self { predicate, reporter }
    }
}

impl Operator for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let Self { predicate, reporter } = self;
        let mut kept = Vec::with_capacity(1);
        let mut errors = Vec::new();
        evaluate_rows(
            batch,
            &mut |batch| {
                let mask = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
                let mask = mask.as_boolean_opt().ok_or_else(|| Error::internal("the condition is not boolean"))?;
                Ok(filter_record_batch(batch, mask)?)
            },
            &mut |_, filtered| {
                kept.push(filtered);
                Ok(())
            },
            &mut |row, error| errors.push(reporter.row(&row, &error)),
        )?;
        kept.into_iter().for_each(|batch| out.batch(batch));
        errors.into_iter().for_each(|error| out.error(error));
        Ok(())
    }
}
