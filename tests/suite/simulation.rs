//! A job that is killed, loses its disk and its services, and is started again: what it committed is what a quiet run gives.
//!
//! A seed decides everything: the rows, which split gets them and when, the clock, checkpoints, kills and faults. A kill drops
//! the job's whole runtime, as the end of a process would. `KINESQL_SEED=7 cargo test simulation` repeats one seed,
//! `KINESQL_SEED=0..5000` looks further.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::{Clock, ManualClock};
use kinesql_engine::types::SqlType;
use kinesql_engine::{CheckpointOptions, Engine, Result};
use kinesql_tests::fragile::{Call, Fault, Faults, FragileSinks, FragileSource, FragileStore, PLANNED};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Rows may be late by up to this much; some are later.
const DELAY_MS: i64 = 400;

const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// A filter, windows over several splits, windows over what was filtered, and rows that fail.
const APPLICATION: &str = r#"
    CREATE STREAM "ROWS" ("k" VARCHAR(4), "v" INTEGER, "share" INTEGER);
    CREATE PUMP "FILTER" AS INSERT INTO "ROWS" SELECT STREAM "k", "v", 1000 / "v" FROM "S" WHERE "v" >= 0;
    CREATE STREAM "WINDOWS" ("start" TIMESTAMP, "k" VARCHAR(4), "n" BIGINT, "sum" DOUBLE, "lo" INTEGER, "mean" DOUBLE, "at" TIMESTAMP);
    CREATE PUMP "TUMBLE" AS INSERT INTO "WINDOWS"
      SELECT STREAM STEP("S".ROWTIME BY INTERVAL '1' SECOND), "k", COUNT(*), SUM("price"), MIN("v"), AVG("price"), ROWTIME
      FROM "S" GROUP BY "k", STEP("S".ROWTIME BY INTERVAL '1' SECOND);
    CREATE STREAM "TOTALS" ("n" BIGINT, "sum" BIGINT, "at" TIMESTAMP);
    CREATE PUMP "TOTAL" AS INSERT INTO "TOTALS"
      SELECT STREAM COUNT(*), SUM("share"), ROWTIME FROM "ROWS" GROUP BY STEP("ROWS".ROWTIME BY INTERVAL '5' SECOND);
    CREATE STREAM "ERRORS" ("name" VARCHAR(32), "message" VARCHAR(4096), "at" TIMESTAMP, "row" VARCHAR(49152), "pump" VARCHAR(128));
    CREATE PUMP "WATCH" AS INSERT INTO "ERRORS"
      SELECT STREAM ERROR_NAME, MESSAGE, DATA_ROWTIME, DATA_ROW, PUMP_NAME FROM "error_stream";
    CREATE SINK "rows" FROM "ROWS" WITH (connector = 'fragile', path = '{folder}/rows.jsonl');
    CREATE SINK "windows" FROM "WINDOWS" WITH (connector = 'fragile', path = '{folder}/windows/');
    CREATE SINK "totals" FROM "TOTALS" WITH (connector = 'fragile', path = '{folder}/totals.jsonl');
    CREATE SINK "errors" FROM "ERRORS" WITH (connector = 'fragile', path = '{folder}/errors/');
"#;

/// Rows of different splits come in any order there.
const UNORDERED: [&str; 2] = ["rows", "errors"];

#[derive(Debug, Clone)]
enum Step {
    /// Rows for a split.
    Feed(usize, RecordBatch),
    /// The clock moves on.
    Clock(i64),
    /// The tasks of the job get so many turns.
    Run(usize),
    /// A checkpoint is asked for, and waited for or not.
    Checkpoint(bool),
    /// A call will fail.
    Fault(Fault),
    /// The process ends.
    Kill,
}

struct Plan {
    splits: usize,
    steps: Vec<Step>,
}

impl Plan {
    fn with_seed(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let splits = [1, 2, 4, 12][random.random_range(0..4)];
        let mut times = vec![0; splits];
        let mut steps = Vec::new();
        for _ in 0..random.random_range(20..120) {
            steps.push(match random.random_range(0..100) {
                0..45 => {
                    let split = random.random_range(0..splits);
                    Step::Feed(split, rows(&mut random, &mut times[split]))
                }
                45..55 => Step::Clock(random.random_range(0..8_000)),
                55..75 => Step::Run(random.random_range(0..200)),
                75..85 => Step::Checkpoint(random.random()),
                85..95 => Step::Fault(Fault {
                    call: Call::ALL[random.random_range(0..Call::ALL.len())],
                    skip: random.random_range(0..4),
                    after: random.random(),
                }),
                _ => Step::Kill,
            });
        }
        Self { splits, steps }
    }

