//! Joins as operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, JoinType};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{Expr, Join, UserDefinedLogicalNodeCore, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use super::conditions::split_keys;
use super::node::{StreamJoin, rowtime_of};
use super::reference::Reference;
use crate::diagnostic::Diagnostic;
use crate::operator::join_side::JoinInput;
use crate::operator::lookup_join::{LookupKind, LookupPlan, LookupTable};
use crate::operator::pair_filter::{PairFilter, Side};
use crate::operator::window_join::WindowJoinPlan;
use crate::plan::explain_error::plain_message;
use crate::plan::expr_text::text;
use crate::plan::physical::{OperatorSpec, PlanNode, physical, plan_operators, without_metadata};
use crate::plan::planner_words::{NO_CONDITION, with_sql_types};

/// Plans the join of a stream with a table.
pub(in crate::plan) fn plan_lookup_join(join: &Join, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    let (stream, table, reference) = match (Reference::of(&join.left), Reference::of(&join.right)) {
        (None, Some(reference)) => (Side::Left, Side::Right, reference),
        (Some(reference), None) => (Side::Right, Side::Left, reference),
        _ => return Err(Diagnostic::error("a join here is not one of a stream and a table")),
    };
    let (kind, word) = match (join.join_type, stream) {
        (JoinType::Inner, _) => (LookupKind::Inner, ""),
        (JoinType::Left, Side::Left) | (JoinType::Right, Side::Right) => (LookupKind::Outer, "outer, "),
        (JoinType::LeftSemi, Side::Left) => (LookupKind::Semi, "any, "),
        (JoinType::LeftAnti, Side::Left) => (LookupKind::Anti { null_aware: join.null_aware }, "none, "),
        (JoinType::LeftMark, Side::Left) => (LookupKind::Mark, "whether, "),
        (other, _) => return Err(Diagnostic::error(format!("a {other} join of a stream and a table is not possible"))),
    };
    let input = if stream == Side::Left { &join.left } else { &join.right };
    let keys = |side: Side| {
        let schema = if side == Side::Left { join.left.schema() } else { join.right.schema() };
        let exprs = join.on.iter().map(|(left, right)| if side == Side::Left { left } else { right });
        exprs.map(|expr| physical(expr, schema, props)).collect::<Result<Vec<_>, _>>()
    };
    let filter = match &join.filter {
        Some(filter) => Some(pair_filter(filter, join.left.schema(), join.right.schema(), props)?),
        None => None,
    };
    let table = LookupTable::new(reference.rows.as_ref().clone(), keys(table)?, reference.origin.clone());
    let schema = without_metadata(join.schema.as_arrow());
    let plan = LookupPlan { keys: keys(stream)?, table, stream, filter, kind, schema };
    let text = format!("{word}{}{}", reference.tables, conditions(&join.on, join.filter.as_ref()));
    let operator = OperatorSpec::LookupJoin { plan: Box::new(plan), text };
    Ok(PlanNode::Unary { input: Box::new(plan_operators(input, props)?), operator })
}

