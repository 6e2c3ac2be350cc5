//! A running job: start, watch, checkpoint, drain, abort.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use datafusion::execution::memory_pool::MemoryPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::channel::{EventReceiver, EventSender, channel};
use super::clock::{Clock, EventTime};
use super::error_rows::ErrorReporter;
use super::graph::{Graph, StageSpec, Target, build, splits};
use super::metrics::{Metrics, SinkMetrics, SourceMetrics};
use super::row_metadata::RowMetadata;
use super::rowtime::RowtimeAssigner;
use super::sink_task::{Refusals, SinkTask};
use super::source_task::{RowDecoder, SourceTask};
use super::stage::{NEIGHBOUR_GONE, Stage, StageChain};
use crate::catalog::{Catalog, PumpEntry, Rowtime, SinkEntry, SourceEntry};
use crate::checkpoint::coordinator::{CheckpointPlan, Coordinator, Report, Request, TaskId};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::store::{CheckpointStore, FolderLock};
use crate::checkpoint::{Epoch, OperatorState};
use crate::connector::{Payload, RefusedRows, SinkContext, SourceContext};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::operator::Chain;

/// Bytes of batches that wait on one edge.
const EDGE_BYTES: usize = 4 << 20;

/// Everything a job needs besides the catalog.
pub struct JobOptions {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Counts the memory of operators.
    pub pool: Arc<dyn MemoryPool>,
    /// Splits per source where the source is free to choose, and threads of a model.
    pub parallelism: usize,
    /// Where checkpoints go, the time between two, how many are kept.
    pub checkpoints: Option<(CheckpointStore, Duration, usize)>,
}

/// A running job. Dropping it aborts it.
pub struct Job {
    requests: mpsc::UnboundedSender<Request>,
    result: watch::Receiver<Option<Result<()>>>,
    supervisor: tokio::task::JoinHandle<()>,
    metrics: Arc<Metrics>,
    /// While the job runs.
    lock: Option<Arc<FolderLock>>,
}

impl Job {
    /// Waits until all inputs have ended and everything is delivered, until [`Job::stop`] has drained the job, or until
    /// it fails. May be called again.
    pub async fn wait(&self) -> Result<()> {
        self.ended().await
    }

