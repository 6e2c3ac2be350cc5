//! What a program that embeds the engine gets: queries with their warnings, jobs that ask no more of sources than they need.

use std::sync::Arc;

use futures::TryStreamExt;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::diagnostic::{Diagnostic, Script};
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::{Engine, ErrorKind, Outcome};

use crate::stream::batch;

/// An engine with the source `S` of the columns of [`batch`], which has ended after one row.
async fn engine() -> Engine {
    let memory = MemoryConnector::default();
    let engine = Engine::builder().clock(ManualClock::starting_at(0)).connectors(|registry| {
        kinesql_connectors::register_all(registry);
        memory.register(registry);
    });
    let engine = engine.build().expect("an engine");
    let source = r#"CREATE SOURCE "S" ("k" VARCHAR(4), "v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');"#;
    engine.execute(&Script::new("s.sql", source)).await.expect("right");
    let source = memory.source("S").expect("created");
    source.push(batch(&[(Some(1), Some(7), 0)]));
    source.finish();
    engine
}

async fn messages(engine: &Engine, sql: &str) -> Vec<String> {
    let script: Arc<Script> = Script::new("q.sql", sql);
    engine.check(&script).await.into_iter().map(|problem| problem.message).collect()
}

#[tokio::test]
async fn a_query_with_a_warning_is_answered_and_says_it() {
    let engine = engine().await;
    let sql = r#"SELECT STREAM MAX("v") OVER (PARTITION BY "k" RANGE UNBOUNDED PRECEDING) AS "high" FROM "S""#;
    let query = engine.query(sql).await.expect("one query");
    let warnings: Vec<_> = query.warnings().iter().map(|warning| warning.message.clone()).collect();
    assert_eq!(warnings, ["a window with UNBOUNDED PRECEDING keeps something of every key for ever"]);
    let rows: usize = query.try_collect::<Vec<_>>().await.expect("rows").iter().map(|rows| rows.num_rows()).sum();
    assert_eq!(rows, 1);
    for not_one in ["", "SELECT 1; SELECT 2", "CREATE STREAM a (b INTEGER)"] {
        let error = engine.query(not_one).await.err().expect("not one query");
        assert_eq!(error.message(), "not a single query");
    }
}

