//! LIKE and its ESCAPE as a function (kda-sql-reference.md §1.9): `_` is one character, `%` any run of them, nothing escapes unless
//! an escape character is declared. DataFusion's own LIKE takes the backslash as escape, always and only.
//!
//! Input:  text, the pattern, and the escape character; the pattern may be a column.
//! Output: BOOLEAN; NULL if an argument is NULL. The whole text must match, in the same case of letters.
//! Errors: an escape that is not one character, or that stands before anything but `_`, `%` or itself: of constants when the
//!         query is planned, else for the row.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Scalar, StringArray, StringBuilder};
use arrow::compute::kernels::comparison::like;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::pattern_cache::escape_character;
use super::text_arguments::{Arguments, row_error};
use super::text_function::{Kind, TextFunction, plan_error};
use crate::sql_type::SqlType;

/// The function `is_like`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "is_like",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "Text."),
            ("pattern", Kind::Text, "`_` is one character, `%` any run of characters."),
            ("escape", Kind::Text, "The character that makes a following `_` or `%` literal; none unless given."),
        ],
        required: 2,
        section: DOC_SECTION_STRING,
        summary: "Returns whether the whole text matches the pattern.",
        sql_form: Some("s LIKE pattern [ESCAPE escape]"),
        example: ("is_like('50%', '__#%', '#')", "true"),
        plan: |args| {
            let escape = args.text(2).map(escape_character).transpose();
            let checked = escape.and_then(|escape| match args.text(1) {
                Some(pattern) if args.len() == 2 || escape.is_some() => with_backslashes(pattern, escape).map(drop),
                _ => Ok(()),
            });
            checked.map_err(plan_error)?;
            Ok(args.field(SqlType::Boolean))
        },
        run,
    }
    .udf()
}

fn run(args: &Arguments<'_>) -> Result<ArrayRef> {
    let (texts, patterns) = (args.texts(0)?, args.texts(1)?);
    let escapes = (args.len() > 2).then(|| args.texts(2)).transpose()?;
    let constant = patterns.is_constant() && escapes.as_ref().is_none_or(|escapes| escapes.is_constant());
    let rows = if constant { 1 } else { args.rows };
    let mut translated = StringBuilder::with_capacity(rows, patterns.byte_count());
    for row in 0..rows {
        let escape = match &escapes {
            None => None,
            Some(escapes) => match escapes.at(row) {
                Some(escape) => Some(escape_character(escape).map_err(row_error)?),
                None => {
                    translated.append_null();
                    continue;
                }
            },
        };
        match patterns.at(row) {
            Some(pattern) => translated.append_value(with_backslashes(pattern, escape).map_err(row_error)?),
            None => translated.append_null(),
        }
    }
    let translated = translated.finish();
    let matches: BooleanArray = match (texts.is_constant(), constant) {
        (false, true) => like(texts.column(), &Scalar::new(translated))?,
        (true, false) => {
            let repeated: StringArray = (0..rows).map(|row| texts.at(row)).collect();
            like(&repeated, &translated)?
        }
        _ => like(texts.column(), &translated)?,
    };
    Ok(Arc::new(matches))
}

/// The pattern as arrow takes it, where the backslash escapes.
fn with_backslashes(pattern: &str, escape: Option<char>) -> Result<String, String> {
    let mut translated = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            match characters.next() {
                Some(literal) if "_%".contains(literal) || Some(literal) == escape => {
                    translated.push('\\');
                    translated.push(literal);
                }
                _ => {
                    return Err(format!(
                        "in the pattern '{pattern}' the escape character {character} must stand before _, % or itself"
                    ));
                }
            }
        } else {
            if character == '\\' {
                translated.push('\\');
            }
            translated.push(character);
        }
    }
    Ok(translated)
}
