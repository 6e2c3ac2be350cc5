//! Subqueries in expressions become joins with tables: `x IN (SELECT …)`, `EXISTS (SELECT …)` and queries of one value
//! (kda-sql-reference.md §1.9, §2.5).
//!
//! DataFusion's rules do it: IN and EXISTS in a condition ask only whether a row has a match, a value is joined to every row.
//! In a select list IN and EXISTS are values. There they are counts first:
//!
//! | Written | Value |
//! | --- | --- |
//! | `EXISTS (q)` | `(SELECT COUNT(*) FROM q) > 0` |
//! | `x IN (SELECT c …)` | TRUE if a row has `c = x`; else NULL if one has `c IS NULL`, or `x` is NULL and there is a row; else FALSE |

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ExprSchema, Result, ScalarValue, Spans};
use datafusion::functions_aggregate::count::count_all;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit, when};
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
    let plan = in_select_lists(plan)?;
    let mut config = config.clone();
    // What is computed beside the plan would have no operator.
    config.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let context = OptimizerContext::new_with_config_options(Arc::new(config)).with_query_execution_start_time(now);
    let rules = Optimizer::with_rules(vec![Arc::new(DecorrelatePredicateSubquery::new()), Arc::new(ScalarSubqueryToJoin::new())]);
    let plan = rules.optimize(plan, &context, |_, _| {})?;
    if has_subquery(&plan, &mut None)? {
        let message = "a subquery is not allowed in an aggregate";
        let hint = "Compute it in a query in FROM, in parentheses, and refer to its column.";
        return Err(error_at(message, hint, &[]));
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

/// IN and EXISTS of select lists as values.
fn in_select_lists(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up(|node| {
        let LogicalPlan::Projection(projection) = &node else { return Ok(Transformed::no(node)) };
        let schema = projection.input.schema().clone();
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(|expr| as_value(expr, &schema))?.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(rewritten.data)
}

fn as_value(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Exists(Exists { subquery, negated }) => {
            let count = count_of(LogicalPlan::clone(&subquery.subquery))?;
            Transformed::yes(if negated { count.eq(lit(0i64)) } else { count.gt(lit(0i64)) })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let rows = LogicalPlan::clone(&subquery.subquery);
            let item = Expr::Column(Column::from(rows.schema().qualified_field(0)));
            let having = |condition: Expr| LogicalPlanBuilder::from(rows.clone()).filter(condition)?.build();
            let matching = count_of(having(item.clone().eq(seen_from_inside(expr.as_ref().clone(), schema)?))?)?;
            let missing = count_of(having(item.clone().is_null())?)?;
            let unknown = missing.gt(lit(0i64)).or(expr.is_null().and(count_of(rows.clone())?.gt(lit(0i64))));
            let value = when(matching.gt(lit(0i64)), lit(true))
                .when(unknown, Expr::Literal(ScalarValue::Boolean(None), None))
                .otherwise(lit(false))?;
            Transformed::yes(if negated { Expr::Not(Box::new(value)) } else { value })
        }
        expr => Transformed::no(expr),
    })
}

/// `(SELECT COUNT(*) FROM rows)`.
fn count_of(rows: LogicalPlan) -> Result<Expr> {
    let counted = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), vec![count_all()])?.build()?;
    let outer_ref_columns = counted.all_out_ref_exprs();
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(counted), outer_ref_columns, spans: Spans::new() }))
}

/// An expression over `schema` as a subquery names it.
fn seen_from_inside(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = expr.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        expr => Ok(Transformed::no(expr)),
    })?;
    Ok(outer.data)
}
