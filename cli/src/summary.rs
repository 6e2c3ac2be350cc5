//! What a job did, in words: the summary at the end, and numbers for people.

use std::fmt::Write as _;
use std::time::Duration;

use kinesql_engine::connector::ConnectorMetric;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::runtime::metrics::{Metrics, total};

use crate::report;

/// The lines that `kinesql run` ends with.
///
/// ```text
/// done in 3.2 s
///   source SOURCE_SQL_STREAM_001   1,000,000 rows, 120.0 MB   312,500 rows/s
///   sink   OUT                        10,000 rows, 1.1 MB       3,125 rows/s
///   SOURCE_SQL_STREAM_001: behind_latest 1.2 s (shardId-000000000003), throttles 4
///   2 errors, the first ones:
///     COERCION_ERROR: …
/// ```
pub fn summary(metrics: &Metrics, elapsed: Duration, succeeded: bool) -> String {
    let seconds = elapsed.as_secs_f64();
    let mut lines = Vec::new();
    for source in &metrics.sources {
        lines.push(("source", source.name.as_str(), source.rows.get(), source.bytes.get()));
    }
    for sink in &metrics.sinks {
        lines.push(("sink", sink.name.as_str(), sink.rows.get(), sink.bytes.get()));
    }
    let name_width = lines.iter().map(|(_, name, ..)| name.chars().count()).max().unwrap_or(0);
    let amounts: Vec<_> = lines
        .iter()
        .map(|(_, _, rows, bytes)| {
            let unit = if *rows == 1 { "row" } else { "rows" };
            let unit = if *bytes == 0 { unit.to_owned() } else { format!("{unit}, {}", size(*bytes as f64)) };
            (grouped(*rows), unit)
        })
        .collect();
    let rows_width = amounts.iter().map(|(rows, _)| rows.len()).max().unwrap_or(0);
    let unit_width = amounts.iter().map(|(_, unit)| unit.len()).max().unwrap_or(0);
    let mut text = format!("{} {}", if succeeded { "done in" } else { "failed after" }, time(elapsed));
    for ((kind, name, rows, _), (amount, unit)) in lines.iter().zip(&amounts) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {kind:6} {name:name_width$}   {amount:>rows_width$} {unit:unit_width$}");
        if seconds >= 0.1 {
            let _ = write!(text, "   {} rows/s", grouped((*rows as f64 / seconds) as u64));
        }
        text.truncate(text.trim_end().len());
    }
    let of_sources = metrics.sources.iter().map(|source| (&source.name, source.of_connector()));
    let of_sinks = metrics.sinks.iter().map(|sink| (&sink.name, sink.of_connector()));
    for (name, numbers) in of_sources.chain(of_sinks) {
        // Nothing that happened is nothing to say.
        let numbers: Vec<_> = total(&numbers).iter().filter(|metric| metric.value > 0.0).map(number).collect();
        if !numbers.is_empty() {
            let _ = write!(text, "\n  {name}: {}", numbers.join(", "));
        }
    }
    for sink in metrics.sinks.iter().filter(|sink| sink.refused.get() > 0) {
        let _ = write!(text, "\n  {} refused by sink {}", count(sink.refused.get(), "row"), sink.name);
    }
    let late: u64 = metrics.sources.iter().map(|source| source.late.get()).sum();
    if late > 0 {
        let _ = write!(text, "\n  {} dropped: behind the watermark", count(late, "late row"));
    }
    let epoch = metrics.epoch.load(std::sync::atomic::Ordering::Relaxed);
    if epoch > 0 {
        let _ = write!(text, "\n  checkpoint {epoch}");
    }
    if metrics.errors.get() > 0 {
        let _ = write!(text, "\n{}", errors(metrics, "  "));
    }
    text
}

/// `throttles 4`, `behind_latest 1.2 s (shardId-000000000003)`.
fn number(metric: &ConnectorMetric) -> String {
    let (name, value) = match metric.name.strip_suffix("_ms") {
        Some(name) => (name, time(Duration::from_millis(metric.value.max(0.0) as u64))),
        None => (metric.name, grouped(metric.value.max(0.0) as u64)),
    };
    match metric.part.as_str() {
        "" => format!("{name} {value}"),
        part => format!("{name} {value} ({part})"),
    }
}

