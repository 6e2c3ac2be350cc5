//! Operators by KDA's rules: which types go together, and what DataFusion computes otherwise or not at all
//! (kda-sql-reference.md §1.5–1.7, §8.2).
//!
//! - Both sides of a comparison are of one kind: numbers, text, bytes, truth values, DATE, TIME, TIMESTAMP or intervals. A
//!   character literal beside a DATE, TIME or TIMESTAMP is read as one.
//! - Times take intervals only, and a difference of two times needs a qualifier.
//! - `interval * n` and `interval / n` take any number.
//! - `(a - b) SECOND`, which is a number by itself, is an interval beside an interval, a time, or a difference of another unit.
//! - `a * b` of DECIMALs with more than 38 digits after the point has fewer (`rules/decimal_types`).
//! - `a / b` fails for b = 0 whatever the type; arrow does so only for exact numbers.

use std::fmt;

use arrow::datatypes::{DECIMAL128_MAX_SCALE, DataType, IntervalUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Diagnostic, Result, ScalarValue, Span};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use kinesql_udfs::scalar::{decimal_multiply, interval_scale, kda_cast, nonzero, trim};
use sqlparser::ast::BinaryOperator;

use crate::types::{SqlType, sql_type_name};

/// Values that can be compared with each other and assigned to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Text,
    Bytes,
    Truth,
    Date,
    Time,
    Timestamp,
    Interval,
}

impl Kind {
    /// None for NULL, which goes with everything, and for types that KDA has not.
    pub(super) fn of(data_type: &DataType) -> Option<Kind> {
        Some(match data_type {
            DataType::Boolean => Kind::Truth,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Kind::Bytes,
            DataType::Date32 | DataType::Date64 => Kind::Date,
            DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
            DataType::Timestamp(..) => Kind::Timestamp,
            DataType::Interval(_) | DataType::Duration(_) => Kind::Interval,
            number if number.is_numeric() => Kind::Number,
            _ => return None,
        })
    }

    fn is_time(self) -> bool {
        matches!(self, Kind::Date | Kind::Time | Kind::Timestamp)
    }

    fn sql_type(self) -> Option<SqlType> {
        match self {
            Kind::Date => Some(SqlType::Date),
            Kind::Time => Some(SqlType::Time),
            Kind::Timestamp => Some(SqlType::Timestamp),
            _ => None,
        }
    }
}

