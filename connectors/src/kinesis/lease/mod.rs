//! Leases: several processes share a stream and survive each other's death (`lease = 'dynamodb'`).
//!
//! Each shard has a lease in a table (table.rs), in the layout of the Kinesis Client Library. A worker
//!
//! - renews what it holds, and writes how far its newest checkpoint has come, every `lease.renew_interval`;
//! - adds leases for shards that have none, children when this worker has their parents or these are read to their ends;
//! - takes what nobody holds, up to its share (balance.rs). Nobody holds a lease whose counter stood still for `lease.duration`, by
//!   the worker's own clock;
//! - asks the busiest worker for a lease if it has two fewer. That one stops reading the shard, writes the place of its next
//!   checkpoint and lets go; one that does not answer within [`HANDOVER_TIMEOUT`] loses the lease;
//! - gives everything back when it stops.
//!
//! A worker that finds a lease to be another's stops reading that shard, nothing more. While the table cannot be reached it goes on
//! with what it has for as long as nobody else may take it.
//!
//! Reading goes on behind the last checkpoint of the shard in the table: what a worker that died had read since its last checkpoint
//! is read again, by the one that takes over.

mod balance;
mod dynamo;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};
use tokio::sync::OnceCell;

use self::balance::wanted;
use self::dynamo::DynamoTable;
use self::table::{Checkpoint, Lease, LeaseTable, TableError, TableResult, WorkerId};
use super::assignment::{Owned, ShardAssignment};
use super::position::{LaneOffset, Position, ShardId};
use super::shards::Shard;
use crate::aws::AwsOptions;

/// How shards are shared.
pub(crate) const LEASE: OptionSpec = OptionSpec {
    name: "lease",
    kind: OptionKind::OneOf(&["dynamodb"]),
    required: false,
    default: None,
    help: "Share the stream's shards with other processes through leases in this service. Default: read all of them.",
};

/// Where the leases are.
pub(crate) const LEASE_TABLE: OptionSpec = OptionSpec {
    name: "lease.table",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Name of the DynamoDB table of leases, created if need be: one for all processes that run the same application.",
};

/// Who holds them.
pub(crate) const LEASE_WORKER: OptionSpec = OptionSpec {
    name: "lease.worker",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Name of this process among those that share the stream. Default: host, process and time of its start.",
};

/// How long they last.
pub(crate) const LEASE_DURATION: OptionSpec = OptionSpec {
    name: "lease.duration",
    kind: OptionKind::Duration,
    required: false,
    default: Some("10s"),
    help: "A shard whose process was silent for this long is taken over by another one. Default 10s, as in the KCL.",
};

/// How often they are renewed.
pub(crate) const LEASE_RENEW_INTERVAL: OptionSpec = OptionSpec {
    name: "lease.renew_interval",
    kind: OptionKind::Duration,
    required: false,
    default: None,
    help: "Time between two renewals of a lease. Default: a third of lease.duration.",
};

/// Where the table is.
pub(crate) const LEASE_ENDPOINT: OptionSpec = OptionSpec {
    name: "lease.endpoint",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "URL of DynamoDB, for VPC endpoints and local servers. Default: that of option endpoint, or the region's own.",
};

/// How long a worker has to write its last checkpoint of a shard that another one asks for: as `gracefulLeaseHandoffTimeoutMillis`
/// of the KCL, 30 s unless set.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the first call of a job is made, and the last ones.
const ATTEMPTS: usize = 5;

/// Time between two of them.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(200);

/// The options of leases.
#[derive(Debug, Clone)]
struct LeaseOptions {
    table: String,
    worker: Option<WorkerId>,
    duration: Duration,
    renew_interval: Duration,
}

/// The leases of this process.
#[derive(Debug)]
pub(crate) struct Leases {
    options: LeaseOptions,
    aws: AwsOptions,
    table: OnceCell<Arc<dyn LeaseTable>>,
    job: Mutex<Option<Job>>,
    state: tokio::sync::Mutex<State>,
    saved: Mutex<Saved>,
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
    /// True once everything was given back.
    released: bool,
    /// What the leases were last, and since when.
    seen: BTreeMap<ShardId, (u64, Option<WorkerId>, EventTime)>,
}

