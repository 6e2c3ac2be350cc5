//! Reads one shard by polling: `GetShardIterator`, then `GetRecords` with the iterator of the answer before.
//!
//! | The service says | then |
//! | --- | --- |
//! | records | they are handed on; the next read is due as the shard's limits allow (pace.rs) |
//! | called too often, or fails for now | the same call with the same iterator after a wait that grows |
//! | the iterator expired | a new one behind the last record |
//! | nothing, but it no longer has what came behind the last record that was read | the lane is told that records are lost |
//! | there is no such shard | the coordinator finds out whether it was trimmed or the stream deleted |
//! | anything else | the job fails with it |
//!
//! Ends with the shard, or when its lane drops it. Waits cost no thread.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use kinesql_engine::connector::{Offset, Records};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};
use rand::rngs::SmallRng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::client::{Answer, CallError, CallResult, KinesisApi};
use super::limits::{READ_UNTIL_INTERVAL, RETENTION_MIN};
use super::millis;
use super::pace::{Backoff, Pace, PaceOptions, random_for};
use super::payload::{PayloadFormat, Piece, Unpacker, arrival_time};
use super::position::{Position, ShardId};
use super::shards::Shard;
use super::stats::{ShardStats, Stats};

/// What all readers of a job share.
#[derive(Debug)]
pub(crate) struct ReadContext {
    pub(crate) api: Arc<dyn KinesisApi>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) format: PayloadFormat,
    /// The metadata columns of the records.
    pub(crate) metadata: SchemaRef,
    pub(crate) options: ReadOptions,
    /// The stream's name, for messages.
    pub(crate) stream: Arc<str>,
    /// Bytes that may still be read ahead.
    pub(crate) memory: Arc<Semaphore>,
    /// The consumer of enhanced fan-out, once it is there.
    pub(crate) consumer: watch::Sender<Option<Arc<str>>>,
}

/// The options of readers.
#[derive(Debug, Clone)]
pub(crate) struct ReadOptions {
    pub(crate) fan_out: bool,
    pub(crate) pace: PaceOptions,
    pub(crate) max_skew: Duration,
    pub(crate) max_record_bytes: usize,
    /// Leave out records within aggregated ones that belong to another shard.
    pub(crate) hash_range_check: bool,
}

/// What a reader sends to its lane.
#[derive(Debug)]
pub(crate) struct FromShard {
    pub(crate) shard: ShardId,
    /// The reader's task: a shard that was taken away and came back has another one.
    pub(crate) reader: tokio::task::Id,
    pub(crate) what: Event,
}

/// What happened on a shard.
#[derive(Debug)]
pub(crate) enum Event {
    /// Records, with their share of the memory, and the place behind them.
    Records(Records, Position, Option<OwnedSemaphorePermit>),
    /// The shard is read to its end.
    Ended(Vec<Shard>),
    /// All that came until then was read.
    CaughtUp(EventTime),
    /// What came until then can no longer be read, as this says.
    Expired(String, EventTime),
    /// The service does not know the shard.
    Missing(Error),
    /// The consumer of enhanced fan-out is gone.
    NoConsumer,
    /// Reading cannot go on.
    Failed(Error),
}

/// The reader of one shard.
pub(super) struct ShardReader {
    pub(super) context: Arc<ReadContext>,
    pub(super) shard: ShardId,
    pub(super) position: Position,
    pub(super) stats: Arc<ShardStats>,
    pub(super) random: SmallRng,
    pub(super) backoff: Backoff,
    /// Up to when all that came was read, where that is known.
    read_until: Option<EventTime>,
    /// When the lane was told so last.
    told_at: EventTime,
    unpacker: Unpacker,
    /// What error rows call the shard.
    origin: Arc<str>,
    lane: mpsc::Sender<FromShard>,
}

/// The lane is gone, or was told why nothing more comes: the reader ends.
pub(super) struct Stopped;

impl ShardReader {
    /// A reader of `shard` from `position`; what came before `read_until` was read.
    pub(crate) fn new(
        context: Arc<ReadContext>,
        shard: &Shard,
        position: Position,
        read_until: Option<EventTime>,
        lane: mpsc::Sender<FromShard>,
    ) -> Self {
        let range = context.options.hash_range_check.then_some(shard.range);
        let metadata = Arc::clone(&context.metadata);
        let unpacker = Unpacker::new(context.format, shard.id.clone(), range, context.options.max_record_bytes, metadata);
        let stats = context.stats.shard(&shard.id);
        let random = random_for(&shard.id);
        let origin = format!("stream \"{}\", {}", context.stream, shard.id).into();
        let told_at = read_until.unwrap_or_else(|| context.clock.now());
        let (shard, backoff) = (shard.id.clone(), Backoff::default());
        Self { context, shard, position, stats, random, backoff, read_until, told_at, unpacker, origin, lane }
    }

