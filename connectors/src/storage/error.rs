//! Errors of a store as one line that names the call, its object and what to do.

use kinesql_engine::{Error, ErrorKind};
use object_store::Error as StoreError;

use super::place::Service;

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

/// The error of `call` about `url`. Missing objects, denied calls and unknown credentials are [`ErrorKind::Config`]: trying again
/// does not help. Everything else was tried again already and is [`ErrorKind::Unavailable`].
pub(super) fn store_error(service: Service, call: Call, url: &str, error: StoreError) -> Error {
    let name = call.name(service);
    let said = chain(&error);
    let short = answer_of(&said).unwrap_or_else(|| said.clone());
    let about = |kind, what: &str| Error::new(kind, format!("{name} of '{url}': {what}"));
    let failed = match &error {
        _ if said.contains("NoSuchBucket") => {
            about(ErrorKind::Config, "there is no such bucket").with_hint("Check its name, the region and the endpoint.")
        }
        StoreError::NotFound { .. } => about(ErrorKind::Config, "there is no such object")
            .with_hint("Check the key; without the permission s3:ListBucket a missing object is reported as a denied one."),
        StoreError::PermissionDenied { .. } => about(ErrorKind::Config, "access denied")
            .with_hint(format!("Allow the action {name} on it for these credentials, and check that they are of this account.")),
        StoreError::Unauthenticated { .. } => {
            about(ErrorKind::Config, &short).with_hint("Check the profile and the region, or sign in again.")
        }
        StoreError::Precondition { .. } | StoreError::AlreadyExists { .. } => about(ErrorKind::State, "the object has changed"),
        _ if said.contains("incorrectly configured region") => {
            about(ErrorKind::Config, "the bucket is in another region").with_hint("Add region = '…' to the options.")
        }
        _ => about(ErrorKind::Unavailable, &short).with_hint("Check the endpoint, the region and the network."),
    };
    failed.with_cause(error)
}

/// The code and the message of an answer of S3 in XML, if there is one in the text.
fn answer_of(said: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, rest) = said.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    Some(format!("{}: {}", element("Code")?, element("Message")?))
}

/// An error and its causes in one line, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (one_line(&error.to_string()), error.source());
    while let Some(cause) = next {
        let said = one_line(&cause.to_string());
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
