//! Sliding windows: functions with OVER (kda-sql-reference.md §2.7, §4.4).
//!
//! Input:  batches in the order of ROWTIME; the partition keys and arguments are columns.
//! Output: the same rows, at once, each with a result per function appended.
//! State:  the rows in the frames (their keys, arguments and ROWTIME) and what the functions make of them. RANGE frames lose
//!         rows as ROWTIME or the watermark passes, ROWS frames keep the last rows of every key.
//! Time:   a row sees the rows of its key that came before it and are in its frame; peers that come later see it.
//! Late:   there are no late rows: [`super::time_order::TimeOrder`] stands in front.
//! Errors: none by rows: arguments are evaluated before, results are cast to KDA's types behind.
//!
//! A checkpoint holds the rows in the frames; a restore lets them come again. Memory is given back in the same way: when
//! most slots or most keys are not in use any more, the rows in the frames come again in a fresh state.

pub mod distinct;
pub mod extremes;
pub mod faded;
pub mod frame;
pub mod kernel;
pub mod long_sum;
pub mod moments;
pub mod places;
pub mod sums;
#[cfg(test)]
mod tests;
pub mod values;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use self::frame::{Frame, FrameRows, Steps};
use self::kernel::{Batch, Function, Kernel, distinct_kernel_of, kernel_of};
use self::values::{Values, values_of};
use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::{Operator, Output};
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;

/// Rows of one batch of a checkpoint at most.
const STATE_ROWS: usize = 65_536;

/// Below so many slots or keys nothing is given back.
const RETAINED_MIN: usize = 8_192;

/// One function of a window.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// What it computes.
    pub function: Function,
    /// Its argument, by its place among the window's arguments.
    pub argument: Option<usize>,
    /// True if of equal values only one counts.
    pub distinct: bool,
    /// The input column that is the result where the function's place has no row.
    pub otherwise: Option<usize>,
    /// Name and type of the result.
    pub field: FieldRef,
}

/// The plan of one sliding window: all functions of one PARTITION BY and one frame.
#[derive(Debug, Clone)]
pub struct SlidingPlan {
    /// Schema of the input.
    pub input: SchemaRef,
    /// Input column of ROWTIME.
    pub rowtime: usize,
    /// Input columns of PARTITION BY.
    pub keys: Vec<usize>,
    /// The frame.
    pub frame: Frame,
    /// Input columns of the arguments.
    pub arguments: Vec<usize>,
    /// The functions.
    pub functions: Vec<FunctionSpec>,
}

impl SlidingPlan {
    /// The columns of the input, then a result per function.
    pub fn schema(&self) -> SchemaRef {
        let results = self.functions.iter().map(|function| function.field.clone());
        Arc::new(Schema::new(self.input.fields().iter().cloned().chain(results).collect::<Vec<_>>()))
    }

    fn fields<'a>(&'a self, columns: &'a [usize], name: &'a str) -> impl Iterator<Item = FieldRef> + 'a {
        let field = move |(i, column): (usize, &usize)| {
            FieldRef::new(Field::new(format!("{name}{i}"), self.input.field(*column).data_type().clone(), true))
        };
        columns.iter().enumerate().map(field)
    }

    /// Columns of a saved row: ROWTIME, keys, arguments.
    fn state_schema(&self) -> SchemaRef {
        let time = FieldRef::new(self.input.field(self.rowtime).clone().with_name("$time"));
        let columns = self.fields(&self.keys, "$key").chain(self.fields(&self.arguments, "$argument"));
        Arc::new(Schema::new(std::iter::once(time).chain(columns).collect::<Vec<_>>()))
    }
}

/// The rows in the frames, and what the functions know of them.
struct State {
    keys: GroupKeys,
    rows: FrameRows,
    arguments: Vec<Box<dyn Values>>,
    kernels: Vec<Box<dyn Kernel>>,
}

impl State {
    fn try_new(plan: &SlidingPlan) -> Result<Self> {
        let data_type = |column: &usize| plan.input.field(*column).data_type();
        let kernel = |spec: &FunctionSpec| {
            let argument = spec.argument.map(|argument| data_type(&plan.arguments[argument]));
            let kernel_of = if spec.distinct { distinct_kernel_of } else { kernel_of };
            kernel_of(spec.function, plan.frame, argument, spec.field.data_type())
        };
        Ok(Self {
            keys: GroupKeys::try_new(Arc::new(Schema::new(plan.fields(&plan.keys, "$key").collect::<Vec<_>>())))?,
            rows: FrameRows::new(plan.frame),
            arguments: plan.arguments.iter().map(|column| values_of(data_type(column))).collect::<Result<_>>()?,
            kernels: plan.functions.iter().map(kernel).collect::<Result<_>>()?,
        })
    }

    /// Rows come. Gives a column of results per function; `otherwise` are their columns of that name.
    fn come(
        &mut self,
        plan: &SlidingPlan,
        times: &[EventTime],
        keys: &[ArrayRef],
        arguments: &[ArrayRef],
        otherwise: &[Option<&ArrayRef>],
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        self.keys.intern(keys, times.len(), &mut scratch.numbers)?;
        self.rows.come(&scratch.numbers, self.keys.count(), times, &mut scratch.steps);
        for (values, column) in self.arguments.iter_mut().zip(arguments) {
            values.store(&scratch.steps.slots, column, self.rows.capacity());
        }
        self.follow(plan, otherwise, scratch)
    }

    /// Time passes without a row.
    fn pass(&mut self, plan: &SlidingPlan, watermark: EventTime, scratch: &mut Scratch) -> Result<()> {
        self.rows.pass(watermark, &mut scratch.steps);
        if !scratch.steps.left.is_empty() {
            self.follow(plan, &[], scratch)?;
        }
        Ok(())
    }

