//! Reserved words as names without quotes: accepted where nothing else can stand there, with a warning
//! (kda-sql-reference.md §1.3, §8.1).

use super::keywords::is_reserved;
use crate::diagnostic::{Diagnostic, Span};

/// Names of columns that sources have by themselves: reserved, and written without quotes everywhere.
const OF_SOURCES: [&str; 6] =
    ["APPROXIMATE_ARRIVAL_TIME", "PARTITION_ID", "PARTITION_KEY", "ROWTIME", "SEQUENCE_NUMBER", "SHARD_ID"];

/// What is said of a word at `span` that names a column without quotes; None if it is not reserved.
pub(crate) fn warning_of(word: &str, span: Span) -> Option<Diagnostic> {
    if !is_reserved(word) || OF_SOURCES.contains(&word) {
        return None;
    }
    let warning = Diagnostic::warning(format!("{word} is a reserved word: as a name it belongs in double quotes")).at(span);
    Some(warning.hint(format!("Write \"{word}\"; Kinesis Data Analytics refuses it without quotes.")))
}
