//! Errors of AWS calls as one line that names the call, its subject and what to do.

use std::error::Error as _;
use std::fmt::Debug;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::event_stream::RawMessage;
use kinesql_engine::{Error, ErrorKind};

use crate::causes::{causes, one_line};

/// What came back from a service.
pub trait Answered: Debug {
    /// The status, if it is an answer of HTTP.
    fn status(&self) -> Option<u16>;
}

impl Answered for HttpResponse {
    fn status(&self) -> Option<u16> {
        Some(HttpResponse::status(self).as_u16())
    }
}

impl Answered for RawMessage {
    fn status(&self) -> Option<u16> {
        None
    }
}

/// The error of a call. `action` is its IAM name, such as `kinesis:GetRecords`; `subject` what it was about, such as
/// `stream "ticks"`.
///
/// Denied calls, missing resources and wrong arguments are [`ErrorKind::Config`]: trying again does not help. Everything else
/// is [`ErrorKind::Unavailable`].
pub fn service_error<E, R>(action: &str, subject: &str, error: &SdkError<E, R>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: Answered,
{
    let (code, said) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    if code.is_empty() {
        return Error::unavailable(format!("{action} of {subject}: {}", without_code(error)))
            .with_hint("Check the region, the endpoint, the network and the credentials.");
    }
    let said = if said.is_empty() { String::new() } else { format!(": {}", one_line(said)) };
    let message = format!("{action} of {subject}: {}{said}", one_line(code));
    if code == "KMSAccessDeniedException" && action.starts_with("kinesis:") {
        // Data at rest is encrypted with a key of the user's (Kinesis Data Streams: "Permissions to use user-generated KMS keys").
        let missing = if action.contains(":Put") { "kms:GenerateDataKey" } else { "kms:Decrypt" };
        return Error::config(message)
            .with_hint(format!("Allow the action {missing} on the key that encrypts it for these credentials."));
    }
    if is_denied(code) {
        return Error::config(message).with_hint(format!("Allow the action {action} on it for these credentials."));
    }
    if is_skewed(code, error.message()) {
        return Error::unavailable(message).with_hint("Check the clock of this machine: requests are signed with its time.");
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
        "ValidationException" | "ValidationError" | "InvalidArgumentException" | "InvalidParameterValueException" => {
            Error::config(message)
        }
        _ => Error::new(ErrorKind::Unavailable, message),
    }
}

/// What happened, where the service has not said it.
fn without_code<E, R>(error: &SdkError<E, R>) -> String
where
    E: std::error::Error + 'static,
    R: Answered,
{
    match (error, status(error)) {
        (SdkError::TimeoutError(_), _) => "no answer in time".to_owned(),
        (SdkError::ServiceError(_), Some(status)) => format!("an answer of status {status} that names no error"),
        (_, Some(status)) => {
            let why = error.source().map(|cause| format!(": {}", causes(cause))).unwrap_or_default();
            format!("an answer of status {status} that cannot be read{why}")
        }
        // The outermost error says only in which phase of a call the others happened.
        _ => error.source().map_or_else(|| causes(error), causes),
    }
}

fn status<E, R: Answered>(error: &SdkError<E, R>) -> Option<u16> {
    match error {
        SdkError::ServiceError(context) => context.raw().status(),
        SdkError::ResponseError(context) => context.raw().status(),
        _ => None,
    }
}

pub(super) fn is_denied(code: &str) -> bool {
    matches!(code, "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation")
}

/// True if the time of a request is not that of the service. Most services call its signature invalid then, and say why.
fn is_skewed(code: &str, message: Option<&str>) -> bool {
    match code {
        "RequestExpired" | "RequestTimeTooSkewed" => true,
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            message.is_some_and(|message| message.contains("Signature expired") || message.contains("Signature not yet current"))
        }
        _ => false,
    }
}

/// True if the service asks to be called less often: the same call is to be made again, later. The codes are those that the SDK
/// knows (aws-runtime, `retries/classifiers.rs`, THROTTLING_ERRORS) but that of EC2, and Kinesis' own for keys.
pub fn is_throttled(code: Option<&str>) -> bool {
    matches!(
        code,
        Some(
            "ProvisionedThroughputExceededException"
                | "LimitExceededException"
                | "ThrottlingException"
                | "Throttling"
                | "ThrottledException"
                | "RequestThrottled"
                | "RequestThrottledException"
                | "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "BandwidthLimitExceeded"
                | "TransactionInProgressException"
                | "PriorRequestNotComplete"
                | "SlowDown"
                | "KMSThrottlingException"
        )
    )
}

/// True if the call was refused because it is too large: by its status, as what stands before a service answers, or by name.
pub(crate) fn is_too_large<E, R>(error: &SdkError<E, R>) -> bool
where
    E: ProvideErrorMetadata,
    R: Answered,
{
    let by_name = matches!(
        error.code(),
        Some("RequestEntityTooLargeException" | "RequestTooLargeException" | "SerializedRequestEntityTooLargeException")
    );
    by_name || status(error) == Some(413)
}

