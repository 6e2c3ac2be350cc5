//! The task of one split of a source: decode, assign ROWTIME, run the readers' chains, publish the watermark.
//!
//! A second task reads ahead, so that waiting for a file or a service overlaps with decoding. It owns the reader and gives it
//! back when the split has ended or the job stops; the reader is closed when the last checkpoint is complete.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tokio::sync::{mpsc, oneshot, watch};

use super::channel::{Barrier, End, Event};
use super::clock::{Clock, EventTime};
use super::error_rows::{ErrorReporter, ErrorRow};
use super::metrics::SourceMetrics;
use super::rowtime::RowtimeAssigner;
use super::stage::Stage;
use crate::checkpoint::coordinator::{SourceCommand, TaskState};
use crate::checkpoint::manifest::SplitPosition;
use crate::connector::{Offset, Read, SplitReader};
use crate::error::{Error, Result};
use crate::format::{Decoder, RejectReason, Rejected};

/// Pieces read ahead of the one being processed.
const READ_AHEAD: usize = 2;

/// Time between two watermarks of a silent source that follows the clock (kda-sql-reference.md §3.5: about one second).
const TICK: Duration = Duration::from_secs(1);

/// What turns the source's pieces into rows of the decoded schema.
pub enum RowDecoder {
    /// Bytes, through a format.
    Bytes(Box<dyn Decoder>),
    /// Rows: columns by place.
    Batches(Vec<usize>, SchemaRef),
}

/// One split and what runs on it.
pub struct SourceTask {
    /// The stream's name.
    pub source: String,
    /// The split's name.
    pub split: String,
    /// Where it was read to in an earlier run.
    pub offset: Option<Offset>,
    /// Decodes the pieces.
    pub decoder: RowDecoder,
    /// Assigns ROWTIME.
    pub rowtime: RowtimeAssigner,
    /// Reports bad records.
    pub reporter: ErrorReporter,
    /// After this long without a row the split no longer holds the watermark back; None: never.
    pub idle_timeout: Option<Duration>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Counters of the source.
    pub metrics: Arc<SourceMetrics>,
    /// What the coordinator says.
    pub commands: mpsc::UnboundedReceiver<SourceCommand>,
    /// True when the job's last checkpoint, if it takes any, is complete.
    pub job_complete: watch::Receiver<bool>,
    /// The readers' chains.
    pub stage: Stage,
}

/// Runs until the split ends or the job stops, then closes the reader.
pub async fn run(mut task: SourceTask, reader: Box<dyn SplitReader>) -> Result<()> {
    let mut reading = Reading::start(reader);
    process_reads(&mut task, &mut reading.reads).await?;
    let mut job_complete = task.job_complete.clone();
    // Edges and operators are of no use any more.
    drop(task);
    let mut reader = reading.stop().await?;
    let complete = job_complete.wait_for(|complete| *complete).await;
    complete.map_err(|_| Error::internal(super::stage::NEIGHBOUR_GONE))?;
    reader.close().await
}

