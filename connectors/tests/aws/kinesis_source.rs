//! The `kinesis` source against servers: polling and reshards on kinesis-local, fan-out on ministack, faults in front of
//! ferrokinesis.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use base64::Engine as _;
use ferrokinesis::create_app;
use ferrokinesis::store::StoreOptions;
use kinesql_connectors::kinesis::KinesisSourceFactory;
use kinesql_connectors::kinesis::aggregate::{DIGEST_BYTES, MAGIC};
use kinesql_engine::connector::{
    Offset, OptionEntry, Options, Read, Source, SourceContext, SourceDefinition, SourceFactory as _, SplitReader,
};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::runtime::clock::SystemClock;
use kinesql_engine::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::servers;
use super::streams::{client, create, reshard};

/// Time that anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Keys of the records that a producer puts.
const KEYS: usize = 13;

/// Puts numbered records of several keys.
pub(super) struct Producer {
    client: Client,
    stream: String,
    next: usize,
}

impl Producer {
    pub(super) fn new(client: &Client, stream: &str) -> Self {
        Self { client: client.clone(), stream: stream.to_owned(), next: 0 }
    }

    /// The place of a record among all that were put.
    pub(super) fn number(record: &str) -> usize {
        let (key, number) = record.trim_start_matches("key ").split_once(": ").expect("as put");
        number.parse::<usize>().expect("a number") * KEYS + key.parse::<usize>().expect("a number")
    }

    pub(super) async fn put(&mut self, count: usize) {
        for _ in 0..count {
            let key = format!("key {}", self.next % KEYS);
            let data = format!("{key}: {}", self.next / KEYS);
            let put = self.client.put_record().stream_name(&self.stream).partition_key(key).data(Blob::new(data));
            put.send().await.expect("a record is put");
            self.next += 1;
        }
    }

    /// Every record came once, those of a key in order.
    fn check(&self, read: &[String]) {
        let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for record in read {
            let (key, number) = record.split_once(": ").expect("as put");
            by_key.entry(key).or_default().push(number.parse().expect("a number"));
        }
        for (key, numbers) in &by_key {
            assert!(numbers.iter().copied().eq(0..numbers.len()), "{key}: {numbers:?}");
        }
        assert_eq!(read.len(), self.next, "every record once");
    }
}

pub(super) fn bind(stream: &str, endpoint: &str, options: &[(&str, &str)]) -> Arc<dyn Source> {
    super::job::use_test_credentials();
    let mut entries =
        vec![OptionEntry::new("stream", stream), OptionEntry::new("region", "us-east-1"), OptionEntry::new("endpoint", endpoint)];
    entries.extend(options.iter().map(|(key, value)| OptionEntry::new(*key, *value)));
    let specs: Vec<_> = KinesisSourceFactory.options().iter().collect();
    let options = Options::check("connector 'kinesis'", &specs, &entries, None).expect("known options");
    let definition = SourceDefinition { name: "S".to_owned(), schema: None, format: FormatSpec::Json };
    KinesisSourceFactory.create(&definition, &options).expect("a source")
}

fn context() -> SourceContext {
    SourceContext::new(SystemClock::shared(), FormatSpec::Json)
}

/// A job: each lane is read by a task of its own, as in the engine.
struct Job {
    source: Arc<dyn Source>,
    reads: mpsc::Receiver<(String, Result<Read>)>,
    lanes: JoinSet<Box<dyn SplitReader>>,
    stop: tokio::sync::watch::Sender<bool>,
    offsets: BTreeMap<String, Offset>,
    read: Vec<String>,
    open: BTreeMap<String, Vec<String>>,
}

impl Job {
    async fn start(source: Arc<dyn Source>, splits: &[String], offsets: &BTreeMap<String, Offset>) -> Self {
        let (sender, reads) = mpsc::channel(2);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut lanes = JoinSet::new();
        for split in splits {
            let mut reader = source.open(split, offsets.get(split), &context()).await.expect("a lane");
            let (sender, split, mut stopped) = (sender.clone(), split.clone(), stopped.clone());
            lanes.spawn(async move {
                loop {
                    let read = tokio::select! {
                        read = reader.next() => read,
                        _ = stopped.wait_for(|stopped| *stopped) => return reader,
                    };
                    let failed = read.is_err();
                    if sender.send((split.clone(), read)).await.is_err() || failed {
                        return reader;
                    }
                }
            });
        }
        Self { source, reads, lanes, stop, offsets: offsets.clone(), read: Vec::new(), open: BTreeMap::new() }
    }

