//! `s3` against moto (strict) and ministack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{Int32Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt as _;
use kinesql_connectors::storage::Service;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::runtime::metrics::SourceMetrics;
use kinesql_engine::table::Refreshed;
use kinesql_engine::types::SqlType;
use kinesql_engine::{Engine, Job};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ArrowWriter;

use super::servers::{self, Server};
use super::switch::Switch;

/// A bucket of a test's own.
pub struct Bucket {
    pub name: String,
    pub endpoint: String,
    pub store: AmazonS3,
}

impl Bucket {
    pub async fn new(server: &Server, name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/{name}", server.endpoint);
        let answer = reqwest::Client::new().put(&url).send().await.expect("the server answers");
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        let builder = AmazonS3Builder::new().with_bucket_name(name).with_region("us-east-1").with_allow_http(true);
        let builder = builder.with_endpoint(&server.endpoint).with_access_key_id("test").with_secret_access_key("test");
        Self { name: name.to_owned(), endpoint: server.endpoint.clone(), store: builder.build().expect("a client") }
    }

    pub async fn put(&self, key: &str, bytes: impl Into<bytes::Bytes>) {
        self.store.put(&Path::from(key), bytes.into().into()).await.expect("written");
    }

    /// `connector = 's3', path = …` and where the server is.
    pub fn options(&self, path: &str) -> String {
        let Self { name, endpoint, .. } = self;
        format!("connector = 's3', path = 's3://{name}/{path}', region = 'us-east-1', endpoint = '{endpoint}'")
    }

    /// Keys and contents of all objects.
    pub async fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let listed: Vec<_> = self.store.list(None).try_collect().await.expect("listed");
        let mut objects = Vec::new();
        for meta in listed {
            let bytes = self.store.get(&meta.location).await.expect("there").bytes().await.expect("read");
            objects.push((meta.location.to_string(), bytes.to_vec()));
        }
        objects.sort();
        objects
    }
}

/// The servers that are there.
pub fn all() -> Vec<(&'static str, &'static Server)> {
    [("moto", servers::moto()), ("ministack", servers::ministack())]
        .into_iter()
        .filter_map(|(name, server)| Some((name, server?)))
        .collect()
}

pub fn engine(memory: &MemoryConnector) -> Engine {
    let builder = Engine::builder().clock(ManualClock::starting_at(0)).connectors(|registry| {
        kinesql_connectors::register_all(registry);
        memory.register(registry);
    });
    builder.build().expect("an engine")
}

pub async fn execute(engine: &Engine, sql: String) -> Result<(), String> {
    engine.execute(&Script::new("app.sql", sql)).await.map(drop).map_err(|error| error.to_string())
}

/// The price that the running job gives an order.
pub async fn price(memory: &MemoryConnector, job: &Job, id: i32) -> Option<i32> {
    let sink = memory.sink("PRICED").expect("bound");
    let before = sink.batches().len();
    let schema = Arc::new(Schema::new(vec![SqlType::Integer.field("ID", true)]));
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![id]));
    memory.source("ORDERS").expect("bound").push(RecordBatch::try_new(schema, vec![ids]).expect("a batch"));
    while sink.batches().len() == before {
        job.sync().await.expect("running");
        tokio::task::yield_now().await;
    }
    let batches = sink.batches();
    let last = batches.last().expect("a row");
    last.column(1).as_primitive::<Int32Type>().iter().last().expect("a row")
}

