//! `ORDER BY t WITHIN INTERVAL d` on a stream: sorts by a time of the rows and makes it their ROWTIME (kda-sql-reference.md §2.8).
//!
//! Input:  batches in which ROWTIME is `t` already, in any order; the one that a row came with in a column behind the others if it is
//!         known.
//! Output: the same rows in the order of `t`; those that are released together and have the same `t` are sorted by the other
//!         expressions, and rows that these do not tell apart stay as they came.
//! State:  the rows of the last `d`.
//! Time:   a row is released once one with a `t` of at least its own plus `d` has come, or the input has ended. The watermark is
//!         the greatest `t` that was released. Watermarks of the input play no part.
//! Late:   a row behind the greatest `t` that was released goes to `error_stream` as `LATE_ROW`. Decided row by row, so that it
//!         does not matter how the rows are cut into batches.
//! Errors: a row whose `t` is NULL or outside the years 0001 to 9999, or whose expressions fail, goes to `error_stream` alone, with
//!         the ROWTIME that it came with.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, UInt64Array};
use arrow::compute::{SortOptions, interleave_record_batch, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use super::budget::{Budget, bytes_of_rows};
use super::stream_sort::{SortKey, sorted};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::{ErrorReporter, ErrorRow};
use crate::runtime::rowtime::new_rowtime;

/// The plan of `ORDER BY … WITHIN`.
#[derive(Clone)]
pub struct WithinSortPlan {
    /// The expressions behind the time.
    pub by: Vec<SortKey>,
    /// How much a row may come too late, milliseconds.
    pub within_ms: i64,
    /// Place of ROWTIME, which is the time.
    pub rowtime: usize,
    /// Columns of the output: the input may have one more.
    pub schema: SchemaRef,
}

/// A batch of which rows wait.
struct Waiting {
    rows: RecordBatch,
    /// How many of them wait.
    left: usize,
    bytes: usize,
}

/// A row that waits: its time, its batch, counted from the first one ever, and its place there. Least first: the earliest, and
/// of one time the one that came first.
type Place = Reverse<(EventTime, u64, u32)>;

/// Sorts rows that come out of order.
pub struct WithinSort {
    plan: WithinSortPlan,
    order: BinaryHeap<Place>,
    waiting: VecDeque<Waiting>,
    /// How many batches were dropped: the number of the first one that waits.
    dropped: u64,
    /// Bytes of `waiting`.
    bytes: usize,
    /// Rows up to this time are released as they come.
    bound: EventTime,
    /// The greatest time that was released; what comes before it now is late.
    released: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
}

impl WithinSort {
    /// `budget` counts the waiting rows.
    pub fn new(plan: WithinSortPlan, budget: Budget, reporter: ErrorReporter) -> Self {
        Self {
            plan,
            order: BinaryHeap::new(),
            waiting: VecDeque::new(),
            dropped: 0,
            bytes: 0,
            bound: EventTime::MIN,
            released: EventTime::MIN,
            budget,
            reporter,
        }
    }

    /// Takes the rows of a batch one by one. Gives the places of those that are released by it, and by which row each is.
    fn add(&mut self, batch: RecordBatch, out: &mut Output) -> Result<Vec<(Place, u32)>> {
        let came = batch.columns().get(self.plan.schema.fields().len()).cloned();
        let came = came.as_ref().and_then(|came| came.as_primitive_opt::<TimestampMillisecondType>());
        let columns = batch.columns()[..self.plan.schema.fields().len()].to_vec();
        let batch = RecordBatch::try_new(self.plan.schema.clone(), columns)?;
        let times = batch.column(self.plan.rowtime).as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?;
        let number = self.dropped + self.waiting.len() as u64;
        let (mut ready, mut left) = (Vec::new(), 0);
        for (row, time) in times.iter().enumerate() {
            let time = match new_rowtime(time) {
                Ok(time) => time,
                Err(error) => {
                    let rowtime = came.filter(|came| came.is_valid(row)).map(|came| came.value(row));
                    out.error(ErrorRow { rowtime, ..self.reporter.row(&batch.slice(row, 1), &error) });
                    continue;
                }
            };
            if time < self.released {
                out.error(self.reporter.late_row(&batch.slice(row, 1), self.released));
                continue;
            }
            self.order.push(Reverse((time, number, row as u32)));
            left += 1;
            self.bound = self.bound.max(time.saturating_sub(self.plan.within_ms));
            while let Some(place) = pop(&mut self.order, self.bound) {
                self.released = place.0.0;
                ready.push((place, row as u32));
            }
        }
        if left > 0 {
            let bytes = bytes_of_rows(&batch);
            self.bytes += bytes;
            self.waiting.push_back(Waiting { rows: batch, left, bytes });
        }
        Ok(ready)
    }

    /// Emits the rows at these places, which are in the order of their time.
    fn emit(&mut self, ready: &[(Place, u32)], out: &mut Output) -> Result<()> {
        if ready.is_empty() {
            return Ok(());
        }
        // Only the batches that have such a row are looked at.
        let mut slots = vec![usize::MAX; self.waiting.len()];
        let mut used = Vec::new();
        let mut indices = Vec::with_capacity(ready.len());
        for (Reverse((_, batch, row)), _) in ready {
            let place = (batch - self.dropped) as usize;
            if slots[place] == usize::MAX {
                slots[place] = used.len();
                used.push(place);
            }
            self.waiting[place].left -= 1;
            indices.push((slots[place], *row as usize));
        }
        let batches: Vec<_> = used.iter().map(|place| &self.waiting[*place].rows).collect();
        let rows = interleave_record_batch(&batches, &indices)?;
        while let Some(first) = self.waiting.pop_front_if(|first| first.left == 0) {
            self.bytes -= first.bytes;
            self.dropped += 1;
        }
        let rows = self.sorted_by_others(rows, ready, out)?;
        out.batch(rows);
        Ok(())
    }

    /// Rows that are released together and have one time are sorted by the other expressions.
    fn sorted_by_others(&self, rows: RecordBatch, ready: &[(Place, u32)], out: &mut Output) -> Result<RecordBatch> {
        if self.plan.by.is_empty() {
            return Ok(rows);
        }
        let mut runs = Vec::with_capacity(ready.len());
        let mut run = 0_u64;
        for (i, (Reverse((time, ..)), by)) in ready.iter().enumerate() {
            let is_another = |(Reverse((other, ..)), before): &(Place, u32)| other != time || before != by;
            run += u64::from(i > 0 && is_another(&ready[i - 1]));
            runs.push(run);
        }
        // The run is a column of its own, so that it stays with its row where others fail.
        let (schema, width) = (rows.schema(), rows.num_columns());
        let runs: ArrayRef = Arc::new(UInt64Array::from(runs));
        let run = arrow::datatypes::Field::new("$run", runs.data_type().clone(), false);
        let fields = schema.fields().iter().cloned().chain([Arc::new(run)]).collect::<Vec<_>>();
        let columns = rows.columns().iter().cloned().chain([runs]).collect();
        let rows = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns)?;
        let options: Vec<_> =
            std::iter::once(SortOptions::default()).chain(self.plan.by.iter().map(|(_, options)| *options)).collect();
        let mut keys = |rows: &RecordBatch| -> Result<Vec<ArrayRef>> {
            let others = self.plan.by.iter().map(|(expr, _)| Ok(expr.evaluate(rows)?.into_array(rows.num_rows())?));
            std::iter::once(Ok(rows.column(width).clone())).chain(others).collect()
        };
        let rows = sorted(rows, &mut keys, &options, &self.reporter, out)?;
        Ok(RecordBatch::try_new(schema, rows.columns()[..width].to_vec())?)
    }

    fn account(&self) -> Result<()> {
        let bytes = self.bytes + self.order.capacity() * size_of::<Place>();
        self.budget.resize(bytes, || format!("{} rows that are to be sorted", self.order.len()))
    }
}

