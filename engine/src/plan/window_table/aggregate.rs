//! GROUP BY over HOP and SESSION windows: the aggregate and its windows are one operator.
//!
//! Below the aggregate every row has one pane, not a window for each hop; so what stands between the windows and the
//! aggregate can hand their columns on and nothing else.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

use super::call::Windows;
use super::node::{COLUMNS, Part, WindowTable, from_start, origin, start_of};
use super::physical::windows_text;
use crate::diagnostic::Diagnostic;
use crate::operator::hop_window::HopPlan;
use crate::operator::session_window::SessionPlan;
use crate::operator::tumbling_window::{OutputColumn, WindowPlan};
use crate::operator::window_rows::Spans;
use crate::plan::explain_error::plain_message;
use crate::plan::groups::Groups;
use crate::plan::monotonic::monotonicity;
use crate::plan::physical::{OperatorSpec, PlanNode, plan_operators, window_key};
use crate::types::ROWTIME;

/// The operators of `aggregate` and all below it, if it aggregates HOP or SESSION windows.
pub(in crate::plan) fn plan_windowed(aggregate: &Aggregate, props: &ExecutionProps) -> Option<Result<PlanNode, Diagnostic>> {
    let table = below(&aggregate.input)?;
    let part = |expr: &Expr| {
        let (table, index) = origin(expr, &aggregate.input)?;
        table.part(index)
    };
    let parts: Vec<Option<Part>> = aggregate.group_expr.iter().map(part).collect();
    if parts.iter().all(Option::is_none) {
        // Every row may be in a window of its own kind as well.
        if aggregate.group_expr.iter().any(|expr| monotonicity(expr, &aggregate.input).groups_neighbours()) {
            return None;
        }
        let name = table.windows().name();
        let problem = Diagnostic::error(format!("GROUP BY over {name} windows needs WINDOW_START and WINDOW_END"));
        return Some(Err(problem.hint("Without them it could never emit a row: add them to the GROUP BY.")));
    }
    match table.windows() {
        windows if windows.follow_each_other() => None,
        windows => Some(plan(aggregate, table, windows, &parts, props)),
    }
}

fn plan(
    aggregate: &Aggregate,
    table: &WindowTable,
    windows: Windows,
    parts: &[Option<Part>],
    props: &ExecutionProps,
) -> Result<PlanNode, Diagnostic> {
    check_use(aggregate, windows)?;
    let marked = aggregate.input.as_ref().clone().transform_up(|plan| match WindowTable::of(&plan) {
        Some(table) => Ok(Transformed::yes(table.as_marks())),
        None => Ok(Transformed::no(plan)),
    });
    let input = plan_operators(&marked.map_err(|error| Diagnostic::error(plain_message(&error)))?.data, props)?;
    Ok(input.then(match windows {
        Windows::Regular(spans) => {
            let column =
                |place: usize| parts[place].map(|part| OutputColumn::WindowEnd(from_start(part, spans.size) - spans.size));
            let groups = Groups::try_new(aggregate, column, props)?;
            let text = groups.text(&windows_text(windows));
            let place = parts.iter().position(Option::is_some).unwrap_or_default();
            let of_time = start_of(Spans { size: spans.slide, ..spans }, Expr::Column(Column::from_name(ROWTIME)));
            let window = window_key(&aggregate.group_expr[place], &of_time, false, aggregate.input.schema(), props)?;
            let Groups { keys, layout, columns, schema, .. } = groups;
            let panes = WindowPlan { name: "hopping window", window, keys, layout, columns, schema };
            OperatorSpec::Hop { plan: Box::new(HopPlan { panes, spans }), text }
        }
        Windows::Session(gap) => {
            check_partition(aggregate, table, parts)?;
            let column = |place: usize| {
                parts[place].map(|part| match part {
                    Part::Start => OutputColumn::Window(0),
                    Part::End => OutputColumn::WindowEnd(0),
                    Part::Time => OutputColumn::WindowEnd(-1),
                })
            };
            let groups = Groups::try_new(aggregate, column, props)?;
            let text = groups.text(&windows_text(windows));
            let Groups { keys, layout, columns, schema, .. } = groups;
            OperatorSpec::Session { plan: Box::new(SessionPlan { gap, keys, layout, columns, schema }), text }
        }
    }))
}

