//! FIXED_COLUMN_LOG_PARSE (s, columns) (kda-sql-reference.md §5.9): a line whose columns have fixed places.
//!
//! Input:  text, and the columns as a constant (log_columns.rs) with START, from 0, and FOR in characters; to the end of the line
//!         unless given.
//! Output: a record (log_record.rs); a column that starts at or past the end of the line is NULL.
//! NULL:   a NULL line gives a NULL record.
//! Errors: a wrong description, when the query is planned; NULL in a NOT NULL column, for the row.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::log_columns::described;
use super::log_record::{RecordBuilder, fields};
use super::text_arguments::{byte_of_character, row_error};
use super::text_function::{Kind, TextFunction, plan_error};

/// The function `fixed_column_log_parse`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "fixed_column_log_parse",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "A line."),
            ("columns", Kind::Text, "`name TYPE type [NOT NULL] [format] START n [FOR m]`, separated by commas; a constant."),
        ],
        required: 2,
        section: DOC_SECTION_STRING,
        summary: "Splits a line into columns of fixed places.",
        sql_form: None,
        example: (
            "fixed_column_log_parse('GET  7', 'M TYPE VARCHAR(4) START 0 FOR 4, N TYPE INTEGER START 4')",
            "{M: GET , N: 7}",
        ),
        plan: |args| {
            let columns = described(args.constant_text(1)?, true).map_err(plan_error)?;
            Ok(args.record(fields(&columns)))
        },
        run: |args| {
            let columns = described(args.constant_text(1)?.unwrap_or_default(), true).map_err(row_error)?;
            let lines = args.texts(0)?;
            let mut records = RecordBuilder::new(&columns, args, lines.byte_count());
            for row in 0..args.rows {
                let Some(line) = lines.at(row) else {
                    records.null_record();
                    continue;
                };
                for column in &columns {
                    let (start, length) = column.place.unwrap_or_default();
                    let rest = &line[byte_of_character(line, start)..];
                    let end = length.map_or(rest.len(), |length| byte_of_character(rest, length));
                    records.push((!rest.is_empty()).then(|| &rest[..end]));
                }
                records.end_record();
            }
            records.finish()
        },
    }
    .knowing_query_time()
}
