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
