//! The shards of a stream: which lane reads which of them, from where, and from when on.
//!
//! | A shard that no checkpoint knows | is read from |
//! | --- | --- |
//! | when the job starts | where the job starts; under `latest` a closed one not at all |
//! | later, as the child of a shard that is known | its oldest record: nothing before it is missing, nothing is read twice |
//! | later, without such a parent | the time at which the job started |
//!
//! A shard waits until those of its parents that this process reads have been handed over to their ends. It goes to the lane of
//! its parent, since the order of a partition key is kept within a lane only.
//!
//! A shard that was handed over to its end holds the watermark of its lane until what follows it is read, here or by another
//! process: the rows of its children come after its own, however far the other shards are. A shard that another process is about to
//! hand over holds it too.
//! State: every listed shard, and finished ones for as long as the stream lists them.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_kinesis::types;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};

use super::assignment::{Assigned, Owned};
use super::limits::{LISTINGS_BEFORE_FORGOTTEN, LISTINGS_WITHOUT_CHILDREN};
use super::position::{LaneOffset, Position, ShardId};

/// Hash keys, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashRange {
    /// The first one.
    pub(crate) start: u128,
    /// The last one.
    pub(crate) end: u128,
}

impl HashRange {
    fn of(range: Option<&types::HashKeyRange>) -> Option<Self> {
        let range = range?;
        Some(Self { start: range.starting_hash_key.parse().ok()?, end: range.ending_hash_key.parse().ok()? })
    }

    /// True if a record with this hash key belongs to the shard.
    pub(crate) fn contains(self, key: u128) -> bool {
        (self.start..=self.end).contains(&key)
    }

    /// The key in the middle.
    pub(crate) fn middle(self) -> u128 {
        self.start + (self.end.saturating_sub(self.start)) / 2
    }

    /// True if every record belongs to it.
    pub(crate) fn is_everything(self) -> bool {
        self.start == 0 && self.end == u128::MAX
    }
}

/// A shard as the service describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Its id.
    pub(crate) id: ShardId,
    /// One after a split, two after a merge, none in a new stream or when they are gone.
    pub(crate) parents: Vec<ShardId>,
    /// The records that it gets.
    pub(crate) range: HashRange,
    /// True if it gets no more records.
    pub(crate) closed: bool,
}

impl Shard {
    /// A shard of `ListShards`.
    pub(crate) fn of(shard: &types::Shard) -> Result<Self> {
        let parents = [&shard.parent_shard_id, &shard.adjacent_parent_shard_id].into_iter().flatten();
        let ending = shard.sequence_number_range.as_ref().and_then(|range| range.ending_sequence_number.as_ref());
        Ok(Self {
            id: shard.shard_id.as_str().into(),
            parents: parents.map(|parent| parent.as_str().into()).collect(),
            range: HashRange::of(shard.hash_key_range.as_ref()).ok_or_else(|| no_range(&shard.shard_id))?,
            closed: ending.is_some(),
        })
    }

    /// A shard that follows one that was read to its end.
    pub(crate) fn of_child(child: &types::ChildShard) -> Result<Self> {
        Ok(Self {
            id: child.shard_id.as_str().into(),
            parents: child.parent_shards.iter().map(|parent| parent.as_str().into()).collect(),
            range: HashRange::of(child.hash_key_range.as_ref()).ok_or_else(|| no_range(&child.shard_id))?,
            closed: false,
        })
    }
}

fn no_range(shard: &str) -> Error {
    Error::unavailable(format!("kinesis:ListShards: {shard} has no hash key range"))
}

