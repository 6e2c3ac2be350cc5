//! Which leases a worker takes: those that nobody has, then one of a worker that has two more than it has itself.
//!
//! Every worker aims at the same share, the leases by the workers, rounded up; so each decides alone and all come to rest.

use std::collections::BTreeMap;

use super::table::{Lease, WorkerId};

/// What to take.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Wanted<'a> {
    /// Leases that nobody has.
    pub(crate) free: Vec<&'a Lease>,
    /// A lease of another worker, which is to hand it over.
    pub(crate) stolen: Option<&'a Lease>,
}

/// What `me` is to take of `leases`, those that can be read now; `is_dead` says whether the owner of one has stopped renewing it.
/// `held` is how many `me` has.
pub(crate) fn wanted<'a>(
    leases: &[&'a Lease],
    me: &WorkerId,
    held: usize,
    is_held: impl Fn(&Lease) -> bool,
    is_dead: impl Fn(&Lease) -> bool,
) -> Wanted<'a> {
    let mut loads: BTreeMap<&WorkerId, usize> = BTreeMap::from([(me, held)]);
    let mut free = Vec::new();
    for &lease in leases {
        match &lease.owner {
            _ if is_held(lease) => {}
            // What this worker had in an earlier life is free as well.
            Some(owner) if owner != me && !is_dead(lease) => *loads.entry(owner).or_default() += 1,
            _ => free.push(lease),
        }
    }
    let share = leases.len().div_ceil(loads.len());
    // Workers that look at the same time begin with different ones.
    free.sort_by_key(|lease| mixed(me, &lease.shard));
    free.truncate(share.saturating_sub(held));
    let mut stolen = None;
    if free.is_empty() {
        // A lease on its way from one worker to another is left alone.
        let busiest = loads.iter().max_by_key(|(worker, load)| (**load, **worker)).filter(|(_, load)| **load >= held + 2);
        let can_leave =
            |lease: &&&Lease| lease.owner.as_ref() == busiest.map(|(worker, _)| *worker) && lease.checkpoint_owner.is_none();
        stolen = busiest.and_then(|_| leases.iter().filter(can_leave).min_by_key(|lease| mixed(me, &lease.shard))).copied();
    }
    Wanted { free, stolen }
}

/// FNV-1a, 64 bits (RFC 9923) of both.
fn mixed(worker: &str, shard: &str) -> u64 {
    let bytes = worker.bytes().chain([0]).chain(shard.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::table::Checkpoint;
    use super::*;

    fn lease(shard: usize, owner: &str) -> Lease {
        Lease {
            shard: format!("shard-{shard}").into(),
            owner: Some(owner).filter(|owner| !owner.is_empty()).map(WorkerId::from),
            counter: 0,
            checkpoint: Checkpoint::TrimHorizon,
            owner_switches: 0,
            checkpoint_owner: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            range: None,
            start: None,
            read_until: None,
        }
    }

    /// How many free leases `me` takes and whose it steals, if workers own these leases; `dead` has stopped.
    fn check(owners: &[&str]) -> (usize, Option<String>) {
        let leases: Vec<_> = owners.iter().enumerate().map(|(shard, owner)| lease(shard, owner)).collect();
        let all: Vec<_> = leases.iter().collect();
        let is_mine = |lease: &Lease| lease.owner.as_deref() == Some("me");
        let held = leases.iter().filter(|lease| is_mine(lease)).count();
        let wanted = wanted(&all, &"me".into(), held, is_mine, |lease| lease.owner.as_deref() == Some("dead"));
        (wanted.free.len(), wanted.stolen.and_then(|lease| lease.owner.as_ref().map(ToString::to_string)))
    }

    #[test]
    fn a_worker_takes_its_share_of_what_is_free_and_steals_only_from_the_busiest() {
        assert_eq!(check(&[]), (0, None));
        assert_eq!(check(&["", "", ""]), (3, None), "alone");
        assert_eq!(check(&["", "a", "", "dead"]), (2, None), "two workers");
        assert_eq!(check(&["me", "a", "", "a"]), (1, None));
        assert_eq!(check(&["me", "me", "", "a"]), (0, None), "the free one is for the other");
        assert_eq!(check(&["a", "a", "a"]), (0, Some("a".to_owned())));
        assert_eq!(check(&["a", "a", "b", "b", "b"]), (0, Some("b".to_owned())));
        assert_eq!(check(&["me", "a", "a"]), (0, None), "one more is as even as it gets");
        assert_eq!(check(&["me", "a", "a", "a"]), (0, Some("a".to_owned())));
    }

    #[test]
    fn a_lease_on_its_way_is_not_stolen_again() {
        let moving = Lease { checkpoint_owner: Some("b".into()), ..lease(0, "a") };
        let others = [lease(1, "a"), moving.clone()];
        let is_dead = |_: &Lease| false;
        let all: Vec<_> = others.iter().collect();
        let taken = wanted(&all, &"me".into(), 0, is_dead, is_dead).stolen.map(|lease| lease.shard.to_string());
        assert_eq!(taken.as_deref(), Some("shard-1"));
        assert_eq!(wanted(&[&moving, &moving], &"me".into(), 0, is_dead, is_dead).stolen, None);
    }
}
