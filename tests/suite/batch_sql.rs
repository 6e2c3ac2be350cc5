//! Windows and joins of streams give what DataFusion's own SQL gives for the same rows in a table: whatever the window, the
//! cut into batches, the number of splits and the restarts.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use crate::stream::{Course, Row, batch, columns, courses, rows, run, text, wait};

/// What DataFusion gives for `sql` over tables of these names and rows.
async fn in_batch(sql: &str, tables: &[(&str, &[Row])]) -> Vec<String> {
    let mut config = SessionConfig::new().with_target_partitions(2);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let session = SessionContext::new_with_config(config);
    for (name, rows) in tables {
        let table = MemTable::try_new(columns(), vec![vec![batch(rows)]]).expect("a table");
        session.register_table(TableReference::bare(*name), Arc::new(table)).expect("registered");
    }
    text(&session.sql(sql).await.expect("planned").collect().await.expect("computed"))
}

/// Both answers, sorted: the order of a stream is another test's.
fn compare(streamed: &str, batched: &str, sources: &[(&str, &[Row])], course: &Course) -> Result<(), TestCaseError> {
    let application = format!("CREATE STREAM \"OUT\" AS {streamed};");
    let (mut got, mut expected) = wait(async { (run(&application, sources, course).await, in_batch(batched, sources).await) });
    got.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!(got, expected, "{}", streamed);
    Ok(())
}

