//! The line that shows how a running job gets on, on standard error.
//!
//! ```text
//! ⠹ 12.3M rows in  301k rows/s  95.1 MB/s  1,204 rows out  watermark 2024-01-01 12:00:05, 1.2 s behind  3 errors
//! ```
//!
//! Shown only on a terminal, and not while rows are printed to the same terminal, which it would garble.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kinesql_engine::connector::BEHIND_LATEST_MS;
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::runtime::metrics::Metrics;

use crate::report;
use crate::summary::{count, date_time, grouped, short, size, time};
use crate::trouble::troubles;

/// Time between two updates.
pub const REFRESH: Duration = Duration::from_millis(200);

/// Updates over which rates are averaged: two seconds.
const SAMPLES: usize = 10;

/// A watermark further behind than this is that of a replay: the distance to now says nothing.
const LAG_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The progress line; it vanishes when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    time: EventTime,
    rows: u64,
    bytes: u64,
}

impl Progress {
    /// The line of a job; None if it would not be seen, or would garble `rows_on_stdout`.
    pub fn start(metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>, rows_on_stdout: bool) -> Option<Self> {
        if !std::io::stderr().is_terminal() || (rows_on_stdout && std::io::stdout().is_terminal()) {
            return None;
        }
        // The template is a constant, so it cannot be wrong.
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)).with_style(style);
        let mut progress = Self { bar, metrics: metrics.clone(), clock: clock.clone(), samples: VecDeque::new() };
        progress.update();
        Some(progress)
    }

    /// Prints something worth knowing above the line.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| report::note(text));
    }

    /// Shows the newest numbers. To be called every [`REFRESH`].
    pub fn update(&mut self) {
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
        let rows = sum(&mut self.metrics.sources.iter().map(|source| source.rows.get()));
        let bytes = sum(&mut self.metrics.sources.iter().map(|source| source.bytes.get()));
        self.samples.push_back(Sample { time: self.clock.now(), rows, bytes });
        if self.samples.len() > SAMPLES + 1 {
            self.samples.pop_front();
        }
        self.bar.set_message(line(&self.metrics, &self.samples));
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn line(metrics: &Metrics, samples: &VecDeque<Sample>) -> String {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return String::new() };
    let seconds = (last.time - first.time).max(1) as f64 / 1_000.0;
    let mut parts = vec![format!("{} rows in", short(last.rows as f64))];
    if samples.len() > 1 {
        parts.push(format!("{} rows/s", short((last.rows - first.rows) as f64 / seconds)));
        if last.bytes > 0 {
            parts.push(format!("{}/s", size((last.bytes - first.bytes) as f64 / seconds)));
        }
    }
    let rows_out: u64 = metrics.sinks.iter().map(|sink| sink.rows.get()).sum();
    parts.push(format!("{} rows out", grouped(rows_out)));
    let slowest = metrics.sources.iter().filter_map(|source| source.watermarks.slowest()).map(|(_, watermark)| watermark).min();
    if let Some(watermark) = slowest {
        let behind = Duration::from_millis(u64::try_from(last.time - watermark).unwrap_or(0));
        let behind = if behind < LAG_MAX { format!(", {} behind", time(behind)) } else { String::new() };
        parts.push(format!("watermark {}{behind}", date_time(watermark)));
    }
    if let Some(behind) = behind_latest(metrics) {
        parts.push(format!("source {} behind", time(behind)));
    }
    parts.extend(troubles(metrics, last.time).map(|(who, lasts, _)| format!("{who} stuck for {}", time(lasts))));
    if metrics.errors.get() > 0 {
        parts.push(count(metrics.errors.get(), "error"));
    }
    let epoch = metrics.epoch.load(Ordering::Relaxed);
    if epoch > 0 {
        parts.push(format!("checkpoint {epoch}"));
    }
    parts.join("  ")
}

/// How far the slowest shard of any source is behind the newest record of its stream, as its connector says.
fn behind_latest(metrics: &Metrics) -> Option<Duration> {
    let of_sources = metrics.sources.iter().flat_map(|source| source.of_connector());
    let behind = of_sources.filter(|metric| metric.name == BEHIND_LATEST_MS).map(|metric| metric.value).fold(0.0, f64::max);
    // Below a second it is the time between two reads.
    (behind >= 1_000.0).then(|| Duration::from_millis(behind as u64))
}

#[cfg(test)]
mod tests {
    use kinesql_engine::runtime::metrics::{SinkMetrics, SourceMetrics};

    use super::*;

    #[test]
    fn the_line_has_rates_and_the_slowest_watermark() {
        let now = 1_704_067_205_000;
        let source = SourceMetrics::default();
        source.watermarks.set("a", now - 1_500);
        source.watermarks.set("b", now);
        let metrics = Metrics { sources: vec![source.into()], sinks: vec![SinkMetrics::default().into()], ..Metrics::default() };
        metrics.errors.add(1);
        let sample = |time, rows, bytes| Sample { time, rows, bytes };
        let samples = VecDeque::from([sample(now - 2_000, 1_000, 0), sample(now, 5_000, 4_000_000)]);
        assert_eq!(
            line(&metrics, &samples),
            "5.00k rows in  2.00k rows/s  2.00 MB/s  0 rows out  watermark 2024-01-01 00:00:03, 1.5 s behind  1 error"
        );
        let replay = VecDeque::from([sample(now + LAG_MAX.as_millis() as i64, 5_000, 0)]);
        assert_eq!(line(&metrics, &replay), "5.00k rows in  0 rows out  watermark 2024-01-01 00:00:03  1 error");
    }
}
