//! Tumbling windows: GROUP BY with a monotonic expression of ROWTIME (kda-sql-reference.md §4.2).
//!
//! Input:  batches with ROWTIME; rows may come in any order down to the watermark.
//! Output: one row per (window, group): the GROUP BY columns, then the aggregates, as the plan's Aggregate names them;
//!         windows in ascending order, the groups of one window sorted by key, NULL last (§8.5).
//! State:  accumulators per open window and group, freed when the window closes; the keys of recent windows.
//! Time:   a window closes when its key, applied to the watermark, has moved on. Its rows' ROWTIME is its end.
//! Late:   rows of a closed window go to `error_stream` as `LATE_ROW`.
//! Errors: a row whose key or argument fails to evaluate goes to `error_stream`.
//!
//! With several input partitions each runs a [`TumblingWindow`] that emits *states* ([`Emit::States`]), and one
//! [`MergeWindows`] behind them merges those and emits results.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimestampMillisecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_expr::PhysicalExpr;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::row_errors::evaluate_or_report;
use super::sorted_runs::MergedRuns;
use super::window_key::{MAX_INSTANT, WindowKey};
use super::window_pane::{Pane, PaneLayout, results_of};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::channel::End;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;
use crate::types::ROWTIME;

/// Rows of one emitted batch at most.
const OUTPUT_ROWS: usize = 8_192;

/// Up to so many runs of rows of one window are added as slices of the batch.
const RUNS_MAX: usize = 16;

/// A column of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputColumn {
    /// The window key, moved by so many units: milliseconds for times.
    Window(i64),
    /// A group key, by its place among the keys.
    Key(usize),
    /// The result of an aggregate, by its place among the aggregates.
    Aggregate(usize),
    /// An instant so many milliseconds from the window's end. The end itself is the ROWTIME of the result row.
    WindowEnd(i64),
}

/// The plan of a tumbling window.
#[derive(Clone)]
pub struct WindowPlan {
    /// What it is called when it needs more memory than there is.
    pub name: &'static str,
    /// What makes the window.
    pub window: WindowKey,
    /// The other group keys over the input.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Keys and aggregates.
    pub layout: PaneLayout,
    /// What the output columns are.
    pub columns: Vec<OutputColumn>,
    /// Their names and types.
    pub schema: SchemaRef,
}

/// What a closed window becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Result rows.
    Results,
    /// The states of its accumulators, for [`MergeWindows`].
    States,
}

/// Groups and aggregates rows per window.
pub struct TumblingWindow {
    plan: WindowPlan,
    emit: Emit,
    keys: GroupKeys,
    panes: BTreeMap<i64, Pane>,
    /// Windows below this one are closed.
    open_from: i64,
    watermark: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
    /// Scratch space.
    places: Vec<usize>,
}

/// Rows of a batch, evaluated.
struct Evaluated {
    windows: ArrayRef,
    keys: Vec<ArrayRef>,
    /// Per aggregate its arguments.
    arguments: Vec<Vec<ArrayRef>>,
}

impl TumblingWindow {
    /// `budget` counts the open windows.
    pub fn try_new(plan: WindowPlan, emit: Emit, budget: Budget, reporter: ErrorReporter) -> Result<Self> {
        Ok(Self {
            keys: GroupKeys::try_new(plan.layout.keys.clone())?,
            plan,
            emit,
            panes: BTreeMap::new(),
            open_from: i64::MIN,
            watermark: EventTime::MIN,
            budget,
            reporter,
            places: Vec::new(),
        })
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        let rows = batch.num_rows();
        let evaluate = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(rows);
        let windows = self.plan.window.of_rows(batch)?;
        let keys = self.plan.keys.iter().map(evaluate).collect::<Result<_, _>>()?;
        let aggregates = self.plan.layout.aggregates.iter();
        let arguments =
            aggregates.map(|aggregate| aggregate.arguments.iter().map(evaluate).collect()).collect::<Result<_, _>>()?;
        Ok(Evaluated { windows, keys, arguments })
    }