/// An interval of milliseconds, as KDA writes it.
fn interval(ms: i64) -> String {
    format!("INTERVAL '{}.{:03}' SECOND(3, 3)", ms / 1_000, ms % 1_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn tumbling_windows(rows in rows(120, false), course in courses(1, 1..4), ms in prop_oneof![Just(1_000i64), 1i64..5_000]) {
        let streamed = format!(
            "SELECT STREAM STEP(s.ROWTIME BY {step}) AS \"start\", \"k\", COUNT(*) AS \"n\", COUNT(\"v\") AS \"c\", SUM(CAST(\"v\" AS BIGINT)) AS \"sum\",
               MIN(\"v\") AS \"lo\", MAX(\"v\") AS \"hi\", AVG(CAST(\"v\" AS DOUBLE)) AS \"avg\", COUNT(DISTINCT \"v\") AS \"d\", STDDEV_POP(\"v\") AS \"dev\"
             FROM \"S\" AS s GROUP BY \"k\", STEP(s.ROWTIME BY {step}) HAVING COUNT(*) < 20",
            step = interval(ms)
        );
        let start = format!("date_bin(INTERVAL '{ms} milliseconds', t, TIMESTAMP '1970-01-01')");
        let batched = format!(
            "SELECT arrow_cast({start}, 'Timestamp(ms)'), k, COUNT(*), COUNT(v), SUM(CAST(v AS BIGINT)), MIN(v), MAX(v), AVG(CAST(v AS DOUBLE)),
               COUNT(DISTINCT v), STDDEV_POP(v) FROM \"S\" GROUP BY {start}, k HAVING COUNT(*) < 20"
        );
        // A deviation is computed in the order of rows: it may differ in its last digits.
        let rows: Vec<Row> = rows.into_iter().map(|(key, value, time)| (key, value.map(|value| value / 50), time)).collect();
        let round = |sql: String| sql.replace("STDDEV_POP(\"v\")", "ROUND(STDDEV_POP(\"v\"), 9)").replace("STDDEV_POP(v)", "ROUND(STDDEV_POP(v), 9)");
        compare(&round(streamed), &round(batched), &[("S", &rows)], &course)?;
    }

    #[test]
    fn distinct_rows_of_a_period(rows in rows(120, false), course in courses(1, 1..4)) {
        let streamed = "SELECT STREAM DISTINCT FLOOR(s.ROWTIME TO SECOND) AS \"second\", \"k\", \"v\" > 0 AS \"positive\" FROM \"S\" AS s";
        let batched = "SELECT DISTINCT arrow_cast(date_trunc('second', t), 'Timestamp(ms)'), k, v > 0 FROM \"S\"";
        compare(streamed, batched, &[("S", &rows)], &course)?;
    }

    #[test]
    fn sliding_windows(rows in rows(120, true), course in courses(1, 1..4), ms in 0i64..6_000, count in 0usize..12) {
        let functions = |frame: &str, v: &str| format!(
            "COUNT(*) OVER ({frame}), COUNT({v}) OVER ({frame}), SUM(CAST({v} AS BIGINT)) OVER ({frame}), MIN({v}) OVER ({frame}), MAX({v}) OVER ({frame}),
             AVG(CAST({v} AS DOUBLE)) OVER ({frame}), FIRST_VALUE({v}) OVER ({frame}), LAST_VALUE({v}) OVER ({frame})"
        );
        let streamed = format!(
            "SELECT STREAM ROWTIME AS \"at\", {}, {} FROM \"S\"",
            functions(&format!("PARTITION BY \"k\" RANGE {} PRECEDING", interval(ms)), "\"v\""),
            functions(&format!("ROWS {count} PRECEDING"), "\"v\""),
        );
        let batched = format!(
            "SELECT t, {}, {} FROM \"S\"",
            functions(&format!("PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '{ms} milliseconds' PRECEDING AND CURRENT ROW"), "v"),
            functions(&format!("ORDER BY t ROWS BETWEEN {count} PRECEDING AND CURRENT ROW"), "v"),
        );
        compare(&streamed, &batched, &[("S", &rows)], &course)?;
    }

    #[test]
    fn joins(
        left in rows(60, false), right in rows(60, false), course in courses(2, 1..4), kind in prop::sample::select(vec!["INNER", "LEFT", "RIGHT", "FULL"]),
        before in 0i64..4_000, after in 0i64..4_000
    ) {
        let streamed = format!(
            "SELECT STREAM l.\"k\" AS \"a\", l.\"v\" AS \"b\", l.\"t\" AS \"c\", r.\"k\" AS \"d\", r.\"v\" AS \"e\", r.\"t\" AS \"f\"
             FROM \"L\" OVER (RANGE {} PRECEDING) AS l {kind} JOIN \"R\" OVER (RANGE {} PRECEDING) AS r ON l.\"k\" = r.\"k\" AND l.\"v\" <= r.\"v\"",
            interval(before), interval(after),
        );
        // A row of L meets those of R that come up to `before` later, and those that came up to `after` earlier.
        let batched = format!(
            "SELECT l.k, l.v, l.t, r.k, r.v, r.t FROM \"L\" AS l {kind} JOIN \"R\" AS r ON l.k = r.k AND l.v <= r.v
             AND r.t <= l.t + INTERVAL '{before} milliseconds' AND l.t <= r.t + INTERVAL '{after} milliseconds'"
        );
        compare(&streamed, &batched, &[("L", &left), ("R", &right)], &course)?;
    }

    #[test]
    fn joins_of_simultaneous_rows_and_of_rows_that_follow(
        left in rows(60, false), right in rows(60, false), course in courses(2, 1..4), ms in 0i64..3_000
    ) {
        let crossed = "SELECT STREAM l.\"v\" AS \"a\", r.\"v\" AS \"b\" FROM \"L\" AS l CROSS JOIN \"R\" AS r";
        compare(crossed, "SELECT l.v, r.v FROM \"L\" AS l JOIN \"R\" AS r ON l.t = r.t", &[("L", &left), ("R", &right)], &course)?;
        let following = format!(
            "SELECT STREAM l.\"v\" AS \"a\", r.\"v\" AS \"b\", ROWTIME AS \"at\"
             FROM \"L\" AS l JOIN \"R\" OVER (RANGE {} FOLLOWING) AS r ON l.\"k\" = r.\"k\"",
            interval(ms)
        );
        let batched = format!(
            "SELECT l.v, r.v, r.t FROM \"L\" AS l JOIN \"R\" AS r ON l.k = r.k AND r.t >= l.t AND r.t <= l.t + INTERVAL '{ms} milliseconds'"
        );
        compare(&following, &batched, &[("L", &left), ("R", &right)], &course)?;
    }
}
