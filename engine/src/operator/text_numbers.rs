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
    /// Scratch space: the texts of a batch and their hashes.
    hashed: Vec<(ShortText, u64)>,
}

/// The bytes, then zeros, and the length in the last byte.
type ShortText = [u64; 2];

/// Stands for a text that is too long.
const LONG: ShortText = [0, u64::MAX];

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
        let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
        let mut hashed = std::mem::take(&mut self.hashed);
        hashed.clear();
        // Hashing first lets the processor look up several texts at once.
        hashed.extend(offsets.windows(2).map(|ends| {
            let text = short_text(bytes, ends[0] as usize, ends[1] as usize);
            (text, hash(text))
        }));
        numbers.clear();
        numbers.extend(hashed.iter().enumerate().map(|(row, (text, hash))| {
            if texts.is_null(row) {
                *self.null.get_or_insert_with(|| next(&mut self.len)) as usize
            } else if *text == LONG {
                self.long_number(texts.value(row).as_bytes())
            } else {
                self.short_number(*text, *hash)
            }
        }));
        self.hashed = hashed;
    }

    #[inline]
    fn short_number(&mut self, text: ShortText, text_hash: u64) -> usize {
        match self.short.find(text_hash, |(other, _)| *other == text) {
            Some((_, number)) => *number as usize,
            None => {
                let number = next(&mut self.len);
                self.short.insert_unique(text_hash, (text, number), |(other, _)| hash(*other));
                number as usize
            }
        }
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
    if length > SHORT_MAX {
        return LONG;
    }
    let word = match bytes[start..].first_chunk::<16>() {
        Some(word) => *word,
        // The last texts of the column.
        None => {
            let mut word = [0; 16];
            word[..length].copy_from_slice(&bytes[start..end]);
            word
        }
    };
    let text = u128::from_le_bytes(word);
    let mask = MASKS[length];
    [text as u64 & mask[0], (text >> 64) as u64 & mask[1] | (length as u64) << 56]
}

/// What is kept of 16 bytes for a text of so many.
const MASKS: [ShortText; SHORT_MAX + 1] = {
    let mut masks = [[0; 2]; SHORT_MAX + 1];
    let mut length = 0;
    while length <= SHORT_MAX {
        let mask: u128 = (1 << (8 * length)) - 1;
        masks[length] = [mask as u64, (mask >> 64) as u64];
        length += 1;
    }
    masks
};

/// A multiplication to 128 bits whose halves are folded, as in wyhash; the constants are those of SplitMix64.
#[inline]
fn hash([low, high]: ShortText) -> u64 {
    let product = u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high ^ 0xbf58_476d_1ce4_e5b9);
    product as u64 ^ (product >> 64) as u64
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
