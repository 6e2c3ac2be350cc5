//! The part of a join's condition that is no equality of keys: evaluated on candidate pairs, many at once.
//!
//! Input:  the columns that the condition reads, one row per pair.  Output: which pairs it is TRUE for; UNKNOWN drops.
//! Errors: a pair for which the condition fails goes to `error_stream`, with its ROWTIME, and does not match.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_expr::PhysicalExpr;

use super::Output;
use super::row_errors::evaluate_rows;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::{ErrorReporter, ErrorRow};

/// One of the two inputs of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The input before JOIN.
    Left,
    /// The input behind JOIN.
    Right,
}

/// A condition over columns of both sides.
#[derive(Debug, Clone)]
pub struct PairFilter {
    /// The condition, over `schema`.
    pub predicate: Arc<dyn PhysicalExpr>,
    /// Where the columns of `schema` come from.
    pub columns: Vec<(Side, usize)>,
    /// The columns that the condition reads.
    pub schema: SchemaRef,
}

impl PairFilter {
    /// Which of `pairs` pairs the condition is TRUE for; `columns` are those of [`PairFilter::columns`]. `time_of` gives the
    /// ROWTIME of a pair.
    pub fn matches(
        &self,
        columns: Vec<ArrayRef>,
        (pairs, time_of): (usize, &dyn Fn(usize) -> Option<EventTime>),
        reporter: &ErrorReporter,
        out: &mut Output,
    ) -> Result<BooleanArray> {
        let options = RecordBatchOptions::new().with_row_count(Some(pairs));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let kept = std::cell::RefCell::new(BooleanBufferBuilder::new(pairs));
        evaluate_rows(
            batch,
            &mut |batch| {
                let mask = self.predicate.evaluate(batch)?.into_array(batch.num_rows())?;
                let mask = mask.as_boolean_opt().ok_or_else(|| Error::internal("the join condition is not boolean"))?;
                Ok(if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
            },
            &mut |_, mask: BooleanArray| {
                kept.borrow_mut().append_buffer(mask.values());
                Ok(())
            },
            &mut |pair, error| {
                let rowtime = time_of(kept.borrow().len());
                kept.borrow_mut().append(false);
                out.error(ErrorRow { rowtime, ..reporter.row(&pair, &error) });
            },
        )?;
        Ok(BooleanArray::new(kept.into_inner().finish(), None))
    }
}
