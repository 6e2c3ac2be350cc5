//! Window join: two streams, each row against the window of the other side (kda-sql-reference.md §4.5, §8.5).
//!
//! Input:  batches of either side, each side from one or more inputs; rows may come in any order down to the watermark.
//! Output: ROWTIME, the columns of the left side, those of the right side. A pair comes when its later row is processed,
//!         with that row's ROWTIME. A preserved row without a match comes at the end of its window, NULL for the other side.
//! Order:  ROWTIME; then pairs in the order of their right row, then of their left one; then unmatched rows.
//! State:  the rows of both windows, in the order of their time, and an index by the hash of their equality keys; rows
//!         that wait for the watermark. A row is freed when it has left its window.
//! Time:   rows are processed in the order of ROWTIME, at one ROWTIME those of the left side first, once the watermark of
//!         every input has passed them. A window includes its far end.
//! Late:   rows behind the watermark go to `error_stream` as `LATE_ROW`.
//! Errors: a row whose key fails to evaluate and a pair whose condition fails go to `error_stream`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, TimestampMillisecondArray, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::budget::Budget;
use super::join_keys::equal_keys;
use super::join_side::{JoinInput, JoinSide, NONE};
use super::pair_filter::{PairFilter, Side};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// Pairs that are looked at together; the pairs of one ROWTIME are never divided.
const PAIRS: usize = 8_192;

/// Rows of one emitted batch at most.
const OUTPUT_ROWS: usize = 8_192;

/// The plan of a window join.
#[derive(Clone)]
pub struct WindowJoinPlan {
    /// The side before JOIN.
    pub left: JoinInput,
    /// The side behind JOIN.
    pub right: JoinInput,
    /// What must be TRUE of a pair besides the equality of its keys.
    pub filter: Option<PairFilter>,
    /// ROWTIME, the left columns, the right columns.
    pub schema: SchemaRef,
}

/// Joins two streams.
pub struct WindowJoin {
    filter: Option<PairFilter>,
    schema: SchemaRef,
    left: JoinSide,
    right: JoinSide,
    /// The side that each input belongs to.
    sides: Vec<Side>,
    watermark: EventTime,
    /// ROWTIME of the newest row that was processed.
    now: EventTime,
    /// Pairs with equal hashes that are not looked at yet: the time of the later row, and both rows.
    pairs: Vec<Joined>,
    budget: Budget,
    reporter: ErrorReporter,
}

/// A row of the output; [`NONE`] stands for the missing side of an unmatched row.
#[derive(Clone, Copy)]
struct Joined {
    time: EventTime,
    left: u64,
    right: u64,
}

impl WindowJoin {
    /// `sides` says what side each input is of; `budget` counts the windows.
    pub fn new(plan: WindowJoinPlan, sides: Vec<Side>, budget: Budget, reporter: ErrorReporter) -> Self {
        let WindowJoinPlan { left, right, filter, schema } = plan;
        let (left, right) = (JoinSide::new(left), JoinSide::new(right));
        let (watermark, now) = (EventTime::MIN, EventTime::MIN);
        Self { filter, schema, left, right, sides, watermark, now, pairs: Vec::new(), budget, reporter }
    }

