//! The task of a sink: writes batches, prepares at barriers, commits when the epoch is complete.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::channel::{End, Event, EventReceiver};
use super::metrics::SinkMetrics;
use crate::checkpoint::Epoch;
use crate::checkpoint::coordinator::{Report, TaskId, TaskState};
use crate::connector::{SinkState, SinkWriter};
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
}

/// Runs until the input ends and everything is committed.
pub async fn run(mut task: SinkTask, mut writer: Box<dyn SinkWriter>) -> Result<()> {
    // Newest epoch that was prepared, and whether it is still to be committed.
    let (mut prepared, mut uncommitted) = (task.last_epoch, false);
    let bytes_before = writer.bytes_written();
    let mut counted_bytes = 0;
    let end = loop {
        tokio::select! {
            biased;
            epoch = task.commits.recv() => {
                writer.commit(epoch.ok_or_else(coordinator_gone)?).await?;
                uncommitted = false;
            }
            event = task.input.next() => match event.ok_or_else(|| Error::internal(super::stage::NEIGHBOUR_GONE))? {
                Event::Batch(batch) => {
                    writer.write(&batch).await?;
                    task.metrics.rows.add(batch.num_rows() as u64);
                    if task.input.is_empty() {
                        writer.flush().await?;
                    }
                }
                Event::Watermark(_) | Event::Idle => {}
                Event::Barrier(barrier) => {
                    let mut state = TaskState::default();
                    if barrier.save {
                        task.state = Some(writer.prepare(barrier.epoch).await?);
                        (prepared, uncommitted) = (barrier.epoch, true);
                        state.sink = task.state.clone().map(|state| (task.sink.clone(), state));
                    } else {
                        writer.flush().await?;
                    }
                    let _ = task.reports.send(Report::Passed(task.task, barrier.epoch, state));
                }
                Event::End(end) => break end,
            },
        }
        let bytes = writer.bytes_written() - bytes_before;
        task.metrics.bytes.add(bytes - counted_bytes);
        counted_bytes = bytes;
    };
    if task.checkpointed && end == End::Complete {
        // The last epoch: it commits with the manifest that the coordinator writes once all tasks have ended, or earlier.
        task.state = Some(writer.prepare(prepared + 1).await?);
        uncommitted = true;
    }
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
    writer.close().await?;
    task.metrics.bytes.add(writer.bytes_written() - bytes_before - counted_bytes);
    Ok(())
}

fn coordinator_gone() -> Error {
    Error::internal(super::stage::NEIGHBOUR_GONE)
}