    /// [`Job::wait`] as a future that does not borrow the job.
    pub(crate) fn ended(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>> {
        let mut result = self.result.clone();
        Box::pin(async move {
            let ended = result.wait_for(Option::is_some).await;
            match ended.as_deref() {
                Ok(Some(result)) => result.clone(),
                // The supervisor was aborted.
                _ => Err(Error::internal("the job was aborted")),
            }
        })
    }

    /// Stops reading, processes what was read, takes a last checkpoint if the job takes any; then [`Job::wait`] returns.
    /// Open windows are kept in the checkpoint, they are not emitted.
    pub fn stop(&self) {
        let _ = self.requests.send(Request::Stop);
    }

    /// Ends the job at once; the newest complete checkpoint stays. What is being written at this moment may still be.
    pub fn abort(&self) {
        self.supervisor.abort();
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Takes a checkpoint now; returns its epoch when it is complete. In a job without checkpoints like [`Job::sync`].
    pub async fn checkpoint(&self) -> Result<Epoch> {
        self.epoch(true).await
    }

    /// Returns when everything that was read before the call has been processed and written.
    pub async fn sync(&self) -> Result<()> {
        self.epoch(false).await.map(drop)
    }

    async fn epoch(&self, save: bool) -> Result<Epoch> {
        let (done, mut answer) = oneshot::channel();
        let _ = self.requests.send(Request::Epoch { save, done });
        // A request that arrives while the coordinator ends is never looked at, and may lie in the queue for as long as the
        // job is held: then the job's own result is the answer.
        tokio::select! {
            biased;
            Ok(answer) = &mut answer => answer,
            ended = self.wait() => answer.try_recv().unwrap_or_else(|_| ended.map(|()| self.metrics.epoch.load(Ordering::Relaxed))),
        }
    }

    /// Starts `pumps` and `sinks` of `catalog`, from the newest checkpoint if there is one.
    pub(crate) async fn start(catalog: &Catalog, pumps: &[&PumpEntry], sinks: &[SinkEntry], options: JobOptions) -> Result<Job> {
        let (lock, manifest) = match &options.checkpoints {
            Some((store, ..)) => (Some(Arc::new(store.lock()?)), store.newest().await?),
            None => (None, None),
        };
        let splits = splits(catalog, pumps, sinks, manifest.as_ref(), options.parallelism).await?;
        let graph = build(catalog, pumps, sinks, &splits)?;
        let mut states = BTreeMap::new();
        if let (Some(manifest), Some((store, ..))) = (&manifest, &options.checkpoints) {
            manifest.check_definitions(&graph.definitions)?;
            for (name, file) in &manifest.states {
                states.insert(name.clone(), store.read_state(file).await?);
            }
        }
        let (launch, requests) = Launch::new(graph, manifest, states, options);
        launch.run(requests, lock).await
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.abort();
    }
}

/// The tasks of a job while they are put together.
struct Launch {
    graph: Graph,
    manifest: Option<Manifest>,
    states: BTreeMap<String, OperatorState>,
    options: JobOptions,
    metrics: Arc<Metrics>,
    coordinator: Coordinator,
    reports: mpsc::UnboundedSender<Report>,
    inputs: Vec<Vec<EventReceiver>>,
    sink_inputs: Vec<Option<EventReceiver>>,
    tasks: JoinSet<Result<()>>,
}

impl Launch {
    fn new(
        graph: Graph,
        manifest: Option<Manifest>,
        states: BTreeMap<String, OperatorState>,
        options: JobOptions,
    ) -> (Self, mpsc::UnboundedSender<Request>) {
        let (requests, request_receiver) = mpsc::unbounded_channel();
        let (reports, report_receiver) = mpsc::unbounded_channel();
        let sources = graph.stages.iter().filter_map(|stage| {
            let connector = stage.source.as_ref()?.entry.source.clone();
            Some(SourceMetrics { name: stage.name.clone(), connector: Some(connector), ..Default::default() })
        });
        let sinks = graph.sinks.iter().map(|sink| SinkMetrics {
            name: sink.name.clone(),
            connector: Some(sink.sink.clone()),
            ..Default::default()
        });
        let metrics = Arc::new(Metrics {
            sources: sources.map(Arc::new).collect(),
            sinks: sinks.map(Arc::new).collect(),
            ..Metrics::default()
        });
        let last_epoch = manifest.as_ref().map_or(0, |manifest| manifest.epoch);
        metrics.epoch.store(last_epoch, Ordering::Relaxed);
        let tables = graph.tables();
        if let Some(manifest) = &manifest {
            for table in &tables {
                manifest.tables.get(table.name()).into_iter().for_each(|version| table.compare_with(version));
            }
        }
        let plan = options.checkpoints.clone().map(|(store, interval, retain)| CheckpointPlan {
            store,
            interval,
            retain,
            definitions: graph.definitions.clone(),
            tables,
        });
        let connectors = graph.stages.iter().filter_map(|stage| {
            let source = stage.source.as_ref()?;
            Some((stage.name.clone(), source.entry.source.clone()))
        });
        let coordinator = Coordinator {
            plan,
            last_epoch,
            tasks: BTreeSet::new(),
            sources: BTreeMap::new(),
            connectors: connectors.collect(),
            sinks: BTreeMap::new(),
            reports: report_receiver,
            requests: request_receiver,
            clock: options.clock.clone(),
            metrics: metrics.clone(),
            job_complete: watch::Sender::new(false),
        };
        let inputs = graph.stages.iter().map(|_| Vec::new()).collect();
        let sink_inputs = graph.sinks.iter().map(|_| None).collect();
        let launch =
            Self { graph, manifest, states, options, metrics, coordinator, reports, inputs, sink_inputs, tasks: JoinSet::new() };
        (launch, requests)
    }

    fn next_task(&mut self) -> TaskId {
        let task = self.coordinator.tasks.len();
        self.coordinator.tasks.insert(task);
        task
    }

    /// Builds the chains of one instance of a stage, with edges to their targets.
    fn stage(&mut self, place: usize, instance: usize, error_stage: Option<usize>) -> Result<Stage> {
        let task = self.next_task();
        let mut chains = Vec::new();
        let specs = std::mem::take(&mut self.graph.stages[place].chains);
        for spec in &specs {
            let reporter = ErrorReporter::new(&spec.pump, self.options.clock.clone());
            let operators =
                spec.operators.iter().map(|operator| operator.build(&reporter, &self.options.pool, self.options.parallelism));
            let operators = operators.collect::<Result<_>>()?;
            let id = format!("{}#{instance}", spec.id);
            let mut chain = Chain::new(operators);
            for operator in 0..spec.operators.len() {
                if let Some(state) = self.states.remove(&format!("{id}/{operator}")) {
                    chain.restore(operator, state)?;
                }
            }
            let (sender, receiver) = channel(EDGE_BYTES);
            match spec.target {
                Target::Stage(target) => self.inputs[target].push(receiver),
                Target::Sink(sink) => self.sink_inputs[sink] = Some(receiver),
            }
            chains.push(StageChain { id, chain, outputs: vec![sender] });
        }
        self.graph.stages[place].chains = specs;
        let errors = error_stage.map(|stage| self.edge_to(stage));
        let late = self.graph.late.get(&place).copied().map(|stage| self.edge_to(stage));
        let (metrics, reports) = (self.metrics.clone(), self.reports.clone());
        Ok(Stage { task, chains, errors, late, metrics, reports, watermark: EventTime::MIN })
    }

    fn edge_to(&mut self, stage: usize) -> EventSender {
        let (sender, receiver) = channel(EDGE_BYTES);
        self.inputs[stage].push(receiver);
        sender
    }
}

impl Launch {
    async fn run(mut self, requests: mpsc::UnboundedSender<Request>, lock: Option<Arc<FolderLock>>) -> Result<Job> {
        let error_stage = self.graph.error_stage();
        let behind_errors = error_stage.map(|stage| self.graph.behind(stage)).unwrap_or_default();
        let error_edge = |place: usize| error_stage.filter(|_| !behind_errors[place]);

        // Readers first, so that a missing file stops the job before anything is written.
        let mut sources = Vec::new();
        let mut merges = Vec::new();
        for place in 0..self.graph.stages.len() {
            if self.graph.stages[place].source.is_none() {
                merges.push((place, self.stage(place, 0, error_edge(place))?));
                continue;
            }
            let splits = self.graph.stages[place].source.as_ref().map(|source| source.splits.clone()).unwrap_or_default();
            for (instance, split) in splits.iter().enumerate() {
                let stage = self.stage(place, instance, error_edge(place))?;
                sources.push(self.open_split(place, split, stage).await?);
            }
        }
        for sink in 0..self.graph.sinks.len() {
            let errors = self.graph.stage_of_sink(sink).and_then(error_edge);
            self.start_sink(sink, errors).await?;
        }
        for (place, stage) in merges {
            let inputs = std::mem::take(&mut self.inputs[place]);
            self.tasks.spawn(super::merge_task::run(stage, inputs, self.options.clock.clone()));
        }
        for (task, reader) in sources {
            self.tasks.spawn(super::source_task::run(task, reader));
        }
        let mut refreshers = JoinSet::new();
        for table in self.graph.tables() {
            refreshers.spawn(async move { table.keep_fresh().await });
        }
        let Launch { coordinator, mut tasks, metrics, reports, .. } = self;
        drop(reports);
        tasks.spawn(coordinator.run());
        let (result_sender, result) = watch::channel(None);
        let locked = lock.clone();
        let supervisor = tokio::spawn(async move {
            let outcome = supervise(tasks).await;
            // They never end by themselves.
            drop(refreshers);
            if let Some(lock) = locked {
                lock.release();
            }
            let _ = result_sender.send(Some(outcome));
        });
        Ok(Job { requests, result, supervisor, metrics, lock })
    }

    async fn open_split(
        &mut self,
        place: usize,
        split: &str,
        stage: Stage,
    ) -> Result<(SourceTask, Box<dyn crate::connector::SplitReader>)> {
        let StageSpec { name, source, .. } = &self.graph.stages[place];
        let source = source.as_ref().ok_or_else(|| Error::internal(format!("{name} is not a source")))?;
        let entry = &source.entry;
        let position = self.manifest.as_ref().and_then(|manifest| manifest.sources.get(name)?.get(split));
        let offset = position.and_then(|position| position.offset.clone());
        let context = SourceContext {
            clock: self.options.clock.clone(),
            format: entry.format.clone(),
            checkpointed: self.options.checkpoints.is_some(),
            metadata: source.metadata_to_read(),
            raw: false,
        };
        let opened = entry.source.open(split, offset.as_ref(), &context).await;
        let reader = opened.map_err(|error| error.about(&format!("source \"{name}\"")))?;
        let schema = SourceEntry::stream_schema(&source.columns, &source.metadata);
        let decoder = match entry.source.payload() {
            Payload::Bytes => {
                let mut decoder = format::decoder(&entry.format, source.columns.clone())?;
                decoder.limit_rows(entry.row_bytes_max);
                RowDecoder::Bytes(decoder)
            }
            Payload::Batches(payload) => {
                let indices =
                    source.columns.iter().map(|column| payload.index_of(column.field.name())).collect::<Result<_, _>>()?;
                let fields: Vec<_> = source.columns.iter().map(|column| column.field.clone()).collect();
                RowDecoder::Batches(indices, Arc::new(arrow::datatypes::Schema::new(fields)))
            }
        };
        let reporter = ErrorReporter::new("", self.options.clock.clone());
        let now = self.options.clock.now();
        let rowtime = RowtimeAssigner::new(entry.rowtime_source(&source.columns), schema, reporter.clone());
        let rowtime = match position {
            Some(position) => rowtime.restored(position, now),
            None => rowtime,
        };
        let rowtime = if stage.late.is_some() { rowtime.keeping_late_rows() } else { rowtime };
        let (commands, command_receiver) = mpsc::unbounded_channel();
        self.coordinator.sources.insert(stage.task, commands);
        let metrics = self.metrics.sources.iter().find(|metrics| metrics.name == *name).cloned().unwrap_or_default();
        metrics.watermarks.set(split, EventTime::MIN);
        let task = SourceTask {
            source: name.clone(),
            split: split.to_owned(),
            offset,
            told: self.options.checkpoints.is_none().then(|| Arc::clone(&entry.source)),
            decoder,
            metadata: RowMetadata::new(&source.metadata, entry.rowtime == Rowtime::Arrival),
            rowtime,
            reporter,
            idle_timeout: entry.idle_timeout,
            clock: self.options.clock.clone(),
            metrics,
            commands: command_receiver,
            job_complete: self.coordinator.job_complete.subscribe(),
            stage,
            last_row: now,
            idle: false,
        };
        Ok((task, reader))
    }

    /// `error_stage`: the stage of `error_stream`, if rows that the sink refuses go there.
    async fn start_sink(&mut self, place: usize, error_stage: Option<usize>) -> Result<()> {
        let SinkEntry { name, sink, .. } = self.graph.sinks[place].clone();
        let checkpointed = self.options.checkpoints.is_some();
        let clock = self.options.clock.clone();
        let refusals = Refusals {
            rows: RefusedRows::default(),
            reporter: ErrorReporter::of_sink(&name, clock.clone()),
            edge: error_stage.map(|stage| self.edge_to(stage)),
            watermark: EventTime::MIN,
            metrics: self.metrics.clone(),
        };
        let context = SinkContext { clock, checkpointed, refused: refusals.rows.clone() };
        let state = self.manifest.as_ref().and_then(|manifest| manifest.sinks.get(&name).cloned());
        let writer = sink.open(state.as_ref(), &context).await?;
        let task = self.next_task();
        let (commits, commit_receiver) = mpsc::unbounded_channel();
        self.coordinator.sinks.insert(task, commits);
        let input = self.sink_inputs[place].take().ok_or_else(|| Error::internal(format!("sink {name} has no input")))?;
        let task = SinkTask {
            task,
            sink: name,
            state,
            last_epoch: self.coordinator.last_epoch,
            checkpointed,
            input,
            commits: commit_receiver,
            reports: self.reports.clone(),
            metrics: self.metrics.sinks[place].clone(),
            refusals,
        };
        self.tasks.spawn(super::sink_task::run(task, writer));
        Ok(())
    }
}

/// Waits for all tasks. The first failure that is not only the echo of another one ends the job and is its result.
async fn supervise(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    let mut echo = None;
    while let Some(joined) = tasks.join_next().await {
        let error = match joined {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(join) if join.is_cancelled() => continue,
            Err(join) => Error::internal("a task of the job panicked").with_cause(join),
        };
        if error.kind() == ErrorKind::Internal && error.message() == NEIGHBOUR_GONE {
            echo.get_or_insert(error);
            continue;
        }
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        return Err(error);
    }
    echo.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_nobody_answers_ends_with_the_job() {
        // The receiver is alive, as when the coordinator has looked for requests for the last time.
        let (requests, _never_read) = mpsc::unbounded_channel();
        let (result_sender, result) = watch::channel(None);
        let metrics = Arc::new(Metrics::default());
        metrics.epoch.store(7, Ordering::Relaxed);
        let job = Job { requests, result, supervisor: tokio::spawn(std::future::pending()), metrics, lock: None };
        let mut checkpoint = Box::pin(job.checkpoint());
        assert!(futures::poll!(&mut checkpoint).is_pending());
        result_sender.send_replace(Some(Ok(())));
        assert_eq!(checkpoint.await.expect("the job's result"), 7);
        result_sender.send_replace(Some(Err(Error::internal("broken"))));
        assert_eq!(job.sync().await.expect_err("the job's error").message(), "broken");
    }
}
