//! What connectors may ask of the engine: refused rows, word of checkpoints and the end, shards, metadata, numbers.

use std::sync::Arc;
use std::time::Duration;

use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::{CheckpointOptions, Engine, Job};
use kinesql_tests::service::{PickySinks, Service, record};

/// What outlives a job.
struct World {
    clock: Arc<ManualClock>,
    service: Service,
    sinks: PickySinks,
    checkpoints: Option<tempfile::TempDir>,
}

impl World {
    fn with_lanes(lanes: usize) -> Self {
        let (service, sinks) = (Service::with_lanes(lanes), PickySinks::default());
        Self { clock: ManualClock::starting_at(0), service, sinks, checkpoints: None }
    }

    fn checkpointed(self) -> Self {
        Self { checkpoints: Some(tempfile::tempdir().expect("a folder")), ..self }
    }

    async fn start(&self, sql: &str) -> Job {
        let mut builder = Engine::builder().clock(self.clock.clone()).connectors(|registry| {
            registry.register_source(Arc::new(self.service.clone()));
            registry.register_sink(Arc::new(self.sinks.clone()));
        });
        if let Some(folder) = &self.checkpoints {
            let never = Duration::from_secs(1_000_000_000);
            builder = builder.checkpoints(CheckpointOptions { interval: never, ..CheckpointOptions::new(folder.path()) });
        }
        let engine = builder.build().expect("an engine");
        engine.execute(&Script::new("app.sql", sql)).await.expect("right");
        self.service.restart();
        engine.start().await.expect("started")
    }

    /// Waits until everything that was put has been read, processed and written.
    async fn settle(&self, job: &Job) {
        while self.service.all_handed().is_none_or(|handed| job.metrics().sources[0].reads.get() < handed) {
            tokio::task::yield_now().await;
        }
        job.sync().await.expect("running");
        // What a sink refused has reached error_stream by then, and may have given its sink something to write.
        job.sync().await.expect("running");
    }
}

/// A sink, and the rows that it refuses.
const REFUSED: &str = r#"
    CREATE SOURCE "S" ("v" VARCHAR(32)) WITH (connector = 'service');
    CREATE STREAM "E" ("level" VARCHAR(10), "name" VARCHAR(32), "sink" VARCHAR(128), "row" VARCHAR(49152));
    CREATE PUMP "P" AS INSERT INTO "E" SELECT STREAM ERROR_LEVEL, ERROR_NAME, PUMP_NAME, DATA_ROW FROM "error_stream";
    CREATE SINK "out" FROM "S" WITH (connector = 'picky');
    CREATE SINK "errors" FROM "E" WITH (connector = 'picky');
"#;

fn value(text: &str) -> kinesql_tests::service::Record {
    record(0, &format!("{{\"v\":\"{text}\"}}"))
}

fn refused(text: &str) -> String {
    let row: String = format!("{{\"v\":\"{text}\"}}").bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("{{\"level\":\"ERROR\",\"name\":\"RECORD_REFUSED\",\"sink\":\"out\",\"row\":\"{row}\"}}\n")
}

#[tokio::test]
async fn rows_that_a_sink_refuses_are_rows_of_error_stream_whichever_call_refuses_them() {
    let world = World::with_lanes(1).checkpointed();
    let job = world.start(REFUSED).await;
    world.service.put(0, &["a", "bad@write", "bad@flush", "b", "bad@prepare", "bad@commit"].map(value));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), "{\"v\":\"a\"}\n{\"v\":\"b\"}\n");
    assert_eq!(world.sinks.take("errors"), refused("bad@write") + &refused("bad@flush"));

    // The barrier that covers a row brings it to the end of error_stream.
    job.checkpoint().await.expect("taken");
    assert!(world.sinks.take("errors").starts_with(&refused("bad@prepare")));
    job.sync().await.expect("running");
    assert_eq!(job.metrics().errors.get(), 4);

    world.service.put(0, &["bad@close", "bad@prepare"].map(value));
    world.settle(&job).await;
    world.service.finish();
    job.wait().await.expect("complete");
    let errors = world.sinks.take("errors");
    assert!(errors.ends_with(&refused("bad@prepare")), "{errors}");
    // A row that is refused after the last checkpoint has nowhere to go.
    let metrics = job.metrics();
    assert_eq!((metrics.errors.get(), metrics.sinks[0].refused.get(), metrics.sinks[1].refused.get()), (6, 6, 0));
    let first = metrics.first_errors.lock().expect("no panic");
    assert_eq!(first[0], "RECORD_REFUSED in sink out: the destination refuses \"bad@write\"");
}

