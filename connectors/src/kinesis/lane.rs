//! A lane: one split of the source, which reads many shards side by side.
//!
//! Each shard is a task of its own (reader.rs); what they read meets in one channel, so records of a shard stay in order. The lane
//! hands them over one after the other and keeps the places behind them: its offset.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kinesql_engine::connector::{Read, Records, SplitReader};
use kinesql_engine::format::{RejectReason, Rejected};
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::coordinator::{Closing, Control, Note};
use super::position::{LaneOffset, Position, ShardId};
use super::reader::{Event, FromShard, ReadContext, ShardReader};
use super::shards::{Command, Shard};

/// Pieces of all shards that wait for the engine.
const WAITING_PIECES: usize = 16;

/// Reads the shards of a lane.
pub(crate) struct Lane {
    context: Arc<ReadContext>,
    offset: LaneOffset,
    /// The shards that are read now.
    reading: HashMap<ShardId, AbortHandle>,
    /// The lane's shards that wait to be started.
    waiting: BTreeMap<ShardId, Shard>,
    /// Shards that hold the watermark: at their ends until what follows them is read, and before another process hands them over.
    held: BTreeSet<ShardId>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<FromShard>,
    receiver: mpsc::Receiver<FromShard>,
    control: mpsc::UnboundedReceiver<Control>,
    notes: mpsc::UnboundedSender<Note>,
    /// Ends of shards that are told once what came before is in the engine's hands.
    ended: Vec<Note>,
    /// Shards that are gone from the stream, and how far they were read: still to be told.
    lost: Vec<(ShardId, Position)>,
    closing: Arc<Closing>,
}

