//! The built binary on a Kinesis stream, with real servers: resharded and killed under load, as one of a fleet, and refused.
//!
//! A producer puts rows round after round, one of each key: `{"k": "key 3", "n": 17, "t": "2024-01-01 00:00:01.700"}` is the 17th
//! of its key, and event time goes on by a tenth of a second with each round. So it is known to the row what must come out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use chrono::DateTime;
use kinesql_engine::runtime::clock::SystemClock;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[allow(dead_code, reason = "each test binary uses some of the servers")]
#[path = "../../connectors/tests/aws/servers.rs"]
mod servers;
#[path = "../../connectors/tests/aws/streams.rs"]
mod streams;

/// Time that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Keys of the rows.
const KEYS: u64 = 12;

/// Rounds in a window of a second, and in a request of the producer.
const ROUNDS_PER_SECOND: u64 = 10;

/// Where a key belongs: three in four to the lower half of the hash space, whose shards so take three times as long to read.
fn hash_key(key: u64) -> u128 {
    let half = u128::MAX / 2;
    let (start, place, of) = if key < 9 { (0, key, 9) } else { (half, key - 9, 3) };
    start + half / (2 * of) * u128::from(2 * place + 1)
}

fn time(round: u64) -> String {
    let time = DateTime::from_timestamp_millis(1_704_067_200_000 + 100 * round as i64).expect("in range");
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

fn entry(row: &Value, hash_key: u128) -> PutRecordsRequestEntry {
    let entry = PutRecordsRequestEntry::builder().data(Blob::new(row.to_string())).partition_key("any");
    entry.explicit_hash_key(hash_key.to_string()).build().expect("complete")
}

/// Puts rounds until it is stopped, some of them in each request.
struct Producer {
    rounds: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Producer {
    fn start(client: &Client, stream: &str) -> Self {
        let (counter, rounds) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let (client, stream) = (client.clone(), stream.to_owned());
        let task = tokio::spawn(async move {
            while !*stopped.borrow() {
                let first = *counter.borrow();
                let next = first + ROUNDS_PER_SECOND;
                let row = |round, key| json!({ "k": format!("key {key}"), "n": round, "t": time(round) });
                let round = |round| (0..KEYS).map(move |key| entry(&row(round, key), hash_key(key)));
                put(&client, &stream, (first..next).flat_map(round).collect()).await;
                counter.send_replace(next);
            }
        });
        Self { rounds, stop, task }
    }

    /// How many rounds were put.
    fn rounds(&self) -> u64 {
        *self.rounds.borrow()
    }

    /// Waits until so many more are.
    async fn puts(&mut self, rounds: u64) {
        let end = self.rounds() + rounds;
        let waited = tokio::time::timeout(PATIENCE, self.rounds.wait_for(|rounds| *rounds >= end)).await;
        waited.expect("the producer is slow").expect("the producer runs");
    }

    /// Stops; returns how many rounds there are.
    async fn stop(self) -> u64 {
        self.stop.send_replace(true);
        self.task.await.expect("no panic");
        *self.rounds.borrow()
    }
}

async fn put(client: &Client, stream: &str, entries: Vec<PutRecordsRequestEntry>) {
    let answer = client.put_records().stream_name(stream).set_records(Some(entries)).send().await;
    assert_eq!(answer.expect("records are put").failed_record_count(), Some(0));
}

/// A row into every open shard that is later than all others: windows before it close.
async fn close_windows(client: &Client, stream: &str) -> usize {
    let answer = client.list_shards().stream_name(stream).send().await.expect("listed");
    let is_open = |shard: &&aws_sdk_kinesis::types::Shard| {
        shard.sequence_number_range().is_none_or(|range| range.ending_sequence_number().is_none())
    };
    let starts = answer.shards().iter().filter(is_open).filter_map(|shard| shard.hash_key_range());
    let row = json!({ "k": "end", "n": 0, "t": "2030-01-01 00:00:00.000" });
    let entries: Vec<_> = starts.map(|range| entry(&row, range.starting_hash_key().parse().expect("a number"))).collect();
    let shards = entries.len();
    put(client, stream, entries).await;
    shards
}

/// A process in a folder of its own, started as often as it is killed.
struct App {
    folder: tempfile::TempDir,
    arguments: &'static [&'static str],
    process: Option<Child>,
}

impl App {
    fn new(sql: &str, arguments: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("app.sql"), sql).expect("written");
        let mut app = Self { folder, arguments, process: None };
        app.start();
        app
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self) {
        let said = std::fs::OpenOptions::new().create(true).append(true).open(self.path("said")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesql"));
        command.args(["run", "app.sql", "--no-progress", "--checkpoint-dir", "checkpoints", "--checkpoint-interval", "100ms"]);
        command.args(self.arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        self.process = Some(command.spawn().expect("started"));
    }

    /// `kill -9`.
    fn kill(&mut self) {
        let mut process = self.process.take().expect("running");
        process.kill().expect("killed");
        process.wait().expect("ended");
    }

    /// Ctrl-C: the last checkpoint is taken.
    fn stop(&mut self) {
        let mut process = self.process.take().expect("running");
        let status = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
        assert!(process.wait().expect("ended").success(), "{}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// The rows in a file, without one that is being written.
    fn rows(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
    }

    /// Waits until `is_so`.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let clock = SystemClock::shared();
        let end = clock.now() + PATIENCE.as_millis() as i64;
        while !is_so(self) {
            let ended = self.process.as_mut().expect("running").try_wait().expect("asked");
            assert!(ended.is_none(), "it ended: {}", self.said());
            assert!(clock.now() < end, "{what}: {} rows so far\n{}", self.rows("rows.json").len(), self.said());
            clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for more rows than there are, and a checkpoint with them.
    async fn goes_on(&mut self) {
        let checkpoints = |app: &Self| {
            let entries = std::fs::read_dir(app.path("checkpoints")).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("manifest-")).max()
        };
        let rows = self.rows("rows.json").len();
        self.until("more rows", |app| app.rows("rows.json").len() > rows).await;
        let newest = checkpoints(self);
        self.until("a checkpoint", |app| checkpoints(app) != newest).await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A source of the rows. Not even a millisecond of lateness is allowed.
fn source(stream: &str, endpoint: &str, more: &str) -> String {
    format!(
        r#"CREATE SOURCE "S" ("k" VARCHAR(8), "n" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (
    connector = 'kinesis', stream = '{stream}', region = 'us-east-1', endpoint = '{endpoint}',
    scan.start = 'trim_horizon', discovery_interval = '1s'{more});
"#
    )
}

/// The rows as they come, windows of a second, and what failed or came late.
const ROWS_AND_WINDOWS: &str = r#"
CREATE STREAM "ROWS" ("k" VARCHAR(8), "n" INTEGER);
CREATE PUMP "P1" AS INSERT INTO "ROWS" SELECT STREAM "k", "n" FROM "S";
CREATE STREAM "WINDOWS" ("w" TIMESTAMP, "k" VARCHAR(8), "c" INTEGER, "s" INTEGER);
CREATE PUMP "P2" AS INSERT INTO "WINDOWS"
    SELECT STREAM STEP("S".ROWTIME BY INTERVAL '1' SECOND), "k", COUNT(*), SUM("n")
    FROM "S" GROUP BY "k", STEP("S".ROWTIME BY INTERVAL '1' SECOND);
CREATE SINK "K1" FROM "ROWS" WITH (connector = 'file', path = 'rows.json');
CREATE SINK "K2" FROM "WINDOWS" WITH (connector = 'file', path = 'windows.json');
CREATE SINK "K3" FROM error_stream WITH (connector = 'file', path = 'errors.json');
"#;

/// What must be in windows.json after so many rounds, in any order.
fn expected_windows(rounds: u64) -> BTreeSet<String> {
    let mut windows = BTreeSet::new();
    for start in (0..rounds).step_by(ROUNDS_PER_SECOND as usize) {
        let numbers = start..(start + ROUNDS_PER_SECOND).min(rounds);
        for key in 0..KEYS {
            let (count, sum) = (numbers.end - numbers.start, numbers.clone().sum::<u64>());
            windows.insert(json!({ "w": time(start), "k": format!("key {key}"), "c": count, "s": sum }).to_string());
        }
    }
    windows
}

/// The numbers of each key, in the order of the rows.
fn numbers(rows: &[Value]) -> BTreeMap<String, Vec<u64>> {
    let mut numbers: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["k"] != "end") {
        numbers.entry(row["k"].as_str().expect("a key").to_owned()).or_default().push(row["n"].as_u64().expect("a number"));
    }
    numbers
}

/// 2 shards become 4 and then 3 while rows are put; two processes, one with two lanes, are killed after each. Nothing is lost,
/// nothing is counted or written twice, no row is late, and within a lane a key keeps its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reshards_and_kills_under_load_change_nothing() {
    let Some(server) = servers::kinesis() else { return };
    let client = streams::client(&server.endpoint);
    streams::create(&client, "resharded", 2).await;
    let mut producer = Producer::start(&client, "resharded");
    // Shards are read slowly, five times a second, so that some are far ahead of the others when the stream is resharded.
    producer.puts(150).await;
    let sql = source("resharded", &server.endpoint, ", max_records = 60") + ROWS_AND_WINDOWS;
    let mut apps = [App::new(&sql, &[]), App::new(&sql, &["--parallelism", "2"])];
    for shards in [4, 3] {
        for app in &mut apps {
            app.goes_on().await;
        }
        streams::reshard(&client, "resharded", shards).await;
        // Some parents are at their ends, some children have begun, and the rest is on its way.
        producer.puts(20).await;
        apps.iter_mut().for_each(App::kill);
        producer.puts(20).await;
        apps.iter_mut().for_each(App::start);
    }
    for app in &mut apps {
        app.goes_on().await;
    }
    let rounds = producer.stop().await;
    assert_eq!(close_windows(&client, "resharded").await, 3);
    let windows = expected_windows(rounds);
    for app in &mut apps {
        app.until("all windows", |app| app.rows("windows.json").len() >= windows.len()).await;
        app.stop();
        assert_eq!(app.said().matches("going on from checkpoint").count(), 2, "{}", app.said());
        assert_eq!(app.rows("errors.json"), [] as [Value; 0]);
        let written = app.rows("windows.json");
        assert_eq!(written.len(), windows.len());
        let written: BTreeSet<_> = written.iter().map(ToString::to_string).collect();
        assert!(written == windows, "{:?}", written.symmetric_difference(&windows).collect::<Vec<_>>());
        let rows = app.rows("rows.json");
        assert_eq!(rows.len() as u64, rounds * KEYS + 3);
        for (key, mut numbers) in numbers(&rows) {
            if app.arguments.contains(&"--parallelism") {
                // The last rows of one parent of a merge may come from one lane while the other has begun with the child.
                numbers.sort_unstable();
            }
            assert!(numbers.iter().copied().eq(0..rounds), "{key}: {numbers:?}");
        }
    }
}

/// Three processes share a stream. One is killed: the others take its shards, go on behind its last checkpoint, and no row is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_processes_survives_the_death_of_one() {
    let (Some(server), Some(dynalite)) = (servers::kinesis(), servers::dynalite()) else { return };
    let client = streams::client(&server.endpoint);
    streams::create(&client, "shared", 6).await;
    let leases = format!(
        ", rowtime = 'arrival', lease = 'dynamodb', lease.table = 'fleet', lease.endpoint = '{}', lease.duration = '4s',
    lease.renew_interval = '500ms'",
        dynalite.endpoint
    );
    // A row's own time would be late where the process stands already that takes its shard.
    let source = source("shared", &server.endpoint, &leases).replace(", WATERMARK FOR \"t\" AS \"t\"", "");
    let sql = source + "CREATE SINK \"K\" FROM \"S\" WITH (connector = 'file', path = 'rows.json');";
    let mut producer = Producer::start(&client, "shared");
    let mut apps = [(); 3].map(|()| App::new(&sql, &[]));
    for app in &mut apps {
        app.goes_on().await;
    }
    let [mut first, mut second, mut dead] = apps;
    dead.goes_on().await;
    dead.kill();
    // A round that is on its way may still be the dead one's.
    let killed_in = producer.rounds();
    producer.puts(100).await;
    let rounds = producer.stop().await;
    let survivors = |first: &App| [first.rows("rows.json"), second.rows("rows.json")].concat();
    let before = dead.rows("rows.json");
    let is_complete = |first: &App| {
        let numbers = numbers(&[before.clone(), survivors(first)].concat());
        let distinct = |numbers: &Vec<u64>| numbers.iter().collect::<BTreeSet<_>>().len() as u64;
        numbers.values().map(distinct).sum::<u64>() == rounds * KEYS
    };
    first.until("all rows", is_complete).await;
    let after = survivors(&first);
    for (key, numbers) in numbers(&after) {
        let numbers: BTreeSet<_> = numbers.into_iter().collect();
        assert!((killed_in + 1..rounds).all(|round| numbers.contains(&round)), "{key} after the death: {numbers:?}");
    }
    for (key, mut numbers) in numbers(&[before, after].concat()) {
        numbers.sort_unstable();
        let twice: Vec<_> = numbers.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert!(twice.iter().all(|round| *round <= killed_in), "only what the dead one had read: {key} {twice:?}");
    }
    first.stop();
    second.stop();
}

/// One line that names the call, what it was about and what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_there_is_one_line_and_a_hint() {
    let Some(server) = servers::kinesis() else { return };
    let client = streams::client(&server.endpoint);
    streams::create(&client, "elsewhere", 1).await;
    for (stream, region) in [("nowhere", "us-east-1"), ("elsewhere", "eu-west-1")] {
        let source = source(stream, &server.endpoint, "").replace("us-east-1", region);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("app.sql"), source + ROWS_AND_WINDOWS).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesql"));
        let output = command.args(["run", "app.sql"]).current_dir(folder.path()).stdin(Stdio::null()).output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let lines: Vec<_> = said.lines().collect();
        let begin = format!("error: kinesis:ListShards of stream \"{stream}\": ResourceNotFoundException");
        assert!(lines[0].starts_with(&begin), "{said}");
        assert_eq!(lines[1..], ["hint: Check its name and the region: it does not exist there."], "{said}");
    }
}
