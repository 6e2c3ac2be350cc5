//! Where reading starts and resumes, what becomes of records, at what pace.

use std::collections::BTreeMap;
use std::io::Write as _;

use kinesql_engine::connector::Source as _;

use super::harness::{Job, START, bind, job, restart, service, try_bind};
use crate::kinesis::kpl::testing::{aggregate, hash_key};
use crate::kinesis::limits::READ_AHEAD_BYTES;

const TRIM_HORIZON: &[(&str, &str)] = &[("scan.start", "trim_horizon")];

#[tokio::test]
async fn latest_starts_with_the_records_that_come_after_the_start() {
    let (clock, service) = service(2);
    service.put("a", b"{\"old\":1}");
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    service.put("a", b"{\"new\":1}");
    service.put("b", b"{\"new\":2}");
    job.run(2_000).await.expect("reading");
    let mut read = job.take();
    read.sort();
    assert_eq!(read, ["{\"new\":1}", "{\"new\":2}"]);
}

#[tokio::test]
async fn trim_horizon_starts_with_the_oldest_record() {
    let (clock, service) = service(1);
    service.put("a", b"1");
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
}

#[tokio::test]
async fn at_timestamp_starts_with_the_first_record_of_that_time() {
    let (clock, service) = service(1);
    for (second, record) in [(0, "0"), (10, "10"), (20, "20")] {
        clock.set(START + second * 1_000);
        service.put("a", record.as_bytes());
    }
    let options = [("scan.start", "at_timestamp"), ("scan.timestamp", "2023-11-14T22:13:30Z")];
    let mut job = job(&service, &clock, &options).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["10", "20"]);
}

#[tokio::test]
async fn resumes_after_the_last_sequence_number() {
    let (clock, service) = service(1);
    for record in ["1", "2", "3"] {
        service.put("a", record.as_bytes());
    }
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["1", "2", "3"]);
    service.put("a", b"4");
    let mut job = restart(job, bind(&service, TRIM_HORIZON)).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["4"]);
}

#[tokio::test]
async fn what_came_between_the_start_and_the_first_record_is_not_lost_by_a_restart() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    let offsets = job.offsets.clone();
    service.put("a", b"1");
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    // The checkpoint is older than the record: it must come again.
    drop(job);
    let mut job = Job::start(bind(&service, &[]), &clock, 1, &offsets).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
}

#[tokio::test]
async fn a_part_of_an_aggregated_record_is_resumed_within_it() {
    let (clock, service) = service(1);
    let row = vec![b'x'; 700_000];
    service.put("a", &aggregate(&[("a", None, &row), ("a", None, &row), ("a", None, b"3"), ("a", None, b"4")]));
    service.put("a", b"5");
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.pieces.len(), 2, "more than a mebibyte is cut");
    let first = BTreeMap::from([("0/1".to_owned(), job.pieces[0].offset.clone())]);
    let read = job.take();
    assert_eq!(read.len(), 5);
    assert_eq!(first["0/1"].0["shards"]["shardId-000000000000"]["sub"], 1, "{first:?}");
    let mut job = Job::start(bind(&service, TRIM_HORIZON), &clock, 1, &first).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["3", "4", "5"]);
}

#[tokio::test]
async fn aggregated_plain_and_corrupt_records_may_be_mixed() {
    let (clock, service) = service(1);
    let aggregated = aggregate(&[("a", None, b"1"), ("b", None, b"2\n3")]);
    let mut corrupt = aggregated.clone();
    corrupt[8] ^= 0x40;
    service.put("a", &aggregated);
    let sequence = service.put("a", &corrupt);
    service.put("a", b"4");
    service.put("a", b"");
    service.put("a", b"5 6\n");
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    let rejected = format!("rejected: record {sequence} is an aggregated record of the KPL, but its checksum is wrong");
    assert_eq!(job.take(), ["1", "2\n3", "4", "", "5 6\n", &rejected]);
}

#[tokio::test]
async fn under_format_raw_a_corrupt_aggregated_record_is_a_record_like_any_other() {
    let (clock, service) = service(1);
    let mut corrupt = aggregate(&[("a", None, b"1")]);
    corrupt[8] ^= 0x40;
    service.put("a", &corrupt);
    service.put("a", &aggregate(&[("a", None, b"2")]));
    let mut job = job(&service, &clock, &[("scan.start", "trim_horizon"), ("format", "raw")]).await;
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), [String::from_utf8_lossy(&corrupt).as_ref(), "2"]);
}

