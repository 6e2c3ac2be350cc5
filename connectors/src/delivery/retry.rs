//! How long to wait before something is tried again.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Waits that double, with jitter so that many clients do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    random: SmallRng,
}

impl Backoff {
    /// Waits from `min` to `max`. Equal seeds give equal waits.
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max: max.max(min), random: SmallRng::seed_from_u64(seed) }
    }

    /// The wait after `failures` of them (1 for the first): at random between half and all of the doubled one.
    pub(crate) fn after(&mut self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(1u32.checked_shl(failures.saturating_sub(1).min(31)).unwrap_or(u32::MAX));
        let longest = doubled.min(self.max);
        longest.mul_f64(self.random.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut backoff = Backoff::new(min, max, 7);
        for (failures, longest) in [(1, 100), (2, 200), (5, 1_600), (7, 6_400), (8, 10_000), (40, 10_000), (u32::MAX, 10_000)] {
            let longest = Duration::from_millis(longest);
            let waits: Vec<_> = (0..50).map(|_| backoff.after(failures)).collect();
            assert!(waits.iter().all(|wait| (longest / 2..=longest).contains(wait)), "{failures}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "jitter");
        }
    }
}
