//! Input that a careless user or a strange producer sends: windows larger than the memory budget, thousands of rows of one
//! ROWTIME, rows of a hundred columns.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use kinesql_engine::Engine;
use kinesql_engine::connector::memory::{MemoryConnector, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;

use crate::stream::{Course, Row, batch, columns, run, text, wait};

/// What a job over 10,000 rows in S, and as many in U, fails with when it may use so many bytes.
fn failure(query: &str, memory_limit: usize) -> String {
    let memory = MemoryConnector::default();
    let engine = Engine::builder().clock(ManualClock::starting_at(0)).memory_limit(memory_limit);
    let engine = engine.connectors(|registry| memory.register(registry)).build().expect("an engine");
    for name in ["S", "U"] {
        let source = MemorySource::with_splits(columns(), 1);
        engine.add_source(name, Arc::new(source.clone()), Some(("t", Duration::ZERO))).expect("a time column");
        for piece in 0..100i64 {
            let row = |n| (Some((n % 200) as u8), Some((piece * 100 + n) as i32), piece * 100 + n);
            source.push(batch(&(0..100).map(row).collect::<Vec<Row>>()));
        }
        source.finish();
    }
    let script = format!("CREATE STREAM \"OUT\" AS {query}; CREATE SINK \"R\" FROM \"OUT\" WITH (connector = 'memory');");
    wait(async {
        engine.execute(&Script::new("app.sql", script)).await.expect("right");
        engine.start().await.expect("started").wait().await.expect_err("too large").to_string()
    })
}

#[test]
fn a_window_larger_than_the_memory_budget_fails_and_says_which() {
    // The operator that asks last is the one that is named: rows may wait for a window that holds nearly all.
    let check = |message: String, operators: &[&str]| {
        assert!(message.contains("which exceeds the memory budget of "), "{message}");
        assert!(operators.iter().any(|operator| message.starts_with(&format!("{operator} needs "))), "{message}");
    };
    let tumbling = "SELECT STREAM \"v\", COUNT(*) AS \"n\" FROM \"S\" GROUP BY \"v\", FLOOR(\"S\".ROWTIME TO HOUR)";
    check(failure(tumbling, 200_000), &["tumbling window"]);
    let stagger =
        "SELECT STREAM \"v\", COUNT(*) AS \"n\" FROM \"S\" WINDOWED BY STAGGER (PARTITION BY \"v\" RANGE INTERVAL '1' HOUR)";
    check(failure(stagger, 200_000), &["stagger window", "time order"]);
    let sliding = "SELECT STREAM MAX(\"v\") OVER (PARTITION BY \"v\" RANGE INTERVAL '1' HOUR PRECEDING) AS \"n\" FROM \"S\"";
    check(failure(sliding, 200_000), &["sliding window", "time order"]);
    let hopping = "SELECT STREAM \"v\", COUNT(*) AS \"n\" FROM TABLE(HOP(TABLE \"S\", DESCRIPTOR(ROWTIME), INTERVAL '1' MINUTE, INTERVAL '1' HOUR)) GROUP BY \"v\", window_start, window_end";
    check(failure(hopping, 200_000), &["hopping window"]);
    let session = "SELECT STREAM \"v\", COUNT(*) AS \"n\" FROM TABLE(SESSION(TABLE \"S\" PARTITION BY \"v\", DESCRIPTOR(ROWTIME), INTERVAL '1' HOUR)) GROUP BY \"v\", window_start, window_end";
    check(failure(session, 200_000), &["session window", "time order"]);
    let sorted = "SELECT STREAM \"v\" FROM \"S\" ORDER BY FLOOR(\"S\".ROWTIME TO HOUR), \"v\" DESC";
    check(failure(sorted, 100_000), &["sort", "time order"]);
    let distinct = "SELECT STREAM DISTINCT FLOOR(\"S\".ROWTIME TO HOUR) AS \"hour\", \"v\" FROM \"S\"";
    check(failure(distinct, 100_000), &["distinct", "time order"]);
    let join =
        "SELECT STREAM a.\"v\" FROM \"S\" OVER (RANGE INTERVAL '1' HOUR PRECEDING) AS a JOIN \"U\" AS b ON a.\"v\" = b.\"v\"";
    check(failure(join, 100_000), &["window join", "time order"]);
}

// covers: 8.7/row-limit
#[test]
fn a_row_over_the_limit_is_a_row_of_error_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.json");
    let long = |id: u32, bytes: usize| format!("{{\"id\":{id},\"text\":\"{}\"}}", "x".repeat(bytes - 18));
    // Exactly the limit, one byte more, and a short row behind them.
    let rows = format!("{}\n{}\n{{\"id\":3,\"text\":\"short\"}}\n", long(1, 512 << 10), long(2, (512 << 10) + 1));
    std::fs::write(&path, rows).expect("written");
    let run = |setting: &str| {
        let memory = MemoryConnector::default();
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).connectors(|registry| {
            kinesql_connectors::register_all(registry);
            memory.register(registry);
        });
        let engine = engine.build().expect("an engine");
        let script = format!(
            r#"{setting}
               CREATE SOURCE "S" ("id" INTEGER, "text" VARCHAR(10)) WITH (connector = 'file', path = '{}');
               CREATE STREAM "OUT" AS SELECT STREAM "id" FROM "S"; CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
               CREATE STREAM "FAILED" AS SELECT STREAM ERROR_NAME, MESSAGE FROM error_stream;
               CREATE SINK "E" FROM "FAILED" WITH (connector = 'memory');"#,
            path.display()
        );
        wait(async {
            engine.execute(&Script::new("app.sql", script)).await.expect("right");
            engine.start().await.expect("started").wait().await.expect("complete");
        });
        ["R", "E"].map(|sink| text(&memory.sink(sink).expect("bound").batches()))
    };
    let [rows, errors] = run("");
    assert_eq!(rows, ["1", "3"]);
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(error.starts_with("PARSE_ERROR ") && error.contains("a row of 524289 bytes is over the limit of 524288"), "{error}");
    assert_eq!(run("SET row_bytes_max = '1mb';"), [vec!["1".to_owned(), "2".to_owned(), "3".to_owned()], vec![]]);
}

