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
use super::clock::{Clock, EventTime, sleep_until};
use super::error_rows::{ErrorReporter, ErrorRow};
use super::metrics::SourceMetrics;
use super::row_metadata::RowMetadata;
use super::rowtime::{Arrival, RowtimeAssigner};
use super::stage::Stage;
use crate::checkpoint::coordinator::{SourceCommand, TaskState};
use crate::connector::{Offset, Read, Source, SplitReader};
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
    /// Who is told what is on its way to the sinks: the source, in a job without checkpoints.
    pub told: Option<Arc<dyn Source>>,
    /// Decodes the pieces.
    pub decoder: RowDecoder,
    /// Brings what the source says of records to their rows.
    pub metadata: RowMetadata,
    /// Assigns ROWTIME.
    pub rowtime: RowtimeAssigner,
    /// Reports bad records.
    pub reporter: ErrorReporter,
    /// The option `idle_timeout`: after this long without a row the split no longer holds the watermark back.
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
    /// When the newest row came.
    pub last_row: EventTime,
    /// True while nobody waits for the split.
    pub idle: bool,
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
    task.last_row = task.clock.now();
    loop {
        let (wake, wake_operators) = (task.wake_time(), task.stage.wake_time());
        tokio::select! {
            // What is due by the clock comes before a barrier that was sent after it.
            biased;
            () = sleep_until(&task.clock, wake) => task.on_time().await?,
            () = sleep_until(&task.clock, wake_operators) => task.stage.wake(task.clock.now()).await?,
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
                task.hear(&read).await?;
                if task.take(read).await? {
                    return task.finish();
                }
                // Pieces are always there in a replay, and Tokio's budget is more than a hundred of them: without this the tasks
                // behind, timers and signals would wait for all of them.
                tokio::task::yield_now().await;
            }
        }
    }
}

impl SourceTask {
    /// When to look at the clock again.
    fn wake_time(&self) -> Option<EventTime> {
        let after = |time: EventTime, wait: Duration| time.saturating_add(wait.as_millis() as i64);
        // An idle split of event time looks at the clock as well: if all are idle, time goes on as the clock does.
        if self.rowtime.follows_clock() || self.idle {
            return Some(after(self.clock.now(), TICK));
        }
        let timeout = self.rowtime.idle_timeout(self.idle_timeout)?;
        match self.rowtime.parts() {
            Some(parts) => parts.next_expiry(timeout),
            None => Some(after(self.last_row, timeout)),
        }
    }

    /// It is time to look at the clock.
    async fn on_time(&mut self) -> Result<()> {
        if self.rowtime.follows_clock() {
            return self.tick().await;
        }
        if self.idle {
            return self.go_on_silently().await;
        }
        let now = self.clock.now();
        if let Some(timeout) = self.rowtime.idle_timeout(self.idle_timeout) {
            self.rowtime.expire_parts(timeout, now);
        }
        match self.rowtime.parts() {
            Some(_) => self.follow_parts().await,
            None => self.fall_silent().await,
        }
    }

    /// A piece is a sign of life if it has rows, or the promise of none.
    async fn hear(&mut self, read: &Read) -> Result<()> {
        let now = self.clock.now();
        let (is_alive, part) = match read {
            Read::Records(records) => (!records.bytes.is_empty() || !records.rejected.is_empty(), records.part.as_ref()),
            Read::Batch { batch, .. } => (batch.num_rows() > 0, None),
            Read::Watermark { .. } | Read::End { .. } => (true, None),
            Read::Parts { .. } => (false, None),
        };
        if !is_alive {
            return Ok(());
        }
        self.last_row = now;
        if let Some(part) = part {
            self.rowtime.hear_from(part, now);
        }
        if std::mem::take(&mut self.idle) { self.wake().await } else { Ok(()) }
    }

