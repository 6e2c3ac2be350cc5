//! One open tumbling window: its groups and their accumulators.
//!
//! Aggregating is DataFusion's (`GroupsAccumulator`); this file decides when accumulators are filled, saved and read. Their
//! `state` and `evaluate` empty them, so a saved pane is filled again at once: sums then add up in the same order with and
//! without checkpoints, and results are equal to the last bit where merging into nothing is exact: see docs/semantics.md, Restarts.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use super::group_keys::GroupKeys;
use crate::error::Result;
use crate::runtime::clock::EventTime;

/// One aggregate call.
#[derive(Clone)]
pub struct AggregateSpec {
    /// The function with its types.
    pub function: Arc<AggregateFunctionExpr>,
    /// Its arguments.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
}

impl AggregateSpec {
    /// True if the order of the rows matters to it.
    pub fn needs_order(&self) -> bool {
        matches!(self.function.fun().name(), "first_value" | "last_value") && self.function.order_bys().is_empty()
    }

    /// An empty accumulator of all groups.
    pub(super) fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return Ok(self.function.create_groups_accumulator()?);
        }
        let function = self.function.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }
}

/// What all panes of an operator share.
#[derive(Clone)]
pub struct PaneLayout {
    /// The group keys besides the window itself.
    pub keys: SchemaRef,
    /// The aggregate calls.
    pub aggregates: Vec<AggregateSpec>,
    /// Columns of a saved pane: window, an instant in it, keys, states.
    pub state_schema: SchemaRef,
}

impl PaneLayout {
    /// The layout of panes with these keys and aggregates.
    pub fn try_new(keys: Vec<FieldRef>, aggregates: Vec<AggregateSpec>) -> Result<Self> {
        let mut fields: Vec<FieldRef> =
            ["$window", "$instant"].map(|name| Field::new(name, DataType::Int64, false).into()).into();
        fields
            .extend(keys.iter().enumerate().map(|(i, key)| Field::new(format!("$key{i}"), key.data_type().clone(), true).into()));
        for (i, aggregate) in aggregates.iter().enumerate() {
            for (j, state) in aggregate.function.state_fields()?.iter().enumerate() {
                fields.push(Field::new(format!("$state{i}_{j}"), state.data_type().clone(), true).into());
            }
        }
        Ok(Self { keys: Arc::new(Schema::new(keys)), aggregates, state_schema: Arc::new(Schema::new(fields)) })
    }

    /// Keys and states of a saved pane, a batch of `state_schema`.
    pub(super) fn columns_of<'a>(&self, state: &'a RecordBatch) -> (&'a [ArrayRef], &'a [ArrayRef]) {
        state.columns()[2..].split_at(self.keys.fields().len())
    }

    /// An empty accumulator per aggregate.
    pub(super) fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        self.aggregates.iter().map(AggregateSpec::accumulator).collect()
    }

    /// Adds states to accumulators that have `groups` groups: the group of each row and the columns of the aggregates.
    pub(super) fn merge(
        &self,
        accumulators: &mut [Box<dyn GroupsAccumulator>],
        states: &[ArrayRef],
        places: &[usize],
        groups: usize,
    ) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let mut next = 0;
        for (accumulator, aggregate) in accumulators.iter_mut().zip(&self.aggregates) {
            let width = aggregate.function.state_fields()?.len();
            accumulator.merge_batch(&states[next..next + width], places, groups)?;
            next += width;
        }
        Ok(())
    }
}

/// The states of all groups, the columns of one aggregate behind those of the other; the accumulators are empty afterwards.
pub(super) fn states_of(accumulators: &mut [Box<dyn GroupsAccumulator>]) -> Result<Vec<ArrayRef>> {
    let states = accumulators.iter_mut().map(|accumulator| accumulator.state(EmitTo::All));
    Ok(states.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The results of all groups; the accumulators are empty afterwards.
pub(super) fn results_of(accumulators: &mut [Box<dyn GroupsAccumulator>]) -> Result<Vec<ArrayRef>> {
    Ok(accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All)).collect::<Result<_, _>>()?)
}

/// An open window.
pub struct Pane {
    /// Place of a group among the accumulators' by the number of its key, [`NOWHERE`] if the window does not have it.
    places: Vec<u32>,
    /// The keys' numbers of the groups, in the order in which they came.
    groups: Vec<u32>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// An instant in the window, by which its end is found.
    instant: EventTime,
}

const NOWHERE: u32 = u32::MAX;

impl Pane {
    /// The empty window that `instant` is in.
    pub fn try_new(layout: &PaneLayout, instant: EventTime) -> Result<Self> {
        Ok(Self { places: Vec::new(), groups: Vec::new(), accumulators: layout.accumulators()?, instant })
    }

    /// An instant in the window.
    pub fn instant(&self) -> EventTime {
        self.instant
    }

