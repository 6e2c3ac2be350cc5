//! The sink against a Kinesis that runs inside the test, with faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use ferrokinesis::create_app;
use ferrokinesis::store::StoreOptions;
use prost::Message;

use kinesql_engine::ErrorKind;
use kinesql_engine::runtime::clock::ManualClock;

use super::*;
use crate::conformance::{DeliveryHarness, check_at_least_once_sink, delivery_rows, sink_context};
use crate::kinesis::aggregate::{AggregatedRecord, DIGEST_BYTES, MAGIC, digest};
use crate::stub::{self, Stub};

/// A stream of its own, behind a sink.
struct Kinesis {
    server: Stub,
    client: Client,
    options: Vec<(&'static str, &'static str)>,
}

fn writes(request: &Request) -> bool {
    request.headers().get("x-amz-target").is_some_and(|target| target.as_bytes().ends_with(b".PutRecords"))
}

impl Kinesis {
    async fn start(shards: i32, store: StoreOptions, options: &[(&'static str, &'static str)]) -> Self {
        let store = StoreOptions { create_stream_ms: 0, delete_stream_ms: 0, shard_limit: 100, ..store };
        let server = Stub::serve(create_app(store).0, writes).await;
        let given = stub::checked(OPTIONS, &[("stream", "OUT"), ("region", "us-east-1"), ("endpoint", &server.endpoint)]);
        let client = Client::new(&AwsOptions::try_new(&given, None).expect("valid").load().await.expect("a client"));
        client.create_stream().stream_name("OUT").shard_count(shards).send().await.expect("created");
        loop {
            let summary = client.describe_stream_summary().stream_name("OUT").send().await.expect("described");
            if summary.stream_description_summary().expect("there").stream_status().as_str() == "ACTIVE" {
                break;
            }
            tokio::task::yield_now().await;
        }
        Self { server, client, options: options.to_vec() }
    }

    /// Everything in the stream, by shard and in its order.
    async fn records(&self) -> BTreeMap<String, Vec<Record>> {
        let mut all = BTreeMap::new();
        let shards = self.client.list_shards().stream_name("OUT").send().await.expect("shards");
        for shard in shards.shards() {
            let iterator = self.client.get_shard_iterator().stream_name("OUT").shard_id(shard.shard_id());
            let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.expect("an iterator");
            let mut next = iterator.shard_iterator;
            let mut records = Vec::new();
            while let Some(iterator) = next {
                let answer = self.client.get_records().shard_iterator(iterator).send().await.expect("records");
                if answer.records().is_empty() {
                    break;
                }
                next = answer.next_shard_iterator;
                records.extend(answer.records);
            }
            all.insert(shard.shard_id().to_owned(), records);
        }
        all
    }

    /// The rows in the stream as texts, aggregated ones taken apart; those of a shard in its order.
    async fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for record in self.records().await.into_values().flatten() {
            let data = record.data().as_ref();
            match data.strip_prefix(&MAGIC) {
                None => texts.push(String::from_utf8(data.to_vec()).expect("text")),
                Some(rest) => {
                    let (message, md5) = rest.split_at(rest.len() - DIGEST_BYTES);
                    assert_eq!(digest(message), md5);
                    let message = AggregatedRecord::decode(message).expect("an aggregated record");
                    assert_eq!(message.partition_key_table.first().map(String::as_str), record.partition_key());
                    assert!(message.records.len() > 1, "a single row is not wrapped");
                    texts.extend(message.records.iter().map(|row| String::from_utf8(row.data.to_vec()).expect("text")));
                }
            }
        }
        texts
    }

    fn make_sink(&self, more: &[(&str, &str)]) -> Result<Arc<dyn Sink>> {
        let mut options = vec![("stream", "OUT"), ("region", "us-east-1"), ("endpoint", self.server.endpoint.as_str())];
        options.extend(self.options.iter().chain(more));
        stub::sink(&KinesisSinkFactory, &options)
    }

    async fn writer(&self, more: &[(&str, &str)]) -> Result<Box<dyn SinkWriter>> {
        self.make_sink(more)?.open(None, &sink_context(true)).await
    }
}

