//! Merges the tumbling windows of several partitions.
//!
//! Input:  per partition, window and group the accumulators of a [`super::tumbling_window::TumblingWindow`]: a [`HandedPane`].
//! Output: that of the tumbling window over all rows.
//! State:  panes whose window is open; the keys of recent windows.
//! Time:   a window closes when the watermark of all partitions has reached its end.
//! Late:   the groups of a partition that was idle and speaks too late go to `error_stream` as `LATE_ROW`.
//!
//! Panes are added up in the order of the partitions, so that results do not depend on which partition was faster: the first
//! one's accumulators take in the states of the others. Each partition numbers its keys for itself; the numbers are translated,
//! and only a key that is new there is looked up here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take_arrays;
use arrow::record_batch::RecordBatch;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::tumbling_window::{WindowPlan, emit_results, instant_of, window_of};
use super::window_pane::{NOWHERE, Pane, forget_keys};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// A pane on its way from its partition to [`MergeWindows`].
#[derive(Clone)]
pub struct HandedPane {
    window: i64,
    /// Taken once: events can be cloned, accumulators cannot.
    pane: Arc<Mutex<Option<Pane>>>,
    bytes: usize,
    /// The partition's keys by their numbers, and which numbering of its that is.
    keys: Vec<ArrayRef>,
    numbering: u64,
}

impl HandedPane {
    /// The pane of `window`, whose groups are numbered by `keys`.
    pub fn new(window: i64, pane: Pane, keys: &mut GroupKeys) -> Result<Self> {
        let bytes = pane.size();
        let (numbering, keys) = keys.numbered()?;
        Ok(Self { window, pane: Arc::new(Mutex::new(Some(pane))), bytes, keys, numbering })
    }

    /// What it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn take(&self) -> Result<Pane> {
        let pane = self.pane.lock().unwrap_or_else(PoisonError::into_inner).take();
        pane.ok_or_else(|| Error::internal("a pane of a window was handed on twice"))
    }
}

impl fmt::Debug for HandedPane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandedPane({}, {} bytes)", self.window, self.bytes)
    }
}

/// Adds up the panes of partitions.
pub struct MergeWindows {
    plan: WindowPlan,
    keys: GroupKeys,
    /// Per window the panes and the partition of each.
    waiting: BTreeMap<i64, Vec<(usize, Pane)>>,
    /// Per partition.
    translations: Vec<Translation>,
    /// Windows below this one are closed.
    open_from: i64,
    watermark: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
}

/// From the numbers of a partition to those of all.
#[derive(Default)]
struct Translation {
    numbering: u64,
    /// [`NOWHERE`] for a key that was not met yet.
    numbers: Vec<u32>,
}

impl MergeWindows {
    /// `plan` is that of the windows in front; `budget` counts the panes that wait.
    pub fn try_new(plan: WindowPlan, budget: Budget, reporter: ErrorReporter) -> Result<Self> {
        let keys = GroupKeys::try_new(plan.layout.keys.clone())?;
        let (open_from, watermark) = (i64::MIN, EventTime::MIN);
        Ok(Self { plan, keys, waiting: BTreeMap::new(), translations: Vec::new(), open_from, watermark, budget, reporter })
    }

    /// Numbers the groups of `pane` by the keys of this operator.
    fn translate(&mut self, input: usize, handed: &HandedPane, pane: &mut Pane) -> Result<()> {
        if self.translations.len() <= input {
            self.translations.resize_with(input + 1, Translation::default);
        }
        let known = &mut self.translations[input];
        if known.numbering != handed.numbering {
            *known = Translation { numbering: handed.numbering, numbers: Vec::new() };
        }
        if let Some(greatest) = pane.groups().iter().max() {
            known.numbers.resize(known.numbers.len().max(*greatest as usize + 1), NOWHERE);
        }
        let new: Vec<u32> = pane.groups().iter().copied().filter(|number| known.numbers[*number as usize] == NOWHERE).collect();
        if !new.is_empty() {
            let mut numbers = Vec::new();
            let rows = new.len();
            let new = UInt32Array::from(new);
            self.keys.intern(&take_arrays(&handed.keys, &new, None)?, rows, &mut numbers)?;
            new.values().iter().zip(numbers).for_each(|(of_input, number)| known.numbers[*of_input as usize] = number as u32);
        }
        let numbers: Vec<usize> = pane.groups().iter().map(|number| known.numbers[*number as usize] as usize).collect();
        pane.renumber(&self.keys, &numbers);
        Ok(())
    }

