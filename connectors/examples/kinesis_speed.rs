//! What the `kinesis` source costs, in time of the processor:
//!
//! ```text
//! cargo run --release --example kinesis_speed -F testing -- decode
//! cargo run --release --example kinesis_speed -F testing -- idle http://127.0.0.1:4568 200 30
//! cargo run --release --example kinesis_speed -F testing -- latency http://127.0.0.1:4568 2000
//! ```
//!
//! `decode` reads rows of 100 bytes as JSON lines from a file, and as aggregated records of an answer, both into columns.
//! `idle` creates a stream with so many shards on a local server and runs a job on it for so many seconds; every second one row
//! comes.
//! `latency` puts so many rows, 100 a second, through a job from one stream to another. It prints the time from the answer that held
//! a row to the arrival of the request that brings it on, at a stand-in for the other stream, which only takes what comes: the job's
//! own. Then the same with the other stream on the local server, as that noted the arrival in whole milliseconds, and how long the
//! server took for the calls that put the rows into the first stream.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{Record, ShardIteratorType, StreamStatus};
use axum::http::HeaderMap;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use kinesql_connectors::file::FileSourceFactory;
use kinesql_connectors::kinesis::KinesisSourceFactory;
use kinesql_connectors::kinesis::testing::{aggregate, unpack};
use kinesql_connectors::register_all;
use kinesql_engine::connector::{
    Offset, OptionEntry, OptionSpec, Options, Read, Sample, Source, SourceContext, SourceDefinition, SourceFactory, SplitReader,
};
use kinesql_engine::format::{DecodeColumn, Decoder, FormatSpec, decoder};
use kinesql_engine::runtime::clock::{Clock, SystemClock};
use kinesql_engine::types::SqlType;
use kinesql_engine::{Engine, Result};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 400_000;

/// Bytes of an aggregated record: what the KPL fills by default ("AggregationMaxSize": 51,200).
const AGGREGATED_BYTES: usize = 51_200;

/// Bytes of an answer that is one of five per second.
const ANSWER_BYTES: usize = 400 << 10;

const ROUNDS: usize = 10;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["decode"] => decode().await,
        ["idle", endpoint, shards, seconds] => idle(endpoint, shards.parse().unwrap_or(200), seconds.parse().unwrap_or(30)).await,
        ["latency", endpoint, rows] => latency(endpoint, rows.parse().unwrap_or(2_000)).await,
        _ => {
            eprintln!("usage: kinesis_speed decode | idle ENDPOINT SHARDS SECONDS | latency ENDPOINT ROWS");
            Ok(())
        }
    }
}

/// Nanoseconds on a processor of all threads (Linux: the first number of schedstat).
fn cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
}

fn row(number: usize) -> String {
    let ticker = ["AMZN", "JPM", "PFE", "XOM", "BRK.B"][number % 5];
    let (change, price) = ((number * 7 % 2_000) as f64 / 100.0 - 10.0, (number * 31 % 100_000) as f64 / 100.0);
    format!(
        "{{\"TICKER_SYMBOL\":\"{ticker}\",\"SECTOR\":\"TECHNOLOGY\",\"CHANGE\":{change:.2},\"PRICE\":{price:.2},\"ID\":{number}}}"
    )
}

fn columns() -> Vec<DecodeColumn> {
    let types = [
        ("TICKER_SYMBOL", SqlType::Varchar(8)),
        ("SECTOR", SqlType::Varchar(16)),
        ("CHANGE", SqlType::Double),
        ("PRICE", SqlType::Double),
        ("ID", SqlType::BigInt),
    ];
    let column = |(index, (name, sql_type)): (usize, (&str, SqlType))| DecodeColumn {
        field: sql_type.field(name, true),
        path: None,
        index,
    };
    types.into_iter().enumerate().map(column).collect()
}

