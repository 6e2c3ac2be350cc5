//! A fleet of workers on a stream of kinesis-local, with their leases in DynamoDB.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use kinesql_engine::connector::{Offset, Read, Source, SourceContext};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::runtime::clock::SystemClock;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::kinesis_source::{PATIENCE, Producer, bind};
use super::servers;
use super::streams::{client, create};

/// What all workers have read and saved, in any order.
type Done = Arc<Mutex<Vec<String>>>;

/// A worker on a task of its own. It takes a checkpoint twice a second.
struct Worker {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    /// Open shards.
    shards: Arc<Mutex<usize>>,
}

impl Worker {
    fn start(name: &str, stream: &str, table: &str, endpoints: (&str, &str), done: &Done) -> Self {
        let options = [
            ("scan.start", "trim_horizon"),
            ("discovery_interval", "1s"),
            ("lease", "dynamodb"),
            ("lease.table", table),
            ("lease.worker", name),
            // Long enough for a machine that is busy with other tests.
            ("lease.duration", "15s"),
            ("lease.renew_interval", "1s"),
            ("lease.endpoint", endpoints.1),
        ];
        let source = bind(stream, endpoints.0, &options);
        let (stop, stopped) = watch::channel(false);
        let (done, shards) = (Arc::clone(done), Arc::new(Mutex::new(0)));
        let task = tokio::spawn(work(source, stopped, done, Arc::clone(&shards)));
        Self { task, stop, shards }
    }

    fn shards(&self) -> usize {
        *self.shards.lock().expect("no panic")
    }

    /// The process dies.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("stopped");
    }
}

async fn work(source: Arc<dyn Source>, mut stopped: watch::Receiver<bool>, done: Done, shards: Arc<Mutex<usize>>) {
    let clock = SystemClock::shared();
    let context = SourceContext { checkpointed: true, ..SourceContext::new(clock.clone(), FormatSpec::Json) };
    let mut lane = source.open("0/1", None, &context).await.expect("a lane");
    let mut offset: Option<Offset> = None;
    let mut read = Vec::new();
    let mut save_at = clock.now();
    loop {
        tokio::select! {
            piece = lane.next() => match piece.expect("reading") {
                Read::Records(records) => {
                    let ends = records.envelopes.iter().flat_map(|envelopes| envelopes.ends.iter().map(|end| *end as usize));
                    let starts = std::iter::once(0).chain(ends.clone());
                    let texts = starts.zip(ends).map(|(start, end)| &records.bytes[start..end]);
                    read.extend(texts.map(|text| String::from_utf8_lossy(text).into_owned()));
                    offset = Some(records.offset);
                }
                Read::Parts { open, offset: place } => {
                    *shards.lock().expect("no panic") = open.len();
                    offset = Some(place);
                }
                other => panic!("a stream does not end: {other:?}"),
            },
            () = clock.sleep_until(save_at) => {
                save_at = clock.now() + 500;
                if let Some(offset) = &offset {
                    source.checkpointed("0/1", offset);
                    done.lock().expect("no panic").append(&mut read);
                }
            }
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    if let Some(offset) = &offset {
        source.checkpointed("0/1", offset);
        done.lock().expect("no panic").append(&mut read);
    }
    lane.close().await.expect("closed");
}

/// Waits until `done` says so; `what` is missed otherwise.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = SystemClock::shared();
    let end = clock.now() + PATIENCE.as_millis() as i64;
    while !is_so() {
        assert!(clock.now() < end, "{what}");
        clock.sleep(Duration::from_millis(50)).await;
    }
}

/// How many records are done, each counted once.
fn distinct(done: &Done) -> usize {
    done.lock().expect("no panic").iter().collect::<BTreeSet<_>>().len()
}

/// Three workers share a stream; one dies, one stops: no record is lost, and only what the dead one had saved and not yet written
/// into the table may come twice.
async fn a_fleet_loses_a_worker(table_endpoint: &str, stream: &str) {
    let Some(kinesis) = servers::kinesis() else { return };
    let service: Client = client(&kinesis.endpoint);
    create(&service, stream, 4).await;
    let done = Done::default();
    let mut producer = Producer::new(&service, stream);
    let mut workers = BTreeMap::new();
    for name in ["a", "b", "c"] {
        let worker = Worker::start(name, stream, stream, (&kinesis.endpoint, table_endpoint), &done);
        workers.insert(name, worker);
    }
    producer.put(100).await;
    until("every worker has a shard", || workers.values().all(|worker| worker.shards() > 0)).await;
    until("four shards are read", || workers.values().map(Worker::shards).sum::<usize>() == 4).await;
    producer.put(100).await;
    until("all is read", || distinct(&done) == 200).await;

    workers.remove("b").expect("running").kill().await;
    producer.put(100).await;
    until("its shards are taken over", || workers.values().map(Worker::shards).sum::<usize>() == 4).await;
    producer.put(100).await;
    until("all is read", || distinct(&done) == 400).await;

    workers.remove("c").expect("running").stop().await;
    producer.put(100).await;
    until("all is read", || distinct(&done) == 500).await;
    assert_eq!(workers["a"].shards(), 4);
    let all = std::mem::take(&mut *done.lock().expect("no panic"));
    let mut times: BTreeMap<&String, usize> = BTreeMap::new();
    all.iter().for_each(|record| *times.entry(record).or_default() += 1);
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).map(|(record, _)| Producer::number(record)).collect();
    assert!(twice.iter().all(|number| *number < 200), "{twice:?}");
}

#[tokio::test]
async fn a_fleet_with_leases_in_ministack_loses_a_worker_and_no_record() {
    let Some(ministack) = servers::ministack() else { return };
    a_fleet_loses_a_worker(&ministack.endpoint, "fleet-ministack").await;
}

#[tokio::test]
async fn a_fleet_with_leases_in_dynalite_loses_a_worker_and_no_record() {
    let Some(dynalite) = servers::dynalite() else { return };
    a_fleet_loses_a_worker(&dynalite.endpoint, "fleet-dynalite").await;
}
