//! The forest against scores that the service gave for five series (tests/data/nab/README.md).

#[path = "../examples/anomaly_quality/fidelity.rs"]
mod fidelity;

use fidelity::{Fidelity, Recorded};

const SERIES: [&str; 5] = [
    include_str!("data/nab/exchange-3_cpc_results.csv"),
    include_str!("data/nab/iio_us-east-1_i-a2eb1cd9_NetworkIn.csv"),
    include_str!("data/nab/occupancy_6005.csv"),
    include_str!("data/nab/rogue_agent_key_hold.csv"),
    include_str!("data/nab/speed_7578.csv"),
];

#[test]
fn scores_are_those_of_the_service_as_far_as_two_of_its_runs_would_agree() {
    let series = SERIES.map(|text| Recorded::read(text, 0, 1).expect("rows of numbers"));
    for seed in 1..=4 {
        let scores = series.each_ref().map(|series| series.score_again(seed));
        for (series, scores) in series.iter().zip(&scores) {
            assert_eq!(series.scores.iter().position(|score| *score > 0.0), Some(256));
            assert_eq!(scores.iter().position(|score| *score > 0.0), Some(256));
        }
        let pairs: Vec<_> = series.iter().zip(&scores).collect();
        let all = Fidelity::of_all(&pairs);
        assert!(all.difference < 0.0225 && (all.ratio - 1.0).abs() < 0.015 && all.correlation > 0.992, "seed {seed}: {all:?}");
    }
}
