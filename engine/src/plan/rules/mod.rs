//! Rewrites of logical plans, one per file.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Join, JoinConstraint, LogicalPlan};

mod aggregate_types;
mod aggregated;
mod branches;
mod casts;
mod decimal_types;
mod kinds;
pub mod literals;
mod numbers;
pub mod output_types;
mod sort_columns;
pub mod steps;
pub mod subqueries;
mod switches;
mod values;
mod window_types;
pub(super) mod zeros;

use super::operators::comparable;
use crate::settings::Settings;

/// All of them, in their order: what KDA's rules make of a plan as DataFusion's planner has written it, under the engine's
/// switches.
pub fn kda_rules(plan: LogicalPlan, settings: &Settings) -> Result<LogicalPlan> {
    sort_columns::apply(plan)
        .and_then(literals::apply)
        .and_then(|plan| typed(plan, settings))
        .and_then(super::function::inline)
        .and_then(|plan| switches::apply(plan, settings))
        .and_then(output_types::apply)
}

/// Values of KDA's types: checked, computed, compared and cast by its rules. Goes from the leaves up, so that every expression is
/// made for the types that its operands have in the end; run it before type coercion.
pub fn typed(plan: LogicalPlan, settings: &Settings) -> Result<LogicalPlan> {
    let typed = plan.transform_up(|node| {
        let schema = schema_of_inputs(&node);
        let node = node.map_subqueries(|subquery| {
            let subquery = with_outer_types(subquery, &schema)?;
            Ok(Transformed::yes(typed(subquery, settings)?))
        })?;
        let node = if node.data.inputs().is_empty() { node.data } else { with_expressions(node.data, &schema, settings)? };
        Ok(Transformed::yes(match node.recompute_schema()? {
            LogicalPlan::Aggregate(aggregate) => aggregate_types::typed(aggregate, settings)?,
            LogicalPlan::Window(window) => window_types::typed(window, settings)?,
            LogicalPlan::Union(union) => branches::typed(union)?,
            LogicalPlan::Values(values) => {
                let values = values::typed(values)?;
                values::with_types_of_cells(with_expressions(values, &DFSchema::empty(), settings)?)?
            }
            LogicalPlan::Join(join) => LogicalPlan::Join(with_keys(join, &schema)?),
            node => node,
        }))
    })?;
    Ok(typed.data)
}

/// The columns of all inputs: the condition of a join reads both.
fn schema_of_inputs(node: &LogicalPlan) -> DFSchema {
    let inputs = node.inputs().into_iter().map(|input| input.schema().as_ref().clone());
    let all = inputs.reduce(|mut all, schema| {
        all.merge(&schema);
        all
    });
    all.unwrap_or_else(DFSchema::empty)
}

/// The expressions of `node` over `schema`; columns keep their names.
fn with_expressions(node: LogicalPlan, schema: &DFSchema, settings: &Settings) -> Result<LogicalPlan> {
    let digits = settings.decimal_precision_max();
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let typed = expr.transform_up(|expr| {
            kinds::checked(expr, schema)?
                .transform_data(|expr| numbers::typed(expr, schema))?
                .transform_data(|expr| decimal_types::typed(expr, schema, digits))?
                .transform_data(|expr| casts::typed(expr, schema))?
                .transform_data(|expr| zeros::typed(expr, schema))
        })?;
        Ok(typed.update_data(|expr| name.restore(expr)))
    })?;
    Ok(node.data)
}

/// Keys of a join that are no expressions: those of USING, EXCEPT and INTERSECT.
fn with_keys(mut join: Join, schema: &DFSchema) -> Result<Join> {
    let mut keys = Vec::with_capacity(join.on.len());
    for (left, right) in join.on {
        let (one, other) = comparable(left.clone(), right.clone(), schema)?;
        // The columns of USING are found by their names.
        let (one, other) = if join.join_constraint == JoinConstraint::Using { (left, right) } else { (one, other) };
        keys.push(numbers::sides(one, other, schema)?);
    }
    join.on = keys;
    Ok(join)
}

/// A subquery whose outer columns have the types that they have in `outer` by now.
fn with_outer_types(subquery: LogicalPlan, outer: &DFSchema) -> Result<LogicalPlan> {
    let typed = |expr: Expr| {
        expr.transform_up(|expr| {
            Ok(match expr {
                Expr::OuterReferenceColumn(field, column) => match outer.field_from_column(&column) {
                    Ok(known) if known.data_type() != field.data_type() => {
                        let field = Arc::new(field.as_ref().clone().with_data_type(known.data_type().clone()));
                        Transformed::yes(Expr::OuterReferenceColumn(field, column))
                    }
                    _ => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                },
                expr => Transformed::no(expr),
            })
        })
    };
    Ok(subquery.transform_up_with_subqueries(|node| node.map_expressions(typed))?.data)
}
