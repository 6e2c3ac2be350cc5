//! Fleets of workers that share a stream of the fake, on one clock and one table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kinesql_engine::connector::{Offset, OptionEntry, Options, Source as _, SourceFactory as _};
use kinesql_engine::runtime::clock::{Clock, ManualClock};

use super::super::fake::FakeKinesis;
use super::super::source::KinesisSourceFactory;
use super::super::tests::harness::{Job, bind, service, try_bind};
use super::table::memory::MemoryTable;
use super::table::{Checkpoint, LeaseTable};
use super::*;

/// Three records' worth of time: every worker renews several times.
const WHILE: i64 = 5_000;

/// Long enough for leases to expire and for the others to notice.
const LONG: i64 = 30_000;

struct Fleet {
    clock: Arc<ManualClock>,
    service: Arc<FakeKinesis>,
    table: Arc<MemoryTable>,
    workers: BTreeMap<String, Worker>,
    /// Records that some worker has read and saved, in order.
    done: Vec<String>,
    /// Where workers start.
    start: &'static str,
}

struct Worker {
    job: Job,
    leases: Arc<Leases>,
}

impl Fleet {
    fn new(shards: usize) -> Self {
        let (clock, service) = service(shards);
        Self { clock, service, table: Arc::default(), workers: BTreeMap::new(), done: Vec::new(), start: "trim_horizon" }
    }

    async fn join(&mut self, name: &str) {
        self.join_at(name, &BTreeMap::new()).await;
    }

    /// A worker that goes on from its checkpoint.
    async fn join_at(&mut self, name: &str, offsets: &BTreeMap<String, Offset>) {
        let options = LeaseOptions {
            table: "leases".to_owned(),
            worker: Some(name.into()),
            duration: Duration::from_secs(10),
            renew_interval: Duration::from_secs(1),
            endpoint: None,
        };
        let leases = Arc::new(Leases::with_table(options, Arc::clone(&self.table) as Arc<dyn LeaseTable>));
        let source = bind(&self.service, &[("scan.start", self.start)]).with_assignment(Arc::clone(&leases) as _);
        let job = Job::start(source, &self.clock, 1, offsets).await;
        self.workers.insert(name.to_owned(), Worker { job, leases });
    }

    /// Lets `ms` pass for all workers; those of `savers` take a checkpoint every second.
    async fn run(&mut self, ms: i64, savers: &[&str]) {
        let until = self.clock.now() + ms;
        while self.clock.now() < until {
            for worker in self.workers.values_mut() {
                worker.job.settle().await.expect("reading");
            }
            self.clock.set((self.clock.now() + 250).min(until));
            if self.clock.now() % 1_000 == 0 {
                savers.iter().for_each(|name| self.save(name));
            }
        }
    }

    /// A checkpoint of a worker: what it has read until now is done.
    fn save(&mut self, name: &str) {
        let Some(worker) = self.workers.get_mut(name) else { return };
        for (lane, offset) in &worker.job.offsets {
            worker.job.source.checkpointed(lane, offset);
        }
        self.done.extend(worker.job.take());
    }

    /// A worker dies: what it has read since its last checkpoint is lost with it.
    fn kill(&mut self, name: &str) {
        self.workers.remove(name);
    }

    async fn stop(&mut self, name: &str) {
        self.save(name);
        let worker = self.workers.remove(name).expect("running");
        worker.job.close().await.expect("stopped");
    }

    /// Puts so many records, each with a key of its own; gives their names.
    fn put(&self, from: usize, to: usize) -> BTreeSet<String> {
        let names: BTreeSet<_> = (from..to).map(|number| format!("record {number}")).collect();
        for name in &names {
            self.service.put(name, name.as_bytes());
        }
        names
    }

    fn shards_of(&self, name: &str) -> usize {
        self.workers[name].job.parts.get("0/1").map_or(0, Vec::len)
    }

    fn owners(&self) -> BTreeMap<String, usize> {
        let mut owners = BTreeMap::new();
        for lease in self.table.leases().values().filter(|lease| !lease.is_ended()) {
            *owners.entry(lease.owner.as_deref().unwrap_or("nobody").to_owned()).or_default() += 1;
        }
        owners
    }

