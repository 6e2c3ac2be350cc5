//! REGEX_REPLACE (s, regex, replacement, start, occurrence) (kda-sql-reference.md §5.8).
//!
//! Input:  text, a Java regular expression, a replacement in which `$n` and `${name}` are groups of the match and a backslash
//!         makes the next character literal; the place to start at, from 1; which match to replace, 0 for all.
//! Output: VARCHAR(65535); NULL if an argument is NULL. A start past the end leaves the text as it is.
//! Errors: a wrong expression or replacement, of a constant when the query is planned; a start before 1 or a negative
//!         occurrence, for the row.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::StringBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_REGEX;

use super::java_regex::{FIND, Groups, JavaRegex};
use super::text_arguments::{byte_of_character, row_error};
use super::text_function::{Kind, TextFunction, plan_error};
use crate::sql_type::{CHARACTER_LENGTH_MAX, SqlType};

/// The function `regex_replace`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "regex_replace",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "Text."),
            ("regex", Kind::Text, "A Java regular expression."),
            ("replacement", Kind::Text, "What takes the place of a match; `$1` is the first group of the match."),
            ("start", Kind::Integer, "The character to start at, from 1."),
            ("occurrence", Kind::Integer, "Which match to replace, from 1; 0 for all."),
        ],
        required: 5,
        section: DOC_SECTION_REGEX,
        summary: "Replaces matches of a regular expression.",
        sql_form: None,
        example: ("regex_replace('a1b2', '[0-9]', '<$0>', 1, 0)", "a<1>b<2>"),
        plan: |args| {
            let checked = match (args.text(1), args.text(2)) {
                (Some(pattern), replacement) => FIND
                    .get(pattern, None)
                    .and_then(|regex| replacement.map_or(Ok(()), |replacement| pieces(replacement, &regex).map(drop))),
                _ => Ok(()),
            };
            checked.map_err(plan_error)?;
            Ok(args.field(SqlType::Varchar(CHARACTER_LENGTH_MAX)))
        },
        run: |args| {
            let (texts, patterns, replacements) = (args.texts(0)?, args.texts(1)?, args.texts(2)?);
            let (starts, occurrences) = (args.integers(3)?, args.integers(4)?);
            let constant = patterns.is_constant() && replacements.is_constant();
            let mut compiled = FIND.rows();
            let mut replaced = StringBuilder::with_capacity(args.rows, texts.byte_count());
            let mut parts: Option<Vec<Piece>> = None;
            for row in 0..args.rows {
                let (Some(text), Some(pattern), Some(replacement), Some(start), Some(occurrence)) =
                    (texts.at(row), patterns.at(row), replacements.at(row), starts.at(row), occurrences.at(row))
                else {
                    replaced.append_null();
                    continue;
                };
                if start < 1 || occurrence < 0 {
                    let rule = "the start counts from 1, the occurrence from 0";
                    return Err(row_error(format!("REGEX_REPLACE cannot start at {start} for occurrence {occurrence}: {rule}")));
                }
                let regex = compiled.at(pattern, None).map_err(row_error)?;
                let parts = match &mut parts {
                    Some(parts) if constant => parts,
                    parts => parts.insert(pieces(replacement, regex).map_err(row_error)?),
                };
                let from = byte_of_character(text, usize::try_from(start - 1).unwrap_or(usize::MAX));
                let mut copied = 0;
                if from < text.len() || start == 1 {
                    for_matches(regex, text, from, occurrence, |whole, groups| {
                        // Writing to a builder cannot fail.
                        let _ = replaced.write_str(&text[copied..whole.start]);
                        for part in &*parts {
                            let _ = match part {
                                Piece::Text(part) => replaced.write_str(part),
                                Piece::Group(group) => {
                                    replaced.write_str(groups.get(*group).map_or("", |(from, to)| &text[from..to]))
                                }
                            };
                        }
                        copied = whole.end;
                    })
                    .map_err(row_error)?;
                }
                replaced.append_value(&text[copied..]);
            }
            Ok(Arc::new(replaced.finish()))
        },
    }
    .udf()
}

/// Calls `found` with the match that `occurrence` says, or with all for 0. As in Java a match may be empty where the one before
/// it ended.
fn for_matches(
    regex: &JavaRegex,
    text: &str,
    from: usize,
    occurrence: i64,
    mut found: impl FnMut(Range<usize>, &Groups),
) -> Result<(), String> {
    let mut groups = regex.groups();
    let (mut at, mut number) = (from, 0);
    while at <= text.len() {
        let Some(whole) = regex.captures_at(text, at, &mut groups)? else { break };
        // Past an empty match by one character, which is what the text has there.
        let past = if whole.is_empty() { text[whole.end..].chars().next().map_or(1, char::len_utf8) } else { 0 };
        at = whole.end + past;
        number += 1;
        if occurrence == 0 || occurrence == number {
            found(whole, &groups);
        }
        if occurrence == number {
            break;
        }
    }
    Ok(())
}

/// A part of a replacement.
enum Piece {
    Text(String),
    Group(usize),
}

fn pieces(replacement: &str, regex: &JavaRegex) -> Result<Vec<Piece>, String> {
    let wrong = |reason: &str| format!("the replacement '{replacement}' is wrong: {reason}");
    let groups = regex.captures_len();
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\\' => text.push(rest.next().ok_or_else(|| wrong("it ends in a backslash"))?),
            '$' => {
                let group = match rest.next() {
                    Some('{') => {
                        let name: String = rest.by_ref().take_while(|next| *next != '}').collect();
                        regex.group_named(&name).ok_or_else(|| wrong("it names an unknown group"))?
                    }
                    Some(digit) if digit.is_ascii_digit() => {
                        let value = |digit: char| digit as usize - '0' as usize;
                        let mut group = value(digit);
                        // More digits belong to the number as long as there is such a group.
                        while let Some(more) = rest.next_if(|next| next.is_ascii_digit() && group * 10 + value(*next) < groups) {
                            group = group * 10 + value(more);
                        }
                        group
                    }
                    _ => return Err(wrong("a $ must be followed by the number of a group, or escaped as \\$")),
                };
                if group >= groups {
                    return Err(wrong(&format!("the regular expression has no group {group}")));
                }
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Group(group));
            }
            literal => text.push(literal),
        }
    }
    pieces.push(Piece::Text(text));
    Ok(pieces)
}
