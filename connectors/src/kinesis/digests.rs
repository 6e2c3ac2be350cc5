//! MD5 (RFC 1321) of many messages at once.
//!
//! A single MD5 is a chain in which each step waits for the one before, so a core is mostly idle. Here eight or sixteen messages go
//! through the steps side by side, in the widest vector registers that the processor has: five to ten times as fast. Aggregated
//! records carry a checksum over all of their bytes, and the shard of each record within them is the MD5 of its key: one by one,
//! that costs twice what decoding does.
//!
//! Everything between [`digests`] and the vectors is inlined, or it would not be compiled for the wider registers.

use std::hint::black_box;
use std::ops::Add;

use fearless_simd::{Level, Simd, SimdBase as _, SimdInt, dispatch, u32x8, u32x16};
use md5::{Digest as _, Md5};

const BLOCK: usize = 64;

/// The digest of a message.
pub(crate) type Digest = [u8; 16];

/// The integer parts of 4294967296 times abs(sin(i)) (RFC 1321, 3.4).
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// A word of each message.
trait Words<S: Simd>: SimdInt<S, Element = u32> + Add<Output = Self> {}

impl<S: Simd, V: SimdInt<S, Element = u32> + Add<Output = V>> Words<S> for V {}

/// One step of each message: `a` becomes `b + rotate(a + mix + word + sine)`.
#[inline(always)]
fn step<S: Simd, V: Words<S>>(a: &mut V, b: V, mix: V, word: V, sine: u32, left: u32) {
    // The mix comes last: the step before has made it.
    let sum = *a + (word + V::splat(word.token(), sine)) + mix;
    *a = b + ((sum << left) | (sum >> (32 - left)));
}

/// The bits of `x` where `mask` has ones, else those of `y`.
#[inline(always)]
fn select<S: Simd, V: Words<S>>(mask: V, x: V, y: V) -> V {
    y ^ (mask & (x ^ y))
}

/// One block of each message.
#[inline(always)]
fn compress<S: Simd, V: Words<S>>(state: &mut [V; 4], words: &[V; 16], sines: &[u32; 64]) {
    let [mut a, mut b, mut c, mut d] = *state;
    // Four steps at a time, in which the four words take turns. A round has its function, its order of the block's words (a factor
    // and the first one) and its rotations (RFC 1321, 3.4).
    macro_rules! round {
        ($round:literal, |$x:ident, $y:ident, $z:ident| $mix:expr, $factor:literal, $first:literal,
         $r0:literal $r1:literal $r2:literal $r3:literal, $($step:literal)*) => {$(
            round!(@ a b c d |$x, $y, $z| $mix, words[($factor * $step + $first) % 16], sines[16 * $round + $step], $r0);
            round!(@ d a b c |$x, $y, $z| $mix, words[($factor * ($step + 1) + $first) % 16], sines[16 * $round + $step + 1], $r1);
            round!(@ c d a b |$x, $y, $z| $mix, words[($factor * ($step + 2) + $first) % 16], sines[16 * $round + $step + 2], $r2);
            round!(@ b c d a |$x, $y, $z| $mix, words[($factor * ($step + 3) + $first) % 16], sines[16 * $round + $step + 3], $r3);
        )*};
        (@ $a:ident $b:ident $c:ident $d:ident |$x:ident, $y:ident, $z:ident| $mix:expr, $word:expr, $sine:expr, $left:literal) => {
            let mix = {
                let ($x, $y, $z) = ($b, $c, $d);
                $mix
            };
            step(&mut $a, $b, mix, $word, $sine, $left);
        };
    }
    round!(0, |b, c, d| select(b, c, d), 1, 0, 7 12 17 22, 0 4 8 12);
    round!(1, |b, c, d| select(d, b, c), 5, 1, 5 9 14 20, 0 4 8 12);
    round!(2, |b, c, d| b ^ c ^ d, 3, 5, 4 11 16 23, 0 4 8 12);
    round!(3, |b, c, d| c ^ (b | !d), 7, 0, 6 10 15 21, 0 4 8 12);
    for (word, new) in state.iter_mut().zip([a, b, c, d]) {
        *word += new;
    }
}

/// A message on its way through a lane.
#[derive(Clone, Copy)]
struct Lane<'a> {
    /// Its place among the messages; None: the lane is idle.
    message: Option<usize>,
    /// Whole blocks that are still to come.
    blocks: &'a [[u8; BLOCK]],
    /// What follows them: the rest of the message, a one bit, zeros, the length in bits.
    tail: [[u8; BLOCK]; 2],
    /// The first block of the tail that is still to come.
    tail_from: usize,
    /// True if none of its blocks was taken yet.
    is_new: bool,
}

impl<'a> Lane<'a> {
    const IDLE: Self = Self { message: None, blocks: &[], tail: [[0; BLOCK]; 2], tail_from: 2, is_new: true };

