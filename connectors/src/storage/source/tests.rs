use std::io::Write as _;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use kinesql_engine::connector::{OptionEntry, Read};
use kinesql_engine::runtime::clock::{Clock as _, ManualClock};
use kinesql_engine::types::SqlType;
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt as _, path::Path};
use parquet::arrow::ArrowWriter;

use super::super::faulty::Faulty;
use super::*;
use crate::conformance::{check_source, lines, read_split, source_context};

fn source(store: &Arc<InMemory>, root: &str, format: FormatSpec, options: &[(&str, &str)]) -> Result<StorageSource> {
    let mut entries = vec![OptionEntry::new("path", "memory")];
    entries.extend(options.iter().map(|(key, value)| OptionEntry::new(*key, *value)));
    let specs: Vec<_> = OF_S3.iter().collect();
    let options = Options::check("connector 's3'", &specs, &entries, None).expect("valid options");
    let definition = SourceDefinition { name: "s".to_owned(), schema: None, format };
    StorageSource::try_new(Place::in_store(store, root), &definition, &options)
}

async fn put(store: &InMemory, key: &str, bytes: impl Into<bytes::Bytes>) {
    store.put(&Path::from(key), bytes.into().into()).await.expect("in memory");
}

fn numbered(range: std::ops::Range<usize>, end: &str) -> String {
    range.map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}{end}", "x".repeat(n % 23))).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("in memory");
    encoder.finish().expect("in memory")
}

async fn all(source: &StorageSource) -> Vec<String> {
    let seen = read_split(source, "0/1", None, &source_context()).await.expect("reading");
    seen.into_iter().flat_map(|seen| seen.records).collect()
}

#[tokio::test]
async fn objects_under_a_prefix_conform() {
    let store = Arc::new(InMemory::new());
    let text = numbered(0..60, "\n");
    let (first, rest) = text.split_at(text.find("{\"n\":9").expect("there"));
    let (second, third) = rest.split_at(rest.find("{\"n\":40").expect("there"));
    put(&store, "in/a.jsonl", first.to_owned()).await;
    put(&store, "in/b/c.jsonl.gz", [gzip(&second[..500]), gzip(&second[500..])].concat()).await;
    put(&store, "in/z", zstd::encode_all(third.as_bytes(), 3).expect("in memory")).await;
    for (key, what) in [("in/_SUCCESS", "no data"), ("in/x/.hidden", "no data"), ("in/empty/", ""), ("inner", "elsewhere")] {
        put(&store, key, what).await;
    }
    let make = || Arc::new(source(&store, "in/", FormatSpec::Json, &[]).expect("a source")) as Arc<dyn Source>;
    check_source(make, &source_context(), &lines(text.as_bytes())).await;
    assert_eq!(make().metrics().len(), 4);
}

#[tokio::test]
async fn documents_without_line_breaks_are_records() {
    let store = Arc::new(InMemory::new());
    let expected = numbered(0..2_000, "");
    put(&store, "in/a", expected.clone()).await;
    for max in ["1mb", "64"] {
        let source = source(&store, "in/", FormatSpec::Json, &[("max_record_bytes", max)]).expect("a source");
        let seen = read_split(&source, "0/1", None, &source_context()).await.expect("reading");
        assert_eq!(seen.iter().flat_map(|seen| seen.records.clone()).collect::<String>(), expected);
        for piece in &seen {
            let rest = read_split(&source, "0/1", Some(&piece.offset), &source_context()).await.expect("resuming");
            let rest: String = rest.into_iter().flat_map(|seen| seen.records).collect();
            assert!(expected.ends_with(&rest) && (rest.is_empty() || rest.starts_with('{')));
        }
    }
    put(&store, "pretty/a", "{\n \"n\": 1\n}\n{\n \"n\": 2\n}").await;
    let pretty = source(&store, "pretty/", FormatSpec::Json, &[]).expect("a source");
    let seen = read_split(&pretty, "0/1", None, &source_context()).await.expect("reading");
    assert_eq!(seen[0].records.concat(), "{ \"n\": 1}{ \"n\": 2}");
}

