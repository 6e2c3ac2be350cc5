//! What a running job can say about itself: counters that tasks update and anyone may read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::clock::EventTime;
use super::error_rows::{ErrorRow, Place};
use crate::connector::{ConnectorMetric, Sink, Source, Trouble};

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
pub struct SplitWatermarks(Mutex<Splits>);

#[derive(Debug, Default)]
struct Splits {
    by_name: BTreeMap<String, SplitWatermark>,
    /// The furthest that [`SplitWatermarks::reached`] has been.
    reached: Option<EventTime>,
    /// While all splits are idle: how far the source had come when the last fell silent, and when that was.
    silent_since: Option<(EventTime, EventTime)>,
}

#[derive(Debug)]
struct SplitWatermark {
    /// [`EventTime::MIN`] before the first row, [`EventTime::MAX`] after the last.
    time: EventTime,
    idle: bool,
    /// The split's parts (shards), if it has any: the watermark that would be the split's if there were no other, and
    /// whether the part is idle.
    parts: BTreeMap<Arc<str>, (EventTime, bool)>,
}

/// Where a split, or a part (shard) of it, stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The split.
    pub split: String,
    /// The part; None if the split has none.
    pub part: Option<Arc<str>>,
    /// Its watermark: [`EventTime::MIN`] before the first row, [`EventTime::MAX`] after the last.
    pub watermark: EventTime,
    /// True while nobody waits for it.
    pub idle: bool,
}

impl Splits {
    fn advance(&mut self) {
        let open = || self.by_name.values().filter(|split| split.time != EventTime::MAX);
        let slowest = open().filter(|split| !split.idle).map(|split| split.time).min();
        self.reached = self.reached.max(slowest.or_else(|| open().map(|split| split.time).max()));
    }
}

impl SplitWatermarks {
    /// Sets the watermark of `split`, which is not idle.
    pub fn set(&self, split: &str, time: EventTime) {
        let mut splits = self.lock();
        match splits.by_name.get_mut(split) {
            Some(current) => (current.time, current.idle) = (time, false),
            None => {
                let watermark = SplitWatermark { time, idle: false, parts: BTreeMap::new() };
                splits.by_name.insert(split.to_owned(), watermark);
            }
        }
        if time != EventTime::MAX {
            splits.silent_since = None;
        }
        splits.advance();
    }

    /// `split` is idle at `now`, until its watermark is set again.
    pub fn set_idle(&self, split: &str, now: EventTime) {
        let mut splits = self.lock();
        if let Some(current) = splits.by_name.get_mut(split) {
            current.idle = true;
        }
        splits.advance();
        let silent = splits.by_name.values().all(|split| split.idle || split.time == EventTime::MAX);
        if let (true, None, Some(reached)) = (silent, splits.silent_since, splits.reached.filter(|time| *time != EventTime::MIN))
        {
            splits.silent_since = Some((reached, now));
        }
    }

    /// Where a source is whose splits are all idle: its event time goes on as the clock does. None while any split is not,
    /// or if no row ever came.
    pub fn silent_watermark(&self, now: EventTime) -> Option<EventTime> {
        let (reached, since) = self.lock().silent_since?;
        Some(reached.saturating_add(now.saturating_sub(since).max(0)))
    }

    /// The watermark of a split that stays idle.
    pub fn raise_idle(&self, split: &str, time: EventTime) {
        let mut splits = self.lock();
        if let Some(current) = splits.by_name.get_mut(split) {
            current.time = time;
        }
        splits.advance();
    }

    /// How far the source has come for those that do not wait for idle splits: the slowest split that is not idle, the
    /// fastest if all are.
    pub fn reached(&self) -> Option<EventTime> {
        self.lock().reached
    }

    /// The parts of `split`: their names, watermarks, and whether they are idle.
    pub fn set_parts(&self, split: &str, parts: impl Iterator<Item = (Arc<str>, EventTime, bool)>) {
        if let Some(current) = self.lock().by_name.get_mut(split) {
            current.parts = parts.map(|(name, time, idle)| (name, (time, idle))).collect();
        }
    }

