//! Shards that split and merge while they are read: nothing is lost, nothing comes twice, and the records of a partition key
//! stay in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinesql_engine::connector::Source as _;
use kinesql_engine::runtime::clock::ManualClock;

use super::harness::{Job, bind, job, restart, restart_after, service};
use crate::kinesis::fake::FakeKinesis;

const TRIM_HORIZON: &[(&str, &str)] = &[("scan.start", "trim_horizon")];

/// Puts numbered records of several keys, and says what must come of them.
struct Producer<'a> {
    service: &'a Arc<FakeKinesis>,
    keys: usize,
    next: usize,
}

impl Producer<'_> {
    fn put(&mut self, count: usize) {
        for _ in 0..count {
            let key = format!("key {}", self.next % self.keys);
            self.service.put(&key, format!("{key}: {}", self.next / self.keys).as_bytes());
            self.next += 1;
        }
    }

    /// Every record came once, those of a key in order.
    fn check(&self, read: &[String]) {
        let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for record in read {
            let (key, number) = record.split_once(": ").expect("as put");
            by_key.entry(key).or_default().push(number.parse().expect("a number"));
        }
        for (key, numbers) in &by_key {
            assert!(numbers.iter().copied().eq(0..numbers.len()), "{key}: {numbers:?}");
        }
        assert_eq!(read.len(), self.next, "every record once");
    }
}

#[tokio::test]
async fn children_start_at_trim_horizon_after_their_parent_although_the_source_started_at_latest() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    let mut producer = Producer { service: &service, keys: 7, next: 0 };
    producer.put(50);
    service.split("shardId-000000000000");
    // The children have records before anybody has seen them.
    producer.put(50);
    job.run(3_000).await.expect("reading");
    producer.check(&job.take());
    let starts: Vec<_> =
        service.calls().into_iter().filter(|call| call.name == "GetShardIterator").map(|call| call.detail).collect();
    assert_eq!(starts[1..], ["TrimHorizon", "TrimHorizon"]);
    let records = job.source.metrics().into_iter().filter(|metric| metric.name == "records").map(|metric| metric.value);
    assert_eq!(records.sum::<f64>(), 100.0, "of closed shards too");
    assert_eq!(job.parts["0/1"], ["shardId-000000000001", "shardId-000000000002"]);
    assert_eq!(job.offsets["0/1"].0["finished"], serde_json::json!(["shardId-000000000000"]));
}

#[tokio::test]
async fn parents_finish_before_their_children_start() {
    let (clock, service) = service(2);
    let mut producer = Producer { service: &service, keys: 5, next: 0 };
    producer.put(100);
    service.split("shardId-000000000000");
    producer.put(100);
    service.merge("shardId-000000000003", "shardId-000000000001");
    producer.put(100);
    // The answers are small, so that reading the parents takes a while.
    service.set_answer_bytes_max(50);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(60_000).await.expect("reading");
    producer.check(&job.take());
    let first_read = |shard: &str| {
        let calls = service.calls();
        calls.iter().position(|call| call.name == "GetRecords" && call.shard == shard).expect("a read")
    };
    let last_read = |shard: &str| {
        let calls = service.calls();
        calls.iter().rposition(|call| call.name == "GetRecords" && call.shard == shard).expect("a read")
    };
    for (parent, child) in [(0, 2), (0, 3), (3, 4), (1, 4)] {
        let (parent, child) = (format!("shardId-{parent:012}"), format!("shardId-{child:012}"));
        assert!(last_read(&parent) < first_read(&child), "{parent} before {child}");
    }
}