    /// Reads until `done` says so.
    async fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        while !done(self) {
            let read = tokio::time::timeout(PATIENCE, self.reads.recv()).await;
            let read =
                read.unwrap_or_else(|_| panic!("no {what}; {} records, metrics {:?}", self.read.len(), self.source.metrics()));
            let (split, read) = read.expect("a lane is alive");
            match read? {
                Read::Records(records) => {
                    let ends = records.envelopes.iter().flat_map(|envelopes| envelopes.ends.iter().map(|end| *end as usize));
                    let starts = std::iter::once(0).chain(ends.clone());
                    let texts = starts.zip(ends).map(|(start, end)| String::from_utf8_lossy(&records.bytes[start..end]));
                    self.read.extend(texts.map(|text| text.into_owned()));
                    self.read.extend(records.rejected.iter().map(|rejected| rejected.message.clone()));
                    self.offsets.insert(split, records.offset);
                }
                Read::Parts { open, offset } => {
                    self.open.insert(split.clone(), open.iter().map(ToString::to_string).collect());
                    self.offsets.insert(split, offset);
                }
                other => panic!("a stream does not end: {other:?}"),
            }
        }
        Ok(())
    }

    async fn records(&mut self, count: usize) {
        self.until(&format!("{count} records"), |job| job.read.len() >= count).await.expect("reading");
    }

    async fn fails(&mut self) -> Error {
        self.until("failure", |_| false).await.expect_err("it fails")
    }

    fn shards(&self) -> usize {
        self.open.values().map(Vec::len).sum()
    }

    fn metric(&self, name: &str) -> f64 {
        self.source.metrics().iter().filter(|metric| metric.name == name).map(|metric| metric.value).sum()
    }

    async fn close(mut self) {
        self.stop.send_replace(true);
        drop(self.reads);
        while let Some(reader) = self.lanes.join_next().await {
            reader.expect("no panic").close().await.expect("closing");
        }
    }
}

const TRIM_HORIZON: &[(&str, &str)] = &[("scan.start", "trim_horizon"), ("discovery_interval", "1s")];

/// kinesis-local: 2 shards become 4 and then 3 while records are put; the reader dies after each step and goes on from its
/// last offsets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reshard_from_2_to_4_to_3_with_restarts_loses_nothing_and_doubles_nothing() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "source-reshard", 2).await;
    let mut producer = Producer::new(&client, "source-reshard");
    let source = bind("source-reshard", &server.endpoint, TRIM_HORIZON);
    let splits = source.splits(2).await.expect("lanes");
    let mut job = Job::start(source, &splits, &BTreeMap::new()).await;
    let mut all = Vec::new();
    for shards in [4, 3] {
        producer.put(100).await;
        // In the middle of what was put: the rest comes after the restart.
        job.records(20).await;
        reshard(&client, "source-reshard", shards).await;
        producer.put(100).await;
        for _ in 0..2 {
            all.append(&mut job.read);
            let (offsets, splits) = (job.offsets.clone(), splits.clone());
            drop(job);
            job = Job::start(bind("source-reshard", &server.endpoint, TRIM_HORIZON), &splits, &offsets).await;
            let missing = producer.next - all.len();
            job.records(missing / 2).await;
        }
    }
    let missing = producer.next - all.len();
    job.until("rest", |job| job.read.len() >= missing && job.shards() == 3).await.expect("reading");
    all.append(&mut job.read);
    producer.check(&all);
}

/// kinesis-local: metadata, metrics, a sample.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_with_metadata_and_progress_is_shown() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "source-metadata", 1).await;
    let put = client.put_record().stream_name("source-metadata").partition_key("k").data(Blob::new("{\"a\":1}"));
    let sequence = put.send().await.expect("a record is put").sequence_number;
    let source = bind("source-metadata", &server.endpoint, TRIM_HORIZON);
    assert_eq!(source.sample(100, &context()).await.expect("a sample").bytes, b"{\"a\":1}\n");
    let context = SourceContext { metadata: source.metadata(), ..context() };
    let mut reader = source.open("0/1", None, &context).await.expect("a lane");
    let records = loop {
        if let Read::Records(records) = reader.next().await.expect("reading") {
            break records;
        }
    };
    let envelopes = records.envelopes.expect("metadata");
    let rows = arrow::util::pretty::pretty_format_batches(&[envelopes.columns]).expect("shown").to_string();
    assert!(rows.contains("| k ") && rows.contains(&sequence) && rows.contains("shardId-000000000000"), "{rows}");
    let metrics = source.metrics();
    let value = |name: &str| metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value);
    assert_eq!((value("records"), value("bytes")), (Some(1.0), Some(7.0)));
}

