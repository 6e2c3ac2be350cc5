//! The table of leases: what it holds, and the calls on it.
//!
//! The layout is that of the Kinesis Client Library 2 and 3 (its `DynamoDBLeaseSerializer`), so that its tools can read the table:
//!
//! | Attribute | |
//! | --- | --- |
//! | `leaseKey` | the shard |
//! | `leaseOwner` | the worker; missing if nobody has it |
//! | `leaseCounter` | grows with every change: one that stands still is that of a dead worker |
//! | `checkpoint`, `checkpointSubSequenceNumber` | where reading goes on, or `TRIM_HORIZON`, `LATEST`, `AT_TIMESTAMP`, `SHARD_END` |
//! | `ownerSwitchesSinceCheckpoint` | how often it changed hands since |
//! | `checkpointOwner` | the worker that is asked to hand it over and has yet to write its last checkpoint |
//! | `parentShardId`, `childShardIds` | the shards before and after |
//! | `startingHashKey`, `endingHashKey` | the shard's records |
//! | `kinesqlStart` | what `LATEST` and `AT_TIMESTAMP` mean, in milliseconds since 1970: ours alone |
//! | `kinesqlReadUntil` | up to when all that came was read, in milliseconds since 1970: ours alone |

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use kinesql_engine::Error;
use kinesql_engine::runtime::clock::EventTime;

use super::super::position::{Position, ShardId, as_number};
use super::super::shards::HashRange;

/// Sub-sequence number of a checkpoint behind a whole record, aggregated or not: every sub-record is before it.
const WHOLE_RECORD: u64 = i64::MAX as u64;

/// A worker's name.
pub(crate) type WorkerId = Arc<str>;

/// A lease.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lease {
    pub(crate) shard: ShardId,
    pub(crate) owner: Option<WorkerId>,
    pub(crate) counter: u64,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) owner_switches: u64,
    pub(crate) checkpoint_owner: Option<WorkerId>,
    pub(crate) parents: BTreeSet<ShardId>,
    pub(crate) children: BTreeSet<ShardId>,
    /// None in tables of old versions of the library.
    pub(crate) range: Option<HashRange>,
    /// What `LATEST` and `AT_TIMESTAMP` mean.
    pub(crate) start: Option<EventTime>,
    /// Up to when all that came was read, if that is known.
    pub(crate) read_until: Option<EventTime>,
}

/// How far a shard was read, as the table says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    TrimHorizon,
    Latest,
    AtTimestamp,
    ShardEnd,
    /// Behind this record, or behind this sub-record of it.
    After {
        sequence: Arc<str>,
        sub: u64,
    },
}

impl Checkpoint {
    /// The checkpoint of a place; None if nothing was read yet.
    pub(crate) fn of(position: &Position) -> Option<Self> {
        match position {
            Position::After { after, sub } => {
                Some(Checkpoint::After { sequence: after.clone(), sub: sub.unwrap_or(WHOLE_RECORD) })
            }
            _ => None,
        }
    }

    /// Reads the two attributes.
    pub(crate) fn parse(text: &str, sub: u64) -> Self {
        match text {
            "TRIM_HORIZON" => Checkpoint::TrimHorizon,
            "LATEST" => Checkpoint::Latest,
            "AT_TIMESTAMP" => Checkpoint::AtTimestamp,
            "SHARD_END" => Checkpoint::ShardEnd,
            sequence => Checkpoint::After { sequence: sequence.into(), sub },
        }
    }

    /// The two attributes.
    pub(crate) fn to_attributes(&self) -> (&str, u64) {
        match self {
            Checkpoint::TrimHorizon => ("TRIM_HORIZON", 0),
            Checkpoint::Latest => ("LATEST", 0),
            Checkpoint::AtTimestamp => ("AT_TIMESTAMP", 0),
            Checkpoint::ShardEnd => ("SHARD_END", 0),
            Checkpoint::After { sequence, sub } => (sequence, *sub),
        }
    }
}

impl Checkpoint {
    /// True if more was read than at `other`.
    pub(crate) fn is_beyond(&self, other: &Checkpoint) -> bool {
        match (self, other) {
            (_, Checkpoint::ShardEnd) => false,
            (Checkpoint::ShardEnd, _) => true,
            (Checkpoint::After { sequence, sub }, Checkpoint::After { sequence: other, sub: other_sub }) => {
                (as_number(sequence), sub) > (as_number(other), other_sub)
            }
            (Checkpoint::After { .. }, _) => true,
            _ => false,
        }
    }
}

impl Lease {
    /// True if the shard was read to its end.
    pub(crate) fn is_ended(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }

    /// Up to when all that came to the place of [`Lease::position`] was read, if that is known.
    pub(crate) fn read_until(&self) -> Option<EventTime> {
        // Nothing has come since then.
        self.read_until.or(self.start.filter(|_| self.checkpoint == Checkpoint::Latest))
    }

