//! The task that sends what a writer hands over, and what it does with the answers.
//!
//! It owns everything that is not acknowledged: records that wait (`queue`), records that are to be sent again at a later
//! time, and requests that failed as a whole, which are sent again as they were, under the same id. It ends when the writer is
//! dropped, or when nothing can ever be delivered; the writer's next call, or its `failure`, returns the error then.
//!
//! What is sent again as it was may fail as it did: a request may be too much for the service, for what stands in between, or for
//! the time that it has. One that is refused for its size, or goes unanswered [`UNANSWERED_MAX`] times, is sent in halves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinesql_engine::connector::RefusedRows;
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::queue::{Order, Pack, Queue};
use super::{Backoff, DeliveryMetrics, DeliveryOptions, Limits, Outcome, Parcel, RECORD_TOO_LARGE, Record, Transport};

/// How often a request that gets no answer is sent as it was. Ours: what was only lost on its way has come through by then.
const UNANSWERED_MAX: u32 = 3;

/// What a courier is told once.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) options: DeliveryOptions,
    pub(super) limits: Limits,
    pub(super) order: Order,
    pub(super) pack: Option<Arc<dyn Pack>>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) refused: RefusedRows,
    pub(super) metrics: Arc<DeliveryMetrics>,
    /// Seed of the jitter.
    pub(super) seed: u64,
}

/// A writer's side of its courier.
#[derive(Debug)]
pub(super) struct Courier {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    terms: Terms,
    state: Mutex<State>,
    /// The courier has something to look at.
    wake: Notify,
    /// The writer has something to look at.
    progress: Notify,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Records to be sent again, by the time for it.
    delayed: BTreeMap<(EventTime, u64), Record>,
    /// Requests to be sent again, the oldest first.
    resend: VecDeque<Parcel>,
    /// Records and bytes that are not acknowledged.
    open_records: usize,
    open_bytes: usize,
    /// Records with a smaller sequence do not linger.
    flush_through: u64,
    next_sequence: u64,
    failure: Option<Error>,
}

impl Courier {
    /// Starts the task.
    pub(super) fn start(terms: Terms) -> Self {
        let state = State {
            queue: Queue::new(terms.order),
            delayed: BTreeMap::new(),
            resend: VecDeque::new(),
            open_records: 0,
            open_bytes: 0,
            flush_through: 0,
            next_sequence: 0,
            failure: None,
        };
        let shared = Arc::new(Shared { terms, state: Mutex::new(state), wake: Notify::new(), progress: Notify::new() });
        let task = tokio::spawn(Round::new(Arc::clone(&shared)).run());
        Self { shared, task }
    }

    /// Waits until there is room for more.
    pub(super) async fn room(&self) -> Result<()> {
        let most = self.shared.terms.options.buffer_bytes;
        self.wait_until(|state| {
            let room = state.open_bytes < most;
            if !room {
                // Nothing lingers while the job waits.
                state.flush_through = state.next_sequence;
            }
            room
        })
        .await
    }

    /// Hands records over; their sequence is given here.
    pub(super) fn push(&self, records: impl Iterator<Item = Record>) {
        let terms = &self.shared.terms;
        let mut state = self.shared.state();
        for mut record in records {
            record.sequence = state.next_sequence;
            state.next_sequence += 1;
            state.open_records += record.rows();
            state.open_bytes += record.bytes;
            state.queue.push(record, terms.pack.as_deref());
        }
        let is_due = state.queue.due(&terms.limits, state.flush_through).is_some();
        terms.metrics.waiting_bytes.set(state.open_bytes);
        drop(state);
        if is_due {
            self.shared.wake.notify_one();
        }
    }

