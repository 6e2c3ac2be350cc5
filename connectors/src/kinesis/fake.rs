//! Kinesis Data Streams in memory: shards that split and merge, iterators that expire, limits, faults on demand, subscriptions.
//!
//! It follows the API reference where the source could notice a difference: a closed shard stays listed with its records, its
//! children come with the last answer, LATEST is the moment of the call, sequence numbers rise over all shards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{ChildShard, HashKeyRange, Record};
use kinesql_engine::Error;
use kinesql_engine::runtime::clock::{Clock, EventTime};
use tokio::sync::Notify;

use super::client::{Answer, CallError, CallResult, Consumer, ConsumerState, KinesisApi, ShardPage, Subscription};
use super::kpl::testing::hash_key;
use super::position::{Position, ShardId};
use super::shards::{HashRange, Shard};

/// Lifetime of an iterator (API: GetShardIterator, "5 minutes").
const ITERATOR_LIFE_MS: i64 = 300_000;

/// Lifetime of a subscription (API: SubscribeToShard, "5 minutes").
const SUBSCRIPTION_LIFE_MS: i64 = 300_000;

/// Time between two events of a subscription without records. Ours: the service sends them every few seconds.
const EVENT_INTERVAL_MS: i64 = 5_000;

/// A call of the source, for tests that count them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) shard: String,
    pub(crate) time: EventTime,
    /// What the call was about: an iterator, a position.
    pub(crate) detail: String,
}

/// What the next call fails with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttled,
    Transient,
    Expired,
    Denied,
}

impl Fault {
    fn error(self, name: &str) -> CallError {
        match self {
            Fault::Throttled => CallError::Throttled(Error::unavailable(format!("kinesis:{name}: throttled"))),
            Fault::Transient => CallError::Transient(Error::unavailable(format!("kinesis:{name}: 500"))),
            Fault::Expired => CallError::Expired,
            Fault::Denied => CallError::Fatal(Error::config(format!("kinesis:{name}: denied"))),
        }
    }
}

