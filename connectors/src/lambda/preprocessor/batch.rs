//! Records through the function: batches out, results in, put together again in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMillisecondType;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use kinesql_engine::connector::{ARRIVAL_TIME, ConnectorMetric, Envelopes, Records, Trouble};
use kinesql_engine::format::{RejectReason, Rejected};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::super::function::Function;
use crate::aws::{START_ATTEMPTS, START_PATIENCE};
use crate::delivery::{Backoff, Ids, Outcome};
use crate::file::framing::Framing;

/// Wait after a first failure, and the longest one.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Bytes of a request around its records: identifiers and two ARNs of at most 2,048 characters.
const ENVELOPE_BYTES: usize = 4_352;

/// Bytes of a record around its data: identifier, metadata with a partition key of 256 characters, member names.
const RECORD_ENVELOPE_BYTES: usize = 1_600;

/// How long failing invocations are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// By a job: whatever it is may pass.
    Endless,
    /// Before there is a job: as long as other calls at a start.
    OfStart,
}

/// The function and how it is used.
#[derive(Debug)]
pub(super) struct Processor {
    pub(super) function: Function,
    pub(super) application_arn: String,
    pub(super) stream_arn: Option<String>,
    pub(super) framing: Framing,
    pub(super) batch_records: usize,
    pub(super) batch_bytes: usize,
    pub(super) concurrency: usize,
    /// One for each invocation that may be under way.
    pub(super) permits: Semaphore,
    pub(super) timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Ids,
    pub(super) work: Work,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Work {
    invocations: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    next_id: AtomicU64,
    /// Since when every invocation has failed, and why the last one did.
    trouble: Mutex<Option<Trouble>>,
}

impl Work {
    pub(super) fn metrics(&self) -> Vec<ConnectorMetric> {
        let metric =
            |name, value: &AtomicU64| ConnectorMetric { name, part: String::new(), value: value.load(Ordering::Relaxed) as f64 };
        vec![
            metric("preprocessor_invocations", &self.invocations),
            metric("preprocessor_invocations_failed", &self.failures),
            metric("preprocessor_records_dropped", &self.dropped),
            metric("preprocessor_records_failed", &self.failed),
        ]
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.current().clone()
    }