    /// No further row is waiting: what does not linger leaves.
    pub(super) fn flush(&self) -> Result<()> {
        let mut state = self.shared.state();
        if self.shared.terms.limits.linger.is_zero() && state.flush_through < state.next_sequence {
            state.flush_through = state.next_sequence;
            self.shared.wake.notify_one();
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// Waits until everything handed over is acknowledged.
    pub(super) async fn drain(&self) -> Result<()> {
        self.wait_until(|state| {
            state.flush_through = state.next_sequence;
            state.open_records == 0
        })
        .await
    }

    /// Waits until nothing can ever be delivered. Safe to cancel.
    pub(super) async fn failure(&self) -> Error {
        loop {
            if let Some(error) = self.shared.state().failure.clone() {
                return error;
            }
            self.shared.progress.notified().await;
        }
    }

    async fn wait_until(&self, mut reached: impl FnMut(&mut State) -> bool) -> Result<()> {
        loop {
            {
                let mut state = self.shared.state();
                if let Some(error) = &state.failure {
                    return Err(error.clone());
                }
                if reached(&mut state) {
                    return Ok(());
                }
            }
            self.shared.wake.notify_one();
            // The permit of a notification stays until it is taken, so none is missed.
            self.shared.progress.notified().await;
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task does next.
enum Next {
    Send(Parcel),
    /// Wait for an answer, for the writer, or until a time.
    Wait(Option<EventTime>),
}

/// The task's own side.
struct Round {
    shared: Arc<Shared>,
    backoff: Backoff,
    in_flight: JoinSet<(Parcel, Outcome)>,
    next_parcel: u64,
    /// Requests that failed as a whole since one did not.
    failed_in_a_row: u32,
    paused_until: EventTime,
}

impl Round {
    fn new(shared: Arc<Shared>) -> Self {
        let Terms { options, seed, .. } = &shared.terms;
        let backoff = Backoff::new(options.retry_min_delay, options.retry_max_delay, *seed);
        let in_flight = JoinSet::new();
        Self { shared, backoff, in_flight, next_parcel: 0, failed_in_a_row: 0, paused_until: EventTime::MIN }
    }

    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let terms = &shared.terms;
        loop {
            terms.metrics.requests_in_flight.set(self.in_flight.len());
            let wake_at = match self.next(terms.clock.now()) {
                Next::Send(parcel) => {
                    self.send(parcel);
                    continue;
                }
                Next::Wait(wake_at) => wake_at,
            };
            let answer = tokio::select! {
                biased;
                Some(answer) = self.in_flight.join_next() => answer,
                () = self.shared.wake.notified() => continue,
                () = sleep_until(&terms.clock, wake_at) => continue,
            };
            let result = match answer {
                Ok((parcel, outcome)) => self.take_answer(parcel, outcome),
                Err(error) => Err(Error::internal("a request ended unexpectedly").with_cause(error)),
            };
            if let Err(error) = result {
                self.shared.state().failure = Some(error);
                self.shared.progress.notify_one();
                return;
            }
            self.shared.progress.notify_one();
        }
    }

    fn next(&mut self, now: EventTime) -> Next {
        let terms = &self.shared.terms;
        let most = if self.failed_in_a_row > 0 { 1 } else { terms.options.max_in_flight };
        if self.in_flight.len() >= most {
            return Next::Wait(None);
        }
        if now < self.paused_until {
            return Next::Wait(Some(self.paused_until));
        }
        let mut state = self.shared.state();
        if let Some(parcel) = state.resend.pop_front() {
            return Next::Send(parcel);
        }
        // Put back in front, the newest first: they leave in the order in which they were written.
        let later = state.delayed.split_off(&(now.saturating_add(1), 0));
        let mut due: Vec<_> = std::mem::replace(&mut state.delayed, later).into_values().collect();
        due.sort_unstable_by_key(|record| std::cmp::Reverse(record.sequence));
        for record in due {
            state.queue.put_back(record);
        }
        let flush_through = state.flush_through;
        let due = state.queue.due(&terms.limits, flush_through);
        if due.is_some_and(|due| due <= now) {
            let records = state.queue.take(&terms.limits);
            let id = self.next_parcel;
            self.next_parcel += 1;
            return Next::Send(Parcel { id, records, unanswered: 0 });
        }
        let again = state.delayed.first_key_value().map(|((time, _), _)| *time);
        Next::Wait(due.into_iter().chain(again).min())
    }

    fn send(&mut self, parcel: Parcel) {
        let terms = &self.shared.terms;
        let (transport, clock, timeout) = (Arc::clone(&terms.transport), Arc::clone(&terms.clock), terms.options.request_timeout);
        self.in_flight.spawn(async move {
            let outcome = tokio::select! {
                outcome = transport.send(&parcel) => outcome,
                () = clock.sleep(timeout) => {
                    let error = Error::unavailable(format!("no answer within {} ms", timeout.as_millis()));
                    Outcome::unanswered(error)
                }
            };
            (parcel, outcome)
        });
    }

    /// Fails if nothing can be delivered any more.
    fn take_answer(&mut self, mut parcel: Parcel, outcome: Outcome) -> Result<()> {
        let terms = &self.shared.terms;
        let metrics = &terms.metrics;
        let now = terms.clock.now();
        let mut state = self.shared.state();
        metrics.requests.add(1);
        if !matches!(outcome, Outcome::Retry { .. } | Outcome::Fatal(_)) {
            self.failed_in_a_row = 0;
        }
        let outcome = match outcome {
            Outcome::Partly { failed, throttled, reason } => Outcome::Refused { refused: Vec::new(), failed, throttled, reason },
            other => other,
        };
        match outcome {
            Outcome::Accepted => {
                metrics.works();
                for record in parcel.records {
                    metrics.records.add(1);
                    metrics.bytes.add(record.bytes as u64);
                    state.close(&record);
                }
            }
            Outcome::Partly { .. } => {}
            Outcome::Refused { refused, failed, throttled, reason } => {
                metrics.records_resent.add(failed.len() as u64);
                metrics.throttled.add(if throttled { failed.len() as u64 } else { 0 });
                if failed.len() < parcel.records.len() {
                    metrics.works();
                } else {
                    metrics.failing(now, &reason);
                    // More would fare no better.
                    let wait = self.backoff.after(parcel.records.iter().map(|record| record.failures + 1).min().unwrap_or(1));
                    self.paused_until = self.paused_until.max(later(now, wait));
                }
                let mut failed = failed.into_iter().peekable();
                let mut refused = refused.into_iter().peekable();
                for (place, mut record) in parcel.records.into_iter().enumerate() {
                    if let Some((_, error)) = refused.next_if(|(refused, _)| *refused == place) {
                        terms.refuse(record, &error, &mut state);
                        continue;
                    }
                    if failed.next_if_eq(&place).is_none() {
                        metrics.records.add(1);
                        metrics.bytes.add(record.bytes as u64);
                        state.close(&record);
                        continue;
                    }
                    record.fail(now);
                    terms.check_elapsed(&record, now, || Error::unavailable(reason.clone()))?;
                    let again = later(now, self.backoff.after(record.failures));
                    state.delayed.insert((again, record.sequence), record);
                }
            }
            Outcome::Retry { error, throttled, unanswered, after } => {
                metrics.requests_failed.add(1);
                metrics.throttled.add(u64::from(throttled));
                metrics.records_resent.add(parcel.records.len() as u64);
                metrics.failing(now, error.message());
                parcel.unanswered += u32::from(unanswered);
                for record in &mut parcel.records {
                    record.fail(now);
                    terms.check_elapsed(record, now, || error.clone())?;
                }
                self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
                let wait = self.backoff.after(self.failed_in_a_row).max(after.unwrap_or_default());
                self.paused_until = self.paused_until.max(later(now, wait));
                if parcel.unanswered >= UNANSWERED_MAX && parcel.records.len() > 1 && !terms.transport.knows_requests() {
                    state.send_halves(parcel, &mut self.next_parcel);
                } else {
                    state.send_again(parcel);
                }
            }
            Outcome::TooLarge(error) => {
                metrics.works();
                if parcel.records.len() == 1 {
                    let error = Error::data(error.message()).named(RECORD_TOO_LARGE);
                    parcel.records.into_iter().for_each(|record| terms.refuse(record, &error, &mut state));
                } else {
                    state.send_halves(parcel, &mut self.next_parcel);
                }
            }
            Outcome::Fatal(error) => return Err(error),
        }
        metrics.waiting_bytes.set(state.open_bytes);
        Ok(())
    }
}

impl State {
    /// The oldest requests leave first.
    fn send_again(&mut self, parcel: Parcel) {
        let place = self.resend.partition_point(|other| other.first() < parcel.first());
        self.resend.insert(place, parcel);
    }

    /// Both halves of a request are other requests than the whole.
    fn send_halves(&mut self, mut parcel: Parcel, next_parcel: &mut u64) {
        let second = parcel.records.split_off(parcel.records.len() / 2);
        for records in [parcel.records, second] {
            self.send_again(Parcel { id: *next_parcel, records, unanswered: 0 });
            *next_parcel += 1;
        }
    }

    /// The record is acknowledged or given up.
    fn close(&mut self, record: &Record) {
        self.open_records -= record.rows();
        self.open_bytes -= record.bytes;
        self.queue.release(&record.key);
    }
}

impl Parcel {
    /// The place of its first record in the order of writing.
    fn first(&self) -> Option<u64> {
        self.records.first().map(|record| record.sequence)
    }
}

impl Record {
    fn fail(&mut self, now: EventTime) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
    }

    fn all_rows(&self) -> impl Iterator<Item = &super::Row> {
        std::iter::once(&self.row).chain(&self.more_rows)
    }
}

impl Terms {
    /// Gives a record up that the service never takes.
    fn refuse(&self, record: Record, error: &Error, state: &mut State) {
        state.close(&record);
        for row in record.all_rows() {
            self.metrics.rows_refused.add(1);
            self.refused.push(row.batch.slice(row.index, 1), error.clone());
        }
    }

    fn check_elapsed(&self, record: &Record, now: EventTime, error: impl FnOnce() -> Error) -> Result<()> {
        let (Some(most), Some(since)) = (self.options.retry_max_elapsed, record.failing_since) else { return Ok(()) };
        if now.saturating_sub(since) < most.as_millis() as i64 {
            return Ok(());
        }
        let error = error();
        let seconds = now.saturating_sub(since) as f64 / 1_000.0;
        Err(Error::unavailable(format!("{}; given up after {seconds} s and {} attempts", error.message(), record.failures))
            .with_hint("Option \"retry.max_elapsed\" of the sink ends the job then; the records are sent again after a restart."))
    }
}

/// The first millisecond at which `wait` is over.
fn later(now: EventTime, wait: Duration) -> EventTime {
    now.saturating_add(wait.as_micros().div_ceil(1_000) as i64)
}

async fn sleep_until(clock: &Arc<dyn Clock>, time: Option<EventTime>) {
    match time {
        Some(time) => clock.sleep_until(time).await,
        None => std::future::pending().await,
    }
}
