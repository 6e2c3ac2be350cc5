//! Windows by turns: GROUP BY with an expression that is declared to grow, `MONOTONIC(x)` (kda-sql-reference.md §1.12, §8.5, §8.6).
//!
//! Input:  batches in the order of ROWTIME.
//! Output: one row per (value of the expression, group), sorted by key, NULL last; the expression is one of the keys.
//! State:  accumulators of the groups of the last value.
//! Time:   a value is over when a row with a later one comes: that row's ROWTIME is the ROWTIME of the result rows. The last value
//!         is over when the input ends; its result rows have the last ROWTIME, or the
//!         watermark if that is later.
//! Late:   a row with an earlier value goes to `error_stream` as `LATE_ROW`.
//! Errors: a row whose key or argument fails to evaluate goes to `error_stream`.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMillisecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::periods::{PeriodKey, Periods};
use super::row_errors::evaluate_or_report;
use super::tumbling_window::{OutputColumn, emit_groups};
use super::window_pane::{Pane, PaneLayout};
use super::{Operator, Output, times_of};
use crate::checkpoint::OperatorState;
use crate::error::Result;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// The plan of a window by turns.
#[derive(Clone)]
pub struct TurnPlan {
    /// The expression that is declared to grow.
    pub period: PeriodKey,
    /// Place of ROWTIME in the input.
    pub rowtime: usize,
    /// The GROUP BY expressions over the input.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Keys and aggregates.
    pub layout: PaneLayout,
    /// What the output columns are.
    pub columns: Vec<OutputColumn>,
    /// Their names and types.
    pub schema: SchemaRef,
}

/// Groups and aggregates the rows of each value of a growing expression.
pub struct TurnWindow {
    plan: TurnPlan,
    periods: Periods,
    keys: GroupKeys,
    /// The groups of the last value; None before the first row.
    pane: Option<Pane>,
    /// Its number.
    period: i64,
    /// The greatest ROWTIME or watermark so far.
    last: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
    /// Scratch space.
    places: Vec<usize>,
}

/// Rows of a batch, evaluated; slices and filters keep the columns with their rows.
struct Evaluated {
    values: ArrayRef,
    keys: Vec<ArrayRef>,
    /// Per aggregate its arguments.
    arguments: Vec<Vec<ArrayRef>>,
}

impl TurnWindow {
    /// `budget` counts the groups of the last value.
    pub fn try_new(plan: TurnPlan, budget: Budget, reporter: ErrorReporter) -> Result<Self> {
        Ok(Self {
            keys: GroupKeys::try_new(plan.layout.keys.clone())?,
            periods: Periods::new(plan.period.clone()),
            plan,
            pane: None,
            period: 0,
            last: EventTime::MIN,
            budget,
            reporter,
            places: Vec::new(),
        })
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        let evaluate = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(batch.num_rows());
        let values = self.plan.period.values(batch)?;
        let keys = self.plan.keys.iter().map(evaluate).collect::<Result<_, _>>()?;
        let aggregates = self.plan.layout.aggregates.iter();
        let arguments =
            aggregates.map(|aggregate| aggregate.arguments.iter().map(evaluate).collect()).collect::<Result<_, _>>()?;
        Ok(Evaluated { values, keys, arguments })
    }

    fn add(&mut self, batch: RecordBatch, mut rows: Evaluated, out: &mut Output) -> Result<()> {
        let count = batch.num_rows();
        let (batch, numbers) = self.periods.number(batch, &rows.values, &self.reporter, out)?;
        if batch.num_rows() < count {
            // Seldom: what went back is gone, the others are computed again.
            rows = self.evaluate(&batch)?;
        }
        let times = times_of(&batch, self.plan.rowtime)?.to_vec();
        let mut start = 0;
        for run in numbers.chunk_by(|a, b| a == b) {
            if run[0] != self.period {
                self.close(times[start], out)?;
                self.period = run[0];
            }
            let slice = |column: &ArrayRef| column.slice(start, run.len());
            let keys: Vec<_> = rows.keys.iter().map(slice).collect();
            let arguments: Vec<Vec<_>> = rows.arguments.iter().map(|columns| columns.iter().map(slice).collect()).collect();
            let mut numbers = Vec::new();
            self.keys.intern(&keys, run.len(), &mut numbers)?;
            let pane = match &mut self.pane {
                Some(pane) => pane,
                none => none.insert(Pane::try_new(&self.plan.layout, times[start])?),
            };
            pane.update(&self.keys, &numbers, &arguments, &mut self.places)?;
            start += run.len();
        }
        self.last = times.last().map_or(self.last, |last| self.last.max(*last));
        Ok(())
    }

    /// Emits the results of the last value at `time`.
    fn close(&mut self, time: EventTime, out: &mut Output) -> Result<()> {
        let Some(pane) = self.pane.take() else { return Ok(()) };
        let closed = pane.finish(&mut self.keys)?;
        let groups = closed.2;
        let of_window = |_, _: &DataType| Ok(Arc::new(TimestampMillisecondArray::from_value(time, groups)) as ArrayRef);
        emit_groups(&self.plan.columns, &self.plan.schema, closed, of_window, out)?;
        // No other window has keys.
        self.keys.retain(groups, Vec::new)?;
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let groups = self.pane.as_ref().map_or(0, |pane| pane.groups().len());
        let bytes = self.keys.size() + self.pane.as_ref().map_or(0, Pane::size);
        self.budget.resize(bytes, || format!("{groups} open groups"))
    }
}

impl Operator for TurnWindow {
    fn name(&self) -> &'static str {
        "window by turns"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        for (batch, rows) in evaluate_or_report(batch, |batch| self.evaluate(batch), &self.reporter, out)? {
            self.add(batch, rows, out)?;
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        if watermark == EventTime::MAX {
            self.close(self.last, out)?;
            self.account()?;
        } else {
            // What is still open will have this ROWTIME or a later one.
            self.last = self.last.max(watermark);
        }
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let mut batches = Vec::new();
        if let Some(pane) = &mut self.pane {
            batches.push(pane.save(&self.plan.layout, &mut self.keys, self.period)?);
        }
        let summary = serde_json::json!({ "number": self.period, "last": self.last, "period": self.periods.snapshot()? });
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.period = state.summary_value("number")?;
        self.last = state.summary_value("last")?;
        self.periods.restore(&state)?;
        for batch in state.batches {
            let mut pane = Pane::try_new(&self.plan.layout, self.last)?;
            pane.merge(&self.plan.layout, &mut self.keys, &batch)?;
            self.pane = Some(pane);
        }
        self.account()
    }
}

#[cfg(test)]
mod tests;