#[tokio::test]
async fn whoever_else_takes_the_records_apart_is_told_where_documents_end() {
    let store = Arc::new(InMemory::new());
    put(&store, "in/a", "{\"n\":1}\n {\"n\":2}[3]\n \n").await;
    put(&store, "in/b", "{\"n\":4} {\"n\":5}").await;
    // No JSON at all: only what a function makes of it is.
    put(&store, "in/c", "GET [x] {y}\nPOST\n").await;
    let source = source(&store, "in/", FormatSpec::Json, &[]).expect("a source");
    let context = SourceContext { raw: true, ..source_context() };
    let mut reader = source.open("0/1", None, &context).await.expect("open");
    let mut seen = Vec::new();
    while let Read::Records(records) = reader.next().await.expect("reading") {
        let text = String::from_utf8_lossy(&records.bytes).into_owned();
        seen.push((text, records.envelopes.map(|envelopes| envelopes.ends)));
    }
    // What begins with a line is lines, whatever else stands in one.
    let expected =
        [("{\"n\":1}\n {\"n\":2}[3]\n \n", None), ("{\"n\":4} {\"n\":5}", Some(vec![7, 15])), ("GET [x] {y}\nPOST\n", None)];
    assert_eq!(seen, expected.map(|(text, ends)| (text.to_owned(), ends)));
}

