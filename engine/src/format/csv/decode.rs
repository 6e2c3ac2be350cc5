//! Delimited records to rows.
//!
//! Input:  RFC 4180 with any delimiter: one record per line (LF or CRLF), fields in double quotes may hold delimiters, line
//!         breaks and doubled quotes. Blanks belong to the field. A quote within an unquoted field is an ordinary character.
//!         Empty lines and a byte order mark at the very beginning are skipped. Another character or a text may end records;
//!         then line breaks alone between two are skipped. Where either delimiter has several characters, quotes are text.
//! Output: one row per record, the columns in the order given, each from the field of its index. Too few fields give NULL,
//!         extra ones are ignored; an empty field is the empty string in character columns and NULL in others.
//! Header: a header is the source's to leave out: only it knows whether it reads from the start.
//! Errors: none for bad records. `Parse`: not UTF-8, a quoted field that does not end or has text behind its end; only the
//!         line where the record starts is lost. `Coercion`: a value that does not fit its column (format/column.rs).
//!         `TooLarge`: a record over the limit of rows.
//! Speed:  a line without quotes is cut at its delimiters in place; csv-core takes the others apart.
//! See:    kda-sql-reference.md §6.8, §8.8.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::check;
use crate::error::Result;
use crate::format::column::{ColumnBuilder, Value};
use crate::format::{CsvOptions, DecodeColumn, Decoder, RejectReason, Rejected, RowEnd, framed};
use crate::types::SqlType;

/// Decodes delimited records.
pub struct CsvDecoder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    /// Field of each column.
    indices: Vec<usize>,
    rows: usize,
    fields: Fields,
    at_start: bool,
    row_bytes_max: usize,
}

/// Cuts records into fields.
pub(in crate::format) struct Fields {
    separator: Separator,
    layout: Layout,
    reader: Reader,
    /// Text of the fields of a record with quotes, quotes removed.
    text: Vec<u8>,
    ends: Vec<usize>,
    /// The fields of the last record.
    ranges: Vec<Range<usize>>,
    /// Fields that are wanted.
    count_max: usize,
}

/// What stands between two fields.
enum Separator {
    Byte(u8),
    Text(Box<memchr::memmem::Finder<'static>>),
    /// Nothing: the record is one field.
    None,
}

/// What ends records.
#[derive(Clone, Copy)]
pub(in crate::format) struct Layout {
    /// Between two fields; None if quotes are text.
    quotable: Option<u8>,
    row_delimiter: RowEnd,
}

impl Layout {
    pub(in crate::format) fn of(options: &CsvOptions) -> Self {
        Self { quotable: options.quotable(), row_delimiter: options.row_delimiter }
    }

    /// True if nothing stands between two ends of records but, perhaps, a line break.
    fn is_blank(self, text: &[u8]) -> bool {
        text.is_empty() || (self.row_delimiter != RowEnd::LINE_BREAK && matches!(text, b"\n" | b"\r\n"))
    }
}

impl CsvDecoder {
    /// Fails with `Config` if a column's type is not an SQL type or the delimiter cannot be one.
    pub fn try_new(columns: Vec<DecodeColumn>, options: CsvOptions) -> Result<Self> {
        check(&options)?;
        let builders = columns.iter().map(|column| ColumnBuilder::try_new(&column.field)).collect::<Result<Vec<_>>>()?;
        let schema = Schema::new(columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>());
        let count_max = columns.iter().map(|column| column.index + 1).max().unwrap_or(0);
        Ok(Self {
            schema: Arc::new(schema),
            columns: builders,
            indices: columns.iter().map(|column| column.index).collect(),
            rows: 0,
            fields: Fields::new(&options, count_max),
            at_start: true,
            row_bytes_max: usize::MAX,
        })
    }

    /// Adds a row; says why not.
    fn record(&mut self, record: &[u8]) -> Result<(), String> {
        let (text, ranges) = self.fields.split(record);
        for (column, &index) in self.columns.iter_mut().zip(&self.indices) {
            let field = ranges.get(index).map(|range| &text[range.clone()]);
            let value = match field {
                None => Value::Null,
                Some([]) if !matches!(column.sql_type, SqlType::Char(_) | SqlType::Varchar(_)) => Value::Null,
                Some(field) => Value::Text(field),
            };
            if let Err(refusal) = column.push(value) {
                let message = column.explain(value, refusal);
                for column in &mut self.columns {
                    column.truncate(self.rows);
                }
                return Err(message);
            }
        }
        self.rows += 1;
        Ok(())
    }
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn limit_rows(&mut self, bytes: usize) {
        self.row_bytes_max = bytes;
    }

    fn decode(&mut self, bytes: &[u8], rejected: &mut Vec<Rejected>) -> Result<RecordBatch> {
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        let start = if std::mem::take(&mut self.at_start) && bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        self.records(bytes, start, is_utf8, rejected);
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
            self.records(&bytes[..record.end], record.start, is_utf8, rejected);
            if let Some(records_of_rows) = &mut records_of_rows {
                records_of_rows.resize(self.rows, place as u32);
            }
        }
        self.finish()
    }
}

