//! TRIM (kda-sql-reference.md §5.8): drops a character, a blank unless another is given, at one end of a text or at both.
//!
//! `btrim`, `ltrim` and `rtrim` are the names that DataFusion's planner gives to BOTH, LEADING and TRAILING.
//!
//! Input:  text, and the character as a text of exactly one; a blank unless given.
//! Output: text; NULL if an argument is NULL.
//! Errors: `c` is not one character: of a constant when the query is planned, else for the row.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::text_arguments::{Arguments, row_error, shown};
use super::text_function::{Kind, Parameter, TextFunction, plan_error};
use crate::sql_type::SqlType;

const PARAMETERS: &[Parameter] = &[("s", Kind::Text, "Text."), ("c", Kind::Text, "The character to drop; a blank unless given.")];

/// The function `btrim`, also called `trim`.
pub fn both_udf() -> Arc<ScalarUDF> {
    let summary = "Drops a character at both ends of a text.";
    let example = ("btrim('**5*7*', '*')", "5*7");
    let run = |args: &Arguments<'_>| trimmed(args, |text, dropped| text.trim_matches(dropped));
    udf("btrim", &["trim"], summary, "TRIM([BOTH] [c] FROM s)", example, run)
}

/// The function `ltrim`.
pub fn leading_udf() -> Arc<ScalarUDF> {
    let summary = "Drops a character at the start of a text.";
    let example = ("ltrim('**5*7*', '*')", "5*7*");
    let run = |args: &Arguments<'_>| trimmed(args, |text, dropped| text.trim_start_matches(dropped));
    udf("ltrim", &[], summary, "TRIM(LEADING [c] FROM s)", example, run)
}

/// The function `rtrim`.
pub fn trailing_udf() -> Arc<ScalarUDF> {
    let summary = "Drops a character at the end of a text.";
    let example = ("rtrim('**5*7*', '*')", "**5*7");
    let run = |args: &Arguments<'_>| trimmed(args, |text, dropped| text.trim_end_matches(dropped));
    udf("rtrim", &[], summary, "TRIM(TRAILING [c] FROM s)", example, run)
}

fn udf(
    name: &'static str,
    aliases: &'static [&'static str],
    summary: &'static str,
    sql_form: &'static str,
    example: (&'static str, &'static str),
    run: fn(&Arguments<'_>) -> Result<ArrayRef>,
) -> Arc<ScalarUDF> {
    TextFunction {
        name,
        aliases,
        parameters: PARAMETERS,
        required: 1,
        section: DOC_SECTION_STRING,
        summary,
        sql_form: Some(sql_form),
        example,
        plan: |args| {
            if let Some(text) = args.text(1) {
                character(text).map_err(plan_error)?;
            }
            Ok(args.field(SqlType::Varchar(args.length(0))))
        },
        run,
    }
    .udf()
}

fn trimmed(args: &Arguments<'_>, trim: impl for<'a> Fn(&'a str, char) -> &'a str) -> Result<ArrayRef> {
    let texts = args.texts(0)?;
    let dropped = (args.len() > 1).then(|| args.texts(1)).transpose()?;
    let mut trimmed = StringBuilder::with_capacity(args.rows, texts.byte_count());
    for row in 0..args.rows {
        let dropped = dropped.as_ref().map_or(Some(" "), |dropped| dropped.at(row));
        match texts.at(row).zip(dropped) {
            Some((text, dropped)) => trimmed.append_value(trim(text, character(dropped).map_err(row_error)?)),
            None => trimmed.append_null(),
        }
    }
    Ok(Arc::new(trimmed.finish()))
}

fn character(text: &str) -> Result<char, String> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(character),
        _ => Err(format!("TRIM drops exactly one character, not {}", shown(text))),
    }
}
