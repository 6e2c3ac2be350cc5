//! Identifiers of requests and records: distinct across processes and restarts, without a source of randomness.

use md5::{Digest, Md5};

/// Makes the identifiers of one run of a sink or source, in the form of a UUID.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    prefix: [u8; 8],
}

impl Ids {
    /// Identifiers of a run of `name` that started at `started` (milliseconds since 1970): two runs differ by their start, two
    /// processes that start together by their number.
    pub(crate) fn new(name: &str, started: i64) -> Self {
        let mut hash = Md5::new();
        hash.update(started.to_be_bytes());
        hash.update(std::process::id().to_be_bytes());
        hash.update(name);
        let hash = hash.finalize();
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&hash[..8]);
        // Version 8 of RFC 9562: a layout of one's own.
        prefix[6] = (prefix[6] & 0x0F) | 0x80;
        Self { prefix }
    }

    /// A seed for what should differ between runs.
    pub(crate) fn seed(&self) -> u64 {
        u64::from_be_bytes(self.prefix)
    }

    /// The identifier of the `number`-th thing of this run; 62 bits of it are kept.
    pub(crate) fn id(&self, number: u64) -> String {
        let [a, b, c, d, e, f, g, h] = self.prefix;
        // The variant of RFC 9562 in the first two bits.
        let number = (number & (u64::MAX >> 2)) | (1 << 63);
        format!(
            "{a:02x}{b:02x}{c:02x}{d:02x}-{e:02x}{f:02x}-{g:02x}{h:02x}-{:04x}-{:012x}",
            number >> 48,
            number & 0xFFFF_FFFF_FFFF
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ_by_run_and_number_and_look_like_a_uuid() {
        let (first, second) = (Ids::new("OUT", 1_700_000_000_000), Ids::new("OUT", 1_700_000_000_001));
        let ids = [first.id(0), first.id(1), first.id(u64::from(u32::MAX)), second.id(0), second.id(1)];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        for id in &ids {
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!((parts, &id[14..15], &id[19..20]), (vec![8, 4, 4, 4, 12], "8", "8"), "{id}");
        }
    }
}
