//! The Firehose HTTP endpoint delivery protocol, version 1.0: what a request and its answer look like (Firehose developer
//! guide, "HTTP endpoint delivery request and response specifications").

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// Header with the version of the protocol.
pub(super) const PROTOCOL_VERSION: (&str, &str) = ("x-amz-firehose-protocol-version", "1.0");
/// Header with the request's identifier, the same in every attempt.
pub(super) const REQUEST_ID: &str = "x-amz-firehose-request-id";
/// Header with the ARN of the delivery stream.
pub(super) const SOURCE_ARN: &str = "x-amz-firehose-source-arn";
/// Header with what the endpoint knows the sender by.
pub(super) const ACCESS_KEY: &str = "x-amz-firehose-access-key";
/// Header with attributes of all records, as JSON.
pub(super) const COMMON_ATTRIBUTES: &str = "x-amz-firehose-common-attributes";

/// Bytes of an access key.
pub(super) const ACCESS_KEY_BYTES_MAX: usize = 4_096;
/// Common attributes of a request.
const ATTRIBUTES_MAX: usize = 50;
/// Characters of the name of an attribute, and of its value (API reference, HttpEndpointCommonAttribute).
const ATTRIBUTE_CHARS_MAX: (usize, usize) = (256, 1_024);
/// Bytes of a request's body before compression.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    request_id: &'a str,
    timestamp: i64,
    records: Vec<BodyRecord>,
}

#[derive(Serialize)]
struct BodyRecord {
    data: String,
}

/// The body of a request that is made at `timestamp`, in milliseconds since 1970.
pub(super) fn body<'a>(request_id: &str, timestamp: i64, records: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>> {
    let records = records.map(|data| BodyRecord { data: STANDARD.encode(data) }).collect();
    serde_json::to_vec(&Body { request_id, timestamp, records })
        .map_err(|error| Error::internal("a request cannot be written as JSON").with_cause(error))
}

/// A gzip member.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| Error::internal("a request cannot be compressed").with_cause(error))
}

/// What an endpoint answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Answer {
    request_id: Option<String>,
    timestamp: Option<serde_json::Number>,
    pub(super) error_message: Option<String>,
}

impl Answer {
    /// Reads a body; an empty one if it is none of the protocol's.
    pub(super) fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Why it does not acknowledge the request; None if it does.
    pub(super) fn objection(&self, request_id: &str) -> Option<String> {
        match (&self.request_id, &self.timestamp) {
            (None, _) => Some("the answer has no requestId".to_owned()),
            (Some(other), _) if other != request_id => Some(format!("the answer is to the request {other}, not to {request_id}")),
            (Some(_), None) => Some("the answer has no timestamp".to_owned()),
            (Some(_), Some(_)) => None,
        }
    }
}

/// The value of the header of common attributes, from `name=value, name=value`.
pub(super) fn common_attributes(text: &str) -> Result<String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Header<'a> {
        common_attributes: BTreeMap<&'a str, &'a str>,
    }
    let wrong = |what: String| Error::config(what).with_hint("Write attributes = 'name=value, other=value'.");
    let mut attributes = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (name.trim(), value.trim());
        let (names, values) = ATTRIBUTE_CHARS_MAX;
        if name.is_empty() || !pair.contains('=') || name.chars().count() > names || value.chars().count() > values {
            return Err(wrong(format!("'{pair}' in option \"attributes\" is no attribute")));
        }
        if attributes.insert(name, value).is_some() {
            return Err(wrong(format!("option \"attributes\" has '{name}' twice")));
        }
    }
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(wrong(format!("option \"attributes\" has {} attributes; the protocol has at most 50", attributes.len())));
    }
    // A header is ASCII; JSON can write anything in it.
    let json = serde_json::to_string(&Header { common_attributes: attributes })
        .map_err(|error| Error::internal("attributes cannot be written as JSON").with_cause(error))?;
    let mut header = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match char::from_u32(u32::from(unit)).filter(char::is_ascii) {
            Some(ascii) => header.push(ascii),
            None => header.push_str(&format!("\\u{unit:04x}")),
        }
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_a_json_object_in_ascii() {
        assert_eq!(common_attributes("b= 1,a=x=y , ").expect("valid"), r#"{"commonAttributes":{"a":"x=y","b":"1"}}"#);
        assert_eq!(common_attributes("ü=😀").expect("valid"), r#"{"commonAttributes":{"\u00fc":"\ud83d\ude00"}}"#);
        for (text, expected) in [
            ("a", "'a' in option \"attributes\" is no attribute"),
            ("=1", "'=1' in option \"attributes\" is no attribute"),
            ("a=1,a=2", "option \"attributes\" has 'a' twice"),
        ] {
            assert_eq!(common_attributes(text).expect_err(text).message(), expected);
        }
        let many: Vec<_> = (0..51).map(|i| format!("a{i}=1")).collect();
        assert!(common_attributes(&many.join(",")).is_err());
    }

    #[test]
    fn an_answer_names_the_request_and_a_time() {
        for (body, expected) in [
            (r#"{"requestId":"r","timestamp":1}"#, None),
            (r#"{"requestId":"r","timestamp":1.5,"more":{}}"#, None),
            (r#"{"requestId":"r"}"#, Some("the answer has no timestamp")),
            (r#"{"requestId":"q","timestamp":1}"#, Some("the answer is to the request q, not to r")),
            ("{}", Some("the answer has no requestId")),
            ("<html>", Some("the answer has no requestId")),
        ] {
            assert_eq!(Answer::of(body.as_bytes()).objection("r").as_deref(), expected, "{body}");
        }
    }
}