/// kinesis-local: a stream that is missing, and one that is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_deleted_streams_are_named() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    let missing = bind("source-missing", &server.endpoint, &[]).splits(1).await.expect_err("missing");
    assert!(missing.message().starts_with("kinesis:ListShards of stream \"source-missing\": ResourceNotFound"), "{missing}");
    assert!(!missing.message().contains('\n'), "{missing}");
    assert_eq!(missing.hint(), Some("Check its name and the region: it does not exist there."));

    create(&client, "source-deleted", 1).await;
    let mut producer = Producer::new(&client, "source-deleted");
    producer.put(3).await;
    let mut job = Job::start(bind("source-deleted", &server.endpoint, TRIM_HORIZON), &["0/1".to_owned()], &BTreeMap::new()).await;
    job.records(3).await;
    client.delete_stream().stream_name("source-deleted").send().await.expect("deleted");
    assert_eq!(job.fails().await.message(), "stream \"source-deleted\" was deleted while it was read");
}

/// ministack: registered, read, taken over by the process that follows, deregistered on request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fan_out_registers_reads_is_taken_over_and_deregistered() {
    let Some(server) = servers::ministack() else { return };
    let client = client(&server.endpoint);
    create(&client, "source-fan-out", 2).await;
    let options = [("scan.start", "trim_horizon"), ("mode", "fan_out"), ("consumer", "app"), ("deregister", "true")];
    let mut producer = Producer::new(&client, "source-fan-out");
    producer.put(50).await;
    let splits = ["0/1".to_owned()];
    let mut job = Job::start(bind("source-fan-out", &server.endpoint, &options), &splits, &BTreeMap::new()).await;
    job.records(50).await;
    producer.put(50).await;
    job.records(100).await;
    let (mut all, offsets) = (std::mem::take(&mut job.read), job.offsets.clone());
    // It dies with its subscriptions; the next one may subscribe only when the service lets it.
    drop(job);
    producer.put(50).await;
    let mut job = Job::start(bind("source-fan-out", &server.endpoint, &options), &splits, &offsets).await;
    job.records(50).await;
    all.append(&mut job.read);
    producer.check(&all);
    let summary = client.describe_stream_summary().stream_name("source-fan-out").send().await.expect("described");
    let arn = summary.stream_description_summary().expect("a summary").stream_arn().to_owned();
    let consumers = async || {
        let listed = client.list_stream_consumers().stream_arn(&arn).send().await.expect("listed");
        listed.consumers().iter().map(|consumer| consumer.consumer_name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(consumers().await, ["app"]);
    job.close().await;
    assert_eq!(consumers().await, Vec::<String>::new());
}

/// What stands in front of ferrokinesis.
struct Faults {
    reads: AtomicUsize,
    recent: Mutex<VecDeque<tokio::time::Instant>>,
    refused: AtomicUsize,
    answer: fn(&Self, &str) -> Option<Response>,
}

impl Faults {
    fn new(answer: fn(&Self, &str) -> Option<Response>) -> Arc<Self> {
        Arc::new(Self { reads: AtomicUsize::new(0), recent: Mutex::default(), refused: AtomicUsize::new(0), answer })
    }

    /// More than five reads in a second.
    fn is_over_the_limit(&self) -> bool {
        let now = tokio::time::Instant::now();
        let mut recent = self.recent.lock().expect("the reads");
        while recent.front().is_some_and(|read| now - *read >= Duration::from_secs(1)) {
            recent.pop_front();
        }
        let over = recent.len() >= 5;
        if !over {
            recent.push_back(now);
        }
        over
    }
}

fn error(status: u16, code: &str) -> Option<Response> {
    let body = format!("{{\"__type\":\"{code}\",\"message\":\"as the test wants it\"}}");
    let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    Some(response.body(Body::from(body)).expect("a response"))
}

async fn faults(State(faults): State<Arc<Faults>>, request: Request, next: Next) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = target.rsplit_once('.').map_or("", |(_, call)| call).to_owned();
    match (faults.answer)(&faults, &call) {
        Some(response) => response,
        None => next.run(request).await,
    }
}

