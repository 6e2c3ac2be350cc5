//! One fault at a time: what the job says, and what a restart finds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;
use kinesql_engine::{CheckpointOptions, Engine, EngineBuilder, ErrorKind, Job};
use kinesql_tests::driver::rows_from_csv;
use kinesql_tests::fragile::{Call, Fault, Faults, FragileSinks, FragileSource, FragileStore};

/// Windows of ten seconds, and what went wrong.
const COUNTS: &str = r#"
    CREATE SOURCE "S" ("k" VARCHAR(8), "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'fragile', idle_timeout = '5s');
    CREATE STREAM "OUT" ("n" BIGINT, "at" TIMESTAMP);
    CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM COUNT(*), ROWTIME FROM "S" GROUP BY STEP("S".ROWTIME BY INTERVAL '10' SECOND);
    CREATE STREAM "LATE" ("name" VARCHAR(32), "at" TIMESTAMP);
    CREATE PUMP "Q" AS INSERT INTO "LATE" SELECT STREAM ERROR_NAME, DATA_ROWTIME FROM "error_stream";
    CREATE SINK "counts" FROM "OUT" WITH (connector = 'fragile', path = '-');
    CREATE SINK "late" FROM "LATE" WITH (connector = 'fragile', path = '-');
"#;

/// What outlives a job.
struct World {
    clock: Arc<ManualClock>,
    faults: Faults,
    source: FragileSource,
    sinks: FragileSinks,
}

impl World {
    fn with_splits(splits: usize) -> Self {
        let columns = [("k", SqlType::Varchar(8)), ("t", SqlType::Timestamp)];
        let columns = Arc::new(Schema::new(columns.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()));
        let faults = Faults::with_seed(0);
        Self {
            clock: ManualClock::starting_at(0),
            source: FragileSource::new(&columns, splits, &faults),
            sinks: FragileSinks::in_memory(&faults),
            faults,
        }
    }

    fn builder(&self) -> EngineBuilder {
        Engine::builder().clock(self.clock.clone()).connectors(|registry| {
            registry.register_source(Arc::new(self.source.clone()));
            registry.register_sink(Arc::new(self.sinks.clone()));
        })
    }

    async fn start(&self, checkpoints: &CheckpointOptions, sql: &str) -> kinesql_engine::Result<Job> {
        let engine = self.builder().checkpoints(checkpoints.clone()).build()?;
        engine.execute(&Script::new("app.sql", sql)).await.expect("right");
        engine.start().await
    }

    /// Rows of key `a`, at these seconds of 1970.
    fn feed(&self, split: usize, seconds: &[f64]) {
        let line = |second: &f64| format!("a,1970-01-01 00:00:{second:06.3}\n");
        let rows = seconds.iter().map(line).collect::<String>();
        self.source.splits()[split].push(rows_from_csv(&self.source, &rows).expect("rows"));
    }

    /// One row of each of so many keys.
    fn feed_keys(&self, keys: u32) {
        let rows: String = (0..keys).map(|key| format!("{key},1970-01-01 00:00:01\n")).collect();
        self.source.splits()[0].push(rows_from_csv(&self.source, &rows).expect("rows"));
    }

    /// Waits until everything fed since the start is read and has had its effect, then commits it.
    async fn commit(&self, job: &Job) -> kinesql_engine::Result<()> {
        let pieces: u64 = self.source.splits().iter().map(|split| split.pieces()).sum();
        while job.metrics().sources[0].reads.get() < pieces {
            tokio::task::yield_now().await;
        }
        job.checkpoint().await?;
        job.sync().await
    }

    fn counts(&self) -> String {
        String::from_utf8(self.sinks.committed("counts")).expect("JSON")
    }

    fn late(&self) -> String {
        String::from_utf8(self.sinks.committed("late")).expect("JSON")
    }
}

fn count(n: i64, at: u32) -> String {
    format!("{{\"n\":{n},\"at\":\"1970-01-01 00:00:{at:02}.000\"}}\n")
}

fn never() -> Duration {
    Duration::from_secs(1_000_000_000)
}

fn in_folder(folder: &Path) -> CheckpointOptions {
    CheckpointOptions { interval: never(), ..CheckpointOptions::new(folder) }
}

#[tokio::test]
async fn a_full_disk_ends_the_job_and_loses_nothing() {
    for call in [Call::StorePutState, Call::StorePutManifest] {
        let world = World::with_splits(1);
        let store = Some(Arc::new(FragileStore::new(&world.faults)) as _);
        let checkpoints = CheckpointOptions { store, ..in_folder(Path::new("/data/checkpoints")) };
        let job = world.start(&checkpoints, COUNTS).await.expect("started");
        world.feed(0, &[1.0, 2.0, 11.0]);
        world.commit(&job).await.expect("room");
        assert_eq!(world.counts(), count(2, 10));

        world.feed(0, &[12.0, 21.0]);
        world.faults.plan(Fault { call, skip: 0, after: false });
        let error = world.commit(&job).await.expect_err("full");
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(
            error.to_string(),
            "cannot write checkpoint 2 to /data/checkpoints: no space left on device, planned fault\n\
             hint: Make room or fix the folder, then start again: the job resumes from the checkpoint before."
        );
        assert_eq!(job.wait().await.expect_err("ended").to_string(), error.to_string());
        assert_eq!(world.counts(), count(2, 10));

        let job = world.start(&checkpoints, COUNTS).await.expect("started");
        world.source.finish();
        job.wait().await.expect("complete");
        assert_eq!(world.counts(), count(2, 10) + &count(2, 20) + &count(1, 30));
    }
}

#[tokio::test]
async fn a_checkpoint_folder_that_is_no_folder_any_more_is_named() {
    let world = World::with_splits(1);
    let parent = tempfile::tempdir().expect("a folder");
    let (folder, moved) = (parent.path().join("checkpoints"), parent.path().join("moved"));
    let job = world.start(&in_folder(&folder), COUNTS).await.expect("started");
    world.feed(0, &[1.0, 11.0]);
    world.commit(&job).await.expect("a folder");
    std::fs::rename(&folder, &moved).expect("moved");
    std::fs::write(&folder, "a file").expect("written");

    world.feed(0, &[21.0]);
    let error = world.commit(&job).await.expect_err("a file");
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.message().starts_with(&format!("cannot write checkpoint 2 to {}: ", folder.display())), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("Make room or fix the folder, then start again")), "{error}");
    let error = world.start(&in_folder(&folder), COUNTS).await.map(drop).expect_err("a file");
    assert!(error.message().starts_with(&format!("cannot use checkpoint folder {}: ", folder.display())), "{error}");
    assert_eq!(error.hint(), Some("Check that it is a folder you may write to."));

    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&moved, &folder).expect("moved back");
    let job = world.start(&in_folder(&folder), COUNTS).await.expect("started");
    world.source.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.counts(), count(1, 10) + &count(1, 20) + &count(1, 30));
}

