//! ROW_NUMBER() OVER (PARTITION BY window ORDER BY …): the rows of a window are numbered when it closes, and a condition
//! around such as `rn <= 3` bounds what is kept of it.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Window};

use super::expr_text::{text, texts_over};
use super::monotonic::{Monotonicity, is_plain_rowtime, monotonicity};
use super::physical::{OperatorSpec, PlanNode, is_window_result, plan_operators, window_key, without_metadata};
use super::sliding::{Columns, unaliased};
use super::window_functions::ROW_NUMBER;
use super::window_table;
use crate::diagnostic::Diagnostic;
use crate::operator::top_n::{Period, TopNPlan};
use crate::operator::window_key::WindowKey;
use crate::types::ROWTIME;

/// The operators of `window` and all below it, if it numbers rows.
pub(super) fn plan_top_n(window: &Window, props: &ExecutionProps) -> Option<Result<PlanNode, Diagnostic>> {
    match window.window_expr.as_slice() {
        [expr] => match unaliased(expr) {
            Expr::WindowFunction(call) if call.fun.name() == ROW_NUMBER => Some(plan(window, call, props)),
            _ => None,
        },
        _ => None,
    }
}

fn plan(window: &Window, call: &WindowFunction, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    let input = plan_operators(&window.input, props)?;
    let mut columns = Columns::of(window.input.schema(), props);
    let width = columns.fields.len();
    let partition = columns.places(&call.params.partition_by)?;
    let mut order = Vec::new();
    for sort in &call.params.order_by {
        order.push((columns.place(&sort.expr)?, SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first }));
    }
    let period = period_of(&call.params.partition_by, window, props)?;
    let schema = columns.schema();
    let node = match columns.computed.as_slice() {
        [] => input,
        computed => {
            let text = texts_over(computed, &window.input);
            input.then(OperatorSpec::Project { expressions: columns.expressions, schema: schema.clone(), text })
        }
    };
    let rowtime = schema.index_of(ROWTIME).map_err(|_| Diagnostic::error("the rows of a window have no ROWTIME"))?;
    let shown = without_metadata(window.schema.as_arrow());
    let number = shown.fields()[width].clone();
    let text = {
        let sorts = call.params.order_by.iter();
        let sorts = sorts.map(|sort| format!("{}{}", text(&sort.expr), if sort.asc { "" } else { " DESC" }));
        format!("by {}; order {}", texts_over(&call.params.partition_by, &window.input), sorts.collect::<Vec<_>>().join(", "))
    };
    let plan = TopNPlan { input: schema.clone(), rowtime, period, partition, order, limit: None, number: number.clone() };
    let indices = (0..width).chain([schema.fields().len()]).collect();
    // Expressions above refer to columns by their place: the name is for EXPLAIN.
    let named = Arc::new(number.as_ref().clone().with_name("ROW_NUMBER() OVER (…)"));
    let fields = shown.fields()[..width].iter().cloned().chain([named]).collect::<Vec<_>>();
    let select = OperatorSpec::Select { indices, schema: Arc::new(Schema::new(fields)) };
    Ok(node.then(OperatorSpec::TopN { plan: Box::new(plan), text }).then(select))
}

/// What of PARTITION BY ends as time goes on.
fn period_of(partition: &[Expr], window: &Window, props: &ExecutionProps) -> Result<Period, Diagnostic> {
    let input = &window.input;
    let found: Vec<_> = partition.iter().map(|expr| monotonicity(expr, input)).collect();
    if found.iter().any(is_plain_rowtime) || partition.iter().any(|expr| is_of_window(expr, input)) {
        return Ok(Period::Instant { complete: is_window_result(input) });
    }
    for (expr, found) in partition.iter().zip(&found).filter(|(_, found)| !found.is_declared()) {
        let (of_time, descending) = match found {
            Monotonicity::Ascending(of_time) => (of_time, false),
            Monotonicity::Descending(of_time) => (of_time, true),
            _ => continue,
        };
        let key = window_key(expr, of_time, descending, input.schema(), props)?;
        if expr_type(expr, input).is_some_and(|data_type| WindowKey::supports(&data_type)) {
            return Ok(Period::Window(key));
        }
    }
    Err(Diagnostic::error("ROW_NUMBER on a stream needs a window in its PARTITION BY: without one it could never emit a row").hint(
        "Write PARTITION BY WINDOW_START, WINDOW_END of an aggregate in FROM, PARTITION BY its ROWTIME, or STEP(s.ROWTIME BY INTERVAL '1' MINUTE).",
    ))
}

