//! `azure` against azurite, `gcs` against fake-gcs-server: that the code, which is that of `s3`, suits the two other stores.
//!
//! fake-gcs-server answers `POST /bucket/key?uploads` with 400: it knows no multipart uploads, which the sink's objects are. The
//! source is what is tested there.

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use kinesql_connectors::storage::Service;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::runtime::clock::SystemClock;
use kinesql_engine::table::Refreshed;
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::s3::{engine, execute, numbers, output, price, sink};
use super::servers::{self, Server};

/// The account of azurite, and its key (documentation of Azurite: "Well-known storage account and key").
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A container of a test's own.
async fn container(server: &Server, name: &str) -> MicrosoftAzure {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let now = chrono::DateTime::from_timestamp_millis(SystemClock::shared().now()).expect("a time");
    let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let version = "2021-12-02";
    // "Authorize with Shared Key": the verb, eleven headers that are not sent, those of Azure, the resource.
    let signed =
        format!("PUT{}x-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container", "\n".repeat(12));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &BASE64_STANDARD.decode(KEY).expect("base64"));
    let signature = BASE64_STANDARD.encode(ring::hmac::sign(&key, signed.as_bytes()));
    let call = reqwest::Client::new().put(format!("{}/{ACCOUNT}/{name}?restype=container", server.endpoint));
    let call = call.header("x-ms-date", date).header("x-ms-version", version).header("content-length", "0");
    let answer = call.header("authorization", format!("SharedKey {ACCOUNT}:{signature}")).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{name}: {:?}", answer.text().await);
    MicrosoftAzureBuilder::from_env().with_container_name(name).with_allow_http(true).build().expect("a client")
}

/// A bucket of a test's own, in which objects can be written with the JSON API.
struct GcsBucket<'a> {
    server: &'a Server,
    name: &'static str,
}