/// The table of windows that `plan` reads without another operator of windows in between.
fn below(plan: &LogicalPlan) -> Option<&WindowTable> {
    match plan {
        LogicalPlan::Filter(filter) => below(&filter.input),
        LogicalPlan::Projection(projection) => below(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => below(&alias.input),
        LogicalPlan::Join(join) => below(&join.left).or_else(|| below(&join.right)),
        plan => WindowTable::of(plan),
    }
}

/// Refuses expressions that compute something of the windows' columns below their aggregate.
fn check_use(aggregate: &Aggregate, windows: Windows) -> Result<(), Diagnostic> {
    check_plan(&aggregate.input, windows)?;
    let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    exprs.filter(|expr| origin(expr, &aggregate.input).is_none()).try_for_each(|expr| check_expr(expr, &aggregate.input, windows))
}

fn check_plan(plan: &LogicalPlan, windows: Windows) -> Result<(), Diagnostic> {
    match plan {
        LogicalPlan::Filter(filter) => {
            check_expr(&filter.predicate, &filter.input, windows)?;
            check_plan(&filter.input, windows)
        }
        LogicalPlan::Projection(projection) => {
            let computed = projection.expr.iter().filter(|expr| origin(expr, &projection.input).is_none());
            computed.into_iter().try_for_each(|expr| check_expr(expr, &projection.input, windows))?;
            check_plan(&projection.input, windows)
        }
        LogicalPlan::SubqueryAlias(alias) => check_plan(&alias.input, windows),
        LogicalPlan::Join(join) => {
            let conditions = join.on.iter().flat_map(|(left, right)| [left, right]).chain(&join.filter);
            conditions.into_iter().try_for_each(|expr| check_expr(expr, plan, windows))?;
            check_plan(&join.left, windows)?;
            check_plan(&join.right, windows)
        }
        _ => Ok(()),
    }
}

fn check_expr(expr: &Expr, input: &LogicalPlan, windows: Windows) -> Result<(), Diagnostic> {
    let mut used = None;
    // The visitor returns no error.
    let _ = expr.apply(|expr| {
        used = used.or(origin(expr, input).and_then(|(table, index)| table.part(index)));
        Ok(if used.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match used {
        None => Ok(()),
        Some(part) => {
            let (column, name) = (COLUMNS[part as usize], windows.name());
            let problem = Diagnostic::error(format!("{column} of {name} windows is not known before they are aggregated"));
            Err(problem.hint("Use it in GROUP BY as it is, in HAVING and in the select list."))
        }
    }
}

/// A session is one of the keys of its PARTITION BY, so those have to be the keys of the groups.
fn check_partition(aggregate: &Aggregate, table: &WindowTable, parts: &[Option<Part>]) -> Result<(), Diagnostic> {
    let columns = table.input().schema();
    let wanted = &table.call.partition;
    let mut seen = vec![false; wanted.len()];
    for (expr, _) in aggregate.group_expr.iter().zip(parts).filter(|(_, part)| part.is_none()) {
        let name = origin(expr, &aggregate.input).map(|(_, index)| columns.field(index).name());
        match wanted.iter().position(|(column, _)| Some(column) == name) {
            Some(place) => seen[place] = true,
            None => {
                let problem = Diagnostic::error("GROUP BY over SESSION windows has a key that is not in their PARTITION BY");
                return Err(problem
                    .at(table.call.span)
                    .hint("Write SESSION(TABLE s PARTITION BY (a, b), …) with every key of the GROUP BY."));
            }
        }
    }
    match seen.iter().position(|seen| !seen) {
        None => Ok(()),
        Some(place) => {
            let (name, span) = &wanted[place];
            let problem =
                Diagnostic::error(format!("GROUP BY over SESSION windows lacks \"{name}\", by which they are partitioned"));
            Err(problem.at(*span).hint("Add it to the GROUP BY."))
        }
    }
}
