//! Delimited text: records to rows by position, rows to records.

mod decode;
mod encode;

pub use decode::CsvDecoder;
pub(super) use decode::{Fields, Layout, next_record};
pub use encode::CsvEncoder;

use super::{CsvOptions, RowEnd};
use crate::error::{Error, Result};

/// Fails with `Config` if the delimiters cannot separate fields and rows.
pub(super) fn check(options: &CsvOptions) -> Result<()> {
    let CsvOptions { delimiter, row_delimiter, .. } = options;
    if row_delimiter.single().is_some_and(|byte| !byte.is_ascii() || matches!(byte, b'"' | 0)) {
        return Err(Error::config(format!("'{}' cannot end rows", row_delimiter.as_bytes().escape_ascii()))
            .with_hint("Use an ASCII character other than a quote, or a longer text."));
    }
    let separates = match delimiter.as_bytes() {
        [b'"' | b'\n' | b'\r' | 0] => false,
        delimiter => row_delimiter.find(delimiter).is_none(),
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
    options.quotable().filter(|_| options.row_delimiter == RowEnd::LINE_BREAK).ok_or_else(|| {
        Error::config(format!("fields cannot be written with '{}' between them", options.delimiter.escape_default()))
            .with_hint("Use one ASCII character.")
    })
}

#[cfg(test)]
mod tests;
