//! Project: computes the select list, one expression per output column.
//!
//! Input:  any batch.  Output: one column per expression, as `schema` says.  State: none.
//! Errors: a row for which an expression fails goes to `error_stream`, the others go on.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_expr::PhysicalExpr;

use super::row_errors::evaluate_rows;
use super::{Operator, Output};
use crate::error::Result;
use crate::runtime::error_rows::ErrorReporter;

/// Computes one expression per output column.
pub struct Project {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    reporter: ErrorReporter,
}

impl Project {
    /// Computes `expressions`, which give the columns of `schema`.
    pub fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef, reporter: ErrorReporter) -> Self {
        Self { expressions, schema, reporter }
    }
}

/// Evaluates `expressions` on the whole batch.
pub(crate) fn project(expressions: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = expressions.iter().map(|expression| expression.evaluate(batch)?.into_array(rows)).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?)
}

impl Operator for Project {
    fn name(&self) -> &'static str {
        "project"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let Self { expressions, schema, reporter } = self;
        let mut projected = Vec::with_capacity(1);
        let mut errors = Vec::new();
        evaluate_rows(
            batch,
            &mut |batch| project(expressions, schema, batch),
            &mut |_, batch| {
                projected.push(batch);
                Ok(())
            },
            &mut |row, error| errors.push(reporter.row(&row, &error)),
        )?;
        projected.into_iter().for_each(|batch| out.batch(batch));
        errors.into_iter().for_each(|error| out.error(error));
        Ok(())
    }
}
