//! Scanning text eight bytes at a time, in portable code.

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
    }
}
