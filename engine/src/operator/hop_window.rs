//! Hopping windows: GROUP BY over `TABLE(HOP(…))`.
//!
//! Input:  the states of panes, which a tumbling window per partition in front makes: a pane is as long as the slide.
//! Output: one row per window and group: the GROUP BY columns, then the aggregates; windows in ascending order, the groups
//!         of one window sorted by key, NULL last.
//! State:  per pane and group of the last two lengths of a window one state of each aggregate.
//! Time:   a window closes when the watermark reaches its end, which is the ROWTIME of its rows.
//! Late:   groups of a pane that was closed, from a partition that was idle, go to `error_stream` as `LATE_ROW`.
//! Errors: none of its own.
//!
//! Time is cut into blocks as long as a window, at fixed places. A window is the end of one block and the beginning of the
//! next: of the older block the states of its panes are kept summed up to its end (`suffixes`), of the newer one the sum so
//! far. So a window costs two states per group, however many panes it has, for every aggregate that has a state; and sums
//! are added in an order that depends on time alone, not on batches or restarts.

mod suffixes;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::tumbling_window::{OutputColumn, WindowPlan, emit_groups, window_of};
use super::window_pane::{Pane, PaneLayout};
use super::window_rows::Spans;
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::Result;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;
use suffixes::{PaneStates, Suffixes, bytes};

/// The plan of hopping windows.
#[derive(Clone)]
pub struct HopPlan {
    /// The panes, and the columns of the result.
    pub panes: WindowPlan,
    /// The windows.
    pub spans: Spans,
}

/// Puts the states of panes together to windows.
pub struct HopWindow {
    plan: HopPlan,
    keys: GroupKeys,
    /// Panes that are still open, by their start; states of a pane in the order of their inputs.
    waiting: BTreeMap<EventTime, Vec<(usize, RecordBatch)>>,
    /// The block before `block`.
    older: Suffixes,
    /// The panes of `block`.
    newer: Vec<PaneStates>,
    /// The sum of `newer`: numbers of keys and their states. It is kept as states, as reading empties accumulators.
    sum: (Vec<usize>, Vec<ArrayRef>),
    /// Bytes of `newer`.
    newer_bytes: usize,
    /// Start of the block that the last pane is in.
    block: EventTime,
    /// Windows that end before this instant are closed.
    next_end: EventTime,
    watermark: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
}

impl HopWindow {
    /// `budget` counts the states.
    pub fn try_new(plan: HopPlan, budget: Budget, reporter: ErrorReporter) -> Result<Self> {
        Ok(Self {
            keys: GroupKeys::try_new(plan.panes.layout.keys.clone())?,
            waiting: BTreeMap::new(),
            older: Suffixes::default(),
            newer: Vec::new(),
            sum: Default::default(),
            newer_bytes: 0,
            block: EventTime::MIN,
            next_end: EventTime::MIN,
            watermark: EventTime::MIN,
            plan,
            budget,
            reporter,
        })
    }

    fn layout(&self) -> &PaneLayout {
        &self.plan.panes.layout
    }

    fn is_closed(&self, pane: EventTime) -> bool {
        pane.saturating_add(self.plan.spans.slide) <= self.watermark
    }

    fn block_of(&self, pane: EventTime) -> EventTime {
        let Spans { size, offset, .. } = self.plan.spans;
        Spans { size, slide: size, offset }.last_start(pane)
    }

