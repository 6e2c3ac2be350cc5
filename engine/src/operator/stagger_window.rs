//! Stagger windows: WINDOWED BY STAGGER, a window of its own for every key (kda-sql-reference.md §4.3).
//!
//! Input:  batches in the order of ROWTIME.
//! Output: one row per window: the PARTITION BY columns and the aggregates, in the order in which the windows close.
//! State:  accumulators of the open windows, freed when they close; the keys of recent windows.
//! Time:   the first row of a key opens its window, which takes the rows of the key up to, but without, a fixed time
//!         later. The ROWTIME of the result row is that time.
//! Late:   none; the rows come in order.
//! Errors: a row whose key or argument fails to evaluate goes to `error_stream`.
//!
//! All windows have the same length, so they close in the order in which they open: one queue holds them, and the place of
//! a window in it is the number of its group in the accumulators, from which closed ones are taken at the front.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMillisecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::row_errors::evaluate_or_report;
use super::tumbling_window::OutputColumn;
use super::window_pane::{AggregateSpec, PaneLayout};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;
use crate::types::ROWTIME;

/// Rows of one emitted batch at most.
const OUTPUT_ROWS: usize = 8_192;

/// The plan of a stagger window.
#[derive(Clone)]
pub struct StaggerPlan {
    /// Milliseconds from the row that opens a window to its end.
    pub length: i64,
    /// The PARTITION BY expressions over the input.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Keys and aggregates.
    pub layout: PaneLayout,
    /// What the output columns are.
    pub columns: Vec<OutputColumn>,
    /// Their names and types.
    pub schema: SchemaRef,
}

/// Groups and aggregates rows per key from the key's first row on.
pub struct StaggerWindow {
    plan: StaggerPlan,
    keys: GroupKeys,
    open: VecDeque<Window>,
    /// How many windows were closed: the sequence number of the first open one.
    closed: u64,
    /// By the number of a key: one more than the sequence number of its newest window, 0 if there is none.
    newest: Vec<u64>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    budget: Budget,
    reporter: ErrorReporter,
}

/// An open window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// Number of its key.
    key: u32,
    /// The first instant behind it.
    end: EventTime,
}

/// Rows of a batch, evaluated.
struct Evaluated {
    keys: Vec<ArrayRef>,
    /// Per aggregate its arguments.
    arguments: Vec<Vec<ArrayRef>>,
}

impl StaggerWindow {
    /// `budget` counts the open windows.
    pub fn try_new(plan: StaggerPlan, budget: Budget, reporter: ErrorReporter) -> Result<Self> {
        Ok(Self {
            keys: GroupKeys::try_new(plan.layout.keys.clone())?,
            open: VecDeque::new(),
            closed: 0,
            newest: Vec::new(),
            accumulators: plan.layout.aggregates.iter().map(AggregateSpec::accumulator).collect::<Result<_>>()?,
            plan,
            budget,
            reporter,
        })
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        let evaluate = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(batch.num_rows());
        let keys = self.plan.keys.iter().map(evaluate).collect::<Result<_, _>>()?;
        let aggregates = self.plan.layout.aggregates.iter();
        let arguments =
            aggregates.map(|aggregate| aggregate.arguments.iter().map(evaluate).collect()).collect::<Result<_, _>>()?;
        Ok(Evaluated { keys, arguments })
    }

    fn add(&mut self, batch: &RecordBatch, rows: &Evaluated) -> Result<()> {
        let times = batch.column_by_name(ROWTIME).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
        let times = times.ok_or_else(|| Error::internal("the input of a window has no ROWTIME"))?.values();
        let mut places = Vec::new();
        self.keys.intern(&rows.keys, batch.num_rows(), &mut places)?;
        self.newest.resize(self.keys.count(), 0);
        for (place, time) in places.iter_mut().zip(times) {
            *place = self.window_of(*place, *time);
        }
        for (accumulator, arguments) in self.accumulators.iter_mut().zip(&rows.arguments) {
            accumulator.update_batch(arguments, &places, None, self.open.len())?;
        }
        Ok(())
    }

    /// The place of the window that a row of key number `key` belongs to.
    fn window_of(&mut self, key: usize, time: EventTime) -> usize {
        if let Some(place) = (self.newest[key]).checked_sub(self.closed + 1)
            && time < self.open[place as usize].end
        {
            return place as usize;
        }
        self.open.push_back(Window { key: key as u32, end: time.saturating_add(self.plan.length) });
        self.newest[key] = self.closed + self.open.len() as u64;
        self.open.len() - 1
    }