/// True if the same call may succeed later: throttling, time-outs, broken connections, every error of the service itself.
pub fn is_transient<E, R>(error: &SdkError<E, R>) -> bool
where
    E: ProvideErrorMetadata,
    R: Answered,
{
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(_) => {
            is_throttled(error.code())
                || is_skewed(error.code().unwrap_or_default(), error.message())
                || status(error).is_some_and(|status| status >= 500)
                || matches!(
                    error.code(),
                    None | Some(
                        // Within an event stream there is no status.
                        "InternalFailure"
                            | "InternalFailureException"
                            | "InternalServerError"
                            | "ServiceUnavailable"
                            | "ServiceUnavailableException"
                            | "ServiceException"
                            | "RequestTimeout"
                            | "RequestTimeoutException"
                            | "ExpiredTokenException"
                            | "ExpiredToken"
                    )
                )
        }
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod testing {
    use aws_smithy_types::error::ErrorMetadata;

    use super::ProvideErrorMetadata;

    /// What an operation of the SDK fails with.
    #[derive(Debug, thiserror::Error)]
    #[error("unhandled error")]
    pub(in crate::aws) struct Failed(pub(in crate::aws) ErrorMetadata);

    impl ProvideErrorMetadata for Failed {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    use super::testing::Failed;
    use super::*;

    fn answer(status: u16, body: &'static str) -> HttpResponse {
        HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body))
    }

    /// As the SDK makes it of an answer.
    fn refused(status: u16, code: Option<&str>, message: &str) -> SdkError<Failed, HttpResponse> {
        let meta = ErrorMetadata::builder();
        let meta = match code {
            Some(code) => meta.code(code).message(message).build(),
            None => meta.build(),
        };
        SdkError::service_error(Failed(meta), answer(status, "<html>\n<h1>502</h1>\n</html>"))
    }

    #[test]
    fn whatever_the_service_calls_its_own_failure_it_passes() {
        for (status, code, passes) in [
            (500, Some("KMSInternalException"), true),
            (503, Some("SomethingNew"), true),
            (502, None, true),
            (400, Some("RequestExpired"), true),
            (400, Some("ExpiredTokenException"), true),
            (400, Some("ProvisionedThroughputExceededException"), true),
            (400, Some("ValidationException"), false),
            (403, Some("AccessDeniedException"), false),
            (413, Some("SomethingNew"), false),
        ] {
            assert_eq!(is_transient(&refused(status, code, "")), passes, "{status} {code:?}");
        }
    }

    #[test]
    fn messages_are_one_line_without_the_names_of_types() {
        let said = |error: &SdkError<Failed, HttpResponse>| {
            let error = service_error("kinesis:PutRecords", "stream \"x\"", error);
            assert!(!error.message().contains('\n') && std::error::Error::source(&error).is_none(), "{error}");
            error.message().trim_start_matches("kinesis:PutRecords of stream \"x\": ").to_owned()
        };
        assert_eq!(said(&refused(502, None, "")), "an answer of status 502 that names no error");
        assert_eq!(said(&refused(400, Some("KMSDisabledException"), "a\n  b")), "KMSDisabledException: a b");
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "Connection refused (os error 111)");
        let connection = said(&SdkError::dispatch_failure(ConnectorError::io(Box::new(refused))));
        assert_eq!(connection, "io error: Connection refused (os error 111)");
        let garbage = SdkError::response_error("expected value at line 1 column 1", answer(200, "garbage"));
        let expected = "an answer of status 200 that cannot be read: expected value at line 1 column 1";
        assert_eq!(said(&garbage), expected);
        assert_eq!(said(&SdkError::timeout_error("timeout")), "no answer in time");
    }

    #[test]
    fn an_expired_request_points_to_the_clock() {
        let error = service_error("sts:GetCallerIdentity", "x", &refused(400, Some("RequestExpired"), "Request has expired."));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.hint(), Some("Check the clock of this machine: requests are signed with its time."));
    }

    #[test]
    fn a_signature_of_another_time_points_to_the_clock_and_passes() {
        for said in [
            "Signature expired: 20240101T000000Z is now earlier than 20240101T005500Z (20240101T010000Z - 5 min.)",
            "Signature not yet current: 20240101T020000Z is still later than 20240101T010500Z (20240101T010000Z + 5 min.)",
        ] {
            let refused = refused(400, Some("InvalidSignatureException"), said);
            assert!(is_transient(&refused));
            let error = service_error("kinesis:GetRecords", "stream \"x\"", &refused);
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.hint(), Some("Check the clock of this machine: requests are signed with its time."));
        }
        let said = "The request signature we calculated does not match the signature you provided.";
        let refused = refused(400, Some("InvalidSignatureException"), said);
        assert!(!is_transient(&refused));
        let error = service_error("kinesis:GetRecords", "stream \"x\"", &refused);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.hint(), Some("The credentials are not known there: check the profile and the region."));
    }

    #[test]
    fn of_a_key_that_may_not_be_used_the_hint_names_its_action() {
        for (action, missing) in [("kinesis:GetRecords", "kms:Decrypt"), ("kinesis:PutRecords", "kms:GenerateDataKey")] {
            let error = service_error(action, "stream \"x\"", &refused(400, Some("KMSAccessDeniedException"), "no"));
            assert_eq!(error.kind(), ErrorKind::Config);
            let hint = format!("Allow the action {missing} on the key that encrypts it for these credentials.");
            assert_eq!(error.hint(), Some(hint.as_str()));
        }
    }
}
