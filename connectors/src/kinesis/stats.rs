//! What is known of each shard while it is read: for the metrics, and to keep shards together in time.
//!
//! A shard whose records are `max_skew` newer than those of the slowest shard that still has records waits: what it would bring
//! could only be buffered. A shard that is caught up holds nobody back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinesql_engine::Error;
use kinesql_engine::connector::{BEHIND_LATEST_MS, ConnectorMetric, Trouble};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use tokio::sync::Notify;

use super::millis;
use super::position::ShardId;

/// Not known yet.
const UNKNOWN: i64 = i64::MIN;

/// How often a waiting shard looks even if nobody calls it.
const ALIGNMENT_INTERVAL: Duration = Duration::from_secs(1);

/// What is counted of a shard from the start of the job.
const COUNTERS: [&str; 5] = ["records", "bytes", "throttles", "failures", "filtered_records"];

/// Counters of one shard.
#[derive(Debug)]
pub(crate) struct ShardStats {
    records: AtomicU64,
    bytes: AtomicU64,
    throttles: AtomicU64,
    failures: AtomicU64,
    filtered: AtomicU64,
    behind_latest_ms: AtomicI64,
    /// When the service received what was read last.
    reached: AtomicI64,
    /// Since when calls are refused or fail.
    failing_since: AtomicI64,
    /// What failed last.
    reason: Mutex<String>,
    paused_since: AtomicI64,
}

impl Default for ShardStats {
    fn default() -> Self {
        Self {
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            throttles: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            behind_latest_ms: AtomicI64::new(UNKNOWN),
            reached: AtomicI64::new(UNKNOWN),
            failing_since: AtomicI64::new(UNKNOWN),
            reason: Mutex::default(),
            paused_since: AtomicI64::new(UNKNOWN),
        }
    }
}

