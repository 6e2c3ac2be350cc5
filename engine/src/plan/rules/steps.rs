//! The step of STEP (kda-sql-reference.md §4.2): a constant, once everything that can be computed has been.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Refuses a step that rows would have to give; run it on an optimised plan.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.func.name() == "step"
                    && call.args.get(1).is_some_and(|step| !matches!(step, Expr::Literal(..)))
                {
                    return plan_err!("the step of STEP must be a constant, such as INTERVAL '10' SECOND");
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}