    /// Error rows among what is done.
    fn told(&self) -> Vec<&str> {
        self.done.iter().filter_map(|record| record.strip_prefix("rejected: ")).collect()
    }

    /// What is done, each record once, and how many came twice.
    fn done(&self) -> (BTreeSet<String>, usize) {
        let names: BTreeSet<_> = self.done.iter().cloned().collect();
        let twice = self.done.len() - names.len();
        (names, twice)
    }
}

const ALL: &[&str] = &["a", "b", "c"];

#[tokio::test]
async fn workers_that_join_are_handed_their_share_and_no_record_is_read_twice() {
    let mut fleet = Fleet::new(6);
    let mut records = fleet.put(0, 60);
    fleet.join("a").await;
    fleet.run(WHILE, ALL).await;
    assert_eq!((fleet.shards_of("a"), fleet.owners()), (6, BTreeMap::from([("a".to_owned(), 6)])));
    for (name, from) in [("b", 60), ("c", 120)] {
        fleet.join(name).await;
        records.extend(fleet.put(from, from + 60));
        fleet.run(LONG, ALL).await;
    }
    assert_eq!(fleet.owners(), BTreeMap::from(["a", "b", "c"].map(|name| (name.to_owned(), 2))));
    assert_eq!(["a", "b", "c"].map(|name| fleet.shards_of(name)), [2, 2, 2]);
    records.extend(fleet.put(180, 240));
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn shards_of_which_nothing_was_read_are_handed_over_as_soon_as_others() {
    let mut fleet = Fleet::new(4);
    fleet.join("a").await;
    fleet.run(WHILE, ALL).await;
    fleet.join("b").await;
    fleet.run(2 * WHILE, ALL).await;
    assert_eq!((fleet.shards_of("a"), fleet.shards_of("b")), (2, 2));
    let records = fleet.put(0, 20);
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn shards_of_a_worker_that_dies_are_taken_over_behind_its_last_checkpoint() {
    let mut fleet = Fleet::new(6);
    for name in ALL {
        fleet.join(name).await;
    }
    let mut records = fleet.put(0, 60);
    fleet.run(LONG, ALL).await;
    assert_eq!(fleet.owners().len(), 3);
    // What b reads from now on is in no checkpoint.
    records.extend(fleet.put(60, 120));
    fleet.run(WHILE, &["a", "c"]).await;
    fleet.kill("b");
    fleet.run(LONG, ALL).await;
    assert_eq!(fleet.owners(), BTreeMap::from(["a", "c"].map(|name| (name.to_owned(), 3))));
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn a_worker_that_stops_gives_its_shards_back_at_once() {
    let mut fleet = Fleet::new(4);
    fleet.join("a").await;
    fleet.join("b").await;
    let mut records = fleet.put(0, 40);
    fleet.run(LONG, ALL).await;
    fleet.stop("a").await;
    assert_eq!(fleet.owners(), BTreeMap::from([("b".to_owned(), 2), ("nobody".to_owned(), 2)]));
    records.extend(fleet.put(40, 80));
    // Much sooner than leases expire.
    fleet.run(3_000, ALL).await;
    assert_eq!(fleet.owners(), BTreeMap::from([("b".to_owned(), 4)]));
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn a_worker_that_does_not_hand_over_loses_the_lease_after_a_while_and_goes_on_without_it() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    fleet.run(WHILE, ALL).await;
    fleet.join("b").await;
    // Worker a takes no checkpoint any more.
    fleet.run(10_000, &["b"]).await;
    let is_asked_for = |fleet: &Fleet| fleet.table.leases().values().any(|lease| lease.checkpoint_owner.is_some());
    assert!(is_asked_for(&fleet) && fleet.shards_of("a") == 1, "one is parked");
    fleet.run(LONG, &["b"]).await;
    assert!(!is_asked_for(&fleet));
    assert_eq!((fleet.shards_of("a"), fleet.shards_of("b")), (1, 1));
    let records = fleet.put(0, 20);
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn a_shard_that_is_being_handed_over_holds_the_watermark_of_who_gets_it() {
    let mut fleet = Fleet::new(4);
    fleet.join("a").await;
    let mut records = fleet.put(0, 20);
    fleet.run(WHILE, ALL).await;
    fleet.join("b").await;
    // Worker a has no checkpoint that says up to where it was read.
    fleet.run(WHILE, &["b"]).await;
    let asked_for: Vec<_> = {
        let leases = fleet.table.leases();
        leases.values().filter(|lease| lease.checkpoint_owner.is_some()).map(|lease| lease.shard.to_string()).collect()
    };
    assert!(!asked_for.is_empty());
    let job = |fleet: &Fleet| fleet.workers["b"].job.parts["0/1"].clone();
    assert_eq!(job(&fleet), asked_for);
    records.extend(fleet.put(20, 40));
    fleet.run(LONG, ALL).await;
    assert_eq!(fleet.done(), (records, 0));
    // It has not let go of one before it was read.
    let said: Vec<_> = fleet.workers["b"].job.said.iter().map(|(_, open)| open).collect();
    let lets_go = |pair: &&[&Vec<String>]| pair[0].iter().any(|shard| !pair[1].contains(shard));
    assert_eq!(said.windows(2).find(lets_go), None);
}

#[tokio::test]
async fn children_are_read_when_their_parents_are_whoever_reads_these() {
    let mut fleet = Fleet::new(2);
    for name in ALL {
        fleet.join(name).await;
    }
    let mut records = fleet.put(0, 40);
    fleet.run(LONG, ALL).await;
    fleet.service.split("shardId-000000000000");
    fleet.service.merge("shardId-000000000003", "shardId-000000000001");
    records.extend(fleet.put(40, 80));
    fleet.run(2 * LONG, ALL).await;
    assert_eq!(fleet.done(), (records, 0));
    let leases = fleet.table.leases();
    let ended: Vec<_> = leases.values().filter(|lease| lease.is_ended()).map(|lease| lease.shard.to_string()).collect();
    assert_eq!(ended, ["shardId-000000000000", "shardId-000000000001", "shardId-000000000003"]);
    let first = &leases["shardId-000000000000"];
    assert_eq!(first.children.len(), 2, "{first:?}");
}

#[tokio::test]
async fn a_shard_at_its_end_holds_the_watermark_until_some_worker_reads_what_follows() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    fleet.join("b").await;
    fleet.run(LONG, ALL).await;
    let parent = fleet.workers["a"].job.parts["0/1"][0].clone();
    let children = fleet.service.split(&parent).map(|child| child.to_string());
    let open = |fleet: &Fleet, name: &str| fleet.workers[name].job.parts["0/1"].clone();
    // No checkpoint says yet that the parent is read: nobody else may read its children, and one of them is beyond a's share.
    fleet.run(WHILE, &["b"]).await;
    let [read] =
        open(&fleet, "a").into_iter().filter(|shard| children.contains(shard)).collect::<Vec<_>>().try_into().expect("one");
    assert!(open(&fleet, "a").contains(&parent), "the other child is nobody's");
    fleet.run(WHILE, ALL).await;
    let others: Vec<_> = children.iter().filter(|child| **child != read).cloned().collect();
    let reader = ["a", "b"].into_iter().find(|name| open(&fleet, name).contains(&others[0]));
    assert!(reader.is_some(), "{:?}", fleet.owners());
    assert!(!open(&fleet, "a").contains(&parent));
    for worker in fleet.workers.values() {
        // Whatever a said before: its parent or both children, never one of these alone.
        for (_, open) in &worker.job.said {
            let is_open = |shard: &String| open.contains(shard);
            assert!(!is_open(&read) || is_open(&parent) || reader == Some("b") || is_open(&others[0]), "{open:?}");
        }
    }
}

/// Long enough for the stream to be listed a few times.
const LISTINGS: i64 = 300_000;

#[tokio::test]
async fn a_shard_that_another_worker_has_finished_is_not_told_as_lost_after_a_restart() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    let mut records = fleet.put(0, 20);
    fleet.run(WHILE, ALL).await;
    let offsets = fleet.workers["a"].job.offsets.clone();
    fleet.kill("a");
    fleet.join("b").await;
    fleet.service.split("shardId-000000000000");
    records.extend(fleet.put(20, 40));
    fleet.run(LONG, ALL).await;
    fleet.service.trim("shardId-000000000000");
    fleet.run(LISTINGS, ALL).await;
    assert!(!fleet.table.leases().contains_key("shardId-000000000000"), "b has read it and its lease is gone with it");
    fleet.join_at("a", &offsets).await;
    fleet.run(LISTINGS, ALL).await;
    assert!(fleet.shards_of("a") > 0);
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn a_trimmed_shard_that_no_worker_has_finished_is_told_by_one_of_them_and_what_follows_is_read() {
    let mut fleet = Fleet::new(1);
    fleet.start = "latest";
    fleet.join("a").await;
    fleet.run(WHILE, ALL).await;
    let mut records = fleet.put(0, 10);
    fleet.run(WHILE, ALL).await;
    let offsets = fleet.workers["a"].job.offsets.clone();
    fleet.kill("a");
    fleet.put(10, 20);
    fleet.service.split("shardId-000000000000");
    records.extend(fleet.put(20, 40));
    fleet.service.trim("shardId-000000000000");
    fleet.join("b").await;
    fleet.join_at("a", &offsets).await;
    fleet.run(2 * LISTINGS, ALL).await;
    let told = fleet.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("the stream no longer has this shard: what came behind record 4959"), "{}", told[0]);
    let (mut done, twice) = fleet.done();
    done.retain(|record| !record.starts_with("rejected"));
    assert_eq!((done, twice), (records, 0));
    assert!(!fleet.table.leases().contains_key("shardId-000000000000"));
}

#[tokio::test]
async fn what_a_worker_tells_of_a_lost_shard_and_saves_in_no_checkpoint_is_told_by_another_one() {
    let mut fleet = Fleet::new(1);
    fleet.join("a").await;
    fleet.put(0, 10);
    fleet.run(WHILE, ALL).await;
    fleet.kill("a");
    fleet.put(10, 20);
    fleet.service.split("shardId-000000000000");
    fleet.service.trim("shardId-000000000000");
    fleet.join("b").await;
    fleet.run(LISTINGS, &[]).await;
    let said = fleet.workers["b"].job.records.iter().filter(|record| record.contains("no longer has this shard"));
    assert_eq!(said.count(), 1);
    fleet.kill("b");
    fleet.join("c").await;
    fleet.run(2 * LISTINGS, ALL).await;
    assert_eq!(fleet.told().len(), 1, "{:?}", fleet.told());
    assert!(!fleet.table.leases().contains_key("shardId-000000000000"), "its row is in a checkpoint, so the lease is gone");
    fleet.join("d").await;
    fleet.run(LISTINGS, ALL).await;
    assert_eq!(fleet.told().len(), 1, "{:?}", fleet.told());
}

#[tokio::test]
async fn a_fleet_that_was_down_for_days_tells_which_records_may_be_lost() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    let records = fleet.put(0, 10);
    fleet.run(WHILE, ALL).await;
    fleet.kill("a");
    fleet.put(10, 20);
    fleet.clock.set(fleet.clock.now() + 30 * 3_600_000);
    fleet.service.expire();
    // It has no checkpoint of its own: the leases say up to when the shards were read.
    fleet.join("b").await;
    // It asks the dead worker for one of them first.
    fleet.run(2 * LONG, ALL).await;
    let told = fleet.told();
    assert_eq!(told.len(), 2, "{told:?}");
    for message in told {
        assert!(message.starts_with("records that came behind record 4959"), "{message}");
        assert!(message.contains(" from 2023-11-14 22:13:20 UTC to 2023-11-15 04:1"), "{message}");
    }
    let (mut done, twice) = fleet.done();
    done.retain(|record| !record.starts_with("rejected"));
    assert_eq!((done, twice), (records, 0));
}

#[tokio::test]
async fn a_shard_that_is_trimmed_while_a_worker_reads_it_is_told_by_that_one_alone() {
    let mut fleet = Fleet::new(1);
    fleet.join("a").await;
    fleet.put(0, 10);
    fleet.run(WHILE, ALL).await;
    fleet.service.split("shardId-000000000000");
    fleet.service.trim("shardId-000000000000");
    fleet.run(LONG, ALL).await;
    assert_eq!(fleet.told().len(), 1, "{:?}", fleet.told());
    assert_eq!(fleet.shards_of("a"), 2);
    fleet.stop("a").await;
    fleet.join("b").await;
    fleet.run(2 * LISTINGS, ALL).await;
    assert_eq!((fleet.told().len(), fleet.shards_of("b")), (1, 2));
}

#[tokio::test]
async fn while_the_table_is_down_a_worker_goes_on_until_others_may_take_its_shards() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    fleet.run(WHILE, ALL).await;
    fleet.table.set_down(true);
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.shards_of("a"), 2);
    fleet.run(LONG, ALL).await;
    assert_eq!(fleet.shards_of("a"), 0);
    fleet.table.set_down(false);
    let records = fleet.put(0, 20);
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.shards_of("a"), 2);
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn a_table_that_does_not_answer_keeps_no_lease_alive() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.workers["a"].job.source.trouble(), None);
    fleet.table.set_hanging(true);
    // Renewed a second before at the earliest.
    fleet.run(8_000, ALL).await;
    assert_eq!(fleet.shards_of("a"), 2);
    fleet.run(3_500, ALL).await;
    assert_eq!(fleet.shards_of("a"), 0, "others may read them from now on");
    let trouble = fleet.workers["a"].job.source.trouble().expect("no answer");
    assert_eq!(trouble.reason, "no answer from lease table \"leases\" in 10s");
    fleet.table.set_hanging(false);
    let records = fleet.put(0, 20);
    // The call under way is given up first.
    fleet.run(LONG, ALL).await;
    assert_eq!((fleet.shards_of("a"), fleet.workers["a"].job.source.trouble()), (2, None));
    assert_eq!(fleet.done(), (records, 0));
}

