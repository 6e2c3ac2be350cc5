//! Rows to records: one encoding per batch, of which each record is a piece.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use kinesql_engine::Result;
use kinesql_engine::format::{self, Encoder, FormatSpec, raw_records};

/// Encodes batches.
pub(super) struct RecordEncoder {
    encoder: Box<dyn Encoder>,
    /// Records may hold line breaks and end with one.
    raw: bool,
    newline: bool,
}

/// The records of a batch, one for each row.
#[derive(Debug)]
pub(crate) struct Encoded {
    bytes: Bytes,
    /// Where each record ends, the line break included that is written behind it.
    ends: Vec<usize>,
    /// Bytes of that line break, if it is no part of the record.
    line_break: usize,
}

impl RecordEncoder {
    pub(super) fn try_new(format: &FormatSpec, schema: &SchemaRef, newline: bool) -> Result<Self> {
        Ok(Self { encoder: format::encoder(format, schema)?, raw: *format == FormatSpec::Raw, newline })
    }

    pub(super) fn encode(&mut self, batch: &RecordBatch) -> Result<Encoded> {
        if self.raw {
            return self.encode_raw(batch);
        }
        let mut bytes = Vec::new();
        self.encoder.encode(batch, &mut bytes)?;
        let ends = record_ends(&bytes, batch.num_rows());
        Ok(Encoded { bytes: Bytes::from(bytes), ends, line_break: usize::from(!self.newline) })
    }

    fn encode_raw(&self, batch: &RecordBatch) -> Result<Encoded> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(batch.num_rows()));
        for record in raw_records(batch)? {
            bytes.extend_from_slice(record);
            if self.newline && !record.ends_with(b"\n") {
                bytes.push(b'\n');
            }
            ends.push(bytes.len());
        }
        Ok(Encoded { bytes: Bytes::from(bytes), ends, line_break: 0 })
    }
}

impl Encoded {
    /// Bytes of all records.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The record of a row; it shares the bytes of its batch.
    pub(crate) fn record(&self, row: usize) -> Bytes {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        let end = self.ends[row] - self.line_break;
        self.bytes.slice(start..end)
    }
}

/// Where the records end. An encoder ends each with a line break; only CSV has others, and these are within quotes.
fn record_ends(bytes: &[u8], rows: usize) -> Vec<usize> {
    let mut ends = Vec::with_capacity(rows);
    ends.extend(memchr::memchr_iter(b'\n', bytes).map(|at| at + 1));
    if ends.len() > rows {
        let (mut quotes, mut start) = (0, 0);
        ends.retain(|end| {
            quotes += memchr::memchr_iter(b'"', &bytes[start..*end]).count();
            start = *end;
            quotes % 2 == 0
        });
    }
    ends
}

/// The records of a batch as JSON.
#[cfg(test)]
pub(crate) fn encoded(batch: &RecordBatch) -> Encoded {
    let encoder = RecordEncoder::try_new(&FormatSpec::Json, &batch.schema(), false);
    encoder.and_then(|mut encoder| encoder.encode(batch)).expect("encoded")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::Schema;
    use kinesql_engine::format::CsvOptions;
    use kinesql_engine::types::SqlType;

    use super::*;

    fn records(format: &FormatSpec, newline: bool, values: &[&str]) -> Vec<String> {
        let schema: SchemaRef = Arc::new(Schema::new(vec![SqlType::Varchar(20).field("A", true)]));
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(values));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).expect("a batch");
        let encoded = RecordEncoder::try_new(format, &schema, newline).expect("valid").encode(&batch).expect("encoded");
        (0..values.len()).map(|row| String::from_utf8(encoded.record(row).to_vec()).expect("text")).collect()
    }

    #[test]
    fn records_are_bare_unless_a_line_break_is_asked_for() {
        let values = ["x", "two\nlines"];
        assert_eq!(records(&FormatSpec::Json, false, &values), [r#"{"A":"x"}"#, r#"{"A":"two\nlines"}"#]);
        assert_eq!(records(&FormatSpec::Json, true, &values), ["{\"A\":\"x\"}\n", "{\"A\":\"two\\nlines\"}\n"]);
    }

    #[test]
    fn raw_records_are_what_they_were() {
        let values = ["two\nlines\n", "", "{\"a\":1}", "\n"];
        assert_eq!(records(&FormatSpec::Raw, false, &values), values);
        assert_eq!(records(&FormatSpec::Raw, true, &values), ["two\nlines\n", "\n", "{\"a\":1}\n", "\n"]);
    }

    #[test]
    fn a_line_break_in_a_csv_field_does_not_end_its_record() {
        let csv = FormatSpec::Csv(CsvOptions::default());
        let values = ["a\n\"b\"\n", "c", "\n", "d\"\n"];
        assert_eq!(records(&csv, false, &values), ["\"a\n\"\"b\"\"\n\"", "c", "\"\n\"", "\"d\"\"\n\""]);
    }
}
