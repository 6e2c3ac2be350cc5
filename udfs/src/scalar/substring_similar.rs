//! SUBSTRING (s SIMILAR pattern ESCAPE e) (kda-sql-reference.md §5.8): the part of a text between two others.
//!
//! The pattern is `before e" wanted e" after`, each part as in SIMILAR TO; it matches anywhere in the text.
//!
//! Input:  text, the pattern, the escape character; each may be a column.
//! Output: VARCHAR of the length of `s`; NULL if nothing matches or an argument is NULL.
//! Errors: a wrong pattern: of constants when the query is planned, else for the row.

use std::sync::Arc;

use arrow::array::StringBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_REGEX;

use super::pattern_cache::escape_character;
use super::similar_pattern::WANTED;
use super::text_arguments::row_error;
use super::text_function::{Kind, TextFunction, plan_error};
use crate::sql_type::SqlType;

/// The function `substring_similar`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "substring_similar",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "Text."),
            (
                "pattern",
                Kind::Text,
                "A pattern of SIMILAR TO; the escape character and `\"` stand before and after the wanted part.",
            ),
            ("escape", Kind::Text, "The escape character."),
        ],
        required: 3,
        section: DOC_SECTION_REGEX,
        summary: "Returns the wanted part of the first match of a pattern, NULL if there is none.",
        sql_form: Some("SUBSTRING(s SIMILAR pattern ESCAPE escape)"),
        example: (r##"substring_similar('123456789', '23#"456#"78', '#')"##, "456"),
        plan: |args| {
            let checked = match (args.text(1), args.text(2).map(escape_character).transpose()) {
                (Some(pattern), Ok(Some(escape))) => WANTED.get(pattern, Some(escape)).map(drop),
                (_, escape) => escape.map(drop),
            };
            checked.map_err(plan_error)?;
            Ok(args.nullable_field(SqlType::Varchar(args.length(0))))
        },
        run: |args| {
            let (texts, patterns, escapes) = (args.texts(0)?, args.texts(1)?, args.texts(2)?);
            let mut compiled = WANTED.rows();
            let mut parts = StringBuilder::with_capacity(args.rows, texts.byte_count());
            for row in 0..args.rows {
                let (Some(text), Some(pattern), Some(escape)) = (texts.at(row), patterns.at(row), escapes.at(row)) else {
                    parts.append_null();
                    continue;
                };
                let escape = escape_character(escape).map_err(row_error)?;
                let found = compiled.at(pattern, Some(escape)).map_err(row_error)?.captures(text);
                parts.append_option(found.and_then(|found| found.get(1)).map(|part| part.as_str()));
            }
            Ok(Arc::new(parts.finish()))
        },
    }
    .udf()
}
