//! Merge: several inserters into one stream, in ROWTIME order (kda-sql-reference.md §2.4, §4.7).
//!
//! Input:  batches of the same schema from several inputs, each in ROWTIME order up to its own watermark.
//! Output: the same rows sorted by ROWTIME; rows of the same ROWTIME by input, then by arrival.
//! State:  rows that a slower input may still come before.
//! Time:   a row is released once the watermark of every input has reached its ROWTIME.

use arrow::array::{ArrayRef, AsArray, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use super::budget::{Budget, bytes_of_rows};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;

/// Holds rows back until no input can come before them.
pub struct Merge {
    schema: SchemaRef,
    rowtime: usize,
    waiting: Vec<(usize, RecordBatch)>,
    /// Bytes of `waiting`.
    bytes: usize,
    budget: Budget,
}

impl Merge {
    /// Merges inputs of `schema`, whose column `rowtime` is ROWTIME.
    pub fn new(schema: SchemaRef, rowtime: usize, budget: Budget) -> Self {
        Self { schema, rowtime, waiting: Vec::new(), bytes: 0, budget }
    }

    fn account(&mut self, bytes: usize) -> Result<()> {
        self.bytes = bytes;
        let rows = || self.waiting.iter().map(|(_, batch)| batch.num_rows()).sum::<usize>();
        self.budget.resize(bytes, || format!("{} rows that wait for slower inputs", rows()))
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(|(_, batch)| bytes_of_rows(batch)).sum()
    }

    fn times<'a>(&self, column: &'a ArrayRef) -> Result<&'a [EventTime]> {
        let column = column.as_primitive_opt::<TimestampMillisecondType>();
        Ok(column.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?.values())
    }
}

impl Operator for Merge {
    fn name(&self) -> &'static str {
        "merge"
    }

    fn on_batch(&mut self, input: usize, batch: RecordBatch, _out: &mut Output) -> Result<()> {
        let bytes = self.bytes + bytes_of_rows(&batch);
        self.waiting.push((input, batch));
        self.account(bytes)
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        if !self.waiting.is_empty() {
            // A row of exactly the watermark may still come, from an input before this one.
            let is_ready = |time: EventTime| time < watermark || watermark == EventTime::MAX;
            // The sort below is stable: input order, then arrival order, within one ROWTIME.
            self.waiting.sort_by_key(|(input, _)| *input);
            let rows = concat_batches(&self.schema, self.waiting.iter().map(|(_, batch)| batch))?;
            let times = self.times(rows.column(self.rowtime))?;
            let mut ready: Vec<u64> = (0..times.len() as u64).filter(|row| is_ready(times[*row as usize])).collect();
            ready.sort_by_key(|row| times[*row as usize]);
            if ready.len() == times.len() {
                self.waiting.clear();
            } else if !ready.is_empty() {
                for (_, batch) in &mut self.waiting {
                    let column = batch.column(self.rowtime).as_primitive::<TimestampMillisecondType>();
                    let later = arrow::array::BooleanArray::from_unary(column, |time| !is_ready(time));
                    *batch = arrow::compute::filter_record_batch(batch, &later)?;
                }
                self.waiting.retain(|(_, batch)| batch.num_rows() > 0);
            }
            out.batch(take_record_batch(&rows, &UInt64Array::from(ready))?);
            self.account(self.waiting_bytes())?;
        }
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let inputs: Vec<usize> = self.waiting.iter().map(|(input, _)| *input).collect();
        let batches = self.waiting.iter().map(|(_, batch)| batch.clone()).collect();
        Ok(Some(OperatorState { summary: serde_json::json!({ "inputs": inputs }), batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        let inputs: Vec<usize> = state.summary_value("inputs")?;
        self.waiting = inputs.into_iter().zip(state.batches).collect();
        self.account(self.waiting_bytes())
    }
}
