//! What aggregates, with OVER and without, make of arguments that are no numbers, texts or times (kda-sql-reference.md §5.2): SUM and AVG
//! take no interval, MIN, MAX and the like of an interval have its fields, and of a record only COUNT is known.

use arrow::datatypes::DataType;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, lit, when};
use kinesql_udfs::sql_type::qualifier_metadata;

use super::casts::fields_of;
use crate::plan::expr_text::function_name;
use crate::plan::operators::{Kind, error_at};
use crate::plan::window_functions::{FIRST_VALUE, LAG, LAST_VALUE, NTH_VALUE, NTH_VALUE_FROM_LAST};

/// Functions whose result is one of the values of their argument.
const ONE_OF_THEM: [&str; 9] =
    ["min", "max", "first_value", "last_value", FIRST_VALUE, LAST_VALUE, NTH_VALUE, NTH_VALUE_FROM_LAST, LAG];

/// Fails if the function `name` takes numbers only and `argument` is an interval.
pub(super) fn check_interval(name: &str, argument: Option<&Expr>, schema: &DFSchema) -> Result<()> {
    let Some(argument) = argument.filter(|_| matches!(name, "sum" | "avg")) else { return Ok(()) };
    if Kind::of(&argument.get_type(schema)?) != Some(Kind::Interval) {
        return Ok(());
    }
    let hint = "Take a number of one unit: (a - b) SECOND is one.";
    Err(error_at(format!("{} takes numbers, not an interval", function_name(name)), hint, &[argument]))
}

/// `result` of the function `name` under the name `column`, which says the fields of an interval if those of `argument` are known.
pub(super) fn named(result: Expr, column: String, name: &str, argument: Option<&Expr>, schema: &DFSchema) -> Expr {
    let fields = argument.filter(|_| ONE_OF_THEM.contains(&name)).and_then(|argument| fields_of(argument, schema));
    match fields {
        Some(fields) => result.alias_with_metadata(column, Some(FieldMetadata::from(qualifier_metadata(&fields)))),
        None if result.schema_name().to_string() == column => result,
        None => result.alias(column),
    }
}

/// What the function `name` with OVER counts instead of a record: whether there is one. None for any other argument, and for functions
/// that are no aggregates; an error for one that would have to compare or keep records.
pub(super) fn of_record(name: &str, distinct: bool, argument: &Expr, data_type: &DataType) -> Result<Option<Expr>> {
    if !data_type.is_nested() {
        return Ok(None);
    }
    if name == "count" && !distinct {
        return Ok(Some(when(argument.clone().is_not_null(), lit(1)).end()?));
    }
    if name != "count" && !ONE_OF_THEM.contains(&name) {
        return Ok(None);
    }
    let (what, hint) = match data_type {
        DataType::Struct(_) => ("a record", "Take a field of it: alias.column.FIELD."),
        _ => ("an array", "Take an element of it: array[1]."),
    };
    Err(error_at(format!("{} with OVER cannot take {what}", function_name(name)), hint, &[argument]))
}
