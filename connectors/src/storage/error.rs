//! Errors of a store as one line that names the call, its object and what to do.

use kinesql_engine::{Error, ErrorKind};
use object_store::Error as StoreError;

use super::place::Service;
use crate::causes::{causes, one_line};

/// A call of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Get,
    List,
    Put,
    Delete,
    Abort,
}

impl Call {
    /// The call as the service names it, which for S3 is also the action that a policy has to allow.
    fn name(self, service: Service) -> &'static str {
        match (service, self) {
            (Service::S3, Call::Get) => "s3:GetObject",
            (Service::S3, Call::List) => "s3:ListBucket",
            (Service::S3, Call::Put) => "s3:PutObject",
            (Service::S3, Call::Delete) => "s3:DeleteObject",
            (Service::S3, Call::Abort) => "s3:AbortMultipartUpload",
            (_, Call::Get) => "reading",
            (_, Call::List) => "listing",
            (_, Call::Put) => "writing",
            (_, Call::Delete | Call::Abort) => "deleting",
        }
    }
}

/// What a service said with an answer that is an error.
#[derive(Debug, Default)]
struct Answer {
    /// Such as `503 Service Unavailable`.
    status: Option<String>,
    /// S3's own word, such as `SlowDown`; empty if the body is none of S3.
    code: String,
    message: String,
    /// Where the bucket is instead.
    region: Option<String>,
}

/// Codes of S3 for what passes, beside the answers of status 500 and more (S3 API reference, "List of error codes").
const PASSING: [&str; 9] = [
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "ExpiredToken",
    "RequestExpired",
    // Another call on the same object was faster.
    "OperationAborted",
    "ConditionalRequestConflict",
];

/// The error of `call` about `url`. Missing objects, denied calls, unknown credentials and what the service calls wrong are
/// [`ErrorKind::Config`]: trying again does not help. Everything else is [`ErrorKind::Unavailable`].
pub(super) fn store_error(service: Service, call: Call, url: &str, error: StoreError) -> Error {
    let name = call.name(service);
    let answer = Answer::of(&error);
    let about = |kind, what: &str| Error::new(kind, format!("{name} of '{url}': {what}"));
    let code = answer.code.as_str();
    let failed = match &error {
        _ if PASSING.contains(&code) => about(ErrorKind::Unavailable, &answer.said(&error)).with_hint(match code {
            "ExpiredToken" => "The credentials have expired: renew them, such as with 'aws sso login'.",
            "RequestTimeTooSkewed" | "RequestExpired" => "Check the clock of this machine: requests are signed with its time.",
            _ => "Check the endpoint, the region and the network.",
        }),
        _ if code == "NoSuchBucket" => {
            about(ErrorKind::Config, "there is no such bucket").with_hint("Check its name, the region and the endpoint.")
        }
        _ if answer.is_elsewhere() => {
            let region = answer.region.as_deref().unwrap_or("…");
            about(ErrorKind::Config, "the bucket is in another region")
                .with_hint(format!("Add region = '{region}' to the options."))
        }
        _ if matches!(code, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken") => {
            about(ErrorKind::Config, &answer.said(&error))
                .with_hint("The credentials are not known there: check the profile, the region and the endpoint.")
        }
        StoreError::NotFound { .. } => about(ErrorKind::Config, "there is no such object").with_hint(
            "Check the bucket and the key; without the permission s3:ListBucket a missing object is reported as a denied one.",
        ),
        StoreError::PermissionDenied { .. } => about(ErrorKind::Config, "access denied")
            .with_hint(format!("Allow the action {name} on it for these credentials, and check that they are of this account.")),
        StoreError::Unauthenticated { .. } => {
            about(ErrorKind::Config, &answer.said(&error)).with_hint("Check the profile and the region, or sign in again.")
        }
        StoreError::Precondition { .. } | StoreError::AlreadyExists { .. } => about(ErrorKind::State, "the object has changed"),
        _ if answer.is_final() => about(ErrorKind::Config, &answer.said(&error)),
        _ => about(ErrorKind::Unavailable, &answer.said(&error)).with_hint("Check the endpoint, the region and the network."),
    };
    let said = answer.said(&error);
    // The whole text of the client holds the body of the answer, which may be a page.
    if failed.message().contains(&said) { failed } else { failed.with_cause(Said(said)) }
}

/// What a store has said, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl Answer {
    fn of(error: &StoreError) -> Self {
        // The client's own type is not to be had; its text has the status and the body (object_store, `client/retry.rs`).
        let text = all_texts(error);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(one_line(rest.split_once(&format!("</{name}>"))?.0))
        };
        let status = text.split_once("non-2xx status code: ").map(|(_, rest)| rest.split(": ").next().unwrap_or(rest));
        let mut answer = Self { status: status.map(one_line), ..Self::default() };
        if let Some(code) = element("Code") {
            (answer.code, answer.message, answer.region) = (code, element("Message").unwrap_or_default(), element("Region"));
        }
        if text.contains("incorrectly configured region") {
            answer.status = Some("301 Moved Permanently".to_owned());
        }
        answer
    }

    /// The bucket is not where it was looked for.
    fn is_elsewhere(&self) -> bool {
        let redirected = self.status.as_deref().is_some_and(|status| status.starts_with('3'));
        redirected || matches!(self.code.as_str(), "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect")
    }

    /// The service calls the request wrong. Without a code that is not known: an answer to HEAD has none.
    fn is_final(&self) -> bool {
        let number = self.status.as_deref().and_then(|status| status.get(..3)?.parse::<u16>().ok());
        number.is_some_and(|status| (400..500).contains(&status) && status != 408 && status != 429) && !self.code.is_empty()
    }

    /// What the service said, else what happened on the way to it.
    fn said(&self, error: &StoreError) -> String {
        match &self.status {
            _ if !self.code.is_empty() && self.message.is_empty() => self.code.clone(),
            _ if !self.code.is_empty() => format!("{}: {}", self.code, self.message),
            Some(status) => format!("an answer of status {status}"),
            None => innermost(error),
        }
    }
}