    /// The same rows, and nothing goes wrong.
    fn quiet(&self) -> Self {
        let steps = self.steps.iter().filter(|step| matches!(step, Step::Feed(..))).cloned().collect();
        Self { splits: self.splits, steps }
    }
}

fn columns() -> Arc<Schema> {
    let fields = [("k", SqlType::Varchar(4)), ("v", SqlType::Integer), ("price", SqlType::Double), ("t", SqlType::Timestamp)];
    Arc::new(Schema::new(fields.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()))
}

/// Up to ten rows in about the order of time: some late, some twice, some NULL.
fn rows(random: &mut SmallRng, time: &mut i64) -> RecordBatch {
    type Row = (Option<String>, Option<i32>, Option<f64>, Option<i64>);
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..random.random_range(0..10) {
        *time += [0, random.random_range(0..50), random.random_range(0..2_000)][random.random_range(0..3)];
        match rows.last() {
            Some(last) if random.random_bool(0.1) => rows.push(last.clone()),
            _ => rows.push((
                random.random_bool(0.9).then(|| format!("k{}", random.random_range(0..4))),
                random.random_bool(0.9).then(|| random.random_range(-3..12)),
                random.random_bool(0.9).then(|| random.random_range(0.0..100.0)),
                random.random_bool(0.95).then(|| *time - random.random_range(0..DELAY_MS + DELAY_MS / 4)),
            )),
        }
    }
    let columns_of_rows: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<TimestampMillisecondArray>()),
    ];
    RecordBatch::try_new(columns(), columns_of_rows).expect("as declared")
}

/// Where a job writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    Files,
}

/// Everything that outlives a process.
struct World {
    seed: u64,
    place: Place,
    clock: Arc<ManualClock>,
    faults: Faults,
    source: FragileSource,
    sinks: FragileSinks,
    folder: tempfile::TempDir,
    engine: Engine,
}

impl World {
    fn new(seed: u64, place: Place, splits: usize) -> Self {
        let clock = ManualClock::starting_at(0);
        let faults = Faults::with_seed(seed);
        let source = FragileSource::new(&columns(), splits, &faults);
        let sinks = match place {
            Place::Memory => FragileSinks::in_memory(&faults),
            Place::Files => FragileSinks::files(&faults),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = CheckpointOptions {
            store: Some(Arc::new(FragileStore::new(&faults))),
            interval: CHECKPOINT_INTERVAL,
            retain: 1 + seed as usize % 3,
            ..CheckpointOptions::new("checkpoints")
        };
        let builder = Engine::builder().clock(clock.clone()).checkpoints(checkpoints);
        let engine = builder.connectors(|registry| registry.register_sink(Arc::new(sinks.clone()))).build().expect("an engine");
        let delay = Duration::from_millis(DELAY_MS as u64);
        engine.add_source("S", Arc::new(source.clone()), Some(("t", delay))).expect("a time column");
        let script = APPLICATION.replace("{folder}", &folder.path().display().to_string());
        run_on_new_runtime(engine.execute(&Script::new("app.sql", script))).expect("right");
        Self { seed, place, clock, faults, source, sinks, folder, engine }
    }

    /// One process: takes steps until it is killed, fails, or everything is done (true).
    async fn process(&self, steps: &mut impl Iterator<Item = Step>) -> Result<bool> {
        let job = self.engine.start().await?;
        for step in steps {
            match step {
                Step::Feed(split, rows) => self.source.splits()[split].push(rows),
                Step::Clock(milliseconds) => self.clock.set(self.clock.now() + milliseconds),
                Step::Run(turns) => {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                }
                Step::Checkpoint(true) => drop(job.checkpoint().await?),
                Step::Checkpoint(false) => drop(futures::poll!(std::pin::pin!(job.checkpoint()))),
                Step::Fault(fault) => self.faults.plan(fault),
                Step::Kill => return Ok(false),
            }
        }
        self.source.finish();
        job.wait().await?;
        Ok(true)
    }

    /// Processes one after the other until everything is done; what the sinks have committed then.
    fn run(&self, plan: &Plan) -> BTreeMap<&'static str, Vec<u8>> {
        let mut steps = plan.steps.iter().cloned();
        let mut before = self.committed();
        loop {
            let met = self.faults.met();
            let ended = run_on_new_runtime(self.process(&mut steps));
            let committed = self.committed();
            for (name, rows) in before.iter().filter(|(name, _)| self.place == Place::Memory || **name == "windows") {
                assert!(committed[name].starts_with(rows), "seed {}: {name} lost rows that were committed", self.seed);
            }
            before = committed;
            match ended {
                Ok(true) => return before,
                Ok(false) => {}
                Err(error) if format!("{error:?}").contains(PLANNED) && self.faults.met() > met => {}
                Err(error) => panic!("seed {}: {error:?}", self.seed),
            }
        }
    }