#[test]
fn ten_thousand_rows_of_one_rowtime_are_in_every_window() {
    // Exactly on the end of one minute and the beginning of the next.
    let rows: Vec<Row> = (0..10_000).map(|n| (Some((n % 3) as u8), Some(n), 60_000)).collect();
    let others: Vec<Row> = (0..10_000).map(|n| (None, Some(n * 2), 60_000)).collect();
    let run = |query: &str, splits| {
        let course = Course { cuts: vec![(0, 1), (1, 5_000), (0, 5_000), (0, 0), (1, 10)], splits, restarts: vec![2, 3] };
        wait(run(&format!("CREATE STREAM \"OUT\" AS {query};"), &[("S", &rows), ("U", &others)], &course))
    };
    for splits in [1, 4] {
        let tumbling = "SELECT STREAM ROWTIME AS \"at\", COUNT(*) AS \"n\", MAX(\"v\") AS \"hi\" FROM \"S\" GROUP BY FLOOR(\"S\".ROWTIME TO MINUTE)";
        assert_eq!(run(tumbling, splits), ["1970-01-01T00:02:00.000 10000 9999"]);
        let stagger = "SELECT STREAM ROWTIME AS \"at\", \"k\", COUNT(*) AS \"n\" FROM \"S\" WINDOWED BY STAGGER (PARTITION BY \"k\" RANGE INTERVAL '1' SECOND)";
        let mut staggered = run(stagger, splits);
        staggered.sort_unstable();
        let window = |key, n| format!("1970-01-01T00:01:01.000 {key} {n}");
        assert_eq!(staggered, [window("k0", 3_334), window("k1", 3_333), window("k2", 3_333)]);
        let sliding = "SELECT STREAM COUNT(*) OVER (RANGE INTERVAL '0' SECOND PRECEDING) AS \"n\" FROM \"S\"";
        assert_eq!(run(sliding, splits), (1..=10_000).map(|n: i32| n.to_string()).collect::<Vec<_>>());
        let join = "SELECT STREAM ROWTIME AS \"at\", COUNT(*) AS \"n\", SUM(a.\"v\") AS \"sum\" FROM \"S\" AS a JOIN \"U\" AS b ON a.ROWTIME = b.ROWTIME AND a.\"v\" = b.\"v\" \
                    GROUP BY FLOOR(ROWTIME TO MINUTE)";
        assert_eq!(run(join, splits), ["1970-01-01T00:02:00.000 5000 24995000"]);
        let hopping = "SELECT STREAM window_end AS \"end\", COUNT(*) AS \"n\" FROM TABLE(HOP(TABLE \"S\", DESCRIPTOR(ROWTIME), INTERVAL '30' SECOND, INTERVAL '1' MINUTE)) GROUP BY window_start, window_end";
        assert_eq!(run(hopping, splits), ["1970-01-01T00:01:30.000 10000", "1970-01-01T00:02:00.000 10000"]);
        let session = "SELECT STREAM \"k\", COUNT(*) AS \"n\" FROM TABLE(SESSION(TABLE \"S\" PARTITION BY \"k\", DESCRIPTOR(ROWTIME), INTERVAL '1' SECOND)) GROUP BY \"k\", window_start, window_end";
        let mut sessions = run(session, splits);
        sessions.sort_unstable();
        assert_eq!(sessions, ["k0 3334", "k1 3333", "k2 3333"]);
        let sorted = "SELECT STREAM \"v\" FROM \"S\" ORDER BY ROWTIME, \"v\" DESC";
        assert_eq!(run(sorted, splits), (0..10_000).rev().map(|n: i32| n.to_string()).collect::<Vec<_>>());
        let distinct = "SELECT STREAM DISTINCT FLOOR(\"S\".ROWTIME TO MINUTE) AS \"minute\", \"k\" FROM \"S\"";
        assert_eq!(run(distinct, splits).len(), 3);
    }
}