#[tokio::test]
async fn a_table_of_an_object_follows_it() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "reference").await;
        bucket.put("prices.csv", "ID,PRICE\n1,10\n2,20\n").await;
        let memory = MemoryConnector::default();
        let engine = engine(&memory);
        let sql = format!(
            "CREATE TABLE PRICES (ID INTEGER, PRICE INTEGER) WITH ({}, csv.header = true);
            CREATE SOURCE ORDERS (ID INTEGER) WITH (connector = 'memory');
            CREATE STREAM PRICED (ID INTEGER, PRICE INTEGER);
            CREATE PUMP P AS INSERT INTO PRICED SELECT STREAM O.ID, PRICE FROM ORDERS AS O LEFT JOIN PRICES ON O.ID = PRICES.ID;
            CREATE SINK PRICED FROM PRICED WITH (connector = 'memory');",
            bucket.options("prices.csv")
        );
        execute(&engine, sql).await.expect(name);
        let job = engine.start().await.expect("started");
        assert_eq!(price(&memory, &job, 1).await, Some(10), "{name}");
        assert_eq!(engine.refresh_table("PRICES").await.expect("there"), Refreshed::Unchanged);
        bucket.put("prices.csv", "ID,PRICE\n1,11\n3,30\n").await;
        let refreshed = engine.refresh_table("PRICES").await.expect("there");
        assert!(matches!(refreshed, Refreshed::Replaced { rows: 2, version: Some(_) }), "{name}: {refreshed:?}");
        assert_eq!((price(&memory, &job, 1).await, price(&memory, &job, 3).await), (Some(11), Some(30)), "{name}");
        bucket.store.delete(&Path::from("prices.csv")).await.expect("deleted");
        let said = engine.refresh_table("PRICES").await.expect_err("gone").to_string();
        assert!(said.contains("keeps the version it has: s3:GetObject of 's3://reference/prices.csv'"), "{name}: {said}");
        assert_eq!(price(&memory, &job, 3).await, Some(30), "{name}");
    }
}

#[tokio::test]
async fn a_parquet_table_and_a_truncated_one() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "reference-parquet").await;
        let schema = Arc::new(Schema::new(vec![SqlType::BigInt.field("N", true)]));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![numbers]).expect("a batch");
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).expect("in memory");
        writer.write(&batch).expect("in memory");
        let bytes = writer.into_inner().expect("in memory");
        bucket.put("n.parquet", bytes.clone()).await;
        bucket.put("half.parquet", bytes[..bytes.len() / 2].to_vec()).await;
        let engine = engine(&MemoryConnector::default());
        execute(&engine, format!("CREATE TABLE T WITH ({});", bucket.options("n.parquet"))).await.expect(name);
        assert!(engine.objects().iter().any(|object| object.detail == "s3, 1000 rows"), "{name}");
        let said =
            execute(&engine, format!("CREATE TABLE H WITH ({});", bucket.options("half.parquet"))).await.expect_err("half");
        assert!(said.contains("cannot read 's3://reference-parquet/half.parquet' as Parquet"), "{name}: {said}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A new version that is cut off is reported, and joins go on with the one before.
#[tokio::test]
async fn a_truncated_version_of_a_table_is_reported_and_the_old_one_kept() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "truncated").await;
        let prices = |price: i32| {
            let schema = Arc::new(Schema::new(vec![SqlType::Integer.field("ID", true), SqlType::Integer.field("PRICE", true)]));
            let column = |values: Vec<i32>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
            let columns = vec![column((0..1_000).collect()), column(vec![price; 1_000])];
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch");
            let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).expect("in memory");
            writer.write(&batch).expect("in memory");
            let text: String = (0..1_000).map(|id| format!("{id},{price}\n")).collect();
            [("csv.gz", gzip(text.as_bytes())), ("parquet", writer.into_inner().expect("in memory"))]
        };
        for (place, (kind, whole)) in prices(10).into_iter().enumerate() {
            let key = format!("prices.{kind}");
            bucket.put(&key, whole).await;
            let memory = MemoryConnector::default();
            let engine = engine(&memory);
            let sql = format!(
                "CREATE TABLE PRICES (ID INTEGER, PRICE INTEGER) WITH ({}, format = '{}');
                CREATE SOURCE ORDERS (ID INTEGER) WITH (connector = 'memory');
                CREATE STREAM PRICED (ID INTEGER, PRICE INTEGER);
                CREATE PUMP P AS INSERT INTO PRICED SELECT STREAM O.ID, PRICE FROM ORDERS AS O LEFT JOIN PRICES ON O.ID = PRICES.ID;
                CREATE SINK PRICED FROM PRICED WITH (connector = 'memory');",
                bucket.options(&key),
                kind.trim_end_matches(".gz")
            );
            execute(&engine, sql).await.expect(name);
            let job = engine.start().await.expect("started");
            assert_eq!(price(&memory, &job, 999).await, Some(10), "{name}: {kind}");
            let (_, newer) = prices(11).into_iter().nth(place).expect("of the same kind");
            bucket.put(&key, newer[..newer.len() / 2].to_vec()).await;
            let said = engine.refresh_table("PRICES").await.expect_err("cut off").to_string();
            let expected = format!("keeps the version it has: cannot read 's3://truncated/{key}'");
            assert!(said.contains(&expected), "{name}: {kind}: {said}");
            assert_eq!(price(&memory, &job, 999).await, Some(10), "{name}: {kind}: the old version");
            bucket.put(&key, newer).await;
            let refreshed = engine.refresh_table("PRICES").await.expect("whole");
            assert!(matches!(refreshed, Refreshed::Replaced { rows: 1_000, .. }), "{name}: {kind}: {refreshed:?}");
            assert_eq!(price(&memory, &job, 999).await, Some(11), "{name}: {kind}");
        }
    }
}

