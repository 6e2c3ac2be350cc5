//! What sinks make of failed calls.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kinesql_engine::connector::Options;
use kinesql_engine::runtime::clock::Clock;
use kinesql_engine::{Error, ErrorKind, Result};

use super::{Answered, AwsOptions, is_throttled, is_too_large, is_transient, region_of_arn, service_error};
use crate::delivery::{Backoff, Outcome};

impl AwsOptions {
    /// The options of a source's pre-processor: its own, else those of the source. `function` may be an ARN.
    pub(crate) fn of_preprocessor(options: &Options, function: &str) -> Result<Self> {
        let own = |name: &str| options.text(&format!("preprocessor.{name}")).map(str::to_owned);
        let or_source = |name: &str| own(name).or_else(|| options.text(name).map(str::to_owned));
        let of_arn = region_of_arn(function).map(str::to_owned);
        let new = Self {
            region: own("region").or(of_arn).or_else(|| options.text("region").map(str::to_owned)),
            // That of the source is another service's.
            endpoint: own("endpoint"),
            profile: or_source("profile"),
            role_arn: or_source("role_arn"),
            external_id: or_source("external_id"),
        };
        if new.external_id.is_some() && new.role_arn.is_none() {
            return Err(Error::config("option \"preprocessor.external_id\" has no meaning without a role")
                .with_hint("Add preprocessor.role_arn = '…', the role whose trust policy asks for the external id."));
        }
        Ok(new)
    }

    /// What the clients of sinks are made from: they do not retry, since delivery does.
    pub(crate) async fn load_for_sink(&self) -> Result<SdkConfig> {
        let config = self.load().await?;
        Ok(config.into_builder().retry_config(RetryConfig::disabled()).build())
    }
}

/// What a failed request means for its records.
pub(crate) fn outcome<E, R>(action: &str, subject: &str, error: &SdkError<E, R>) -> Outcome
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: Answered,
{
    let throttled = is_throttled(error.code());
    let said = service_error(action, subject, error);
    if is_too_large(error) {
        Outcome::TooLarge(said)
    } else if throttled || is_transient(error) || said.kind() != ErrorKind::Config {
        let unanswered = matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_));
        Outcome::Retry { error: said, throttled, unanswered, after: None }
    } else {
        Outcome::Fatal(said)
    }
}

/// How often a call is made when a job starts, before its failure is the job's: about ten seconds of waiting.
pub(crate) const START_ATTEMPTS: u32 = 6;

/// Waits between them.
const START_DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Longest wait for an answer: an endpoint may take connections and never answer.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// After this long no further attempt is made.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(20);

/// Makes a call that only asks whether its subject is there. None: it is not allowed, which is no reason not to start. Fails if
/// the subject is not there, if the credentials or the address are wrong, or if nobody answers.
pub(crate) async fn first_call<T, E, R, F>(
    action: &str,
    subject: &str,
    clock: &Arc<dyn Clock>,
    call: impl Fn() -> F,
) -> Result<Option<T>>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: Answered,
    F: Future<Output = Result<T, SdkError<E, R>>>,
{
    let give_up_at = clock.now().saturating_add(START_PATIENCE.as_millis() as i64);
    let mut backoff = Backoff::new(START_DELAYS.0, START_DELAYS.1, 0);
    let mut attempt = 1;
    loop {
        let outcome = tokio::select! {
            answer = call() => match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if is_refused(error.code()) => return Ok(None),
                Err(error) => outcome(action, subject, &error),
            },
            () = clock.sleep(START_TIMEOUT) => {
                let said = format!("{action} of {subject}: no answer within {} s", START_TIMEOUT.as_secs());
                Outcome::again(Error::unavailable(said).with_hint("Check the endpoint, the region and the network."))
            }
        };
        match outcome {
            Outcome::Retry { error, .. } if attempt == START_ATTEMPTS || clock.now() >= give_up_at => return Err(error),
            Outcome::Fatal(error) | Outcome::TooLarge(error) => return Err(error),
            _ => clock.sleep(backoff.after(attempt)).await,
        }
        attempt += 1;
    }
}

fn is_refused(code: Option<&str>) -> bool {
    matches!(code, Some("AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation"))
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use kinesql_engine::runtime::clock::ManualClock;

    use super::super::error::testing::Failed;
    use super::*;

    #[test]
    fn a_request_that_is_refused_for_its_size_is_to_be_made_smaller() {
        use aws_smithy_types::body::SdkBody;
        use aws_smithy_types::error::ErrorMetadata;

        let is_too_large = |status: u16, code: Option<&str>| {
            let mut meta = ErrorMetadata::builder();
            if let Some(code) = code {
                meta = meta.code(code);
            }
            let answer = HttpResponse::new(status.try_into().expect("a status"), SdkBody::empty());
            let error = SdkError::service_error(Failed(meta.build()), answer);
            matches!(outcome("kinesis:PutRecords", "stream \"x\"", &error), Outcome::TooLarge(_))
        };
        // Of what stands before a service, of Lambda, of ferrokinesis.
        assert!(is_too_large(413, None));
        assert!(is_too_large(413, Some("RequestEntityTooLargeException")));
        assert!(is_too_large(400, Some("RequestTooLargeException")));
        assert!(is_too_large(413, Some("SerializationException")));
        assert!(!is_too_large(400, Some("SerializationException")));
        assert!(!is_too_large(503, None));
    }

    #[tokio::test]
    async fn an_endpoint_that_never_answers_ends_the_start() {
        let clock = ManualClock::starting_at(0);
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let calls = std::cell::Cell::new(0);
        let silent = || {
            calls.set(calls.get() + 1);
            std::future::pending::<Result<(), SdkError<Failed, HttpResponse>>>()
        };
        let mut asked = Box::pin(first_call("kinesis:DescribeStreamSummary", "stream \"x\"", &shared, silent));
        let mut seconds = 0;
        let error = loop {
            match futures::poll!(asked.as_mut()) {
                std::task::Poll::Ready(ended) => break ended.expect_err("nobody answers"),
                std::task::Poll::Pending => {
                    seconds += 1;
                    clock.set(seconds * 1_000);
                }
            }
        };
        assert_eq!(error.message(), "kinesis:DescribeStreamSummary of stream \"x\": no answer within 10 s");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!((20..=30).contains(&seconds) && calls.get() == 2, "{} calls in {seconds} s", calls.get());
    }
}