#[tokio::test]
async fn a_checkpoint_of_another_script_is_refused() {
    let world = World::with_splits(1);
    let folder = tempfile::tempdir().expect("a folder");
    let job = world.start(&in_folder(folder.path()), COUNTS).await.expect("started");
    world.commit(&job).await.expect("a checkpoint");
    drop(job);
    let other = COUNTS.replace("'10' SECOND", "'20' SECOND").replace("PUMP \"Q\"", "PUMP \"R\"");
    let error = world.start(&in_folder(folder.path()), &other).await.map(drop).expect_err("another script");
    assert_eq!(error.kind(), ErrorKind::State);
    assert_eq!(
        error.to_string(),
        "checkpoint 1 was made by another script: pump P has changed, pump R is new, pump Q is gone\n\
         hint: Run the script that made it, or start over with an empty --checkpoint-dir."
    );
}

/// The body of a function is part of the pumps that call it.
#[tokio::test]
async fn a_checkpoint_of_another_body_of_a_function_is_refused() {
    let world = World::with_splits(1);
    let folder = tempfile::tempdir().expect("a folder");
    let script = |body: &str| {
        let called = COUNTS.replacen("COUNT(*)", "CAST(SUM(one(1)) AS BIGINT)", 1);
        assert_ne!(called, COUNTS);
        format!("CREATE FUNCTION one(x INTEGER) RETURNS INTEGER RETURN {body}; {called}")
    };
    let job = world.start(&in_folder(folder.path()), &script("x")).await.expect("started");
    world.commit(&job).await.expect("a checkpoint");
    drop(job);
    world.start(&in_folder(folder.path()), &script("x")).await.map(drop).expect("the same script");
    let error = world.start(&in_folder(folder.path()), &script("x + 1")).await.map(drop).expect_err("another body");
    assert!(error.message().starts_with("checkpoint 1 was made by another script: pump P has changed"), "{error}");
}

