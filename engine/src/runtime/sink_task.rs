//! The task of a sink: writes batches, prepares at barriers, commits when the epoch is complete.
//!
//! Whenever no event is waiting, what was written is flushed: a reader of the sink sees a row as soon as there is nothing else
//! to do, and a busy sink is not asked after each batch.
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
    // True if rows were written that nobody may see yet.
    let mut dirty = false;
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
                    dirty = true;
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
                    dirty = false;
                    task.report_refused().await?;
                    task.refusals.send(Event::Barrier(barrier)).await?;
                    let _ = task.reports.send(Report::Passed(task.task, barrier.epoch, state));
                }
                Event::End(end) => break end,
            },
            // No row may come for long.
            error = writer.failure() => return Err(error),
        }
        // A watermark comes right behind most batches, so this is asked after every event and not after batches only.
        if dirty && task.input.is_empty() {
            writer.flush().await?;
            dirty = false;
            task.report_refused().await?;
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::record_batch::RecordBatch;
    use async_trait::async_trait;

    use super::super::channel::{Barrier, channel};
    use super::super::clock::ManualClock;
    use super::*;

    /// What a writer was asked to do.
    #[derive(Debug, Clone, Default)]
    struct Calls(Arc<Mutex<Vec<&'static str>>>);

    impl Calls {
        fn add(&self, call: &'static str) {
            self.0.lock().expect("no panic").push(call);
        }

        fn take(&self) -> Vec<&'static str> {
            std::mem::take(&mut *self.0.lock().expect("no panic"))
        }
    }

    #[async_trait]
    impl SinkWriter for Calls {
        async fn write(&mut self, _batch: &RecordBatch) -> Result<()> {
            self.add("write");
            Ok(())
        }

        async fn flush(&mut self) -> Result<()> {
            self.add("flush");
            Ok(())
        }

        async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
            self.add("prepare");
            Ok(SinkState(serde_json::Value::Null))
        }

        async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
            self.add("commit");
            Ok(())
        }

        async fn close(&mut self) -> Result<()> {
            self.add("close");
            Ok(())
        }
    }

    #[tokio::test]
    async fn rows_are_flushed_when_nothing_is_waiting_whatever_came_last() {
        let (sender, input) = channel(1 << 20);
        let (_commit, commits) = mpsc::unbounded_channel();
        let (reports, _reported) = mpsc::unbounded_channel();
        let refusals = Refusals {
            rows: RefusedRows::default(),
            reporter: ErrorReporter::of_sink("k", ManualClock::starting_at(0)),
            edge: None,
            watermark: EventTime::MIN,
            metrics: Arc::default(),
        };
        let (sink, metrics) = ("k".to_owned(), Arc::default());
        let task = SinkTask {
            task: 0,
            sink,
            state: None,
            last_epoch: 0,
            checkpointed: true,
            input,
            commits,
            reports,
            metrics,
            refusals,
        };
        let calls = Calls::default();
        let mut running = std::pin::pin!(run(task, Box::new(calls.clone())));
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
        let batch = || Event::Batch(RecordBatch::try_from_iter([("n", column.clone())]).expect("one column"));
        let barrier = |epoch, save| Event::Barrier(Barrier { epoch, save });
        for (events, expected) in [
            // As a source sends them: the watermark right behind its rows.
            (vec![batch(), Event::Watermark(1)], vec!["write", "flush"]),
            (vec![batch(), batch(), Event::Watermark(2), Event::Idle], vec!["write", "write", "flush"]),
            (vec![Event::Watermark(3)], vec![]),
            (vec![batch(), barrier(1, true), Event::Watermark(4)], vec!["write", "prepare"]),
            (vec![batch(), barrier(2, true), batch()], vec!["write", "prepare", "write", "flush"]),
        ] {
            for event in events {
                sender.send(event).await.expect("open");
            }
            // The writer never waits, so one turn does everything that can be done.
            assert!(futures::poll!(&mut running).is_pending());
            assert_eq!(calls.take(), expected);
        }
    }
}
