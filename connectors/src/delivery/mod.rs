//! Delivery of rows to services that acknowledge them: what the sinks of Kinesis, Firehose, Lambda and HTTP share.
//!
//! A sink says how a request is made ([`Transport`]) and what a service takes ([`Limits`]); everything else is here.
//!
//! Input:     rows; each becomes one record, encoded once (`encode`).
//! Batching:  by count, bytes and `linger` (`queue`). With linger 0 a request leaves as soon as no further row is waiting.
//! Delivery:  at least once. [`DeliveryWriter`]'s `prepare` waits until everything written is acknowledged, so that a
//!            checkpoint never covers a row that the service does not have.
//! Retries:   only what was not accepted, for ever unless `retry.max_elapsed` is given (kda-sql-reference.md §6.13); the
//!            waits double from `retry.min_delay` to `retry.max_delay` with jitter (`retry`). While a service fails as a
//!            whole, one request at a time tries whether it is back; one that is too much for it is halved (`courier`).
//! Memory:    `write` waits while more than `buffer_bytes` are not acknowledged: the job reads no further then.
//! Order:     `ordered` keeps that of a key: its next record leaves once the one before is acknowledged.
//! Errors:    a record that the service never takes goes to `error_stream`; denied calls and missing resources end the job.

mod courier;
mod encode;
mod ids;
mod metrics;
pub(crate) mod options;
mod queue;
mod retry;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use kinesql_engine::Error;
use kinesql_engine::runtime::clock::EventTime;

pub(crate) use encode::Encoded;
#[cfg(test)]
pub(crate) use encode::encoded;
pub(crate) use ids::Ids;
pub(crate) use metrics::DeliveryMetrics;
pub(crate) use options::DeliveryOptions;
pub(crate) use queue::{Order, Pack};
pub(crate) use retry::Backoff;
pub(crate) use writer::{Delivery, DeliveryWriter, Route, Routing, Rows};

/// What `error_stream` shows as `ERROR_NAME` of a row that its service never takes.
const RECORD_TOO_LARGE: &str = "RECORD_TOO_LARGE";

/// The same of one that the service calls wrong for another reason.
pub(crate) const RECORD_REFUSED: &str = "RECORD_REFUSED";

/// Sends requests to a service.
#[async_trait]
pub(crate) trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Sends a parcel as one request. It is called again with the same parcel after [`Outcome::Retry`] and after a time-out.
    async fn send(&self, parcel: &Parcel) -> Outcome;

    /// True if the service knows a request that it has by [`Parcel::id`]: such a request is never sent in other pieces.
    fn knows_requests(&self) -> bool {
        false
    }
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The service has every record.
    Accepted,
    /// It has the records except these: their places in the parcel, rising, and what it said of the last.
    Partly {
        /// Places of the records that it has not.
        failed: Vec<usize>,
        /// True if it asks for fewer records.
        throttled: bool,
        /// What it said.
        reason: String,
    },
    /// As `Partly`, but there are records that it never takes: their places, rising, and why.
    Refused {
        /// Those.
        refused: Vec<(usize, Error)>,
        /// Those that it may take later.
        failed: Vec<usize>,
        /// True if it asks for fewer records.
        throttled: bool,
        /// What it said of the last one that it may take later.
        reason: String,
    },
    /// It has none of them; the same request may succeed later.
    Retry {
        /// Why.
        error: Error,
        /// True if it asks for fewer requests.
        throttled: bool,
        /// True if nobody knows whether it has them: no answer came.
        unanswered: bool,
        /// It asks to wait at least this long.
        after: Option<Duration>,
    },
    /// The request is larger than the service takes: halves of it may fit, a single record never will.
    TooLarge(Error),
    /// No request will ever succeed: the job ends.
    Fatal(Error),
}

impl Outcome {
    /// Nothing was taken because of `error`, which may pass.
    pub(crate) fn again(error: Error) -> Self {
        Outcome::Retry { error, throttled: false, unanswered: false, after: None }
    }

    /// No answer came, because of `error`.
    pub(crate) fn unanswered(error: Error) -> Self {
        Outcome::Retry { error, throttled: false, unanswered: true, after: None }
    }
}

/// Records of one request.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Distinct among the parcels of a run, the same in every attempt.
    pub id: u64,
    /// The records, in the order in which they are sent.
    pub records: Vec<Record>,
    /// Attempts that got no answer.
    pub unanswered: u32,
}

/// What a service gets as one record.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its bytes.
    pub data: Data,
    /// Records of one key are kept in order, if that is asked for; empty for services without keys.
    pub key: Box<str>,
    /// Kinesis: the hash key that decides on the shard instead of the key's.
    pub hash_key: Option<Box<str>>,
    /// Its first row's place in the order of writing.
    pub sequence: u64,
    /// What it counts for in a request, in bytes.
    pub cost: usize,
    /// Bytes of its rows.
    bytes: usize,
    /// Attempts that failed.
    pub failures: u32,
    /// The row that it holds, for `error_stream`.
    row: Row,
    /// Further rows, if several were packed into it.
    more_rows: Vec<Row>,
    /// When it was written.
    since: EventTime,
    /// When it was first refused.
    failing_since: Option<EventTime>,
}

impl Record {
    /// Rows that it holds.
    pub fn rows(&self) -> usize {
        1 + self.more_rows.len()
    }

    /// The rows of `other` are part of this record now.
    pub fn take_rows(&mut self, other: Record) {
        self.bytes += other.bytes;
        self.more_rows.push(other.row);
        self.more_rows.extend(other.more_rows);
    }
}

/// The bytes of a record.
#[derive(Debug)]
pub(crate) enum Data {
    /// A row, as a piece of its batch's encoding.
    Row(Bytes),
    /// Several rows, in a form that [`Pack`] made.
    Packed(Vec<u8>),
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        match self {
            Data::Row(bytes) => bytes,
            Data::Packed(bytes) => bytes,
        }
    }
}

/// A row of a batch.
#[derive(Debug, Clone)]
struct Row {
    batch: Arc<RecordBatch>,
    index: usize,
}

/// What a service takes, and how long to wait for more.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Records of a request.
    pub records: usize,
    /// Bytes of a request, as [`Limits::cost`] counts them.
    pub bytes: usize,
    /// Bytes of a record, key included.
    pub record_bytes: usize,
    /// Longest wait for a request to become full.
    pub linger: Duration,
    /// What a record with this key and so many bytes counts for in a request.
    pub cost: fn(key: &str, data_bytes: usize) -> usize,
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