    fn add(&mut self, batch: &RecordBatch, rows: &Evaluated, out: &mut Output) -> Result<()> {
        let windows = rows.windows.as_primitive::<Int64Type>().values();
        let times = batch.column_by_name(ROWTIME).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
        let times = times.ok_or_else(|| Error::internal("the input of a window has no ROWTIME"))?.values();
        let mut numbers = Vec::new();
        self.keys.intern(&rows.keys, batch.num_rows(), &mut numbers)?;
        // Rows come nearly in order: most batches are one window, others a few runs of rows of one.
        let Some(first) = windows.first() else { return Ok(()) };
        if windows.iter().fold(0, |differences, window| differences | (window ^ first)) == 0 && !self.is_closed(*first) {
            return self.add_to(*first, times[0], &numbers, &rows.arguments);
        }
        let runs: Vec<&[i64]> = windows.chunk_by(|a, b| a == b).collect();
        if runs.len() <= RUNS_MAX {
            let mut start = 0;
            for run in runs {
                let end = start + run.len();
                let slice = |arguments: &Vec<ArrayRef>| arguments.iter().map(|column| column.slice(start, run.len())).collect();
                let arguments: Vec<_> = rows.arguments.iter().map(slice).collect();
                if self.is_closed(run[0]) {
                    (start..end).for_each(|row| out.error(self.reporter.late_row(&batch.slice(row, 1), self.watermark)));
                } else {
                    self.add_to(run[0], times[start], &numbers[start..end], &arguments)?;
                }
                start = end;
            }
            return Ok(());
        }
        // Interleaved windows: gather the rows of each, in arrival order.
        let mut gathered: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, window) in windows.iter().enumerate() {
            gathered.entry(*window).or_default().push(row as u32);
        }
        for (window, indices) in gathered {
            if self.is_closed(window) {
                let late = indices.iter().map(|row| self.reporter.late_row(&batch.slice(*row as usize, 1), self.watermark));
                late.for_each(|row| out.error(row));
                continue;
            }
            let instant = times[indices[0] as usize];
            let numbers: Vec<_> = indices.iter().map(|row| numbers[*row as usize]).collect();
            let indices = UInt32Array::from(indices);
            let take = |columns: &Vec<ArrayRef>| take_arrays(columns, &indices, None);
            let arguments = rows.arguments.iter().map(take).collect::<Result<Vec<_>, _>>()?;
            self.add_to(window, instant, &numbers, &arguments)?;
        }
        Ok(())
    }

    fn is_closed(&self, window: i64) -> bool {
        window < self.open_from
    }

    fn add_to(&mut self, window: i64, instant: EventTime, numbers: &[usize], arguments: &[Vec<ArrayRef>]) -> Result<()> {
        let pane = match self.panes.entry(window) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Pane::try_new(&self.plan.layout, instant)?),
        };
        pane.update(&self.keys, numbers, arguments, &mut self.places)
    }

    /// Forgets the keys that only closed windows had; `closed` groups were emitted just now.
    fn forget_keys(&mut self, closed: usize) -> Result<()> {
        let in_use = closed + self.panes.values().map(|pane| pane.groups().len()).sum::<usize>();
        let numbers = || self.panes.values().flat_map(|pane| pane.groups().iter().copied()).collect();
        if let Some(mut renumbered) = self.keys.retain(in_use, numbers)?.as_deref() {
            for pane in self.panes.values_mut() {
                let (of_pane, rest) = renumbered.split_at(pane.groups().len());
                pane.renumber(&self.keys, of_pane);
                renumbered = rest;
            }
        }
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let bytes = self.keys.size() + self.panes.values().map(Pane::size).sum::<usize>();
        let groups = || self.panes.values().map(|pane| pane.groups().len()).sum::<usize>();
        self.budget.resize(bytes, || format!("{} open groups", groups()))
    }
}

/// The groups of a closed window: keys, results and how many there are.
type Groups = (Vec<ArrayRef>, Vec<ArrayRef>, usize);

