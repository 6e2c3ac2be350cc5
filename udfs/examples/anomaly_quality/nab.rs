//! The Numenta Anomaly Benchmark: its files, and its score (Lavin and Ahmad, "Evaluating real-time anomaly detection
//! algorithms", ICMLA 2015).
//!
//! A row is detected if its anomaly score reaches a threshold, one for the whole corpus: the best one. A window of an
//! anomaly is worth up to 1, more the earlier it is detected, and a loss if it is not. A detection elsewhere is a loss,
//! which is smaller close behind a window. The first rows of a series do not count. 0 is the score of a detector that finds
//! nothing, 100 that of one that finds everything at once and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::fidelity::Recorded;

/// Share of a series, counted for at most so many rows, in which detections do not count.
const PROBATION: f64 = 0.15;
const PROBATION_ROWS_MAX: usize = 5000;

/// A series of the corpus.
pub struct Series {
    /// Values and the service's scores.
    pub recorded: Recorded,
    /// First and last row of each anomaly's window.
    windows: Vec<(usize, usize)>,
}

/// What mistakes cost.
pub struct Profile {
    false_positive: f64,
    false_negative: f64,
}

/// NAB's standard profile.
pub const STANDARD: Profile = Profile { false_positive: 0.11, false_negative: 1.0 };
/// The profile that rewards few false positives.
pub const FEW_FALSE_POSITIVES: Profile = Profile { false_positive: 0.22, false_negative: 1.0 };
/// The profile that rewards few false negatives.
pub const FEW_FALSE_NEGATIVES: Profile = Profile { false_positive: 0.11, false_negative: 2.0 };

/// Reads all series that have labels.
pub fn read(folder: &Path) -> Result<Vec<Series>> {
    let labels = text(folder.join("labels/combined_windows.json"))?;
    let labels: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_str(&labels)?;
    let series = |(name, windows): (String, Vec<[String; 2]>)| {
        let (kind, file) = name.split_once('/').ok_or_else(|| format!("{name} is in no folder"))?;
        let recorded = text(folder.join(format!("results/randomCutForest/{kind}/randomCutForest_{file}")))?;
        let times: Vec<_> = recorded.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        let row = |time: &str| {
            let time = time.trim_end_matches('0').trim_end_matches('.');
            times.iter().position(|other| *other == time).ok_or_else(|| format!("{name} has no row at {time}"))
        };
        let windows = windows.iter().map(|[first, last]| Ok((row(first)?, row(last)?))).collect::<Result<_>>()?;
        let recorded = Recorded::read(&recorded, 1, 2).ok_or_else(|| format!("{name} has a row without numbers"))?;
        Ok(Series { recorded, windows })
    };
    labels.into_iter().map(series).collect()
}

fn text(path: PathBuf) -> Result<String> {
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// A row that counts: its anomaly score, what its detection is worth, and the window that it is in.
struct Row {
    anomaly: f64,
    worth: f64,
    window: Option<usize>,
}

/// The score of a profile with the threshold that is best for it.
pub fn score(series: &[Series], scores: &[Vec<f64>], profile: &Profile) -> f64 {
    let mut rows = Vec::new();
    let mut windows = 0;
    for (series, scores) in series.iter().zip(scores) {
        add_rows(series, scores, profile, windows, &mut rows);
        windows += series.windows.len();
    }
    rows.sort_by(|a, b| b.anomaly.total_cmp(&a.anomaly));
    let mut detected = vec![-profile.false_negative; windows];
    let nothing: f64 = detected.iter().sum();
    let (mut total, mut best) = (nothing, nothing);
    for (number, row) in rows.iter().enumerate() {
        match row.window {
            None => total += row.worth,
            Some(window) => {
                total += (row.worth - detected[window]).max(0.0);
                detected[window] = detected[window].max(row.worth);
            }
        }
        if rows.get(number + 1).is_none_or(|next| next.anomaly < row.anomaly) {
            best = best.max(total);
        }
    }
    100.0 * (best - nothing) / (windows as f64 - nothing)
}

fn add_rows(series: &Series, scores: &[f64], profile: &Profile, windows_before: usize, rows: &mut Vec<Row>) {
    let probation = PROBATION * series.recorded.values.len().min(PROBATION_ROWS_MAX) as f64;
    for (row, anomaly) in scores.iter().enumerate().skip(probation as usize) {
        // The last window that has begun; it may be over.
        let number = series.windows.iter().rposition(|(first, _)| *first <= row);
        let (worth, window) = match number.map(|number| (number, series.windows[number])) {
            None => (-profile.false_positive, None),
            Some((number, (first, last))) if row <= last => {
                let place = (last - row + 1) as f64 / (last - first + 1) as f64;
                (falling(-place) / falling(-1.0), Some(windows_before + number))
            }
            Some((_, (first, last))) => (falling((row - last) as f64 / (last - first) as f64) * profile.false_positive, None),
        };
        rows.push(Row { anomaly: *anomaly, worth, window });
    }
}

/// From nearly 1 at -1, the beginning of a window, through 0 at its end to -1 far behind it.
fn falling(place: f64) -> f64 {
    if place > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * place).exp()) - 1.0 }
}
