//! The HTTP side: checks a request, takes its records apart and answers as Firehose expects.
//!
//! | Answer | When | What Firehose does |
//! | --- | --- | --- |
//! | 200 | the records are safe; and to `HEAD`, by which others ask whether somebody is there | goes on |
//! | 400, 401, 404, 405 | wrong body, access key, path or method | repeats the delivery, then backs it up to S3 |
//! | 413 | the request is too large | gives it up at once, and backs it up to S3 |
//! | 503 | not safe in time, or the job stops | repeats the delivery |
//!
//! Every answer is JSON with the request id, the time in milliseconds and, if it is none of success, the reason.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kinesql_engine::format::{REJECTED_RAW_MAX, RejectReason, Rejected};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::deliveries::{Deliveries, Delivery, Found, Outcome};
use super::tls::TlsListener;

const REQUEST_ID: &str = "x-amz-firehose-request-id";
const ACCESS_KEY: &str = "x-amz-firehose-access-key";
const PROTOCOL_VERSION: &str = "x-amz-firehose-protocol-version";

/// What the endpoint is told by the options.
pub(super) struct Endpoint {
    pub(super) path: String,
    pub(super) access_key: Option<String>,
    pub(super) max_request_bytes: usize,
    pub(super) max_record_bytes: usize,
    pub(super) ack_timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deliveries: Arc<Deliveries>,
    /// One for each body that may be in memory before it is taken.
    pub(super) bodies: Arc<Semaphore>,
}

/// Bodies that may be in memory before the engine takes them: further requests wait before theirs is read.
pub(super) const BODIES: usize = 8;

/// The running endpoint; dropped, it ends at once.
pub(super) struct Server {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Lets requests that wait be answered, then ends.
    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        // A panic of the server has been told where it happened.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.task.abort();
    }
}

/// Listens, and answers from now on.
pub(super) async fn serve(
    listen: &str,
    certificate: Option<&(PathBuf, PathBuf)>,
    endpoint: Endpoint,
) -> Result<(SocketAddr, Server)> {
    let cannot = |error: std::io::Error| {
        Error::config(format!("cannot listen on '{listen}': {error}"))
            .with_hint("Write address and port, such as 0.0.0.0:8443; another program may have the port.")
            .with_cause(error)
    };
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new((endpoint, stopped.clone()));
    let app = Router::new().fallback(answer).with_state(shared);
    let until_stopped = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the reader is gone.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let task = match certificate {
        None => {
            let server = axum::serve(listener, app).with_graceful_shutdown(until_stopped(stopped));
            // It ends by the shutdown only.
            tokio::spawn(async move { drop(server.await) })
        }
        Some((certificate, key)) => {
            let listener = TlsListener::new(listener, certificate, key).map_err(|error| {
                error.with_hint("Give PEM files: the chain with the server's certificate first, and its private key.")
            })?;
            let server = axum::serve(listener, app).with_graceful_shutdown(until_stopped(stopped));
            tokio::spawn(async move { drop(server.await) })
        }
    };
    Ok((address, Server { stop, task }))
}

/// The body of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    request_id: String,
    timestamp: Option<EventTime>,
    #[serde(borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    data: std::borrow::Cow<'a, str>,
}

/// Why a request is refused.
struct Refusal(StatusCode, String);

type Shared = Arc<(Endpoint, watch::Receiver<bool>)>;

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (endpoint, _) = &*shared;
    if request.method() == axum::http::Method::HEAD {
        return StatusCode::OK.into_response();
    }
    let id = text_of(request.headers(), REQUEST_ID).unwrap_or_default().to_owned();
    match take(&shared, request).await {
        Ok(id) => respond(&endpoint.clock, StatusCode::OK, &id, None),
        Err(Refusal(status, why)) => {
            endpoint.deliveries.refuse();
            respond(&endpoint.clock, status, &id, Some(&why))
        }
    }
}

