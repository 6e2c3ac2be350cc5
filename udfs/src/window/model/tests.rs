//! The window functions against models that see the same rows as a stream.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::model::Model;
use crate::model::forest::{Explanation, ForestOptions, RandomCutForest};
use crate::model::hotspots::{Hotspots, HotspotsOptions};

/// 600 readings of two hosts: `t`, `host`, `cpu` and `io`, where `io` is NULL now and then.
fn metrics() -> RecordBatch {
    let rows = 0..600i64;
    let noise = |row: i64, factor: i64| (row * factor % 101) as f64;
    let t = Arc::new(rows.clone().collect::<Int64Array>()) as ArrayRef;
    let host = Arc::new(rows.clone().map(|row| Some(if row % 3 == 0 { "a" } else { "b" })).collect::<StringArray>()) as ArrayRef;
    let cpu = Arc::new(rows.clone().map(|row| noise(row, 37) + if row == 590 { 1e6 } else { 0.0 }).collect::<Float64Array>());
    let io =
        Arc::new(rows.map(|row| (row % 50 != 7).then(|| noise(row * row, 53) * 1e3) as Option<f64>).collect::<Float64Array>());
    RecordBatch::try_from_iter([("t", t), ("host", host), ("cpu", cpu as ArrayRef), ("io", io as ArrayRef)])
        .expect("equal lengths")
}

/// The table `metrics` in a session of its own, in two partitions whose rows are out of order.
fn session() -> SessionContext {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3).with_batch_size(64));
    crate::register_all(&session).expect("registered");
    let rows = metrics();
    let parts = vec![vec![rows.slice(450, 150)], vec![rows.slice(0, 200), rows.slice(200, 250)]];
    let table = MemTable::try_new(rows.schema(), parts).expect("of one schema");
    session.register_table("metrics", Arc::new(table)).expect("a new name");
    session
}

async fn query(sql: &str) -> Result<RecordBatch> {
    let batches = session().sql(sql).await?.collect().await?;
    Ok(concat_batches(&batches[0].schema(), &batches)?)
}

/// What a model gives for `metrics` as a stream of small batches; `host` and `t` are none of its columns.
fn streamed(mut model: impl Model, rows: &RecordBatch) -> Vec<ArrayRef> {
    let parts: Vec<_> = (0..rows.num_rows())
        .step_by(7)
        .map(|first| model.update(&rows.slice(first, 7.min(rows.num_rows() - first))).expect("rows of the relation"))
        .collect();
    let column = |column: usize| concat(&parts.iter().map(|part: &Vec<ArrayRef>| part[column].as_ref()).collect::<Vec<_>>());
    (0..parts[0].len()).map(|number| column(number).expect("of one type")).collect()
}

#[tokio::test]
async fn scores_are_those_of_the_stream() {
    let rows = query(
        "SELECT random_cut_forest(named_struct('host', host, 'cpu', cpu, 'io', io), 20, 64, 500, 2, 7) OVER (ORDER BY t) AS score
         FROM metrics ORDER BY t",
    )
    .await
    .expect("planned");
    let columns = metrics().project(&[1, 2, 3]).expect("columns");
    let options =
        ForestOptions { trees: 20, sample_size: 64, time_decay: 500, shingle_size: 2, seed: 7, ..ForestOptions::default() };
    let expected = streamed(RandomCutForest::try_new(options, &columns.schema()).expect("in range"), &columns);
    assert_eq!(rows.column(0).as_ref(), expected[0].as_ref());
    let far = expected[0].as_primitive::<Float64Type>().value(590);
    assert!(far > 2.0, "{far}");
    assert_eq!(expected[0].null_count(), 12);
}

#[tokio::test]
async fn a_partition_is_a_model_of_its_own() {
    let rows = query(
        "SELECT host, random_cut_forest(cpu, 10, 32) OVER (PARTITION BY host ORDER BY t) AS score FROM metrics ORDER BY host, t",
    )
    .await
    .expect("planned");
    let all = metrics();
    let mut expected = Vec::new();
    for (first, step) in [(0, 3), (1, 1)] {
        let places = (first..600).step_by(step).filter(|row| step == 3 || row % 3 != 0);
        let places: arrow::array::UInt32Array = places.map(|row| row as u32).collect();
        let host = arrow::compute::take_record_batch(&all.project(&[2]).expect("a column"), &places).expect("places of rows");
        let options = ForestOptions { trees: 10, sample_size: 32, ..ForestOptions::default() };
        expected.extend(streamed(RandomCutForest::try_new(options, &host.schema()).expect("in range"), &host));
    }
    let expected = concat(&[expected[0].as_ref(), expected[1].as_ref()]).expect("of one type");
    assert_eq!(rows.column(1).as_ref(), expected.as_ref());
}