/// ferrokinesis behind these faults; returns its endpoint.
async fn serve(layer: &Arc<Faults>) -> String {
    let options = StoreOptions { create_stream_ms: 20, delete_stream_ms: 20, shard_limit: 500, ..Default::default() };
    let (app, _) = create_app(options);
    let app: Router = app.layer(from_fn_with_state(Arc::clone(layer), faults));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    endpoint
}

/// The limit of reads, failures of the service, broken connections, garbage, expired iterators and expired credentials, one
/// after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_passes_fails_a_job_or_loses_a_record() {
    let layer = Faults::new(|faults, call| {
        if call != "GetRecords" {
            return None;
        }
        if faults.is_over_the_limit() {
            faults.refused.fetch_add(1, Ordering::Relaxed);
            return error(400, "ProvisionedThroughputExceededException");
        }
        match faults.reads.fetch_add(1, Ordering::Relaxed) % 8 {
            1 => error(500, "InternalFailure"),
            2 => {
                let broken = futures::stream::iter([Ok("{\"Records\":["), Err(std::io::Error::other("reset"))]);
                Some(Response::new(Body::from_stream(broken)))
            }
            3 => Some(Response::new(Body::from("<html>not what you expect</html>"))),
            4 => error(400, "ExpiredIteratorException"),
            5 => error(400, "ExpiredTokenException"),
            6 => error(503, "ServiceUnavailable"),
            _ => None,
        }
    });
    let endpoint = serve(&layer).await;
    let client = client(&endpoint);
    create(&client, "faults", 1).await;
    let mut producer = Producer::new(&client, "faults");
    let mut job = Job::start(bind("faults", &endpoint, TRIM_HORIZON), &["0/1".to_owned()], &BTreeMap::new()).await;
    for _ in 0..3 {
        producer.put(20).await;
        job.records(producer.next).await;
    }
    producer.check(&job.read);
    assert!(layer.reads.load(Ordering::Relaxed) >= 8, "every fault was met");
    assert_eq!(layer.refused.load(Ordering::Relaxed), 0, "never read more than five times a second");
    assert!(job.metric("failures") >= 4.0, "{:?}", job.source.metrics());
}

/// Another consumer takes most of the reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_by_other_consumers_is_waited_out_and_shown() {
    let layer = Faults::new(|faults, call| {
        let refuse = call == "GetRecords" && faults.reads.fetch_add(1, Ordering::Relaxed) % 3 != 2;
        if refuse { error(400, "ProvisionedThroughputExceededException") } else { None }
    });
    let endpoint = serve(&layer).await;
    let client = client(&endpoint);
    create(&client, "throttled", 1).await;
    let mut producer = Producer::new(&client, "throttled");
    producer.put(20).await;
    let mut job = Job::start(bind("throttled", &endpoint, TRIM_HORIZON), &["0/1".to_owned()], &BTreeMap::new()).await;
    job.records(20).await;
    producer.put(20).await;
    job.records(40).await;
    producer.check(&job.read);
    assert!(job.metric("throttles") >= 2.0);
}

/// Errors that do not pass: one line, which names the call and what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_calls_name_the_missing_action() {
    let layer = Faults::new(|faults, call| match call {
        "ListShards" if faults.reads.load(Ordering::Relaxed) == 0 => error(400, "AccessDeniedException"),
        "GetRecords" => error(400, "AccessDeniedException"),
        _ => None,
    });
    let endpoint = serve(&layer).await;
    let client = client(&endpoint);
    create(&client, "denied", 1).await;
    let source = bind("denied", &endpoint, TRIM_HORIZON);
    let denied = source.splits(1).await.expect_err("denied");
    assert_eq!(
        denied.to_string(),
        "kinesis:ListShards of stream \"denied\": AccessDeniedException: as the test wants it\n\
         hint: Allow the action kinesis:ListShards on it for these credentials."
    );
    layer.reads.store(1, Ordering::Relaxed);
    let mut job = Job::start(source, &["0/1".to_owned()], &BTreeMap::new()).await;
    assert_eq!(
        job.fails().await.to_string(),
        "kinesis:GetRecords of stream \"denied\", shardId-000000000000: AccessDeniedException: as the test wants it\n\
         hint: Allow the action kinesis:GetRecords on it for these credentials."
    );
}

