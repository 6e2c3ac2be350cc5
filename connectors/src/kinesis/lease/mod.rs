//! Leases: several processes share a stream and survive each other's death (`lease = 'dynamodb'`).
//!
//! Each shard has a lease in a table (table.rs), in the layout of the Kinesis Client Library. A worker
//!
//! - renews what it holds, and writes how far its newest checkpoint has come, every `lease.renew_interval`;
//! - adds leases for shards that have none, children when this worker has their parents or these are read to their ends;
//! - takes what nobody holds, up to its share (balance.rs). Nobody holds a lease whose counter stood still for `lease.duration`, by
//!   the worker's own clock;
//! - asks the busiest worker for a lease if it has two fewer. That one stops reading the shard, writes the place of its next
//!   checkpoint and lets go; one that does not answer within [`HANDOVER_TIMEOUT`] loses the lease. Who asks holds its watermark
//!   until then: what comes next on the shard is not late because of the time that the handing over takes;
//! - gives everything back when it stops.
//!
//! A worker that finds a lease to be another's stops reading that shard, nothing more. While the table cannot be reached, or does not
//! answer, it goes on with what it has for as long as nobody else may take it: `lease.duration` from the call that last renewed it, by
//! its own clock. If it gets the shard again it goes on where it was itself, unless another one has come further.
//!
//! A shard that the stream has trimmed before it was read to its end is lost: the worker that takes its lease for that says so. Its next
//! checkpoint ends the lease, which is removed then: if the worker dies before, another one says it.
//!
//! Reading goes on behind the last checkpoint of the shard in the table: what a worker that died had read since its last checkpoint
//! is read again, by the one that takes over.

mod balance;
mod dynamo;
mod holding;
mod options;
mod table;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use options::{LEASE, LEASE_DURATION, LEASE_ENDPOINT, LEASE_RENEW_INTERVAL, LEASE_TABLE, LEASE_WORKER};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kinesql_engine::connector::{Options, Trouble};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};
use tokio::sync::OnceCell;

use self::dynamo::DynamoTable;
use self::options::LeaseOptions;
use self::table::{Checkpoint, Lease, LeaseTable, TableError, TableResult, WorkerId};
use super::assignment::{Assigned, Owned, ShardAssignment};
use super::millis;
use super::position::{LaneOffset, Position, ShardId};
use super::shards::Shard;
use crate::aws::AwsOptions;

/// How long a worker has to write its last checkpoint of a shard that another one asks for: as `gracefulLeaseHandoffTimeoutMillis`
/// of the KCL, 30 s unless set.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a shard must be missing from the stream's list before it is taken for trimmed. Ours: three listings, one a minute unless
/// set.
const GONE_AFTER: Duration = Duration::from_secs(180);

/// How often the first call of a job is made, and the last ones.
const ATTEMPTS: usize = 5;

/// Time between two of them.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(200);

/// The leases of this process.
#[derive(Debug)]
pub(crate) struct Leases {
    options: LeaseOptions,
    aws: AwsOptions,
    table: OnceCell<Arc<dyn LeaseTable>>,
    job: Mutex<Option<Job>>,
    state: tokio::sync::Mutex<State>,
    saved: Mutex<Saved>,
    trouble: Mutex<Option<Trouble>>,
}

/// What is known since the job started.
#[derive(Debug, Clone)]
struct Job {
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    start: Position,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<ShardId, Held>,
    /// Shards that another worker has asked for: no longer read, until a checkpoint says how far they were.
    leaving: BTreeSet<ShardId>,
    /// Held shards that are not read yet, because another worker reads one before them.
    waiting: BTreeSet<ShardId>,
    /// Shards that are still to be read and that no worker has yet.
    free: BTreeSet<ShardId>,
    /// Shards that the stream no longer has although nobody has read them to their ends, and since when that is known.
    gone: BTreeMap<ShardId, EventTime>,
    /// Those of them of which this worker is to tell, and how far they were read.
    lost: BTreeMap<ShardId, Position>,
    /// True once everything was given back.
    released: bool,
    /// What the leases were last, and since when.
    seen: BTreeMap<ShardId, (u64, Option<WorkerId>, EventTime)>,
}