#[tokio::test]
async fn records_of_other_shards_within_aggregated_ones_are_left_out() {
    let (clock, service) = service(2);
    let (low, high) = ("a", "b"); // MD5 0cc1… and 92eb…
    assert!(hash_key(low) >> 127 == 0 && hash_key(high) >> 127 == 1);
    let record = aggregate(&[(low, None, b"1"), (high, None, b"2"), (high, Some(5), b"3"), (low, Some(u128::MAX), b"4")]);
    service.put(low, &record);
    let mut checked = job(&service, &clock, TRIM_HORIZON).await;
    checked.run(1_000).await.expect("reading");
    assert_eq!(checked.take(), ["1", "3"], "the explicit hash key counts, else the partition key's");
    assert_eq!(checked.metric("shardId-000000000000", "filtered_records"), 2.0);
    let mut unchecked = job(&service, &clock, &[("scan.start", "trim_horizon"), ("hash_range_check", "false")]).await;
    unchecked.run(1_000).await.expect("reading");
    assert_eq!(unchecked.take(), ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn compressed_payloads_are_recognised() {
    let (clock, service) = service(1);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    };
    service.put("a", &gzip(b"{\"a\":1}\n{\"a\":2}\n"));
    service.put("a", &zstd::encode_all(&b"{\"a\":3}"[..], 1).expect("in memory"));
    service.put("a", &aggregate(&[("a", None, &gzip(b"{\"a\":4}"))]));
    let damaged = service.put("a", &gzip(b"{\"a\":5}")[..15]);
    let bomb = service.put("a", &gzip(&vec![b' '; 2 << 20]));
    let mut job = job(&service, &clock, &[("scan.start", "trim_horizon"), ("max_record_bytes", "1mb")]).await;
    job.run(1_000).await.expect("reading");
    let read = job.take();
    assert_eq!(read[..3], ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}", "{\"a\":4}"]);
    assert!(read[3].starts_with(&format!("rejected: record {damaged} is compressed with gzip, but damaged")), "{}", read[3]);
    assert_eq!(read[4], format!("rejected: record {bomb} is longer than 1048576 bytes"));
}

#[tokio::test]
async fn a_record_of_10_mib_is_read() {
    let (clock, service) = service(1);
    service.put("a", &vec![b'x'; (10 << 20) - 1]);
    service.put("a", b"next");
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(6_000).await.expect("reading");
    let read = job.take();
    assert_eq!((read[0].len(), read[1].as_str()), ((10 << 20) - 1, "next"));
}

#[tokio::test]
async fn each_record_comes_with_what_the_service_says_of_it() {
    let (clock, service) = service(1);
    let first = service.put("a", b"1");
    clock.set(START + 5);
    let second = service.put("b", &aggregate(&[("x", None, b"2"), ("y", None, b"3")]));
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    let piece = &job.pieces[0];
    assert_eq!(piece.arrival_time, Some(START + 5));
    assert_eq!(piece.part.as_deref(), Some("shardId-000000000000"));
    let envelopes = piece.envelopes.as_ref().expect("metadata");
    assert_eq!(envelopes.ends, [1, 2, 3]);
    let shard = "shardId-000000000000";
    assert_eq!(
        crate::conformance::rows(&envelopes.columns),
        [
            format!("2023-11-14T22:13:20|a|{first}|{shard}"),
            format!("2023-11-14T22:13:20.005|x|{second}|{shard}"),
            format!("2023-11-14T22:13:20.005|y|{second}|{shard}"),
        ]
    );
    assert_eq!(job.source.metadata(), envelopes.columns.schema());
}

#[tokio::test]
async fn a_shard_is_read_at_most_five_times_a_second() {
    let (clock, service) = service(1);
    service.enforce_read_limit();
    service.set_answer_bytes_max(1);
    for record in 0..50 {
        service.put("a", record.to_string().as_bytes());
    }
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(20_000).await.expect("reading");
    assert_eq!(job.take().len(), 50);
    assert_eq!(job.metric("shardId-000000000000", "throttles"), 0.0);
}

