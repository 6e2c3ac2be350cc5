//! The `firehose` sink: rows as records of a Firehose delivery stream.
//!
//! Service:   Amazon Data Firehose; `PutRecordBatch`, and `DescribeDeliveryStream` once if that is allowed: it says at the start
//!            whether the delivery stream exists.
//! Order:     that of the stream with `max_in_flight = 1` as long as no record is refused; none otherwise.
//! Delivery:  at least once; a request that was lost on its way back is sent again.
//! Retries:   records that were refused one by one, and requests without an answer.
//! Limits:    500 records and 4 MiB per request, 1,000 KiB per record; a larger record goes to `error_stream`.
//! Errors:    `Config` for a delivery stream that does not exist and for denied calls.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::types::Record;
use aws_smithy_types::Blob;
use kinesql_engine::connector::{
    ConnectorMetric, OptionKind, OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter,
    Trouble,
};
use kinesql_engine::runtime::clock::Clock;
use kinesql_engine::{Error, Result};

use crate::aws::{self, AwsOptions, is_throttled};
use crate::delivery::{Delivery, DeliveryMetrics, DeliveryOptions, DeliveryWriter, Outcome, Parcel, Rows, Transport, options};

/// Records of a request (API reference, PutRecordBatch).
const PUT_RECORD_BATCH_MAX: i64 = 500;

/// Bytes of a request (API reference, PutRecordBatch: 4 MB).
const PUT_RECORD_BATCH_BYTES_MAX: usize = 4 << 20;

/// Bytes of a record, before base64 (API reference, Record: 1,024,000).
const RECORD_BYTES_MAX: usize = 1_024_000;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "delivery_stream",
        kind: OptionKind::Text,
        required: true,
        default: None,
        help: "Name or ARN of the delivery stream.",
    },
    aws::REGION,
    aws::ENDPOINT,
    aws::PROFILE,
    aws::ROLE_ARN,
    aws::EXTERNAL_ID,
    options::NEWLINE,
    options::batch_records(PUT_RECORD_BATCH_MAX, "500", "Most records of a request; the service takes 500."),
    options::batch_bytes("4mb", "Most bytes of a request; the service takes 4mb."),
    options::linger("0ms"),
    options::max_in_flight("4"),
    options::BUFFER_BYTES,
    options::request_timeout("30s"),
    options::RETRY_MIN_DELAY,
    options::RETRY_MAX_DELAY,
    options::RETRY_MAX_ELAPSED,
];

/// Makes `firehose` sinks.
#[derive(Debug)]
pub struct FirehoseSinkFactory;

impl SinkFactory for FirehoseSinkFactory {
    fn name(&self) -> &'static str {
        "firehose"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw"]
    }

    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>> {
        let given = options.text("delivery_stream").unwrap_or_default();
        let name = match given.strip_prefix("arn:").and_then(|arn| arn.split_once(":deliverystream/")) {
            Some((_, name)) => name,
            None => given,
        };
        if name.is_empty() || name.starts_with("arn:") {
            return Err(Error::config(format!("option \"delivery_stream\" cannot be '{given}'"))
                .with_hint("Give a name, or an ARN such as arn:aws:firehose:us-east-1:123456789012:deliverystream/NAME."));
        }
        Ok(Arc::new(FirehoseSink {
            aws: AwsOptions::try_new(options, Some(given))?,
            delivery: DeliveryOptions::try_new(options, PUT_RECORD_BATCH_BYTES_MAX)?,
            rows: Rows::try_new("firehose", definition)?,
            metrics: Arc::default(),
            name: name.to_owned(),
        }))
    }
}

/// A bound `firehose` sink.
#[derive(Debug)]
struct FirehoseSink {
    name: String,
    aws: AwsOptions,
    delivery: DeliveryOptions,
    rows: Rows,
    metrics: Arc<DeliveryMetrics>,
}

#[async_trait]
impl Sink for FirehoseSink {
    async fn open(&self, _state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let client = Client::new(&self.aws.load_for_sink().await?);
        let transport = PutRecordBatch { client, name: self.name.clone(), subject: format!("delivery stream \"{}\"", self.name) };
        transport.describe(&context.clock).await?;
        let delivery = Delivery::plain(self.delivery.clone(), RECORD_BYTES_MAX, |_, data| data, transport, &self.metrics);
        Ok(Box::new(DeliveryWriter::start(&self.rows, delivery, context)?))
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        self.metrics.list()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.metrics.trouble()
    }
}

/// Makes `PutRecordBatch` calls.
#[derive(Debug)]
struct PutRecordBatch {
    client: Client,
    name: String,
    subject: String,
}

impl PutRecordBatch {
    /// Fails if the delivery stream does not exist.
    async fn describe(&self, clock: &Arc<dyn Clock>) -> Result<()> {
        let call = self.client.describe_delivery_stream().delivery_stream_name(&self.name);
        let call = || call.clone().send();
        aws::first_call("firehose:DescribeDeliveryStream", &self.subject, clock, call).await.map(|_| ())
    }
}

#[async_trait]
impl Transport for PutRecordBatch {
    async fn send(&self, parcel: &Parcel) -> Outcome {
        let records = parcel.records.iter().map(|record| Record::builder().data(Blob::new(record.data.as_ref())).build());
        let records = match records.collect::<Result<Vec<_>, _>>() {
            Ok(records) => records,
            Err(error) => return Outcome::Fatal(Error::internal("a record has no data").with_cause(error)),
        };
        let call = self.client.put_record_batch().delivery_stream_name(&self.name).set_records(Some(records));
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => return aws::outcome("firehose:PutRecordBatch", &self.subject, &error),
        };
        let results = answer.request_responses();
        if results.len() != parcel.records.len() {
            let (sent, got) = (parcel.records.len(), results.len());
            let message = format!("firehose:PutRecordBatch of {}: {sent} records were sent, {got} were answered", self.subject);
            return Outcome::again(Error::unavailable(message));
        }
        // The count is not looked at: the answers to the records decide.
        let failed: Vec<_> = (0..results.len()).filter(|place| results[*place].error_code().is_some()).collect();
        let Some(last) = failed.last().map(|place| &results[*place]) else { return Outcome::Accepted };
        let (code, said) = (last.error_code().unwrap_or_default(), last.error_message().unwrap_or_default());
        let reason = format!("firehose:PutRecordBatch of {}: {code}: {said}", self.subject);
        // Firehose says of single records that it is not available when they come too fast.
        let throttled = is_throttled(Some(code)) || code == "ServiceUnavailableException";
        Outcome::Partly { throttled, failed, reason }
    }
}

#[cfg(test)]
mod tests;
