//! SUBSTRING by place or by regular expression (kda-sql-reference.md §5.8, §8.6).
//!
//! | SQL | Call | Past the end |
//! | --- | --- | --- |
//! | `SUBSTRING(s, p [, n])` | `kda_substring(s, p [, n])` | NULL |
//! | `SUBSTRING(s FROM p [FOR n])` | `substring_from(s, p [, n])` | empty |
//! | `SUBSTRING(s FROM 'regex')` | `substring_from(s, regex)` | NULL where nothing matches |
//!
//! Input:  text or binary; whole numbers in characters or bytes, the first is number 1. A place before it takes as much from `n`.
//! Output: VARCHAR or VARBINARY of the length of `s`; NULL if an argument is NULL.
//! Errors: a negative `n`, for the row; a wrong regular expression, of a constant when the query is planned.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, StringBuilder};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::java_regex::FIND;
use super::text_arguments::{Arguments, byte_of_character, is_binary, is_text, row_error};
use super::text_function::{Kind, PlanArguments, TextFunction, plan_error};
use crate::sql_type::SqlType;

/// The function `kda_substring`: DataFusion has a `substring` of its own, an alias of `substr`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "kda_substring",
        aliases: &[],
        parameters: &[
            ("s", Kind::TextOrBinary, "Text or binary."),
            ("p", Kind::Integer, "The first character, from 1. Past the end the result is NULL."),
            ("n", Kind::Integer, "How many characters; up to the end unless given."),
        ],
        required: 2,
        section: DOC_SECTION_STRING,
        summary: "Returns a part of a text.",
        sql_form: None,
        example: ("kda_substring('123456789', 3, 4)", "3456"),
        plan: |args| Ok(args.nullable_field(part_type(args))),
        run: |args| by_place(args, PastEnd::Null),
    }
    .udf()
}

/// The function `substring_from`.
pub fn from_udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "substring_from",
        aliases: &[],
        parameters: &[
            ("s", Kind::TextOrBinary, "Text or binary."),
            ("p", Kind::TextOrInteger, "The first character, from 1, or a Java regular expression."),
            ("n", Kind::Integer, "How many characters; up to the end unless given."),
        ],
        required: 2,
        section: DOC_SECTION_STRING,
        summary: "Returns a part of a text: from a place, or the first match of a regular expression and NULL if there is none.",
        sql_form: Some("SUBSTRING(s FROM p [FOR n]), SUBSTRING(s FROM 'regex')"),
        example: ("substring_from('TECHNOLOGY', 'L[A-Z]*')", "LOGY"),
        plan: plan_from,
        run: |args| if is_text(&args.data_type(1)) { by_regex(args) } else { by_place(args, PastEnd::Empty) },
    }
    .udf()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PastEnd {
    Null,
    Empty,
}

fn part_type(args: &PlanArguments<'_>) -> SqlType {
    let binary = is_binary(args.data_type(0));
    if binary { SqlType::Varbinary(args.length(0)) } else { SqlType::Varchar(args.length(0)) }
}

fn plan_from(args: &PlanArguments<'_>) -> Result<FieldRef> {
    if !is_text(args.data_type(1)) {
        return Ok(args.field(part_type(args)));
    }
    if args.len() > 2 {
        return plan_err!("SUBSTRING with FOR takes a number after FROM, not a regular expression");
    }
    if is_binary(args.data_type(0)) {
        return plan_err!("a regular expression is found in text, not in binary");
    }
    if let Some(pattern) = args.text(1) {
        FIND.get(pattern, None).map_err(plan_error)?;
    }
    Ok(args.nullable_field(part_type(args)))
}

fn by_regex(args: &Arguments<'_>) -> Result<ArrayRef> {
    let (texts, patterns) = (args.texts(0)?, args.texts(1)?);
    let mut compiled = FIND.rows();
    let mut found = StringBuilder::with_capacity(args.rows, texts.byte_count());
    for row in 0..args.rows {
        let part = match texts.at(row).zip(patterns.at(row)) {
            Some((text, pattern)) => compiled.at(pattern, None).and_then(|regex| regex.find(text)).map_err(row_error)?,
            None => None,
        };
        found.append_option(part);
    }
    Ok(Arc::new(found.finish()))
}

fn by_place(args: &Arguments<'_>, past_end: PastEnd) -> Result<ArrayRef> {
    let places = args.integers(1)?;
    let counts = (args.len() > 2).then(|| args.integers(2)).transpose()?;
    // The part as characters or bytes [from, to), 0-based and perhaps past the end; None for NULL. The flag says that NULL is
    // the result if there is nothing at the place.
    let part = |row: usize| -> Result<Option<(usize, usize, bool)>> {
        let Some(place) = places.at(row) else { return Ok(None) };
        let from = place.saturating_sub(1);
        let to = match counts.as_ref().map(|counts| counts.at(row)) {
            None => i64::MAX,
            Some(None) => return Ok(None),
            Some(Some(count)) if count < 0 => {
                return Err(row_error(format!("SUBSTRING cannot take {count} characters: the length must not be negative")));
            }
            Some(Some(count)) => from.saturating_add(count),
        };
        let unit = |place: i64| usize::try_from(place.max(0)).unwrap_or(usize::MAX);
        Ok(Some((unit(from), unit(to), past_end == PastEnd::Null && place >= 1)))
    };
    if is_binary(args.result_type()) {
        let (column, is_constant) = args.column(0, &DataType::Binary)?;
        let values = column.as_binary::<i32>();
        let mut parts = BinaryBuilder::with_capacity(args.rows, args.rows * 8);
        for row in 0..args.rows {
            let at = if is_constant { 0 } else { row };
            let (Some((from, to, or_null)), true) = (part(row)?, values.is_valid(at)) else {
                parts.append_null();
                continue;
            };
            let value = values.value(at);
            let (start, end) = (from.min(value.len()), to.min(value.len()));
            parts.append_option((!or_null || start < value.len()).then(|| &value[start..end]));
        }
        return Ok(Arc::new(parts.finish()));
    }
    let texts = args.texts(0)?;
    let mut parts = StringBuilder::with_capacity(args.rows, texts.byte_count());
    for row in 0..args.rows {
        let (Some((from, to, or_null)), Some(text)) = (part(row)?, texts.at(row)) else {
            parts.append_null();
            continue;
        };
        let start = byte_of_character(text, from);
        let end = start + byte_of_character(&text[start..], to - from);
        parts.append_option((!or_null || start < text.len()).then(|| &text[start..end]));
    }
    Ok(Arc::new(parts.finish()))
}
