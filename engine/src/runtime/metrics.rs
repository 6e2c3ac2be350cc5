//! What a running job can say about itself: counters that tasks update and anyone may read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::clock::EventTime;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The newest watermark of a stream; [`EventTime::MIN`] until there is one.
#[derive(Debug)]
pub struct WatermarkGauge(AtomicI64);

impl Default for WatermarkGauge {
    fn default() -> Self {
        Self(AtomicI64::new(EventTime::MIN))
    }
}

impl WatermarkGauge {
    /// Raises the watermark to `time`.
    pub fn raise(&self, time: EventTime) {
        self.0.fetch_max(time, Ordering::Relaxed);
    }

    /// The newest watermark; None until there is one and after the input's end.
    pub fn get(&self) -> Option<EventTime> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != EventTime::MIN && *time != EventTime::MAX)
    }
}

/// Counters of one source.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    /// Name of its stream.
    pub name: String,
    /// Rows that entered the stream.
    pub rows: Counter,
    /// Bytes read, before decoding; 0 for sources that deliver rows.
    pub bytes: Counter,
    /// Records that became no row.
    pub rejected: Counter,
    /// Rows behind the watermark, dropped.
    pub late: Counter,
    /// Watermark of the slowest split.
    pub watermark: WatermarkGauge,
}

/// Counters of one sink.
#[derive(Debug, Default)]
pub struct SinkMetrics {
    /// Its name.
    pub name: String,
    /// Rows written.
    pub rows: Counter,
    /// Bytes written, encoded.
    pub bytes: Counter,
}

/// Counters of a job. Shared with the tasks: every read sees the newest values.
#[derive(Debug, Default)]
pub struct Metrics {
    /// One per source that the job reads.
    pub sources: Vec<Arc<SourceMetrics>>,
    /// One per sink that the job writes.
    pub sinks: Vec<Arc<SinkMetrics>>,
    /// Rows of `error_stream`, whether anybody reads it or not.
    pub errors: Counter,
    /// The first few errors, as `NAME: message`, for the terminal.
    pub first_errors: std::sync::Mutex<Vec<String>>,
    /// Newest complete checkpoint; 0 if none.
    pub epoch: Counter,
}
