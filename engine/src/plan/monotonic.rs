//! Monotonicity: does an expression only grow as ROWTIME grows (kda-sql-reference.md §1.12)?
//!
//! The answer carries the expression rewritten over ROWTIME alone, through derived tables and aliases, so that it can be
//! applied to a watermark. Of an expression that is only declared to grow, `MONOTONIC(x)`, it is over `DECLARED`: rows show
//! how it moves, a watermark says nothing of it.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Cast, Expr, LogicalPlan, Operator, Projection, lit};
use kinesql_udfs::scalar::kda_cast;

use super::join::StreamJoin;
use super::retimed::RETIMED;
use super::rowtime::GROUP_ROWTIME;
use super::stagger::is_staggered;
use super::table_function::TableFunction;
use super::window_table::{WindowTable, of_result_rowtime};
use crate::types::ROWTIME;

/// Stands for what is declared to grow; no user's column has a `$`.
const DECLARED: &str = "$declared";

/// Stands for the last millisecond before ROWTIME, which is the end of the window that a row is the result of.
const INSIDE: &str = "$inside";

/// How an expression moves while ROWTIME grows.
#[derive(Debug, Clone, PartialEq)]
pub enum Monotonicity {
    /// It does not depend on the row.
    Constant(Expr),
    /// It never falls; the expression is over the single column ROWTIME, or over what is declared to grow.
    Ascending(Expr),
    /// It never rises; as above.
    Descending(Expr),
    /// It moves both ways, or nothing is known.
    None,
}

use Monotonicity::{Ascending, Constant, Descending};

impl Monotonicity {
    /// True if rows of one value are neighbours in time.
    pub fn groups_neighbours(&self) -> bool {
        matches!(self, Ascending(_) | Descending(_))
    }

    /// The expression over ROWTIME, if it is one.
    pub fn of_time(&self) -> Option<&Expr> {
        match self {
            Ascending(expr) | Descending(expr) if !self.is_declared() => Some(expr),
            _ => None,
        }
    }

    /// True if it is only declared, so that a watermark does not say how far it has moved.
    pub fn is_declared(&self) -> bool {
        match self {
            Ascending(expr) | Descending(expr) => expr.column_refs().iter().any(|column| column.name == DECLARED),
            Constant(_) | Monotonicity::None => false,
        }
    }

    fn map(self, wrap: impl Fn(Expr) -> Expr) -> Self {
        match self {
            Constant(expr) => Constant(wrap(expr)),
            Ascending(expr) => Ascending(wrap(expr)),
            Descending(expr) => Descending(wrap(expr)),
            Monotonicity::None => Monotonicity::None,
        }
    }

    fn reversed(self) -> Self {
        match self {
            Ascending(expr) => Descending(expr),
            Descending(expr) => Ascending(expr),
            other => other,
        }
    }
}

