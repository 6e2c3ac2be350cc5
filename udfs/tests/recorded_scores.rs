//! The forest against scores that the service gave for five series (tests/data/nab/README.md), by the code of `just anomaly-quality`.

#[path = "../examples/anomaly_quality/fidelity.rs"]
mod fidelity;
#[path = "../examples/anomaly_quality/nab.rs"]
mod nab;

use std::path::Path;

use fidelity::Fidelity;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn series() -> Vec<nab::Series> {
    nab::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nab")).expect("five series")
}

#[test]
fn scores_are_those_of_the_service_as_far_as_two_of_its_runs_would_agree() {
    let series = series();
    assert_eq!(series.len(), 5);
    for seed in 1..=4 {
        let scores: Vec<_> = series.iter().map(|series| series.recorded.score_again(seed)).collect();
        for (series, scores) in series.iter().zip(&scores) {
            assert_eq!(series.recorded.scores.iter().position(|score| *score > 0.0), Some(256));
            assert_eq!(scores.iter().position(|score| *score > 0.0), Some(256));
        }
        let pairs: Vec<_> = series.iter().map(|series| &series.recorded).zip(&scores).collect();
        let all = Fidelity::of_all(&pairs);
        assert!(all.difference < 0.0225 && (all.ratio - 1.0).abs() < 0.015 && all.correlation > 0.992, "seed {seed}: {all:?}");
    }
}

/// tests/data/nab/nab_scores.py prints the expected numbers.
#[test]
fn the_service_has_the_score_that_the_benchmark_itself_computes() {
    let series = series();
    let recorded: Vec<_> = series.iter().map(|series| series.recorded.scores.clone()).collect();
    for (profile, expected) in [
        (&nab::STANDARD, STANDARD),
        (&nab::FEW_FALSE_POSITIVES, FEW_FALSE_POSITIVES),
        (&nab::FEW_FALSE_NEGATIVES, FEW_FALSE_NEGATIVES),
    ] {
        let score = nab::score(&series, &recorded, profile);
        assert!((score - expected).abs() < 1e-8, "{score} instead of {expected}");
    }
}

const STANDARD: f64 = 63.041_664_938_0;
const FEW_FALSE_POSITIVES: f64 = 58.000_007_911_9;
const FEW_FALSE_NEGATIVES: f64 = 67.027_776_625_3;

#[test]
fn anomalies_are_found_as_by_the_service() {
    let series = series();
    let score = |seed| {
        let scores: Vec<_> = series.iter().map(|series| series.recorded.score_again(seed)).collect();
        nab::score(&series, &scores, &nab::STANDARD)
    };
    let mean = (1..=4).map(score).sum::<f64>() / 4.0;
    assert!((mean - STANDARD).abs() < 5.0, "{mean} instead of {STANDARD}");
}
