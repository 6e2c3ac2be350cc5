//! A streaming service in memory: a source whose lanes read shards that come and go, with metadata of every record, and sinks
//! that refuse rows.
//!
//! A test writes what each lane reads, piece by piece; the lane's offset counts its pieces. The service keeps what it was told
//! about checkpoints and the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{
    BEHIND_LATEST_MS, ConnectorMetric, Envelopes, Offset, OptionSpec, Options, Read, Records, RefusedRows, Sample, Sink,
    SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter, Source, SourceContext, SourceDefinition, SourceFactory,
    SplitReader,
};
use kinesql_engine::format::{self, FormatSpec};
use kinesql_engine::types::SqlType;
use kinesql_engine::{Error, Result};
use tokio::sync::Notify;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source, connector `'service'`. Clones share it.
#[derive(Debug, Clone)]
pub struct Service {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    ended: bool,
    records: usize,
    /// Pieces handed over since the job was started.
    handed: u64,
    /// How often the job was started again.
    restarts: usize,
    told: Vec<String>,
}

#[derive(Debug, Default)]
struct Lane {
    pieces: Vec<Piece>,
    /// How many of them its reader has handed over.
    read: usize,
}

#[derive(Debug, Clone)]
enum Piece {
    Shards(Vec<Arc<str>>),
    Records(Option<Arc<str>>, Vec<Record>),
    Watermark(i64),
}

/// A record of the service.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it holds.
    pub data: String,
    /// When the service got it.
    pub arrival: i64,
    /// Its partition key.
    pub key: String,
}

/// A record that arrived at a time.
pub fn record(arrival: i64, data: &str) -> Record {
    Record { data: data.to_owned(), arrival, key: format!("key of {arrival}") }
}

impl Service {
    /// A service that is read in `lanes` lanes.
    pub fn with_lanes(lanes: usize) -> Self {
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        let state = State { lanes, ended: false, records: 0, handed: 0, restarts: 0, told: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    /// Records of a lane without shards.
    pub fn put(&self, lane: usize, records: &[Record]) {
        self.add(lane, Piece::Records(None, records.to_vec()));
    }

    /// Records of a shard.
    pub fn put_to_shard(&self, lane: usize, shard: &str, records: &[Record]) {
        self.add(lane, Piece::Records(Some(shard.into()), records.to_vec()));
    }

    /// The lane has these shards from now on.
    pub fn assign(&self, lane: usize, shards: &[&str]) {
        self.add(lane, Piece::Shards(shards.iter().map(|shard| Arc::from(*shard)).collect()));
    }

    /// No row earlier than `time` follows on the lane.
    pub fn watermark(&self, lane: usize, time: i64) {
        self.add(lane, Piece::Watermark(time));
    }

    /// The stream ends.
    pub fn finish(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_waiters();
    }

    /// What the source was told since the last call: checkpoints and closed lanes.
    pub fn told(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).told)
    }

    /// Pieces that a job has been given since it was started, once everything there is has been given; None before.
    pub fn all_handed(&self) -> Option<u64> {
        let state = lock(&self.state);
        let ends = usize::from(state.ended);
        state.lanes.iter().all(|lane| lane.read == lane.pieces.len() + ends).then_some(state.handed)
    }

    /// Forgets the readers of the job before. One of an aborted job may not have ended yet: it gets nothing any more.
    pub fn restart(&self) {
        let mut state = lock(&self.state);
        state.handed = 0;
        state.restarts += 1;
        state.lanes.iter_mut().for_each(|lane| lane.read = 0);
    }

    fn add(&self, lane: usize, piece: Piece) {
        lock(&self.state).lanes[lane].pieces.push(piece);
        self.changed.notify_waiters();
    }
}

/// The metadata of a record.
fn metadata() -> SchemaRef {
    let columns = [
        ("APPROXIMATE_ARRIVAL_TIME", SqlType::Timestamp),
        ("PARTITION_KEY", SqlType::Varchar(256)),
        ("SEQUENCE_NUMBER", SqlType::Varchar(128)),
        ("SHARD_ID", SqlType::Varchar(64)),
    ];
    Arc::new(Schema::new(columns.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()))
}

