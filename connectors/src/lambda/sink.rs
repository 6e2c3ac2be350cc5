//! The `lambda` sink: rows to a Lambda function, which acknowledges each of them (kda-sql-reference.md §6.14).
//!
//! Service:   AWS Lambda; `Invoke` (action `lambda:InvokeFunction`), and `GetFunctionConfiguration` once if that is allowed: it
//!            says at the start whether the function exists, and how long it may run.
//! Request:   `invocationId`, `applicationArn`, and for each row `recordId`, `lambdaDeliveryRecordMetadata.retryHint` and `data`
//!            in base64. Answer: `recordId` and `result` of each, `Ok` or `DeliveryFailed`.
//! Order:     that of the stream with `max_in_flight = 1` as long as no record fails; none otherwise.
//! Delivery:  at least once. A record keeps its `recordId` when it is sent again, so that the function can tell.
//! Retries:   records that the function did not acknowledge, whatever else it answered; all of a request after an error of the
//!            function, a time-out, or throttling. For ever, unless `retry.max_elapsed` is given.
//! Limits:    a request has at most 6 MB; a row that does not fit goes to `error_stream`.
//! Errors:    `Config` for a function that does not exist and for denied calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinesql_engine::connector::{
    ConnectorMetric, OptionKind, OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter,
    Trouble,
};
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use super::function::{Function, PAYLOAD_BYTES_MAX};
use crate::aws::{self, AwsOptions};
use crate::delivery::{
    Delivery, DeliveryMetrics, DeliveryOptions, DeliveryWriter, Ids, Outcome, Parcel, Rows, Transport, options,
};

/// Bytes of a request around its records: identifier, an ARN of at most 2,048 characters and member names.
const ENVELOPE_BYTES: usize = 2_304;

/// Bytes of a record around its data: identifier, hint and member names.
const RECORD_ENVELOPE_BYTES: usize = 160;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "function",
        kind: OptionKind::Text,
        required: true,
        default: None,
        help: "Name or ARN of the function, with :VERSION or :ALIAS behind it if wanted.",
    },
    aws::REGION,
    aws::ENDPOINT,
    aws::PROFILE,
    aws::ROLE_ARN,
    aws::EXTERNAL_ID,
    OptionSpec {
        name: "application_arn",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "The applicationArn of requests; a made-up one that ends in application/kinesql unless given.",
    },
    options::NEWLINE,
    options::batch_records(10_000, "500", "Most records of a request."),
    options::batch_bytes("6mb", "Most bytes of a request; the service takes 6mb."),
    options::linger("1s"),
    options::max_in_flight("4"),
    options::BUFFER_BYTES,
    OptionSpec {
        name: "request_timeout",
        kind: OptionKind::Duration,
        required: false,
        default: None,
        help: "A request without an answer for this long is sent again; 5s more than the function may run unless given.",
    },
    options::RETRY_MIN_DELAY,
    options::RETRY_MAX_DELAY,
    options::RETRY_MAX_ELAPSED,
];

/// Makes `lambda` sinks.
#[derive(Debug)]
pub struct LambdaSinkFactory;

impl SinkFactory for LambdaSinkFactory {
    fn name(&self) -> &'static str {
        "lambda"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw"]
    }

    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>> {
        let function = options.text("function").unwrap_or_default().to_owned();
        if function.is_empty() {
            return Err(Error::config("option \"function\" of connector 'lambda' cannot be empty"));
        }
        let mut delivery = DeliveryOptions::try_new(options, PAYLOAD_BYTES_MAX)?;
        if delivery.batch_bytes < 2 * ENVELOPE_BYTES {
            return Err(Error::config(format!("option \"batch.bytes\" cannot be {} bytes", delivery.batch_bytes))
                .with_hint(format!("A request needs {} bytes for what is around its records.", 2 * ENVELOPE_BYTES)));
        }
        delivery.batch_bytes -= ENVELOPE_BYTES;
        Ok(Arc::new(LambdaSink {
            aws: AwsOptions::try_new(options, Some(&function))?,
            timeout_given: options.duration("request_timeout").is_some(),
            application_arn: options.text("application_arn").map(str::to_owned),
            delivery,
            rows: Rows::try_new("lambda", definition)?,
            metrics: Arc::default(),
            function,
        }))
    }
}

