//! Time order: the rows of one input in the order of ROWTIME.
//!
//! Input:  batches whose rows may come in any order down to the watermark.
//! Output: the same rows sorted by ROWTIME; rows of the same ROWTIME as they came.
//! State:  rows that an earlier one may still follow.
//! Time:   a row is released once the watermark has reached its ROWTIME. A row of exactly the watermark may still follow;
//!         it comes after those that are there. So rows in order, with a watermark that follows them, never wait.
//! Late:   rows behind the watermark go to `error_stream` as `LATE_ROW`.

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use super::budget::{Budget, bytes_of_rows};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// Holds rows back until no earlier one can come.
pub struct TimeOrder {
    schema: SchemaRef,
    rowtime: usize,
    waiting: Vec<RecordBatch>,
    /// Bytes of `waiting`.
    bytes: usize,
    watermark: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
}

impl TimeOrder {
    /// Orders rows of `schema`, whose column `rowtime` is ROWTIME.
    pub fn new(schema: SchemaRef, rowtime: usize, budget: Budget, reporter: ErrorReporter) -> Self {
        Self { schema, rowtime, waiting: Vec::new(), bytes: 0, watermark: EventTime::MIN, budget, reporter }
    }

    fn account(&mut self) -> Result<()> {
        let rows = || self.waiting.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.budget.resize(self.bytes, || format!("{} rows that wait for the watermark", rows()))
    }

    /// True if the waiting rows are in order and all may be released.
    fn is_ready(&self, watermark: EventTime) -> Result<bool> {
        let mut last = EventTime::MIN;
        for batch in &self.waiting {
            let times = times_of(batch.column(self.rowtime))?;
            if times.first().is_some_and(|first| *first < last) || !times.is_sorted() {
                return Ok(false);
            }
            last = times.last().copied().unwrap_or(last);
        }
        Ok(last <= watermark)
    }

    fn release(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        if self.is_ready(watermark)? {
            self.waiting.drain(..).for_each(|batch| out.batch(batch));
            self.bytes = 0;
            return Ok(());
        }
        let rows = concat_batches(&self.schema, &self.waiting)?;
        let times = times_of(rows.column(self.rowtime))?;
        let mut ready: Vec<u64> = (0..times.len() as u64).filter(|row| times[*row as usize] <= watermark).collect();
        if ready.is_empty() {
            return Ok(());
        }
        // Stable: rows of the same ROWTIME stay as they came.
        ready.sort_by_key(|row| times[*row as usize]);
        let later: BooleanArray = times.iter().map(|time| Some(*time > watermark)).collect();
        let waiting = filter_record_batch(&rows, &later)?;
        out.batch(take_record_batch(&rows, &UInt64Array::from(ready))?);
        self.bytes = bytes_of_rows(&waiting);
        self.waiting = if waiting.num_rows() > 0 { vec![waiting] } else { Vec::new() };
        Ok(())
    }
}

fn times_of(column: &ArrayRef) -> Result<&[EventTime]> {
    let times = column.as_primitive_opt::<TimestampMillisecondType>();
    Ok(times.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?.values())
}

impl Operator for TimeOrder {
    fn name(&self) -> &'static str {
        "time order"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let times = times_of(batch.column(self.rowtime))?;
        let is_late = |time: EventTime| time < self.watermark;
        let batch = if times.iter().any(|time| is_late(*time)) {
            let late = (0..times.len()).filter(|row| is_late(times[*row]));
            late.for_each(|row| out.error(self.reporter.late_row(&batch.slice(row, 1), self.watermark)));
            let in_time: BooleanArray = times.iter().map(|time| Some(!is_late(*time))).collect();
            filter_record_batch(&batch, &in_time)?
        } else {
            batch
        };
        self.bytes += bytes_of_rows(&batch);
        self.waiting.push(batch);
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = watermark;
        if !self.waiting.is_empty() {
            self.release(watermark, out)?;
            self.account()?;
        }
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        Ok(Some(OperatorState { summary: serde_json::json!({ "watermark": self.watermark }), batches: self.waiting.clone() }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.watermark = state.summary_value("watermark")?;
        self.waiting = state.batches;
        self.bytes = self.waiting.iter().map(bytes_of_rows).sum();
        self.account()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, TimestampMillisecondArray};
    use arrow::datatypes::{Int32Type, Schema};
    use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};

    use super::*;
    use crate::runtime::channel::Event;
    use crate::runtime::clock::ManualClock;
    use crate::types::{ROWTIME, SqlType};

    fn order() -> TimeOrder {
        let schema = Schema::new(vec![SqlType::Integer.field("n", true), SqlType::Timestamp.field(ROWTIME, false)]);
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let reporter = ErrorReporter::new("P", ManualClock::starting_at(0));
        TimeOrder::new(Arc::new(schema), 1, Budget::new("time order", "", &pool), reporter)
    }

    fn batch(order: &TimeOrder, rows: &[(i32, EventTime)]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0)));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1)));
        RecordBatch::try_new(order.schema.clone(), vec![numbers, times]).expect("as declared")
    }

    /// The numbers of the rows that come out, and how many were late.
    fn run(order: &mut TimeOrder, rows: &[(i32, EventTime)], watermark: EventTime) -> (Vec<i32>, usize) {
        let mut out = Output::default();
        order.on_batch(0, batch(order, rows), &mut out).expect("taken");
        order.on_watermark(watermark, &mut out).expect("released");
        let numbers = out.events.iter().filter_map(|event| match event {
            Event::Batch(batch) => Some(batch.column(0).as_primitive::<Int32Type>().values().to_vec()),
            _ => None,
        });
        (numbers.flatten().collect(), out.errors.len())
    }

    #[test]
    fn rows_wait_for_the_watermark_and_peers_keep_their_order() {
        let mut order = order();
        assert_eq!(run(&mut order, &[(1, 5), (2, 3), (3, 9), (4, 5)], 5), (vec![2, 1, 4], 0));
        assert_eq!(run(&mut order, &[(5, 5), (6, 4), (7, 9), (8, 6)], 8), (vec![5, 8], 1));
        let state = order.snapshot().expect("saved").expect("has state");
        let mut order = self::order();
        order.restore(state).expect("restored");
        assert_eq!(run(&mut order, &[(9, 7)], EventTime::MAX), (vec![3, 7], 1));
    }

    #[test]
    fn rows_in_order_pass_uncopied() {
        let (mut order, mut out) = (order(), Output::default());
        let rows = batch(&order, &[(1, 1), (2, 2)]);
        order.on_batch(0, rows.clone(), &mut out).expect("taken");
        order.on_watermark(2, &mut out).expect("released");
        let Event::Batch(released) = &out.events[0] else { panic!("rows come first") };
        assert!(Arc::ptr_eq(released.column(0), rows.column(0)));
    }
}