    /// Where to go on reading; None: where the reader's own job started.
    pub(crate) fn position(&self) -> Option<Position> {
        match &self.checkpoint {
            Checkpoint::TrimHorizon => Some(Position::TrimHorizon),
            // What came while nobody read it is not skipped.
            Checkpoint::Latest | Checkpoint::AtTimestamp => self.start.map(Position::Timestamp),
            Checkpoint::ShardEnd => None,
            Checkpoint::After { sequence, sub } => {
                Some(Position::After { after: sequence.clone(), sub: Some(*sub).filter(|sub| *sub < WHOLE_RECORD) })
            }
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone)]
pub(crate) enum TableError {
    /// The same call may succeed later.
    Transient(Error),
    /// It never will.
    Fatal(Error),
}

pub(crate) type TableResult<T> = Result<T, TableError>;

/// The calls on a table of leases.
#[async_trait]
pub(crate) trait LeaseTable: Send + Sync + Debug {
    /// Creates the table if it does not exist; returns when it can be used.
    async fn prepare(&self) -> TableResult<()>;

    /// All leases.
    async fn list(&self) -> TableResult<Vec<Lease>>;

    /// Adds a lease; false if the shard has one.
    async fn create(&self, lease: &Lease) -> TableResult<bool>;

    /// Makes `seen` what `next` says, with the next counter, if nobody has changed it meanwhile; returns it as it is then.
    async fn update(&self, seen: &Lease, next: &Lease) -> TableResult<Option<Lease>>;

    /// The last words of `worker`, which was asked to hand the lease over: its checkpoint. The counter is the new owner's.
    async fn hand_over(&self, shard: &ShardId, worker: &WorkerId, checkpoint: Option<&Checkpoint>) -> TableResult<()>;

    /// Removes a lease; false if somebody has changed or removed it meanwhile.
    async fn delete(&self, seen: &Lease) -> TableResult<bool>;
}

#[cfg(test)]
pub(crate) mod memory {
    //! A table in memory, whose calls fail when a test says so.

    use std::collections::BTreeMap;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    #[derive(Debug, Default)]
    pub(crate) struct MemoryTable {
        leases: Mutex<BTreeMap<ShardId, Lease>>,
        is_down: Mutex<bool>,
        hangs: Mutex<bool>,
    }

    impl MemoryTable {
        pub(crate) fn leases(&self) -> MutexGuard<'_, BTreeMap<ShardId, Lease>> {
            self.leases.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// From now on calls fail, or work again.
        pub(crate) fn set_down(&self, is_down: bool) {
            *self.is_down.lock().unwrap_or_else(PoisonError::into_inner) = is_down;
        }

        /// From now on calls are not answered, or are again.
        pub(crate) fn set_hanging(&self, hangs: bool) {
            *self.hangs.lock().unwrap_or_else(PoisonError::into_inner) = hangs;
        }

        async fn reach(&self) -> TableResult<MutexGuard<'_, BTreeMap<ShardId, Lease>>> {
            if *self.hangs.lock().unwrap_or_else(PoisonError::into_inner) {
                std::future::pending::<()>().await;
            }
            match *self.is_down.lock().unwrap_or_else(PoisonError::into_inner) {
                true => Err(TableError::Transient(Error::unavailable("the table is down"))),
                false => Ok(self.leases()),
            }
        }
    }

    #[async_trait]
    impl LeaseTable for MemoryTable {
        async fn prepare(&self) -> TableResult<()> {
            self.reach().await.map(drop)
        }

        async fn list(&self) -> TableResult<Vec<Lease>> {
            Ok(self.reach().await?.values().cloned().collect())
        }

        async fn create(&self, lease: &Lease) -> TableResult<bool> {
            let mut leases = self.reach().await?;
            let is_new = !leases.contains_key(&lease.shard);
            leases.entry(lease.shard.clone()).or_insert_with(|| lease.clone());
            Ok(is_new)
        }

        async fn update(&self, seen: &Lease, next: &Lease) -> TableResult<Option<Lease>> {
            let mut leases = self.reach().await?;
            let Some(lease) = leases.get_mut(&seen.shard) else { return Ok(None) };
            if (lease.counter, &lease.owner) != (seen.counter, &seen.owner) {
                return Ok(None);
            }
            // As in DynamoDB, only what differs is written: a hand-over may have come in between.
            if next.checkpoint != seen.checkpoint {
                lease.checkpoint = next.checkpoint.clone();
            }
            if next.checkpoint_owner != seen.checkpoint_owner {
                lease.checkpoint_owner = next.checkpoint_owner.clone();
            }
            if next.read_until != seen.read_until {
                lease.read_until = next.read_until;
            }
            lease.owner = next.owner.clone();
            lease.owner_switches = next.owner_switches;
            lease.children = next.children.clone();
            lease.counter += 1;
            Ok(Some(lease.clone()))
        }

        async fn hand_over(&self, shard: &ShardId, worker: &WorkerId, checkpoint: Option<&Checkpoint>) -> TableResult<()> {
            let mut leases = self.reach().await?;
            if let Some(lease) = leases.get_mut(shard).filter(|lease| lease.checkpoint_owner.as_ref() == Some(worker)) {
                lease.checkpoint_owner = None;
                lease.checkpoint = checkpoint.cloned().unwrap_or_else(|| lease.checkpoint.clone());
            }
            Ok(())
        }

        async fn delete(&self, seen: &Lease) -> TableResult<bool> {
            let mut leases = self.reach().await?;
            let is_as_seen = leases.get(&seen.shard).is_some_and(|lease| lease.counter == seen.counter);
            if is_as_seen {
                leases.remove(&seen.shard);
            }
            Ok(is_as_seen)
        }
    }
}