async fn decode() -> Result<()> {
    let rows: Vec<_> = (0..ROWS).map(row).collect();
    let bytes: usize = rows.iter().map(|row| row.len() + 1).sum();
    println!("{ROWS} rows of {:.0} bytes", bytes as f64 / ROWS as f64);
    let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a file");
    for row in &rows {
        writeln!(file, "{row}").expect("written");
    }
    file.flush().expect("written");
    let path = file.path().display().to_string();

    let answers = answers(&rows);
    let mut decoder = decoder(&FormatSpec::Json, columns())?;
    let mut best = [f64::MAX; 4];
    let (empty, full) = (Arc::new(Schema::empty()), metadata());
    for _ in 0..ROUNDS {
        let started = cpu_ns();
        let read = read_file(&path, decoder.as_mut()).await?;
        assert_eq!(read, ROWS);
        let mut note = |place: usize, started: u64| best[place] = best[place].min((cpu_ns() - started) as f64 / ROWS as f64);
        note(0, started);
        for (place, check, metadata) in [(1, false, &empty), (2, true, &empty), (3, true, &full)] {
            let started = cpu_ns();
            assert_eq!(read_answers(&answers, check, metadata, decoder.as_mut())?, ROWS);
            note(place, started);
        }
    }
    for (name, ns) in
        ["JSON lines of a file", "aggregated", "aggregated, keys checked", "the same with metadata"].iter().zip(best)
    {
        println!("{name:28} {ns:6.0} ns per row, {:.2} of the file's speed", best[0] / ns);
    }
    Ok(())
}

/// Answers of aggregated records, each row with a key of its own.
fn answers(rows: &[String]) -> Vec<Vec<Record>> {
    let mut answers = vec![Vec::new()];
    let mut size = 0;
    for (number, rows) in rows.chunks(AGGREGATED_BYTES / 115).enumerate() {
        let keys: Vec<_> = (0..rows.len()).map(|row| format!("key-{}", number * 1_000 + row)).collect();
        let records: Vec<_> = rows.iter().zip(&keys).map(|(row, key)| (key.as_str(), None, row.as_bytes())).collect();
        let data = aggregate(&records);
        size += data.len();
        if size > ANSWER_BYTES {
            answers.push(Vec::new());
            size = data.len();
        }
        let record = Record::builder()
            .sequence_number(format!("4959033827149025660855969253836157109592157598913{number:07}"))
            .approximate_arrival_timestamp(DateTime::from_secs(1_700_000_000))
            .partition_key("a")
            .data(Blob::new(data));
        answers.last_mut().expect("one").push(record.build().expect("complete"));
    }
    answers
}

fn metadata() -> SchemaRef {
    bind(&KinesisSourceFactory, &[("stream", "x")]).metadata()
}

fn read_answers(answers: &[Vec<Record>], check: bool, metadata: &SchemaRef, decoder: &mut dyn Decoder) -> Result<usize> {
    let mut rows = 0;
    for answer in answers {
        for (bytes, ends) in unpack(answer, check, Arc::clone(metadata))? {
            rows += decoder.decode_records(&bytes, &ends, None, &mut Vec::new())?.num_rows();
        }
    }
    Ok(rows)
}

async fn read_file(path: &str, decoder: &mut dyn Decoder) -> Result<usize> {
    let source = bind(&FileSourceFactory, &[("path", path)]);
    let context = SourceContext::new(SystemClock::shared(), FormatSpec::Json);
    let mut reader = source.open("0/1", None, &context).await?;
    let mut rows = 0;
    loop {
        match reader.next().await? {
            Read::Records(records) => rows += decoder.decode(&records.bytes, &mut Vec::new())?.num_rows(),
            Read::End { .. } => return Ok(rows),
            _ => {}
        }
    }
}

fn bind(factory: &dyn SourceFactory, options: &[(&str, &str)]) -> Arc<dyn Source> {
    let entries: Vec<_> = options.iter().map(|(key, value)| OptionEntry::new(*key, *value)).collect();
    let specs: Vec<_> = factory.options().iter().collect();
    let options = Options::check("the connector", &specs, &entries, None).expect("options");
    let definition = SourceDefinition { name: "S".to_owned(), schema: None, format: FormatSpec::Json };
    factory.create(&definition, &options).expect("a source")
}

async fn idle(endpoint: &str, shards: i32, seconds: u64) -> Result<()> {
    let stream = format!("idle-{}-{}", shards, std::process::id());
    let clock = SystemClock::shared();
    let client = client(endpoint).await;
    create_stream(&client, &clock, &stream, shards).await;
    let engine = Engine::builder().connectors(register_all).build()?;
    let script = format!(
        "CREATE SOURCE \"IN\" (\"ID\" INTEGER) WITH (connector = 'kinesis', stream = '{stream}', region = 'us-east-1', endpoint = '{endpoint}');
         CREATE STREAM \"OUT\" (\"ID\" INTEGER);
         CREATE PUMP \"P\" AS INSERT INTO \"OUT\" SELECT STREAM \"ID\" FROM \"IN\";
         CREATE SINK \"S\" FROM \"OUT\" WITH (connector = 'stdout');"
    );
    let job = engine.run_script(&script).await?;
    // Until idle shards are read as seldom as they are in the long run.
    clock.sleep(Duration::from_secs(10)).await;
    let started = cpu_ns();
    for row in 0..seconds {
        let put = client.put_record().stream_name(&stream).partition_key(row.to_string());
        put.data(Blob::new(format!("{{\"ID\":{row}}}"))).send().await.expect("a record is put");
        clock.sleep(Duration::from_secs(1)).await;
    }
    let used = (cpu_ns() - started) as f64 / 1e9;
    println!("{shards} shards: {:.1} % of a core", 100.0 * used / seconds as f64);
    job.stop();
    job.wait().await
}