#[tokio::test]
async fn a_broken_manifest_is_named() {
    let world = World::with_splits(1);
    let folder = tempfile::tempdir().expect("a folder");
    let job = world.start(&in_folder(folder.path()), COUNTS).await.expect("started");
    world.commit(&job).await.expect("a checkpoint");
    drop(job);
    std::fs::write(folder.path().join("manifest-00000000000000000001.json"), "{\"version\": 1, \"epo").expect("written");
    let error = world.start(&in_folder(folder.path()), COUNTS).await.map(drop).expect_err("broken");
    assert_eq!(
        error.to_string(),
        format!(
            "checkpoint 1 in {} is not readable\n\
             hint: Delete manifest-00000000000000000001.json there to fall back to the checkpoint before it.",
            folder.path().display()
        )
    );
}

#[tokio::test]
async fn each_of_twelve_splits_gets_its_own_state_back() {
    let world = World::with_splits(12);
    let folder = tempfile::tempdir().expect("a folder");
    let job = world.start(&in_folder(folder.path()), COUNTS).await.expect("started");
    (0..12).for_each(|split| world.feed(split, &[1.0]));
    world.feed(10, &[25.0]);
    world.commit(&job).await.expect("a checkpoint");
    drop(job);
    let job = world.start(&in_folder(folder.path()), COUNTS).await.expect("started");
    // In time everywhere but on split 10.
    (0..12).for_each(|split| world.feed(split, &[2.0]));
    world.source.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.counts(), count(23, 10) + &count(1, 30));
    assert_eq!(world.late(), "{\"name\":\"LATE_ROW\",\"at\":\"1970-01-01 00:00:02.000\"}\n");
}

#[tokio::test]
async fn a_window_over_the_memory_budget_says_so() {
    let world = World::with_splits(1);
    let engine = world.builder().memory_limit(100_000).build().expect("an engine");
    let by_key = COUNTS.replace("GROUP BY", "GROUP BY \"k\",");
    engine.execute(&Script::new("app.sql", by_key)).await.expect("right");
    let job = engine.start().await.expect("started");
    world.feed_keys(10_000);
    world.source.finish();
    let error = job.wait().await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Memory);
    assert!(error.message().starts_with("tumbling window needs "), "{error}");
    assert!(error.message().ends_with(" MB for 10000 open groups, which exceeds the memory budget of 0.1 MB"), "{error}");
    assert_eq!(error.hint(), Some("Raise --memory-limit, shorten the window or group by fewer keys."));
}

