use std::collections::BTreeMap;
use std::io::Write as _;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use kinesql_engine::ErrorKind;
use kinesql_engine::connector::{OptionEntry, Read};
use kinesql_engine::format::{CsvOptions, DecodeColumn, REJECTED_RAW_MAX, RejectReason, decoder};
use kinesql_engine::runtime::clock::{Clock, ManualClock};
use kinesql_engine::types::SqlType;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::conformance::{check_source, lines, read_split, rows, source_context};

fn source_of(format: FormatSpec, path: &Path, options: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
    let mut entries = vec![OptionEntry::new("path", path.display().to_string())];
    entries.extend(options.iter().map(|(key, value)| OptionEntry::new(*key, *value)));
    let specs: Vec<_> = OPTIONS.iter().collect();
    let options = Options::check("connector 'file'", &specs, &entries, None).expect("valid options");
    FileSourceFactory.create(&SourceDefinition { name: "s".to_owned(), schema: None, format }, &options)
}

fn source(path: &Path, options: &[(&str, &str)]) -> Arc<dyn Source> {
    source_of(FormatSpec::Json, path, options).expect("a source")
}

fn csv(header: bool) -> FormatSpec {
    FormatSpec::Csv(CsvOptions { header, ..CsvOptions::default() })
}

fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a temporary file");
    path
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("in memory");
    encoder.finish().expect("in memory")
}

fn numbered(count: usize) -> String {
    (0..count).map(|i| format!("{{\"n\": {i}, \"text\": \"{}\"}}\n", "x".repeat(i % 23))).collect()
}

async fn all(source: &dyn Source, parallelism: usize, context: &SourceContext) -> Vec<String> {
    let mut records = Vec::new();
    for split in source.splits(parallelism).await.expect("splits") {
        let seen = read_split(source, &split, None, context).await.expect("reading");
        records.extend(seen.into_iter().flat_map(|seen| seen.records));
    }
    records
}

#[tokio::test]
async fn a_plain_file_conforms() {
    let folder = TempDir::new().expect("a folder");
    let text = numbered(60);
    let path = file(&folder, "a.jsonl", &text);
    check_source(|| source(&path, &[("chunk_bytes", "100")]), &source_context(), &lines(text.as_bytes())).await;
}

#[tokio::test]
async fn a_compressed_file_conforms() {
    let folder = TempDir::new().expect("a folder");
    let text = numbered(60);
    let (first, second) = text.split_at(700);
    let gz = file(&folder, "a.jsonl.gz", [gzip(first), gzip(second)].concat());
    let zst = file(
        &folder,
        "a.jsonl.zst",
        [first, second].map(|text| zstd::encode_all(text.as_bytes(), 3).expect("in memory")).concat(),
    );
    for path in [gz, zst] {
        check_source(|| source(&path, &[("chunk_bytes", "100")]), &source_context(), &lines(text.as_bytes())).await;
    }
}

#[tokio::test]
async fn a_folder_and_a_pattern_conform() {
    let folder = TempDir::new().expect("a folder");
    let text = numbered(30);
    let (first, second) = text.split_at(text.find("{\"n\": 9").expect("a line"));
    file(&folder, "a.jsonl", first);
    file(&folder, "b.jsonl.gz", gzip(second));
    file(&folder, ".hidden.jsonl", "not read");
    let context = source_context();
    let expected = lines(text.as_bytes());
    let everything = PathBuf::from(format!("{}/", folder.path().display()));
    check_source(|| source(&everything, &[("chunk_bytes", "100")]), &context, &expected).await;
    assert_eq!(source(&everything, &[]).splits(1).await.expect("splits"), ["files"], "one after the other");
    assert_eq!(source(&everything, &[]).splits(2).await.expect("splits").len(), 2);
    assert_eq!(all(source(&folder.path().join("?.jsonl*"), &[]).as_ref(), 1, &context).await, expected);
    assert_eq!(all(source(&folder.path().join("*.jsonl"), &[]).as_ref(), 1, &context).await, lines(first.as_bytes()));
}

