//! CAST by KDA's rules: rounding, forms of time, lengths of text (kda-sql-reference.md §1.8).
//!
//! The rule puts the function `kda_cast` in place of every CAST of the query that DataFusion would do differently. Casts
//! between DATE and TIMESTAMP stay what they are: they are the same, and monotonicity is known of them.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use kinesql_udfs::scalar::kda_cast;

use crate::plan::named_cast::unnamed;
use crate::types::SqlType;

/// Applies the rule; run it before type coercion, whose casts are not the query's.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up(|node| {
        // The condition of a join reads both inputs.
        let inputs = node.inputs().into_iter().map(|input| input.schema().as_ref().clone());
        let Some(schema) = inputs.reduce(|mut all, schema| {
            all.merge(&schema);
            all
        }) else {
            return Ok(Transformed::no(node));
        };
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| match expr {
                Expr::Cast(Cast { expr, field }) => match SqlType::of_field(&field) {
                    Some(target) if !(is_day(&expr.get_type(&schema)?) && is_day(&target.data_type())) => {
                        Ok(Transformed::yes(kda_cast::udf(target).call(vec![*expr])))
                    }
                    _ => Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
                },
                expr => Ok(match unnamed(expr) {
                    Ok(cast) => Transformed::yes(cast),
                    Err(expr) => Transformed::no(expr),
                }),
            })?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(rewritten.data)
}

fn is_day(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}
