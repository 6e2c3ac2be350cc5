use std::collections::BTreeMap;
use std::io::Read as _;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt as _;
use kinesql_engine::connector::OptionEntry;
use kinesql_engine::runtime::clock::{Clock, ManualClock};
use kinesql_engine::types::SqlType;
use object_store::memory::InMemory;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::super::faulty::Faulty;
use super::*;
use crate::conformance::{FaultHarness, SinkHarness, check_sink, check_sink_faults, rows, run_without_checkpoints, sink_context};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::BigInt.field("n", true), SqlType::Varchar(16).field("kind", true)]))
}

fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
    let kinds: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| ["even", "odd"][n as usize % 2])));
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(numbers)), kinds]).expect("a batch")
}

fn epochs() -> Vec<RecordBatch> {
    vec![batch(0..3), batch(3..4), batch(4..4), batch(4..9)]
}

fn sink(place: Place, format: FormatSpec, options: &[(&str, &str)]) -> Result<StorageSink> {
    let mut entries = vec![OptionEntry::new("path", "memory")];
    entries.extend(options.iter().map(|(key, value)| OptionEntry::new(*key, *value)));
    let specs: Vec<_> = OF_S3.iter().collect();
    let options = Options::check("connector 's3'", &specs, &entries, None).expect("valid options");
    let definition = SinkDefinition { name: "out".to_owned(), stream: "S".to_owned(), schema: schema(), format: Some(format) };
    StorageSink::try_new(place, &definition, &options)
}

/// The key without the run, which counts the jobs that began anew.
fn without_run(key: &str) -> String {
    match key.rsplit_once("/out-") {
        Some((folder, name)) => format!("{folder}/out-{}", name.split_once('-').map_or(name, |(_, rest)| rest)),
        None => key.to_owned(),
    }
}

/// A sink below `out/` of a store in memory.
struct Memory {
    store: Arc<InMemory>,
    format: FormatSpec,
    options: &'static [(&'static str, &'static str)],
}

impl Memory {
    fn new(format: FormatSpec, options: &'static [(&'static str, &'static str)]) -> Self {
        Self { store: Arc::new(InMemory::new()), format, options }
    }

    fn all(&self) -> BTreeMap<String, Vec<u8>> {
        futures::executor::block_on(async {
            let listed: Vec<_> = self.store.list(None).try_collect().await.expect("listed");
            let mut found = BTreeMap::new();
            for meta in listed {
                let bytes = self.store.get(&meta.location).await.expect("there").bytes().await.expect("read");
                found.insert(meta.location.to_string(), bytes.to_vec());
            }
            found
        })
    }

    /// What is only the sink's own, by name.
    fn own(&self) -> Vec<String> {
        let own = self.all().into_keys().filter(|key| key.contains("_kinesql/"));
        own.map(|key| key.rsplit('/').next().unwrap_or_default().to_owned()).collect()
    }

    fn texts(&self) -> Vec<(String, String)> {
        self.output().into_iter().map(|(key, bytes)| (key, String::from_utf8(bytes).expect("text"))).collect()
    }
}

impl SinkHarness for Memory {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(sink(Place::in_store(&self.store, "out/"), self.format.clone(), self.options).expect("a sink"))
    }

    fn output(&self) -> BTreeMap<String, Vec<u8>> {
        let data = self.all().into_iter().filter(|(key, _)| !key.contains("_kinesql/"));
        data.map(|(key, bytes)| (without_run(&key), bytes)).collect()
    }
}

/// A sink below `out/` of a store in memory that can be taken down.
struct Failing {
    store: Arc<Faulty>,
    options: &'static [(&'static str, &'static str)],
}

impl SinkHarness for Failing {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(sink(Place::in_store(&self.store, "out/"), FormatSpec::Json, self.options).expect("a sink"))
    }

    fn output(&self) -> BTreeMap<String, Vec<u8>> {
        futures::executor::block_on(async {
            let mut found = BTreeMap::new();
            for key in visible(&self.store).await {
                let bytes = self.store.inner.get(&key.as_str().into()).await.expect("there").bytes().await.expect("read");
                found.insert(without_run(&key), bytes.to_vec());
            }
            found
        })
    }
}

