//! What a worker holds: renewed, lost, handed over, taken, given back.

use std::collections::{BTreeMap, BTreeSet};

use super::super::millis;
use super::super::position::ShardId;
use super::balance::wanted;
use super::table::{Checkpoint, Lease, LeaseTable, TableResult};
use super::{HANDOVER_TIMEOUT, Held, Job, Leases, State};

impl Leases {
    /// Renews what is due, together with the newest checkpoint; returns what another worker has now.
    pub(super) async fn renew(&self, job: &Job, state: &mut State, table: &dyn LeaseTable) -> TableResult<BTreeSet<ShardId>> {
        let mut lost = BTreeSet::new();
        let due = job.clock.now().saturating_sub(millis(self.options.renew_interval));
        for shard in state.held.keys().cloned().collect::<Vec<_>>() {
            let Some(held) = state.held.get_mut(&shard) else { continue };
            let next = self.with_saved(held);
            if held.renewed > due && next == held.lease {
                continue;
            }
            let called_at = job.clock.now();
            match table.update(&held.lease, &next).await? {
                Some(lease) if lease.is_ended() => {
                    state.held.remove(&shard);
                }
                Some(lease) => {
                    held.renewed = called_at;
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
    pub(super) fn observe(&self, job: &Job, state: &mut State, leases: &[Lease]) {
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
    pub(super) async fn let_go(&self, job: &Job, state: &mut State, leases: &[Lease], table: &dyn LeaseTable) -> TableResult<()> {
        for shard in state.leaving.iter().cloned().collect::<Vec<_>>() {
            let lease = leases.iter().find(|lease| lease.shard == shard);
            // The other worker has waited long enough, or is gone itself.
            let is_over = lease.is_none_or(|lease| lease.checkpoint_owner.as_ref() != Some(&job.worker));
            if !is_over {
                // None: nothing of it was read.
                let place = self.saved_place(&shard);
                if place != Some(Checkpoint::ShardEnd) && !self.saved().parked.contains(&shard) {
                    continue;
                }
                table.hand_over(&shard, &job.worker, place.as_ref()).await?;
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

    /// Takes what this worker shall have.
    pub(super) async fn take(
        &self,
        job: &Job,
        state: &mut State,
        leases: &BTreeMap<ShardId, Lease>,
        table: &dyn LeaseTable,
    ) -> TableResult<()> {
        let now = job.clock.now();
        let chosen: Vec<(Lease, bool)> = {
            let is_dead = |lease: &Lease| self.is_dead(job, state, lease);
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
            let called_at = job.clock.now();
            // None: another worker was faster.
            if let Some(taken) = table.update(&lease, &next).await? {
                let position = taken.checkpoint_owner.is_none().then(|| taken.position());
                state.leaving.remove(&taken.shard);
                self.forget_saved(&taken.shard);
                state
                    .held
                    .insert(taken.shard.clone(), Held { lease: taken, renewed: called_at, position, taken: now, given: false });
            }
        }
        Ok(())
    }

    /// Writes the last checkpoints and gives everything back.
    pub(super) async fn give_back(&self, job: &Job, state: &mut State) -> TableResult<()> {
        let table = self.table().await?;
        for shard in state.leaving.iter().cloned().collect::<Vec<_>>() {
            table.hand_over(&shard, &job.worker, self.saved_place(&shard).as_ref()).await?;
            state.leaving.remove(&shard);
        }
        for shard in state.held.keys().cloned().collect::<Vec<_>>() {
            let Some(held) = state.held.get(&shard) else { continue };
            let next = Lease { owner: None, ..self.with_saved(held) };
            table.update(&held.lease, &next).await?;
            state.held.remove(&shard);
        }
        Ok(())
    }
}