#[async_trait]
impl Source for Service {
    fn has_arrival_times(&self) -> bool {
        true
    }

    fn is_bounded(&self) -> bool {
        false
    }

    async fn splits(&self, _parallelism: usize) -> Result<Vec<String>> {
        Ok((0..lock(&self.state).lanes.len()).map(|lane| lane.to_string()).collect())
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let lane = split.parse().map_err(|_| Error::state(format!("there is no lane \"{split}\"")))?;
        let next = offset.and_then(|offset| offset.0.as_u64()).unwrap_or(0) as usize;
        let asked = context.metadata.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(" ");
        if !asked.is_empty() {
            lock(&self.state).told.push(format!("lane {lane} shall say {asked}"));
        }
        let metadata = context.metadata.clone();
        let restarts = lock(&self.state).restarts;
        Ok(Box::new(LaneReader { service: self.clone(), lane, next, reopened: next > 0, restarts, metadata }))
    }

    async fn sample(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Sample> {
        Ok(Sample::default())
    }

    fn metadata(&self) -> SchemaRef {
        metadata()
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        let metric = |name, part: &str, value| ConnectorMetric { name, part: part.to_owned(), value };
        vec![
            metric(BEHIND_LATEST_MS, "shard-1", 1_200.0),
            metric("throttles", "shard-1", 3.0),
            metric(BEHIND_LATEST_MS, "shard-2", 60_000.0),
            metric("throttles", "shard-2", 4.0),
        ]
    }

    fn checkpointed(&self, split: &str, offset: &Offset) {
        lock(&self.state).told.push(format!("lane {split} is saved at {}", offset.0));
    }
}

impl SourceFactory for Service {
    fn name(&self) -> &'static str {
        "service"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn create(&self, _definition: &SourceDefinition, _options: &Options) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(self.clone()))
    }
}

struct LaneReader {
    service: Service,
    lane: usize,
    next: usize,
    /// It starts behind pieces that an earlier run has read: it says which shards it has before it goes on.
    reopened: bool,
    /// Those of the service when it was opened.
    restarts: usize,
    metadata: SchemaRef,
}

impl LaneReader {
    fn read(&mut self) -> Option<Read> {
        let mut state = lock(&self.service.state);
        let State { lanes, ended, records, handed, restarts, .. } = &mut *state;
        if *restarts != self.restarts {
            return None;
        }
        let lane = &mut lanes[self.lane];
        let offset = |next: usize| Offset((next as u64).into());
        if std::mem::take(&mut self.reopened) {
            lane.read = self.next;
            let shards = lane.pieces[..self.next].iter().rev().find_map(|piece| match piece {
                Piece::Shards(shards) => Some(shards.clone()),
                _ => None,
            });
            if let Some(open) = shards {
                *handed += 1;
                return Some(Read::Parts { open, offset: offset(self.next) });
            }
        }
        let piece = lane.pieces.get(self.next).cloned();
        if piece.is_none() && !*ended {
            return None;
        }
        self.next += 1;
        lane.read = self.next;
        *handed += 1;
        let offset = offset(self.next);
        Some(match piece {
            None => Read::End { offset },
            Some(Piece::Shards(open)) => Read::Parts { open, offset },
            Some(Piece::Watermark(time)) => Read::Watermark { time, offset },
            Some(Piece::Records(part, pieces)) => {
                *records += pieces.len();
                Read::Records(encode(part, &pieces, *records - pieces.len(), &self.metadata, offset))
            }
        })
    }
}

