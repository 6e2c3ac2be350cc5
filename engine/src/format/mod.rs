//! Formats: bytes to record batches and back.
//!
//! A decoder takes whole records and never fails for a bad one: it goes to `rejected` with the reason, the others
//! become rows (kda-sql-reference.md §6.7, §6.8). An encoder writes records as §6.13 says.

mod cells;
mod column;
pub mod csv;
mod discover;
mod infer;
pub mod json;
mod number;
mod raw;
mod row_end;
#[cfg(test)]
mod testing;
mod text;
pub mod timestamp;

use std::ops::Range;

use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

pub use discover::{DiscoveredColumn, discover_columns, guess_delimiter};
pub use infer::infer_schema;
pub use raw::raw_records;
pub use row_end::RowEnd;

/// A format with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatSpec {
    /// JSON documents, one per line or just one after the other.
    Json,
    /// Delimited text.
    Csv(CsvOptions),
    /// The whole record in one column of text or bytes.
    Raw,
    /// Apache Parquet: files only, and only sinks.
    Parquet,
    /// An aligned table for people: standard output only.
    Table,
}

/// How delimited text is written (kda-sql-reference.md §6.8, §8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between two fields. Default `,`. Quotes mean something only around fields that one ASCII character separates: with a longer
    /// delimiter they are text, as they are with an empty one, which makes the whole row one field.
    pub delimiter: String,
    /// Ends a row; a line break may be CR LF. Default LF. With one of several characters quotes are text.
    pub row_delimiter: RowEnd,
    /// Source: the first record holds names and is skipped. Sink: write one. Default false.
    pub header: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: ",".to_owned(), row_delimiter: RowEnd::LINE_BREAK, header: false }
    }
}

impl CsvOptions {
    /// The delimiter if quotes count next to it: if it is one character, and so is what ends rows.
    pub fn quotable(&self) -> Option<u8> {
        match self.delimiter.as_bytes() {
            &[delimiter] if self.row_delimiter.single().is_some() => Some(delimiter),
            _ => None,
        }
    }
}

impl FormatSpec {
    /// The word that the `format` option takes.
    pub fn name(&self) -> &'static str {
        match self {
            FormatSpec::Json => "json",
            FormatSpec::Csv(_) => "csv",
            FormatSpec::Raw => "raw",
            FormatSpec::Parquet => "parquet",
            FormatSpec::Table => "table",
        }
    }
}

/// A column of a source, as the decoder fills it.
#[derive(Debug, Clone)]
pub struct DecodeColumn {
    /// Name, type and nullability of the column in the batch.
    pub field: FieldRef,
    /// JSON: where the value stands, such as `$.quote.price`; None means the member of the column's own name.
    pub path: Option<String>,
    /// CSV: index of the field, from 0.
    pub index: usize,
}

/// Why a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// It is not in the format at all.
    Parse,
    /// A value does not fit its column.
    Coercion,
    /// It is larger than the source accepts, or than a row may be.
    TooLarge,
    /// A pre-processor could not make a record of it.
    ProcessingFailed,
    /// It, and perhaps others with it, was gone from the service before it was read.
    Lost,
}

/// A record that became no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The record, at most its first 24,576 bytes (the hex text of `DATA_ROW` holds no more, §6.12).
    pub raw: Vec<u8>,
    /// Its first byte, counted from the start of the decoded bytes.
    pub position: u64,
    /// The kind of problem.
    pub reason: RejectReason,
    /// What is wrong, with the column and the value.
    pub message: String,
}

/// Longest raw record kept in a [`Rejected`].
pub const REJECTED_RAW_MAX: usize = 24_576;

impl Rejected {
    /// Keeps as much of `record`, which starts at `position`, as [`REJECTED_RAW_MAX`] allows.
    pub fn new(record: &[u8], position: usize, reason: RejectReason, message: String) -> Self {
        let raw = record[..record.len().min(REJECTED_RAW_MAX)].to_vec();
        Self { raw, position: position as u64, reason, message }
    }