#[tokio::test]
async fn a_reshard_from_2_to_4_to_3_with_a_restart_after_every_step() {
    for lanes in [1, 2, 3] {
        let (clock, service) = service(2);
        service.set_page_size(2);
        service.set_answer_bytes_max(100);
        let mut producer = Producer { service: &service, keys: 11, next: 0 };
        let start = bind(&service, TRIM_HORIZON);
        let mut job = Job::start(start, &clock, lanes, &BTreeMap::new()).await;
        let mut read = Vec::new();
        let steps: [&dyn Fn(); 4] = [
            &|| drop(service.split("shardId-000000000000")),
            &|| drop(service.split("shardId-000000000001")),
            &|| drop(service.merge("shardId-000000000003", "shardId-000000000004")),
            &|| (),
        ];
        for step in steps {
            // Three restarts around each step: with what was put read in part, with the step just done, and later.
            producer.put(60);
            job.run(400).await.expect("reading");
            read.extend(job.take());
            job = restart(job, bind(&service, TRIM_HORIZON)).await;
            step();
            producer.put(60);
            job.run(100).await.expect("reading");
            read.extend(job.take());
            job = restart(job, bind(&service, TRIM_HORIZON)).await;
            job.run(2_000).await.expect("reading");
            read.extend(job.take());
            job = restart(job, bind(&service, TRIM_HORIZON)).await;
        }
        job.run(60_000).await.expect("reading");
        read.extend(job.take());
        let mut missing: Vec<_> = read.clone();
        missing.sort();
        missing.dedup();
        assert_eq!(missing.len(), read.len(), "nothing twice, {lanes} lanes");
        producer.check(&read);
        let open: Vec<_> = job.parts.values().flatten().cloned().collect();
        assert_eq!(open.len(), 3, "{open:?}");
    }
}

#[tokio::test]
async fn a_restart_before_the_children_are_known_finds_them() {
    let (clock, service) = service(1);
    let mut producer = Producer { service: &service, keys: 3, next: 0 };
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    let mut job = restart_after(job, bind(&service, &[]), || {
        producer.put(10);
        let [low, _] = service.split("shardId-000000000000");
        producer.put(10);
        service.split(&low);
        producer.put(10);
    })
    .await;
    job.run(10_000).await.expect("reading");
    producer.check(&job.take());
}

#[tokio::test]
async fn a_finished_shard_is_remembered_while_it_is_listed_and_then_forgotten() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    service.put("a", b"1");
    service.split("shardId-000000000000");
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    let mut job = restart(job, bind(&service, &[])).await;
    job.run(600_000).await.expect("reading");
    assert_eq!(job.take(), Vec::<String>::new(), "a closed shard is not read twice");
    assert_eq!(job.offsets["0/1"].0["finished"], serde_json::json!(["shardId-000000000000"]));
    service.trim("shardId-000000000000");
    job.run(600_000).await.expect("reading");
    assert_eq!(job.offsets["0/1"].0["finished"], serde_json::json!([]));
}

#[tokio::test]
async fn under_at_timestamp_children_from_before_the_time_bring_nothing_older() {
    let (clock, service) = service(1);
    service.put("a", b"0");
    service.split("shardId-000000000000");
    service.put("a", b"1");
    clock.set(super::harness::START + 3_600_000);
    service.put("a", b"2");
    let options = [("scan.start", "at_timestamp"), ("scan.timestamp", "2023-11-14T22:43:20Z")];
    let mut job = job(&service, &clock, &options).await;
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["2"]);
}

#[tokio::test]
async fn a_child_goes_to_the_lane_of_its_parent() {
    let (clock, service) = service(3);
    let mut job = Job::start(bind(&service, &[]), &clock, 3, &BTreeMap::new()).await;
    job.run(1_000).await.expect("reading");
    let lane_of = |job: &Job, shard: &str| {
        job.parts.iter().find(|(_, open)| open.iter().any(|id| id == shard)).map(|(lane, _)| lane.clone())
    };
    let before = lane_of(&job, "shardId-000000000001").expect("a lane");
    let [low, high] = service.split("shardId-000000000001");
    job.run(2_000).await.expect("reading");
    assert_eq!(lane_of(&job, &low), Some(before.clone()));
    assert_eq!(lane_of(&job, &high), Some(before));
}

/// Shards by number.
fn ids(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|number| format!("shardId-{number:012}")).collect()
}