/// All that an error and its causes say.
pub(super) fn all_texts(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// The causes behind those in which the client says what it was doing, how often and for how long.
fn innermost(error: &StoreError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while cause.to_string().contains("Error performing ")
        && let Some(next) = cause.source()
    {
        cause = next;
    }
    match error {
        // "Generic S3 error: …"
        StoreError::Generic { source, .. } if std::ptr::addr_eq(cause, error) => causes(source.as_ref()),
        _ => causes(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    /// As the client puts it.
    #[derive(Debug, thiserror::Error)]
    #[error("Error performing PUT http://s3/b/k in 6.2s, after 10 retries, max_retries: 10, retry_timeout: 180s  - {source}")]
    struct Performing {
        source: Said,
    }

    fn performing(text: &str) -> StoreError {
        StoreError::Generic { store: "S3", source: Box::new(Performing { source: Said(text.to_owned()) }) }
    }

    fn said(text: &str) -> Error {
        store_error(Service::S3, Call::Put, "s3://b/k", performing(text))
    }

    fn answer(status: &str, body: &str) -> Error {
        said(&format!("Server returned non-2xx status code: {status}: {body}"))
    }

    fn xml(code: &str, rest: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<Error>\n <Code>{code}</Code>\n <Message>said\n so</Message>{rest}\n</Error>")
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (status, code, kind) in [
            ("503 Service Unavailable", "SlowDown", ErrorKind::Unavailable),
            ("500 Internal Server Error", "SomethingNew", ErrorKind::Unavailable),
            ("400 Bad Request", "ExpiredToken", ErrorKind::Unavailable),
            ("400 Bad Request", "RequestTimeout", ErrorKind::Unavailable),
            ("403 Forbidden", "RequestTimeTooSkewed", ErrorKind::Unavailable),
            ("400 Bad Request", "InvalidArgument", ErrorKind::Config),
            ("403 Forbidden", "InvalidAccessKeyId", ErrorKind::Config),
            ("405 Method Not Allowed", "MethodNotAllowed", ErrorKind::Config),
        ] {
            let error = answer(status, &xml(code, ""));
            assert_eq!(error.kind(), kind, "{status} {code}");
            assert_eq!(error.message(), format!("s3:PutObject of 's3://b/k': {code}: said so"));
            assert!(error.source().is_none(), "nothing is left to say");
        }
        // An answer to HEAD has no body.
        assert_eq!(answer("400 Bad Request", "").kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn messages_and_causes_are_one_line() {
        let page = answer("502 Bad Gateway", "<html>\n<body>nginx</body>\n</html>");
        assert_eq!(page.message(), "s3:PutObject of 's3://b/k': an answer of status 502 Bad Gateway");
        assert!(page.source().is_none());
        let connection = said("HTTP error: error sending request");
        assert_eq!(connection.message(), "s3:PutObject of 's3://b/k': HTTP error: error sending request");
        let denied = StoreError::PermissionDenied {
            path: "k".to_owned(),
            source: Box::new(Performing {
                source: Said(format!("Server returned non-2xx status code: 403 Forbidden: {}", xml("AccessDenied", ""))),
            }),
        };
        let denied = store_error(Service::S3, Call::Put, "s3://b/k", denied);
        assert_eq!(denied.message(), "s3:PutObject of 's3://b/k': access denied");
        assert_eq!(denied.source().map(ToString::to_string).as_deref(), Some("AccessDenied: said so"));
        let plain = StoreError::Generic { store: "S3", source: "no usable AWS credentials".into() };
        let plain = store_error(Service::S3, Call::Put, "s3://b/k", plain);
        assert_eq!(plain.message(), "s3:PutObject of 's3://b/k': no usable AWS credentials");
    }

    #[test]
    fn a_bucket_in_another_region_is_named_with_its_region() {
        let malformed = answer("400 Bad Request", &xml("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"));
        assert_eq!(malformed.message(), "s3:PutObject of 's3://b/k': the bucket is in another region");
        assert_eq!((malformed.kind(), malformed.hint()), (ErrorKind::Config, Some("Add region = 'eu-west-1' to the options.")));
        let redirect = said("Received redirect without LOCATION, this normally indicates an incorrectly configured region");
        assert_eq!(redirect.message(), "s3:PutObject of 's3://b/k': the bucket is in another region");
        assert_eq!(redirect.hint(), Some("Add region = '…' to the options."));
    }
}
