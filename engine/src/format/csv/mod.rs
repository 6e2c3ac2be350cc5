//! Delimited text: records to rows by position, rows to records.

mod decode;
mod encode;

pub use decode::CsvDecoder;
pub(super) use decode::{Fields, Layout, next_record};
pub use encode::CsvEncoder;

use super::CsvOptions;
use crate::error::{Error, Result};

/// Fails with `Config` if the delimiters cannot separate fields and rows.
pub(super) fn check(options: &CsvOptions) -> Result<()> {
    let CsvOptions { delimiter, row_delimiter, .. } = options;
    if !row_delimiter.is_ascii() || matches!(row_delimiter, b'"' | 0) {
        return Err(Error::config(format!("'{}' cannot end rows", row_delimiter.escape_ascii()))
            .with_hint("Use an ASCII character other than a quote."));
    }
    let separates = match delimiter.as_bytes() {
        [delimiter] => !matches!(delimiter, b'"' | b'\n' | b'\r' | 0) && delimiter != row_delimiter,
        longer => !longer.contains(row_delimiter),
    };
    if separates {
        return Ok(());
    }
    Err(Error::config(format!("the delimiter '{}' cannot separate fields", delimiter.escape_default()))
        .with_hint("Use an ASCII character other than a quote or a line break, or a text without what ends a row."))
}

/// The one character that separates the fields of what is written.
pub(super) fn check_written(options: &CsvOptions) -> Result<u8> {
    check(options)?;
    options.quotable().filter(|_| options.row_delimiter == b'\n').ok_or_else(|| {
        Error::config(format!("fields cannot be written with '{}' between them", options.delimiter.escape_default()))
            .with_hint("Use one ASCII character.")
    })
}

#[cfg(test)]
mod tests;
