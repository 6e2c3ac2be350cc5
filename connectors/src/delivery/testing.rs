//! A service that a test writes the answers of, and rows to send to it.

use std::sync::Mutex;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use kinesql_engine::Error;
use kinesql_engine::connector::{RefusedRows, SinkContext};
use kinesql_engine::format::{CsvOptions, FormatSpec};
use kinesql_engine::runtime::clock::{Clock, ManualClock, SystemClock};
use kinesql_engine::types::SqlType;
use tokio::sync::{Notify, Semaphore};

use super::*;

/// Columns `KEY` and `VALUE`, written as CSV.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::Varchar(2_000).field("KEY", true), SqlType::Varchar(2_000).field("VALUE", true)]))
}

/// Rows `key,value`, separated by spaces.
pub(crate) fn batch(rows: &str) -> RecordBatch {
    let rows: Vec<_> = rows.split_whitespace().map(|row| row.split_once(',').expect("key,value")).collect();
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, _)| key)));
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, value)| value)));
    RecordBatch::try_new(schema(), vec![keys, values]).expect("a batch")
}

type Answer = Box<dyn Fn(usize, &Parcel) -> Outcome + Send + Sync>;

/// A service of which a test sees every request.
pub(crate) struct Fake {
    answer: Answer,
    /// Requests: the parcel's id and its records.
    requests: Mutex<Vec<(u64, Vec<String>)>>,
    accepted: Mutex<Vec<String>>,
    changed: Notify,
    /// Answers that may be given.
    gate: Semaphore,
    /// Requests with more records are never answered.
    answered_records: usize,
    /// It knows the requests that it has.
    knows_requests: bool,
    pub(crate) most_in_flight: Mutex<(usize, usize)>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").finish_non_exhaustive()
    }
}

impl Fake {
    /// Answers the n-th request (from 0) with `answer`.
    pub(crate) fn new(answer: impl Fn(usize, &Parcel) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Self::gated(Semaphore::MAX_PERMITS, answer)
    }

    /// Takes everything, but gives no answer to requests of more than so many records.
    pub(crate) fn too_slow_for(records: usize, knows_requests: bool) -> Arc<Self> {
        let mut new = Self::new(|_, _| Outcome::Accepted);
        let fake = Arc::get_mut(&mut new).expect("nobody has it yet");
        (fake.answered_records, fake.knows_requests) = (records, knows_requests);
        new
    }

    /// As `new`, but gives only so many answers until `allow` is called.
    pub(crate) fn gated(answers: usize, answer: impl Fn(usize, &Parcel) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            requests: Mutex::default(),
            accepted: Mutex::default(),
            changed: Notify::new(),
            gate: Semaphore::new(answers),
            answered_records: usize::MAX,
            knows_requests: false,
            most_in_flight: Mutex::default(),
        })
    }

    pub(crate) fn allow(&self, answers: usize) {
        self.gate.add_permits(answers);
    }

    /// Waits for the n-th request, then returns all of them.
    pub(crate) async fn requests(&self, at_least: usize) -> Vec<(u64, Vec<String>)> {
        loop {
            let changed = self.changed.notified();
            let requests = self.requests.lock().expect("not poisoned").clone();
            if requests.len() >= at_least {
                return requests;
            }
            changed.await;
        }
    }

    /// Records of the requests, as `a,1 b,2`.
    pub(crate) async fn sent(&self, at_least: usize) -> Vec<String> {
        self.requests(at_least).await.into_iter().map(|(_, records)| records.join(" ")).collect()
    }

    /// Records that were accepted, in order.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.accepted.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl Transport for Arc<Fake> {
    async fn send(&self, parcel: &Parcel) -> Outcome {
        let texts: Vec<_> =
            parcel.records.iter().map(|record| String::from_utf8_lossy(record.data.as_ref()).into_owned()).collect();
        let number = {
            let mut requests = self.requests.lock().expect("not poisoned");
            requests.push((parcel.id, texts.clone()));
            let mut in_flight = self.most_in_flight.lock().expect("not poisoned");
            in_flight.0 += 1;
            in_flight.1 = in_flight.1.max(in_flight.0);
            requests.len() - 1
        };
        self.changed.notify_waiters();
        if parcel.records.len() > self.answered_records {
            return std::future::pending().await;
        }
        self.gate.acquire().await.expect("never closed").forget();
        self.most_in_flight.lock().expect("not poisoned").0 -= 1;
        let outcome = (self.answer)(number, parcel);
        let failed = match &outcome {
            Outcome::Accepted => Vec::new(),
            Outcome::Partly { failed, .. } => failed.clone(),
            Outcome::Refused { refused, failed, .. } => {
                refused.iter().map(|(place, _)| *place).chain(failed.iter().copied()).collect()
            }
            _ => (0..texts.len()).collect(),
        };
        let mut accepted = self.accepted.lock().expect("not poisoned");
        accepted.extend(texts.into_iter().enumerate().filter(|(place, _)| !failed.contains(place)).map(|(_, text)| text));
        outcome
    }

    fn knows_requests(&self) -> bool {
        self.knows_requests
    }
}

