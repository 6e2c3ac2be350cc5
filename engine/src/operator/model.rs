//! Models: RANDOM_CUT_FOREST and HOTSPOTS over a stream (kda-sql-reference.md §5.11–5.13).
//!
//! Input:  batches in the order of ROWTIME.
//! Output: the same rows with the model's columns behind them, at once and in the same order.
//! State:  the model; with PARTITION BY one for each key, bounded in number and by the time that a key is silent.
//! Time:   rows keep their ROWTIME; nothing waits.
//! Errors: none of rows: one that a model cannot use has NULL in the model's columns. More than the memory budget fails the job,
//!         before much more than the budget is held: a batch goes through in parts, each of which is counted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use kinesql_udfs::model::Model as UdfModel;
use kinesql_udfs::model::forest::{ForestOptions, RandomCutForest};
use kinesql_udfs::model::hotspots::{Hotspots, HotspotsOptions};
use kinesql_udfs::model::partition::{PartitionOptions, Partitioned};

use super::budget::Budget;
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};

/// Least rows that a model takes at once.
const ROWS_MIN: usize = 16;

/// Which model, with its options.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelFunction {
    /// RANDOM_CUT_FOREST, with or without explanation.
    Forest(ForestOptions),
    /// HOTSPOTS.
    Hotspots(HotspotsOptions),
}

/// The plan of a model.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// The model.
    pub function: ModelFunction,
    /// A model for each key.
    pub partition: Option<PartitionOptions>,
    /// Columns of the input, ROWTIME included.
    pub input: SchemaRef,
}

impl ModelPlan {
    /// A model that has seen nothing. Fails if the input has columns that the function cannot use.
    pub fn build(&self) -> datafusion::common::Result<Box<dyn UdfModel>> {
        let schema = self.learnt();
        Ok(match &self.function {
            ModelFunction::Forest(options) => self.partitioned(RandomCutForest::try_new(options.clone(), &schema)?)?,
            ModelFunction::Hotspots(options) => self.partitioned(Hotspots::try_new(options.clone(), &schema)?)?,
        })
    }

    fn partitioned<M: UdfModel + Clone + 'static>(&self, model: M) -> datafusion::common::Result<Box<dyn UdfModel>> {
        Ok(match &self.partition {
            Some(options) => Box::new(Partitioned::try_new(model, options.clone(), &self.input)?),
            None => Box::new(model),
        })
    }

    /// The input as a model sees it: the columns that make the key, numbers or not, are none to learn from.
    fn learnt(&self) -> Schema {
        let keys = self.partition.as_ref().map(|options| options.keys.as_slice()).unwrap_or_default();
        let fields = self.input.fields().iter().enumerate().map(|(place, field)| match keys.contains(&place) {
            true => Arc::new(Field::new(field.name(), DataType::Null, true)),
            false => field.clone(),
        });
        Schema::new(fields.collect::<Vec<FieldRef>>())
    }

    /// Columns of the output: those of the input, then the model's.
    pub fn output(&self) -> datafusion::common::Result<SchemaRef> {
        let fields = self.input.fields().iter().cloned().chain(self.build()?.fields());
        Ok(Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>())))
    }
}

/// Puts a model's columns behind those of its input.
pub struct Model {
    model: Box<dyn UdfModel>,
    schema: SchemaRef,
    /// True if there is one model for all rows.
    single: bool,
    rows: u64,
    budget: Budget,
}

impl Model {
    /// A model that works on up to `threads`, which plays no part in its results; `budget` counts it.
    pub fn try_new(plan: &ModelPlan, threads: usize, budget: Budget) -> Result<Self> {
        let mut plan = plan.clone();
        if let ModelFunction::Forest(options) = &mut plan.function {
            options.threads = threads;
        }
        Ok(Self { model: plan.build()?, schema: plan.output()?, single: plan.partition.is_none(), rows: 0, budget })
    }

    /// How many of the next `rows` rows the model takes before what it holds is counted again: as many as the rest of the budget is
    /// enough for, or a few. What one model needs for those is certain, and is counted before it is held.
    fn rows_at_once(&self, mut rows: usize) -> Result<usize> {
        let Some(left) = self.budget.left() else { return Ok(rows) };
        while rows > ROWS_MIN && self.model.growth(rows) > left {
            rows = (rows / 2).max(ROWS_MIN);
        }
        if self.single {
            self.reserve(self.model.memory_size() + self.model.growth(rows))?;
        }
        Ok(rows)
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        self.budget.resize(bytes, || format!("what was learnt from {} rows", self.rows))
    }

    fn account(&self) -> Result<()> {
        self.reserve(self.model.memory_size())
    }
}

