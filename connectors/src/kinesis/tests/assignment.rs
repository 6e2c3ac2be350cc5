//! An assignment that changes while the job runs, as leases do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kinesql_engine::Result;
use kinesql_engine::connector::Source as _;

use super::harness::{Job, bind, service};
use crate::kinesis::assignment::{Assigned, Owned, ShardAssignment};
use crate::kinesis::position::{LaneOffset, Position};
use crate::kinesis::shards::Shard;

/// Gives what the test says, and remembers what it is told.
#[derive(Debug, Default)]
struct Scripted {
    owned: Mutex<Vec<Owned>>,
    checkpoints: Mutex<Vec<LaneOffset>>,
    released: Mutex<bool>,
}

impl Scripted {
    fn give(&self, shards: &[(&str, Option<Position>)]) {
        let owned = |(shard, position): &(&str, Option<Position>)| Owned {
            shard: (*shard).into(),
            position: position.clone(),
            read_until: None,
            parked: false,
        };
        *self.owned.lock().expect("the script") = shards.iter().map(owned).collect();
    }
}

#[async_trait]
impl ShardAssignment for Scripted {
    async fn poll(&self, _shards: &[Shard]) -> Result<Assigned> {
        let owned = self.owned.lock().expect("the script").clone();
        Ok(Assigned { owned, ..Assigned::default() })
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    fn checkpointed(&self, lane: &LaneOffset) {
        self.checkpoints.lock().expect("the script").push(lane.clone());
    }

    async fn release(&self) -> Result<()> {
        *self.released.lock().expect("the script") = true;
        Ok(())
    }
}

#[tokio::test]
async fn shards_are_taken_where_another_process_left_off_and_given_back() {
    let (first, second) = ("shardId-000000000000", "shardId-000000000001");
    let (clock, service) = service(2);
    let assignment = Arc::new(Scripted::default());
    assignment.give(&[(first, None)]);
    let source = bind(&service, &[("scan.start", "trim_horizon")]).with_assignment(Arc::clone(&assignment) as _);
    assert_eq!(source.splits(3).await.expect("lanes").len(), 3, "shards may come later");
    let (low, high) = ("a", "b");
    let low_1 = service.put(low, b"low 1");
    let done = service.put(high, b"high 1");
    service.put(high, b"high 2");
    let mut job = Job::start(source, &clock, 1, &Default::default()).await;
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["low 1"]);
    assert_eq!(job.parts["0/1"], [first]);

    assignment.give(&[(first, None), (second, Some(Position::after(&done)))]);
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["high 2"]);
    assert_eq!(job.parts["0/1"], [first, second]);
    job.source.checkpointed("0/1", &job.offsets["0/1"]);
    let shards = |lane: &LaneOffset| lane.shards.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shards(&assignment.checkpoints.lock().expect("the script")[0]), [first, second]);

    assignment.give(&[(second, None)]);
    job.run(2_000).await.expect("reading");
    service.put(low, b"low 2");
    service.put(high, b"high 3");
    job.run(2_000).await.expect("reading");
    assert_eq!(job.take(), ["high 3"]);
    assert_eq!(job.parts["0/1"], [second]);
    assert!(job.offsets["0/1"].0["shards"].get(first).is_none(), "its place is another process's from now on");
    assert_eq!(job.offsets["0/1"].0["left"][first]["after"], serde_json::json!(low_1), "up to which it is in the state here");

    assignment.give(&[]);
    job.run(2_000).await.expect("reading");
    assert_eq!(job.parts["0/1"], Vec::<String>::new());
    job.close().await.expect("stopping");
    assert!(*assignment.released.lock().expect("the script"));
}
