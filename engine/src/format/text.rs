//! Scanning and comparing text eight bytes at a time, in portable code.

/// How many bytes come before the first quote, backslash or control character: what a JSON string holds unescaped.
#[inline]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(&chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(chunk);
        // The "has a zero byte" test of H. Warren, "Hacker's Delight", §6-1; a borrow marks only bytes after a true one.
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let stops = (zero_byte(word ^ (ONES * u64::from(b'"'))) | zero_byte(word ^ (ONES * u64::from(b'\\'))) | control) & HIGHS;
        if stops != 0 {
            return at + (stops.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let stop = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    at + bytes[at..].iter().position(stop).unwrap_or(bytes.len() - at)
}

/// `bytes.starts_with(prefix)` for prefixes that are short and mostly longer than eight bytes: comparing words in place
/// costs less than calling memcmp.
#[inline(always)]
pub(super) fn starts_with(bytes: &[u8], prefix: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..prefix.len()) else { return false };
    let (Some(bytes_last), Some(prefix_last)) = (bytes.last_chunk::<8>(), prefix.last_chunk::<8>()) else {
        return bytes.iter().zip(prefix).all(|(a, b)| a == b);
    };
    let (words, _) = bytes.as_chunks::<8>();
    let (prefix_words, _) = prefix.as_chunks::<8>();
    // The last eight bytes overlap with the word before.
    words.iter().zip(prefix_words).all(|(a, b)| a == b) && bytes_last == prefix_last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stops_where_a_byte_by_byte_search_does(bytes in proptest::collection::vec(prop_oneof![0u8..=255, 0x1Eu8..0x24, 0x5Bu8..0x5E], 0..40)) {
            let expected = bytes.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), expected);
        }

        #[test]
        fn compares_as_the_standard_library_does(bytes in "[ab]{0,30}", length in 0usize..32, flip in 0usize..64) {
            let mut prefix = bytes.as_bytes()[..length.min(bytes.len())].to_vec();
            prop_assert!(starts_with(bytes.as_bytes(), &prefix));
            if let Some(byte) = prefix.get_mut(flip) {
                *byte = b'c';
                prop_assert!(!starts_with(bytes.as_bytes(), &prefix));
            }
            prefix.resize(bytes.len() + 1, b'a');
            prop_assert!(!starts_with(bytes.as_bytes(), &prefix));
        }
    }
}
