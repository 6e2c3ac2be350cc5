//! What connectors may ask of the engine: refused rows, word of checkpoints and the end, shards, metadata, numbers.

use std::sync::Arc;
use std::time::Duration;

use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::runtime::metrics::total;
use kinesql_engine::{CheckpointOptions, Engine, Job};
use kinesql_tests::service::{PickySinks, Record, Service, record};

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

fn value(text: &str) -> Record {
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

/// Windows of ten seconds by event time, and which rows were late.
const WINDOWS: &str = r#"
    CREATE SOURCE "S" ("t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'service', idle_timeout = '5s');
    CREATE STREAM "OUT" ("n" BIGINT, "at" TIMESTAMP);
    CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM COUNT(*), ROWTIME FROM "S" GROUP BY STEP("S".ROWTIME BY INTERVAL '10' SECOND);
    CREATE SINK "out" FROM "OUT" WITH (connector = 'picky');
"#;

/// Records with these event times, in seconds of 1970.
fn at(seconds: &[u32]) -> Vec<Record> {
    let data = |second: &u32| format!("{{\"t\":\"1970-01-01 00:{:02}:{:02}\"}}", second / 60, second % 60);
    seconds.iter().map(|second| record(0, &data(second))).collect()
}

fn window(n: i64, end: u32) -> String {
    format!("{{\"n\":{n},\"at\":\"1970-01-01 00:{:02}:{:02}.000\"}}\n", end / 60, end % 60)
}

/// A shard that is far ahead closes no window for the others of its lane, and loses them no row.
#[tokio::test]
async fn a_window_waits_for_the_slowest_shard_of_a_lane_and_the_job_names_it() {
    let world = World::with_lanes(1).checkpointed();
    let mut job = world.start(WINDOWS).await;
    world.service.assign(0, &["fast", "slow"]);
    world.service.put_to_shard(0, "fast", &at(&[1, 25]));
    world.service.put_to_shard(0, "slow", &at(&[2]));
    world.service.put_to_shard(0, "fast", &at(&[45]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), "");
    let slowest = |job: &Job| job.metrics().sources[0].watermarks.slowest();
    assert_eq!(slowest(&job), Some(("slow".to_owned(), 2_000)));

    // The same after a restart, which knows how far each was.
    for restarted in [false, true] {
        if restarted {
            job.checkpoint().await.expect("taken");
            job.abort();
            job = world.start(WINDOWS).await;
            world.settle(&job).await;
        }
        assert_eq!(slowest(&job), Some(("slow".to_owned(), 2_000)), "restarted: {restarted}");
    }
    world.service.put_to_shard(0, "slow", &at(&[9, 31]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(3, 10) + &window(1, 30));
    assert_eq!(slowest(&job), Some(("slow".to_owned(), 31_000)));
    assert_eq!(job.metrics().sources[0].late.get(), 0);
    // Late is what lies behind the slowest.
    world.service.put_to_shard(0, "fast", &at(&[30, 31, 46]));
    world.settle(&job).await;
    assert_eq!(job.metrics().sources[0].late.get(), 1);
}

#[tokio::test]
async fn shards_come_and_go_while_windows_are_open() {
    let world = World::with_lanes(2);
    let job = world.start(WINDOWS).await;
    // A lane without shards waits for nothing, and nobody waits for it.
    world.service.assign(1, &[]);
    world.service.assign(0, &["parent"]);
    world.service.put_to_shard(0, "parent", &at(&[1, 11]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(1, 10));
    // It is split; one child goes to the other lane.
    world.service.assign(0, &["left"]);
    world.service.assign(1, &["right"]);
    world.settle(&job).await;
    world.service.put_to_shard(0, "left", &at(&[12, 35]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), "", "right may still have rows");
    world.service.put_to_shard(1, "right", &at(&[13, 21]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(3, 20));
    // Another process takes the slow one.
    world.service.assign(1, &[]);
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(1, 30));
    world.service.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.sinks.take("out"), window(1, 40));
}

/// As a source does that reads a shard to its end and does not know its children yet.
#[tokio::test]
async fn children_count_from_where_their_parent_ended_however_far_the_other_shards_are() {
    let world = World::with_lanes(1).checkpointed();
    let mut job = world.start(WINDOWS).await;
    world.service.assign(0, &["far", "parent"]);
    world.service.put_to_shard(0, "far", &at(&[1, 45]));
    world.service.put_to_shard(0, "parent", &at(&[12]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(1, 10));
    // It is at its end and holds the watermark, over a restart too.
    world.service.assign(0, &["far", "parent"]);
    job.checkpoint().await.expect("taken");
    job.abort();
    job = world.start(WINDOWS).await;
    world.service.assign(0, &["far", "parent"]);
    world.service.assign(0, &["far", "left", "right"]);
    world.service.put_to_shard(0, "left", &at(&[13, 33]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), "", "right may still have rows");
    world.service.put_to_shard(0, "right", &at(&[12, 21, 46]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(3, 20) + &window(1, 30));
    assert_eq!(job.metrics().sources[0].late.get(), 0);
}

#[tokio::test]
async fn a_silent_shard_is_not_waited_for_and_its_rows_are_late_when_it_speaks_again() {
    let world = World::with_lanes(1);
    let job = world.start(WINDOWS).await;
    world.service.assign(0, &["loud", "silent"]);
    world.service.put_to_shard(0, "loud", &at(&[1]));
    world.settle(&job).await;
    world.clock.set(4_000);
    world.service.put_to_shard(0, "loud", &at(&[12]));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), "");
    world.clock.set(5_000);
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(1, 10));
    let standings = job.metrics().sources[0].watermarks.standings();
    let idle = |shard: &str| standings.iter().any(|standing| standing.part.as_deref() == Some(shard) && standing.idle);
    assert_eq!((idle("loud"), idle("silent")), (false, true));

    world.service.put_to_shard(0, "silent", &at(&[11, 12]));
    world.service.put_to_shard(0, "loud", &at(&[25]));
    world.settle(&job).await;
    assert_eq!(job.metrics().sources[0].late.get(), 1);
    assert_eq!(world.sinks.take("out"), "", "it counts again");
    // When all are silent time goes on as the clock does.
    world.clock.set(10_000);
    world.settle(&job).await;
    world.clock.set(30_000);
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(2, 20) + &window(1, 30));
}

#[tokio::test]
async fn under_arrival_time_every_row_has_the_time_of_its_record_in_a_replay_too() {
    let world = World::with_lanes(1).checkpointed();
    world.clock.set(1_000_000);
    let sql = WINDOWS
        .replace("\"t\" TIMESTAMP, WATERMARK FOR \"t\" AS \"t\"", "\"v\" VARCHAR(32)")
        .replace(", idle_timeout = '5s'", ", rowtime = 'arrival'");
    let job = world.start(&sql).await;
    assert_eq!(world.service.told(), ["lane 0 shall say APPROXIMATE_ARRIVAL_TIME"]);
    world.service.assign(0, &["a", "b"]);
    world.service.put_to_shard(0, "a", &[1_000, 12_000].map(|time| record(time, "{}{}")));
    // A checkpoint does not make rows of the past rows of now.
    job.checkpoint().await.expect("taken");
    world.service.put_to_shard(0, "b", &[2_000, 21_000].map(|time| record(time, "{}")));
    world.settle(&job).await;
    assert_eq!(world.sinks.take("out"), window(3, 10));
    world.service.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.sinks.take("out"), window(2, 20) + &window(1, 30));
}

