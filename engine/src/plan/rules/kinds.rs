//! Types that must go together outside of operators: BETWEEN, IN and CASE (kda-sql-reference.md §1.6, §8.2). DataFusion would
//! compare text with numbers by converting one of them, silently.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator};

use crate::plan::operators::{Kind, comparable, error_at};

/// Checks all expressions of `plan`; run it before type coercion.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let checked = plan.transform_up(|node| {
        // The condition of a join reads both inputs.
        let inputs = node.inputs().into_iter().map(|input| input.schema().as_ref().clone());
        let Some(schema) = inputs.reduce(|mut all, schema| {
            all.merge(&schema);
            all
        }) else {
            return Ok(Transformed::no(node));
        };
        if let LogicalPlan::Join(join) = &node {
            for (left, right) in &join.on {
                comparable(left.clone(), right.clone(), &schema)?;
            }
        }
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(|expr| check(expr, &schema))?.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(checked.data)
}

fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Between(Between { expr, negated, low, high }) => {
            let (_, low) = comparable(expr.as_ref().clone(), *low, schema)?;
            let (tested, high) = comparable(*expr, *high, schema)?;
            Transformed::yes(Expr::Between(Between { expr: Box::new(tested), negated, low: Box::new(low), high: Box::new(high) }))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let mut tested = expr.clone();
            let mut items = Vec::with_capacity(list.len());
            for item in list {
                let (one, other) = comparable(expr.as_ref().clone(), item, schema)?;
                // All items are compared with what one of them makes of it: CHAR without its blanks.
                if one != *expr {
                    *tested = one;
                }
                items.push(other);
            }
            Transformed::yes(Expr::InList(InList { expr: tested, list: items, negated }))
        }
        // The planner makes these itself, without asking for operators.
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::IsDistinctFrom | Operator::IsNotDistinctFrom), right }) => {
            let (left, right) = comparable(*left, *right, schema)?;
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::Case(mut case) => {
            if let Some(base) = &mut case.expr {
                let written = base.clone();
                for (when, _) in &mut case.when_then_expr {
                    let (one, other) = comparable(written.as_ref().clone(), std::mem::take(when.as_mut()), schema)?;
                    if one != *written {
                        **base = one;
                    }
                    **when = other;
                }
            }
            check_results(&case, schema)?;
            Transformed::yes(Expr::Case(case))
        }
        expr => Transformed::no(expr),
    })
}

/// The results of a CASE are of one kind.
fn check_results(case: &Case, schema: &DFSchema) -> Result<()> {
    let results = case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
    let mut first: Option<(Kind, &Expr)> = None;
    for result in results {
        let Some(kind) = Kind::of(&result.get_type(schema)?) else { continue };
        match first {
            Some((known, expr)) if known != kind => {
                let hint = "Convert one of them: CAST(… AS …).";
                return Err(error_at(format!("the results of CASE are {known} and {kind}"), hint, &[result, expr]));
            }
            Some(_) => {}
            None => first = Some((kind, result)),
        }
    }
    Ok(())
}
