//! Sources with a function whose answers are written here.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinesql_engine::ErrorKind;
use kinesql_engine::connector::{Envelopes, Read};
use kinesql_engine::format::{CsvOptions, FormatSpec, RejectReason};
use kinesql_engine::runtime::clock::{ManualClock, SystemClock};
use kinesql_engine::types::SqlType;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::conformance::{check_source, read_split};
use crate::file::FileSourceFactory;
use crate::kinesis::tests::harness as kinesis_tests;
use crate::lambda::stub::{Given, records, serve};
use crate::storage::{Service, StorageSourceFactory};
use crate::stub::{Stub, checked};

fn context(format: FormatSpec) -> SourceContext {
    SourceContext::new(SystemClock::shared(), format)
}

fn make_source(path: &Path, server: &Stub, format: FormatSpec, more: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
    let path = path.to_string_lossy();
    let mut options = vec![("path", path.as_ref()), ("preprocessor", "OUT"), ("preprocessor.region", "us-east-1")];
    options.push(("preprocessor.endpoint", &server.endpoint));
    options.extend(more);
    let definition = SourceDefinition { name: "IN".to_owned(), schema: None, format };
    let factory = Preprocessed::new(FileSourceFactory);
    factory.create(&definition, &checked(factory.options(), &options))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// An answer of `judge(text)`: the result and what becomes of the record.
fn answer(request: &Value, judge: impl Fn(&str) -> (&'static str, Option<String>)) -> Given {
    let answers = records(request).into_iter().map(|(id, text)| {
        let (result, data) = judge(&text);
        let mut answer = json!({ "recordId": id, "result": result });
        if let Some(data) = data {
            answer["data"] = Value::from(STANDARD.encode(data));
        }
        answer
    });
    Given::Returned(json!({ "records": answers.collect::<Vec<_>>() }))
}

fn shout(text: &str) -> (&'static str, Option<String>) {
    ("Ok", Some(text.to_uppercase()))
}

async fn read_all(source: &dyn Source, format: FormatSpec) -> Vec<String> {
    let context = context(format);
    let mut all = Vec::new();
    for split in source.splits(1).await.expect("splits") {
        let seen = read_split(source, &split, None, &context).await.expect("read");
        all.extend(seen.into_iter().flat_map(|seen| seen.records));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_with_a_function_passes_the_conformance_checks_of_sources() {
    let server = serve(|request| answer(&request, shout)).await;
    let text: String = (0..300).map(|i| format!("record {i}\n")).collect();
    let file = file(&text);
    let expected: Vec<_> = text.lines().map(str::to_uppercase).collect();
    let options = [("chunk_bytes", "512"), ("preprocessor.batch_records", "7")];
    let make = || make_source(file.path(), &server, FormatSpec::Json, &options).expect("valid");
    check_source(make, &context(FormatSpec::Json), &expected).await;
}

#[tokio::test]
async fn a_record_is_replaced_dropped_or_failed() {
    let server = serve(|request| {
        answer(&request, |text| match text {
            "drop" => ("Dropped", None),
            "drop with data" => ("Dropped", Some("x".to_owned())),
            "fail" => ("ProcessingFailed", None),
            "two" => ("Ok", Some("{\"n\":1}\n{\"n\":2}".to_owned())),
            other => ("Ok", Some(other.to_owned())),
        })
    })
    .await;
    let file = file("one\ndrop\nfail\n\ntwo\ndrop with data\nlast\n");
    let source = make_source(file.path(), &server, FormatSpec::Json, &[]).expect("valid");
    let split = &source.splits(1).await.expect("splits")[0];
    let mut reader = source.open(split, None, &context(FormatSpec::Json)).await.expect("open");
    let Read::Records(records) = reader.next().await.expect("read") else { panic!("records") };
    assert_eq!(records.bytes, "one\n{\"n\":1}\n{\"n\":2}\nlast\n");
    let [rejected] = &records.rejected[..] else { panic!("one is rejected: {:?}", records.rejected) };
    assert_eq!((&rejected.raw[..], rejected.position, rejected.reason), (&b"fail"[..], 9, RejectReason::ProcessingFailed));
    assert_eq!(rejected.message, "the pre-processor could not process it");
    assert!(matches!(reader.next().await.expect("read"), Read::End { .. }));
    reader.close().await.expect("closed");
    let metric = |name: &str| source.metrics().iter().find(|metric| metric.name == name).map(|metric| metric.value);
    assert_eq!(metric("preprocessor_records_dropped"), Some(2.0));
    assert_eq!(metric("preprocessor_records_failed"), Some(1.0));
}

#[tokio::test]
async fn a_batch_is_repeated_until_every_record_is_answered() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let server = serve(move |request| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => Given::Returned(json!({ "records": [] })),
        1 => Given::Returned(json!({ "records": [{ "recordId": "unknown", "result": "Ok", "data": "" }] })),
        2 => answer(&request, |_| ("Ok", None)),
        3 => answer(&request, |_| ("Fine", Some(String::new()))),
        4 => Given::Returned(json!("hello")),
        5 => Given::Raised("ValueError", "no luck"),
        6 => Given::Refused(429, "TooManyRequestsException", "Rate Exceeded."),
        7 => Given::Returned(json!({ "records": records(&request).into_iter()
            .map(|(id, _)| json!({ "recordId": id, "result": "Ok", "data": "?" })).collect::<Vec<_>>() })),
        8 => Given::Nothing,
        _ => answer(&request, shout),
    })
    .await;
    let file = file("a\nb\n");
    let source = make_source(file.path(), &server, FormatSpec::Json, &[("preprocessor.timeout", "20s")]).expect("valid");
    let clock = ManualClock::starting_at(0);
    let context = SourceContext::new(clock.clone(), FormatSpec::Json);
    let split = source.splits(1).await.expect("splits").remove(0);
    // A clock that runs ahead, so that nothing is waited for.
    let ticking = tokio::spawn(async move {
        for time in 0.. {
            clock.set(time * 100);
            tokio::task::yield_now().await;
        }
    });
    let seen = read_split(source.as_ref(), &split, None, &context).await.expect("read");
    ticking.abort();
    assert_eq!(seen[0].records, ["A", "B"]);
    assert!(calls.load(Ordering::SeqCst) >= 10);
    let failed =
        source.metrics().iter().find(|metric| metric.name == "preprocessor_invocations_failed").map(|metric| metric.value);
    assert!(failed >= Some(9.0), "{failed:?}");
}

#[tokio::test]
async fn records_that_are_unknown_or_answered_twice_are_told_and_the_batch_repeated() {
    let well = Arc::new(Mutex::new(false));
    let is_well = Arc::clone(&well);
    let fault = Arc::new(Mutex::new(""));
    let kind = Arc::clone(&fault);
    let server = serve(move |request| {
        if *is_well.lock().expect("not poisoned") {
            return answer(&request, shout);
        }
        let mut answers: Vec<_> = records(&request)
            .into_iter()
            .map(|(id, text)| json!({ "recordId": id, "result": "Ok", "data": STANDARD.encode(text) }))
            .collect();
        match *kind.lock().expect("not poisoned") {
            "missing" => drop(answers.pop()),
            "unknown" => answers.push(json!({ "recordId": "other", "result": "Ok", "data": "" })),
            _ => answers.push(json!({ "recordId": answers[0]["recordId"], "result": "Dropped" })),
        }
        Given::Returned(json!({ "records": answers }))
    })
    .await;
    let of_function = "lambda:InvokeFunction of function \"OUT\": record ";
    for (what, expected) in [
        ("missing", " is missing in its answer"),
        ("unknown", "other of its answer is none of the request"),
        ("twice", " is answered twice"),
    ] {
        *fault.lock().expect("not poisoned") = what;
        *well.lock().expect("not poisoned") = false;
        let file = file("a\nb\n");
        let source = make_source(file.path(), &server, FormatSpec::Json, &[]).expect("valid");
        let reading = Arc::clone(&source);
        let reading = tokio::spawn(async move { read_all(reading.as_ref(), FormatSpec::Json).await });
        let trouble = loop {
            match source.trouble() {
                Some(trouble) => break trouble,
                None => tokio::task::yield_now().await,
            }
        };
        assert!(trouble.reason.starts_with(of_function) && trouble.reason.ends_with(expected), "{what}: {trouble:?}");
        *well.lock().expect("not poisoned") = true;
        assert_eq!(reading.await.expect("read"), ["A", "B"], "{what}");
        assert_eq!(source.trouble(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invocations_overlap_and_the_order_is_kept() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let (release, released) = watch::channel(false);
    let server = serve(move |request| {
        // The first batch fails at first, so the others are answered before it.
        let given = match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Given::Raised("Error", "again"),
            _ => answer(&request, shout),
        };
        Given::Held(released.clone(), Box::new(given))
    })
    .await;
    let text: String = (0..100).map(|i| format!("r{i}\n")).collect();
    let file = file(&text);
    let options = [("preprocessor.batch_records", "5"), ("chunk_bytes", "64"), ("preprocessor.concurrency", "3")];
    let source = make_source(file.path(), &server, FormatSpec::Json, &options).expect("valid");
    let expected: Vec<_> = text.lines().map(str::to_uppercase).collect();
    let reading = tokio::spawn(async move { read_all(source.as_ref(), FormatSpec::Json).await });
    // None is answered before three are asked for, and nobody asks for a fourth.
    while calls.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    release.send_replace(true);
    assert_eq!(reading.await.expect("read"), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_takes_nothing_stops_the_reading() {
    let server = serve(|request| answer(&request, shout)).await;
    let text: String = (0..1_000).map(|i| format!("r{i}\n")).collect();
    let file = file(&text);
    let options = [("chunk_bytes", "64"), ("preprocessor.concurrency", "2")];
    let source = make_source(file.path(), &server, FormatSpec::Json, &options).expect("valid");
    let split = source.splits(1).await.expect("splits").remove(0);
    let mut reader = source.open(&split, None, &context(FormatSpec::Json)).await.expect("open");
    let invocations =
        || source.metrics().iter().find(|metric| metric.name == "preprocessor_invocations").map(|metric| metric.value);
    let Read::Records(first) = reader.next().await.expect("read") else { panic!("records") };
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    // That of the piece that was taken, and those of two pieces ahead.
    assert!(invocations().expect("counted") <= 3.0, "{:?}", invocations());
    let mut read = String::from_utf8_lossy(&first.bytes).into_owned();
    while let Read::Records(records) = reader.next().await.expect("read") {
        read.push_str(&String::from_utf8_lossy(&records.bytes));
    }
    assert_eq!(read, text.to_uppercase());
    assert!(invocations() > Some(30.0), "there were many more pieces: {:?}", invocations());
    reader.close().await.expect("closed");
}

#[tokio::test]
async fn batches_keep_to_count_and_bytes_and_are_halved_when_the_answer_is_too_long() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let server = serve(move |request| {
        let count = records(&request).len();
        seen.lock().expect("not poisoned").push((count, request.to_string().len()));
        match records(&request)[0].1.as_str() {
            text if text.starts_with("long") && count > 1 => Given::Raised("Function.ResponseSizeTooLarge", "too long"),
            "longest" => Given::Raised("Function.ResponseSizeTooLarge", "too long"),
            _ => answer(&request, shout),
        }
    })
    .await;
    let text = format!("{}long\nlong\nlongest\n", "x\n".repeat(8));
    let options = [("preprocessor.batch_records", "4"), ("preprocessor.concurrency", "1")];
    let input = file(&text);
    let source = make_source(input.path(), &server, FormatSpec::Json, &options).expect("valid");
    let read = read_all(source.as_ref(), FormatSpec::Json).await;
    assert_eq!(read.len(), 11);
    assert_eq!(read.last().map(String::as_str), Some("rejected: longest"));
    let counts: Vec<_> = sizes.lock().expect("not poisoned").iter().map(|(count, _)| *count).collect();
    assert_eq!(counts, [4, 4, 3, 1, 2, 1, 1]);

    sizes.lock().expect("not poisoned").clear();
    let input = file(&format!("{}\n", "y".repeat(3_000)).repeat(40));
    let options = [("preprocessor.batch_bytes", "20000"), ("preprocessor.concurrency", "1")];
    let source = make_source(input.path(), &server, FormatSpec::Json, &options).expect("valid");
    assert_eq!(read_all(source.as_ref(), FormatSpec::Json).await.len(), 40);
    let sizes = sizes.lock().expect("not poisoned").clone();
    assert!(sizes.iter().all(|(count, bytes)| *count <= 3 && *bytes <= 20_000), "{sizes:?}");
}

#[tokio::test]
async fn the_request_has_ids_and_arns_and_csv_records_are_whole() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let server = serve(move |request| {
        let given = answer(&request, shout);
        seen.lock().expect("not poisoned").push(request);
        given
    })
    .await;
    let csv = FormatSpec::Csv(CsvOptions::default());
    let file = file("a,\"two\nlines\"\nb,c\n");
    let options = [("preprocessor.application_arn", "arn:app")];
    let with_stream = [options[0], ("preprocessor.stream_arn", "arn:stream")];
    let source = make_source(file.path(), &server, csv.clone(), &options).expect("valid");
    assert_eq!(read_all(source.as_ref(), csv.clone()).await, ["A,\"TWO", "LINES\"", "B,C"]);
    let source = make_source(file.path(), &server, csv.clone(), &with_stream).expect("valid");
    assert_eq!(read_all(source.as_ref(), csv).await.len(), 3);
    assert_eq!(requests.lock().expect("not poisoned")[1]["streamArn"], "arn:stream");
    let request = requests.lock().expect("not poisoned")[0].clone();
    assert_eq!(request["applicationArn"], "arn:app");
    assert_eq!(request["streamArn"], file.path().to_string_lossy().as_ref());
    let (ids, texts): (BTreeSet<_>, Vec<_>) = records(&request).into_iter().unzip();
    assert_eq!((ids.len(), texts), (2, vec!["a,\"two\nlines\"".to_owned(), "b,c".to_owned()]));
}

#[tokio::test]
async fn schema_inference_sees_what_the_function_makes() {
    let server = serve(|request| answer(&request, |_| ("Ok", Some("{\"A\":1}".to_owned())))).await;
    let file = file("x\ny\n");
    let source = make_source(file.path(), &server, FormatSpec::Json, &[]).expect("valid");
    let sample = source.sample(1_000, &context(FormatSpec::Json)).await.expect("a sample").bytes;
    assert_eq!(sample, b"{\"A\":1}\n{\"A\":1}\n");
}

/// As CloudWatch Logs writes to a data stream: only the function can read it.
#[tokio::test]
async fn the_function_gets_the_records_of_a_sample_as_it_gets_those_of_a_job() {
    use std::io::Read as _;

    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let server = serve(move |request| {
        let data: Vec<_> = request["records"].as_array().expect("records").iter().map(|record| record["data"].clone()).collect();
        let answers = records(&request).into_iter().zip(data).map(|((id, _), data)| {
            let data = STANDARD.decode(data.as_str().expect("text")).expect("base64");
            let mut text = String::new();
            match flate2::read::GzDecoder::new(&data[..]).read_to_string(&mut text) {
                Ok(_) => json!({ "recordId": id, "result": "Ok", "data": STANDARD.encode(text) }),
                Err(_) => json!({ "recordId": id, "result": "ProcessingFailed" }),
            }
        });
        let answers: Vec<_> = answers.collect();
        seen.lock().expect("not poisoned").push(request);
        Given::Returned(json!({ "records": answers }))
    })
    .await;
    let (clock, service) = kinesis_tests::service(1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"A\":\n1}").expect("in memory");
    let number = service.put("key", &gzip.finish().expect("in memory"));
    service.put("key", b"{\"A\":2}");
    let source = Arc::new(kinesis_tests::bind(&service, &[("scan.start", "trim_horizon")]));
    let source = wrapped(source, &server);
    let context = SourceContext::new(Arc::clone(&clock) as _, FormatSpec::Json);
    let sample = source.sample(1_000, &context).await.expect("a sample");
    assert_eq!(String::from_utf8_lossy(&sample.bytes), "{\"A\": 1}\n");
    let [refused] = &sample.rejected[..] else { panic!("what is not compressed is refused: {:?}", sample.rejected) };
    assert_eq!((&refused.raw[..], refused.reason), (&b"{\"A\":2}"[..], RejectReason::ProcessingFailed));
    let request = requests.lock().expect("not poisoned")[0].clone();
    assert_eq!(request["streamArn"], "stream \"fake\", shardId-000000000000");
    assert_eq!(
        request["records"][0]["kinesisStreamRecordMetadata"],
        json!({
            "shardId": "shardId-000000000000",
            "partitionKey": "key",
            "sequenceNumber": number,
            "approximateArrivalTimestamp": kinesis_tests::START / 1_000,
        })
    );
}

#[tokio::test]
async fn a_sample_of_a_function_that_always_fails_ends_with_its_last_failure() {
    let fault = Arc::new(Mutex::new("raise"));
    let kind = Arc::clone(&fault);
    let server = serve(move |_| match *kind.lock().expect("not poisoned") {
        "raise" => Given::Raised("ValueError", "no luck"),
        "unknown" => Given::Returned(json!({ "records": [{ "recordId": "other", "result": "Ok", "data": "" }] })),
        _ => Given::Nothing,
    })
    .await;
    let file = file("a\n");
    for (what, expected) in [
        ("raise", "Unhandled error ValueError: no luck"),
        ("unknown", "is missing in its answer"),
        ("silence", "no answer in time"),
    ] {
        *fault.lock().expect("not poisoned") = what;
        let source = make_source(file.path(), &server, FormatSpec::Json, &[]).expect("valid");
        let clock = ManualClock::starting_at(0);
        let context = SourceContext::new(clock.clone(), FormatSpec::Json);
        let ticking = tokio::spawn(async move {
            for time in 0.. {
                clock.set(time * 5);
                tokio::task::yield_now().await;
            }
        });
        let error = source.sample(1_000, &context).await.expect_err(what);
        ticking.abort();
        assert!(error.message().starts_with("lambda:InvokeFunction of function \"OUT\": "), "{what}: {error}");
        assert!(error.message().ends_with(expected), "{what}: {error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let hint = "Columns are inferred from what the function makes of the first records: mend it, or declare them.";
        assert_eq!(error.hint(), Some(hint));
    }
}

#[tokio::test]
async fn what_a_service_says_of_a_record_is_passed_on_and_kept_with_its_rows() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let server = serve(move |request| {
        seen.lock().expect("not poisoned").push(request.clone());
        answer(&request, |text| if text == "b\nb" { ("Dropped", None) } else { shout(text) })
    })
    .await;
    let file = file("");
    let source = make_source(file.path(), &server, FormatSpec::Json, &[]).expect("valid");
    // A piece as the source of a data stream makes it: records of any bytes, and a column for each thing it knows of them.
    let text = |values: [&str; 3]| -> ArrayRef { Arc::new(StringArray::from_iter_values(values)) };
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_520_280_173_999, 2_000, 3_000]));
    let columns = [
        (SqlType::Varchar(128).field("SEQUENCE_NUMBER", true), text(["1", "2", "3"])),
        (SqlType::Varchar(64).field("SHARD_ID", true), text(["shardId-000000000000"; 3])),
        (SqlType::Varchar(256).field("PARTITION_KEY", true), text(["p", "q", "r"])),
        (SqlType::Timestamp.field("APPROXIMATE_ARRIVAL_TIME", true), times),
    ];
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let columns = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns");
    let piece = Records {
        bytes: "ab\nbc\n".into(),
        origin: "shardId-000000000000".into(),
        position: 0,
        rejected: Vec::new(),
        arrival_time: None,
        part: None,
        envelopes: Some(Envelopes { ends: vec![1, 4, 6], columns: columns.clone() }),
        offset: Offset(json!(7)),
    };
    let processor = wrapped(source, &server).processor(&context(FormatSpec::Json)).await.expect("a processor");
    let piece = processor.process(piece, Patience::Endless).await.expect("processed");
    assert_eq!((&piece.bytes[..], piece.offset), (&b"AC\n"[..], Offset(json!(7))));
    let envelopes = piece.envelopes.expect("kept");
    assert_eq!(envelopes.ends, [1, 3]);
    assert_eq!(crate::conformance::rows(&envelopes.columns)[1], crate::conformance::rows(&columns)[2]);
    let request = requests.lock().expect("not poisoned")[0].clone();
    assert_eq!(records(&request)[1].1, "b\nb");
    assert_eq!(
        request["records"][0]["kinesisStreamRecordMetadata"],
        json!({
            "shardId": "shardId-000000000000",
            "partitionKey": "p",
            "sequenceNumber": "1",
            "approximateArrivalTimestamp": 1_520_280_173,
        })
    );
}

/// `source` with the function of `server`.
fn wrapped(source: Arc<dyn Source>, server: &Stub) -> PreprocessedSource {
    let options = [
        ("path", "x"),
        ("preprocessor", "OUT"),
        ("preprocessor.region", "us-east-1"),
        ("preprocessor.endpoint", &server.endpoint),
    ];
    let settings = Settings::try_new(&checked(Preprocessed::new(FileSourceFactory).options(), &options));
    PreprocessedSource {
        source,
        settings: settings.expect("valid").expect("given"),
        framing: Framing::Lines,
        name: "IN".to_owned(),
        place: "stdin".to_owned(),
        processor: Arc::new(OnceCell::new()),
    }
}

#[tokio::test]
async fn of_a_delivery_stream_the_function_learns_when_it_delivered() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let server = serve(move |request| {
        seen.lock().expect("not poisoned").push(request.clone());
        answer(&request, |text| if text == "drop" { ("Dropped", None) } else { shout(text) })
    })
    .await;
    let file = file("");
    let source = make_source(file.path(), &server, FormatSpec::Json, &[]).expect("valid");
    let processor = wrapped(source, &server).processor(&context(FormatSpec::Json)).await.expect("a processor");
    let rows = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(3));
    let piece = || Records {
        bytes: "a\nb\ndropc\n".into(),
        origin: "delivery 1".into(),
        position: 0,
        rejected: Vec::new(),
        arrival_time: Some(1_520_280_173_999),
        part: None,
        envelopes: None,
        offset: Offset(json!(1)),
    };
    let columns = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &rows).expect("no columns");
    let kept_apart = Records { envelopes: Some(Envelopes { ends: vec![4, 8, 10], columns }), ..piece() };
    let processed = processor.process(kept_apart, Patience::Endless).await.expect("processed");
    assert_eq!(&processed.bytes[..], b"A\nB\nC\n");
    let envelopes = processed.envelopes.expect("kept");
    assert_eq!((envelopes.ends, envelopes.columns.num_rows()), (vec![4, 6], 2));
    let lines = processor.process(piece(), Patience::Endless).await.expect("processed");
    assert_eq!((&lines.bytes[..], lines.envelopes.is_none()), (&b"A\nB\nDROPC\n"[..], true));
    for request in requests.lock().expect("not poisoned").iter() {
        assert_eq!(
            request["records"][1]["kinesisFirehoseRecordMetadata"],
            json!({ "approximateArrivalTimestamp": 1_520_280_173_999_i64 })
        );
        assert_eq!(request["records"][1].get("kinesisStreamRecordMetadata"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_with_a_function_pass_the_conformance_checks_of_sources() {
    let server = serve(|request| answer(&request, shout)).await;
    let folder = tempfile::tempdir().expect("a folder");
    // No JSON: only what the function makes of it is.
    let lines: String = (0..90).map(|n| format!("[{n}] GET /{{x}}\nPOST {n}\n")).collect();
    let documents: String = (0..90).map(|n| format!("{{\"n\":{n},\n \"t\":\"}}{{\"}}")).collect();
    for (name, text) in [("lines/a", &lines), ("lines/b", &lines), ("documents/a", &documents)] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    let make = |part: &str| {
        let path = format!("file://{}/{part}/", folder.path().display());
        let options = [
            ("path", path.as_str()),
            ("preprocessor", "OUT"),
            ("preprocessor.region", "us-east-1"),
            ("preprocessor.endpoint", &server.endpoint),
            ("preprocessor.batch_records", "7"),
        ];
        let factory = Preprocessed::new(StorageSourceFactory(Service::S3));
        let definition = SourceDefinition { name: "IN".to_owned(), schema: None, format: FormatSpec::Json };
        factory.create(&definition, &checked(factory.options(), &options)).expect("valid")
    };
    let expected: Vec<_> = lines.repeat(2).to_uppercase().lines().map(str::to_owned).collect();
    check_source(|| make("lines"), &context(FormatSpec::Json), &expected).await;
    let source = make("documents");
    assert_eq!(read_all(source.as_ref(), FormatSpec::Json).await.join("\n"), documents.to_uppercase());
    let sample = source.sample(100, &context(FormatSpec::Json)).await.expect("a sample").bytes;
    assert_eq!(crate::conformance::lines(&sample)[..2], ["{\"N\":0,  \"T\":\"}{\"}", "{\"N\":1,  \"T\":\"}{\"}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_input_can_have_a_function() {
    let server = serve(|request| answer(&request, shout)).await;
    let stdin = crate::stdin::reading(&b"one\ntwo\n"[..]);
    let source = wrapped(stdin, &server);
    assert_eq!(source.sample(100, &context(FormatSpec::Json)).await.expect("a sample").bytes, b"ONE\nTWO\n");
    assert_eq!(read_all(&source, FormatSpec::Json).await, ["ONE", "TWO"], "a sample takes nothing away");
}

#[test]
fn rows_are_no_records_for_a_function() {
    let options = [("path", "s3://b/a/"), ("preprocessor", "f"), ("preprocessor.region", "us-east-1")];
    let create = |factory: &dyn SourceFactory| {
        let definition = SourceDefinition { name: "IN".to_owned(), schema: None, format: FormatSpec::Parquet };
        factory.create(&definition, &checked(factory.options(), &options)).map(|_| ()).map_err(|error| error.to_string())
    };
    let said = "a pre-processor cannot take format 'parquet': it holds rows, not records\n\
                hint: Leave out option \"preprocessor\"; a pump can do its work in SQL.";
    assert_eq!(create(&Preprocessed::new(StorageSourceFactory(Service::S3))), Err(said.to_owned()));
    assert_eq!(create(&Preprocessed::new(FileSourceFactory)), Err(said.to_owned()));
}

#[tokio::test]
async fn a_missing_function_and_a_denied_call_are_named() {
    let server = serve(|request| answer(&request, shout)).await;
    let file = file("a\n");
    let source = make_source(file.path(), &server, FormatSpec::Json, &[("preprocessor.concurrency", "2")]).expect("valid");
    server.fail_with(403, "AccessDeniedException", "not authorized");
    let split = source.splits(1).await.expect("splits").remove(0);
    let error = read_split(source.as_ref(), &split, None, &context(FormatSpec::Json)).await.map(|_| ()).expect_err("denied");
    let expected = "lambda:InvokeFunction of function \"OUT\": AccessDeniedException: not authorized";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, expected));
}

#[test]
fn wrong_options_are_explained() {
    let create = |options: &[(&str, &str)]| {
        let mut all = vec![("path", "x")];
        all.extend_from_slice(options);
        let definition = SourceDefinition { name: "IN".to_owned(), schema: None, format: FormatSpec::Json };
        let factory = Preprocessed::new(FileSourceFactory);
        factory.create(&definition, &checked(factory.options(), &all)).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(create(&[]), Ok(()));
    for (options, expected) in [
        (
            &[("preprocessor.concurrency", "2")][..],
            "option \"preprocessor.concurrency\" has no meaning without a function\n\
             hint: Add preprocessor = '…', the name or ARN of a Lambda function.",
        ),
        (
            &[("preprocessor", "f"), ("preprocessor.batch_bytes", "7mb")],
            "option \"preprocessor.batch_bytes\" cannot be 7340032 bytes\nhint: A request has 8kb to 6mb.",
        ),
        (
            &[("preprocessor", "f"), ("preprocessor.external_id", "x")],
            "option \"preprocessor.external_id\" has no meaning without a role\n\
             hint: Add preprocessor.role_arn = '…', the role whose trust policy asks for the external id.",
        ),
    ] {
        assert_eq!(create(options), Err(expected.to_owned()));
    }
}
