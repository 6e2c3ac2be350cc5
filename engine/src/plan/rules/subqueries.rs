//! Subqueries in expressions become joins with tables: `x IN (SELECT …)`, `EXISTS (SELECT …)` and queries of one value
//! (kda-sql-reference.md §1.9, §2.5).
//!
//! DataFusion's rules do it: IN and EXISTS ask only whether a row has a match, a value is joined to every row.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::expr::{SetComparison, SetQuantifier};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::{Optimizer, OptimizerContext};

use crate::plan::operators::error_at;

/// Applies the rules to a plan that has subqueries; run it after type coercion.
pub fn apply(plan: LogicalPlan, config: &ConfigOptions, now: DateTime<Utc>) -> Result<LogicalPlan> {
    let mut problem = None;
    if !has_subquery(&plan, &mut problem)? {
        return Ok(plan);
    }
    if let Some(problem) = problem {
        return Err(problem);
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
fn has_subquery(plan: &LogicalPlan, problem: &mut Option<DataFusionError>) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= matches!(expr, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_));
                if let Some(wrong) = wrong(expr) {
                    problem.get_or_insert(wrong);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

fn wrong(expr: &Expr) -> Option<DataFusionError> {
    match expr {
        Expr::ScalarSubquery(subquery) if subquery.subquery.max_rows().is_none_or(|rows| rows > 1) => {
            let message = "a subquery that stands for a value has to give one row: select an aggregate, such as MAX";
            Some(DataFusionError::Plan(message.to_owned()))
        }
        Expr::SetComparison(SetComparison { expr, op, quantifier, .. }) => {
            let hint = match (op, quantifier) {
                (Operator::Eq, SetQuantifier::Any) => "Write x IN (SELECT …).",
                (Operator::NotEq, SetQuantifier::All) => "Write x NOT IN (SELECT …).",
                _ => "Compare with one value, such as x > (SELECT MAX(…) FROM …), or write EXISTS (SELECT … WHERE …).",
            };
            let quantifier = if *quantifier == SetQuantifier::Any { "ANY" } else { "ALL" };
            Some(error_at(format!("{op} {quantifier} (SELECT …) is not supported in a stream query"), hint, &[expr]))
        }
        _ => None,
    }
}