/// What a lane is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// The shard is the lane's. It waits. All that came until this time was read, if another process says so.
    Add(Shard, Position, Option<EventTime>),
    /// The shard is read from now on.
    Start(ShardId),
    /// The shard is not read any further; its place stays in the offset.
    Park(ShardId),
    /// The shard is another process's.
    Remove(ShardId),
    /// The shard needs no reading.
    Skip(ShardId),
    /// The shard is not read any more, or not yet, and holds the watermark.
    Hold(ShardId),
    /// What follows the shard is read, or the shard is not to come: it no longer holds the watermark.
    Release(ShardId),
    /// The stream no longer has the shard, and what was not read of it is lost: that is told, with the place up to which it was
    /// read, the lane's own unless another process had it.
    Lose(ShardId, Option<Position>),
    /// The stream no longer has the shard, and nothing is to be told of it.
    Forget(ShardId),
}

/// A command and its lane.
pub(crate) type LaneCommand = (usize, Command);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not this process's.
    Foreign,
    Waiting,
    Reading,
    /// Asked for by another process.
    Parked,
    Finished,
}

#[derive(Debug)]
struct Known {
    shard: Shard,
    state: State,
    /// The lane that reads it or read it last, and knows up to where.
    lane: Option<usize>,
    /// How often it was missing from the stream's list, one time after the other.
    missing: u32,
    /// True if it was found after shards were planned.
    is_new: bool,
    /// True if it is finished and holds the watermark of its lane.
    holds: bool,
    /// True if it is to come from another process and holds the watermark of its lane.
    expected: bool,
    /// How often the stream was listed since it is finished without a shard that follows it.
    childless: u32,
}

impl Known {
    /// True if it was handed over to its end and the stream still has it.
    fn is_listed_at_its_end(&self) -> bool {
        self.state == State::Finished && self.missing == 0
    }
}

/// All shards that matter.
#[derive(Debug)]
pub(crate) struct Shards {
    known: BTreeMap<ShardId, Known>,
    lanes: usize,
    since: Position,
    /// Of the checkpoint: lane and place (None: finished) of shards that were not planned yet.
    restored: BTreeMap<ShardId, (usize, Option<Position>)>,
    /// How often the stream was listed.
    listings: u32,
    /// False until shards are planned for the first time, in a job without a checkpoint.
    started: bool,
    /// False until shards are planned for the first time.
    planned: bool,
    /// True if every lane had an offset, so that a shard without one is new.
    complete: bool,
}

impl Shards {
    /// The lanes with their offsets in the checkpoint; `start` is where a job without a checkpoint starts.
    pub(crate) fn new(lanes: &[Option<LaneOffset>], start: Position) -> Self {
        let mut restored = BTreeMap::new();
        for (index, lane) in lanes.iter().enumerate() {
            let Some(lane) = lane else { continue };
            let finished = lane.finished.iter().map(|shard| (shard.clone(), (index, None)));
            let open = lane.shards.iter().map(|(shard, position)| (shard.clone(), (index, Some(position.clone()))));
            let left = lane.left.iter().map(|(shard, position)| (shard.clone(), (index, Some(position.clone()))));
            restored.extend(left.chain(finished).chain(open));
        }
        let since = lanes.iter().flatten().map(|lane| lane.since.clone()).next();
        Self {
            known: BTreeMap::new(),
            lanes: lanes.len(),
            started: since.is_some(),
            since: since.unwrap_or(start),
            restored,
            listings: 0,
            planned: false,
            complete: lanes.iter().all(Option::is_some),
        }
    }

    /// Where the job started.
    pub(crate) fn since(&self) -> &Position {
        &self.since
    }

    /// All shards, in the order of their ids: parents come before their children.
    pub(crate) fn all(&self) -> Vec<Shard> {
        self.known.values().map(|known| known.shard.clone()).collect()
    }

    /// True if the lanes were told what to read.
    pub(crate) fn is_planned(&self) -> bool {
        self.planned
    }

    /// True if a shard was read to its end and what follows it is not known yet.
    pub(crate) fn lacks_children(&self) -> bool {
        self.known.iter().any(|(id, known)| known.is_listed_at_its_end() && self.children(id).next().is_none())
    }

    fn children<'a>(&'a self, id: &'a ShardId) -> impl Iterator<Item = &'a Known> {
        self.known.values().filter(move |known| known.shard.parents.contains(id))
    }