    /// The panes of one window as one.
    fn merge(&self, mut panes: Vec<(usize, Pane)>) -> Result<Option<Pane>> {
        panes.sort_by_key(|(input, _)| *input);
        let mut panes = panes.into_iter().map(|(_, pane)| pane);
        let Some(mut merged) = panes.next() else { return Ok(None) };
        for pane in panes {
            let (numbers, states) = pane.into_states()?;
            let numbers: Vec<usize> = numbers.into_iter().map(|number| number as usize).collect();
            merged.merge_states(&self.plan.layout, &self.keys, &numbers, &states)?;
        }
        Ok(Some(merged))
    }

    fn account(&mut self) -> Result<()> {
        let panes = || self.waiting.values().flatten().map(|(_, pane)| pane);
        let translations: usize = self.translations.iter().map(|known| known.numbers.capacity() * size_of::<u32>()).sum();
        let bytes = self.keys.size() + translations + panes().map(Pane::size).sum::<usize>();
        self.budget.resize(bytes, || format!("{} open groups", panes().map(|pane| pane.groups().len()).sum::<usize>()))
    }
}

impl Operator for MergeWindows {
    fn name(&self) -> &'static str {
        "merge windows"
    }

    fn on_batch(&mut self, _input: usize, _batch: RecordBatch, _out: &mut Output) -> Result<()> {
        Err(Error::internal("rows have reached what merges windows"))
    }

    fn on_pane(&mut self, input: usize, handed: HandedPane, out: &mut Output) -> Result<()> {
        let mut pane = handed.take()?;
        self.translate(input, &handed, &mut pane)?;
        if handed.window < self.open_from {
            let groups = pane.take_state(&self.plan.layout, &mut self.keys, handed.window)?;
            (0..groups.num_rows()).for_each(|row| out.error(self.reporter.late_row(&groups.slice(row, 1), self.watermark)));
            return Ok(());
        }
        self.waiting.entry(handed.window).or_default().push((input, pane));
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = watermark;
        self.open_from = self.open_from.max(self.plan.window.open_from(watermark));
        let still_open = self.waiting.split_off(&self.open_from);
        let closed = std::mem::replace(&mut self.waiting, still_open);
        let mut groups = 0;
        for (window, panes) in closed {
            let Some(pane) = self.merge(panes)? else { continue };
            groups += pane.groups().len();
            emit_results(&self.plan, window, pane, &mut self.keys, out)?;
        }
        if groups > 0 {
            let open = self.waiting.values_mut().flatten().map(|(_, pane)| pane).collect();
            if forget_keys(&mut self.keys, groups, open)? {
                self.translations.clear();
            }
            self.account()?;
        }
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let (mut inputs, mut batches) = (Vec::new(), Vec::new());
        for (window, panes) in &mut self.waiting {
            for (input, pane) in panes {
                inputs.push(*input);
                batches.push(pane.save(&self.plan.layout, &mut self.keys, *window)?);
            }
        }
        let summary = serde_json::json!({ "inputs": inputs, "open_from": self.open_from, "watermark": self.watermark });
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.open_from = state.summary_value("open_from")?;
        self.watermark = state.summary_value("watermark")?;
        let inputs: Vec<usize> = state.summary_value("inputs")?;
        for (input, batch) in inputs.into_iter().zip(state.batches) {
            let mut pane = Pane::try_new(&self.plan.layout, instant_of(&batch))?;
            pane.merge(&self.plan.layout, &mut self.keys, &batch)?;
            self.waiting.entry(window_of(&batch)).or_default().push((input, pane));
        }
        self.account()
    }
}