#[tokio::test]
async fn a_shard_at_its_end_holds_the_watermark_until_its_children_are_read() {
    let (clock, service) = service(2);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    service.hide_children(true);
    service.put("a", b"1");
    service.split("shardId-000000000000");
    job.run(3_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    assert_eq!(job.offsets["0/1"].0["finished"], serde_json::json!(ids(&[0])));
    assert_eq!(job.parts["0/1"], ids(&[0, 1]), "at its end");
    // The checkpoint knows of no children either.
    let mut job = restart(job, bind(&service, TRIM_HORIZON)).await;
    job.run(3_000).await.expect("reading");
    assert_eq!(job.said, [("0/1".to_owned(), ids(&[0, 1]))], "the first word after a restart");
    service.put("a", b"2");
    service.hide_children(false);
    job.run(10_000).await.expect("reading");
    assert_eq!(job.take(), ["2"]);
    assert_eq!(job.said[1..], [("0/1".to_owned(), ids(&[1, 2, 3]))], "both in place of their parent");
    let mut job = restart(job, bind(&service, TRIM_HORIZON)).await;
    job.run(3_000).await.expect("reading");
    assert_eq!(job.said, [("0/1".to_owned(), ids(&[1, 2, 3]))]);
}

#[tokio::test]
async fn a_merged_shard_is_read_when_both_parents_are_and_the_first_one_holds_the_watermark_until_then() {
    let (clock, service) = service(2);
    let mut job = Job::start(bind(&service, TRIM_HORIZON), &clock, 2, &BTreeMap::new()).await;
    job.run(1_000).await.expect("reading");
    // The second one takes a while.
    service.set_answer_bytes_max(1);
    for record in ["1", "2", "3", "4", "5", "6"] {
        service.put("b", record.as_bytes());
    }
    service.merge("shardId-000000000000", "shardId-000000000001");
    job.run(500).await.expect("reading");
    assert_eq!((&job.parts["0/2"], &job.parts["1/2"]), (&ids(&[0]), &ids(&[1])), "one of them at its end");
    assert!(job.take().len() < 6);
    job.run(5_000).await.expect("reading");
    let said = |lane: &str| {
        let mut said: Vec<_> = job.said.iter().filter(|(of, _)| of == lane).map(|(_, open)| open.clone()).collect();
        said.dedup();
        said
    };
    assert_eq!(said("0/2"), [ids(&[0]), ids(&[2])]);
    assert_eq!(said("1/2"), [ids(&[1]), ids(&[])], "a lane without shards holds no other one back");
}

#[tokio::test]
async fn a_shard_without_children_holds_the_watermark_for_a_while_only() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    job.run(1_000).await.expect("reading");
    service.hide_children(true);
    service.split("shardId-000000000000");
    job.run(10_000).await.expect("reading");
    assert_eq!(job.parts["0/1"], ids(&[0]));
    job.run(300_000).await.expect("reading");
    assert_eq!(job.parts["0/1"], ids(&[]));
}

#[tokio::test]
async fn a_lane_says_that_it_has_no_shard_once_that_is_known() {
    let (clock, service) = service(1);
    service.fail("ListShards", crate::kinesis::fake::Fault::Transient);
    let mut job = Job::start(bind(&service, TRIM_HORIZON), &clock, 2, &BTreeMap::new()).await;
    job.settle().await.expect("reading");
    assert_eq!(job.said, [], "perhaps it has one");
    job.run(1_000).await.expect("reading");
    let mut said = std::mem::take(&mut job.said);
    said.sort();
    assert_eq!(said, [("0/2".to_owned(), ids(&[0])), ("1/2".to_owned(), ids(&[]))]);
    let mut other = Job::start(bind(&service, &[("worker", "2/2")]), &clock, 1, &BTreeMap::new()).await;
    other.run(1_000).await.expect("reading");
    assert_eq!(other.said, [("0/1".to_owned(), ids(&[]))], "the shard is the other worker's");
}

#[tokio::test]
async fn pages_of_shards_are_listed_again_when_a_token_expires() {
    let (clock, service) = service(10);
    service.set_page_size(3);
    let mut job = job(&service, &clock, TRIM_HORIZON).await;
    service.fail("ListShards", crate::kinesis::fake::Fault::Expired);
    job.run(2_000).await.expect("reading");
    assert_eq!(job.parts["0/1"].len(), 10);
}