impl Lane {
    /// A lane that goes on at `offset` as its coordinator says.
    pub(crate) fn new(
        context: Arc<ReadContext>,
        offset: LaneOffset,
        control: mpsc::UnboundedReceiver<Control>,
        notes: mpsc::UnboundedSender<Note>,
        closing: Arc<Closing>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_PIECES);
        Self {
            context,
            offset,
            reading: HashMap::new(),
            waiting: BTreeMap::new(),
            held: BTreeSet::new(),
            tasks: JoinSet::new(),
            sender,
            receiver,
            control,
            notes,
            ended: Vec::new(),
            lost: Vec::new(),
            closing,
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Add(shard, position, read_until) => {
                self.offset.parked.remove(&shard.id);
                // What this process has read itself it does not read again, whatever another one has left of it.
                let own = [self.offset.shards.remove(&shard.id), self.offset.left.remove(&shard.id)];
                let own: Vec<_> = own.into_iter().flatten().collect();
                let position = own.iter().cloned().fold(position, Position::or_further);
                self.keep_read_until(&shard.id, &own, &position, read_until);
                self.offset.shards.insert(shard.id.clone(), position);
                self.waiting.insert(shard.id.clone(), shard);
            }
            Command::Start(id) => {
                self.held.remove(&id);
                let Some(shard) = self.waiting.remove(&id) else { return };
                let Some(position) = self.offset.shards.get(&id).cloned() else { return };
                let read_until = self.offset.read_until.get(&id).copied();
                let reader = ShardReader::new(Arc::clone(&self.context), &shard, position, read_until, self.sender.clone());
                self.reading.insert(id, self.tasks.spawn(reader.run()));
            }
            Command::Park(id) => {
                self.stop(&id);
                if self.offset.shards.contains_key(&id) {
                    self.offset.parked.insert(id);
                }
            }
            Command::Remove(id) => {
                self.stop(&id);
                self.held.remove(&id);
                self.offset.parked.remove(&id);
                if let Some(place @ Position::After { .. }) = self.offset.shards.remove(&id) {
                    self.offset.left.insert(id.clone(), place);
                }
                if !self.offset.left.contains_key(&id) {
                    self.offset.read_until.remove(&id);
                }
            }
            Command::Skip(id) => {
                self.stop(&id);
                if !self.is_lost(&id) {
                    self.finish(id);
                }
            }
            Command::Hold(id) => drop(self.held.insert(id)),
            Command::Release(id) => drop(self.held.remove(&id)),
            Command::Lose(id, place) => {
                self.stop(&id);
                // Its place stays until it is told: a checkpoint before that must not say that it is.
                let place = place.or_else(|| self.offset.shards.get(&id).cloned());
                self.lost.extend(place.map(|place| (id, place)));
            }
            Command::Forget(id) => {
                self.stop(&id);
                self.held.remove(&id);
                if !self.is_lost(&id) {
                    self.remove_place(&id);
                    self.offset.finished.remove(&id);
                }
            }
        }
    }

    /// True if a shard is lost, which is still to be told.
    fn is_lost(&self, shard: &ShardId) -> bool {
        self.lost.iter().any(|(lost, _)| lost == shard)
    }

    /// Nothing of a shard is to be read any more.
    fn finish(&mut self, shard: ShardId) {
        self.remove_place(&shard);
        self.offset.finished.insert(shard);
    }

    /// The offset no longer says how far a shard was read.
    fn remove_place(&mut self, shard: &ShardId) {
        self.offset.shards.remove(shard);
        self.offset.left.remove(shard);
        self.offset.parked.remove(shard);
        self.offset.read_until.remove(shard);
    }

    /// Up to when a shard was read is known here if this process goes on at one of its `own` places; else another one may say it.
    fn keep_read_until(&mut self, shard: &ShardId, own: &[Position], position: &Position, others: Option<EventTime>) {
        match own.iter().find(|own| *own == position || own.again() == *position) {
            // Nothing has come since the job started.
            Some(Position::Latest(time)) => drop(self.offset.read_until.entry(shard.clone()).or_insert(*time)),
            Some(_) => {}
            None => {
                self.offset.read_until.remove(shard);
                self.offset.read_until.extend(others.map(|time| (shard.clone(), time)));
            }
        }
    }

    fn stop(&mut self, shard: &ShardId) {
        self.waiting.remove(shard);
        if let Some(task) = self.reading.remove(shard) {
            task.abort();
            self.context.stats.remove(shard);
        }
    }

    /// The shards whose rows are waited for.
    fn parts(&self) -> Read {
        let open: BTreeSet<_> = self.reading.keys().chain(&self.held).cloned().collect();
        Read::Parts { open: open.into_iter().collect(), offset: self.offset.to_offset() }
    }

    /// What a shard sent, if it is for the engine.
    fn take(&mut self, from: FromShard) -> Result<Option<Read>> {
        let FromShard { shard, reader, what } = from;
        if self.reading.get(&shard).is_none_or(|task| task.id() != reader) {
            // It was taken away meanwhile, and is read from its last place on, here or by another process.
            return Ok(None);
        }
        match what {
            Event::Records(mut records, position, permit) => {
                drop(permit);
                if let Some(time) = records.arrival_time {
                    self.read_until(&shard, time);
                }
                self.move_to(shard, position);
                let is_empty = records.envelopes.as_ref().is_none_or(|envelopes| envelopes.ends.is_empty());
                if is_empty && records.rejected.is_empty() {
                    return Ok(None);
                }
                records.offset = self.offset.to_offset();
                Ok(Some(Read::Records(records)))
            }
            Event::Ended(children) => {
                self.ended.push(Note::Ended { shard: shard.clone(), children });
                self.apply(Command::Skip(shard.clone()));
                self.apply(Command::Hold(shard));
                Ok(Some(self.parts()))
            }
            Event::CaughtUp(time) => {
                self.read_until(&shard, time);
                Ok(Some(self.parts()))
            }
            Event::Expired(message, time) => {
                self.read_until(&shard, time);
                Ok(Some(Read::Records(self.lost_records(&shard, message))))
            }
            Event::Missing(error) => {
                let _ = self.notes.send(Note::Missing { shard, error });
                Ok(None)
            }
            Event::NoConsumer => {
                let _ = self.notes.send(Note::NoConsumer);
                Ok(None)
            }
            Event::Failed(error) => Err(error),
        }
    }

    /// An error row for a shard that was trimmed before it was read to its end.
    fn tell_lost(&self, shard: &ShardId, place: &Position) -> Records {
        let read = match place {
            Position::After { after, .. } => format!("what came behind record {after} was not read"),
            _ => "nothing of it was read".to_owned(),
        };
        self.lost_records(shard, format!("the stream no longer has this shard: {read}"))
    }

    fn lost_records(&self, shard: &ShardId, message: String) -> Records {
        Records {
            bytes: Bytes::new(),
            origin: format!("stream \"{}\", {shard}", self.context.stream).into(),
            position: 0,
            rejected: vec![Rejected::new(&[], 0, RejectReason::Lost, message)],
            arrival_time: None,
            part: None,
            envelopes: None,
            offset: self.offset.to_offset(),
        }
    }

    fn read_until(&mut self, shard: &ShardId, time: EventTime) {
        match self.offset.read_until.get_mut(shard) {
            Some(until) => *until = time.max(*until),
            None => drop(self.offset.read_until.insert(shard.clone(), time)),
        }
    }

    fn move_to(&mut self, shard: ShardId, position: Position) {
        self.offset.shards.insert(shard, position);
    }
}

#[async_trait]
impl SplitReader for Lane {
    // Safe to cancel: both channels are, and what was received is handed over before the next wait.
    async fn next(&mut self) -> Result<Read> {
        for note in self.ended.drain(..) {
            let _ = self.notes.send(note);
        }
        if let Some((shard, place)) = self.lost.pop() {
            // A checkpoint with what is told is one at its end.
            self.finish(shard.clone());
            return Ok(Read::Records(self.tell_lost(&shard, &place)));
        }
        loop {
            tokio::select! {
                biased;
                control = self.control.recv() => match control {
                    Some(Control::Plan(commands)) => {
                        commands.into_iter().for_each(|command| self.apply(command));
                        return Ok(self.parts());
                    }
                    Some(Control::Since(since)) => self.offset.since = since,
                    Some(Control::Fail(error)) => return Err(error),
                    None => return Err(Error::internal("the shards of a stream are no longer looked after")),
                },
                // The lane holds a sender itself, so there always is one.
                Some(from) = self.receiver.recv() => {
                    if let Some(read) = self.take(from)? {
                        return Ok(read);
                    }
                }
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        return Err(Error::internal("the reader of a shard died").with_cause(error));
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        self.tasks.shutdown().await;
        self.reading.clear();
        self.closing.lane_closed(&self.context).await
    }
}
