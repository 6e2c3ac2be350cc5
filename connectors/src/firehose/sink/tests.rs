//! The sink against a Firehose of two calls that fails as it is told to.

use std::sync::Mutex;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use kinesql_engine::ErrorKind;

use super::*;
use crate::conformance::{DeliveryHarness, check_at_least_once_sink, delivery_rows, sink_context};
use crate::stub::{self, Stub};

/// A delivery stream `OUT`.
struct Firehose {
    server: Stub,
    service: Arc<Service>,
}

/// What it was sent.
#[derive(Debug, Default)]
struct Service {
    /// Records that it took.
    records: Mutex<Vec<String>>,
    /// Records of each request, and their bytes.
    requests: Mutex<Vec<(usize, usize)>>,
    /// Every n-th record is refused, if it is not 0.
    refuses_every: usize,
}

impl Service {
    fn answer(&self, headers: &HeaderMap, body: &str) -> Response {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let fail = |kind: &str, message: String| {
            let body = json!({ "__type": kind, "message": message }).to_string();
            (StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.1")], body).into_response()
        };
        if body["DeliveryStreamName"] != "OUT" {
            return fail("ResourceNotFoundException", format!("no {}", body["DeliveryStreamName"]));
        }
        let target = headers["x-amz-target"].to_str().expect("text");
        if target.ends_with("DescribeDeliveryStream") {
            return fail("AccessDeniedException", "not allowed".to_owned());
        }
        assert!(target.ends_with("PutRecordBatch"), "{target}");
        let records: Vec<Vec<u8>> = body["Records"]
            .as_array()
            .expect("records")
            .iter()
            .map(|record| STANDARD.decode(record["Data"].as_str().expect("data")).expect("base64"))
            .collect();
        let bytes = records.iter().map(Vec::len).sum();
        if records.len() > 500 || bytes > 4 << 20 || records.iter().any(|record| record.len() > 1_024_000) {
            return fail("InvalidArgumentException", "over a limit".to_owned());
        }
        let mut requests = self.requests.lock().expect("not poisoned");
        requests.push((records.len(), bytes));
        let (mut taken, mut failed) = (self.records.lock().expect("not poisoned"), 0);
        let answers: Vec<Value> = records
            .into_iter()
            .enumerate()
            .map(|(place, record)| {
                if self.refuses_every > 0 && (place + requests.len()).is_multiple_of(self.refuses_every) {
                    failed += 1;
                    return json!({ "ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down." });
                }
                taken.push(String::from_utf8(record).expect("text"));
                json!({ "RecordId": "x" })
            })
            .collect();
        let answer = json!({ "FailedPutCount": failed, "RequestResponses": answers }).to_string();
        ([("content-type", "application/x-amz-json-1.1")], answer).into_response()
    }
}

fn writes(request: &Request) -> bool {
    request.headers().get("x-amz-target").is_some_and(|target| target.as_bytes().ends_with(b".PutRecordBatch"))
}

impl Firehose {
    async fn start(refuses_every: usize) -> Self {
        let service = Arc::new(Service { refuses_every, ..Service::default() });
        let answering = Arc::clone(&service);
        let app = Router::new()
            .route("/", post(move |headers: HeaderMap, body: String| async move { answering.answer(&headers, &body) }))
            .layer(axum::extract::DefaultBodyLimit::disable());
        Self { server: Stub::serve(app, writes).await, service }
    }

