//! The calls of Kinesis Data Streams that the source makes, as a trait over the SDK, and what can go wrong with each.
//!
//! The SDK itself retries nothing: who calls knows whether to wait with the same iterator, to ask for a new one, or to stop.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{
    ChildShard, ConsumerStatus, Record, ShardIteratorType, StartingPosition, SubscribeToShardEventStream,
};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kinesql_engine::{Error, Result};

use super::limits::{CALL_TIMEOUT, LIST_SHARDS_MAX, RETENTION_MIN};
use super::position::Position;
use super::shards::Shard;
use crate::aws::{Answered, AwsOptions, is_throttled, is_transient, service_error};

/// The stream, as the user names it: a name or an ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamName(String);

impl StreamName {
    /// Accepts a stream's name (API: CreateStream, "StreamName": `[a-zA-Z0-9_.-]+`, at most 128 characters) or its ARN.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let is_name = |name: &str| {
            (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        let name = match text.strip_prefix("arn:") {
            Some(arn) => arn.rsplit_once(":stream/").filter(|_| arn.split(':').nth(1) == Some("kinesis")).map(|(_, name)| name),
            None => Some(text),
        };
        if name.is_some_and(is_name) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::config(format!("option \"stream\" of connector 'kinesis' cannot be '{text}'")).with_hint(
            "Write a stream's name (letters, digits, '_', '.', '-') or its ARN, 'arn:aws:kinesis:region:account:stream/name'.",
        ))
    }

    /// The ARN, if it is one.
    pub(crate) fn arn(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| text.starts_with("arn:"))
    }

    /// The name alone.
    pub(crate) fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    fn name_unless_arn(&self) -> Option<String> {
        self.arn().is_none().then(|| self.0.clone())
    }

    fn arn_string(&self) -> Option<String> {
        self.arn().map(str::to_owned)
    }
}

/// Why a call gave no answer. The error inside names the call, its subject and what to do.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Called too often: the same call, later.
    Throttled(Error),
    /// The iterator or the token of the next page is too old: ask for a new one.
    Expired,
    /// The time of the position has not come yet by the service's clock.
    Future(Error),
    /// Another call is under way, or another process holds the subscription.
    InUse(Error),
    /// The stream, shard or consumer does not exist.
    NotFound(Error),
    /// Time-outs, broken connections, failures of the service, expired credentials, answers that are none: the same call, later.
    Transient(Error),
    /// Trying again does not help.
    Fatal(Error),
}

impl CallError {
    /// The error of a job that gives up.
    pub(crate) fn into_error(self) -> Error {
        match self {
            CallError::Expired => Error::unavailable("kinesis: iterators expire before they can be used"),
            CallError::Throttled(error)
            | CallError::Future(error)
            | CallError::InUse(error)
            | CallError::NotFound(error)
            | CallError::Transient(error)
            | CallError::Fatal(error) => error,
        }
    }

    /// What the service said, in one line.
    pub(crate) fn message(&self) -> &str {
        match self {
            CallError::Expired => "an iterator or a token expired",
            CallError::Throttled(error)
            | CallError::Future(error)
            | CallError::InUse(error)
            | CallError::NotFound(error)
            | CallError::Transient(error)
            | CallError::Fatal(error) => error.message(),
        }
    }

    /// True if the same call may succeed later.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, CallError::Throttled(_) | CallError::Transient(_))
    }
}

/// The result of a call.
pub(crate) type CallResult<T> = std::result::Result<T, CallError>;

/// Shards of one answer of `ListShards`.
#[derive(Debug, Default)]
pub(crate) struct ShardPage {
    /// The shards.
    pub(crate) shards: Vec<Shard>,
    /// The token of the next page; None: this was the last.
    pub(crate) next: Option<String>,
}

/// Records of a shard: an answer of `GetRecords`, or an event of a subscription.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// In the shard's order.
    pub(crate) records: Vec<Record>,
    /// `GetRecords`: the iterator of the next call. None at the end of a closed shard.
    pub(crate) next_iterator: Option<String>,
    /// `SubscribeToShard`: the place to go on from, even if there are no records.
    pub(crate) continuation: Option<String>,
    /// How far behind the newest record this is.
    pub(crate) behind_latest_ms: i64,
    /// At the end of a shard: what follows it.
    pub(crate) children: Vec<ChildShard>,
}

/// A consumer of enhanced fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Consumer {
    /// Its ARN.
    pub(crate) arn: String,
    /// What it can do.
    pub(crate) status: ConsumerState,
}

