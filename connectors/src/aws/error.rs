//! Errors of AWS calls as one line that names the call, its subject and what to do.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kinesql_engine::{Error, ErrorKind};

/// The error of a call. `action` is its IAM name, such as `kinesis:GetRecords`; `subject` what it was about, such as
/// `stream "ticks"`.
///
/// Denied calls, missing resources and wrong arguments are [`ErrorKind::Config`]: trying again does not help. Everything else
/// is [`ErrorKind::Unavailable`].
pub fn service_error<E, R>(action: &str, subject: &str, error: &SdkError<E, R>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    let (code, said) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    if code.is_empty() {
        let what = match error {
            SdkError::TimeoutError(_) => "no answer in time".to_owned(),
            _ => one_line(&DisplayErrorContext(error).to_string()),
        };
        return Error::unavailable(format!("{action} of {subject}: {what}"))
            .with_hint("Check the region, the endpoint, the network and the credentials.");
    }
    let said = if said.is_empty() { String::new() } else { format!(": {}", one_line(said)) };
    let message = format!("{action} of {subject}: {code}{said}");
    if is_denied(code) {
        return Error::config(message).with_hint(format!("Allow the action {action} on it for these credentials."));
    }
    match code {
        "ExpiredTokenException" | "ExpiredToken" => {
            Error::unavailable(message).with_hint("The credentials have expired: renew them, such as with 'aws sso login'.")
        }
        "UnrecognizedClientException" | "InvalidSignatureException" | "InvalidClientTokenId" | "SignatureDoesNotMatch" => {
            Error::config(message).with_hint("The credentials are not known there: check the profile and the region.")
        }
        "ResourceNotFoundException" => {
            Error::config(message).with_hint("Check its name and the region: it does not exist there.")
        }
        "ValidationException" | "InvalidArgumentException" | "InvalidParameterValueException" => Error::config(message),
        _ => Error::new(ErrorKind::Unavailable, message),
    }
}

fn is_denied(code: &str) -> bool {
    matches!(code, "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "KMSAccessDeniedException")
}

/// True if the service asks to be called less often: the same call is to be made again, later.
pub fn is_throttled(code: Option<&str>) -> bool {
    matches!(
        code,
        Some(
            "ProvisionedThroughputExceededException"
                | "LimitExceededException"
                | "ThrottlingException"
                | "Throttling"
                | "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "SlowDown"
                | "KMSThrottlingException"
        )
    )
}

/// True if the same call may succeed later: throttling, time-outs, broken connections, errors of the service itself.
pub fn is_transient<E, R>(error: &SdkError<E, R>) -> bool
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(_) => {
            is_throttled(error.code())
                || matches!(
                    error.code(),
                    None | Some(
                        "InternalFailure"
                            | "InternalFailureException"
                            | "InternalServerError"
                            | "ServiceUnavailable"
                            | "ServiceUnavailableException"
                            | "ServiceException"
                            | "ExpiredTokenException"
                            | "ExpiredToken"
                    )
                )
        }
        _ => false,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
