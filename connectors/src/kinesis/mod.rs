//! Kinesis Data Streams.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `source` | the source: options, lanes, samples |
//! | `coordinator` | lists shards, gives them to lanes, notices reshards |
//! | `shards` | which lane reads which shard, from where and from when on |
//! | `assignment` | which shards this process reads: all, or its part of them |
//! | `lease` | shards shared with other processes through leases in DynamoDB |
//! | `lane` | one split of the source: many shards side by side |
//! | `reader`, `fan_out` | one shard: by polling, by subscription |
//! | `pace` | how often, how much, how long to wait |
//! | `payload`, `kpl`, `digests` | records to pieces: aggregated, compressed, plain |
//! | `position` | places in shards, offsets in checkpoints |
//! | `stats` | metrics per shard; shards kept together in time |
//! | `sink`, `partition_key` | rows as records of a stream, and their keys |
//! | `pack`, `aggregate` | several rows in one record, and the format of such records |
//! | `client` | the calls that are used, as a trait over the SDK |
//! | `limits` | what the service allows, each number with its source |
//! | `fake` | the service in memory, for tests |
//!
//! See: docs/connectors/kinesis.md, docs/connectors/kinesis-sink.md

pub mod aggregate;
mod assignment;
mod client;
mod coordinator;
mod digests;
#[cfg(test)]
mod fake;
mod fan_out;
mod kpl;
mod lane;
mod lease;
mod limits;
mod pace;
mod pack;
mod partition_key;
mod payload;
mod position;
mod reader;
mod shards;
mod sink;
mod source;
mod stats;

pub use sink::KinesisSinkFactory;
pub use source::KinesisSourceFactory;

/// For measurements of parts of the source.
#[cfg(feature = "testing")]
pub mod testing {
    use arrow::datatypes::SchemaRef;
    use aws_sdk_kinesis::types::Record;
    use bytes::Bytes;
    use kinesql_engine::Result;

    pub use super::kpl::testing::aggregate;
    use super::payload::{PayloadFormat, Unpacker, with_sequence_number};
    use super::position::Position;
    use super::shards::HashRange;

    /// What the decoder gets of the records of an answer: bytes, and where each record ends. The range of the shard leaves hardly any key out.
    pub fn unpack(records: &[Record], check_hash_range: bool, metadata: SchemaRef) -> Result<Vec<(Bytes, Vec<u32>)>> {
        let range = check_hash_range.then_some(HashRange { start: 1, end: u128::MAX });
        let metadata = with_sequence_number(&metadata);
        let mut unpacker = Unpacker::new(PayloadFormat::Text, "shardId-000000000000".into(), range, 64 << 20, metadata);
        let pieces = unpacker.unpack(records, &Position::TrimHorizon)?;
        Ok(pieces.into_iter().map(|piece| (piece.bytes, piece.envelopes.ends)).collect())
    }
}

/// A span of time as event times count it.
fn millis(duration: std::time::Duration) -> i64 {
    duration.as_millis() as i64
}

#[cfg(test)]
pub(crate) mod tests;
