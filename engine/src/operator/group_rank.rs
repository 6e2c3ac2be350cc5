//! GROUP_RANK and the selection of TOP_K_ITEMS_TUMBLING: the rows of one ROWTIME in order (kda-sql-reference.md §5.3, §5.10).
//!
//! Input:  batches in the order of ROWTIME.
//! Output: the rows of each ROWTIME, sorted, at most so many of the best; with their rank behind them if asked for: equal
//!         rows share a rank, and the next one skips. Among equal rows the first that came is first.
//! State:  the rows of the last ROWTIME, and when the last of them came.
//! Time:   a group is released when ROWTIME moves on: with a later row, with the watermark, or when the input falls silent. At the
//!         latest so many milliseconds of the clock after its last row, if asked for.
//! Late:   none; the rows come in order. A row that comes when its group is released is a group of its own.
//! Errors: none.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, partition, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::utils::normalize_float_zero;

use super::budget::{Budget, bytes_of_rows};
use super::{Operator, Output, times_of};
use crate::checkpoint::OperatorState;
use crate::error::Result;
use crate::runtime::clock::{Clock, EventTime};

/// The plan of a ranking.
#[derive(Debug, Clone)]
pub struct GroupRankPlan {
    /// Columns to sort by and how; the first counts most.
    pub rank_by: Vec<(usize, SortOptions)>,
    /// True to hand on the last rank first.
    pub descending: bool,
    /// At most so many rows of a group, the best ones.
    pub rows_max: Option<usize>,
    /// Milliseconds without a row after which a group is released, whatever its ROWTIME.
    pub idle_ms_max: Option<i64>,
    /// Name of the column that gets the rank.
    pub rank_column: Option<String>,
    /// Place of ROWTIME.
    pub rowtime: usize,
    /// Columns of the input.
    pub input: SchemaRef,
}

impl GroupRankPlan {
    /// Columns of the output.
    pub fn output(&self) -> SchemaRef {
        let rank = self.rank_column.as_ref().map(|name| Arc::new(Field::new(name, DataType::Int32, true)));
        Arc::new(Schema::new(self.input.fields().iter().cloned().chain(rank).collect::<Vec<_>>()))
    }
}

/// Sorts the rows of each ROWTIME.
pub struct GroupRank {
    plan: GroupRankPlan,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    /// ROWTIME of the waiting rows.
    time: EventTime,
    /// When the last of them came, on the clock.
    last_row: EventTime,
    clock: Arc<dyn Clock>,
    /// Bytes of the waiting rows.
    bytes: usize,
    budget: Budget,
}

impl GroupRank {
    /// `budget` counts the rows of the last ROWTIME.
    pub fn new(plan: GroupRankPlan, budget: Budget, clock: Arc<dyn Clock>) -> Self {
        let (time, last_row) = (EventTime::MIN, EventTime::MIN);
        Self { schema: plan.output(), plan, waiting: Vec::new(), time, last_row, clock, bytes: 0, budget }
    }

    fn release(&mut self, out: &mut Output) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = concat_batches(&self.plan.input, &self.waiting)?;
        self.waiting.clear();
        self.bytes = 0;
        let arrival: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
        let by = self.plan.rank_by.iter();
        let by = by.map(|(column, options)| SortColumn { values: key(&rows, *column), options: Some(*options) });
        let by: Vec<_> = by.chain([SortColumn { values: arrival, options: None }]).collect();
        let order = lexsort_to_indices(&by, None)?;
        let count = order.len().min(self.plan.rows_max.unwrap_or(usize::MAX));
        let mut order = order.slice(0, count);
        let mut ranks: Option<Vec<i32>> = match self.plan.rank_column {
            Some(_) => Some(self.ranks(&rows, &order)?),
            None => None,
        };
        if self.plan.descending {
            order = order.values().iter().rev().copied().collect();
            ranks.iter_mut().for_each(|ranks| ranks.reverse());
        }
        let rows = take_record_batch(&rows, &order)?;
        let ranks = ranks.map(|ranks| Arc::new(Int32Array::from(ranks)) as ArrayRef);
        out.batch(RecordBatch::try_new(self.schema.clone(), rows.columns().iter().cloned().chain(ranks).collect())?);
        Ok(())
    }

    /// The ranks of the rows at `order`.
    fn ranks(&self, rows: &RecordBatch, order: &UInt32Array) -> Result<Vec<i32>> {
        let sorted = self.plan.rank_by.iter().map(|(column, _)| Ok(take(&key(rows, *column), order, None)?));
        let equal = partition(&sorted.collect::<Result<Vec<_>>>()?)?;
        Ok(equal.ranges().into_iter().flat_map(|range| vec![range.start as i32 + 1; range.len()]).collect())
    }

    fn account(&self) -> Result<()> {
        let rows = || self.waiting.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.budget.resize(self.bytes, || format!("{} rows of one ROWTIME", rows()))
    }
}