/// A lease that this worker has.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    /// When the call was made that renewed it: others know of it since then at the earliest.
    renewed: EventTime,
    /// Where reading starts; None while the worker before has yet to write its last checkpoint.
    position: Option<Option<Position>>,
    taken: EventTime,
    /// True once the shard was given to a lane.
    given: bool,
}

/// What the newest checkpoint of the job holds.
#[derive(Debug, Default)]
struct Saved {
    places: BTreeMap<ShardId, Checkpoint>,
    read_until: BTreeMap<ShardId, EventTime>,
    parked: BTreeSet<ShardId>,
}

impl Leases {
    /// The leases that `options` ask for; None if they ask for none. Fails with `Config` for options that contradict each other.
    pub(crate) fn of(options: &Options, aws: &AwsOptions) -> Result<Option<Self>> {
        let Some(options) = LeaseOptions::of(options)? else { return Ok(None) };
        let aws = match &options.endpoint {
            Some(endpoint) => aws.clone().with_endpoint(endpoint),
            // What is AWS's own is for Kinesis alone; any other server is one of all services, as on a laptop.
            None if aws.endpoint().is_some_and(is_of_aws) => aws.clone().without_endpoint(),
            None => aws.clone(),
        };
        Ok(Some(Self::new(options, aws)))
    }

    fn new(options: LeaseOptions, aws: AwsOptions) -> Self {
        let (table, job, state, saved) = (OnceCell::new(), Mutex::default(), tokio::sync::Mutex::default(), Mutex::default());
        Self { options, aws, table, job, state, saved, trouble: Mutex::default() }
    }

    /// The leases of a worker in `table`.
    #[cfg(test)]
    fn with_table(options: LeaseOptions, table: Arc<dyn LeaseTable>) -> Self {
        Self { table: OnceCell::new_with(Some(table)), ..Self::new(options, AwsOptions::default()) }
    }

    async fn table(&self) -> Result<Arc<dyn LeaseTable>, TableError> {
        let connect = || async {
            let table = DynamoTable::connect(&self.aws, &self.options.table, self.options.renew_interval)
                .await
                .map_err(TableError::Fatal)?;
            table.prepare().await?;
            Ok(Arc::new(table) as Arc<dyn LeaseTable>)
        };
        self.table.get_or_try_init(connect).await.cloned()
    }

