use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use kinesql_engine::ErrorKind;
use kinesql_engine::connector::OptionEntry;
use kinesql_engine::types::SqlType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::*;
use crate::conformance::{SinkHarness, check_sink, rows, run_without_checkpoints, sink_context};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::BigInt.field("n", true), SqlType::Varchar(16).field("text", true)]))
}

fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("t{n}"))));
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(numbers)), texts]).expect("a batch")
}

fn epochs() -> Vec<RecordBatch> {
    vec![batch(0..3), batch(3..4), batch(4..4), batch(4..9)]
}

/// A sink that writes below a temporary folder.
struct Place {
    folder: TempDir,
    path: &'static str,
    options: &'static [(&'static str, &'static str)],
    format: Option<FormatSpec>,
}

impl Place {
    fn new(path: &'static str, options: &'static [(&'static str, &'static str)]) -> Self {
        Self { folder: TempDir::new().expect("a folder"), path, options, format: None }
    }

    fn create(&self) -> Result<Arc<dyn Sink>> {
        let mut entries = vec![OptionEntry::new("path", format!("{}/{}", self.folder.path().display(), self.path))];
        entries.extend(self.options.iter().map(|(key, value)| OptionEntry::new(*key, *value)));
        let header =
            OptionSpec { name: "csv.header", kind: OptionKind::Boolean, required: false, default: None, help: "Names first." };
        let specs: Vec<_> = OPTIONS.iter().chain([&header]).collect();
        let options = Options::check("connector 'file'", &specs, &entries, None).expect("valid options");
        let definition =
            SinkDefinition { name: "s".to_owned(), stream: "s".to_owned(), schema: schema(), format: self.format.clone() };
        FileSinkFactory.create(&definition, &options)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).expect("a file")
    }

    fn all_names(&self) -> Vec<String> {
        let mut found: Vec<_> = files(self.folder.path()).into_iter().map(|(name, _)| name).collect();
        found.sort();
        found
    }
}

impl SinkHarness for Place {
    fn sink(&self) -> Arc<dyn Sink> {
        self.create().expect("a sink")
    }

    fn output(&self) -> BTreeMap<String, Vec<u8>> {
        let hidden = |name: &str| name.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        files(self.folder.path()).into_iter().filter(|(name, _)| !hidden(name)).collect()
    }
}

/// Files below a folder, by their path in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.push((name, fs::read(&path).expect("a file")));
        }
    }
    found
}

fn parquet_rows(path: &Path) -> Vec<String> {
    let file = fs::File::open(path).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file").build().expect("a reader");
    reader.flat_map(|batch| rows(&batch.expect("rows"))).collect()
}

fn json(numbers: std::ops::Range<i64>) -> String {
    numbers.map(|n| format!("{{\"n\":{n},\"text\":\"t{n}\"}}\n")).collect()
}

#[tokio::test]
async fn one_file_conforms() {
    for path in ["a.jsonl", "new/folder/a.csv", "a.json.gz", "a.csv.zst"] {
        check_sink(|| Place::new(path, &[("csv.header", "true")]), &epochs()).await;
    }
}

#[tokio::test]
async fn a_folder_conforms() {
    check_sink(|| Place::new("out/", &[]), &epochs()).await;
    check_sink(|| Place::new("out/", &[("compression", "gzip")]), &epochs()).await;
    check_sink(|| Place { format: Some(FormatSpec::Parquet), ..Place::new("out/", &[]) }, &epochs()).await;
}

#[tokio::test]
async fn one_file_holds_the_records_of_all_epochs() {
    let place = Place::new("a.json.gz", &[]);
    let mut writer = place.sink().open(None, &sink_context(true)).await.expect("open");
    for (epoch, batch) in epochs().iter().enumerate() {
        writer.write(batch).await.expect("write");
        writer.prepare(epoch as u64 + 1).await.expect("prepare");
    }
    writer.close().await.expect("close");
    let mut text = String::new();
    let file = fs::File::open(place.folder.path().join("a.json.gz")).expect("a file");
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    assert_eq!(text, json(0..9));
}