impl<'a> GcsBucket<'a> {
    async fn new(server: &'a Server, name: &'static str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let call = reqwest::Client::new().post(format!("{}/storage/v1/b?project=test", server.endpoint));
        let call = call.header("content-type", "application/json").body(format!("{{\"name\":\"{name}\"}}"));
        let answer = call.send().await.expect("the server answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        Self { server, name }
    }

    async fn put(&self, key: &str, bytes: String) {
        let Self { server, name } = self;
        let url = format!("{}/upload/storage/v1/b/{name}/o?uploadType=media&name={}", server.endpoint, key.replace('/', "%2F"));
        let answer = reqwest::Client::new().post(url).body(bytes).send().await.expect("the server answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

/// A table of an object, joined with orders, whose prices are asked for below.
fn prices(options: &str) -> String {
    format!(
        "CREATE TABLE PRICES (ID INTEGER, PRICE INTEGER) WITH ({options}, csv.header = true);
         CREATE SOURCE ORDERS (ID INTEGER) WITH (connector = 'memory');
         CREATE STREAM PRICED (ID INTEGER, PRICE INTEGER);
         CREATE PUMP P AS INSERT INTO PRICED SELECT STREAM O.ID, PRICE FROM ORDERS AS O LEFT JOIN PRICES ON O.ID = PRICES.ID;
         CREATE SINK PRICED FROM PRICED WITH (connector = 'memory');"
    )
}

/// Runs a job that reads all objects of `options` to its end.
async fn read_all(options: &str) -> Vec<i32> {
    let memory = MemoryConnector::default();
    let engine = engine(&memory);
    let sql = format!("CREATE SOURCE S (N INTEGER) WITH ({options}); CREATE SINK O FROM S WITH (connector = 'memory');");
    execute(&engine, sql).await.expect("accepted");
    engine.start().await.expect("started").wait().await.expect("complete");
    let batches = memory.sink("O").expect("bound").batches();
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
}

fn documents(hour: i32) -> String {
    (0..500).map(|n| format!("{{\"N\":{}}}\n", hour * 500 + n)).collect()
}

#[tokio::test]
async fn a_table_of_an_azure_blob_follows_it() {
    let Some(server) = servers::azurite() else { return };
    let store = container(server, "reference").await;
    let put = async |text: &'static str| {
        store.put(&Path::from("prices.csv"), text.into()).await.expect("written");
    };
    put("ID,PRICE\n1,10\n2,20\n").await;
    let memory = MemoryConnector::default();
    let engine = engine(&memory);
    execute(&engine, prices("connector = 'azure', path = 'az://reference/prices.csv'")).await.expect("accepted");
    let job = engine.start().await.expect("started");
    assert_eq!(price(&memory, &job, 1).await, Some(10));
    assert_eq!(engine.refresh_table("PRICES").await.expect("there"), Refreshed::Unchanged);
    put("ID,PRICE\n1,11\n3,30\n").await;
    let refreshed = engine.refresh_table("PRICES").await.expect("there");
    assert!(matches!(refreshed, Refreshed::Replaced { rows: 2, version: Some(_) }), "{refreshed:?}");
    assert_eq!((price(&memory, &job, 1).await, price(&memory, &job, 3).await), (Some(11), Some(30)));
    store.delete(&Path::from("prices.csv")).await.expect("deleted");
    let said = engine.refresh_table("PRICES").await.expect_err("gone").to_string();
    assert!(said.contains("keeps the version it has"), "{said}");
    assert_eq!(price(&memory, &job, 3).await, Some(30));
}

#[tokio::test]
async fn azure_blobs_below_a_prefix_are_a_source() {
    let Some(server) = servers::azurite() else { return };
    let store = container(server, "delivered").await;
    for hour in 0..3 {
        store.put(&Path::from(format!("in/{hour:02}/x")), documents(hour).into()).await.expect("written");
    }
    let read = read_all("connector = 'azure', path = 'az://delivered/in/'").await;
    assert_eq!(read, (0..1_500).collect::<Vec<_>>());
}

/// What a reader of the container sees below a prefix of its own.
struct Folder<'a> {
    store: &'a MicrosoftAzure,
    prefix: String,
    options: &'static [(&'static str, &'static str)],
}

impl kinesql_connectors::conformance::SinkHarness for Folder<'_> {
    fn sink(&self) -> std::sync::Arc<dyn kinesql_engine::connector::Sink> {
        let path = format!("az://conformance/{}", self.prefix);
        sink(Service::Azure, &[&[("path", path.as_str())], self.options].concat(), numbers(0..0).schema())
    }

    fn output(&self) -> std::collections::BTreeMap<String, Vec<u8>> {
        output(self.store as &dyn ObjectStore, &self.prefix)
    }
}

/// Crashes after every call of a checkpoint: each row is in one blob in the end.
#[tokio::test(flavor = "multi_thread")]
async fn the_azure_sink_conforms() {
    let Some(server) = servers::azurite() else { return };
    let store = container(server, "conformance").await;
    let epochs = [numbers(0..3), numbers(3..4), numbers(4..4), numbers(4..9)];
    for options in [
        &[("prefix", "all/"), ("buffer_interval", "0s")][..],
        &[("partition_by", "even"), ("buffer_interval", "900s"), ("max_partitions", "1")],
    ] {
        let count = std::cell::Cell::new(0);
        let make = || {
            count.set(count.get() + 1);
            Folder { store: &store, prefix: format!("{}-{}/", options[0].0, count.get()), options }
        };
        kinesql_connectors::conformance::check_sink(make, &epochs).await;
    }
}

/// Blocks that are not committed within a week are dropped. Other ids of blocks than those that were sent stand for that here.
#[tokio::test]
async fn an_azure_upload_whose_blocks_are_gone_is_told() {
    fn forget(state: &mut serde_json::Value) -> usize {
        match state {
            serde_json::Value::Object(fields) => {
                let ids = fields.get_mut("parts").and_then(|parts| parts.as_array_mut()).into_iter().flatten();
                let mut forgotten = 0;
                for id in ids {
                    let sent = BASE64_STANDARD.decode(id.as_str().expect("an id")).expect("base64");
                    *id = BASE64_STANDARD.encode(sent.into_iter().rev().map(|byte| byte ^ 1).collect::<Vec<_>>()).into();
                    forgotten += 1;
                }
                forgotten + fields.values_mut().map(forget).sum::<usize>()
            }
            serde_json::Value::Array(values) => values.iter_mut().map(forget).sum(),
            _ => 0,
        }
    }
    let Some(server) = servers::azurite() else { return };
    let _store = container(server, "expired").await;
    let sink = sink(Service::Azure, &[("path", "az://expired/out/"), ("buffer_interval", "0s")], numbers(0..0).schema());
    let context = kinesql_connectors::conformance::sink_context(true);
    let mut writer = sink.open(None, &context).await.expect("opened");
    writer.write(&numbers(0..3)).await.expect("written");
    let mut state = writer.prepare(1).await.expect("prepared");
    drop(writer);
    assert!(forget(&mut state.0) > 0, "{state:?}");
    let error = sink.open(Some(&state), &context).await.err().expect("nothing to complete");
    assert!(error.message().contains("its upload is gone"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("the week after which Azure drops blocks")), "{error:?}");
}

#[tokio::test]
async fn a_table_of_a_gcs_object_follows_it() {
    let Some(server) = servers::gcs() else { return };
    let bucket = GcsBucket::new(server, "reference").await;
    bucket.put("prices.csv", "ID,PRICE\n1,10\n2,20\n".to_owned()).await;
    let memory = MemoryConnector::default();
    let engine = engine(&memory);
    execute(&engine, prices("connector = 'gcs', path = 'gs://reference/prices.csv'")).await.expect("accepted");
    let job = engine.start().await.expect("started");
    assert_eq!(price(&memory, &job, 1).await, Some(10));
    assert_eq!(engine.refresh_table("PRICES").await.expect("there"), Refreshed::Unchanged);
    bucket.put("prices.csv", "ID,PRICE\n1,11\n3,30\n".to_owned()).await;
    let refreshed = engine.refresh_table("PRICES").await.expect("there");
    assert!(matches!(refreshed, Refreshed::Replaced { rows: 2, version: Some(_) }), "{refreshed:?}");
    assert_eq!((price(&memory, &job, 1).await, price(&memory, &job, 3).await), (Some(11), Some(30)));
}

#[tokio::test]
async fn gcs_objects_below_a_prefix_are_a_source() {
    let Some(server) = servers::gcs() else { return };
    let bucket = GcsBucket::new(server, "delivered").await;
    for hour in 0..3 {
        bucket.put(&format!("in/{hour:02}/x"), documents(hour)).await;
    }
    let read = read_all("connector = 'gcs', path = 'gs://delivered/in/'").await;
    assert_eq!(read, (0..1_500).collect::<Vec<_>>());
}
