//! What a stream no longer keeps although it was not read.

use std::time::Duration;

use super::harness::{START, bind, job, restart, restart_after, service};
use crate::kinesis::fake::Fault;

const HOUR: i64 = 3_600_000;

const SUMMARY: &str = "DescribeStreamSummary";

#[tokio::test]
async fn records_that_expired_while_the_job_was_down_are_told() {
    for mode in ["polling", "fan_out"] {
        let options = [("scan.start", "trim_horizon"), ("mode", mode)];
        let (clock, service) = service(2);
        let first = service.put("a", b"1");
        let mut job = job(&service, &clock, &options).await;
        job.run(1_000).await.expect("reading");
        assert_eq!(job.take(), ["1"], "{mode}");
        let mut job = restart_after(job, bind(&service, &options), || {
            clock.set(START + HOUR);
            service.put("a", b"lost");
            clock.set(START + 30 * HOUR);
            service.put("a", b"2");
            service.expire();
        })
        .await;
        job.run(10_000).await.expect("reading");
        let told = format!(
            "rejected: records that came behind record {first} from 2023-11-14 22:13:20 UTC to 2023-11-15 04:13:20 UTC were not read, \
             if there were any: the stream keeps records for 24 hours"
        );
        assert_eq!(job.take(), [told.as_str(), "2"], "{mode}");
        let piece = job.pieces.iter().find(|piece| !piece.rejected.is_empty()).expect("told");
        assert_eq!(&*piece.origin, "stream \"fake\", shardId-000000000000");
        let mut job = restart(job, bind(&service, &options)).await;
        job.run(10_000).await.expect("reading");
        assert_eq!(job.take(), Vec::<String>::new(), "{mode}: told once");
    }
}

#[tokio::test]
async fn a_job_that_was_down_before_its_first_record_tells_what_expired() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    let mut job = restart_after(job, bind(&service, &[]), || {
        service.put("a", b"lost");
        clock.set(START + 30 * HOUR);
        service.put("a", b"1");
        service.expire();
    })
    .await;
    job.run(10_000).await.expect("reading");
    let read = job.take();
    assert!(read[0].starts_with("rejected: records that came from 2023-11-14 22:13:20 UTC to "), "{read:?}");
    assert_eq!(read[1..], ["1"]);
}

#[tokio::test]
async fn a_shard_without_records_is_no_reason_to_tell() {
    for mode in ["polling", "fan_out"] {
        let options = [("scan.start", "trim_horizon"), ("mode", mode)];
        let (clock, service) = service(1);
        service.put("a", b"1");
        let mut job = job(&service, &clock, &options).await;
        job.run(30 * HOUR).await.expect("reading");
        assert_eq!(job.take(), ["1"]);
        service.expire();
        let mut job = restart(job, bind(&service, &options)).await;
        job.run(60_000).await.expect("reading");
        clock.set(START + 53 * HOUR);
        let mut job = restart(job, bind(&service, &options)).await;
        job.run(60_000).await.expect("reading");
        assert_eq!(job.take(), Vec::<String>::new(), "{mode}: it was down for 23 hours");
        // The stream's ARN, which fan-out needs, is asked for with the same call.
        assert_eq!(service.count(SUMMARY), if mode == "fan_out" { service.count("DescribeStreamConsumer") } else { 0 });
        clock.set(START + 78 * HOUR);
        let mut job = restart(job, bind(&service, &options)).await;
        job.run(60_000).await.expect("reading");
        assert_eq!(job.take().len(), 1, "{mode}: it was down for 25 hours");
    }
}

#[tokio::test]
async fn a_stream_that_keeps_its_records_for_longer_loses_none() {
    let (clock, service) = service(1);
    service.set_retention(Duration::from_secs(7 * 24 * 3_600));
    let options = [("scan.start", "trim_horizon")];
    service.put("a", b"1");
    let mut job = job(&service, &clock, &options).await;
    job.run(1_000).await.expect("reading");
    service.put("a", b"2");
    clock.set(START + 100 * HOUR);
    service.expire();
    // It is asked again if it cannot answer for now.
    service.fail(SUMMARY, Fault::Transient);
    service.fail(SUMMARY, Fault::Throttled);
    let mut job = restart(job, bind(&service, &options)).await;
    job.run(10_000).await.expect("reading");
    assert_eq!((job.take(), service.count(SUMMARY)), (vec!["2".to_owned()], 3));
}

#[tokio::test]
async fn that_the_retention_may_not_be_asked_for_is_said() {
    let (clock, service) = service(1);
    let options = [("scan.start", "trim_horizon")];
    service.put("a", b"1");
    let mut job = job(&service, &clock, &options).await;
    job.run(1_000).await.expect("reading");
    clock.set(START + 30 * HOUR);
    service.fail(SUMMARY, Fault::Denied);
    let mut job = restart(job, bind(&service, &options)).await;
    job.run(10_000).await.expect("reading");
    let read = job.take();
    assert_eq!(read.len(), 1, "{read:?}");
    let why = "if there were any: it is not known for how long the stream keeps records: kinesis:DescribeStreamSummary: denied";
    assert!(read[0].ends_with(why), "{}", read[0]);
}
