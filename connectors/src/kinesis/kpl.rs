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

use prost::encoding::{DecodeContext, WireType, decode_varint, skip_field};

use super::aggregate::{DIGEST_BYTES, MAGIC};
use super::digests::digests;

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
    /// The hash keys of the partition keys, once one was needed.
    hash_keys: Vec<u128>,
    /// The user records, in order.
    pub(crate) records: Vec<SubRecord<'a>>,
}

/// Looks for aggregated records. None: it is a plain one. Else its protobuf, or why it cannot be used.
///
/// Checksums of several records are computed side by side.
pub(crate) fn find<'a>(records: impl Iterator<Item = &'a [u8]>) -> Vec<Option<Result<&'a [u8], &'static str>>> {
    let split = |record: &'a [u8]| {
        let rest = record.strip_prefix(&MAGIC)?;
        Some(rest.split_last_chunk::<DIGEST_BYTES>().ok_or("it is too short"))
    };
    let found: Vec<_> = records.map(split).collect();
    let bodies: Vec<_> = found.iter().flatten().flatten().map(|(body, _)| *body).collect();
    let mut digests = digests(&bodies).into_iter();
    #[allow(clippy::type_complexity, reason = "named nowhere else")]
    let check = |found: Option<Result<(&'a [u8], &'a [u8; DIGEST_BYTES]), &'static str>>| {
        Some(found?.and_then(
            |(body, digest)| {
                if digests.next().as_ref() == Some(digest) { Ok(body) } else { Err("its checksum is wrong") }
            },
        ))
    };
    found.into_iter().map(check).collect()
}

impl<'a> Aggregated<'a> {
    /// Opens the protobuf of an aggregated record. The error says why it cannot be used.
    pub(crate) fn open(body: &'a [u8]) -> Result<Self, &'static str> {
        Self::parse(body).ok_or("its content is damaged")
    }

    fn parse(mut body: &'a [u8]) -> Option<Self> {
        let mut new = Self::default();
        while !body.is_empty() {
            let (tag, wire_type) = field(&mut body)?;
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
        new.records.iter().all(is_whole).then_some(new)
    }

    /// The partition key of one of its records.
    pub(crate) fn partition_key(&self, record: &SubRecord<'_>) -> &'a str {
        self.partition_keys[record.partition_key]
    }

    /// The key that decides which shard one of its records belongs to: the explicit one, else that of the partition key.
    pub(crate) fn hash_key(&mut self, record: &SubRecord<'_>) -> u128 {
        let explicit = record.explicit_hash_key.and_then(|index| self.explicit_hash_keys[index].parse().ok());
        explicit.unwrap_or_else(|| {
            if self.hash_keys.is_empty() {
                self.hash_keys = hash_keys(&self.partition_keys);
            }
            self.hash_keys[record.partition_key]
        })
    }
}

/// The hash keys that partition keys stand for (guide: "Partition key": the MD5 as a 128-bit number).
fn hash_keys(partition_keys: &[&str]) -> Vec<u128> {
    let keys: Vec<_> = partition_keys.iter().map(|key| key.as_bytes()).collect();
    digests(&keys).into_iter().map(u128::from_be_bytes).collect()
}

impl<'a> SubRecord<'a> {
    fn parse(mut body: &'a [u8]) -> Option<Self> {
        let mut new = Self { partition_key: usize::MAX, explicit_hash_key: None, data: &[] };
        while !body.is_empty() {
            let (tag, wire_type) = field(&mut body)?;
            match (tag, wire_type) {
                (1, WireType::Varint) => new.partition_key = number(&mut body)?,
                (2, WireType::Varint) => new.explicit_hash_key = Some(number(&mut body)?),
                (3, WireType::LengthDelimited) => new.data = delimited(&mut body)?,
                _ => skip_field(wire_type, tag, &mut body, DecodeContext::default()).ok()?,
            }
        }
        Some(new)
    }
}

/// A number of a field. Most are below 2^14, and those are read here.
#[inline(always)]
fn number(body: &mut &[u8]) -> Option<usize> {
    match **body {
        [first @ 0..0x80, ref rest @ ..] => {
            *body = rest;
            Some(first.into())
        }
        [first, second @ 0..0x80, ref rest @ ..] => {
            *body = rest;
            Some(usize::from(first & 0x7F) | usize::from(second) << 7)
        }
        _ => usize::try_from(decode_varint(body).ok()?).ok(),
    }
}

/// What a field begins with: its tag and how its value is written.
#[inline(always)]
fn field(body: &mut &[u8]) -> Option<(u32, WireType)> {
    let key = number(body)?;
    let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag > 0)?;
    Some((tag, WireType::try_from((key & 7) as u64).ok()?))
}

#[inline(always)]
fn delimited<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(body)?;
    let (field, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(field)
}

fn text<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(delimited(body)?).ok()
}

/// The same format written by prost, for tests and measurements.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use md5::{Digest as _, Md5};
    use prost::Message;

    use super::*;

    /// The hash key of a partition key.
    #[cfg(test)]
    pub(crate) fn hash_key(partition_key: &str) -> u128 {
        hash_keys(&[partition_key])[0]
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct AggregatedRecord {
        #[prost(string, repeated, tag = "1")]
        pub(super) partition_key_table: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        pub(super) explicit_hash_key_table: Vec<String>,
        #[prost(message, repeated, tag = "3")]
        pub(super) records: Vec<Record>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Record {
        #[prost(uint64, required, tag = "1")]
        pub(super) partition_key_index: u64,
        #[prost(uint64, optional, tag = "2")]
        pub(super) explicit_hash_key_index: Option<u64>,
        #[prost(bytes = "vec", required, tag = "3")]
        pub(super) data: Vec<u8>,
        #[prost(message, repeated, tag = "4")]
        pub(super) tags: Vec<Tag>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Tag {
        #[prost(string, required, tag = "1")]
        pub(super) key: String,
        #[prost(string, optional, tag = "2")]
        pub(super) value: Option<String>,
    }

    /// An aggregated record of (partition key, explicit hash key, data).
    pub fn aggregate(records: &[(&str, Option<u128>, &[u8])]) -> Vec<u8> {
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
    pub(super) fn seal(body: &[u8]) -> Vec<u8> {
        [&MAGIC[..], body, &Md5::digest(body)[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{aggregate, seal};
    use super::*;

    /// None: a plain record.
    fn open(record: &[u8]) -> Option<Result<Aggregated<'_>, &'static str>> {
        find([record].into_iter()).remove(0).map(|body| body.and_then(Aggregated::open))
    }

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
        assert_eq!(why(&seal(b"\x02\x01a")), Some(Err("its content is damaged")), "field 0");
        assert_eq!(why(&seal(b"\x1a\x05\x08")), Some(Err("its content is damaged")), "a length past the end");
        assert_eq!(why(&seal(b"\x1a\x02\x08\x01")), Some(Err("its content is damaged")), "a key that is not in the table");
        assert_eq!(why(&seal(b"")), Some(Ok(())), "no records at all");
    }

    #[test]
    fn numbers_are_those_of_prost() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 21, 1 << 28, 1 << 35, u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(number, &mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(super::number(&mut &bytes[..cut]), None, "the first {cut} bytes of {number}");
            }
            bytes.push(7);
            let mut rest = bytes.as_slice();
            assert_eq!((super::number(&mut rest), rest), (Some(number as usize), &[7][..]));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealed = seal(&body);
            let _ = open(&sealed);
        }
    }
}