/// What a consumer can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsumerState {
    /// Nothing yet.
    Creating,
    /// Subscribe.
    Active,
    /// Nothing any more.
    Deleting,
}

/// The records of a shard as they come, for at most five minutes.
#[async_trait]
pub(crate) trait Subscription: Send {
    /// The next event; None at the end. Safe to cancel.
    async fn next(&mut self) -> CallResult<Option<Answer>>;
}

/// The calls.
#[async_trait]
pub(crate) trait KinesisApi: Send + Sync + Debug {
    /// `DescribeStreamSummary`: the stream's ARN.
    async fn stream_arn(&self) -> CallResult<String>;

    /// `DescribeStreamSummary`: how long the stream keeps its records.
    async fn retention(&self) -> CallResult<Duration>;

    /// `ListShards`: a page; the first one without a token.
    async fn list_shards(&self, token: Option<&str>) -> CallResult<ShardPage>;

    /// `GetShardIterator`.
    async fn shard_iterator(&self, shard: &str, position: &Position) -> CallResult<String>;

    /// `GetRecords`: at most `limit` records.
    async fn get_records(&self, shard: &str, iterator: &str, limit: i32) -> CallResult<Answer>;

    /// `DescribeStreamConsumer`, by name or ARN.
    async fn describe_consumer(&self, stream_arn: &str, consumer: &str) -> CallResult<Consumer>;

    /// `RegisterStreamConsumer`.
    async fn register_consumer(&self, stream_arn: &str, name: &str) -> CallResult<Consumer>;

    /// `DeregisterStreamConsumer`.
    async fn deregister_consumer(&self, consumer_arn: &str) -> CallResult<()>;

    /// `SubscribeToShard`.
    async fn subscribe(&self, consumer_arn: &str, shard: &str, position: &Position) -> CallResult<Box<dyn Subscription>>;
}

/// The service, through the SDK.
#[derive(Debug)]
pub(crate) struct SdkClient {
    client: Client,
    stream: StreamName,
}

impl SdkClient {
    /// Finds region and credentials; asks no service yet but for a role.
    pub(crate) async fn connect(aws: &AwsOptions, stream: &StreamName) -> Result<Self> {
        let config = aws.load().await?;
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(CALL_TIMEOUT).build();
        let config = aws_sdk_kinesis::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // A subscription to a shard without records is silent, not stalled.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Ok(Self { client: Client::from_conf(config), stream: stream.clone() })
    }

    fn stream_subject(&self) -> String {
        format!("stream \"{}\"", self.stream.name())
    }

    fn shard_subject(&self, shard: &str) -> String {
        format!("stream \"{}\", {shard}", self.stream.name())
    }
}

/// Sorts the error of `action` by what to do about it.
pub(crate) fn call_error<E, R>(action: &str, subject: &str, error: &SdkError<E, R>) -> CallError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: Answered,
{
    let explained = service_error(action, subject, error);
    match error.code() {
        Some("ExpiredIteratorException" | "ExpiredNextTokenException") => CallError::Expired,
        Some("ResourceInUseException") => CallError::InUse(explained),
        Some("ResourceNotFoundException") => CallError::NotFound(explained),
        code if is_throttled(code) => CallError::Throttled(explained),
        _ if is_transient(error) => CallError::Transient(explained),
        _ => CallError::Fatal(explained),
    }
}

/// The service has one answer to all wrong arguments; of those that come with a time, only that can be wrong.
fn at_position(error: CallError, position: &Position, code: Option<&str>) -> CallError {
    match (error, position) {
        (CallError::Fatal(error), Position::Timestamp(_)) if code == Some("InvalidArgumentException") => CallError::Future(error),
        (CallError::Fatal(error), Position::After { .. }) if code == Some("InvalidArgumentException") => {
            CallError::Fatal(error.with_hint(
                "The stream does not know the place of the checkpoint: if it was created anew since then, start without the checkpoint.",
            ))
        }
        (error, _) => error,
    }
}

#[async_trait]
impl KinesisApi for SdkClient {
    async fn stream_arn(&self) -> CallResult<String> {
        if let Some(arn) = self.stream.arn() {
            return Ok(arn.to_owned());
        }
        let answer = self.client.describe_stream_summary().stream_name(self.stream.name()).send().await;
        let answer = answer.map_err(|error| call_error("kinesis:DescribeStreamSummary", &self.stream_subject(), &error))?;
        Ok(answer.stream_description_summary.map(|summary| summary.stream_arn).unwrap_or_default())
    }