async fn client(endpoint: &str) -> aws_sdk_kinesis::Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region("us-east-1")
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await;
    aws_sdk_kinesis::Client::new(&config)
}

async fn create_stream(client: &aws_sdk_kinesis::Client, clock: &Arc<dyn Clock>, stream: &str, shards: i32) {
    client.create_stream().stream_name(stream).shard_count(shards).send().await.expect("created");
    loop {
        let described = client.describe_stream_summary().stream_name(stream).send().await.expect("described");
        if described.stream_description_summary().expect("there").stream_status() == &StreamStatus::Active {
            return;
        }
        clock.sleep(Duration::from_millis(100)).await;
    }
}

async fn latency(endpoint: &str, rows: usize) -> Result<()> {
    let client = client(endpoint).await;
    let stand_in = StandIn::start().await;
    let (received, calls) = pass_on(&client, endpoint, &stand_in.endpoint, "taken", rows).await?;
    let arrived = stand_in.arrived.lock().expect("no panic").clone();
    show("the job alone", arrived.iter().map(|(id, arrived)| arrived - received[id]).collect());
    let (received, more_calls) = pass_on(&client, endpoint, endpoint, "passed", rows).await?;
    let arrived = arrivals(&client, "passed", rows).await;
    // In the middle of the millisecond that the server noted.
    show("with the local server", arrived.iter().map(|(id, arrived)| 1_000 * arrived + 500 - received[id]).collect());
    show("a call of the local server", [calls, more_calls].concat());
    Ok(())
}

/// Prints what is usual and what is rare of some times in microseconds.
fn show(what: &str, mut times: Vec<i64>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    println!("{what:28} median {:5.1} ms, p99 {:5.1} ms, longest {:5.1} ms, {} times", at(0.5), at(0.99), at(1.0), times.len());
}

/// Microseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "milliseconds are too coarse here")]
fn now_us() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("later than 1970").as_micros() as i64
}

/// Runs a job from a new stream at `endpoint` to one at `to`. Returns when each row was received, and how long each call was that put
/// one.
async fn pass_on(
    client: &aws_sdk_kinesis::Client,
    endpoint: &str,
    to: &str,
    name: &str,
    rows: usize,
) -> Result<(BTreeMap<u64, i64>, Vec<i64>)> {
    let clock = SystemClock::shared();
    let (from, into) = (stream_name(&format!("{name}-from")), stream_name(name));
    create_stream(client, &clock, &from, 1).await;
    if to == endpoint {
        create_stream(client, &clock, &into, 1).await;
    }
    let received = Received::default();
    let engine = Engine::builder()
        .connectors(|registry| {
            register_all(registry);
            registry.register_source(Arc::new(NotedFactory(received.clone())));
        })
        .build()?;
    let script = format!(
        "CREATE SOURCE \"IN\" (\"ID\" INTEGER) WITH (connector = 'noted', stream = '{from}', scan.start = 'trim_horizon', region = 'us-east-1', endpoint = '{endpoint}');
         CREATE STREAM \"OUT\" (\"ID\" INTEGER);
         CREATE PUMP \"P\" AS INSERT INTO \"OUT\" SELECT STREAM \"ID\" FROM \"IN\";
         CREATE SINK \"S\" FROM \"OUT\" WITH (connector = 'kinesis', stream = '{into}', linger = '0ms', region = 'us-east-1', endpoint = '{to}');"
    );
    let job = engine.run_script(&script).await?;
    let mut calls = Vec::new();
    for row in 0..rows {
        let put = client.put_record().stream_name(&from).partition_key("a").data(Blob::new(format!("{{\"ID\":{row}}}")));
        let called = now_us();
        put.send().await.expect("a record is put");
        calls.push(now_us() - called);
        clock.sleep(Duration::from_millis(10)).await;
    }
    while received.0.lock().expect("no panic").len() < rows {
        clock.sleep(Duration::from_millis(100)).await;
    }
    job.stop();
    job.wait().await?;
    let received = received.0.lock().expect("no panic").clone();
    Ok((received, calls))
}

