//! The join of two streams as a logical node, and how DataFusion's planner comes to it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, Result, ScalarValue, TableReference, plan_err};
use datafusion::functions::core::expr_fn::{greatest, least};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore, build_join_schema, lit};
use sqlparser::ast::{JoinConstraint, JoinOperator, TableFactor};

use super::prepare::{StreamJoins, is_stream_join};
use super::spec::{JoinSpec, Several};
use crate::types::{ROWTIME, SqlType};

/// Two streams, joined. Columns: the ROWTIME of the joined row under the join's name, the left columns, the right ones.
#[derive(Debug, Clone)]
pub(in crate::plan) struct StreamJoin {
    pub(super) left: Arc<LogicalPlan>,
    pub(super) right: Arc<LogicalPlan>,
    pub(super) condition: Expr,
    pub(super) join_type: JoinType,
    pub(super) spec: JoinSpec,
    /// Of a side that is kept without a match and made of several streams: the last time at which a row of it can be matched.
    pub(super) ends: (Option<Expr>, Option<Expr>),
    name: String,
    schema: DFSchemaRef,
}

impl StreamJoin {
    fn try_new(
        left: LogicalPlan,
        right: LogicalPlan,
        condition: Expr,
        ends: (Option<Expr>, Option<Expr>),
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
        Ok(Self { left, right, condition, ends, join_type, spec, name, schema })
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
        let node = self.with_exprs_and_inputs(self.expressions(), vec![left, right])?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The join with another condition.
    pub(super) fn with_condition(&self, condition: Expr) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Self { condition, ..self.clone() }) })
    }
}

impl PartialEq for StreamJoin {
    fn eq(&self, other: &Self) -> bool {
        #[allow(clippy::type_complexity, reason = "the fields in order, once")]
        fn of(join: &StreamJoin) -> (&LogicalPlan, &LogicalPlan, &Expr, &(Option<Expr>, Option<Expr>), JoinType, &str) {
            (&join.left, &join.right, &join.condition, &join.ends, join.join_type, &join.name)
        }
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
        [Some(&self.condition), self.ends.0.as_ref(), self.ends.1.as_ref()].into_iter().flatten().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StreamJoin: {} {}", self.join_type, self.condition)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let (Some(condition), [left, right]) = (exprs.next(), inputs.as_slice()) else {
            return plan_err!("a join of streams has a condition and two inputs");
        };
        let left_end = if self.ends.0.is_some() { exprs.next() } else { None };
        let ends = (left_end, exprs.next());
        Self::try_new(left.clone(), right.clone(), condition, ends, self.join_type, self.spec.clone(), &self.name)
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

/// The ROWTIMEs of the streams that a side is made of, in their order.
fn rowtimes_of(schema: &DFSchema) -> Vec<Expr> {
    let columns = (0..schema.fields().len()).map(|place| Column::from(schema.qualified_field(place)));
    let is_of_stream = |column: &Column| {
        column.name == ROWTIME && !column.relation.as_ref().is_some_and(|relation| is_stream_join(relation.table()))
    };
    columns.filter(is_of_stream).map(Expr::Column).collect()
}

fn after(time: &Expr, milliseconds: i64) -> Expr {
    match milliseconds {
        0 => time.clone(),
        ms => time.clone() + lit(ScalarValue::new_interval_mdn(0, 0, ms.saturating_mul(1_000_000))),
    }
}

/// TRUE if the rows of the streams of both sides can reach each other; one that is not there reaches all.
fn in_reach(lefts: &[Expr], rights: &[Expr], several: &Several) -> Expr {
    let mut all = lit(true);
    for (i, left) in lefts.iter().enumerate() {
        for (j, right) in rights.iter().enumerate() {
            let forward = right.clone().lt_eq(after(left, several.forward[j][i]));
            let backward = left.clone().lt_eq(after(right, several.backward[i][j]));
            all = all.and(forward.and(backward).is_not_false());
        }
    }
    all
}

/// The last time at which a row of a side can be matched, at least its own ROWTIME. None for the row of one stream: that is kept
/// for a fixed time.
fn end_of(side: &DFSchema, own: &[Expr], reaches: &[Vec<i64>], delay: i64) -> Option<Expr> {
    let least_of = |of_own: &Vec<i64>| least(own.iter().zip(of_own).map(|(time, ms)| after(time, *ms)).collect());
    let last = reaches.iter().map(least_of).map(|end| after(&end, delay));
    let rowtime = Expr::Column(Column::from(side.qualified_field(rowtime_of(side)?)));
    (own.len() > 1).then(|| greatest(last.chain([rowtime]).collect()))
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
        let (condition, ends) = match &spec.several {
            None => (condition, (None, None)),
            Some(several) => {
                let (lefts, rights) = (rowtimes_of(left.schema()), rowtimes_of(right.schema()));
                let keeps_left = matches!(join_type, JoinType::Left | JoinType::Full);
                let keeps_right = matches!(join_type, JoinType::Right | JoinType::Full);
                let of_left = keeps_left.then(|| end_of(left.schema(), &lefts, &several.forward, several.delays.1)).flatten();
                let of_right =
                    keeps_right.then(|| end_of(right.schema(), &rights, &several.backward, several.delays.0)).flatten();
                (condition.and(in_reach(&lefts, &rights, several)), (of_left, of_right))
            }
        };
        let node = StreamJoin::try_new(left, right, condition, ends, join_type, spec, &name)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}