/// Some records failed.
pub(crate) fn partly(failed: &[usize]) -> Outcome {
    Outcome::Partly { failed: failed.to_vec(), throttled: true, reason: "service: TooFast: slow down".to_owned() }
}

/// The service is down.
pub(crate) fn down() -> Outcome {
    Outcome::again(Error::unavailable("service: Down: try later"))
}

/// A writer to be, with small limits that a test changes.
pub(crate) struct Setup {
    pub(crate) options: DeliveryOptions,
    pub(crate) limits: Limits,
    pub(crate) order: Order,
    pub(crate) pack: Option<Arc<dyn Pack>>,
    pub(crate) refused: RefusedRows,
    pub(crate) metrics: Arc<DeliveryMetrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Setup {
    /// On the system clock, with waits of a millisecond.
    pub(crate) fn new() -> Self {
        let options = DeliveryOptions {
            newline: false,
            max_in_flight: 4,
            batch_records: 3,
            batch_bytes: 1_000,
            linger: Duration::ZERO,
            buffer_bytes: 1_000_000,
            request_timeout: Duration::from_secs(600),
            retry_min_delay: Duration::from_millis(1),
            retry_max_delay: Duration::from_millis(2),
            retry_max_elapsed: None,
        };
        let limits =
            Limits { records: 3, bytes: 1_000, record_bytes: 100, linger: Duration::ZERO, cost: |key, data| key.len() + data };
        let (refused, metrics) = (RefusedRows::default(), Arc::default());
        Self { options, limits, order: Order::Plain, pack: None, refused, metrics, clock: SystemClock::shared() }
    }

    /// On a clock that stands still.
    pub(crate) fn with_clock(clock: &Arc<ManualClock>) -> Self {
        Self { clock: Arc::clone(clock) as Arc<dyn Clock>, ..Self::new() }
    }

    /// Starts it.
    pub(crate) fn writer(&self, transport: &Arc<Fake>) -> DeliveryWriter {
        struct ByKey;
        impl Routing for ByKey {
            fn routes(&mut self, batch: &RecordBatch, _: &Encoded) -> kinesql_engine::Result<Vec<kinesql_engine::Result<Route>>> {
                let keys = arrow::array::AsArray::as_string::<i32>(batch.column(0)).iter();
                Ok(keys.map(|key| Ok(Route { key: key.unwrap_or_default().into(), hash_key: None })).collect())
            }
        }
        let rows = Rows { sink: "OUT".to_owned(), schema: schema(), format: FormatSpec::Csv(CsvOptions::default()) };
        let delivery = Delivery {
            options: self.options.clone(),
            limits: self.limits.clone(),
            order: self.order,
            routing: Some(Box::new(ByKey)),
            pack: self.pack.clone(),
            transport: Arc::new(Arc::clone(transport)),
            metrics: Arc::clone(&self.metrics),
        };
        let context = SinkContext { clock: Arc::clone(&self.clock), checkpointed: true, refused: self.refused.clone() };
        DeliveryWriter::start(&rows, delivery, &context).expect("started")
    }
}
