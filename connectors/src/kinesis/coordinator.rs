//! Looks after the shards of a stream while a job reads it: lists them, gives them to the lanes, notices reshards.
//!
//! One task per job, started when the last of its lanes is opened: only then is it known which shards the checkpoint holds. The
//! stream is listed at the start, when a shard ends, when one is missing, and every `discovery_interval`. A listing that fails for
//! now is made again later; that the stream is gone fails the job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};
use rand::rngs::SmallRng;
use tokio::sync::mpsc;

use super::assignment::ShardAssignment;
use super::client::{CallError, CallResult, KinesisApi};
use super::fan_out::{consumer, find_consumer};
use super::limits::START_ATTEMPTS;
use super::millis;
use super::pace::{Backoff, random_for};
use super::position::{Position, ShardId};
use super::reader::{ReadContext, insist};
use super::shards::{Command, LaneCommand, Shard, Shards};

/// What a lane tells the coordinator.
#[derive(Debug)]
pub(crate) enum Note {
    /// A shard was handed over to its end.
    Ended {
        /// The shard.
        shard: ShardId,
        /// What follows it, if the service says so.
        children: Vec<Shard>,
    },
    /// The service does not know a shard.
    Missing {
        /// The shard.
        shard: ShardId,
        /// What it said.
        error: Error,
    },
    /// The service does not know the consumer.
    NoConsumer,
}

/// What the coordinator tells a lane.
#[derive(Debug)]
pub(crate) enum Control {
    /// Where the job started.
    Since(Position),
    /// About its shards, all at once; the first time also if it has none.
    Plan(Vec<Command>),
    /// The job fails.
    Fail(Error),
}

/// The options of a coordinator.
#[derive(Debug, Clone)]
pub(crate) struct CoordinatorOptions {
    /// Time between two listings.
    pub(crate) discovery_interval: Duration,
    /// The consumer of enhanced fan-out, by name or ARN.
    pub(crate) consumer: Option<String>,
}

/// What is done when the last lane of a job was closed gracefully.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) open_lanes: AtomicUsize,
    pub(crate) assignment: Arc<dyn ShardAssignment>,
    /// Take the consumer away, so that it is not paid for any longer.
    pub(crate) deregister: bool,
}

impl Closing {
    /// A lane was closed.
    pub(crate) async fn lane_closed(&self, context: &ReadContext) -> Result<()> {
        if self.open_lanes.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        self.assignment.release().await?;
        let consumer = context.consumer.borrow().clone();
        let Some(consumer) = consumer.filter(|_| self.deregister) else { return Ok(()) };
        insist(&context.clock, &context.stats, || async {
            match context.api.deregister_consumer(&consumer).await {
                Err(CallError::NotFound(_)) => Ok(()),
                done => done,
            }
        })
        .await
    }
}

