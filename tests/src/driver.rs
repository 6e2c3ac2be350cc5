//! An engine under test whose time, rows and restarts a test decides.
//!
//! SQL statements build the application; the first directive starts it. Directives:
//!
//! | Directive | Effect |
//! | --- | --- |
//! | `\feed S` and lines of CSV | appends the rows to the memory source S, one batch |
//! | `\watermark S 2024-01-01 00:01:00` | no earlier row follows on S |
//! | `\clock 2024-01-01 00:01:00` | sets the clock |
//! | `\end S` | ends the source S |
//! | `\read S` | the rows that the memory sink S took since it was last read |
//! | `\evaluate S` and expressions, one a line | computes each of them over the rows of the source S; before the start |
//! | `\values S` | what each of them gave, row by row, or the error of the row |
//! | `\types S` | the type of each of them |
//!
//! After each directive the driver waits until everything has been processed. In [`Mode::Restore`] it then takes a
//! checkpoint, throws the engine away and starts a new one from the checkpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use futures::FutureExt;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::connector::{Payload, Source};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::format::{self, CsvOptions, DecodeColumn, FormatSpec};
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::{CheckpointOptions, Engine, Job};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};

use crate::evaluate::Evaluation;

/// Far more than the slowest step takes on a busy machine.
const STEP_LIMIT: Duration = Duration::from_secs(180);

/// How a file is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// From start to end, sources in one split.
    Straight,
    /// Stopped and restored from a checkpoint after every directive.
    Restore,
    /// Sources in four splits.
    Parallel,
}

/// What goes wrong in a step.
#[derive(Debug, Clone)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<kinesql_engine::Error> for Failure {
    fn from(error: kinesql_engine::Error) -> Self {
        Failure(error.to_string())
    }
}

/// An application under test.
pub struct Driver {
    mode: Mode,
    clock: Arc<ManualClock>,
    memory: MemoryConnector,
    checkpoints: PathBuf,
    _folder: tempfile::TempDir,
    statements: Vec<String>,
    engine: Engine,
    job: Option<Job>,
    /// Pieces that each source had handed over when the job was started.
    pieces_before: BTreeMap<String, u64>,
    read: BTreeMap<String, usize>,
    evaluations: BTreeMap<String, Evaluation>,
}