async fn process_reads(task: &mut SourceTask, reads: &mut mpsc::Receiver<Result<Read>>) -> Result<()> {
    // A restored watermark tells the windows behind where they were.
    task.publish_watermark().await?;
    let mut last_row = task.clock.now();
    let mut idle = false;
    loop {
        // An idle split of event time looks at the clock as well: if all are idle, time goes on as the clock does.
        let wake = if task.rowtime.follows_clock() || idle {
            Some(task.clock.now().saturating_add(TICK.as_millis() as i64))
        } else {
            task.idle_timeout.map(|timeout| last_row.saturating_add(timeout.as_millis() as i64))
        };
        tokio::select! {
            // What is due by the clock comes before a barrier that was sent after it.
            biased;
            () = sleep_until(&task.clock, wake) => {
                if task.rowtime.follows_clock() {
                    task.tick().await?;
                } else if idle {
                    task.go_on_silently().await?;
                } else {
                    idle = true;
                    task.metrics.watermarks.set_idle(&task.split, task.clock.now());
                    task.stage.process(0, Event::Idle).await?;
                }
            }
            command = task.commands.recv() => match command {
                None => return Err(Error::internal(super::stage::NEIGHBOUR_GONE)),
                Some(SourceCommand::Barrier(barrier)) => task.pass_barrier(barrier).await?,
                Some(SourceCommand::Stop(barrier)) => {
                    if let Some(barrier) = barrier {
                        task.pass_barrier(barrier).await?;
                    }
                    task.stage.process(0, Event::End(End::Stopped)).await?;
                    return task.finish();
                }
            },
            read = reads.recv() => {
                // The reader ends after `Read::End` only, which ends this loop first, or by a panic.
                let read = read.unwrap_or_else(|| Err(Error::internal(format!("the reader of {} died", task.source))))?;
                let has_rows = match &read {
                    Read::Records(records) => !records.bytes.is_empty() || !records.rejected.is_empty(),
                    Read::Batch { batch, .. } => batch.num_rows() > 0,
                    Read::Watermark { .. } | Read::End { .. } => true,
                    Read::Parts { .. } => false,
                };
                if has_rows {
                    last_row = task.clock.now();
                    if std::mem::take(&mut idle) {
                        task.wake().await?;
                    }
                }
                if task.take(read).await? {
                    return task.finish();
                }
            }
        }
    }
}

impl SourceTask {
    /// Processes one piece; true if it was the last.
    async fn take(&mut self, read: Read) -> Result<bool> {
        let mut errors = Vec::new();
        let (batch, arrival, offset) = match read {
            Read::Records(records) => {
                self.metrics.bytes.add(records.bytes.len() as u64);
                let mut rejected = records.rejected;
                let batch = match &mut self.decoder {
                    RowDecoder::Bytes(decoder) => decoder.decode(&records.bytes, &mut rejected)?,
                    RowDecoder::Batches(..) => return Err(Error::internal("a source of rows delivered bytes")),
                };
                self.metrics.rejected.add(rejected.len() as u64);
                errors.extend(rejected.into_iter().map(|record| self.reject(record, &records.origin, records.position)));
                (batch, records.arrival_time, records.offset)
            }
            Read::Batch { batch, offset } => (self.pick(batch)?, None, offset),
            Read::Watermark { time, offset } => {
                self.offset = Some(offset);
                self.rowtime.raise(time);
                self.publish_watermark().await?;
                self.metrics.reads.add(1);
                return Ok(false);
            }
            Read::Parts { offset, .. } => {
                self.offset = Some(offset);
                self.metrics.reads.add(1);
                return Ok(false);
            }
            Read::End { offset } => {
                self.offset = Some(offset);
                self.metrics.watermarks.set(&self.split, EventTime::MAX);
                self.stage.process(0, Event::Watermark(EventTime::MAX)).await?;
                self.stage.process(0, Event::End(End::Complete)).await?;
                self.metrics.reads.add(1);
                return Ok(true);
            }
        };
        let records_refused = errors.len();
        let batch = self.rowtime.assign(batch, arrival, self.clock.now(), &mut errors)?;
        self.metrics.late.add(errors[records_refused..].iter().filter(|row| row.name == "LATE_ROW").count() as u64);
        self.metrics.rows.add(batch.num_rows() as u64);
        self.offset = Some(offset);
        self.stage.report_errors(&errors).await?;
        let late = self.rowtime.take_late();
        self.stage.send_late(late).await?;
        if batch.num_rows() > 0 {
            self.stage.process(0, Event::Batch(batch)).await?;
        }
        self.publish_watermark().await?;
        self.metrics.reads.add(1);
        Ok(false)
    }

    fn pick(&self, batch: RecordBatch) -> Result<RecordBatch> {
        match &self.decoder {
            RowDecoder::Batches(indices, schema) => {
                let columns = indices.iter().map(|index| batch.column(*index).clone()).collect();
                let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
            }
            RowDecoder::Bytes(_) => Err(Error::internal("a source of bytes delivered rows")),
        }
    }

