//! RANDOM_CUT_FOREST and HOTSPOTS in an engine: defaults, the same numbers over a finite table, the memory budget.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, TimestampMillisecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use kinesql_engine::connector::memory::MemorySource;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;
use kinesql_engine::{Engine, ErrorKind};

const ROWS: i32 = 400;

fn columns() -> SchemaRef {
    let columns = [("n", SqlType::Integer), ("x", SqlType::Double), ("t", SqlType::Timestamp)];
    Arc::new(Schema::new(columns.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()))
}

/// Readings that repeat now and then, with an outlier behind the first 256.
fn readings() -> RecordBatch {
    let rows = 0..ROWS;
    let numbers: ArrayRef = Arc::new(rows.clone().map(|row| row * 37 % 11).collect::<Int32Array>());
    let reading = |row: i32| if row == 390 { 1e300 } else { f64::from(row * 53 % 101) / 8.0 };
    let readings: ArrayRef = Arc::new(rows.clone().map(|row| Some(reading(row))).collect::<Float64Array>());
    let times: ArrayRef = Arc::new(rows.map(|row| Some(i64::from(row) * 1_000)).collect::<TimestampMillisecondArray>());
    RecordBatch::try_new(columns(), vec![numbers, readings, times]).expect("as declared")
}

/// An engine whose stream "S" has the readings, in batches of `size`.
fn engine(size: usize, memory_limit: usize) -> Engine {
    let engine = Engine::builder().clock(ManualClock::starting_at(0)).memory_limit(memory_limit).build().expect("an engine");
    let source = MemorySource::with_splits(columns(), 1);
    let readings = readings();
    (0..readings.num_rows()).step_by(size).for_each(|row| source.push(readings.slice(row, size.min(readings.num_rows() - row))));
    source.finish();
    engine.add_source("S", Arc::new(source), Some(("t", Duration::ZERO))).expect("a time column");
    engine
}

async fn rows(engine: &Engine, sql: &str) -> RecordBatch {
    let rows = engine.query(sql).await.expect("right");
    let schema = rows.schema();
    concat_batches(&schema, &rows.try_collect::<Vec<_>>().await.expect("rows")).expect("of one schema")
}

fn scores(rows: &RecordBatch) -> &[f64] {
    rows.column_by_name("ANOMALY_SCORE").expect("scored").as_primitive::<Float64Type>().values()
}

#[tokio::test]
async fn arguments_that_are_left_out_are_those_of_the_service() {
    let call = |arguments: &str| {
        format!("SELECT STREAM * FROM TABLE(RANDOM_CUT_FOREST(CURSOR(SELECT STREAM \"x\", \"n\" FROM \"S\"){arguments}))")
    };
    let expected = rows(&engine(400, 1 << 30), &call(", 100, 256, 100000, 1")).await;
    let (learning, scored) = scores(&expected).split_at(256);
    assert!(learning.iter().all(|score| *score == 0.0) && scored.iter().all(|score| (0.0..=8.0).contains(score)));
    assert!(scored[390 - 256] > 4.0, "{}", scored[390 - 256]);
    for arguments in ["", ", 100", ", 100, 256", ", 100, 256, 100000"] {
        let got = rows(&engine(7, 1 << 30), &call(arguments)).await;
        assert!(scores(&got) == scores(&expected), "{arguments}");
    }
    assert!(scores(&rows(&engine(400, 1 << 30), &call(", 99")).await) != scores(&expected));
}

#[tokio::test]
async fn history_in_a_table_gives_the_numbers_of_the_stream() {
    let engine = engine(64, 1 << 30);
    let streamed = rows(
        &engine,
        "SELECT STREAM \"t\", ANOMALY_SCORE, HOTSPOTS_RESULT FROM TABLE(HOTSPOTS(CURSOR(
           SELECT STREAM \"t\", \"n\", ANOMALY_SCORE FROM TABLE(RANDOM_CUT_FOREST(
             CURSOR(SELECT STREAM * FROM \"S\"), 30, 64, 1000, 2, seed => 5))), 100, 1e0, 5))",
    )
    .await;
    engine.session_context().register_batch("history", readings()).expect("a new name");
    let history = rows(
        &engine,
        "SELECT \"ANOMALY_SCORE\", hotspots(struct(\"n\", \"ANOMALY_SCORE\"), 100, 1.0, 5) OVER (ORDER BY \"t\") AS \"spots\" FROM (
           SELECT \"t\", \"n\", random_cut_forest(struct(\"n\", \"x\"), 30, 64, 1000, 2, 5) OVER (ORDER BY \"t\") AS \"ANOMALY_SCORE\"
           FROM \"history\") ORDER BY \"t\"",
    )
    .await;
    assert!(scores(&history) == scores(&streamed));
    assert_eq!(history.column(1).as_string::<i32>(), streamed.column(2).as_string::<i32>());
    assert!(streamed.column(2).as_string::<i32>().value(399).contains("density"));
}

#[tokio::test]
async fn a_model_over_the_memory_budget_says_so() {
    let engine = engine(400, 100_000);
    let sql = "SELECT STREAM * FROM TABLE(RANDOM_CUT_FOREST(CURSOR(SELECT STREAM * FROM \"S\")))";
    let answer = engine.query(sql).await.expect("right").try_collect::<Vec<_>>().await;
    let error = answer.expect_err("a forest is larger than 100 kB");
    assert_eq!(error.kind(), ErrorKind::Memory);
    let message = error.message();
    assert!(message.starts_with("model needs ") && message.ends_with("which exceeds the memory budget of 0.1 MB"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--memory-limit")), "{error}");
}