impl FaultHarness for Failing {
    fn set_down(&self, down: bool) {
        self.store.set_down(down);
    }

    fn refused(&self) -> usize {
        self.store.refused()
    }
}

/// A sink into a local folder.
struct Local(TempDir);

impl SinkHarness for Local {
    fn sink(&self) -> Arc<dyn Sink> {
        let specs = [&PATH];
        let entries = [OptionEntry::new("path", format!("file://{}/out/", self.0.path().display()))];
        let place = Place::of(Service::S3, &Options::check("s3", &specs, &entries, None).expect("valid")).expect("a place");
        let options = [("partition_by", "kind"), ("buffer_interval", "0s")];
        Arc::new(sink(place, FormatSpec::Json, &options).expect("a sink"))
    }

    fn output(&self) -> BTreeMap<String, Vec<u8>> {
        fn files(folder: &std::path::Path, found: &mut BTreeMap<String, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                if path.is_dir() && name != "_kinesql" {
                    files(&path, found);
                } else if path.is_file() && !name.starts_with('.') {
                    found.insert(path.display().to_string(), std::fs::read(&path).expect("a file"));
                }
            }
        }
        let mut found = BTreeMap::new();
        files(self.0.path(), &mut found);
        let root = self.0.path().display().to_string();
        found.into_iter().map(|(path, bytes)| (without_run(&path[root.len()..]), bytes)).collect()
    }
}

const AT_ONCE: &[(&str, &str)] = &[("prefix", "all/"), ("buffer_interval", "0s")];
const BUFFERED: &[(&str, &str)] = &[("prefix", "all/"), ("buffer_interval", "900s")];
const HIVE: &[(&str, &str)] = &[("partition_by", "kind"), ("buffer_interval", "900s"), ("max_partitions", "1")];

#[tokio::test]
async fn objects_of_every_checkpoint_conform() {
    check_sink(|| Memory::new(FormatSpec::Json, AT_ONCE), &epochs()).await;
    check_sink(|| Memory::new(FormatSpec::Parquet, AT_ONCE), &epochs()).await;
}

#[tokio::test]
async fn objects_of_many_checkpoints_conform() {
    check_sink(|| Memory::new(FormatSpec::Json, BUFFERED), &epochs()).await;
    check_sink(|| Memory::new(FormatSpec::Parquet, BUFFERED), &epochs()).await;
}

#[tokio::test]
async fn partitions_conform() {
    check_sink(|| Memory::new(FormatSpec::Csv(Default::default()), HIVE), &epochs()).await;
}

#[tokio::test]
async fn a_local_folder_conforms() {
    check_sink(|| Local(TempDir::new().expect("a folder")), &epochs()).await;
}

#[tokio::test]
async fn an_object_holds_the_rows_of_all_epochs_until_it_is_old() {
    let memory = Memory::new(FormatSpec::Json, &[("prefix", "!{timestamp:yyyy-MM-dd}/"), ("buffer_interval", "60s")]);
    let clock = ManualClock::starting_at(1_706_659_200_000);
    let context = SinkContext { clock: clock.clone() as Arc<dyn Clock>, ..sink_context(true) };
    let mut writer = memory.sink().open(None, &context).await.expect("open");
    for epoch in 1..=6_u64 {
        writer.write(&batch(epoch as i64..epoch as i64 + 1)).await.expect("write");
        writer.prepare(epoch).await.expect("prepare");
        writer.commit(epoch).await.expect("commit");
        clock.set(1_706_659_200_000 + epoch as i64 * 20_000);
    }
    let first = (
        "out/2024-01-31/out-0000000004-0000.jsonl".to_owned(),
        "{\"n\":1,\"kind\":\"odd\"}\n{\"n\":2,\"kind\":\"even\"}\n{\"n\":3,\"kind\":\"odd\"}\n{\"n\":4,\"kind\":\"even\"}\n"
            .to_owned(),
    );
    assert_eq!(memory.texts(), [first]);
    assert!(memory.own().contains(&"rows-0000000006.arrow".to_owned()), "{:?}", memory.own());
    for epoch in 7..=30 {
        writer.prepare(epoch).await.expect("prepare");
        writer.commit(epoch).await.expect("commit");
        clock.set(1_706_659_200_000 + epoch as i64 * 20_000);
    }
    assert_eq!(memory.own(), ["committed.json", "run.json"], "nothing else is kept for ever");
    assert_eq!(memory.texts().len(), 2);
}

