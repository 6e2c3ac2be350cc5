//! The sample of a tree: a weighted reservoir that prefers recent points.
//!
//! Point number j (from 0) gets the key `ln(E) - j / time_decay`, E exponential with mean 1; the points with the smallest
//! keys are the sample. Once it is full, the number of the next point that it takes is drawn at once, so points that are not
//! taken cost nothing. With T the largest key, L = 1 / time_decay and a(j) = exp(T + L j), point j is taken when E < a(j).
//! Points j … j + n - 1 are all refused with probability exp(-Σ a), a geometric sum: n follows from one exponential draw.

use super::tree::more_room;
use crate::model::random::Random;

/// Keys and leaves of a sample, as a heap with the largest key first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Most points, 10 – 1000.
    capacity: usize,
    /// L: 1 / time_decay.
    decay: f64,
    keys: Vec<f64>,
    leaves: Vec<u16>,
    /// Number of the next point that is taken.
    next: u64,
}

impl Sample {
    pub(super) fn new(capacity: usize, time_decay: u32) -> Self {
        Self { capacity, decay: 1.0 / f64::from(time_decay), keys: Vec::new(), leaves: Vec::new(), next: 0 }
    }

    /// The sample of saved entries, in the order of the heap.
    pub(super) fn from_entries(capacity: usize, time_decay: u32, entries: (Vec<f64>, Vec<u16>), next: u64) -> Self {
        Self { keys: entries.0, leaves: entries.1, next, ..Self::new(capacity, time_decay) }
    }

    /// Keys and leaves in the order of the heap.
    pub(super) fn entries(&self) -> (&[f64], &[u16]) {
        (&self.keys, &self.leaves)
    }

    /// Number of the next point that is taken.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn is_full(&self) -> bool {
        self.keys.len() == self.capacity
    }

    /// The leaf whose point must go when the next one is taken.
    pub(super) fn oldest_leaf(&self) -> Option<u16> {
        if self.is_full() { self.leaves.first().copied() } else { None }
    }

    /// Takes point `self.next()`, which is in `leaf`, in the place of [`Sample::oldest_leaf`].
    pub(super) fn take(&mut self, leaf: u16, random: &mut Random) {
        let number = self.next;
        if self.is_full() {
            let exponential = below(self.threshold(number), random);
            self.keys[0] = self.key(exponential, number);
            self.leaves[0] = leaf;
            self.sift_down();
        } else {
            if self.keys.len() == self.keys.capacity() {
                let room = self.keys.len().clamp(8, self.capacity.max(8)).min(self.capacity - self.keys.len());
                self.keys.reserve_exact(room);
                self.leaves.reserve_exact(room);
            }
            let key = self.key(random.exponential(), number);
            self.keys.push(key);
            self.leaves.push(leaf);
            self.sift_up();
        }
        self.next = number + 1;
        if self.is_full() {
            self.next = self.next.saturating_add(self.refused(random));
        }
    }

    /// How many points are refused from `self.next` on.
    fn refused(&self, random: &mut Random) -> u64 {
        let hazard = random.exponential() * libm::expm1(self.decay) / self.threshold(self.next);
        // Cast: saturates, far beyond any stream.
        ((libm::log1p(hazard) / self.decay).ceil() as u64).saturating_sub(1)
    }

    fn key(&self, exponential: f64, number: u64) -> f64 {
        libm::log(exponential.max(f64::MIN_POSITIVE)) - self.decay * number as f64
    }

    /// a: a point is taken when its exponential draw is below it.
    fn threshold(&self, number: u64) -> f64 {
        libm::exp(self.keys[0] + self.decay * number as f64)
    }

    fn sift_up(&mut self) {
        let mut child = self.keys.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if self.keys[child] <= self.keys[parent] {
                break;
            }
            self.swap(child, parent);
            child = parent;
        }
    }

    fn sift_down(&mut self) {
        let mut parent = 0;
        loop {
            let (left, right) = (2 * parent + 1, 2 * parent + 2);
            if left >= self.keys.len() {
                break;
            }
            let child = if right < self.keys.len() && self.keys[right] > self.keys[left] { right } else { left };
            if self.keys[parent] >= self.keys[child] {
                break;
            }
            self.swap(child, parent);
            parent = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.keys.swap(a, b);
        self.leaves.swap(a, b);
    }

    /// Bytes more that are held after the next `points` points.
    pub(super) fn growth(&self, points: usize) -> usize {
        more_room(self.keys.len(), self.keys.capacity(), points, self.capacity) * (size_of::<f64>() + size_of::<u16>())
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.keys.capacity() * size_of::<f64>() + self.leaves.capacity() * size_of::<u16>()
    }
}

/// An exponential draw, given that it is below `limit`; never 0, so that its logarithm is finite.
fn below(limit: f64, random: &mut Random) -> f64 {
    let draw = -libm::log1p(random.uniform_positive() * libm::expm1(-limit));
    draw.clamp(f64::MIN_POSITIVE, limit.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the points in a sample after `points` points, drawn without skipping.
    fn naive(capacity: usize, decay: f64, points: u64, random: &mut Random) -> Vec<u64> {
        let key = |number: u64, random: &mut Random| libm::log(random.exponential()) - decay * number as f64;
        let mut keys: Vec<(f64, u64)> = (0..points).map(|number| (key(number, random), number)).collect();
        keys.sort_by(|a, b| a.0.total_cmp(&b.0));
        keys.iter().take(capacity).map(|(_, number)| *number).collect()
    }

    fn skipping(capacity: usize, time_decay: u32, points: u64, random: &mut Random) -> Vec<u64> {
        let mut sample = Sample::new(capacity, time_decay);
        let (mut numbers, mut free) = (vec![0; capacity], (0..capacity as u16).rev().collect::<Vec<_>>());
        while sample.next() < points {
            let leaf = sample.oldest_leaf().or_else(|| free.pop()).expect("free or full");
            numbers[usize::from(leaf)] = sample.next();
            sample.take(leaf, random);
        }
        numbers
    }

    #[test]
    fn samples_are_those_of_a_draw_per_point() {
        let (capacity, time_decay, points, runs) = (10, 40, 400, 4000);
        let mut random = Random::seeded(3, 0);
        // How many sampled points are of each age, in steps of ten.
        let mut counts = [[0f64; 40]; 2];
        for _ in 0..runs {
            for number in naive(capacity, 1.0 / f64::from(time_decay), points, &mut random) {
                counts[0][(number / 10) as usize] += 1.0;
            }
            for number in skipping(capacity, time_decay, points, &mut random) {
                counts[1][(number / 10) as usize] += 1.0;
            }
        }
        for (age, (naive, skipping)) in counts[0].iter().zip(&counts[1]).enumerate() {
            let tolerance = 4.5 * (naive + skipping + 1.0).sqrt();
            assert!((naive - skipping).abs() < tolerance, "{age}: {naive} {skipping}");
        }
    }

    #[test]
    fn extreme_decays_make_progress() {
        for (capacity, time_decay) in [(10, 11), (1000, u32::MAX >> 1)] {
            let (mut sample, mut random) = (Sample::new(capacity, time_decay), Random::seeded(1, 1));
            let mut last = None;
            for round in 0..20_000u16 {
                assert!(last.is_none_or(|last| sample.next() > last));
                last = Some(sample.next());
                sample.take(sample.oldest_leaf().unwrap_or(round), &mut random);
            }
            assert!(sample.entries().0.iter().all(|key| key.is_finite()));
        }
    }
}
