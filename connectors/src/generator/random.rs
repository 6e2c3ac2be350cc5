//! Random numbers that are functions of a seed and a row number, so that rows can be made in any order.

/// A seeded family of random numbers. Lanes are independent of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Random(u64);

impl Random {
    /// The family of a seed.
    pub(super) fn seeded(seed: u64) -> Self {
        Random(mix(seed.wrapping_add(GAMMA)))
    }

    /// Another family of the same seed.
    pub(super) fn lane(self, lane: u64) -> Self {
        Random(mix(self.0 ^ lane.wrapping_mul(GAMMA)))
    }

    /// The number of `row`: 64 random bits.
    pub(super) fn of(self, row: u64) -> u64 {
        mix(self.0.wrapping_add(row.wrapping_mul(GAMMA)))
    }

    /// The number of `row`, from 0 to `limit` - 1.
    pub(super) fn below(self, row: u64, limit: u64) -> u64 {
        scale(self.of(row), limit)
    }
}

/// Takes 64 random bits to `0..limit`, by multiplication instead of a slow and uneven remainder.
pub(super) fn scale(bits: u64, limit: u64) -> u64 {
    ((u128::from(bits) * u128::from(limit)) >> 64) as u64
}

// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014; constants from
// https://prng.di.unimi.it/splitmix64.c.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_splitmix64() {
        // The first outputs of splitmix64.c from state 0.
        assert_eq!(mix(GAMMA), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GAMMA.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn lanes_and_seeds_differ() {
        let random = Random::seeded(42);
        assert_ne!(random.of(0), random.lane(1).of(0));
        assert_ne!(random.of(0), Random::seeded(43).of(0));
        assert!((0..1000).all(|row| random.below(row, 3) < 3));
    }
}
