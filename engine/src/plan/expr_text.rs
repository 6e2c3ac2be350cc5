//! Expressions as a user of SQL writes them: for EXPLAIN and for messages.

use std::fmt::Write;

use arrow::datatypes::{DataType, Decimal128Type, DecimalType, IntervalUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, WindowFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use kinesql_udfs::scalar::kda_cast;

use super::retimed::RETIMED;
use super::rowtime::GROUP_ROWTIME;
use super::rules::zeros::PLAIN_ZERO;
use super::window_functions::NTH_VALUE_FROM_LAST;
use crate::types::{ROWTIME, sql_type_name};

/// The expressions, with commas in between.
pub(super) fn texts<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> String {
    exprs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

/// The expressions over the output of `input`, in which results without a name of their own are what they were made of.
pub(super) fn texts_over(exprs: &[Expr], input: &LogicalPlan) -> String {
    texts(&exprs.iter().map(|expr| with_origin(expr, input)).collect::<Vec<_>>())
}

fn with_origin(expr: &Expr, input: &LogicalPlan) -> Expr {
    let replaced = expr.clone().transform_up(|node| {
        let origin = match &node {
            Expr::Column(column) if column.name.contains('(') || column.name.contains(' ') => origin(column, input),
            _ => None,
        };
        Ok(origin.map_or_else(|| Transformed::no(node), Transformed::yes))
    });
    replaced.map_or_else(|_| expr.clone(), |replaced| replaced.data)
}

fn origin(column: &Column, plan: &LogicalPlan) -> Option<Expr> {
    let index = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::Filter(filter) => origin(column, &filter.input),
        LogicalPlan::Sort(sort) => origin(column, &sort.input),
        LogicalPlan::Projection(projection) => Some(with_origin(projection.expr.get(index)?, &projection.input)),
        LogicalPlan::Window(window) => match index.checked_sub(window.input.schema().fields().len()) {
            Some(index) => window.window_expr.get(index).cloned(),
            None => origin(column, &window.input),
        },
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().chain(&aggregate.aggr_expr).nth(index).cloned(),
        _ => None,
    }
}

/// One expression. What has no form of its own in the dialect looks like a call.
pub(super) fn text(expr: &Expr) -> String {
    match expr {
        Expr::Alias(alias) => text(&alias.expr),
        Expr::Column(column) => column_text(column),
        Expr::Literal(value, _) => literal_text(value),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => format!("{} {op} {}", operand(left, *op), operand(right, *op)),
        Expr::Negative(inner) => format!("-{}", grouped(inner)),
        Expr::Not(inner) => format!("NOT {}", grouped(inner)),
        Expr::IsNull(inner) => format!("{} IS NULL", grouped(inner)),
        Expr::IsNotFalse(inner) => format!("{} IS NOT FALSE", grouped(inner)),
        Expr::IsNotNull(inner) => format!("{} IS NOT NULL", grouped(inner)),
        Expr::Cast(cast) => format!("CAST({} AS {})", text(&cast.expr), sql_type_name(&cast.field)),
        Expr::Case(case) => {
            let mut out = "CASE".to_owned();
            if let Some(base) = &case.expr {
                let _ = write!(out, " {}", text(base));
            }
            for (when, then) in &case.when_then_expr {
                let _ = write!(out, " WHEN {} THEN {}", text(when), text(then));
            }
            if let Some(otherwise) = &case.else_expr {
                let _ = write!(out, " ELSE {}", text(otherwise));
            }
            out + " END"
        }
        Expr::Like(like) => {
            let not = if like.negated { "NOT " } else { "" };
            format!("{} {not}LIKE {}", grouped(&like.expr), grouped(&like.pattern))
        }
        Expr::ScalarFunction(function) => match (function.name(), function.args.as_slice()) {
            _ if kda_cast::target(&function.func).is_some() => {
                let target = kda_cast::target(&function.func).map(|target| target.to_string()).unwrap_or_default();
                format!("CAST({} AS {target})", texts(&function.args))
            }
            ("step", [value, step]) => format!("STEP({} BY {})", text(value), text(step)),
            ("floor_to", [value, Expr::Literal(unit, _)]) => format!("FLOOR({} TO {unit})", text(value)),
            ("ceil_to", [value, Expr::Literal(unit, _)]) => format!("CEIL({} TO {unit})", text(value)),
            ("kda_extract", [Expr::Literal(unit, _), value]) => format!("EXTRACT({unit} FROM {})", text(value)),
            // It only watches the divisor.
            ("nonzero", [value]) => text(value),
            (RETIMED, [time, _]) => text(time),
            (PLAIN_ZERO, [value]) => text(value),
            (name, args) => format!("{}({})", function_name(name), texts(args)),
        },
        Expr::AggregateFunction(AggregateFunction { func, params }) => match (func.name(), params.args.as_slice()) {
            (GROUP_ROWTIME, _) => ROWTIME.to_owned(),
            ("count", [Expr::Literal(..)]) => "COUNT(*)".to_owned(),
            (name, args) => {
                let distinct = if params.distinct { "DISTINCT " } else { "" };
                format!("{}({distinct}{})", function_name(name), texts(args))
            }
        },
        Expr::WindowFunction(function) => format!("{} OVER (…)", window_call_text(function)),
        other => other.human_display().to_string(),
    }
}

/// A function with OVER, without its window.
pub(super) fn window_call_text(function: &WindowFunction) -> String {
    let (name, from) = match function.fun.name() {
        NTH_VALUE_FROM_LAST => ("nth_value", " FROM LAST"),
        name => (name, ""),
    };
    let ignore_nulls = function.params.null_treatment == Some(NullTreatment::IgnoreNulls);
    let nulls = if ignore_nulls { " IGNORE NULLS" } else { "" };
    let arguments = match function.params.args.as_slice() {
        arguments if function.params.distinct => format!("DISTINCT {}", texts(arguments)),
        [Expr::Literal(..)] if name == "count" => "*".to_owned(),
        arguments => texts(arguments),
    };
    format!("{}({arguments}){from}{nulls}", function_name(name))
}

/// What SQL calls a function that DataFusion, or its planner, has under this name.
pub(crate) fn function_name(name: &str) -> String {
    match name {
        "bool_and" => "EVERY".to_owned(),
        "bool_or" => "ANY".to_owned(),
        "character_length" => "CHAR_LENGTH".to_owned(),
        "kda_extract" => "EXTRACT".to_owned(),
        "kda_substring" | "substring_from" => "SUBSTRING".to_owned(),
        "stddev" => "STDDEV_SAMP".to_owned(),
        "strpos" => "POSITION".to_owned(),
        "btrim" | "ltrim" | "rtrim" => "TRIM".to_owned(),
        "now" => "CURRENT_TIMESTAMP".to_owned(),
        "ceil_to" => "CEIL".to_owned(),
        "floor_to" => "FLOOR".to_owned(),
        "is_like" => "LIKE".to_owned(),
        "similar_to" => "SIMILAR TO".to_owned(),
        "substring_similar" => "SUBSTRING".to_owned(),
        "var" => "VAR_SAMP".to_owned(),
        name => name.trim_start_matches('$').to_uppercase(),
    }
}

/// An operand, in parentheses unless `above` binds less than the operator inside.
fn operand(expr: &Expr, above: Operator) -> String {
    match expr {
        Expr::BinaryExpr(inner) if inner.op.precedence() <= above.precedence() && inner.op != Operator::And => {
            format!("({})", text(expr))
        }
        Expr::BinaryExpr(inner) if inner.op == Operator::And && above != Operator::And => format!("({})", text(expr)),
        _ => text(expr),
    }
}

fn grouped(expr: &Expr) -> String {
    if matches!(expr, Expr::BinaryExpr(_)) { format!("({})", text(expr)) } else { text(expr) }
}

/// A name in quotes unless it folds to itself. What the planner made up for an inner result is its text already.
fn column_text(column: &Column) -> String {
    let name = |name: &str| {
        let plain = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if plain { name.to_owned() } else { format!("\"{name}\"") }
    };
    match &column.relation {
        // The query does not name the relations that its joins and table functions are.
        Some(relation) if relation.table().starts_with('$') => name(&column.name),
        Some(relation) => format!("{}.{}", name(relation.table()), name(&column.name)),
        None => name(&column.name),
    }
}

fn literal_text(value: &ScalarValue) -> String {
    match (value.data_type(), value) {
        _ if value.is_null() => "NULL".to_owned(),
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => format!("'{}'", value.to_string().replace('\'', "''")),
        (DataType::Interval(IntervalUnit::MonthDayNano), ScalarValue::IntervalMonthDayNano(Some(interval))) => {
            match (interval.months, interval.days, interval.nanoseconds / 1_000_000) {
                (months, 0, 0) if months != 0 => match months % 12 {
                    0 => format!("INTERVAL '{}' YEAR", months / 12),
                    _ => format!("INTERVAL '{months}' MONTH"),
                },
                (0, days, milliseconds) => milliseconds_text(i64::from(days) * 86_400_000 + milliseconds),
                _ => value.to_string(),
            }
        }
        (DataType::Duration(_), ScalarValue::DurationMillisecond(Some(milliseconds))) => milliseconds_text(*milliseconds),
        (DataType::Boolean, _) => value.to_string().to_uppercase(),
        (DataType::Timestamp(..), ScalarValue::TimestampMillisecond(Some(milliseconds), _)) => {
            let time = chrono::DateTime::from_timestamp_millis(*milliseconds).unwrap_or_default();
            format!("TIMESTAMP '{}'", time.format("%Y-%m-%d %H:%M:%S%.3f"))
        }
        (DataType::Decimal128(..), ScalarValue::Decimal128(Some(value), precision, scale)) => {
            Decimal128Type::format_decimal(*value, *precision, *scale)
        }
        _ => value.to_string(),
    }
}

/// In the largest unit that divides it.
pub(super) fn milliseconds_text(milliseconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "DAY"), (3_600_000, "HOUR"), (60_000, "MINUTE"), (1_000, "SECOND")];
    match UNITS.iter().find(|(size, _)| milliseconds % size == 0) {
        Some((size, unit)) => format!("INTERVAL '{}' {unit}", milliseconds / size),
        None => format!("INTERVAL '{}' SECOND", milliseconds as f64 / 1_000.0),
    }
}
