//! Delimited text: records to rows by position, rows to records.

mod decode;
mod encode;

pub use decode::CsvDecoder;
pub(super) use decode::{Fields, next_record};
pub use encode::CsvEncoder;

use super::CsvOptions;
use crate::error::{Error, Result};

/// Fails with `Config` if the delimiter cannot separate fields.
pub(super) fn check(options: &CsvOptions) -> Result<()> {
    if options.delimiter.is_ascii() && !matches!(options.delimiter, b'"' | b'\n' | b'\r' | 0) {
        return Ok(());
    }
    let shown = options.delimiter.escape_ascii();
    Err(Error::config(format!("the delimiter '{shown}' cannot separate fields"))
        .with_hint("Use an ASCII character other than a quote or a line break."))
}

#[cfg(test)]
mod tests;