#[tokio::test]
async fn what_a_stopped_job_still_had_is_written_once() {
    let memory = Memory::new(FormatSpec::Json, BUFFERED);
    let context = sink_context(true);
    let mut writer = memory.sink().open(None, &context).await.expect("open");
    writer.write(&batch(0..2)).await.expect("write");
    let state = writer.prepare(1).await.expect("prepare");
    writer.commit(1).await.expect("commit");
    writer.close().await.expect("close");
    let closed = memory.texts();
    assert_eq!(closed.len(), 1);
    for _ in 0..2 {
        // A second restart, before any checkpoint, finds the same.
        let mut writer = memory.sink().open(Some(&state), &context).await.expect("open");
        assert_eq!(memory.texts(), closed);
        writer.write(&batch(2..3)).await.expect("write");
    }
    let mut writer = memory.sink().open(Some(&state), &context).await.expect("open");
    writer.write(&batch(2..4)).await.expect("write");
    writer.prepare(2).await.expect("prepare");
    writer.commit(2).await.expect("commit");
    writer.close().await.expect("close");
    let all: String = memory.texts().into_iter().map(|(_, text)| text).collect();
    assert_eq!(all.lines().count(), 4, "{all}");
    assert!(memory.texts().contains(&closed[0]), "what was visible stays as it is");

    memory.sink().open(Some(&state), &context).await.expect("an older checkpoint");
    assert_eq!(memory.texts(), closed);
}

#[tokio::test]
async fn a_checkpoint_that_is_too_old_is_refused() {
    let memory = Memory::new(FormatSpec::Json, AT_ONCE);
    let mut writer = memory.sink().open(None, &sink_context(true)).await.expect("open");
    let mut states = Vec::new();
    for epoch in 1..=20 {
        writer.write(&batch(0..1)).await.expect("write");
        states.push(writer.prepare(epoch).await.expect("prepare"));
        writer.commit(epoch).await.expect("commit");
    }
    memory.sink().open(Some(&states[12]), &sink_context(true)).await.expect("seven epochs old");
    let error = memory.sink().open(Some(&states[1]), &sink_context(true)).await.map(drop).expect_err("eleven epochs old");
    assert!(error.message().starts_with("cannot undo what was written"), "{error}");
}

#[tokio::test]
async fn without_checkpoints_objects_appear_when_they_are_full_or_old() {
    let memory = Memory::new(FormatSpec::Json, &[("prefix", "all/"), ("buffer_interval", "60s"), ("buffer_size", "1mb")]);
    let clock = ManualClock::starting_at(0);
    let context = SinkContext { clock: clock.clone() as Arc<dyn Clock>, ..sink_context(false) };
    let mut writer = memory.sink().open(None, &context).await.expect("open");
    writer.write(&batch(0..60_000)).await.expect("write");
    assert_eq!(memory.texts().len(), 1, "a megabyte is there");
    writer.write(&batch(0..1)).await.expect("write");
    assert_eq!(memory.texts().len(), 1);
    clock.set(60_000);
    while memory.texts().len() < 2 {
        tokio::task::yield_now().await;
    }
    writer.write(&batch(1..2)).await.expect("write");
    writer.close().await.expect("close");
    assert_eq!(memory.texts().len(), 3);
    assert!(writer.bytes_written() > 1 << 20);
    let output = run_without_checkpoints(&Memory::new(FormatSpec::Json, BUFFERED), &epochs()).await;
    assert_eq!(output.values().map(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count()).sum::<usize>(), 9);
}

