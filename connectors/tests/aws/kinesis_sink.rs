//! The `kinesis` sink against kinesis-local.

use std::collections::BTreeMap;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use kinesql_connectors::kinesis::aggregate::{AggregatedRecord, DIGEST_BYTES, MAGIC, digest};
use prost::Message;

use super::job::{rows, run, script};
use super::servers;
use super::streams::{client, create};

/// Everything in a stream, by shard.
pub async fn read(client: &Client, name: &str) -> BTreeMap<String, Vec<Record>> {
    let mut all = BTreeMap::new();
    let shards = client.list_shards().stream_name(name).send().await.expect("shards");
    for shard in shards.shards() {
        let iterator = client.get_shard_iterator().stream_name(name).shard_id(shard.shard_id());
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.expect("an iterator");
        let (mut next, mut records) = (iterator.shard_iterator, Vec::new());
        while let Some(iterator) = next {
            let answer = client.get_records().shard_iterator(iterator).send().await.expect("records");
            if answer.records().is_empty() {
                break;
            }
            next = answer.next_shard_iterator;
            records.extend(answer.records);
        }
        all.insert(shard.shard_id().to_owned(), records);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_arrive_once_and_in_the_order_of_their_key() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "sink-ordered", 4).await;
    let file = rows(2_000, 50);
    let sink = format!(
        "connector = 'kinesis', stream = 'sink-ordered', region = 'us-east-1', endpoint = '{}', partition_key = 'NAME', ordered = true",
        server.endpoint
    );
    run(&script(&file, &sink)).await.expect("the job ends");
    let (mut by_key, mut shards) = (BTreeMap::<String, Vec<i64>>::new(), 0);
    for records in read(&client, "sink-ordered").await.into_values() {
        shards += usize::from(!records.is_empty());
        for record in records {
            let row: serde_json::Value = serde_json::from_slice(record.data().as_ref()).expect("JSON");
            assert_eq!(row["NAME"], record.partition_key().expect("a key"));
            by_key
                .entry(record.partition_key().expect("a key").to_owned())
                .or_default()
                .push(row["ID"].as_i64().expect("a number"));
        }
    }
    assert_eq!((by_key.len(), shards), (50, 4));
    for (key, ids) in by_key {
        let first: i64 = key[1..].parse().expect("a number");
        assert_eq!(ids, (0..40).map(|round| first + 50 * round).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregated_records_can_be_taken_apart() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "sink-aggregated", 2).await;
    let file = rows(5_000, 7);
    let sink = format!(
        "connector = 'kinesis', stream = 'sink-aggregated', region = 'us-east-1', endpoint = '{}', partition_key = 'NAME',
         aggregate = true, linger = '20ms'",
        server.endpoint
    );
    run(&script(&file, &sink)).await.expect("the job ends");
    let records: Vec<_> = read(&client, "sink-aggregated").await.into_values().flatten().collect();
    assert!(records.len() < 500, "{} records for 5,000 rows", records.len());
    let mut ids = Vec::new();
    for record in &records {
        let data = record.data().as_ref();
        let rows = match data.strip_prefix(&MAGIC) {
            None => vec![data.to_vec()],
            Some(rest) => {
                let (message, md5) = rest.split_at(rest.len() - DIGEST_BYTES);
                assert_eq!(digest(message), md5);
                let message = AggregatedRecord::decode(message).expect("an aggregated record");
                assert_eq!(message.partition_key_table.first().map(String::as_str), record.partition_key());
                message.records.into_iter().map(|row| row.data.to_vec()).collect()
            }
        };
        for row in rows {
            let row: serde_json::Value = serde_json::from_slice(&row).expect("JSON");
            assert_eq!(row["NAME"], record.partition_key().expect("a key"));
            ids.push(row["ID"].as_i64().expect("a number"));
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..5_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_missing_stream_is_named_before_the_job_starts() {
    let Some(server) = servers::kinesis() else { return };
    let file = rows(1, 1);
    let sink = format!("connector = 'kinesis', stream = 'nowhere', region = 'us-east-1', endpoint = '{}'", server.endpoint);
    let error = run(&script(&file, &sink)).await.expect_err("missing");
    assert!(
        error.message().starts_with("kinesis:DescribeStreamSummary of stream \"nowhere\": ResourceNotFoundException"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_too_large_becomes_a_row_of_error_stream() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "sink-large", 1).await;
    let file = rows(120, 120);
    let folder = tempfile::tempdir().expect("a folder");
    let errors = folder.path().join("errors.jsonl");
    // The record and its key, a hash of 16 characters, have 36 bytes for ids below 10, 38 for those below 100, and 40.
    let sink = format!(
        "connector = 'kinesis', stream = 'sink-large', region = 'us-east-1', endpoint = '{}', max_record_bytes = '39'",
        server.endpoint
    );
    let sql = format!(
        "{} CREATE SINK \"E\" FROM error_stream WITH (connector = 'file', path = '{}');",
        script(&file, &sink),
        errors.display()
    );
    run(&sql).await.expect("the job ends");
    assert_eq!(read(&client, "sink-large").await.into_values().flatten().count(), 100);
    let errors = std::fs::read_to_string(&errors).expect("written");
    assert_eq!(errors.lines().count(), 20);
    let expected =
        "\"ERROR_NAME\":\"RECORD_TOO_LARGE\",\"MESSAGE\":\"the record has 40 bytes with its key; the destination takes 39\"";
    assert!(errors.lines().all(|line| line.contains(expected)), "{errors:.400}");
}

/// The largest records that the service takes go through both connectors; one byte more is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_10_mib_are_written_and_read() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "sink-10-mib", 1).await;
    let summary = client.describe_stream_summary().stream_name("sink-10-mib").send().await.expect("described");
    let arn = summary.stream_description_summary().expect("there").stream_arn();
    let larger = client.update_max_record_size().stream_arn(arn).max_record_size_in_kib(10 << 10);
    larger.send().await.expect("the stream takes them");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    // The partition key counts.
    let lengths = [3, (10 << 20) - 1, 10 << 20, 5];
    let lines: String = lengths.iter().map(|length| "x".repeat(*length) + "\n").collect();
    std::fs::write(path("in.txt"), lines).expect("written");
    let kinesis =
        format!("connector = 'kinesis', stream = 'sink-10-mib', region = 'us-east-1', endpoint = '{}'", server.endpoint);
    // To sign so much takes its time in a build without optimisation.
    let sink = "format = 'raw', partition_key.fixed = 'k', max_record_bytes = '10mb', request_timeout = '10min'";
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"R\" VARBINARY) WITH (connector = 'file', path = '{}', format = 'raw', max_record_bytes = '11mb');
         CREATE SINK \"S\" FROM \"IN\" WITH ({kinesis}, {sink});
         CREATE SINK \"E\" FROM error_stream WITH (connector = 'file', path = '{}');",
        path("in.txt"),
        path("errors.jsonl")
    );
    eprintln!("DEBUG start");
    run(&sql).await.expect("the job ends");
    eprintln!("DEBUG written");
    let errors = std::fs::read_to_string(path("errors.jsonl")).expect("written");
    assert_eq!(errors.lines().count(), 1);
    let expected = "the record has 10485761 bytes with its key; the destination takes 10485760";
    assert!(errors.contains("RECORD_TOO_LARGE") && errors.contains(expected), "{errors:.400}");

    let sql = format!(
        "CREATE SOURCE \"IN\" (\"R\" VARBINARY) WITH ({kinesis}, format = 'raw', scan.start = 'trim_horizon');
         CREATE SINK \"S\" FROM \"IN\" WITH (connector = 'file', path = '{}', format = 'raw');",
        path("out.txt")
    );
    let job = super::job::start(&sql).await.expect("started");
    while job.metrics().sources[0].rows.get() < 3 {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        eprintln!("DEBUG {:?}", job.metrics().sources[0].of_connector().iter().map(|m| (m.name, m.value)).collect::<Vec<_>>());
    }
    job.stop();
    job.wait().await.expect("stopped");
    let out = std::fs::read(path("out.txt")).expect("written");
    let mut read: Vec<_> = out.split(|byte| *byte == b'\n').map(<[u8]>::len).filter(|length| *length > 0).collect();
    read.sort_unstable();
    assert_eq!(read, [3, 5, (10 << 20) - 1]);
}

/// What the stream takes is not what the options say: the record is given up, not sent for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_only_the_service_finds_too_large_costs_no_other() {
    let Some(server) = servers::kinesis() else { return };
    let client = client(&server.endpoint);
    create(&client, "sink-refused", 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lines: String = [3, (1 << 20) + 1, 5].iter().map(|length| "x".repeat(*length) + "\n").collect();
    std::fs::write(path("in.txt"), lines).expect("written");
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"R\" VARBINARY) WITH (connector = 'file', path = '{}', format = 'raw', max_record_bytes = '2mb');
         CREATE SINK \"S\" FROM \"IN\" WITH (connector = 'kinesis', stream = 'sink-refused', region = 'us-east-1',
             endpoint = '{}', format = 'raw', partition_key.fixed = 'k', max_record_bytes = '10mb', request_timeout = '10min');
         CREATE SINK \"E\" FROM error_stream WITH (connector = 'file', path = '{}');",
        path("in.txt"),
        server.endpoint,
        path("errors.jsonl")
    );
    run(&sql).await.expect("the job ends");
    let records: Vec<_> = read(&client, "sink-refused").await.into_values().flatten().collect();
    let mut lengths: Vec<_> = records.iter().map(|record| record.data().as_ref().len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [3, 5]);
    let errors = std::fs::read_to_string(path("errors.jsonl")).expect("written");
    assert_eq!(errors.lines().count(), 1);
    let expected = "kinesis:PutRecords of stream \\\"sink-refused\\\": InvalidArgumentException: ";
    assert!(errors.contains("\"RECORD_REFUSED\"") && errors.contains(expected), "{errors:.400}");
}

/// A stream is looked for in the region of the options only.
#[tokio::test]
async fn a_stream_of_another_region_is_not_there() {
    let Some(server) = servers::kinesis() else { return };
    create(&client(&server.endpoint), "sink-elsewhere", 1).await;
    let file = rows(1, 1);
    let sink =
        format!("connector = 'kinesis', stream = 'sink-elsewhere', region = 'eu-west-1', endpoint = '{}'", server.endpoint);
    let error = run(&script(&file, &sink)).await.expect_err("elsewhere");
    let expected = "kinesis:DescribeStreamSummary of stream \"sink-elsewhere\": ResourceNotFoundException";
    assert!(error.message().starts_with(expected) && !error.message().contains('\n'), "{error}");
    assert_eq!(error.hint(), Some("Check its name and the region: it does not exist there."));
}
