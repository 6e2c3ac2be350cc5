//! Every scalar function, through SQL in a plain DataFusion session and called on columns directly.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, FieldRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use datafusion::prelude::SessionContext;

mod any_pattern;
mod char_to;
mod compare_periods;
mod differences;
mod floor_to;
mod intervals;
mod kda_cast;
mod kda_extract;
mod log_parse;
mod nonzero;
mod nulls;
mod numbers;
mod patterns;
mod step;
mod strings;
mod to_char;

/// The text of a SQL expression's value, or its error without its first words, which say only its kind.
async fn eval(expression: &str) -> String {
    let session = SessionContext::new();
    crate::register_all(&session).expect("names are free");
    let (expression, from) =
        expression.split_once(" FROM (VALUES").filter(|_| !expression.starts_with('(')).unwrap_or((expression, ""));
    let from = if from.is_empty() { String::new() } else { format!(" FROM (VALUES{from}") };
    let sql = format!("SELECT {expression} AS x{from}");
    let result = async { session.sql(&sql).await?.collect().await }.await;
    match result {
        Ok(batches) => {
            let table = pretty_format_batches(&batches).expect("printable").to_string();
            table.lines().nth(3).unwrap_or_default().trim_matches(['|', ' ']).to_owned()
        }
        Err(error) => format!("error: {}", error.strip_backtrace()),
    }
}

async fn check(expression: &str, expected: &str) {
    assert_eq!(eval(expression).await, expected, "{expression}");
}

async fn check_error(expression: &str, message: &str) {
    let result = eval(expression).await;
    assert!(result.starts_with("error: ") && result.contains(message), "{expression}: {result}");
}

/// Calls `function` on a column and constants as DataFusion does: asks for the type, then for the values.
fn call(function: &ScalarUDF, column: ArrayRef, constants: &[ScalarValue]) -> Result<ArrayRef> {
    call_mixed(function, [ColumnarValue::Array(column)].into_iter().chain(constants.iter().cloned().map(ColumnarValue::Scalar)))
}

/// [`call`] with columns alone.
fn call_columns(function: &ScalarUDF, columns: &[ArrayRef]) -> Result<ArrayRef> {
    call_mixed(function, columns.iter().cloned().map(ColumnarValue::Array))
}

fn call_mixed(function: &ScalarUDF, args: impl Iterator<Item = ColumnarValue>) -> Result<ArrayRef> {
    let args: Vec<ColumnarValue> = args.collect();
    let rows = args.iter().find_map(|arg| if let ColumnarValue::Array(column) = arg { Some(column.len()) } else { None });
    let rows = rows.expect("a column");
    let nullable = |arg: &ColumnarValue| if let ColumnarValue::Scalar(value) = arg { value.is_null() } else { true };
    let arg_fields: Vec<FieldRef> =
        args.iter().map(|arg| FieldRef::new(Field::new("x", arg.data_type(), nullable(arg)))).collect();
    let constants = args.iter().map(|arg| if let ColumnarValue::Scalar(value) = arg { Some(value) } else { None });
    let scalar_arguments: Vec<Option<&ScalarValue>> = constants.collect();
    let return_field =
        function.return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &scalar_arguments })?;
    let config_options = Arc::new(ConfigOptions::default());
    let return_type = return_field.data_type().clone();
    let result = function
        .invoke_with_args(ScalarFunctionArgs { args, arg_fields, number_rows: rows, return_field, config_options })?
        .to_array(rows)?;
    assert_eq!(result.data_type(), &return_type, "{}", function.name());
    Ok(result)
}

#[test]
fn every_function_is_documented() {
    for function in crate::all_scalar() {
        let documentation = function.documentation().expect("documented");
        assert!(
            documentation.syntax_example.starts_with(function.name()) && documentation.sql_example.is_some(),
            "{}",
            function.name()
        );
    }
}

/// The examples of the form `select EXPRESSION as x` show what the expression gives.
#[tokio::test]
async fn documented_examples_are_true() {
    let mut checked = 0;
    for function in crate::all_scalar() {
        let example = function.documentation().and_then(|documentation| documentation.sql_example.clone()).unwrap_or_default();
        let lines: Vec<&str> = example.lines().collect();
        let expression = lines.get(1).and_then(|line| line.strip_prefix("> select ")?.strip_suffix(" as x;"));
        let (Some(expression), Some(value)) = (expression, lines.get(5)) else { continue };
        // The parser has forms of its own for these two.
        let name = function.name();
        let called = expression.replacen(&format!("{name}("), &format!("\"{name}\"("), 1);
        check(&called, value.trim_matches(['|', ' '])).await;
        checked += 1;
    }
    assert!(checked >= 19, "{checked}");
}
