//! ORDER BY on a stream (kda-sql-reference.md §2.8, §8.5).
//!
//! Input:  batches in the order of ROWTIME.
//! Output: the same rows, those of one period sorted: of the rows for which the first expression of ORDER BY, which only grows,
//!         has the same value. Rows that the others do not tell apart stay as they came.
//! State:  the rows of the last period.
//! Time:   rows are released when their period is over: with a later row, with the watermark, or when the input falls silent.
//!         They keep their ROWTIME, so within a period they are not in its order; the watermark stays behind those that wait.
//! Late:   none, unless the first expression is declared to grow and falls: such a row goes to `error_stream` as `LATE_ROW`.
//! Errors: a row whose expressions fail goes to `error_stream` alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, concat, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::utils::normalize_float_zero;
use datafusion::physical_expr::PhysicalExpr;

use super::budget::{Budget, bytes_of_rows};
use super::periods::{PeriodKey, Periods};
use super::row_errors::{evaluate_or_report, evaluate_rows};
use super::{Operator, Output, times_of};
use crate::checkpoint::OperatorState;
use crate::error::Result;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// An expression of ORDER BY and its direction.
pub type SortKey = (Arc<dyn PhysicalExpr>, SortOptions);

/// The plan of an ORDER BY.
#[derive(Clone)]
pub struct StreamSortPlan {
    /// The first expression.
    pub period: PeriodKey,
    /// The others.
    pub by: Vec<SortKey>,
    /// True if no more rows of a ROWTIME come once the watermark has reached it, as of the results of a window.
    pub complete: bool,
    /// Place of ROWTIME.
    pub rowtime: usize,
    /// Columns of input and output.
    pub schema: SchemaRef,
}

/// Sorts the rows of each period.
pub struct StreamSort {
    plan: StreamSortPlan,
    periods: Periods,
    /// The rows of the last period.
    waiting: Vec<RecordBatch>,
    /// Its number.
    period: i64,
    /// Bytes of `waiting`.
    bytes: usize,
    budget: Budget,
    reporter: ErrorReporter,
}

impl StreamSort {
    /// `budget` counts the rows of the last period.
    pub fn new(plan: StreamSortPlan, budget: Budget, reporter: ErrorReporter) -> Self {
        let periods = Periods::new(plan.period.clone());
        Self { plan, periods, waiting: Vec::new(), period: i64::MIN, bytes: 0, budget, reporter }
    }

    /// Takes rows whose periods have these numbers. All but those of the last one are complete.
    fn add(&mut self, rows: RecordBatch, numbers: &[i64], out: &mut Output) -> Result<()> {
        let Some(last) = numbers.last().copied() else { return Ok(()) };
        let mut open = rows;
        if last != self.period {
            let complete = numbers.partition_point(|number| *number < last);
            self.waiting.push(open.slice(0, complete));
            open = open.slice(complete, open.num_rows() - complete);
            self.release(out)?;
            self.period = last;
        }
        self.bytes += bytes_of_rows(&open);
        self.waiting.push(open);
        Ok(())
    }

    /// Emits what waits, period by period.
    fn release(&mut self, out: &mut Output) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = concat_batches(&self.plan.schema, &self.waiting)?;
        self.waiting.clear();
        self.bytes = 0;
        let StreamSortPlan { period, by, .. } = &self.plan;
        let options: Vec<_> = std::iter::once(period.options()).chain(by.iter().map(|(_, options)| *options)).collect();
        let mut keys = |rows: &RecordBatch| -> Result<Vec<ArrayRef>> {
            let others = by.iter().map(|(expr, _)| Ok(expr.evaluate(rows)?.into_array(rows.num_rows())?));
            std::iter::once(period.values(rows)).chain(others).collect()
        };
        let rows = sorted(rows, &mut keys, &options, &self.reporter, out)?;
        out.batch(rows);
        Ok(())
    }

    fn first_time(&self) -> Result<Option<EventTime>> {
        let Some(first) = self.waiting.first() else { return Ok(None) };
        Ok(times_of(first, self.plan.rowtime)?.first().copied())
    }

    fn account(&self) -> Result<()> {
        let rows = || self.waiting.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.budget.resize(self.bytes, || format!("{} rows that are to be sorted", rows()))
    }
}

/// `rows` sorted by the columns that `keys` computes, then as they came; rows for which it fails are reported instead.
pub(super) fn sorted(
    rows: RecordBatch,
    keys: &mut dyn FnMut(&RecordBatch) -> Result<Vec<ArrayRef>>,
    options: &[SortOptions],
    reporter: &ErrorReporter,
    out: &mut Output,
) -> Result<RecordBatch> {
    let schema = rows.schema();
    let (mut pieces, mut columns) = (Vec::new(), vec![Vec::new(); options.len()]);
    evaluate_rows(
        rows,
        keys,
        &mut |rows, values| {
            pieces.push(rows);
            // To arrow −0.0 sorts before 0.0, to SQL they are equal.
            columns.iter_mut().zip(values).for_each(|(column, values)| column.push(normalize_float_zero(&values)));
            Ok(())
        },
        &mut |row, error| out.error(reporter.row(&row, &error)),
    )?;
    let rows = concat_batches(&schema, &pieces)?;
    if rows.num_rows() < 2 {
        return Ok(rows);
    }
    let arrival: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
    let mut by = Vec::with_capacity(options.len() + 1);
    for (values, options) in columns.iter().zip(options) {
        let values = values.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        by.push(SortColumn { values: concat(&values)?, options: Some(*options) });
    }
    by.push(SortColumn { values: arrival, options: None });
    Ok(take_record_batch(&rows, &lexsort_to_indices(&by, None)?)?)
}

impl Operator for StreamSort {
    fn name(&self) -> &'static str {
        "sort"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let values = |rows: &RecordBatch| self.plan.period.values(rows);
        for (rows, values) in evaluate_or_report(batch, values, &self.reporter, out)? {
            let (rows, numbers) = self.periods.number(rows, &values, &self.reporter, out)?;
            self.add(rows, &numbers, out)?;
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        let next = if self.plan.complete { watermark.saturating_add(1) } else { watermark };
        if self.periods.open_from(next) > self.period {
            self.release(out)?;
            self.account()?;
        }
        out.watermark(self.first_time()?.map_or(watermark, |first| first.min(watermark)));
        Ok(())
    }

    fn on_idle(&mut self, out: &mut Output) -> Result<()> {
        self.release(out)?;
        self.account()?;
        out.idle();
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let summary = serde_json::json!({ "number": self.period, "period": self.periods.snapshot()? });
        Ok(Some(OperatorState { summary, batches: self.waiting.clone() }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.period = state.summary_value("number")?;
        self.periods.restore(&state)?;
        self.waiting = state.batches;
        self.bytes = self.waiting.iter().map(bytes_of_rows).sum();
        self.account()
    }
}

#[cfg(test)]
mod tests;
