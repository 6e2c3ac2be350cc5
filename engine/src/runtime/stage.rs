//! What every task does with an event: run it through its chains and send what comes out to the next tasks.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tokio::sync::mpsc;

use super::channel::{Closed, Event, EventSender};
use super::clock::EventTime;
use super::error_rows::{ErrorRow, error_batch};
use super::metrics::Metrics;
use crate::checkpoint::OperatorState;
use crate::checkpoint::coordinator::{Report, TaskId, TaskState};
use crate::error::{Error, Result};
use crate::operator::Chain;

/// A chain and where its output goes.
pub struct StageChain {
    /// Unique in the job; operator states are saved under `id/place`.
    pub id: String,
    /// The fused operators.
    pub chain: Chain,
    /// The next tasks: every one gets every event.
    pub outputs: Vec<EventSender>,
}

/// The chains of one task, its errors and its reports.
pub struct Stage {
    /// The task.
    pub task: TaskId,
    /// The readers of the task's stream.
    pub chains: Vec<StageChain>,
    /// The edge to `error_stream`; None if nobody reads it, or if this task is behind it.
    pub errors: Option<EventSender>,
    /// The edge to the stream of the source's late rows, if somebody reads it.
    pub late: Option<EventSender>,
    /// Counts errors.
    pub metrics: Arc<Metrics>,
    /// The coordinator.
    pub reports: mpsc::UnboundedSender<Report>,
    /// The newest watermark.
    pub watermark: EventTime,
}

/// A task whose neighbour is gone: the neighbour's own error says why.
pub(crate) fn neighbour_gone(Closed: Closed) -> Error {
    Error::internal(NEIGHBOUR_GONE)
}

/// Message of the error that only follows from another task's.
pub(crate) const NEIGHBOUR_GONE: &str = "the next task of the job is gone";

impl Stage {
    /// Runs an event other than a barrier through all chains and sends the results on.
    pub async fn process(&mut self, input: usize, event: Event) -> Result<()> {
        if let Event::Watermark(watermark) = event {
            self.watermark = self.watermark.max(watermark);
        }
        let mut error_rows = Vec::new();
        let mut events = Vec::new();
        for StageChain { chain, outputs, .. } in &mut self.chains {
            chain.run(input, event.clone(), &mut events, &mut error_rows)?;
            for event in events.drain(..) {
                send_to_all(outputs, event).await?;
            }
        }
        self.report_errors(&error_rows).await?;
        if !matches!(event, Event::Batch(_)) {
            for edge in self.errors.iter().chain(&self.late) {
                edge.send(event.clone()).await.map_err(neighbour_gone)?;
            }
        }
        Ok(())
    }

    /// When the first operator is to be woken.
    pub fn wake_time(&self) -> Option<EventTime> {
        self.chains.iter().filter_map(|stage| stage.chain.wake_time()).min()
    }

    /// Wakes the operators whose time has come by `now` and sends the results on.
    pub async fn wake(&mut self, now: EventTime) -> Result<()> {
        let (mut events, mut error_rows) = (Vec::new(), Vec::new());
        for StageChain { chain, outputs, .. } in &mut self.chains {
            chain.wake(now, &mut events, &mut error_rows)?;
            for event in events.drain(..) {
                send_to_all(outputs, event).await?;
            }
        }
        self.report_errors(&error_rows).await
    }

    /// Sends late rows to their stream.
    pub async fn send_late(&mut self, rows: Vec<RecordBatch>) -> Result<()> {
        let Some(late) = &self.late else { return Ok(()) };
        for rows in rows {
            late.send(Event::Batch(rows)).await.map_err(neighbour_gone)?;
        }
        Ok(())
    }

    /// Sends failing rows to `error_stream` and counts them.
    pub async fn report_errors(&mut self, rows: &[ErrorRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.metrics.count_errors(rows);
        if let Some(errors) = &self.errors {
            errors.send(Event::Batch(error_batch(rows, self.watermark)?)).await.map_err(neighbour_gone)?;
        }
        Ok(())
    }

    /// Passes a barrier on, then reports the state of the chains together with `state`.
    pub async fn pass_barrier(&mut self, barrier: super::channel::Barrier, state: TaskState) -> Result<()> {
        let mut state = state;
        if barrier.save {
            state.operators = self.snapshot()?;
        }
        for StageChain { outputs, .. } in &mut self.chains {
            send_to_all(outputs, Event::Barrier(barrier)).await?;
        }
        for edge in self.errors.iter().chain(&self.late) {
            edge.send(Event::Barrier(barrier)).await.map_err(neighbour_gone)?;
        }
        // Without a coordinator the job is being torn down.
        let _ = self.reports.send(Report::Passed(self.task, barrier.epoch, state));
        Ok(())
    }

    /// Reports the final state of the chains together with `state`.
    pub fn finish(&mut self, state: TaskState) -> Result<()> {
        let state = TaskState { operators: self.snapshot()?, ..state };
        let _ = self.reports.send(Report::Finished(self.task, state));
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<(String, OperatorState)>> {
        let mut states = Vec::new();
        for StageChain { id, chain, .. } in &mut self.chains {
            states.extend(chain.snapshot()?.into_iter().map(|(place, state)| (format!("{id}/{place}"), state)));
        }
        Ok(states)
    }
}

async fn send_to_all(outputs: &[EventSender], event: Event) -> Result<()> {
    let Some((last, others)) = outputs.split_last() else { return Ok(()) };
    for output in others {
        output.send(event.clone()).await.map_err(neighbour_gone)?;
    }
    last.send(event).await.map_err(neighbour_gone)
}