    /// True if the shard is listed.
    pub(crate) fn is_listed(&self, shard: &str) -> bool {
        self.known.get(shard).is_some_and(|known| known.missing == 0)
    }

    /// Takes a complete list of the stream's shards. Fails with `State` if the checkpoint is that of another stream.
    pub(crate) fn listed(&mut self, shards: Vec<Shard>) -> Result<()> {
        for known in self.known.values_mut() {
            known.missing += 1;
        }
        self.listings += 1;
        let is_restored = |shard: &ShardId| self.restored.contains_key(shard);
        let continues = shards.iter().any(|shard| is_restored(&shard.id) || shard.parents.iter().any(is_restored));
        if self.listings == 1 && !self.restored.is_empty() && !continues {
            return Err(Error::state("the checkpoint is that of another stream: none of its shards exists any more")
                .with_hint("Was the stream deleted and created again? Start the job without its checkpoint."));
        }
        for shard in shards {
            self.take(shard);
        }
        let childless = |(id, known): (&ShardId, &Known)| known.holds && self.children(id).next().is_none();
        let childless: Vec<_> = self.known.iter().filter(|known| childless(*known)).map(|(id, _)| id.clone()).collect();
        for id in childless {
            self.known.entry(id).and_modify(|known| known.childless += 1);
        }
        Ok(())
    }

    /// Takes the shards that follow one that was read to its end.
    pub(crate) fn found(&mut self, children: Vec<Shard>) {
        for shard in children {
            if !self.known.contains_key(&shard.id) {
                self.take(shard);
            }
        }
    }

    fn take(&mut self, shard: Shard) {
        match self.known.get_mut(&shard.id) {
            Some(known) => {
                known.missing = 0;
                known.shard = shard;
            }
            None => {
                let finished = self.restored.get(&shard.id).filter(|(_, position)| position.is_none());
                let (state, lane) = match finished {
                    Some((lane, _)) => (State::Finished, Some(*lane)),
                    None => (State::Foreign, None),
                };
                let is_new = self.planned;
                let known = Known { shard, state, lane, missing: 0, is_new, holds: false, expected: false, childless: 0 };
                self.known.insert(known.shard.id.clone(), known);
            }
        }
    }

    /// A shard was handed over to its end; it holds the watermark until what follows it is read.
    pub(crate) fn ended(&mut self, shard: &str) {
        if let Some(known) = self.known.get_mut(shard) {
            (known.state, known.holds) = (State::Finished, true);
        }
    }

    /// The stream no longer has a shard, whatever was not read of it: what its lane is to do before it is planned what follows.
    pub(crate) fn trimmed(&mut self, shard: &ShardId) -> Vec<LaneCommand> {
        self.ended(shard);
        let lane = self.known.get(shard).and_then(|known| known.lane);
        // It is finished, so that no other process waits for it.
        let commands = [Command::Lose(shard.clone(), None), Command::Skip(shard.clone()), Command::Hold(shard.clone())];
        lane.into_iter().flat_map(|lane| commands.clone().map(|command| (lane, command))).collect()
    }

