//! Calls that are made again until they succeed: an outage of the store costs time, not the job.
//!
//! The client itself makes a call again a few times within seconds (`place`); what is here begins when that was of no use. While
//! a job starts it gives up soon, so that a wrong address is found out; later it goes on for as long as [`Insistence`] is told.
//! What does not pass, such as a denied call, is never tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, ErrorKind, Result};

use crate::delivery::Backoff;
use crate::troubles::Troubles;

/// How long a job that starts waits for its store, as for the services of other sinks.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Waits between two attempts: they double, as those of other sinks do.
const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What a sink or a source shows of its attempts.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub(super) troubles: Troubles,
    failed: AtomicU64,
}

impl Attempts {
    /// Calls that failed and were made again.
    pub(super) fn failed(&self) -> f64 {
        self.failed.load(Ordering::Relaxed) as f64
    }
}

/// How long calls are made again.
#[derive(Debug, Clone)]
pub(super) struct Insistence {
    clock: Arc<dyn Clock>,
    attempts: Arc<Attempts>,
    started: Arc<AtomicBool>,
    /// Once the job has started; None: for ever.
    give_up_after: Option<Duration>,
}

impl Insistence {
    /// Of a job that starts now.
    pub(super) fn new(clock: &Arc<dyn Clock>, attempts: &Arc<Attempts>, give_up_after: Option<Duration>) -> Self {
        Self { clock: Arc::clone(clock), attempts: Arc::clone(attempts), started: Arc::default(), give_up_after }
    }

    /// The store has answered: from here on calls are made again for as long as it takes.
    pub(super) fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    fn patience(&self) -> Option<Duration> {
        match (self.started.load(Ordering::Relaxed), self.give_up_after) {
            (true, most) => most,
            (false, most) => Some(most.unwrap_or(START_PATIENCE).min(START_PATIENCE)),
        }
    }

    /// Makes a call until it succeeds, until it fails for good, or until there is no patience left.
    pub(super) async fn call<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut failures = Failures::since(self.clock.now());
        loop {
            match call().await {
                Ok(done) => {
                    self.attempts.troubles.over();
                    return Ok(done);
                }
                Err(error) => self.wait(&mut failures, error).await?,
            }
        }
    }

    /// Waits until what failed with `error` is to be tried again; fails with it if it is not.
    pub(super) async fn wait(&self, failures: &mut Failures, error: Error) -> Result<()> {
        let now = self.clock.now();
        let waited = now.saturating_sub(failures.since);
        let impatient = self.patience().is_some_and(|patience| waited >= patience.as_millis() as i64);
        if error.kind() != ErrorKind::Unavailable || impatient {
            return Err(error);
        }
        failures.count += 1;
        self.attempts.failed.fetch_add(1, Ordering::Relaxed);
        self.attempts.troubles.failing(now, error.message());
        // As a seed any number does that differs between processes.
        let seed = failures.since.wrapping_add(i64::from(failures.count)) as u64;
        self.clock.sleep(Backoff::new(DELAYS.0, DELAYS.1, seed).after(failures.count)).await;
        Ok(())
    }
}

/// Failures of one thing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failures {
    since: EventTime,
    count: u32,
}

impl Failures {
    /// None so far.
    pub(super) fn since(now: EventTime) -> Self {
        Self { since: now, count: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Poll;

    use kinesql_engine::runtime::clock::ManualClock;

    use super::*;

    /// Calls until the call ends or `seconds` have passed: what it gave, and how often it was made.
    async fn calls(
        insistence: &Insistence,
        clock: &ManualClock,
        seconds: i64,
        call: impl Fn(usize) -> Result<()>,
    ) -> (Option<Result<()>>, usize) {
        let count = Cell::new(0);
        let calling = insistence.call(|| {
            count.set(count.get() + 1);
            std::future::ready(call(count.get()))
        });
        // Nothing else runs here that it should give way to.
        let mut calling = Box::pin(tokio::task::unconstrained(calling));
        let end = clock.now() + seconds * 1_000;
        loop {
            match futures::poll!(calling.as_mut()) {
                Poll::Ready(ended) => return (Some(ended), count.get()),
                Poll::Pending if clock.now() >= end => return (None, count.get()),
                Poll::Pending => clock.set(clock.now() + 100),
            }
        }
    }

    fn insistence(give_up_after: Option<Duration>) -> (Arc<ManualClock>, Arc<Attempts>, Insistence) {
        let (clock, attempts) = (ManualClock::starting_at(0), Arc::default());
        let insistence = Insistence::new(&(Arc::clone(&clock) as Arc<dyn Clock>), &attempts, give_up_after);
        (clock, attempts, insistence)
    }

    fn down(_: usize) -> Result<()> {
        Err(Error::unavailable("s3:PutObject of 's3://b/k': connection refused"))
    }

    #[tokio::test]
    async fn a_job_that_starts_gives_up_soon_and_one_that_runs_never_does() {
        let (clock, attempts, insistence) = insistence(None);
        let (ended, count) = calls(&insistence, &clock, 60, down).await;
        assert!(ended.expect("given up").is_err() && count > 3 && clock.now() <= 20_000, "{count} calls, {} ms", clock.now());
        insistence.started();
        let since = clock.now();
        let (ended, count) = calls(&insistence, &clock, 24 * 3_600, down).await;
        assert!(ended.is_none() && count > 8_640, "{count} calls in a day");
        let trouble = attempts.troubles.current().expect("it fails");
        assert_eq!(trouble.reason, "s3:PutObject of 's3://b/k': connection refused");
        assert!(trouble.since <= since + 100 && attempts.failed() > 8_640.0);
        let (ended, _) = calls(&insistence, &clock, 1, |_| Ok(())).await;
        assert!(ended.is_some() && attempts.troubles.current().is_none(), "it works again");
    }

    #[tokio::test]
    async fn an_end_is_kept_to() {
        let (clock, _, insistence) = insistence(Some(Duration::from_secs(180)));
        insistence.started();
        let (ended, _) = calls(&insistence, &clock, 600, down).await;
        assert!(ended.expect("given up").is_err() && (180_000..=200_000).contains(&clock.now()), "{}", clock.now());
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_tried_again() {
        let (clock, attempts, insistence) = insistence(None);
        insistence.started();
        let denied = |_| Err(Error::config("s3:PutObject of 's3://b/k': access denied"));
        let (ended, count) = calls(&insistence, &clock, 60, denied).await;
        assert!(ended.expect("ended").is_err() && count == 1 && attempts.troubles.current().is_none());
        let (ended, count) = calls(&insistence, &clock, 60, |call| if call < 5 { down(call) } else { Ok(()) }).await;
        assert!(ended.expect("ended").is_ok() && count == 5);
    }
}
