//! KDA's result types of functions with OVER: as in `aggregate_types`, SUM and AVG have the type of their argument
//! (kda-sql-reference.md §1.7).
//!
//! The wide result is computed and cast back in a projection above; a value that does not fit is the error of its row.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::functions_aggregate::{average::avg_udaf, count::count_udaf, sum::sum_udaf};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, Window, WindowFunctionDefinition, cast};

use super::aggregate_types::{average, summed_as};
use super::aggregated;
use crate::plan::operators::{Kind, error_at};
use crate::plan::window_functions::{EXP_AVG, LAG};
use crate::settings::Settings;

/// The rule for `window`, whose arguments have KDA's types.
pub(super) fn typed(window: Window, settings: &Settings) -> Result<LogicalPlan> {
    let Window { input, window_expr, .. } = window;
    let mut calls: Vec<Expr> = Vec::new();
    let mut call = |function: WindowFunction| {
        let expr = Expr::WindowFunction(Box::new(function));
        let column = Expr::Column(Column::from_name(expr.schema_name().to_string()));
        if !calls.contains(&expr) {
            calls.push(expr);
        }
        column
    };
    let mut results = Vec::with_capacity(window_expr.len());
    for expr in window_expr {
        let name = expr.schema_name().to_string();
        let function = match expr.unalias() {
            Expr::WindowFunction(function) => *function,
            other => return datafusion::common::internal_err!("{other} is not a function of a window"),
        };
        let fun = function.fun.name().to_owned();
        aggregated::check_interval(&fun, function.params.args.first(), input.schema())?;
        let argument_type = function.params.args.first().map(|argument| argument.get_type(input.schema())).transpose()?;
        if let Some(data_type @ DataType::Null) = &argument_type {
            results.push(of_null(&function, data_type, input.schema())?.alias(name));
            continue;
        }
        if let Some(data_type) = &argument_type
            && let Some(counted) = aggregated::of_record(&fun, function.params.distinct, &function.params.args[0], data_type)?
        {
            let mut function = function;
            function.params.args[0] = counted;
            results.push(call(function).alias(name));
            continue;
        }
        let argument = function.params.args.first().cloned();
        let with = |fun: &Arc<_>, data_type: &DataType| {
            let mut function = function.clone();
            function.fun = WindowFunctionDefinition::AggregateUDF(Arc::clone(fun));
            if let Some(wide) = summed_as(data_type) {
                function.params.args = function.params.args.into_iter().map(|argument| cast(argument, wide.clone())).collect();
            }
            function
        };
        let result = match (function.fun.name(), argument_type) {
            ("avg", Some(data_type)) if data_type.is_integer() && settings.avg_is_double() => {
                let mut function = function.clone();
                function.params.args[0] = cast(function.params.args[0].clone(), DataType::Float64);
                call(function)
            }
            ("avg", Some(data_type)) if data_type.is_integer() => {
                let sum = call(with(&sum_udaf(), &data_type));
                let count = call(with(&count_udaf(), &DataType::Null));
                average(sum, count, data_type)
            }
            ("sum", Some(data_type)) if data_type.is_integer() || matches!(data_type, DataType::Decimal128(..)) => {
                cast(call(with(&sum_udaf(), &data_type)), data_type)
            }
            ("avg", Some(data_type @ DataType::Decimal128(..))) => cast(call(with(&avg_udaf(), &data_type)), data_type),
            ("sum" | "avg", Some(data_type @ DataType::Float32)) => cast(call(function), data_type),
            (EXP_AVG, Some(data_type)) if data_type != DataType::Float64 => {
                if let Some(kind) = Kind::of(&data_type).filter(|kind| *kind != Kind::Number) {
                    let hint = "Average a number: CAST(… AS DOUBLE), or CASE WHEN condition THEN 1 ELSE 0 END.";
                    return Err(error_at(format!("EXP_AVG takes numbers, not {kind}"), hint, &[&function.params.args[0]]));
                }
                let mut function = function.clone();
                function.params.args[0] = cast(function.params.args[0].clone(), DataType::Float64);
                call(function)
            }
            (LAG, Some(data_type)) if function.params.args.len() == 3 => {
                let default = &function.params.args[2];
                if let (Some(kind), Some(other)) = (Kind::of(&data_type), Kind::of(&default.get_type(input.schema())?))
                    && kind != other
                {
                    let hint = "The default stands for a value of the first argument: CAST(… AS …) makes it one of its kind.";
                    return Err(error_at(format!("LAG gives {kind}, and its default is {other}"), hint, &[default]));
                }
                let mut function = function.clone();
                function.params.args[2] = cast(function.params.args[2].clone(), data_type);
                call(function)
            }
            _ => call(function.clone()),
        };
        results.push(aggregated::named(result, name, &fun, argument.as_ref(), input.schema()));
    }
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let output = columns.chain(results).collect();
    if calls.is_empty() {
        return Ok(LogicalPlan::Projection(Projection::try_new(output, input)?));
    }
    let window = LogicalPlan::Window(Window::try_new(calls, input)?);
    Ok(LogicalPlan::Projection(Projection::try_new(output, Arc::new(window))?))
}

/// What `function` gives if its argument is NULL in every row: it counts none, and finds nothing else.
fn of_null(function: &WindowFunction, data_type: &DataType, schema: &DFSchema) -> Result<Expr> {
    let result = match function.fun.name() {
        "count" => ScalarValue::Int64(Some(0)),
        "avg" => ScalarValue::Float64(None),
        LAG if function.params.args.len() == 3 => {
            let hint = "The default stands for a value of the first argument, which is always NULL.";
            return Err(error_at("LAG of NULL has no default", hint, &[&function.params.args[2]]));
        }
        _ => ScalarValue::try_from(
            &Expr::WindowFunction(Box::new(function.clone())).get_type(schema).unwrap_or(data_type.clone()),
        )?,
    };
    Ok(Expr::Literal(result, None))
}