#[tokio::test]
async fn what_is_missing_is_named_with_the_call() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "present").await;
        let engine = engine(&MemoryConnector::default());
        let table = |options: String| format!("CREATE TABLE T (N INTEGER) WITH ({options});");
        let said = execute(&engine, table(bucket.options("none.csv"))).await.expect_err("missing");
        assert!(said.contains("s3:GetObject of 's3://present/none.csv': there is no such object"), "{name}: {said}");
        let options = bucket.options("x/").replace("present", "absent");
        let said = execute(&engine, table(options)).await.expect_err("missing");
        assert!(said.contains("s3:ListBucket of 's3://absent/x/': there is no such bucket"), "{name}: {said}");
    }
}

#[tokio::test]
async fn objects_of_a_delivery_stream_are_a_source() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "delivered").await;
        // As Firehose writes what a producer sent: documents one behind the other.
        for hour in 0..3 {
            let documents: String = (0..500).map(|n| format!("{{\"N\":{}}}", hour * 500 + n)).collect();
            bucket.put(&format!("in/2024/01/31/{hour:02}/stream-1-2024-01-31-{hour:02}-00-00-abc"), documents).await;
        }
        let memory = MemoryConnector::default();
        let engine = engine(&memory);
        let sql = format!(
            "CREATE SOURCE S (N INTEGER) WITH ({}); CREATE SINK O FROM S WITH (connector = 'memory');",
            bucket.options("in/")
        );
        execute(&engine, sql).await.expect(name);
        engine.start().await.expect("started").wait().await.expect("complete");
        let batches = memory.sink("O").expect("bound").batches();
        let numbers: Vec<_> =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
        assert_eq!(numbers, (0..1_500).collect::<Vec<_>>(), "{name}");
    }
}

/// What a reader of the bucket sees below a prefix of its own; the run is left out of names.
struct Folder<'a> {
    bucket: &'a Bucket,
    prefix: String,
    options: &'static [(&'static str, &'static str)],
}

impl kinesql_connectors::conformance::SinkHarness for Folder<'_> {
    fn sink(&self) -> Arc<dyn kinesql_engine::connector::Sink> {
        let path = format!("s3://{}/{}", self.bucket.name, self.prefix);
        let place = [("path", path.as_str()), ("endpoint", &self.bucket.endpoint), ("region", "us-east-1")];
        s3_sink(&[&place, self.options].concat(), numbers(0..0).schema())
    }

    fn output(&self) -> std::collections::BTreeMap<String, Vec<u8>> {
        output(&self.bucket.store, &self.prefix)
    }
}

/// The objects of a sink `out`; their names without the run.
pub fn output(store: &dyn ObjectStore, prefix: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
    let objects = tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            let listed: Vec<_> = store.list(Some(&Path::from(prefix))).try_collect().await.expect("listed");
            let mut objects = Vec::new();
            for meta in listed.into_iter().filter(|meta| !meta.location.as_ref().contains("_kinesql")) {
                let bytes = store.get(&meta.location).await.expect("there").bytes().await.expect("read");
                objects.push((meta.location.to_string(), bytes.to_vec()));
            }
            objects
        })
    });
    let named = objects.into_iter().map(|(key, bytes)| {
        let key = &key[prefix.len()..];
        let (folder, name) = key.rsplit_once("out-").expect("a name of the sink");
        (format!("{folder}{}", name.split_once('-').expect("a run").1), bytes)
    });
    named.collect()
}