/// Plans the join of two streams.
pub(in crate::plan) fn plan_window_join(join: &StreamJoin, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    let internal = |error: datafusion::error::DataFusionError| Diagnostic::error(plain_message(&error));
    let (left, right) = (join.left.schema(), join.right.schema());
    let (on, rest) = split_keys(join.condition.clone(), left, right).map_err(internal)?;
    // Without a condition it is TRUE.
    let rest = rest.filter(|rest| *rest != lit(true));
    let filter = rest.as_ref().map(|rest| pair_filter(rest, left, right, props)).transpose()?;
    let input = |side: Side| {
        let (plan, keep, end) = match side {
            Side::Left => (&join.left, join.spec.keep.0, &join.ends.0),
            Side::Right => (&join.right, join.spec.keep.1, &join.ends.1),
        };
        let end = end.as_ref().map(|end| physical(end, plan.schema(), props)).transpose()?;
        let exprs = on.iter().map(|(left, right)| if side == Side::Left { left } else { right });
        let keys = exprs.map(|expr| physical(expr, plan.schema(), props)).collect::<Result<Vec<_>, _>>()?;
        let node = plan_operators(plan, props)?;
        let rowtime = rowtime_of(plan.schema()).ok_or_else(|| Diagnostic::error("a joined stream has no ROWTIME"))?;
        let preserved = match side {
            Side::Left => matches!(join.join_type, JoinType::Left | JoinType::Full),
            Side::Right => matches!(join.join_type, JoinType::Right | JoinType::Full),
        };
        Ok((JoinInput { schema: node.schema(), rowtime, keys, keep, end, preserved }, Box::new(node)))
    };
    let ((left, left_node), (right, right_node)) = (input(Side::Left)?, input(Side::Right)?);
    let kind = match join.join_type {
        JoinType::Inner => "",
        JoinType::Left => "left, ",
        JoinType::Right => "right, ",
        _ => "full, ",
    };
    let text = format!("{kind}{}{}", join.spec.text, conditions(&on, rest.as_ref()));
    let schema = without_metadata(UserDefinedLogicalNodeCore::schema(join).as_arrow());
    let plan = Box::new(WindowJoinPlan { left, right, filter, schema });
    Ok(PlanNode::Join { left: left_node, right: right_node, plan, text })
}

/// A condition over both sides that is no key.
pub(super) fn pair_filter(
    condition: &Expr,
    left: &DFSchema,
    right: &DFSchema,
    props: &ExecutionProps,
) -> Result<PairFilter, Diagnostic> {
    let internal = |error: datafusion::error::DataFusionError| Diagnostic::error(plain_message(&error));
    let both = left.join(right).map_err(internal)?;
    let predicate = physical(condition, &both, props)?;
    let data_type = predicate.data_type(both.as_arrow()).map_err(internal)?;
    if !matches!(data_type, DataType::Boolean | DataType::Null) {
        let problem = Diagnostic::error(format!("{NO_CONDITION}this is {}", with_sql_types(&data_type.to_string())));
        return Err(problem.hint("Compare it with a value."));
    }
    // Only the columns that the condition reads are gathered for it.
    let mut places = BTreeMap::new();
    for column in datafusion::physical_expr::utils::collect_columns(&predicate) {
        places.insert(column.index(), 0);
    }
    places.values_mut().enumerate().for_each(|(i, place)| *place = i);
    let moved = predicate.transform_up(|node: Arc<dyn PhysicalExpr>| {
        Ok(match node.downcast_ref::<Column>() {
            Some(column) => {
                Transformed::yes(Arc::new(Column::new(column.name(), places[&column.index()])) as Arc<dyn PhysicalExpr>)
            }
            None => Transformed::no(node),
        })
    });
    let width = left.fields().len();
    let side = |index: usize| if index < width { (Side::Left, index) } else { (Side::Right, index - width) };
    // An outer join makes columns nullable that were not.
    let field = |index: &usize| both.field(*index).as_ref().clone().with_nullable(true);
    Ok(PairFilter {
        predicate: moved.map_err(internal)?.data,
        columns: places.keys().map(|index| side(*index)).collect(),
        schema: Arc::new(Schema::new(places.keys().map(field).collect::<Vec<_>>())),
    })
}

/// ` on a = b; if c`, or nothing.
pub(super) fn conditions(on: &[(Expr, Expr)], filter: Option<&Expr>) -> String {
    let mut out = String::new();
    if !on.is_empty() {
        out += &format!(
            " on {}",
            on.iter().map(|(left, right)| format!("{} = {}", text(left), text(right))).collect::<Vec<_>>().join(", ")
        );
    }
    if let Some(filter) = filter {
        out += &format!(" if {}", text(filter));
    }
    out
}
