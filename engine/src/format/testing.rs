//! What the tests of every format share: columns and rows as short text.

use arrow::array::{Array, AsArray};
use arrow::record_batch::RecordBatch;

use super::{DecodeColumn, Decoder, RejectReason, Rejected, cells};
use crate::types::SqlType;

/// Nullable columns called A, B, C, … at fields 0, 1, 2, ….
pub(super) fn columns(types: &[SqlType]) -> Vec<DecodeColumn> {
    let column = |(index, sql_type): (usize, &SqlType)| {
        let name = char::from(b'A' + index as u8).to_string();
        DecodeColumn { field: sql_type.field(&name, true), path: None, index }
    };
    types.iter().enumerate().map(column).collect()
}

/// Every row as `value|value`: text in quotes, bytes as a list, the rest as it is written in output.
pub(super) fn rows(batch: &RecordBatch) -> Vec<String> {
    struct Shown;
    impl cells::Style for Shown {
        const QUOTE: &'static [u8] = b"";
        fn null(out: &mut Vec<u8>) {
            out.extend_from_slice(b"NULL");
        }
        fn text(text: &[u8], out: &mut Vec<u8>) {
            out.extend_from_slice(format!("'{}'", String::from_utf8_lossy(text)).as_bytes());
        }
    }
    let schema = batch.schema();
    let mut cells = cells::columns(&schema, batch).unwrap();
    let row = |row: usize| {
        let mut shown = Vec::new();
        for (index, (cells, array)) in cells.iter_mut().zip(batch.columns()).enumerate() {
            if index > 0 {
                shown.push(b'|');
            }
            match array.as_binary_opt::<i32>() {
                Some(bytes) if bytes.is_valid(row) => shown.extend_from_slice(format!("{:?}", bytes.value(row)).as_bytes()),
                _ => cells.write::<Shown>(row, &mut shown),
            }
        }
        String::from_utf8(shown).unwrap()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The rows, then each rejected record as `reason@position: message`.
pub(super) fn decoded(decoder: &mut dyn Decoder, bytes: &[u8]) -> Vec<String> {
    let mut rejected = Vec::new();
    let batch = decoder.decode(bytes, &mut rejected).unwrap();
    for record in &rejected {
        let start = record.position as usize;
        assert!(bytes[start..].starts_with(&record.raw), "the raw record stands at its position");
    }
    rows(&batch).into_iter().chain(rejected.iter().map(shown)).collect()
}

/// The rows and refused records of records that are kept apart, and for each row the place of its record.
pub(super) fn framed_rows(decoder: &mut dyn Decoder, records: &[&[u8]]) -> (Vec<String>, Vec<u32>) {
    let bytes = records.concat();
    let mut end = 0;
    let ends: Vec<u32> = records
        .iter()
        .map(|record| {
            end += record.len() as u32;
            end
        })
        .collect();
    let (mut places, mut rejected) = (Vec::new(), Vec::new());
    let batch = decoder.decode_records(&bytes, &ends, Some(&mut places), &mut rejected).unwrap();
    assert_eq!(places.len(), batch.num_rows());
    (rows(&batch).into_iter().chain(rejected.iter().map(shown)).collect(), places)
}

fn shown(rejected: &Rejected) -> String {
    let reason = match rejected.reason {
        RejectReason::Parse => "Parse",
        RejectReason::Coercion => "Coercion",
        RejectReason::TooLarge => "TooLarge",
        RejectReason::ProcessingFailed => "ProcessingFailed",
        RejectReason::Lost => "Lost",
    };
    format!("{reason}@{}: {}", rejected.position, rejected.message)
}