#[tokio::test]
async fn a_worker_stops_although_the_table_does_not_answer() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    fleet.run(WHILE, ALL).await;
    fleet.table.set_hanging(true);
    fleet.run(2_000, ALL).await;
    let stopping = fleet.workers.remove("a").expect("running").job.close();
    tokio::pin!(stopping);
    let since = fleet.clock.now();
    while futures::poll!(&mut stopping).is_pending() {
        tokio::task::yield_now().await;
        fleet.clock.set(fleet.clock.now() + 50);
        assert!(fleet.clock.now() <= since + 11_000, "its leases have expired");
    }
}

#[tokio::test]
async fn what_a_worker_has_read_itself_it_does_not_read_again_when_it_gets_the_shard_back() {
    let mut fleet = Fleet::new(2);
    fleet.join("a").await;
    let mut records = fleet.put(0, 20);
    fleet.run(WHILE, ALL).await;
    // Read, but in no checkpoint when the leases are gone.
    records.extend(fleet.put(20, 40));
    fleet.run(500, &[]).await;
    fleet.table.set_down(true);
    fleet.run(LONG, &[]).await;
    assert_eq!(fleet.shards_of("a"), 0);
    fleet.table.set_down(false);
    records.extend(fleet.put(40, 60));
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.done(), (records.clone(), 0));

    // The same over a checkpoint that is taken while the shards are nobody's.
    records.extend(fleet.put(60, 80));
    fleet.run(500, &[]).await;
    fleet.table.set_down(true);
    fleet.run(LONG, ALL).await;
    assert_eq!(fleet.shards_of("a"), 0);
    let offsets = fleet.workers["a"].job.offsets.clone();
    fleet.kill("a");
    fleet.table.set_down(false);
    fleet.join_at("a", &offsets).await;
    records.extend(fleet.put(80, 100));
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.done(), (records, 0));
}