/// The earliest row, if it is not behind `bound`.
fn pop(order: &mut BinaryHeap<Place>, bound: EventTime) -> Option<Place> {
    if order.peek().is_some_and(|Reverse((time, ..))| *time <= bound) { order.pop() } else { None }
}

impl Operator for WithinSort {
    fn name(&self) -> &'static str {
        "sort within"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let before = self.released;
        let ready = self.add(batch, out)?;
        self.account()?;
        self.emit(&ready, out)?;
        if self.released > before {
            out.watermark(self.released);
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        if watermark == EventTime::MAX {
            let rest = std::mem::take(&mut self.order).into_sorted_vec();
            // Sorted from the greatest to the least of what is reversed: from the earliest to the latest is the other way round.
            let ready: Vec<_> = rest.into_iter().rev().map(|place| (place, 0)).collect();
            if let Some((Reverse((last, ..)), _)) = ready.last() {
                self.released = *last;
            }
            self.emit(&ready, out)?;
            self.account()?;
            out.watermark(watermark);
        }
        Ok(())
    }

    /// Rows that wait do so until others come; without any, nobody needs to wait for this input.
    fn on_idle(&mut self, out: &mut Output) -> Result<()> {
        if self.order.is_empty() {
            out.idle();
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let mut left = vec![Vec::new(); self.waiting.len()];
        for Reverse((_, batch, row)) in &self.order {
            left[(batch - self.dropped) as usize].push(*row);
        }
        let mut batches = Vec::with_capacity(left.len());
        for (waiting, mut rows) in self.waiting.iter().zip(left) {
            rows.sort_unstable();
            batches.push(take_record_batch(&waiting.rows, &UInt32Array::from(rows))?);
        }
        let summary = serde_json::json!({ "bound": self.bound, "released": self.released });
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.released = state.summary_value("released")?;
        self.bound = state.summary_value("bound")?;
        // All of these rows are behind the bound.
        for batch in state.batches.into_iter().filter(|batch| batch.num_rows() > 0) {
            self.add(batch, &mut Output::default())?;
        }
        self.account()
    }
}

#[cfg(test)]
mod tests;
