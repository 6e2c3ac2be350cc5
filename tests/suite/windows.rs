//! Hopping windows, sessions and the first rows of windows against their definitions: whatever the cut into batches, the
//! number of splits and the restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use kinesql_engine::connector::memory::{MemoryConnector, MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::{CheckpointOptions, Engine};
use proptest::prelude::*;

use crate::property::{DELAY_MS, Result, Row, columns, results, rows};

const SIZE_MS: i64 = 3_000;
const SLIDE_MS: i64 = 500;
const GAP_MS: i64 = 700;
const TOP: usize = 2;

const APPLICATION: &str = r#"
    CREATE STREAM "HOPS" ("start" TIMESTAMP, "k" VARCHAR(4), "n" BIGINT, "sum" INTEGER, "lo" INTEGER, "hi" INTEGER, "at" TIMESTAMP);
    CREATE PUMP "H" AS INSERT INTO "HOPS"
      SELECT STREAM window_start, "k", COUNT(*), SUM("v"), MIN("v"), MAX("v"), ROWTIME
      FROM TABLE(HOP(TABLE "S", DESCRIPTOR(ROWTIME), INTERVAL '0.5' SECOND, INTERVAL '3' SECOND)) GROUP BY window_start, window_end, "k";

    CREATE STREAM "SESSIONS" ("start" TIMESTAMP, "k" VARCHAR(4), "n" BIGINT, "sum" INTEGER, "lo" INTEGER, "hi" INTEGER, "at" TIMESTAMP);
    CREATE PUMP "P" AS INSERT INTO "SESSIONS"
      SELECT STREAM window_start, "k", COUNT(*), SUM("v"), MIN("v"), MAX("v"), ROWTIME
      FROM TABLE(SESSION(TABLE "S" PARTITION BY "k", DESCRIPTOR(ROWTIME), INTERVAL '0.7' SECOND)) GROUP BY window_start, window_end, "k";

    CREATE STREAM "TOP" ("start" TIMESTAMP, "k" VARCHAR(4), "n" BIGINT, "sum" INTEGER, "lo" INTEGER, "hi" INTEGER, "at" TIMESTAMP);
    CREATE PUMP "T" AS INSERT INTO "TOP"
      SELECT STREAM "start", "k", "n", "sum", "lo", "hi", ROWTIME FROM (
        SELECT STREAM "start", "k", "n", "sum", "lo", "hi", ROW_NUMBER() OVER (PARTITION BY "start" ORDER BY "n" DESC, "k") AS rn FROM (
          SELECT STREAM window_start AS "start", "k", COUNT(*) AS "n", SUM("v") AS "sum", MIN("v") AS "lo", MAX("v") AS "hi"
          FROM TABLE(HOP(TABLE "S", DESCRIPTOR(ROWTIME), INTERVAL '0.5' SECOND, INTERVAL '3' SECOND)) GROUP BY window_start, window_end, "k"))
      WHERE rn <= 2;
"#;

/// Key, value, event time in milliseconds.
type Keyed = (Option<String>, Option<i32>, i64);

/// NULL is last.
type Key = (bool, Option<String>);

fn key(row: &Keyed) -> Key {
    (row.0.is_none(), row.0.clone())
}

fn keyed(rows: &[Row]) -> Vec<Keyed> {
    rows.iter().map(|(key, value, time)| (key.map(|key| format!("k{key}")), *value, *time)).collect()
}

fn batch(rows: &[Keyed]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>());
    let values: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>());
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.2)));
    RecordBatch::try_new(columns(), vec![keys, values, times]).expect("as declared")
}

fn result(start: i64, key: Key, values: &[Option<i32>], end: i64) -> Result {
    let present: Vec<i32> = values.iter().copied().flatten().collect();
    let sum = (!present.is_empty()).then(|| present.iter().sum());
    (start, key.1, values.len() as i64, sum, present.iter().min().copied(), present.iter().max().copied(), end)
}

/// Every row is in the windows that begin at a multiple of the slide, at most a size before it.
fn hops(rows: &[Keyed]) -> Vec<Result> {
    hops_of(rows, SLIDE_MS, SIZE_MS)
}

fn hops_of(rows: &[Keyed], slide: i64, size: i64) -> Vec<Result> {
    let mut groups: BTreeMap<(i64, Key), Vec<Option<i32>>> = BTreeMap::new();
    for row in rows {
        let last = row.2.div_euclid(slide) * slide;
        for start in (0..size / slide).map(|back| last - back * slide) {
            groups.entry((start, key(row))).or_default().push(row.1);
        }
    }
    groups.into_iter().map(|((start, key), values)| result(start, key, &values, start + size)).collect()
}

