//! SELECT STREAM DISTINCT (kda-sql-reference.md §2.5, §8.5).
//!
//! Input:  batches in the order of ROWTIME.
//! Output: of rows that are equal in all columns but ROWTIME, NULLs being equal, the first; at once.
//! State:  the rows of the open periods, without ROWTIME. A period is the time for which the monotonic column has one
//!         value.
//! Time:   a period ends when its expression, applied to the watermark, has moved on; one that is declared to grow, when a row
//!         of a later period comes. ROWTIME is the row's own.
//! Late:   none, unless what is declared to grow falls: such a row goes to `error_stream` as `LATE_ROW`.
//! Errors: none.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::periods::{PeriodKey, Periods};
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::Result;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// The plan of a DISTINCT.
#[derive(Clone)]
pub struct DistinctPlan {
    /// What makes a period.
    pub period: PeriodKey,
    /// Places of the compared columns: all but ROWTIME.
    pub compared: Vec<usize>,
    /// Columns of input and output.
    pub schema: SchemaRef,
}

/// Passes the first of equal rows on.
pub struct Distinct {
    plan: DistinctPlan,
    keys: SchemaRef,
    periods: Periods,
    /// The rows of the open periods by their numbers.
    seen: BTreeMap<i64, GroupKeys>,
    /// Periods below this one are over.
    open_from: i64,
    budget: Budget,
    reporter: ErrorReporter,
}

impl Distinct {
    /// `budget` counts the rows of open periods.
    pub fn new(plan: DistinctPlan, budget: Budget, reporter: ErrorReporter) -> Self {
        let fields: Vec<FieldRef> = plan.compared.iter().map(|column| plan.schema.fields()[*column].clone()).collect();
        let (keys, periods) = (Arc::new(Schema::new(fields)), Periods::new(plan.period.clone()));
        Self { plan, keys, periods, seen: BTreeMap::new(), open_from: i64::MIN, budget, reporter }
    }

    /// Says for every row of `rows` rows of one period whether it is the first of its kind.
    fn first_of_kind(&mut self, period: i64, columns: &[ArrayRef], rows: usize, first: &mut Vec<bool>) -> Result<()> {
        let seen = match self.seen.entry(period) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(GroupKeys::try_new(self.keys.clone())?),
        };
        // Numbers are given in the order of appearance: a row is the first of its kind if its number is the next.
        let mut next = seen.count();
        let mut numbers = Vec::new();
        seen.intern(columns, rows, &mut numbers)?;
        first.extend(numbers.iter().map(|number| {
            let is_new = *number == next;
            next += usize::from(is_new);
            is_new
        }));
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let bytes = self.seen.values().map(GroupKeys::size).sum();
        self.budget.resize(bytes, || format!("{} distinct rows", self.seen.values().map(GroupKeys::count).sum::<usize>()))
    }
}

impl Operator for Distinct {
    fn name(&self) -> &'static str {
        "distinct"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let values = self.plan.period.values(&batch)?;
        let (batch, periods) = self.periods.number(batch, &values, &self.reporter, out)?;
        let mut first = Vec::with_capacity(batch.num_rows());
        let mut start = 0;
        for run in periods.chunk_by(|a, b| a == b) {
            let slice = |column: &usize| batch.column(*column).slice(start, run.len());
            let columns: Vec<_> = self.plan.compared.iter().map(slice).collect();
            self.first_of_kind(run[0], &columns, run.len(), &mut first)?;
            start += run.len();
        }
        out.batch(if first.iter().all(|first| *first) {
            batch
        } else {
            filter_record_batch(&batch, &BooleanArray::from(first))?
        });
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        let open_from = self.periods.open_from(watermark);
        if open_from > self.open_from {
            self.open_from = open_from;
            self.seen = self.seen.split_off(&open_from);
            self.account()?;
        }
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let fields = self.keys.fields().iter().enumerate();
        let fields = fields.map(|(i, field)| Arc::new(Field::new(format!("$key{i}"), field.data_type().clone(), true)));
        let period = Arc::new(Field::new("$period", DataType::Int64, false));
        let schema = Arc::new(Schema::new([period].into_iter().chain(fields).collect::<Vec<_>>()));
        let mut batches = Vec::with_capacity(self.seen.len());
        for (period, seen) in &mut self.seen {
            let rows = seen.count();
            seen.ranked()?;
            let keys = seen.take(&(0..rows as u32).collect::<UInt32Array>())?;
            let period: ArrayRef = Arc::new(Int64Array::from_value(*period, rows));
            batches.push(RecordBatch::try_new(schema.clone(), [period].into_iter().chain(keys).collect())?);
        }
        let summary = serde_json::json!({ "open_from": self.open_from, "period": self.periods.snapshot()? });
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.open_from = state.summary_value("open_from")?;
        self.periods.restore(&state)?;
        for batch in state.batches.iter().filter(|batch| batch.num_rows() > 0) {
            let period = batch.column(0).as_primitive::<Int64Type>().value(0);
            self.first_of_kind(period, &batch.columns()[1..], batch.num_rows(), &mut Vec::new())?;
        }
        self.account()
    }
}