    /// `record`, which starts at `position`, is longer than the `limit` of [`Decoder::limit_rows`].
    fn too_large(record: &[u8], position: usize, limit: usize) -> Self {
        let message =
            format!("a row of {} bytes is over the limit of {limit}, which the switch row_bytes_max sets", record.len());
        Self::new(record, position, RejectReason::TooLarge, message)
    }
}

/// Decodes whole records into rows.
pub trait Decoder: Send {
    /// Schema of the produced batches: the decoder's columns in order.
    fn schema(&self) -> &SchemaRef;

    /// From now on rows whose record has more than `bytes` bytes are refused (kda-sql-reference.md §6.16, §8.7). A record without
    /// fields, which is one value, is as long as its column takes.
    fn limit_rows(&mut self, bytes: usize);

    /// Decodes every record in `bytes`, in order; refused ones are appended to `rejected`.
    fn decode(&mut self, bytes: &[u8], rejected: &mut Vec<Rejected>) -> Result<RecordBatch>;

    /// Decodes records that a service keeps apart: each ends at one of `ends` and holds any number of rows, and line breaks
    /// are part of it. `records_of_rows`, if it is wanted, is empty and gets for each row the place of its record.
    /// Fails with [`crate::ErrorKind::Internal`] if `ends` do not rise to the length of `bytes`.
    fn decode_records(
        &mut self,
        bytes: &[u8],
        ends: &[u32],
        records_of_rows: Option<&mut Vec<u32>>,
        rejected: &mut Vec<Rejected>,
    ) -> Result<RecordBatch>;
}

/// The records that end at `ends`, as ranges of `bytes`, and whether all of them are UTF-8.
fn framed(bytes: &[u8], ends: &[u32]) -> Result<(impl Iterator<Item = Range<usize>>, bool)> {
    let whole = ends.last().map_or(bytes.is_empty(), |end| *end as usize == bytes.len());
    if !whole || !ends.is_sorted() {
        return Err(Error::internal("the ends of records do not rise to the end of their bytes"));
    }
    // A character cut in two by the end of a record is none.
    let is_utf8 = std::str::from_utf8(bytes).is_ok_and(|text| ends.iter().all(|end| text.is_char_boundary(*end as usize)));
    let starts = std::iter::once(0).chain(ends.iter().map(|end| *end as usize));
    Ok((starts.zip(ends).map(|(start, end)| start..*end as usize), is_utf8))
}

/// Encodes rows into records.
pub trait Encoder: Send {
    /// Appends the rows of `batch` to `out`, each record followed by a newline.
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;
}

/// A decoder for `columns`. Each split needs its own.
/// Fails with [`crate::ErrorKind::Config`] if a column's path or type, or an option, cannot be used.
pub fn decoder(spec: &FormatSpec, columns: Vec<DecodeColumn>) -> Result<Box<dyn Decoder>> {
    match spec {
        FormatSpec::Json => json::decoder(columns),
        FormatSpec::Csv(options) => Ok(Box::new(csv::CsvDecoder::try_new(columns, options.clone())?)),
        FormatSpec::Raw => Ok(Box::new(raw::RawDecoder::try_new(columns)?)),
        FormatSpec::Parquet | FormatSpec::Table => {
            Err(Error::config(format!("{} cannot be read as a stream of records: it is a format of sinks", spec.name())))
        }
    }
}

/// An encoder for rows of `schema`.
/// Fails with [`crate::ErrorKind::Config`] if a column's type or an option cannot be used.
pub fn encoder(spec: &FormatSpec, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    match spec {
        FormatSpec::Json => Ok(Box::new(json::JsonEncoder::try_new(schema)?)),
        FormatSpec::Csv(options) => Ok(Box::new(csv::CsvEncoder::try_new(schema, options.clone())?)),
        FormatSpec::Raw => Ok(Box::new(raw::RawEncoder::try_new(schema)?)),
        FormatSpec::Parquet | FormatSpec::Table => {
            Err(Error::config(format!("{} is not written record by record: not every sink takes it", spec.name())))
        }
    }
}
