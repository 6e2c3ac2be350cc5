//! Recognises a file again after a restart, and the offsets that carry it.
//!
//! A path may hold another file by then. An offset therefore carries a hash of the file's first bytes and how many bytes
//! the file had at least; both are checked before a reader resumes.

use kinesql_engine::connector::Offset;
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// How many bytes of a file are hashed.
pub(super) const HEAD_BYTES: usize = 1024;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FileOffset {
    /// Records that start here or later are still to be read; counted in decompressed bytes.
    pub(super) position: u64,
    /// The file on disk has at least this many bytes.
    pub(super) file_bytes: u64,
    /// Hash of the file's first bytes.
    pub(super) head: Fingerprint,
}

impl FileOffset {
    pub(super) fn save(&self) -> Offset {
        Offset(serde_json::json!({
            "position": self.position,
            "file_bytes": self.file_bytes,
            "head": { "bytes": self.head.bytes, "hash": self.head.hash },
        }))
    }

    /// Reads an offset and checks that the file, with these first bytes and this length, is the one it was taken from.
    pub(super) fn restore(offset: &Offset, origin: &str, head: &[u8], length: u64) -> Result<Self> {
        let restored: FileOffset = serde_json::from_value(offset.0.clone()).map_err(|error| {
            Error::state(format!("the checkpoint holds no offset for a file where '{origin}' is read")).with_cause(error)
        })?;
        let problem = if length < restored.file_bytes {
            format!("it has {length} bytes, at the checkpoint it had {} or more", restored.file_bytes)
        } else if head.len() < restored.head.bytes || Fingerprint::of(&head[..restored.head.bytes]) != restored.head {
            format!("its first {} bytes are not those it had at the checkpoint", restored.head.bytes)
        } else {
            return Ok(restored);
        };
        Err(Error::state(format!("cannot resume reading '{origin}': the file has changed, {problem}"))
            .with_hint("Put the file back, or start the job without its checkpoint."))
    }
}

/// Hash of a file's first bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    /// How many bytes were hashed.
    pub(super) bytes: usize,
    /// FNV-1a, 64 bits, in hex: it is written into checkpoints, so it must never change.
    pub(super) hash: String,
}

impl Fingerprint {
    pub(super) fn of(head: &[u8]) -> Self {
        let hash = head.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3) // offset basis and prime: RFC 9923, section 5
        });
        Self { bytes: head.len(), hash: format!("{hash:016x}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(Fingerprint::of(b"").hash, "cbf29ce484222325");
        assert_eq!(Fingerprint::of(b"a").hash, "af63dc4c8601ec8c");
        assert_eq!(Fingerprint::of(b"foobar").hash, "85944171f73967e8");
    }

    #[test]
    fn a_changed_file_is_recognised() {
        let offset = FileOffset { position: 3, file_bytes: 5, head: Fingerprint::of(b"abcde") }.save();
        let restore = |head: &[u8], length| FileOffset::restore(&offset, "a.json", head, length).map(|offset| offset.position);
        assert_eq!(restore(b"abcdefgh", 8).expect("the file has grown"), 3);
        let message = restore(b"abc", 3).expect_err("shorter").to_string();
        assert_eq!(
            message,
            "cannot resume reading 'a.json': the file has changed, it has 3 bytes, at the checkpoint it had 5 or more\n\
             hint: Put the file back, or start the job without its checkpoint."
        );
        assert!(restore(b"abcdX", 5).expect_err("other bytes").to_string().contains("its first 5 bytes are not"));
    }
}
