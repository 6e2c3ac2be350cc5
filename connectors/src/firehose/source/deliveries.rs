//! What becomes of a delivery between its arrival and its acknowledgement.
//!
//! Deliveries are numbered in the order in which the engine gets them: as they are read, or as they go to the spool, which is
//! read in that order. The offset is the number of the last one that was read and the request ids of the last ones; a checkpoint
//! of it covers all deliveries up to the number.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::Schema;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use bytes::Bytes;
use kinesql_engine::connector::{ConnectorMetric, Envelopes, Offset, Read, Records, SplitReader};
use kinesql_engine::format::Rejected;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::endpoint::Server;
use super::spool::Spool;

/// Deliveries that wait for the engine; each may have the size of the largest request.
const WAITING: usize = 4;

/// When a delivery is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledge {
    /// When a checkpoint covers it.
    Checkpointed,
    /// When it is on disk.
    Spooled,
    /// When its rows are on their way to the sinks.
    Taken,
}

/// What an offset holds.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Resume {
    pub(super) sequence: u64,
    pub(super) ids: VecDeque<String>,
}

impl Resume {
    pub(super) fn restore(offset: &Offset) -> Result<Self> {
        serde_json::from_value(offset.0.clone())
            .map_err(|error| Error::state("the checkpoint holds no offset of a 'firehose' source").with_cause(error))
    }
}

/// Records of one request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivery {
    pub(super) id: String,
    /// When Firehose sent it.
    pub(super) arrival: EventTime,
    /// Records, one behind the other.
    pub(super) bytes: Bytes,
    /// Where each of them ends.
    pub(super) ends: Vec<u32>,
    pub(super) rejected: Vec<Rejected>,
}

/// What a request has to wait for: true once it is acknowledged.
pub(super) type Outcome = watch::Receiver<bool>;

/// All deliveries of a reader.
#[derive(Debug)]
pub(super) struct Deliveries {
    acknowledge: Acknowledge,
    remember: usize,
    spool: Option<Spool>,
    state: Mutex<State>,
    /// Without a spool: deliveries that wait for the engine.
    queue: mpsc::Sender<(u64, Delivery)>,
    /// With one: held while a delivery is numbered and written, so that the numbers are in the order of the files.
    spooling: tokio::sync::Mutex<()>,
    /// The numbers of those that wait for the engine.
    spooled: mpsc::UnboundedSender<u64>,
    received: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// The newest number.
    newest: u64,
    tickets: u64,
    /// Known requests, oldest first.
    known: VecDeque<Known>,
}

#[derive(Debug)]
struct Known {
    id: String,
    /// Tells requests apart that have no number yet.
    ticket: u64,
    sequence: Option<u64>,
    /// Who waits for the acknowledgement; None once it is given.
    outcome: Option<watch::Sender<bool>>,
}

/// A request, as far as it is known.
pub(super) enum Found {
    /// Its records are safe.
    Done,
    /// It is on its way; a repeated request waits for the same.
    Waiting(Outcome),
    /// It is known from now on, by this ticket.
    New(u64, Outcome),
}

