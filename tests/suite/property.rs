//! Tumbling windows against their definition: whatever the cut into batches, the number of splits and the restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Int32Type, Int64Type, Schema, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use kinesql_engine::connector::memory::{MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;
use kinesql_engine::{CheckpointOptions, Engine};
use proptest::prelude::*;

/// Key, value, event time in milliseconds.
pub type Row = (Option<u8>, Option<i32>, i64);

/// Window start, key, COUNT(*), SUM, MIN, MAX, ROWTIME: what the query below gives.
pub type Result = (i64, Option<String>, i64, Option<i32>, Option<i32>, Option<i32>, i64);

const WINDOW_MS: i64 = 1_000;

/// Rows may be late by up to this much.
pub const DELAY_MS: i64 = 400;

const APPLICATION: &str = r#"
    CREATE STREAM "OUT" ("start" TIMESTAMP, "k" VARCHAR(4), "n" BIGINT, "sum" INTEGER, "lo" INTEGER, "hi" INTEGER, "at" TIMESTAMP);
    CREATE PUMP "P" AS INSERT INTO "OUT"
      SELECT STREAM STEP("S".ROWTIME BY INTERVAL '1' SECOND), "k", COUNT(*), SUM("v"), MIN("v"), MAX("v"), ROWTIME
      FROM "S" GROUP BY "k", STEP("S".ROWTIME BY INTERVAL '1' SECOND);
"#;

/// The definition.
fn expected(rows: &[Row]) -> Vec<Result> {
    let mut groups: BTreeMap<(i64, bool, Option<String>), Vec<Option<i32>>> = BTreeMap::new();
    for (key, value, time) in rows {
        let key = key.map(|key| format!("k{key}"));
        groups.entry((time.div_euclid(WINDOW_MS) * WINDOW_MS, key.is_none(), key)).or_default().push(*value);
    }
    let result = |((start, _, key), values): ((i64, bool, Option<String>), Vec<Option<i32>>)| {
        let present: Vec<i32> = values.iter().copied().flatten().collect();
        let sum = (!present.is_empty()).then(|| present.iter().sum());
        (start, key, values.len() as i64, sum, present.iter().min().copied(), present.iter().max().copied(), start + WINDOW_MS)
    };
    groups.into_iter().map(result).collect()
}

pub fn columns() -> Arc<Schema> {
    let fields = [("k", SqlType::Varchar(4)), ("v", SqlType::Integer), ("t", SqlType::Timestamp)];
    Arc::new(Schema::new(fields.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|(key, ..)| key.map(|key| format!("k{key}"))).collect::<StringArray>());
    let values: ArrayRef = Arc::new(rows.iter().map(|(_, value, _)| *value).collect::<Int32Array>());
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(.., time)| *time)));
    RecordBatch::try_new(columns(), vec![keys, values, times]).expect("as declared")
}

pub fn results(sink: &MemorySink) -> Vec<Result> {
    let mut results = Vec::new();
    for batch in sink.batches() {
        let time = |column: usize, row| batch.column(column).as_primitive::<TimestampMillisecondType>().value(row);
        let number = |column: usize, row| {
            let column = batch.column(column).as_primitive::<Int32Type>();
            arrow::array::Array::is_valid(column, row).then(|| column.value(row))
        };
        for row in 0..batch.num_rows() {
            let key = batch.column(1).as_string::<i32>();
            let key = arrow::array::Array::is_valid(key, row).then(|| key.value(row).to_owned());
            let count = batch.column(2).as_primitive::<Int64Type>().value(row);
            results.push((time(0, row), key, count, number(3, row), number(4, row), number(5, row), time(6, row)));
        }
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

/// Rows in order of time, shaken by less than the delay; some times are equal, some windows are empty.
pub fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::weighted(0.9, 0u8..4),
        prop::option::weighted(0.8, -100i32..100),
        prop_oneof![Just(0i64), 0i64..50, 0i64..3_000],
        0..DELAY_MS,
    );
    prop::collection::vec(row, 0..60).prop_map(|rows| {
        let mut time = 0;
        rows.into_iter()
            .map(|(key, value, step, shake)| {
                time += step;
                (key, value, time - shake)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn tumbling_windows_follow_their_definition(
        rows in rows(), cuts in prop::collection::vec(0usize..60, 0..6), splits in 1usize..4, restarts in prop::collection::vec(0usize..6, 0..3)
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
        cuts.sort_unstable();
        // Splits each see a part of the rows: what is in time for all of them together is in time for each alone.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let got = runtime.block_on(run(&rows, &cuts, splits, &restarts));
        prop_assert_eq!(got, expected(&rows));
    }
}
