//! A table function over its cursor as a logical node, and how DataFusion's planner comes to it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::plan_err;
use datafusion::common::{
    DFSchema, DFSchemaRef, DataFusionError, Diagnostic, Location, Result, Span as PlanSpan, TableReference,
};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, SubqueryAlias, UserDefinedLogicalNodeCore};
use kinesql_udfs::model::partition::PartitionOptions;
use sqlparser::ast::TableFactor;

use super::call::{Call, Partition, Rank};
use super::prepare::TableFunctions;
use crate::diagnostic::Span;
use crate::operator::group_rank::GroupRankPlan;
use crate::operator::model::ModelPlan;
use crate::plan::physical::without_metadata;
use crate::types::ROWTIME;

/// A table function. Columns: those of the cursor under its name, then the function's.
#[derive(Debug, Clone)]
pub(in crate::plan) struct TableFunction {
    pub(super) input: Arc<LogicalPlan>,
    pub(super) function: Function,
    call: Arc<Call>,
    name: String,
    schema: DFSchemaRef,
}

/// A call with its cursor.
#[derive(Debug, Clone)]
pub(super) enum Function {
    Model(ModelPlan),
    Rank(GroupRankPlan),
}

impl TableFunction {
    fn try_new(input: LogicalPlan, call: Arc<Call>, name: &str) -> Result<Self> {
        let function = match call.as_ref() {
            Call::Model { function, partition, span } => {
                let columns = without_metadata(input.schema().as_arrow());
                let partition = partition.as_ref().map(|partition| partition_options(partition, input.schema())).transpose()?;
                let plan = ModelPlan { function: function.clone(), partition, input: columns };
                // Fails for columns that the model cannot use.
                plan.build().map_err(|error| {
                    let hint = match error.message().contains("CAST") {
                        true => "Write the CAST in the cursor, around all that the column is made of.",
                        false => "Columns of PARTITION BY and of other types do not count.",
                    };
                    at(error, *span, Some(hint.to_owned()))
                })?;
                Function::Model(plan)
            }
            Call::Rank(rank) => Function::Rank(rank_plan(rank, input.schema())?),
        };
        let columns = match &function {
            Function::Model(plan) => plan.output()?,
            Function::Rank(plan) => plan.output(),
        };
        let relation = TableReference::bare(name);
        let own = columns.fields().iter().skip(input.schema().fields().len());
        check_names(input.schema(), own.clone(), &call)?;
        let of_input = input.schema().iter().map(|(relation, field)| (relation.cloned(), field.clone()));
        let fields = of_input.chain(own.map(|field| (Some(relation.clone()), field.clone()))).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { input: Arc::new(input), function, call, name: name.to_owned(), schema })
    }

    /// The plan of the cursor.
    pub(in crate::plan) fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// The node behind `plan`, if it is a table function.
    pub(in crate::plan) fn of(plan: &LogicalPlan) -> Option<&TableFunction> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }
}

/// Fails if the cursor has a column that the function adds.
fn check_names<'a>(cursor: &DFSchema, mut own: impl Iterator<Item = &'a FieldRef>, call: &Call) -> Result<()> {
    let is_taken = |field: &&FieldRef| cursor.fields().iter().any(|of_cursor| of_cursor.name() == field.name());
    let Some(name) = own.find(is_taken).map(|field| field.name()) else { return Ok(()) };
    let (span, hint) = match call {
        Call::Model { span, .. } => (*span, format!("Give it another name in the cursor: SELECT STREAM …, {name} AS {name}_1.")),
        Call::Rank(rank) => {
            (rank.rank_column.as_ref().map_or(rank.span, |(_, span)| *span), "Give the rank another name.".to_owned())
        }
    };
    let error = plan_err!("the cursor already has a column {name}");
    error.map_err(|error| at(error, span, Some(hint)))
}

