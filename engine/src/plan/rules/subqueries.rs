//! Subqueries in expressions become joins with tables: `x IN (SELECT …)`, `EXISTS (SELECT …)` and queries of one value
//! (kda-sql-reference.md §1.9, §2.5).
//!
//! DataFusion's rules do it: IN and EXISTS ask only whether a row has a match, a value is joined to every row.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::{Optimizer, OptimizerContext};

/// Applies the rules to a plan that has subqueries; run it after type coercion.
pub fn apply(plan: LogicalPlan, config: &ConfigOptions, now: DateTime<Utc>) -> Result<LogicalPlan> {
    let mut problem = None;
    if !has_subquery(&plan, &mut problem)? {
        return Ok(plan);
    }
    if let Some(problem) = problem {
        return plan_err!("{problem}");
    }
    let mut config = config.clone();
    // What is computed beside the plan would have no operator.
    config.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let context = OptimizerContext::new_with_config_options(Arc::new(config)).with_query_execution_start_time(now);
    let rules = Optimizer::with_rules(vec![Arc::new(DecorrelatePredicateSubquery::new()), Arc::new(ScalarSubqueryToJoin::new())]);
    let plan = rules.optimize(plan, &context, |_, _| {})?;
    if has_subquery(&plan, &mut None)? {
        return plan_err!("IN and EXISTS with a subquery are for WHERE, where AND and OR may join them with other conditions");
    }
    Ok(plan)
}

/// True if an expression has a subquery; `problem` is what is wrong with one.
fn has_subquery(plan: &LogicalPlan, problem: &mut Option<String>) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= matches!(expr, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_));
                if let Expr::ScalarSubquery(subquery) = expr
                    && subquery.subquery.max_rows().is_none_or(|rows| rows > 1)
                {
                    problem.get_or_insert_with(|| {
                        "a subquery that stands for a value has to give one row: select an aggregate, such as MAX".to_owned()
                    });
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}