fn respond(clock: &Arc<dyn Clock>, status: StatusCode, id: &str, error: Option<&str>) -> Response {
    let mut body = json!({ "requestId": id, "timestamp": clock.now() });
    if let Some(error) = error {
        body["errorMessage"] = json!(error);
    }
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Takes a delivery; returns its id once its records are safe.
async fn take(shared: &Shared, request: Request) -> Result<String, Refusal> {
    let (endpoint, stopped) = &**shared;
    let refuse = |status, why: &str| Refusal(status, why.to_owned());
    let (head, body) = request.into_parts();
    if head.uri.path() != endpoint.path {
        return Err(refuse(StatusCode::NOT_FOUND, "there is no endpoint at this path"));
    }
    if head.method != axum::http::Method::POST {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "deliveries are sent with POST"));
    }
    if let Some(key) = &endpoint.access_key {
        let given = head.headers.get(ACCESS_KEY).map(|given| given.as_bytes()).unwrap_or_default();
        if !is_same(given, key.as_bytes()) {
            return Err(refuse(StatusCode::UNAUTHORIZED, "the access key is missing or wrong"));
        }
    }
    if text_of(&head.headers, PROTOCOL_VERSION).is_some_and(|version| version != "1.0") {
        return Err(refuse(StatusCode::BAD_REQUEST, "the only protocol version here is 1.0"));
    }
    let now = endpoint.clock.now();
    let deadline = now.saturating_add(endpoint.ack_timeout.as_millis() as i64);
    let unsafe_yet = || refuse(StatusCode::SERVICE_UNAVAILABLE, "the records could not be made safe in time: send them again");
    let mut stopped = stopped.clone();
    let read = async {
        let permit = Arc::clone(&endpoint.bodies).acquire_owned().await.map_err(|_| unsafe_yet())?;
        let body = read_body(endpoint, &head.headers, body).await?;
        Ok((permit, parse(&body, text_of(&head.headers, REQUEST_ID), endpoint.max_record_bytes, now)?))
    };
    let (permit, delivery) = tokio::select! {
        biased;
        read = read => read?,
        () = endpoint.clock.sleep_until(deadline) => return Err(unsafe_yet()),
        _ = stopped.wait_for(|stopped| *stopped) => return Err(stopping()),
    };
    let id = delivery.id.clone();
    let (taken, outcome) = match endpoint.deliveries.look_up(&id) {
        Found::Done => return Ok(id),
        Found::Waiting(outcome) => (None, outcome),
        Found::New(ticket, outcome) => (Some(ticket), outcome),
    };
    let safe = async {
        if let Some(ticket) = taken {
            // In a task of its own: a delivery is taken whole even if Firehose hangs up meanwhile.
            let deliveries = Arc::clone(&endpoint.deliveries);
            let taking = tokio::spawn(async move {
                let taken = deliveries.take(ticket, delivery).await;
                drop(permit);
                if taken.is_err() {
                    deliveries.give_up(ticket);
                }
                taken
            });
            match taking.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, error.message())),
                Err(_) => return Err(unsafe_yet()),
            }
        } else {
            // The records of a repeated request are in memory once.
            drop((permit, delivery));
        }
        acknowledged(outcome).await.then_some(()).ok_or_else(unsafe_yet)
    };
    tokio::select! {
        // What is safe when the job stops is answered so.
        biased;
        safe = safe => safe?,
        () = endpoint.clock.sleep_until(deadline) => return Err(unsafe_yet()),
        _ = stopped.wait_for(|stopped| *stopped) => return Err(stopping()),
    }
    Ok(id)
}

fn stopping() -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "the job stops: send it again".to_owned())
}

async fn acknowledged(mut outcome: Outcome) -> bool {
    // An error means that the delivery was given up.
    outcome.wait_for(|done| *done).await.is_ok()
}

/// Compares in a time that tells nothing but the length.
fn is_same(given: &[u8], key: &[u8]) -> bool {
    let differences = given.iter().zip(key).fold(0, |all, (one, other)| std::hint::black_box(all | (one ^ other)));
    given.len() == key.len() && differences == 0
}

/// The body, decompressed.
async fn read_body(endpoint: &Endpoint, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let max = endpoint.max_request_bytes;
    let too_large = || Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the request has more than {max} bytes"));
    let announced = text_of(headers, "content-length").and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let body = axum::body::to_bytes(body, max).await.map_err(|error| {
        let said = format!("{error}: {:?}", std::error::Error::source(&error));
        if said.contains("limit") { too_large() } else { Refusal(StatusCode::BAD_REQUEST, "the body is cut off".to_owned()) }
    })?;
    match text_of(headers, "content-encoding") {
        None | Some("identity") => Ok(body),
        Some("gzip") => {
            let inflated = tokio::task::spawn_blocking(move || {
                let mut text = Vec::new();
                let limit = max as u64 + 1;
                flate2::read::MultiGzDecoder::new(&body[..]).take(limit).read_to_end(&mut text).map(|_| text)
            });
            match inflated.await {
                Ok(Ok(text)) if text.len() > max => Err(too_large()),
                Ok(Ok(text)) => Ok(Bytes::from(text)),
                _ => Err(Refusal(StatusCode::BAD_REQUEST, "the body is no valid gzip".to_owned())),
            }
        }
        Some(other) => Err(Refusal(StatusCode::BAD_REQUEST, format!("content encoding '{other}' is not supported, only gzip"))),
    }
}

/// The records of a body.
fn parse(body: &[u8], header_id: Option<&str>, max_record_bytes: usize, now: EventTime) -> Result<Delivery, Refusal> {
    let bad = |why: String| Refusal(StatusCode::BAD_REQUEST, why);
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| bad(format!("the body is no delivery: {error}")))?;
    let Envelope { request_id: id, timestamp, records } = envelope;
    if id.is_empty() || id.len() > 256 {
        return Err(bad("the request id is empty or longer than 256 characters".to_owned()));
    }
    if header_id.is_some_and(|header| header != id) {
        return Err(bad(format!("the request ids of header and body differ: '{id}'")));
    }
    let (mut bytes, mut ends, mut rejected) = (Vec::with_capacity(body.len() * 3 / 4), Vec::new(), Vec::new());
    for (number, record) in records.iter().enumerate() {
        let start = bytes.len();
        if STANDARD.decode_vec(record.data.as_bytes(), &mut bytes).is_err() {
            return Err(bad(format!("record {number} is no base64")));
        }
        let length = bytes.len() - start;
        if length > max_record_bytes {
            let message = format!("record {number} has {length} bytes, more than max_record_bytes = {max_record_bytes}");
            let raw = bytes[start..start + length.min(REJECTED_RAW_MAX)].to_vec();
            rejected.push(Rejected { raw, position: start as u64, reason: RejectReason::TooLarge, message });
            bytes.truncate(start);
        } else {
            ends.push(bytes.len() as u32);
        }
    }
    Ok(Delivery { id, arrival: timestamp.unwrap_or(now), bytes: Bytes::from(bytes), ends, rejected })
}