#[tokio::test]
async fn a_folder_holds_a_part_per_epoch_with_rows() {
    let place = Place::new("out/", &[]);
    let mut writer = place.sink().open(None, &sink_context(true)).await.expect("open");
    writer.write(&batch(0..2)).await.expect("write");
    writer.flush().await.expect("flush");
    assert_eq!(place.all_names(), ["out/.part-next.jsonl.inprogress"]);
    writer.prepare(1).await.expect("prepare");
    assert_eq!(place.all_names(), ["out/.part-0000000001.jsonl.inprogress"]);
    writer.write(&batch(2..3)).await.expect("write");
    writer.prepare(3).await.expect("prepare, the checkpoint before having failed");
    writer.commit(3).await.expect("commit");
    writer.prepare(4).await.expect("prepare without rows");
    writer.commit(4).await.expect("commit");
    writer.close().await.expect("close");
    assert_eq!(place.all_names(), ["out/part-0000000001.jsonl", "out/part-0000000003.jsonl"]);
    assert_eq!(place.text("out/part-0000000001.jsonl"), json(0..2));
    assert_eq!(writer.bytes_written(), json(0..3).len() as u64);
}

#[tokio::test]
async fn without_checkpoints_everything_is_there_at_the_end() {
    let all = epochs();
    for path in ["a.jsonl", "a.json"] {
        let output = run_without_checkpoints(&Place::new(path, &[]), &all).await;
        assert_eq!(output, BTreeMap::from([(path.to_owned(), json(0..9).into_bytes())]));
    }
    let output = run_without_checkpoints(&Place::new("out/", &[]), &all).await;
    assert_eq!(output, BTreeMap::from([("out/part-0000000001.jsonl".to_owned(), json(0..9).into_bytes())]));

    let place = Place::new("a.parquet", &[]);
    run_without_checkpoints(&place, &all).await;
    assert_eq!(place.all_names(), ["a.parquet"]);
    let expected: Vec<_> = all.iter().flat_map(rows).collect();
    assert_eq!(parquet_rows(&place.folder.path().join("a.parquet")), expected);

    let place = Place::new("none.parquet", &[]);
    run_without_checkpoints(&place, &[]).await;
    assert_eq!(parquet_rows(&place.folder.path().join("none.parquet")), Vec::<String>::new());
}

#[tokio::test]
async fn a_parquet_file_appears_when_it_is_complete() {
    let place = Place::new("a.parquet", &[]);
    let mut writer = place.sink().open(None, &sink_context(false)).await.expect("open");
    writer.write(&batch(0..3)).await.expect("write");
    assert_eq!(place.all_names(), [".a.parquet.inprogress"]);
    writer.close().await.expect("close");
    assert_eq!(place.all_names(), ["a.parquet"]);
    let error = place.sink().open(None, &sink_context(true)).await.map(|_| ()).expect_err("cannot be cut");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.hint(), Some("End the path in '/': each checkpoint then completes a file in that folder."));
}

#[tokio::test]
async fn a_fresh_start_overwrites_or_appends() {
    for (options, expected) in
        [(&[("mode", "overwrite")][..], json(0..1)), (&[("mode", "append")][..], format!("{{\"n\":7}}\n{}", json(0..1)))]
    {
        let place = Place::new("a.json", options);
        fs::write(place.folder.path().join("a.json"), "{\"n\":7}").expect("a file");
        run_without_checkpoints(&place, &[batch(0..1)]).await;
        assert_eq!(place.text("a.json"), expected, "{options:?}");
    }
    for (options, expected) in [
        (&[("mode", "overwrite")][..], vec!["out/notes.txt", "out/part-0000000001.jsonl"]),
        (&[("mode", "append")][..], vec!["out/notes.txt", "out/part-0000000004.csv", "out/part-0000000005.jsonl"]),
    ] {
        let place = Place::new("out/", options);
        let folder = place.folder.path().join("out");
        fs::create_dir(&folder).expect("a folder");
        for name in ["notes.txt", "part-0000000004.csv", ".part-next.jsonl.inprogress"] {
            fs::write(folder.join(name), "old").expect("a file");
        }
        run_without_checkpoints(&place, &[batch(0..1)]).await;
        assert_eq!(place.all_names(), expected, "{options:?}");
    }
}

