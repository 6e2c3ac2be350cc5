//! The columns that ORDER BY alone names: DataFusion's planner adds them to the select list in no certain order, and a job that is
//! restored has to have the plan that it had before.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{LogicalPlan, Projection, Sort};

/// Puts them in the order of their names; run it on the plan as it was written.
pub(super) fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let ordered = plan.transform_up_with_subqueries(|node| {
        Ok(match ordered(&node)? {
            Some(ordered) => Transformed::yes(ordered),
            None => Transformed::no(node),
        })
    })?;
    Ok(ordered.data)
}

fn ordered(node: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Projection(listed) = node else { return Ok(None) };
    let LogicalPlan::Sort(sort) = listed.input.as_ref() else { return Ok(None) };
    let LogicalPlan::Projection(sorted) = sort.input.as_ref() else { return Ok(None) };
    let mut items = sorted.expr.clone();
    let Some(added @ [_, _, ..]) = items.get_mut(listed.expr.len()..) else { return Ok(None) };
    added.sort_by_key(|item| item.schema_name().to_string());
    let sorted = Projection::try_new(items, Arc::clone(&sorted.input))?;
    let sort = Sort { input: Arc::new(LogicalPlan::Projection(sorted)), ..sort.clone() };
    let listed = Projection::try_new(listed.expr.clone(), Arc::new(LogicalPlan::Sort(sort)))?;
    Ok(Some(LogicalPlan::Projection(listed)))
}