    fn job(&self) -> Result<Job> {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).clone();
        job.ok_or_else(|| Error::internal("leases are asked for before the job has started"))
    }

    fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current_trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table could not be reached.
    fn failed(&self, now: EventTime, error: &Error) {
        let mut trouble = self.current_trouble();
        let since = trouble.take().map_or(now, |trouble| trouble.since);
        *trouble = Some(Trouble { since, reason: error.message().to_owned() });
    }

    /// A held lease with what the newest checkpoint says of its shard. What this worker has not begun to read it knows nothing of.
    fn with_saved(&self, Held { lease, position, .. }: &Held) -> Lease {
        if position.is_none() {
            return lease.clone();
        }
        let (saved, mut next) = (self.saved(), lease.clone());
        let place = saved.places.get(&lease.shard);
        if let Some(place) = place.filter(|place| place.is_beyond(&next.checkpoint)) {
            next.checkpoint = place.clone();
            next.owner_switches = 0;
        }
        if place.is_none_or(|place| *place == next.checkpoint) {
            next.read_until = next.read_until.max(saved.read_until.get(&lease.shard).copied());
        }
        next
    }

    /// What earlier checkpoints say of a shard that is this worker's from now on counts no more.
    fn forget_saved(&self, shard: &ShardId) {
        let mut saved = self.saved();
        saved.places.remove(shard);
        saved.read_until.remove(shard);
        saved.parked.remove(shard);
    }

    fn saved_place(&self, shard: &ShardId) -> Option<Checkpoint> {
        self.saved().places.get(shard).cloned()
    }

    /// One round: renew, look, add, take. What cannot be reached now is done in the next round.
    async fn round(&self, job: &Job, state: &mut State, shards: &[Shard]) -> TableResult<()> {
        let table = self.table().await?;
        let mut leases = table.list().await?;
        self.observe(job, state, &leases);
        let lost = self.renew(job, state, table.as_ref()).await?;
        if !lost.is_empty() {
            // Perhaps one is only asked for.
            leases = table.list().await?;
            self.observe(job, state, &leases);
            state.held.retain(|shard, _| !lost.contains(shard));
        }
        self.let_go(job, state, &leases, table.as_ref()).await?;
        // What the stream no longer has cannot be read, and nothing waits for it.
        let is_listed = |shard: &ShardId| shards.iter().any(|listed| listed.id == *shard);
        let leases = leases.into_iter().map(|lease| (lease.shard.clone(), lease));
        let (gone, mut leases): (BTreeMap<_, _>, BTreeMap<_, _>) =
            leases.partition(|(shard, lease)| !is_listed(shard) && !lease.is_ended());
        self.add(job, state, &mut leases, &gone, shards, table.as_ref()).await?;
        self.clean(state, &mut leases, shards, table.as_ref()).await?;
        self.give_up(job, state, &leases, gone, shards, table.as_ref()).await?;
        self.take(job, state, &leases, table.as_ref()).await?;
        // A shard waits here while another worker still reads one before it.
        let must_wait = |held: &Held| !held.lease.parents.iter().all(|parent| self.is_read(state, &leases, parent));
        let waiting = state.held.iter().filter(|(_, held)| must_wait(held)).map(|(shard, _)| shard.clone()).collect();
        state.waiting = waiting;
        let is_free = |shard: &&Shard| match leases.get(&shard.id) {
            _ if state.held.contains_key(&shard.id) => false,
            None => true,
            Some(lease) => !lease.is_ended() && (lease.owner.is_none() || self.is_dead(job, state, lease)),
        };
        state.free = shards.iter().filter(is_free).map(|shard| shard.id.clone()).collect();
        Ok(())
    }

    /// True if the worker that has a lease has stopped renewing it.
    fn is_dead(&self, job: &Job, state: &State, lease: &Lease) -> bool {
        let since = state.seen.get(&lease.shard).map(|(.., since)| *since);
        since.is_some_and(|since| job.clock.now().saturating_sub(since) >= millis(self.options.duration))
    }

    /// What is read, what is not read any further although its place stays with this worker, and what may be read soon.
    fn assigned(state: &mut State) -> Assigned {
        let (mut owned, mut unclaimed, mut expected) = (Vec::new(), state.free.clone(), BTreeSet::new());
        for (shard, held) in &mut state.held {
            let waits = state.waiting.contains(shard);
            match &held.position {
                Some(position) if !waits || held.given => {
                    let (position, read_until) = (position.clone(), held.lease.read_until());
                    owned.push(Owned { shard: shard.clone(), position, read_until, parked: waits });
                    held.given |= !waits;
                }
                position => {
                    unclaimed.insert(shard.clone());
                    expected.extend(position.is_none().then(|| shard.clone()));
                }
            }
        }
        let leaving = state.leaving.iter().map(|shard| Owned { parked: true, ..Owned::from_here(shard) });
        owned.extend(leaving);
        Assigned { owned, unclaimed, expected, lost: Some(std::mem::take(&mut state.lost)) }
    }
}

