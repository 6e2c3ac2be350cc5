//! The task of a sink: writes batches, prepares at barriers, commits when the epoch is complete.
//!
//! Rows that the sink refuses become rows of `error_stream`, ahead of the barrier that covers them. Those of the last commit
//! come after the end of that stream: they are only counted.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::channel::{End, Event, EventReceiver, EventSender};
use super::clock::EventTime;
use super::error_rows::{ErrorReporter, error_batch};
use super::metrics::{Metrics, SinkMetrics};
use super::stage::neighbour_gone;
use crate::checkpoint::Epoch;
use crate::checkpoint::coordinator::{Report, TaskId, TaskState};
use crate::connector::{RefusedRows, SinkState, SinkWriter};
use crate::error::{Error, Result};

/// A sink and its input.
pub struct SinkTask {
    /// The task.
    pub task: TaskId,
    /// The sink's name.
    pub sink: String,
    /// What it needs to continue, from the checkpoint it was opened with.
    pub state: Option<SinkState>,
    /// The newest epoch of an earlier run.
    pub last_epoch: Epoch,
    /// True if the job takes checkpoints.
    pub checkpointed: bool,
    /// Its input.
    pub input: EventReceiver,
    /// Epochs to commit.
    pub commits: mpsc::UnboundedReceiver<Epoch>,
    /// The coordinator.
    pub reports: mpsc::UnboundedSender<Report>,
    /// Its counters.
    pub metrics: Arc<SinkMetrics>,
    /// What becomes of rows that it refuses.
    pub refusals: Refusals,
}

/// The way of refused rows to `error_stream`.
pub struct Refusals {
    /// The rows that the writer has refused.
    pub rows: RefusedRows,
    /// Makes error rows of them.
    pub reporter: ErrorReporter,
    /// The edge to `error_stream`; None if nobody reads it, or if the sink itself is behind it, which would be a circle.
    pub edge: Option<EventSender>,
    /// The newest watermark on the sink's input.
    pub watermark: EventTime,
    /// Counts errors.
    pub metrics: Arc<Metrics>,
}

/// Runs until the input ends and everything is committed.
pub async fn run(mut task: SinkTask, mut writer: Box<dyn SinkWriter>) -> Result<()> {
    // Newest epoch that was prepared, and whether it is still to be committed.
    let (mut prepared, mut uncommitted) = (task.last_epoch, false);
    let bytes_before = writer.bytes_written();
    let mut counted_bytes = 0;
    // To open a sink may be to deliver what an earlier run has left.
    task.report_refused().await?;
    let end = loop {
        tokio::select! {
            biased;
            epoch = task.commits.recv() => {
                writer.commit(epoch.ok_or_else(coordinator_gone)?).await?;
                task.report_refused().await?;
                uncommitted = false;
            }
            event = task.input.next() => match event.ok_or_else(|| Error::internal(super::stage::NEIGHBOUR_GONE))? {
                Event::Batch(batch) => {
                    writer.write(&batch).await?;
                    task.metrics.rows.add(batch.num_rows() as u64);
                    if task.input.is_empty() {
                        writer.flush().await?;
                    }
                    task.report_refused().await?;
                }
                Event::Watermark(watermark) => task.refusals.advance(watermark).await?,
                Event::Idle => task.refusals.send(Event::Idle).await?,
                Event::Barrier(barrier) => {
                    let mut state = TaskState::default();
                    if barrier.save {
                        task.state = Some(writer.prepare(barrier.epoch).await?);
                        (prepared, uncommitted) = (barrier.epoch, true);
                        state.sink = task.state.clone().map(|state| (task.sink.clone(), state));
                    } else {
                        writer.flush().await?;
                    }
                    task.report_refused().await?;
                    task.refusals.send(Event::Barrier(barrier)).await?;
                    let _ = task.reports.send(Report::Passed(task.task, barrier.epoch, state));
                }
                Event::End(end) => break end,
            },
            // No row may come for long.
            error = writer.failure() => return Err(error),
        }
        let bytes = writer.bytes_written() - bytes_before;
        task.metrics.bytes.add(bytes - counted_bytes);
        counted_bytes = bytes;
    };
    if !task.checkpointed {
        writer.close().await?;
    } else if end == End::Complete {
        // The last epoch: it commits with the manifest that the coordinator writes once all tasks have ended, or earlier.
        task.state = Some(writer.prepare(prepared + 1).await?);
        uncommitted = true;
    }
    task.report_refused().await?;
    task.refusals.send(Event::End(end)).await?;
    task.refusals.edge = None;
    let sink = task.state.clone().map(|state| (task.sink.clone(), state));
    let _ = task.reports.send(Report::Finished(task.task, TaskState { sink, ..TaskState::default() }));
    if end == End::Complete {
        prepared += u64::from(task.checkpointed);
    }
    while uncommitted {
        let epoch = task.commits.recv().await.ok_or_else(coordinator_gone)?;
        writer.commit(epoch).await?;
        uncommitted = epoch < prepared;
    }
    if task.checkpointed {
        writer.close().await?;
    }
    task.report_refused().await?;
    task.metrics.bytes.add(writer.bytes_written() - bytes_before - counted_bytes);
    Ok(())
}

impl SinkTask {
    /// Sends what the writer has refused since the last call to `error_stream`, and counts it.
    async fn report_refused(&mut self) -> Result<()> {
        let refused = self.refusals.rows.take();
        if refused.is_empty() {
            return Ok(());
        }
        let reporter = &self.refusals.reporter;
        let rows = |(rows, error): &(_, Error)| -> Vec<_> { reporter.rows(rows, error) };
        let rows: Vec<_> = refused.iter().flat_map(rows).collect();
        self.metrics.refused.add(rows.len() as u64);
        self.refusals.metrics.count_errors(&rows);
        let batch = error_batch(&rows, self.refusals.watermark)?;
        self.refusals.send(Event::Batch(batch)).await
    }
}

impl Refusals {
    /// Passes a watermark on, but not the end of time: what the sink refuses when it closes belongs to the time before.
    async fn advance(&mut self, watermark: EventTime) -> Result<()> {
        if watermark == EventTime::MAX {
            return Ok(());
        }
        self.watermark = self.watermark.max(watermark);
        self.send(Event::Watermark(watermark)).await
    }

    async fn send(&self, event: Event) -> Result<()> {
        match &self.edge {
            Some(edge) => edge.send(event).await.map_err(neighbour_gone),
            None => Ok(()),
        }
    }
}

fn coordinator_gone() -> Error {
    Error::internal(super::stage::NEIGHBOUR_GONE)
}
