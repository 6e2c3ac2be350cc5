//! Numbers in the query's text: a whole number is an INTEGER if it fits, else a BIGINT (kda-sql-reference.md §1.4), and
//! arithmetic of constants is done once, with the overflow that DataFusion's own folding would let wrap around.

use arrow::datatypes::Schema;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, Volatility};
use std::sync::Arc;

use crate::plan::expr_text::text;
use crate::plan::physical::physical;

/// Gives whole numbers their type; run it on the plan as it was written. Rows of VALUES have one type per column already.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    map_expressions(plan, |node| !matches!(node, LogicalPlan::Values(_)), |expr| Ok(narrow(expr)))
}

/// A whole number with its type; anything else as it is.
pub(super) fn narrow(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(value) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(value)), metadata)),
            Err(_) => Transformed::no(Expr::Literal(ScalarValue::Int64(Some(value)), metadata)),
        },
        expr => Transformed::no(expr),
    }
}

/// Computes arithmetic of constants; run it after type coercion. Fails for an overflow, also in a branch of a CASE that no row may reach:
/// folded by DataFusion it would wrap around.
pub fn fold(plan: LogicalPlan) -> Result<LogicalPlan> {
    map_expressions(
        plan,
        |_| true,
        |expr| match expr {
            Expr::BinaryExpr(BinaryExpr { op, .. }) if is_arithmetic(op) && is_constant(&expr)? && is_number(&expr) => {
                let written = as_written(&expr);
                // What cannot be computed is refused where the whole query becomes operators.
                let Ok(computed) = physical(&simplified(expr.clone())?, &DFSchema::empty(), &ExecutionProps::new()) else {
                    return Ok(Transformed::no(expr));
                };
                let row = RecordBatchOptions::new().with_row_count(Some(1));
                let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &row)?;
                match computed.evaluate(&row) {
                    Ok(ColumnarValue::Scalar(value)) => Ok(Transformed::yes(Expr::Literal(value, None))),
                    Ok(ColumnarValue::Array(values)) => {
                        Ok(Transformed::yes(Expr::Literal(ScalarValue::try_from_array(&values, 0)?, None)))
                    }
                    Err(error) if error.to_string().contains("verflow") => plan_err!("{written} exceeds the range of its type"),
                    // Whatever else is wrong is so for the rows that get there only, such as a division by zero in a CASE.
                    Err(_) => Ok(Transformed::no(expr)),
                }
            }
            expr => Ok(Transformed::no(expr)),
        },
    )
}

/// Without functions that are computed as something else, as COALESCE is as a CASE.
fn simplified(expr: Expr) -> Result<Expr> {
    let computed = expr.transform_up(|node| match node {
        Expr::ScalarFunction(ScalarFunction { func, args }) => Ok(match func.simplify(args, &SimplifyContext::default())? {
            ExprSimplifyResult::Simplified(other) => Transformed::yes(simplified(other)?),
            ExprSimplifyResult::Original(args) => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
        }),
        node => Ok(Transformed::no(node)),
    });
    Ok(computed?.data)
}

fn is_arithmetic(op: Operator) -> bool {
    matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo)
}

/// True if the expression reads no row and has one value for all of them.
fn is_constant(expr: &Expr) -> Result<bool> {
    let mut constant = true;
    expr.apply(|node| {
        constant &= match node {
            Expr::Literal(..) | Expr::Cast(_) | Expr::Negative(_) | Expr::BinaryExpr(_) | Expr::Case(_) => true,
            Expr::ScalarFunction(function) => function.func.signature().volatility == Volatility::Immutable,
            _ => false,
        };
        Ok(if constant { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(constant)
}

/// The text of an expression, without the casts that type coercion has put in; those of the query are functions by now.
fn as_written(expr: &Expr) -> String {
    let stripped = expr.clone().transform_up(|node| {
        Ok(match node {
            Expr::Cast(cast) => Transformed::yes(*cast.expr),
            node => Transformed::no(node),
        })
    });
    // The visitor never fails.
    text(&stripped.map_or_else(|_| expr.clone(), |stripped| stripped.data))
}

/// True for arithmetic of numbers; that of times and intervals is DataFusion's.
fn is_number(expr: &Expr) -> bool {
    expr.get_type(&DFSchema::empty()).is_ok_and(|data_type| data_type.is_numeric())
}

/// Rewrites all expressions of the nodes in `scope` from the leaves up; the columns keep their names.
fn map_expressions(
    plan: LogicalPlan,
    scope: impl Fn(&LogicalPlan) -> bool,
    mut rewrite: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        if !scope(&node) {
            return Ok(Transformed::no(node));
        }
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(&mut rewrite)?.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(rewritten.data)
}
