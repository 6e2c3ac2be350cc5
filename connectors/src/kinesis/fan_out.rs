//! Reads one shard by enhanced fan-out: `SubscribeToShard`, whose events come for five minutes, then again from where the last
//! event said.
//!
//! A subscription that another process holds is refused; five seconds after it began the service lets it be taken over. So a
//! process that died is followed after five seconds, and a call that fails is not made again sooner.
//!
//! A subscription that says nothing for [`SUBSCRIPTION_SILENCE`], not even that there is nothing, is dead and begins again.
//! See: API reference, SubscribeToShard.

use std::sync::Arc;

use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};

use super::client::{CallError, CallResult, ConsumerState, KinesisApi, Subscription};
use super::limits::{CONSUMER_TIMEOUT, SUBSCRIBE_INTERVAL, SUBSCRIPTION_LIFE, SUBSCRIPTION_SILENCE};
use super::millis;
use super::position::Position;
use super::reader::{Event, ShardReader, Stopped, insist};
use super::stats::Stats;

impl ShardReader {
    pub(super) async fn subscribe(&mut self) -> Result<(), Stopped> {
        let context = Arc::clone(&self.context);
        let mut consumers = context.consumer.subscribe();
        let mut subscribed_at: Option<EventTime> = None;
        loop {
            let consumer = consumers.wait_for(Option::is_some).await.map_err(|_| Stopped)?.clone();
            let Some(consumer) = consumer else { continue };
            self.tell_expired().await?;
            context.stats.align(&self.stats, context.options.max_skew, &context.clock).await;
            if let Some(subscribed_at) = subscribed_at {
                context.clock.sleep_until(subscribed_at + millis(SUBSCRIBE_INTERVAL)).await;
            }
            match context.api.subscribe(&consumer, &self.shard, &self.position).await {
                Ok(mut subscription) => {
                    // From here on records may come that LATEST would leave out.
                    self.position = self.position.again();
                    subscribed_at = Some(context.clock.now());
                    self.receive(subscription.as_mut()).await?;
                }
                Err(CallError::NotFound(error)) => {
                    // The consumer, the shard or the stream: the coordinator finds out.
                    self.send(Event::NoConsumer).await?;
                    self.refused(CallError::NotFound(error)).await?;
                }
                Err(CallError::Future(_)) => self.position = self.position.not_yet(),
                Err(error) => {
                    self.position = self.position.again();
                    self.refused(error).await?;
                }
            }
        }
    }

    /// Hands over the events of a subscription until it ends, or should have.
    async fn receive(&mut self, subscription: &mut dyn Subscription) -> Result<(), Stopped> {
        let context = Arc::clone(&self.context);
        let ends_at = context.clock.now() + millis(SUBSCRIPTION_LIFE);
        loop {
            // While nothing is taken the service waits, or ends the subscription, which then starts again from here.
            context.stats.align(&self.stats, context.options.max_skew, &context.clock).await;
            let silent_at = context.clock.now() + millis(SUBSCRIPTION_SILENCE);
            let event = tokio::select! {
                biased;
                event = subscription.next() => event,
                () = context.clock.sleep_until(ends_at) => return Ok(()),
                () = context.clock.sleep_until(silent_at) => {
                    let message = format!("kinesis:SubscribeToShard of {}: no event in {SUBSCRIPTION_SILENCE:?}", self.shard);
                    self.stats.failed(context.clock.now(), &message);
                    return Ok(());
                }
            };
            let answer = match event {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(()),
                Err(error) => return self.refused(error).await,
            };
            let received_at = context.clock.now();
            let bytes = self.succeeded(&answer);
            let permit = self.reserve(bytes).await?;
            self.hand_over(&answer, permit).await?;
            if let Some(continuation) = &answer.continuation {
                self.position = Position::after(continuation);
            }
            self.note(&answer, received_at).await?;
            if !answer.children.is_empty() {
                return self.end(&answer.children).await;
            }
        }
    }
}

/// The consumer called `name`, or with this ARN: the one that is there, else a new one; returns its ARN once it can subscribe.
pub(crate) async fn consumer(api: &dyn KinesisApi, clock: &Arc<dyn Clock>, stats: &Stats, name: &str) -> Result<Arc<str>> {
    let deadline = clock.now() + millis(CONSUMER_TIMEOUT);
    loop {
        if let Some(arn) = insist(clock, stats, || find_consumer(api, name)).await? {
            return Ok(arn);
        }
        if clock.now() >= deadline {
            return Err(Error::unavailable(format!("consumer \"{name}\" is not active after {CONSUMER_TIMEOUT:?}")));
        }
        clock.sleep(super::limits::BACKOFF_MIN).await;
    }
}

/// The same without waiting: None if it cannot subscribe yet.
pub(crate) async fn find_consumer(api: &dyn KinesisApi, name: &str) -> CallResult<Option<Arc<str>>> {
    let stream_arn = api.stream_arn().await?;
    let found = match api.describe_consumer(&stream_arn, name).await {
        Ok(consumer) => consumer,
        // One that is named by its ARN cannot be made.
        Err(CallError::NotFound(_)) if !name.starts_with("arn:") => match api.register_consumer(&stream_arn, name).await {
            Ok(consumer) => consumer,
            // Another process was faster.
            Err(CallError::InUse(_)) => return Ok(None),
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    Ok((found.status == ConsumerState::Active).then(|| found.arn.into()))
}
