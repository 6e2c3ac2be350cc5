//! In-memory connectors: rows that a program pushes in, rows that it reads out.
//!
//! For embedding and tests. A [`MemorySource`] keeps what was pushed, so a job that resumes from a checkpoint reads it
//! again from there: exactly-once. A [`MemorySink`] keeps what was written and, on a restore, forgets what came after
//! the checkpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};

use super::{
    ConnectorRegistry, Offset, OptionSpec, Options, Payload, Read, Sample, Sink, SinkContext, SinkDefinition, SinkFactory,
    SinkState, SinkWriter, Source, SourceContext, SourceDefinition, SourceFactory, SplitReader,
};
use crate::checkpoint::Epoch;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone)]
enum Pushed {
    Batch(RecordBatch),
    Watermark(EventTime),
}

/// A source that a program feeds. Clones share the rows.
#[derive(Debug, Clone)]
pub struct MemorySource {
    schema: SchemaRef,
    splits: usize,
    queue: Arc<Mutex<Queue>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    pushed: Vec<Pushed>,
    ended: bool,
}

impl MemorySource {
    /// A source of rows of `schema` (without ROWTIME) with one split.
    pub fn new(schema: SchemaRef) -> Self {
        Self::with_splits(schema, 1)
    }

    /// A source whose pieces are dealt out to `splits` splits in turn; watermarks go to all of them.
    pub fn with_splits(schema: SchemaRef, splits: usize) -> Self {
        Self { schema, splits: splits.max(1), queue: Arc::default(), changed: Arc::default() }
    }

    /// Appends rows.
    pub fn push(&self, batch: RecordBatch) {
        lock(&self.queue).pushed.push(Pushed::Batch(batch));
        self.changed.notify_waiters();
    }

    /// Declares that no row earlier than `time` follows.
    pub fn push_watermark(&self, time: EventTime) {
        lock(&self.queue).pushed.push(Pushed::Watermark(time));
        self.changed.notify_waiters();
    }

    /// Ends the source: windows close, a job of bounded sources completes.
    pub fn finish(&self) {
        lock(&self.queue).ended = true;
        self.changed.notify_waiters();
    }

    /// True after [`MemorySource::finish`].
    pub fn is_finished(&self) -> bool {
        lock(&self.queue).ended
    }

    /// Number of splits.
    pub fn split_count(&self) -> usize {
        self.splits
    }

    /// Number of pieces that the source's readers hand over in all when everything pushed so far is read.
    pub fn pieces(&self) -> u64 {
        let queue = lock(&self.queue);
        let of_split = |split: usize| self.of_split(&queue, split, 0).count() as u64 + u64::from(queue.ended);
        (0..self.splits).map(of_split).sum()
    }

    /// The pieces of `split` from place `from` on, with their places.
    fn of_split<'a>(&self, queue: &'a Queue, split: usize, from: usize) -> impl Iterator<Item = (usize, &'a Pushed)> {
        let splits = self.splits;
        let pieces = queue.pushed.iter().enumerate().skip(from);
        pieces.filter(move |(place, piece)| matches!(piece, Pushed::Watermark(_)) || place % splits == split)
    }
}

#[async_trait]
impl Source for MemorySource {
    fn payload(&self) -> Payload {
        Payload::Batches(self.schema.clone())
    }

    fn is_bounded(&self) -> bool {
        false
    }

    async fn splits(&self, _parallelism: usize) -> Result<Vec<String>> {
        Ok((0..self.splits).map(|split| split.to_string()).collect())
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, _context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let split = split.parse().map_err(|_| Error::state(format!("memory source has no split \"{split}\"")))?;
        let next = offset.and_then(|offset| offset.0.as_u64()).unwrap_or(0) as usize;
        Ok(Box::new(MemoryReader { source: self.clone(), split, next, place: None }))
    }

    async fn sample(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Sample> {
        Ok(Sample::default())
    }
}

struct MemoryReader {
    source: MemorySource,
    split: usize,
    /// Number of the split's next piece.
    next: usize,
    /// Where to look for it among all pieces; None before the first look.
    place: Option<usize>,
}

impl MemoryReader {
    /// The next piece, and true if there will be no other.
    fn look(&mut self) -> (Option<Pushed>, bool) {
        let queue = lock(&self.source.queue);
        let (skipped, from) = self.place.map_or((self.next, 0), |place| (0, place));
        let piece = self.source.of_split(&queue, self.split, from).nth(skipped);
        if let Some((place, _)) = piece {
            self.place = Some(place + 1);
        }
        (piece.map(|(_, piece)| piece.clone()), queue.ended)
    }
}

#[async_trait]
impl SplitReader for MemoryReader {
    async fn next(&mut self) -> Result<Read> {
        let notify = self.source.changed.clone();
        loop {
            let changed = notify.notified();
            tokio::pin!(changed);
            // Listening starts before looking, so that nothing pushed in between is missed.
            changed.as_mut().enable();
            let (piece, ended) = self.look();
            let offset = Offset((self.next as u64 + u64::from(piece.is_some())).into());
            match piece {
                Some(piece) => {
                    self.next += 1;
                    return Ok(match piece {
                        Pushed::Batch(batch) => Read::Batch { batch, offset },
                        Pushed::Watermark(time) => Read::Watermark { time, offset },
                    });
                }
                None if ended => return Ok(Read::End { offset }),
                None => changed.await,
            }
        }
    }
}

/// A sink whose rows a program reads. Clones share the rows.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    rows: Arc<Mutex<Vec<RecordBatch>>>,
}

