//! FAST_REGEX_LOG_PARSE (s, pattern) (kda-sql-reference.md §5.9.1): the groups of a pattern that never goes back as columns.
//!
//! Input:  text, and the pattern as a constant (fast_regex/).
//! Output: a record (log_record.rs) of COLUMN1, COLUMN2, … VARCHAR(1024), one per group; NULL if the pattern does not match the
//!         whole line.
//! NULL:   a NULL line gives a NULL record.
//! Errors: a wrong pattern, when the query is planned.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_REGEX;

use super::fast_regex::FAST;
use super::log_columns::numbered;
use super::log_record::{RecordBuilder, fields};
use super::text_arguments::row_error;
use super::text_function::{Kind, TextFunction, plan_error};

/// The function `fast_regex_log_parse`, also called `fast_regex_log_parser`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "fast_regex_log_parse",
        aliases: &["fast_regex_log_parser"],
        parameters: &[
            ("s", Kind::Text, "A line."),
            ("pattern", Kind::Text, "A pattern of the fast regular expressions with a group for each column; a constant."),
        ],
        required: 2,
        section: DOC_SECTION_REGEX,
        summary: "Splits a line by the groups of a pattern, each as short as can be, without going back.",
        sql_form: None,
        example: ("fast_regex_log_parse('Mary____had_a_lamb', '(.*)_+(.*)')", "{COLUMN1: Mary, COLUMN2: had_a_lamb}"),
        plan: |args| {
            let columns = FAST.get(args.constant_text(1)?, None).and_then(|regex| numbered(regex.field_count() as i64));
            Ok(args.record(fields(&columns.map_err(plan_error)?)))
        },
        run: |args| {
            let regex = FAST.get(args.constant_text(1)?.unwrap_or_default(), None).map_err(row_error)?;
            let columns = numbered(regex.field_count() as i64).map_err(row_error)?;
            let lines = args.texts(0)?;
            let mut ends = Vec::new();
            let mut records = RecordBuilder::new(&columns, args, lines.byte_count());
            for row in 0..args.rows {
                match lines.at(row) {
                    Some(line) if regex.read(line, &mut ends, |value| records.push(Some(value))) => records.end_record(),
                    _ => records.null_record(),
                }
            }
            records.finish()
        },
    }
    .udf()
}