/// kda-sql-reference.md §8.1.
#[tokio::test]
async fn reserved_words_that_name_columns_without_quotes_are_warned_about() {
    let engine = engine().await;
    let warnings = async |sql: &str| -> Vec<String> {
        let found = engine.check(&Script::new("q.sql", sql)).await;
        let place = |warning: &Diagnostic| warning.span.map(|span| format!("{}:{} ", span.start.line, span.start.column));
        found.iter().map(|warning| format!("{}{}", place(warning).unwrap_or_default(), warning.message)).collect()
    };
    let said = |place: &str, word: &str| format!("{place} {word} is a reserved word: as a name it belongs in double quotes");
    let declared = r#"CREATE STREAM a (date TIMESTAMP, value INTEGER, "month" INTEGER, "YEAR" INTEGER, step INTEGER)"#;
    assert_eq!(warnings(declared).await, [said("1:18", "DATE"), said("1:34", "VALUE")]);
    // Once for each word of a query, wherever it names a column.
    let used = "CREATE STREAM b AS SELECT STREAM d.date, value + 1 AS sum, \"YEAR\" AS \"YEAR\"\n\
                FROM (SELECT STREAM ROWTIME AS date, \"v\" AS value, 2 AS \"YEAR\" FROM \"S\") AS d WHERE d.value > 0";
    let mut found = warnings(used).await;
    found.sort();
    assert_eq!(found, [said("1:36", "DATE"), said("1:42", "VALUE"), said("1:55", "SUM")]);
    assert_eq!(warnings("SELECT 1 AS hour").await, [said("1:13", "HOUR")]);
    // Where they are no names, and what sources call columns themselves.
    let right = r#"SELECT STREAM EXTRACT(DAY FROM ROWTIME), CURRENT_TIMESTAMP, FLOOR("S".ROWTIME TO HOUR), CAST("k" AS DOUBLE),
                   SUBSTRING("k" FROM 1 FOR 2), "v" IS NOT UNKNOWN, INTERVAL '1' DAY, partition_key, step FROM (SELECT STREAM "k", "v" > 0 AS "v", "k" AS partition_key, 1 AS step FROM "S") AS "S""#;
    assert_eq!(warnings(right).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_source_that_nobody_reads_need_not_be_there() {
    let engine = engine().await;
    let missing = r#"CREATE SOURCE "MISSING" ("v" INTEGER) WITH (connector = 'file', path = 'no/such.json');"#;
    engine.execute(&Script::new("m.sql", missing)).await.expect("its columns are declared");
    let rows = engine.query(r#"SELECT STREAM "v" FROM "S""#).await.expect("started").try_collect::<Vec<_>>().await;
    assert_eq!(rows.expect("rows").len(), 1);
    let explained = engine.execute(&Script::new("e.sql", r#"EXPLAIN SELECT STREAM "v" FROM "S""#)).await.expect("explained");
    assert!(matches!(&explained[..], [Outcome::Explained(plan)] if plan.starts_with("source S (memory, 1 split): v")));
    let sink = r#"CREATE STREAM "OUT" ("v" INTEGER); CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM "v" FROM "S";
                  CREATE PUMP "Q" STOPPED AS INSERT INTO "OUT" SELECT STREAM "v" FROM "MISSING";
                  CREATE SINK "K" FROM "OUT" WITH (connector = 'memory');"#;
    engine.execute(&Script::new("k.sql", sink)).await.expect("right");
    engine.start().await.expect("started").wait().await.expect("complete");

    let error = engine.query(r#"SELECT STREAM "v" FROM "MISSING""#).await.err().expect("missing");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.message(), "source \"MISSING\": cannot read 'no/such.json': there is no such file or folder");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("A relative path starts")), "{error}");
    engine.execute(&Script::new("a.sql", r#"ALTER PUMP "Q" START"#)).await.expect("altered");
    let error = engine.start().await.err().expect("now it is read");
    assert!(error.message().starts_with("source \"MISSING\": "), "{error}");
}

#[tokio::test]
async fn a_query_without_a_source_behind_it_says_why_it_ends() {
    let engine = engine().await;
    let streams =
        r#"CREATE STREAM "OUT" ("v" INTEGER); CREATE PUMP "P" STOPPED AS INSERT INTO "OUT" SELECT STREAM "v" FROM "S";"#;
    engine.execute(&Script::new("o.sql", streams)).await.expect("right");
    assert_eq!(
        messages(&engine, "SELECT STREAM * FROM error_stream").await,
        ["error_stream has no rows in a query that reads nothing else: a query runs by itself"]
    );
    let no_pump = "stream \"OUT\" has no rows: no running pump brings it any from a source";
    assert_eq!(messages(&engine, r#"SELECT STREAM * FROM "OUT""#).await, [no_pump]);
    assert_eq!(messages(&engine, r#"ALTER PUMP "P" START; SELECT STREAM * FROM "OUT""#).await, [""; 0]);
}

#[tokio::test]
async fn columns_of_tables_without_a_name_are_called_after_their_text() {
    let engine = engine().await;
    for (sql, names) in [
        ("SELECT 1, 1 + 1, 2*3 AS six", &["1", "1 + 1", "SIX"][..]),
        ("SELECT 1 UNION ALL SELECT 2", &["1"]),
        ("SELECT COUNT(*), v FROM (SELECT 1 AS v) AS t GROUP BY v ORDER BY COUNT(*)", &["COUNT(*)", "V"]),
        ("SELECT * FROM (SELECT 1 AS v) AS t", &["V"]),
    ] {
        let schema = engine.query(sql).await.expect(sql).schema();
        assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), names, "{sql}");
    }
}
