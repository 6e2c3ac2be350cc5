//! Override of ROWTIME: `… AS ROWTIME` gives the rows a new time (kda-sql-reference.md §3.2, §8.5).
//!
//! Input:  rows whose ROWTIME column already holds the new time, and watermarks of the old time.
//! Output: the same rows; those that arrived between two watermarks are sorted by the new time.
//! State:  the rows since the last watermark.
//! Time:   the new watermark is the greatest new ROWTIME that was emitted.
//! Late:   a row behind the new watermark goes to `error_stream` as `LATE_ROW`.

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// Puts rows in the order of their new ROWTIME.
pub struct OverrideRowtime {
    schema: SchemaRef,
    rowtime: usize,
    waiting: Vec<RecordBatch>,
    emitted: EventTime,
    reporter: ErrorReporter,
}

impl OverrideRowtime {
    /// `rowtime` is the place of the new ROWTIME among the columns of `schema`.
    pub fn new(schema: SchemaRef, rowtime: usize, reporter: ErrorReporter) -> Self {
        Self { schema, rowtime, waiting: Vec::new(), emitted: EventTime::MIN, reporter }
    }
}

impl Operator for OverrideRowtime {
    fn name(&self) -> &'static str {
        "override rowtime"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, _out: &mut Output) -> Result<()> {
        self.waiting.push(batch);
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        if !self.waiting.is_empty() {
            let rows = concat_batches(&self.schema, &self.waiting)?;
            self.waiting.clear();
            let times = rows.column(self.rowtime).as_primitive_opt::<TimestampMillisecondType>();
            let times = times.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?;
            let mut order = Vec::with_capacity(times.len());
            for row in 0..times.len() {
                if times.is_null(row) {
                    out.error(self.reporter.row(&rows.slice(row, 1), &Error::data("ROWTIME is NULL").named("NULL_VIOLATION")));
                } else if times.value(row) < self.emitted {
                    out.error(self.reporter.late_row(&rows.slice(row, 1), self.emitted));
                } else {
                    order.push(row as u32);
                }
            }
            order.sort_by_key(|row| times.value(*row as usize));
            if let Some(last) = order.last() {
                self.emitted = times.value(*last as usize);
                out.batch(take_record_batch(&rows, &UInt32Array::from(order))?);
            }
        }
        if watermark == EventTime::MAX {
            out.watermark(watermark);
        } else if self.emitted != EventTime::MIN {
            out.watermark(self.emitted);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        Ok(Some(OperatorState { summary: serde_json::json!({ "emitted": self.emitted }), batches: self.waiting.clone() }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.emitted = state.summary_value("emitted")?;
        self.waiting = state.batches;
        Ok(())
    }
}
