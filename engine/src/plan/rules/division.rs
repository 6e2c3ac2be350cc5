//! `a / b` of exact numbers one of which is a DECIMAL has KDA's digits (kda-sql-reference.md §1.7): DataFusion gives it four
//! more than `a` has.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use kinesql_udfs::scalar::decimal_divide;

use arrow::datatypes::DataType;

/// Applies the rule; run it once literals have their types and before type coercion.
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
            Ok(expr.transform_up(|expr| divide(expr, &schema))?.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(rewritten.data)
}

fn divide(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) = &expr else { return Ok(Transformed::no(expr)) };
    let (one, other) = (left.get_type(schema)?, right.get_type(schema)?);
    let is_decimal = |data_type: &DataType| matches!(data_type, DataType::Decimal128(..));
    let is_exact = |data_type: &DataType| is_decimal(data_type) || data_type.is_signed_integer();
    if !is_exact(&one) || !is_exact(&other) || !(is_decimal(&one) || is_decimal(&other)) {
        return Ok(Transformed::no(expr));
    }
    Ok(Transformed::yes(decimal_divide::udf().call(vec![left.as_ref().clone(), right.as_ref().clone()])))
}
