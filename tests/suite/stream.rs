//! What property tests share: random rows, and applications run over them in pieces, splits and restarts.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use kinesql_engine::connector::memory::{MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;
use kinesql_engine::{CheckpointOptions, Engine};
use kinesql_tests::driver::show;
use proptest::prelude::*;

/// Key, value, event time in milliseconds.
pub type Row = (Option<u8>, Option<i32>, i64);

/// Rows may be late by up to this much.
pub const DELAY_MS: i64 = 400;

/// How the rows of the sources come.
#[derive(Debug, Clone)]
pub struct Course {
    /// Sizes of the pieces that each source hands over in turn; the rest comes last.
    pub cuts: Vec<(usize, usize)>,
    /// Splits of every source.
    pub splits: usize,
    /// Pieces before which the job is killed and started again from its checkpoint.
    pub restarts: Vec<usize>,
}

/// Courses of `sources` sources.
pub fn courses(sources: usize, splits: std::ops::Range<usize>) -> impl Strategy<Value = Course> {
    let cuts = prop::collection::vec((0..sources, 0usize..40), 0..8);
    let restarts = prop::collection::vec(0usize..8, 0..3);
    (cuts, splits, restarts).prop_map(|(cuts, splits, restarts)| Course { cuts, splits, restarts })
}

/// Up to 127 rows in order of time, shaken by less than the delay. Many have one time unless `distinct`, one key is frequent, keys and
/// values may be NULL, and there are gaps.
pub fn rows(most: usize, distinct: bool) -> impl Strategy<Value = Vec<Row>> {
    let key = prop_oneof![5 => Just(Some(0u8)), 4 => (0u8..6).prop_map(Some), 1 => Just(None)];
    let value = prop::option::weighted(0.85, -100i32..100);
    let step = prop_oneof![2 => Just(0i64), 3 => 0i64..50, 2 => 0i64..900, 1 => 3_000i64..9_000];
    let shake = prop_oneof![Just(0), 0..DELAY_MS];
    prop::collection::vec((key, value, step, shake), 0..most).prop_map(move |rows| {
        let mut time = 0;
        let rows = rows.into_iter().enumerate().map(|(place, (key, value, step, shake))| {
            time += step;
            // The last seven bits keep the times apart, which makes rows later by less than 128 ms.
            let time = if distinct { ((time - shake / 4) & !0x7f) + place as i64 } else { time - shake };
            (key, value, time)
        });
        rows.collect()
    })
}

/// Columns k, v, t.
pub fn columns() -> Arc<Schema> {
    let fields = [("k", SqlType::Varchar(4)), ("v", SqlType::Integer), ("t", SqlType::Timestamp)];
    Arc::new(Schema::new(fields.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()))
}

/// Rows as a batch of [`columns`].
pub fn batch(rows: &[Row]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|(key, ..)| key.map(|key| format!("k{key}"))).collect::<StringArray>());
    let values: ArrayRef = Arc::new(rows.iter().map(|(_, value, _)| *value).collect::<Int32Array>());
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(.., time)| *time)));
    RecordBatch::try_new(columns(), vec![keys, values, times]).expect("as declared")
}

/// Runs `application`, whose sources have these names and rows, and gives the rows of its stream `OUT` as text.
pub async fn run(application: &str, sources: &[(&str, &[Row])], course: &Course) -> Vec<String> {
    let memory: Vec<_> = sources.iter().map(|_| MemorySource::with_splits(columns(), course.splits)).collect();
    let sink = MemorySink::default();
    let folder = tempfile::tempdir().expect("a folder");
    let start = || async {
        let never = Duration::from_secs(1_000_000_000);
        let checkpoints = CheckpointOptions { interval: never, ..CheckpointOptions::new(folder.path()) };
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).checkpoints(checkpoints).build().expect("an engine");
        for ((name, _), source) in sources.iter().zip(&memory) {
            let delay = Duration::from_millis(DELAY_MS as u64);
            engine.add_source(name, Arc::new(source.clone()), Some(("t", delay))).expect("a time column");
        }
        engine.execute(&Script::new("app.sql", application)).await.expect("right");
        engine.add_sink("OUT", "OUT", Arc::new(sink.clone())).expect("a stream");
        engine.start().await.expect("started")
    };
    let mut job = start().await;
    let mut rest: Vec<&[Row]> = sources.iter().map(|(_, rows)| *rows).collect();
    let last = (0..sources.len()).map(|source| (source, usize::MAX));
    for (piece, (source, size)) in course.cuts.iter().copied().chain(last).enumerate() {
        if course.restarts.contains(&piece) {
            job.sync().await.expect("running");
            job.checkpoint().await.expect("written");
            job.abort();
            job = start().await;
        }
        let (now, later) = rest[source].split_at(size.min(rest[source].len()));
        memory[source].push(batch(now));
        rest[source] = later;
    }
    memory.iter().for_each(MemorySource::finish);
    job.wait().await.expect("complete");
    text(&sink.batches())
}

/// One line a row.
pub fn text(batches: &[RecordBatch]) -> Vec<String> {
    batches.iter().flat_map(|batch| show(batch).expect("text")).map(|row| row.join(" ")).collect()
}

/// Waits for `future`, with two threads.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(future)
}
