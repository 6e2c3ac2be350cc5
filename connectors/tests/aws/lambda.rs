//! Functions in Python, run by ministack: as the destination of rows, and as the pre-processor of a source.

use std::io::Write as _;
use std::path::Path;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::{FunctionCode, Runtime};
use aws_smithy_types::Blob;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::job::{rows, run, script};
use super::servers;
use super::streams::config;

/// Creates a function from the text of its module.
pub async fn function(endpoint: &str, name: &str, code: &str) {
    let code = FunctionCode::builder().zip_file(Blob::new(zip("main.py", code.as_bytes()))).build();
    let create = Client::new(&config(endpoint)).create_function().function_name(name).runtime(Runtime::Python311);
    let create = create.role("arn:aws:iam::000000000000:role/lambda").handler("main.handler").timeout(20).code(code);
    create.send().await.expect("created");
}

/// A ZIP archive of one file that is not compressed (APPNOTE.TXT of PKWARE, 4.3).
fn zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let (name_length, length) = (name.len() as u16, bytes.len() as u32);
    // Version, flags, method, time, date.
    let mut common: Vec<u8> = [20u16, 0, 0, 0, 0x21].into_iter().flat_map(u16::to_le_bytes).collect();
    common.extend([crc.sum(), length, length].into_iter().flat_map(u32::to_le_bytes));
    common.extend([name_length, 0].into_iter().flat_map(u16::to_le_bytes));
    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend_from_slice(&common);
    zip.extend_from_slice(name.as_bytes());
    zip.extend_from_slice(bytes);
    let directory = zip.len() as u32;
    zip.extend_from_slice(b"PK\x01\x02\x14\x00");
    zip.extend_from_slice(&common);
    // Comment, disk, attributes, offset: all 0.
    zip.extend_from_slice(&[0; 14]);
    zip.extend_from_slice(name.as_bytes());
    let directory_length = zip.len() as u32 - directory;
    zip.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    zip.extend_from_slice(&directory_length.to_le_bytes());
    zip.extend_from_slice(&directory.to_le_bytes());
    zip.extend_from_slice(&[0, 0]);
    zip
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_gets_every_row_and_those_that_it_refused_again() {
    let Some(server) = servers::ministack() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let taken = folder.path().join("taken");
    // Every third row fails at first.
    let code = r##"
import base64, json

def handler(event, context):
    answers = []
    with open(TAKEN, "a") as taken:
        for record in event["records"]:
            row = json.loads(base64.b64decode(record["data"]))
            hint = record["lambdaDeliveryRecordMetadata"]["retryHint"]
            ok = row["ID"] % 3 != 0 or hint > 0
            if ok:
                taken.write(json.dumps([row["ID"], hint]) + "\n")
            answers.append({"recordId": record["recordId"], "result": "Ok" if ok else "DeliveryFailed"})
    return {"records": answers}
"##;
    function(&server.endpoint, "sink", &format!("TAKEN = {:?}\n{code}", taken.display().to_string())).await;
    let file = rows(900, 10);
    let sink = format!(
        "connector = 'lambda', function = 'sink', region = 'us-east-1', endpoint = '{}', linger = '50ms'",
        server.endpoint
    );
    run(&script(&file, &sink)).await.expect("the job ends");
    let taken = std::fs::read_to_string(&taken).expect("written");
    let mut taken: Vec<(i64, i64)> = taken.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..900).map(|id| (id, i64::from(id % 3 == 0))).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_reads_what_its_function_makes_of_the_records() {
    let Some(server) = servers::ministack() else { return };
    let code = r##"
import base64, json

def handler(event, context):
    answers = []
    for record in event["records"]:
        text = base64.b64decode(record["data"]).decode()
        answer = {"recordId": record["recordId"], "result": "Ok"}
        if text.startswith("#"):
            answer["result"] = "Dropped"
        elif "=" not in text:
            answer["result"] = "ProcessingFailed"
        else:
            name, number = text.split("=")
            rows = [{"ID": int(number) + i, "NAME": name} for i in range(2)]
            answer["data"] = base64.b64encode("".join(map(json.dumps, rows)).encode()).decode()
        answers.append(answer)
    return {"records": answers}
"##;
    function(&server.endpoint, "pre", code).await;
    let mut input = tempfile::Builder::new().suffix(".log").tempfile().expect("a file");
    for number in 0..300 {
        writeln!(input, "# a comment\nn={number}0\nnonsense {number}").expect("written");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (out, errors) = (folder.path().join("out.csv"), folder.path().join("errors.jsonl"));
    let show = |path: &Path| path.display().to_string();
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"ID\" INTEGER, \"NAME\" VARCHAR(16)) WITH (connector = 'file', path = '{}', preprocessor = 'pre',
             preprocessor.region = 'us-east-1', preprocessor.endpoint = '{}', preprocessor.batch_records = 40);
         CREATE STREAM \"OUT\" (\"ID\" INTEGER, \"NAME\" VARCHAR(16));
         CREATE PUMP \"P\" AS INSERT INTO \"OUT\" SELECT STREAM \"ID\", \"NAME\" FROM \"IN\";
         CREATE SINK \"S\" FROM \"OUT\" WITH (connector = 'file', path = '{}');
         CREATE SINK \"E\" FROM error_stream WITH (connector = 'file', path = '{}');",
        show(input.path()),
        server.endpoint,
        show(&out),
        show(&errors)
    );
    run(&sql).await.expect("the job ends");
    let expected: String = (0..300).map(|number| format!("{},n\n{},n\n", number * 10, number * 10 + 1)).collect();
    assert_eq!(std::fs::read_to_string(&out).expect("written"), expected, "in the order of the source");
    let errors = std::fs::read_to_string(&errors).expect("written");
    assert_eq!(errors.lines().count(), 300);
    assert!(errors.lines().all(|line| line.contains("\"ERROR_NAME\":\"PROCESSING_FAILED\"")), "{errors:.300}");
}