impl CsvDecoder {
    /// Adds the records of `bytes` from `start` on.
    fn records(&mut self, bytes: &[u8], mut start: usize, is_utf8: bool, rejected: &mut Vec<Rejected>) {
        let layout = self.fields.layout;
        while let Some(record) = next_record(bytes, start, layout) {
            let position = start;
            start = record.next;
            let text = &bytes[record.text];
            if layout.is_blank(text) {
                continue;
            }
            if text.len() > self.row_bytes_max {
                rejected.push(Rejected::too_large(text, position, self.row_bytes_max));
                continue;
            }
            let refusal = if !is_utf8 && std::str::from_utf8(text).is_err() {
                Some((RejectReason::Parse, "the record is not UTF-8".to_owned()))
            } else if let Some(problem) = record.problem {
                Some((RejectReason::Parse, problem.to_owned()))
            } else {
                self.record(text).err().map(|message| (RejectReason::Coercion, message))
            };
            if let Some((reason, message)) = refusal {
                rejected.push(Rejected::new(text, position, reason, message));
            }
        }
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

/// A record as it stands in the bytes.
pub(in crate::format) struct RawRecord {
    /// The record without what ends it.
    pub(in crate::format) text: Range<usize>,
    /// Where the next one starts.
    pub(in crate::format) next: usize,
    /// Why it is none; then it is just a line.
    pub(in crate::format) problem: Option<&'static str>,
}

/// The record that starts at `start`, or None at the end.
pub(in crate::format) fn next_record(bytes: &[u8], start: usize, layout: Layout) -> Option<RawRecord> {
    if start >= bytes.len() {
        return None;
    }
    let last = layout.row_delimiter;
    let line_end = last.find(&bytes[start..]).map_or(bytes.len(), |length| start + length);
    let (end, problem) = match (layout.quotable, last.single()) {
        (Some(delimiter), Some(last)) if memchr::memchr(b'"', &bytes[start..line_end]).is_some() => {
            match quoted_record_end(bytes, start, delimiter, last) {
                Ok(end) => (end, None),
                Err(problem) => (line_end, Some(problem)),
            }
        }
        _ => (line_end, None),
    };
    let text_end = if last == RowEnd::LINE_BREAK && end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
    Some(RawRecord { text: start..text_end, next: end + last.size(), problem })
}

/// Where a record with quotes ends: at a `last` outside of them, or at the end of the bytes.
fn quoted_record_end(bytes: &[u8], start: usize, delimiter: u8, last: u8) -> Result<usize, &'static str> {
    let mut at = start;
    loop {
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                at += memchr::memchr(b'"', &bytes[at..]).ok_or("the record has a quoted field that does not end")? + 1;
                if bytes.get(at) != Some(&b'"') {
                    break;
                }
                at += 1;
            }
            match &bytes[at..] {
                [] => {}
                [b'\r', b'\n', ..] | [b'\r'] if last == b'\n' => {}
                [next, ..] if *next == delimiter || *next == last => {}
                _ => return Err("the record has text behind the end of a quoted field"),
            }
        }
        match memchr::memchr2(delimiter, last, &bytes[at..]) {
            Some(length) if bytes[at + length] == delimiter => at += length + 1,
            Some(length) => return Ok(at + length),
            None => return Ok(bytes.len()),
        }
    }
}

impl Fields {
    pub(in crate::format) fn new(options: &CsvOptions, count_max: usize) -> Self {
        let mut reader = ReaderBuilder::new();
        // Without such a character there are no quotes, and it is not asked.
        reader.terminator(Terminator::Any(options.row_delimiter.single().unwrap_or(b'\n')));
        let separator = match options.delimiter.as_bytes() {
            [] => Separator::None,
            &[delimiter] => {
                reader.delimiter(delimiter);
                Separator::Byte(delimiter)
            }
            longer => Separator::Text(Box::new(memchr::memmem::Finder::new(longer).into_owned())),
        };
        let (layout, text, ends) = (Layout::of(options), vec![0; 1024], vec![0; 64]);
        Self { separator, layout, reader: reader.build(), text, ends, ranges: Vec::new(), count_max }
    }

    /// The fields of a record as ranges of a text; those beyond the wanted ones may be missing.
    pub(in crate::format) fn split<'a>(&'a mut self, record: &'a [u8]) -> (&'a [u8], &'a [Range<usize>]) {
        self.ranges.clear();
        let mut start = 0;
        match &self.separator {
            Separator::Byte(delimiter) if self.layout.quotable.is_none() || memchr::memchr(b'"', record).is_none() => {
                for end in memchr::memchr_iter(*delimiter, record).chain([record.len()]).take(self.count_max) {
                    self.ranges.push(start..end);
                    start = end + 1;
                }
                return (record, &self.ranges);
            }
            Separator::Byte(_) => {}
            Separator::Text(delimiter) => {
                for end in delimiter.find_iter(record).chain([record.len()]).take(self.count_max) {
                    self.ranges.push(start..end);
                    start = end + delimiter.needle().len();
                }
                return (record, &self.ranges);
            }
            Separator::None => {
                self.ranges.push(0..record.len());
                return (record, &self.ranges);
            }
        }
        self.reader.reset();
        let (mut read, mut written, mut fields) = (0, 0, 0);
        loop {
            let (result, bytes_read, bytes_written, ends) =
                self.reader.read_record(&record[read..], &mut self.text[written..], &mut self.ends[fields..]);
            read += bytes_read;
            written += bytes_written;
            fields += ends;
            match result {
                // The whole record was given: asking again with nothing left tells the reader that it ends here.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        for &end in &self.ends[..fields] {
            self.ranges.push(start..end);
            start = end;
        }
        (&self.text, &self.ranges)
    }
}