    fn follow(&mut self, plan: &SlidingPlan, otherwise: &[Option<&ArrayRef>], scratch: &Scratch) -> Result<Vec<ArrayRef>> {
        let (rows, keys, arguments) = (&self.rows, self.keys.count(), &self.arguments);
        let mut results = Vec::with_capacity(self.kernels.len());
        for (i, (kernel, spec)) in self.kernels.iter_mut().zip(&plan.functions).enumerate() {
            let argument = spec.argument.map(|argument| arguments[argument].as_ref());
            let otherwise = otherwise.get(i).copied().flatten();
            results.push(kernel.follow(&Batch { steps: &scratch.steps, rows, keys, argument, otherwise, frame: None })?);
        }
        self.arguments.iter_mut().for_each(|values| values.release(&scratch.steps.left));
        Ok(results)
    }

    /// The rows in the frames, in the order in which they must come again.
    fn save(&mut self, plan: &SlidingPlan) -> Result<Vec<RecordBatch>> {
        let (schema, slots) = (plan.state_schema(), self.rows.slots());
        self.keys.settle()?;
        let batch = |slots: &[u32]| {
            let times = TimestampMillisecondArray::from_iter_values(slots.iter().map(|slot| self.rows.time(*slot)));
            let numbers = UInt32Array::from_iter_values(slots.iter().map(|slot| self.rows.key(*slot)));
            let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
            columns.extend(self.keys.take(&numbers)?);
            columns.extend(self.arguments.iter().map(|values| values.gather(slots)));
            Ok(RecordBatch::try_new(schema.clone(), columns)?)
        };
        slots.chunks(STATE_ROWS).map(batch).collect()
    }

    fn restore(&mut self, plan: &SlidingPlan, batches: &[RecordBatch], scratch: &mut Scratch) -> Result<()> {
        for batch in batches {
            let (keys, arguments) = batch.columns()[1..].split_at(plan.keys.len());
            self.come(plan, times_of(batch.column(0))?, keys, arguments, &[], scratch)?;
        }
        Ok(())
    }

    /// True if most of the memory is for rows or keys that are gone.
    fn is_mostly_empty(&self) -> bool {
        let is_mostly_empty = |held: usize, used: usize| held > RETAINED_MIN.max(4 * used);
        is_mostly_empty(self.rows.capacity(), self.rows.held()) || is_mostly_empty(self.keys.count(), self.rows.keys_with_rows())
    }

    fn size(&self) -> usize {
        let values: usize = self.arguments.iter().map(|values| values.size()).sum();
        let kernels: usize = self.kernels.iter().map(|kernel| kernel.size()).sum();
        self.keys.size() + self.rows.size() + values + kernels
    }
}

/// Space that every batch uses again.
#[derive(Default)]
struct Scratch {
    numbers: Vec<usize>,
    steps: Steps,
}

/// Appends to every row what its window's functions give.
pub struct SlidingWindow {
    plan: SlidingPlan,
    schema: SchemaRef,
    state: State,
    scratch: Scratch,
    budget: Budget,
}

impl SlidingWindow {
    /// `budget` counts the rows in the frames.
    pub fn try_new(plan: SlidingPlan, budget: Budget) -> Result<Self> {
        Ok(Self { schema: plan.schema(), state: State::try_new(&plan)?, plan, scratch: Scratch::default(), budget })
    }

    /// Gives back what is not used any more, and counts the rest.
    fn account(&mut self) -> Result<()> {
        if self.state.is_mostly_empty() {
            let rows = self.state.save(&self.plan)?;
            self.state = State::try_new(&self.plan)?;
            self.state.restore(&self.plan, &rows, &mut self.scratch)?;
        }
        let rows = &self.state.rows;
        self.budget.resize(self.state.size(), || format!("{} rows of {} keys", rows.held(), rows.keys_with_rows()))
    }
}

fn times_of(column: &ArrayRef) -> Result<&[EventTime]> {
    let times = column.as_primitive_opt::<TimestampMillisecondType>();
    Ok(times.ok_or_else(|| Error::internal("the input of a sliding window has no ROWTIME"))?.values())
}

impl Operator for SlidingWindow {
    fn name(&self) -> &'static str {
        "sliding window"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let columns = batch.columns();
        let pick = |places: &[usize]| places.iter().map(|place| columns[*place].clone()).collect::<Vec<_>>();
        let (keys, arguments) = (pick(&self.plan.keys), pick(&self.plan.arguments));
        let otherwise: Vec<_> =
            self.plan.functions.iter().map(|function| function.otherwise.map(|column| &columns[column])).collect();
        let times = times_of(&columns[self.plan.rowtime])?;
        let results = self.state.come(&self.plan, times, &keys, &arguments, &otherwise, &mut self.scratch)?;
        let columns = columns.iter().cloned().chain(results).collect();
        out.batch(RecordBatch::try_new(self.schema.clone(), columns)?);
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.state.pass(&self.plan, watermark, &mut self.scratch)?;
        self.account()?;
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        Ok(Some(OperatorState { summary: serde_json::Value::Null, batches: self.state.save(&self.plan)? }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        let schema = self.plan.state_schema();
        let types = |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<DataType>>();
        if state.batches.iter().any(|batch| types(batch.schema_ref()) != types(&schema)) {
            return Err(Error::state("the checkpoint's sliding window has other columns than the plan's"));
        }
        self.state.restore(&self.plan, &state.batches, &mut self.scratch)?;
        self.account()
    }
}