fn s3_sink(options: &[(&str, &str)], schema: SchemaRef) -> Arc<dyn kinesql_engine::connector::Sink> {
    sink(Service::S3, options, schema)
}

/// A sink `out` of a service.
pub fn sink(service: Service, options: &[(&str, &str)], schema: SchemaRef) -> Arc<dyn kinesql_engine::connector::Sink> {
    use kinesql_engine::connector::{OptionEntry, Options, SinkDefinition, SinkFactory as _};
    let factory = kinesql_connectors::storage::StorageSinkFactory(service);
    let entries: Vec<_> = options.iter().map(|(key, value)| OptionEntry::new(*key, *value)).collect();
    let options = Options::check(service.name(), &factory.options().iter().collect::<Vec<_>>(), &entries, None).expect("valid");
    let definition = SinkDefinition { name: "out".to_owned(), stream: "S".to_owned(), schema, format: None };
    factory.create(&definition, &options).expect("a sink")
}

/// Rows of a number and what is left of it divided by two.
pub fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let fields = vec![SqlType::BigInt.field("n", true), SqlType::BigInt.field("even", true)];
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let columns = vec![column(range.clone().collect()), column(range.map(|n| n % 2).collect())];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
}

/// Crashes after every call of a checkpoint, with real multipart uploads.
#[tokio::test(flavor = "multi_thread")]
async fn the_sink_conforms() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "conformance").await;
        let epochs = [numbers(0..3), numbers(3..4), numbers(4..4), numbers(4..9)];
        for options in [
            &[("prefix", "all/"), ("buffer_interval", "0s")][..],
            &[("partition_by", "even"), ("buffer_interval", "900s"), ("max_partitions", "1")],
        ] {
            let count = std::cell::Cell::new(0);
            let make = || {
                count.set(count.get() + 1);
                Folder { bucket: &bucket, prefix: format!("{}-{}/", options[0].0, count.get()), options }
            };
            kinesql_connectors::conformance::check_sink(make, &epochs).await;
        }
        println!("{name} conforms");
    }
}

/// Rows of a number and a text, the key of the partition.
fn keyed(range: std::ops::Range<i64>, key: &str) -> RecordBatch {
    let fields = vec![SqlType::BigInt.field("n", true), SqlType::Varchar(4_000).field("key", true)];
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(|_| key)));
    let columns = vec![Arc::new(Int64Array::from_iter_values(range)) as ArrayRef, keys];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
}

/// A place below a prefix of its own, behind a relay that can be cut.
struct Cut<'a> {
    bucket: &'a Bucket,
    switch: &'a Switch,
    prefix: String,
}

impl kinesql_connectors::conformance::SinkHarness for Cut<'_> {
    fn sink(&self) -> Arc<dyn kinesql_engine::connector::Sink> {
        let path = format!("s3://{}/{}", self.bucket.name, self.prefix);
        let place = [("path", path.as_str()), ("endpoint", &self.switch.endpoint), ("region", "us-east-1")];
        let options = [("prefix", "!{partitionKey:key}/"), ("buffer_interval", "0s"), ("buffer_size", "1mb")];
        s3_sink(&[place, options].concat(), keyed(0..0, "").schema())
    }

    fn output(&self) -> std::collections::BTreeMap<String, Vec<u8>> {
        output(&self.bucket.store, &self.prefix)
    }
}

impl kinesql_connectors::conformance::FaultHarness for Cut<'_> {
    fn set_down(&self, down: bool) {
        self.switch.set_down(down);
    }

    fn refused(&self) -> usize {
        self.switch.refused()
    }
}

/// The store goes away in the middle of every call of a checkpoint, takes nothing while rows come, and gets a row without a place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_cost_the_sink_time_only() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "faults").await;
        let switch = Switch::before(&server.endpoint).await;
        let count = std::cell::Cell::new(0);
        let make = || {
            count.set(count.get() + 1);
            Cut { bucket: &bucket, switch: &switch, prefix: format!("{}/", count.get()) }
        };
        let epochs = [keyed(0..4, "a"), keyed(4..5, "b"), keyed(5..9, "a")];
        // A row is 30 bytes or so: two and a half of them fill a buffer.
        let bulk = (&keyed(0..16_000, "bulk"), 3);
        kinesql_connectors::conformance::check_sink_faults(make, &epochs, &keyed(7..8, &"x".repeat(1_000)), bulk).await;
        println!("{name} conforms");
    }
}