    fn reject(&self, record: Rejected, origin: &str, position: u64) -> ErrorRow {
        let name = match record.reason {
            RejectReason::Parse | RejectReason::TooLarge => "PARSE_ERROR",
            RejectReason::Coercion => "COERCION_ERROR",
        };
        let message = format!("{origin}, byte {}: {}", position + record.position, record.message);
        self.reporter.record(name, &message, record.raw)
    }

    /// The split was idle and speaks again. What lies behind the splits that went on without it is late.
    async fn wake(&mut self) -> Result<()> {
        let reached = self.metrics.watermarks.reached().filter(|reached| *reached > self.rowtime.watermark());
        if let Some(reached) = reached {
            self.rowtime.raise(reached);
        }
        // Said even if it is the old one: from now on a merge waits for this split.
        let watermark = self.rowtime.watermark();
        self.metrics.watermarks.set(&self.split, watermark);
        self.stage.process(0, Event::Watermark(watermark)).await
    }

    /// The split is still idle; if the whole source is, its windows close by the clock.
    async fn go_on_silently(&mut self) -> Result<()> {
        let Some(watermark) = self.metrics.watermarks.silent_watermark(self.clock.now()) else { return Ok(()) };
        if watermark > self.rowtime.watermark() {
            self.rowtime.raise(watermark);
            self.metrics.watermarks.raise_idle(&self.split, watermark);
            self.stage.process(0, Event::Watermark(watermark)).await?;
            self.stage.process(0, Event::Idle).await?;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<()> {
        self.rowtime.tick(self.clock.now());
        self.publish_watermark().await
    }

    async fn publish_watermark(&mut self) -> Result<()> {
        let watermark = self.rowtime.watermark();
        if watermark > self.stage.watermark {
            self.metrics.watermarks.set(&self.split, watermark);
            self.stage.process(0, Event::Watermark(watermark)).await?;
        }
        Ok(())
    }

    async fn pass_barrier(&mut self, barrier: Barrier) -> Result<()> {
        if self.rowtime.follows_clock() {
            self.tick().await?;
        }
        let state = self.state();
        self.stage.pass_barrier(barrier, state).await
    }

    fn state(&self) -> TaskState {
        let position = SplitPosition { offset: self.offset.clone(), max_rowtime: self.rowtime.max_rowtime };
        TaskState { source: Some((self.source.clone(), self.split.clone(), position)), ..TaskState::default() }
    }

    fn finish(&mut self) -> Result<()> {
        let state = self.state();
        self.stage.finish(state)
    }
}

/// The task that reads ahead; it ends with this.
struct Reading {
    task: tokio::task::JoinHandle<Box<dyn SplitReader>>,
    reads: mpsc::Receiver<Result<Read>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Reading {
    fn start(mut reader: Box<dyn SplitReader>) -> Self {
        let (sender, reads) = mpsc::channel(READ_AHEAD);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = read_ahead(reader.as_mut(), sender) => {}
                _ = stopped => {}
            }
            reader
        });
        Self { task, reads, stop: Some(stop) }
    }

    /// Breaks off what the reader is waiting for and gives it back.
    async fn stop(mut self) -> Result<Box<dyn SplitReader>> {
        // Without a listener the reader has come to its end by itself.
        let _ = self.stop.take().map(|stop| stop.send(()));
        (&mut self.task).await.map_err(|error| Error::internal("a reader of the job panicked").with_cause(error))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_ahead(reader: &mut dyn SplitReader, reads: mpsc::Sender<Result<Read>>) {
    loop {
        let read = reader.next().await;
        let last = matches!(read, Ok(Read::End { .. }) | Err(_));
        if reads.send(read).await.is_err() || last {
            return;
        }
    }
}

async fn sleep_until(clock: &Arc<dyn Clock>, time: Option<EventTime>) {
    match time {
        Some(time) => clock.sleep_until(time).await,
        None => std::future::pending().await,
    }
}