#[tokio::test]
async fn csv_is_read_by_one_reader_and_its_names_are_skipped() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.csv", "id,text\n1,\"two\nlines\"\n2,b\n3,c");
    let context = SourceContext { format: csv(true), ..source_context() };
    for chunk in ["1", "5", "1mb"] {
        let source = source_of(csv(true), &path, &[("chunk_bytes", chunk)]).expect("a source");
        assert_eq!(source.splits(4).await.expect("splits"), ["0/1"]);
        assert_eq!(all(source.as_ref(), 4, &context).await, ["1,\"two", "lines\"", "2,b", "3,c"]);
        let sample = source.sample(10, &context).await.expect("a sample").bytes;
        assert!(sample.starts_with(b"id,text\n"), "a sample shows the names: {}", String::from_utf8_lossy(&sample));
        let sample = source.sample(1_000, &context).await.expect("a sample").bytes;
        assert_eq!(String::from_utf8_lossy(&sample), "id,text\n1,\"two\nlines\"\n2,b\n3,c", "up to the end of the file");
    }
    let make = || source_of(csv(false), &path, &[("chunk_bytes", "4")]).expect("a source");
    let context = SourceContext { format: csv(false), ..source_context() };
    check_source(make, &context, &["id,text", "1,\"two", "lines\"", "2,b", "3,c"].map(str::to_owned)).await;
}

#[tokio::test]
async fn whole_records_of_a_csv_file_decode_to_its_rows_at_any_chunk_size() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.csv", "id,text\r\n1,\"two\nlines, \"\"quoted\"\"\"\r\n2,5\" pipe\r\n3,\"\"\r\n4,last");
    let context = SourceContext { format: csv(true), ..source_context() };
    let field = |index, field| DecodeColumn { field, path: None, index };
    for chunk in 1..60 {
        let source = source_of(csv(true), &path, &[("chunk_bytes", &chunk.to_string())]).expect("a source");
        let mut reader = source.open("0/1", None, &context).await.expect("open");
        // The reader has skipped the names: a decoder that did so too would lose the first row.
        let columns = vec![field(0, SqlType::Integer.field("id", true)), field(1, SqlType::Varchar(30).field("text", true))];
        let mut decoder = decoder(&csv(false), columns).expect("a decoder");
        let (mut records, mut rejected) = (Vec::new(), Vec::new());
        while let Read::Records(piece) = reader.next().await.expect("read") {
            records.extend(rows(&decoder.decode(&piece.bytes, &mut rejected).expect("decode")));
        }
        assert_eq!(rejected, [], "chunks of {chunk}");
        assert_eq!(records, ["1|two\nlines, \"quoted\"", "2|5\" pipe", "3|", "4|last"], "chunks of {chunk}");
    }
}

#[tokio::test]
async fn an_empty_file_has_no_records() {
    let folder = TempDir::new().expect("a folder");
    for name in ["empty.json", "empty.json.gz", "empty.json.zst"] {
        let path = file(&folder, name, "");
        check_source(|| source(&path, &[]), &source_context(), &[]).await;
    }
}

#[tokio::test]
async fn a_small_file_is_not_shared() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.json", "x".repeat(250));
    let splits = |chunk| {
        let source = source(&path, &[("chunk_bytes", chunk)]);
        async move { source.splits(4).await.expect("splits") }
    };
    assert_eq!(splits("1mb").await, ["0/1"]);
    assert_eq!(splits("100").await, ["0/3:100", "1/3:100", "2/3:100"]);
    assert_eq!(splits("50").await.len(), 4);
}

#[tokio::test]
async fn a_long_record_is_refused_and_reading_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.json", format!("{{\"a\":1}}\n{}\n{{\"a\":2}}\n", "x".repeat(5_000_000)));
    for parallelism in [1, 3] {
        let source = source(&path, &[("chunk_bytes", "64kb"), ("max_record_bytes", "100kb")]);
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        for split in source.splits(parallelism).await.expect("splits") {
            let mut reader = source.open(&split, None, &source_context()).await.expect("open");
            while let Read::Records(records) = reader.next().await.expect("read") {
                assert!(records.bytes.len() < 400_000, "no more than a chunk and a record is held");
                rows.extend(lines(&records.bytes));
                refused.extend(records.rejected.into_iter().map(|rejected| (records.position, rejected)));
            }
        }
        rows.sort();
        assert_eq!(rows, ["{\"a\":1}", "{\"a\":2}"]);
        let [(position, rejected)] = &refused[..] else { panic!("one refused record, not {}", refused.len()) };
        assert_eq!((*position, rejected.reason, rejected.raw.len()), (8, RejectReason::TooLarge, REJECTED_RAW_MAX));
        assert_eq!(rejected.message, "record is longer than max_record_bytes = 102400");
    }
    let make = || source(&path, &[("chunk_bytes", "1mb"), ("max_record_bytes", "100kb")]);
    let expected = ["{\"a\":1}", "rejected: xxxxxxxxxxxxxxxx", "{\"a\":2}"].map(str::to_owned);
    check_source(make, &source_context(), &expected).await;
}

