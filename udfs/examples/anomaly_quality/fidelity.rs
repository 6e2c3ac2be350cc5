//! How far the forest's scores are from those that the service gave for the same series.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use kinesql_udfs::model::Model;
use kinesql_udfs::model::forest::{ForestOptions, RandomCutForest};

/// The service's scores were divided by this, log2(256), when they were recorded.
const SCALE: f64 = 8.0;

/// A series with the scores of the service.
pub struct Recorded {
    /// One column of numbers.
    pub values: Vec<f64>,
    /// The service's score of each, 0 – 8.
    pub scores: Vec<f64>,
}

impl Recorded {
    /// Reads rows of a CSV file with a heading, in which columns `value` and `score` have these places.
    pub fn read(text: &str, value: usize, score: usize) -> Option<Self> {
        let (mut values, mut scores) = (Vec::new(), Vec::new());
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split(',').collect();
            values.push(fields.get(value)?.parse().ok()?);
            scores.push(fields.get(score)?.parse::<f64>().ok()? * SCALE);
        }
        Some(Self { values, scores })
    }

    /// The forest's scores of the series, with the options that the service had.
    pub fn score_again(&self, seed: u64) -> Vec<f64> {
        let column = Arc::new(Float64Array::from(self.values.clone())) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("value", column)]).expect("one column");
        let options = ForestOptions { seed, ..ForestOptions::default() };
        let mut forest = RandomCutForest::try_new(options, &batch.schema()).expect("options in range");
        let output = forest.update(&batch).expect("rows of the relation");
        output[0].as_primitive::<Float64Type>().values().to_vec()
    }
}

/// Two sets of scores beside each other.
#[derive(Debug)]
pub struct Fidelity {
    /// Mean absolute difference over all rows, on the scale 0 – 8.
    pub difference: f64,
    /// Mean of ours divided by the mean of theirs.
    pub ratio: f64,
    /// Mean over the series of Pearson's correlation; a series that scores the same everywhere has none.
    pub correlation: f64,
}

impl Fidelity {
    /// Compares the scores of several series.
    pub fn of_all(pairs: &[(&Recorded, &Vec<f64>)]) -> Self {
        let each = || pairs.iter().flat_map(|(theirs, ours)| theirs.scores.iter().zip(*ours));
        let (theirs, ours) = each().fold((0.0, 0.0), |sums, (theirs, ours)| (sums.0 + theirs, sums.1 + ours));
        let correlations: Vec<_> = pairs.iter().filter_map(|(theirs, ours)| correlation(&theirs.scores, ours)).collect();
        Self {
            difference: each().map(|(theirs, ours)| (theirs - ours).abs()).sum::<f64>() / each().count() as f64,
            ratio: ours / theirs,
            correlation: correlations.iter().sum::<f64>() / correlations.len() as f64,
        }
    }
}

fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut covariance, mut variance_a, mut variance_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        covariance += a * b;
        variance_a += a * a;
        variance_b += b * b;
    }
    (variance_a > 0.0 && variance_b > 0.0).then(|| covariance / (variance_a * variance_b).sqrt())
}