#[tokio::test]
async fn every_compression_can_be_read_by_others() {
    let expected = "{\"n\":0,\"kind\":\"even\"}\n{\"n\":1,\"kind\":\"odd\"}\n";
    for (options, extension) in [
        (&[("compression", "gzip")][..], ".jsonl.gz"),
        (&[("compression", "snappy")], ".jsonl.snappy"),
        (&[("compression", "zstd")], ".jsonl.zst"),
        (&[("compression", "zip")], ".jsonl.zip"),
    ] {
        let output = run_without_checkpoints(&Memory::new(FormatSpec::Json, options), &[batch(0..2)]).await;
        let (key, bytes) = output.into_iter().next().expect("an object");
        assert!(key.ends_with(extension), "{key}");
        let mut text = String::new();
        match extension {
            ".jsonl.gz" => drop(flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip")),
            ".jsonl.snappy" => drop(snap::read::FrameDecoder::new(&bytes[..]).read_to_string(&mut text).expect("snappy")),
            ".jsonl.zst" => text = String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text"),
            _ => {
                // The reader of Python's standard library.
                let folder = TempDir::new().expect("a folder");
                std::fs::write(folder.path().join("a.zip"), &bytes).expect("a file");
                let program = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                               sys.stdout.write(z.read(z.namelist()[0]).decode())";
                let path = folder.path().join("a.zip");
                match std::process::Command::new("python3").args(["-c", program]).arg(path).output() {
                    Ok(output) => text = String::from_utf8(output.stdout).expect("text"),
                    Err(_) => continue,
                }
            }
        }
        assert_eq!(text, expected, "{extension}");
    }
}

#[tokio::test]
async fn parquet_holds_the_rows_of_its_partition() {
    let options = &[("partition_by", "kind"), ("compression", "snappy")];
    let output = run_without_checkpoints(&Memory::new(FormatSpec::Parquet, options), &epochs()).await;
    let read = |bytes: &Vec<u8>| -> Vec<String> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes.clone())).expect("Parquet");
        reader.build().expect("a reader").flat_map(|batch| rows(&batch.expect("rows"))).collect()
    };
    let found: Vec<_> = output.iter().map(|(key, bytes)| (key.rsplit_once('/').expect("a folder").0, read(bytes))).collect();
    let numbers = |numbers: &[i64]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(found, [("out/kind=even", numbers(&[0, 2, 4, 6, 8])), ("out/kind=odd", numbers(&[1, 3, 5, 7]))]);
}

#[tokio::test]
async fn rows_without_a_key_go_to_the_error_prefix_or_to_the_error_stream() {
    let long = "x".repeat(1_000);
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["good", long.as_str()]));
    let rows = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![1, 2])), kinds]).expect("a batch");
    const ERRORS: &[(&str, &str)] =
        &[("prefix", "!{partitionKey:kind}/"), ("error_prefix", "failed/!{firehose:error-output-type}/")];
    let memory = Memory::new(FormatSpec::Json, ERRORS);
    let output = run_without_checkpoints(&memory, std::slice::from_ref(&rows)).await;
    let keys: Vec<_> = output.keys().map(|key| key.rsplit_once('/').expect("a folder").0).collect();
    assert_eq!(keys, ["out/failed/partitioning-failed", "out/good"]);
    let failed = String::from_utf8(output.values().next().expect("an object").clone()).expect("text");
    assert!(failed.contains("\"errorCode\":\"DynamicPartitioning.MetadataExtractionFailed\""), "{failed}");

    let memory = Memory::new(FormatSpec::Json, &[("prefix", "!{partitionKey:kind}/")]);
    let context = sink_context(false);
    let mut writer = memory.sink().open(None, &context).await.expect("open");
    writer.write(&rows).await.expect("write");
    let refused = context.refused.take();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].1.message().starts_with("the row has no place in 'memory://out/'"), "{}", refused[0].1);
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let refuse = |format: FormatSpec, options: &[(&str, &str)]| {
        sink(Place::in_store(&Arc::new(InMemory::new()), "out/"), format, options).expect_err("refused").to_string()
    };
    assert!(refuse(FormatSpec::Json, &[("buffer_size", "129mb")]).contains("must be between 1mb and 128mb"));
    assert!(refuse(FormatSpec::Json, &[("buffer_interval", "901s")]).contains("must be between 0s and 900s"));
    assert!(refuse(FormatSpec::Json, &[("partition_by", "n, kind")]).contains("leaves no column"));
    assert!(refuse(FormatSpec::Json, &[("partition_by", "knd")]).contains("Did you mean \"kind\"?"));
    assert!(refuse(FormatSpec::Json, &[("time_column", "n")]).contains("needs a TIMESTAMP"));
    assert!(refuse(FormatSpec::Parquet, &[("compression", "gzip")]).contains("Use compression = 'zstd' or 'snappy'"));
    let object = sink(Place::in_store(&Arc::new(InMemory::new()), "out"), FormatSpec::Json, &[]).expect_err("refused");
    assert!(object.message().contains("must end in '/'"));
}