#[tokio::test]
async fn a_missing_file_is_a_config_error_before_anything_is_read() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("none.json");
    let error = source(&path, &[]).splits(1).await.expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read '{}': there is no such file or folder\n\
             hint: A relative path starts in the folder that the program runs in.",
            path.display()
        )
    );
    let error = source(folder.path(), &[]).splits(1).await.expect_err("a folder");
    assert_eq!(error.hint(), Some("End the path in '/' if a folder is meant."));
    let error = source(&folder.path().join("*.csv"), &[]).splits(1).await.expect_err("no match");
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let refuse = |path: &str, options: &[(&str, &str)]| {
        source_of(FormatSpec::Json, Path::new(path), options).expect_err("refused").message().to_owned()
    };
    assert!(refuse("", &[]).contains("cannot be empty"));
    assert!(refuse("a.gz", &[("follow", "true")]).contains("compressed"));
    assert!(refuse("logs/", &[("follow", "true")]).contains("one file"));
    assert!(refuse("a", &[("chunk_bytes", "0")]).contains("cannot be 0"));
    let refuse_parquet = |path: &str, options: &[(&str, &str)]| {
        source_of(FormatSpec::Parquet, Path::new(path), options).expect_err("refused").message().to_owned()
    };
    assert!(refuse_parquet("a.parquet", &[("follow", "true")]).contains("written as a whole"));
    assert!(refuse_parquet("a.parquet.gz", &[]).contains("compresses its columns itself"));
    let error = source_of(FormatSpec::Table, Path::new("a.txt"), &[]).expect_err("refused");
    assert_eq!(error.message(), "a source cannot read format 'table'");
}

#[tokio::test]
async fn parquet_files_conform() {
    let folder = TempDir::new().expect("a folder");
    let schema = Arc::new(Schema::new(vec![SqlType::BigInt.field("n", true)]));
    for (name, numbers) in [("a.parquet", 0..9_000_i64), ("b.parquet", 9_000..9_003)] {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        let file = fs::File::create(folder.path().join(name)).expect("a file");
        let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), None).expect("a writer");
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch")).expect("written");
        writer.close().expect("written");
    }
    for (path, rows) in [("a.parquet", 9_000), ("*.parquet", 9_003)] {
        let source = source_of(FormatSpec::Parquet, &folder.path().join(path), &[]).expect("a source");
        source.inspect().await.expect("Parquet");
        let expected: Vec<_> = (0..rows).map(|n| n.to_string()).collect();
        check_source(|| Arc::clone(&source), &source_context(), &expected).await;
        assert_eq!(all(source.as_ref(), 1, &source_context()).await, expected);
    }
    let before = source_of(FormatSpec::Parquet, &folder.path().join("a.parquet"), &[]).expect("a source");
    let version = before.version().await.expect("there");
    assert_eq!(before.version().await.expect("there"), version);
    fs::copy(folder.path().join("b.parquet"), folder.path().join("a.parquet")).expect("copied");
    assert_ne!(before.version().await.expect("there"), version);
    let text = file(&folder, "c.parquet", "not Parquet");
    let error = source_of(FormatSpec::Parquet, &text, &[]).expect("a source").inspect().await.expect_err("text");
    assert!(error.message().contains("as Parquet"), "{error}");
}

