//! DataFusion's planner takes the trees, and means by them what the dialect means.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionConfig;

use super::{on_a_small_stack, query};
use crate::sql::on_large_stack;

/// A session as the engine has it: names are not changed any more.
fn session() -> SessionContext {
    let mut config = SessionConfig::new();
    let parser = &mut config.options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    parser.collect_spans = true;
    let ctx = SessionContext::new_with_config(config);
    let millisecond = || DataType::Timestamp(TimeUnit::Millisecond, None);
    let schema = Schema::new(vec![
        Field::new("ROWTIME", millisecond(), false),
        Field::new("K", DataType::Utf8, true),
        Field::new("v", DataType::Float64, true),
        Field::new("N", DataType::Int32, true),
    ]);
    // A plain string would be parsed as SQL, and folded to lower case.
    ctx.register_table(TableReference::bare("S"), Arc::new(EmptyTable::new(Arc::new(schema)))).unwrap();
    kinesql_udfs::register_all(&ctx).unwrap();
    ctx
}

fn plan(sql: &str) -> LogicalPlan {
    let statement = sqlparser::ast::Statement::Query(query(sql).ast);
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
    futures::executor::block_on(session().state().statement_to_plan(statement)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The one expression of a query, planned and evaluated.
fn evaluate(sql: &str) -> ScalarValue {
    let plan = plan(&format!("SELECT {sql}"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { session().execute_logical_plan(plan).await?.collect().await }).unwrap();
    ScalarValue::try_from_array(batches[0].column(0), 0).unwrap()
}

#[test]
fn tumbling_windows_plan_to_marked_groups() {
    let plan = plan(
        "SELECT STREAM k, COUNT(*) AS n, AVG(s.\"v\") FROM s WHERE n > 1 AND \"v\" < 1e3 \
         GROUP BY k, STEP(s.ROWTIME BY INTERVAL '1:30' MINUTE TO SECOND), FLOOR(s.ROWTIME TO MINUTE), CEIL(s.ROWTIME TO HOUR)",
    );
    let shown = plan.display_indent().to_string();
    assert!(shown.contains("groupBy=[[S.K, step(S.ROWTIME, IntervalMonthDayNano(\"IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 90000000000 }\")), floor_to(S.ROWTIME, Utf8(\"MINUTE\")), ceil_to(S.ROWTIME, Utf8(\"HOUR\"))]]"), "{shown}");
}

#[test]
fn idioms_plan() {
    for sql in [
        "SELECT STREAM * FROM S",
        "SELECT STREAM \"S\" . \"ROWTIME\" AS \"WINDOW_END\", K FROM s AS s WHERE K LIKE 'a%' AND N BETWEEN 1 AND 2",
        "SELECT STREAM x.k FROM (SELECT STREAM k, ROWTIME AS t FROM (SELECT STREAM * FROM s)) AS x",
        "SELECT STREAM k FROM s UNION ALL SELECT STREAM k FROM s",
        "SELECT STREAM a.b FROM (SELECT STREAM k FROM s) AS a(b)",
        "SELECT STREAM CASE WHEN n > 0 THEN 'up' ELSE 'down' END, UPPER(k), COALESCE(k, 'x'), NULLIF(n, 0) FROM s",
        "SELECT STREAM k FROM s WHERE ROWTIME > TIMESTAMP '2024-01-01 00:00:00' - INTERVAL '1' DAY AND NOT UNKNOWN IS TRUE",
        "SELECT STREAM SUBSTRING(k FROM 1 FOR 2), TRIM(BOTH ' ' FROM k), POSITION('a' IN k), k || 'x' FROM s",
        "SELECT STREAM EXTRACT(HOUR FROM ROWTIME), FLOOR(\"v\"), CEILING(\"v\"), ABS(n), POWER(n, 2) FROM s",
        "SELECT k FROM s JOIN (SELECT n FROM s) AS t USING (n) ORDER BY k LIMIT 5",
        "SELECT SUM(n) OVER (PARTITION BY k ORDER BY ROWTIME ROWS 10 PRECEDING) FROM s",
    ] {
        plan(sql);
    }
}

#[test]
fn intervals_have_their_exact_value() {
    let interval = |months, days, nanoseconds| {
        ScalarValue::IntervalMonthDayNano(Some(arrow::datatypes::IntervalMonthDayNano::new(months, days, nanoseconds)))
    };
    assert_eq!(evaluate("INTERVAL '1 02:03' DAY TO MINUTE"), interval(0, 0, 93_780_000_000_000));
    assert_eq!(evaluate("INTERVAL -'0.001' SECOND"), interval(0, 0, -1_000_000));
    assert_eq!(evaluate("INTERVAL '106751' DAY(6)"), interval(0, 0, 106_751 * 86_400_000_000_000));
    assert_eq!(evaluate("INTERVAL '106752' DAY(6)"), interval(0, 106_752, 0));
    assert_eq!(evaluate("INTERVAL -'106752 00:00:01' DAY(6) TO SECOND"), interval(0, -106_752, -1_000_000_000));
    assert_eq!(evaluate("INTERVAL '3-4' YEAR TO MONTH"), interval(40, 0, 0));
    assert_eq!(evaluate("INTERVAL -'178956970-7' YEAR(10) TO MONTH"), interval(-i32::MAX, 0, 0));
    assert_eq!(evaluate("INTERVAL '0' MINUTE"), interval(0, 0, 0));
    // Appendix A of the reference.
    assert_eq!(evaluate("INTERVAL '1' DAY - INTERVAL '3 4' DAY TO HOUR"), interval(0, 0, -52 * 3_600_000_000_000));
    assert_eq!(evaluate("INTERVAL '1' YEAR + INTERVAL '3-4' YEAR TO MONTH"), interval(52, 0, 0));
}

#[test]
fn literals_have_their_value() {
    assert_eq!(evaluate("'it''s'"), ScalarValue::from("it's"));
    assert_eq!(evaluate("U&'\\0041'"), ScalarValue::from("A"));
    assert_eq!(evaluate("X'3F67A2'"), ScalarValue::Binary(Some(vec![0x3f, 0x67, 0xa2])));
    assert_eq!(evaluate("-1.5E-6"), ScalarValue::from(-1.5e-6));
    assert_eq!(evaluate(".5 + 5."), ScalarValue::from(5.5));
    assert_eq!(evaluate("UNKNOWN"), ScalarValue::Boolean(None));
    assert_eq!(evaluate("DATE '1970-01-02'"), ScalarValue::Date32(Some(1)));
    assert_eq!(
        evaluate("CAST(TIMESTAMP '1970-01-01 00:00:01.5' AS BIGINT)"),
        // Nanoseconds until the engine's type planner makes TIMESTAMP count milliseconds.
        ScalarValue::Int64(Some(1_500_000_000))
    );
}

#[test]
fn places_survive_to_the_planners_messages() {
    let statement = sqlparser::ast::Statement::Query(query("SELECT STREAM\n  k,\n  prise FROM s").ast);
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
    let error = futures::executor::block_on(session().state().statement_to_plan(statement)).unwrap_err();
    let diagnostic = error.diagnostic().expect("an unknown column has a place");
    let span = crate::diagnostic::Span {
        start: crate::diagnostic::Position { line: 3, column: 3 },
        end: crate::diagnostic::Position { line: 3, column: 8 },
    };
    let found = diagnostic.span.expect("a span");
    assert_eq!((found.start.line, found.start.column, found.end.column), (span.start.line, span.start.column, span.end.column));
}

#[test]
fn the_deepest_queries_can_be_planned() {
    on_a_small_stack(|| {
        for sql in [
            format!("SELECT n{} FROM s", " + n".repeat(500)),
            format!("SELECT n FROM s WHERE n = 1{}", " OR n = 1".repeat(240)),
            format!("SELECT {}n{} FROM s", "(".repeat(50), ")".repeat(50)),
            format!("SELECT {}n{} FROM s", "ABS(".repeat(50), ")".repeat(50)),
            format!("SELECT {}n{} FROM s", "CASE WHEN n = 1 THEN ".repeat(50), " END".repeat(50)),
            format!("SELECT n FROM s{}", " UNION ALL SELECT n FROM s".repeat(400)),
            format!("{}SELECT * FROM s{}", "SELECT * FROM (".repeat(50), ") AS x".repeat(50)),
        ] {
            on_large_stack(|| drop(plan(&sql))).expect("a thread");
        }
    });
}

#[test]
fn names_are_looked_up_as_folded() {
    let plan = plan("SELECT k, \"v\" FROM s");
    let LogicalPlan::Projection(projection) = plan else { panic!() };
    let names: Vec<_> = projection.expr.iter().map(|expr| matches!(expr, Expr::Column(_)).then(|| expr.to_string())).collect();
    assert_eq!(names, [Some("S.K".to_owned()), Some("S.v".to_owned())]);
}
