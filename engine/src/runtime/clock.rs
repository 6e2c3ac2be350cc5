//! Where time comes from: the system clock, or a clock that a test moves by hand.
//!
//! Nothing else in the project reads the wall clock (clippy.toml bans it), so a run with a [`ManualClock`] is
//! repeatable.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

/// Milliseconds since 1970-01-01 00:00:00 UTC: the unit of ROWTIME and of watermarks.
pub type EventTime = i64;

/// A clock: tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now, in milliseconds since the Unix epoch. Never decreases.
    fn now(&self) -> EventTime;

    /// Returns when the clock shows `time` or later; at once if it already does. Safe to cancel.
    async fn sleep_until(&self, time: EventTime);

    /// Returns after `duration` on this clock. Safe to cancel.
    async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().saturating_add(duration.as_millis() as i64)).await;
    }
}

/// Returns when `clock` shows `time` or later, never without a time. Safe to cancel.
pub(super) async fn sleep_until(clock: &Arc<dyn Clock>, time: Option<EventTime>) {
    match time {
        Some(time) => clock.sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The machine's clock. It never goes back: a correction of the system time only makes it stand still.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl SystemClock {
    /// The machine's clock.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::default())
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> EventTime {
        let now = chrono::Utc::now().timestamp_millis();
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that waits on the wall clock")]
    async fn sleep_until(&self, time: EventTime) {
        while self.now() < time {
            let left = Duration::from_millis(time.saturating_sub(self.now()).max(1) as u64);
            tokio::time::sleep(left).await;
        }
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    now: tokio::sync::watch::Sender<EventTime>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn starting_at(now: EventTime) -> Arc<Self> {
        Arc::new(Self { now: tokio::sync::watch::Sender::new(now) })
    }

    /// Moves the clock to `time` and wakes every sleeper whose time has come. Going back is allowed, to test jumps.
    pub fn set(&self, time: EventTime) {
        self.now.send_replace(time);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> EventTime {
        *self.now.borrow()
    }

    async fn sleep_until(&self, time: EventTime) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.now.subscribe().wait_for(|now| *now >= time).await;
    }
}
