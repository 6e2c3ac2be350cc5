//! ORDER BY on a stream against its definition (kda-sql-reference.md §2.8): whatever the cut into batches, the number of splits
//! and the restarts.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, TimestampMillisecondType};
use kinesql_engine::connector::memory::{MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::{CheckpointOptions, Engine};
use proptest::prelude::*;

use super::join_property::{DELAY_MS, Row, batch, columns, rows};

/// The time of a row and its value.
type Sorted = (i64, i32);

const SQL: &str = "CREATE STREAM \"OUT\" (\"at\" TIMESTAMP, \"v\" INTEGER);
    CREATE PUMP \"P\" AS INSERT INTO \"OUT\" SELECT STREAM s.ROWTIME, \"v\" FROM \"S\" AS s ORDER BY FLOOR(s.ROWTIME TO SECOND), \"v\" DESC, s.ROWTIME";

/// By second, then by value from the greatest down, then by time.
fn expected(rows: &[Row]) -> Vec<Sorted> {
    let mut sorted: Vec<Sorted> = rows.iter().map(|(_, value, time)| (*time, *value)).collect();
    sorted.sort_by_key(|(time, value)| (time.div_euclid(1_000), -value, *time));
    sorted
}

async fn run(pieces: &[&[Row]], splits: usize, restarts: &[usize]) -> Vec<Sorted> {
    let (source, sink) = (MemorySource::with_splits(columns(), splits), MemorySink::default());
    let folder = tempfile::tempdir().expect("a folder");
    let start = || async {
        let never = Duration::from_secs(1_000_000_000);
        let checkpoints = CheckpointOptions { interval: never, ..CheckpointOptions::new(folder.path()) };
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).checkpoints(checkpoints).build().expect("an engine");
        let delay = Duration::from_millis(DELAY_MS as u64);
        engine.add_source("S", Arc::new(source.clone()), Some(("t", delay))).expect("a time column");
        engine.execute(&Script::new("app.sql", SQL)).await.expect("right");
        engine.add_sink("R", "OUT", Arc::new(sink.clone())).expect("a stream");
        engine.start().await.expect("started")
    };
    let mut job = start().await;
    for (piece, rows) in pieces.iter().enumerate() {
        if restarts.contains(&piece) {
            job.sync().await.expect("running");
            job.checkpoint().await.expect("written");
            job.abort();
            job = start().await;
        }
        source.push(batch(rows));
    }
    source.finish();
    job.wait().await.expect("complete");
    let mut sorted = Vec::new();
    for batch in sink.batches() {
        let times = batch.column(0).as_primitive::<TimestampMillisecondType>();
        let values = batch.column(1).as_primitive::<Int32Type>();
        sorted.extend((0..batch.num_rows()).map(|row| (times.value(row), values.value(row))));
    }
    sorted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn sorted_streams_follow_their_definition(
        rows in rows(), piece in 1usize..15, splits in 1usize..4, restarts in prop::collection::vec(0usize..8, 0..3)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let pieces: Vec<_> = rows.chunks(piece).collect();
        let sorted = runtime.block_on(run(&pieces, splits, &restarts));
        prop_assert_eq!(sorted, expected(&rows));
    }
}
