//! Sliding windows against their definition: whatever the cut into batches, the number of splits and the restarts.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Int32Type, Int64Type, Schema, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use kinesql_engine::connector::memory::{MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;
use kinesql_engine::{CheckpointOptions, Engine};
use proptest::prelude::*;

/// Key, value, event time in milliseconds. No two rows have the same time: splits have no order among each other.
type Row = (u8, Option<i32>, i64);

/// COUNT(*), SUM, MIN, LAG, COUNT of all rows, ROWTIME: what the query below gives.
type Result = (i64, Option<i32>, Option<i32>, Option<i32>, i64, i64);

const LENGTH_MS: i64 = 2_000;

/// Rows may be late by up to this much.
const DELAY_MS: i64 = 400;

const APPLICATION: &str = r#"
    CREATE STREAM "OUT" ("n" BIGINT, "sum" INTEGER, "lo" INTEGER, "before" INTEGER, "all" BIGINT, "at" TIMESTAMP);
    CREATE PUMP "P" AS INSERT INTO "OUT"
      SELECT STREAM COUNT(*) OVER w, SUM("v") OVER w, MIN("v" + 1) OVER w - 1, LAG("v", 2) OVER (PARTITION BY "k" ROWS 3 PRECEDING),
        COUNT(*) OVER (ROWS UNBOUNDED PRECEDING), ROWTIME
      FROM "S" WINDOW w AS (PARTITION BY "k" RANGE INTERVAL '2' SECOND PRECEDING);
"#;

/// The definition.
fn expected(rows: &[Row]) -> Vec<Result> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.2);
    let result = |(place, (key, _, time)): (usize, &Row)| {
        let of_key: Vec<&Row> = rows[..=place].iter().filter(|row| row.0 == *key).collect();
        let frame = || of_key.iter().filter(|row| row.2 >= time - LENGTH_MS);
        let values: Vec<i32> = frame().filter_map(|row| row.1).collect();
        let sum = (!values.is_empty()).then(|| values.iter().sum());
        let before = of_key.iter().rev().nth(2).and_then(|row| row.1);
        (frame().count() as i64, sum, values.iter().min().copied(), before, place as i64 + 1, *time)
    };
    rows.iter().enumerate().map(result).collect()
}

fn columns() -> Arc<Schema> {
    let fields = [("k", SqlType::Varchar(4)), ("v", SqlType::Integer), ("t", SqlType::Timestamp)];
    Arc::new(Schema::new(fields.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|(key, ..)| Some(format!("k{key}"))).collect::<StringArray>());
    let values: ArrayRef = Arc::new(rows.iter().map(|(_, value, _)| *value).collect::<Int32Array>());
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(.., time)| *time)));
    RecordBatch::try_new(columns(), vec![keys, values, times]).expect("as declared")
}

fn results(sink: &MemorySink) -> Vec<Result> {
    let mut results = Vec::new();
    for batch in sink.batches() {
        let big = |column: usize, row| batch.column(column).as_primitive::<Int64Type>().value(row);
        let number = |column: usize, row| {
            let column = batch.column(column).as_primitive::<Int32Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        let time = |row| batch.column(5).as_primitive::<TimestampMillisecondType>().value(row);
        let rows = 0..batch.num_rows();
        results.extend(rows.map(|row| (big(0, row), number(1, row), number(2, row), number(3, row), big(4, row), time(row))));
    }
    results
}

/// Runs the application; before every piece in `restarts` the job is killed and started again from its checkpoint.
async fn run(rows: &[Row], cuts: &[usize], splits: usize, restarts: &[usize]) -> Vec<Result> {
    let source = MemorySource::with_splits(columns(), splits);
    let sink = MemorySink::default();
    let folder = tempfile::tempdir().expect("a folder");
    let start = || async {
        let never = Duration::from_secs(1_000_000_000);
        let checkpoints = CheckpointOptions { interval: never, ..CheckpointOptions::new(folder.path()) };
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).checkpoints(checkpoints).build().expect("an engine");
        let delay = Duration::from_millis(DELAY_MS as u64);
        engine.add_source("S", Arc::new(source.clone()), Some(("t", delay))).expect("a time column");
        engine.execute(&Script::new("app.sql", APPLICATION)).await.expect("right");
        engine.add_sink("R", "OUT", Arc::new(sink.clone())).expect("a stream");
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
    results(&sink)
}

/// Rows in order of time, shaken by less than the delay.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0u8..4, prop::option::weighted(0.8, -100i32..100), prop_oneof![Just(0i64), 0i64..2, 0i64..40], 0..DELAY_MS / 64);
    prop::collection::vec(row, 0..60).prop_map(|rows| {
        let mut time = 0;
        let rows = rows.into_iter().enumerate().map(|(place, (key, value, step, shake))| {
            time += step;
            // The last six bits keep the times apart.
            (key, value, (time - shake) * 64 + place as i64)
        });
        rows.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn sliding_windows_follow_their_definition(
        rows in rows(), cuts in prop::collection::vec(0usize..60, 0..6), splits in 1usize..4, restarts in prop::collection::vec(0usize..6, 0..3)
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
        cuts.sort_unstable();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let got = runtime.block_on(run(&rows, &cuts, splits, &restarts));
        prop_assert_eq!(got, expected(&rows));
    }
}