#[tokio::test]
async fn followed_objects_come_as_they_appear_also_late_ones() {
    let store = Arc::new(InMemory::new());
    put(&store, "in/2", "{\"n\":2}\n").await;
    let source = source(&store, "in/", FormatSpec::Json, &[("follow", "true"), ("poll_interval", "10s")]).expect("a source");
    assert!(!source.is_bounded());
    let clock = ManualClock::starting_at(0);
    let context = SourceContext::new(clock.clone(), FormatSpec::Json);
    let mut reader = source.open("0/1", None, &context).await.expect("open");
    async fn next(reader: &mut Box<dyn SplitReader>) -> (String, Offset) {
        match reader.next().await.expect("reading") {
            Read::Records(records) => {
                assert!(records.arrival_time.is_some());
                (String::from_utf8_lossy(&records.bytes).into_owned(), records.offset)
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next(&mut reader).await.0, "{\"n\":2}\n");
    put(&store, "in/3", "{\"n\":3}\n").await;
    clock.set(10_000);
    let (third, offset) = next(&mut reader).await;
    assert_eq!(third, "{\"n\":3}\n");
    put(&store, "in/1", "{\"n\":1}\n").await;
    clock.set(20_000);
    assert_eq!(next(&mut reader).await.0, "{\"n\":1}\n", "its key is before the others");
    let mut restarted = source.open("0/1", Some(&offset), &context).await.expect("resumed");
    assert_eq!(next(&mut restarted).await.0, "{\"n\":1}\n");
}

#[tokio::test]
async fn a_start_leaves_out_keys_and_old_objects() {
    let store = Arc::new(InMemory::new());
    for key in ["in/1", "in/2", "in/3"] {
        put(&store, key, format!("{{\"key\":\"{key}\"}}\n")).await;
    }
    let after = source(&store, "in/", FormatSpec::Json, &[("start_after", "in/2")]).expect("a source");
    assert_eq!(all(&after).await, ["{\"key\":\"in/3\"}"]);
    let none = source(&store, "in/", FormatSpec::Json, &[("start_time", "2999-01-01 00:00:00")]).expect("a source");
    assert_eq!(all(&none).await, Vec::<String>::new());
    let old = source(&store, "in/", FormatSpec::Json, &[("start_time", "2001-01-01T00:00:00Z")]).expect("a source");
    assert_eq!(all(&old).await.len(), 3);
}

#[tokio::test]
async fn a_damaged_object_is_reported_and_the_next_one_read() {
    let store = Arc::new(InMemory::new());
    let whole = gzip(&numbered(0..2_000, "\n"));
    put(&store, "in/a.gz", whole[..whole.len() / 2].to_vec()).await;
    let zipped = zstd::encode_all(numbered(0..2_000, "\n").as_bytes(), 3).expect("in memory");
    put(&store, "in/b.zst", zipped[..zipped.len() / 2].to_vec()).await;
    put(&store, "in/c", "{\"n\":3}\n").await;
    let several = source(&store, "in/", FormatSpec::Json, &[]).expect("a source");
    let records = all(&several).await;
    assert_eq!(records.iter().filter(|record| record.starts_with("rejected")).count(), 2, "{records:?}");
    assert_eq!(records.last().map(String::as_str), Some("{\"n\":3}"));
    let one = source(&store, "in/a.gz", FormatSpec::Json, &[]).expect("a source");
    let error = read_split(&one, "0/1", None, &source_context()).await.expect_err("a table of half a file");
    assert!(error.message().contains("memory://in/a.gz"), "{error}");
}

#[tokio::test]
async fn what_is_neither_text_nor_compressed_text_is_told_once_per_object() {
    let store = Arc::new(InMemory::new());
    put(&store, "in/a", b"PAR1\x15\x04\n\x15\n and so on".to_vec()).await;
    put(&store, "in/b", b"PK\x03\x04\n\n".to_vec()).await;
    put(&store, "in/c", "PAR1 is text as long as no control character follows\n").await;
    let several = source(&store, "in/", FormatSpec::Csv(Default::default()), &[]).expect("a source");
    let mut reader = several.open("0/1", None, &source_context()).await.expect("opened");
    let mut told = Vec::new();
    while let Read::Records(records) = reader.next().await.expect("reading") {
        told.extend(records.rejected.into_iter().map(|rejected| rejected.message));
    }
    let expected = [
        "cannot read 'memory://in/a' behind byte 0 of its content: it is Parquet. Say format = 'parquet', which only a path with that \
         extension tells by itself.",
        "cannot read 'memory://in/b' behind byte 0 of its content: it is a ZIP archive. Write the objects with gzip or zstd, or without \
         compression.",
    ];
    assert_eq!(told, expected);
    assert_eq!(all(&several).await.last().map(String::as_str), Some("PAR1 is text as long as no control character follows"));
    let one = source(&store, "in/a", FormatSpec::Json, &[]).expect("a source");
    let error = read_split(&one, "0/1", None, &source_context()).await.expect_err("no JSON");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("Say format = 'parquet'")), "{error:?}");
}

#[tokio::test]
async fn an_object_that_was_replaced_is_not_resumed() {
    let store = Arc::new(InMemory::new());
    put(&store, "in/a", numbered(0..100, "\n")).await;
    let make = || source(&store, "in/a", FormatSpec::Json, &[("max_record_bytes", "64")]).expect("a source");
    let seen = read_split(&make(), "0/1", None, &source_context()).await.expect("reading");
    let before = make().version().await.expect("there");
    put(&store, "in/a", numbered(0..101, "\n")).await;
    assert_ne!(make().version().await.expect("there"), before);
    let error = read_split(&make(), "0/1", Some(&seen[0].offset), &source_context()).await.expect_err("replaced");
    assert!(error.message().ends_with("it has changed since the checkpoint"), "{error}");
    let error =
        read_split(&source(&store, "in/b", FormatSpec::Json, &[]).expect("a source"), "0/1", None, &source_context()).await;
    assert!(error.expect_err("missing").message().ends_with("of 'memory://in/b': there is no such object"));
}