    fn side(&mut self, side: Side) -> &mut JoinSide {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// Processes the rows that are ready, in order.
    fn process(&mut self, out: &mut Output) -> Result<()> {
        loop {
            let (time, side) = match (self.left.next_time(), self.right.next_time()) {
                (Some(left), Some(right)) if left <= right => (left, Side::Left),
                (_, Some(right)) => (right, Side::Right),
                (Some(left), None) => (left, Side::Left),
                (None, None) => return Ok(()),
            };
            if time > self.now {
                if self.pairs.len() >= PAIRS {
                    self.flush(out)?;
                }
                self.left.expire(time, self.now, false);
                self.right.expire(time, self.now, false);
                self.now = time;
            }
            let (own, other) = match side {
                Side::Left => (&mut self.left, &self.right),
                Side::Right => (&mut self.right, &self.left),
            };
            own.warm_up(other);
            if let Some((row, Some(hash))) = own.arrive() {
                let pair = |found: u64| match side {
                    Side::Left => Joined { time, left: row, right: found },
                    Side::Right => Joined { time, left: found, right: row },
                };
                self.pairs.extend(other.candidates(hash).map(pair));
            }
        }
    }

    /// Emits the pairs that match and the rows that left their window without a match.
    fn flush(&mut self, out: &mut Output) -> Result<()> {
        let pairs = std::mem::take(&mut self.pairs);
        let mut joined = self.matching(pairs, out)?;
        if self.left.input.preserved || self.right.input.preserved {
            for pair in &joined {
                self.left.set_matched(pair.left);
                self.right.set_matched(pair.right);
            }
        }
        joined.extend(self.left.unmatched().map(|row| Joined { time: row.time, left: row.row, right: NONE }));
        joined.extend(self.right.unmatched().map(|row| Joined { time: row.time, left: NONE, right: row.row }));
        let is_unmatched = |row: &Joined| u8::from(row.right == NONE) + 2 * u8::from(row.left == NONE);
        joined.sort_unstable_by_key(|row| (row.time, is_unmatched(row), row.right, row.left));
        for rows in joined.chunks(OUTPUT_ROWS) {
            self.emit(rows, out)?;
        }
        self.left.forget();
        self.right.forget();
        Ok(())
    }

    /// Of pairs with equal hashes those that match.
    fn matching(&self, pairs: Vec<Joined>, out: &mut Output) -> Result<Vec<Joined>> {
        if pairs.is_empty() {
            return Ok(pairs);
        }
        let pairs = match self.left.input.keys.is_empty() {
            true => pairs,
            false => {
                let left = self.left.gather_keys(&rows_of(&pairs, Side::Left))?;
                let right = self.right.gather_keys(&rows_of(&pairs, Side::Right))?;
                kept(pairs, equal_keys(&left, &right)?.as_ref())
            }
        };
        let Some(filter) = self.filter.as_ref().filter(|_| !pairs.is_empty()) else { return Ok(pairs) };
        let of_side = |side: Side| -> Vec<usize> {
            filter.columns.iter().filter(|(of, _)| *of == side).map(|(_, column)| *column).collect()
        };
        let left = self.left.gather(&rows_of(&pairs, Side::Left), &of_side(Side::Left))?;
        let right = self.right.gather(&rows_of(&pairs, Side::Right), &of_side(Side::Right))?;
        // The columns of the left side come first.
        let columns = [left, right].concat();
        let time_of = |pair: usize| pairs.get(pair).map(|pair| pair.time);
        let mask = filter.matches(columns, (pairs.len(), &time_of), &self.reporter, out)?;
        Ok(kept(pairs, Some(&mask)))
    }

    fn emit(&self, rows: &[Joined], out: &mut Output) -> Result<()> {
        let all = |side: &JoinSide| (0..side.input.schema.fields().len()).collect::<Vec<_>>();
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.time)));
        let left = self.left.gather(&rows_of(rows, Side::Left), &all(&self.left))?;
        let right = self.right.gather(&rows_of(rows, Side::Right), &all(&self.right))?;
        out.batch(RecordBatch::try_new(self.schema.clone(), [vec![times], left, right].concat())?);
        Ok(())
    }

    fn account(&self) -> Result<()> {
        let rows = || format!("{} rows of the left side and {} of the right", self.left.held(), self.right.held());
        self.budget.resize(self.left.bytes() + self.right.bytes(), rows)
    }

    /// Rows of both sides in one schema, as states have: the other side's columns are NULL.
    fn state_schema(&self) -> SchemaRef {
        let nullable = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
        let sides = self.left.input.schema.fields().iter().chain(self.right.input.schema.fields());
        let matched = Field::new("$matched", DataType::Boolean, false);
        Arc::new(Schema::new(sides.map(nullable).chain([matched]).collect::<Vec<_>>()))
    }

    fn to_state(&self, side: Side, batch: &RecordBatch, matched: BooleanArray) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let nulls = |of: &JoinSide| -> Vec<ArrayRef> {
            of.input.schema.fields().iter().map(|field| new_null_array(field.data_type(), rows)).collect()
        };
        let columns = match side {
            Side::Left => [batch.columns().to_vec(), nulls(&self.right)].concat(),
            Side::Right => [nulls(&self.left), batch.columns().to_vec()].concat(),
        };
        Ok(RecordBatch::try_new(self.state_schema(), [columns, vec![Arc::new(matched)]].concat())?)
    }
}

