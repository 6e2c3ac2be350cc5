//! SYS_LOG_PARSE (s) (kda-sql-reference.md §5.9, §8.6): a line `Mon DD HH:MM:SS server message` of a system log.
//!
//! Input:  text, and the time to which the year of the line is chosen; the time of the query unless given. A line has no year: it is
//!         that of this time, or the one before if the line would then be more than a day ahead of it. A day is room for
//!         clocks that differ and for logs in local time.
//! Output: a record of COLUMN1 TIMESTAMP and COLUMN2 VARCHAR(1024), the server and the message, cut if it is longer; NULL if the
//!         line does not have the form.
//! NULL:   a NULL line or time gives a NULL record.
//! Errors: no time is given and the query has none, for the row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, NullBufferBuilder, StringBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::TimestampMillisecondType;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::log_record::record;
use super::text_arguments::{Arguments, byte_of_character, row_error};
use super::text_function::{Kind, TextFunction};
use crate::sql_type::SqlType;

const MESSAGE_LENGTH: u32 = 1024;
const AHEAD_MS_MAX: i64 = 86_400_000;

/// The function `sys_log_parse`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "sys_log_parse",
        aliases: &[],
        parameters: &[
            ("s", Kind::Text, "A line."),
            ("now", Kind::Timestamp, "The time to which the year of the line is chosen; the time of the query unless given."),
        ],
        required: 1,
        section: DOC_SECTION_STRING,
        summary: "Splits a line of a system log into its time and the rest.",
        sql_form: None,
        example: (
            "sys_log_parse('Dec 31 23:59:59 web1 started', TIMESTAMP '2024-01-01 00:00:00')",
            "{COLUMN1: 2023-12-31T23:59:59, COLUMN2: web1 started}",
        ),
        plan: |args| Ok(args.record(columns().into())),
        run,
    }
    .with_query_time()
}

fn columns() -> Vec<arrow::datatypes::FieldRef> {
    vec![SqlType::Timestamp.field("COLUMN1", true), SqlType::Varchar(MESSAGE_LENGTH).field("COLUMN2", true)]
}

fn run(args: &Arguments<'_>) -> Result<ArrayRef> {
    if args.len() < 2 {
        return Err(row_error("SYS_LOG_PARSE has no time to choose the year of a line by: give it as the second argument"));
    }
    let lines = args.texts(0)?;
    let (nows, is_constant) = args.column(1, &SqlType::Timestamp.data_type())?;
    let nows = nows.as_primitive::<TimestampMillisecondType>();
    let mut times = TimestampMillisecondBuilder::with_capacity(args.rows);
    let mut messages = StringBuilder::with_capacity(args.rows, lines.byte_count());
    let mut records = NullBufferBuilder::new(args.rows);
    for row in 0..args.rows {
        let at = if is_constant { 0 } else { row };
        let now = nows.is_valid(at).then(|| nows.value(at));
        match lines.at(row).zip(now).and_then(|(line, now)| parse(line, now)) {
            Some((time, message)) => {
                times.append_value(time);
                messages.append_value(&message[..byte_of_character(message, MESSAGE_LENGTH as usize)]);
                records.append_non_null();
            }
            None => {
                times.append_null();
                messages.append_null();
                records.append_null();
            }
        }
    }
    record(columns(), vec![Arc::new(times.finish()), Arc::new(messages.finish())], records.finish())
}

/// The time in milliseconds and the rest of the line.
fn parse(line: &str, now_ms: i64) -> Option<(i64, &str)> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    // Days below 10 have a blank more before them.
    let (month, rest) = line.split_once(' ')?;
    let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    let (time, message) = rest.split_once(' ')?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u32 + 1;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let day = number(day)?;
    let (hour, rest) = time.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    let time = NaiveTime::from_hms_opt(number(hour)?, number(minute)?, number(second)?)?;
    let year = DateTime::from_timestamp_millis(now_ms)?.year();
    let in_year = |year: i32| {
        let time: NaiveDateTime = NaiveDate::from_ymd_opt(year, month, day)?.and_time(time);
        Some(time.and_utc().timestamp_millis())
    };
    // 29 February may exist in the year before only.
    let time = in_year(year).filter(|time| time.saturating_sub(AHEAD_MS_MAX) <= now_ms).or_else(|| in_year(year - 1))?;
    Some((time, message))
}