/// The records, the first of which is the stream's record number `first`.
fn encode(part: Option<Arc<str>>, records: &[Record], first: usize, metadata: &SchemaRef, offset: Offset) -> Records {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for record in records {
        bytes.extend_from_slice(record.data.as_bytes());
        ends.push(bytes.len() as u32);
    }
    let column = |name: &str| -> ArrayRef {
        let shard = || Arc::new(StringArray::from(vec![part.as_deref(); records.len()]));
        match name {
            "APPROXIMATE_ARRIVAL_TIME" => {
                Arc::new(TimestampMillisecondArray::from_iter_values(records.iter().map(|record| record.arrival)))
            }
            "PARTITION_KEY" => Arc::new(StringArray::from_iter_values(records.iter().map(|record| &record.key))),
            "SEQUENCE_NUMBER" => {
                let numbers = (first..first + records.len()).map(|number| number.to_string());
                Arc::new(StringArray::from_iter_values(numbers))
            }
            _ => shard(),
        }
    };
    let columns = metadata.fields().iter().map(|field| column(field.name())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
    let columns = RecordBatch::try_new_with_options(metadata.clone(), columns, &options).expect("columns of the metadata");
    Records {
        bytes: bytes.into(),
        origin: part.clone().unwrap_or_else(|| "service".into()),
        position: 0,
        rejected: Vec::new(),
        arrival_time: records.last().map(|record| record.arrival),
        part,
        envelopes: Some(Envelopes { ends, columns }),
        offset,
    }
}

#[async_trait]
impl SplitReader for LaneReader {
    async fn next(&mut self) -> Result<Read> {
        let changed = self.service.changed.clone();
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            // Listening starts before looking, so that nothing put in between is missed.
            notified.as_mut().enable();
            if let Some(read) = self.read() {
                return Ok(read);
            }
            notified.await;
        }
    }

    async fn close(&mut self) -> Result<()> {
        lock(&self.service.state).told.push(format!("lane {} is closed", self.lane));
        Ok(())
    }
}

/// Sinks in memory, connector `'picky'`. A row with a text that contains `bad@write` is refused when it is written, one with
/// `bad@flush`, `bad@prepare`, `bad@commit` or `bad@close` at that call. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct PickySinks(Arc<Mutex<BTreeMap<String, Written>>>);

/// What a sink has taken, as JSON lines.
type Written = Arc<Mutex<Vec<u8>>>;

impl PickySinks {
    /// The rows that sink `name` has taken since the last call, as JSON lines.
    pub fn take(&self, name: &str) -> String {
        let rows = lock(&self.0).get(name).map(|rows| std::mem::take(&mut *lock(rows))).unwrap_or_default();
        String::from_utf8(rows).expect("JSON is UTF-8")
    }
}

impl SinkFactory for PickySinks {
    fn name(&self) -> &'static str {
        "picky"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn formats(&self) -> &'static [&'static str] {
        &[]
    }

    fn create(&self, definition: &SinkDefinition, _options: &Options) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(PickySink(lock(&self.0).entry(definition.name.clone()).or_default().clone())))
    }
}

#[derive(Debug)]
struct PickySink(Written);

#[async_trait]
impl Sink for PickySink {
    async fn open(&self, _state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(PickyWriter { rows: self.0.clone(), refused: context.refused.clone(), held: Vec::new() }))
    }
}

struct PickyWriter {
    rows: Written,
    refused: RefusedRows,
    /// Rows that are refused later, with the word that says when.
    held: Vec<(String, RecordBatch)>,
}

impl PickyWriter {
    fn refuse(&mut self, call: &str) {
        for (word, row) in self.held.extract_if(.., |(word, _)| word.ends_with(&format!("bad@{call}"))) {
            self.refused.push(row, Error::data(format!("the destination refuses \"{word}\"")).named("RECORD_REFUSED"));
        }
    }
}

#[async_trait]
impl SinkWriter for PickyWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in (0..batch.num_rows()).map(|row| batch.slice(row, 1)) {
            let texts = row.columns().iter().filter_map(|column| column.as_string_opt::<i32>());
            let texts: Vec<_> = texts.filter(|texts| texts.is_valid(0)).map(|texts| texts.value(0).replace('"', "")).collect();
            match texts.into_iter().find(|text| text.contains("bad@")) {
                Some(text) => self.held.push((text, row)),
                None => format::encoder(&FormatSpec::Json, &row.schema())?.encode(&row, &mut lock(&self.rows))?,
            }
        }
        self.refuse("write");
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.refuse("flush");
        Ok(())
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
        self.refuse("prepare");
        Ok(SinkState(serde_json::Value::Null))
    }

    async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        self.refuse("commit");
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.refuse("close");
        Ok(())
    }
}
