//! What a delivering sink shows of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kinesql_engine::connector::{ConnectorMetric, Trouble};
use kinesql_engine::runtime::clock::{Clock, EventTime};

use crate::troubles::Troubles;

/// Counters that a sink and its courier share.
#[derive(Debug, Default)]
pub(crate) struct DeliveryMetrics {
    /// Records that the service has.
    pub records: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Requests that were answered or given up.
    pub requests: Counter,
    /// Requests of which the service took nothing.
    pub requests_failed: Counter,
    /// Records that were sent again.
    pub records_resent: Counter,
    /// Records and requests that came too fast.
    pub throttled: Counter,
    /// Rows that the service never takes.
    pub rows_refused: Counter,
    /// Bytes that are not acknowledged.
    pub waiting_bytes: Gauge,
    /// Requests that wait for an answer.
    pub requests_in_flight: Gauge,
    troubles: Troubles,
    clock: std::sync::OnceLock<Arc<dyn Clock>>,
}

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl DeliveryMetrics {
    /// The clock that `failing_ms` is measured with.
    pub(crate) fn set_clock(&self, clock: &Arc<dyn Clock>) {
        self.clock.get_or_init(|| Arc::clone(clock));
    }

    /// Of a request nothing was taken at `now`.
    pub(crate) fn failing(&self, now: EventTime, reason: &str) {
        self.troubles.failing(now, reason);
    }

    /// The service took something.
    pub(crate) fn works(&self) {
        self.troubles.over();
    }

    /// For [`kinesql_engine::connector::Sink::trouble`].
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.troubles.current()
    }

    /// All of them, for [`kinesql_engine::connector::Sink::metrics`].
    pub(crate) fn list(&self) -> Vec<ConnectorMetric> {
        let since = self.trouble().map(|trouble| trouble.since);
        let failing = since.zip(self.clock.get()).map_or(0, |(since, clock)| clock.now().saturating_sub(since).max(0));
        [
            ("records", self.records.get()),
            ("bytes", self.bytes.get()),
            ("requests", self.requests.get()),
            ("requests_failed", self.requests_failed.get()),
            ("records_resent", self.records_resent.get()),
            ("throttled", self.throttled.get()),
            ("rows_refused", self.rows_refused.get()),
            ("waiting_bytes", self.waiting_bytes.get()),
            ("requests_in_flight", self.requests_in_flight.get()),
            ("failing_ms", failing as u64),
        ]
        .into_iter()
        .map(|(name, value)| ConnectorMetric { name, part: String::new(), value: value as f64 })
        .collect()
    }
}