#[tokio::test]
async fn without_checkpoints_also_rows_that_are_refused_at_the_very_end_are_rows_of_error_stream() {
    let world = World::with_lanes(1);
    let job = world.start(REFUSED).await;
    world.service.put(0, &["bad@close"].map(value));
    world.service.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.sinks.take("errors"), refused("bad@close"));
}

#[tokio::test]
async fn rows_that_a_sink_of_error_stream_refuses_are_counted_and_do_not_come_back() {
    let world = World::with_lanes(1);
    let sql = r#"
        CREATE SOURCE "S" ("v" VARCHAR(32)) WITH (connector = 'service');
        CREATE SINK "out" FROM "S" WITH (connector = 'picky');
        CREATE SINK "errors" FROM "error_stream" WITH (connector = 'picky');
    "#;
    let job = world.start(sql).await;
    // The message of the error row has the word in it.
    world.service.put(0, &["bad@write"].map(value));
    world.settle(&job).await;
    world.service.finish();
    job.wait().await.expect("complete");
    let metrics = job.metrics();
    let refused = [0, 1].map(|sink| metrics.sinks[sink].refused.get());
    assert_eq!((world.sinks.take("errors"), refused, metrics.errors.get()), (String::new(), [1, 1], 2));
    let first = metrics.first_errors.lock().expect("no panic");
    assert!(first[1].starts_with("RECORD_REFUSED in sink errors: "), "{first:?}");
}

/// Rows as they come.
const ROWS: &str = r#"
    CREATE SOURCE "S" ("v" VARCHAR(32)) WITH (connector = 'service');
    CREATE SINK "out" FROM "S" WITH (connector = 'picky');
"#;

#[tokio::test]
async fn a_source_hears_of_every_checkpoint_and_its_readers_are_closed_after_the_last() {
    let world = World::with_lanes(2).checkpointed();
    let job = world.start(ROWS).await;
    world.service.put(0, &["a"].map(value));
    world.settle(&job).await;
    assert!(world.service.told().is_empty());
    // The other lane has no offset yet.
    job.checkpoint().await.expect("taken");
    assert_eq!(world.service.told(), ["lane 0 is saved at 1"]);
    world.service.put(1, &["b"].map(value));
    world.settle(&job).await;
    job.checkpoint().await.expect("taken");
    assert_eq!(world.service.told(), ["lane 0 is saved at 1", "lane 1 is saved at 1"]);

    // The readers wait for records when the job stops.
    world.service.put(1, &["c"].map(value));
    world.settle(&job).await;
    job.stop();
    job.wait().await.expect("stopped");
    let mut told = world.service.told();
    told[2..].sort();
    assert_eq!(told, ["lane 0 is saved at 1", "lane 1 is saved at 2", "lane 0 is closed", "lane 1 is closed"]);

    let job = world.start(ROWS).await;
    world.service.finish();
    job.wait().await.expect("complete");
    let mut told = world.service.told();
    told[2..].sort();
    assert_eq!(told, ["lane 0 is saved at 2", "lane 1 is saved at 3", "lane 0 is closed", "lane 1 is closed"]);
}

#[tokio::test]
async fn readers_are_closed_without_checkpoints_too_but_not_when_the_job_is_aborted() {
    let world = World::with_lanes(1);
    let job = world.start(ROWS).await;
    world.service.put(0, &["a"].map(value));
    world.settle(&job).await;
    job.stop();
    job.wait().await.expect("stopped");
    assert_eq!(world.service.told(), ["lane 0 is closed"]);

    let job = world.start(ROWS).await;
    job.abort();
    job.wait().await.expect_err("aborted");
    assert!(world.service.told().is_empty());
}