#[test]
fn an_endpoint_of_aws_is_that_of_one_service() {
    for (endpoint, expected) in [
        ("https://vpce-0a1b-2c3d.kinesis.us-east-1.vpce.amazonaws.com", true),
        ("https://kinesis.cn-north-1.amazonaws.com.cn:443/", true),
        ("https://kinesis.us-east-1.api.aws", true),
        ("http://127.0.0.1:4566", false),
        ("http://localstack:4566/amazonaws.com", false),
    ] {
        assert_eq!(is_of_aws(endpoint), expected, "{endpoint}");
    }
}

#[tokio::test]
async fn a_lease_of_another_worker_is_not_renewed_and_its_checkpoint_not_overwritten() {
    let mut fleet = Fleet::new(1);
    fleet.join("a").await;
    fleet.put(0, 10);
    fleet.run(WHILE, ALL).await;
    let shard: ShardId = "shardId-000000000000".into();
    let theirs = Checkpoint::After { sequence: "9".repeat(56).into(), sub: 0 };
    {
        let mut leases = fleet.table.leases();
        let lease = leases.get_mut(&shard).expect("a lease");
        assert!(matches!(&lease.checkpoint, Checkpoint::After { .. }), "{lease:?}");
        (lease.owner, lease.checkpoint, lease.counter) = (Some("other".into()), theirs.clone(), lease.counter + 1);
    }
    fleet.run(WHILE, ALL).await;
    assert_eq!(fleet.shards_of("a"), 0);
    assert_eq!(fleet.table.leases()[&shard].checkpoint, theirs);
    assert!(fleet.workers["a"].leases.poll(&[]).await.expect("no failure").owned.is_empty());
}