#[tokio::test]
async fn parquet_objects_conform_and_refuse_rows() {
    let store = Arc::new(InMemory::new());
    let schema = Arc::new(Schema::new(vec![SqlType::BigInt.field("n", true)]));
    for (key, numbers) in [("in/a.parquet", 0..9_000_i64), ("in/b.parquet", 9_000..9_003)] {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch");
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None).expect("in memory");
        writer.write(&batch).expect("in memory");
        put(&store, key, writer.into_inner().expect("in memory")).await;
    }
    let ready = source(&store, "in/", FormatSpec::Parquet, &[]).expect("a source");
    ready.inspect().await.expect("Parquet");
    let ready: Arc<dyn Source> = Arc::new(ready);
    let expected: Vec<_> = (0..9_003).map(|n| n.to_string()).collect();
    check_source(|| Arc::clone(&ready), &source_context(), &expected).await;

    let declared = Arc::new(Schema::new(vec![SqlType::SmallInt.field("n", false)]));
    let options = Options::check("s3", &OF_S3.iter().collect::<Vec<_>>(), &[OptionEntry::new("path", "m")], None).expect("valid");
    let definition = SourceDefinition { name: "s".to_owned(), schema: Some(declared), format: FormatSpec::Parquet };
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(40_000), None, Some(4)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).expect("in memory");
    writer.write(&batch).expect("in memory");
    put(&store, "small", writer.into_inner().expect("in memory")).await;
    let small = StorageSource::try_new(Place::in_store(&store, "small"), &definition, &options).expect("a source");
    small.inspect().await.expect("Parquet");
    let records = all(&small).await;
    assert_eq!(records.len(), 4, "{records:?}");
    assert!(records[..2].iter().all(|record| record.starts_with("rejected: {")), "{records:?}");
    assert_eq!(records[2..], ["1", "4"]);
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let store = Arc::new(InMemory::new());
    let refuse =
        |root: &str, options: &[(&str, &str)]| source(&store, root, FormatSpec::Json, options).expect_err("refused").to_string();
    assert!(refuse("a", &[("follow", "true")]).contains("an object does not grow"));
    assert!(refuse("a/", &[("start_time", "yesterday")]).contains("Write it as 2024-01-31 12:00:00"));
    assert!(refuse("a/", &[("max_record_bytes", "0")]).contains("cannot be 0"));
    assert!(refuse("a/", &[("follow", "true"), ("poll_interval", "0s")]).contains("cannot be 0"));
}

/// Reads on as the clock passes, until `done`.
async fn read_while(
    reader: &mut Box<dyn SplitReader>,
    clock: &ManualClock,
    mut done: impl FnMut() -> bool,
) -> Option<Result<Read>> {
    let mut next = reader.next();
    loop {
        match futures::poll!(next.as_mut()) {
            std::task::Poll::Ready(read) => return Some(read),
            std::task::Poll::Pending if done() => return None,
            std::task::Poll::Pending => clock.set(clock.now() + 100),
        }
        // What blocks is done by other threads.
        tokio::task::yield_now().await;
    }
}

fn faulty(options: &[(&str, &str)]) -> (Arc<Faulty>, StorageSource) {
    let store = Arc::new(Faulty::default());
    let mut entries = vec![OptionEntry::new("path", "memory")];
    entries.extend(options.iter().map(|(key, value)| OptionEntry::new(*key, *value)));
    let options = Options::check("connector 's3'", &OF_S3.iter().collect::<Vec<_>>(), &entries, None).expect("valid options");
    let definition = SourceDefinition { name: "s".to_owned(), schema: None, format: FormatSpec::Json };
    let source = StorageSource::try_new(Place::in_store(&store, "in/"), &definition, &options).expect("a source");
    (store, source)
}

