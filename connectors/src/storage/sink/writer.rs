//! Buffers rows per prefix and makes objects of them, each of which appears once.
//!
//! | Step | With checkpoints |
//! | --- | --- |
//! | rows arrive | they are encoded into the buffer of their prefix |
//! | a buffer is full or old | its object is uploaded, not completed; a note of the upload comes first (`journal`) |
//! | prepare 7 | rows that are in no object yet are kept in the journal; the state names uploads and kept rows |
//! | commit 7 | the uploads are completed: the objects appear; a note says so |
//!
//! A restart completes what its checkpoint had prepared, unless the note says that this was done: a consumer may have moved the
//! objects since. It undoes every later upload by the notes, completed or not, aborts those that were begun and never noted, and
//! takes the kept rows into its buffers. So an object may hold rows of many epochs and is still made exactly once. When a job
//! ends, what is left becomes objects as well: a note of them is the moment from which they count, and a later run that finds it
//! does not write those rows again.
//!
//! While the store is not to be had every call waits (`storage::insistence`), and with it whoever writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use base64::Engine as _;
use futures::{StreamExt as _, TryStreamExt as _};
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{RefusedRows, SinkContext, SinkState, SinkWriter};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::types::{CHARACTER_LENGTH_MAX, SqlType};
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::Settings;
use super::encode::{Compression, ObjectFormat, Rows};
use super::journal::{Committed, Journal, KEPT_EPOCHS};
use super::uploads::{self, Depot, Upload};
use crate::blocking::unblock;
use crate::storage::insistence::Insistence;

/// All buffers together; past it the largest becomes an object early.
const BUFFERED_BYTES_MAX: usize = 256 << 20;

/// Objects that are sent or completed at the same time.
const OBJECTS_AT_ONCE: usize = 8;

/// What a checkpoint keeps.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Tells the keys of one job from those of others.
    run: String,
    epoch: Epoch,
    next_id: u64,
    /// Sent, perhaps not completed.
    prepared: Vec<Prepared>,
    buffers: Vec<BufferState>,
    kept: Vec<Kept>,
    /// Kept rows that are all in objects, and since which epoch.
    retired: Vec<(Epoch, String)>,
}

/// An upload that is to be completed once `epoch` is.
#[derive(Debug, Serialize, Deserialize)]
struct Prepared {
    epoch: Epoch,
    #[serde(flatten)]
    upload: Upload,
}

#[derive(Debug, Serialize, Deserialize)]
struct BufferState {
    id: u64,
    errors: bool,
    prefix: String,
    opened: EventTime,
}

/// Rows in the journal, and the buffer of each of its batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    key: String,
    buffers: Vec<u64>,
}

/// The rows of one object to come.
struct Buffer {
    id: u64,
    errors: bool,
    prefix: String,
    opened: EventTime,
    rows: Rows,
    /// Those that are not in the journal yet.
    unsaved: Vec<RecordBatch>,
}

/// Writes objects.
pub(super) struct ObjectWriter {
    inner: Arc<Mutex<Inner>>,
    /// In a job without checkpoints: completes objects that are old while no row comes.
    ticker: Option<JoinHandle<Error>>,
    bytes: Arc<AtomicU64>,
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        self.ticker.iter().for_each(JoinHandle::abort);
    }
}

struct Inner {
    settings: Arc<Settings>,
    depot: Depot,
    clock: Arc<dyn Clock>,
    refused: RefusedRows,
    /// None in a job without checkpoints.
    journal: Option<Journal>,
    error_format: Arc<ObjectFormat>,
    run: String,
    /// The epoch that was prepared last.
    epoch: Epoch,
    next_id: u64,
    /// By age.
    buffers: Vec<Buffer>,
    /// Objects named in the epoch under way.
    sequence: usize,
    /// Uploads noted for it.
    noted: Vec<Upload>,
    /// Uploads sent and not prepared.
    sent: Vec<Upload>,
    prepared: Vec<Prepared>,
    kept: Vec<Kept>,
    retired: Vec<(Epoch, String)>,
    /// Epochs with notes.
    notes: Vec<Epoch>,
    /// Epochs after which earlier runs ended.
    closed: Vec<Epoch>,
    failed: Option<Error>,
    bytes: Arc<AtomicU64>,
}