    /// What the lanes are to do now that the shards are assigned so.
    pub(crate) fn plan(&mut self, assigned: &Assigned) -> Vec<LaneCommand> {
        let mut commands = Vec::new();
        let owned: BTreeMap<_, _> = assigned.owned.iter().map(|owned| (&owned.shard, owned)).collect();
        let ids: Vec<_> = self.known.keys().cloned().collect();
        for id in &ids {
            let state = self.known[id].state;
            match owned.get(id) {
                None if matches!(state, State::Waiting | State::Reading | State::Parked) => {
                    let lane = self.known[id].lane;
                    commands.extend(lane.map(|lane| (lane, Command::Remove(id.clone()))));
                    self.set(id, State::Foreign, lane);
                }
                None => {
                    if let Some((lane, Some(_))) = self.restored.remove(id) {
                        commands.push((lane, Command::Remove(id.clone())));
                        self.set(id, State::Foreign, Some(lane));
                    }
                }
                Some(owned) if owned.parked => {
                    if let (State::Waiting | State::Reading, Some(lane)) = (state, self.known[id].lane) {
                        commands.push((lane, Command::Park(id.clone())));
                        self.set(id, State::Parked, Some(lane));
                    }
                }
                Some(owned) if matches!(state, State::Foreign | State::Parked) => {
                    self.add(id, owned, &mut commands);
                }
                Some(_) => {}
            }
        }
        for (id, place) in assigned.lost.iter().flatten() {
            let restored = self.restored.remove(id).map(|(lane, _)| lane);
            let lane = restored.or_else(|| self.known.get(id)?.lane).unwrap_or(0);
            commands.push((lane, Command::Lose(id.clone(), Some(place.clone()))));
        }
        self.expect(&ids, &assigned.expected, &mut commands);
        self.started = true;
        self.start(&ids, &mut commands);
        self.hold_or_release(&assigned.unclaimed, &mut commands);
        self.planned = true;
        self.forget(&ids, assigned.lost.is_none(), &mut commands);
        commands
    }

    /// Holds the watermark for shards that are to come from other processes.
    fn expect(&mut self, ids: &[ShardId], expected: &BTreeSet<ShardId>, commands: &mut Vec<LaneCommand>) {
        for id in ids {
            let known = &self.known[id];
            let (is_foreign, was_expected) = (known.state == State::Foreign, known.expected);
            let is_expected = is_foreign && expected.contains(id);
            if is_expected == was_expected {
                continue;
            }
            let lane = known.lane.unwrap_or_else(|| self.lane_of(&known.shard));
            if is_expected {
                commands.push((lane, Command::Hold(id.clone())));
            } else if is_foreign {
                commands.push((lane, Command::Release(id.clone())));
            }
            if let Some(known) = self.known.get_mut(id) {
                (known.expected, known.lane) = (is_expected, Some(lane));
            }
        }
    }

    fn add(&mut self, id: &ShardId, owned: &Owned, commands: &mut Vec<LaneCommand>) {
        let position = owned.position.clone();
        let shard = self.known[id].shard.clone();
        let restored = self.restored.remove(id);
        let lane = match (&restored, self.known[id].lane) {
            (Some((lane, _)), _) => *lane,
            // It was parked there, or read before another process had it.
            (None, Some(lane)) => lane,
            (None, None) => self.lane_of(&shard),
        };
        // Under `latest` what a closed shard holds is old.
        if !self.started && position.is_none() && shard.closed && matches!(self.since, Position::Latest(_)) {
            self.set(id, State::Finished, Some(lane));
            commands.push((lane, Command::Skip(id.clone())));
            return;
        }
        let restored = restored.and_then(|(_, position)| position).map(|position| position.again());
        // What this process has read itself it does not read again, whatever another one has left of it.
        let position = match (position, restored) {
            (Some(position), Some(restored)) => position.or_further(restored),
            (position, restored) => position.or(restored).unwrap_or_else(|| self.start_of(&shard)),
        };
        self.set(id, State::Waiting, Some(lane));
        commands.push((lane, Command::Add(shard, position, owned.read_until)));
    }

    fn start_of(&self, shard: &Shard) -> Position {
        if !self.started {
            return self.since.clone();
        }
        let has_known_parent =
            shard.parents.iter().any(|parent| self.known.contains_key(parent) || self.restored.contains_key(parent));
        let is_new = self.complete || self.known.get(&shard.id).is_some_and(|known| known.is_new);
        if has_known_parent && is_new { Position::TrimHorizon } else { self.since.again() }
    }