    fn close(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        let count = self.open.partition_point(|window| window.end <= watermark);
        if count == 0 {
            return Ok(());
        }
        let results = self.accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::First(count)));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let closed: Vec<_> = self.open.drain(..count).collect();
        self.closed += count as u64;
        self.keys.ranked()?;
        let keys = self.keys.take(&closed.iter().map(|window| window.key).collect::<UInt32Array>())?;
        let ends: ArrayRef = Arc::new(closed.iter().map(|window| Some(window.end)).collect::<TimestampMillisecondArray>());
        let columns = self.plan.columns.iter().map(|column| match column {
            OutputColumn::Key(i) => keys[*i].clone(),
            OutputColumn::Aggregate(i) => results[*i].clone(),
            OutputColumn::Window(_) | OutputColumn::WindowEnd(_) => ends.clone(),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(self.plan.schema.clone(), columns.collect(), &options)?;
        for start in (0..count).step_by(OUTPUT_ROWS) {
            out.batch(batch.slice(start, OUTPUT_ROWS.min(count - start)));
        }
        self.forget_keys(count)
    }

    /// Forgets the keys that only closed windows had; `closed` were emitted just now.
    fn forget_keys(&mut self, closed: usize) -> Result<()> {
        let numbers = || self.open.iter().map(|window| window.key).collect();
        if let Some(renumbered) = self.keys.retain(closed + self.open.len(), numbers)? {
            self.newest.clear();
            self.newest.resize(self.keys.count(), 0);
            for (place, (window, key)) in self.open.iter_mut().zip(renumbered).enumerate() {
                window.key = key as u32;
                self.newest[key] = self.closed + place as u64 + 1;
            }
        }
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let accumulators = self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>();
        let queue = self.open.capacity() * size_of::<Window>() + self.newest.capacity() * size_of::<u64>();
        self.budget.resize(self.keys.size() + accumulators + queue, || format!("{} open windows", self.open.len()))
    }
}

impl Operator for StaggerWindow {
    fn name(&self) -> &'static str {
        "stagger window"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        for (batch, rows) in evaluate_or_report(batch, |batch| self.evaluate(batch), &self.reporter, out)? {
            self.add(&batch, &rows)?;
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.close(watermark, out)?;
        self.account()?;
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let count = self.open.len();
        if count == 0 {
            // Some accumulators have no columns of state as long as they have no group.
            return Ok(Some(OperatorState { summary: serde_json::json!({}), batches: Vec::new() }));
        }
        let states = self.accumulators.iter_mut().map(|accumulator| accumulator.state(EmitTo::All));
        let states = states.collect::<Result<Vec<_>, _>>()?;
        // Saving empties them: they are filled again, as a restart does it.
        let places: Vec<_> = (0..count).collect();
        for (accumulator, state) in self.accumulators.iter_mut().zip(&states) {
            accumulator.merge_batch(state, &places, count)?;
        }
        self.keys.ranked()?;
        let keys = self.keys.take(&self.open.iter().map(|window| window.key).collect::<UInt32Array>())?;
        let ends: ArrayRef = Arc::new(self.open.iter().map(|window| window.end).collect::<Int64Array>());
        let columns = [ends.clone(), ends].into_iter().chain(keys).chain(states.into_iter().flatten()).collect();
        let batch = RecordBatch::try_new(self.plan.layout.state_schema.clone(), columns)?;
        Ok(Some(OperatorState { summary: serde_json::json!({}), batches: vec![batch] }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        let width = self.plan.layout.keys.fields().len();
        for batch in state.batches {
            let (count, columns) = (batch.num_rows(), &batch.columns()[2..]);
            let mut numbers = Vec::new();
            self.keys.intern(&columns[..width], count, &mut numbers)?;
            self.newest.resize(self.keys.count(), 0);
            for (key, end) in numbers.iter().zip(batch.column(0).as_primitive::<Int64Type>().values()) {
                self.open.push_back(Window { key: *key as u32, end: *end });
                self.newest[*key] = self.closed + self.open.len() as u64;
            }
            let places: Vec<_> = (0..count).collect();
            let mut next = width;
            for (accumulator, aggregate) in self.accumulators.iter_mut().zip(&self.plan.layout.aggregates) {
                let width = aggregate.function.state_fields()?.len();
                accumulator.merge_batch(&columns[next..next + width], &places, count)?;
                next += width;
            }
        }
        self.account()
    }
}