#[tokio::test]
async fn without_checkpoints_there_are_no_leases() {
    let leases = Leases::with_table(
        LeaseOptions {
            table: "leases".to_owned(),
            worker: None,
            duration: Duration::from_secs(10),
            renew_interval: Duration::from_secs(1),
            endpoint: None,
        },
        Arc::new(MemoryTable::default()),
    );
    let clock: Arc<dyn Clock> = ManualClock::starting_at(0);
    let error = leases.start(&clock, &Position::TrimHorizon, false).await.expect_err("no checkpoints");
    assert_eq!(error.message(), "lease = 'dynamodb' of connector 'kinesis' needs a job that takes checkpoints");
    leases.start(&clock, &Position::TrimHorizon, true).await.expect("checkpoints");
    let worker = leases.job().expect("started").worker;
    assert!(worker.ends_with(&format!(":{}:0", std::process::id())), "{worker}");
}

#[test]
fn options_that_contradict_each_other_say_so() {
    let message = |entries: &[(&str, &str)]| try_bind(entries).err().map(|error| error.message().to_owned());
    let table = ("lease.table", "leases");
    assert_eq!(message(&[("lease", "dynamodb"), table]), None);
    for (entries, expected) in [
        (&[("lease", "dynamodb")][..], "lease = 'dynamodb' of connector 'kinesis' needs option \"lease.table\""),
        (&[table], "option \"lease.table\" of connector 'kinesis' has no meaning without leases"),
        (
            &[("lease.renew_interval", "1s")],
            "option \"lease.renew_interval\" of connector 'kinesis' has no meaning without leases",
        ),
        (
            &[("lease", "dynamodb"), table, ("worker", "1/2")],
            "options \"worker\" and \"lease\" of connector 'kinesis' exclude each other",
        ),
        (
            &[("lease", "dynamodb"), table, ("lease.duration", "2s"), ("lease.renew_interval", "1500ms")],
            "lease.renew_interval of 1.5s does not fit lease.duration of 2s",
        ),
    ] {
        assert_eq!(message(entries).as_deref(), Some(expected), "{entries:?}");
    }
    let specs: Vec<_> = KinesisSourceFactory.options().iter().collect();
    let unknown = Options::check("connector 'kinesis'", &specs, &[OptionEntry::new("lease", "zookeeper")], None);
    assert!(unknown.is_err());
}