fn stream_name(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// When the rows arrived in a stream, in milliseconds since 1970 as its server counts them.
async fn arrivals(client: &aws_sdk_kinesis::Client, name: &str, rows: usize) -> Vec<(u64, i64)> {
    let stream = stream_name(name);
    let shards = client.list_shards().stream_name(&stream).send().await.expect("listed");
    let iterator = client.get_shard_iterator().stream_name(&stream).shard_id(shards.shards()[0].shard_id());
    let mut iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.expect("there").shard_iterator;
    let mut arrived = Vec::new();
    while arrived.len() < rows {
        let answer = client.get_records().set_shard_iterator(iterator).send().await.expect("read");
        for record in answer.records() {
            let time = record.approximate_arrival_timestamp().expect("set").to_millis().expect("in range");
            arrived.extend(ids(record.data().as_ref()).map(|id| (id, time)));
        }
        iterator = answer.next_shard_iterator;
    }
    arrived
}

/// A stream that takes every row and notes when its request came.
struct StandIn {
    endpoint: String,
    arrived: Arc<Mutex<BTreeMap<u64, i64>>>,
}

impl StandIn {
    async fn start() -> Self {
        let arrived = Arc::default();
        let noted = Arc::clone(&arrived);
        let answer = move |headers: HeaderMap, body: Bytes| async move { Self::answer(&headers, &body, &noted) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
        Self { endpoint, arrived }
    }

    fn answer(headers: &HeaderMap, body: &[u8], noted: &Mutex<BTreeMap<u64, i64>>) -> String {
        let now = now_us();
        if headers.get("x-amz-target").is_none_or(|target| !target.as_bytes().ends_with(b".PutRecords")) {
            return "{\"StreamDescriptionSummary\":{\"StreamName\":\"x\",\"StreamARN\":\"x\",\"StreamStatus\":\"ACTIVE\",\
                    \"RetentionPeriodHours\":24,\"StreamCreationTimestamp\":0,\"EnhancedMonitoring\":[],\"OpenShardCount\":1}}"
                .to_owned();
        }
        let request: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let records = request["Records"].as_array().expect("records");
        for record in records {
            let data = BASE64_STANDARD.decode(record["Data"].as_str().expect("text")).expect("base64");
            noted.lock().expect("no panic").extend(ids(&data).map(|id| (id, now)));
        }
        let answers = vec![serde_json::json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"}); records.len()];
        serde_json::json!({"FailedRecordCount": 0, "Records": answers}).to_string()
    }
}

/// When each row was received, in microseconds since 1970, by its ID.
#[derive(Debug, Clone, Default)]
struct Received(Arc<Mutex<BTreeMap<u64, i64>>>);

/// The numbers behind `"ID":`.
fn ids(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let text = std::str::from_utf8(bytes).expect("JSON");
    let digits = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    text.split("\"ID\":").skip(1).filter_map(digits)
}

/// The `kinesis` source, noting when rows come.
#[derive(Debug)]
struct NotedFactory(Received);

impl SourceFactory for NotedFactory {
    fn name(&self) -> &'static str {
        "noted"
    }

    fn options(&self) -> &'static [OptionSpec] {
        KinesisSourceFactory.options()
    }

    fn formats(&self) -> &'static [&'static str] {
        KinesisSourceFactory.formats()
    }

    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(Noted { source: KinesisSourceFactory.create(definition, options)?, received: self.0.clone() }))
    }
}

#[derive(Debug)]
struct Noted {
    source: Arc<dyn Source>,
    received: Received,
}

#[async_trait]
impl Source for Noted {
    fn is_bounded(&self) -> bool {
        self.source.is_bounded()
    }

    async fn splits(&self, parallelism: usize) -> Result<Vec<String>> {
        self.source.splits(parallelism).await
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let reader = self.source.open(split, offset, context).await?;
        Ok(Box::new(NotedReader { reader, received: self.received.clone() }))
    }

    async fn sample(&self, max_bytes: usize, context: &SourceContext) -> Result<Sample> {
        self.source.sample(max_bytes, context).await
    }
}

struct NotedReader {
    reader: Box<dyn SplitReader>,
    received: Received,
}

#[async_trait]
impl SplitReader for NotedReader {
    async fn next(&mut self) -> Result<Read> {
        let read = self.reader.next().await?;
        if let Read::Records(records) = &read {
            let now = now_us();
            self.received.0.lock().expect("no panic").extend(ids(&records.bytes).map(|id| (id, now)));
        }
        Ok(read)
    }

    async fn close(&mut self) -> Result<()> {
        self.reader.close().await
    }
}