#[tokio::test]
async fn a_later_run_over_a_folder_goes_on_in_its_last_file_and_reads_those_behind_it() {
    let folder = TempDir::new().expect("a folder");
    file(&folder, "a.jsonl", "1\n");
    file(&folder, "b.jsonl", "2\n3\n");
    let source = source(&folder.path().join("*.jsonl"), &[]);
    let seen = read_split(source.as_ref(), "files", None, &source_context()).await.expect("reading");
    let end = seen.last().expect("the end").offset.clone();
    file(&folder, "b.jsonl", "2\n3\n4\n");
    file(&folder, "c.jsonl", "5\n");
    let seen = read_split(source.as_ref(), "files", Some(&end), &source_context()).await.expect("reading");
    assert_eq!(seen.into_iter().flat_map(|seen| seen.records).collect::<Vec<_>>(), ["4", "5"]);
    fs::remove_file(folder.path().join("b.jsonl")).expect("removed");
    let error = source.open("files", Some(&end), &source_context()).await.map(|_| ()).expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.message().ends_with("file 'b.jsonl', in which the checkpoint was taken, is gone"), "{error}");
}

#[tokio::test]
async fn a_later_run_finds_what_was_appended() {
    let folder = TempDir::new().expect("a folder");
    let text = numbered(20);
    let path = file(&folder, "a.json", text.trim_end());
    let context = source_context();
    for parallelism in [1, 3] {
        fs::write(&path, text.trim_end()).expect("a temporary file");
        let mut ends = BTreeMap::new();
        let first = source(&path, &[("chunk_bytes", "100")]);
        for split in first.splits(parallelism).await.expect("splits") {
            let seen = read_split(first.as_ref(), &split, None, &context).await.expect("reading");
            ends.insert(split, seen.last().expect("the end").offset.clone());
        }
        fs::write(&path, format!("{text}{}", numbered(9))).expect("a temporary file");
        let mut appended = Vec::new();
        for (split, end) in &ends {
            let again = source(&path, &[("chunk_bytes", "100")]);
            let seen = read_split(again.as_ref(), split, Some(end), &context).await.expect("reading");
            appended.extend(seen.into_iter().flat_map(|seen| seen.records));
        }
        appended.sort();
        assert_eq!(appended, lines(numbered(9).as_bytes()), "{parallelism} readers");
    }
}

#[tokio::test]
async fn a_replaced_or_shortened_file_is_not_resumed() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.json", numbered(20));
    for parallelism in [1, 2] {
        fs::write(&path, numbered(20)).expect("a temporary file");
        let source = source(&path, &[("chunk_bytes", "100")]);
        let splits = source.splits(parallelism).await.expect("splits");
        let seen = read_split(source.as_ref(), &splits[0], None, &source_context()).await.expect("reading");
        let offset = &seen.last().expect("the end").offset;
        for changed in [numbered(3), numbered(20).replace("\"n\": 0", "\"n\": 7")] {
            fs::write(&path, changed).expect("a temporary file");
            let error = source.open(&splits[0], Some(offset), &source_context()).await.map(|_| ()).expect_err("changed");
            assert_eq!(error.kind(), ErrorKind::State);
        }
    }
}

#[tokio::test]
async fn damaged_compression_is_a_data_error() {
    let folder = TempDir::new().expect("a folder");
    let gz = gzip(&numbered(1000));
    let zst = zstd::encode_all(numbered(1000).as_bytes(), 3).expect("in memory");
    let no_zst = b"not compressed at all".to_vec();
    for (name, content) in
        [("a.gz", &gz[..gz.len() / 2]), ("b.gz", &zst[..]), ("a.zst", &zst[..zst.len() / 2]), ("b.zst", &no_zst[..])]
    {
        let path = file(&folder, name, content);
        let source = source(&path, &[]);
        let error = read_split(source.as_ref(), "0/1", None, &source_context()).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Data, "{name}");
        assert_eq!(error.message(), format!("cannot read '{}': its content is damaged", path.display()));
    }
}

/// Follows a file; every read moves the clock until something comes.
struct Follower {
    clock: Arc<ManualClock>,
    reader: Box<dyn SplitReader>,
}

impl Follower {
    async fn open(path: &Path, offset: Option<&Offset>) -> Self {
        let clock = ManualClock::starting_at(0);
        let context = SourceContext::new(clock.clone(), FormatSpec::Json);
        let reader = source(path, &[("follow", "true")]).open("0/1", offset, &context).await.expect("open");
        Self { clock, reader }
    }

