//! The join of two streams as a logical node, and how DataFusion's planner comes to it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, Result, TableReference, plan_err};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore, build_join_schema, lit};
use sqlparser::ast::{JoinConstraint, JoinOperator, TableFactor};

use super::prepare::{JoinSpec, StreamJoins};
use crate::types::{ROWTIME, SqlType};

/// Two streams, joined. Columns: the ROWTIME of the joined row under the join's name, the left columns, the right ones.
#[derive(Debug, Clone)]
pub(in crate::plan) struct StreamJoin {
    pub(super) left: Arc<LogicalPlan>,
    pub(super) right: Arc<LogicalPlan>,
    pub(super) condition: Expr,
    pub(super) join_type: JoinType,
    pub(super) spec: JoinSpec,
    name: String,
    schema: DFSchemaRef,
}

impl StreamJoin {
    fn try_new(
        left: LogicalPlan,
        right: LogicalPlan,
        condition: Expr,
        join_type: JoinType,
        spec: JoinSpec,
        name: &str,
    ) -> Result<Self> {
        let columns = build_join_schema(left.schema(), right.schema(), &join_type)?;
        let rowtime = (Some(TableReference::bare(name)), SqlType::Timestamp.field(ROWTIME, false));
        let fields = std::iter::once(rowtime);
        let fields = fields.chain(columns.iter().map(|(relation, field)| (relation.cloned(), field.clone())));
        let schema = Arc::new(DFSchema::new_with_metadata(fields.collect(), Default::default())?);
        let (left, right, name) = (Arc::new(left), Arc::new(right), name.to_owned());
        Ok(Self { left, right, condition, join_type, spec, name, schema })
    }

    /// The node behind `plan`, if it is a join of streams.
    pub(in crate::plan) fn of(plan: &LogicalPlan) -> Option<&StreamJoin> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// True for the column that is the ROWTIME of the joined rows.
    pub(in crate::plan) fn is_rowtime(&self, column: &Column) -> bool {
        column.name == ROWTIME && column.relation.as_ref().is_some_and(|relation| relation.table() == self.name)
    }

    /// The join of other inputs with the same columns.
    pub(super) fn with_inputs(&self, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
        let node = self.with_exprs_and_inputs(vec![self.condition.clone()], vec![left, right])?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The join with another condition.
    pub(super) fn with_condition(&self, condition: Expr) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Self { condition, ..self.clone() }) })
    }
}

impl PartialEq for StreamJoin {
    fn eq(&self, other: &Self) -> bool {
        let of = |join: &Self| (join.left.clone(), join.right.clone(), join.condition.clone(), join.join_type, join.name.clone());
        of(self) == of(other)
    }
}

impl Eq for StreamJoin {}

impl Hash for StreamJoin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.left, &self.right, &self.condition, &self.join_type, &self.name).hash(state);
    }
}

impl PartialOrd for StreamJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for StreamJoin {
    fn name(&self) -> &str {
        "StreamJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.condition.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StreamJoin: {} {}", self.join_type, self.condition)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let ([condition], [left, right]) = (exprs.as_slice(), inputs.as_slice()) else {
            return plan_err!("a join of streams has one condition and two inputs");
        };
        Self::try_new(left.clone(), right.clone(), condition.clone(), self.join_type, self.spec.clone(), &self.name)
    }

    /// Rows are processed by their ROWTIME, so each side needs its own, whether it is in the output or not.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let (mut left, mut right) = (vec![rowtime_of(self.left.schema())?], vec![rowtime_of(self.right.schema())?]);
        for column in output_columns.iter().filter_map(|column| column.checked_sub(1)) {
            if column < width { left.push(column) } else { right.push(column - width) }
        }
        Some(vec![left, right])
    }
}

/// Place of ROWTIME among the columns of a side: the first column of the name, tables have none.
pub(super) fn rowtime_of(schema: &DFSchema) -> Option<usize> {
    schema.fields().iter().position(|field| field.name() == ROWTIME)
}

/// Plans the relations that [`super::prepare_joins`] has named.
#[derive(Debug)]
pub(in crate::plan) struct JoinPlanner(pub(in crate::plan) StreamJoins);

impl RelationPlanner for JoinPlanner {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let (table, name, spec) = match relation {
            TableFactor::NestedJoin { table_with_joins, alias: Some(alias) } => match self.0.get(&alias.name.value) {
                Some(spec) => (*table_with_joins, alias.name.value, spec.clone()),
                None => {
                    let original = TableFactor::NestedJoin { table_with_joins, alias: Some(alias) };
                    return Ok(RelationPlanning::Original(Box::new(original)));
                }
            },
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let Some(join) = table.joins.into_iter().next() else { return plan_err!("a join of streams has two sides") };
        let (left, right) = (context.plan(table.relation)?, context.plan(join.relation)?);
        let (join_type, constraint) = match join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) | JoinOperator::CrossJoin(constraint) => {
                (JoinType::Inner, constraint)
            }
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinType::Left, constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (JoinType::Right, constraint),
            JoinOperator::FullOuter(constraint) => (JoinType::Full, constraint),
            other => return plan_err!("{other:?} is no join of streams"),
        };
        let both = left.schema().join(right.schema())?;
        let condition = match constraint {
            JoinConstraint::On(condition) => context.sql_to_expr(condition, &both)?,
            _ => lit(true),
        };
        let node = StreamJoin::try_new(left, right, condition, join_type, spec, &name)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}
