//! What fills the sources of the conformance tests.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;

use async_trait::async_trait;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;

use super::super::s3::Bucket;
use super::super::servers;
use super::super::streams::config;
use super::super::switch::Switch;
use super::{Feed, record};

/// A name of a stream, a bucket or a function that is no other test's.
fn name(source: &str, rule: &str) -> String {
    // A bucket's name has at most 63 characters, and no underscore.
    format!("{source}-{rule}").replace('_', "-").chars().take(60).collect()
}

/// A file that grows.
pub struct File(NamedTempFile);

pub async fn file(_rule: &str) -> Option<File> {
    Some(File(tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a file")))
}

#[async_trait]
impl Feed for File {
    fn options(&self) -> String {
        format!("connector = 'file', path = '{}', follow = true", self.0.path().display())
    }

    async fn put(&mut self, ids: Range<usize>, bytes: usize) {
        for id in ids {
            writeln!(self.0, "{}", record(id, bytes)).expect("written");
        }
    }

    async fn put_bad(&mut self) {
        writeln!(self.0, "no JSON").expect("written");
    }
}

/// Objects that appear under a prefix.
pub struct Objects {
    bucket: Bucket,
    switch: Switch,
    count: usize,
}

pub async fn s3(rule: &str) -> Option<Objects> {
    let server = servers::moto()?;
    let bucket = Bucket::new(server, &name("s3", rule)).await;
    Some(Objects { bucket, switch: Switch::before(&server.endpoint).await, count: 0 })
}

impl Objects {
    async fn object(&mut self, text: String) {
        self.bucket.put(&format!("in/{:06}", self.count), text).await;
        self.count += 1;
    }
}

#[async_trait]
impl Feed for Objects {
    fn options(&self) -> String {
        let of_bucket = self.bucket.options("in/").replace(&self.bucket.endpoint, &self.switch.endpoint);
        format!("{of_bucket}, follow = true, poll_interval = '100ms'")
    }

    async fn put(&mut self, ids: Range<usize>, bytes: usize) {
        // Some records an object, as a delivery stream writes them.
        let ids: Vec<_> = ids.collect();
        for ids in ids.chunks(25) {
            let mut text = String::new();
            for id in ids {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}", record(*id, bytes));
            }
            self.object(text).await;
        }
    }

    async fn put_bad(&mut self) {
        self.object("no JSON\n".to_owned()).await;
    }

    fn switch(&self) -> Option<&Switch> {
        Some(&self.switch)
    }
}

/// A data stream of two shards.
pub struct Stream {
    client: aws_sdk_kinesis::Client,
    name: String,
    mode: &'static str,
    switch: Switch,
}

pub async fn kinesis(rule: &str) -> Option<Stream> {
    stream(servers::kinesis()?, &name("conformance", rule), "polling").await
}

/// The same, read with enhanced fan-out.
pub async fn fan_out(rule: &str) -> Option<Stream> {
    stream(servers::ministack()?, &name("fan-out", rule), "fan_out").await
}

async fn stream(server: &servers::Server, name: &str, mode: &'static str) -> Option<Stream> {
    let client = aws_sdk_kinesis::Client::new(&config(&server.endpoint));
    super::super::streams::create(&client, name, 2).await;
    Some(Stream { client, name: name.to_owned(), mode, switch: Switch::before(&server.endpoint).await })
}

impl Stream {
    async fn send(&self, records: impl Iterator<Item = String>) {
        let records = records.enumerate().map(|(key, record)| {
            let entry = PutRecordsRequestEntry::builder().partition_key(key.to_string()).data(Blob::new(record));
            entry.build().expect("complete")
        });
        let put = self.client.put_records().stream_name(&self.name).set_records(Some(records.collect()));
        assert_eq!(put.send().await.expect("put").failed_record_count(), Some(0));
    }
}

#[async_trait]
impl Feed for Stream {
    fn options(&self) -> String {
        let Self { name, mode, switch, .. } = self;
        format!(
            "connector = 'kinesis', stream = '{name}', mode = '{mode}', region = 'us-east-1', endpoint = '{}', scan.start = 'trim_horizon'",
            switch.endpoint
        )
    }

    async fn put(&mut self, ids: Range<usize>, bytes: usize) {
        self.send(ids.map(|id| record(id, bytes))).await;
    }

    async fn put_bad(&mut self) {
        self.send(["no JSON".to_owned()].into_iter()).await;
    }

    fn switch(&self) -> Option<&Switch> {
        Some(&self.switch)
    }
}

/// A delivery stream that delivers to the endpoint until it is acknowledged.
pub struct Deliveries {
    port: u16,
    client: reqwest::Client,
    sent: usize,
}

pub async fn firehose(_rule: &str) -> Option<Deliveries> {
    Some(Deliveries { port: servers::free_port(), client: reqwest::Client::new(), sent: 0 })
}

impl Deliveries {
    fn deliver(&mut self, records: &[String]) {
        let records: Vec<_> = records.iter().map(|record| serde_json::json!({ "data": STANDARD.encode(record) })).collect();
        let body = serde_json::json!({ "requestId": format!("request {}", self.sent), "timestamp": 1, "records": records });
        self.sent += 1;
        let (client, url) = (self.client.clone(), format!("http://127.0.0.1:{}/", self.port));
        // An acknowledgement comes with a checkpoint, and from nobody while the job is down.
        tokio::spawn(async move {
            loop {
                match client.post(&url).body(body.to_string()).send().await {
                    Ok(answer) if answer.status() == 200 => return,
                    _ => tokio::task::yield_now().await,
                }
            }
        });
    }
}

#[async_trait]
impl Feed for Deliveries {
    fn options(&self) -> String {
        format!("connector = 'firehose', listen = '127.0.0.1:{}'", self.port)
    }

    async fn put(&mut self, ids: Range<usize>, bytes: usize) {
        let ids: Vec<_> = ids.collect();
        for ids in ids.chunks(10) {
            let records: Vec<_> = ids.iter().map(|id| record(*id, bytes)).collect();
            self.deliver(&records);
        }
    }

    async fn put_bad(&mut self) {
        self.deliver(&["no JSON".to_owned()]);
    }
}

/// A file whose records go through a function.
pub struct Preprocessed {
    file: File,
    function: String,
    switch: Switch,
}

pub async fn preprocessed(rule: &str) -> Option<Preprocessed> {
    let server = servers::ministack()?;
    let function = name("conformance", rule);
    let code = r#"
def handler(event, context):
    return {"records": [{"recordId": r["recordId"], "result": "Ok", "data": r["data"]} for r in event["records"]]}
"#;
    super::super::lambda::function(&server.endpoint, &function, code).await;
    Some(Preprocessed { file: file(rule).await?, function, switch: Switch::before(&server.endpoint).await })
}

#[async_trait]
impl Feed for Preprocessed {
    fn options(&self) -> String {
        format!(
            "{}, preprocessor = '{}', preprocessor.region = 'us-east-1', preprocessor.endpoint = '{}',
             preprocessor.batch_records = 20",
            self.file.options(),
            self.function,
            self.switch.endpoint
        )
    }

    async fn put(&mut self, ids: Range<usize>, bytes: usize) {
        self.file.put(ids, bytes).await;
    }

    async fn put_bad(&mut self) {
        self.file.put_bad().await;
    }

    fn switch(&self) -> Option<&Switch> {
        Some(&self.switch)
    }
}