impl Operator for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            let part = batch.slice(start, self.rows_at_once(batch.num_rows() - start)?);
            let results = self.model.update(&part)?;
            start += part.num_rows();
            self.rows += part.num_rows() as u64;
            self.account()?;
            let columns = part.columns().iter().cloned().chain(results).collect();
            out.batch(RecordBatch::try_new(self.schema.clone(), columns)?);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        let bytes: ArrayRef = Arc::new(LargeBinaryArray::from_vec(vec![&self.model.snapshot()?]));
        let batch = RecordBatch::try_from_iter([("model", bytes)])?;
        Ok(Some(OperatorState { summary: serde_json::json!({ "rows": self.rows }), batches: vec![batch] }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        let bytes =
            state.batches.first().and_then(|batch| batch.column(0).as_binary_opt::<i64>()).filter(|bytes| bytes.len() == 1);
        let Some(bytes) = bytes else { return Err(Error::state("the checkpoint has no state of the model")) };
        let unusable = |error| Error::state("the model in the checkpoint cannot be used").with_cause(error);
        self.model.restore(bytes.value(0)).map_err(unusable)?;
        self.rows = state.summary_value("rows")?;
        self.account()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::*;

    /// A model for each `k`, over rows of the keys in one batch, with a budget of `limit` bytes.
    fn run(keys: impl Iterator<Item = i32>, limit: usize) -> (Model, Output, Result<()>) {
        let keys: Vec<i32> = keys.collect();
        let numbers: ArrayRef = Arc::new(keys.iter().copied().map(f64::from).collect::<Float64Array>());
        let keys: ArrayRef = Arc::new(Int32Array::from(keys));
        let batch = RecordBatch::try_from_iter([("k", keys), ("v", numbers)]).expect("equal lengths");
        let partition = PartitionOptions { keys: vec![0], models_max: 100_000, idle_ms: None };
        run_model(ForestOptions::default(), Some(partition), batch, limit)
    }

    fn run_model(
        options: ForestOptions,
        partition: Option<PartitionOptions>,
        batch: RecordBatch,
        limit: usize,
    ) -> (Model, Output, Result<()>) {
        let plan = ModelPlan { function: ModelFunction::Forest(options), partition, input: batch.schema() };
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limit));
        let mut model = Model::try_new(&plan, 1, Budget::new("model", "", &pool)).expect("numbers");
        let mut out = Output::default();
        let result = model.on_batch(0, batch, &mut out);
        (model, out, result)
    }

    #[test]
    fn a_batch_of_new_keys_stops_at_the_budget() {
        const LIMIT: usize = 20_000_000;
        let (model, _, result) = run(0..20_000, LIMIT);
        let error = result.expect_err("a model needs about 30 kB");
        assert!(error.message().contains("exceeds the memory budget of 20.0 MB"), "{error}");
        assert!(model.model.memory_size() < LIMIT + LIMIT / 10, "{}", model.model.memory_size());
    }

    #[test]
    fn one_large_model_stops_below_the_budget() {
        const LIMIT: usize = 50_000_000;
        let column = |column: i32| -> (String, ArrayRef) {
            let values: Float64Array = (0..2_000).map(|row| f64::from(row * (column + 1) % 997)).collect();
            (format!("c{column}"), Arc::new(values))
        };
        let batch = RecordBatch::try_from_iter((0..30).map(column)).expect("equal lengths");
        let options = ForestOptions { trees: 200, sample_size: 1_000, shingle_size: 10, ..ForestOptions::default() };
        let (model, _, result) = run_model(options, None, batch, LIMIT);
        let error = result.expect_err("its arrays double beyond the budget");
        assert!(error.message().contains("exceeds the memory budget of 50.0 MB"), "{error}");
        assert!((LIMIT / 3..=LIMIT).contains(&model.model.memory_size()), "{}", model.model.memory_size());
    }

    #[test]
    fn a_batch_within_the_budget_stays_whole() {
        let keys = || (0..500).map(|row| row % 100);
        let (_, out, result) = run(keys(), 1 << 30);
        result.expect("enough");
        assert_eq!(out.events.len(), 1);
        // In parts it gives the same rows.
        let (_, parts, result) = run(keys(), 10_000_000);
        result.expect("enough");
        assert!(parts.events.len() > 1);
        let rows = |out: Output| -> Vec<RecordBatch> {
            let batches = out.events.into_iter().filter_map(|event| match event {
                crate::runtime::channel::Event::Batch(batch) => Some(batch),
                _ => None,
            });
            batches.collect()
        };
        let (whole, parts) = (rows(out), rows(parts));
        assert_eq!(arrow::compute::concat_batches(&whole[0].schema(), &parts).expect("of one schema"), whole[0]);
    }
}
