//! Records of a sample as the format frames them: columns are inferred from rows, whoever kept the records apart before.

use kinesql_engine::connector::{Records, Sample};
use kinesql_engine::format::{FormatSpec, RowEnd};

/// The sample that `pieces` make for `format`.
pub(crate) fn sample_of(pieces: impl IntoIterator<Item = Records>, format: &FormatSpec) -> Sample {
    let mut sample = Sample::default();
    for records in pieces {
        append_records(&records, format, &mut sample.bytes);
        sample.rejected.extend(records.rejected);
    }
    sample
}

/// Appends the records to `rows`: those that are kept apart each as rows of their own, of JSON, whose documents may go over
/// several lines, as one line.
fn append_records(records: &Records, format: &FormatSpec, rows: &mut Vec<u8>) {
    let Some(envelopes) = &records.envelopes else { return rows.extend_from_slice(&records.bytes) };
    let last = match format {
        FormatSpec::Csv(options) => options.row_delimiter,
        _ => RowEnd::LINE_BREAK,
    };
    let mut start = 0;
    for end in &envelopes.ends {
        let record = records.bytes[start..*end as usize].trim_ascii_end();
        start = *end as usize;
        if !record.is_empty() {
            // Nobody has said that it is JSON: that is to be found out.
            let is_json = *format == FormatSpec::Json && matches!(record.trim_ascii_start().first(), Some(b'{' | b'['));
            rows.extend(record.iter().map(|byte| if is_json && *byte == b'\n' { b' ' } else { *byte }));
            if !record.ends_with(last.as_bytes()) {
                rows.extend_from_slice(last.as_bytes());
            }
        }
    }
}
