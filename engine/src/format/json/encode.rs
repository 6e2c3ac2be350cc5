//! Rows to JSON records.
//!
//! Output: one object per row and line, the members in column order with the columns' exact names; types as
//!         kda-sql-reference.md §6.13 lists. NaN and infinities are `null`, binary is base64.
//!         Arrays, which only answers to queries of tables have, are arrays.
//! Errors: `Config` from the constructor for other types that SQL columns cannot have; writing cannot fail on a value.
//! Speed:  member names are escaped once; values go straight into the output.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::format::cells::{self, Style};
use crate::format::{Encoder, text};

/// Encodes rows as JSON objects.
pub struct JsonEncoder {
    schema: SchemaRef,
    /// What stands ahead of each value: `{"A":`, `,"B":`.
    leads: Vec<Vec<u8>>,
    /// Bytes of a row of the last batch, rounded up.
    row_bytes: usize,
}

struct Json;

impl Style for Json {
    const QUOTE: &'static [u8] = b"\"";

    #[inline(always)]
    fn null(out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
    }

    #[inline(always)]
    fn text(text: &[u8], out: &mut Vec<u8>) {
        write_string(text, out);
    }
}

impl JsonEncoder {
    /// Fails with `Config` if a column's type cannot be written.
    pub fn try_new(schema: &SchemaRef) -> Result<Self> {
        cells::check_writable(schema, cells::is_array)?;
        let lead = |(index, name): (usize, &str)| {
            let mut lead = vec![if index == 0 { b'{' } else { b',' }];
            write_string(name.as_bytes(), &mut lead);
            lead.push(b':');
            lead
        };
        let leads = schema.fields().iter().map(|field| field.name().as_str()).enumerate().map(lead).collect();
        Ok(Self { schema: Arc::clone(schema), leads, row_bytes: 0 })
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let mut columns = cells::columns(&self.schema, batch)?;
        let before = out.len();
        out.reserve(self.row_bytes * batch.num_rows());
        for row in 0..batch.num_rows() {
            if columns.is_empty() {
                out.push(b'{');
            }
            for (lead, cells) in self.leads.iter().zip(&mut columns) {
                out.extend_from_slice(lead);
                cells.write::<Json>(row, out);
            }
            out.extend_from_slice(b"}\n");
        }
        self.row_bytes = (out.len() - before).div_ceil(batch.num_rows().max(1));
        Ok(())
    }
}

/// A JSON string of UTF-8 text: quotes, backslashes and control characters escaped, everything else as it is.
#[inline]
fn write_string(mut text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    loop {
        let plain = text::plain_length(text);
        out.extend_from_slice(&text[..plain]);
        let Some(&special) = text.get(plain) else { break };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        text = &text[plain + 1..];
    }
    out.push(b'"');
}
