//! The coordinator: starts epochs, collects what every task saved, and makes a checkpoint complete.
//!
//! 1. It sends a barrier to every source task; one epoch is under way at a time.
//! 2. Each task, when the barrier has reached it on all inputs, reports its state and passes the barrier on.
//! 3. When all have reported, the states and then the manifest are written: the epoch is complete.
//! 4. The sinks are told to commit it, the sources that it is complete.
//!
//! A task that ends reports its final state, which stands for it in all later epochs. Barriers that save nothing are
//! answered the same way: they show that everything before them has been processed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::manifest::{FORMAT_VERSION, Manifest, SplitPosition};
use super::store::CheckpointStore;
use super::{Epoch, OperatorState};
use crate::connector::{SinkState, Source};
use crate::error::{Error, Result};
use crate::runtime::channel::Barrier;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::table::Table;

/// A task, by its place in the job.
pub type TaskId = usize;

/// What the coordinator tells a source task.
#[derive(Debug, Clone, Copy)]
pub enum SourceCommand {
    /// Send this barrier.
    Barrier(Barrier),
    /// Send this barrier if there is one, then end.
    Stop(Option<Barrier>),
}

/// What one task saved.
#[derive(Debug, Default, Clone)]
pub struct TaskState {
    /// Operators with state, by name.
    pub operators: Vec<(String, OperatorState)>,
    /// Of a source task: source, split and how far it was read.
    pub source: Option<(String, String, SplitPosition)>,
    /// Of a sink task: the sink and what it needs to continue.
    pub sink: Option<(String, SinkState)>,
}

/// What a task tells the coordinator.
#[derive(Debug)]
pub enum Report {
    /// The barrier of this epoch has passed the task.
    Passed(TaskId, Epoch, TaskState),
    /// The task has ended; this is its final state.
    Finished(TaskId, TaskState),
}

/// What the owner of the job asks for.
#[derive(Debug)]
pub enum Request {
    /// An epoch; `save` makes it a checkpoint. Answered when it is complete.
    Epoch {
        /// True for a checkpoint, false to wait until everything so far is processed.
        save: bool,
        /// Gets the epoch.
        done: oneshot::Sender<Result<Epoch>>,
    },
    /// Stop the sources, with a last checkpoint if the job takes any.
    Stop,
}

/// How a job takes checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointPlan {
    /// Where they are kept.
    pub store: CheckpointStore,
    /// Time between two.
    pub interval: Duration,
    /// How many are kept.
    pub retain: usize,
    /// The definitions that go into the manifest.
    pub definitions: BTreeMap<String, String>,
    /// The reference tables whose versions go into the manifest.
    pub tables: Vec<Arc<Table>>,
}

/// See the module's documentation.
pub struct Coordinator {
    /// None: the job takes no checkpoints.
    pub plan: Option<CheckpointPlan>,
    /// The newest epoch of an earlier run, 0 if there is none.
    pub last_epoch: Epoch,
    /// All tasks.
    pub tasks: BTreeSet<TaskId>,
    /// The source tasks.
    pub sources: BTreeMap<TaskId, mpsc::UnboundedSender<SourceCommand>>,
    /// The connectors of the sources, by name: told of complete checkpoints.
    pub connectors: BTreeMap<String, Arc<dyn Source>>,
    /// The sink tasks: told to commit.
    pub sinks: BTreeMap<TaskId, mpsc::UnboundedSender<Epoch>>,
    /// Where the tasks report.
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// Where the owner asks.
    pub requests: mpsc::UnboundedReceiver<Request>,
    /// Decides when the next checkpoint is due.
    pub clock: Arc<dyn Clock>,
    /// Gets the newest epoch.
    pub metrics: Arc<Metrics>,
    /// Becomes true when the last checkpoint is complete: readers close.
    pub job_complete: watch::Sender<bool>,
}

/// An epoch under way.
struct Pending {
    barrier: Barrier,
    passed: BTreeMap<TaskId, TaskState>,
    done: Vec<oneshot::Sender<Result<Epoch>>>,
}