/// Garbage, credentials that have expired, and nobody at all, as in a region that does not exist: one line, after some attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_of_no_use_at_the_start_is_named_after_some_attempts() {
    let garbage = Faults::new(|faults, _| {
        faults.reads.fetch_add(1, Ordering::Relaxed);
        Some(Response::new(Body::from("<html>welcome</html>")))
    });
    let expired = Faults::new(|faults, _| {
        faults.reads.fetch_add(1, Ordering::Relaxed);
        error(400, "ExpiredTokenException")
    });
    let check = async |endpoint: String, said: &str, hint: &str| {
        let error = bind("useless", &endpoint, &[]).splits(1).await.expect_err("of no use");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().starts_with(&format!("kinesis:ListShards of stream \"useless\": {said}")), "{error}");
        assert!(!error.message().contains('\n'), "{error}");
        assert_eq!(error.hint(), Some(hint));
    };
    let look = "Check the region, the endpoint, the network and the credentials.";
    let renew = "The credentials have expired: renew them, such as with 'aws sso login'.";
    let nobody = format!("http://127.0.0.1:{}", servers::free_port());
    futures::join!(
        check(serve(&garbage).await, "", look),
        check(serve(&expired).await, "ExpiredTokenException: as the test wants it", renew),
        check(nobody, "", look),
    );
    assert_eq!([&garbage, &expired].map(|layer| layer.reads.load(Ordering::Relaxed)), [6, 6]);
}

/// The largest record that there is, and one behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_10_mib_is_read() {
    let layer = Faults::new(|faults, call| {
        if call != "GetRecords" {
            return None;
        }
        let record = |number: &str, data: &[u8]| {
            let data = base64::engine::general_purpose::STANDARD.encode(data);
            serde_json::json!({ "SequenceNumber": number, "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.7e9, "Data": data })
        };
        let records = match faults.reads.fetch_add(1, Ordering::Relaxed) {
            0 => vec![record("1", &[b'x'; (10 << 20) - 1])],
            1 => vec![record("2", b"next")],
            _ => Vec::new(),
        };
        let answer = serde_json::json!({ "Records": records, "NextShardIterator": "next", "MillisBehindLatest": 0 });
        Some(Response::new(Body::from(answer.to_string())))
    });
    let endpoint = serve(&layer).await;
    create(&client(&endpoint), "large", 1).await;
    let mut job = Job::start(bind("large", &endpoint, TRIM_HORIZON), &["0/1".to_owned()], &BTreeMap::new()).await;
    job.records(2).await;
    assert_eq!((job.read[0].len(), job.read[1].as_str()), ((10 << 20) - 1, "next"));
}

/// kinesis-local: an empty record, one that is no JSON, and an aggregated one that is damaged, among good ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_cannot_be_used_become_rows_of_error_stream() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "source-bad", 1).await;
    let damaged = [&MAGIC[..], b"message", &[0; DIGEST_BYTES]].concat();
    for data in [&b"{\"a\":1}"[..], b"", b"nonsense", &damaged, b"{\"a\":2}"] {
        let put = client.put_record().stream_name("source-bad").partition_key("k").data(Blob::new(data));
        put.send().await.expect("a record is put");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [rows, errors] = ["rows.json", "errors.json"].map(|name| folder.path().join(name));
    let sql = format!(
        "CREATE SOURCE \"S\" (\"a\" INTEGER) WITH (connector = 'kinesis', stream = 'source-bad', region = 'us-east-1',
             endpoint = '{}', scan.start = 'trim_horizon');
         CREATE SINK \"K1\" FROM \"S\" WITH (connector = 'file', path = '{}');
         CREATE SINK \"K2\" FROM error_stream WITH (connector = 'file', path = '{}');",
        server.endpoint,
        rows.display(),
        errors.display()
    );
    let job = super::job::start(&sql).await.expect("started");
    let clock = SystemClock::shared();
    let end = clock.now() + PATIENCE.as_millis() as i64;
    let source = &job.metrics().sources[0];
    while source.rows.get() < 2 || source.rejected.get() < 2 {
        assert!(clock.now() < end, "{} rows, {} errors", source.rows.get(), source.rejected.get());
        clock.sleep(Duration::from_millis(20)).await;
    }
    job.stop();
    job.wait().await.expect("stopped");
    assert_eq!(std::fs::read_to_string(&rows).expect("written"), "{\"a\":1}\n{\"a\":2}\n");
    let errors = std::fs::read_to_string(&errors).expect("written");
    assert_eq!(errors.matches("\"PARSE_ERROR\"").count(), 2, "{errors}");
    for said in
        ["is an aggregated record of the KPL, but its checksum is wrong", "the record is not JSON: it does not start with {"]
    {
        assert!(errors.contains(said), "{errors}");
    }
}
