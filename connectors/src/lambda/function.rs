//! Invoking a Lambda function with JSON, and what its failures mean.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::InvocationType;
use aws_smithy_types::Blob;
use bytes::Bytes;
use kinesql_engine::runtime::clock::Clock;
use kinesql_engine::{Error, Result};
use serde::Deserialize;

use crate::aws::{self, AwsOptions};
use crate::causes::one_line;
use crate::delivery::Outcome;

/// Bytes of a payload of a synchronous invocation, and of its answer (API reference, Invoke: 6 MB).
pub(super) const PAYLOAD_BYTES_MAX: usize = 6 << 20;

/// What a request takes beyond the function's own time-out.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(5);

/// A function that can be invoked.
#[derive(Debug)]
pub(super) struct Function {
    client: Client,
    name: String,
    subject: String,
    region: String,
}

/// What a function that raised an error answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raised {
    error_message: String,
    error_type: String,
}

impl Function {
    /// `name` is a name or an ARN, with a version or an alias behind it if the user likes.
    pub(super) async fn new(aws: &AwsOptions, name: &str) -> Result<Self> {
        let config = aws.load_for_sink().await?;
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        Ok(Self { client: Client::new(&config), name: name.to_owned(), subject: format!("function \"{name}\""), region })
    }

    /// The ARN of an application that requests can name where the user gives none.
    pub(super) fn default_application_arn(&self) -> String {
        format!("arn:aws:kinesisanalytics:{}:000000000000:application/kinesql", self.region)
    }

    /// How long to wait for an answer, if the service may be asked. Fails if the function does not exist.
    pub(super) async fn timeout(&self, clock: &Arc<dyn Clock>) -> Result<Option<Duration>> {
        let call = self.client.get_function_configuration().function_name(&self.name);
        let call = || call.clone().send();
        let answer = aws::first_call("lambda:GetFunctionConfiguration", &self.subject, clock, call).await?;
        let seconds = answer.and_then(|answer| u64::try_from(answer.timeout()?).ok());
        Ok(seconds.map(|seconds| Duration::from_secs(seconds) + TIMEOUT_MARGIN))
    }

    /// Invokes it and waits for what it returns.
    pub(super) async fn invoke(&self, payload: Vec<u8>) -> Result<Bytes, Outcome> {
        let call = self.client.invoke().function_name(&self.name).invocation_type(InvocationType::RequestResponse);
        let answer = match call.payload(Blob::new(payload)).send().await {
            Ok(answer) => answer,
            Err(error) => return Err(aws::outcome("lambda:InvokeFunction", &self.subject, &error)),
        };
        let returned = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let Some(kind) = answer.function_error else { return Ok(Bytes::from(returned)) };
        let raised: Raised = serde_json::from_slice(&returned).unwrap_or_default();
        let Raised { error_message, error_type } = raised;
        let error = self.failed(&format!("{kind} error {error_type}: {error_message}"));
        // The answer was too long: that of half of the records may not be.
        if error_type == "Function.ResponseSizeTooLarge" {
            return Err(Outcome::TooLarge(error));
        }
        Err(Outcome::again(error))
    }

    /// The error of an invocation that returned something useless.
    pub(super) fn failed(&self, what: &str) -> Error {
        Error::unavailable(format!("lambda:InvokeFunction of {}: {}", self.subject, one_line(what)))
    }
}