    /// Adds a closed pane to the newer block.
    fn add(&mut self, pane: EventTime, mut inputs: Vec<(usize, RecordBatch)>) -> Result<()> {
        inputs.sort_by_key(|(input, _)| *input);
        let block = self.block_of(pane);
        while self.block < block {
            self.next_block(block)?;
        }
        let mut merged = Pane::try_new(&self.plan.panes.layout, pane)?;
        for (_, state) in inputs {
            merged.merge(&self.plan.panes.layout, &mut self.keys, &state)?;
        }
        let (numbers, states) = merged.into_states()?;
        let layout = &self.plan.panes.layout;
        let mut sum = Pane::try_new(layout, 0)?;
        sum.merge_states(layout, &self.keys, &self.sum.0, &self.sum.1)?;
        sum.merge_states(layout, &self.keys, &as_usize(&numbers), &states)?;
        let (of_sum, sum) = sum.into_states()?;
        self.sum = (as_usize(&of_sum), sum);
        self.push(PaneStates { start: pane, numbers, states });
        Ok(())
    }

    fn push(&mut self, pane: PaneStates) {
        self.newer_bytes += pane.size();
        self.newer.push(pane);
    }

    /// The newer block becomes the older one. If there is none, time goes on to `block`.
    fn next_block(&mut self, block: EventTime) -> Result<()> {
        if self.newer.is_empty() {
            // What the older block holds is in no window that is still open.
            self.older = Suffixes::default();
            self.block = block;
            return Ok(());
        }
        let newer = std::mem::take(&mut self.newer);
        self.older = Suffixes::try_new(&self.plan.panes.layout, self.keys.count(), newer)?;
        self.sum = Default::default();
        self.newer_bytes = 0;
        self.block = self.block.saturating_add(self.plan.spans.size);
        let older = &mut self.older;
        older.forget_before(self.next_end.saturating_sub(self.plan.spans.size));
        if let Some(renumbered) = self.keys.retain(older.keys_in_use(), || older.numbers().to_vec())? {
            older.renumber(self.keys.count(), &renumbered);
        }
        Ok(())
    }

    /// Emits the windows that end at `limit` or before it.
    fn close(&mut self, limit: EventTime, out: &mut Output) -> Result<()> {
        let Spans { size, slide, .. } = self.plan.spans;
        while let Some(oldest) = self.older.oldest().or_else(|| self.newer.first().map(|pane| pane.start)) {
            let end = oldest.saturating_add(slide).max(self.next_end);
            if end > limit {
                break;
            }
            if end > self.block.saturating_add(size) {
                // Some of its panes may be in no window any more.
                self.next_block(self.block.saturating_add(size))?;
                continue;
            }
            self.emit(end, out)?;
            self.next_end = end.saturating_add(slide);
            self.older.forget_before(self.next_end.saturating_sub(size));
        }
        Ok(())
    }

    fn emit(&mut self, end: EventTime, out: &mut Output) -> Result<()> {
        let layout = &self.plan.panes.layout;
        let mut window = Pane::try_new(layout, 0)?;
        let (numbers, states) = self.older.sums()?;
        window.merge_states(layout, &self.keys, &numbers, &states)?;
        window.merge_states(layout, &self.keys, &self.sum.0, &self.sum.1)?;
        let groups = window.finish(&mut self.keys)?;
        let rows = groups.2;
        let instant = |shift: i64| Arc::new(TimestampMillisecondArray::from_value(end.saturating_add(shift), rows));
        let size = self.plan.spans.size;
        let of_window = |column, _: &_| match column {
            OutputColumn::WindowEnd(shift) => Ok(instant(shift) as ArrayRef),
            _ => Ok(instant(-size) as ArrayRef),
        };
        emit_groups(&self.plan.panes.columns, &self.plan.panes.schema, groups, of_window, out)?;
        // Whoever needs all rows of a window has them now, however far the watermark has gone meanwhile.
        out.watermark(end);
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let waiting = || self.waiting.values().flatten();
        let bytes = self.keys.size()
            + bytes(&self.sum.1)
            + self.newer_bytes
            + self.older.size()
            + waiting().map(|(_, batch)| batch.get_array_memory_size()).sum::<usize>();
        let states = || {
            let newer = self.newer.iter().map(|pane| pane.numbers.len()).sum::<usize>();
            self.older.len() + newer + waiting().map(|(_, batch)| batch.num_rows()).sum::<usize>()
        };
        self.budget.resize(bytes, || format!("{} groups in open panes", states()))
    }