    async fn retention(&self) -> CallResult<Duration> {
        let call = self.client.describe_stream_summary();
        let answer = call.set_stream_name(self.stream.name_unless_arn()).set_stream_arn(self.stream.arn_string()).send().await;
        let answer = answer.map_err(|error| call_error("kinesis:DescribeStreamSummary", &self.stream_subject(), &error))?;
        let hours = answer.stream_description_summary.and_then(|summary| u64::try_from(summary.retention_period_hours).ok());
        Ok(hours.map_or(RETENTION_MIN, |hours| Duration::from_secs(hours * 3_600)).max(RETENTION_MIN))
    }

    async fn list_shards(&self, token: Option<&str>) -> CallResult<ShardPage> {
        let call = self.client.list_shards().max_results(LIST_SHARDS_MAX);
        // A token stands for the stream and may not come with its name (API: ListShards, "NextToken").
        let call = match token {
            Some(token) => call.next_token(token),
            None => call.set_stream_name(self.stream.name_unless_arn()).set_stream_arn(self.stream.arn_string()),
        };
        let answer = call.send().await;
        let answer = answer.map_err(|error| call_error("kinesis:ListShards", &self.stream_subject(), &error))?;
        let shards =
            answer.shards.unwrap_or_default().iter().map(Shard::of).collect::<Result<_>>().map_err(CallError::Transient)?;
        Ok(ShardPage { shards, next: answer.next_token.filter(|token| !token.is_empty()) })
    }

    async fn shard_iterator(&self, shard: &str, position: &Position) -> CallResult<String> {
        let mut call = self.client.get_shard_iterator().shard_id(shard);
        call = call.set_stream_name(self.stream.name_unless_arn()).set_stream_arn(self.stream.arn_string());
        call = match position {
            Position::Latest(_) => call.shard_iterator_type(ShardIteratorType::Latest),
            Position::TrimHorizon => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Position::Timestamp(time) => {
                call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(*time))
            }
            Position::After { after, sub } => {
                call.shard_iterator_type(after_or_at(*sub)).starting_sequence_number(after.to_string())
            }
        };
        let answer = call.send().await;
        let answer = answer.map_err(|error| {
            let explained = call_error("kinesis:GetShardIterator", &self.shard_subject(shard), &error);
            at_position(explained, position, error.code())
        })?;
        answer.shard_iterator.ok_or_else(|| {
            let subject = self.shard_subject(shard);
            CallError::Transient(Error::unavailable(format!("kinesis:GetShardIterator of {subject}: the answer is empty")))
        })
    }

    async fn get_records(&self, shard: &str, iterator: &str, limit: i32) -> CallResult<Answer> {
        let answer = self.client.get_records().set_stream_arn(self.stream.arn_string()).shard_iterator(iterator).limit(limit);
        let answer = answer.send().await;
        let answer = answer.map_err(|error| call_error("kinesis:GetRecords", &self.shard_subject(shard), &error))?;
        Ok(Answer {
            records: answer.records,
            next_iterator: answer.next_shard_iterator.filter(|iterator| !iterator.is_empty()),
            continuation: None,
            behind_latest_ms: answer.millis_behind_latest.unwrap_or(0),
            children: answer.child_shards.unwrap_or_default(),
        })
    }

    async fn describe_consumer(&self, stream_arn: &str, consumer: &str) -> CallResult<Consumer> {
        let call = self.client.describe_stream_consumer();
        let call = match consumer.starts_with("arn:") {
            true => call.consumer_arn(consumer),
            false => call.stream_arn(stream_arn).consumer_name(consumer),
        };
        let answer = call.send().await;
        let subject = format!("consumer \"{consumer}\" of {}", self.stream_subject());
        let answer = answer.map_err(|error| call_error("kinesis:DescribeStreamConsumer", &subject, &error))?;
        let described = answer.consumer_description.ok_or_else(|| {
            CallError::Transient(Error::unavailable(format!("kinesis:DescribeStreamConsumer of {subject}: the answer is empty")))
        })?;
        Ok(Consumer { arn: described.consumer_arn, status: consumer_state(&described.consumer_status) })
    }

    async fn register_consumer(&self, stream_arn: &str, name: &str) -> CallResult<Consumer> {
        let answer = self.client.register_stream_consumer().stream_arn(stream_arn).consumer_name(name).send().await;
        let subject = format!("consumer \"{name}\" of {}", self.stream_subject());
        let answer = answer.map_err(|error| call_error("kinesis:RegisterStreamConsumer", &subject, &error))?;
        let registered = answer.consumer.ok_or_else(|| {
            CallError::Transient(Error::unavailable(format!("kinesis:RegisterStreamConsumer of {subject}: the answer is empty")))
        })?;
        Ok(Consumer { arn: registered.consumer_arn, status: consumer_state(&registered.consumer_status) })
    }

    async fn deregister_consumer(&self, consumer_arn: &str) -> CallResult<()> {
        let answer = self.client.deregister_stream_consumer().consumer_arn(consumer_arn).send().await;
        let subject = format!("consumer {consumer_arn}");
        answer.map(drop).map_err(|error| call_error("kinesis:DeregisterStreamConsumer", &subject, &error))
    }

    async fn subscribe(&self, consumer_arn: &str, shard: &str, position: &Position) -> CallResult<Box<dyn Subscription>> {
        let start = StartingPosition::builder();
        let start = match position {
            Position::Latest(_) => start.r#type(ShardIteratorType::Latest),
            Position::TrimHorizon => start.r#type(ShardIteratorType::TrimHorizon),
            Position::Timestamp(time) => start.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(*time)),
            Position::After { after, sub } => start.r#type(after_or_at(*sub)).sequence_number(after.to_string()),
        };
        let subject = self.shard_subject(shard);
        let start = start.build().map_err(|error| {
            CallError::Fatal(Error::internal(format!("kinesis:SubscribeToShard of {subject}")).with_cause(error))
        })?;
        let call = self.client.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard).starting_position(start);
        let answer = call
            .send()
            .await
            .map_err(|error| at_position(call_error("kinesis:SubscribeToShard", &subject, &error), position, error.code()))?;
        Ok(Box::new(SdkSubscription { answer, subject }))
    }
}

