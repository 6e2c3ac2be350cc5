//! Raw records: the whole record as the value of one column.
//!
//! Input:  records as the service keeps them apart, else lines; the line break, with a CR before it, is not part of the record.
//! Output: one row per record, also of an empty one.
//! Errors: none for bad records. `Parse`: a record that is not UTF-8 for a column of text. `Coercion`: a record longer than a
//!         column of bytes; text is cut to its column's length, as that of other formats is (kda-sql-reference.md §6.7).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::column::ColumnBuilder;
use super::{DecodeColumn, Decoder, RejectReason, Rejected, framed};
use crate::error::{Error, Result};
use crate::types::SqlType;

/// Fills one column with whole records.
pub(super) struct RawDecoder {
    schema: SchemaRef,
    /// None if nobody reads the column.
    column: Option<ColumnBuilder>,
    rows: usize,
}

impl RawDecoder {
    /// Fails with `Config` unless there is at most one column, of text or bytes.
    pub(super) fn try_new(columns: Vec<DecodeColumn>) -> Result<Self> {
        const ONE: &str = "Declare one VARCHAR or VARBINARY column, or none: then it is RECORD.";
        if columns.len() > 1 {
            return Err(Error::config(format!("format 'raw' fills one column, not {}", columns.len())).with_hint(ONE));
        }
        let fields: Vec<_> = columns.iter().map(|column| Arc::clone(&column.field)).collect();
        let column = fields.first().map(ColumnBuilder::try_new).transpose()?;
        if let Some(column) = &column
            && !is_text(column.sql_type)
            && !is_bytes(column.sql_type)
        {
            let what = format!("format 'raw' cannot fill column \"{}\", which is {}", column.name(), column.sql_type);
            return Err(Error::config(what).with_hint(ONE));
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), column, rows: 0 })
    }

    fn record(&mut self, bytes: &[u8], record: Range<usize>, is_utf8: bool, rejected: &mut Vec<Rejected>) {
        let (start, record) = (record.start, &bytes[record]);
        if let Some(column) = &mut self.column {
            if is_text(column.sql_type) && !is_utf8 && std::str::from_utf8(record).is_err() {
                let message = "the record is not UTF-8".to_owned();
                return rejected.push(Rejected::new(record, start, RejectReason::Parse, message));
            }
            let pushed = if is_text(column.sql_type) { column.push_characters(record) } else { column.push_bytes(record) };
            if pushed.is_err() {
                let message = format!("column \"{}\": {} bytes do not fit in {}", column.name(), record.len(), column.sql_type);
                return rejected.push(Rejected::new(record, start, RejectReason::Coercion, message));
            }
        }
        self.rows += 1;
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        let columns = self.column.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn is_text(sql_type: SqlType) -> bool {
    matches!(sql_type, SqlType::Char(_) | SqlType::Varchar(_))
}

fn is_bytes(sql_type: SqlType) -> bool {
    matches!(sql_type, SqlType::Binary(_) | SqlType::Varbinary(_))
}

impl Decoder for RawDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, bytes: &[u8], rejected: &mut Vec<Rejected>) -> Result<RecordBatch> {
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        let mut start = 0;
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
            let text_end = if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
            self.record(bytes, start..text_end, is_utf8, rejected);
            start = end + 1;
        }
        self.finish()
    }

    fn decode_records(
        &mut self,
        bytes: &[u8],
        ends: &[u32],
        mut records_of_rows: Option<&mut Vec<u32>>,
        rejected: &mut Vec<Rejected>,
    ) -> Result<RecordBatch> {
        let (records, is_utf8) = framed(bytes, ends)?;
        for (place, record) in records.enumerate() {
            self.record(bytes, record, is_utf8, rejected);
            if let Some(records_of_rows) = &mut records_of_rows {
                records_of_rows.resize(self.rows, place as u32);
            }
        }
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{columns, decoded, framed_rows};
    use super::*;

    fn decoder(sql_type: SqlType) -> RawDecoder {
        RawDecoder::try_new(columns(&[sql_type])).expect("text or bytes")
    }

    #[test]
    fn lines_are_records_empty_ones_too() {
        assert_eq!(decoded(&mut decoder(SqlType::Varchar(20)), b"{a}\r\n\nlast line"), ["'{a}'", "''", "'last line'"]);
    }

    #[test]
    fn records_that_are_kept_apart_may_hold_anything() {
        let records: [&[u8]; 4] = [b"two\nlines\n", b"", &[0xFF, b'x'], "\u{e9}".as_bytes()];
        let (rows, places) = framed_rows(&mut decoder(SqlType::Varchar(20)), &records);
        assert_eq!(rows, ["'two\nlines\n'", "''", "'\u{e9}'", "Parse@10: the record is not UTF-8"]);
        assert_eq!(places, [0, 1, 3]);
        let (rows, _) = framed_rows(&mut decoder(SqlType::Varbinary(3)), &records[1..]);
        assert_eq!(rows, ["[]", "[255, 120]", "[195, 169]"]);
    }

    #[test]
    fn text_is_cut_and_bytes_are_refused_where_they_do_not_fit() {
        assert_eq!(decoded(&mut decoder(SqlType::Varchar(2)), b"abc"), ["'ab'"]);
        let refused = ["Coercion@0: column \"A\": 3 bytes do not fit in VARBINARY(2)"];
        assert_eq!(decoded(&mut decoder(SqlType::Varbinary(2)), b"abc"), refused);
    }

    #[test]
    fn a_character_cut_in_two_by_the_end_of_a_record_is_no_text() {
        let records: [&[u8]; 2] = [&[b'a', 0xC3], &[0xA9, b'b']];
        let (rows, places) = framed_rows(&mut decoder(SqlType::Varchar(20)), &records);
        assert_eq!(rows, ["Parse@0: the record is not UTF-8", "Parse@2: the record is not UTF-8"]);
        assert!(places.is_empty());
    }

    #[test]
    fn one_column_of_text_or_bytes_or_none_that_is_read() {
        let error = |types: &[SqlType]| RawDecoder::try_new(columns(types)).err().expect("refused").message().to_owned();
        assert_eq!(error(&[SqlType::Varchar(1), SqlType::Varchar(1)]), "format 'raw' fills one column, not 2");
        assert_eq!(error(&[SqlType::Integer]), "format 'raw' cannot fill column \"A\", which is INTEGER");
        let (rows, places) = framed_rows(&mut RawDecoder::try_new(Vec::new()).expect("no column"), &[b"a", b"b"]);
        assert_eq!((rows.len(), places), (2, vec![0, 1]));
    }

    #[test]
    fn ends_that_are_not_those_of_the_bytes_are_refused() {
        for ends in [&[3, 2][..], &[1, 2], &[]] {
            let decoded = decoder(SqlType::Varchar(9)).decode_records(b"abc", ends, None, &mut Vec::new());
            assert_eq!(decoded.expect_err("wrong").kind(), crate::ErrorKind::Internal);
        }
    }
}
