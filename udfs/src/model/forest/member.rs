//! A tree of the forest with its sample and its generator.

use super::sample::Sample;
use super::tree::Tree;
use super::walk::Points;
use crate::model::random::Random;

/// A tree that keeps itself a sample of the points it is shown.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) tree: Tree,
    pub(super) sample: Sample,
    pub(super) random: Random,
}

impl Member {
    /// Tree number `lane` of a seed.
    pub(super) fn new(dimensions: usize, sample_size: usize, time_decay: u32, seed: u64, lane: u64) -> Self {
        Self {
            tree: Tree::new(dimensions, sample_size),
            sample: Sample::new(sample_size, time_decay),
            random: Random::seeded(seed, lane),
        }
    }

    /// Shows `count` points, of which the first has number `first`. `score` is called for ranges of points, in order, each time
    /// before one of them is learned; not while the sample is filling.
    #[inline(always)]
    pub(super) fn show(
        &mut self,
        points: Points<'_>,
        count: usize,
        first: u64,
        mut score: impl FnMut(&Tree, std::ops::Range<usize>),
    ) {
        let mut row = 0;
        while row < count {
            let refused = self.sample.next() - (first + row as u64);
            let left = count - row;
            // The tree is the same for all rows up to and with the one that it takes.
            let taken = refused < left as u64;
            let end = if taken { row + refused as usize + 1 } else { count };
            if self.sample.is_full() {
                score(&self.tree, row..end);
            }
            if taken {
                self.learn(points.get(end - 1, self.tree.stride));
            }
            row = end;
        }
    }

    fn learn(&mut self, point: &[f32]) {
        if let Some(leaf) = self.sample.oldest_leaf() {
            self.tree.delete(leaf);
        }
        let leaf = self.tree.insert(point, &mut self.random);
        self.sample.take(leaf, &mut self.random);
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.tree.size() + self.sample.size() + size_of::<Random>()
    }

    /// Bytes more that are held after the next `points` points, at most.
    pub(super) fn growth(&self, points: usize) -> usize {
        self.tree.growth(points) + self.sample.growth(points)
    }
}
