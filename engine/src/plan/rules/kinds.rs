//! Types that must go together outside of binary operators: BETWEEN, IN, CASE, UNION ALL and arguments that DataFusion would convert
//! (kda-sql-reference.md §1.6, §1.7, §8.2).
//!
//! DataFusion would convert between text and numbers silently, and make DECIMALs of approximate numbers.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{Between, InList, InSubquery, SetComparison};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Subquery};

use super::numbers;
use crate::plan::operators::{Kind, comparable, error_at, in_one_unit};

/// Checks `expr`, whose operands are checked already.
pub(super) fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Between(Between { mut expr, negated, mut low, mut high }) => {
            in_one_unit(&mut [&mut *expr, &mut *low, &mut *high], schema);
            let (one, low) = comparable(expr.as_ref().clone(), *low, schema)?;
            let (other, high) = comparable(expr.as_ref().clone(), *high, schema)?;
            // Both ends are compared with what one of them makes of it: CHAR without its blanks.
            let tested = if one == *expr { other } else { one };
            Transformed::yes(Expr::Between(Between { expr: Box::new(tested), negated, low: Box::new(low), high: Box::new(high) }))
        }
        Expr::InList(InList { mut expr, mut list, negated }) => {
            in_one_unit(&mut list.iter_mut().chain([&mut *expr]).collect::<Vec<_>>(), schema);
            let mut tested = expr.clone();
            let mut items = Vec::with_capacity(list.len());
            for item in list {
                let (one, other) = comparable(expr.as_ref().clone(), item, schema)?;
                // As above.
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
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| &mut **when);
                in_one_unit(&mut whens.chain([&mut **base]).collect::<Vec<_>>(), schema);
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
            Transformed::yes(Expr::Case(case))
        }
        Expr::Negative(inner) => {
            if let Some(kind) = Kind::of(&inner.get_type(schema)?).filter(|kind| !matches!(kind, Kind::Number | Kind::Interval)) {
                let hint = "Only numbers and intervals can be negated.";
                return Err(error_at(format!("- cannot stand before {kind}"), hint, &[&inner]));
            }
            Transformed::no(Expr::Negative(inner))
        }
        Expr::ScalarFunction(function) if function.name() == "character_length" => {
            if let Some(argument) = function.args.first()
                && let Some(kind) = Kind::of(&argument.get_type(schema)?).filter(|kind| *kind != Kind::Text)
            {
                let hint = "Convert it to text: CAST(… AS VARCHAR(n)).";
                return Err(error_at(format!("CHAR_LENGTH counts the characters of a text, not of {kind}"), hint, &[argument]));
            }
            Transformed::no(Expr::ScalarFunction(function))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let (expr, subquery) = beside_query(*expr, subquery, schema)?;
            Transformed::yes(Expr::InSubquery(InSubquery::new(Box::new(expr), subquery, negated)))
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            let (expr, subquery) = beside_query(*expr, subquery, schema)?;
            Transformed::yes(Expr::SetComparison(SetComparison::new(Box::new(expr), subquery, op, quantifier)))
        }
        expr => Transformed::no(expr),
    })
}

/// `expr` and the only column of `subquery`, made to be of one kind, and of one type if they are numbers.
fn beside_query(expr: Expr, subquery: Subquery, schema: &DFSchema) -> Result<(Expr, Subquery)> {
    const COLUMN: &str = "$column";
    let Subquery { subquery: plan, outer_ref_columns, spans } = subquery;
    // The column stands beside those of the query around.
    let field = plan.schema().field(0).as_ref().clone().with_name(COLUMN);
    let beside = DFSchema::try_from_qualified_schema("$subquery", &Schema::new(vec![field]))?;
    let column = Expr::Column(Column::new(Some("$subquery"), COLUMN));
    let both = schema.join(&beside)?;
    let (expr, made) = comparable(expr, column.clone(), &both)?;
    let (expr, made) = numbers::sides(expr, made, &both)?;
    // The column of VALUES is found by DataFusion's rule for subqueries if it is selected.
    if made == column && !matches!(plan.as_ref(), LogicalPlan::Values(_)) {
        return Ok((expr, Subquery { subquery: plan, outer_ref_columns, spans }));
    }
    let name = plan.schema().field(0).name().clone();
    let with_column = |value: Expr| {
        let replaced = made
            .clone()
            .transform_up(|node| Ok(if node == column { Transformed::yes(value.clone()) } else { Transformed::no(node) }))?;
        Ok::<_, datafusion::common::DataFusionError>(vec![replaced.data.alias(name)])
    };
    let plan = match plan.as_ref() {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            Projection::try_new(with_column(expr[0].clone().unalias())?, Arc::clone(input))?
        }
        _ => Projection::try_new(with_column(Expr::Column(Column::from(plan.schema().qualified_field(0))))?, plan)?,
    };
    Ok((expr, Subquery { subquery: Arc::new(LogicalPlan::Projection(plan)), outer_ref_columns, spans }))
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