/// An error about `expr`, at the first of its columns, as no other part knows its place.
pub(super) fn error_at(message: impl Into<String>, hint: impl Into<String>, exprs: &[&Expr]) -> DataFusionError {
    let mut span: Option<Span> = None;
    for expr in exprs {
        // It never fails.
        let _ = expr.apply(|node| {
            span = span.or_else(|| node.spans().and_then(|spans| spans.first()));
            Ok(if span.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
    }
    let message = message.into();
    DataFusionError::Plan(message.clone()).with_diagnostic(Diagnostic::new_error(message, span).with_help(hint, None))
}

/// The operators as DataFusion's planner asks for them.
#[derive(Debug)]
pub(super) struct KdaOperators;

impl ExprPlanner for KdaOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::*;
        let RawBinaryExpr { op, left, right } = expr;
        let (left, right) = match op {
            Eq | NotEq | Lt | LtEq | Gt | GtEq => comparable(left, right, schema)?,
            Plus | Minus | Multiply | Divide | Modulo => match arithmetic(&op, left, right, schema)? {
                Computed::By(function) => return Ok(PlannerResult::Planned(function)),
                Computed::Operands(left, right) => (left, right),
            },
            StringConcat => {
                concatenable(&left, &right, schema)?;
                (left, right)
            }
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// The type of an expression in a message; that of a literal is as narrow as it can be.
fn field_name(expr: &Expr, schema: &DFSchema) -> Result<String> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) if i32::try_from(*value).is_ok() => return Ok("INTEGER".to_owned()),
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => return Ok(format!("VARCHAR({})", text.chars().count().max(1))),
        _ => {}
    }
    Ok(sql_type_name(&expr.to_field(schema)?.1))
}

/// None also for a column that does not exist: the planner finds it next, and knows its place.
fn kind(expr: &Expr, schema: &DFSchema) -> Option<Kind> {
    expr.get_type(schema).ok().and_then(|data_type| Kind::of(&data_type))
}

/// The sides of a comparison, made to be of one kind; an error if they cannot be (§1.6, §8.2).
pub(super) fn comparable(mut left: Expr, mut right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    in_one_unit(&mut [&mut left, &mut right], schema);
    let (Some(one), Some(other)) = (kind(&left, schema), kind(&right, schema)) else { return Ok((left, right)) };
    if one == other {
        return match one {
            Kind::Text => padded(left, right, schema),
            Kind::Interval if are_of_two_kinds(&left, &right, schema) => Err(error_at(
                "cannot compare an interval of years and months with one of days and less",
                MONTHS,
                &[&left, &right],
            )),
            _ => Ok((left, right)),
        };
    }
    match (one, other) {
        (time, Kind::Text) if let (true, Some(read)) = (time.is_time(), as_time(&right, time)?) => return Ok((left, read)),
        (Kind::Text, time) if let (true, Some(read)) = (time.is_time(), as_time(&left, time)?) => return Ok((read, right)),
        _ => {}
    }
    let [one, other] = [field_name(&left, schema)?, field_name(&right, schema)?];
    Err(error_at(format!("cannot compare {one} with {other}"), "Convert one of them: CAST(… AS …).", &[&left, &right]))
}

/// CHAR is compared as if both sides were padded to one length: blanks at the end do not count (§1.9).
fn padded(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let is_char =
        |expr: &Expr| Ok::<_, DataFusionError>(matches!(SqlType::of_field(&expr.to_field(schema)?.1), Some(SqlType::Char(_))));
    if !is_char(&left)? && !is_char(&right)? {
        return Ok((left, right));
    }
    let cut = |expr: Expr| trim::trailing_udf().call(vec![expr]);
    Ok((cut(left), cut(right)))
}

/// A character literal as the time that it is compared with; an error if it is none.
fn as_time(expr: &Expr, time: Kind) -> Result<Option<Expr>> {
    let (Expr::Literal(value, _), Some(sql_type)) = (expr, time.sql_type()) else { return Ok(None) };
    let read = kda_cast::cast(&value.to_array()?, sql_type).map_err(|error| {
        error_at(crate::Error::from(error).message(), "A literal compared with a time is read as one.", &[expr])
    })?;
    Ok(Some(Expr::Literal(ScalarValue::try_from_array(&read, 0)?, None)))
}

/// The unit of a number that is a difference of one field, `(a - b) SECOND`, or made from one.
fn unit_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Alias(alias) => unit_of(&alias.expr),
        Expr::Negative(inner) => unit_of(inner),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (op, unit_of(left), unit_of(right)) {
            (Operator::Plus | Operator::Minus, Some(one), Some(other)) if one == other => Some(one),
            (Operator::Multiply, Some(unit), None) | (Operator::Multiply, None, Some(unit)) => Some(unit),
            (Operator::Divide, Some(unit), None) => Some(unit),
            _ => None,
        },
        Expr::ScalarFunction(function) => match (function.name(), function.args.as_slice()) {
            ("ts_minus", [_, _, Expr::Literal(qualifier, _)]) => {
                qualifier.try_as_str().flatten().filter(|qualifier| !qualifier.contains(" TO "))
            }
            ("abs" | "floor" | "ceil", [inner]) => unit_of(inner),
            _ => None,
        },
        _ => None,
    }
}

/// A difference of one field as an interval; None for any other number.
fn as_interval(expr: &Expr) -> Option<Expr> {
    const NANOSECONDS_OF_SECOND: i64 = 1_000_000_000;
    let interval = |months, seconds: i64| ScalarValue::new_interval_mdn(months, 0, seconds * NANOSECONDS_OF_SECOND);
    let unit = match unit_of(expr)? {
        "YEAR" => interval(12, 0),
        "MONTH" => interval(1, 0),
        "DAY" => interval(0, 86_400),
        "HOUR" => interval(0, 3_600),
        "MINUTE" => interval(0, 60),
        _ => interval(0, 1),
    };
    Some(interval_scale::multiply_udf().call(vec![Expr::Literal(unit, None), expr.clone()]))
}

