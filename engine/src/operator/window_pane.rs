//! One open tumbling window: its groups and their accumulators.
//!
//! Grouping and aggregating are DataFusion's (`GroupValues`, `GroupsAccumulator`); this file decides when they are
//! filled, saved and read. Their `state` and `evaluate` empty them, so a saved pane is filled again at once: sums then
//! add up in the same order with and without checkpoints, and results are equal to the last bit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, sort_to_indices, take_arrays};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

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
    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
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
    /// Columns of a saved pane: window, greatest ROWTIME, keys, states.
    pub state_schema: SchemaRef,
}

impl PaneLayout {
    /// The layout of panes with these keys and aggregates.
    pub fn try_new(keys: Vec<FieldRef>, aggregates: Vec<AggregateSpec>) -> Result<Self> {
        let mut fields: Vec<FieldRef> =
            ["$window", "$last_rowtime"].map(|name| Field::new(name, DataType::Int64, false).into()).into();
        fields
            .extend(keys.iter().enumerate().map(|(i, key)| Field::new(format!("$key{i}"), key.data_type().clone(), true).into()));
        for (i, aggregate) in aggregates.iter().enumerate() {
            for (j, state) in aggregate.function.state_fields()?.iter().enumerate() {
                fields.push(Field::new(format!("$state{i}_{j}"), state.data_type().clone(), true).into());
            }
        }
        Ok(Self { keys: Arc::new(Schema::new(keys)), aggregates, state_schema: Arc::new(Schema::new(fields)) })
    }
}

/// Rows of one window, evaluated: what an accumulator takes.
pub struct PaneRows {
    /// The group keys.
    pub keys: Vec<ArrayRef>,
    /// Per aggregate its arguments.
    pub arguments: Vec<Vec<ArrayRef>>,
    /// Number of rows.
    pub rows: usize,
}

impl PaneRows {
    /// Rows `[start, start + length)`.
    pub fn slice(&self, start: usize, length: usize) -> Self {
        let slice = |arrays: &Vec<ArrayRef>| arrays.iter().map(|array| array.slice(start, length)).collect();
        Self { keys: slice(&self.keys), arguments: self.arguments.iter().map(slice).collect(), rows: length }
    }

    /// The rows at `indices`.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let take = |arrays: &Vec<ArrayRef>| take_arrays(arrays, indices, None);
        let arguments = self.arguments.iter().map(take).collect::<Result<_, _>>()?;
        Ok(Self { keys: take(&self.keys)?, arguments, rows: indices.len() })
    }
}

/// An open window.
pub struct Pane {
    /// None if there are no keys: one group, in a window that has rows.
    groups: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Greatest ROWTIME of its rows: its end lies behind it.
    pub last_rowtime: EventTime,
}

impl Pane {
    /// An empty window.
    pub fn try_new(layout: &PaneLayout) -> Result<Self> {
        let groups = match layout.keys.fields().is_empty() {
            true => None,
            false => Some(new_group_values(layout.keys.clone(), &GroupOrdering::None)?),
        };
        let accumulators = layout.aggregates.iter().map(AggregateSpec::accumulator).collect::<Result<_>>()?;
        Ok(Self { groups, accumulators, last_rowtime: EventTime::MIN })
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups.as_ref().map_or(1, |groups| groups.len())
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.groups.as_ref().map_or(0, |groups| groups.size())
            + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }

    /// Adds rows. `ids` is scratch space.
    pub fn update(&mut self, rows: &PaneRows, ids: &mut Vec<usize>) -> Result<()> {
        let total = self.intern(&rows.keys, rows.rows, ids)?;
        for (accumulator, arguments) in self.accumulators.iter_mut().zip(&rows.arguments) {
            accumulator.update_batch(arguments, ids, None::<&BooleanArray>, total)?;
        }
        Ok(())
    }

    /// Adds a saved pane: a batch of [`PaneLayout::state_schema`].
    pub fn merge(&mut self, layout: &PaneLayout, state: &RecordBatch, ids: &mut Vec<usize>) -> Result<()> {
        if state.num_rows() == 0 {
            return Ok(());
        }
        let keys = layout.keys.fields().len();
        let columns = &state.columns()[2..];
        let total = self.intern(&columns[..keys], state.num_rows(), ids)?;
        let mut next = keys;
        for (accumulator, aggregate) in self.accumulators.iter_mut().zip(&layout.aggregates) {
            let width = aggregate.function.state_fields()?.len();
            accumulator.merge_batch(&columns[next..next + width], ids, total)?;
            next += width;
        }
        let last = state.column(1).as_primitive::<arrow::datatypes::Int64Type>();
        self.last_rowtime = self.last_rowtime.max(last.value(0));
        Ok(())
    }

    /// The pane as a batch of [`PaneLayout::state_schema`]; the pane is empty afterwards.
    pub fn take_state(self, layout: &PaneLayout, window: i64) -> Result<RecordBatch> {
        let Self { groups, mut accumulators, last_rowtime } = self;
        let keys = match groups {
            Some(mut groups) => groups.emit(EmitTo::All)?,
            None => Vec::new(),
        };
        let states = accumulators.iter_mut().map(|accumulator| accumulator.state(EmitTo::All)).collect::<Result<Vec<_>, _>>()?;
        let rows = keys.iter().chain(states.iter().flatten()).next().map_or(1, |column| column.len());
        let constant = |value: i64| -> ArrayRef { Arc::new(arrow::array::Int64Array::from_value(value, rows)) };
        let columns =
            [constant(window), constant(last_rowtime)].into_iter().chain(keys).chain(states.into_iter().flatten()).collect();
        Ok(RecordBatch::try_new(layout.state_schema.clone(), columns)?)
    }

    /// Keys and results, sorted by key ascending with NULL last (§8.5).
    pub fn finish(self) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>, usize)> {
        let Self { groups, mut accumulators, .. } = self;
        let keys = match groups {
            Some(mut groups) => groups.emit(EmitTo::All)?,
            None => Vec::new(),
        };
        let results =
            accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All)).collect::<Result<Vec<_>, _>>()?;
        let rows = keys.iter().chain(&results).next().map_or(1, |column| column.len());
        let options = Some(SortOptions { descending: false, nulls_first: false });
        let order = match keys.as_slice() {
            [] => return Ok((keys, results, rows)),
            [key] => sort_to_indices(key, options, None)?,
            _ => {
                lexsort_to_indices(&keys.iter().map(|key| SortColumn { values: key.clone(), options }).collect::<Vec<_>>(), None)?
            }
        };
        Ok((take_arrays(&keys, &order, None)?, take_arrays(&results, &order, None)?, rows))
    }

    fn intern(&mut self, keys: &[ArrayRef], rows: usize, ids: &mut Vec<usize>) -> Result<usize> {
        match &mut self.groups {
            Some(groups) => {
                groups.intern(keys, ids)?;
                Ok(groups.len())
            }
            None => {
                ids.clear();
                ids.resize(rows, 0);
                Ok(1)
            }
        }
    }
}