    /// The next records that are not empty.
    async fn next(&mut self) -> (String, Offset) {
        loop {
            if let Some(Read::Records(records)) = self.poll().await
                && !records.bytes.is_empty()
            {
                return (String::from_utf8_lossy(&records.bytes).into_owned(), records.offset);
            }
        }
    }

    /// One look at the file: gives up, by cancelling the read, once the reader waits for the clock.
    async fn poll(&mut self) -> Option<Read> {
        self.clock.set(self.clock.now() + 200);
        let patience = async {
            for _ in 0..50 {
                tokio::task::spawn_blocking(std::thread::yield_now).await.expect("a thread");
            }
        };
        tokio::select! {
            biased;
            read = self.reader.next() => Some(read.expect("read")),
            () = patience => None,
        }
    }
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("a file to append to");
    file.write_all(text.as_bytes()).expect("appended");
}

#[tokio::test]
async fn follow_waits_for_whole_lines() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.log", "");
    let mut follower = Follower::open(&path, None).await;
    append(&path, "one\ntw");
    assert_eq!(follower.next().await.0, "one\n");
    assert!(follower.poll().await.is_none(), "half a line is not a record");
    append(&path, "o\n");
    let (line, offset) = follower.next().await;
    assert_eq!(line, "two\n");
    append(&path, "three\n");
    assert_eq!(Follower::open(&path, Some(&offset)).await.next().await.0, "three\n", "resumed");
}

#[cfg(unix)]
#[tokio::test]
async fn follow_goes_on_with_the_file_that_replaces_a_rotated_one() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.log", "one\n");
    let mut follower = Follower::open(&path, None).await;
    assert_eq!(follower.next().await.0, "one\n");
    append(&path, "two\nlast words");
    fs::rename(&path, folder.path().join("a.log.1")).expect("renamed");
    assert_eq!(follower.next().await.0, "two\n");
    assert!(follower.poll().await.is_none(), "the new file is not there yet");
    append(&path, "three\n");
    assert_eq!(follower.next().await.0, "last words");
    let (line, offset) = follower.next().await;
    assert_eq!(line, "three\n");
    append(&path, "four\n");
    assert_eq!(Follower::open(&path, Some(&offset)).await.next().await.0, "four\n", "resumed in the new file");
}

#[tokio::test]
async fn follow_starts_again_when_the_file_is_truncated() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a.log", "one\ntwo\n");
    let mut follower = Follower::open(&path, None).await;
    assert_eq!(follower.next().await.0, "one\ntwo\n");
    file(&folder, "a.log", "new\n");
    assert_eq!(follower.next().await.0, "new\n");
}

#[test]
fn patterns() {
    for (pattern, name, fits) in [
        ("*.jsonl", "a.jsonl", true),
        ("*.jsonl", "a.json", false),
        ("a?c*", "abc", true),
        ("a?c*", "ac", false),
        ("*", "ü", true),
        ("?", "ü", true),
        ("a*b*c", "aXbXbXc", true),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn chunks_and_splits_change_no_record(
        lengths in prop::collection::vec(0usize..40, 0..40),
        crlf: bool,
        torn: bool,
        chunk in 1usize..120,
        parallelism in 1usize..6,
        max in 10usize..60,
    ) {
        let mut text = String::new();
        for (i, length) in lengths.iter().enumerate() {
            text.push_str(&format!("{:x}", i % 16).repeat(*length));
            text.push_str(if crlf { "\r\n" } else { "\n" });
        }
        if torn {
            text.push_str("torn");
        }
        let mut expected: Vec<_> = text
            .split_inclusive('\n')
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let record = line.strip_suffix('\n').unwrap_or(line);
                if record.len() > max { format!("rejected: {}", &record[..record.len().min(16)]) } else { record.trim().to_owned() }
            })
            .collect();
        expected.sort();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let folder = TempDir::new().expect("a folder");
        let path = file(&folder, "a.json", &text);
        let (chunk, max) = (chunk.to_string(), max.to_string());
        let source = source(&path, &[("chunk_bytes", &chunk), ("max_record_bytes", &max)]);
        let mut records = runtime.block_on(all(source.as_ref(), parallelism, &source_context()));
        records.sort();
        prop_assert_eq!(records, expected);
    }
}