/// Prints how many rows failed, and the first few messages.
pub fn print_errors(metrics: &Metrics) {
    report::note(&errors(metrics, ""));
}

fn errors(metrics: &Metrics, indent: &str) -> String {
    let first = metrics.first_errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let all = metrics.errors.get() as usize <= first.len();
    let mut text = format!("{indent}{}{}", count(metrics.errors.get(), "error"), if all { ":" } else { ", the first ones:" });
    for message in first.iter() {
        let _ = write!(text, "\n{indent}  {message}");
    }
    text
}

/// `1 error`, `1,234 errors`.
pub fn count(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `999`, `12.3k`, `4.56M`: three digits.
pub fn short(n: f64) -> String {
    scaled(n, 1_000.0, &["", "k", "M", "G", "T"])
}

/// `512 B`, `1.2 MB`, powers of 1,000.
pub fn size(bytes: f64) -> String {
    scaled(bytes, 1_000.0, &[" B", " kB", " MB", " GB", " TB"])
}

fn scaled(mut n: f64, factor: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.5 would be rounded to a fourth digit.
    while n >= factor - 0.5 && unit + 1 < units.len() {
        n /= factor;
        unit += 1;
    }
    let digits = match n {
        _ if unit == 0 => 0,
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{n:.digits$}{}", units[unit])
}

/// `120 ms`, `3.2 s`, `2 min 5 s`, `1 h 30 min`.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// `2024-01-01 12:00:05`, UTC.
pub fn date_time(time: EventTime) -> String {
    match arrow::temporal_conversions::timestamp_ms_to_datetime(time) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
        None => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kinesql_engine::runtime::metrics::{SinkMetrics, SourceMetrics};

    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 999.4, 999.6, 12_345.0, 99_960.0, 4_560_000.0].map(short),
            ["0", "999", "1.00k", "12.3k", "100k", "4.56M"]
        );
        assert_eq!(size(1_234_567.0), "1.23 MB");
        assert_eq!([90, 61_000, 5_400_000].map(|ms| time(Duration::from_millis(ms))), ["90 ms", "1 min 1 s", "1 h 30 min"]);
        assert_eq!(date_time(1_704_067_205_999), "2024-01-01 00:00:05");
    }

    #[test]
    fn numbers_of_connectors_have_their_unit_and_their_shard() {
        let metric = |name, part: &str, value| number(&ConnectorMetric { name, part: part.to_owned(), value });
        assert_eq!(metric("throttles", "", 1_204.0), "throttles 1,204");
        assert_eq!(metric("behind_latest_ms", "shard-1", 1_204.0), "behind_latest 1.2 s (shard-1)");
    }

    #[test]
    fn the_summary_is_aligned_and_counts_what_went_wrong() {
        let source = SourceMetrics { name: "SOURCE_SQL_STREAM_001".to_owned(), ..SourceMetrics::default() };
        source.rows.add(1_000_000);
        source.bytes.add(120_000_000);
        source.late.add(1);
        let sink = SinkMetrics { name: "OUT".to_owned(), ..SinkMetrics::default() };
        sink.rows.add(1);
        sink.bytes.add(49);
        let metrics = Metrics { sources: vec![Arc::new(source)], sinks: vec![Arc::new(sink)], ..Metrics::default() };
        metrics.errors.add(2);
        metrics.first_errors.lock().expect("not poisoned").push("DIVISION_BY_ZERO in pump P: division by zero".to_owned());
        metrics.epoch.store(7, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(
            summary(&metrics, Duration::from_millis(2_000), true),
            [
                "done in 2.0 s",
                "  source SOURCE_SQL_STREAM_001   1,000,000 rows, 120 MB   500,000 rows/s",
                "  sink   OUT                             1 row, 49 B      0 rows/s",
                "  1 late row dropped: behind the watermark",
                "  checkpoint 7",
                "  2 errors, the first ones:",
                "    DIVISION_BY_ZERO in pump P: division by zero",
            ]
            .join("\n")
        );
    }
}