    fn make_sink(&self, more: &[(&str, &str)]) -> Result<Arc<dyn Sink>> {
        let endpoint = self.server.endpoint.as_str();
        let mut options = vec![("region", "us-east-1"), ("endpoint", endpoint), ("delivery_stream", "OUT")];
        options.extend(more);
        stub::sink(&FirehoseSinkFactory, &options)
    }
}

#[async_trait]
impl DeliveryHarness for Firehose {
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
        self.service.records.lock().expect("not poisoned").clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_conformance_checks() {
    let too_large = delivery_rows(7..8, 1_024_000);
    check_at_least_once_sink(async || Firehose::start(0).await, &too_large).await;
    // Partial failures change nothing.
    check_at_least_once_sink(async || Firehose::start(3).await, &too_large).await;
}

#[tokio::test]
async fn records_of_a_partial_failure_are_sent_again_and_no_others() {
    let firehose = Firehose::start(4).await;
    let sink = firehose.make_sink(&[]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    writer.write(&delivery_rows(0..200, 10)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    let mut records = firehose.delivered().await;
    assert_eq!(records.len(), 200, "nothing twice");
    records.sort();
    records.dedup();
    assert_eq!(records.len(), 200);
    let throttled = sink.metrics().iter().find(|metric| metric.name == "throttled").map_or(0.0, |metric| metric.value);
    assert!(throttled > 0.0);
}

#[tokio::test]
async fn requests_keep_to_the_limits_of_the_service() {
    let firehose = Firehose::start(0).await;
    let sink = firehose.make_sink(&[("buffer_bytes", "64mb")]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    writer.write(&delivery_rows(0..1_200, 10)).await.expect("written");
    // The largest records: JSON around the text has 18 bytes.
    writer.write(&delivery_rows(0..9, 1_024_000 - 18)).await.expect("written");
    writer.prepare(1).await.expect("the stub checks the limits");
    let requests = firehose.service.requests.lock().expect("not poisoned").clone();
    assert!(requests.iter().any(|(records, _)| *records == 500), "{requests:?}");
    assert!(requests.iter().any(|(_, bytes)| *bytes == 4 * 1_024_000), "{requests:?}");
    assert_eq!(firehose.delivered().await.len(), 1_209);
}

#[tokio::test]
async fn records_are_bare_unless_a_line_break_is_asked_for() {
    for (newline, expected) in [("false", "{\"ID\":0,\"TEXT\":\"x\"}"), ("true", "{\"ID\":0,\"TEXT\":\"x\"}\n")] {
        let firehose = Firehose::start(0).await;
        let sink = firehose.make_sink(&[("newline", newline)]).expect("valid");
        let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
        writer.write(&delivery_rows(0..1, 1)).await.expect("written");
        writer.close().await.expect("closed");
        assert_eq!(firehose.delivered().await, [expected]);
    }
}

#[tokio::test]
async fn a_missing_delivery_stream_and_a_denied_call_are_named() {
    let firehose = Firehose::start(0).await;
    let sink = firehose.make_sink(&[("delivery_stream", "MISSING")]).expect("valid");
    let error = sink.open(None, &sink_context(true)).await.map(|_| ()).expect_err("missing");
    let expected = "firehose:DescribeDeliveryStream of delivery stream \"MISSING\": ResourceNotFoundException: no \"MISSING\"";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, expected));

    firehose.server.fail_with(400, "AccessDeniedException", "not authorized");
    let arn = "arn:aws:firehose:us-east-1:000000000000:deliverystream/OUT";
    let sink = firehose.make_sink(&[("delivery_stream", arn)]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    let error = writer.prepare(1).await.map(|_| ()).expect_err("denied");
    let expected = "firehose:PutRecordBatch of delivery stream \"OUT\": AccessDeniedException: not authorized";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, expected));
    assert_eq!(error.hint(), Some("Allow the action firehose:PutRecordBatch on it for these credentials."));
}

#[test]
fn wrong_options_are_explained() {
    let create = |options: &[(&str, &str)]| stub::sink(&FirehoseSinkFactory, options).map(|_| ()).expect_err("wrong").to_string();
    assert_eq!(
        create(&[("delivery_stream", "arn:aws:kinesis:us-east-1:1:stream/x")]),
        "option \"delivery_stream\" cannot be 'arn:aws:kinesis:us-east-1:1:stream/x'\n\
         hint: Give a name, or an ARN such as arn:aws:firehose:us-east-1:123456789012:deliverystream/NAME."
    );
    assert_eq!(
        create(&[("delivery_stream", "x"), ("batch.bytes", "5mb")]),
        "option \"batch.bytes\" cannot be 5242880 bytes\nhint: The service takes requests of 1 to 4194304 bytes."
    );
}