#[tokio::test]
async fn rows_that_wait_for_a_silent_source_are_within_the_memory_budget() {
    let world = World::with_splits(1);
    let memory = MemoryConnector::default();
    let builder = world.builder().connectors(|registry| memory.register(registry)).memory_limit(100_000);
    let engine = builder.build().expect("an engine");
    let two_sources = r#"
        CREATE SOURCE "S" ("k" VARCHAR(8), "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'fragile');
        CREATE SOURCE "SILENT" ("k" VARCHAR(8), "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
        CREATE STREAM "OUT" ("k" VARCHAR(8));
        CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM "k" FROM "S" UNION ALL SELECT STREAM "k" FROM "SILENT";
        CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
    "#;
    engine.execute(&Script::new("app.sql", two_sources)).await.expect("right");
    let job = engine.start().await.expect("started");
    world.feed_keys(10_000);
    let error = job.wait().await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Memory);
    assert!(error.message().starts_with("merge needs "), "{error}");
    let rows = " MB for 10000 rows that wait for slower inputs, which exceeds the memory budget of 0.1 MB";
    assert!(error.message().ends_with(rows), "{error}");
    let hint = "Raise --memory-limit, or give a source that can be silent an idle_timeout: rows wait for the slowest.";
    assert_eq!(error.hint(), Some(hint));
}

#[tokio::test]
async fn a_silent_split_lets_windows_close_after_its_idle_timeout() {
    let world = World::with_splits(2);
    let folder = tempfile::tempdir().expect("a folder");
    let job = world.start(&in_folder(folder.path()), COUNTS).await.expect("started");
    world.feed(0, &[1.0]);
    world.feed(1, &[2.0]);
    world.commit(&job).await.expect("running");
    world.clock.set(4_000);
    world.feed(0, &[12.0]);
    world.commit(&job).await.expect("running");
    assert_eq!(world.counts(), "", "split 1 could still send a row of the window");

    world.clock.set(5_000);
    world.commit(&job).await.expect("running");
    assert_eq!(world.counts(), count(2, 10), "split 1 has been silent for 5 s");

    world.feed(1, &[3.0, 13.0]);
    world.source.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.late(), "{\"name\":\"LATE_ROW\",\"at\":\"1970-01-01 00:00:03.000\"}\n");
    assert_eq!(job.metrics().sources[0].late.get(), 1);
    assert_eq!(world.counts(), count(2, 10) + &count(2, 20));
}

#[tokio::test]
async fn splits_that_are_all_silent_do_not_wait_for_each_other() {
    let world = World::with_splits(2);
    let folder = tempfile::tempdir().expect("a folder");
    let job = world.start(&in_folder(folder.path()), COUNTS).await.expect("started");
    world.feed(0, &[1.0, 12.0]);
    world.commit(&job).await.expect("running");
    world.clock.set(4_000);
    world.feed(1, &[2.0]);
    world.commit(&job).await.expect("running");
    world.clock.set(9_000);
    world.commit(&job).await.expect("running");
    assert_eq!(world.counts(), count(2, 10));
}

#[tokio::test]
async fn windows_of_a_source_that_is_silent_close_by_the_clock() {
    let world = World::with_splits(1);
    let folder = tempfile::tempdir().expect("a folder");
    let job = world.start(&in_folder(folder.path()), COUNTS).await.expect("started");
    world.feed(0, &[12.0]);
    world.commit(&job).await.expect("running");
    // Silent for 5 s: from now on event time goes on from 12 s as the clock does.
    world.clock.set(5_000);
    world.commit(&job).await.expect("running");
    world.clock.set(12_999);
    world.commit(&job).await.expect("running");
    assert_eq!(world.counts(), "", "it is 19.999 s");
    world.clock.set(14_000);
    world.commit(&job).await.expect("running");
    assert_eq!(world.counts(), count(1, 20), "it is 21 s");

    world.feed(0, &[20.9, 21.0]);
    world.source.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.late(), "{\"name\":\"LATE_ROW\",\"at\":\"1970-01-01 00:00:20.900\"}\n");
    assert_eq!(world.counts(), count(1, 20) + &count(1, 30));
}