/// What the bucket has begun and not completed, by key.
async fn open_uploads(bucket: &Bucket) -> Vec<String> {
    let url = format!("{}/{}?uploads=", bucket.endpoint, bucket.name);
    let answer = reqwest::get(&url).await.expect("the server answers").text().await.expect("text");
    answer.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().expect("closed").to_owned()).collect()
}

/// A job that died between the beginning of an upload and its note, and one that died behind the note.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_leaves_no_upload_open() {
    use object_store::multipart::MultipartStore as _;
    for (name, server) in all() {
        let bucket = Bucket::new(server, "left").await;
        let folder = tempfile::tempdir().expect("a folder");
        let sql = format!(
            "CREATE SOURCE T WITH (connector = 'generator', kind = 'ticks', rate = 0, rows = 200000);
            CREATE SINK O FROM T WITH ({}, partition_by = 'SECTOR', buffer_size = '1mb');",
            bucket.options("out/")
        );
        let start = async || {
            let checkpoints = kinesql_engine::CheckpointOptions {
                // When the test says so.
                interval: std::time::Duration::from_secs(3_600),
                ..kinesql_engine::CheckpointOptions::new(folder.path())
            };
            let builder = Engine::builder().checkpoints(checkpoints).connectors(kinesql_connectors::register_all);
            super::job::use_test_credentials();
            builder.build().expect("an engine").run_script(&sql).await.expect("started")
        };
        let job = start().await;
        job.checkpoint().await.expect("taken");
        while open_uploads(&bucket).await.is_empty() {
            tokio::task::yield_now().await;
        }
        job.abort();
        let _ = job.wait().await;
        drop(job);
        let unknown = ["out/SECTOR=ENERGY/O-0001-0000000002-0099.jsonl", "out/O-0001-0002-0000000002-0099.jsonl", "other/x"];
        for key in unknown {
            bucket.store.create_multipart(&Path::from(key)).await.expect("begun");
        }
        start().await.wait().await.expect("complete");
        let mut left = open_uploads(&bucket).await;
        left.sort();
        assert_eq!(left, ["other/x", "out/O-0001-0002-0000000002-0099.jsonl"], "{name}: those of others stay");
    }
}