impl Deliveries {
    pub(super) fn new(resume: Resume, acknowledge: Acknowledge, remember: usize, spool: Option<Spool>) -> (Arc<Self>, Waiting) {
        let (queue, queued) = mpsc::channel(WAITING);
        let (spooled, left) = mpsc::unbounded_channel();
        let mut state = State { newest: resume.sequence, tickets: 0, known: VecDeque::new() };
        let done = |id: String, sequence: u64| Known { id, ticket: 0, sequence: Some(sequence), outcome: None };
        state.known.extend(resume.ids.into_iter().map(|id| done(id, resume.sequence)));
        // What an earlier run left in the spool was acknowledged: it is known, and comes first.
        for (sequence, id) in spool.as_ref().map(Spool::left).unwrap_or_default() {
            state.known.push_back(done(id, sequence));
            state.newest = sequence;
            // The receiver is here.
            let _ = spooled.send(sequence);
        }
        let state = Mutex::new(state);
        let counter = AtomicU64::default;
        let (received, repeated, refused) = (counter(), counter(), counter());
        let spooling = tokio::sync::Mutex::new(());
        let deliveries = Self { acknowledge, remember, spool, state, queue, spooling, spooled, received, repeated, refused };
        (Arc::new(deliveries), Waiting { queued, left })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No critical section leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks a request up; a new one is known from now on.
    pub(super) fn look_up(&self, id: &str) -> Found {
        self.received.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if let Some(known) = state.known.iter().rev().find(|known| known.id == id) {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return match &known.outcome {
                Some(outcome) => Found::Waiting(outcome.subscribe()),
                None => Found::Done,
            };
        }
        while state.known.len() >= self.remember && state.known.front().is_some_and(|known| known.outcome.is_none()) {
            state.known.pop_front();
        }
        state.tickets += 1;
        let ticket = state.tickets;
        let (sender, outcome) = watch::channel(false);
        state.known.push_back(Known { id: id.to_owned(), ticket, sequence: None, outcome: Some(sender) });
        Found::New(ticket, outcome)
    }

    /// Forgets a new request that could not be taken: it may come again.
    pub(super) fn give_up(&self, ticket: u64) {
        self.state().known.retain(|known| known.ticket != ticket);
    }

    /// Numbers a request: it is the next that the engine gets.
    fn number(&self, ticket: u64) -> u64 {
        let mut state = self.state();
        state.newest += 1;
        let sequence = state.newest;
        if let Some(known) = state.known.iter_mut().find(|known| known.ticket == ticket) {
            known.sequence = Some(sequence);
        }
        sequence
    }

    /// Takes a new delivery; returns when it waits for the engine, or is on disk.
    pub(super) async fn take(&self, ticket: u64, delivery: Delivery) -> Result<()> {
        let ended = || Error::unavailable("the job has ended");
        let Some(spool) = &self.spool else { return self.queue.send((ticket, delivery)).await.map_err(|_| ended()) };
        let _one_by_one = self.spooling.lock().await;
        spool.has_room_for(&delivery)?;
        let sequence = self.number(ticket);
        spool.write(sequence, &delivery).await?;
        self.done(|known| known.ticket == ticket);
        self.spooled.send(sequence).map_err(|_| ended())
    }

    /// A checkpoint covers every delivery up to `sequence`.
    pub(super) fn covered(&self, sequence: u64) {
        if self.acknowledge == Acknowledge::Checkpointed {
            self.done(|known| known.sequence.is_some_and(|known| known <= sequence));
        }
        if let Some(spool) = &self.spool {
            spool.forget(sequence);
        }
    }

    /// The rows of every delivery up to `sequence` are on their way to the sinks, in a job without checkpoints.
    pub(super) fn taken(&self, sequence: u64) {
        if self.acknowledge == Acknowledge::Taken {
            self.done(|known| known.sequence.is_some_and(|known| known <= sequence));
        }
        if let Some(spool) = &self.spool {
            spool.forget(sequence);
        }
    }

    /// Acknowledges deliveries.
    fn done(&self, is: impl Fn(&Known) -> bool) {
        for known in self.state().known.iter_mut().filter(|known| is(known)) {
            if let Some(outcome) = known.outcome.take() {
                outcome.send_replace(true);
            }
        }
    }

    /// The place after delivery `sequence`.
    fn offset(&self, sequence: u64) -> Offset {
        let state = self.state();
        let read = state.known.iter().filter(|known| known.sequence.is_some_and(|known| known <= sequence));
        let ids: Vec<_> = read.map(|known| known.id.as_str()).collect();
        Offset(json!({ "sequence": sequence, "ids": ids }))
    }

    /// Counts a request that was refused.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn metrics(&self) -> Vec<ConnectorMetric> {
        let metric = |name, value: u64| ConnectorMetric { name, part: String::new(), value: value as f64 };
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            metric("requests", counted(&self.received)),
            metric("requests_repeated", counted(&self.repeated)),
            metric("requests_refused", counted(&self.refused)),
            metric("requests_unacknowledged", self.state().known.iter().filter(|known| known.outcome.is_some()).count() as u64),
            metric("spool_bytes", self.spool.as_ref().map_or(0, Spool::bytes)),
        ]
    }
}

/// Deliveries that the engine has not taken.
#[derive(Debug)]
pub(super) struct Waiting {
    queued: mpsc::Receiver<(u64, Delivery)>,
    left: mpsc::UnboundedReceiver<u64>,
}

/// Hands deliveries to the engine.
pub(super) struct DeliveryReader {
    deliveries: Arc<Deliveries>,
    waiting: Waiting,
    server: Server,
}

impl DeliveryReader {
    pub(super) fn new(deliveries: Arc<Deliveries>, waiting: Waiting, server: Server) -> Self {
        Self { deliveries, waiting, server }
    }
}

#[async_trait]
impl SplitReader for DeliveryReader {
    async fn next(&mut self) -> Result<Read> {
        let ended = || Error::unavailable("the endpoint has ended");
        let (sequence, delivery) = match &self.deliveries.spool {
            Some(spool) => {
                let sequence = self.waiting.left.recv().await.ok_or_else(ended)?;
                (sequence, spool.read(sequence).await?)
            }
            None => {
                let (ticket, delivery) = self.waiting.queued.recv().await.ok_or_else(ended)?;
                (self.deliveries.number(ticket), delivery)
            }
        };
        let Delivery { id, arrival, bytes, ends, rejected } = delivery;
        let rows = RecordBatchOptions::new().with_row_count(Some(ends.len()));
        let columns = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &rows)?;
        let envelopes = Some(Envelopes { ends, columns });
        let origin: Arc<str> = format!("delivery {id}").into();
        let offset = self.deliveries.offset(sequence);
        let arrival_time = Some(arrival);
        Ok(Read::Records(Records { bytes, origin, position: 0, rejected, arrival_time, part: None, envelopes, offset }))
    }

    async fn close(&mut self) -> Result<()> {
        self.server.stop().await;
        Ok(())
    }
}