    /// Reads until the shard ends.
    pub(crate) async fn run(mut self) {
        let _ = if self.context.options.fan_out { self.subscribe().await } else { self.poll().await };
    }

    async fn poll(&mut self) -> Result<(), Stopped> {
        let context = Arc::clone(&self.context);
        let mut pace = Pace::new(context.options.pace, context.clock.now());
        let mut iterator = None;
        loop {
            if iterator.is_none() {
                self.tell_expired().await?;
            }
            context.stats.align(&self.stats, context.options.max_skew, &context.clock).await;
            context.clock.sleep_until(pace.next_read()).await;
            // Taken before the call: what comes must have a place.
            let permit = self.reserve(pace.expected_bytes()).await?;
            let current = match iterator.take() {
                Some(iterator) => iterator,
                None => match context.api.shard_iterator(&self.shard, &self.position).await {
                    Ok(iterator) => {
                        // From here on records may come that LATEST would leave out.
                        self.position = self.position.again();
                        iterator
                    }
                    Err(CallError::Future(_)) => {
                        self.position = self.position.not_yet();
                        continue;
                    }
                    Err(error) => {
                        drop(permit);
                        self.position = self.position.again();
                        self.refused(error).await?;
                        continue;
                    }
                },
            };
            let called_at = context.clock.now();
            match context.api.get_records(&self.shard, &current, pace.limit()).await {
                Ok(answer) => {
                    let bytes = self.succeeded(&answer);
                    let behind = answer.behind_latest_ms > 0;
                    pace.answered(called_at, answer.records.len(), bytes, behind, &mut self.random);
                    self.hand_over(&answer, permit).await?;
                    self.note(&answer, called_at).await?;
                    match answer.next_iterator {
                        Some(next) => iterator = Some(next),
                        None => return self.end(&answer.children).await,
                    }
                }
                Err(error) => {
                    drop(permit);
                    if matches!(error, CallError::Throttled(_)) {
                        pace.throttled(context.clock.now());
                    }
                    let expired = matches!(error, CallError::Expired);
                    self.refused(error).await?;
                    iterator = (!expired).then_some(current);
                }
            }
        }
    }

