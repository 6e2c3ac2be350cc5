//! Aggregated records of the Kinesis Producer Library: many user records in one.
//!
//! ```text
//! F3 89 9A C2 │ AggregatedRecord (protobuf) │ MD5 of the protobuf, 16 bytes
//!
//! AggregatedRecord: 1 partition keys (string, repeated) · 2 explicit hash keys (string, repeated) · 3 records (repeated)
//! Record:           1 index of its partition key · 2 index of its explicit hash key, optional · 3 data · 4 tags
//! ```
//!
//! Read in place: nothing is copied or allocated per user record. Fields that are not named above are passed over.
//! See: the file aggregation-format.md of awslabs/amazon-kinesis-producer.

use md5::{Digest as _, Md5};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// How an aggregated record starts.
pub(crate) const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

const DIGEST_BYTES: usize = 16;

/// The hash key that a partition key stands for (guide: "Partition key": its MD5 as a 128-bit number).
pub(crate) fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// A user record within an aggregated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubRecord<'a> {
    /// Place in the table of partition keys.
    partition_key: usize,
    /// Place in the table of explicit hash keys.
    explicit_hash_key: Option<usize>,
    /// Its payload.
    pub(crate) data: &'a [u8],
}

/// An aggregated record.
#[derive(Debug, Default)]
pub(crate) struct Aggregated<'a> {
    partition_keys: Vec<&'a str>,
    explicit_hash_keys: Vec<&'a str>,
    /// The hash keys of the partition keys, once they were needed.
    hashes: Vec<Option<u128>>,
    /// The user records, in order.
    pub(crate) records: Vec<SubRecord<'a>>,
}

/// Opens an aggregated record. None: it is a plain one. The error says why it cannot be used although it starts like one.
pub(crate) fn open(data: &[u8]) -> Option<Result<Aggregated<'_>, &'static str>> {
    let rest = data.strip_prefix(&MAGIC)?;
    let Some((body, digest)) = rest.split_last_chunk::<DIGEST_BYTES>() else {
        return Some(Err("it is too short"));
    };
    if Md5::digest(body)[..] != digest[..] {
        return Some(Err("its checksum is wrong"));
    }
    Some(Aggregated::parse(body).ok_or("its content is damaged"))
}

impl<'a> Aggregated<'a> {
    fn parse(mut body: &'a [u8]) -> Option<Self> {
        let mut new = Self::default();
        while !body.is_empty() {
            let (tag, wire_type) = decode_key(&mut body).ok()?;
            match (tag, wire_type) {
                (1, WireType::LengthDelimited) => new.partition_keys.push(text(&mut body)?),
                (2, WireType::LengthDelimited) => new.explicit_hash_keys.push(text(&mut body)?),
                (3, WireType::LengthDelimited) => new.records.push(SubRecord::parse(delimited(&mut body)?)?),
                _ => skip_field(wire_type, tag, &mut body, DecodeContext::default()).ok()?,
            }
        }
        let (keys, hashes) = (new.partition_keys.len(), new.explicit_hash_keys.len());
        let is_whole =
            |record: &SubRecord<'_>| record.partition_key < keys && record.explicit_hash_key.is_none_or(|index| index < hashes);
        new.hashes = vec![None; keys];
        new.records.iter().all(is_whole).then_some(new)
    }

    /// The partition key of one of its records.
    pub(crate) fn partition_key(&self, record: &SubRecord<'_>) -> &'a str {
        self.partition_keys[record.partition_key]
    }

    /// The key that decides which shard one of its records belongs to: the explicit one, else that of the partition key.
    pub(crate) fn hash_key(&mut self, record: &SubRecord<'_>) -> u128 {
        let explicit = record.explicit_hash_key.and_then(|index| self.explicit_hash_keys[index].parse().ok());
        let partition_key = self.partition_keys[record.partition_key];
        explicit.unwrap_or_else(|| *self.hashes[record.partition_key].get_or_insert_with(|| hash_key(partition_key)))
    }
}

impl<'a> SubRecord<'a> {
    fn parse(mut body: &'a [u8]) -> Option<Self> {
        let mut new = Self { partition_key: usize::MAX, explicit_hash_key: None, data: &[] };
        while !body.is_empty() {
            let (tag, wire_type) = decode_key(&mut body).ok()?;
            match (tag, wire_type) {
                (1, WireType::Varint) => new.partition_key = usize::try_from(decode_varint(&mut body).ok()?).ok()?,
                (2, WireType::Varint) => {
                    new.explicit_hash_key = Some(usize::try_from(decode_varint(&mut body).ok()?).ok()?);
                }
                (3, WireType::LengthDelimited) => new.data = delimited(&mut body)?,
                _ => skip_field(wire_type, tag, &mut body, DecodeContext::default()).ok()?,
            }
        }
        Some(new)
    }
}

fn delimited<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(body).ok()?).ok()?;
    let (field, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(field)
}

