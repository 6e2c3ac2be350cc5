//! The leases themselves: which shards have one, where they begin, and when they are removed.

use std::collections::{BTreeMap, BTreeSet};

use kinesql_engine::runtime::clock::EventTime;

use super::super::millis;
use super::super::position::{Position, ShardId};
use super::super::shards::Shard;
use super::table::{Checkpoint, Lease, LeaseTable, TableResult};
use super::{GONE_AFTER, Held, Job, Leases, State};

impl Leases {
    /// Adds leases for shards that have none and whose turn has come.
    pub(super) async fn add(
        &self,
        job: &Job,
        state: &State,
        leases: &mut BTreeMap<ShardId, Lease>,
        gone: &BTreeMap<ShardId, Lease>,
        shards: &[Shard],
        table: &dyn LeaseTable,
    ) -> TableResult<()> {
        for shard in shards.iter().filter(|shard| !state.held.contains_key(&shard.id)) {
            if leases.contains_key(&shard.id) {
                continue;
            }
            let Some((checkpoint, start)) = self.begin(job, state, leases, gone, shards, shard) else { continue };
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
                read_until: None,
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
        gone: &BTreeMap<ShardId, Lease>,
        shards: &[Shard],
        shard: &Shard,
    ) -> Option<(Checkpoint, Option<EventTime>)> {
        let has_lease = |parent: &ShardId| leases.contains_key(parent) || state.held.contains_key(parent);
        if shard.parents.iter().any(|parent| has_lease(parent) || gone.contains_key(parent)) {
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
    pub(super) fn is_read(&self, state: &State, leases: &BTreeMap<ShardId, Lease>, parent: &ShardId) -> bool {
        let is_here = state.held.get(parent).is_some_and(|held| held.position.is_some());
        is_here || leases.get(parent).is_none_or(Lease::is_ended)
    }

    /// Writes into the leases of finished shards what follows them, as the library's own cleaning wants it, and removes those that
    /// the stream no longer has, once those that follow have theirs.
    pub(super) async fn clean(
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
        let gone = leases.values().filter(|lease| !listed.contains(&lease.shard));
        let gone = gone.filter(|lease| !has_children_without_lease(&lease.shard, shards, leases, state));
        for lease in gone.cloned().collect::<Vec<_>>() {
            table.delete(&lease).await?;
            leases.remove(&lease.shard);
        }
        Ok(())
    }

    /// Takes the leases of shards that are `gone` from the stream before they were read to their ends, once those that follow have
    /// theirs, and tells of them. A checkpoint that covers that says that they are read to their ends, and so do the leases then. A
    /// worker that has one already says itself that it cannot be read any more.
    pub(super) async fn give_up(
        &self,
        job: &Job,
        state: &mut State,
        leases: &BTreeMap<ShardId, Lease>,
        gone: BTreeMap<ShardId, Lease>,
        shards: &[Shard],
        table: &dyn LeaseTable,
    ) -> TableResult<()> {
        let now = job.clock.now();
        state.gone.retain(|shard, _| gone.contains_key(shard));
        for (shard, lease) in gone {
            let since = *state.gone.entry(shard.clone()).or_insert(now);
            let is_mine = state.held.contains_key(&shard) || state.leaving.contains(&shard);
            let is_anothers = lease.owner.as_ref().is_some_and(|owner| *owner != job.worker) && !self.is_dead(job, state, &lease);
            let is_young = now < since.saturating_add(millis(GONE_AFTER));
            if is_mine || is_anothers || is_young || has_children_without_lease(&shard, shards, leases, state) {
                continue;
            }
            let next = Lease { owner: Some(job.worker.clone()), checkpoint_owner: None, ..lease.clone() };
            // None: another worker was faster.
            if let Some(taken) = table.update(&lease, &next).await? {
                let place = taken.position().unwrap_or(Position::TrimHorizon);
                self.forget_saved(&shard);
                state.lost.insert(shard.clone(), place.clone());
                state
                    .held
                    .insert(shard, Held { lease: taken, renewed: now, position: Some(Some(place)), taken: now, given: true });
            }
        }
        Ok(())
    }
}

/// True if a shard is still needed to know where one that follows it begins.
fn has_children_without_lease(parent: &ShardId, shards: &[Shard], leases: &BTreeMap<ShardId, Lease>, state: &State) -> bool {
    let mut children = shards.iter().filter(|shard| shard.parents.contains(parent));
    children.any(|child| !leases.contains_key(&child.id) && !state.held.contains_key(&child.id))
}