/// Functions for compressed records, which Kinesis Data Analytics users have, get them as they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_of_a_data_stream_gets_records_as_they_came_and_what_the_service_knows_of_them() {
    let (Some(server), Some(kinesis)) = (servers::ministack(), servers::kinesis()) else { return };
    let code = r#"
import base64, gzip, json

def handler(event, context):
    answers = []
    for record in event["records"]:
        known = record["kinesisStreamRecordMetadata"]
        text = gzip.decompress(base64.b64decode(record["data"])).decode()
        row = {"TEXT": text, "KEY": known["partitionKey"], "SHARD": known["shardId"]}
        data = base64.b64encode(json.dumps(row).encode()).decode()
        answers.append({"recordId": record["recordId"], "result": "Ok", "data": data})
    return {"records": answers}
"#;
    function(&server.endpoint, "unzip", code).await;
    let client = aws_sdk_kinesis::Client::new(&config(&kinesis.endpoint));
    super::streams::create(&client, "preprocessed", 1).await;
    for number in 0..20 {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        write!(gzip, "line {number}\nnot JSON").expect("in memory");
        let put = client.put_record().stream_name("preprocessed").partition_key(format!("key {number}"));
        put.data(Blob::new(gzip.finish().expect("in memory"))).send().await.expect("put");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.csv");
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"TEXT\" VARCHAR(64), \"KEY\" VARCHAR(64), \"SHARD\" VARCHAR(64))
             WITH (connector = 'kinesis', stream = 'preprocessed', region = 'us-east-1', endpoint = '{}',
                   scan.start = 'trim_horizon', preprocessor = 'unzip', preprocessor.endpoint = '{}');
         CREATE SINK \"S\" FROM \"IN\" WITH (connector = 'file', path = '{}');",
        kinesis.endpoint,
        server.endpoint,
        out.display()
    );
    let job = super::job::start(&sql).await.expect("started");
    let read = || std::fs::read_to_string(&out).unwrap_or_default();
    while read().matches("not JSON").count() < 20 {
        job.sync().await.expect("running");
        tokio::task::yield_now().await;
    }
    job.stop();
    job.wait().await.expect("stopped");
    let expected: String =
        (0..20).map(|number| format!("\"line {number}\nnot JSON\",key {number},shardId-000000000000\n")).collect();
    assert_eq!(read(), expected);
}

/// CloudWatch Logs delivers so: a record is compressed and holds the events of many rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_of_a_delivery_stream_makes_rows_of_compressed_records() {
    let Some(server) = servers::ministack() else { return };
    let code = r#"
import base64, gzip, json

def handler(event, context):
    answers = []
    for record in event["records"]:
        answer = {"recordId": record["recordId"], "result": "Ok"}
        data = base64.b64decode(record["data"])
        known = record["kinesisFirehoseRecordMetadata"]["approximateArrivalTimestamp"]
        if data[:2] != b"\x1f\x8b":
            answer["result"] = "ProcessingFailed"
        else:
            logs = json.loads(gzip.decompress(data))
            if logs["messageType"] == "CONTROL_MESSAGE":
                answer["result"] = "Dropped"
            rows = [{"GROUP": logs["logGroup"], "TEXT": one["message"], "KNOWN": known > 0,
                     "FROM": event["streamArn"]} for one in logs["logEvents"]]
            answer["data"] = base64.b64encode("".join(map(json.dumps, rows)).encode()).decode()
        answers.append(answer)
    return {"records": answers}