impl ShardStats {
    /// A call brought records, or the news that there are none. `newest` is when the service received the last of them.
    pub(crate) fn answered(
        &self,
        now: EventTime,
        records: usize,
        bytes: usize,
        newest: Option<EventTime>,
        behind_latest_ms: i64,
    ) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.behind_latest_ms.store(behind_latest_ms, Ordering::Relaxed);
        self.recovered();
        // Without records the place is known from the distance to the newest one.
        let reached = newest.unwrap_or(now.saturating_sub(behind_latest_ms));
        self.reached.fetch_max(reached, Ordering::Relaxed);
    }

    /// A call was refused for now.
    pub(crate) fn throttled(&self, now: EventTime, error: &Error) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        self.is_failing(now, error.message());
    }

    /// A call failed for now.
    pub(crate) fn failed(&self, now: EventTime, why: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.is_failing(now, why);
    }

    /// Calls succeed again.
    pub(crate) fn recovered(&self) {
        self.failing_since.store(UNKNOWN, Ordering::Relaxed);
    }

    fn trouble(&self) -> Option<Trouble> {
        let since = known(&self.failing_since)?;
        Some(Trouble { since, reason: self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone() })
    }

    /// Sub-records were left out that belong to other shards.
    pub(crate) fn filtered(&self, count: usize) {
        self.filtered.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn is_failing(&self, now: EventTime, why: &str) {
        why.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = self.failing_since.compare_exchange(UNKNOWN, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is_behind(&self) -> bool {
        self.behind_latest_ms.load(Ordering::Relaxed) > 0
    }

    fn reached(&self) -> Option<EventTime> {
        known(&self.reached)
    }

    /// In the order of [`COUNTERS`].
    fn counts(&self) -> [u64; COUNTERS.len()] {
        [&self.records, &self.bytes, &self.throttles, &self.failures, &self.filtered].map(|count| count.load(Ordering::Relaxed))
    }

    fn metrics(&self, shard: &str, now: EventTime, metrics: &mut Vec<ConnectorMetric>) {
        let mut add = |name, value| metrics.push(ConnectorMetric { name, part: shard.to_owned(), value });
        for (name, count) in COUNTERS.into_iter().zip(self.counts()) {
            add(name, count as f64);
        }
        let age = |since: &AtomicI64| known(since).map_or(0, |since| now.saturating_sub(since).max(0)) as f64;
        add("retrying_ms", age(&self.failing_since));
        add("paused_ms", age(&self.paused_since));
        if let Some(behind_ms) = known(&self.behind_latest_ms) {
            add(BEHIND_LATEST_MS, behind_ms as f64);
            // As CloudWatch counts: a reader that is caught up has no age.
            add("iterator_age_ms", if behind_ms == 0 { 0.0 } else { age(&self.reached) });
        }
    }
}

fn known(time: &AtomicI64) -> Option<i64> {
    Some(time.load(Ordering::Relaxed)).filter(|time| *time != UNKNOWN)
}

/// The shards that a source reads at the moment, and the sums of those that it has read.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    shards: Mutex<BTreeMap<ShardId, Arc<ShardStats>>>,
    /// The sums of [`COUNTERS`] of shards that are no longer read.
    past: Mutex<[u64; COUNTERS.len()]>,
    /// The clock of the job, once there is one.
    clock: Mutex<Option<Arc<dyn Clock>>>,
    moved: Notify,
}

impl Stats {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<ShardStats>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job starts: nothing is read yet.
    pub(crate) fn restart(&self, clock: Arc<dyn Clock>) {
        self.shards().clear();
        *self.past() = Default::default();
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
    }

    /// The counters of a shard that is read from now on. The name "" is for calls about the stream.
    pub(crate) fn shard(&self, shard: &ShardId) -> Arc<ShardStats> {
        Arc::clone(self.shards().entry(shard.clone()).or_default())
    }

    /// A shard is no longer read.
    pub(crate) fn remove(&self, shard: &str) {
        if let Some(stats) = self.shards().remove(shard) {
            for (past, count) in self.past().iter_mut().zip(stats.counts()) {
                *past += count;
            }
        }
        self.moved.notify_waiters();
    }

    fn past(&self) -> MutexGuard<'_, [u64; COUNTERS.len()]> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard, or the stream, of which calls have failed for the longest time.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.shards().values().filter_map(|stats| stats.trouble()).min_by_key(|trouble| trouble.since)
    }

    /// What the source shows.
    pub(crate) fn metrics(&self) -> Vec<ConnectorMetric> {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(now) = clock.map(|clock| clock.now()) else { return Vec::new() };
        let mut metrics = Vec::new();
        for (shard, stats) in self.shards().iter() {
            stats.metrics(shard, now, &mut metrics);
        }
        for (name, past) in COUNTERS.into_iter().zip(*self.past()) {
            match metrics.iter_mut().find(|metric| metric.part.is_empty() && metric.name == name) {
                Some(metric) => metric.value += past as f64,
                None if past > 0 => metrics.push(ConnectorMetric { name, part: String::new(), value: past as f64 }),
                None => {}
            }
        }
        metrics
    }

    /// A shard's records were read, or it fell behind or caught up.
    pub(crate) fn moved(&self) {
        self.moved.notify_waiters();
    }

    /// Waits while `shard` is further ahead of the slowest one than `max_skew`; zero is any distance.
    pub(crate) async fn align(&self, shard: &ShardStats, max_skew: Duration, clock: &Arc<dyn Clock>) {
        if max_skew.is_zero() {
            return;
        }
        loop {
            let moved = self.moved.notified();
            if !self.is_far_ahead(shard, max_skew) {
                shard.paused_since.store(UNKNOWN, Ordering::Relaxed);
                return;
            }
            let _ = shard.paused_since.compare_exchange(UNKNOWN, clock.now(), Ordering::Relaxed, Ordering::Relaxed);
            tokio::select! {
                () = moved => {}
                () = clock.sleep(ALIGNMENT_INTERVAL) => {}
            }
        }
    }

    fn is_far_ahead(&self, shard: &ShardStats, max_skew: Duration) -> bool {
        let Some(reached) = shard.reached() else { return false };
        let shards = self.shards();
        let slowest = shards.values().filter(|other| other.is_behind()).filter_map(|other| other.reached()).min();
        slowest.is_some_and(|slowest| reached.saturating_sub(slowest) > millis(max_skew))
    }
}