impl Coordinator {
    /// Runs until all tasks have ended.
    pub async fn run(mut self) -> Result<()> {
        let mut finished: BTreeMap<TaskId, TaskState> = BTreeMap::new();
        let mut pending: Option<Pending> = None;
        let mut queued: Vec<(bool, oneshot::Sender<Result<Epoch>>)> = Vec::new();
        let (mut stopping, mut stopped) = (false, false);
        let mut owner_gone = false;
        let mut next_epoch = self.last_epoch + 1;
        let mut due = self.next_due();
        while finished.len() < self.tasks.len() {
            let timer = due.filter(|_| pending.is_none() && !stopping);
            tokio::select! {
                report = self.reports.recv() => match report {
                    // The senders live in the tasks; without tasks there is nothing left to do.
                    None => return Ok(()),
                    Some(Report::Finished(task, state)) => drop(finished.insert(task, state)),
                    Some(Report::Passed(task, epoch, state)) => {
                        if let Some(pending) = pending.as_mut().filter(|pending| pending.barrier.epoch == epoch) {
                            pending.passed.insert(task, state);
                        }
                    }
                },
                request = self.requests.recv(), if !owner_gone => match request {
                    None => owner_gone = true,
                    Some(Request::Epoch { save, done }) => queued.push((save && self.plan.is_some(), done)),
                    Some(Request::Stop) if stopping => {}
                    Some(Request::Stop) => stopping = true,
                },
                () = sleep_until(&self.clock, timer) => {
                    due = None;
                    queued.push((true, oneshot::channel().0));
                }
            }
            // A stop goes out once no epoch is under way, with an epoch of its own.
            if let Some(complete) = pending
                .take_if(|pending| self.tasks.iter().all(|task| pending.passed.contains_key(task) || finished.contains_key(task)))
            {
                self.complete(complete, &finished).await?;
                due = self.next_due();
            }
            if pending.is_none() && !queued.is_empty() {
                let save = queued.iter().any(|(save, _)| *save);
                let barrier = Barrier { epoch: next_epoch, save };
                // A sink counts checkpoints: what saves nothing takes no number from them.
                next_epoch += u64::from(save);
                let done = queued.drain(..).map(|(_, done)| done).collect();
                pending = Some(Pending { barrier, passed: BTreeMap::new(), done });
                self.tell_sources(SourceCommand::Barrier(barrier));
            } else if pending.is_none() && stopping && !self.sources.is_empty() {
                let barrier = self.plan.is_some().then_some(Barrier { epoch: next_epoch, save: true });
                next_epoch += 1;
                pending = barrier.map(|barrier| Pending { barrier, passed: BTreeMap::new(), done: Vec::new() });
                self.tell_sources(SourceCommand::Stop(barrier));
                self.sources.clear();
                stopped = true;
            }
        }
        // The end of the data is a last checkpoint: the sinks commit what they prepared, and a restart finds nothing to do.
        let mut saved = stopped;
        if let Some(pending) = pending {
            saved |= pending.barrier.save;
            self.complete(pending, &finished).await?;
        }
        if !saved {
            let barrier = Barrier { epoch: next_epoch, save: self.plan.is_some() };
            self.complete(Pending { barrier, passed: BTreeMap::new(), done: Vec::new() }, &finished).await?;
        }
        for (_, done) in queued {
            let _ = done.send(Ok(next_epoch - 1));
        }
        self.job_complete.send_replace(true);
        Ok(())
    }

    fn next_due(&self) -> Option<i64> {
        self.plan.as_ref().map(|plan| self.clock.now().saturating_add(plan.interval.as_millis() as i64))
    }

    fn tell_sources(&self, command: SourceCommand) {
        for source in self.sources.values() {
            // A source that has ended does not listen any more: its final report stands for it.
            let _ = source.send(command);
        }
    }

    async fn complete(&mut self, pending: Pending, finished: &BTreeMap<TaskId, TaskState>) -> Result<()> {
        let Pending { barrier: Barrier { epoch, save }, passed, done } = pending;
        if let (Some(plan), true) = (&self.plan, save) {
            // A task that passed the barrier and then ended counts as it was at the barrier.
            let states: Vec<_> = self.tasks.iter().filter_map(|task| passed.get(task).or_else(|| finished.get(task))).collect();
            let written = write_checkpoint(plan, epoch, states.iter().copied()).await;
            if let Err(error) = written {
                for done in done {
                    let _ = done.send(Err(error.clone()));
                }
                return Err(error);
            }
            self.metrics.epoch.store(epoch, Ordering::Relaxed);
            for (source, split, position) in states.iter().filter_map(|state| state.source.as_ref()) {
                if let (Some(source), Some(offset)) = (self.connectors.get(source), &position.offset) {
                    source.checkpointed(split, offset);
                }
            }
            for sink in self.sinks.values() {
                let _ = sink.send(epoch);
            }
            plan.store.clean(plan.retain).await;
        }
        for done in done {
            let _ = done.send(Ok(epoch));
        }
        Ok(())
    }
}

async fn write_checkpoint(plan: &CheckpointPlan, epoch: Epoch, states: impl Iterator<Item = &TaskState>) -> Result<()> {
    let definitions = plan.definitions.clone();
    let mut manifest = Manifest {
        version: FORMAT_VERSION,
        epoch,
        definitions,
        sources: BTreeMap::new(),
        sinks: BTreeMap::new(),
        states: BTreeMap::new(),
        tables: plan
            .tables
            .iter()
            .filter_map(|table| Some((table.name().to_owned(), table.contents().version.clone()?)))
            .collect(),
    };
    for state in states {
        for (name, operator) in &state.operators {
            let file = plan.store.write_state(epoch, manifest.states.len(), operator).await?;
            if manifest.states.insert(name.clone(), file).is_some() {
                return Err(Error::internal(format!("two operators are named {name}")));
            }
        }
        if let Some((source, split, position)) = &state.source {
            manifest.sources.entry(source.clone()).or_default().insert(split.clone(), position.clone());
        }
        if let Some((sink, state)) = &state.sink {
            manifest.sinks.insert(sink.clone(), state.clone());
        }
    }
    plan.store.commit(&manifest).await
}

async fn sleep_until(clock: &Arc<dyn Clock>, time: Option<i64>) {
    match time {
        Some(time) => clock.sleep_until(time).await,
        None => std::future::pending().await,
    }
}
