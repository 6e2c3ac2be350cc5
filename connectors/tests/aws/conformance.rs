//! The rules that every source and every sink keeps to, with real servers, through the engine: restart, backpressure, bad
//! records, a service that goes down and comes back, graceful stop, nothing lost and nothing doubled.
//!
//! docs/connectors/README.md lists for each connector which test shows which rule.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter};
use kinesql_engine::{CheckpointOptions, Engine, Job, Result};
use tempfile::TempDir;
use tokio::sync::watch;

use super::switch::Switch;

mod feeds;
mod sinks;

/// What fills a source, without end.
#[async_trait]
pub trait Feed: Send {
    /// Options of the source.
    fn options(&self) -> String;

    /// Sends records with these ids: `{"ID": 7, "NAME": "xx…"}`, with a name of `bytes`.
    async fn put(&mut self, ids: Range<usize>, bytes: usize);

    /// Sends a record that is no JSON.
    async fn put_bad(&mut self);

    /// What stands between the source and its service; None if nothing can.
    fn switch(&self) -> Option<&Switch> {
        None
    }
}

fn record(id: usize, bytes: usize) -> String {
    format!("{{\"ID\":{id},\"NAME\":\"{}\"}}", "x".repeat(bytes))
}

/// A folder with the rows, the errors and the checkpoints of a job.
struct Run {
    folder: TempDir,
    sql: String,
}

impl Run {
    fn new(feed: &dyn Feed) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let sql = format!(
            "CREATE SOURCE \"IN\" (\"ID\" INTEGER, \"NAME\" VARCHAR) WITH ({});
             CREATE STREAM \"IDS\" (\"ID\" INTEGER);
             CREATE PUMP \"P\" AS INSERT INTO \"IDS\" SELECT STREAM \"ID\" FROM \"IN\";
             CREATE SINK \"S\" FROM \"IDS\" WITH (connector = 'file', path = '{}');
             CREATE SINK \"E\" FROM error_stream WITH (connector = 'file', path = '{}');",
            feed.options(),
            path("out.csv"),
            path("errors.jsonl")
        );
        Self { folder, sql }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the job, from its newest checkpoint if there is one.
    async fn start(&self) -> Job {
        super::job::use_test_credentials();
        // When the test says so.
        let interval = Duration::from_secs(3_600);
        let checkpoints = CheckpointOptions { interval, ..CheckpointOptions::new(self.path("checkpoints")) };
        let builder = Engine::builder().checkpoints(checkpoints).connectors(kinesql_connectors::register_all);
        builder.build().expect("an engine").run_script(&self.sql).await.expect("started")
    }

    fn ids(&self) -> Vec<usize> {
        whole_lines(&self.path("out.csv")).iter().map(|line| line.parse().expect("a number")).collect()
    }

    /// Waits until the job has written so many rows.
    async fn rows(&self, job: &Job, rows: usize) {
        while self.ids().len() < rows {
            job.checkpoint().await.expect("running");
            tokio::task::yield_now().await;
        }
    }

    fn assert_once(&self, ids: Range<usize>) {
        let mut found = self.ids();
        found.sort_unstable();
        assert!(found == ids.clone().collect::<Vec<_>>(), "{} rows, each of {ids:?} once", found.len());
    }
}

/// A last line may be half written while a job runs.
fn whole_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Rows that the source has handed over in this run.
fn rows_read(job: &Job) -> u64 {
    job.metrics().sources[0].rows.get()
}

/// A job dies with rows that no checkpoint covers; the next one reads them again, and none of those before.
async fn a_restart_loses_and_doubles_nothing(mut feed: impl Feed) {
    let run = Run::new(&feed);
    let job = run.start().await;
    feed.put(0..100, 10).await;
    run.rows(&job, 100).await;
    job.checkpoint().await.expect("taken");
    feed.put(100..150, 10).await;
    while rows_read(&job) < 150 {
        job.sync().await.expect("running");
        tokio::task::yield_now().await;
    }
    job.abort();
    // It says that it was aborted.
    let _ = job.wait().await;
    drop(job);
    let job = run.start().await;
    feed.put(150..200, 10).await;
    run.rows(&job, 200).await;
    assert_eq!(rows_read(&job), 100, "what the checkpoint covers is not read again");
    job.stop();
    job.wait().await.expect("stopped");
    run.assert_once(0..200);
}

/// A job that is stopped while records come ends with a checkpoint; the next one goes on behind it.
async fn a_graceful_stop_loses_and_doubles_nothing(mut feed: impl Feed) {
    let run = Run::new(&feed);
    for stop in 0..3 {
        let job = run.start().await;
        feed.put(stop * 100..stop * 100 + 100, 10).await;
        // Some of them are read, some are on their way.
        run.rows(&job, stop * 100 + 1).await;
        job.stop();
        job.wait().await.expect("stopped");
    }
    let job = run.start().await;
    run.rows(&job, 300).await;
    job.stop();
    job.wait().await.expect("stopped");
    run.assert_once(0..300);
}

/// A record that is none goes to error_stream, and those around it are rows.
async fn a_bad_record_costs_no_other(mut feed: impl Feed) {
    let run = Run::new(&feed);
    let job = run.start().await;
    feed.put(0..10, 10).await;
    feed.put_bad().await;
    feed.put(10..20, 10).await;
    run.rows(&job, 20).await;
    while whole_lines(&run.path("errors.jsonl")).is_empty() {
        job.checkpoint().await.expect("running");
    }
    job.stop();
    job.wait().await.expect("stopped");
    run.assert_once(0..20);
    let errors = whole_lines(&run.path("errors.jsonl"));
    assert!(errors.len() == 1 && errors[0].contains("\"ERROR_NAME\":\"PARSE_ERROR\""), "{errors:?}");
}