/// The rows of a key in the order of time, cut where one comes a gap or more after the one before.
fn sessions(rows: &[Keyed]) -> Vec<Result> {
    let mut of_keys: BTreeMap<Key, Vec<&Keyed>> = BTreeMap::new();
    rows.iter().for_each(|row| of_keys.entry(key(row)).or_default().push(row));
    let mut found = Vec::new();
    for (key, mut rows) in of_keys {
        rows.sort_by_key(|row| row.2);
        for session in rows.chunk_by(|a, b| b.2 - a.2 < GAP_MS) {
            let values: Vec<_> = session.iter().map(|row| row.1).collect();
            let end = session[session.len() - 1].2 + GAP_MS;
            found.push((end, key.clone(), result(session[0].2, key.clone(), &values, end)));
        }
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    found.into_iter().map(|(.., result)| result).collect()
}

/// Of each window the groups with the most rows, the first key of equal ones.
fn top(rows: &[Keyed]) -> Vec<Result> {
    let hops = hops(rows);
    let windows = hops.chunk_by(|a, b| a.0 == b.0).flat_map(|window| {
        let mut window = window.to_vec();
        window.sort_by_key(|row| (-row.2, row.1.is_none(), row.1.clone()));
        window.truncate(TOP);
        window
    });
    windows.collect()
}

/// Runs the application; before every piece in `restarts` the job is killed and started again from its checkpoint.
async fn run(rows: &[Keyed], cuts: &[usize], splits: usize, restarts: &[usize]) -> [Vec<Result>; 3] {
    run_application(APPLICATION, rows, cuts, splits, restarts).await
}

async fn run_application(
    application: &str,
    rows: &[Keyed],
    cuts: &[usize],
    splits: usize,
    restarts: &[usize],
) -> [Vec<Result>; 3] {
    let source = MemorySource::with_splits(columns(), splits);
    let sinks = [("HOPS", MemorySink::default()), ("SESSIONS", MemorySink::default()), ("TOP", MemorySink::default())];
    let folder = tempfile::tempdir().expect("a folder");
    let start = || async {
        let never = Duration::from_secs(1_000_000_000);
        let checkpoints = CheckpointOptions { interval: never, ..CheckpointOptions::new(folder.path()) };
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).checkpoints(checkpoints).build().expect("an engine");
        let delay = Duration::from_millis(DELAY_MS as u64);
        engine.add_source("S", Arc::new(source.clone()), Some(("t", delay))).expect("a time column");
        engine.execute(&Script::new("app.sql", application)).await.expect("right");
        for (stream, sink) in &sinks {
            engine.add_sink(&format!("R {stream}"), stream, Arc::new(sink.clone())).expect("a stream");
        }
        engine.start().await.expect("started")
    };
    let mut job = start().await;
    let mut from = 0;
    for (piece, to) in cuts.iter().copied().chain([rows.len()]).enumerate() {
        if restarts.contains(&piece) {
            job.checkpoint().await.expect("written");
            job.abort();
            job = start().await;
        }
        source.push(batch(&rows[from..to.max(from)]));
        from = to.max(from);
    }
    source.finish();
    job.wait().await.expect("complete");
    sinks.map(|(_, sink)| results(&sink))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn ten_thousand_rows_of_one_rowtime_are_in_the_windows_that_begin_there() {
    // Exactly on the end of some windows and the beginning of others.
    let rows: Vec<Keyed> = (0..10_000).map(|n| (Some(format!("k{}", n % 3)), Some(n % 7), 6_000)).collect();
    for splits in [1, 4] {
        let [got_hops, got_sessions, got_top] = wait(run(&rows, &[1, 5_000, 5_000, 9_999], splits, &[2]));
        assert_eq!(got_hops, hops(&rows));
        assert_eq!(got_hops.iter().map(|row| row.0).min(), Some(6_000 + SLIDE_MS - SIZE_MS));
        assert_eq!(got_sessions, sessions(&rows));
        assert_eq!(got_top, top(&rows));
    }
}

#[test]
fn keys_that_come_and_go_are_forgotten_and_come_back() {
    // Each second has 300 keys of its own, and after half a minute the first come again.
    let row = |n: i64| (Some(format!("{:04}", n % 9_000)), Some((n % 100) as i32), n * 10 / 3);
    let rows: Vec<Keyed> = (0..18_000).map(row).collect();
    let cuts: Vec<usize> = (1..60).map(|second| second * 300).collect();
    for (splits, restarts) in [(1, &[][..]), (1, &[7, 31, 32, 50]), (2, &[20])] {
        let [got_hops, got_sessions, got_top] = wait(run(&rows, &cuts, splits, restarts));
        assert!(got_hops == hops(&rows), "{splits} splits, restarts {restarts:?}");
        assert!(got_sessions == sessions(&rows), "{splits} splits, restarts {restarts:?}");
        assert!(got_top == top(&rows), "{splits} splits, restarts {restarts:?}");
    }
}

#[test]
fn splits_forget_keys_of_tumbling_windows_each_at_its_own_time() {
    let hop = "HOP(TABLE \"S\", DESCRIPTOR(ROWTIME), INTERVAL '0.5' SECOND, INTERVAL '3' SECOND)";
    let application = APPLICATION.replace(hop, "TUMBLE(TABLE \"S\", DESCRIPTOR(ROWTIME), INTERVAL '3' SECOND)");
    // Of two splits the first has the same keys all the time, the second new ones in each window: it forgets them, and so does
    // what merges the two.
    let key = |n: i64| if n / 100 % 2 == 0 { n % 100 } else { n };
    let row = |n: i64| (Some(format!("{:04x}", key(n))), Some((n % 100) as i32), n * 10 / 3);
    let rows: Vec<Keyed> = (0..18_000).map(row).collect();
    let cuts: Vec<usize> = (1..180).map(|piece| piece * 100).collect();
    for (splits, restarts) in [(1, &[][..]), (2, &[]), (2, &[31, 32, 90]), (3, &[50])] {
        let [got, ..] = wait(run_application(&application, &rows, &cuts, splits, restarts));
        assert!(got == hops_of(&rows, SIZE_MS, SIZE_MS), "{splits} splits, restarts {restarts:?}");
    }
}

#[test]
fn windows_of_many_panes_are_put_together_from_all_of_them() {
    // 300 panes per window; some keys have rows in all of them, others in few.
    let application = APPLICATION.replace("INTERVAL '0.5' SECOND", "INTERVAL '0.01' SECOND");
    let row = |n: i64| (Some(format!("k{}", if n % 5 == 0 { n % 97 } else { n % 3 })), Some((n % 11) as i32), n * 4 + n % 7);
    let rows: Vec<Keyed> = (0..3_000).map(row).collect();
    let cuts: Vec<usize> = (1..30).map(|piece| piece * 100).collect();
    for (splits, restarts) in [(1, &[][..]), (1, &[8, 9, 21]), (3, &[15])] {
        let [got, ..] = wait(run_application(&application, &rows, &cuts, splits, restarts));
        let expected = hops_of(&rows, 10, SIZE_MS);
        let first = got.iter().zip(&expected).find(|(got, expected)| got != expected);
        assert!(got == expected, "{splits} splits, restarts {restarts:?}: {first:?}, {} of {}", got.len(), expected.len());
    }
}

#[test]
fn sessions_of_a_minute_are_as_right_as_short_ones() {
    // 85 gaps long; some keys are there all the time, others now and then.
    let key = |n: i64| if n % 13 == 0 { n % 41 } else { n % 4 };
    let row = |n: i64| (Some(format!("k{}", key(n))), Some((n % 11) as i32), n * 30 + n % 7 * 40);
    let rows: Vec<Keyed> = (0..2_000).map(row).collect();
    let cuts: Vec<usize> = (1..100).map(|piece| piece * 20).collect();
    for (splits, restarts) in [(1, &[][..]), (1, &[8, 44, 45, 80]), (2, &[50])] {
        let [got_hops, got_sessions, got_top] = wait(run(&rows, &cuts, splits, restarts));
        assert!(got_hops == hops(&rows), "{splits} splits, restarts {restarts:?}");
        assert_eq!(got_sessions, sessions(&rows), "{splits} splits, restarts {restarts:?}");
        assert!(got_top == top(&rows), "{splits} splits, restarts {restarts:?}");
    }
}

#[test]
fn what_windows_hold_is_within_the_memory_budget() {
    let failure = |query: &str, memory_limit: usize| {
        let source = MemorySource::with_splits(columns(), 1);
        let text = format!("CREATE STREAM \"OUT\" AS {query}; CREATE SINK \"R\" FROM \"OUT\" WITH (connector = 'memory');");
        let memory = MemoryConnector::default();
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).memory_limit(memory_limit);
        let engine = engine.connectors(|registry| memory.register(registry)).build().expect("an engine");
        engine.add_source("S", Arc::new(source.clone()), Some(("t", Duration::ZERO))).expect("a time column");
        for piece in 0..100i64 {
            let row = |n| (Some(format!("{:04}", piece * 100 + n)), Some(1), piece * 100 + n);
            source.push(batch(&(0..100).map(row).collect::<Vec<_>>()));
        }
        source.finish();
        wait(async {
            engine.execute(&Script::new("app.sql", text)).await.expect("right");
            engine.start().await.expect("started").wait().await.expect_err("too large").to_string()
        })
    };
    let starts_with = |message: String, expected: &str| assert!(message.starts_with(expected), "{message}");
    let hop = "SELECT STREAM \"k\", COUNT(*) AS \"n\" FROM TABLE(HOP(TABLE \"S\", DESCRIPTOR(ROWTIME), INTERVAL '0.1' SECOND, INTERVAL '1' MINUTE)) \
               GROUP BY window_start, window_end, \"k\"";
    starts_with(failure(hop, 300_000), "hopping window needs ");
    let session = "SELECT STREAM \"k\", COUNT(*) AS \"n\" FROM TABLE(SESSION(TABLE \"S\" PARTITION BY \"k\", DESCRIPTOR(ROWTIME), INTERVAL '1' MINUTE)) \
                   GROUP BY window_start, window_end, \"k\"";
    starts_with(failure(session, 300_000), "session window needs ");
    let numbered =
        "SELECT STREAM \"k\", ROW_NUMBER() OVER (PARTITION BY FLOOR(\"S\".ROWTIME TO HOUR) ORDER BY \"v\") AS rn FROM \"S\"";
    starts_with(failure(numbered, 100_000), "row number needs ");
}

