//! UPPER and LOWER (kda-sql-reference.md §5.8).
//!
//! Input:  text. Output: the same type and as many characters: a letter whose other case is several letters (ß) stays.
//! NULL:   NULL. Errors: none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::buffer::{Buffer, OffsetBuffer};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::text_arguments::Arguments;
use super::text_function::{Kind, TextFunction};

/// The function `upper`.
pub fn upper_udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "upper",
        aliases: &[],
        parameters: &[("s", Kind::Text, "Text.")],
        required: 1,
        section: DOC_SECTION_STRING,
        summary: "Returns the text in capital letters.",
        sql_form: None,
        example: ("upper('Kinesis')", "KINESIS"),
        plan: |args| Ok(args.field_like(0)),
        run: |args| changed(args, <[u8]>::make_ascii_uppercase, to_upper),
    }
    .udf()
}

/// The function `lower`.
pub fn lower_udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "lower",
        aliases: &[],
        parameters: &[("s", Kind::Text, "Text.")],
        required: 1,
        section: DOC_SECTION_STRING,
        summary: "Returns the text in small letters.",
        sql_form: None,
        example: ("lower('Kinesis')", "kinesis"),
        plan: |args| Ok(args.field_like(0)),
        run: |args| changed(args, <[u8]>::make_ascii_lowercase, to_lower),
    }
    .udf()
}

/// The capital letter of a letter that has exactly one.
pub(super) fn to_upper(letter: char) -> char {
    only(letter.to_uppercase()).unwrap_or(letter)
}

/// The small letter of a letter that has exactly one.
pub(super) fn to_lower(letter: char) -> char {
    // The small letter of İ is i and a combining dot in full, i alone in the simple mapping of Unicode.
    if letter == 'İ' { 'i' } else { only(letter.to_lowercase()).unwrap_or(letter) }
}

fn only(mut letters: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if letters.len() == 1 { letters.next() } else { None }
}

fn changed(args: &Arguments<'_>, ascii: fn(&mut [u8]), letter: fn(char) -> char) -> Result<ArrayRef> {
    let texts = args.texts(0)?;
    let column = texts.column();
    let first = column.value_offsets().first().map_or(0, |first| *first);
    let bytes = &column.value_data()[first as usize..first as usize + texts.byte_count()];
    if bytes.is_ascii() {
        let mut letters = bytes.to_vec();
        ascii(&mut letters);
        let offsets = match first {
            0 => column.offsets().clone(),
            _ => OffsetBuffer::new(column.value_offsets().iter().map(|offset| offset - first).collect()),
        };
        return Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(letters), column.nulls().cloned())?));
    }
    let mut changed = StringBuilder::with_capacity(column.len(), bytes.len());
    for text in column {
        append_mapped(&mut changed, text, |text, out| text.chars().for_each(|each| out(letter(each))));
    }
    Ok(Arc::new(changed.finish()))
}

/// Appends what `map` makes of the characters of a text.
pub(super) fn append_mapped(out: &mut StringBuilder, text: Option<&str>, map: impl FnOnce(&str, &mut dyn FnMut(char))) {
    match text {
        Some(text) => {
            // Writing to a builder cannot fail.
            map(text, &mut |character| {
                let _ = std::fmt::Write::write_char(out, character);
            });
            out.append_value("");
        }
        None => out.append_null(),
    }
}
