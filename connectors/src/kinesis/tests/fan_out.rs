//! Enhanced fan-out: consumers and subscriptions.

use kinesql_engine::connector::Source as _;

use super::harness::{bind, job, restart, service};
use crate::kinesis::fake::Fault;

const OPTIONS: &[(&str, &str)] = &[("scan.start", "trim_horizon"), ("mode", "fan_out"), ("consumer", "app")];

#[tokio::test]
async fn a_consumer_is_registered_once_and_reused() {
    let (clock, service) = service(2);
    service.put("a", b"1");
    let mut job = job(&service, &clock, OPTIONS).await;
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    service.put("a", b"2");
    let mut job = restart(job, bind(&service, OPTIONS)).await;
    job.run(10_000).await.expect("reading");
    assert_eq!(job.take(), ["2"]);
    assert_eq!(service.count("RegisterStreamConsumer"), 1);
    assert_eq!(service.count("GetRecords"), 0);
    job.close().await.expect("stopping");
    assert_eq!(service.count("DeregisterStreamConsumer"), 0, "only on request");
}

#[tokio::test]
async fn a_subscription_is_renewed_every_five_minutes_behind_the_last_record() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, OPTIONS).await;
    for minute in 0..12 {
        service.put("a", minute.to_string().as_bytes());
        job.run(60_000).await.expect("reading");
    }
    assert_eq!(job.take(), (0..12).map(|minute| minute.to_string()).collect::<Vec<_>>());
    let subscriptions: Vec<_> = service.calls().into_iter().filter(|call| call.name == "SubscribeToShard").collect();
    assert_eq!(subscriptions.len(), 3, "{subscriptions:?}");
    assert!(subscriptions[1].detail.starts_with("After"), "{subscriptions:?}");
    assert_eq!(job.metric("shardId-000000000000", "failures"), 0.0);
}

#[tokio::test]
async fn a_subscription_that_another_process_holds_is_taken_over_when_the_service_allows() {
    let (clock, service) = service(1);
    let mut first = job(&service, &clock, OPTIONS).await;
    first.run(1_000).await.expect("reading");
    service.put("a", b"1");
    first.run(1_000).await.expect("reading");
    assert_eq!(first.take(), ["1"]);
    // It dies; its subscription is still known to the service.
    let mut second = restart(first, bind(&service, OPTIONS)).await;
    service.put("a", b"2");
    second.run(20_000).await.expect("reading");
    assert_eq!(second.take(), ["2"]);
    assert!(second.metric("shardId-000000000000", "failures") > 0.0);
}

#[tokio::test]
async fn subscribing_again_waits_five_seconds_after_the_last_time() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, OPTIONS).await;
    for _ in 0..3 {
        job.run(1_000).await.expect("reading");
        service.fail("SubscribeToShard", Fault::Throttled);
    }
    job.run(300_000 * 4).await.expect("reading");
    let times: Vec<_> =
        service.calls().into_iter().filter(|call| call.name == "SubscribeToShard").map(|call| call.time).collect();
    assert!(times.len() >= 5, "{times:?}");
    assert_eq!(job.metric("shardId-000000000000", "failures"), 0.0, "never refused as being in use");
}

#[tokio::test]
async fn children_follow_their_parent() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[("mode", "fan_out")]).await;
    job.run(2_000).await.expect("reading");
    service.put("a", b"1");
    let [low, _] = service.split("shardId-000000000000");
    service.put("a", b"2");
    service.split(&low);
    service.put("a", b"3");
    job.run(10_000).await.expect("reading");
    assert_eq!(job.take(), ["1", "2", "3"]);
    assert_eq!(job.parts["0/1"].len(), 3);
}

#[tokio::test]
async fn a_subscription_of_latest_that_is_refused_at_first_loses_nothing() {
    let (clock, service) = service(1);
    service.fail("SubscribeToShard", Fault::Transient);
    let mut job = job(&service, &clock, &[("mode", "fan_out")]).await;
    job.run(300).await.expect("reading");
    assert_eq!(service.count("SubscribeToShard"), 1);
    service.put("a", b"1");
    job.run(20_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
}

#[tokio::test]
async fn a_consumer_that_somebody_took_away_is_registered_again() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, OPTIONS).await;
    job.run(2_000).await.expect("reading");
    service.drop_consumer("app");
    job.run(320_000).await.expect("reading");
    service.put("a", b"1");
    job.run(20_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    assert_eq!(service.count("RegisterStreamConsumer"), 2);
}

#[tokio::test]
async fn the_consumer_is_deregistered_on_request_when_the_last_lane_closes() {
    let (clock, service) = service(2);
    let source = bind(&service, &[("mode", "fan_out"), ("deregister", "true")]);
    assert!(source.metrics().is_empty());
    let mut job = super::harness::Job::start(source, &clock, 2, &std::collections::BTreeMap::new()).await;
    job.run(2_000).await.expect("reading");
    job.close().await.expect("stopping");
    assert_eq!(service.count("DeregisterStreamConsumer"), 1);
}

#[tokio::test]
async fn a_stream_that_is_deleted_while_it_is_subscribed_ends_the_job() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, OPTIONS).await;
    job.run(2_000).await.expect("reading");
    service.delete();
    let error = job.run(20_000).await.expect_err("deleted");
    assert_eq!(error.message(), "stream \"fake\" was deleted while it was read");
}

#[tokio::test]
async fn a_subscription_that_says_nothing_is_dead_and_begins_again() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, OPTIONS).await;
    service.put("a", b"1");
    job.run(120_000).await.expect("reading");
    assert_eq!(service.count("SubscribeToShard"), 1, "empty events keep it");
    service.silence();
    service.put("a", b"2");
    job.run(20_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    job.run(12_000).await.expect("reading");
    assert_eq!(job.take(), ["2"]);
    assert_eq!(service.count("SubscribeToShard"), 2);
    assert_eq!(job.metric("shardId-000000000000", "failures"), 1.0);
}

#[tokio::test]
async fn a_consumer_that_cannot_be_looked_for_now_is_looked_for_again() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, OPTIONS).await;
    job.run(2_000).await.expect("reading");
    service.drop_consumer("app");
    for _ in 0..20 {
        service.fail("DescribeStreamConsumer", Fault::Transient);
    }
    job.run(320_000).await.expect("reading");
    let trouble = job.source.trouble().expect("it cannot be found");
    assert_eq!(trouble.reason, "kinesis:SubscribeToShard: ResourceNotFoundException");
    service.put("a", b"1");
    job.run(300_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    assert_eq!((service.count("RegisterStreamConsumer"), job.source.trouble()), (2, None));
}

#[tokio::test]
async fn a_denied_call_fails_the_job_at_once_with_its_name() {
    for call in ["DescribeStreamSummary", "DescribeStreamConsumer", "RegisterStreamConsumer", "SubscribeToShard"] {
        let (clock, service) = service(1);
        service.fail(call, Fault::Denied);
        let mut job = job(&service, &clock, OPTIONS).await;
        let error = job.run(5_000).await.expect_err("denied");
        assert_eq!(error.to_string(), format!("kinesis:{call}: denied"));
        assert_eq!(service.count(call), 1);
    }
}
