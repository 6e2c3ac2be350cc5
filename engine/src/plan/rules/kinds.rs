//! Types that must go together outside of operators: BETWEEN, IN, CASE and UNION ALL (kda-sql-reference.md §1.6, §1.7, §8.2).
//! DataFusion would convert between text and numbers silently, and make DECIMALs of approximate numbers.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Union, cast};
use kinesql_udfs::sql_type::approximate_of;

use crate::plan::operators::{Kind, approximated, comparable, error_at};

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
        if let LogicalPlan::Union(union) = node {
            return Ok(Transformed::yes(LogicalPlan::Union(check_union(union)?)));
        }
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
        Expr::Between(Between { mut expr, negated, mut low, mut high }) => {
            approximated([&mut expr, &mut low, &mut high].into_iter().map(Box::as_mut), schema)?;
            let (_, low) = comparable(expr.as_ref().clone(), *low, schema)?;
            let (tested, high) = comparable(*expr, *high, schema)?;
            Transformed::yes(Expr::Between(Between { expr: Box::new(tested), negated, low: Box::new(low), high: Box::new(high) }))
        }
        Expr::InList(InList { mut expr, mut list, negated }) => {
            approximated(std::iter::once(expr.as_mut()).chain(&mut list), schema)?;
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
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                approximated(std::iter::once(base.as_mut()).chain(whens), schema)?;
                let written = base.clone();
                for (when, _) in &mut case.when_then_expr {
                    let (one, other) = comparable(written.as_ref().clone(), std::mem::take(when.as_mut()), schema)?;
                    if one != *written {
                        **base = one;
                    }
                    **when = other;
                }
            } else {
                check_conditions(&case, schema)?;
            }
            check_results(&case, schema)?;
            let results = case.when_then_expr.iter_mut().map(|(_, then)| then).chain(&mut case.else_expr);
            approximated(results.map(Box::as_mut), schema)?;
            Transformed::yes(Expr::Case(case))
        }
        expr => Transformed::no(expr),
    })
}

/// The conditions of a CASE are conditions: DataFusion would take any number but 0 for TRUE.
fn check_conditions(case: &Case, schema: &DFSchema) -> Result<()> {
    for (when, _) in &case.when_then_expr {
        if let Some(kind) = Kind::of(&when.get_type(schema)?).filter(|kind| *kind != Kind::Truth) {
            let hint = "Write CASE WHEN x = 1 THEN …, or CASE x WHEN 1 THEN ….";
            return Err(error_at(format!("a condition of CASE is {kind}"), hint, &[when]));
        }
    }
    Ok(())
}

/// The columns of the queries are of one kind each, and approximate if one of them is.
fn check_union(union: Union) -> Result<Union> {
    let mut inputs = union.inputs;
    for place in 0..union.schema.fields().len() {
        let mut first: Option<Kind> = None;
        for input in &inputs {
            let field = input.schema().field(place);
            let Some(kind) = Kind::of(field.data_type()) else { continue };
            if let Some(known) = first.filter(|known| *known != kind) {
                let message = format!("column {} of UNION ALL is {known} in one query and {kind} in another", place + 1);
                let item =
                    if let LogicalPlan::Projection(projection) = input.as_ref() { projection.expr.get(place) } else { None };
                return Err(error_at(message, "Convert one of them: CAST(… AS …).", item.as_slice()));
            }
            first = Some(kind);
        }
        let types: Vec<_> = inputs.iter().map(|input| input.schema().field(place).data_type().clone()).collect();
        let Some(approximate) = approximate_of(&types) else { continue };
        for (input, _) in inputs.iter_mut().zip(&types).filter(|(_, data_type)| data_type.is_decimal()) {
            let columns = input.schema().columns().into_iter().enumerate().map(|(other, column)| match other == place {
                true => cast(Expr::Column(column.clone()), approximate.clone()).alias_qualified(column.relation, column.name),
                false => Expr::Column(column),
            });
            *input = Arc::new(LogicalPlan::Projection(Projection::try_new(columns.collect(), input.clone())?));
        }
    }
    Union::try_new_with_loose_types(inputs)
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
