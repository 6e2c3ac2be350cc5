//! The conformance checks of sinks that deliver at least once, with the servers of the tests behind a relay that can be cut; and
//! what such a relay shows of the `s3` sink.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use kinesql_connectors::conformance::{DeliveryHarness, check_at_least_once_sink, delivery_rows, delivery_schema};
use kinesql_connectors::firehose::FirehoseSinkFactory;
use kinesql_connectors::kinesis::KinesisSinkFactory;
use kinesql_connectors::lambda::LambdaSinkFactory;
use kinesql_engine::connector::{OptionEntry, Options, Sink, SinkDefinition, SinkFactory};
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use tempfile::TempDir;

use super::super::job::{start, use_test_credentials};
use super::super::s3::Bucket;
use super::super::servers;
use super::super::streams::config;
use super::super::switch::Switch;

/// A number that no other harness has.
fn number() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::SeqCst)
}

/// A sink as the conformance checks want it.
fn sink(factory: &dyn SinkFactory, switch: &Switch, more: &[(&str, &str)]) -> Arc<dyn Sink> {
    use_test_credentials();
    let own = [("region", "us-east-1"), ("endpoint", switch.endpoint.as_str()), ("linger", "0ms"), ("buffer_bytes", "16kb")];
    let waits = [("retry.min_delay", "1ms"), ("retry.max_delay", "2ms")];
    let entries: Vec<_> = own.iter().chain(&waits).chain(more).map(|(key, value)| OptionEntry::new(*key, *value)).collect();
    let specs: Vec<_> = factory.options().iter().collect();
    let options = Options::check(factory.name(), &specs, &entries, None).expect("valid");
    let definition = SinkDefinition { name: "OUT".to_owned(), stream: "OUT".to_owned(), schema: delivery_schema(), format: None };
    factory.create(&definition, &options).expect("a sink")
}

/// A data stream of kinesis-local.
struct Stream {
    client: aws_sdk_kinesis::Client,
    name: String,
    switch: Switch,
}

#[async_trait]
impl DeliveryHarness for Stream {
    fn sink(&self) -> Arc<dyn Sink> {
        sink(&KinesisSinkFactory, &self.switch, &[("stream", &self.name), ("partition_key", "ID")])
    }

    fn set_down(&self, down: bool) {
        self.switch.set_down(down);
    }

    fn refused(&self) -> usize {
        self.switch.refused()
    }

