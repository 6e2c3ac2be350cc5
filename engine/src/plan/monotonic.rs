//! Monotonicity: does an expression only grow as ROWTIME grows (kda-sql-reference.md §1.12)?
//!
//! The answer carries the expression rewritten over ROWTIME alone, through derived tables and aliases, so that it can be
//! applied to a watermark.

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, LogicalPlan, Operator};
use kinesql_udfs::scalar::kda_cast;

use super::join::StreamJoin;
use super::table_function::TableFunction;
use super::window_table::WindowTable;
use crate::types::ROWTIME;

/// How an expression moves while ROWTIME grows.
#[derive(Debug, Clone, PartialEq)]
pub enum Monotonicity {
    /// It does not depend on the row.
    Constant(Expr),
    /// It never falls; the expression is over the single column ROWTIME.
    Ascending(Expr),
    /// It never rises; the expression is over the single column ROWTIME.
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
    let keeps_order_of = match kda_cast::target(&function.func) {
        Some(target) => is_ordered(&target.data_type()).then_some(0),
        None => match function.name() {
            "step" | "floor_to" | "ceil_to" | "floor" | "ceil" | "to_timestamp" | "unix_timestamp" | "exp" | "ln" | "log10"
            | "ts_minus" | "monotonic" => Some(0),
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
        LogicalPlan::Projection(projection) => {
            let carrier = projection
                .expr
                .iter()
                .find(|expr| expr.schema_name().to_string() == ROWTIME || expr.qualified_name().1 == ROWTIME);
            // A query that sets ROWTIME anew starts a new time: what was monotonic before need not be any more.
            if !carrier.is_none_or(|carrier| is_plain_rowtime(&monotonicity(carrier, &projection.input))) {
                return rowtime_only(column);
            }
            match projection.schema.maybe_index_of_column(column) {
                Some(index) => monotonicity(&projection.expr[index], &projection.input),
                None => Monotonicity::None,
            }
        }
        // A sliding window hands its rows on with their ROWTIME.
        LogicalPlan::Window(window) => match window.schema.maybe_index_of_column(column) {
            Some(index) if index < window.input.schema().fields().len() => of_column(column, &window.input),
            _ => Monotonicity::None,
        },
        // The result rows of a window carry its end.
        LogicalPlan::Aggregate(_) if column.name.contains(super::rowtime::GROUP_ROWTIME) => Ascending(rowtime()),
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