impl MemorySink {
    /// All batches written so far.
    pub fn batches(&self) -> Vec<RecordBatch> {
        lock(&self.rows).clone()
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn open(&self, state: Option<&SinkState>, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let kept = state.and_then(|state| state.0.as_u64()).unwrap_or(0) as usize;
        lock(&self.rows).truncate(kept);
        Ok(Box::new(MemoryWriter { sink: self.clone() }))
    }
}

struct MemoryWriter {
    sink: MemorySink,
}

#[async_trait]
impl SinkWriter for MemoryWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        lock(&self.sink.rows).push(batch.clone());
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
        Ok(SinkState(lock(&self.sink.rows).len().into()))
    }

    async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A sink that hands batches to a reader in the same process, waiting while the reader is busy. It is opened once: the writer
/// takes the sender, so that the reader ends with the job, whoever else still knows the sink.
#[derive(Debug)]
pub(crate) struct ChannelSink(Mutex<Option<mpsc::Sender<RecordBatch>>>);

impl ChannelSink {
    pub(crate) fn new(rows: mpsc::Sender<RecordBatch>) -> Self {
        Self(Mutex::new(Some(rows)))
    }
}

#[async_trait]
impl Sink for ChannelSink {
    async fn open(&self, _state: Option<&SinkState>, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let sender = lock(&self.0).take();
        let sender = sender.ok_or_else(|| Error::internal("the rows of a query are taken already"))?;
        Ok(Box::new(ChannelWriter(sender)))
    }
}

struct ChannelWriter(mpsc::Sender<RecordBatch>);

#[async_trait]
impl SinkWriter for ChannelWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let closed = |_| Error::unavailable("the reader of the query is gone");
        self.0.send(batch.clone()).await.map_err(closed)
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

/// The `memory` connector: `CREATE SOURCE … WITH (connector = 'memory')` and `CREATE SINK … WITH (connector = 'memory')`
/// make sources and sinks that the program reaches by their names. Clones share them.
///
/// A source or sink that exists keeps its rows when an engine creates it again: that is how a test restarts a job.
#[derive(Debug, Clone, Default)]
pub struct MemoryConnector {
    sources: Arc<Mutex<BTreeMap<String, MemorySource>>>,
    sinks: Arc<Mutex<BTreeMap<String, MemorySink>>>,
    splits: usize,
}

impl MemoryConnector {
    /// A connector whose sources have `splits` splits.
    pub fn with_splits(splits: usize) -> Self {
        Self { splits, ..Self::default() }
    }

    /// Registers it for sources and sinks.
    pub fn register(&self, registry: &mut ConnectorRegistry) {
        registry.register_source(Arc::new(self.clone()));
        registry.register_sink(Arc::new(self.clone()));
    }

    /// The source named `name`, if a CREATE SOURCE made it.
    pub fn source(&self, name: &str) -> Option<MemorySource> {
        lock(&self.sources).get(name).cloned()
    }

    /// The sink named `name`, if a CREATE SINK made it.
    pub fn sink(&self, name: &str) -> Option<MemorySink> {
        lock(&self.sinks).get(name).cloned()
    }
}

impl SourceFactory for MemoryConnector {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn formats(&self) -> &'static [&'static str] {
        &[]
    }

    fn create(&self, definition: &SourceDefinition, _options: &Options) -> Result<Arc<dyn Source>> {
        let Some(schema) = &definition.schema else {
            return Err(Error::config(format!("memory source \"{}\" needs its columns declared", definition.name)));
        };
        let mut sources = lock(&self.sources);
        let source =
            sources.entry(definition.name.clone()).or_insert_with(|| MemorySource::with_splits(schema.clone(), self.splits));
        Ok(Arc::new(source.clone()))
    }
}

impl SinkFactory for MemoryConnector {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn formats(&self) -> &'static [&'static str] {
        &[]
    }

    fn create(&self, definition: &SinkDefinition, _options: &Options) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(lock(&self.sinks).entry(definition.name.clone()).or_default().clone()))
    }
}