    fn current(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An invocation failed and is repeated.
    fn failing(&self, now: EventTime, error: &Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut trouble = self.current();
        let since = trouble.take().map_or(now, |trouble| trouble.since);
        *trouble = Some(Trouble { since, reason: error.message().to_owned() });
    }
}

/// A record on its way.
#[derive(Debug, Clone)]
struct Input {
    id: String,
    data: Bytes,
    /// First byte within its piece.
    position: usize,
    metadata: Option<Metadata>,
}

/// What becomes of a record.
#[derive(Debug)]
enum Verdict {
    Replaced(Vec<u8>),
    Dropped,
    Failed(RejectReason, String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    invocation_id: String,
    application_arn: &'a str,
    stream_arn: &'a str,
    records: Vec<RequestRecord<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestRecord<'a> {
    record_id: &'a str,
    data: String,
    #[serde(flatten)]
    metadata: Option<&'a Metadata>,
}

/// What the service says of a record, under the name that functions look for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
enum Metadata {
    KinesisStreamRecordMetadata(KinesisMetadata),
    KinesisFirehoseRecordMetadata(FirehoseMetadata),
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct KinesisMetadata {
    shard_id: String,
    partition_key: String,
    sequence_number: String,
    /// Seconds since 1970.
    approximate_arrival_timestamp: i64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct FirehoseMetadata {
    /// Milliseconds since 1970.
    approximate_arrival_timestamp: i64,
}

impl Metadata {
    /// Of a data stream: from the columns of kda-sql-reference.md §3.3.
    fn of_stream(columns: &RecordBatch, row: usize) -> Option<Self> {
        let text = |name: &str| {
            let column = columns.column_by_name(name)?.as_string_opt::<i32>()?;
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let arrival = columns.column_by_name(ARRIVAL_TIME)?.as_primitive_opt::<TimestampMillisecondType>()?;
        let arrival = if arrival.is_valid(row) { arrival.value(row) } else { 0 };
        Some(Metadata::KinesisStreamRecordMetadata(KinesisMetadata {
            shard_id: text("SHARD_ID")?,
            partition_key: text("PARTITION_KEY").unwrap_or_default(),
            sequence_number: text("SEQUENCE_NUMBER").unwrap_or_default(),
            approximate_arrival_timestamp: arrival.div_euclid(1_000),
        }))
    }

    /// Of a delivery stream, or the objects that it wrote.
    fn of_delivery(arrival: EventTime) -> Self {
        Metadata::KinesisFirehoseRecordMetadata(FirehoseMetadata { approximate_arrival_timestamp: arrival })
    }
}

#[derive(Deserialize)]
struct Answer {
    records: Vec<AnswerRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerRecord {
    record_id: String,
    result: String,
    #[serde(default)]
    data: Option<String>,
}

impl Processor {
    /// What the function makes of a piece, which keeps its offset.
    pub(super) async fn process(self: &Arc<Self>, mut records: Records, patience: Patience) -> Result<Records> {
        let inputs = self.inputs(&records);
        let stream_arn: Arc<str> = self.stream_arn.as_deref().map_or_else(|| Arc::clone(&records.origin), Arc::from);
        let batches = self.batches(inputs.clone());
        // Spawned, so that they go on while the job is busy with what came before.
        let invocations = batches.into_iter().map(|batch| {
            let (processor, stream_arn) = (Arc::clone(self), Arc::clone(&stream_arn));
            async move {
                let mut task = AbortOnDrop(tokio::spawn(async move { processor.judge(batch, &stream_arn, patience).await }));
                task.result().await
            }
        });
        let verdicts: Vec<Vec<Verdict>> = futures::stream::iter(invocations).buffered(self.concurrency).try_collect().await?;
        let (mut bytes, mut ends, mut kept) = (Vec::with_capacity(records.bytes.len()), Vec::new(), Vec::new());
        for (place, (input, verdict)) in inputs.into_iter().zip(verdicts.into_iter().flatten()).enumerate() {
            match verdict {
                Verdict::Replaced(data) => {
                    bytes.extend_from_slice(&data);
                    // Records are lines unless the service keeps them apart.
                    let last = self.framing.last();
                    if records.envelopes.is_none() && !data.ends_with(last.as_bytes()) && !data.is_empty() {
                        bytes.extend_from_slice(last.as_bytes());
                    }
                    ends.push(u32::try_from(bytes.len()).map_err(|_| Error::internal("a piece has 4 GB"))?);
                    kept.push(place as u32);
                }
                Verdict::Dropped => drop(self.work.dropped.fetch_add(1, Ordering::Relaxed)),
                Verdict::Failed(reason, message) => {
                    self.work.failed.fetch_add(1, Ordering::Relaxed);
                    let number =
                        records.envelopes.as_ref().and_then(|envelopes| envelopes.sequence_number(input.position as u64));
                    let message = match number {
                        Some(number) => format!("record {number}: {message}"),
                        None => message,
                    };
                    records.rejected.push(Rejected::new(&input.data, input.position, reason, message));
                }
            }
        }
        records.bytes = Bytes::from(bytes);
        records.envelopes = match records.envelopes {
            Some(envelopes) => Some(Envelopes { ends, columns: rows_of(&envelopes.columns, kept)? }),
            None => None,
        };
        Ok(records)
    }

    /// The records of a piece: as its envelopes say, else as the format frames them.
    fn inputs(&self, records: &Records) -> Vec<Input> {
        let mut inputs = Vec::new();
        let of_delivery = || records.arrival_time.map(Metadata::of_delivery);
        let mut push = |start: usize, end: usize, metadata: Option<Metadata>| {
            let data = records.bytes.slice(start..end);
            let id = self.ids.id(self.work.next_id.fetch_add(1, Ordering::Relaxed));
            inputs.push(Input { id, data, position: start, metadata });
        };
        let mut start = 0;
        match &records.envelopes {
            Some(envelopes) => {
                for (row, end) in envelopes.ends.iter().enumerate() {
                    push(start, *end as usize, Metadata::of_stream(&envelopes.columns, row).or_else(of_delivery));
                    start = *end as usize;
                }
            }
            None => {
                while start < records.bytes.len() {
                    let rest = &records.bytes[start..];
                    let length = self.framing.first_record(rest).unwrap_or(rest.len());
                    // The line break belongs to the framing, not to the record.
                    let record = rest[..length].strip_suffix(self.framing.last().as_bytes()).unwrap_or(&rest[..length]);
                    if !record.trim_ascii().is_empty() {
                        push(start, start + record.len(), of_delivery());
                    }
                    start += length;
                }
            }
        }
        inputs
    }

    fn batches(&self, inputs: Vec<Input>) -> Vec<Vec<Input>> {
        let mut batches: Vec<Vec<Input>> = Vec::new();
        let mut bytes = 0;
        for input in inputs {
            let cost = input.data.len().div_ceil(3) * 4 + RECORD_ENVELOPE_BYTES;
            match batches.last_mut() {
                Some(last) if last.len() < self.batch_records && bytes + cost <= self.batch_bytes => {
                    last.push(input);
                    bytes += cost;
                }
                _ => {
                    batches.push(vec![input]);
                    bytes = ENVELOPE_BYTES + cost;
                }
            }
        }
        batches
    }

    /// A verdict for each record, in order; fails if no invocation can ever succeed, or if patience ends.
    fn judge<'a>(&'a self, batch: Vec<Input>, stream_arn: &'a str, patience: Patience) -> BoxFuture<'a, Result<Vec<Verdict>>> {
        async move {
            let give_up_at = self.clock.now().saturating_add(START_PATIENCE.as_millis() as i64);
            let mut backoff = Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1, self.ids.seed());
            let mut failures = 0;
            loop {
                match self.invoke(&batch, stream_arn).await {
                    Ok(verdicts) => {
                        *self.work.current() = None;
                        return Ok(verdicts);
                    }
                    Err(Outcome::TooLarge(error)) if batch.len() == 1 => {
                        return Ok(vec![Verdict::Failed(RejectReason::TooLarge, error.message().to_owned())]);
                    }
                    Err(Outcome::TooLarge(_)) => {
                        let (first, second) = batch.split_at(batch.len() / 2);
                        let mut verdicts = self.judge(first.to_vec(), stream_arn, patience).await?;
                        verdicts.extend(self.judge(second.to_vec(), stream_arn, patience).await?);
                        return Ok(verdicts);
                    }
                    Err(Outcome::Fatal(error)) => return Err(error),
                    Err(Outcome::Retry { error, .. }) => {
                        failures += 1;
                        let is_late = failures == START_ATTEMPTS || self.clock.now() >= give_up_at;
                        if patience == Patience::OfStart && is_late {
                            return Err(error);
                        }
                        self.work.failing(self.clock.now(), &error);
                        self.clock.sleep(backoff.after(failures)).await;
                    }
                    Err(outcome) => return Err(Error::internal(format!("an invocation ended as {outcome:?}"))),
                }
            }
        }
        .boxed()
    }

    async fn invoke(&self, batch: &[Input], stream_arn: &str) -> Result<Vec<Verdict>, Outcome> {
        let records = batch.iter().map(|input| RequestRecord {
            record_id: &input.id,
            data: STANDARD.encode(&input.data),
            metadata: input.metadata.as_ref(),
        });
        let request = Request {
            invocation_id: self.ids.id(self.work.next_id.fetch_add(1, Ordering::Relaxed)),
            application_arn: &self.application_arn,
            stream_arn,
            records: records.collect(),
        };
        let payload = serde_json::to_vec(&request);
        let payload =
            payload.map_err(|error| Outcome::Fatal(Error::internal("a request cannot be written as JSON").with_cause(error)))?;
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|error| Outcome::Fatal(Error::internal("invocations are closed").with_cause(error)))?;
        self.work.invocations.fetch_add(1, Ordering::Relaxed);
        let again = |what: &str| Outcome::again(self.function.failed(what));
        let returned = tokio::select! {
            returned = self.function.invoke(payload) => returned?,
            () = self.clock.sleep(self.timeout) => return Err(again("no answer in time")),
        };
        let answer: Answer = serde_json::from_slice(&returned)
            .map_err(|error| again(&format!("its answer is not that of a pre-processor: {error}")))?;
        let mut answers: HashMap<String, AnswerRecord> = HashMap::with_capacity(answer.records.len());
        for record in answer.records {
            if let Some(twice) = answers.insert(record.record_id.clone(), record) {
                return Err(again(&format!("record {} is answered twice", twice.record_id)));
            }
        }
        let verdicts = batch.iter().map(|input| {
            let Some(AnswerRecord { result, data, .. }) = answers.remove(&input.id) else {
                return Err(again(&format!("record {} is missing in its answer", input.id)));
            };
            match result.as_str() {
                "Ok" => match data.map(|data| STANDARD.decode(data)) {
                    Some(Ok(data)) => Ok(Verdict::Replaced(data)),
                    Some(Err(_)) => Err(again(&format!("data of record {} is not base64", input.id))),
                    None => Err(again(&format!("record {} is Ok but has no data", input.id))),
                },
                "Dropped" => Ok(Verdict::Dropped),
                "ProcessingFailed" => {
                    Ok(Verdict::Failed(RejectReason::ProcessingFailed, "the pre-processor could not process it".to_owned()))
                }
                other => Err(again(&format!("the result of record {} is '{other}'", input.id))),
            }
        });
        let verdicts: Result<Vec<Verdict>, Outcome> = verdicts.collect();
        match answers.into_keys().min() {
            Some(unknown) if verdicts.is_ok() => Err(again(&format!("record {unknown} of its answer is none of the request"))),
            _ => verdicts,
        }
    }
}

/// These rows of `columns`, of which there may be none.
fn rows_of(columns: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    if columns.num_columns() > 0 {
        return Ok(take_record_batch(columns, &UInt32Array::from(rows))?);
    }
    let count = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(columns.schema(), Vec::new(), &count)?)
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<Result<T>>);

impl<T> AbortOnDrop<T> {
    async fn result(&mut self) -> Result<T> {
        (&mut self.0).await.map_err(|error| Error::internal("an invocation ended unexpectedly").with_cause(error))?
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
