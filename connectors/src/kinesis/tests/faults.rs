//! Calls that are refused, fail or get garbage.

use std::sync::Arc;

use kinesql_engine::ErrorKind;
use kinesql_engine::connector::{Source as _, SourceContext};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::runtime::clock::Clock;

use super::harness::{START, bind, job, service};
use crate::kinesis::fake::Fault;

const TRIM_HORIZON: &[(&str, &str)] = &[("scan.start", "trim_horizon")];

#[tokio::test]
async fn throttling_is_waited_out_with_the_same_iterator() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    for _ in 0..4 {
        service.fail("GetRecords", Fault::Throttled);
    }
    service.put("a", b"1");
    let before = service.calls().len();
    job.run(500).await.expect("reading");
    assert!(job.metric("shardId-000000000000", "retrying_ms") > 0.0, "and shown");
    let trouble = job.source.trouble().expect("it is in trouble");
    assert_eq!(trouble.reason, "kinesis:GetRecords: throttled");
    assert!((START + 1_000..START + 1_500).contains(&trouble.since), "{trouble:?}");
    job.run(9_500).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    assert_eq!(job.metric("shardId-000000000000", "throttles"), 4.0);
    assert_eq!(job.metric("shardId-000000000000", "retrying_ms"), 0.0);
    assert_eq!(job.source.trouble(), None);
    let calls = &service.calls()[before..];
    assert!(calls.iter().all(|call| call.name == "GetRecords"), "no new iterator: {calls:?}");
    let refused: Vec<_> = calls[..5].iter().map(|call| &call.detail).collect();
    assert!(refused.iter().all(|iterator| *iterator == refused[0]), "{refused:?}");
    let waits: Vec<_> = calls[..5].windows(2).map(|pair| pair[1].time - pair[0].time).collect();
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "waits grow: {waits:?}");
}

#[tokio::test]
async fn an_expired_iterator_is_replaced_by_one_behind_the_last_record() {
    let (clock, service) = service(1);
    service.put("a", b"1");
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    service.fail("GetRecords", Fault::Expired);
    service.put("a", b"2");
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["1", "2"]);
    let iterators: Vec<_> = service.calls().into_iter().filter(|call| call.name == "GetShardIterator").collect();
    assert_eq!(iterators.len(), 2);
    assert!(iterators[1].detail.starts_with("After"), "{}", iterators[1].detail);
    assert_eq!(job.metric("shardId-000000000000", "throttles"), 0.0);
}

#[tokio::test]
async fn an_iterator_of_latest_that_expires_before_the_first_record_loses_nothing() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    service.put("a", b"1");
    service.fail("GetRecords", Fault::Expired);
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
}

#[tokio::test]
async fn failures_of_the_service_never_fail_a_running_job() {
    let (clock, service) = service(2);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    for call in ["GetRecords", "ListShards"] {
        for _ in 0..20 {
            service.fail(call, Fault::Transient);
        }
    }
    service.put("a", b"1");
    job.run(300_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_at_the_start_fails_the_job_after_some_attempts() {
    let (clock, service) = service(1);
    for _ in 0..100 {
        service.fail("ListShards", Fault::Transient);
    }
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    let error = job.run(60_000).await.expect_err("unreachable");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(service.count("ListShards"), 6);
}

#[tokio::test]
async fn a_denied_call_fails_the_job_at_once_with_its_name() {
    for call in ["ListShards", "GetShardIterator", "GetRecords"] {
        let (clock, service) = service(1);
        service.fail(call, Fault::Denied);
        let mut job = job(&service, &clock, TRIM_HORIZON).await;
        let error = job.run(5_000).await.expect_err("denied");
        assert_eq!(error.to_string(), format!("kinesis:{call}: denied"));
        assert_eq!(service.count(call), 1);
    }
}

#[tokio::test]
async fn a_stream_that_is_deleted_while_it_is_read_ends_the_job() {
    let (clock, service) = service(2);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    service.delete();
    let error = job.run(5_000).await.expect_err("deleted");
    assert_eq!(error.message(), "stream \"fake\" was deleted while it was read");
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_stream_that_does_not_exist_is_named() {
    let (clock, service) = service(1);
    service.delete();
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    let error = job.run(1_000).await.expect_err("missing");
    assert_eq!(error.to_string(), "kinesis:ListShards: ResourceNotFoundException");
}

#[tokio::test]
async fn a_clock_that_is_ahead_of_the_services_loses_nothing() {
    let (polling, fan_out): (&[_], &[_]) = (&[], &[("mode", "fan_out")]);
    for (options, call) in [(polling, "GetShardIterator"), (fan_out, "SubscribeToShard")] {
        let (clock, service) = service(1);
        service.set_behind(30_000);
        // LATEST is asked for once. After that it would leave out what came meanwhile, and the time of the start takes its place.
        service.fail(call, Fault::Transient);
        let mut job = job(&service, &clock, options).await;
        job.run(12_000).await.expect("reading");
        service.put("a", b"1");
        service.split("shardId-000000000000");
        service.put("a", b"2");
        job.run(12_000).await.expect("reading");
        assert_eq!(job.take(), ["1", "2"]);
    }
}

#[tokio::test]
async fn a_start_in_the_future_is_refused() {
    let (clock, service) = service(1);
    let source = bind(&service, &[("scan.start", "at_timestamp"), ("scan.timestamp", "2123-11-14T22:43:20Z")]);
    let context = SourceContext::new(Arc::clone(&clock) as Arc<dyn Clock>, FormatSpec::Json);
    let error = source.open("0/1", None, &context).await.err().expect("in the future");
    assert_eq!(error.message(), "option \"scan.timestamp\" of connector 'kinesis' is in the future");
}