#[tokio::test]
async fn a_shard_that_was_trimmed_before_it_was_read_gives_way_to_its_children() {
    let (clock, service) = service(1);
    let mut job = job(&service, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    let mut job = restart_after(job, bind(&service, &[]), || {
        service.put("a", b"lost with its shard");
        service.split("shardId-000000000000");
        service.put("a", b"1");
        service.trim("shardId-000000000000");
    })
    .await;
    job.run(300_000).await.expect("reading");
    let lost = "rejected: the stream no longer has this shard: nothing of it was read";
    assert_eq!(job.take(), ["1", lost]);
    until_it_is_told(&job, &clock, &service).await;
}

/// A job that has read a record of the first shard, which has another one and is split by now; and what is told when it is trimmed.
async fn job_with_an_unread_record(service: &Arc<FakeKinesis>, clock: &Arc<ManualClock>) -> (Job, String) {
    let mut job = job(service, clock, TRIM_HORIZON).await;
    let last = service.put("a", b"1");
    job.run(1_000).await.expect("reading");
    assert_eq!(job.take(), ["1"]);
    service.put("a", b"lost with its shard");
    service.split("shardId-000000000000");
    (job, format!("rejected: the stream no longer has this shard: what came behind record {last} was not read"))
}

/// A job that dies before it has told of a lost shard leaves that to the next one, wherever its last checkpoint was.
async fn until_it_is_told(job: &Job, clock: &Arc<ManualClock>, service: &Arc<FakeKinesis>) {
    let told = job.pieces.iter().find(|piece| !piece.rejected.is_empty()).expect("told");
    let before: Vec<_> = job.history.iter().take_while(|offset| **offset != told.offset).cloned().collect();
    assert!(before.len() > 1, "the lane said what it reads before");
    for offset in before {
        let offsets = BTreeMap::from([("0/1".to_owned(), offset)]);
        let mut job = Job::start(bind(service, TRIM_HORIZON), clock, 1, &offsets).await;
        job.run(300_000).await.expect("reading");
        let told = job.take().iter().filter(|record| record.starts_with("rejected: the stream no longer has this shard")).count();
        assert_eq!(told, 1, "after a checkpoint at {offsets:?}");
    }
}

#[tokio::test]
async fn a_shard_that_was_trimmed_while_the_job_was_down_is_told_with_the_last_record_that_was_read() {
    let (clock, service) = service(2);
    let (job, lost) = job_with_an_unread_record(&service, &clock).await;
    service.trim("shardId-000000000000");
    let mut job = restart(job, bind(&service, TRIM_HORIZON)).await;
    job.run(300_000).await.expect("reading");
    assert_eq!(job.take(), [lost.as_str()]);
    until_it_is_told(&job, &clock, &service).await;
    let piece = job.pieces.iter().find(|piece| !piece.rejected.is_empty()).expect("told");
    assert_eq!(&*piece.origin, "stream \"fake\", shardId-000000000000");
}

#[tokio::test]
async fn a_shard_that_is_trimmed_while_it_is_read_is_told_too() {
    let (clock, service) = service(1);
    let (mut job, lost) = job_with_an_unread_record(&service, &clock).await;
    service.put("a", b"2");
    service.trim("shardId-000000000000");
    job.run(300_000).await.expect("reading");
    assert_eq!(job.take(), [lost.as_str(), "2"]);
    until_it_is_told(&job, &clock, &service).await;
}

#[tokio::test]
async fn a_checkpoint_of_another_stream_is_refused() {
    let (clock, first) = service(1);
    let mut job = job(&first, &clock, &[]).await;
    job.run(1_000).await.expect("reading");
    let offsets = job.offsets.clone();
    let other = FakeKinesis::new(clock.clone(), 1);
    other.split("shardId-000000000000");
    other.trim("shardId-000000000000");
    for shard in ["shardId-000000000001", "shardId-000000000002"] {
        other.split(shard);
        other.trim(shard);
    }
    let mut job = Job::start(bind(&other, &[]), &clock, 1, &offsets).await;
    let error = job.run(1_000).await.expect_err("another stream");
    assert_eq!(error.message(), "the checkpoint is that of another stream: none of its shards exists any more");
}
