//! A generator of random numbers that gives the same ones in every version and on every machine: models repeat bit for bit.
//!
//! SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014; constants from
//! <https://prng.di.unimi.it/splitmix64.c>. Logarithms come from the crate `libm`, since those of the operating system
//! differ in the last bit from one to the next.

/// A generator; its state is one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Random(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Generator number `lane` of a seed. Lanes are independent of each other.
    pub(super) fn seeded(seed: u64, lane: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(GAMMA)) ^ lane.wrapping_mul(GAMMA)))
    }

    /// A generator that goes on where [`Random::state`] was taken.
    pub(super) fn from_state(state: u64) -> Self {
        Self(state)
    }

    /// All there is to save.
    pub(super) fn state(&self) -> u64 {
        self.0
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// Uniform on 0 ≤ x < 1, a multiple of 2^-53.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform on 0 < x ≤ 1: its logarithm is finite.
    pub(super) fn uniform_positive(&mut self) -> f64 {
        1.0 - self.uniform()
    }

    /// Exponential with mean 1; can be 0.
    pub(super) fn exponential(&mut self) -> f64 {
        -libm::log(self.uniform_positive())
    }
}

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
        let mut random = Random::from_state(0);
        assert_eq!([random.bits(), random.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn uniform_and_exponential_have_their_means() {
        let mut random = Random::seeded(1, 2);
        let draws = 100_000;
        let uniform = (0..draws).map(|_| random.uniform()).sum::<f64>() / f64::from(draws);
        let exponential = (0..draws).map(|_| random.exponential()).sum::<f64>() / f64::from(draws);
        assert!((uniform - 0.5).abs() < 0.004 && (exponential - 1.0).abs() < 0.013, "{uniform} {exponential}");
    }
}
