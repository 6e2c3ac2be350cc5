//! The arguments of RANDOM_CUT_FOREST and RANDOM_CUT_FOREST_WITH_EXPLANATION (kda-sql-reference.md §5.11, §5.12).

use std::ops::RangeInclusive;

use datafusion::common::{Result, plan_err};

/// The arguments that are numbers, in their order in SQL, with their ranges.
pub(in crate::model) const ARGUMENTS: [(&str, RangeInclusive<i64>); 4] =
    [("numberOfTrees", 1..=1000), ("subSampleSize", 10..=1000), ("timeDecay", 1..=i32::MAX as i64), ("shingleSize", 1..=30)];

/// What a forest returns beside the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explanation {
    /// Nothing: RANDOM_CUT_FOREST.
    None,
    /// What each column adds to the score.
    Attribution,
    /// That, and whether the column is too high or too low.
    Directionality,
}

/// Which published formula scores a row that equals rows of a sample. All other rows score the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scoring {
    /// The original service's, recovered from its recorded scores: `'service'`.
    #[default]
    Service,
    /// The open-source library's of the same authors, which scores repeated values lower: `'library'`.
    Library,
}

impl Scoring {
    /// The names of all.
    pub const NAMES: [(&'static str, Self); 2] = [("service", Self::Service), ("library", Self::Library)];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Library => "library",
        }
    }
}

/// How a forest is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForestOptions {
    /// numberOfTrees, 1 – 1000. The score is the mean over the trees.
    pub trees: i64,
    /// subSampleSize, 10 – 1000: points in the sample of each tree.
    pub sample_size: i64,
    /// timeDecay, 1 – 2147483647, more than subSampleSize: the age in points at which a point's weight is 1/e.
    pub time_decay: i64,
    /// shingleSize, 1 – 30: consecutive rows that make one point.
    pub shingle_size: i64,
    /// The explanation.
    pub explanation: Explanation,
    /// The formula.
    pub scoring: Scoring,
    /// Seed of the random numbers: equal seeds and rows give equal scores. The service has none.
    pub seed: u64,
    /// Most threads that work on a batch, at least 1. Plays no part in the scores.
    pub threads: usize,
}

impl Default for ForestOptions {
    fn default() -> Self {
        Self {
            trees: 100,
            sample_size: 256,
            time_decay: 100_000,
            shingle_size: 1,
            explanation: Explanation::None,
            scoring: Scoring::Service,
            seed: 1,
            threads: 1,
        }
    }
}

impl ForestOptions {
    /// The function's name, for errors.
    pub fn function(&self) -> &'static str {
        match self.explanation {
            Explanation::None => "RANDOM_CUT_FOREST",
            Explanation::Attribution | Explanation::Directionality => "RANDOM_CUT_FOREST_WITH_EXPLANATION",
        }
    }

    /// Fails if an option is out of its range.
    pub(in crate::model) fn check(&self) -> Result<()> {
        let values = [self.trees, self.sample_size, self.time_decay, self.shingle_size];
        for ((name, range), value) in ARGUMENTS.iter().zip(values) {
            if !range.contains(&value) {
                return plan_err!("{name} of {} is {value}, it must be {} to {}", self.function(), range.start(), range.end());
            }
        }
        if self.sample_size >= self.time_decay {
            return plan_err!(
                "subSampleSize of {} is {}, it must be less than timeDecay, which is {}",
                self.function(),
                self.sample_size,
                self.time_decay
            );
        }
        Ok(())
    }
}