    fn committed(&self) -> BTreeMap<&'static str, Vec<u8>> {
        ["rows", "windows", "totals", "errors"]
            .map(|name| match self.place {
                Place::Memory => (name, self.sinks.committed(name)),
                Place::Files => (name, read(self.folder.path(), name)),
            })
            .into()
    }
}

/// A file, or the visible files of a folder in the order of their names.
fn read(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(name);
    let mut parts: Vec<_> = match std::fs::read_dir(&path) {
        Ok(entries) => entries.map(|entry| entry.expect("readable").path()).collect(),
        Err(_) => vec![path.with_extension("jsonl")],
    };
    parts.retain(|part| part.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    parts.sort();
    parts.iter().flat_map(|part| std::fs::read(part).unwrap_or_default()).collect()
}

/// As a process does: when the future is done, whatever still runs is cut off.
fn run_on_new_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Shows the first line that differs.
fn assert_same(what: &str, plan: &Plan, output: &BTreeMap<&'static str, Vec<u8>>, expected: &BTreeMap<&'static str, Vec<u8>>) {
    let (output, expected) = (comparable(plan, output), comparable(plan, expected));
    for (name, expected) in &expected {
        let output = &output[name];
        let same = output.iter().zip(expected).take_while(|(line, expected)| line == expected).count();
        assert!(
            same == output.len() && same == expected.len(),
            "{what}: {name}: line {} of {} is\n{}\nnot, of {},\n{}",
            same + 1,
            output.len(),
            output.get(same).map_or("missing", String::as_str),
            expected.len(),
            expected.get(same).map_or("the end", String::as_str),
        );
    }
}

fn comparable(plan: &Plan, output: &BTreeMap<&'static str, Vec<u8>>) -> BTreeMap<&'static str, Vec<String>> {
    let lines = |(name, rows): (&&'static str, &Vec<u8>)| {
        let mut lines: Vec<String> = String::from_utf8_lossy(rows).lines().map(str::to_owned).collect();
        if plan.splits > 1 && UNORDERED.contains(name) {
            lines.sort();
        }
        (*name, lines)
    };
    output.iter().map(lines).collect()
}

fn seeds(range: std::ops::Range<u64>) -> Vec<u64> {
    let Ok(chosen) = std::env::var("KINESQL_SEED") else { return range.collect() };
    let number = |text: &str| text.parse::<u64>().expect("KINESQL_SEED is a number, or two as in 0..1000");
    match chosen.split_once("..") {
        Some((first, end)) => (number(first)..number(end)).collect(),
        None => vec![number(&chosen)],
    }
}

/// Returns how many faults were met.
fn survives(seed: u64, place: Place) -> usize {
    let plan = Plan::with_seed(seed);
    let expected = World::new(seed, Place::Memory, plan.splits).run(&plan.quiet());
    let world = World::new(seed, place, plan.splits);
    let output = world.run(&plan);
    assert_same(&format!("seed {seed}, {place:?}"), &plan, &output, &expected);
    // A job that is complete and is started again has nothing to add.
    let more = world.run(&Plan { splits: plan.splits, steps: Vec::new() });
    assert_same(&format!("seed {seed}, {place:?}, once more"), &plan, &more, &output);
    world.faults.met()
}

#[test]
fn committed_rows_are_those_of_a_quiet_run() {
    let met: usize = seeds(0..64).into_iter().map(|seed| survives(seed, Place::Memory)).sum();
    assert!(met > 0 || std::env::var("KINESQL_SEED").is_ok(), "no fault was met");
}

#[test]
fn files_hold_the_rows_of_a_quiet_run() {
    for seed in seeds(100..124) {
        survives(seed, Place::Files);
    }
}