/// A record of which a part was handed over is read again, for the rest of it.
fn after_or_at(sub: Option<u64>) -> ShardIteratorType {
    if sub.is_some() { ShardIteratorType::AtSequenceNumber } else { ShardIteratorType::AfterSequenceNumber }
}

fn consumer_state(status: &ConsumerStatus) -> ConsumerState {
    match status {
        ConsumerStatus::Active => ConsumerState::Active,
        ConsumerStatus::Deleting => ConsumerState::Deleting,
        _ => ConsumerState::Creating,
    }
}

struct SdkSubscription {
    answer: aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput,
    subject: String,
}

#[async_trait]
impl Subscription for SdkSubscription {
    async fn next(&mut self) -> CallResult<Option<Answer>> {
        loop {
            let event = self.answer.event_stream.recv().await;
            match event.map_err(|error| call_error("kinesis:SubscribeToShard", &self.subject, &error))? {
                None => return Ok(None),
                Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)) => {
                    return Ok(Some(Answer {
                        records: event.records,
                        next_iterator: None,
                        continuation: Some(event.continuation_sequence_number).filter(|sequence| !sequence.is_empty()),
                        behind_latest_ms: event.millis_behind_latest,
                        children: event.child_shards.unwrap_or_default(),
                    }));
                }
                // An event of a kind that came into the service later.
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_the_stream_does_not_know_points_to_the_checkpoint() {
        let place = Position::After { after: "1".into(), sub: None };
        let refused = || CallError::Fatal(Error::config("InvalidArgumentException: Invalid sequence number"));
        let hint = |error: CallError| error.into_error().hint().map(str::to_owned);
        let said = hint(at_position(refused(), &place, Some("InvalidArgumentException"))).expect("a hint");
        assert!(said.ends_with("start without the checkpoint."), "{said}");
        assert_eq!(hint(at_position(refused(), &place, Some("AccessDeniedException"))), None);
        assert_eq!(hint(at_position(refused(), &Position::TrimHorizon, Some("InvalidArgumentException"))), None);
    }

    #[test]
    fn a_stream_is_named_by_name_or_arn() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/ticks";
        assert_eq!(StreamName::parse(arn).expect("an ARN").name(), "ticks");
        assert_eq!(StreamName::parse(arn).expect("an ARN").arn(), Some(arn));
        assert_eq!(StreamName::parse("my-stream_1.x").expect("a name").arn(), None);
        for wrong in ["", "a b", "stream/x", "arn:aws:firehose:eu-west-1:1:deliverystream/x", "arn:aws:kinesis:x:1:stream/"] {
            assert!(StreamName::parse(wrong).is_err(), "{wrong}");
        }
    }
}