#[derive(Debug)]
struct FakeShard {
    shard: Shard,
    records: Vec<Record>,
    /// Reads in the last second, for the limit.
    reads: VecDeque<EventTime>,
    subscribed_until: Option<EventTime>,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<ShardId, FakeShard>,
    next_shard: usize,
    next_sequence: u128,
    page_size: usize,
    deleted: bool,
    /// Shards that follow others are not shown yet.
    hides_children: bool,
    enforce_read_limit: bool,
    faults: VecDeque<(&'static str, Fault)>,
    calls: Vec<Call>,
    consumers: BTreeMap<String, ConsumerState>,
    /// How far the service's clock is behind that of the tests.
    behind_ms: i64,
    /// Subscriptions are dead: they say nothing, and do not end.
    silent: bool,
    /// Of this many bytes an answer holds at most.
    answer_bytes_max: usize,
    retention: Duration,
}

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct FakeKinesis {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl FakeKinesis {
    /// A stream with so many shards of equal width.
    pub(crate) fn new(clock: Arc<dyn Clock>, shards: usize) -> Arc<Self> {
        let (page_size, retention) = (usize::MAX, Duration::from_secs(24 * 3_600));
        let state = State { page_size, retention, answer_bytes_max: 10 << 20, ..State::default() };
        let new = Arc::new(Self { clock, state: Arc::new(Mutex::new(state)), changed: Arc::default() });
        let width = u128::MAX / shards as u128;
        for index in 0..shards as u128 {
            let end = if index + 1 == shards as u128 { u128::MAX } else { (index + 1) * width - 1 };
            new.add_shard(&mut new.lock(), Vec::new(), HashRange { start: index * width, end });
        }
        new
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_shard(&self, state: &mut State, parents: Vec<ShardId>, range: HashRange) -> ShardId {
        let id: ShardId = format!("shardId-{:012}", state.next_shard).into();
        state.next_shard += 1;
        let shard = Shard { id: id.clone(), parents, range, closed: false };
        let new = FakeShard { shard, records: Vec::new(), reads: VecDeque::new(), subscribed_until: None };
        state.shards.insert(id.clone(), new);
        id
    }

    /// Puts a record where its partition key belongs; returns its sequence number.
    pub(crate) fn put(&self, partition_key: &str, data: &[u8]) -> String {
        self.put_at(partition_key, hash_key(partition_key), data)
    }

    /// Puts a record with an explicit hash key.
    pub(crate) fn put_at(&self, partition_key: &str, hash: u128, data: &[u8]) -> String {
        let mut state = self.lock();
        state.next_sequence += 1;
        let sequence = format!("49590338271490256608559692538361571095921575989136588{:>03}", state.next_sequence);
        let record = Record::builder()
            .sequence_number(&sequence)
            .approximate_arrival_timestamp(DateTime::from_millis(self.clock.now()))
            .partition_key(partition_key)
            .data(Blob::new(data))
            .build()
            .expect("complete");
        let shard = state.shards.values_mut().find(|shard| !shard.shard.closed && shard.shard.range.contains(hash));
        shard.expect("every key has an open shard").records.push(record);
        self.changed.notify_waiters();
        sequence
    }

    /// Splits a shard in the middle.
    pub(crate) fn split(&self, shard: &str) -> [ShardId; 2] {
        let mut state = self.lock();
        let parent = state.shards.get_mut(shard).expect("a shard to split");
        parent.shard.closed = true;
        let (id, range) = (parent.shard.id.clone(), parent.shard.range);
        let middle = range.middle();
        let low = self.add_shard(&mut state, vec![id.clone()], HashRange { end: middle, ..range });
        let high = self.add_shard(&mut state, vec![id], HashRange { start: middle + 1, ..range });
        self.changed.notify_waiters();
        [low, high]
    }

    /// Merges two neighbours.
    pub(crate) fn merge(&self, low: &str, high: &str) -> ShardId {
        let mut state = self.lock();
        let mut close = |id: &str| {
            let shard = &mut state.shards.get_mut(id).expect("a shard to merge").shard;
            shard.closed = true;
            (shard.id.clone(), shard.range)
        };
        let ((low, first), (high, second)) = (close(low), close(high));
        assert_eq!(first.end + 1, second.start, "only neighbours can be merged");
        let range = HashRange { start: first.start, end: second.end };
        let id = self.add_shard(&mut state, vec![low, high], range);
        self.changed.notify_waiters();
        id
    }

    /// The stream forgets a closed shard, as after its retention.
    pub(crate) fn trim(&self, shard: &str) {
        self.lock().shards.remove(shard);
    }

    /// How long records are kept: a day unless this says otherwise.
    pub(crate) fn set_retention(&self, retention: Duration) {
        self.lock().retention = retention;
    }

    /// The stream forgets its old records. To be called while nobody reads.
    pub(crate) fn expire(&self) {
        let mut state = self.lock();
        let oldest = self.clock.now() - state.retention.as_millis() as i64;
        let is_kept =
            |record: &Record| record.approximate_arrival_timestamp.is_some_and(|at| at.to_millis().expect("valid") >= oldest);
        state.shards.values_mut().for_each(|shard| shard.records.retain(is_kept));
    }

    /// The stream is gone.
    pub(crate) fn delete(&self) {
        self.lock().deleted = true;
        self.changed.notify_waiters();
    }

    /// The service's clock is so much behind the other one.
    pub(crate) fn set_behind(&self, ms: i64) {
        self.lock().behind_ms = ms;
    }

    /// The subscriptions that there are fall silent, as on a connection that is dead.
    pub(crate) fn silence(&self) {
        let mut state = self.lock();
        state.silent = true;
        state.shards.values_mut().for_each(|shard| shard.subscribed_until = None);
        self.changed.notify_waiters();
    }

    /// Shows the shards that follow others only later, as a service may that is slow.
    pub(crate) fn hide_children(&self, hide: bool) {
        self.lock().hides_children = hide;
    }

    /// Somebody takes a consumer away.
    pub(crate) fn drop_consumer(&self, name: &str) {
        self.lock().consumers.remove(name);
    }

    /// The next call of this name fails.
    pub(crate) fn fail(&self, name: &'static str, fault: Fault) {
        self.lock().faults.push_back((name, fault));
    }

    /// Refuses more than five reads per second and shard, as the service does.
    pub(crate) fn enforce_read_limit(&self) {
        self.lock().enforce_read_limit = true;
    }

    /// Shards per page of ListShards.
    pub(crate) fn set_page_size(&self, page_size: usize) {
        self.lock().page_size = page_size;
    }

    /// Most bytes of an answer.
    pub(crate) fn set_answer_bytes_max(&self, bytes: usize) {
        self.lock().answer_bytes_max = bytes;
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Calls of this name so far.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.name == name).count()
    }

    fn check(&self, state: &State, position: &Position) -> CallResult<()> {
        match position {
            Position::Timestamp(time) if *time > self.clock.now() - state.behind_ms => {
                Err(CallError::Future(Error::config("InvalidArgumentException")))
            }
            _ => Ok(()),
        }
    }

    fn called(&self, name: &'static str, shard: &str, detail: String) -> CallResult<MutexGuard<'_, State>> {
        let mut state = self.lock();
        let time = self.clock.now();
        state.calls.push(Call { name, shard: shard.to_owned(), time, detail });
        if let Some(at) = state.faults.iter().position(|(call, _)| *call == name)
            && let Some((_, fault)) = state.faults.remove(at)
        {
            return Err(fault.error(name));
        }
        if state.deleted {
            return Err(not_found(name));
        }
        Ok(state)
    }
}

fn not_found(name: &str) -> CallError {
    CallError::NotFound(Error::config(format!("kinesis:{name}: ResourceNotFoundException")))
}

impl FakeShard {
    /// Index of the first record to be read.
    fn place(&self, position: &Position) -> usize {
        let first = |matches: &dyn Fn(&Record) -> bool| self.records.iter().position(matches).unwrap_or(self.records.len());
        match position {
            Position::Latest(_) => self.records.len(),
            Position::TrimHorizon => 0,
            Position::Timestamp(time) => {
                first(&|record| record.approximate_arrival_timestamp.is_some_and(|at| at.to_millis().expect("valid") >= *time))
            }
            Position::After { after, sub: None } => first(&|record| record.sequence_number.as_str() > &**after),
            Position::After { after, sub: Some(_) } => first(&|record| record.sequence_number.as_str() >= &**after),
        }
    }

    fn answer(&self, from: usize, limit: usize, bytes_max: usize, now: EventTime) -> (Answer, usize) {
        let mut bytes = 0;
        let records: Vec<_> = self.records[from..]
            .iter()
            .take(limit)
            .enumerate()
            .take_while(|(index, record)| {
                bytes += record.data.as_ref().len();
                *index == 0 || bytes <= bytes_max
            })
            .map(|(_, record)| record.clone())
            .collect();
        let next = from + records.len();
        let behind_latest_ms = self.records.get(next).map_or(0, |record| {
            let arrival = record.approximate_arrival_timestamp.map_or(now, |at| at.to_millis().expect("valid"));
            (now - arrival).max(1)
        });
        (Answer { records, behind_latest_ms, ..Answer::default() }, next)
    }
}

fn children(state: &State, parent: &str) -> Vec<ChildShard> {
    let shown = state.shards.values().filter(|_| !state.hides_children);
    let children = shown.filter(|child| child.shard.parents.iter().any(|id| **id == *parent));
    let range = |range: HashRange| {
        let builder = HashKeyRange::builder().starting_hash_key(range.start.to_string());
        builder.ending_hash_key(range.end.to_string()).build().expect("complete")
    };
    children
        .map(|child| {
            let builder = ChildShard::builder().shard_id(&*child.shard.id).hash_key_range(range(child.shard.range));
            let parents = child.shard.parents.iter().map(ToString::to_string).collect();
            builder.set_parent_shards(Some(parents)).build().expect("complete")
        })
        .collect()
}

#[async_trait]
impl KinesisApi for FakeKinesis {
    async fn stream_arn(&self) -> CallResult<String> {
        drop(self.called("DescribeStreamSummary", "", String::new())?);
        Ok("arn:aws:kinesis:us-east-1:000000000000:stream/fake".to_owned())
    }

    async fn retention(&self) -> CallResult<Duration> {
        Ok(self.called("DescribeStreamSummary", "", String::new())?.retention)
    }

    async fn list_shards(&self, token: Option<&str>) -> CallResult<ShardPage> {
        let state = self.called("ListShards", "", token.unwrap_or_default().to_owned())?;
        let from: usize = token.map_or(0, |token| token.parse().expect("a token of this fake"));
        let shown = state.shards.values().filter(|shard| !state.hides_children || shard.shard.parents.is_empty());
        let shards: Vec<_> = shown.map(|shard| shard.shard.clone()).collect();
        let to = from.saturating_add(state.page_size).min(shards.len());
        Ok(ShardPage { shards: shards[from..to].to_vec(), next: (to < shards.len()).then(|| to.to_string()) })
    }

    async fn shard_iterator(&self, shard: &str, position: &Position) -> CallResult<String> {
        let state = self.called("GetShardIterator", shard, format!("{position:?}"))?;
        self.check(&state, position)?;
        let found = state.shards.get(shard).ok_or_else(|| not_found("GetShardIterator"))?;
        Ok(format!("{}@{}", found.place(position), self.clock.now()))
    }

    async fn get_records(&self, shard: &str, iterator: &str, limit: i32) -> CallResult<Answer> {
        let mut state = self.called("GetRecords", shard, iterator.to_owned())?;
        let now = self.clock.now();
        let (from, issued) = iterator.split_once('@').expect("an iterator of this fake");
        if now - issued.parse::<i64>().expect("a time") > ITERATOR_LIFE_MS {
            return Err(CallError::Expired);
        }
        let (enforce, bytes_max) = (state.enforce_read_limit, state.answer_bytes_max);
        let found = state.shards.get_mut(shard).ok_or_else(|| not_found("GetRecords"))?;
        while found.reads.front().is_some_and(|read| now - read >= 1_000) {
            found.reads.pop_front();
        }
        if enforce && found.reads.len() >= 5 {
            return Err(Fault::Throttled.error("GetRecords"));
        }
        found.reads.push_back(now);
        let (mut answer, next) = found.answer(from.parse().expect("a place"), limit as usize, bytes_max, now);
        if found.shard.closed && next == found.records.len() {
            answer.children = children(&state, shard);
        } else {
            answer.next_iterator = Some(format!("{next}@{now}"));
        }
        Ok(answer)
    }

    async fn describe_consumer(&self, _: &str, consumer: &str) -> CallResult<Consumer> {
        let state = self.called("DescribeStreamConsumer", "", consumer.to_owned())?;
        let status = state.consumers.get(consumer).ok_or_else(|| not_found("DescribeStreamConsumer"))?;
        Ok(Consumer { arn: consumer.to_owned(), status: *status })
    }

    async fn register_consumer(&self, _: &str, name: &str) -> CallResult<Consumer> {
        let mut state = self.called("RegisterStreamConsumer", "", name.to_owned())?;
        state.consumers.insert(name.to_owned(), ConsumerState::Active);
        Ok(Consumer { arn: name.to_owned(), status: ConsumerState::Creating })
    }

    async fn deregister_consumer(&self, consumer_arn: &str) -> CallResult<()> {
        let mut state = self.called("DeregisterStreamConsumer", "", consumer_arn.to_owned())?;
        state.consumers.remove(consumer_arn).map(drop).ok_or_else(|| not_found("DeregisterStreamConsumer"))
    }

    async fn subscribe(&self, consumer_arn: &str, shard: &str, position: &Position) -> CallResult<Box<dyn Subscription>> {
        let mut state = self.called("SubscribeToShard", shard, format!("{position:?}"))?;
        let now = self.clock.now();
        self.check(&state, position)?;
        state.silent = false;
        if !state.consumers.contains_key(consumer_arn) {
            return Err(not_found("SubscribeToShard"));
        }
        let found = state.shards.get_mut(shard).ok_or_else(|| not_found("SubscribeToShard"))?;
        if found.subscribed_until.is_some_and(|until| now < until) {
            return Err(CallError::InUse(Error::unavailable("kinesis:SubscribeToShard: ResourceInUseException")));
        }
        found.subscribed_until = Some(now + 5_000);
        let place = found.place(position);
        let ends_at = now + SUBSCRIPTION_LIFE_MS;
        Ok(Box::new(FakeSubscription {
            service: self.clone(),
            shard: shard.into(),
            place,
            ends_at,
            next_event: now,
            done: false,
        }))
    }
}

struct FakeSubscription {
    service: FakeKinesis,
    shard: ShardId,
    place: usize,
    ends_at: EventTime,
    next_event: EventTime,
    done: bool,
}

impl FakeSubscription {
    /// What there is to say now.
    fn event(&mut self) -> CallResult<Option<Answer>> {
        let state = self.service.lock();
        if state.deleted {
            return Err(not_found("SubscribeToShard"));
        }
        let shard = state.shards.get(&self.shard).ok_or_else(|| not_found("SubscribeToShard"))?;
        let (mut answer, next) = shard.answer(self.place, 10_000, state.answer_bytes_max, self.service.clock.now());
        let ended = shard.shard.closed && next == shard.records.len();
        let now = self.service.clock.now();
        if state.silent || (answer.records.is_empty() && !ended && now < self.next_event) {
            return Ok(None);
        }
        self.next_event = now + EVENT_INTERVAL_MS;
        let nothing = format!("49590338271490256608559692538361571095921575989136588{:>03}", state.next_sequence);
        answer.continuation = Some(answer.records.last().map_or(nothing, |last| last.sequence_number.clone()));
        if ended {
            answer.children = children(&state, &self.shard);
            self.done = true;
        }
        self.place = next;
        Ok(Some(answer))
    }
}

#[async_trait]
impl Subscription for FakeSubscription {
    async fn next(&mut self) -> CallResult<Option<Answer>> {
        let changed = Arc::clone(&self.service.changed);
        loop {
            let changed = changed.notified();
            let is_silent = self.service.lock().silent;
            if self.done || (!is_silent && self.service.clock.now() >= self.ends_at) {
                return Ok(None);
            }
            if let Some(event) = self.event()? {
                return Ok(Some(event));
            }
            tokio::select! {
                () = changed => {}
                () = self.service.clock.sleep_until(self.next_event.min(self.ends_at)), if !is_silent => {}
            }
        }
    }
}