#[tokio::test]
async fn names_of_columns_are_written_once() {
    let place = Place::new("a.csv", &[("csv.header", "true"), ("mode", "append")]);
    run_without_checkpoints(&place, &[batch(0..1)]).await;
    run_without_checkpoints(&place, &[batch(1..2)]).await;
    assert_eq!(place.text("a.csv"), "n,text\n0,t0\n1,t1\n");
}

#[tokio::test]
async fn a_file_that_was_cut_or_removed_is_not_resumed() {
    let place = Place::new("a.json", &[]);
    let mut writer = place.sink().open(None, &sink_context(true)).await.expect("open");
    writer.write(&batch(0..1)).await.expect("write");
    let state = writer.prepare(1).await.expect("prepare");
    fs::write(place.folder.path().join("a.json"), "{}\n").expect("a file");
    let reopen = || async { place.sink().open(Some(&state), &sink_context(true)).await.map(|_| ()).expect_err("changed") };
    let error = reopen().await;
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.message().ends_with("at the checkpoint it had 20 bytes, now 3"), "{error}");
    fs::remove_file(place.folder.path().join("a.json")).expect("removed");
    assert!(reopen().await.message().ends_with("now it is gone"));

    let place = Place::new("out/", &[]);
    let mut writer = place.sink().open(None, &sink_context(true)).await.expect("open");
    writer.write(&batch(0..1)).await.expect("write");
    let state = writer.prepare(1).await.expect("prepare");
    fs::remove_dir_all(place.folder.path().join("out")).expect("removed");
    let error = place.sink().open(Some(&state), &sink_context(true)).await.map(|_| ()).expect_err("gone");
    assert!(error.message().ends_with("part 'part-0000000001.jsonl' is gone"), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_with_the_path() {
    let place = Place::new("full.json", &[]);
    std::os::unix::fs::symlink("/dev/full", place.folder.path().join("full.json")).expect("a link");
    let mut writer = place.sink().open(None, &sink_context(false)).await.expect("open");
    writer.write(&batch(0..1)).await.expect("buffered");
    let error = writer.flush().await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().ends_with("full.json': the disk is full"), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_device_can_be_written_to() {
    let place = Place::new("null.json", &[]);
    std::os::unix::fs::symlink("/dev/null", place.folder.path().join("null.json")).expect("a link");
    let mut writer = place.sink().open(None, &sink_context(true)).await.expect("open");
    writer.write(&batch(0..1)).await.expect("write");
    let state = writer.prepare(1).await.expect("prepare");
    place.sink().open(Some(&state), &sink_context(true)).await.expect("reopened");
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let refuse = |place: Place| place.create().map(|_| ()).expect_err("refused").to_string();
    assert!(refuse(Place::new("a.parquet.gz", &[])).contains("Parquet compresses its columns itself"));
    assert!(refuse(Place::new("a.parquet", &[("mode", "append")])).contains("cannot append to Parquet file"));
    let table = Place { format: Some(FormatSpec::Table), ..Place::new("a.txt", &[]) };
    assert_eq!(refuse(table), "connector 'file' does not write format 'table'");
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_a_config_error() {
    let place = Place::new("file/a.json", &[]);
    fs::write(place.folder.path().join("file"), "").expect("a file");
    let error = place.sink().open(None, &sink_context(false)).await.map(|_| ()).expect_err("not a folder");
    assert!(error.message().starts_with("cannot create folder '"), "{error}");
    let place = Place::new("folder", &[]);
    fs::create_dir(place.folder.path().join("folder")).expect("a folder");
    let error = place.sink().open(None, &sink_context(false)).await.map(|_| ()).expect_err("a folder");
    assert_eq!(error.hint(), Some("End the path in '/' if a folder is meant."));
}