/// Emits the rows of one closed window, which `instant` is in.
fn emit_results(plan: &WindowPlan, window: i64, instant: EventTime, groups: Groups, out: &mut Output) -> Result<()> {
    // A window that ends behind the last ROWTIME ends there, unless its rows are the results of a window that went on.
    let end = plan.window.end_of(instant)?.min(MAX_INSTANT.max(instant));
    let rows = groups.2;
    let of_window = |column, data_type: &DataType| match column {
        OutputColumn::WindowEnd(shift) => {
            Ok(Arc::new(TimestampMillisecondArray::from_value(end.saturating_add(shift), rows)) as _)
        }
        OutputColumn::Window(shift) => plan.window.show(window.saturating_add(shift), data_type, rows),
        _ => plan.window.show(window, data_type, rows),
    };
    emit_groups(&plan.columns, &plan.schema, groups, of_window, out)?;
    // Whoever needs all rows of a window has them now, however far the watermark has gone meanwhile.
    out.watermark(end);
    Ok(())
}

/// Emits the rows of closed windows; `of_window` makes the columns of the window.
pub(super) fn emit_groups(
    columns: &[OutputColumn],
    schema: &SchemaRef,
    (keys, results, rows): Groups,
    of_window: impl Fn(OutputColumn, &DataType) -> Result<ArrayRef>,
    out: &mut Output,
) -> Result<()> {
    let columns = columns.iter().zip(schema.fields()).map(|(column, field)| match column {
        OutputColumn::Key(i) => Ok(keys[*i].clone()),
        OutputColumn::Aggregate(i) => Ok(results[*i].clone()),
        window => of_window(*window, field.data_type()),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let batch =
        RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?;
    for start in (0..rows).step_by(OUTPUT_ROWS) {
        out.batch(batch.slice(start, OUTPUT_ROWS.min(rows - start)));
    }
    Ok(())
}

impl Operator for TumblingWindow {
    fn name(&self) -> &'static str {
        "tumbling window"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        for (batch, rows) in evaluate_or_report(batch, |batch| self.evaluate(batch), &self.reporter, out)? {
            self.add(&batch, &rows, out)?;
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = watermark;
        let open_from = match watermark {
            EventTime::MIN => i64::MIN,
            EventTime::MAX => i64::MAX,
            watermark => self.plan.window.of_instant(watermark).unwrap_or(i64::MAX),
        };
        if open_from > self.open_from {
            self.open_from = open_from;
            let still_open = self.panes.split_off(&open_from);
            let closed = std::mem::replace(&mut self.panes, still_open);
            let mut groups = 0;
            for (window, pane) in closed {
                groups += pane.groups().len();
                match self.emit {
                    Emit::Results => {
                        let instant = pane.instant();
                        emit_results(&self.plan, window, instant, pane.finish(&mut self.keys)?, out)?;
                    }
                    Emit::States => out.batch(pane.take_state(&self.plan.layout, &mut self.keys, window)?),
                }
            }
            if groups > 0 {
                self.forget_keys(groups)?;
                self.account()?;
            }
        }
        out.watermark(watermark);
        Ok(())
    }

    fn on_idle(&mut self, out: &mut Output) -> Result<()> {
        if self.emit == Emit::States {
            // The windows may close before this partition speaks again: their rows so far must be there by then.
            let mut groups = 0;
            for (window, pane) in std::mem::take(&mut self.panes) {
                groups += pane.groups().len();
                out.batch(pane.take_state(&self.plan.layout, &mut self.keys, window)?);
            }
            if groups > 0 {
                self.forget_keys(groups)?;
                self.account()?;
            }
        }
        out.idle();
        Ok(())
    }

    fn on_end(&mut self, end: End, _out: &mut Output) -> Result<()> {
        debug_assert!(end == End::Stopped || self.panes.is_empty(), "the last watermark closed every window");
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let mut batches = Vec::with_capacity(self.panes.len());
        for (window, pane) in &mut self.panes {
            batches.push(pane.save(&self.plan.layout, &mut self.keys, *window)?);
        }
        Ok(Some(OperatorState {
            summary: serde_json::json!({ "open_from": self.open_from, "watermark": self.watermark }),
            batches,
        }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.open_from = state.summary_value("open_from")?;
        self.watermark = state.summary_value("watermark")?;
        for batch in state.batches {
            let mut pane = Pane::try_new(&self.plan.layout, instant_of(&batch))?;
            pane.merge(&self.plan.layout, &mut self.keys, &batch)?;
            self.panes.insert(window_of(&batch), pane);
        }
        self.account()
    }
}

/// Merges the states that [`TumblingWindow`]s of several partitions emit.
///
/// States are kept until their window closes and merged in the order of the partitions, so that results do not depend
/// on which partition was faster. They are sorted by their keys, so merging them keeps nothing from window to window. A window
/// closes once: the groups of a partition that was idle and comes too late go to `error_stream`.
pub struct MergeWindows {
    plan: WindowPlan,
    waiting: BTreeMap<i64, Vec<(usize, RecordBatch)>>,
    /// Windows below this one are closed.
    open_from: i64,
    watermark: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
}

impl MergeWindows {
    /// `plan` is that of the windows in front.
    pub fn new(plan: WindowPlan, budget: Budget, reporter: ErrorReporter) -> Self {
        let (open_from, watermark) = (i64::MIN, EventTime::MIN);
        Self { plan, waiting: BTreeMap::new(), open_from, watermark, budget, reporter }
    }

    fn account(&mut self) -> Result<()> {
        let batches = || self.waiting.values().flatten();
        let bytes = batches().map(|(_, batch)| batch.get_array_memory_size()).sum::<usize>();
        self.budget.resize(bytes, || format!("{} open groups", batches().map(|(_, batch)| batch.num_rows()).sum::<usize>()))
    }
}

/// Merges saved panes of one window, batches of [`PaneLayout::state_schema`] in the order of their keys.
fn merge_states(layout: &PaneLayout, states: &[RecordBatch]) -> Result<Groups> {
    let (keys, columns): (Vec<_>, Vec<_>) = states.iter().map(|state| layout.columns_of(state)).unzip();
    let merged = MergedRuns::of(&keys, &states.iter().map(RecordBatch::num_rows).collect::<Vec<_>>())?;
    let mut accumulators = layout.accumulators()?;
    for (run, columns) in columns.into_iter().enumerate() {
        layout.merge(&mut accumulators, columns, &merged.numbers[run], merged.known[run])?;
    }
    let (results, groups) = (results_of(&mut accumulators)?, merged.order.len());
    Ok((merged.keys, take_arrays(&results, &UInt32Array::from(merged.order), None)?, groups))
}

pub(super) fn window_of(state: &RecordBatch) -> i64 {
    state.column(0).as_primitive::<Int64Type>().value(0)
}

fn instant_of(state: &RecordBatch) -> EventTime {
    state.column(1).as_primitive::<Int64Type>().value(0)
}

impl Operator for MergeWindows {
    fn name(&self) -> &'static str {
        "merge windows"
    }

    fn on_batch(&mut self, input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let window = window_of(&batch);
        if window < self.open_from {
            (0..batch.num_rows()).for_each(|row| out.error(self.reporter.late_row(&batch.slice(row, 1), self.watermark)));
            return Ok(());
        }
        self.waiting.entry(window).or_default().push((input, batch));
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = watermark;
        let open_from = match watermark {
            EventTime::MIN => i64::MIN,
            EventTime::MAX => i64::MAX,
            watermark => self.plan.window.of_instant(watermark).unwrap_or(i64::MAX),
        };
        self.open_from = self.open_from.max(open_from);
        let still_open = self.waiting.split_off(&self.open_from);
        let closed = std::mem::replace(&mut self.waiting, still_open);
        for (window, mut states) in closed {
            states.sort_by_key(|(input, _)| *input);
            let states: Vec<_> = states.into_iter().map(|(_, state)| state).collect();
            if let Some(state) = states.first() {
                emit_results(&self.plan, window, instant_of(state), merge_states(&self.plan.layout, &states)?, out)?;
            }
        }
        self.account()?;
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let states: Vec<_> = self.waiting.values().flatten().cloned().collect();
        let (inputs, batches): (Vec<usize>, Vec<RecordBatch>) = states.into_iter().unzip();
        let summary = serde_json::json!({ "inputs": inputs, "open_from": self.open_from, "watermark": self.watermark });
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.open_from = state.summary_value("open_from")?;
        self.watermark = state.summary_value("watermark")?;
        let inputs: Vec<usize> = state.summary_value("inputs")?;
        for (input, batch) in inputs.into_iter().zip(state.batches) {
            self.waiting.entry(window_of(&batch)).or_default().push((input, batch));
        }
        self.account()
    }
}
