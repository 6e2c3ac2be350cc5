//! The sink against a function whose answers are written here.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use kinesql_engine::ErrorKind;
use serde_json::{Value, json};

use super::*;
use crate::conformance::{DeliveryHarness, check_at_least_once_sink, delivery_rows, sink_context};
use crate::lambda::stub::{Given, records, serve};
use crate::stub::{self, Stub};

/// A function that remembers what it took.
struct Lambda {
    server: Stub,
    requests: Arc<Mutex<Vec<Value>>>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Lambda {
    /// `judge` says what becomes of a record at the n-th invocation: None stands for no answer.
    async fn start(judge: impl Fn(usize, &str) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        let (requests, taken) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (seen, took) = (Arc::clone(&requests), Arc::clone(&taken));
        let server = serve(move |request| {
            let mut seen = seen.lock().expect("not poisoned");
            let (number, mut answers) = (seen.len(), Vec::new());
            for (id, text) in records(&request) {
                let result = judge(number, &text);
                answers.extend(result.map(|result| json!({ "recordId": id, "result": result })));
                if result == Some("Ok") {
                    took.lock().expect("not poisoned").push(text);
                }
            }
            seen.push(request);
            Given::Returned(json!({ "records": answers }))
        });
        Self { server: server.await, requests, taken }
    }

    fn requests(&self) -> Vec<Value> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

fn make_sink(server: &Stub, more: &[(&str, &str)]) -> Result<Arc<dyn Sink>> {
    let endpoint = server.endpoint.as_str();
    let mut options = vec![("region", "eu-west-1"), ("endpoint", endpoint), ("function", "OUT"), ("linger", "0ms")];
    options.extend(more);
    stub::sink(&LambdaSinkFactory, &options)
}

async fn open(server: &Stub, more: &[(&str, &str)]) -> Box<dyn SinkWriter> {
    make_sink(server, more).expect("valid").open(None, &sink_context(true)).await.expect("opened")
}

#[async_trait]
impl DeliveryHarness for Lambda {
    fn sink(&self) -> Arc<dyn Sink> {
        make_sink(&self.server, &[]).expect("valid options")
    }

    fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }

    fn refused(&self) -> usize {
        self.server.refused()
    }

    async fn delivered(&self) -> Vec<String> {
        self.taken.lock().expect("not poisoned").clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_conformance_checks() {
    let too_large = delivery_rows(7..8, 5 << 20);
    check_at_least_once_sink(async || Lambda::start(|_, _| Some("Ok")).await, &too_large).await;
    // Every third record fails at first.
    let judge =
        |number: usize, text: &str| if (number + text.len()).is_multiple_of(3) { Some("DeliveryFailed") } else { Some("Ok") };
    check_at_least_once_sink(async || Lambda::start(judge).await, &too_large).await;
}

#[tokio::test]
async fn the_request_is_that_of_a_destination() {
    let lambda = Lambda::start(|_, _| Some("Ok")).await;
    let mut writer = open(&lambda.server, &[("newline", "true")]).await;
    writer.write(&delivery_rows(0..2, 1)).await.expect("written");
    writer.prepare(1).await.expect("acknowledged");
    let request = &lambda.requests()[0];
    assert_eq!(request["applicationArn"], "arn:aws:kinesisanalytics:eu-west-1:000000000000:application/kinesql");
    assert_eq!(request["invocationId"].as_str().map(str::len), Some(36));
    assert_eq!(request["records"][1]["lambdaDeliveryRecordMetadata"], json!({ "retryHint": 0 }));
    assert_eq!(request["records"][1]["data"], "eyJJRCI6MSwiVEVYVCI6IngifQo=");
    let members: Vec<_> = request["records"][0].as_object().expect("an object").keys().collect();
    assert_eq!(members, ["data", "lambdaDeliveryRecordMetadata", "recordId"]);
    let mut writer = open(&lambda.server, &[("application_arn", "arn:x")]).await;
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    writer.prepare(1).await.expect("acknowledged");
    assert_eq!(lambda.requests()[1]["applicationArn"], "arn:x");
}

#[tokio::test]
async fn records_that_are_not_acknowledged_are_sent_again_with_their_id_and_a_higher_hint() {
    let results = [Some("DeliveryFailed"), None, Some("Dropped"), Some("")];
    let judge = move |number: usize, text: &str| match text.as_bytes()[6] {
        b'1' => results.get(number).copied().unwrap_or(Some("Ok")),
        _ => Some("Ok"),
    };
    let lambda = Lambda::start(judge).await;
    let mut writer = open(&lambda.server, &[]).await;
    writer.write(&delivery_rows(0..3, 1)).await.expect("written");
    writer.prepare(1).await.expect("acknowledged at last");
    let requests = lambda.requests();
    assert_eq!(requests.len(), 5);
    let id = &requests[0]["records"][1]["recordId"];
    for (number, request) in requests.iter().enumerate().skip(1) {
        assert_eq!(request["records"].as_array().map(Vec::len), Some(1));
        assert_eq!(&request["records"][0]["recordId"], id);
        assert_eq!(request["records"][0]["lambdaDeliveryRecordMetadata"]["retryHint"], number);
        assert_ne!(request["invocationId"], requests[0]["invocationId"]);
    }
    assert_eq!(lambda.delivered().await.len(), 3);
}

#[tokio::test]
async fn unknown_ids_and_answers_of_another_shape_acknowledge_nothing() {
    let calls = AtomicUsize::new(0);
    let server = serve(move |request| {
        let ids = records(&request).into_iter().map(|(id, _)| id);
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Given::Returned(json!({ "records": [{ "recordId": "other", "result": "Ok" }] })),
            1 => Given::Returned(json!({ "Records": [] })),
            2 => Given::Returned(json!(null)),
            3 => Given::Returned(json!({ "records": [{ "id": 1 }] })),
            4 => Given::Raised("ValueError", "no\nluck"),
            5 => Given::Refused(429, "TooManyRequestsException", "Rate Exceeded."),
            6 => Given::Refused(500, "ServiceException", "oops"),
            7 => Given::Refused(502, "EC2ThrottledException", "later"),
            _ => {
                Given::Returned(json!({ "records": ids.map(|id| json!({ "recordId": id, "result": "Ok" })).collect::<Vec<_>>() }))
            }
        }
    })
    .await;
    let sink = make_sink(&server, &[]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    writer.write(&delivery_rows(0..2, 1)).await.expect("written");
    writer.prepare(1).await.expect("acknowledged at last");
    let metric = |name: &str| sink.metrics().iter().find(|metric| metric.name == name).map(|metric| metric.value);
    assert_eq!((metric("records"), metric("requests"), metric("requests_failed")), (Some(2.0), Some(9.0), Some(7.0)));
    assert_eq!(metric("throttled"), Some(1.0));
}

#[tokio::test]
async fn of_several_answers_to_a_record_all_must_acknowledge_it() {
    for results in [["Ok", "DeliveryFailed"], ["DeliveryFailed", "Ok"]] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let server = serve(move |request| {
            let (id, _) = records(&request).remove(0);
            let results = if counter.fetch_add(1, Ordering::SeqCst) == 0 { results } else { ["Ok", "Ok"] };
            Given::Returned(json!({ "records": results.map(|result| json!({ "recordId": id, "result": result })) }))
        })
        .await;
        let mut writer = open(&server, &[]).await;
        writer.write(&delivery_rows(0..1, 1)).await.expect("written");
        writer.prepare(1).await.expect("acknowledged at last");
        assert_eq!(calls.load(Ordering::SeqCst), 2, "{results:?}");
    }
}

#[tokio::test]
async fn the_last_failure_is_said_when_the_job_gives_up() {
    for (given, expected) in [
        (
            (|| Given::Raised("ValueError", "no\nluck")) as fn() -> Given,
            "lambda:InvokeFunction of function \"OUT\": Unhandled error ValueError: no luck; given up after ",
        ),
        (
            || Given::Returned(json!([])),
            "lambda:InvokeFunction of function \"OUT\": its answer is not that of a destination: invalid length 0",
        ),
        (|| Given::Returned(json!({ "records": [] })), "lambda:InvokeFunction of function \"OUT\": record "),
    ] {
        let server = serve(move |_| given()).await;
        let mut writer = open(&server, &[("retry.max_elapsed", "5ms")]).await;
        writer.write(&delivery_rows(0..1, 1)).await.expect("written");
        let error = writer.prepare(1).await.map(|_| ()).expect_err("given up");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn a_function_that_does_not_answer_is_invoked_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let server = serve(move |request| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => Given::Nothing,
        _ => {
            let ids = records(&request).into_iter().map(|(id, _)| json!({ "recordId": id, "result": "Ok" }));
            Given::Returned(json!({ "records": ids.collect::<Vec<_>>() }))
        }
    })
    .await;
    let mut writer = open(&server, &[("request_timeout", "50ms")]).await;
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    writer.prepare(1).await.expect("acknowledged");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn payloads_keep_to_the_limit() {
    let lambda = Lambda::start(|_, _| Some("Ok")).await;
    let mut writer = open(&lambda.server, &[("buffer_bytes", "64mb"), ("request_timeout", "10min")]).await;
    // 4 MB in base64 each; and as many as fit in 6 MB.
    writer.write(&delivery_rows(0..2, 3 << 20)).await.expect("written");
    writer.write(&delivery_rows(2..12, 1 << 20)).await.expect("written");
    writer.prepare(1).await.expect("the stub refuses more");
    assert_eq!(lambda.delivered().await.len(), 12);
    assert!(lambda.requests().iter().any(|request| records(request).len() == 4));
}

#[tokio::test]
async fn a_request_that_the_service_calls_too_large_is_halved() {
    let server = serve(|request| {
        let records = records(&request);
        if records.len() > 1 {
            return Given::Raised("Function.ResponseSizeTooLarge", "Response payload size exceeded");
        }
        Given::Returned(json!({ "records": [{ "recordId": records[0].0, "result": "Ok" }] }))
    })
    .await;
    let sink = make_sink(&server, &[]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    writer.write(&delivery_rows(0..5, 1)).await.expect("written");
    writer.prepare(1).await.expect("acknowledged");
    let records = sink.metrics().iter().find(|metric| metric.name == "records").map(|metric| metric.value);
    assert_eq!(records, Some(5.0));
}

#[tokio::test]
async fn a_missing_function_and_a_denied_call_are_named() {
    let lambda = Lambda::start(|_, _| Some("Ok")).await;
    let sink = make_sink(&lambda.server, &[("function", "MISSING")]).expect("valid");
    let error = sink.open(None, &sink_context(true)).await.map(|_| ()).expect_err("missing");
    let expected =
        "lambda:GetFunctionConfiguration of function \"MISSING\": ResourceNotFoundException: Function not found: MISSING";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, expected));

    lambda.server.fail_with(403, "AccessDeniedException", "not authorized");
    let mut writer = open(&lambda.server, &[]).await;
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    let error = writer.prepare(1).await.map(|_| ()).expect_err("denied");
    let expected = "lambda:InvokeFunction of function \"OUT\": AccessDeniedException: not authorized";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, expected));
    assert_eq!(error.hint(), Some("Allow the action lambda:InvokeFunction on it for these credentials."));
}
