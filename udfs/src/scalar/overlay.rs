//! OVERLAY (s PLACING r FROM p [FOR n]) (kda-sql-reference.md §5.8): puts `r` in place of `n` characters of `s`.
//!
//! Input:  text, text, and whole numbers in characters; the first character is number 1, and `n` is the length of `r`
//!         unless given. A place before the text counts towards `n`, one past its end appends.
//! Output: text; NULL if an argument is NULL.
//! Errors: a negative `n`, for the row.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::StringBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::text_arguments::{byte_of_character, row_error};
use super::text_function::{Kind, TextFunction};
use crate::sql_type::{CHARACTER_LENGTH_MAX, SqlType};

/// The function `overlay`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "overlay",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "Text."),
            ("r", Kind::Text, "What is put in."),
            ("p", Kind::Integer, "The character of `s`, from 1, at which it is put."),
            ("n", Kind::Integer, "How many characters of `s` it replaces; the length of `r` unless given."),
        ],
        required: 3,
        section: DOC_SECTION_STRING,
        summary: "Replaces a part of a text by another text.",
        sql_form: Some("OVERLAY(s PLACING r FROM p [FOR n])"),
        example: ("overlay('12345', 'foo', 2, 0)", "1foo2345"),
        plan: |args| Ok(args.field(SqlType::Varchar(args.length(0).saturating_add(args.length(1)).min(CHARACTER_LENGTH_MAX)))),
        run: |args| {
            let (texts, replacements, places) = (args.texts(0)?, args.texts(1)?, args.integers(2)?);
            let counts = (args.len() > 3).then(|| args.integers(3)).transpose()?;
            let mut overlaid = StringBuilder::with_capacity(args.rows, texts.byte_count());
            for row in 0..args.rows {
                let count = counts.as_ref().map(|counts| counts.at(row));
                let (Some(text), Some(replacement), Some(place)) = (texts.at(row), replacements.at(row), places.at(row)) else {
                    overlaid.append_null();
                    continue;
                };
                let count = match count {
                    Some(None) => {
                        overlaid.append_null();
                        continue;
                    }
                    Some(Some(count)) if count < 0 => {
                        return Err(row_error(format!("OVERLAY cannot replace {count} characters: FOR must not be negative")));
                    }
                    Some(Some(count)) => count,
                    None => replacement.chars().count() as i64,
                };
                // 0-based; `to` is never before `from`, even where both lie before the text.
                let from = place.saturating_sub(1);
                let to = from.saturating_add(count);
                let byte = |character: i64| byte_of_character(text, usize::try_from(character).unwrap_or(0));
                // Writing to a builder cannot fail.
                let _ = overlaid.write_str(&text[..byte(from)]);
                let _ = overlaid.write_str(replacement);
                overlaid.append_value(&text[byte(to)..]);
            }
            Ok(Arc::new(overlaid.finish()))
        },
    }
    .udf()
}
