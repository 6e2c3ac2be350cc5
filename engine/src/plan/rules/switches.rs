//! Functions as the engine's switches want them (kda-sql-reference.md §8.6; `crate::settings`).

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use kinesql_udfs::scalar::{char_to, to_char};

use crate::settings::Settings;

/// Puts other variants of functions in the place of those that a switch concerns.
pub fn apply(plan: LogicalPlan, settings: &Settings) -> Result<LogicalPlan> {
    if !(settings.tsdiff_is_swapped() || settings.cuts_fractions() || settings.to_char_keeps_null()) {
        return Ok(plan);
    }
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let switched = expr.transform_up(|expr| match expr {
                Expr::ScalarFunction(call) => Ok(switched(call, settings).update_data(Expr::ScalarFunction)),
                expr => Ok(Transformed::no(expr)),
            })?;
            Ok(switched.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(rewritten.data)
}

fn switched(call: ScalarFunction, settings: &Settings) -> Transformed<ScalarFunction> {
    let ScalarFunction { func, mut args } = call;
    if settings.tsdiff_is_swapped() && func.name() == "tsdiff" {
        args.reverse();
        return Transformed::yes(ScalarFunction { func, args });
    }
    let cutting = if settings.cuts_fractions() { char_to::cutting_fractions(&func) } else { None };
    let variant = cutting.or_else(|| if settings.to_char_keeps_null() { to_char::keeping_null(&func) } else { None });
    match variant {
        Some(func) => Transformed::yes(ScalarFunction { func, args }),
        None => Transformed::no(ScalarFunction { func, args }),
    }
}