fn rows_of(rows: &[Joined], side: Side) -> Vec<u64> {
    match side {
        Side::Left => rows.iter().map(|row| row.left).collect(),
        Side::Right => rows.iter().map(|row| row.right).collect(),
    }
}

fn kept(mut pairs: Vec<Joined>, mask: Option<&BooleanArray>) -> Vec<Joined> {
    if let Some(mask) = mask {
        let mut row = 0;
        pairs.retain(|_| {
            row += 1;
            mask.value(row - 1)
        });
    }
    pairs
}

/// Which side a saved batch is of, the input of rows that wait, or None for rows of the window.
type Part = (bool, Option<usize>);

impl Operator for WindowJoin {
    fn name(&self) -> &'static str {
        "window join"
    }

    fn on_batch(&mut self, input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let side = *self.sides.get(input).ok_or_else(|| Error::internal(format!("a join has no input {input}")))?;
        let watermark = self.watermark;
        let times = self.side(side).times(&batch)?;
        let batch = if times.iter().any(|time| *time < watermark) {
            let late = times.iter().enumerate().filter(|(_, time)| **time < watermark);
            late.for_each(|(row, _)| out.error(self.reporter.late_row(&batch.slice(row, 1), watermark)));
            let in_time: BooleanArray = times.iter().map(|time| Some(*time >= watermark)).collect();
            filter_record_batch(&batch, &in_time)?
        } else {
            batch
        };
        if batch.num_rows() > 0 {
            self.side(side).wait(input, batch);
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        self.left.prepare(watermark, &self.reporter, out)?;
        self.right.prepare(watermark, &self.reporter, out)?;
        self.process(out)?;
        let ends = watermark == EventTime::MAX;
        self.left.expire(watermark, self.now, ends);
        self.right.expire(watermark, self.now, ends);
        self.flush(out)?;
        self.account()?;
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let (mut parts, mut batches): (Vec<Part>, Vec<_>) = (Vec::new(), Vec::new());
        for (side, of) in [(Side::Left, &self.left), (Side::Right, &self.right)] {
            for (batch, matched) in of.saved_rows()? {
                parts.push((side == Side::Left, None));
                batches.push(self.to_state(side, &batch, matched)?);
            }
            for (input, batch) in of.saved_waiting() {
                parts.push((side == Side::Left, Some(*input)));
                batches.push(self.to_state(side, batch, vec![false; batch.num_rows()].into())?);
            }
        }
        let summary = serde_json::json!({ "parts": parts, "watermark": self.watermark, "now": self.now });
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.watermark = state.summary_value("watermark")?;
        self.now = state.summary_value("now")?;
        let parts: Vec<Part> = state.summary_value("parts")?;
        let width = self.left.input.schema.fields().len();
        for ((is_left, waiting), batch) in parts.into_iter().zip(&state.batches) {
            let (columns, matched) = batch.columns().split_at(batch.num_columns() - 1);
            let (side, columns) = match is_left {
                true => (&mut self.left, &columns[..width]),
                false => (&mut self.right, &columns[width..]),
            };
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let rows = RecordBatch::try_new_with_options(side.input.schema.clone(), columns.to_vec(), &options)?;
            match waiting {
                Some(input) => side.wait(input, rows),
                None => side.restore_rows(&rows, matched[0].as_boolean())?,
            }
        }
        self.account()
    }
}

#[cfg(test)]
mod tests;