#[tokio::test]
async fn metadata_is_selected_by_name_in_any_case_and_no_part_of_all_columns() {
    let world = World::with_lanes(1);
    // covers: 3.3/arrival 3.3/kinesis 8.8/several-documents 8.8/json-names 8.8/timestamp-text
    let sql = r#"
        CREATE SOURCE "S" ("v" INTEGER) WITH (connector = 'service');
        CREATE STREAM "META" ("v" INTEGER, "shard" VARCHAR(64), "key" VARCHAR(256), "at" TIMESTAMP, "number" VARCHAR(128));
        CREATE PUMP "P" AS INSERT INTO "META" SELECT STREAM "v", shard_id, "S"."partition_key", APPROXIMATE_ARRIVAL_TIME, "SEQUENCE_NUMBER"
            FROM "S" WHERE "shard_id" <> 'none';
        CREATE STREAM "ALL" AS SELECT STREAM * FROM "S" AS s(a) WHERE s.shard_id = 'one';
        CREATE STREAM "BOTH" AS SELECT STREAM "Shard_Id", s.* FROM "S" AS s;
        CREATE STREAM "KEPT" AS SELECT STREAM * FROM "BOTH";
        CREATE STREAM "COUNTS" ("shard" VARCHAR(64), "n" BIGINT);
        CREATE PUMP "C" AS INSERT INTO "COUNTS"
            SELECT STREAM SHARD_ID, COUNT(*) FROM "S" GROUP BY SHARD_ID, STEP("S".ROWTIME BY INTERVAL '10' SECOND);
        CREATE SINK "meta" FROM "META" WITH (connector = 'picky');
        CREATE SINK "all" FROM "ALL" WITH (connector = 'picky');
        CREATE SINK "kept" FROM "KEPT" WITH (connector = 'picky');
        CREATE SINK "counts" FROM "COUNTS" WITH (connector = 'picky');
        CREATE SINK "rows" FROM "S" WITH (connector = 'picky');
    "#;
    let job = world.start(sql).await;
    // Three rows of one record, a record without rows, and one that is no JSON.
    let records = ["{\"v\":1}{\"v\":2}\n{\n \"v\": 3\n}", "", "nonsense", "{\"v\":4}"];
    let mut time = 0;
    let records = records.map(|data| {
        time += 1_000;
        record(time, data)
    });
    world.service.put_to_shard(0, "one", &records);
    world.service.put_to_shard(0, "two", &[record(5_000, "{\"v\":5}")]);
    world.service.finish();
    job.wait().await.expect("complete");
    let meta = |v: u32, shard: &str, number: u32| {
        let second = number + 1;
        format!(
            "{{\"v\":{v},\"shard\":\"{shard}\",\"key\":\"key of {second}000\",\"at\":\"1970-01-01 00:00:0{second}.000\",\"number\":\"{number}\"}}\n"
        )
    };
    let expected = [meta(1, "one", 0), meta(2, "one", 0), meta(3, "one", 0), meta(4, "one", 3), meta(5, "two", 4)].concat();
    assert_eq!(world.sinks.take("meta"), expected);
    assert_eq!(world.sinks.take("all"), "{\"A\":1}\n{\"A\":2}\n{\"A\":3}\n{\"A\":4}\n");
    let kept = world.sinks.take("kept");
    assert!(kept.starts_with("{\"Shard_Id\":\"one\",\"v\":1}\n") && kept.ends_with("{\"Shard_Id\":\"two\",\"v\":5}\n"), "{kept}");
    let mut counts: Vec<_> = world.sinks.take("counts").lines().map(str::to_owned).collect();
    counts.sort();
    assert_eq!(counts, ["{\"shard\":\"one\",\"n\":4}", "{\"shard\":\"two\",\"n\":1}"]);
    assert_eq!(world.sinks.take("rows"), "{\"v\":1}\n{\"v\":2}\n{\"v\":3}\n{\"v\":4}\n{\"v\":5}\n");
    assert_eq!(job.metrics().sources[0].rejected.get(), 1);
}

