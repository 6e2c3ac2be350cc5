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
mod floor_to;
mod kda_cast;
mod log_parse;
mod nonzero;
mod patterns;
mod step;
mod strings;

/// The text of a SQL expression's value, or its error without its first words, which say only its kind.
async fn eval(expression: &str) -> String {
    let session = SessionContext::new();
    crate::register_all(&session).expect("names are free");
    let result = async { session.sql(&format!("SELECT {expression} AS x")).await?.collect().await }.await;
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
    let rows = column.len();
    let mut arg_fields: Vec<FieldRef> = vec![Arc::new(Field::new("x", column.data_type().clone(), true))];
    arg_fields.extend(constants.iter().map(|constant| Arc::new(Field::new("c", constant.data_type(), constant.is_null()))));
    let scalar_arguments: Vec<_> = [None].into_iter().chain(constants.iter().map(Some)).collect();
    let return_field =
        function.return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &scalar_arguments })?;
    let args = [ColumnarValue::Array(column)].into_iter().chain(constants.iter().cloned().map(ColumnarValue::Scalar)).collect();
    let config_options = Arc::new(ConfigOptions::default());
    function
        .invoke_with_args(ScalarFunctionArgs { args, arg_fields, number_rows: rows, return_field, config_options })?
        .to_array(rows)
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