/// A lease that this worker has.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
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
    parked: BTreeSet<ShardId>,
}

impl Leases {
    /// The leases that `options` ask for; None if they ask for none. Fails with `Config` for options that contradict each other.
    pub(crate) fn of(options: &Options, aws: &AwsOptions) -> Result<Option<Self>> {
        if options.text("lease").is_none() {
            let stray = [LEASE_TABLE, LEASE_WORKER, LEASE_ENDPOINT].into_iter().find(|spec| options.text(spec.name).is_some());
            let stray = stray.or(Some(LEASE_RENEW_INTERVAL).filter(|spec| options.duration(spec.name).is_some()));
            return match stray {
                None => Ok(None),
                Some(spec) => {
                    Err(Error::config(format!("option \"{}\" of connector 'kinesis' has no meaning without leases", spec.name))
                        .with_hint("Add lease = 'dynamodb', or leave it out."))
                }
            };
        }
        if options.text("worker").is_some() {
            return Err(Error::config("options \"worker\" and \"lease\" of connector 'kinesis' exclude each other")
                .with_hint("Leases share the shards out by themselves: leave worker out."));
        }
        let Some(table) = options.text("lease.table") else {
            return Err(Error::config("lease = 'dynamodb' of connector 'kinesis' needs option \"lease.table\"")
                .with_hint("Add lease.table = '…', a name that all processes of this application share and no other one uses."));
        };
        let duration = options.duration("lease.duration").unwrap_or(Duration::from_secs(10));
        let renew_interval = options.duration("lease.renew_interval").unwrap_or(duration / 3);
        if renew_interval.is_zero() || renew_interval * 2 > duration {
            return Err(Error::config(format!(
                "lease.renew_interval of {renew_interval:?} does not fit lease.duration of {duration:?}"
            ))
            .with_hint("Renew at least twice in the duration of a lease."));
        }
        let (table, worker) = (table.to_owned(), options.text("lease.worker").map(WorkerId::from));
        let endpoint = options.text("lease.endpoint");
        let options = LeaseOptions { table, worker, duration, renew_interval };
        let aws = match endpoint {
            Some(endpoint) => aws.clone().with_endpoint(endpoint),
            None => aws.clone(),
        };
        Ok(Some(Self::new(options, aws)))
    }

    fn new(options: LeaseOptions, aws: AwsOptions) -> Self {
        let (table, job, state, saved) = (OnceCell::new(), Mutex::default(), tokio::sync::Mutex::default(), Mutex::default());
        Self { options, aws, table, job, state, saved }
    }

    /// The leases of a worker in `table`.
    #[cfg(test)]
    fn with_table(options: LeaseOptions, table: Arc<dyn LeaseTable>) -> Self {
        Self { table: OnceCell::new_with(Some(table)), ..Self::new(options, AwsOptions::default()) }
    }