#[tokio::test]
async fn a_declared_column_wins_and_metadata_that_nobody_reads_is_not_asked_for() {
    let world = World::with_lanes(1);
    let sql = r#"
        CREATE SOURCE "S" ("SHARD_ID" INTEGER, "partition_key" VARCHAR(8)) WITH (connector = 'service');
        CREATE STREAM "OUT" AS SELECT STREAM SHARD_ID, "partition_key" FROM "S";
        CREATE SINK "out" FROM "OUT" WITH (connector = 'picky');
    "#;
    let job = world.start(sql).await;
    assert!(world.service.told().is_empty());
    world.service.put(0, &[record(0, r#"{"SHARD_ID":7,"partition_key":"mine"}"#)]);
    world.service.finish();
    job.wait().await.expect("complete");
    assert_eq!(world.sinks.take("out"), "{\"SHARD_ID\":7,\"partition_key\":\"mine\"}\n");
    assert_eq!(world.service.told(), ["lane 0 is closed"]);
}

#[tokio::test]
async fn a_raw_record_is_one_value_whatever_it_holds() {
    let world = World::with_lanes(1);
    let sql = r#"
        CREATE SOURCE "S" WITH (connector = 'service', format = 'raw');
        CREATE STREAM "OUT" AS SELECT STREAM RECORD, SHARD_ID FROM "S";
        CREATE SINK "out" FROM "OUT" WITH (connector = 'picky');
    "#;
    let job = world.start(sql).await;
    world.service.put_to_shard(0, "one", &["two\nlines", "", "{}{}"].map(|data| record(0, data)));
    world.service.finish();
    job.wait().await.expect("complete");
    let row = |data: &str| format!("{{\"RECORD\":\"{data}\",\"SHARD_ID\":\"one\"}}\n");
    assert_eq!(world.sinks.take("out"), row("two\\nlines") + &row("") + &row("{}{}"));
}

#[tokio::test]
async fn what_a_connector_counts_can_be_read_from_the_job() {
    let world = World::with_lanes(1);
    let job = world.start(ROWS).await;
    let metrics = job.metrics();
    assert_eq!(metrics.sources[0].of_connector().len(), 4);
    let totals = total(&metrics.sources[0].of_connector());
    let totals: Vec<_> = totals.iter().map(|total| (total.name, total.part.as_str(), total.value)).collect();
    assert_eq!(totals, [("behind_latest_ms", "shard-2", 60_000.0), ("throttles", "", 7.0)]);
    assert!(metrics.sinks[0].of_connector().is_empty());
}
