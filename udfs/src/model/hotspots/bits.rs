//! Sets of places in a window.

/// Most places in a window, rounded up to whole words.
pub(super) const WORDS: usize = 16;

/// A set of numbers from 0 to 1023.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    pub(super) const EMPTY: Bits = Bits([0; WORDS]);

    #[inline(always)]
    pub(super) fn set_word(&mut self, word: usize, bits: u64) {
        self.0[word] = bits;
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, place: usize) {
        self.0[place / 64] &= !(1 << (place % 64));
    }

    #[inline(always)]
    pub(super) fn intersects(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).fold(0, |any, (a, b)| any | (a & b)) != 0
    }

    #[inline(always)]
    pub(super) fn add(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    /// Moves to `to` what is in `with`.
    #[inline(always)]
    pub(super) fn move_common(&mut self, with: &Bits, to: &mut Bits) {
        for word in 0..WORDS {
            let common = self.0[word] & with.0[word];
            self.0[word] ^= common;
            to.0[word] |= common;
        }
    }

    pub(super) fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The numbers in the set, rising.
    #[inline(always)]
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize)) {
        for (word, bits) in self.0.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                visit(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}