    /// Panes as one batch of the layout's state schema.
    fn saved(&self, starts: Vec<EventTime>, numbers: Vec<u32>, states: Vec<ArrayRef>) -> Result<RecordBatch> {
        let keys = self.keys.take(&UInt32Array::from(numbers))?;
        let starts: ArrayRef = Arc::new(Int64Array::from(starts));
        let columns = [starts.clone(), starts].into_iter().chain(keys).chain(states).collect();
        Ok(RecordBatch::try_new(self.layout().state_schema.clone(), columns)?)
    }

    fn numbers(&mut self, saved: &RecordBatch) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let (keys, states) = self.plan.panes.layout.columns_of(saved);
        let mut numbers = Vec::new();
        self.keys.intern(keys, saved.num_rows(), &mut numbers)?;
        Ok((numbers.into_iter().map(|number| number as u32).collect(), states.to_vec()))
    }
}

fn as_usize(numbers: &[u32]) -> Vec<usize> {
    numbers.iter().map(|number| *number as usize).collect()
}

impl Operator for HopWindow {
    fn name(&self) -> &'static str {
        "hopping window"
    }

    fn on_batch(&mut self, input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let pane = window_of(&batch);
        if self.is_closed(pane) {
            (0..batch.num_rows()).for_each(|row| out.error(self.reporter.late_row(&batch.slice(row, 1), self.watermark)));
            return Ok(());
        }
        self.waiting.entry(pane).or_default().push((input, batch));
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        while let Some(pane) = self.waiting.first_entry().filter(|pane| {
            // As in `is_closed`.
            pane.key().saturating_add(self.plan.spans.slide) <= self.watermark
        }) {
            let (pane, inputs) = pane.remove_entry();
            self.close(pane, out)?;
            self.add(pane, inputs)?;
        }
        self.close(self.watermark, out)?;
        self.account()?;
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        self.keys.settle()?;
        let waiting: Vec<_> = self.waiting.values().flatten().cloned().collect();
        let (inputs, mut batches): (Vec<usize>, Vec<RecordBatch>) = waiting.into_iter().unzip();
        for pane in &self.newer {
            batches.push(self.saved(vec![pane.start; pane.numbers.len()], pane.numbers.clone(), pane.states.clone())?);
        }
        if !self.sum.0.is_empty() {
            let numbers: Vec<u32> = self.sum.0.iter().map(|number| *number as u32).collect();
            batches.push(self.saved(vec![self.block; numbers.len()], numbers, self.sum.1.clone())?);
        }
        if self.older.len() > 0 {
            let (starts, states) = self.older.saved()?;
            batches.push(self.saved(starts, self.older.numbers().to_vec(), states)?);
        }
        let summary = serde_json::json!({
            "inputs": inputs, "newer": self.newer.len(), "block": self.block, "next_end": self.next_end, "watermark": self.watermark
        });
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.block = state.summary_value("block")?;
        self.next_end = state.summary_value("next_end")?;
        self.watermark = state.summary_value("watermark")?;
        let inputs: Vec<usize> = state.summary_value("inputs")?;
        let newer: usize = state.summary_value("newer")?;
        for (place, batch) in state.batches.into_iter().enumerate() {
            if let Some(input) = inputs.get(place) {
                self.waiting.entry(window_of(&batch)).or_default().push((*input, batch));
                continue;
            }
            let (numbers, states) = self.numbers(&batch)?;
            let place = place - inputs.len();
            if place < newer {
                self.push(PaneStates { start: window_of(&batch), numbers, states });
            } else if newer > 0 && place == newer {
                self.sum = (as_usize(&numbers), states);
            } else {
                let starts = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
                self.older = Suffixes::restored(starts, numbers, states, self.keys.count());
            }
        }
        self.account()
    }
}
