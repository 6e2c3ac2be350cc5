//! DOUBLE and REAL beside DECIMAL against a plain computation of the same in 64 bits (kda-sql-reference.md §1.7).

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, TimestampMillisecondArray};
use arrow::datatypes::{Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use kinesql_engine::Engine;
use kinesql_engine::connector::memory::{MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::types::SqlType;
use proptest::prelude::*;

use crate::stream::wait;

/// A DOUBLE, a REAL, and hundredths as DECIMAL(10, 2).
type Row = (Option<f64>, Option<f32>, Option<i32>);

const APPLICATION: &str = r#"
    CREATE STREAM "TRUTHS" AS SELECT STREAM "d" > "n" AS "1", "n" <= "r" AS "2", "d" = 1.25 AS "3", "d" BETWEEN 0.5 AND "n" AS "4",
      "r" IN (0.5, "n", 1.25) AS "5", "d" IS DISTINCT FROM "n" AS "6", "n" + 0.5 > "d" - 0.5 AS "7" FROM "S";
    CREATE STREAM "VALUES" AS SELECT STREAM CASE WHEN "d" > "n" THEN "d" ELSE "n" END AS "1", GREATEST("n", "r") AS "2", NULLIF("d", "n") AS "3",
      "r" + "n" AS "4" FROM "S";
    CREATE STREAM "MERGED" AS SELECT STREAM "d" FROM "S" UNION ALL SELECT STREAM "n" FROM "S" UNION ALL SELECT STREAM "r" FROM "S"
"#;

/// What the application means, row by row.
fn expected(row: &Row) -> ([Option<bool>; 7], [Option<f64>; 4]) {
    let (d, r, n) = (row.0, row.1.map(f64::from), row.2.map(|hundredths| f64::from(hundredths) / 100.0));
    let both = |one: Option<f64>, other: Option<f64>, is: fn(&f64, &f64) -> bool| Some(is(&one?, &other?));
    let and = |one: Option<bool>, other: Option<bool>| match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    let any =
        |one: Option<bool>, other: Option<bool>| and(one.map(|one| !one), other.map(|other| !other)).map(|neither| !neither);
    let is_in = any(any(both(r, Some(0.5), f64::eq), both(r, n, f64::eq)), both(r, Some(1.25), f64::eq));
    let between = and(both(d, Some(0.5), f64::ge), both(d, n, f64::le));
    let near = n.zip(d).map(|(n, d)| n + 0.5 > d - 0.5);
    let truths = [both(d, n, f64::gt), both(n, r, f64::le), both(d, Some(1.25), f64::eq), between, is_in, Some(d != n), near];
    let greater = match (n, r) {
        (Some(n), Some(r)) => Some(n.max(r)),
        (n, r) => n.or(r),
    };
    let case = if both(d, n, f64::gt) == Some(true) { d } else { n };
    let unless_equal = if both(d, n, f64::eq) == Some(true) { None } else { d };
    (truths, [case, greater, unless_equal, n.zip(r).map(|(n, r)| n + r)])
}

async fn run(rows: &[Row]) -> [Vec<RecordBatch>; 3] {
    let fields = [("d", SqlType::Double), ("r", SqlType::Real), ("n", SqlType::Decimal(10, 2)), ("t", SqlType::Timestamp)];
    let schema = Arc::new(Schema::new(fields.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()));
    let decimals = rows.iter().map(|row| row.2.map(i128::from)).collect::<Decimal128Array>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Float32Array>()),
        Arc::new(decimals.with_precision_and_scale(10, 2).expect("they fit")),
        Arc::new(TimestampMillisecondArray::from_iter_values((0..).take(rows.len()))),
    ];
    let source = MemorySource::new(schema.clone());
    let engine = Engine::builder().clock(ManualClock::starting_at(0)).build().expect("an engine");
    engine.add_source("S", Arc::new(source.clone()), Some(("t", Duration::ZERO))).expect("a time column");
    engine.execute(&Script::new("app.sql", APPLICATION)).await.expect("right");
    let sinks = ["TRUTHS", "VALUES", "MERGED"].map(|stream| {
        let sink = MemorySink::default();
        engine.add_sink(stream, stream, Arc::new(sink.clone())).expect("a stream");
        sink
    });
    let job = engine.start().await.expect("started");
    source.push(RecordBatch::try_new(schema, columns).expect("as declared"));
    source.finish();
    job.wait().await.expect("complete");
    sinks.map(|sink| sink.batches())
}

/// The columns of `batches` as DOUBLE, one after the other.
fn numbers(batches: &[RecordBatch], column: usize) -> Vec<Option<f64>> {
    batches.iter().flat_map(|batch| batch.column(column).as_primitive::<Float64Type>().iter().collect::<Vec<_>>()).collect()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let doubles = prop_oneof![
        Just(1e30),
        Just(-1e30),
        Just(1e-18),
        Just(f64::MAX),
        (-8i32..8).prop_map(|quarters| f64::from(quarters) / 4.0),
        -2e7f64..2e7
    ];
    let reals = prop_oneof![
        Just(2e7f32),
        Just(1e-18f32),
        (-8i8..8).prop_map(|quarters| f32::from(quarters) / 4.0),
        any::<i16>().prop_map(f32::from)
    ];
    let hundredths = prop_oneof![(-8i32..8).prop_map(|quarters| quarters * 25), -1_000i32..1_000, any::<i32>()];
    let row = (prop::option::weighted(0.9, doubles), prop::option::weighted(0.9, reals), prop::option::weighted(0.9, hundredths));
    prop::collection::vec(row, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn approximate_numbers_beside_decimals_are_doubles(rows in rows()) {
        // −0 is less than 0 to Arrow.
        let rows: Vec<Row> = rows.into_iter().map(|(d, r, n)| (d.map(|d| d + 0.0), r.map(|r| r + 0.0), n)).collect();
        let [truths, values, merged] = wait(run(&rows));
        for (place, column) in (0..7).zip(1..) {
            let got: Vec<_> = truths.iter().flat_map(|batch| batch.column(place).as_boolean().iter().collect::<Vec<_>>()).collect();
            let wanted: Vec<_> = rows.iter().map(|row| expected(row).0[place]).collect();
            prop_assert_eq!(got, wanted, "truth {}", column);
        }
        for place in 0..4 {
            let wanted: Vec<_> = rows.iter().map(|row| expected(row).1[place]).collect();
            prop_assert_eq!(numbers(&values, place), wanted, "value {}", place + 1);
        }
        let key = |value: &Option<f64>| value.map(f64::to_bits);
        let mut got = numbers(&merged, 0);
        let mut wanted: Vec<_> =
            rows.iter().flat_map(|row| [row.0, row.1.map(f64::from), row.2.map(|hundredths| f64::from(hundredths) / 100.0)]).collect();
        got.sort_by_key(key);
        wanted.sort_by_key(key);
        prop_assert_eq!(got, wanted);
    }
}
