//! The aggregated record format of the Kinesis Producer Library: several user records in one record of a stream.
//!
//! Layout: four magic bytes, an [`AggregatedRecord`] in Protocol Buffers, the MD5 of that message. It is specified in
//! `awslabs/amazon-kinesis-producer:aggregation-format.md`; every consumer of the Kinesis Client Library takes it apart.

use md5::{Digest, Md5};
use prost::Message;

/// What an aggregated record starts with.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Bytes of the MD5 at its end.
pub const DIGEST_BYTES: usize = 16;

/// The message between magic and digest.
#[derive(Clone, PartialEq, Message)]
pub struct AggregatedRecord {
    /// Partition keys that the records refer to by index.
    #[prost(string, repeated, tag = "1")]
    pub partition_key_table: Vec<String>,
    /// Explicit hash keys that the records refer to by index.
    #[prost(string, repeated, tag = "2")]
    pub explicit_hash_key_table: Vec<String>,
    /// The user records, in order.
    #[prost(message, repeated, tag = "3")]
    pub records: Vec<UserRecord>,
}

/// One user record.
#[derive(Clone, PartialEq, Message)]
pub struct UserRecord {
    /// Place of its key in the table of partition keys.
    #[prost(uint64, required, tag = "1")]
    pub partition_key_index: u64,
    /// Place of its hash key in the table of explicit hash keys, if it has one.
    #[prost(uint64, optional, tag = "2")]
    pub explicit_hash_key_index: Option<u64>,
    /// The payload.
    #[prost(bytes = "bytes", required, tag = "3")]
    pub data: bytes::Bytes,
    /// Not used by anybody, but part of the format.
    #[prost(message, repeated, tag = "4")]
    pub tags: Vec<Tag>,
}

/// A name and value that a producer attached.
#[derive(Clone, PartialEq, Message)]
pub struct Tag {
    /// Its name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// The MD5 of a message, as an aggregated record ends with it.
pub fn digest(message: &[u8]) -> [u8; DIGEST_BYTES] {
    Md5::digest(message).into()
}
