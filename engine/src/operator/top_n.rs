//! Numbering the rows of a window: ROW_NUMBER() OVER (PARTITION BY window ORDER BY …), and the first N of them.
//!
//! Input:  batches with ROWTIME, in any order down to the watermark.
//! Output: the input's columns and the number of the row in its partition, from 1 on; partitions by their keys, NULL last. Of
//!         rows that are equal in ORDER BY the first that came is first.
//! State:  the rows of open periods; if only the first N are asked for, about twice those.
//! Time:   a period is the time for which the PARTITION BY expression of ROWTIME has one value. It ends when that, applied to
//!         the watermark, has moved on; its rows then have its end as ROWTIME. The rows of a window's results have one
//!         ROWTIME, which they keep: their period is over when the window is.
//! Late:   rows of a period that is over go to `error_stream` as `LATE_ROW`.
//! Errors: none.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMillisecondArray, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, partition, take, take_record_batch};
use arrow::datatypes::{FieldRef, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::utils::normalize_float_zero;

use super::budget::{Budget, bytes_of_rows};
use super::window_key::WindowKey;
use super::{Operator, Output, times_of};
use crate::checkpoint::OperatorState;
use crate::error::Result;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// Ascending, NULL last (kda-sql-reference.md §8.5).
const KEYS: SortOptions = SortOptions { descending: false, nulls_first: false };

/// So many rows of a period are kept before the first look at which are too many.
const PRUNED_MIN: usize = 4_096;

/// Which rows are numbered together at most.
#[derive(Clone)]
pub enum Period {
    /// Those of one ROWTIME; `complete` if all of them are there when the watermark reaches it.
    Instant {
        /// True for the results of a window.
        complete: bool,
    },
    /// Those of one value of an expression.
    Window(WindowKey),
}

/// The plan of a numbering.
#[derive(Clone)]
pub struct TopNPlan {
    /// Columns of the input.
    pub input: SchemaRef,
    /// Place of ROWTIME.
    pub rowtime: usize,
    /// What ends.
    pub period: Period,
    /// Places of the PARTITION BY columns.
    pub partition: Vec<usize>,
    /// Places of the ORDER BY columns, and how they are sorted.
    pub order: Vec<(usize, SortOptions)>,
    /// Only so many rows of a partition are asked for.
    pub limit: Option<usize>,
    /// The column that gets the number.
    pub number: FieldRef,
}

impl TopNPlan {
    /// Columns of the output.
    pub fn output(&self) -> SchemaRef {
        Arc::new(Schema::new(self.input.fields().iter().cloned().chain([self.number.clone()]).collect::<Vec<_>>()))
    }
}

/// Numbers the rows of each partition.
pub struct TopN {
    plan: TopNPlan,
    output: SchemaRef,
    open: BTreeMap<i64, OpenPeriod>,
    /// Periods below this one are over.
    open_from: i64,
    watermark: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
}

/// The rows of a period.
#[derive(Default)]
struct OpenPeriod {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// Rows that were left when it was last pruned.
    pruned: usize,
    /// An instant in it.
    instant: EventTime,
}

impl OpenPeriod {
    fn push(&mut self, rows: RecordBatch) {
        self.rows += rows.num_rows();
        self.bytes += bytes_of_rows(&rows);
        self.batches.push(rows);
    }
}

impl TopN {
    /// `budget` counts the rows of open periods.
    pub fn new(plan: TopNPlan, budget: Budget, reporter: ErrorReporter) -> Self {
        let (open, open_from, watermark) = (BTreeMap::new(), i64::MIN, EventTime::MIN);
        Self { output: plan.output(), plan, open, open_from, watermark, budget, reporter }
    }

    /// The period of each row, as numbers that grow with time.
    fn periods_of(&self, batch: &RecordBatch) -> Result<Vec<i64>> {
        match &self.plan.period {
            Period::Instant { .. } => Ok(times_of(batch, self.plan.rowtime)?.to_vec()),
            Period::Window(key) => Ok(key.of_rows(batch)?.as_primitive::<Int64Type>().values().to_vec()),
        }
    }

    fn add(&mut self, batch: &RecordBatch, mut late: impl FnMut(RecordBatch)) -> Result<()> {
        let times = times_of(batch, self.plan.rowtime)?;
        let mut start = 0;
        for run in self.periods_of(batch)?.chunk_by(|a, b| a == b) {
            let rows = batch.slice(start, run.len());
            if run[0] < self.open_from {
                late(rows);
            } else {
                let period = self.open.entry(run[0]).or_default();
                period.instant = times[start];
                period.push(rows);
                if let Some(limit) = self.plan.limit
                    && period.rows > PRUNED_MIN.max(2 * period.pruned)
                {
                    let kept = ordered(&self.plan, std::mem::take(period), limit)?.0;
                    period.instant = times[start];
                    period.push(kept);
                    period.pruned = period.rows;
                }
            }
            start += run.len();
        }
        Ok(())
    }

    fn release(&self, period: OpenPeriod, out: &mut Output) -> Result<()> {
        let instant = period.instant;
        let (rows, numbers) = ordered(&self.plan, period, self.plan.limit.unwrap_or(usize::MAX))?;
        let mut columns = rows.columns().to_vec();
        if let Period::Window(key) = &self.plan.period {
            columns[self.plan.rowtime] = Arc::new(TimestampMillisecondArray::from_value(key.end_of(instant)?, rows.num_rows()));
        }
        columns.push(Arc::new(Int64Array::from(numbers)));
        out.batch(RecordBatch::try_new(self.output.clone(), columns)?);
        Ok(())
    }

    fn account(&self) -> Result<()> {
        let bytes = self.open.values().map(|period| period.bytes).sum();
        self.budget.resize(bytes, || format!("{} rows", self.open.values().map(|period| period.rows).sum::<usize>()))
    }
}

/// The rows of a period in their order, the first `limit` of each partition, and their numbers.
fn ordered(plan: &TopNPlan, period: OpenPeriod, limit: usize) -> Result<(RecordBatch, Vec<i64>)> {
    let rows = concat_batches(&plan.input, &period.batches)?;
    // To arrow −0.0 sorts before 0.0, to SQL they are equal.
    let values = |place: usize| normalize_float_zero(rows.column(place));
    let column = |place: usize, options| SortColumn { values: values(place), options: Some(options) };
    let arrival: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
    let keys = plan.partition.iter().map(|place| column(*place, KEYS));
    let by = keys.chain(plan.order.iter().map(|(place, options)| column(*place, *options)));
    let by: Vec<_> = by.chain([SortColumn { values: arrival, options: None }]).collect();
    let order = lexsort_to_indices(&by, None)?;
    let partitions: Vec<Range<usize>> = match plan.partition.as_slice() {
        [] => std::iter::once(0..order.len()).collect(),
        keys => {
            let sorted = keys.iter().map(|place| take(&values(*place), &order, None));
            partition(&sorted.collect::<Result<Vec<_>, _>>()?)?.ranges()
        }
    };
    let (mut places, mut numbers) = (Vec::new(), Vec::new());
    for range in partitions {
        let first = &order.values()[range.start..range.end.min(range.start.saturating_add(limit))];
        places.extend_from_slice(first);
        numbers.extend(1..=first.len() as i64);
    }
    Ok((take_record_batch(&rows, &UInt32Array::from(places))?, numbers))
}

impl Operator for TopN {
    fn name(&self) -> &'static str {
        "row number"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let mut late = Vec::new();
        self.add(&batch, |rows| late.push(rows))?;
        for rows in late {
            (0..rows.num_rows()).for_each(|row| out.error(self.reporter.late_row(&rows.slice(row, 1), self.watermark)));
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        let open_from = match (&self.plan.period, self.watermark) {
            (_, EventTime::MIN) => i64::MIN,
            (_, EventTime::MAX) => i64::MAX,
            (Period::Instant { complete }, watermark) => watermark + i64::from(*complete),
            (Period::Window(key), watermark) => key.of_instant(watermark).unwrap_or(i64::MAX),
        };
        if open_from > self.open_from {
            self.open_from = open_from;
            let still_open = self.open.split_off(&open_from);
            for period in std::mem::replace(&mut self.open, still_open).into_values() {
                self.release(period, out)?;
            }
            self.account()?;
        }
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let summary = serde_json::json!({ "open_from": self.open_from, "watermark": self.watermark });
        let batches = self.open.values().flat_map(|period| &period.batches).cloned().collect();
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.watermark = state.summary_value("watermark")?;
        for batch in &state.batches {
            self.add(batch, |_| {})?;
        }
        self.open_from = state.summary_value("open_from")?;
        self.account()
    }
}