#[tokio::test]
async fn reading_stops_while_nobody_takes_the_records() {
    for mode in ["polling", "fan_out"] {
        let (clock, service) = service(4);
        let options = [("scan.start", "trim_horizon"), ("mode", mode)];
        let mut job = job(&service, &clock, &options).await;
        job.run(1_000).await.expect("reading");
        let record = vec![b'x'; 1 << 20];
        for key in 0..160 {
            service.put(&format!("key {key}"), &record);
        }
        let read = |job: &Job| {
            let metrics = job.source.metrics();
            metrics.iter().filter(|metric| metric.name == "bytes").map(|metric| metric.value).sum::<f64>() as usize
        };
        job.neglect(60_000).await;
        let (bytes, calls) = (read(&job), service.count("GetRecords"));
        assert!((1..=READ_AHEAD_BYTES).contains(&bytes), "{mode}: {bytes} bytes were read");
        // Longer than an iterator and a subscription live.
        job.neglect(600_000).await;
        assert_eq!((read(&job), service.count("GetRecords")), (bytes, calls), "{mode}");
        job.run(120_000).await.expect("reading");
        let taken: usize = job.take().iter().map(String::len).sum();
        assert_eq!((taken, read(&job)), (160 << 20, 160 << 20), "{mode}: all of them once");
    }
}

#[tokio::test]
async fn an_idle_shard_costs_one_call_in_two_seconds() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[]).await;
    job.run(5_000).await.expect("reading");
    let before = service.count("GetRecords");
    job.run(60_000).await.expect("reading");
    let calls = service.count("GetRecords") - before;
    assert!((30..=36).contains(&calls), "{calls} calls in a minute");
}

#[tokio::test]
async fn a_shard_far_ahead_waits_for_the_slowest_one() {
    let (clock, service) = service(2);
    let (low, high) = ("a", "b");
    for minute in 0..20i64 {
        clock.set(START + minute * 60_000);
        service.put(low, format!("low {minute}").as_bytes());
        service.put(high, format!("high {minute}").as_bytes());
    }
    // One record per read, and the first shard is refused for a while.
    service.set_answer_bytes_max(1);
    for _ in 0..6 {
        service.fail("GetRecords", crate::kinesis::fake::Fault::Throttled);
    }
    let options = [("scan.start", "trim_horizon"), ("max_skew", "3min")];
    let mut job = job(&service, &clock, &options).await;
    let (mut seen, mut most): (BTreeMap<String, i64>, i64) = (BTreeMap::new(), 0);
    for _ in 0..400 {
        job.run(50).await.expect("reading");
        for record in job.take() {
            let (shard, minute) = record.split_once(' ').expect("as put");
            seen.insert(shard.to_owned(), minute.parse().expect("a minute"));
        }
        if let (Some(low), Some(high)) = (seen.get("low"), seen.get("high"))
            && *low.min(high) < 19
        {
            most = most.max((low - high).abs());
        }
    }
    assert_eq!(seen, BTreeMap::from([("low".to_owned(), 19), ("high".to_owned(), 19)]));
    assert!(most <= 4, "{most} minutes apart");
}

#[tokio::test]
async fn metrics_show_each_shard() {
    let (clock, service) = service(1);
    service.put("a", b"12345");
    clock.set(START + 7_000);
    service.put("a", b"12345");
    service.set_answer_bytes_max(1);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.settle().await.expect("reading");
    let shard = "shardId-000000000000";
    assert_eq!(job.metric(shard, "records"), 1.0);
    assert_eq!(job.metric(shard, "bytes"), 5.0);
    assert_eq!(job.metric(shard, "behind_latest_ms"), 1.0);
    assert_eq!(job.metric(shard, "iterator_age_ms"), 7_000.0);
    job.run(1_000).await.expect("reading");
    assert_eq!(job.metric(shard, "records"), 2.0);
    assert_eq!(job.metric(shard, "behind_latest_ms"), 0.0);
    assert_eq!(job.metric(shard, "iterator_age_ms"), 0.0, "a reader that is caught up has no age");
}

