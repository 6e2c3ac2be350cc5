//! Tumbling windows: GROUP BY with a monotonic expression of ROWTIME (kda-sql-reference.md §4.2).
//!
//! Input:  batches with ROWTIME; rows may come in any order down to the watermark.
//! Output: one row per (window, group): the GROUP BY columns, then the aggregates, as the plan's Aggregate names them;
//!         windows in ascending order, the groups of one window sorted by key, NULL last (§8.5).
//! State:  accumulators per open window and group; freed when the window closes.
//! Time:   a window closes when its key, applied to the watermark, has moved on. Its rows' ROWTIME is its end.
//! Late:   rows of a closed window go to `error_stream` as `LATE_ROW`.
//! Errors: a row whose key or argument fails to evaluate goes to `error_stream`.
//!
//! With several input partitions each runs a [`TumblingWindow`] that emits *states* ([`Emit::States`]), and one
//! [`MergeWindows`] behind them merges those and emits results.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMillisecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;

use super::row_errors::evaluate_rows;
use super::window_key::WindowKey;
use super::window_pane::{Pane, PaneLayout, PaneRows};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::channel::End;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;
use crate::types::ROWTIME;

/// Rows of one emitted batch at most.
const OUTPUT_ROWS: usize = 8_192;

/// A column of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputColumn {
    /// The window key.
    Window,
    /// A group key, by its place among the keys.
    Key(usize),
    /// The result of an aggregate, by its place among the aggregates.
    Aggregate(usize),
    /// The ROWTIME of the result row: the window's end.
    WindowEnd,
}

/// The plan of a tumbling window.
#[derive(Clone)]
pub struct WindowPlan {
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
    panes: BTreeMap<i64, Pane>,
    /// Windows below this one are closed.
    open_from: i64,
    watermark: EventTime,
    reservation: MemoryReservation,
    reporter: ErrorReporter,
    ids: Vec<usize>,
}

impl TumblingWindow {
    /// `reservation` counts the open windows against the memory budget.
    pub fn new(plan: WindowPlan, emit: Emit, reservation: MemoryReservation, reporter: ErrorReporter) -> Self {
        Self {
            plan,
            emit,
            panes: BTreeMap::new(),
            open_from: i64::MIN,
            watermark: EventTime::MIN,
            reservation,
            reporter,
            ids: Vec::new(),
        }
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<(ArrayRef, PaneRows)> {
        let rows = batch.num_rows();
        let evaluate = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(rows);
        let windows = self.plan.window.of_rows(batch)?;
        let keys = self.plan.keys.iter().map(evaluate).collect::<Result<_, _>>()?;
        let aggregates = self.plan.layout.aggregates.iter();
        let arguments =
            aggregates.map(|aggregate| aggregate.arguments.iter().map(evaluate).collect()).collect::<Result<_, _>>()?;
        Ok((windows, PaneRows { keys, arguments, rows }))
    }

    fn add(&mut self, batch: &RecordBatch, windows: &ArrayRef, rows: PaneRows, out: &mut Output) -> Result<()> {
        let windows = windows.as_primitive::<Int64Type>();
        let times = batch.column_by_name(ROWTIME).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
        let times = times.ok_or_else(|| Error::internal("the input of a window has no ROWTIME"))?.values();
        // Rows come nearly in order: most batches are one window or a few runs.
        let mut runs: Vec<(i64, usize, usize)> = Vec::new();
        for (row, window) in windows.values().iter().enumerate() {
            match runs.last_mut() {
                Some((current, _, end)) if current == window => *end = row + 1,
                _ => runs.push((*window, row, row + 1)),
            }
        }
        if runs.len() > 16 {
            // Interleaved windows: gather the rows of each, in arrival order.
            let mut gathered: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            for (window, start, end) in runs {
                gathered.entry(window).or_default().extend(start as u32..end as u32);
            }
            for (window, indices) in gathered {
                let last = indices.iter().map(|row| times[*row as usize]).max().unwrap_or(EventTime::MIN);
                if window < self.open_from {
                    indices
                        .iter()
                        .for_each(|row| out.error(self.reporter.late_row(&batch.slice(*row as usize, 1), self.watermark)));
                } else {
                    let rows = rows.take(&UInt32Array::from(indices))?;
                    self.add_run(window, last, &rows)?;
                }
            }
            return Ok(());
        }
        for (window, start, end) in runs {
            if window < self.open_from {
                (start..end).for_each(|row| out.error(self.reporter.late_row(&batch.slice(row, 1), self.watermark)));
                continue;
            }
            let last = times[start..end].iter().copied().max().unwrap_or(EventTime::MIN);
            if end - start == rows.rows {
                self.add_run(window, last, &rows)?;
            } else {
                self.add_run(window, last, &rows.slice(start, end - start))?;
            }
        }
        Ok(())
    }

    fn add_run(&mut self, window: i64, last_rowtime: EventTime, rows: &PaneRows) -> Result<()> {
        let pane = match self.panes.entry(window) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Pane::try_new(&self.plan.layout)?),
        };
        pane.last_rowtime = pane.last_rowtime.max(last_rowtime);
        pane.update(rows, &mut self.ids)
    }

    fn account(&mut self) -> Result<()> {
        let bytes = self.panes.values().map(Pane::size).sum();
        self.reservation.try_resize(bytes).map_err(|error| over_budget(self.panes.values().map(Pane::groups).sum(), bytes, error))
    }
}