fn text(read: Option<Result<Read>>) -> String {
    match read {
        Some(Ok(Read::Records(records))) => String::from_utf8_lossy(&records.bytes).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_that_is_away_for_hours_is_waited_for_by_who_follows() {
    let (store, source) = faulty(&[("follow", "true"), ("poll_interval", "10s")]);
    put(&store.inner, "in/1", "{\"n\":1}\n").await;
    let clock = ManualClock::starting_at(0);
    let context = SourceContext::new(clock.clone(), FormatSpec::Json);
    let mut reader = source.open("0/1", None, &context).await.expect("open");
    assert_eq!(text(Some(reader.next().await)), "{\"n\":1}\n");
    store.set_down(true);
    put(&store.inner, "in/2", "{\"n\":2}\n").await;
    assert!(read_while(&mut reader, &clock, || store.refused() >= 1_000).await.is_none(), "it goes on trying");
    assert!(clock.now() > 3_600_000, "{} ms", clock.now());
    let trouble = source.trouble().expect("it is said");
    assert!(trouble.reason.ends_with("connection refused") && clock.now() - trouble.since > 3_600_000, "{trouble:?}");
    store.set_down(false);
    assert_eq!(text(read_while(&mut reader, &clock, || false).await), "{\"n\":2}\n");
    assert!(source.trouble().is_none());
}

#[tokio::test]
async fn a_store_that_is_away_ends_the_start_and_a_source_that_ends() {
    for (options, seconds) in [(&[("follow", "true")][..], 10..30), (&[], 10..30)] {
        let (store, source) = faulty(options);
        store.set_down(true);
        let clock = ManualClock::starting_at(0);
        let context = SourceContext::new(clock.clone(), FormatSpec::Json);
        let mut reader = source.open("0/1", None, &context).await.expect("open");
        let ended = read_while(&mut reader, &clock, || false).await.expect("given up");
        let error = ended.expect_err("it never answered");
        assert_eq!(error.message(), "s3:ListBucket of 'memory://in/': connection refused");
        assert!(seconds.contains(&(clock.now() / 1_000)), "{} ms", clock.now());
    }
    let (store, source) = faulty(&[]);
    put(&store.inner, "in/1", "{\"n\":1}\n").await;
    put(&store.inner, "in/2", "{\"n\":2}\n").await;
    let clock = ManualClock::starting_at(0);
    let mut reader = source.open("0/1", None, &SourceContext::new(clock.clone(), FormatSpec::Json)).await.expect("open");
    assert_eq!(text(Some(reader.next().await)), "{\"n\":1}\n");
    store.set_down(true);
    assert!(read_while(&mut reader, &clock, || false).await.expect("given up").is_err());
    assert!((180..=200).contains(&(clock.now() / 1_000)), "{} ms", clock.now());
}

#[tokio::test]
async fn an_object_whose_answer_breaks_off_is_read_on_from_there() {
    let (store, source) = faulty(&[("max_record_bytes", "64")]);
    let (documents, lines) = (numbered(0..10, ""), numbered(0..30_000, "\n"));
    put(&store.inner, "in/a", documents.clone()).await;
    put(&store.inner, "in/b", lines.clone()).await;
    let clock = ManualClock::starting_at(0);
    let mut reader = source.open("0/1", None, &SourceContext::new(clock.clone(), FormatSpec::Json)).await.expect("open");
    let mut read = String::new();
    store.break_bodies(3);
    while read.len() < documents.len() {
        read.push_str(&text(read_while(&mut reader, &clock, || false).await));
    }
    store.break_bodies(10);
    loop {
        match read_while(&mut reader, &clock, || false).await {
            Some(Ok(Read::End { .. })) => break,
            piece => read.push_str(&text(piece)),
        }
    }
    assert!(read == documents + &lines, "{} bytes", read.len());
    assert_eq!(store.refused(), 13);
    // At one place it gives up in the end.
    store.break_bodies(usize::MAX);
    let mut reader = source.open("0/1", None, &SourceContext::new(clock.clone(), FormatSpec::Json)).await.expect("open");
    let since = clock.now();
    let error = loop {
        match read_while(&mut reader, &clock, || false).await.expect("ready") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!((180_000..240_000).contains(&(clock.now() - since)), "{error}");
}
