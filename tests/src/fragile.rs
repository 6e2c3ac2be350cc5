//! A source, sinks and a checkpoint store that fail when a test says so.
//!
//! They share one [`Faults`]. A test plans a [`Fault`]: one call fails, before or after it has had its effect, and those
//! that follow work again. Every call gives way to other tasks a few times, by a seed, so that a kill finds it half done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use kinesql_connectors::file::FileSinkFactory;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::memory::MemorySource;
use kinesql_engine::connector::{
    Offset, OptionSpec, Options, Payload, Read, Sample, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter,
    Source, SourceContext, SourceDefinition, SourceFactory, SplitReader,
};
use kinesql_engine::format::{self, Encoder, FormatSpec};
use kinesql_engine::{Error, Result};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What every planned fault says.
pub const PLANNED: &str = "planned fault";

/// A call that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after the call")]
pub enum Call {
    SourceOpen,
    SourceRead,
    SinkOpen,
    SinkWrite,
    SinkFlush,
    SinkPrepare,
    SinkCommit,
    SinkClose,
    StoreList,
    StoreGet,
    StorePutState,
    StorePutManifest,
}

impl Call {
    /// All of them.
    pub const ALL: [Call; 12] = [
        Call::SourceOpen,
        Call::SourceRead,
        Call::SinkOpen,
        Call::SinkWrite,
        Call::SinkFlush,
        Call::SinkPrepare,
        Call::SinkCommit,
        Call::SinkClose,
        Call::StoreList,
        Call::StoreGet,
        Call::StorePutState,
        Call::StorePutManifest,
    ];
}

/// One call that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which one.
    pub call: Call,
    /// So many of them work before.
    pub skip: u32,
    /// True: the call has its effect and then fails, as when an answer is lost.
    pub after: bool,
}

/// The fault that is planned, if any. Clones share it.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug)]
struct Plan {
    fault: Option<Fault>,
    met: usize,
    random: SmallRng,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// No fault yet; `seed` decides how long calls take.
    pub fn with_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Plan { fault: None, met: 0, random: SmallRng::seed_from_u64(seed) })))
    }

    /// Plans a fault, in place of one that has not been met.
    pub fn plan(&self, fault: Fault) {
        lock(&self.0).fault = Some(fault);
    }

    /// Faults that have been met so far.
    pub fn met(&self) -> usize {
        lock(&self.0).met
    }

    fn next(&self, call: Call) -> (Option<Fault>, u32) {
        let mut plan = lock(&self.0);
        let turns = plan.random.random_range(0..4);
        match &mut plan.fault {
            Some(fault) if fault.call == call && fault.skip == 0 => {
                plan.met += 1;
                (plan.fault.take(), turns)
            }
            Some(fault) if fault.call == call => {
                fault.skip -= 1;
                (None, turns)
            }
            _ => (None, turns),
        }
    }

    async fn around<T, E>(&self, call: Call, failure: fn() -> E, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let (fault, turns) = self.next(call);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if fault.is_some_and(|fault| !fault.after) {
            return Err(failure());
        }
        let done = work.await;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if fault.is_some() { Err(failure()) } else { done }
    }
}

fn service_failure() -> Error {
    Error::unavailable(PLANNED)
}

fn disk_failure() -> object_store::Error {
    let full = std::io::Error::new(std::io::ErrorKind::StorageFull, format!("no space left on device, {PLANNED}"));
    object_store::Error::Generic { store: "fragile", source: Box::new(full) }
}

/// A source whose splits are fed one by one.
#[derive(Debug, Clone)]
pub struct FragileSource {
    splits: Vec<MemorySource>,
    faults: Faults,
}

impl FragileSource {
    /// `splits` splits of rows of `schema`.
    pub fn new(schema: &SchemaRef, splits: usize, faults: &Faults) -> Self {
        Self { splits: (0..splits).map(|_| MemorySource::new(schema.clone())).collect(), faults: faults.clone() }
    }

    /// The splits.
    pub fn splits(&self) -> &[MemorySource] {
        &self.splits
    }

    /// Ends all splits.
    pub fn finish(&self) {
        self.splits.iter().for_each(MemorySource::finish);
    }
}

#[async_trait]
impl Source for FragileSource {
    fn payload(&self) -> Payload {
        self.splits[0].payload()
    }

    fn is_bounded(&self) -> bool {
        false
    }

    async fn splits(&self, _parallelism: usize) -> Result<Vec<String>> {
        Ok((0..self.splits.len()).map(|split| split.to_string()).collect())
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let source = split.parse().ok().and_then(|split: usize| self.splits.get(split));
        let source = source.ok_or_else(|| Error::state(format!("there is no split \"{split}\"")))?;
        let reader = self.faults.around(Call::SourceOpen, service_failure, source.open("0", offset, context)).await?;
        Ok(Box::new(FragileReader { reader, faults: self.faults.clone() }))
    }

    async fn sample(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Sample> {
        Ok(Sample::default())
    }
}

/// The connector `'fragile'`: every CREATE SOURCE is this source.
impl SourceFactory for FragileSource {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn create(&self, _definition: &SourceDefinition, _options: &Options) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(self.clone()))
    }
}

struct FragileReader {
    reader: Box<dyn SplitReader>,
    faults: Faults,
}

#[async_trait]
impl SplitReader for FragileReader {
    async fn next(&mut self) -> Result<Read> {
        self.faults.around(Call::SourceRead, service_failure, self.reader.next()).await
    }
}

/// The connector `'fragile'`: sinks that write files, or that keep the contract of an exactly-once sink in memory.
#[derive(Debug, Clone)]
pub struct FragileSinks {
    /// None: files.
    staged: Option<Arc<Mutex<BTreeMap<String, StagedSink>>>>,
    faults: Faults,
}