/// A column that rows are ranked by. To arrow −0.0 sorts before 0.0, to SQL they are equal.
fn key(rows: &RecordBatch, column: usize) -> ArrayRef {
    normalize_float_zero(rows.column(column))
}

impl Operator for GroupRank {
    fn name(&self) -> &'static str {
        "group rank"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let mut start = 0;
        for group in times_of(&batch, self.plan.rowtime)?.chunk_by(|a, b| a == b) {
            if group[0] != self.time {
                self.release(out)?;
                self.time = group[0];
            }
            let rows = batch.slice(start, group.len());
            self.bytes += bytes_of_rows(&rows);
            self.waiting.push(rows);
            start += group.len();
        }
        self.last_row = self.clock.now();
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        if self.time < watermark {
            self.release(out)?;
            self.account()?;
        }
        out.watermark(watermark);
        Ok(())
    }

    fn on_idle(&mut self, out: &mut Output) -> Result<()> {
        self.release(out)?;
        self.account()?;
        out.idle();
        Ok(())
    }

    fn wake_time(&self) -> Option<EventTime> {
        let idle_ms_max = self.plan.idle_ms_max.filter(|_| !self.waiting.is_empty())?;
        Some(self.last_row.saturating_add(idle_ms_max))
    }

    fn on_wake(&mut self, out: &mut Output) -> Result<()> {
        self.release(out)?;
        self.account()
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let summary = serde_json::json!({ "time": self.time, "last_row": self.last_row });
        Ok(Some(OperatorState { summary, batches: self.waiting.clone() }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.time = state.summary_value("time")?;
        // Older checkpoints do not say it.
        self.last_row = state.summary_value::<Option<EventTime>>("last_row")?.unwrap_or(EventTime::MIN);
        self.waiting = state.batches;
        self.bytes = self.waiting.iter().map(bytes_of_rows).sum();
        self.account()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMillisecondArray;
    use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};

    use super::*;
    use crate::runtime::channel::Event;
    use crate::runtime::clock::ManualClock;
    use crate::types::{ROWTIME, SqlType};

    fn plan() -> GroupRankPlan {
        let fields = vec![SqlType::Integer.field("v", true), SqlType::Timestamp.field(ROWTIME, false)];
        GroupRankPlan {
            rank_by: vec![(0, SortOptions::default())],
            descending: false,
            rows_max: None,
            idle_ms_max: Some(500),
            rank_column: Some("rank".to_owned()),
            rowtime: 1,
            input: Arc::new(Schema::new(fields)),
        }
    }

    fn operator(clock: &Arc<ManualClock>) -> GroupRank {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        GroupRank::new(plan(), Budget::new("group rank", "", &pool), clock.clone())
    }

    fn row(value: i32, time: EventTime) -> RecordBatch {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![value])), Arc::new(TimestampMillisecondArray::from(vec![time]))];
        RecordBatch::try_new(plan().input, columns).expect("a row")
    }

    fn rows_of(out: Output) -> usize {
        out.events.iter().map(|event| if let Event::Batch(rows) = event { rows.num_rows() } else { 0 }).sum()
    }

    #[test]
    fn a_row_gives_its_group_time_again_and_a_checkpoint_keeps_it() {
        let clock = ManualClock::starting_at(1_000);
        let mut operator = operator(&clock);
        assert_eq!(operator.wake_time(), None);
        let mut out = Output::default();
        operator.on_batch(0, row(1, 7), &mut out).expect("taken");
        assert_eq!(operator.wake_time(), Some(1_500));
        clock.set(1_400);
        operator.on_batch(0, row(2, 7), &mut out).expect("taken");
        assert_eq!(operator.wake_time(), Some(1_900));
        clock.set(1_800);
        let state = operator.snapshot().expect("a state").expect("a state");
        let mut restored = self::operator(&clock);
        restored.restore(state).expect("restored");
        assert_eq!(restored.wake_time(), Some(1_900));
        assert_eq!(rows_of(out), 0);
        let mut out = Output::default();
        restored.on_wake(&mut out).expect("released");
        assert_eq!(restored.wake_time(), None);
        assert_eq!(rows_of(out), 2);
    }
}