impl ObjectWriter {
    pub(super) async fn open(settings: Arc<Settings>, state: Option<&SinkState>, context: &SinkContext) -> Result<Self> {
        // A folder of this machine is there or not: to wait for it is of no use.
        let give_up_after = settings.place.local_path().map(|_| Duration::ZERO);
        let insistence = Insistence::new(&context.clock, &settings.attempts, give_up_after);
        let depot = Depot { place: Arc::clone(&settings.place), insistence };
        let state: State = match state {
            Some(SinkState(state)) => serde_json::from_value(state.clone()).map_err(|error| {
                Error::state(format!("the checkpoint holds no state of a sink to '{}'", settings.place.url)).with_cause(error)
            })?,
            // A wrong bucket or missing permissions to write are found out here, before anything is read.
            None => State { run: Journal::claim(&depot, &settings.name).await?, ..State::default() },
        };
        let journal = Journal::new(depot.clone(), &settings.name, &state.run);
        let error_format = ObjectFormat { spec: FormatSpec::Json, compression: Compression::None, schema: error_schema() };
        let mut inner = Inner {
            clock: Arc::clone(&context.clock),
            refused: context.refused.clone(),
            journal: context.checkpointed.then_some(journal),
            error_format: Arc::new(error_format),
            run: state.run.clone(),
            epoch: state.epoch,
            next_id: state.next_id,
            buffers: Vec::new(),
            sequence: 0,
            noted: Vec::new(),
            sent: Vec::new(),
            prepared: Vec::new(),
            kept: Vec::new(),
            retired: Vec::new(),
            notes: Vec::new(),
            closed: Vec::new(),
            failed: None,
            bytes: Arc::default(),
            depot,
            settings,
        };
        if state.epoch > 0 {
            inner.restore(state).await?;
        }
        inner.depot.insistence.started();
        let bytes = Arc::clone(&inner.bytes);
        let inner = Arc::new(Mutex::new(inner));
        let ticker = (!context.checkpointed).then(|| tokio::spawn(complete_old(Arc::clone(&inner), Arc::clone(&context.clock))));
        Ok(Self { inner, ticker, bytes })
    }
}

/// Completes objects whose first row is old, until something goes wrong.
async fn complete_old(inner: Arc<Mutex<Inner>>, clock: Arc<dyn Clock>) -> Error {
    loop {
        let due = {
            let inner = inner.lock().await;
            let oldest = inner.buffers.first().map_or_else(|| clock.now(), |buffer| buffer.opened);
            oldest.saturating_add(inner.settings.buffer_interval_ms.max(1))
        };
        clock.sleep_until(due).await;
        let mut inner = inner.lock().await;
        if let Err(error) = inner.complete_due().await {
            inner.failed = Some(error.clone());
            return error;
        }
    }
}

impl Inner {
    /// Goes on where the checkpoint of `state` was.
    async fn restore(&mut self, state: State) -> Result<()> {
        let depot = self.depot.clone();
        let Some(journal) = self.journal.clone() else {
            return Err(Error::state("a sink's checkpoint cannot be used in a job without checkpoints"));
        };
        let found = journal.find().await?;
        let newest = found.epochs.last().copied().unwrap_or(0);
        if newest > state.epoch + KEPT_EPOCHS {
            let (url, epoch) = (&depot.place.url, state.epoch);
            return Err(Error::state(format!(
                "cannot undo what was written to '{url}' after checkpoint {epoch}: {newest} epochs were"
            ))
            .with_hint(format!("A restart may be from one of the last {KEPT_EPOCHS} checkpoints.")));
        }
        let committed = if found.committed { Some(journal.committed().await?) } else { None };
        let is_open = |prepared: &Prepared| committed < Some(Committed { epoch: prepared.epoch, closed: false });
        let open = state.prepared.into_iter().filter(is_open);
        complete_all(&depot, open.map(|prepared| prepared.upload).collect(), true).await?;
        // What an earlier run wrote as it ended counts if it ended with this checkpoint.
        let closing = if found.closed.contains(&state.epoch) { Some(journal.closed(state.epoch).await?) } else { None };
        let visible = Committed { epoch: state.epoch, closed: closing.is_some() };
        if let Some(closing) = &closing
            && committed < Some(visible)
        {
            complete_all(&depot, closing.clone(), true).await?;
        }
        for epoch in found.closed.iter().copied().filter(|epoch| *epoch > state.epoch) {
            journal.forget_closed(epoch).await?;
        }
        self.closed = found.closed.into_iter().filter(|epoch| *epoch <= state.epoch).collect();
        for epoch in found.epochs.iter().copied().filter(|epoch| *epoch > state.epoch) {
            for upload in journal.uploads(epoch).await? {
                let counts = closing.iter().flatten().any(|closing| closing.name == upload.name && closing.id == upload.id);
                if !counts {
                    uploads::undo(&depot, &upload).await?;
                }
            }
            journal.forget(epoch).await?;
        }
        // All that are known are completed or undone.
        uploads::abort_unknown(&depot, |object| is_object_of(&self.settings.name, &self.run, object)).await?;
        if committed != Some(visible) {
            // Later epochs are to come again: that they were committed no longer holds.
            journal.commit(visible).await?;
        }
        self.notes = found.epochs.into_iter().filter(|epoch| *epoch <= state.epoch).collect();
        self.retired = state.retired;
        if let Some(closing) = closing {
            self.sequence = closing.len();
            self.noted = closing;
            journal.note(state.epoch + 1, &self.noted).await?;
            self.notes.push(state.epoch + 1);
            self.retired.extend(state.kept.into_iter().map(|kept| (state.epoch, kept.key)));
            return Ok(());
        }
        for BufferState { id, errors, prefix, opened } in state.buffers {
            self.buffers.push(Buffer { id, errors, prefix, opened, rows: self.rows(errors)?, unsaved: Vec::new() });
        }
        for kept in &state.kept {
            let batches = journal.kept(&kept.key).await?;
            for (id, batch) in kept.buffers.iter().zip(batches) {
                if let Some(buffer) = self.buffers.iter_mut().find(|buffer| buffer.id == *id) {
                    buffer.rows.push(&batch)?;
                }
            }
        }
        self.kept = state.kept;
        Ok(())
    }

