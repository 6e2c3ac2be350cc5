//! The `kinesis` sink: rows as records of a Kinesis data stream.
//!
//! Service:   Kinesis Data Streams; `PutRecords`, and `DescribeStreamSummary` once if that is allowed: it says at the start
//!            whether the stream exists, and how large its records may be.
//! Order:     none across requests unless `ordered`: then that of each partition key.
//! Delivery:  at least once; a request that was lost on its way back is sent again.
//! Retries:   records that were refused for throttling or by an error of the service, and requests without an answer.
//! Limits:    see `limits`; a record that is too large goes to `error_stream`.
//! Errors:    `Config` for a stream that does not exist and for denied calls.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_smithy_types::Blob;
use kinesql_engine::connector::{
    ConnectorMetric, OptionKind, OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter,
    Trouble,
};
use kinesql_engine::runtime::clock::Clock;
use kinesql_engine::{Error, Result};

use super::client::StreamName;
use super::limits;
use super::pack::{Aggregation, wire_bytes};
use super::partition_key::{HashKeySpec, KeySpec, Keys};
use crate::aws::{self, AwsOptions, is_throttled};
use crate::delivery::{
    Delivery, DeliveryMetrics, DeliveryOptions, DeliveryWriter, Order, Outcome, Pack, Parcel, RECORD_REFUSED, Rows, Transport,
    options,
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "stream", kind: OptionKind::Text, required: true, default: None, help: "Name or ARN of the data stream." },
    aws::REGION,
    aws::ENDPOINT,
    aws::PROFILE,
    aws::ROLE_ARN,
    aws::EXTERNAL_ID,
    OptionSpec {
        name: "partition_key",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "Columns of the partition key, such as 'TICKER' or 'a,b'; the key is a hash of the row unless given.",
    },
    OptionSpec {
        name: "partition_key.fixed",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "One partition key for all rows: they go to one shard.",
    },
    OptionSpec {
        name: "explicit_hash_key",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "A whole number below 2^128, or a column with such numbers, that decides on the shard instead of the key.",
    },
    OptionSpec {
        name: "ordered",
        kind: OptionKind::Boolean,
        required: false,
        default: Some("false"),
        help: "Keep the order of each partition key: its next record leaves once the one before is acknowledged.",
    },
    OptionSpec {
        name: "aggregate",
        kind: OptionKind::Boolean,
        required: false,
        default: Some("false"),
        help: "Pack rows of one partition key into one record, as the Kinesis Producer Library does.",
    },
    OptionSpec {
        name: "aggregate.bytes",
        kind: OptionKind::Bytes,
        required: false,
        default: Some("50kb"),
        help: "Most bytes of such a record.",
    },
    options::NEWLINE,
    options::batch_records(limits::PUT_RECORDS_MAX, "500", "Most records of a request; the service takes 500."),
    options::batch_bytes("5mb", "Most bytes of a request, keys included; the service takes 10mb."),
    OptionSpec {
        name: "max_record_bytes",
        kind: OptionKind::Bytes,
        required: false,
        default: None,
        help: "A larger record goes to error_stream; what the stream itself takes, from 1mb to 10mb, unless given.",
    },
    options::linger("0ms"),
    options::max_in_flight("8"),
    options::BUFFER_BYTES,
    options::request_timeout("30s"),
    options::RETRY_MIN_DELAY,
    options::RETRY_MAX_DELAY,
    options::RETRY_MAX_ELAPSED,
];

/// Makes `kinesis` sinks.
#[derive(Debug)]
pub struct KinesisSinkFactory;

impl SinkFactory for KinesisSinkFactory {
    fn name(&self) -> &'static str {
        "kinesis"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw"]
    }

    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>> {
        let stream = options.text("stream").unwrap_or_default().to_owned();
        if stream.is_empty() {
            return Err(Error::config("option \"stream\" of connector 'kinesis' cannot be empty"));
        }
        StreamName::parse(&stream)?;
        let bytes = |name: &str| options.bytes(name).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let max_record_bytes = bytes("max_record_bytes");
        if max_record_bytes.is_some_and(|bytes| bytes == 0 || bytes > limits::RECORD_BYTES_MAX) {
            return Err(Error::config("option \"max_record_bytes\" is out of range")
                .with_hint("The service takes records of at most 10mb, and 1mb unless the stream is told otherwise."));
        }
        let schema = &definition.schema;
        Ok(Arc::new(KinesisSink {
            aws: AwsOptions::try_new(options, Some(&stream))?,
            key: KeySpec::try_new(options.text("partition_key"), options.text("partition_key.fixed"), schema)?,
            hash_key: HashKeySpec::try_new(options.text("explicit_hash_key"), schema)?,
            ordered: options.flag("ordered"),
            aggregate_bytes: options.flag("aggregate").then(|| bytes("aggregate.bytes").unwrap_or_default()),
            max_record_bytes,
            delivery: DeliveryOptions::try_new(options, limits::PUT_RECORDS_BYTES_MAX)?,
            rows: Rows::try_new("kinesis", definition)?,
            metrics: Arc::default(),
            stream,
        }))
    }
}