fn over_budget(groups: usize, bytes: usize, error: datafusion::error::DataFusionError) -> Error {
    let message =
        format!("tumbling window needs {:.1} MB for {groups} open groups, which exceeds the memory budget", bytes as f64 / 1e6);
    Error::config(message).with_hint("Raise --memory-limit, shorten the window or group by fewer keys.").with_cause(error)
}

/// Emits the rows of one closed window.
fn emit_results(plan: &WindowPlan, window: i64, pane: Pane, out: &mut Output) -> Result<()> {
    let end = plan.window.end_of(pane.last_rowtime)?;
    let (keys, results, rows) = pane.finish()?;
    let columns = plan.columns.iter().zip(plan.schema.fields()).map(|(column, field)| match column {
        OutputColumn::Window => plan.window.show(window, field.data_type(), rows),
        OutputColumn::Key(i) => Ok(keys[*i].clone()),
        OutputColumn::Aggregate(i) => Ok(results[*i].clone()),
        OutputColumn::WindowEnd => Ok(Arc::new(TimestampMillisecondArray::from_value(end, rows)) as ArrayRef),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let batch =
        RecordBatch::try_new_with_options(plan.schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?;
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
        let mut evaluated = Vec::with_capacity(1);
        let mut errors = Vec::new();
        evaluate_rows(
            batch,
            &mut |batch| self.evaluate(batch),
            &mut |batch, rows| {
                evaluated.push((batch, rows));
                Ok(())
            },
            &mut |row, error| errors.push(self.reporter.row(&row, &error)),
        )?;
        errors.into_iter().for_each(|error| out.error(error));
        for (batch, (windows, rows)) in evaluated {
            self.add(&batch, &windows, rows, out)?;
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
            let any = !closed.is_empty();
            for (window, pane) in closed {
                match self.emit {
                    Emit::Results => emit_results(&self.plan, window, pane, out)?,
                    Emit::States => out.batch(pane.take_state(&self.plan.layout, window)?),
                }
            }
            if any {
                self.account()?;
            }
        }
        out.watermark(watermark);
        Ok(())
    }

    fn on_end(&mut self, end: End, _out: &mut Output) -> Result<()> {
        debug_assert!(end == End::Stopped || self.panes.is_empty(), "the last watermark closed every window");
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let layout = &self.plan.layout;
        let mut batches = Vec::with_capacity(self.panes.len());
        for (window, pane) in &mut self.panes {
            let last_rowtime = pane.last_rowtime;
            let state = std::mem::replace(pane, Pane::try_new(layout)?).take_state(layout, *window)?;
            pane.merge(layout, &state, &mut self.ids)?;
            pane.last_rowtime = last_rowtime;
            batches.push(state);
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
            let mut pane = Pane::try_new(&self.plan.layout)?;
            pane.merge(&self.plan.layout, &batch, &mut self.ids)?;
            self.panes.insert(window_of(&batch), pane);
        }
        self.account()
    }
}

/// Merges the states that [`TumblingWindow`]s of several partitions emit.
///
/// States are kept until their window closes and merged in the order of the partitions, so that results do not depend
/// on which partition was faster.
pub struct MergeWindows {
    plan: WindowPlan,
    waiting: BTreeMap<i64, Vec<(usize, RecordBatch)>>,
    reservation: MemoryReservation,
}

impl MergeWindows {
    /// `plan` is that of the windows in front.
    pub fn new(plan: WindowPlan, reservation: MemoryReservation) -> Self {
        Self { plan, waiting: BTreeMap::new(), reservation }
    }

    fn account(&mut self) -> Result<()> {
        let batches = || self.waiting.values().flatten();
        let bytes = batches().map(|(_, batch)| batch.get_array_memory_size()).sum();
        self.reservation
            .try_resize(bytes)
            .map_err(|error| over_budget(batches().map(|(_, batch)| batch.num_rows()).sum(), bytes, error))
    }
}

fn window_of(state: &RecordBatch) -> i64 {
    state.column(0).as_primitive::<Int64Type>().value(0)
}

impl Operator for MergeWindows {
    fn name(&self) -> &'static str {
        "merge windows"
    }

    fn on_batch(&mut self, input: usize, batch: RecordBatch, _out: &mut Output) -> Result<()> {
        self.waiting.entry(window_of(&batch)).or_default().push((input, batch));
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        let open_from = match watermark {
            EventTime::MAX => i64::MAX,
            watermark => self.plan.window.of_instant(watermark).unwrap_or(i64::MAX),
        };
        let still_open = self.waiting.split_off(&open_from);
        let closed = std::mem::replace(&mut self.waiting, still_open);
        let mut ids = Vec::new();
        for (window, mut states) in closed {
            states.sort_by_key(|(input, _)| *input);
            let mut pane = Pane::try_new(&self.plan.layout)?;
            for (_, state) in states {
                pane.merge(&self.plan.layout, &state, &mut ids)?;
            }
            emit_results(&self.plan, window, pane, out)?;
        }
        self.account()?;
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let states: Vec<_> = self.waiting.values().flatten().cloned().collect();
        let (inputs, batches): (Vec<usize>, Vec<RecordBatch>) = states.into_iter().unzip();
        Ok(Some(OperatorState { summary: serde_json::json!({ "inputs": inputs }), batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        let inputs: Vec<usize> = state.summary_value("inputs")?;
        for (input, batch) in inputs.into_iter().zip(state.batches) {
            self.waiting.entry(window_of(&batch)).or_default().push((input, batch));
        }
        self.account()
    }
}