    fn lane_of(&self, shard: &Shard) -> usize {
        let of_parent = |parent: &ShardId| {
            let known = self.known.get(parent).and_then(|known| known.lane);
            known.or_else(|| self.restored.get(parent).map(|(lane, _)| *lane))
        };
        if let Some(lane) = shard.parents.iter().find_map(of_parent) {
            return lane;
        }
        let mut loads = vec![0usize; self.lanes];
        let counts = |known: &&Known| known.expected || matches!(known.state, State::Waiting | State::Reading);
        for known in self.known.values().filter(counts) {
            if let Some(lane) = known.lane {
                loads[lane] += 1;
            }
        }
        (0..self.lanes).min_by_key(|lane| loads[*lane]).unwrap_or(0)
    }

    fn start(&mut self, ids: &[ShardId], commands: &mut Vec<LaneCommand>) {
        for id in ids {
            let Known { shard, state: State::Waiting, lane: Some(lane), .. } = &self.known[id] else { continue };
            let is_read = |parent: &ShardId| {
                let is_open = |parent: &Known| matches!(parent.state, State::Waiting | State::Reading | State::Parked);
                self.known.get(parent).is_some_and(is_open)
            };
            if !shard.parents.iter().any(is_read) {
                commands.push((*lane, Command::Start(id.clone())));
                self.set(id, State::Reading, Some(*lane));
            }
        }
    }

    /// Lets go of the watermark where what follows is read. A checkpoint does not say who holds it, the first plan does.
    fn hold_or_release(&mut self, unclaimed: &BTreeSet<ShardId>, commands: &mut Vec<LaneCommand>) {
        let may_hold = |known: &Known| known.holds || (!self.planned && known.is_listed_at_its_end());
        let changed = |(id, known): (&ShardId, &Known)| {
            let holds = may_hold(known) && self.is_waited_for(id, known, unclaimed);
            (holds != known.holds).then(|| (id.clone(), known.lane))
        };
        let changed: Vec<_> = self.known.iter().filter_map(changed).collect();
        for (id, lane) in changed {
            let Some(known) = self.known.get_mut(&id) else { continue };
            known.holds = !known.holds;
            let command = if known.holds { Command::Hold(id) } else { Command::Release(id) };
            commands.extend(lane.map(|lane| (lane, command)));
        }
    }

    /// True if shards that follow a finished one are still to be read, and perhaps by this process.
    fn is_waited_for(&self, id: &ShardId, known: &Known, unclaimed: &BTreeSet<ShardId>) -> bool {
        let mut children = self.children(id).peekable();
        if children.peek().is_none() {
            return known.missing == 0 && known.childless < LISTINGS_WITHOUT_CHILDREN;
        }
        children.any(|child| match child.state {
            State::Waiting => true,
            State::Foreign => unclaimed.contains(&child.shard.id),
            State::Reading | State::Parked | State::Finished => false,
        })
    }

    /// `tells`: what a checkpoint says is unread, and is no longer listed, is lost. If others may have read it that is not known here.
    fn forget(&mut self, ids: &[ShardId], tells: bool, commands: &mut Vec<LaneCommand>) {
        for id in ids {
            let known = &self.known[id];
            if known.missing < LISTINGS_BEFORE_FORGOTTEN || !matches!(known.state, State::Finished | State::Foreign) {
                continue;
            }
            commands.extend(known.lane.map(|lane| (lane, Command::Forget(id.clone()))));
            self.known.remove(id);
        }
        if self.listings >= LISTINGS_BEFORE_FORGOTTEN {
            // What is left of the checkpoint was trimmed with its shards, or is finished and no longer listed.
            let gone = std::mem::take(&mut self.restored);
            for (id, (lane, place)) in gone.into_iter().filter(|(id, _)| !self.known.contains_key(id)) {
                if tells && place.is_some() {
                    commands.push((lane, Command::Lose(id.clone(), None)));
                }
                commands.push((lane, Command::Forget(id)));
            }
        }
    }

    fn set(&mut self, id: &ShardId, state: State, lane: Option<usize>) {
        if let Some(known) = self.known.get_mut(id) {
            (known.state, known.lane) = (state, lane);
        }
    }
}
