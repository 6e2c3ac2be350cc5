//! Sinks: where rows go, and how a checkpoint makes them final.
//!
//! Per epoch the engine calls `write…`, then [`SinkWriter::prepare`] at the barrier, writes the manifest with the
//! returned state, then [`SinkWriter::commit`]. A sink that can undo (files) is exactly-once; one that cannot
//! (a service) is at-least-once and says so in its documentation.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::options::{OptionSpec, Options};
use super::source::{ConnectorMetric, Trouble};
use crate::checkpoint::Epoch;
use crate::error::{Error, Result};
use crate::format::FormatSpec;
use crate::runtime::clock::Clock;

/// What a sink needs to continue after a restart, written into the manifest as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SinkState(pub serde_json::Value);

/// What a writer gets from the engine.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// True if the job takes checkpoints: `prepare` and `commit` will be called.
    pub checkpointed: bool,
    /// Takes rows that the destination will never accept.
    pub refused: RefusedRows,
}

/// Rows that a sink could not deliver and never will, such as one over the size limit of a service: the sink's task makes
/// rows of `error_stream` of them after each call of the writer. Clones share the rows.
#[derive(Debug, Clone, Default)]
pub struct RefusedRows(Arc<Mutex<Vec<(RecordBatch, Error)>>>);

impl RefusedRows {
    /// `row` (a batch of one) is given up because of `error`, a [`crate::ErrorKind::Data`].
    pub fn push(&self, row: RecordBatch, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((row, error));
    }

    /// The rows since the last call.
    pub fn take(&self) -> Vec<(RecordBatch, Error)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What CREATE SINK says besides the options.
#[derive(Debug, Clone)]
pub struct SinkDefinition {
    /// The sink's name.
    pub name: String,
    /// The stream it reads, exact case.
    pub stream: String,
    /// Columns of the stream in declared order, without ROWTIME: the schema of every written batch.
    pub schema: SchemaRef,
    /// The `format` option, or None if it was not given.
    pub format: Option<FormatSpec>,
}

/// A bound sink: its options are checked, nothing is opened yet.
#[async_trait]
pub trait Sink: Send + Sync + fmt::Debug {
    /// Opens the sink. With `state` (from the newest complete checkpoint) everything written after that checkpoint is
    /// undone where that is possible, and what was prepared but not committed is committed.
    async fn open(&self, state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>>;

    /// What the sink shows of itself while a job runs.
    fn metrics(&self) -> Vec<ConnectorMetric> {
        Vec::new()
    }

    /// What keeps it from getting on now; None while all is well.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// The local file or folder that it owns, absolute and without links, if it writes to one. The engine starts no job in
    /// which something else writes or reads it.
    fn owned_path(&self) -> Option<PathBuf> {
        None
    }
}

/// Writes rows. Called by one task.
#[async_trait]
pub trait SinkWriter: Send {
    /// Takes a batch; it may be buffered.
    async fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Makes buffered rows visible; called whenever no further input is waiting.
    async fn flush(&mut self) -> Result<()>;

    /// Makes everything written so far durable, ready to be committed; returns what a restart needs.
    async fn prepare(&mut self, epoch: Epoch) -> Result<SinkState>;

    /// The manifest of `epoch` is written: makes what was prepared final.
    async fn commit(&mut self, epoch: Epoch) -> Result<()>;

    /// The input has ended and, in a checkpointed job, the last epoch is committed: flushes and closes.
    async fn close(&mut self) -> Result<()>;

    /// Waits for a failure that comes while the sink is not called, such as the refusal of rows that were taken before; it ends the
    /// job at once. Never returns while all goes well. Safe to cancel.
    async fn failure(&mut self) -> Error {
        std::future::pending().await
    }

    /// Bytes written since the sink was opened, for progress; 0 if unknown.
    fn bytes_written(&self) -> u64 {
        0
    }
}

/// Makes sinks of one kind: the `connector = '…'` of CREATE SINK.
pub trait SinkFactory: Send + Sync {
    /// The connector's name.
    fn name(&self) -> &'static str;

    /// Its options besides the common ones (`connector`, `format`, …), for checks, errors and docs.
    fn options(&self) -> &'static [OptionSpec];

    /// Values of `format` that it takes, the default first; empty if the sink takes rows as they are.
    fn formats(&self) -> &'static [&'static str];

    /// Binds a sink. Fails only with [`crate::ErrorKind::Config`]; must not block.
    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>>;
}