#[test]
fn rows_of_thirty_and_of_a_hundred_columns_keep_every_value() {
    for width in [30i64, 100] {
        let number = |n: i64| SqlType::BigInt.field(&format!("c{n}"), true);
        let fields = (0..width).map(number).chain([SqlType::Timestamp.field("t", true)]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let rows = |from: i64| {
            let column = |c: i64| -> ArrayRef {
                Arc::new((from..from + 50).map(|row| (row % 7 != c % 7).then_some(row * 1_000 + c)).collect::<Int64Array>())
            };
            let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values((from..from + 50).map(|row| row * 100)));
            RecordBatch::try_new(schema.clone(), (0..width).map(column).chain([times]).collect()).expect("as declared")
        };
        let list = |item: &dyn Fn(i64) -> String| (0..width).map(item).collect::<Vec<_>>().join(", ");
        let queries = [
            ("ALL", "SELECT STREAM * FROM \"S\"".to_owned()),
            (
                "MAX",
                format!(
                    "SELECT STREAM {} FROM \"S\" GROUP BY STEP(\"S\".ROWTIME BY INTERVAL '5' SECOND)",
                    list(&|c| format!("MAX(\"c{c}\") AS \"m{c}\""))
                ),
            ),
            (
                "KEYS",
                format!(
                    "SELECT STREAM {0}, COUNT(*) AS \"n\" FROM \"S\" GROUP BY {0}, FLOOR(\"S\".ROWTIME TO MINUTE)",
                    list(&|c| format!("\"c{c}\""))
                ),
            ),
            (
                "OVER",
                format!(
                    "SELECT STREAM {} FROM \"S\" WINDOW w AS (ROWS 6 PRECEDING)",
                    list(&|c| format!("SUM(\"c{c}\") OVER w AS \"s{c}\""))
                ),
            ),
            (
                "JOIN",
                format!(
                    "SELECT STREAM {}, a.\"t\", b.\"t\" AS \"of b\" FROM \"S\" OVER (RANGE INTERVAL '1' SECOND PRECEDING) AS a JOIN \"S\" AS b ON a.ROWTIME = b.ROWTIME",
                    list(&|c| format!("a.\"c{c}\", b.\"c{c}\" AS \"d{c}\""))
                ),
            ),
        ];
        let memory = MemoryConnector::default();
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).connectors(|registry| memory.register(registry));
        let engine = engine.build().expect("an engine");
        let source = MemorySource::with_splits(schema.clone(), 1);
        engine.add_source("S", Arc::new(source.clone()), Some(("t", Duration::ZERO))).expect("a time column");
        let script: String = queries
            .iter()
            .map(|(name, query)| {
                format!(
                    "CREATE STREAM \"{name}\" AS {query}; CREATE SINK \"{name}\" FROM \"{name}\" WITH (connector = 'memory');\n"
                )
            })
            .collect();
        [0, 50].into_iter().for_each(|from| source.push(rows(from)));
        source.finish();
        wait(async {
            engine.execute(&Script::new("app.sql", script)).await.expect("right");
            engine.start().await.expect("started").wait().await.expect("complete");
        });
        let read = |name: &str| text(&memory.sink(name).expect("created").batches());
        let value = |row: i64, c: i64| (row % 7 != c % 7).then_some(row * 1_000 + c);
        let line = |cells: &mut dyn Iterator<Item = Option<i64>>| {
            cells.map(|cell| cell.map_or("NULL".to_owned(), |cell| cell.to_string())).collect::<Vec<_>>().join(" ")
        };
        let row = |row: i64| line(&mut (0..width).map(|c| value(row, c)));
        let all = read("ALL");
        assert_eq!(all.len(), 100);
        assert!(all.iter().enumerate().all(|(n, line)| line.starts_with(&(row(n as i64) + " 1970"))), "{width} columns");
        let largest =
            |rows: std::ops::Range<i64>| line(&mut (0..width).map(|c| rows.clone().filter_map(|row| value(row, c)).max()));
        assert_eq!(read("MAX"), [largest(0..50), largest(50..100)]);
        let mut keys: Vec<String> = (0..100).map(|n| row(n) + " 1").collect();
        let mut grouped = read("KEYS");
        keys.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, keys);
        let sum = |last: i64, c| (0.max(last - 6)..=last).filter_map(|row| value(row, c)).reduce(|a, b| a + b);
        assert_eq!(read("OVER"), (0..100).map(|last| line(&mut (0..width).map(|c| sum(last, c)))).collect::<Vec<_>>());
        let joined = read("JOIN");
        assert_eq!(joined.len(), 100);
        assert!(joined.iter().all(|line| line.split(' ').count() as i64 == 2 * (width + 1)));
    }
}