#[tokio::test]
async fn explanations_and_hotspots_are_those_of_the_stream() {
    let rows = query(
        "SELECT e['ANOMALY_SCORE'], e['ANOMALY_EXPLANATION'], h FROM (
             SELECT t, random_cut_forest_with_explanation(c, 10, 32, 1000, 1, true) OVER (ORDER BY t) AS e,
                    hotspots(c, 100, 800.5, 3) OVER (ORDER BY t) AS h
             FROM (SELECT t, named_struct('cpu', cpu, 'io', io) AS c FROM metrics))
         ORDER BY t",
    )
    .await
    .expect("planned");
    let columns = metrics().project(&[2, 3]).expect("columns");
    let explanation = Explanation::Directionality;
    let options = ForestOptions { trees: 10, sample_size: 32, time_decay: 1000, explanation, ..ForestOptions::default() };
    let forest = streamed(RandomCutForest::try_new(options, &columns.schema()).expect("in range"), &columns);
    assert_eq!(rows.column(0).as_ref(), forest[0].as_ref());
    assert_eq!(rows.column(1).as_ref(), forest[1].as_ref());
    assert!(forest[1].as_string::<i32>().value(590).starts_with(r#"{"cpu":{"DIRECTION":"HIGH""#));
    let options = HotspotsOptions { window_size: 100, scan_radius: 800.5, points_min: 3 };
    let hotspots = streamed(Hotspots::try_new(options, &columns.schema()).expect("in range"), &columns);
    assert_eq!(rows.column(2).as_ref(), hotspots[0].as_ref());
    assert!(hotspots[0].as_string::<i32>().value(599).contains("density"));
}

#[tokio::test]
async fn a_struct_that_is_null_leaves_no_trace() {
    let sql = |rows: &str| {
        format!(
            "SELECT random_cut_forest(c, 5, 10, 100) OVER (ORDER BY t) AS score
             FROM (SELECT t, CASE WHEN t % 4 <> 3 THEN named_struct('cpu', cpu) END AS c FROM metrics {rows}) ORDER BY t"
        )
    };
    let (all, some) = (query(&sql("")).await.expect("planned"), query(&sql("WHERE t % 4 <> 3")).await.expect("planned"));
    let scores = all.column(0).as_primitive::<Float64Type>();
    assert_eq!(scores.null_count(), 150);
    assert!(scores.iter().flatten().eq(some.column(0).as_primitive::<Float64Type>().values().iter().copied()));
}

#[tokio::test]
async fn wrong_calls_are_found_when_the_query_is_planned() {
    for (call, message) in [
        ("random_cut_forest()", "RANDOM_CUT_FOREST needs a number or a struct of numbers"),
        ("random_cut_forest(host)", "needs 1 to 30 numeric columns, there are 0"),
        ("random_cut_forest(CAST(cpu AS DECIMAL(9, 2)) * 2)", "cannot use a DECIMAL, CAST the first argument AS DOUBLE"),
        (
            "random_cut_forest(named_struct('a', CAST(cpu AS DECIMAL(9, 2))))",
            "RANDOM_CUT_FOREST cannot use column \"a\": DECIMAL is not a supported type, use CAST(\"a\" AS DOUBLE)",
        ),
        ("random_cut_forest(cpu, 0)", "numberOfTrees of RANDOM_CUT_FOREST is 0, it must be 1 to 1000"),
        ("random_cut_forest(cpu, t)", "argument 2 of RANDOM_CUT_FOREST must be a constant"),
        ("random_cut_forest(cpu, 100, 256, 1000, 1, -1)", "seed of RANDOM_CUT_FOREST is -1"),
        (
            "random_cut_forest(cpu, 100, 256, 1000, 1, 1, 1)",
            "scoring of RANDOM_CUT_FOREST is 1, it must be 'service' or 'library'",
        ),
        ("random_cut_forest(cpu, 100, 256, 1000, 1, 1, 'library', 1)", "1 stands behind scoring"),
        ("random_cut_forest(cpu) IGNORE NULLS", "IGNORE NULLS"),
        ("random_cut_forest_with_explanation(cpu, 100, 256, 1000, 1, 1)", "it must be TRUE or FALSE"),
        ("random_cut_forest(cpu, '100')", "numberOfTrees of RANDOM_CUT_FOREST is '100', it must be an integer"),
        ("hotspots(cpu, 100)", "three arguments behind the first"),
    ] {
        let planned = match session().sql(&format!("SELECT {call} OVER (ORDER BY t) FROM metrics")).await {
            Ok(frame) => frame.create_physical_plan().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = planned.expect_err(call).to_string();
        assert!(error.contains(message), "{call}: {error}");
    }
}

#[tokio::test]
async fn constants_are_computed() {
    let plain = query("SELECT random_cut_forest(cpu, 10, 32) OVER (ORDER BY t) AS score FROM metrics ORDER BY t");
    let computed =
        query("SELECT random_cut_forest(cpu, +5 + 5, CAST(32 AS INT)) OVER (ORDER BY t) AS score FROM metrics ORDER BY t");
    let (plain, computed) = (plain.await.expect("planned"), computed.await.expect("planned"));
    assert_eq!(plain.column(0), computed.column(0));
}

#[tokio::test]
async fn explanations_name_columns() {
    let last = |sql: &'static str| async move {
        let rows = query(sql).await.expect("planned");
        rows.column(0).as_string::<i32>().value(599).split(':').next().unwrap_or_default().to_owned()
    };
    let named =
        "SELECT random_cut_forest_with_explanation(cpu, 5, 10) OVER (ORDER BY t)['ANOMALY_EXPLANATION'] FROM metrics ORDER BY t";
    assert_eq!(last(named).await, r#"{"cpu""#);
    let computed = "SELECT random_cut_forest_with_explanation(cpu * 2, 5, 10) OVER (ORDER BY t)['ANOMALY_EXPLANATION'] FROM metrics ORDER BY t";
    assert_eq!(last(computed).await, r#"{"value""#);
    // The same number twice is computed once.
    let common = "SELECT e['ANOMALY_EXPLANATION'] FROM (
        SELECT t, random_cut_forest_with_explanation(cpu * 2, 5, 10) OVER (ORDER BY t) AS e,
               random_cut_forest(cpu * 2, 5, 10) OVER (ORDER BY t) AS s FROM metrics) WHERE s >= 0 ORDER BY t";
    assert_eq!(last(common).await, r#"{"value""#);
}