/// A sink in a store that can be taken down, with a clock of the test.
fn faulty(checkpointed: bool, options: &[(&str, &str)]) -> (Arc<Faulty>, StorageSink, Arc<ManualClock>, SinkContext) {
    let store = Arc::new(Faulty::default());
    let sink = sink(Place::in_store(&store, "out/"), FormatSpec::Json, options).expect("a sink");
    let clock = ManualClock::starting_at(0);
    let context = SinkContext { clock: clock.clone() as Arc<dyn Clock>, ..sink_context(checkpointed) };
    (store, sink, clock, context)
}

/// Lets a call go on as the clock passes, until it ends or `done`.
async fn go_on<T>(mut call: impl Future<Output = T> + Unpin, clock: &ManualClock, done: impl Fn() -> bool) -> Option<T> {
    loop {
        match futures::poll!(&mut call) {
            std::task::Poll::Ready(ended) => return Some(ended),
            std::task::Poll::Pending if done() => return None,
            std::task::Poll::Pending => clock.set(clock.now() + 100),
        }
        // What blocks is done by other threads.
        tokio::task::yield_now().await;
    }
}

async fn visible(store: &Faulty) -> Vec<String> {
    let listed: Vec<_> = store.inner.list(None).try_collect().await.expect("in memory");
    let keys = listed.into_iter().map(|meta| meta.location.to_string());
    keys.filter(|key| !key.contains("_kinesql/")).collect()
}

#[tokio::test]
async fn failures_cost_time_only() {
    let rows = |range: std::ops::Range<i64>, kind: &str| {
        let kinds: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(|_| kind)));
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(range)), kinds]).expect("a batch")
    };
    let epochs = [rows(0..4, "a"), rows(4..5, "b"), rows(5..9, "a")];
    // About 400 KB: two of them, and a third one that fills the buffer and waits.
    let bulk = rows(0..16_000, "bulk");
    const BY_KIND: &[(&str, &str)] = &[("prefix", "!{partitionKey:kind}/"), ("buffer_interval", "0s"), ("buffer_size", "1mb")];
    let make = || Failing { store: Arc::default(), options: BY_KIND };
    check_sink_faults(make, &epochs, &rows(7..8, &"x".repeat(1_000)), (&bulk, 3)).await;
}