    /// Processes one piece; true if it was the last.
    async fn take(&mut self, read: Read) -> Result<bool> {
        let mut errors = Vec::new();
        let (batch, part, arrival, offset) = match read {
            Read::Records(mut records) => {
                self.metrics.bytes.add(records.bytes.len() as u64);
                let mut rejected = std::mem::take(&mut records.rejected);
                let refused = rejected.len();
                let now = self.clock.now();
                let (batch, arrival) = match &mut self.decoder {
                    RowDecoder::Bytes(decoder) => self.metadata.decode(&records, now, decoder.as_mut(), &mut rejected)?,
                    // Rows that the source itself refused.
                    RowDecoder::Batches(_, schema) if records.bytes.is_empty() => {
                        let none = RecordBatch::new_empty(schema.clone());
                        (self.metadata.with_metadata(none, None, now)?, Arrival::Unknown)
                    }
                    RowDecoder::Batches(..) => return Err(Error::internal("a source of rows delivered bytes")),
                };
                self.metrics.rejected.add(rejected.len() as u64);
                for (index, record) in rejected.into_iter().enumerate() {
                    // What the source refused itself is not among the bytes.
                    let envelopes = records.envelopes.as_ref().filter(|_| index >= refused);
                    let place = match envelopes.and_then(|envelopes| envelopes.sequence_number(record.position)) {
                        Some(sequence_number) => format!("{}, record {sequence_number}", records.origin),
                        None => format!("{}, byte {}", records.origin, records.position + record.position),
                    };
                    errors.push(self.reject(record, &place));
                }
                (batch, records.part, arrival, records.offset)
            }
            Read::Batch { batch, offset } => (self.pick(batch)?, None, Arrival::Unknown, offset),
            Read::Watermark { time, offset } => {
                self.offset = Some(offset);
                self.rowtime.declare(time, self.clock.now());
                self.show_parts();
                self.publish_watermark().await?;
                self.metrics.reads.add(1);
                return Ok(false);
            }
            Read::Parts { open, offset } => {
                self.offset = Some(offset);
                self.rowtime.set_parts(&open, self.clock.now());
                self.follow_parts().await?;
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
        let batch = self.rowtime.assign(batch, part.as_ref(), arrival, self.clock.now(), &mut errors)?;
        if let Some(part) = &part {
            self.show_part(part);
        }
        self.metrics.late.add(errors[records_refused..].iter().filter(|row| row.name == "LATE_ROW").count() as u64);
        self.metrics.rows.add(batch.num_rows() as u64);
        self.stage.report_errors(&errors).await?;
        let late = self.rowtime.take_late();
        self.stage.send_late(late).await?;
        if batch.num_rows() > 0 {
            self.stage.process(0, Event::Batch(batch)).await?;
        }
        if let Some(source) = &self.told {
            source.taken(&self.split, &offset);
        }
        self.offset = Some(offset);
        self.publish_watermark().await?;
        self.metrics.reads.add(1);
        Ok(false)
    }

    fn pick(&self, batch: RecordBatch) -> Result<RecordBatch> {
        match &self.decoder {
            RowDecoder::Batches(indices, schema) => {
                let columns = indices.iter().map(|index| batch.column(*index).clone()).collect();
                let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
                self.metadata.with_metadata(rows, None, self.clock.now())
            }
            RowDecoder::Bytes(_) => Err(Error::internal("a source of bytes delivered rows")),
        }
    }

    fn reject(&self, record: Rejected, place: &str) -> ErrorRow {
        let name = match record.reason {
            RejectReason::Parse | RejectReason::TooLarge => "PARSE_ERROR",
            RejectReason::Coercion => "COERCION_ERROR",
            RejectReason::ProcessingFailed => "PROCESSING_FAILED",
            RejectReason::Lost => "RECORDS_LOST",
        };
        let message = format!("{place}: {}", record.message);
        self.reporter.record(name, &message, record.raw)
    }

    /// The split's parts have changed, or fallen silent.
    async fn follow_parts(&mut self) -> Result<()> {
        self.show_parts();
        let is_silent = self.rowtime.parts().is_some_and(|parts| parts.slowest().is_none());
        match (is_silent && !self.rowtime.follows_clock(), self.idle) {
            (true, false) => self.fall_silent().await,
            (false, true) => {
                self.idle = false;
                self.wake().await
            }
            _ => self.publish_watermark().await,
        }
    }

    /// Shows how far the parts are.
    fn show_parts(&self) {
        if let Some(parts) = self.rowtime.parts() {
            let parts = parts.iter().map(|(name, part)| (name.clone(), self.rowtime.watermark_at(part.time), part.idle));
            self.metrics.watermarks.set_parts(&self.split, parts);
        }
    }

    fn show_part(&self, name: &Arc<str>) {
        if let Some(time) = self.rowtime.parts().and_then(|parts| parts.time(name)) {
            self.metrics.watermarks.set_part(&self.split, name, self.rowtime.watermark_at(time));
        }
    }

    /// The split is idle: nobody waits for it.
    async fn fall_silent(&mut self) -> Result<()> {
        self.idle = true;
        self.metrics.watermarks.set_idle(&self.split, self.clock.now());
        self.stage.process(0, Event::Idle).await
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
        let position = self.rowtime.position(self.offset.clone());
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

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, TimestampMillisecondArray};
    use arrow::datatypes::Schema;

    use super::super::clock::ManualClock;
    use super::super::rowtime::RowtimeSource;
    use super::*;
    use crate::checkpoint::coordinator::Report;
    use crate::types::{ROWTIME, SqlType};

    #[tokio::test]
    async fn a_source_whose_data_is_always_there_gives_way_after_each_piece() {
        let clock = ManualClock::starting_at(0);
        let (command, commands) = mpsc::unbounded_channel();
        let (reports, mut reported) = mpsc::unbounded_channel();
        let (_complete, job_complete) = watch::channel(false);
        let field = |name| SqlType::Timestamp.field(name, false);
        let schema = Arc::new(Schema::new(vec![field("t")]));
        let of_rows = Arc::new(Schema::new(vec![field("t"), field(ROWTIME)]));
        let reporter = ErrorReporter::new("", clock.clone());
        let rowtime = RowtimeSource::Column { index: 0, delay_ms: 0 };
        let watermark = EventTime::MIN;
        let mut task = SourceTask {
            source: "s".to_owned(),
            split: "0".to_owned(),
            told: None,
            offset: None,
            decoder: RowDecoder::Batches(vec![0], schema.clone()),
            metadata: RowMetadata::new(&Arc::new(Schema::empty()), false),
            rowtime: RowtimeAssigner::new(rowtime, of_rows, reporter.clone()),
            reporter,
            idle_timeout: None,
            clock,
            metrics: Arc::default(),
            commands,
            job_complete,
            stage: Stage { task: 0, chains: Vec::new(), errors: None, late: None, metrics: Arc::default(), reports, watermark },
            last_row: 0,
            idle: false,
        };
        let (pieces, mut reads) = mpsc::channel(100);
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![7]));
        let batch = RecordBatch::try_new(schema, vec![times]).expect("a time");
        for place in 0..100 {
            let read = Read::Batch { batch: batch.clone(), offset: Offset(place.into()) };
            pieces.try_send(Ok(read)).expect("room for a hundred");
        }
        let metrics = task.metrics.clone();
        let mut running = std::pin::pin!(process_reads(&mut task, &mut reads));
        for turn in 1..=3 {
            assert!(futures::poll!(&mut running).is_pending());
            assert_eq!(metrics.reads.get(), turn);
        }
        // So a barrier does not wait for the others.
        let _ = command.send(SourceCommand::Barrier(Barrier { epoch: 1, save: true }));
        assert!(futures::poll!(&mut running).is_pending());
        let Ok(Report::Passed(0, 1, state)) = reported.try_recv() else { panic!("the barrier has not passed") };
        assert_eq!(state.source.map(|(_, _, position)| position.offset), Some(Some(Offset(2.into()))));
    }
}