/// While the service is down the job waits; when it is back it goes on.
async fn a_service_that_goes_down_and_comes_back_costs_nothing(mut feed: impl Feed) {
    let run = Run::new(&feed);
    let job = run.start().await;
    feed.put(0..50, 10).await;
    run.rows(&job, 50).await;
    feed.switch().expect("a service that can go down").set_down(true);
    feed.put(50..100, 10).await;
    let switch = feed.switch().expect("a service that can go down");
    while switch.refused() < 3 {
        job.sync().await.expect("it goes on trying");
        tokio::task::yield_now().await;
    }
    switch.set_down(false);
    run.rows(&job, 100).await;
    job.stop();
    job.wait().await.expect("stopped");
    run.assert_once(0..100);
}

/// While the sink takes nothing the source reads at most `most` bytes ahead of it.
async fn a_sink_that_takes_nothing_stops_the_source(mut feed: impl Feed, records: usize, bytes: usize, most: u64) {
    let gate = Gate::closed();
    let builder = Engine::builder().connectors(|registry| {
        kinesql_connectors::register_all(registry);
        registry.register_sink(Arc::new(gate.clone()));
    });
    super::job::use_test_credentials();
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"ID\" INTEGER, \"NAME\" VARCHAR) WITH ({});
         CREATE SINK \"S\" FROM \"IN\" WITH (connector = 'gate');",
        feed.options()
    );
    let job = builder.build().expect("an engine").run_script(&sql).await.expect("started");
    feed.put(0..records, bytes).await;
    let read = || job.metrics().sources[0].bytes.get();
    let mut last = 0;
    loop {
        settle().await;
        match read() {
            now if now > 0 && now == last => break,
            now => last = now,
        }
    }
    assert!(last < most, "{last} bytes were read while the sink took nothing, of {}", records * bytes);
    assert!((records * bytes) as u64 > 2 * most, "the test has more than that");
    gate.open.send_replace(true);
    while rows_read(&job) < records as u64 {
        job.sync().await.expect("running");
        tokio::task::yield_now().await;
    }
    job.stop();
    job.wait().await.expect("stopped");
    assert_eq!(*gate.rows.borrow(), records, "everything is there once the sink takes it");
}

/// Time in which a source that may read on has read something.
#[allow(clippy::disallowed_methods, reason = "files and servers have no clock of the test")]
async fn settle() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

/// A sink that takes nothing until it is opened.
#[derive(Debug, Clone)]
struct Gate {
    open: Arc<watch::Sender<bool>>,
    rows: Arc<watch::Sender<usize>>,
}

impl Gate {
    fn closed() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), rows: Arc::new(watch::Sender::new(0)) }
    }
}

impl SinkFactory for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn formats(&self) -> &'static [&'static str] {
        &[]
    }

    fn create(&self, _definition: &SinkDefinition, _options: &Options) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Sink for Gate {
    async fn open(&self, _state: Option<&SinkState>, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl SinkWriter for Gate {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.open.subscribe().wait_for(|open| *open).await.expect("the test holds it");
        self.rows.send_modify(|rows| *rows += batch.num_rows());
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
        Ok(SinkState(serde_json::Value::Null))
    }

    async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A test of the same name for each rule. `$feed` makes one, None where its server cannot be started.
macro_rules! rules {
    ($source:ident, $feed:expr; $($rule:ident $(($($argument:expr),*))?),*) => {
        mod $source {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let Some(feed) = $feed(stringify!($rule)).await else { return };
                    super::$rule(feed $($(, $argument)*)?).await;
                }
            )*
        }
    };
}

rules!(
    file, super::feeds::file;
    a_restart_loses_and_doubles_nothing,
    a_graceful_stop_loses_and_doubles_nothing,
    a_bad_record_costs_no_other,
    a_sink_that_takes_nothing_stops_the_source(1_000, 60_000, 25 << 20)
);
rules!(
    s3, super::feeds::s3;
    a_restart_loses_and_doubles_nothing,
    a_graceful_stop_loses_and_doubles_nothing,
    a_bad_record_costs_no_other,
    a_service_that_goes_down_and_comes_back_costs_nothing,
    a_sink_that_takes_nothing_stops_the_source(1_000, 60_000, 25 << 20)
);
rules!(
    kinesis, super::feeds::kinesis;
    a_restart_loses_and_doubles_nothing,
    a_graceful_stop_loses_and_doubles_nothing,
    a_bad_record_costs_no_other,
    a_service_that_goes_down_and_comes_back_costs_nothing
);
rules!(
    fan_out, super::feeds::fan_out;
    a_restart_loses_and_doubles_nothing,
    a_graceful_stop_loses_and_doubles_nothing,
    a_bad_record_costs_no_other,
    a_service_that_goes_down_and_comes_back_costs_nothing
);
rules!(
    firehose, super::feeds::firehose;
    a_restart_loses_and_doubles_nothing,
    a_graceful_stop_loses_and_doubles_nothing,
    a_bad_record_costs_no_other
);
rules!(
    preprocessed, super::feeds::preprocessed;
    a_restart_loses_and_doubles_nothing,
    a_graceful_stop_loses_and_doubles_nothing,
    a_service_that_goes_down_and_comes_back_costs_nothing
);
