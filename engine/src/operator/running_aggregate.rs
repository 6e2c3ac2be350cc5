//! Running aggregates: functions with OVER whose frame begins with the first row, UNBOUNDED PRECEDING
//! (kda-sql-reference.md §2.7, §8.5).
//!
//! Input:  batches in the order of ROWTIME; the partition keys and arguments are columns.
//! Output: the same rows, at once, each with a result per function appended.
//! State:  an accumulator per key and function, for ever: the planner warns of it.
//! Time:   none; a row sees the rows of its key that came before it.
//! Late:   there are no late rows: [`super::time_order::TimeOrder`] stands in front.
//! Errors: none by rows: arguments are evaluated before, results are cast to KDA's types behind.
//!
//! Rows go through DataFusion's accumulators one by one, about a million per second: no published application has such a
//! window, so it has no kernels of its own.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::Result;

/// One aggregate.
#[derive(Debug, Clone)]
pub struct RunningFunction {
    /// The function with its types.
    pub function: Arc<AggregateFunctionExpr>,
    /// Input columns of its arguments.
    pub arguments: Vec<usize>,
    /// Name and type of the result.
    pub field: FieldRef,
}

/// The plan of a running aggregate: all functions of one PARTITION BY.
#[derive(Debug, Clone)]
pub struct RunningPlan {
    /// Schema of the input.
    pub input: SchemaRef,
    /// Input columns of PARTITION BY.
    pub keys: Vec<usize>,
    /// The functions.
    pub functions: Vec<RunningFunction>,
}

impl RunningPlan {
    /// The columns of the input, then a result per function.
    pub fn schema(&self) -> SchemaRef {
        let results = self.functions.iter().map(|function| function.field.clone());
        Arc::new(Schema::new(self.input.fields().iter().cloned().chain(results).collect::<Vec<_>>()))
    }

    fn key_fields(&self) -> Vec<FieldRef> {
        let field = |(i, column): (usize, &usize)| {
            FieldRef::new(Field::new(format!("$key{i}"), self.input.field(*column).data_type().clone(), true))
        };
        self.keys.iter().enumerate().map(field).collect()
    }

    /// Columns of a saved key: the key, the states of its accumulators.
    fn state_schema(&self) -> Result<SchemaRef> {
        let mut fields = self.key_fields();
        for (i, function) in self.functions.iter().enumerate() {
            for (j, state) in function.function.state_fields()?.iter().enumerate() {
                fields.push(Field::new(format!("$state{i}_{j}"), state.data_type().clone(), true).into());
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// Appends to every row the aggregates of all rows of its key so far.
pub struct RunningAggregate {
    plan: RunningPlan,
    schema: SchemaRef,
    keys: GroupKeys,
    /// Key by key, in the order of the functions.
    accumulators: Vec<Box<dyn Accumulator>>,
    /// Bytes of `accumulators`.
    bytes: usize,
    budget: Budget,
    /// Scratch space: the keys' numbers of a batch.
    numbers: Vec<usize>,
}

impl RunningAggregate {
    /// `budget` counts the accumulators.
    pub fn try_new(plan: RunningPlan, budget: Budget) -> Result<Self> {
        let keys = GroupKeys::try_new(Arc::new(Schema::new(plan.key_fields())))?;
        Ok(Self { schema: plan.schema(), keys, plan, accumulators: Vec::new(), bytes: 0, budget, numbers: Vec::new() })
    }

    /// Numbers the keys of rows; new ones get accumulators.
    fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        self.keys.intern(keys, rows, &mut self.numbers)?;
        for _ in self.accumulators.len() / self.plan.functions.len()..self.keys.count() {
            for function in &self.plan.functions {
                let accumulator = function.function.create_accumulator()?;
                self.bytes += accumulator.size();
                self.accumulators.push(accumulator);
            }
        }
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        self.budget.resize(self.keys.size() + self.bytes, || format!("{} keys", self.keys.count()))
    }
}

impl Operator for RunningAggregate {
    fn name(&self) -> &'static str {
        "running aggregate"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let keys: Vec<ArrayRef> = self.plan.keys.iter().map(|column| batch.column(*column).clone()).collect();
        self.intern(&keys, batch.num_rows())?;
        let width = self.plan.functions.len();
        let mut columns = batch.columns().to_vec();
        for (place, function) in self.plan.functions.iter().enumerate() {
            let mut results = Vec::with_capacity(batch.num_rows());
            for (row, number) in self.numbers.iter().enumerate() {
                let accumulator = &mut self.accumulators[number * width + place];
                let arguments: Vec<_> = function.arguments.iter().map(|column| batch.column(*column).slice(row, 1)).collect();
                let before = accumulator.size();
                accumulator.update_batch(&arguments)?;
                results.push(accumulator.evaluate()?);
                self.bytes = self.bytes + accumulator.size() - before;
            }
            columns.push(ScalarValue::iter_to_array(results)?);
        }
        out.batch(RecordBatch::try_new(self.schema.clone(), columns)?);
        self.account()
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let count = self.keys.count();
        if count == 0 {
            return Ok(Some(OperatorState::default()));
        }
        let (schema, width) = (self.plan.state_schema()?, self.plan.functions.len());
        self.keys.settle()?;
        let mut columns = self.keys.take(&UInt32Array::from_iter_values(0..count as u32))?;
        for place in 0..width {
            let accumulators = self.accumulators.iter_mut().skip(place).step_by(width);
            let states = accumulators.map(|accumulator| accumulator.state()).collect::<Result<Vec<_>, _>>()?;
            for part in 0..states[0].len() {
                columns.push(ScalarValue::iter_to_array(states.iter().map(|state| state[part].clone()))?);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(Some(OperatorState { summary: serde_json::Value::Null, batches: vec![batch] }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        for batch in state.batches {
            let width = self.plan.functions.len();
            let (keys, mut states) = batch.columns().split_at(self.plan.keys.len());
            self.intern(keys, batch.num_rows())?;
            for (place, function) in self.plan.functions.iter().enumerate() {
                let (of_function, rest) = states.split_at(function.function.state_fields()?.len());
                states = rest;
                for (row, number) in self.numbers.iter().enumerate() {
                    let state: Vec<_> = of_function.iter().map(|column| column.slice(row, 1)).collect();
                    self.accumulators[number * width + place].merge_batch(&state)?;
                }
            }
        }
        self.bytes = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        self.account()
    }
}