/// Monotonicity of `expr` over the output of `input`, in terms of the ROWTIME of that output.
pub fn monotonicity(expr: &Expr, input: &LogicalPlan) -> Monotonicity {
    match expr {
        Expr::Literal(..) => Constant(expr.clone()),
        Expr::Alias(alias) => monotonicity(&alias.expr, input),
        Expr::Column(column) => of_column(column, input),
        Expr::Negative(inner) => monotonicity(inner, input).map(|inner| Expr::Negative(Box::new(inner))).reversed(),
        Expr::Cast(cast) if is_ordered(cast.field.data_type()) => {
            let field = cast.field.clone();
            monotonicity(&cast.expr, input).map(|expr| Expr::Cast(Cast { expr: Box::new(expr), field: field.clone() }))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => of_binary(monotonicity(left, input), *op, monotonicity(right, input)),
        Expr::ScalarFunction(function) => of_function(function, input),
        _ => Monotonicity::None,
    }
}

/// Casts and floors of time: one argument may move, the others must be constant.
fn of_function(function: &ScalarFunction, input: &LogicalPlan) -> Monotonicity {
    if let (RETIMED, [time, _]) = (function.name(), function.args.as_slice()) {
        return monotonicity(time, input);
    }
    let keeps_order_of = match kda_cast::target(&function.func) {
        Some(target) => is_ordered(&target.data_type()).then_some(0),
        None => match function.name() {
            "monotonic" => return declared(function, input),
            // Rows are numbered by a clock that does not go back.
            "current_row_timestamp" => return Ascending(Expr::Column(Column::from_name(DECLARED))),
            "step" | "floor_to" | "ceil_to" | "floor" | "ceil" | "to_timestamp" | "unix_timestamp" | "exp" | "ln" | "log10"
            | "ts_minus" => Some(0),
            "substring_from" | "kda_substring" => begins(&function.args).then_some(0),
            "date_trunc" | "date_bin" | "tsdiff" => Some(1),
            _ => None,
        },
    };
    if let ("decimal_divide", [dividend, divisor]) = (function.name(), function.args.as_slice()) {
        return match (monotonicity(dividend, input), monotonicity(divisor, input)) {
            (Constant(_), Constant(_)) => Constant(Expr::ScalarFunction(function.clone())),
            (moving, Constant(factor)) => scaled(moving, &factor, |expr| function.func.call(vec![expr, factor.clone()])),
            _ => Monotonicity::None,
        };
    }
    if let ("decimal_multiply", [one, other]) = (function.name(), function.args.as_slice()) {
        return match (monotonicity(one, input), monotonicity(other, input)) {
            (Constant(_), Constant(_)) => Constant(Expr::ScalarFunction(function.clone())),
            (moving, Constant(factor)) => scaled(moving, &factor, |expr| function.func.call(vec![expr, factor.clone()])),
            (Constant(factor), moving) => scaled(moving, &factor, |expr| function.func.call(vec![factor.clone(), expr])),
            _ => Monotonicity::None,
        };
    }
    // An interval of a growing length, such as (m - c) MINUTE beside a time, and a growing interval times a number.
    if let (name @ ("interval_multiply" | "interval_divide"), [interval, number]) = (function.name(), function.args.as_slice()) {
        return match (monotonicity(interval, input), monotonicity(number, input)) {
            (Constant(_), Constant(_)) => Constant(Expr::ScalarFunction(function.clone())),
            (moving, Constant(factor)) => scaled(moving, &factor, |expr| function.func.call(vec![expr, factor.clone()])),
            (Constant(unit), moving) if name == "interval_multiply" => {
                scaled(moving, &unit, |expr| function.func.call(vec![unit.clone(), expr]))
            }
            _ => Monotonicity::None,
        };
    }
    let Some(keeps_order_of) = keeps_order_of else { return Monotonicity::None };
    let arguments: Vec<_> = function.args.iter().map(|argument| monotonicity(argument, input)).collect();
    let mut moving = arguments.iter().enumerate().filter(|(_, argument)| !matches!(argument, Constant(_)));
    let rebuild = |place: usize, expr: Expr| {
        let mut args = function.args.clone();
        args[place] = expr;
        Expr::ScalarFunction(ScalarFunction { func: function.func.clone(), args })
    };
    match (moving.next(), moving.next()) {
        (None, _) => Constant(Expr::ScalarFunction(function.clone())),
        (Some((place, argument)), None) if place != keeps_order_of && matches!(function.name(), "ts_minus" | "tsdiff") => {
            argument.clone().reversed().map(|expr| rebuild(place, expr))
        }
        (Some((place, argument)), None) if place == keeps_order_of => argument.clone().map(|expr| rebuild(place, expr)),
        _ => Monotonicity::None,
    }
}

/// MONOTONIC(x): what is known to grow with ROWTIME stays known, all else is believed.
fn declared(function: &ScalarFunction, input: &LogicalPlan) -> Monotonicity {
    match function.args.first().map(|argument| monotonicity(argument, input)) {
        Some(Constant(_)) => Constant(Expr::ScalarFunction(function.clone())),
        Some(Ascending(expr)) => Ascending(expr),
        _ => Ascending(Expr::Column(Column::from_name(DECLARED))),
    }
}

/// True for the beginning of a text, `SUBSTRING(m FROM 0 FOR c)`: texts are in the order of their beginnings.
fn begins(arguments: &[Expr]) -> bool {
    let is_start = |start: &Expr| match start {
        Expr::Literal(value, _) => matches!(value.cast_to(&DataType::Int64), Ok(ScalarValue::Int64(Some(0 | 1)))),
        _ => false,
    };
    matches!(arguments, [_, start, _] if is_start(start))
}

fn of_binary(left: Monotonicity, op: Operator, right: Monotonicity) -> Monotonicity {
    let join = |left: Expr, right: Expr| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
    match (op, left, right) {
        (_, Constant(left), Constant(right)) => Constant(join(left, right)),
        (Operator::Plus, Ascending(left), Ascending(right)) => Ascending(join(left, right)),
        (Operator::Plus, Descending(left), Descending(right)) => Descending(join(left, right)),
        (Operator::Plus | Operator::Minus, moving, Constant(constant)) => moving.map(|expr| join(expr, constant.clone())),
        (Operator::Plus, Constant(constant), moving) => moving.map(|expr| join(constant.clone(), expr)),
        (Operator::Minus, Constant(constant), moving) => moving.reversed().map(|expr| join(constant.clone(), expr)),
        (Operator::Multiply | Operator::Divide, moving, Constant(factor)) => {
            scaled(moving, &factor, |expr| join(expr, factor.clone()))
        }
        (Operator::Multiply, Constant(factor), moving) => scaled(moving, &factor, |expr| join(factor.clone(), expr)),
        _ => Monotonicity::None,
    }
}

fn scaled(moving: Monotonicity, factor: &Expr, wrap: impl Fn(Expr) -> Expr) -> Monotonicity {
    match sign(factor) {
        Some(sign) if sign > 0 => moving.map(wrap),
        Some(sign) if sign < 0 => moving.reversed().map(wrap),
        _ => Monotonicity::None,
    }
}

fn sign(factor: &Expr) -> Option<i32> {
    let Expr::Literal(value, _) = factor else { return None };
    // The parts of one literal have one sign.
    if let ScalarValue::IntervalMonthDayNano(Some(interval)) = value {
        return Some((interval.months.signum() + interval.days.signum() + interval.nanoseconds.signum() as i32).signum());
    }
    match value.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(Some(value))) => Some(if value > 0.0 {
            1
        } else if value < 0.0 {
            -1
        } else {
            0
        }),
        _ => None,
    }
}