fn at(error: DataFusionError, span: Span, hint: Option<String>) -> DataFusionError {
    let location = |position: crate::diagnostic::Position| Location { line: position.line, column: position.column };
    let span = PlanSpan::new(location(span.start), location(span.end));
    let mut diagnostic = Diagnostic::new_error(error.message().into_owned(), Some(span));
    if let Some(hint) = hint {
        diagnostic.add_help(hint, None);
    }
    error.with_diagnostic(diagnostic)
}

/// Place of a column of the cursor.
fn column(name: &str, span: Span, cursor: &DFSchema) -> Result<usize> {
    let names = || cursor.fields().iter().map(|field| field.name().as_str()).filter(|name| *name != ROWTIME);
    match cursor.fields().iter().position(|field| field.name() == name && name != ROWTIME) {
        Some(place) => Ok(place),
        None => {
            let columns = names().collect::<Vec<_>>().join(", ");
            let error = plan_err!("column \"{name}\" does not exist in the cursor, whose columns are {columns}");
            error.map_err(|error| at(error, span, None))
        }
    }
}

fn partition_options(partition: &Partition, cursor: &DFSchema) -> Result<PartitionOptions> {
    let keys = partition.keys.iter().map(|(name, span)| column(name, *span, cursor)).collect::<Result<_>>()?;
    let idle_ms = match (partition.idle_ms, rowtime(cursor)) {
        (Some(ms), Some(rowtime)) => Some((rowtime, ms)),
        _ => None,
    };
    Ok(PartitionOptions { keys, models_max: partition.models_max, idle_ms })
}

fn rank_plan(rank: &Rank, cursor: &DFSchema) -> Result<GroupRankPlan> {
    let rank_by = rank.by.iter().map(|(name, options)| Ok((column(name, rank.span, cursor)?, *options)));
    let Some(rowtime) = rowtime(cursor) else { return plan_err!("the cursor has no ROWTIME") };
    Ok(GroupRankPlan {
        rank_by: rank_by.collect::<Result<_>>()?,
        descending: rank.descending,
        rows_max: rank.rows_max,
        idle_ms_max: rank.idle_ms_max,
        rank_column: rank.rank_column.as_ref().map(|(name, _)| name.clone()),
        rowtime,
        input: without_metadata(cursor.as_arrow()),
    })
}

fn rowtime(cursor: &DFSchema) -> Option<usize> {
    cursor.fields().iter().position(|field| field.name() == ROWTIME)
}

impl PartialEq for TableFunction {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input && self.call == other.call && self.name == other.name
    }
}

impl Eq for TableFunction {}

impl Hash for TableFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.name).hash(state);
    }
}

impl PartialOrd for TableFunction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for TableFunction {
    fn name(&self) -> &str {
        "TableFunction"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TableFunction: {:?}", self.call)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.pop()) {
            (Some(input), None) => Self::try_new(input, self.call.clone(), &self.name),
            _ => plan_err!("a table function has one cursor"),
        }
    }

    /// A function sees all columns of its cursor, whoever reads its output.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// Plans the cursors that [`super::prepare_table_functions`] has named.
#[derive(Debug)]
pub(in crate::plan) struct TableFunctionPlanner(pub(in crate::plan) TableFunctions);

impl RelationPlanner for TableFunctionPlanner {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let call = match &relation {
            TableFactor::Derived { alias: Some(alias), .. } => self.0.get(&alias.name.value).cloned(),
            _ => None,
        };
        match (call, relation) {
            (Some(call), TableFactor::Derived { lateral, subquery, alias: Some(alias), sample }) => {
                let cursor = context.plan(TableFactor::Derived { lateral, subquery, alias: None, sample })?;
                let cursor = SubqueryAlias::try_new(Arc::new(cursor), TableReference::bare(alias.name.value.as_str()))?;
                let node = TableFunction::try_new(LogicalPlan::SubqueryAlias(cursor), call, &alias.name.value)?;
                let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
            }
            (_, relation) => Ok(RelationPlanning::Original(Box::new(relation))),
        }
    }
}
