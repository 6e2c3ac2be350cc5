//! Equalities become keys: `FROM s, t WHERE s.a = t.b` and `ON s.a = t.b AND …` are joined by hash.
//!
//! A condition of WHERE moves into the join whose two sides it compares, if that changes no result: into inner joins, and
//! through the side that an outer join keeps. What concerns a stream alone filters it before it is joined.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, JoinType, Result};
use datafusion::logical_expr::utils::{conjunction, find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator};

use super::node::StreamJoin;
use super::reference::reads_any;
use crate::operator::join_side::Keep;
use crate::plan::query::StreamSchemas;

/// Applies the rule to every join of `plan`; run it after type coercion, so that both sides of a key have one type.
pub(in crate::plan) fn find_keys(plan: LogicalPlan, streams: &StreamSchemas) -> Result<LogicalPlan> {
    let sunk = plan.transform_down(|node| match node {
        LogicalPlan::Filter(filter) if is_join(&filter.input) => {
            let mut input = Arc::unwrap_or_clone(filter.input);
            let mut kept = Vec::new();
            for condition in split_conjunction_owned(filter.predicate) {
                kept.extend(sink(condition, &mut input, streams)?);
            }
            Ok(Transformed::yes(match conjunction(kept) {
                Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?),
                None => input,
            }))
        }
        node => Ok(Transformed::no(node)),
    })?;
    let keyed = sunk.data.transform_up(|node| match node {
        LogicalPlan::Join(join) => Ok(Transformed::yes(LogicalPlan::Join(with_keys(join)?))),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(keyed.data)
}

fn is_join(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(_)) || StreamJoin::of(plan).is_some()
}

/// Moves `condition` into `plan`; gives it back if it has to stay above.
fn sink(condition: Expr, plan: &mut LogicalPlan, streams: &StreamSchemas) -> Result<Option<Expr>> {
    let reads = |schema: &DFSchema| condition.column_refs().into_iter().any(|column| schema.has_column(column));
    if let Some(join) = StreamJoin::of(plan) {
        let (left, right) = (join.left.schema(), join.right.schema());
        // A window of rows counts the rows that the condition would drop, too.
        let by_time = |keep: Keep| matches!(keep, Keep::For(_));
        let replaced = match (reads(left), reads(right), join.join_type) {
            (true, true, JoinType::Inner) => join.with_condition(join.condition.clone().and(condition)),
            (true, false, JoinType::Inner | JoinType::Left) if by_time(join.spec.keep.0) => {
                join.with_inputs(filtered(condition, &join.left)?, join.right.as_ref().clone())?
            }
            (false, true, JoinType::Inner | JoinType::Right) if by_time(join.spec.keep.1) => {
                join.with_inputs(join.left.as_ref().clone(), filtered(condition, &join.right)?)?
            }
            _ => return Ok(Some(condition)),
        };
        *plan = replaced;
        return Ok(None);
    }
    let LogicalPlan::Join(join) = plan else { return Ok(Some(condition)) };
    match (reads(join.left.schema()), reads(join.right.schema()), join.join_type) {
        (true, true, JoinType::Inner) => {
            join.filter = conjunction(join.filter.take().into_iter().chain([condition]));
            Ok(None)
        }
        (true, false, JoinType::Inner | JoinType::Left) => sink_below(condition, Arc::make_mut(&mut join.left), streams),
        (false, true, JoinType::Inner | JoinType::Right) => sink_below(condition, Arc::make_mut(&mut join.right), streams),
        _ => Ok(Some(condition)),
    }
}

/// Moves `condition` into a side of a join, or between the side and the join.
fn sink_below(condition: Expr, side: &mut LogicalPlan, streams: &StreamSchemas) -> Result<Option<Expr>> {
    let Some(condition) = sink(condition, side, streams)? else { return Ok(None) };
    // A condition that fails for a row of a table must not fail before a row of the stream needs it.
    if !reads_any(side, streams) {
        return Ok(Some(condition));
    }
    *side = filtered(condition, side)?;
    Ok(None)
}

fn filtered(condition: Expr, plan: &LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan.clone()))?))
}

/// Takes the equalities of both sides out of the filter.
fn with_keys(mut join: Join) -> Result<Join> {
    let Some(filter) = join.filter.take() else { return Ok(join) };
    let (on, filter) = split_keys(filter, join.left.schema(), join.right.schema())?;
    join.on.extend(on);
    join.filter = filter;
    Ok(join)
}

/// Pairs of expressions that must be equal, that of the left side first.
pub(super) type Keys = Vec<(Expr, Expr)>;

/// Divides a condition into keys and the rest.
pub(super) fn split_keys(condition: Expr, left: &DFSchema, right: &DFSchema) -> Result<(Keys, Option<Expr>)> {
    let (mut keys, mut rest) = (Vec::new(), Vec::new());
    for part in split_conjunction_owned(condition) {
        let pair = match &part {
            Expr::BinaryExpr(BinaryExpr { left: one, op: Operator::Eq, right: other }) => {
                find_valid_equijoin_key_pair(one, other, left, right)?
            }
            _ => None,
        };
        match pair {
            Some(pair) => keys.push(pair),
            None => rest.push(part),
        }
    }
    Ok((keys, conjunction(rest)))
}
