//! SIMILAR TO and its ESCAPE as a function (kda-sql-reference.md §1.10).
//!
//! Input:  text, the pattern, and the escape character; the pattern may be a column.
//! Output: BOOLEAN; NULL if an argument is NULL. The whole text must match, in the same case of letters.
//! Errors: a wrong pattern: of a constant when the query is planned, else for the row.

use std::sync::Arc;

use arrow::array::BooleanBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_REGEX;

use super::pattern_cache::escape_character;
use super::similar_pattern::WHOLE;
use super::text_arguments::row_error;
use super::text_function::{Kind, TextFunction, plan_error};
use crate::sql_type::SqlType;

/// The function `similar_to`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "similar_to",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "Text."),
            ("pattern", Kind::Text, "`_`, `%`, `|`, `*`, `+`, `?`, `{n,m}`, `( )`, `[a-e]`, `[^abc]` and `[a-z^abc]`."),
            ("escape", Kind::Text, "The character that makes the next one literal; none unless given."),
        ],
        required: 2,
        section: DOC_SECTION_REGEX,
        summary: "Returns whether the whole text matches a regular expression of SQL.",
        sql_form: Some("s SIMILAR TO pattern [ESCAPE escape]"),
        example: ("similar_to('accccd', 'ab*c+d')", "true"),
        plan: |args| {
            let escape = args.text(2).map(escape_character).transpose();
            let checked = escape.and_then(|escape| match args.text(1) {
                Some(pattern) if args.len() == 2 || escape.is_some() => WHOLE.get(pattern, escape).map(drop),
                _ => Ok(()),
            });
            checked.map_err(plan_error)?;
            Ok(args.field(SqlType::Boolean))
        },
        run: |args| {
            let (texts, patterns) = (args.texts(0)?, args.texts(1)?);
            let escapes = (args.len() > 2).then(|| args.texts(2)).transpose()?;
            let mut compiled = WHOLE.rows();
            let mut matches = BooleanBuilder::with_capacity(args.rows);
            for row in 0..args.rows {
                let escape = match escapes.as_ref().map(|escapes| escapes.at(row)) {
                    None => None,
                    Some(Some(escape)) => Some(escape_character(escape).map_err(row_error)?),
                    Some(None) => {
                        matches.append_null();
                        continue;
                    }
                };
                match texts.at(row).zip(patterns.at(row)) {
                    Some((text, pattern)) => {
                        matches.append_value(compiled.at(pattern, escape).map_err(row_error)?.is_match(text));
                    }
                    None => matches.append_null(),
                }
            }
            Ok(Arc::new(matches.finish()))
        },
    }
    .udf()
}