#[test]
fn every_row_of_every_split_is_either_in_time_or_in_the_stream_of_late_rows() {
    let memory = MemoryConnector::with_splits(3);
    let folder = tempfile::tempdir().expect("a folder");
    const APPLICATION: &str = r#"
        CREATE SOURCE "S" ("k" VARCHAR(4), "v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t" - INTERVAL '0.05' SECOND)
          WITH (connector = 'memory', late = 'LATE');
        CREATE STREAM "COUNTS" AS SELECT STREAM 'in time' AS "what", COUNT(*) AS "n", SUM("v") AS "sum" FROM "S" GROUP BY FLOOR("S".ROWTIME TO DAY)
          UNION ALL SELECT STREAM 'late', COUNT(*), SUM("v") FROM LATE GROUP BY FLOOR(LATE.ROWTIME TO DAY);
        CREATE SINK "R" FROM "COUNTS" WITH (connector = 'memory');
    "#;
    let start = || async {
        let never = Duration::from_secs(1_000_000_000);
        let checkpoints = CheckpointOptions { interval: never, ..CheckpointOptions::new(folder.path()) };
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).checkpoints(checkpoints);
        let engine = engine.connectors(|registry| memory.register(registry)).build().expect("an engine");
        engine.execute(&Script::new("app.sql", APPLICATION)).await.expect("right");
        engine.start().await.expect("started")
    };
    let counts = wait(async {
        let mut job = start().await;
        let source = memory.source("S").expect("created");
        for piece in 0..30 {
            // A tenth of the rows is 100 ms behind the one before.
            let row = |n: i64| (None, Some(1), piece * 1_000 + n * 10 - if n % 10 == 9 { 100 } else { 0 });
            source.push(batch(&(0..100).map(row).collect::<Vec<_>>()));
            if piece % 7 == 3 {
                job.checkpoint().await.expect("written");
                job.abort();
                job = start().await;
            }
        }
        source.finish();
        job.wait().await.expect("complete");
        memory.sink("R").expect("created").batches()
    });
    let count = |batch: &RecordBatch, row| {
        (batch.column(0).as_string::<i32>().value(row).to_owned(), batch.column(1).as_primitive::<Int64Type>().value(row))
    };
    let counts: BTreeMap<String, i64> =
        counts.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| count(batch, row))).collect();
    assert_eq!(counts, BTreeMap::from([("in time".to_owned(), 2_700), ("late".to_owned(), 300)]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn hopping_windows_sessions_and_first_rows_follow_their_definitions(
        rows in rows(), cuts in prop::collection::vec(0usize..60, 0..6), splits in 1usize..4, restarts in prop::collection::vec(0usize..6, 0..3)
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
        cuts.sort_unstable();
        let rows = keyed(&rows);
        let [got_hops, got_sessions, got_top] = wait(run(&rows, &cuts, splits, &restarts));
        prop_assert_eq!(got_hops, hops(&rows));
        prop_assert_eq!(got_sessions, sessions(&rows));
        prop_assert_eq!(got_top, top(&rows));
    }
}