/// Makes intervals of the differences of one field in `exprs` where they stand beside an interval, or beside each other with different
/// units: 2 of HOUR are more than 5 of MINUTE.
pub(super) fn in_one_unit(exprs: &mut [&mut Expr], schema: &DFSchema) {
    let mut units = exprs.iter().filter_map(|expr| unit_of(expr));
    let Some(first) = units.next() else { return };
    if units.any(|unit| unit != first) || exprs.iter().any(|expr| kind(expr, schema) == Some(Kind::Interval)) {
        for expr in exprs {
            if let Some(interval) = as_interval(expr) {
                **expr = interval;
            }
        }
    }
}

/// What an operator of arithmetic becomes.
enum Computed {
    /// A function.
    By(Expr),
    /// The operator, of these operands.
    Operands(Expr, Expr),
}

fn arithmetic(op: &BinaryOperator, mut left: Expr, mut right: Expr, schema: &DFSchema) -> Result<Computed> {
    use BinaryOperator::*;
    use Kind::{Interval, Number};
    if matches!(op, Plus | Minus) {
        in_one_unit(&mut [&mut left, &mut right], schema);
    }
    let (one, other) = (kind(&left, schema), kind(&right, schema));
    let (Some(one), Some(other)) = (one, other) else { return Ok(Computed::Operands(left, right)) };
    let takes_interval = |kind: Kind| kind == Interval || kind.is_time();
    let is_sum = matches!(op, Plus | Minus);
    Ok(match (one, op, other) {
        (Number, Divide, Number) => {
            let floating = left.get_type(schema)?.is_floating() || right.get_type(schema)?.is_floating();
            let right = if floating { nonzero::udf().call(vec![right]) } else { right };
            Computed::Operands(left, right)
        }
        // Arrow, and so DataFusion's planner, refuses them.
        (Number, Multiply, Number) if scales(&left, &right, schema)? > i32::from(DECIMAL128_MAX_SCALE) => {
            Computed::By(decimal_multiply::udf().call(vec![left, right]))
        }
        (Number, _, Number) => Computed::Operands(left, right),
        (Interval, Multiply, Number) => Computed::By(interval_scale::multiply_udf().call(vec![left, right])),
        (Number, Multiply, Interval) => Computed::By(interval_scale::multiply_udf().call(vec![right, left])),
        (Interval, Divide, Number) => Computed::By(interval_scale::divide_udf().call(vec![left, right])),
        (Interval, Plus | Minus, Interval) if are_of_two_kinds(&left, &right, schema) => {
            let problem = format!("cannot compute INTERVAL {op} INTERVAL: one is of years and months, one of days and less");
            return Err(error_at(problem, MONTHS, &[&left, &right]));
        }
        (Interval, Plus | Minus, Interval) => Computed::Operands(left, right),
        (Kind::Time, Plus | Minus, Interval) => Computed::Operands(left, beside_time(right, schema)?),
        (Interval, Plus, Kind::Time) => Computed::Operands(beside_time(left, schema)?, right),
        (time, Plus | Minus, Interval) if time.is_time() => Computed::Operands(left, right),
        (Interval, Plus, time) if time.is_time() => Computed::Operands(left, right),
        (one, _, Number)
            if is_sum
                && takes_interval(one)
                && let Some(interval) = as_interval(&right) =>
        {
            let interval = if one == Kind::Time { beside_time(interval, schema)? } else { interval };
            Computed::Operands(left, interval)
        }
        (Number, _, other)
            if is_sum
                && takes_interval(other)
                && let Some(interval) = as_interval(&left) =>
        {
            let interval = if other == Kind::Time { beside_time(interval, schema)? } else { interval };
            Computed::Operands(interval, right)
        }
        (one, Minus, other) if one.is_time() && one == other => {
            return Err(error_at(
                "a difference of two times needs a qualifier",
                "Write (a - b) SECOND for a number of seconds, or (a - b) DAY TO SECOND for an interval.",
                &[&left, &right],
            ));
        }
        (one, _, other) => {
            let names = [field_name(&left, schema)?, field_name(&right, schema)?];
            let hint = match (one.is_time(), other.is_time()) {
                (true, _) | (_, true) => "Times take intervals: t + INTERVAL '1' SECOND, or t + n * INTERVAL '1' SECOND.",
                _ => "Convert one of them: CAST(… AS …).",
            };
            return Err(error_at(format!("cannot compute {} {op} {}", names[0], names[1]), hint, &[&left, &right]));
        }
    })
}