    /// Waits until so many bytes may be read ahead.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Stopped> {
        let memory = Arc::clone(&self.context.memory);
        // Whoever asks for more than there is at all gets everything.
        let bytes = bytes.min(super::limits::READ_AHEAD_BYTES);
        memory.acquire_many_owned(bytes as u32).await.map_err(|_| Stopped)
    }

    /// Notes an answer; returns its bytes.
    pub(super) fn succeeded(&mut self, answer: &Answer) -> usize {
        self.backoff.reset();
        let bytes = answer.records.iter().map(|record| record.data.as_ref().len()).sum();
        let newest = answer.records.last().and_then(arrival_time);
        self.stats.answered(self.context.clock.now(), answer.records.len(), bytes, newest, answer.behind_latest_ms);
        self.context.stats.moved();
        bytes
    }

    /// Hands the records of an answer to the lane, and moves on behind them.
    pub(super) async fn hand_over(&mut self, answer: &Answer, permit: OwnedSemaphorePermit) -> Result<(), Stopped> {
        let pieces = match self.unpacker.unpack(&answer.records, &self.position) {
            Ok(pieces) => pieces,
            Err(error) => return self.send(Event::Failed(error)).await,
        };
        self.stats.filtered(self.unpacker.take_filtered());
        let count = pieces.len();
        let mut permit = Some(permit);
        for (index, piece) in pieces.into_iter().enumerate() {
            self.position = piece.position.clone();
            self.read_until = self.read_until.max(piece.arrival_time);
            // The permit goes with the last piece: then all bytes of the answer are with the engine.
            let permit = if index + 1 == count { permit.take() } else { None };
            let (records, position) = self.records(piece);
            self.send(Event::Records(records, position, permit)).await?;
        }
        Ok(())
    }

    /// Notes, now and then, that nothing was left to read when the call was made that brought an answer.
    pub(super) async fn note(&mut self, answer: &Answer, called_at: EventTime) -> Result<(), Stopped> {
        if answer.behind_latest_ms > 0 {
            return Ok(());
        }
        self.read_until = self.read_until.max(Some(called_at));
        if called_at < self.told_at.saturating_add(millis(READ_UNTIL_INTERVAL)) {
            return Ok(());
        }
        self.told_at = called_at;
        self.send(Event::CaughtUp(called_at)).await
    }

    /// Tells of what came behind the place of this reader and is no longer kept: the service goes on at the oldest record without
    /// a word.
    pub(super) async fn tell_expired(&mut self) -> Result<(), Stopped> {
        let context = Arc::clone(&self.context);
        let Some(read_until) = self.read_until else { return Ok(()) };
        let (kept, why) = loop {
            if context.clock.now() <= read_until.saturating_add(millis(RETENTION_MIN)) {
                return Ok(());
            }
            match context.api.retention().await {
                Ok(retention) => {
                    break (retention, format!("the stream keeps records for {} hours", retention.as_secs() / 3_600));
                }
                Err(error) if error.passes() => self.refused(error).await?,
                // The calls that read say so.
                Err(CallError::NotFound(_)) => return Ok(()),
                Err(error) => {
                    let why = format!("it is not known for how long the stream keeps records: {}", error.message());
                    break (RETENTION_MIN, why);
                }
            }
        };
        let oldest = context.clock.now().saturating_sub(millis(kept));
        if oldest <= read_until {
            return Ok(());
        }
        let behind = match &self.position {
            Position::After { after, .. } => format!(" behind record {after}"),
            _ => String::new(),
        };
        let (from, to) = (shown(read_until), shown(oldest));
        let message = format!("records that came{behind} from {from} to {to} were not read, if there were any: {why}");
        // Once: an iterator that cannot be had for a while is asked for again and again. What is read next says how far it is.
        self.read_until = None;
        self.send(Event::Expired(message, oldest)).await
    }

    fn records(&self, piece: Piece) -> (Records, Position) {
        let records = Records {
            bytes: piece.bytes,
            origin: Arc::clone(&self.origin),
            position: 0,
            rejected: piece.rejected,
            arrival_time: piece.arrival_time,
            part: Some(self.shard.clone()),
            envelopes: Some(piece.envelopes),
            // The lane, which knows its other shards, sets it.
            offset: Offset(serde_json::Value::Null),
        };
        (records, piece.position)
    }

    /// The shard was handed over to its end.
    pub(super) async fn end(&self, children: &[aws_sdk_kinesis::types::ChildShard]) -> Result<(), Stopped> {
        // A child that is described badly here is found by listing the shards.
        let children = children.iter().filter_map(|child| Shard::of_child(child).ok()).collect();
        self.send(Event::Ended(children)).await?;
        Err(Stopped)
    }

    /// A call was not answered: waits if it may be later, else tells the lane.
    pub(super) async fn refused(&mut self, error: CallError) -> Result<(), Stopped> {
        let now = self.context.clock.now();
        match error {
            CallError::Expired => return Ok(()),
            CallError::Throttled(error) => self.stats.throttled(now, &error),
            CallError::Transient(error) | CallError::InUse(error) => self.stats.failed(now, error.message()),
            // The coordinator fails the job or ends the shard; if the shard is there after all, reading goes on.
            CallError::NotFound(error) => {
                self.stats.failed(now, error.message());
                self.send(Event::Missing(error)).await?;
            }
            CallError::Future(error) | CallError::Fatal(error) => {
                self.send(Event::Failed(error)).await?;
                return Err(Stopped);
            }
        }
        let wait = self.backoff.next(&mut self.random);
        self.context.clock.sleep(wait).await;
        Ok(())
    }

    pub(super) async fn send(&self, what: Event) -> Result<(), Stopped> {
        let from = FromShard { shard: self.shard.clone(), reader: tokio::task::id(), what };
        self.lane.send(from).await.map_err(|_| Stopped)
    }
}

/// A time as error rows say it.
fn shown(time: EventTime) -> String {
    match chrono::DateTime::from_timestamp_millis(time) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => format!("{time} ms"),
    }
}

/// Makes a call when a job starts: a few times if it fails for now.
pub(crate) async fn insist<T, F>(clock: &Arc<dyn Clock>, stats: &Stats, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = CallResult<T>>,
{
    let (mut backoff, mut random) = (Backoff::default(), random_for("start"));
    let stats = stats.shard(&ShardId::from(""));
    loop {
        let error = match call().await {
            Ok(answer) => {
                stats.recovered();
                return Ok(answer);
            }
            Err(error) => error,
        };
        let passes = error.passes() || matches!(error, CallError::Expired | CallError::InUse(_));
        if !passes || backoff.failures() + 1 >= super::limits::START_ATTEMPTS {
            return Err(error.into_error());
        }
        stats.failed(clock.now(), error.message());
        clock.sleep(backoff.next(&mut random)).await;
    }
}