/// A bound `kinesis` sink.
#[derive(Debug)]
struct KinesisSink {
    stream: String,
    aws: AwsOptions,
    key: KeySpec,
    hash_key: HashKeySpec,
    ordered: bool,
    /// Some if rows are packed.
    aggregate_bytes: Option<usize>,
    max_record_bytes: Option<usize>,
    delivery: DeliveryOptions,
    rows: Rows,
    metrics: Arc<DeliveryMetrics>,
}

#[async_trait]
impl Sink for KinesisSink {
    async fn open(&self, _state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let transport = PutRecords::new(&self.aws.load_for_sink().await?, &self.stream);
        let stream_takes = transport.describe(&context.clock).await?;
        let record_bytes = self.max_record_bytes.or(stream_takes).unwrap_or(limits::RECORD_BYTES_DEFAULT);
        let order = match (self.ordered, self.aggregate_bytes, &self.key) {
            (true, _, _) => Order::ExclusiveKeys,
            // Without keys any two rows can be packed together.
            (false, Some(_), KeySpec::Columns(_)) => Order::Keys,
            (false, _, _) => Order::Plain,
        };
        let pack =
            self.aggregate_bytes.map(|bytes| -> Arc<dyn Pack> { Arc::new(Aggregation { max_bytes: bytes.min(record_bytes) }) });
        let cost = |key: &str, data: usize| key.len() + data;
        let routing = Keys::try_new(&self.key, &self.hash_key, &self.rows.schema)?;
        let delivery = Delivery {
            order,
            routing: Some(Box::new(routing)),
            pack,
            ..Delivery::plain(self.delivery.clone(), record_bytes, cost, transport, &self.metrics)
        };
        Ok(Box::new(DeliveryWriter::start(&self.rows, delivery, context)?))
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        self.metrics.list()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.metrics.trouble()
    }
}

/// Makes `PutRecords` calls.
#[derive(Debug)]
struct PutRecords {
    client: Client,
    stream: Stream,
    subject: String,
}

#[derive(Debug)]
enum Stream {
    Name(String),
    Arn(String),
}

impl PutRecords {
    fn new(config: &aws_config::SdkConfig, stream: &str) -> Self {
        let subject = format!("stream \"{stream}\"");
        let stream = if stream.starts_with("arn:") { Stream::Arn(stream.to_owned()) } else { Stream::Name(stream.to_owned()) };
        Self { client: Client::new(config), stream, subject }
    }

    fn name_and_arn(&self) -> (Option<String>, Option<String>) {
        match &self.stream {
            Stream::Name(name) => (Some(name.clone()), None),
            Stream::Arn(arn) => (None, Some(arn.clone())),
        }
    }

    /// Bytes that a record of the stream may have, if the service says so. Fails if the stream does not exist.
    async fn describe(&self, clock: &Arc<dyn Clock>) -> Result<Option<usize>> {
        let (name, arn) = self.name_and_arn();
        let call = self.client.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let call = || call.clone().send();
        let answer = aws::first_call("kinesis:DescribeStreamSummary", &self.subject, clock, call).await?;
        let kib = answer.as_ref().and_then(|answer| answer.stream_description_summary()?.max_record_size_in_kib());
        Ok(kib.and_then(|kib| usize::try_from(kib).ok()).map(|kib| kib << 10))
    }
}

#[async_trait]
impl Transport for PutRecords {
    async fn send(&self, parcel: &Parcel) -> Outcome {
        let entries: Result<Vec<_>, _> = parcel
            .records
            .iter()
            .map(|record| {
                PutRecordsRequestEntry::builder()
                    .data(Blob::new(wire_bytes(&record.data)))
                    .partition_key(record.key.as_ref())
                    .set_explicit_hash_key(record.hash_key.as_deref().map(str::to_owned))
                    .build()
            })
            .collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return Outcome::Fatal(Error::internal("a record has no key or no data").with_cause(error)),
        };
        let (name, arn) = self.name_and_arn();
        let call = self.client.put_records().set_stream_name(name).set_stream_arn(arn).set_records(Some(entries));
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => return aws::outcome("kinesis:PutRecords", &self.subject, &error),
        };
        let results = answer.records();
        if results.len() != parcel.records.len() {
            let (sent, got) = (parcel.records.len(), results.len());
            let message = format!("kinesis:PutRecords of {}: {sent} records were sent, {got} were answered", self.subject);
            return Outcome::again(Error::unavailable(message));
        }
        // The count is not looked at: the answers to the records decide.
        let (mut failed, mut refused, mut throttled, mut reason) = (Vec::new(), Vec::new(), false, String::new());
        for (place, result) in results.iter().enumerate() {
            let Some(code) = result.error_code() else { continue };
            let said = format!("kinesis:PutRecords of {}: {code}: {}", self.subject, result.error_message().unwrap_or_default());
            if is_wrong(code) {
                refused.push((place, Error::data(said).named(RECORD_REFUSED)));
            } else {
                failed.push(place);
                (throttled, reason) = (is_throttled(Some(code)), said);
            }
        }
        match (refused.is_empty(), failed.is_empty()) {
            (true, true) => Outcome::Accepted,
            _ => Outcome::Refused { refused, failed, throttled, reason },
        }
    }
}

/// True if the service calls the record itself wrong, as one that is larger than its stream takes: sent again it fares no better.
fn is_wrong(code: &str) -> bool {
    matches!(code, "InvalidArgumentException" | "ValidationException")
}

#[cfg(test)]
mod tests;
