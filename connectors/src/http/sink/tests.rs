//! The sink against a strict receiver of the protocol.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kinesql_engine::ErrorKind;
use serde_json::{Value, json};

use super::*;
use crate::conformance::{DeliveryHarness, check_at_least_once_sink, delivery_rows, sink_context};
use crate::stub::{self, Stub};

/// A receiver at `/x` that knows the key `secret`.
struct Receiver {
    server: Stub,
    received: Arc<Received>,
    options: Vec<(&'static str, &'static str)>,
}

type Fault = Box<dyn Fn(usize, &str) -> Option<Response> + Send + Sync>;

struct Received {
    /// Headers and body of each request, refused ones included.
    requests: Mutex<Vec<(HeaderMap, Value)>>,
    records: Mutex<Vec<String>>,
    /// Requests that were taken: a repeated one is taken once.
    ids: Mutex<BTreeSet<String>>,
    /// What the n-th request gets instead of an answer.
    fault: Fault,
}

async fn receive(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
    assert_eq!(header("x-amz-firehose-protocol-version").as_deref(), Some("1.0"));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    let body: Vec<u8> = match header("content-encoding").as_deref() {
        Some("gzip") => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).expect("gzip");
            plain
        }
        other => {
            assert_eq!(other, None);
            body.to_vec()
        }
    };
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let id = header("x-amz-firehose-request-id").expect("an id");
    assert_eq!(body["requestId"], id.as_str(), "header and body agree");
    assert!(body["timestamp"].as_i64().is_some_and(|time| time > 1_600_000_000_000), "milliseconds");
    let number = {
        let mut requests = received.requests.lock().expect("not poisoned");
        requests.push((headers.clone(), body.clone()));
        requests.len() - 1
    };
    let said = |status: u16, message: &str| {
        let body = json!({ "requestId": id, "timestamp": 1, "errorMessage": message }).to_string();
        (StatusCode::from_u16(status).expect("a status"), body).into_response()
    };
    if header("x-amz-firehose-access-key").as_deref() != Some("secret") {
        return said(401, "unknown key");
    }
    if let Some(fault) = (received.fault)(number, &id) {
        return fault;
    }
    let records: Vec<_> = body["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|record| STANDARD.decode(record["data"].as_str().expect("data")).expect("base64"))
        .map(|data| String::from_utf8(data).expect("text"))
        .collect();
    if received.ids.lock().expect("not poisoned").insert(id.clone()) {
        received.records.lock().expect("not poisoned").extend(records);
    }
    json!({ "requestId": id, "timestamp": 1_700_000_000_000_i64 }).to_string().into_response()
}

impl Receiver {
    async fn start(
        options: &[(&'static str, &'static str)],
        fault: impl Fn(usize, &str) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let received = Arc::new(Received {
            requests: Mutex::default(),
            records: Mutex::default(),
            ids: Mutex::default(),
            fault: Box::new(fault),
        });
        let app = Router::new().route("/x", post(receive)).with_state(Arc::clone(&received));
        let app = app.layer(axum::extract::DefaultBodyLimit::disable());
        Self { server: Stub::serve(app, |_| true).await, received, options: options.to_vec() }
    }

    fn make_sink(&self, more: &[(&str, &str)]) -> Result<Arc<dyn Sink>> {
        let url = format!("{}/x?q=private", self.server.endpoint);
        let mut options = vec![("url", url.as_str()), ("access_key", "secret"), ("linger", "0ms"), ("batch.bytes", "64kb")];
        options.extend(self.options.iter().chain(more));
        stub::sink(&HttpSinkFactory, &options)
    }

    async fn open(&self, more: &[(&str, &str)]) -> Box<dyn SinkWriter> {
        self.make_sink(more).expect("valid").open(None, &sink_context(true)).await.expect("opened")
    }

