//! What a running job can say about itself: counters that tasks update and anyone may read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::clock::EventTime;
use super::error_rows::ErrorRow;

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

/// The watermark of every split of a source.
#[derive(Debug, Default)]
pub struct SplitWatermarks(Mutex<BTreeMap<String, EventTime>>);

impl SplitWatermarks {
    /// Sets the watermark of `split`.
    pub fn set(&self, split: &str, watermark: EventTime) {
        let mut splits = self.lock();
        match splits.get_mut(split) {
            Some(current) => *current = watermark,
            None => drop(splits.insert(split.to_owned(), watermark)),
        }
    }

    /// The slowest split that has not ended, with its watermark: it holds windows open. None before the first row and
    /// after the last.
    pub fn slowest(&self) -> Option<(String, EventTime)> {
        let splits = self.lock();
        let slowest =
            splits.iter().filter(|(_, watermark)| **watermark != EventTime::MAX).min_by_key(|(_, watermark)| **watermark)?;
        Some((slowest.0.clone(), *slowest.1)).filter(|(_, watermark)| *watermark != EventTime::MIN)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, EventTime>> {
        // Every write leaves the map whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
    /// Watermark per split.
    pub watermarks: SplitWatermarks,
    /// Pieces that the source's readers handed over and the operators behind them have seen.
    pub reads: Counter,
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
    pub first_errors: Mutex<Vec<String>>,
    /// Newest complete checkpoint; 0 if none.
    pub epoch: AtomicU64,
}

/// How many messages [`Metrics::first_errors`] keeps.
const FIRST_ERRORS: u64 = 5;

impl Metrics {
    /// Counts rows of `error_stream` and keeps the first few messages.
    pub fn count_errors(&self, rows: &[ErrorRow]) {
        if self.errors.get() < FIRST_ERRORS {
            let mut first = self.first_errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let room = (FIRST_ERRORS as usize).saturating_sub(first.len());
            first.extend(rows.iter().take(room).map(|row| match &*row.pump {
                "" => format!("{}: {}", row.name, row.message),
                pump => format!("{} in pump {pump}: {}", row.name, row.message),
            }));
        }
        self.errors.add(rows.len() as u64);
    }
}
