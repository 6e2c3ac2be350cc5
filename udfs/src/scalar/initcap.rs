//! INITCAP (kda-sql-reference.md §5.8).
//!
//! Input:  text. Output: the same type; the first character of each word is a capital letter, all others are small.
//!         Words end at blanks and nowhere else: `o'neil-smith` is one word.
//! NULL:   NULL. Errors: none.

use std::sync::Arc;

use arrow::array::StringBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_STRING;

use super::change_case::{append_mapped, to_lower, to_upper};
use super::text_function::{Kind, TextFunction};

/// The function `initcap`.
pub fn udf() -> Arc<ScalarUDF> {
    TextFunction {
        name: "initcap",
        aliases: &[],
        parameters: &[("s", Kind::Text, "Text.")],
        required: 1,
        section: DOC_SECTION_STRING,
        summary: "Starts every word with a capital letter; words are separated by blanks.",
        sql_form: None,
        example: ("initcap('amazon KINESIS')", "Amazon Kinesis"),
        plan: |args| Ok(args.field_like(0)),
        run: |args| {
            let texts = args.texts(0)?;
            let mut words = StringBuilder::with_capacity(args.rows, texts.byte_count());
            for row in 0..args.rows {
                append_mapped(&mut words, texts.at(row), |text, out| {
                    let mut starts = true;
                    for letter in text.chars() {
                        out(if starts { to_upper(letter) } else { to_lower(letter) });
                        starts = letter == ' ';
                    }
                });
            }
            Ok(Arc::new(words.finish()))
        },
    }
    .udf()
}
