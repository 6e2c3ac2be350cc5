//! REGEX_LOG_PARSE (s, regex [, columns]) (kda-sql-reference.md §5.9): the groups of a regular expression as columns.
//!
//! Input:  text, and as constants a Java regular expression (java_regex.rs) and the columns (log_columns.rs), as many as the
//!         expression has groups; COLUMN1, COLUMN2, … VARCHAR(1024) unless given.
//! Output: a record (log_record.rs), NULL if the expression does not match the whole line; the column of a group that took no
//!         part in the match is NULL.
//! NULL:   a NULL line gives a NULL record.
//! Errors: a wrong expression or description, when the query is planned; NULL in a NOT NULL column and an expression that takes
//!         too long, for the row.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_REGEX;

use super::java_regex::{JavaRegex, WHOLE};
use super::log_columns::{Column, described, numbered};
use super::log_record::{RecordBuilder, fields};
use super::text_arguments::row_error;
use super::text_function::{Kind, PlanArguments, TextFunction, plan_error};

/// The function `regex_log_parse`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "regex_log_parse",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "A line."),
            ("regex", Kind::Text, "A Java regular expression with a group for each column; a constant."),
            (
                "columns",
                Kind::Text,
                "`name TYPE type [NOT NULL] [format]`, separated by commas; a constant. COLUMN1, … unless given.",
            ),
        ],
        required: 2,
        section: DOC_SECTION_REGEX,
        summary: "Splits a line by the groups of a regular expression, which must match the whole line.",
        sql_form: None,
        example: ("regex_log_parse('a=1', '(.*)=(.*)')", "{COLUMN1: a, COLUMN2: 1}"),
        plan,
        run: |args| {
            let regex = WHOLE.get(args.constant_text(1)?.unwrap_or_default(), None).map_err(row_error)?;
            let description = if args.len() > 2 { args.constant_text(2)? } else { None };
            let columns = columns(&regex, description).map_err(row_error)?;
            let lines = args.texts(0)?;
            let mut groups = regex.groups();
            let mut records = RecordBuilder::new(&columns, args, lines.byte_count());
            for row in 0..args.rows {
                let matches = |line| regex.captures_at(line, 0, &mut groups).map(|whole| whole.map(|_| line));
                match lines.at(row).map(matches).transpose().map_err(row_error)?.flatten() {
                    Some(line) => {
                        for group in 1..regex.captures_len() {
                            records.push(groups.get(group).map(|(from, to)| &line[from..to]));
                        }
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

fn plan(args: &PlanArguments<'_>) -> Result<FieldRef> {
    let pattern = args.constant_text(1)?;
    let description = if args.len() > 2 { Some(args.constant_text(2)?) } else { None };
    let columns = WHOLE.get(pattern, None).and_then(|regex| columns(&regex, description));
    Ok(args.record(fields(&columns.map_err(plan_error)?)))
}

fn columns(regex: &JavaRegex, description: Option<&str>) -> Result<Vec<Column>, String> {
    let groups = regex.captures_len() - 1;
    if groups == 0 {
        return Err("the regular expression has no group ( ), so that the record would have no column".to_owned());
    }
    let Some(description) = description else { return numbered(groups as i64) };
    let columns = described(description, false)?;
    if columns.len() == groups {
        return Ok(columns);
    }
    Err(format!("{} columns are described, but the regular expression has {groups} groups", columns.len()))
}