/// Casts of times and numbers to these types keep their order; casts to text do not.
fn is_ordered(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_floating()
        || matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Decimal128(..))
}

fn of_column(column: &Column, plan: &LogicalPlan) -> Monotonicity {
    match plan {
        LogicalPlan::TableScan(_) => rowtime_only(column),
        LogicalPlan::SubqueryAlias(alias) => match alias.schema.maybe_index_of_column(column) {
            Some(index) => of_column(&Column::from(alias.input.schema().qualified_field(index)), &alias.input),
            None => Monotonicity::None,
        },
        LogicalPlan::Filter(filter) => of_column(column, &filter.input),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => of_column(column, input),
        // Rows of one time may have changed their places.
        LogicalPlan::Sort(sort) => match of_column(column, &sort.input) {
            moving if moving.is_declared() => Monotonicity::None,
            moving => moving,
        },
        LogicalPlan::Projection(projection) => of_projected(column, projection),
        // A sliding window hands its rows on with their ROWTIME.
        LogicalPlan::Window(window) => match window.schema.maybe_index_of_column(column) {
            Some(index) if index < window.input.schema().fields().len() => of_column(column, &window.input),
            _ => Monotonicity::None,
        },
        LogicalPlan::Aggregate(aggregate) => of_group(column, aggregate),
        LogicalPlan::Union(_) => rowtime_only(column),
        // The joined rows are in the order of their own time, not in that of either stream.
        LogicalPlan::Extension(_) if StreamJoin::of(plan).is_some_and(|join| join.is_rowtime(column)) => Ascending(rowtime()),
        // A table function hands the rows of its cursor on with their ROWTIME.
        LogicalPlan::Extension(_) if let Some(function) = TableFunction::of(plan) => of_column(column, function.input()),
        // The rows of a stream with their windows have its ROWTIME; windows that follow each other are steps of it.
        LogicalPlan::Extension(_) if let Some(table) = WindowTable::of(plan) => {
            match plan.schema().maybe_index_of_column(column).and_then(|index| table.of_rowtime(index)) {
                Some(step) => Ascending(step),
                None => of_column(column, table.input()),
            }
        }
        // Rows of a table have no time: of the two sides, only a stream knows the column as monotonic.
        LogicalPlan::Join(join) => {
            of_column(column, if join.left.schema().has_column(column) { &join.left } else { &join.right })
        }
        _ => Monotonicity::None,
    }
}

fn of_projected(column: &Column, projection: &Projection) -> Monotonicity {
    let Some(index) = projection.schema.maybe_index_of_column(column) else { return Monotonicity::None };
    let carrier =
        projection.expr.iter().position(|expr| expr.schema_name().to_string() == ROWTIME || expr.qualified_name().1 == ROWTIME);
    match carrier {
        // A query that sets ROWTIME anew starts a new time: what was monotonic before need not be any more.
        Some(place) if !is_plain_rowtime(&monotonicity(&projection.expr[place], &projection.input)) => match place == index {
            true => Ascending(rowtime()),
            false => Monotonicity::None,
        },
        _ => monotonicity(&projection.expr[index], &projection.input),
    }
}

