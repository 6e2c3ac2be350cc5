//! Which shards of a stream this process reads: the seam through which several processes share a stream.
//!
//! | Assignment | Shards of this process |
//! | --- | --- |
//! | [`All`] | every one |
//! | [`Worker`] | those whose hash range has its middle in the process's part of the hash space: `worker = '2/5'` |
//! | `Leases` (lease/) | those whose leases it holds: `lease = 'dynamodb'` |
//!
//! An assignment that changes while the job runs (leases) says how often it wants to be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kinesql_engine::connector::Trouble;
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};

use super::position::{LaneOffset, Position, ShardId};
use super::shards::Shard;

/// A shard that this process owns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Owned {
    /// Its id.
    pub(crate) shard: ShardId,
    /// Where another process left off; None: as this process's own checkpoint, or the start of the job, says. Counts when the
    /// shard is taken, not later.
    pub(crate) position: Option<Position>,
    /// Up to when the other process has read all that came, if it says so.
    pub(crate) read_until: Option<EventTime>,
    /// True if another process asks for the shard: it is not read any further, and stays until a checkpoint has said so
    /// ([`LaneOffset::parked`]), which is where the other one goes on.
    pub(crate) parked: bool,
}

impl Owned {
    /// A shard that is read from where this process's own checkpoint, or the start of the job, says.
    pub(crate) fn from_here(shard: &ShardId) -> Self {
        Self { shard: shard.clone(), position: None, read_until: None, parked: false }
    }
}

/// What an assignment says of the stream's shards.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Assigned {
    /// The shards of this process.
    pub(crate) owned: Vec<Owned>,
    /// Shards that no process reads yet and that this one may get: rows of them may come here.
    pub(crate) unclaimed: BTreeSet<ShardId>,
    /// Shards that this process has asked another one for: rows of them come here soon, and are not to be late by then.
    pub(crate) expected: BTreeSet<ShardId>,
    /// Shards that the stream no longer has and that no process has read to their ends, with the places up to which they were read,
    /// each told to one process once. None: the process is alone, what it has not read of such a shard is lost.
    pub(crate) lost: Option<BTreeMap<ShardId, Position>>,
}

impl Assigned {
    /// These shards are read here from now on, every other one by another process.
    fn fixed<'a>(shards: impl Iterator<Item = &'a Shard>) -> Self {
        Self { owned: shards.map(|shard| Owned::from_here(&shard.id)).collect(), ..Self::default() }
    }
}

/// Decides which shards this process reads.
#[async_trait]
pub(crate) trait ShardAssignment: Send + Sync + Debug {
    /// A job starts, before any other call but of assignments that never change. Without a checkpoint it starts at `start`;
    /// `checkpointed` says whether it takes any.
    async fn start(&self, _clock: &Arc<dyn Clock>, _start: &Position, _checkpointed: bool) -> Result<()> {
        Ok(())
    }

    /// The shards owned from now on, out of `shards`, all that the stream lists. Called after each listing and every
    /// [`Self::poll_interval`]. A shard that is left out is not read any further; it may come back later. Who gives out shards
    /// one by one gives a child only when its parents are read to their ends, unless this process reads them itself: then it
    /// waits.
    ///
    /// An error is that of the job; what may pass (throttling) is to be retried or answered with the last known state. Never
    /// waits for longer than shards may be read without asking again.
    async fn poll(&self, shards: &[Shard]) -> Result<Assigned>;

    /// How often the answer of [`Self::poll`] may change by itself; None: never.
    fn poll_interval(&self) -> Option<Duration> {
        None
    }

    /// A checkpoint that holds `lane` is complete. Must not block.
    fn checkpointed(&self, _lane: &LaneOffset) {}

    /// What keeps the shards from being assigned anew; None while all is well.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// The job stops gracefully: gives the shards back, unless that takes too long.
    async fn release(&self) -> Result<()> {
        Ok(())
    }
}

/// Every shard.
#[derive(Debug)]
pub(crate) struct All;

#[async_trait]
impl ShardAssignment for All {
    async fn poll(&self, shards: &[Shard]) -> Result<Assigned> {
        Ok(Assigned::fixed(shards.iter()))
    }
}

/// The part `number` of `of` equal parts of the hash space, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Worker {
    number: u64,
    of: u64,
}

impl Worker {
    /// Reads `2/5`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.trim().parse().ok()?, of.trim().parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(Error::config(format!("option \"worker\" of connector 'kinesis' cannot be '{text}'"))
                .with_hint("Write '2/5' for the second of five processes that share the stream.")),
        }
    }

    /// Every shard belongs to exactly one of the workers, however the stream was resharded, without any of them knowing more
    /// than the shard's own range.
    fn owns(self, shard: &Shard) -> bool {
        // The high 64 bits of the middle are exact enough: the service's ranges are far wider than 2^64.
        let middle = shard.range.middle() >> 64;
        (middle * u128::from(self.of)) >> 64 == u128::from(self.number - 1)
    }
}

#[async_trait]
impl ShardAssignment for Worker {
    async fn poll(&self, shards: &[Shard]) -> Result<Assigned> {
        Ok(Assigned::fixed(shards.iter().filter(|shard| self.owns(shard))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shards::HashRange;
    use super::*;

    #[test]
    fn each_shard_belongs_to_exactly_one_worker() {
        for of in [1, 2, 3, 5, 7] {
            for shards in [1u128, 2, 3, 4, 10, 1000] {
                let width = u128::MAX / shards;
                for index in 0..shards {
                    let end = if index + 1 == shards { u128::MAX } else { (index + 1) * width - 1 };
                    let shard = Shard {
                        id: format!("shardId-{index}").into(),
                        parents: Vec::new(),
                        range: HashRange { start: index * width, end },
                        closed: false,
                    };
                    let owners = (1..=of).filter(|number| Worker { number: *number, of }.owns(&shard)).count();
                    assert_eq!(owners, 1, "shard {index} of {shards}, {of} workers");
                }
            }
        }
    }

    #[test]
    fn wrong_workers_say_what_is_expected() {
        assert_eq!(Worker::parse("2/5").expect("valid"), Worker { number: 2, of: 5 });
        for text in ["0/5", "6/5", "2", "a/b", "1/0", ""] {
            let error = Worker::parse(text).expect_err(text);
            assert_eq!(error.hint(), Some("Write '2/5' for the second of five processes that share the stream."));
        }
    }
}
