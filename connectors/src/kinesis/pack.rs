//! Rows packed into aggregated records while they wait (`aggregate`).
//!
//! Rows of one partition key, and of one explicit hash key, go into one record, in order. Without keys any rows do: the key
//! of the first decides on the shard. A consumer drops records that do not belong to the shard it found them on, which is why
//! rows of different keys are never mixed.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::aggregate::{AggregatedRecord, DIGEST_BYTES, MAGIC, UserRecord, digest};
use crate::delivery::{Data, Pack, Record};

/// Field number of `records` in the message.
const RECORDS_TAG: u32 = 3;

/// Packs rows until a record has this many bytes.
#[derive(Debug)]
pub(super) struct Aggregation {
    pub(super) max_bytes: usize,
}

impl Pack for Aggregation {
    fn pack(&self, record: &mut Record, row: Record) -> Option<Record> {
        if record.hash_key != row.hash_key {
            return Some(row);
        }
        let entry = |data: Bytes| UserRecord {
            partition_key_index: 0,
            explicit_hash_key_index: record.hash_key.as_ref().map(|_| 0),
            data,
            tags: Vec::new(),
        };
        let Data::Row(more) = &row.data else { return Some(row) };
        let more = entry(more.clone());
        let first = match &record.data {
            Data::Packed(_) => None,
            Data::Row(first) => {
                let table = AggregatedRecord {
                    partition_key_table: vec![record.key.to_string()],
                    explicit_hash_key_table: record.hash_key.iter().map(ToString::to_string).collect(),
                    records: vec![entry(first.clone())],
                };
                Some(table)
            }
        };
        let packed_bytes = first.as_ref().map_or(record.data.as_ref().len(), |first| MAGIC.len() + first.encoded_len());
        let bytes = packed_bytes + entry_bytes(&more) + DIGEST_BYTES;
        if bytes + record.key.len() > self.max_bytes {
            return Some(row);
        }
        if let Some(first) = first {
            let mut packed = Vec::with_capacity(self.max_bytes.min(4 * bytes));
            packed.extend_from_slice(&MAGIC);
            // Writing to a Vec cannot fail: it grows.
            if first.encode(&mut packed).is_err() {
                return Some(row);
            }
            record.data = Data::Packed(packed);
        }
        if let Data::Packed(packed) = &mut record.data {
            encode_key(RECORDS_TAG, WireType::LengthDelimited, packed);
            encode_varint(more.encoded_len() as u64, packed);
            if more.encode(packed).is_err() {
                return Some(row);
            }
        }
        record.cost = bytes + record.key.len();
        record.take_rows(row);
        None
    }
}

/// Bytes of a record within the message.
fn entry_bytes(entry: &UserRecord) -> usize {
    let length = entry.encoded_len();
    1 + encoded_len_varint(length as u64) + length
}

/// The bytes of a record as the stream gets them.
pub(super) fn wire_bytes(data: &Data) -> Vec<u8> {
    match data {
        Data::Row(row) => row.to_vec(),
        Data::Packed(packed) => {
            let mut bytes = Vec::with_capacity(packed.len() + DIGEST_BYTES);
            bytes.extend_from_slice(packed);
            bytes.extend_from_slice(&digest(&packed[MAGIC.len()..]));
            bytes
        }
    }
}
