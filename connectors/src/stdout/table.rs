//! Rows as an aligned table for people.
//!
//! ```text
//!  TICKER | PRICE
//! --------+-------
//!  AMZN   |  10.5
//! ```
//!
//! The names are printed once. A column is as wide as its name and every value so far, so a wide value moves the rows
//! after it, not those before. Numbers stand to the right; NULL is written out.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kinesql_engine::Result;
use kinesql_engine::format::Encoder;
use unicode_width::UnicodeWidthStr as _;

/// KDA writes three digits of a second (kda-sql-reference.md §6.13).
const FORMAT: FormatOptions<'_> = FormatOptions::new()
    .with_null("NULL")
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.3f"))
    .with_time_format(Some("%H:%M:%S%.3f"));

/// Encodes rows as lines of a table.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    started: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    is_number: bool,
    /// In columns of the terminal.
    width: usize,
}

impl Table {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let column = |field: &arrow::datatypes::FieldRef| Column {
            name: escape(field.name().clone()),
            is_number: field.data_type().is_numeric(),
            width: match field.data_type() {
                DataType::Timestamp(..) => "2024-01-01 00:00:00.000".len(),
                _ => 0,
            }
            .max(field.name().width()),
        };
        Self { columns: schema.fields().iter().map(column).collect(), started: false }
    }

    fn line<'a>(&self, values: impl Iterator<Item = &'a str>, out: &mut String) {
        let last = self.columns.len().saturating_sub(1);
        for (i, (column, value)) in self.columns.iter().zip(values).enumerate() {
            let blanks = " ".repeat(column.width.saturating_sub(value.width()));
            // Writing to a string cannot fail.
            let _ = match (column.is_number, i == last) {
                (true, _) => write!(out, " {blanks}{value}"),
                (false, false) => write!(out, " {value}{blanks}"),
                (false, true) => write!(out, " {value}"),
            };
            out.push_str(if i == last { "" } else { " |" });
        }
        out.push('\n');
    }

    fn header(&self, out: &mut String) {
        self.line(self.columns.iter().map(|column| column.name.as_str()), out);
        let rules: Vec<_> = self.columns.iter().map(|column| "-".repeat(column.width + 2)).collect();
        out.push_str(&rules.join("+"));
        out.push('\n');
    }
}

/// Control characters would break the lines apart.
fn escape(text: String) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text }
}

impl Encoder for Table {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let mut cells = Vec::with_capacity(batch.num_columns());
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &FORMAT)?;
            let mut values = Vec::with_capacity(batch.num_rows());
            for row in 0..batch.num_rows() {
                let value = escape(formatter.value(row).try_to_string()?);
                column.width = column.width.max(value.width());
                values.push(value);
            }
            cells.push(values);
        }
        let mut text = String::new();
        if batch.num_rows() > 0 && !self.started {
            self.started = true;
            self.header(&mut text);
        }
        for row in 0..batch.num_rows() {
            self.line(cells.iter().map(|values| values[row].as_str()), &mut text);
        }
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
    use arrow::datatypes::Schema;
    use kinesql_engine::types::SqlType;

    use super::*;

    fn batch(rows: &[(Option<&str>, Option<i64>, Option<i64>)]) -> RecordBatch {
        let schema = Schema::new(vec![
            SqlType::Varchar(16).field("name", true),
            SqlType::Timestamp.field("at", true),
            SqlType::BigInt.field("n", true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|(name, _, _)| *name).collect::<StringArray>()),
            Arc::new(rows.iter().map(|(_, at, _)| *at).collect::<TimestampMillisecondArray>()),
            Arc::new(rows.iter().map(|(_, _, n)| *n).collect::<Int64Array>()),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
    }

    #[test]
    fn columns_are_aligned_and_widen() {
        let first = batch(&[(Some("a"), Some(0), Some(1)), (Some(""), None, None)]);
        let mut table = Table::new(&first.schema());
        let mut out = Vec::new();
        table.encode(&batch(&[]), &mut out).expect("nothing");
        assert!(out.is_empty(), "no rows, no header");
        table.encode(&first, &mut out).expect("rows");
        let second = batch(&[(Some("two\nlines ü"), Some(1_704_067_200_250), Some(123_456)), (Some("b"), None, Some(7))]);
        table.encode(&second, &mut out).expect("rows");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            [
                " name | at                      |    n",
                "------+-------------------------+------",
                " a    | 1970-01-01 00:00:00.000 |    1",
                "      | NULL                    | NULL",
                " two\\nlines ü | 2024-01-01 00:00:00.250 | 123456",
                " b            | NULL                    |      7",
                ""
            ]
            .join("\n")
        );
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let rows = batch(&[(Some("日本語"), None, None), (Some("b"), None, None)]);
        let mut out = Vec::new();
        Table::new(&rows.schema()).encode(&rows, &mut out).expect("rows");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(lines, [" 日本語 | NULL                    | NULL", " b      | NULL                    | NULL"]);
    }
}
