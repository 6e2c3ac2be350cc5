//! `firehose` as a source: moto's Firehose delivers to it over HTTP.

use arrow::array::AsArray as _;
use arrow::datatypes::Int32Type;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{
    DeliveryStreamType, HttpEndpointConfiguration, HttpEndpointDestinationConfiguration, Record, S3DestinationConfiguration,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::diagnostic::Script;
use kinesql_engine::{Engine, Job};

use super::servers;
use super::streams::config;

/// Creates a delivery stream that delivers to `url`.
pub async fn delivery_stream(client: &Client, name: &str, url: &str) {
    let endpoint = HttpEndpointConfiguration::builder().url(url).name("kinesql");
    let backup =
        S3DestinationConfiguration::builder().role_arn("arn:aws:iam::123456789012:role/r").bucket_arn("arn:aws:s3:::backup");
    let destination = HttpEndpointDestinationConfiguration::builder()
        .endpoint_configuration(endpoint.build().expect("complete"))
        .s3_configuration(backup.build().expect("complete"));
    let create = client.create_delivery_stream().delivery_stream_name(name);
    let create = create.delivery_stream_type(DeliveryStreamType::DirectPut);
    create.http_endpoint_destination_configuration(destination.build()).send().await.expect("created");
}

/// Sends records; returns when the endpoint has answered, as moto does.
pub async fn put(client: &Client, name: &str, records: impl IntoIterator<Item = Vec<u8>>) {
    let records = records.into_iter().map(|record| Record::builder().data(Blob::new(record)).build().expect("data"));
    let put = client.put_record_batch().delivery_stream_name(name).set_records(Some(records.collect()));
    assert_eq!(put.send().await.expect("delivered").failed_put_count(), 0);
}

/// A job whose source listens at the port, with `more` options, and whose sink `O` is in memory.
async fn listen(more: &str) -> (u16, MemoryConnector, Job) {
    let memory = MemoryConnector::default();
    let builder = Engine::builder().connectors(|registry| {
        kinesql_connectors::register_all(registry);
        memory.register(registry);
    });
    let engine = builder.build().expect("an engine");
    let port = servers::free_port();
    let sql = format!(
        "CREATE SOURCE S (N INTEGER) WITH (connector = 'firehose', listen = '127.0.0.1:{port}'{more});
        CREATE SINK O FROM S WITH (connector = 'memory');"
    );
    engine.execute(&Script::new("app.sql", sql)).await.expect("right");
    (port, memory, engine.start().await.expect("listening"))
}

#[tokio::test]
async fn a_delivery_stream_delivers_to_the_endpoint() {
    let Some(server) = servers::moto() else { return };
    let (port, memory, job) = listen(", path = '/ticks'").await;

    let client = Client::new(&config(&server.endpoint));
    delivery_stream(&client, "to-kinesql", &format!("http://127.0.0.1:{port}/ticks")).await;

    for first in [0, 10] {
        put(&client, "to-kinesql", (first..first + 10).map(|n| format!("{{\"N\":{n}}}").into_bytes())).await;
        while numbers(&memory).len() < first as usize + 10 {
            job.sync().await.expect("running");
        }
    }
    assert_eq!(numbers(&memory), (0..20).collect::<Vec<_>>());
    job.stop();
    job.wait().await.expect("stopped");
}

/// Numbers that the sink `O` has.
fn numbers(memory: &MemoryConnector) -> Vec<i32> {
    let batches = memory.sink("O").expect("bound").batches();
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
}

/// A job that stops while deliveries come, without checkpoints: what it read ahead was not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_the_sinks_when_a_job_stops() {
    let Some(server) = servers::ministack() else { return };
    let code = r#"
def handler(event, context):
    return {"records": [{"recordId": r["recordId"], "result": "Ok", "data": r["data"]} for r in event["records"]]}
"#;
    super::lambda::function(&server.endpoint, "same", code).await;
    let function =
        format!(", preprocessor = 'same', preprocessor.region = 'us-east-1', preprocessor.endpoint = '{}'", server.endpoint);
    for more in ["", &function] {
        let (port, memory, job) = listen(more).await;
        let client = reqwest::Client::new();
        let mut sent = tokio::task::JoinSet::new();
        for n in 0..60 {
            let request = client.post(format!("http://127.0.0.1:{port}/")).body(
                serde_json::json!({ "requestId": n.to_string(), "records": [{ "data": STANDARD.encode(format!("{{\"N\":{n}}}")) }] })
                    .to_string(),
            );
            // When the job has ended nobody answers.
            sent.spawn(async move { request.send().await.is_ok_and(|answer| answer.status() == 200).then_some(n) });
        }
        let first = sent.join_next().await.expect("one").expect("sent");
        job.stop();
        let mut acknowledged: Vec<i32> = sent.join_all().await.into_iter().flatten().collect();
        job.wait().await.expect("stopped");
        acknowledged.extend(first);
        let numbers = numbers(&memory);
        assert!(!acknowledged.is_empty(), "{more}");
        assert!(acknowledged.iter().all(|n| numbers.contains(n)), "{more}: {acknowledged:?} of {numbers:?}");
    }
}
