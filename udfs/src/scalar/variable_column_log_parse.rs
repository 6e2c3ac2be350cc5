//! VARIABLE_COLUMN_LOG_PARSE (s, n | columns, delimiter [, escape [, quote]]) (kda-sql-reference.md §5.9): a line whose columns are
//! separated by a delimiter.
//!
//! Input:  text, and as constants: a number of columns or their description (log_columns.rs); the delimiter, one or more
//!         characters; the escape, one character that makes the next one literal; the quote, one character or two (open, close).
//!         An empty escape or quote is none. Between quotes no delimiter counts; quotes at the start of a column are dropped
//!         with their closing ones, others stay.
//! Output: a record (log_record.rs): missing columns are NULL, more than described are ignored.
//! NULL:   a NULL line gives a NULL record.
//! Errors: wrong constants, when the query is planned; NULL in a NOT NULL column, for the row.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::log_columns::{Column, described, numbered};
use super::log_record::{RecordBuilder, fields};
use super::text_arguments::row_error;
use super::text_function::{Kind, TextFunction, plan_error};

/// The function `variable_column_log_parse`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "variable_column_log_parse",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "A line."),
            (
                "columns",
                Kind::TextOrInteger,
                "How many columns, or `name TYPE type [NOT NULL] [format]`, separated by commas; a constant.",
            ),
            ("delimiter", Kind::Text, "What stands between two columns; a constant."),
            ("escape", Kind::Text, "The character that makes the next one literal; a constant, none unless given."),
            ("quote", Kind::Text, "One character, or an opening and a closing one; a constant, none unless given."),
        ],
        required: 3,
        section: DOC_SECTION_STRING,
        summary: "Splits a line at a delimiter.",
        sql_form: None,
        example: ("variable_column_log_parse('/a 12', 'PATH TYPE VARCHAR(64), MS TYPE INTEGER', ' ')", "{PATH: /a, MS: 12}"),
        plan: |args| {
            let columns = match args.constant_integer(1) {
                Some(count) => numbered(count),
                None => described(args.constant_text(1)?, false),
            };
            let option = |argument: usize| if args.len() > argument { args.constant_text(argument) } else { Ok("") };
            let form = Form::try_new(args.constant_text(2)?, option(3)?, option(4)?);
            let columns = form.and(columns).map_err(plan_error)?;
            Ok(args.record(fields(&columns)))
        },
        run: |args| {
            let text = |argument: usize| -> Result<&str> {
                Ok(if args.len() > argument { args.constant_text(argument)?.unwrap_or_default() } else { "" })
            };
            let form = Form::try_new(text(2)?, text(3)?, text(4)?).map_err(row_error)?;
            let columns: Vec<Column> = match args.constant_integer(1) {
                Some(count) => numbered(count),
                None => described(text(1)?, false),
            }
            .map_err(row_error)?;
            let lines = args.texts(0)?;
            let mut records = RecordBuilder::new(&columns, args, lines.byte_count());
            let mut value = String::new();
            for row in 0..args.rows {
                match lines.at(row) {
                    Some(line) => {
                        form.split(line, columns.len(), &mut value, |value| records.push(Some(value)));
                        records.end_record();
                    }
                    None => records.null_record(),
                }
            }
            records.finish()
        },
    }
    .knowing_query_time()
}

/// How columns are separated.
struct Form<'a> {
    delimiter: &'a str,
    escape: Option<char>,
    quotes: Option<(char, char)>,
}

impl<'a> Form<'a> {
    fn try_new(delimiter: &'a str, escape: &str, quote: &str) -> Result<Self, String> {
        if delimiter.is_empty() {
            return Err("the delimiter of VARIABLE_COLUMN_LOG_PARSE must not be empty".to_owned());
        }
        let mut characters = escape.chars();
        let (escape_character, None) = (characters.next(), characters.next()) else {
            return Err(format!("the escape of VARIABLE_COLUMN_LOG_PARSE is one character, not '{escape}'"));
        };
        let mut characters = quote.chars();
        let quotes = match (characters.next(), characters.next(), characters.next()) {
            (None, ..) => None,
            (Some(open), None, _) => Some((open, open)),
            (Some(open), Some(close), None) => Some((open, close)),
            _ => return Err(format!("the quote of VARIABLE_COLUMN_LOG_PARSE is one character or two, not '{quote}'")),
        };
        Ok(Self { delimiter, escape: escape_character, quotes })
    }

    /// Calls `column` with the value of each of the first `count` columns; `value` is room to put it together.
    fn split(&self, line: &str, count: usize, value: &mut String, mut column: impl FnMut(&str)) {
        if self.escape.is_none() && self.quotes.is_none() {
            line.split(self.delimiter).take(count).for_each(column);
            return;
        }
        let mut rest = line;
        for _ in 0..count {
            let (length, ended) = self.first(rest, value);
            column(value);
            if !ended {
                return;
            }
            rest = &rest[length..];
        }
    }

    /// Puts the first column of `line` together. Returns the bytes that it takes with its delimiter, and whether there was one.
    fn first(&self, line: &str, value: &mut String) -> (usize, bool) {
        value.clear();
        // The quote that is open, and whether it was dropped.
        let mut open: Option<(char, bool)> = None;
        let mut characters = line.char_indices();
        while let Some((place, character)) = characters.next() {
            if Some(character) == self.escape {
                value.push(characters.next().map_or(character, |(_, literal)| literal));
                continue;
            }
            match (open, self.quotes) {
                (Some((close, dropped)), _) if character == close => {
                    open = None;
                    if !dropped {
                        value.push(character);
                    }
                }
                (None, Some((opening, close))) if character == opening => {
                    open = Some((close, place == 0));
                    if place > 0 {
                        value.push(character);
                    }
                }
                (None, _) if line[place..].starts_with(self.delimiter) => return (place + self.delimiter.len(), true),
                _ => value.push(character),
            }
        }
        (line.len(), false)
    }
}