fn text<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(delimited(body)?).ok()
}

/// The same format written by prost, for tests.
#[cfg(test)]
pub(crate) mod testing {
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct AggregatedRecord {
        #[prost(string, repeated, tag = "1")]
        pub(crate) partition_key_table: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        pub(crate) explicit_hash_key_table: Vec<String>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) records: Vec<Record>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Record {
        #[prost(uint64, required, tag = "1")]
        pub(crate) partition_key_index: u64,
        #[prost(uint64, optional, tag = "2")]
        pub(crate) explicit_hash_key_index: Option<u64>,
        #[prost(bytes = "vec", required, tag = "3")]
        pub(crate) data: Vec<u8>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) tags: Vec<Tag>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Tag {
        #[prost(string, required, tag = "1")]
        pub(crate) key: String,
        #[prost(string, optional, tag = "2")]
        pub(crate) value: Option<String>,
    }

    /// An aggregated record of (partition key, explicit hash key, data).
    pub(crate) fn aggregate(records: &[(&str, Option<u128>, &[u8])]) -> Vec<u8> {
        let mut message = AggregatedRecord::default();
        for (key, hash, data) in records {
            let place = message.partition_key_table.iter().position(|known| known == key);
            let partition_key_index = place.unwrap_or_else(|| {
                message.partition_key_table.push((*key).to_owned());
                message.partition_key_table.len() - 1
            }) as u64;
            let explicit_hash_key_index = hash.map(|hash| {
                message.explicit_hash_key_table.push(hash.to_string());
                message.explicit_hash_key_table.len() as u64 - 1
            });
            let tags = vec![Tag { key: "t".to_owned(), value: None }];
            message.records.push(Record { partition_key_index, explicit_hash_key_index, data: data.to_vec(), tags });
        }
        seal(&message.encode_to_vec())
    }

    /// Magic number, `body`, checksum.
    pub(crate) fn seal(body: &[u8]) -> Vec<u8> {
        [&MAGIC[..], body, &Md5::digest(body)[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{aggregate, seal};
    use super::*;

    #[test]
    fn user_records_come_with_their_keys() {
        let bytes = aggregate(&[("a", None, b"1"), ("b", Some(7), b"22"), ("a", None, b"")]);
        let mut opened = open(&bytes).expect("aggregated").expect("intact");
        let records = opened.records.clone();
        let seen: Vec<_> =
            records.iter().map(|record| (opened.partition_key(record), opened.hash_key(record), record.data)).collect();
        let hash = 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661; // MD5 of "a" (RFC 1321, A.5)
        assert_eq!(seen, [("a", hash, &b"1"[..]), ("b", 7, b"22"), ("a", hash, b"")]);
    }

    #[test]
    fn damaged_ones_say_why() {
        let intact = aggregate(&[("a", None, b"1")]);
        let why = |bytes: &[u8]| open(bytes).map(|opened| opened.map(|_| ()));
        assert_eq!(why(b"{}"), None);
        assert_eq!(why(&MAGIC), Some(Err("it is too short")));
        assert_eq!(why(&intact), Some(Ok(())));
        let mut flipped = intact.clone();
        flipped[6] ^= 1;
        assert_eq!(why(&flipped), Some(Err("its checksum is wrong")));
        assert_eq!(why(&intact[..intact.len() - 1]), Some(Err("its checksum is wrong")));
        assert_eq!(why(&seal(b"\x1a\x05\x08")), Some(Err("its content is damaged")), "a length past the end");
        assert_eq!(why(&seal(b"\x1a\x02\x08\x01")), Some(Err("its content is damaged")), "a key that is not in the table");
        assert_eq!(why(&seal(b"")), Some(Ok(())), "no records at all");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealed = seal(&body);
            let _ = open(&sealed);
        }
    }
}
