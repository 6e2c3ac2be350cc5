//! Override of ROWTIME: `… AS ROWTIME` gives the rows a new time (kda-sql-reference.md §3.2, §8.4, §8.5).
//!
//! Input:  rows whose ROWTIME column already holds the new time, the old one in a column behind the others if it is known; and
//!         watermarks of the old time.
//! Output: the same rows without the old time. The result rows of a window are sorted by the new time, other rows stay in their order.
//! State:  the result rows of the window that is being emitted.
//! Time:   the new watermark is the greatest new ROWTIME so far.
//! Late:   a row behind the greatest new ROWTIME before it goes to `error_stream` as `LATE_ROW`. Decided row by row, so
//!         that it does not matter how the rows are cut into batches.
//! Errors: a row without a new time, or with one outside the years 0001 to 9999, goes to `error_stream`, with the old one.

use arrow::array::{Array, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use super::budget::{Budget, bytes_of_rows};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::{ErrorReporter, ErrorRow};
use crate::runtime::rowtime::{ROWTIMES, new_rowtime};

/// Gives rows a new ROWTIME.
pub struct OverrideRowtime {
    /// Columns of the input.
    input: SchemaRef,
    schema: SchemaRef,
    rowtime: usize,
    /// True above a window: its result rows, which come between two watermarks, have no order of their own.
    sorts: bool,
    waiting: Vec<RecordBatch>,
    /// Bytes of `waiting`.
    bytes: usize,
    greatest: EventTime,
    reporter: ErrorReporter,
    budget: Budget,
}

impl OverrideRowtime {
    /// The columns of input and output: the input may have one more. `rowtime` is the place of the new ROWTIME; `sorts` is true
    /// for rows of a window.
    pub fn new(
        (input, schema): (SchemaRef, SchemaRef),
        rowtime: usize,
        sorts: bool,
        reporter: ErrorReporter,
        budget: Budget,
    ) -> Self {
        let (waiting, bytes, greatest) = (Vec::new(), 0, EventTime::MIN);
        Self { input, schema, rowtime, sorts, waiting, bytes, greatest, reporter, budget }
    }

    fn account(&mut self, bytes: usize) -> Result<()> {
        self.bytes = bytes;
        self.budget.resize(bytes, || "the result rows of one window".to_owned())
    }

    /// Emits the rows that are in time, in the order in which they are.
    fn emit(&mut self, rows: RecordBatch, out: &mut Output) -> Result<()> {
        let came = rows.columns().get(self.schema.fields().len()).cloned();
        let came = came.as_ref().and_then(|came| came.as_primitive_opt::<TimestampMillisecondType>());
        let columns = rows.columns()[..self.schema.fields().len()].to_vec();
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        let times = rows.column(self.rowtime).as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?;
        if times.null_count() == 0
            && times.values().first().is_none_or(|first| *first >= self.greatest)
            && times.values().is_sorted()
            && [times.values().first(), times.values().last()].into_iter().flatten().all(|time| ROWTIMES.contains(time))
        {
            self.greatest = times.values().last().copied().unwrap_or(self.greatest);
            out.batch(rows);
            return Ok(());
        }
        let mut keep = Vec::with_capacity(times.len());
        for (row, time) in times.iter().enumerate() {
            let time = new_rowtime(time);
            keep.push(matches!(time, Ok(time) if time >= self.greatest));
            match time {
                Err(error) => {
                    let rowtime = came.filter(|came| came.is_valid(row)).map(|came| came.value(row));
                    out.error(ErrorRow { rowtime, ..self.reporter.row(&rows.slice(row, 1), &error) });
                }
                Ok(time) if time < self.greatest => {
                    out.error(self.reporter.late_row(&rows.slice(row, 1), self.greatest));
                }
                Ok(time) => self.greatest = time,
            }
        }
        out.batch(filter_record_batch(&rows, &BooleanArray::from(keep))?);
        Ok(())
    }

    /// Emits the result rows of the window that has just closed.
    fn emit_window(&mut self, out: &mut Output) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = concat_batches(&self.input, &self.waiting)?;
        self.waiting.clear();
        self.account(0)?;
        let times = rows.column(self.rowtime).as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?.values();
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_by_key(|row| times[*row as usize]);
        self.emit(take_record_batch(&rows, &UInt32Array::from(order))?, out)
    }
}

impl Operator for OverrideRowtime {
    fn name(&self) -> &'static str {
        "override rowtime"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        if !self.sorts {
            return self.emit(batch, out);
        }
        let bytes = self.bytes + bytes_of_rows(&batch);
        self.waiting.push(batch);
        self.account(bytes)
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.emit_window(out)?;
        if watermark == EventTime::MAX {
            out.watermark(watermark);
        } else if self.greatest != EventTime::MIN {
            out.watermark(self.greatest);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        Ok(Some(OperatorState { summary: serde_json::json!({ "greatest": self.greatest }), batches: self.waiting.clone() }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.greatest = state.summary_value("greatest")?;
        self.account(state.batches.iter().map(bytes_of_rows).sum())?;
        self.waiting = state.batches;
        Ok(())
    }
}