    fn requests(&self) -> Vec<(HeaderMap, Value)> {
        self.received.requests.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl DeliveryHarness for Receiver {
    fn sink(&self) -> Arc<dyn Sink> {
        self.make_sink(&[]).expect("valid options")
    }

    fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }

    fn refused(&self) -> usize {
        self.server.refused()
    }

    async fn delivered(&self) -> Vec<String> {
        self.received.records.lock().expect("not poisoned").clone()
    }
}

fn status(status: u16) -> Option<Response> {
    Some(StatusCode::from_u16(status).expect("a status").into_response())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_conformance_checks() {
    let too_large = delivery_rows(7..8, 64 << 10);
    check_at_least_once_sink(async || Receiver::start(&[], |_, _| None).await, &too_large).await;
    let gzip = [("compression", "gzip"), ("max_in_flight", "1")];
    let every_third = |number: usize, _: &str| if number.is_multiple_of(3) { status(503) } else { None };
    check_at_least_once_sink(async || Receiver::start(&gzip, every_third).await, &too_large).await;
}

#[tokio::test]
async fn the_request_is_that_of_firehose() {
    let receiver = Receiver::start(&[], |_, _| None).await;
    let mut writer = receiver.open(&[("attributes", "env=prod, team=ü")]).await;
    writer.write(&delivery_rows(0..2, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    let (headers, body) = &receiver.requests()[0];
    assert_eq!(headers["x-amz-firehose-source-arn"], "arn:aws:firehose:us-east-1:000000000000:deliverystream/OUT");
    assert_eq!(headers["x-amz-firehose-common-attributes"], r#"{"commonAttributes":{"env":"prod","team":"\u00fc"}}"#);
    assert_eq!(body["records"], json!([{ "data": "eyJJRCI6MCwiVEVYVCI6IngifQ==" }, { "data": "eyJJRCI6MSwiVEVYVCI6IngifQ==" }]));
    assert!(headers["user-agent"].to_str().expect("text").starts_with("kinesql/"));
}

#[tokio::test]
async fn a_request_keeps_its_id_until_it_is_taken() {
    // The answer to the first attempt is lost, others are useless.
    let useless = |number: usize, id: &str| match number {
        0 => status(500),
        1 => status(204),
        2 => Some("ok".into_response()),
        3 => Some(json!({ "requestId": "another", "timestamp": 1 }).to_string().into_response()),
        4 => Some(json!({ "requestId": id }).to_string().into_response()),
        5 => status(400),
        6 => status(429),
        _ => None,
    };
    let receiver = Receiver::start(&[], useless).await;
    let sink = receiver.make_sink(&[]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    writer.write(&delivery_rows(0..2, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 8);
    assert!(requests.iter().all(|(_, body)| body["requestId"] == requests[0].1["requestId"]));
    assert!(requests.iter().all(|(_, body)| body["records"] == requests[0].1["records"]));
    let metric = |name: &str| sink.metrics().iter().find(|metric| metric.name == name).map(|metric| metric.value);
    assert_eq!((metric("requests_failed"), metric("throttled"), metric("records")), (Some(7.0), Some(1.0), Some(2.0)));
    writer.write(&delivery_rows(2..3, 1)).await.expect("written");
    writer.prepare(2).await.expect("delivered");
    assert_ne!(receiver.requests()[8].1["requestId"], requests[0].1["requestId"]);
}

#[tokio::test]
async fn retry_after_is_kept_to() {
    let busy =
        |number: usize, _: &str| (number == 0).then(|| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response());
    let receiver = Receiver::start(&[], busy).await;
    let mut writer = receiver.open(&[]).await;
    let clock = kinesql_engine::runtime::clock::SystemClock::shared();
    let start = clock.now();
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    assert!(clock.now() - start >= 1_000);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_and_a_row_that_is_goes_to_the_error_stream() {
    let receiver = Receiver::start(&[], |_, _| None).await;
    // A receiver that takes less than the protocol allows.
    let app = Router::new().route(
        "/x",
        post(|headers: HeaderMap, body: Bytes| async move {
            if body.len() > 400 {
                return StatusCode::PAYLOAD_TOO_LARGE.into_response();
            }
            let id = headers["x-amz-firehose-request-id"].to_str().expect("text");
            json!({ "requestId": id, "timestamp": 1 }).to_string().into_response()
        }),
    );
    let server = Stub::serve(app, |_| true).await;
    let context = sink_context(true);
    let sink = receiver.make_sink(&[("url", &format!("{}/x", server.endpoint))]).expect("valid");
    let mut writer = sink.open(None, &context).await.expect("opened");
    writer.write(&delivery_rows(0..20, 10)).await.expect("written");
    writer.write(&delivery_rows(20..21, 1_000)).await.expect("written");
    writer.write(&delivery_rows(21..30, 10)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    let records = sink.metrics().iter().find(|metric| metric.name == "records").map(|metric| metric.value);
    assert_eq!(records, Some(29.0));
    let refused = context.refused.take();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, delivery_rows(20..21, 1_000));
    assert!(refused[0].1.message().ends_with("/x: 413 Payload Too Large"), "{}", refused[0].1);
}

#[tokio::test]
async fn a_wrong_key_or_address_ends_the_job() {
    let receiver = Receiver::start(&[], |_, _| None).await;
    let moved =
        Stub::serve(Router::new().route("/x", post(|| async { axum::response::Redirect::temporary("/y") })), |_| true).await;
    for (options, expected, hint) in [
        (
            vec![("access_key", "wrong".to_owned())],
            format!("POST of {}/x: 401 Unauthorized: unknown key", receiver.server.endpoint),
            "Check option \"access_key\": the endpoint does not know it.",
        ),
        (
            vec![("url", format!("{}/nowhere", receiver.server.endpoint))],
            format!("POST of {}/nowhere: 404 Not Found", receiver.server.endpoint),
            "Check option \"url\": nothing receives deliveries there.",
        ),
        (
            vec![("url", format!("{}/x", moved.endpoint))],
            format!("POST of {}/x: 307 Temporary Redirect", moved.endpoint),
            "Check option \"url\": redirects are not followed.",
        ),
    ] {
        let options: Vec<_> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut writer = receiver.open(&options).await;
        writer.write(&delivery_rows(0..1, 1)).await.expect("written");
        let error = writer.prepare(1).await.map(|_| ()).expect_err("wrong");
        assert_eq!((error.kind(), error.message(), error.hint()), (ErrorKind::Config, expected.as_str(), Some(hint)));
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_named_at_the_start_and_waited_for_later() {
    let receiver = Receiver::start(&[], |_, _| None).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for url in [format!("http://{closed}/x"), format!("https://{closed}/x")] {
        let sink = receiver.make_sink(&[("url", &url), ("retry.max_elapsed", "10ms")]).expect("valid");
        let error = sink.open(None, &sink_context(true)).await.map(|_| ()).expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let is_named = error.message().starts_with(&format!("POST of {url}: ")) && error.message().contains("onnection refused");
        assert!(is_named && !error.message().contains('\n'), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("start the receiver first")), "{error}");
        // A job that goes on from a checkpoint has been here before.
        let state = SinkState(json!({}));
        let mut writer = sink.open(Some(&state), &sink_context(true)).await.expect("opened");
        writer.write(&delivery_rows(0..1, 1)).await.expect("written");
        let error = writer.prepare(1).await.map(|_| ()).expect_err("given up");
        assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("onnection refused"), "{error}");
        assert!(error.message().contains("; given up after "), "{error}");
    }
}

#[tokio::test]
async fn a_receiver_that_comes_up_while_a_job_starts_is_waited_for() {
    let receiver = Receiver::start(&[], |_, _| None).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let sink = receiver.make_sink(&[("url", &format!("http://{address}/x"))]).expect("valid");
    let opening = tokio::spawn(async move { sink.open(None, &sink_context(true)).await.map(|_| ()) });
    tokio::task::yield_now().await;
    let listener = tokio::net::TcpListener::bind(address).await.expect("the same port");
    let serving = tokio::spawn(async move { axum::serve(listener, Router::new()).await.expect("served") });
    opening.await.expect("no panic").expect("somebody is there, whatever is answered");
    serving.abort();
}

#[test]
fn wrong_options_are_explained() {
    let create = |options: &[(&str, &str)]| stub::sink(&HttpSinkFactory, options).map(|_| ()).expect_err("wrong").to_string();
    for (options, expected) in [
        (&[("url", "ftp://x")][..], "option \"url\" cannot be 'ftp://x'\nhint: Give an address such as https://example.com/x."),
        (
            &[("url", "example.com/x")],
            "option \"url\" cannot be 'example.com/x'\nhint: Give an address such as https://example.com/x.",
        ),
        (
            &[("url", "http://x"), ("access_key", "a\nb")],
            "option \"access_key\" cannot be sent in a header\nhint: Use printable ASCII characters.",
        ),
        (
            &[("url", "https://user:secret@example.com/x")],
            "option \"url\" cannot hold a name or a password\n\
             hint: Receivers of this protocol know senders by option \"access_key\".",
        ),
        (
            &[("url", "https://example.com/x#y")],
            "option \"url\" cannot be 'https://example.com/x#y'\n\
             hint: What stands behind a '#' is never sent: leave it out, or write %23.",
        ),
        (&[("url", "http://example.com:0/x")], "option \"url\" cannot be 'http://example.com:0/x'\nhint: There is no port 0."),
        (
            &[("url", "http://x"), ("ca_file", "ca.pem")],
            "option \"ca_file\" has no meaning for an address of http://\n\
             hint: Write https:// in option \"url\", or leave the certificates out.",
        ),
        (
            &[("url", "http://x"), ("batch.bytes", "100")],
            "option \"batch.bytes\" cannot be 100 bytes\nhint: A body has 1kb to 64mb.",
        ),
    ] {
        assert_eq!(create(options), expected);
    }
}