    async fn table(&self) -> Result<Arc<dyn LeaseTable>, TableError> {
        let connect = || async {
            let table = DynamoTable::connect(&self.aws, &self.options.table).await.map_err(TableError::Fatal)?;
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
        let mut leases: BTreeMap<_, _> = leases.into_iter().map(|lease| (lease.shard.clone(), lease)).collect();
        // What the stream no longer has cannot be read, and nothing waits for it.
        let is_listed = |shard: &ShardId| shards.iter().any(|listed| listed.id == *shard);
        leases.retain(|shard, lease| is_listed(shard) || lease.is_ended());
        self.add(job, state, &mut leases, shards, table.as_ref()).await?;
        self.clean(state, &mut leases, shards, table.as_ref()).await?;
        self.take(job, state, &leases, table.as_ref()).await?;
        // A shard waits here while another worker still reads one before it.
        let must_wait = |held: &Held| !held.lease.parents.iter().all(|parent| self.is_read(state, &leases, parent));
        let waiting = state.held.iter().filter(|(_, held)| must_wait(held)).map(|(shard, _)| shard.clone()).collect();
        state.waiting = waiting;
        Ok(())
    }

    /// Renews what is due, together with the newest checkpoint; returns what another worker has now.
    async fn renew(&self, job: &Job, state: &mut State, table: &dyn LeaseTable) -> TableResult<BTreeSet<ShardId>> {
        let mut lost = BTreeSet::new();
        let due = job.clock.now().saturating_sub(millis(self.options.renew_interval));
        for shard in state.held.keys().cloned().collect::<Vec<_>>() {
            let Some(held) = state.held.get_mut(&shard) else { continue };
            let mut next = held.lease.clone();
            // What this worker has not begun to read it knows nothing of.
            if held.position.is_some()
                && let Some(place) = self.saved_place(&shard)
                && place.is_beyond(&next.checkpoint)
            {
                next.checkpoint = place;
                next.owner_switches = 0;
            }
            if held.renewed > due && next == held.lease {
                continue;
            }
            match table.update(&held.lease, &next).await? {
                Some(lease) if lease.is_ended() => {
                    state.held.remove(&shard);
                }
                Some(lease) => {
                    held.renewed = job.clock.now();
                    if held.position.is_none() && lease.checkpoint_owner.is_none() {
                        held.position = Some(lease.position());
                    }
                    held.lease = lease;
                }
                None => {
                    lost.insert(shard);
                }
            }
        }
        Ok(lost)
    }

    /// Notes which leases have changed, and which of this worker's another one has asked for.
    fn observe(&self, job: &Job, state: &mut State, leases: &[Lease]) {
        let now = job.clock.now();
        let known: BTreeSet<_> = leases.iter().map(|lease| &lease.shard).collect();
        state.seen.retain(|shard, _| known.contains(shard));
        for lease in leases {
            let seen = state.seen.entry(lease.shard.clone()).or_insert((lease.counter, lease.owner.clone(), now));
            if (seen.0, &seen.1) != (lease.counter, &lease.owner) {
                *seen = (lease.counter, lease.owner.clone(), now);
            }
            let is_asked_for = lease.checkpoint_owner.as_ref() == Some(&job.worker) && lease.owner.as_ref() != Some(&job.worker);
            if is_asked_for && state.held.remove(&lease.shard).is_some_and(|held| held.position.is_some()) {
                // The next checkpoint that says so holds the place up to which it was read.
                self.saved().parked.remove(&lease.shard);
                state.leaving.insert(lease.shard.clone());
            }
        }
    }

    /// Hands over what was asked for and is in a checkpoint; gives up on workers that do not hand over.
    async fn let_go(&self, job: &Job, state: &mut State, leases: &[Lease], table: &dyn LeaseTable) -> TableResult<()> {
        for shard in state.leaving.iter().cloned().collect::<Vec<_>>() {
            let lease = leases.iter().find(|lease| lease.shard == shard);
            // The other worker has waited long enough, or is gone itself.
            let is_over = lease.is_none_or(|lease| lease.checkpoint_owner.as_ref() != Some(&job.worker));
            if !is_over {
                let is_last = |place: &Checkpoint| *place == Checkpoint::ShardEnd || self.saved().parked.contains(&shard);
                let Some(place) = self.saved_place(&shard).filter(is_last) else { continue };
                table.hand_over(&shard, &job.worker, Some(&place)).await?;
            }
            state.leaving.remove(&shard);
        }
        let now = job.clock.now();
        for held in state.held.values_mut().filter(|held| held.position.is_none()) {
            if now < held.taken.saturating_add(millis(HANDOVER_TIMEOUT)) {
                continue;
            }
            let next = Lease { checkpoint_owner: None, ..held.lease.clone() };
            if let Some(lease) = table.update(&held.lease, &next).await? {
                held.position = Some(lease.position());
                (held.lease, held.renewed) = (lease, now);
            }
        }
        Ok(())
    }

    /// Adds leases for shards that have none and whose turn has come.
    async fn add(
        &self,
        job: &Job,
        state: &State,
        leases: &mut BTreeMap<ShardId, Lease>,
        shards: &[Shard],
        table: &dyn LeaseTable,
    ) -> TableResult<()> {
        for shard in shards.iter().filter(|shard| !state.held.contains_key(&shard.id)) {
            if leases.contains_key(&shard.id) {
                continue;
            }
            let Some((checkpoint, start)) = self.begin(job, state, leases, shards, shard) else { continue };
            let lease = Lease {
                shard: shard.id.clone(),
                owner: None,
                counter: 0,
                checkpoint,
                owner_switches: 0,
                checkpoint_owner: None,
                parents: shard.parents.iter().cloned().collect(),
                children: BTreeSet::new(),
                range: Some(shard.range),
                start,
            };
            // If another worker was faster its lease is seen in the next round.
            if table.create(&lease).await? {
                leases.insert(shard.id.clone(), lease);
            }
        }
        Ok(())
    }

    /// Where a shard without a lease begins; None: not yet, or not at all.
    fn begin(
        &self,
        job: &Job,
        state: &State,
        leases: &BTreeMap<ShardId, Lease>,
        shards: &[Shard],
        shard: &Shard,
    ) -> Option<(Checkpoint, Option<EventTime>)> {
        let has_lease = |parent: &ShardId| leases.contains_key(parent) || state.held.contains_key(parent);
        if shard.parents.iter().any(has_lease) {
            // A child begins at its oldest record, however the stream began.
            let is_ready = |parent: &ShardId| !has_lease(parent) || self.is_read(state, leases, parent);
            return shard.parents.iter().all(is_ready).then_some((Checkpoint::TrimHorizon, None));
        }
        let is_listed = |parent: &ShardId| shards.iter().any(|shard| shard.id == *parent);
        match job.start {
            // What a closed shard holds is old, and what came before the others with it.
            Position::Latest(time) => (!shard.closed).then_some((Checkpoint::Latest, Some(time))),
            // Parents come first.
            _ if shard.parents.iter().any(is_listed) => None,
            Position::Timestamp(time) => Some((Checkpoint::AtTimestamp, Some(time))),
            _ => Some((Checkpoint::TrimHorizon, None)),
        }
    }

    /// True if a parent is read to its end, or this worker reads it: then the children wait here.
    fn is_read(&self, state: &State, leases: &BTreeMap<ShardId, Lease>, parent: &ShardId) -> bool {
        let is_here = state.held.get(parent).is_some_and(|held| held.position.is_some());
        is_here || leases.get(parent).is_none_or(Lease::is_ended)
    }

    /// Writes into the leases of finished shards what follows them, as the library's own cleaning wants it, and removes those that
    /// the stream no longer has, once those that follow have theirs.
    async fn clean(
        &self,
        state: &State,
        leases: &mut BTreeMap<ShardId, Lease>,
        shards: &[Shard],
        table: &dyn LeaseTable,
    ) -> TableResult<()> {
        let listed: BTreeSet<_> = shards.iter().map(|shard| &shard.id).collect();
        if listed.is_empty() {
            return Ok(());
        }
        for lease in leases.values_mut().filter(|lease| lease.is_ended() && lease.children.is_empty()) {
            let children = shards.iter().filter(|child| child.parents.contains(&lease.shard));
            let children: BTreeSet<_> = children.map(|child| child.id.clone()).collect();
            if !children.is_empty()
                && let Some(linked) = table.update(lease, &Lease { children, ..lease.clone() }).await?
            {
                *lease = linked;
            }
        }
        let waits = |parent: &ShardId| {
            let children = shards.iter().filter(|shard| shard.parents.contains(parent));
            children.into_iter().any(|child| !leases.contains_key(&child.id) && !state.held.contains_key(&child.id))
        };
        let gone = leases.values().filter(|lease| !listed.contains(&lease.shard) && !waits(&lease.shard));
        for lease in gone.cloned().collect::<Vec<_>>() {
            table.delete(&lease).await?;
            leases.remove(&lease.shard);
        }
        Ok(())
    }

    /// Takes what this worker shall have.
    async fn take(
        &self,
        job: &Job,
        state: &mut State,
        leases: &BTreeMap<ShardId, Lease>,
        table: &dyn LeaseTable,
    ) -> TableResult<()> {
        let now = job.clock.now();
        let duration = millis(self.options.duration);
        let chosen: Vec<(Lease, bool)> = {
            let is_dead =
                |lease: &Lease| state.seen.get(&lease.shard).is_some_and(|(.., since)| now.saturating_sub(*since) >= duration);
            let can_be_read =
                |lease: &&Lease| !lease.is_ended() && lease.parents.iter().all(|parent| self.is_read(state, leases, parent));
            let open: Vec<_> = leases.values().filter(can_be_read).collect();
            let is_held = |lease: &Lease| state.held.contains_key(&lease.shard);
            let held = open.iter().filter(|lease| is_held(lease)).count();
            let wanted = wanted(&open, &job.worker, held, is_held, is_dead);
            let free = wanted.free.into_iter().map(|lease| (lease.clone(), false));
            free.chain(wanted.stolen.map(|lease| (lease.clone(), true))).collect()
        };
        for (lease, is_stolen) in chosen {
            let is_anothers = lease.owner.as_ref().is_some_and(|owner| *owner != job.worker);
            let next = Lease {
                owner: Some(job.worker.clone()),
                owner_switches: lease.owner_switches + u64::from(is_anothers),
                checkpoint_owner: lease.owner.clone().filter(|_| is_stolen),
                ..lease.clone()
            };
            // None: another worker was faster.
            if let Some(taken) = table.update(&lease, &next).await? {
                let position = taken.checkpoint_owner.is_none().then(|| taken.position());
                state.leaving.remove(&taken.shard);
                {
                    let mut saved = self.saved();
                    saved.places.remove(&taken.shard);
                    saved.parked.remove(&taken.shard);
                }
                state.held.insert(taken.shard.clone(), Held { lease: taken, renewed: now, position, taken: now, given: false });
            }
        }
        Ok(())
    }

    /// What is read, and what is not read any further although its place stays with this worker.
    fn owned(state: &mut State) -> Vec<Owned> {
        let mut owned = Vec::new();
        for (shard, held) in &mut state.held {
            let Some(position) = &held.position else { continue };
            let waits = state.waiting.contains(shard);
            if !waits || held.given {
                owned.push(Owned { shard: shard.clone(), position: position.clone(), parked: waits });
            }
            held.given |= !waits;
        }
        let leaving = state.leaving.iter().map(|shard| Owned { shard: shard.clone(), position: None, parked: true });
        owned.extend(leaving);
        owned
    }

    /// Writes the last checkpoints and gives everything back.
    async fn give_back(&self, job: &Job, state: &mut State) -> TableResult<()> {
        let table = self.table().await?;
        for shard in state.leaving.iter().cloned().collect::<Vec<_>>() {
            table.hand_over(&shard, &job.worker, self.saved_place(&shard).as_ref()).await?;
            state.leaving.remove(&shard);
        }
        for shard in state.held.keys().cloned().collect::<Vec<_>>() {
            let Some(held) = state.held.get(&shard) else { continue };
            let mut next = Lease { owner: None, ..held.lease.clone() };
            if held.position.is_some()
                && let Some(place) = self.saved_place(&shard)
                && place.is_beyond(&next.checkpoint)
            {
                next.checkpoint = place;
                next.owner_switches = 0;
            }
            table.update(&held.lease, &next).await?;
            state.held.remove(&shard);
        }
        Ok(())
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
        let job = Job { clock: Arc::clone(clock), worker, start: start.clone() };
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        Ok(())
    }

    async fn poll(&self, shards: &[Shard]) -> Result<Vec<Owned>> {
        let job = self.job()?;
        let mut state = self.state.lock().await;
        if state.released {
            return Ok(Vec::new());
        }
        match self.round(&job, &mut state, shards).await {
            Ok(()) => {}
            Err(TableError::Fatal(error)) => return Err(error),
            // Others may take from now on what was not renewed in time.
            Err(TableError::Transient(_)) => {
                let oldest = job.clock.now().saturating_sub(millis(self.options.duration));
                state.held.retain(|_, held| held.renewed > oldest);
            }
        }
        Ok(Self::owned(&mut state))
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
        saved.parked.extend(lane.parked.iter().cloned());
    }

    async fn release(&self) -> Result<()> {
        let job = self.job()?;
        let mut state = self.state.lock().await;
        state.released = true;
        for _ in 0..ATTEMPTS {
            match self.give_back(&job, &mut state).await {
                Ok(()) => return Ok(()),
                Err(TableError::Fatal(error)) => return Err(error),
                Err(TableError::Transient(_)) => job.clock.sleep(ATTEMPT_INTERVAL).await,
            }
        }
        // The leases expire.
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

/// A name that no other process has.
fn worker_name(now: EventTime) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty()).unwrap_or("kinesql");
    format!("{host}:{}:{now}", std::process::id())
}