    /// The keys' numbers of its groups.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        let numbers = (self.places.capacity() + self.groups.capacity()) * size_of::<u32>();
        numbers + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }

    /// Adds rows: the numbers of their keys and, per aggregate, its arguments. `places` is scratch space.
    pub fn update(
        &mut self,
        keys: &GroupKeys,
        numbers: &[usize],
        arguments: &[Vec<ArrayRef>],
        places: &mut Vec<usize>,
    ) -> Result<()> {
        self.place(keys, numbers, places);
        for (accumulator, arguments) in self.accumulators.iter_mut().zip(arguments) {
            accumulator.update_batch(arguments, places, None::<&BooleanArray>, self.groups.len())?;
        }
        Ok(())
    }

    /// Adds a saved pane: a batch of [`PaneLayout::state_schema`].
    pub fn merge(&mut self, layout: &PaneLayout, keys: &mut GroupKeys, state: &RecordBatch) -> Result<()> {
        if state.num_rows() == 0 {
            return Ok(());
        }
        let mut numbers = Vec::new();
        let (of_keys, states) = layout.columns_of(state);
        keys.intern(of_keys, state.num_rows(), &mut numbers)?;
        self.merge_states(layout, keys, &numbers, states)
    }

    /// Adds the states of accumulators: the numbers of their keys and, per aggregate, its columns.
    pub fn merge_states(&mut self, layout: &PaneLayout, keys: &GroupKeys, numbers: &[usize], states: &[ArrayRef]) -> Result<()> {
        let mut places = Vec::new();
        self.place(keys, numbers, &mut places);
        layout.merge(&mut self.accumulators, states, &places, self.groups.len())
    }

    /// The numbers of the keys and the states of the accumulators, group by group.
    pub fn into_states(mut self) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        Ok((self.groups, states_of(&mut self.accumulators)?))
    }

    /// The place of the group with this number among the groups.
    pub fn place_of(&self, number: u32) -> Option<usize> {
        self.places.get(number as usize).filter(|place| **place != NOWHERE).map(|place| *place as usize)
    }

    /// The pane as a batch of [`PaneLayout::state_schema`], in the order of the keys.
    pub fn take_state(mut self, layout: &PaneLayout, keys: &mut GroupKeys, window: i64) -> Result<RecordBatch> {
        let (states, rows) = (states_of(&mut self.accumulators)?, self.groups.len());
        let (keys, states) = self.in_order(keys, &states)?;
        let constant = |value: i64| -> ArrayRef { Arc::new(Int64Array::from_value(value, rows)) };
        let columns = [constant(window), constant(self.instant)].into_iter().chain(keys).chain(states).collect();
        Ok(RecordBatch::try_new(layout.state_schema.clone(), columns)?)
    }

    /// What [`Pane::take_state`] gives; the pane goes on as if not asked.
    pub fn save(&mut self, layout: &PaneLayout, keys: &mut GroupKeys, window: i64) -> Result<RecordBatch> {
        let empty = Pane::try_new(layout, self.instant)?;
        let state = std::mem::replace(self, empty).take_state(layout, keys, window)?;
        self.merge(layout, keys, &state)?;
        Ok(state)
    }

    /// Keys and results in the order of the keys, and their number.
    pub fn finish(mut self, keys: &mut GroupKeys) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>, usize)> {
        let (results, rows) = (results_of(&mut self.accumulators)?, self.groups.len());
        let (keys, results) = self.in_order(keys, &results)?;
        Ok((keys, results, rows))
    }

    /// The keys, and `columns` of what the groups have, in the order of the keys.
    fn in_order(&self, keys: &mut GroupKeys, columns: &[ArrayRef]) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        let (mut numbers, mut order) = (Vec::with_capacity(self.groups.len()), Vec::with_capacity(self.groups.len()));
        for number in keys.ranked()? {
            if let Some(place) = self.place_of(*number) {
                numbers.push(*number);
                order.push(place as u32);
            }
        }
        Ok((keys.take(&UInt32Array::from(numbers))?, take_arrays(columns, &UInt32Array::from(order), None)?))
    }

    /// Gives the groups their keys' new numbers, after [`GroupKeys::retain`].
    pub fn renumber(&mut self, keys: &GroupKeys, numbers: &[usize]) {
        self.places.clear();
        self.places.resize(keys.count(), NOWHERE);
        for (place, (group, number)) in self.groups.iter_mut().zip(numbers).enumerate() {
            self.places[*number] = place as u32;
            *group = *number as u32;
        }
    }

    /// The accumulators' places of keys; new groups get one.
    fn place(&mut self, keys: &GroupKeys, numbers: &[usize], places: &mut Vec<usize>) {
        self.places.resize(keys.count(), NOWHERE);
        places.clear();
        places.extend(numbers.iter().map(|number| {
            let place = &mut self.places[*number];
            if *place == NOWHERE {
                *place = self.groups.len() as u32;
                self.groups.push(*number as u32);
            }
            *place as usize
        }));
    }
}