impl Driver {
    /// An empty application; the clock shows 2024-01-01 00:00:00.
    pub fn new(mode: Mode) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(|error| Failure(error.to_string()))?;
        let memory = MemoryConnector::with_splits(if mode == Mode::Parallel { 4 } else { 1 });
        let clock = ManualClock::starting_at(1_704_067_200_000);
        let checkpoints = folder.path().join("checkpoints");
        let engine = engine(mode, &clock, &memory, &checkpoints)?;
        Ok(Self {
            mode,
            clock,
            memory,
            checkpoints,
            _folder: folder,
            statements: Vec::new(),
            engine,
            job: None,
            pieces_before: BTreeMap::new(),
            read: BTreeMap::new(),
            evaluations: BTreeMap::new(),
        })
    }

    /// Runs a statement or a directive; rows come from `\read` and from queries of tables.
    pub async fn step(&mut self, text: &str) -> Result<Option<Vec<Vec<String>>>, Failure> {
        let Some(directive) = text.strip_prefix('\\') else { return self.statement(text).await };
        let (head, body) = directive.split_once('\n').unwrap_or((directive, ""));
        let mut words = head.splitn(3, ' ');
        let (name, subject, rest) =
            (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if name == "evaluate" {
            let evaluation = Evaluation::new(subject, body);
            let outcome = self.statement(&evaluation.statements()).await;
            self.evaluations.insert(subject.to_owned(), evaluation);
            return outcome;
        }
        self.start().await?;
        match name {
            "feed" => {
                let source = self.source(subject)?;
                source.push(rows_from_csv(&source, body)?);
            }
            "watermark" => self.source(subject)?.push_watermark(time(rest)?),
            "clock" => self.clock.set(time(&format!("{subject} {rest}"))?),
            "end" => self.source(subject)?.finish(),
            "read" => {
                self.check().await?;
                return self.read(subject).map(Some);
            }
            "values" => {
                self.check().await?;
                return Ok(Some(lines(self.evaluation(subject)?.values(&self.memory)?)));
            }
            "types" => return Ok(Some(lines(self.evaluation(subject)?.types(&self.memory)?))),
            other => return Err(Failure(format!("unknown directive \\{other}"))),
        }
        self.settle().await?;
        if self.mode == Mode::Restore {
            self.restart().await?;
        }
        Ok(None)
    }

    async fn statement(&mut self, text: &str) -> Result<Option<Vec<Vec<String>>>, Failure> {
        let outcomes = self.engine.execute(&Script::new("test.sql", text)).await?;
        for outcome in outcomes {
            if let kinesql_engine::Outcome::Query(stream) = outcome {
                let batches: Vec<_> = futures::StreamExt::collect::<Vec<_>>(stream).await;
                let mut rows = Vec::new();
                for batch in batches {
                    rows.extend(show(&batch?)?);
                }
                return Ok(Some(rows));
            }
        }
        self.statements.push(text.to_owned());
        Ok(None)
    }

    fn source(&self, name: &str) -> Result<kinesql_engine::connector::memory::MemorySource, Failure> {
        self.memory.source(name).ok_or_else(|| Failure(format!("there is no memory source {name}")))
    }

    fn evaluation(&self, source: &str) -> Result<&Evaluation, Failure> {
        self.evaluations.get(source).ok_or_else(|| Failure(format!("nothing is evaluated over {source}")))
    }

    async fn start(&mut self) -> Result<(), Failure> {
        if self.job.is_none() {
            let job = self.engine.start().await?;
            for source in &job.metrics().sources {
                self.pieces_before.entry(source.name.clone()).or_default();
            }
            self.job = Some(job);
        }
        Ok(())
    }

    /// Waits until every piece was read and everything that follows from it was written.
    async fn settle(&self) -> Result<(), Failure> {
        let Some(job) = &self.job else { return Ok(()) };
        for metrics in &job.metrics().sources {
            let Some(source) = self.memory.source(&metrics.name) else { continue };
            let before = self.pieces_before.get(&metrics.name).copied().unwrap_or(0);
            while metrics.reads.get() + before < source.pieces() {
                // A job that has failed reads nothing any more.
                tokio::select! {
                    ended = job.wait() => return ended.map_err(Failure::from),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        Ok(job.sync().await?)
    }

    /// Fails if the job has failed; a job whose sources have all ended is awaited first.
    async fn check(&self) -> Result<(), Failure> {
        let Some(job) = &self.job else { return Ok(()) };
        let ended = |name: &str| self.memory.source(name).is_some_and(|source| source.is_finished());
        if job.metrics().sources.iter().all(|source| ended(&source.name)) {
            return Ok(job.wait().await?);
        }
        job.wait().now_or_never().unwrap_or(Ok(())).map_err(Failure::from)
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        let Some(job) = self.job.take() else { return Ok(()) };
        job.checkpoint().await?;
        job.abort();
        drop(job);
        self.engine = engine(self.mode, &self.clock, &self.memory, &self.checkpoints)?;
        for statement in &self.statements {
            self.engine.execute(&Script::new("test.sql", statement.as_str())).await?;
        }
        for (name, pieces) in &mut self.pieces_before {
            if let Some(source) = self.memory.source(name) {
                // An ended source is found to be at its end once more.
                *pieces = source.pieces() - if source.is_finished() { source.split_count() as u64 } else { 0 };
            }
        }
        self.start().await?;
        self.settle().await
    }

    fn read(&mut self, name: &str) -> Result<Vec<Vec<String>>, Failure> {
        let sink = self.memory.sink(name).ok_or_else(|| Failure(format!("there is no memory sink {name}")))?;
        let mut rows = Vec::new();
        for batch in sink.batches() {
            rows.extend(show(&batch)?);
        }
        let read = self.read.entry(name.to_owned()).or_default();
        let new = rows.split_off((*read).min(rows.len()));
        *read += new.len();
        Ok(new)
    }
}

fn engine(mode: Mode, clock: &Arc<ManualClock>, memory: &MemoryConnector, checkpoints: &PathBuf) -> Result<Engine, Failure> {
    let builder = Engine::builder().clock(clock.clone()).connectors(|registry| {
        kinesql_connectors::register_all(registry);
        memory.register(registry);
    });
    let builder = match mode {
        Mode::Restore => {
            let never = Duration::from_secs(1_000_000_000);
            builder.checkpoints(CheckpointOptions { interval: never, ..CheckpointOptions::new(checkpoints) })
        }
        Mode::Straight | Mode::Parallel => builder,
    };
    Ok(builder.build()?)
}

/// Rows of a source of rows, written as lines of CSV.
pub fn rows_from_csv(source: &dyn Source, text: &str) -> Result<arrow::record_batch::RecordBatch, Failure> {
    let Payload::Batches(schema) = source.payload() else { return Err(Failure("not a source of rows".to_owned())) };
    let columns = schema.fields().iter().enumerate();
    let columns = columns.map(|(index, field)| DecodeColumn { field: field.clone(), path: None, index }).collect();
    let mut rejected = Vec::new();
    let batch = format::decoder(&FormatSpec::Csv(CsvOptions::default()), columns)?.decode(text.as_bytes(), &mut rejected)?;
    match rejected.first() {
        None => Ok(batch),
        Some(record) => Err(Failure(format!("row {:?}: {}", String::from_utf8_lossy(&record.raw), record.message))),
    }
}

fn time(text: &str) -> Result<i64, Failure> {
    format::timestamp::parse(text.trim().as_bytes()).ok_or_else(|| Failure(format!("{text:?} is not a time")))
}

/// Rows of one column.
fn lines(lines: Vec<String>) -> Vec<Vec<String>> {
    lines.into_iter().map(|line| vec![line]).collect()
}

/// A batch as text.
pub fn show(batch: &arrow::record_batch::RecordBatch) -> Result<Vec<Vec<String>>, Failure> {
    let failed = |error: arrow::error::ArrowError| Failure(error.to_string());
    let options = FormatOptions::new().with_null("NULL").with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.3f"));
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let cell = |column: &ArrayFormatter<'_>, row: usize| match column.value(row).to_string() {
        empty if empty.is_empty() => "(empty)".to_owned(),
        text => text,
    };
    debug_assert!(batch.columns().iter().all(|column| column.len() == batch.num_rows()));
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect())
}

#[async_trait]
impl AsyncDB for Driver {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        // A job that hangs is a failure with a place, not a test run without an end.
        let step = tokio::time::timeout(STEP_LIMIT, self.step(sql)).await;
        match step.map_err(|_| Failure(format!("no end after {STEP_LIMIT:?}: {sql}")))?? {
            None => Ok(DBOutput::StatementComplete(0)),
            Some(rows) => {
                let width = rows.first().map_or(0, Vec::len);
                Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows })
            }
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "kinesql"
    }

    async fn sleep(_duration: Duration) {}
}