    /// The watermark of a part, which is not idle.
    pub fn set_part(&self, split: &str, part: &Arc<str>, time: EventTime) {
        if let Some(current) = self.lock().by_name.get_mut(split) {
            match current.parts.get_mut(part) {
                Some(current) => *current = (time, false),
                None => drop(current.parts.insert(part.clone(), (time, false))),
            }
        }
    }

    /// The slowest split that is neither idle nor at its end, with its watermark: it holds windows open. If it has parts, the
    /// name is that of its slowest part. None before the first row and after the last.
    pub fn slowest(&self) -> Option<(String, EventTime)> {
        let splits = self.lock();
        let known =
            splits.by_name.iter().filter(|(_, split)| !split.idle && !matches!(split.time, EventTime::MIN | EventTime::MAX));
        let (name, split) = known.min_by_key(|(_, split)| split.time)?;
        let parts = split.parts.iter().filter(|(_, (_, idle))| !idle);
        let name = parts.min_by_key(|(_, (time, _))| *time).map_or(name.as_str(), |(part, _)| &**part);
        Some((name.to_owned(), split.time))
    }

    /// Every split, or every part of those that have parts.
    pub fn standings(&self) -> Vec<Standing> {
        let splits = self.lock();
        let mut standings = Vec::new();
        for (name, SplitWatermark { time, idle, parts }) in &splits.by_name {
            if parts.is_empty() {
                standings.push(Standing { split: name.clone(), part: None, watermark: *time, idle: *idle });
            }
            standings.extend(parts.iter().map(|(part, (watermark, idle))| Standing {
                split: name.clone(),
                part: Some(part.clone()),
                watermark: *watermark,
                idle: *idle,
            }));
        }
        standings
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Splits> {
        // Every write leaves the map whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Counters of one source.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    /// Name of its stream.
    pub name: String,
    /// The connector, which has numbers of its own.
    pub connector: Option<Arc<dyn Source>>,
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

impl SourceMetrics {
    /// What the connector shows of itself now.
    pub fn of_connector(&self) -> Vec<ConnectorMetric> {
        self.connector.as_ref().map(|connector| connector.metrics()).unwrap_or_default()
    }

    /// What keeps the connector from getting on now.
    pub fn trouble(&self) -> Option<Trouble> {
        self.connector.as_ref()?.trouble()
    }
}

/// Counters of one sink.
#[derive(Debug, Default)]
pub struct SinkMetrics {
    /// Its name.
    pub name: String,
    /// The connector, which has numbers of its own.
    pub connector: Option<Arc<dyn Sink>>,
    /// Rows handed to it.
    pub rows: Counter,
    /// Those that it gave up because the destination will never accept them.
    pub refused: Counter,
    /// Bytes written, encoded.
    pub bytes: Counter,
}

impl SinkMetrics {
    /// What the connector shows of itself now.
    pub fn of_connector(&self) -> Vec<ConnectorMetric> {
        self.connector.as_ref().map(|connector| connector.metrics()).unwrap_or_default()
    }

    /// What keeps the connector from getting on now.
    pub fn trouble(&self) -> Option<Trouble> {
        self.connector.as_ref()?.trouble()
    }
}

/// A connector's numbers, one for each name in the order of their first mention: over its parts the greatest of what is in
/// milliseconds, which is shown with its part, and the sum of what is counted.
pub fn total(metrics: &[ConnectorMetric]) -> Vec<ConnectorMetric> {
    let mut totals: Vec<ConnectorMetric> = Vec::new();
    for metric in metrics {
        match totals.iter_mut().find(|total| total.name == metric.name) {
            None if metric.is_level() => totals.push(metric.clone()),
            None => totals.push(ConnectorMetric { part: String::new(), ..metric.clone() }),
            Some(total) if !metric.is_level() => total.value += metric.value,
            Some(total) if metric.value > total.value => total.clone_from(metric),
            Some(_) => {}
        }
    }
    totals
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
            first.extend(rows.iter().take(room).map(|row| match &row.place {
                Place::Input => format!("{}: {}", row.name, row.message),
                Place::Pump(pump) => format!("{} in pump {pump}: {}", row.name, row.message),
                Place::Sink(sink) => format!("{} in sink {sink}: {}", row.name, row.message),
            }));
        }
        self.errors.add(rows.len() as u64);
    }
}
