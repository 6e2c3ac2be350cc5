//! Raw records: the whole record as the value of one column, read and written.
//!
//! Input:  records as the service keeps them apart, else lines; the line break, with a CR before it, is not part of the record.
//! Output: one row per record, also of an empty one. Written: the value as it is, NULL as an empty record; where records are
//!         lines, one that ends with a line break gets no second one.
//! Length: a column of the greatest length, which is that of VARCHAR and VARBINARY without one, takes a record of any length.
//! Errors: none for bad records. `Parse`: a record that is not UTF-8 for a column of text. `Coercion`: a record longer than a
//!         column of bytes; text is cut to its column's length, as that of other formats is (kda-sql-reference.md §6.7).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::column::ColumnBuilder;
use super::{DecodeColumn, Decoder, Encoder, RejectReason, Rejected, framed};
use crate::error::{Error, Result};
use crate::types::{CHARACTER_LENGTH_MAX, SqlType};

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
        let column = fields.first().map(|field| ColumnBuilder::try_new(&unlimited(field))).transpose()?;
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

/// `field`, of any length if it has the greatest that can be declared: a record may be longer.
fn unlimited(field: &Arc<Field>) -> Arc<Field> {
    match SqlType::of_field(field) {
        Some(SqlType::Varchar(CHARACTER_LENGTH_MAX)) => SqlType::Varchar(u32::MAX).field(field.name(), field.is_nullable()),
        Some(SqlType::Varbinary(CHARACTER_LENGTH_MAX)) => SqlType::Varbinary(u32::MAX).field(field.name(), field.is_nullable()),
        _ => Arc::clone(field),
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

    fn limit_rows(&mut self, _bytes: usize) {}

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

/// Writes the value of the one column as the record.
pub(super) struct RawEncoder;

impl RawEncoder {
    /// Fails with `Config` unless the rows have one column, of text or bytes.
    pub(super) fn try_new(schema: &SchemaRef) -> Result<Self> {
        const ONE: &str = "Give the sink a stream of one VARCHAR or VARBINARY column, or write format 'json' or 'csv'.";
        let [field] = &schema.fields()[..] else {
            let count = schema.fields().len();
            return Err(Error::config(format!("format 'raw' writes one column, not {count}")).with_hint(ONE));
        };
        match SqlType::of_field(field) {
            Some(sql_type) if is_text(sql_type) || is_bytes(sql_type) => Ok(Self),
            Some(sql_type) => {
                let what = format!("format 'raw' cannot write column \"{}\", which is {sql_type}", field.name());
                Err(Error::config(what).with_hint(ONE))
            }
            None => Err(Error::config(format!("format 'raw' cannot write the type {}", field.data_type())).with_hint(ONE)),
        }
    }
}

impl Encoder for RawEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        for record in raw_records(batch)? {
            out.extend_from_slice(record);
            if !record.ends_with(b"\n") {
                out.push(b'\n');
            }
        }
        Ok(())
    }
}

/// The values of the one column of `batch`, text or bytes, as they are; NULL is an empty record.
pub fn raw_records(batch: &RecordBatch) -> Result<impl Iterator<Item = &[u8]>> {
    let column = batch.columns().first().ok_or_else(|| Error::internal("a batch without columns reached format 'raw'"))?;
    let (offsets, data) = match column.data_type() {
        DataType::Utf8 => (column.as_string::<i32>().value_offsets(), column.as_string::<i32>().value_data()),
        DataType::Binary => (column.as_binary::<i32>().value_offsets(), column.as_binary::<i32>().value_data()),
        other => return Err(Error::internal(format!("a column reached format 'raw' as {other}"))),
    };
    Ok(offsets.windows(2).enumerate().map(move |(row, ends)| match column.is_valid(row) {
        true => &data[ends[0] as usize..ends[1] as usize],
        false => &[],
    }))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BinaryArray, StringArray};

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
    fn a_column_of_the_greatest_length_takes_any_record() {
        let long = "x".repeat(CHARACTER_LENGTH_MAX as usize + 1);
        for sql_type in [SqlType::Varchar(CHARACTER_LENGTH_MAX), SqlType::Varbinary(CHARACTER_LENGTH_MAX)] {
            let mut rejected = Vec::new();
            let batch = decoder(sql_type).decode(long.as_bytes(), &mut rejected).expect("decoded");
            assert_eq!(rejected, []);
            assert_eq!(batch.schema().field(0), &*sql_type.field("A", true), "it is declared as it was");
            let records: Vec<_> = raw_records(&batch).expect("one column").collect();
            assert_eq!(records, [long.as_bytes()]);
        }
    }

    #[test]
    fn records_are_written_as_they_are() {
        let encoded = |column: ArrayRef, sql_type: SqlType| {
            let schema = Arc::new(Schema::new(vec![sql_type.field("A", true)]));
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).expect("a batch");
            let mut out = Vec::new();
            let mut encoder = RawEncoder::try_new(&schema).expect("one column");
            encoder.encode(&batch.slice(1, batch.num_rows() - 1), &mut out).expect("encoded");
            out
        };
        let text = StringArray::from(vec![Some("not this"), Some("{\"a\":1}"), None, Some("two\nlines\n"), Some("")]);
        assert_eq!(encoded(Arc::new(text), SqlType::Varchar(20)), b"{\"a\":1}\n\ntwo\nlines\n\n");
        let bytes = BinaryArray::from(vec![Some(&b"not this"[..]), Some(&[0xFF, 0][..])]);
        assert_eq!(encoded(Arc::new(bytes), SqlType::Varbinary(20)), [0xFF, 0, b'\n']);
    }

    #[test]
    fn what_is_written_is_one_column_of_text_or_bytes() {
        let error = |types: &[SqlType]| {
            let fields = types.iter().map(|sql_type| sql_type.field("A", true)).collect::<Vec<_>>();
            RawEncoder::try_new(&Arc::new(Schema::new(fields))).err().expect("refused").message().to_owned()
        };
        assert_eq!(error(&[SqlType::Varchar(1), SqlType::Varchar(1)]), "format 'raw' writes one column, not 2");
        assert_eq!(error(&[]), "format 'raw' writes one column, not 0");
        assert_eq!(error(&[SqlType::Integer]), "format 'raw' cannot write column \"A\", which is INTEGER");
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