#[tokio::test]
async fn a_store_that_is_away_for_hours_costs_nothing_but_time() {
    let (store, sink, clock, context) = faulty(true, AT_ONCE);
    let mut writer = sink.open(None, &context).await.expect("open");
    writer.write(&batch(0..3)).await.expect("write");
    for epoch in [1, 2] {
        store.set_down(true);
        let refused = store.refused();
        {
            let mut prepare = writer.prepare(epoch);
            let since = clock.now();
            assert!(go_on(prepare.as_mut(), &clock, || store.refused() >= refused + 1_000).await.is_none(), "it waits");
            let trouble = sink.trouble().expect("it is said");
            assert!(trouble.reason.starts_with("s3:PutObject of 'memory://out/"), "{trouble:?}");
            assert!(clock.now() - since > 3_600_000 && clock.now() - trouble.since > 3_600_000);
            store.set_down(false);
            go_on(prepare.as_mut(), &clock, || false).await.expect("ended").expect("prepared");
        }
        assert!(sink.trouble().is_none());
        assert_eq!(visible(&store).await.len(), epoch as usize - 1);
        store.set_down(true);
        let refused = store.refused();
        let mut commit = writer.commit(epoch);
        assert!(go_on(commit.as_mut(), &clock, || store.refused() >= refused + 20).await.is_none(), "it waits");
        store.set_down(false);
        go_on(commit.as_mut(), &clock, || false).await.expect("ended").expect("committed");
        drop(commit);
        assert_eq!(visible(&store).await.len(), epoch as usize);
        writer.write(&batch(3..4)).await.expect("write");
    }
    assert!(sink.metrics().iter().any(|metric| metric.name == "calls_failed" && metric.value > 2_000.0));
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_ends_it() {
    let (store, sink, clock, context) = faulty(true, AT_ONCE);
    store.set_down(true);
    let mut open = sink.open(None, &context);
    let error = go_on(open.as_mut(), &clock, || false).await.expect("given up").map(drop).expect_err("it never answered");
    assert_eq!(error.message(), "s3:ListBucket of 'memory://out/_kinesql': connection refused");
    assert!((10_000..30_000).contains(&clock.now()), "{} ms", clock.now());
}

#[tokio::test]
async fn what_fails_between_two_rows_is_told_at_once() {
    let (store, sink, clock, context) = faulty(false, &[("prefix", "all/"), ("buffer_interval", "60s")]);
    let mut writer = sink.open(None, &context).await.expect("open");
    writer.write(&batch(0..3)).await.expect("write");
    store.deny();
    let error = go_on(Box::pin(writer.failure()), &clock, || false).await.expect("told");
    assert_eq!(
        (error.kind(), error.message().ends_with(": access denied")),
        (kinesql_engine::ErrorKind::Config, true),
        "{error}"
    );
    assert!(clock.now() >= 60_000, "when the object was old");
}

#[tokio::test]
async fn objects_that_a_consumer_has_moved_are_not_missed() {
    let memory = Memory::new(FormatSpec::Json, AT_ONCE);
    let context = sink_context(true);
    async fn take_all(memory: &Memory) {
        for key in memory.all().into_keys().filter(|key| !key.contains("_kinesql/")) {
            memory.store.delete(&key.into()).await.expect("taken");
        }
    }
    let mut writer = memory.sink().open(None, &context).await.expect("open");
    let mut states = Vec::new();
    for epoch in 1..=3 {
        writer.write(&batch(0..3)).await.expect("write");
        states.push(writer.prepare(epoch).await.expect("prepare"));
        writer.commit(epoch).await.expect("commit");
    }
    take_all(&memory).await;
    for state in states.iter().rev() {
        // Also from older ones, of whose later epochs nothing is left to undo.
        memory.sink().open(Some(state), &context).await.expect("what was committed is not completed again");
        assert_eq!(memory.texts(), []);
    }
    // From the first one on other rows come, in epochs that were committed before.
    let mut writer = memory.sink().open(Some(&states[0]), &context).await.expect("open");
    writer.write(&batch(0..5)).await.expect("write");
    let second = writer.prepare(2).await.expect("prepare");
    drop(writer);
    let mut writer = memory.sink().open(Some(&second), &context).await.expect("open");
    assert_eq!(memory.texts().len(), 1, "what was prepared and not committed is completed");
    writer.close().await.expect("close");

    let memory = Memory::new(FormatSpec::Json, BUFFERED);
    let mut writer = memory.sink().open(None, &context).await.expect("open");
    writer.write(&batch(0..3)).await.expect("write");
    let state = writer.prepare(1).await.expect("prepare");
    writer.commit(1).await.expect("commit");
    writer.close().await.expect("close");
    take_all(&memory).await;
    memory.sink().open(Some(&state), &context).await.expect("what a stopped job has left was moved too");
    assert_eq!(memory.texts(), []);
}
