//! Every run gives the same rows, to the last bit, whichever split is faster.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, TimestampMillisecondArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use kinesql_engine::Engine;
use kinesql_engine::connector::memory::{MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;
use kinesql_tests::driver::show;

const APPLICATION: &str = r#"
    CREATE STREAM "GAINS" AS SELECT STREAM "v" * 1.1e0 AS "v" FROM "S";
    CREATE STREAM "SUMS" AS SELECT STREAM SUM("v") AS "s", AVG("v") AS "a", STDDEV_SAMP("v") AS "d" FROM "GAINS"
      GROUP BY STEP("GAINS".ROWTIME BY INTERVAL '1' SECOND);
    CREATE STREAM "LAST" AS SELECT STREAM "v", LAG("v", 1) OVER (ROWS 1 PRECEDING) AS "before" FROM "GAINS";
"#;

/// Runs the application over 200 pieces in four splits; a piece has as many rows of one millisecond as another.
async fn run() -> Vec<Vec<String>> {
    let fields = [SqlType::Double.field("v", true), SqlType::Timestamp.field("t", true)];
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let source = MemorySource::with_splits(schema.clone(), 4);
    for piece in 0..200 {
        let values: ArrayRef =
            Arc::new((0..40).map(|row| f64::from((piece * 40 + row) * 7919 % 10_007) / 7.0).collect::<Float64Array>());
        let times = (0..40).map(|row| i64::from(piece / 8 * 100 + row));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(times));
        source.push(RecordBatch::try_new(schema.clone(), vec![values, times]).expect("as declared"));
    }
    source.finish();
    let engine = Engine::builder().clock(ManualClock::starting_at(0)).build().expect("an engine");
    engine.add_source("S", Arc::new(source), Some(("t", Duration::from_secs(1)))).expect("a time column");
    engine.execute(&Script::new("app.sql", APPLICATION)).await.expect("right");
    let sinks = ["SUMS", "LAST"].map(|stream| {
        let sink = MemorySink::default();
        engine.add_sink(stream, stream, Arc::new(sink.clone())).expect("a stream");
        sink
    });
    engine.start().await.expect("started").wait().await.expect("complete");
    sinks.iter().flat_map(MemorySink::batches).flat_map(|batch| show(&batch).expect("text")).collect()
}

#[test]
fn windows_over_a_stream_that_several_splits_fill_are_the_same_in_every_run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    let first = runtime.block_on(run());
    assert!(first.len() > 8_000, "{}", first.len());
    for _ in 0..5 {
        assert_eq!(runtime.block_on(run()), first);
    }
}