#[tokio::test]
async fn a_sample_holds_recent_records_and_disturbs_nobody() {
    let (clock, service) = service(2);
    service.put("a", b"{\"old\":1}");
    clock.set(START + 7_200_000);
    service.put("a", b"{\"x\":1}");
    service.put("b", &aggregate(&[("b", None, b"{\"x\":2}"), ("a", None, b"{\"x\":3}")]));
    let source = bind(&service, &[]);
    service.put("a", b"{\n  \"x\": 4\n}\n");
    let context = kinesql_engine::connector::SourceContext::new(clock.clone(), kinesql_engine::format::FormatSpec::Json);
    let sample = source.sample(1 << 20, &context).await.expect("a sample").bytes;
    assert_eq!(String::from_utf8_lossy(&sample), "{\"x\":1}\n{   \"x\": 4 }\n{\"x\":2}\n{\"x\":3}\n");
    assert_eq!(service.count("RegisterStreamConsumer") + service.count("SubscribeToShard"), 0);
    let mut job = Job::start(source, &clock, 1, &BTreeMap::new()).await;
    job.settle().await.expect("reading");
    service.put("a", b"{\"x\":4}");
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take().len(), 1, "the job starts at the newest record all the same");
}

/// Whether records are JSON or CSV is found out from a sample: rows of a record that is no JSON stay rows.
#[tokio::test]
async fn a_sample_of_rows_keeps_their_line_breaks() {
    let (clock, service) = service(1);
    service.put("a", b"1|x\n2|y\n");
    service.put("a", b"3|z");
    let source = bind(&service, &[]);
    let context = kinesql_engine::connector::SourceContext::new(clock.clone(), kinesql_engine::format::FormatSpec::Json);
    let sample = source.sample(1 << 20, &context).await.expect("a sample").bytes;
    assert_eq!(String::from_utf8_lossy(&sample), "1|x\n2|y\n3|z\n");
}

#[tokio::test]
async fn there_are_no_more_lanes_than_open_shards() {
    let (_, service) = service(3);
    assert_eq!(bind(&service, &[]).splits(8).await.expect("lanes"), ["0/3", "1/3", "2/3"]);
    assert_eq!(bind(&service, &[]).splits(2).await.expect("lanes"), ["0/2", "1/2"]);
    assert_eq!(bind(&service, &[("worker", "1/3")]).splits(8).await.expect("lanes"), ["0/1"]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (options, expected) in [
        (vec![("scan.start", "at_timestamp")], "scan.start = 'at_timestamp' of connector 'kinesis' needs a time"),
        (
            vec![("scan.timestamp", "2024-01-01T00:00:00Z")],
            "option \"scan.timestamp\" of connector 'kinesis' has no meaning here",
        ),
        (
            vec![("scan.start", "at_timestamp"), ("scan.timestamp", "yesterday")],
            "option \"scan.timestamp\" of connector 'kinesis' cannot be 'yesterday'",
        ),
        (vec![("poll_interval", "100ms")], "option \"poll_interval\" of connector 'kinesis' cannot be less than 200ms"),
        (vec![("consumer", "x")], "option \"consumer\" of connector 'kinesis' has no meaning without fan-out"),
        (vec![("worker", "3/2")], "option \"worker\" of connector 'kinesis' cannot be '3/2'"),
        (vec![("external_id", "x")], "option \"external_id\" has no meaning without a role"),
    ] {
        assert_eq!(try_bind(&options).expect_err(expected).message(), expected);
    }
}

#[tokio::test]
async fn workers_share_a_stream_without_overlap() {
    let (clock, service) = service(5);
    let mut jobs = Vec::new();
    for worker in ["1/2", "2/2"] {
        // A child may belong to another worker than its parent; that one finds it when it lists the shards again.
        let source = bind(&service, &[("worker", worker), ("discovery_interval", "1s")]);
        let mut job = Job::start(source, &clock, 2, &BTreeMap::new()).await;
        job.settle().await.expect("reading");
        jobs.push(job);
    }
    for record in 0..100 {
        service.put(&format!("key {record}"), record.to_string().as_bytes());
    }
    service.split("shardId-000000000002");
    for record in 100..200 {
        service.put(&format!("key {record}"), record.to_string().as_bytes());
    }
    let mut all = Vec::new();
    for _ in 0..100 {
        for job in &mut jobs {
            job.settle().await.expect("reading");
            all.extend(job.take());
        }
        clock.set(kinesql_engine::runtime::clock::Clock::now(clock.as_ref()) + 50);
    }
    all.sort_by_key(|record| record.parse::<usize>().expect("a number"));
    assert_eq!(all, (0..200).map(|record: usize| record.to_string()).collect::<Vec<_>>());
}