/// Passes requests on, or says that the credentials have expired.
async fn expiring(endpoint: &str) -> (String, Arc<AtomicBool>, Arc<AtomicUsize>) {
    use axum::extract::Request;
    use axum::response::{IntoResponse as _, Response};
    let (expired, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (server, flag, counter) = (endpoint.to_owned(), Arc::clone(&expired), Arc::clone(&refused));
    let client = reqwest::Client::new();
    let pass = move |request: Request| {
        let (server, client, flag, counter) = (server.clone(), client.clone(), Arc::clone(&flag), Arc::clone(&counter));
        async move {
            if flag.load(Ordering::SeqCst) {
                counter.fetch_add(1, Ordering::SeqCst);
                let body = "<?xml version=\"1.0\"?>\n<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
                return (axum::http::StatusCode::BAD_REQUEST, body).into_response();
            }
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            let url = format!("{server}{}", parts.uri);
            let mut passed = client.request(parts.method, url).body(body);
            for (header, value) in
                parts.headers.iter().filter(|(header, _)| !["host", "content-length"].contains(&header.as_str()))
            {
                passed = passed.header(header, value);
            }
            let answer = passed.send().await.expect("the server answers");
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Response::new(axum::body::Body::from(answer.bytes().await.expect("a body")));
            *response.status_mut() = status;
            let kept = headers.iter().filter(|(header, _)| !["transfer-encoding", "connection"].contains(&header.as_str()));
            response.headers_mut().extend(kept.map(|(header, value)| (header.clone(), value.clone())));
            response
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let relay = format!("http://{}", listener.local_addr().expect("an address"));
    let app = axum::Router::new().fallback(pass);
    tokio::spawn(async move { axum::serve(listener, app).await.expect("served") });
    (relay, expired, refused)
}

/// Credentials that expire while a job runs are waited for: they may be renewed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_of_the_sink_are_waited_for() {
    let Some(server) = servers::moto() else { return };
    let bucket = Bucket::new(server, "expired").await;
    let (relay, expired, refused) = expiring(&server.endpoint).await;
    let memory = MemoryConnector::default();
    let engine = Engine::builder().connectors(|registry| {
        kinesql_connectors::register_all(registry);
        memory.register(registry);
    });
    let engine = engine.build().expect("an engine");
    let sql = format!(
        "CREATE SOURCE N (ID INTEGER) WITH (connector = 'memory');
        CREATE SINK O FROM N WITH ({}, prefix = '', buffer_interval = '0s');",
        bucket.options("out/").replace(&bucket.endpoint, &relay)
    );
    execute(&engine, sql).await.expect("valid");
    let job = engine.start().await.expect("started");
    expired.store(true, Ordering::SeqCst);
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let schema = Arc::new(Schema::new(vec![SqlType::Integer.field("ID", true)]));
    memory.source("N").expect("bound").push(RecordBatch::try_new(schema, vec![ids]).expect("a batch"));
    while refused.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    let trouble = job.metrics().sinks[0].trouble().expect("it is said");
    assert!(trouble.reason.ends_with("': ExpiredToken: The provided token has expired."), "{trouble:?}");
    expired.store(false, Ordering::SeqCst);
    job.stop();
    job.wait().await.expect("complete");
    let rows: Vec<_> = bucket.objects().await.into_iter().filter(|(key, _)| key.starts_with("out/O-")).collect();
    assert_eq!(rows.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect::<String>(), "{\"ID\":1}\n{\"ID\":2}\n");
}

/// The store says no such thing as S3 does with buckets of other regions.
#[tokio::test]
async fn a_bucket_in_another_region_is_named_with_its_region() {
    let body = "<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; \
                the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let app = axum::Router::new().fallback(move || async move { (axum::http::StatusCode::BAD_REQUEST, body) });
    tokio::spawn(async move { axum::serve(listener, app).await.expect("served") });
    super::job::use_test_credentials();
    for kind in ["CREATE TABLE T (N INTEGER)", "CREATE SOURCE T (N INTEGER)"] {
        let engine = engine(&MemoryConnector::default());
        let options = format!("connector = 's3', path = 's3://b/x/', region = 'us-east-1', endpoint = '{endpoint}'");
        let sql = format!("{kind} WITH ({options}); CREATE SINK O FROM T WITH (connector = 'memory');");
        let said = match execute(&engine, sql).await {
            Err(said) => said,
            Ok(()) => match engine.start().await {
                Ok(job) => job.wait().await.expect_err("elsewhere").to_string(),
                Err(error) => error.to_string(),
            },
        };
        assert!(said.contains("s3:ListBucket of 's3://b/x/': the bucket is in another region\n"), "{said}");
        assert!(said.contains("\nhint: Add region = 'eu-west-1' to the options."), "{said}");
    }
}

#[tokio::test]
async fn a_stream_becomes_objects_and_is_read_again() {
    for (name, server) in all() {
        let bucket = Bucket::new(server, "written").await;
        let memory = MemoryConnector::default();
        let engine = engine(&memory);
        // Text of more than two parts of an upload.
        let sql = format!(
            "CREATE SOURCE T WITH (connector = 'generator', kind = 'ticks', rate = 0, rows = 200000);
            CREATE SINK O FROM T WITH ({}, prefix = 'ticks/', buffer_size = '20mb', compression = 'zstd');",
            bucket.options("out/")
        );
        execute(&engine, sql).await.expect(name);
        engine.start().await.expect("started").wait().await.expect("complete");
        let objects = bucket.objects().await;
        // Besides the rows there is only the mark of the run.
        let keys: Vec<_> = objects.iter().map(|(key, _)| key).filter(|key| !key.starts_with("out/_kinesql/")).collect();
        let is_named = |key: &&String| key.starts_with("out/ticks/O-") && key.ends_with(".jsonl.zst");
        assert!(!keys.is_empty() && keys.iter().all(is_named), "{name}: {keys:?}");
        let sql = format!("CREATE TABLE T (N INTEGER) WITH ({}); ", bucket.options("out/ticks/"));
        execute(&engine, sql.replace("TABLE T (N INTEGER)", "TABLE B (TICKER_SYMBOL VARCHAR(10))")).await.expect(name);
        assert!(engine.objects().iter().any(|object| object.detail == "s3, 200000 rows"), "{name}: {:?}", engine.objects());
    }
}

/// The backup of a delivery stream, made of a second source: every record as it was, through a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_copied_as_they_were_before_anything_else_saw_them() {
    use aws_sdk_kinesis::primitives::Blob;
    let (Some(server), Some(kinesis)) = (servers::moto(), servers::kinesis()) else { return };
    let client = super::streams::client(&kinesis.endpoint);
    super::streams::create(&client, "copied", 1).await;
    let bucket = Bucket::new(server, "copied").await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.csv");
    let stream = format!(
        "connector = 'kinesis', stream = 'copied', region = 'us-east-1', endpoint = '{}', scan.start = 'trim_horizon'",
        kinesis.endpoint
    );
    let sql = format!(
        "CREATE SOURCE ROWS_IN (N INTEGER) WITH ({stream});
        CREATE SOURCE RECORDS_IN (RECORD VARBINARY) WITH ({stream}, format = 'raw');
        CREATE SINK O FROM ROWS_IN WITH (connector = 'file', path = '{}');
        CREATE SINK COPY FROM RECORDS_IN WITH ({}, prefix = '', format = 'raw', compression = 'gzip', buffer_interval = '0s');",
        out.display(),
        bucket.options("backup/")
    );
    // Rows, what is none, any bytes, what has its line break, and more than any VARCHAR holds.
    let record = |n: usize| match n % 5 {
        0 => format!("{{\"N\":{n}}}").into_bytes(),
        1 => format!("no JSON {n}").into_bytes(),
        2 => vec![0xFF, 0, b'x', n as u8],
        3 => format!("{{\"N\":{n}}}\n").into_bytes(),
        _ => format!("{{\"N\":{n},\"TEXT\":\"{}\"}}", "x".repeat(80_000)).into_bytes(),
    };
    let mut expected = Vec::new();
    let put = async |expected: &mut Vec<u8>, n: usize| {
        let put = client.put_record().stream_name("copied").partition_key("k").data(Blob::new(record(n)));
        put.send().await.expect("put");
        expected.extend(record(n));
        if expected.last() != Some(&b'\n') {
            expected.push(b'\n');
        }
    };
    for run in 0..3 {
        let checkpoints = kinesql_engine::CheckpointOptions::new(folder.path().join("checkpoints"));
        let builder = Engine::builder().checkpoints(checkpoints).connectors(kinesql_connectors::register_all);
        super::job::use_test_credentials();
        let job = builder.build().expect("an engine").run_script(&sql).await.expect("started");
        for n in run * 10..run * 10 + 10 {
            put(&mut expected, n).await;
        }
        let read_all = async |records: u64| {
            let read = |metrics: &SourceMetrics| metrics.rows.get() + metrics.rejected.get();
            while job.metrics().sources.iter().any(|source| read(source) < records) {
                job.sync().await.expect("running");
                tokio::task::yield_now().await;
            }
            assert!(job.metrics().sources.iter().all(|source| read(source) == records), "run {run}: nothing is read twice");
        };
        // The third run begins behind the checkpoint of the second.
        read_all(if run == 2 { 11 } else { 10 }).await;
        if run == 1 {
            job.checkpoint().await.expect("taken");
            put(&mut expected, 100).await;
            read_all(11).await;
            job.abort();
        } else {
            job.stop();
            job.wait().await.expect("stopped");
        }
    }
    let mut copy = Vec::new();
    for (key, bytes) in bucket.objects().await {
        let is_copy = key.starts_with("backup/COPY-") && key.ends_with(".gz");
        assert!(is_copy || key.starts_with("backup/_kinesql/"), "{key}");
        if is_copy {
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut copy).expect("gzip");
        }
    }
    assert!(copy == expected, "{} bytes, expected {}", copy.len(), expected.len());
    assert_eq!(std::fs::read_to_string(&out).expect("written").lines().count(), 19, "rows of JSON, each once");
}
