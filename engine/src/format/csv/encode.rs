//! Rows to delimited records.
//!
//! Output: one line per row; values as text like in JSON (kda-sql-reference.md §6.13), NULL, NaN and infinities as empty
//!         fields. A field is quoted if it holds a delimiter, a quote or a line break; so is an empty one that is the
//!         record's only field, which would be an empty line. With `header`, the column names come first, once.
//! Errors: `Config` from the constructor; writing cannot fail on a value.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::check_written;
use crate::error::Result;
use crate::format::cells::{self, Style};
use crate::format::{CsvOptions, Encoder};

/// Encodes rows as delimited text.
pub struct CsvEncoder {
    schema: SchemaRef,
    delimiter: u8,
    header_ahead: bool,
    /// Bytes of a row of the last batch, rounded up.
    row_bytes: usize,
    field: Vec<u8>,
}

struct Csv;

impl Style for Csv {
    const QUOTE: &'static [u8] = b"";

    #[inline(always)]
    fn null(_: &mut Vec<u8>) {}

    #[inline(always)]
    fn text(text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(text);
    }
}

impl CsvEncoder {
    /// Fails with `Config` if a column's type cannot be written or the delimiter cannot be one.
    pub fn try_new(schema: &SchemaRef, options: CsvOptions) -> Result<Self> {
        let delimiter = check_written(&options)?;
        cells::check_writable(schema, |_| false)?;
        Ok(Self { schema: Arc::clone(schema), delimiter, header_ahead: options.header, row_bytes: 0, field: Vec::new() })
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let mut columns = cells::columns(&self.schema, batch)?;
        let only = columns.len() == 1;
        if std::mem::take(&mut self.header_ahead) {
            for (index, field) in self.schema.fields().iter().enumerate() {
                separate(index, self.delimiter, out);
                write_field(field.name().as_bytes(), self.delimiter, only, out);
            }
            out.push(b'\n');
        }
        let before = out.len();
        out.reserve(self.row_bytes * batch.num_rows());
        for row in 0..batch.num_rows() {
            for (index, cells) in columns.iter_mut().enumerate() {
                separate(index, self.delimiter, out);
                self.field.clear();
                cells.write::<Csv>(row, &mut self.field);
                write_field(&self.field, self.delimiter, only, out);
            }
            out.push(b'\n');
        }
        self.row_bytes = (out.len() - before).div_ceil(batch.num_rows().max(1));
        Ok(())
    }
}

#[inline(always)]
fn separate(index: usize, delimiter: u8, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(delimiter);
    }
}

#[inline]
fn write_field(field: &[u8], delimiter: u8, only: bool, out: &mut Vec<u8>) {
    let quote =
        if field.is_empty() { only } else { field.iter().any(|&byte| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r')) };
    if !quote {
        out.extend_from_slice(field);
        return;
    }
    out.push(b'"');
    for piece in field.split_inclusive(|&byte| byte == b'"') {
        out.extend_from_slice(piece);
        if piece.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}