impl FragileSinks {
    /// Sinks that write files.
    pub fn files(faults: &Faults) -> Self {
        Self { staged: None, faults: faults.clone() }
    }

    /// Sinks that keep their rows in memory.
    pub fn in_memory(faults: &Faults) -> Self {
        Self { staged: Some(Arc::default()), faults: faults.clone() }
    }

    /// What the sink in memory named `name` has committed, as JSON lines.
    pub fn committed(&self, name: &str) -> Vec<u8> {
        let sink = self.staged.as_ref().and_then(|staged| lock(staged).get(name).cloned());
        sink.map(|sink| lock(&sink.rows).committed.clone()).unwrap_or_default()
    }
}

impl SinkFactory for FragileSinks {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn options(&self) -> &'static [OptionSpec] {
        FileSinkFactory.options()
    }

    fn formats(&self) -> &'static [&'static str] {
        FileSinkFactory.formats()
    }

    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>> {
        let sink: Arc<dyn Sink> = match &self.staged {
            Some(staged) => Arc::new(lock(staged).entry(definition.name.clone()).or_default().clone()),
            None => FileSinkFactory.create(definition, options)?,
        };
        Ok(Arc::new(FragileSink { sink, faults: self.faults.clone() }))
    }
}

#[derive(Debug)]
struct FragileSink {
    sink: Arc<dyn Sink>,
    faults: Faults,
}

#[async_trait]
impl Sink for FragileSink {
    async fn open(&self, state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let writer = self.faults.around(Call::SinkOpen, service_failure, self.sink.open(state, context)).await?;
        Ok(Box::new(FragileWriter { writer, faults: self.faults.clone() }))
    }
}

struct FragileWriter {
    writer: Box<dyn SinkWriter>,
    faults: Faults,
}

#[async_trait]
impl SinkWriter for FragileWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.faults.around(Call::SinkWrite, service_failure, self.writer.write(batch)).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.faults.around(Call::SinkFlush, service_failure, self.writer.flush()).await
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<SinkState> {
        self.faults.around(Call::SinkPrepare, service_failure, self.writer.prepare(epoch)).await
    }

    async fn commit(&mut self, epoch: Epoch) -> Result<()> {
        self.faults.around(Call::SinkCommit, service_failure, self.writer.commit(epoch)).await
    }

    async fn close(&mut self) -> Result<()> {
        self.faults.around(Call::SinkClose, service_failure, self.writer.close()).await
    }
}

/// The contract of an exactly-once sink and no more: rows are staged by `prepare` and become final by `commit`.
#[derive(Debug, Clone, Default)]
struct StagedSink {
    rows: Arc<Mutex<StagedRows>>,
}

#[derive(Debug, Default)]
struct StagedRows {
    committed: Vec<u8>,
    /// The newest epoch of `committed`.
    epoch: Epoch,
    staged: BTreeMap<Epoch, Vec<u8>>,
}

impl StagedRows {
    fn commit(&mut self, epoch: Epoch) {
        let later = self.staged.split_off(&(epoch + 1));
        for (_, rows) in std::mem::replace(&mut self.staged, later) {
            self.committed.extend(rows);
        }
        self.epoch = epoch;
    }
}

#[async_trait]
impl Sink for StagedSink {
    async fn open(&self, state: Option<&SinkState>, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let checkpoint = state.and_then(|state| state.0.as_u64()).unwrap_or(0);
        let mut rows = lock(&self.rows);
        if rows.epoch > checkpoint {
            let message = format!("epoch {} was committed, the newest checkpoint is {checkpoint}", rows.epoch);
            return Err(Error::internal(message));
        }
        rows.commit(checkpoint);
        rows.staged.clear();
        drop(rows);
        Ok(Box::new(StagedWriter { rows: self.rows.clone(), encoder: None, open: Vec::new() }))
    }
}

struct StagedWriter {
    rows: Arc<Mutex<StagedRows>>,
    encoder: Option<Box<dyn Encoder>>,
    open: Vec<u8>,
}

#[async_trait]
impl SinkWriter for StagedWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(format::encoder(&FormatSpec::Json, &batch.schema())?),
        };
        encoder.encode(batch, &mut self.open)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<SinkState> {
        let mut rows = lock(&self.rows);
        if rows.epoch >= epoch || rows.staged.insert(epoch, std::mem::take(&mut self.open)).is_some() {
            return Err(Error::internal(format!("epoch {epoch} is prepared twice")));
        }
        Ok(SinkState(epoch.into()))
    }

    async fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let mut rows = lock(&self.rows);
        if !rows.staged.contains_key(&epoch) {
            return Err(Error::internal(format!("epoch {epoch} is committed, but not prepared")));
        }
        rows.commit(epoch);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if !self.open.is_empty() || !lock(&self.rows).staged.is_empty() {
            return Err(Error::internal("the sink is closed before everything is committed"));
        }
        Ok(())
    }
}

/// A checkpoint store in memory.
#[derive(Debug)]
pub struct FragileStore {
    objects: InMemory,
    faults: Faults,
}

impl FragileStore {
    /// An empty store.
    pub fn new(faults: &Faults) -> Self {
        Self { objects: InMemory::new(), faults: faults.clone() }
    }
}

impl fmt::Display for FragileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fragile store")
    }
}

#[async_trait]
impl ObjectStore for FragileStore {
    async fn put_opts(&self, path: &Path, bytes: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let call = if path.as_ref().starts_with("manifest-") { Call::StorePutManifest } else { Call::StorePutState };
        self.faults.around(call, disk_failure, self.objects.put_opts(path, bytes, options)).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.faults.around(Call::StoreGet, disk_failure, self.objects.get_opts(path, options)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.faults.around(Call::StoreList, disk_failure, self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