/// A bound `lambda` sink.
#[derive(Debug)]
struct LambdaSink {
    function: String,
    aws: AwsOptions,
    timeout_given: bool,
    application_arn: Option<String>,
    delivery: DeliveryOptions,
    rows: Rows,
    metrics: Arc<DeliveryMetrics>,
}

#[async_trait]
impl Sink for LambdaSink {
    async fn open(&self, _state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let function = Function::new(&self.aws, &self.function).await?;
        let mut options = self.delivery.clone();
        let function_timeout = function.timeout(&context.clock).await?;
        if !self.timeout_given {
            options.request_timeout = function_timeout.unwrap_or(options.request_timeout);
        }
        let transport = Invoke {
            application_arn: self.application_arn.clone().unwrap_or_else(|| function.default_application_arn()),
            function,
            records: Ids::new(&self.rows.sink, context.clock.now()),
            invocations: Ids::new(&format!("invocations of {}", self.rows.sink), context.clock.now()),
            count: AtomicU64::new(0),
        };
        let record_bytes = (options.batch_bytes - RECORD_ENVELOPE_BYTES) / 4 * 3;
        let cost = |_: &str, data: usize| data.div_ceil(3) * 4 + RECORD_ENVELOPE_BYTES;
        let delivery = Delivery::plain(options, record_bytes, cost, transport, &self.metrics);
        Ok(Box::new(DeliveryWriter::start(&self.rows, delivery, context)?))
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        self.metrics.list()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.metrics.trouble()
    }
}

/// Invokes the function.
#[derive(Debug)]
struct Invoke {
    function: Function,
    application_arn: String,
    /// Identifiers of records, by sequence.
    records: Ids,
    /// Identifiers of invocations, by count.
    invocations: Ids,
    count: AtomicU64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    invocation_id: String,
    application_arn: &'a str,
    records: Vec<RequestRecord<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestRecord<'a> {
    record_id: &'a str,
    lambda_delivery_record_metadata: Metadata,
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    retry_hint: u32,
}

#[derive(Deserialize)]
struct Answer {
    records: Vec<AnswerRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerRecord {
    record_id: String,
    #[serde(default)]
    result: String,
}

#[async_trait]
impl Transport for Invoke {
    async fn send(&self, parcel: &Parcel) -> Outcome {
        let ids: Vec<_> = parcel.records.iter().map(|record| self.records.id(record.sequence)).collect();
        let records = parcel.records.iter().zip(&ids).map(|(record, id)| RequestRecord {
            record_id: id,
            lambda_delivery_record_metadata: Metadata { retry_hint: record.failures },
            data: STANDARD.encode(&record.data),
        });
        let request = Request {
            invocation_id: self.invocations.id(self.count.fetch_add(1, Ordering::Relaxed)),
            application_arn: &self.application_arn,
            records: records.collect(),
        };
        let payload = match serde_json::to_vec(&request) {
            Ok(payload) => payload,
            Err(error) => return Outcome::Fatal(Error::internal("a request cannot be written as JSON").with_cause(error)),
        };
        let returned = match self.function.invoke(payload).await {
            Ok(returned) => returned,
            Err(outcome) => return outcome,
        };
        let answer: Answer = match serde_json::from_slice(&returned) {
            Ok(answer) => answer,
            Err(error) => {
                let error = self.function.failed(&format!("its answer is not that of a destination: {error}"));
                return Outcome::again(error);
            }
        };
        let mut results: HashMap<&str, &str> = HashMap::with_capacity(answer.records.len());
        for AnswerRecord { record_id, result } in &answer.records {
            // Of several answers to a record all must acknowledge it.
            results.entry(record_id).and_modify(|one| *one = if *one == "Ok" { result } else { one }).or_insert(result);
        }
        // A record without an answer has failed as well, and answers to others count for nothing.
        let failed: Vec<_> = (0..ids.len()).filter(|place| results.get(ids[*place].as_str()) != Some(&"Ok")).collect();
        let Some(last) = failed.last() else { return Outcome::Accepted };
        let reason = match results.get(ids[*last].as_str()) {
            Some(result) => self.function.failed(&format!("the result of record {} is '{result}'", ids[*last])),
            None => self.function.failed(&format!("record {} is missing in its answer", ids[*last])),
        };
        Outcome::Partly { failed, throttled: false, reason: reason.message().to_owned() }
    }
}

#[cfg(test)]
mod tests;