/// The digits after the point that the exact product of two numbers has.
fn scales(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<i32> {
    let scale = |expr: &Expr| match expr.get_type(schema)? {
        DataType::Decimal128(_, scale) => Ok::<_, DataFusionError>(i32::from(scale)),
        _ => Ok(0),
    };
    Ok(scale(left)? + scale(right)?)
}

/// Intervals come in two kinds, that cannot be compared or added: of months, and of days, hours, minutes and seconds (§1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IntervalKind {
    Months,
    Days,
}

/// None if the expression does not show it: a column of the type that holds both.
fn kind_of_interval(expr: &Expr, schema: &DFSchema) -> Option<IntervalKind> {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => match (value.months, value.days, value.nanoseconds) {
            (0, 0, 0) => None,
            (0, ..) => Some(IntervalKind::Days),
            _ => Some(IntervalKind::Months),
        },
        Expr::Alias(alias) => kind_of_interval(&alias.expr, schema),
        Expr::Negative(inner) => kind_of_interval(inner, schema),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus | Operator::Minus, right }) => {
            kind_of_interval(left, schema).or_else(|| kind_of_interval(right, schema))
        }
        _ => match (expr.get_type(schema).ok()?, expr) {
            (DataType::Duration(_), _) => Some(IntervalKind::Days),
            (DataType::Interval(IntervalUnit::YearMonth), _) => Some(IntervalKind::Months),
            // Of a product or quotient the interval.
            (DataType::Interval(_), Expr::ScalarFunction(function)) => kind_of_interval(function.args.first()?, schema),
            _ => None,
        },
    }
}

const MONTHS: &str = "A month has no fixed number of days: write the interval in days, or add it to a DATE or TIMESTAMP.";

fn are_of_two_kinds(left: &Expr, right: &Expr, schema: &DFSchema) -> bool {
    matches!((kind_of_interval(left, schema), kind_of_interval(right, schema)), (Some(one), Some(other)) if one != other)
}

/// An interval of the one type that DataFusion adds to a TIME.
fn beside_time(interval: Expr, schema: &DFSchema) -> Result<Expr> {
    if kind_of_interval(&interval, schema) == Some(IntervalKind::Months) {
        return Err(error_at(
            "a TIME has no years and months",
            "Times take intervals of hours, minutes and seconds.",
            &[&interval],
        ));
    }
    Ok(match interval.get_type(schema)? {
        DataType::Duration(_) => cast(interval, DataType::Interval(IntervalUnit::MonthDayNano)),
        _ => interval,
    })
}

/// Text goes with text, bytes with bytes (§1.9).
fn concatenable(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    let takes = |kind: Option<Kind>| matches!(kind, None | Some(Kind::Text | Kind::Bytes));
    let (one, other) = (kind(left, schema), kind(right, schema));
    if takes(one) && takes(other) && (one == other || one.is_none() || other.is_none()) {
        return Ok(());
    }
    let [one, other] = [field_name(left, schema)?, field_name(right, schema)?];
    Err(error_at(format!("cannot concatenate {one} with {other}"), "Convert to text: CAST(… AS VARCHAR(n)).", &[left, right]))
}

/// As in "the results of CASE are text and a number".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Number => "a number",
            Kind::Text => "text",
            Kind::Bytes => "bytes",
            Kind::Truth => "a truth value",
            Kind::Date => "a DATE",
            Kind::Time => "a TIME",
            Kind::Timestamp => "a TIMESTAMP",
            Kind::Interval => "an interval",
        })
    }
}
