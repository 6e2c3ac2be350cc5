//! W3C_LOG_PARSE (s, format) (kda-sql-reference.md §5.9.2): a line of a web server's log.
//!
//! Input:  text, and the format as a constant (w3c_format.rs): COMMON, COMMON WITH VHOST, NCSA EXTENDED, REFERER, AGENT, or the
//!         specifiers of Apache's mod_log_config with arguments in `[ ]`.
//! Output: a record (log_record.rs) of COLUMN1, COLUMN2, … VARCHAR(1024) (§8.6), one per specifier; NULL if the line does not have
//!         the format.
//! NULL:   a NULL line gives a NULL record.
//! Errors: a wrong format, when the query is planned.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::log_columns::numbered;
use super::log_record::{RecordBuilder, fields};
use super::text_arguments::row_error;
use super::text_function::{Kind, TextFunction, plan_error};
use super::w3c_format::Format;

/// The function `w3c_log_parse`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "w3c_log_parse",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "A line."),
            ("format", Kind::Text, "The name of a format, or a format such as `%h %t \"%r\" %>s`; a constant."),
        ],
        required: 2,
        section: DOC_SECTION_STRING,
        summary: "Splits a line of a web server's log by its format.",
        sql_form: None,
        example: ("w3c_log_parse('10.0.0.1 \"GET / HTTP/1.1\" 200', '%h \"%r\" %>s')['COLUMN2']", "GET / HTTP/1.1"),
        plan: |args| {
            let columns = Format::try_new(args.constant_text(1)?).and_then(|format| numbered(format.value_count() as i64));
            Ok(args.record(fields(&columns.map_err(plan_error)?)))
        },
        run: |args| {
            let format = Format::try_new(args.constant_text(1)?.unwrap_or_default()).map_err(row_error)?;
            let columns = numbered(format.value_count() as i64).map_err(row_error)?;
            let lines = args.texts(0)?;
            let mut values = Vec::with_capacity(columns.len());
            let mut records = RecordBuilder::new(&columns, args, lines.byte_count());
            for row in 0..args.rows {
                match lines.at(row) {
                    Some(line) if format.read(line, &mut values) => {
                        for value in &values {
                            records.push(Some(&line[value.clone()]));
                        }
                        records.end_record();
                    }
                    _ => records.null_record(),
                }
            }
            records.finish()
        },
    }
    .udf()
}