#[async_trait]
impl ShardAssignment for Leases {
    async fn start(&self, clock: &Arc<dyn Clock>, start: &Position, checkpointed: bool) -> Result<()> {
        if !checkpointed {
            return Err(Error::config("lease = 'dynamodb' of connector 'kinesis' needs a job that takes checkpoints")
                .with_hint("Add --checkpoint-dir, a folder of this process alone: leases say how far checkpoints have come."));
        }
        for attempt in 1.. {
            match self.table().await {
                Ok(_) => break,
                Err(TableError::Transient(_)) if attempt < ATTEMPTS => clock.sleep(ATTEMPT_INTERVAL).await,
                Err(TableError::Transient(error) | TableError::Fatal(error)) => return Err(error),
            }
        }
        let worker = match &self.options.worker {
            Some(worker) => worker.clone(),
            None => worker_name(clock.now()).into(),
        };
        *self.state.lock().await = State::default();
        *self.saved() = Saved::default();
        *self.current_trouble() = None;
        let job = Job { clock: Arc::clone(clock), worker, start: start.clone() };
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        Ok(())
    }

    async fn poll(&self, shards: &[Shard]) -> Result<Assigned> {
        let job = self.job()?;
        let mut state = self.state.lock().await;
        if state.released {
            return Ok(Assigned { lost: Some(BTreeMap::new()), ..Assigned::default() });
        }
        let duration = millis(self.options.duration);
        let renewed = state.held.values().map(|held| held.renewed).min().unwrap_or_else(|| job.clock.now());
        let done = tokio::select! {
            biased;
            done = self.round(&job, &mut state, shards) => done,
            // A call that hangs keeps nothing alive. If it does its work all the same, that is seen in the next round.
            () = job.clock.sleep_until(renewed.saturating_add(duration)) => {
                let message = format!("no answer from lease table \"{}\" in {:?}", self.options.table, self.options.duration);
                Err(TableError::Transient(Error::unavailable(message)))
            }
        };
        match done {
            Ok(()) => *self.current_trouble() = None,
            Err(TableError::Fatal(error)) => return Err(error),
            Err(TableError::Transient(error)) => self.failed(job.clock.now(), &error),
        }
        // Others may take from now on what was not renewed in time.
        let oldest = job.clock.now().saturating_sub(duration);
        state.held.retain(|_, held| held.renewed > oldest);
        Ok(Self::assigned(&mut state))
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(self.options.renew_interval)
    }

    fn checkpointed(&self, lane: &LaneOffset) {
        let mut saved = self.saved();
        for (shard, position) in &lane.shards {
            saved.places.extend(Checkpoint::of(position).map(|place| (shard.clone(), place)));
        }
        saved.places.extend(lane.finished.iter().map(|shard| (shard.clone(), Checkpoint::ShardEnd)));
        saved.read_until.extend(lane.read_until.iter().map(|(shard, time)| (shard.clone(), *time)));
        saved.parked.extend(lane.parked.iter().cloned());
    }

    fn trouble(&self) -> Option<Trouble> {
        self.current_trouble().clone()
    }

    async fn release(&self) -> Result<()> {
        let job = self.job()?;
        let release = async {
            let mut state = self.state.lock().await;
            state.released = true;
            for _ in 0..ATTEMPTS {
                match self.give_back(&job, &mut state).await {
                    Ok(()) => break,
                    Err(TableError::Fatal(error)) => return Err(error),
                    Err(TableError::Transient(_)) => job.clock.sleep(ATTEMPT_INTERVAL).await,
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            released = release => released,
            // The leases have expired: there is nothing left to give back.
            () = job.clock.sleep(self.options.duration) => Ok(()),
        }
    }
}

/// True if the host of a URL is one of AWS, as that of a VPC endpoint is.
fn is_of_aws(endpoint: &str) -> bool {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn"]
        .iter()
        .any(|domain| host.ends_with(domain))
}

/// A name that no other process has.
fn worker_name(now: EventTime) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty()).unwrap_or("kinesql");
    format!("{host}:{}:{now}", std::process::id())
}