    /// Takes a message with its place, if there is one.
    #[inline(always)]
    fn begin(&mut self, message: Option<(usize, &&'a [u8])>) {
        let Some((index, bytes)) = message else {
            return self.message = None;
        };
        let (blocks, rest) = bytes.as_chunks();
        // A bit and the length follow: nine bytes.
        let from = usize::from(rest.len() + 9 <= BLOCK);
        *self = Self { message: Some(index), blocks, tail_from: from, ..Self::IDLE };
        let tail = &mut self.tail.as_flattened_mut()[from * BLOCK..];
        // A call of memcpy costs more.
        let (words, bytes) = rest.as_chunks::<8>();
        let (tail_words, _) = tail.as_chunks_mut::<8>();
        for (to, word) in tail_words.iter_mut().zip(words) {
            *to = *word;
        }
        for (to, byte) in tail[8 * words.len()..].iter_mut().zip(bytes) {
            *to = *byte;
        }
        tail[rest.len()] = 0x80;
        self.tail[1][BLOCK - 8..].copy_from_slice(&(8 * (blocks.len() * BLOCK + rest.len()) as u64).to_le_bytes());
    }

    /// The next block.
    #[inline(always)]
    fn next(&mut self) -> &[u8; BLOCK] {
        self.is_new = false;
        if let [block, blocks @ ..] = self.blocks {
            self.blocks = blocks;
            return block;
        }
        let block = &self.tail[self.tail_from & 1];
        self.tail_from += 1;
        block
    }

    /// True if all of its blocks were taken, or it is idle.
    #[inline(always)]
    fn is_done(&self) -> bool {
        self.blocks.is_empty() && self.tail_from >= 2
    }
}

/// Below this, one after the other is faster.
const SIDE_BY_SIDE_MIN: usize = 3;

/// The digests of `messages`, in order.
pub(crate) fn digests(messages: &[&[u8]]) -> Vec<Digest> {
    if messages.len() < SIDE_BY_SIDE_MIN {
        return messages.iter().map(|message| Md5::digest(message).into()).collect();
    }
    let mut digests = vec![[0; 16]; messages.len()];
    dispatch!(Level::new(), simd => widest(simd, messages, &mut digests));
    digests
}

/// Eight messages, which two registers of every processor hold, or sixteen where registers are wider and there are so many.
#[inline(always)]
fn widest<S: Simd>(simd: S, messages: &[&[u8]], digests: &mut [Digest]) {
    if S::u32s::LEN > 4 && messages.len() > 8 {
        side_by_side::<S, u32x16<S>, 16>(simd, messages, digests);
    } else {
        side_by_side::<S, u32x8<S>, 8>(simd, messages, digests);
    }
}

/// The block of each lane that comes next, by words.
#[inline(always)]
fn next_blocks<S: Simd, V: Words<S>, const LANES: usize>(simd: S, lanes: &mut [Lane<'_>; LANES]) -> [V; 16] {
    // As many words of each lane as there are lanes, then the others: rows of squares that are turned over.
    let mut words = [V::splat(simd, 0); 16];
    for (place, lane) in lanes.iter_mut().enumerate() {
        let block = lane.next().as_chunks::<4>().0;
        for (square, block) in block.as_chunks::<LANES>().0.iter().enumerate() {
            let mut row = [0; LANES];
            for (word, bytes) in row.iter_mut().zip(block) {
                *word = u32::from_le_bytes(*bytes);
            }
            words[square * LANES + place] = V::from_slice(simd, &row);
        }
    }
    for square in words.as_chunks_mut::<LANES>().0 {
        // Each round brings the rows of a half between those of the other.
        for _ in 0..LANES.ilog2() {
            let before = *square;
            for row in 0..LANES / 2 {
                (square[2 * row], square[2 * row + 1]) = before[row].interleave(before[row + LANES / 2]);
            }
        }
    }
    words
}

/// The digests, by lanes that take the next message when they are done with one.
#[inline(always)]
fn side_by_side<S: Simd, V: Words<S>, const LANES: usize>(simd: S, messages: &[&[u8]], digests: &mut [Digest]) {
    // The compiler would add what it knows last, so that each step waited for one more addition.
    let sines = black_box(&SINES);
    let mut waiting = messages.iter().enumerate();
    let mut lanes = [Lane::IDLE; LANES];
    for lane in &mut lanes {
        lane.begin(waiting.next());
    }
    let mut start = [V::splat(simd, 0); 4];
    for (words, word) in start.iter_mut().zip(START) {
        *words = V::splat(simd, word);
    }
    let mut state = start;
    let mut open = messages.len().min(LANES);
    while open > 0 {
        let words = next_blocks(simd, &mut lanes);
        compress(&mut state, &words, sines);
        let done = lanes.iter().filter(|lane| lane.is_done()).count();
        if done == LANES - open {
            continue;
        }
        let mut words = [[0; LANES]; 4];
        for (words, vector) in words.iter_mut().zip(state) {
            vector.store_slice(words);
        }
        for (place, lane) in lanes.iter_mut().enumerate() {
            let (Some(message), true) = (lane.message, lane.is_done()) else { continue };
            for (words, bytes) in words.iter_mut().zip(digests[message].as_chunks_mut::<4>().0) {
                *bytes = words[place].to_le_bytes();
            }
            lane.begin(waiting.next());
            open -= usize::from(lane.message.is_none());
        }
        if done == LANES {
            state = start;
            continue;
        }
        for (words, (vector, start)) in words.iter_mut().zip(state.iter_mut().zip(START)) {
            for (word, lane) in words.iter_mut().zip(&lanes) {
                *word = if lane.is_new { start } else { *word };
            }
            *vector = V::from_slice(simd, words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_one_message_at_a_time() {
        for length in 0..200 {
            for count in [1, 2, 3, 8, 9, 16, 40] {
                let message = |index: usize| (0..length + 7 * index).map(|byte| (31 * byte + index) as u8).collect::<Vec<_>>();
                let messages: Vec<_> = (0..count).map(message).collect();
                let slices: Vec<_> = messages.iter().map(Vec::as_slice).collect();
                let expected: Vec<Digest> = messages.iter().map(|message| Md5::digest(message).into()).collect();
                assert_eq!(digests(&slices), expected, "{count} messages from {length} bytes");
            }
        }
    }
}