fn expr_type(expr: &Expr, input: &LogicalPlan) -> Option<DataType> {
    datafusion::logical_expr::ExprSchemable::get_type(expr, input.schema().as_ref()).ok()
}

/// True for a column that is the window of the aggregate it comes from: its rows of one value have one ROWTIME.
fn is_of_window(expr: &Expr, plan: &LogicalPlan) -> bool {
    let column = match expr {
        Expr::Alias(alias) => return is_of_window(&alias.expr, plan),
        Expr::Column(column) => column,
        _ => return false,
    };
    let Some(index) = plan.schema().maybe_index_of_column(column) else { return false };
    match plan {
        LogicalPlan::Filter(filter) => is_of_window(expr, &filter.input),
        LogicalPlan::SubqueryAlias(alias) => {
            is_of_window(&Expr::Column(Column::from(alias.input.schema().qualified_field(index))), &alias.input)
        }
        LogicalPlan::Projection(projection) => {
            // Rows that got another ROWTIME do not share it.
            let carrier = projection.schema.fields().iter().position(|field| field.name() == ROWTIME);
            let is_kept = |place: usize| is_plain_rowtime(&monotonicity(&projection.expr[place], &projection.input));
            carrier.is_none_or(is_kept) && is_of_window(&projection.expr[index], &projection.input)
        }
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.get(index).is_some_and(|group| {
            window_table::ends_with(group, &aggregate.input) || monotonicity(group, &aggregate.input).groups_neighbours()
        }),
        _ => false,
    }
}

/// Tells the numbering below `node` how many rows the condition `predicate` over `input` lets pass.
pub(super) fn bound(node: &mut PlanNode, predicate: &Expr, input: &LogicalPlan) {
    let limits = split_conjunction(predicate).into_iter().filter_map(|condition| limit_of(condition, input));
    if let Some(limit) = limits.min() {
        set_limit(node, limit);
    }
}

fn set_limit(node: &mut PlanNode, most: usize) {
    if let PlanNode::Unary { input, operator } = node {
        match operator {
            OperatorSpec::TopN { plan, text } => {
                plan.limit = Some(most);
                text.push_str(&format!("; the first {most}"));
            }
            OperatorSpec::Project { .. } | OperatorSpec::Select { .. } => set_limit(input, most),
            _ => {}
        }
    }
}

/// The greatest row number for which `condition` can hold.
fn limit_of(condition: &Expr, input: &LogicalPlan) -> Option<usize> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (column, op, literal) = match (left.as_ref(), right.as_ref()) {
        (column, Expr::Literal(value, _)) => (column, *op, value),
        (Expr::Literal(value, _), column) => (column, op.swap()?, value),
        _ => return None,
    };
    if !is_number(column, input) {
        return None;
    }
    let Ok(ScalarValue::Int64(Some(value))) = literal.cast_to(&DataType::Int64) else { return None };
    let most = match op {
        Operator::LtEq | Operator::Eq => value,
        Operator::Lt => value.saturating_sub(1),
        _ => return None,
    };
    usize::try_from(most.max(0)).ok()
}

/// True for the column that ROW_NUMBER computes, handed on unchanged.
fn is_number(expr: &Expr, plan: &LogicalPlan) -> bool {
    let column = match expr {
        Expr::Alias(alias) => return is_number(&alias.expr, plan),
        Expr::Column(column) => column,
        _ => return false,
    };
    let Some(index) = plan.schema().maybe_index_of_column(column) else { return false };
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            is_number(&Expr::Column(Column::from(alias.input.schema().qualified_field(index))), &alias.input)
        }
        LogicalPlan::Projection(projection) => is_number(&projection.expr[index], &projection.input),
        LogicalPlan::Window(window) => index
            .checked_sub(window.input.schema().fields().len())
            .and_then(|place| window.window_expr.get(place))
            .is_some_and(|expr| matches!(unaliased(expr), Expr::WindowFunction(call) if call.fun.name() == ROW_NUMBER)),
        _ => false,
    }
}