#[async_trait]
impl DeliveryHarness for Kinesis {
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
        self.texts().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_conformance_checks() {
    let too_large = delivery_rows(7..8, 1 << 20);
    for options in [
        &[][..],
        &[("partition_key", "ID"), ("ordered", "true")],
        &[("aggregate", "true"), ("aggregate.bytes", "2kb")],
        &[("aggregate", "true"), ("partition_key.fixed", "all"), ("ordered", "true"), ("linger", "2ms")],
    ] {
        check_at_least_once_sink(async || Kinesis::start(2, StoreOptions::default(), options).await, &too_large).await;
    }
}

/// The service takes 1 MiB a second of a shard and refuses the rest of a request: here at least a third of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_and_partly_failing_puts_lose_nothing_and_keep_the_order_of_a_key() {
    let store = StoreOptions { enforce_limits: true, ..StoreOptions::default() };
    let kinesis = Kinesis::start(1, store, &[("partition_key", "TEXT"), ("ordered", "true")]).await;
    let sink = kinesis.make_sink(&[("buffer_bytes", "8mb"), ("retry.max_delay", "100ms")]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    // Three times what a shard takes in a second, of 100 keys.
    for id in 0..3_000 {
        writer.write(&delivery_rows(id..id + 1, 100 + id as usize % 100)).await.expect("written");
    }
    writer.prepare(1).await.expect("delivered");
    let metric = |name: &str| sink.metrics().iter().find(|metric| metric.name == name).map_or(0.0, |metric| metric.value);
    assert!(metric("throttled") > 0.0, "the limit was reached: {:?}", sink.metrics());
    let mut by_key: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for text in kinesis.texts().await {
        let row: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let key = row["TEXT"].as_str().expect("text").len() as i32 - 100;
        by_key.entry(key).or_default().push(row["ID"].as_i64().expect("a number") as i32);
    }
    assert_eq!(by_key.len(), 100);
    for (key, ids) in by_key {
        assert_eq!(ids, (key..3_000).step_by(100).collect::<Vec<_>>(), "key {key}");
    }
}

/// The service, or what stands before it, may take less than it says: this server takes requests of 2 MiB. The records are more,
/// and they are ready at once, as they are when the service is slow.
#[tokio::test]
async fn a_request_that_is_too_large_for_the_service_is_sent_in_halves() {
    for ordered in ["true", "false"] {
        let kinesis = Kinesis::start(1, StoreOptions::default(), &[("partition_key", "ID"), ("ordered", ordered)]).await;
        let sink = kinesis.make_sink(&[("buffer_bytes", "8mb")]).expect("valid");
        let context = sink_context(true);
        let mut writer = sink.open(None, &context).await.expect("opened");
        writer.write(&delivery_rows(0..200, 16_000)).await.expect("written");
        writer.prepare(1).await.expect("delivered");
        let mut texts = kinesis.texts().await;
        texts.sort();
        // A request of which the answer is lost with its connection may have been taken.
        texts.dedup();
        assert_eq!(texts.len(), 200);
        assert!(context.refused.take().is_empty());
    }
}

#[tokio::test]
async fn expired_credentials_are_waited_for() {
    let kinesis = Kinesis::start(1, StoreOptions::default(), &[]).await;
    let sink = kinesis.make_sink(&[]).expect("valid options");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("open");
    kinesis.server.fail_with(400, "ExpiredTokenException", "The security token included in the request is expired");
    writer.write(&delivery_rows(0..3, 10)).await.expect("written");
    let mut prepare = Box::pin(writer.prepare(1));
    while kinesis.server.refused() < 5 {
        assert!(futures::poll!(prepare.as_mut()).is_pending(), "they may be renewed");
        tokio::task::yield_now().await;
    }
    let trouble = sink.trouble().expect("it is said");
    let expected =
        "kinesis:PutRecords of stream \"OUT\": ExpiredTokenException: The security token included in the request is expired";
    assert_eq!(trouble.reason, expected);
    kinesis.set_down(false);
    prepare.await.expect("renewed");
    assert_eq!(kinesis.texts().await.len(), 3);
}

#[tokio::test]
async fn an_error_of_the_service_under_a_new_name_is_waited_for() {
    let kinesis = Kinesis::start(1, StoreOptions::default(), &[]).await;
    let mut writer = kinesis.writer(&[]).await.expect("open");
    kinesis.server.fail_with(500, "KMSInternalException", "something of the service's own");
    writer.write(&delivery_rows(0..3, 10)).await.expect("written");
    let mut prepare = Box::pin(writer.prepare(1));
    while kinesis.server.refused() < 5 {
        assert!(futures::poll!(prepare.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    kinesis.set_down(false);
    prepare.await.expect("it passed");
    assert_eq!(kinesis.texts().await.len(), 3);
}

#[tokio::test]
async fn rows_have_the_keys_that_the_options_say() {
    let kinesis = Kinesis::start(4, StoreOptions::default(), &[]).await;
    let all_keys = async |kinesis: &Kinesis| {
        let records = kinesis.records().await;
        let mut keys: Vec<_> = records.values().flatten().map(|record| record.partition_key.clone().expect("a key")).collect();
        keys.sort();
        keys
    };
    let mut writer = kinesis.writer(&[("partition_key", "ID, text")]).await.expect("opened");
    writer.write(&delivery_rows(0..2, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    assert_eq!(all_keys(&kinesis).await, ["0,x", "1,x"]);

    let kinesis = Kinesis::start(4, StoreOptions::default(), &[]).await;
    let mut writer = kinesis.writer(&[("partition_key.fixed", "all")]).await.expect("opened");
    writer.write(&delivery_rows(0..2, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    assert_eq!(all_keys(&kinesis).await, ["all", "all"]);

    // A row has the same hash whenever it is sent; 40 rows use every shard.
    let kinesis = Kinesis::start(4, StoreOptions::default(), &[]).await;
    for _ in 0..2 {
        let mut writer = kinesis.writer(&[]).await.expect("opened");
        writer.write(&delivery_rows(0..40, 1)).await.expect("written");
        writer.prepare(1).await.expect("delivered");
    }
    let mut keys = all_keys(&kinesis).await;
    keys.dedup();
    assert_eq!(keys.len(), 40);
    assert!(kinesis.records().await.values().all(|records| !records.is_empty()));
}

#[tokio::test]
async fn the_explicit_hash_key_decides_on_the_shard() {
    let kinesis = Kinesis::start(2, StoreOptions::default(), &[]).await;
    let mut writer = kinesis.writer(&[("explicit_hash_key", "ID")]).await.expect("opened");
    writer.write(&delivery_rows(0..3, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    let highest = u128::MAX.to_string();
    let mut writer = kinesis.writer(&[("explicit_hash_key", &highest)]).await.expect("opened");
    writer.write(&delivery_rows(3..5, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    assert_eq!(kinesis.records().await.values().map(Vec::len).collect::<Vec<_>>(), [3, 2]);

    // A number that is no hash key is a bad row, not a failure.
    let context = sink_context(true);
    let sink = kinesis.make_sink(&[("explicit_hash_key", "TEXT")]).expect("valid");
    let mut writer = sink.open(None, &context).await.expect("opened");
    writer.write(&delivery_rows(5..6, 1)).await.expect("written");
    writer.prepare(1).await.expect("nothing to deliver");
    let refused = context.refused.take();
    assert_eq!(refused[0].1.message(), "\"TEXT\" is 'x': a hash key is a whole number from 0 to 2^128 - 1");
}

#[tokio::test]
async fn a_stream_that_is_missing_is_named_at_the_start_and_when_it_is_deleted() {
    let kinesis = Kinesis::start(1, StoreOptions::default(), &[]).await;
    let sink = kinesis.make_sink(&[("stream", "MISSING")]).expect("valid");
    let error = sink.open(None, &sink_context(true)).await.map(|_| ()).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.message().starts_with("kinesis:DescribeStreamSummary of stream \"MISSING\": ResourceNotFoundException"),
        "{error}"
    );
    assert!(!error.message().contains('\n'));

    let mut writer = kinesis.writer(&[]).await.expect("opened");
    kinesis.client.delete_stream().stream_name("OUT").send().await.expect("deleted");
    loop {
        // Until it is gone.
        if kinesis.client.describe_stream_summary().stream_name("OUT").send().await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    let error = writer.prepare(1).await.map(|_| ()).expect_err("deleted");
    assert!(error.message().starts_with("kinesis:PutRecords of stream \"OUT\": ResourceNotFoundException"), "{error}");
}

#[tokio::test]
async fn a_denied_call_ends_the_job_and_names_the_missing_action() {
    let kinesis = Kinesis::start(1, StoreOptions::default(), &[]).await;
    kinesis.server.fail_with(400, "AccessDeniedException", "User: x is not authorized");
    let mut writer = kinesis.writer(&[]).await.expect("DescribeStreamSummary need not be allowed");
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    let error = writer.prepare(1).await.map(|_| ()).expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.message(), "kinesis:PutRecords of stream \"OUT\": AccessDeniedException: User: x is not authorized");
    assert_eq!(error.hint(), Some("Allow the action kinesis:PutRecords on it for these credentials."));
}

#[tokio::test]
async fn credentials_that_expire_are_waited_for_until_they_are_renewed() {
    let kinesis = Kinesis::start(1, StoreOptions::default(), &[]).await;
    let sink = kinesis.make_sink(&[]).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    kinesis.server.fail_with(400, "ExpiredTokenException", "The security token included in the request is expired");
    writer.write(&delivery_rows(0..3, 1)).await.expect("written");
    while kinesis.server.refused() < 3 {
        tokio::task::yield_now().await;
    }
    kinesis.server.set_down(false);
    writer.prepare(1).await.expect("delivered");
    let mut texts = kinesis.texts().await;
    texts.sort();
    assert_eq!(texts, [0, 1, 2].map(|id| format!("{{\"ID\":{id},\"TEXT\":\"x\"}}")));
    let failed = sink.metrics().iter().find(|metric| metric.name == "requests_failed").map(|metric| metric.value);
    assert!(failed.is_some_and(|failed| failed >= 3.0), "{:?}", sink.metrics());
}

/// A service that takes everything, in a stream whose records may have 10 MiB.
#[tokio::test]
async fn a_record_of_10_mib_is_sent_where_the_stream_takes_it_and_one_byte_more_is_refused() {
    let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let answer = move |headers: HeaderMap, body: String| {
        let seen = Arc::clone(&seen);
        async move {
            if !headers["x-amz-target"].as_bytes().ends_with(b".PutRecords") {
                let summary = serde_json::json!({ "StreamName": "OUT", "StreamARN": "arn:aws:kinesis:us-east-1:0:stream/OUT",
                    "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1.7e9,
                    "EnhancedMonitoring": [], "OpenShardCount": 1, "MaxRecordSizeInKiB": 10_240 });
                return serde_json::json!({ "StreamDescriptionSummary": summary }).to_string();
            }
            let request: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let records = request["Records"].as_array().expect("records");
            let size =
                |record: &serde_json::Value| record["Data"].as_str().expect("data").trim_end_matches('=').len() * 3 / 4 + 1;
            seen.lock().expect("no panic").extend(records.iter().map(size));
            let ok = serde_json::json!({ "SequenceNumber": "1", "ShardId": "shardId-000000000000" });
            serde_json::json!({ "FailedRecordCount": 0, "Records": vec![ok; records.len()] }).to_string()
        }
    };
    let app = axum::Router::new().route("/", post(answer)).layer(DefaultBodyLimit::disable());
    let server = Stub::serve(app, |_| true).await;
    let options =
        [("stream", "OUT"), ("region", "us-east-1"), ("endpoint", server.endpoint.as_str()), ("partition_key.fixed", "k")];
    let sink = stub::sink(&KinesisSinkFactory, &options).expect("valid");
    let context = sink_context(true);
    let mut writer = sink.open(None, &context).await.expect("opened");
    let around = r#"{"ID":1,"TEXT":""}k"#.len();
    for text_bytes in [(10 << 20) - around, (10 << 20) - around + 1] {
        writer.write(&delivery_rows(1..2, text_bytes)).await.expect("written");
    }
    writer.prepare(1).await.expect("delivered");
    assert_eq!(*sizes.lock().expect("no panic"), [10 << 20], "the record with its key");
    let refused = context.refused.take();
    let messages: Vec<_> = refused.iter().map(|(_, error)| error.message()).collect();
    assert_eq!(messages, ["the record has 10485761 bytes with its key; the destination takes 10485760"]);
}

#[tokio::test]
async fn an_endpoint_that_answers_garbage_is_tried_until_it_does_not() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let answer = move |headers: HeaderMap, body: String| {
        let counter = Arc::clone(&counter);
        async move {
            if !headers["x-amz-target"].as_bytes().ends_with(b".PutRecords") {
                let headers = [("x-amzn-errortype", "AccessDeniedException")];
                return (StatusCode::BAD_REQUEST, headers, "{}").into_response();
            }
            if counter.fetch_add(1, Ordering::SeqCst) < 4 {
                return "<html>hello</html>".into_response();
            }
            // As many answers as there are records.
            let request: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let records = request["Records"].as_array().map_or(0, Vec::len);
            let ok = serde_json::json!({ "SequenceNumber": "1", "ShardId": "shardId-000000000000" });
            serde_json::json!({ "FailedRecordCount": 0, "Records": vec![ok; records] }).to_string().into_response()
        }
    };
    let server = Stub::serve(axum::Router::new().route("/", post(answer)), |_| true).await;
    let options = [("stream", "OUT"), ("region", "us-east-1"), ("endpoint", server.endpoint.as_str())];
    let sink = stub::sink(&KinesisSinkFactory, &options).expect("valid");
    let mut writer = sink.open(None, &sink_context(true)).await.expect("opened");
    writer.write(&delivery_rows(0..1, 1)).await.expect("written");
    writer.prepare(1).await.expect("delivered");
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

/// As with a region that does not exist.
#[tokio::test]
async fn a_service_that_cannot_be_reached_at_the_start_is_an_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let options = [("stream", "OUT"), ("region", "us-east-1"), ("endpoint", &format!("http://{closed}"))];
    let sink = stub::sink(&KinesisSinkFactory, &options).expect("valid");
    // A clock that runs ahead, so that nothing is waited for.
    let clock = ManualClock::starting_at(0);
    let context = SinkContext { clock: clock.clone(), ..sink_context(true) };
    let ticking = tokio::spawn(async move {
        for time in 0.. {
            clock.set(time * 100);
            tokio::task::yield_now().await;
        }
    });
    let error = sink.open(None, &context).await.map(|_| ()).expect_err("nobody answers");
    ticking.abort();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().starts_with("kinesis:DescribeStreamSummary of stream \"OUT\": "), "{error}");
    assert!(!error.message().contains('\n'));
    assert_eq!(error.hint(), Some("Check the region, the endpoint, the network and the credentials."));
}

#[test]
fn wrong_options_are_explained() {
    let create = |options: &[(&str, &str)]| {
        let mut all = vec![("stream", "OUT")];
        all.extend_from_slice(options);
        stub::sink(&KinesisSinkFactory, &all).map(|_| ()).expect_err("wrong").to_string()
    };
    for (options, expected) in [
        (
            &[("stream", "arn:aws:firehose:eu-west-1:1:deliverystream/x")][..],
            "option \"stream\" of connector 'kinesis' cannot be 'arn:aws:firehose:eu-west-1:1:deliverystream/x'\n\
             hint: Write a stream's name (letters, digits, '_', '.', '-') or its ARN, 'arn:aws:kinesis:region:account:stream/name'.",
        ),
        (
            &[("partition_key", "IDD")],
            "option \"partition_key\" names the column \"IDD\", which the stream does not have\nhint: Did you mean \"ID\"?",
        ),
        (
            &[("partition_key", "ID"), ("partition_key.fixed", "x")],
            "options \"partition_key\" and \"partition_key.fixed\" exclude each other\n\
             hint: Give the columns of the key, or one key for all rows.",
        ),
        (
            &[("explicit_hash_key", "340282366920938463463374607431768211456")],
            "option \"explicit_hash_key\" cannot be '340282366920938463463374607431768211456'\n\
             hint: A hash key is a whole number from 0 to 2^128 - 1, or the name of a column that holds such.",
        ),
        (
            &[("max_record_bytes", "11mb")],
            "option \"max_record_bytes\" is out of range\n\
             hint: The service takes records of at most 10mb, and 1mb unless the stream is told otherwise.",
        ),
        (
            &[("batch.bytes", "20mb")],
            "option \"batch.bytes\" cannot be 20971520 bytes\nhint: The service takes requests of 1 to 10485760 bytes.",
        ),
    ] {
        assert_eq!(create(options), expected);
    }
}

/// `cargo test -p kinesql-connectors --lib -- --ignored --nocapture added_latency`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: it prints and checks nothing that holds on every machine"]
async fn added_latency_without_linger() {
    let kinesis = Kinesis::start(1, StoreOptions::default(), &[]).await;
    let mut writer = kinesis.writer(&[]).await.expect("opened");
    let mut waits: Vec<f64> = Vec::new();
    for id in 0..2_000 {
        let batch = delivery_rows(id..id + 1, 100);
        #[allow(clippy::disallowed_methods, reason = "microseconds are measured")]
        let start = std::time::Instant::now();
        writer.write(&batch).await.expect("written");
        writer.flush().await.expect("flushed");
        writer.prepare(1).await.expect("acknowledged");
        waits.push(start.elapsed().as_secs_f64() * 1e3);
    }
    waits.sort_by(f64::total_cmp);
    println!("row to acknowledgement: p50 {:.2} ms, p99 {:.2} ms", waits[1_000], waits[1_980]);
}