    async fn delivered(&self) -> Vec<String> {
        let shards = super::super::kinesis_sink::read(&self.client, &self.name).await;
        let text = |data: &[u8]| String::from_utf8(data.to_vec()).expect("text");
        shards.into_values().flatten().map(|record| text(record.data().as_ref())).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kinesis_sink_conforms() {
    let Some(server) = servers::kinesis() else { return };
    let make = async || {
        let client = aws_sdk_kinesis::Client::new(&config(&server.endpoint));
        let name = format!("sink-conformance-{}", number());
        super::super::streams::create(&client, &name, 2).await;
        Stream { client, name, switch: Switch::before(&server.endpoint).await }
    };
    check_at_least_once_sink(make, &delivery_rows(7..8, 1 << 20)).await;
}

/// A delivery stream of ministack, and the bucket that it writes to.
struct DeliveryStream {
    bucket: Bucket,
    switch: Switch,
}

#[async_trait]
impl DeliveryHarness for DeliveryStream {
    fn sink(&self) -> Arc<dyn Sink> {
        sink(&FirehoseSinkFactory, &self.switch, &[("delivery_stream", &self.bucket.name)])
    }

    fn set_down(&self, down: bool) {
        self.switch.set_down(down);
    }

    fn refused(&self) -> usize {
        self.switch.refused()
    }

    /// Each record is an object.
    async fn delivered(&self) -> Vec<String> {
        let listed: Vec<_> = self.bucket.store.list(None).try_collect().await.expect("listed");
        let mut records = Vec::new();
        for meta in listed {
            let bytes = self.bucket.store.get(&meta.location).await.expect("there").bytes().await.expect("read");
            records.push(String::from_utf8(bytes.to_vec()).expect("text"));
        }
        records
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_firehose_sink_conforms() {
    let Some(server) = servers::ministack() else { return };
    let make = async || {
        let bucket = Bucket::new(server, &format!("firehose-conformance-{}", number())).await;
        let destination = aws_sdk_firehose::types::ExtendedS3DestinationConfiguration::builder()
            .role_arn("arn:aws:iam::000000000000:role/firehose")
            .bucket_arn(format!("arn:aws:s3:::{}", bucket.name));
        let create = aws_sdk_firehose::Client::new(&config(&server.endpoint)).create_delivery_stream();
        let create = create.delivery_stream_name(&bucket.name);
        let create = create.extended_s3_destination_configuration(destination.build().expect("complete"));
        create.send().await.expect("created");
        DeliveryStream { bucket, switch: Switch::before(&server.endpoint).await }
    };
    check_at_least_once_sink(make, &delivery_rows(7..8, 1_024_000)).await;
}

/// A function of ministack that writes what it takes to a file.
struct Function {
    folder: TempDir,
    name: String,
    switch: Switch,
}

impl Function {
    fn taken(&self) -> PathBuf {
        self.folder.path().join("taken")
    }
}

#[async_trait]
impl DeliveryHarness for Function {
    fn sink(&self) -> Arc<dyn Sink> {
        sink(&LambdaSinkFactory, &self.switch, &[("function", &self.name)])
    }

    fn set_down(&self, down: bool) {
        self.switch.set_down(down);
    }

    fn refused(&self) -> usize {
        self.switch.refused()
    }

    async fn delivered(&self) -> Vec<String> {
        std::fs::read_to_string(self.taken()).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lambda_sink_conforms() {
    let Some(server) = servers::ministack() else { return };
    let code = r##"
import base64, os

def handler(event, context):
    records = event["records"]
    lines = b"".join(base64.b64decode(record["data"]) + b"\n" for record in records)
    file = os.open(TAKEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, lines)
    os.close(file)
    return {"records": [{"recordId": record["recordId"], "result": "Ok"} for record in records]}
"##;
    let make = async || {
        let name = format!("sink-conformance-{}", number());
        let folder = tempfile::tempdir().expect("a folder");
        let function = Function { folder, name, switch: Switch::before(&server.endpoint).await };
        let code = format!("TAKEN = {:?}\n{code}", function.taken().display().to_string());
        super::super::lambda::function(&server.endpoint, &function.name, &code).await;
        function
    };
    check_at_least_once_sink(make, &delivery_rows(7..8, 5 << 20)).await;
}

/// While the store is down the job waits, and reads no further than it may buffer; when it is back everything is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_s3_sink_waits_for_a_store_that_goes_down_and_comes_back() {
    let Some(server) = servers::moto() else { return };
    let bucket = Bucket::new(server, "sink-down-and-back").await;
    let switch = Switch::before(&server.endpoint).await;
    const ROWS: usize = 200_000;
    let mut file = BufWriter::new(tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a file"));
    for id in 0..ROWS {
        writeln!(file, "{}", super::record(id, 200)).expect("written");
    }
    file.flush().expect("written");
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"ID\" INTEGER, \"NAME\" VARCHAR(200)) WITH (connector = 'file', path = '{}');
         CREATE SINK \"S\" FROM \"IN\" WITH ({}, prefix = '', buffer_size = '1mb');",
        file.get_ref().path().display(),
        bucket.options("out/").replace(&bucket.endpoint, &switch.endpoint)
    );
    let job = start(&sql).await.expect("started");
    switch.set_down(true);
    while switch.refused() < 3 {
        tokio::task::yield_now().await;
    }
    let read = || job.metrics().sources[0].rows.get();
    let mut last = read();
    loop {
        super::settle().await;
        match read() {
            now if now == last => break,
            now => last = now,
        }
    }
    assert!(last < ROWS as u64 / 2, "{last} rows were read while nothing could be written");
    switch.set_down(false);
    job.wait().await.expect("the job ends");
    let objects = bucket.objects().await;
    let text = objects.into_iter().filter(|(key, _)| key.starts_with("out/S-")).flat_map(|(_, bytes)| bytes).collect();
    let text = String::from_utf8(text).expect("text");
    let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["ID"].as_u64().expect("a number");
    let mut ids: Vec<_> = text.lines().map(row).collect();
    ids.sort_unstable();
    assert!(ids == (0..ROWS as u64).collect::<Vec<_>>(), "{} rows", ids.len());
}