"#;
    function(&server.endpoint, "logs", code).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (out, errors) = (folder.path().join("out.csv"), folder.path().join("errors.jsonl"));
    let port = servers::free_port();
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"GROUP\" VARCHAR(16), \"TEXT\" VARCHAR(64), \"KNOWN\" BOOLEAN, \"FROM\" VARCHAR(64))
             WITH (connector = 'firehose', listen = '127.0.0.1:{port}', path = '/logs', preprocessor = 'logs',
                   preprocessor.region = 'us-east-1', preprocessor.endpoint = '{}', preprocessor.stream_arn = 'arn:stream');
         CREATE SINK \"S\" FROM \"IN\" WITH (connector = 'file', path = '{}');
         CREATE SINK \"E\" FROM error_stream WITH (connector = 'file', path = '{}');",
        server.endpoint,
        out.display(),
        errors.display()
    );
    let job = super::job::start(&sql).await.expect("listening");
    let record = |kind: &str, number: usize| {
        let events = [0, 1].map(|event| serde_json::json!({ "message": format!("event {number}.{event}") }));
        let logs = serde_json::json!({ "messageType": kind, "logGroup": "g", "logEvents": events });
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        write!(gzip, "{logs}").expect("in memory");
        gzip.finish().expect("in memory")
    };
    let records = (0..20).flat_map(|number| {
        [record("DATA_MESSAGE", number), record("CONTROL_MESSAGE", number), format!("not compressed {number}").into_bytes()]
    });
    // moto's Firehose takes text only.
    let records: Vec<_> = records.map(|record| serde_json::json!({ "data": STANDARD.encode(record) })).collect();
    let body = serde_json::json!({ "requestId": "one", "timestamp": 1_700_000_000_000_i64, "records": records });
    let delivery = reqwest::Client::new().post(format!("http://127.0.0.1:{port}/logs")).body(body.to_string()).send();
    assert_eq!(delivery.await.expect("answered").status(), 200);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    while read(&out).lines().count() < 40 || read(&errors).lines().count() < 20 {
        job.sync().await.expect("running");
        tokio::task::yield_now().await;
    }
    job.stop();
    job.wait().await.expect("stopped");
    let expected: String =
        (0..20).flat_map(|number| [0, 1].map(|event| format!("g,event {number}.{event},true,arn:stream\n"))).collect();
    assert_eq!(read(&out), expected, "in the order of the delivery");
    assert!(read(&errors).lines().all(|line| line.contains("\"ERROR_NAME\":\"PROCESSING_FAILED\"")), "{:.300}", read(&errors));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_of_objects_gets_documents_and_lines() {
    let Some(server) = servers::ministack() else { return };
    let code = r#"
import base64, json

def handler(event, context):
    answers = []
    for record in event["records"]:
        text = base64.b64decode(record["data"]).decode()
        row = {"TEXT": text.strip(), "KNOWN": record["kinesisFirehoseRecordMetadata"]["approximateArrivalTimestamp"] > 0,
               "FROM": event["streamArn"].rpartition("/")[2]}
        answers.append({"recordId": record["recordId"], "result": "Ok", "data": base64.b64encode(json.dumps(row).encode()).decode()})
    return {"records": answers}
"#;
    function(&server.endpoint, "objects", code).await;
    let bucket = super::s3::Bucket::new(server, "preprocessed").await;
    // As a delivery stream writes what producers sent: with or without line breaks, perhaps no JSON at all, perhaps compressed.
    let documents: String = (0..300).map(|n| format!("{{\"n\":{n}}}")).collect();
    let lines: String = (0..300).map(|n| format!("GET /{n} {{x}}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    write!(gzip, "{lines}").expect("in memory");
    bucket.put("in/a", documents).await;
    bucket.put("in/b.gz", gzip.finish().expect("in memory")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.csv");
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"TEXT\" VARCHAR(64), \"KNOWN\" BOOLEAN, \"FROM\" VARCHAR(8)) WITH ({},
             preprocessor = 'objects', preprocessor.endpoint = '{}');
         CREATE SINK \"S\" FROM \"IN\" WITH (connector = 'file', path = '{}');",
        bucket.options("in/"),
        server.endpoint,
        out.display()
    );
    run(&sql).await.expect("the job ends");
    let expected: String = (0..300)
        .map(|n| format!("\"{{\"\"n\"\":{n}}}\",true,a\n"))
        .chain((0..300).map(|n| format!("GET /{n} {{x}},true,b.gz\n")))
        .collect();
    assert_eq!(std::fs::read_to_string(&out).expect("written"), expected);
}