/// All pages of `ListShards`; from the first one again if a token expires.
pub(crate) async fn list_shards(api: &dyn KinesisApi) -> CallResult<Vec<Shard>> {
    let (mut shards, mut token, mut expired) = (Vec::new(), None, 0);
    loop {
        match api.list_shards(token.as_deref()).await {
            Ok(page) => {
                shards.extend(page.shards);
                match page.next {
                    Some(next) => token = Some(next),
                    None => return Ok(shards),
                }
            }
            Err(CallError::Expired) if expired < START_ATTEMPTS => {
                expired += 1;
                shards.clear();
                token = None;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The coordinator of one job.
pub(crate) struct Coordinator {
    pub(crate) context: Arc<ReadContext>,
    pub(crate) assignment: Arc<dyn ShardAssignment>,
    pub(crate) options: CoordinatorOptions,
    pub(crate) shards: Shards,
    pub(crate) lanes: Vec<mpsc::UnboundedSender<Control>>,
    pub(crate) notes: mpsc::UnboundedReceiver<Note>,
}

/// When something is next to be done.
struct Schedule {
    listing: EventTime,
    poll: Option<EventTime>,
    /// Waits between listings that failed, or that did not show yet what follows a shard.
    backoff: Backoff,
}

impl Coordinator {
    /// Runs until all lanes are gone.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.look_after().await {
            for lane in &self.lanes {
                let _ = lane.send(Control::Fail(error.clone()));
            }
        }
    }

    async fn look_after(&mut self) -> Result<()> {
        let context = Arc::clone(&self.context);
        let (clock, stats) = (&context.clock, &context.stats);
        let listed = insist(clock, stats, || list_shards(context.api.as_ref())).await?;
        stats.remove("");
        self.shards.listed(listed)?;
        if let Some(name) = self.options.consumer.clone() {
            context.consumer.send_replace(Some(consumer(context.api.as_ref(), clock, stats, &name).await?));
        }
        for lane in &self.lanes {
            let _ = lane.send(Control::Since(self.shards.since().clone()));
        }
        let mut random = random_for(&context.stream);
        let mut schedule = Schedule { listing: 0, poll: None, backoff: Backoff::default() };
        self.plan_listing(&mut schedule, &mut random);
        self.assign(Vec::new(), &mut schedule).await?;
        loop {
            let wake = schedule.poll.map_or(schedule.listing, |poll| poll.min(schedule.listing));
            tokio::select! {
                biased;
                note = self.notes.recv() => match note {
                    None => return Ok(()),
                    Some(note) => self.noted(note, &mut schedule).await?,
                },
                () = clock.sleep_until(wake) => {
                    if clock.now() >= schedule.listing {
                        self.list(&mut schedule, &mut random).await?;
                    }
                    self.assign(Vec::new(), &mut schedule).await?;
                }
            }
        }
    }

    /// When the stream is listed again after it was.
    fn plan_listing(&self, schedule: &mut Schedule, random: &mut SmallRng) {
        let interval = self.options.discovery_interval;
        let wait = if self.shards.lacks_children() {
            // What follows a shard may be listed a moment after the shard ended.
            schedule.backoff.next(random).min(interval)
        } else {
            schedule.backoff.reset();
            interval
        };
        schedule.listing = self.context.clock.now() + millis(wait);
    }

    /// Lists the stream's shards, or plans to do it again.
    async fn list(&mut self, schedule: &mut Schedule, random: &mut SmallRng) -> Result<()> {
        let context = Arc::clone(&self.context);
        let now = context.clock.now();
        let stream = ShardId::from("");
        match list_shards(context.api.as_ref()).await {
            Ok(shards) => {
                self.shards.listed(shards)?;
                context.stats.remove("");
                self.plan_listing(schedule, random);
                return Ok(());
            }
            Err(CallError::NotFound(_)) => return Err(self.deleted()),
            Err(CallError::Fatal(error) | CallError::Future(error)) => return Err(error),
            Err(CallError::Throttled(error)) => context.stats.shard(&stream).throttled(now, &error),
            Err(error @ (CallError::Transient(_) | CallError::InUse(_) | CallError::Expired)) => {
                context.stats.shard(&stream).failed(now, error.message());
            }
        }
        schedule.listing = now + millis(schedule.backoff.next(random));
        Ok(())
    }

    fn deleted(&self) -> Error {
        Error::config(format!("stream \"{}\" was deleted while it was read", self.context.stream))
            .with_hint("Create it again and start the job without its checkpoint.")
    }

    /// Asks which shards this process owns, and tells the lanes, after what they are told anyway.
    async fn assign(&mut self, first: Vec<LaneCommand>, schedule: &mut Schedule) -> Result<()> {
        let assigned = self.assignment.poll(&self.shards.all()).await?;
        let now = self.context.clock.now();
        schedule.poll = self.assignment.poll_interval().map(|interval| now + millis(interval));
        let is_first = !self.shards.is_planned();
        let mut plans = vec![Vec::new(); self.lanes.len()];
        for (lane, command) in first.into_iter().chain(self.shards.plan(&assigned)) {
            plans[lane].push(command);
        }
        for (lane, plan) in self.lanes.iter().zip(plans) {
            // A lane that is told that it has no shard says so, and holds no other one back.
            if is_first || !plan.is_empty() {
                let _ = lane.send(Control::Plan(plan));
            }
        }
        Ok(())
    }

    async fn noted(&mut self, note: Note, schedule: &mut Schedule) -> Result<()> {
        let context = Arc::clone(&self.context);
        match note {
            Note::Ended { shard, children } => {
                self.shards.ended(&shard);
                self.shards.found(children);
                schedule.listing = context.clock.now();
                self.assign(Vec::new(), schedule).await
            }
            Note::Missing { shard, error } => match list_shards(context.api.as_ref()).await {
                Ok(listed) => {
                    self.shards.listed(listed)?;
                    if !self.shards.is_listed(&shard) {
                        // It was trimmed, with whatever was not read of it.
                        let commands = self.shards.trimmed(&shard);
                        return self.assign(commands, schedule).await;
                    }
                    Ok(())
                }
                Err(CallError::NotFound(_)) => Err(self.deleted()),
                Err(CallError::Fatal(_)) => Err(error),
                // It may be there; its reader asks again.
                Err(_) => Ok(()),
            },
            Note::NoConsumer => {
                let Some(name) = self.options.consumer.clone() else { return Ok(()) };
                match find_consumer(context.api.as_ref(), &name).await {
                    Ok(Some(arn)) => {
                        context.consumer.send_if_modified(|known| known.replace(arn.clone()).as_ref() != Some(&arn));
                        Ok(())
                    }
                    Err(error @ (CallError::NotFound(_) | CallError::Fatal(_))) => {
                        // The reader's own note about the shard says more, if it is the stream that is gone.
                        match list_shards(context.api.as_ref()).await {
                            Err(CallError::NotFound(_)) => Err(self.deleted()),
                            _ => Err(error.into_error()),
                        }
                    }
                    // The reader, which counts its own failures, asks again.
                    Ok(None) | Err(_) => Ok(()),
                }
            }
        }
    }
}