    fn rows(&self, errors: bool) -> Result<Rows> {
        Rows::new(Arc::clone(if errors { &self.error_format } else { &self.settings.format }))
    }

    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        let settings = Arc::clone(&self.settings);
        let (groups, refused) = settings.prefix.groups(batch, now)?;
        for group in groups {
            let rows = match group.rows {
                Some(rows) => take_record_batch(batch, &UInt32Array::from(rows))?,
                None => batch.clone(),
            };
            self.add(false, group.prefix, rows.project(&settings.columns)?, now).await?;
        }
        for (row, message) in refused {
            let row = batch.slice(row as usize, 1);
            match &settings.errors {
                Some(template) => self.add(true, template.of_errors(now), error_row(&row, &message, now)?, now).await?,
                None => {
                    self.refused.push(row, Error::data(format!("the row has no place in '{}': {message}", settings.place.url)))
                }
            }
        }
        self.complete_due().await
    }

    /// Adds rows of one prefix.
    async fn add(&mut self, errors: bool, prefix: String, rows: RecordBatch, now: EventTime) -> Result<()> {
        let place = self.buffers.iter().position(|buffer| buffer.errors == errors && buffer.prefix == prefix);
        let place = match place {
            Some(place) => place,
            None => {
                if self.buffers.len() >= self.settings.max_partitions {
                    let oldest = self.buffers.remove(0);
                    self.upload(vec![oldest]).await?;
                }
                self.next_id += 1;
                let (id, buffered) = (self.next_id, self.rows(errors)?);
                self.buffers.push(Buffer { id, errors, prefix, opened: now, rows: buffered, unsaved: Vec::new() });
                self.buffers.len() - 1
            }
        };
        let buffer = &mut self.buffers[place];
        buffer.rows.push(&rows)?;
        if self.journal.is_some() {
            buffer.unsaved.push(rows);
        }
        if buffer.rows.bytes() >= self.settings.buffer_size {
            let full = self.buffers.remove(place);
            return self.upload(vec![full]).await;
        }
        let total: usize = self.buffers.iter().map(|buffer| buffer.rows.bytes()).sum();
        let largest = self.buffers.iter().enumerate().max_by_key(|(_, buffer)| buffer.rows.bytes());
        match largest.map(|(place, _)| place) {
            Some(largest) if total > BUFFERED_BYTES_MAX => {
                let largest = self.buffers.remove(largest);
                self.upload(vec![largest]).await
            }
            _ => Ok(()),
        }
    }

    /// Makes objects of the buffers that are old enough.
    async fn complete_due(&mut self) -> Result<()> {
        let old = self.clock.now().saturating_sub(self.settings.buffer_interval_ms);
        // With checkpoints an interval of 0 means: with every checkpoint.
        if self.journal.is_some() && self.settings.buffer_interval_ms == 0 {
            return Ok(());
        }
        let due = self.buffers.iter().take_while(|buffer| buffer.opened <= old).count();
        let due = self.buffers.drain(..due).collect();
        self.upload(due).await
    }

    /// Makes an object of each buffer: with checkpoints it is sent, without it appears.
    async fn upload(&mut self, buffers: Vec<Buffer>) -> Result<()> {
        if buffers.is_empty() {
            return Ok(());
        }
        let depot = self.depot.clone();
        let mut objects = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let (settings, run, epoch) = (&self.settings, &self.run, self.epoch + 1);
            let extension = if buffer.errors { self.error_format.extension() } else { settings.format.extension() };
            let name = format!("{}-{run}-{epoch:010}-{:04}{extension}", settings.name, self.sequence);
            let key = format!("{}{name}", buffer.prefix);
            self.sequence += 1;
            let bytes = unblock(move || buffer.rows.finish(&name)).await?;
            self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            settings.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            settings.objects.fetch_add(1, Ordering::Relaxed);
            objects.push((key, bytes));
        }
        let keys: Vec<String> = objects.iter().map(|(key, _)| key.clone()).collect();
        let begun = keys.into_iter().map(|key| {
            let depot = depot.clone();
            async move { uploads::begin(&depot, &key).await }
        });
        let begun: Vec<Upload> = futures::stream::iter(begun).buffered(OBJECTS_AT_ONCE).try_collect().await?;
        if let Some(journal) = &self.journal {
            self.noted.extend(begun.iter().cloned());
            journal.note(self.epoch + 1, &self.noted).await?;
            if self.notes.last() != Some(&(self.epoch + 1)) {
                self.notes.push(self.epoch + 1);
            }
        }
        let sent = begun.into_iter().zip(objects).map(|(mut upload, (_, bytes))| {
            let depot = depot.clone();
            async move { uploads::send(&depot, &mut upload, bytes).await.map(|()| upload) }
        });
        let sent: Vec<Upload> = futures::stream::iter(sent).buffered(OBJECTS_AT_ONCE).try_collect().await?;
        match self.journal {
            Some(_) => self.sent.extend(sent),
            None => complete_all(&depot, sent, false).await?,
        }
        Ok(())
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<SinkState> {
        let Some(journal) = self.journal.clone() else {
            return Err(Error::internal("a checkpoint in a job without checkpoints"));
        };
        if self.settings.buffer_interval_ms == 0 {
            let all = self.buffers.drain(..).collect();
            self.upload(all).await?;
        } else {
            self.complete_due().await?;
        }
        for (errors, kind) in [(false, "rows"), (true, "errors")] {
            let (mut batches, mut buffers) = (Vec::new(), Vec::new());
            for buffer in self.buffers.iter_mut().filter(|buffer| buffer.errors == errors) {
                for batch in buffer.unsaved.drain(..) {
                    batches.push(batch);
                    buffers.push(buffer.id);
                }
            }
            if !batches.is_empty() {
                let key = journal.rows_key(kind, epoch);
                journal.keep(&key, &batches).await?;
                self.kept.push(Kept { key, buffers });
            }
        }
        // Kept rows whose objects are all sent are needed by older checkpoints only.
        let live: Vec<u64> = self.buffers.iter().map(|buffer| buffer.id).collect();
        let (kept, done): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.buffers.iter().any(|id| live.contains(id)));
        self.kept = kept;
        self.retired.extend(done.into_iter().map(|kept| (epoch, kept.key)));
        self.prepared.extend(self.sent.drain(..).map(|upload| Prepared { epoch, upload }));
        (self.epoch, self.sequence) = (epoch, 0);
        self.noted.clear();
        let buffers = self.buffers.iter().map(|buffer| {
            let Buffer { id, errors, prefix, opened, .. } = buffer;
            json!({ "id": id, "errors": errors, "prefix": prefix, "opened": opened })
        });
        Ok(SinkState(json!({
            "run": self.run,
            "epoch": epoch,
            "next_id": self.next_id,
            "prepared": self.prepared,
            "buffers": buffers.collect::<Vec<_>>(),
            "kept": self.kept,
            "retired": self.retired,
        })))
    }

    async fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let Some(journal) = self.journal.clone() else { return Ok(()) };
        let committed = self.prepared.iter().take_while(|prepared| prepared.epoch <= epoch).count();
        if committed > 0 {
            let uploads = self.prepared.drain(..committed).map(|prepared| prepared.upload).collect();
            complete_all(&self.depot, uploads, false).await?;
            journal.commit(Committed { epoch, closed: false }).await?;
        }
        let old = epoch.saturating_sub(KEPT_EPOCHS);
        for closed in self.closed.extract_if(.., |closed| *closed <= old).collect::<Vec<_>>() {
            journal.forget_closed(closed).await?;
        }
        for note in self.notes.extract_if(.., |note| *note <= old).collect::<Vec<_>>() {
            journal.forget(note).await?;
        }
        for (_, key) in self.retired.extract_if(.., |(since, _)| *since <= old).collect::<Vec<_>>() {
            journal.drop_rows(&key).await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let left: Vec<_> = self.buffers.drain(..).collect();
        if left.is_empty() {
            return Ok(());
        }
        self.upload(left).await?;
        if let Some(journal) = self.journal.clone() {
            // From here on the objects count, whatever happens.
            let sent = std::mem::take(&mut self.sent);
            journal.close(self.epoch, &sent).await?;
            complete_all(&self.depot, sent, false).await?;
            journal.commit(Committed { epoch: self.epoch, closed: true }).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl SinkWriter for ObjectWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.inner.lock().await.write(batch).await
    }

    async fn flush(&mut self) -> Result<()> {
        // Objects are made by size and age; to look at the age is all that can be done.
        self.inner.lock().await.complete_due().await
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<SinkState> {
        self.inner.lock().await.prepare(epoch).await
    }

    async fn commit(&mut self, epoch: Epoch) -> Result<()> {
        self.inner.lock().await.commit(epoch).await
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.lock().await.close().await
    }

    async fn failure(&mut self) -> Error {
        match &mut self.ticker {
            Some(ticker) => match ticker.await {
                Ok(error) => error,
                Err(error) => Error::internal("the completion of old objects ended unexpectedly").with_cause(error),
            },
            // Everything is done within calls.
            None => std::future::pending().await,
        }
    }

    fn bytes_written(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// True if an object has the name that this run of the sink gives: those of a sink `a` must not be taken for those of `a-1`.
fn is_object_of(sink: &str, run: &str, object: &str) -> bool {
    let numbers = || {
        let (epoch, rest) =
            object.strip_prefix(sink)?.strip_prefix('-')?.strip_prefix(run)?.strip_prefix('-')?.split_once('-')?;
        Some((epoch, rest.split('.').next().unwrap_or(rest)))
    };
    let is_number = |text: &str, digits: usize| text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers().is_some_and(|(epoch, sequence)| is_number(epoch, 10) && is_number(sequence, 4))
}

/// Completes uploads; `again` if an earlier run may have done so.
async fn complete_all(depot: &Depot, uploads: Vec<Upload>, again: bool) -> Result<()> {
    let completed =
        uploads.into_iter().map(|upload| {
            let depot = depot.clone();
            async move {
                if again { uploads::complete_again(&depot, &upload).await } else { uploads::complete(&depot, &upload).await }
            }
        });
    futures::stream::iter(completed).buffer_unordered(OBJECTS_AT_ONCE).try_collect().await
}

/// The record that Firehose writes of a row that failed, in its error prefix.
fn error_schema() -> SchemaRef {
    let text = SqlType::Varchar(CHARACTER_LENGTH_MAX);
    let columns = [
        ("attemptsMade", SqlType::BigInt),
        ("arrivalTimestamp", SqlType::BigInt),
        ("errorCode", text),
        ("errorMessage", text),
        ("attemptEndingTimestamp", SqlType::BigInt),
        ("rawData", text),
    ];
    Arc::new(Schema::new(columns.map(|(name, sql_type)| sql_type.field(name, false)).to_vec()))
}

fn error_row(row: &RecordBatch, message: &str, now: EventTime) -> Result<RecordBatch> {
    let mut raw = Vec::new();
    kinesql_engine::format::encoder(&FormatSpec::Json, &row.schema())?.encode(row, &mut raw)?;
    let number = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let raw = base64::engine::general_purpose::STANDARD.encode(raw.trim_ascii_end());
    let code = "DynamicPartitioning.MetadataExtractionFailed";
    let columns = vec![number(1), number(now), text(code), text(message), number(now), text(&raw)];
    Ok(RecordBatch::try_new(error_schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::is_object_of;

    #[test]
    fn objects_are_told_from_those_of_other_sinks_and_runs() {
        for (object, is_own) in [
            ("a-0001-0000000007-0000.jsonl", true),
            ("a-0001-0000000007-0012", true),
            ("a-0001-0000000007-0000.jsonl.gz", true),
            ("a-0002-0000000007-0000.jsonl", false),
            // Of a sink "a-0001".
            ("a-0001-0002-0000000007-0000.jsonl", false),
            ("a-0001-report.jsonl", false),
            ("b-0001-0000000007-0000.jsonl", false),
        ] {
            assert_eq!(is_object_of("a", "0001", object), is_own, "{object}");
        }
    }
}