/// A column of the result rows of a window, which have its end as their ROWTIME.
fn of_group(column: &Column, aggregate: &Aggregate) -> Monotonicity {
    if column.name.contains(GROUP_ROWTIME) {
        return Ascending(rowtime());
    }
    let Some(index) = aggregate.schema.maybe_index_of_column(column) else { return Monotonicity::None };
    let Some(expr) = aggregate.group_expr.get(index).filter(|_| !is_staggered(aggregate)) else { return Monotonicity::None };
    if let Some(of_rowtime) = of_result_rowtime(expr, &aggregate.input) {
        return of_rowtime.map_or(Monotonicity::None, Ascending);
    }
    match window_of(aggregate) {
        Some((place, moving)) if moving.is_declared() => match place == index {
            true => moving,
            false => Monotonicity::None,
        },
        // A millisecond before its end is still inside.
        Some(_) => monotonicity(expr, &aggregate.input).map(inside),
        None => Monotonicity::None,
    }
}

/// The GROUP BY expression that makes the windows of `aggregate`: one of ROWTIME, then one that is a window of an aggregate below,
/// then one that is declared to grow. The others are keys, unless [`is_of_rowtime`] says so of two.
pub(super) fn window_of(aggregate: &Aggregate) -> Option<(usize, Monotonicity)> {
    let input = aggregate.input.as_ref();
    let moving = aggregate.group_expr.iter().map(|expr| monotonicity(expr, input)).enumerate();
    let moving = moving.filter(|(_, moving)| moving.groups_neighbours());
    // The first of the least.
    moving.min_by_key(|(place, moving)| (moving.is_declared(), is_of_group(&aggregate.group_expr[*place], input)))
}

/// True for an expression that moves with ROWTIME itself, not only with the windows of an aggregate below.
pub(super) fn is_of_rowtime(expr: &Expr, input: &LogicalPlan) -> bool {
    let moving = monotonicity(expr, input);
    moving.groups_neighbours() && !moving.is_declared() && !is_of_group(expr, input)
}

/// True if `expr` over the output of `input` is made of what an aggregate below was grouped by.
fn is_of_group(expr: &Expr, input: &LogicalPlan) -> bool {
    fn of(column: &Column, plan: &LogicalPlan) -> bool {
        let Some(index) = plan.schema().maybe_index_of_column(column) else { return false };
        match plan {
            LogicalPlan::SubqueryAlias(alias) => of(&Column::from(alias.input.schema().qualified_field(index)), &alias.input),
            LogicalPlan::Filter(filter) => of(column, &filter.input),
            LogicalPlan::Sort(sort) => of(column, &sort.input),
            LogicalPlan::Projection(projection) => is_of_group(&projection.expr[index], &projection.input),
            LogicalPlan::Aggregate(aggregate) => index < aggregate.group_expr.len(),
            _ => false,
        }
    }
    expr.column_refs().into_iter().any(|column| of(column, input))
}

/// `of_time` at the last millisecond before ROWTIME.
fn inside(of_time: Expr) -> Expr {
    let replaced = of_time.clone().transform_up(|node| match &node {
        Expr::Column(column) if column.name != DECLARED => Ok(Transformed::yes(Expr::Column(Column::from_name(INSIDE)))),
        _ => Ok(Transformed::no(node)),
    });
    // The visitor never fails.
    replaced.map_or(of_time, |replaced| replaced.data)
}

/// True if `of_time` is computed of the windows that the rows are results of, not of their ROWTIME.
pub(super) fn is_of_windows(of_time: &Expr) -> bool {
    of_time.column_refs().iter().any(|column| column.name == INSIDE)
}

/// `of_time` over the column ROWTIME alone. `complete`: no more rows of a ROWTIME come once the watermark has reached it, so that
/// a window is over when the windows are that it is made of.
pub(super) fn of_instant(of_time: &Expr, complete: bool) -> Expr {
    let before = |time: Expr| time - lit(ScalarValue::new_interval_mdn(0, 0, 1_000_000));
    let replaced = of_time.clone().transform_up(|node| match &node {
        Expr::Column(column) if column.name == INSIDE && complete => Ok(Transformed::yes(rowtime())),
        Expr::Column(column) if column.name == INSIDE => Ok(Transformed::yes(before(rowtime()))),
        _ => Ok(Transformed::no(node)),
    });
    // The visitor never fails.
    replaced.map_or_else(|_| of_time.clone(), |replaced| replaced.data)
}

fn rowtime() -> Expr {
    Expr::Column(Column::from_name(ROWTIME))
}

fn rowtime_only(column: &Column) -> Monotonicity {
    if column.name == ROWTIME { Ascending(rowtime()) } else { Monotonicity::None }
}

/// True if the expression is ROWTIME itself, unchanged.
pub fn is_plain_rowtime(monotonicity: &Monotonicity) -> bool {
    matches!(monotonicity, Ascending(expr) if *expr == rowtime())
}
