//! The operator against the definition of a frame, over cuts into batches, watermarks and restores.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Float64Type};
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use proptest::prelude::*;

use super::moments::Statistic;
use super::places::Place;
use super::*;
use crate::runtime::channel::Event;
use crate::types::{ROWTIME, SqlType};

/// ROWTIME, key, number, truth.
type Row = (i64, Option<u8>, Option<f64>, Option<bool>);

/// Columns of the input.
const KEY: usize = 0;
const NUMBER: usize = 1;
const TRUTH: usize = 2;
const WHOLE: usize = 3;
const TEXT: usize = 4;
const TIME: usize = 5;

fn input() -> SchemaRef {
    let columns = [SqlType::Varchar(8), SqlType::Double, SqlType::Boolean, SqlType::BigInt, SqlType::Varchar(20)];
    let columns = ["k", "x", "b", "i", "s"].into_iter().zip(columns).map(|(name, sql_type)| sql_type.field(name, true));
    Arc::new(Schema::new(columns.chain([SqlType::Timestamp.field(ROWTIME, false)]).collect::<Vec<_>>()))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.1.map(|key| format!("key {key}"))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(whole).collect::<Int64Array>()),
        Arc::new(rows.iter().map(text).collect::<StringArray>()),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.0))),
    ];
    RecordBatch::try_new(input(), columns).expect("as declared")
}

fn whole(row: &Row) -> Option<i64> {
    row.2.map(|x| (x * 3.0) as i64)
}

fn text(row: &Row) -> Option<String> {
    row.2.map(|x| format!("text {x}"))
}

const FADED_MS: i64 = 30;

/// Functions of the different values in a frame, behind the others.
const DISTINCT: usize = 7;

/// Every function, by the place of its argument among those of the plan; the last ones are of different values.
fn functions() -> Vec<(Function, Option<usize>, SqlType)> {
    let moment = |sample, deviation| Function::Moment(Statistic { sample, deviation });
    let place = |place, ignore_nulls| Function::Place { place, ignore_nulls };
    vec![
        (Function::CountRows, None, SqlType::BigInt),
        (Function::Count, Some(0), SqlType::BigInt),
        (Function::Sum, Some(0), SqlType::Double),
        (Function::Average, Some(0), SqlType::Double),
        (Function::Min, Some(0), SqlType::Double),
        (Function::Max, Some(0), SqlType::Double),
        (moment(false, false), Some(0), SqlType::Double),
        (moment(true, true), Some(0), SqlType::Double),
        (Function::Any, Some(1), SqlType::Boolean),
        (Function::Every, Some(1), SqlType::Boolean),
        (Function::Sum, Some(2), SqlType::BigInt),
        (Function::Max, Some(3), SqlType::Varchar(20)),
        (place(Place::FromFirst(2), false), Some(3), SqlType::Varchar(20)),
        (place(Place::FromFirst(1), true), Some(0), SqlType::Double),
        (place(Place::FromLast(1), true), Some(0), SqlType::Double),
        (place(Place::FromLast(3), false), Some(2), SqlType::BigInt),
        (place(Place::Before(2), false), Some(0), SqlType::Double),
        (place(Place::Before(1), true), Some(0), SqlType::Double),
        (Function::Faded(FADED_MS), Some(0), SqlType::Double),
        (Function::Count, Some(0), SqlType::BigInt),
        (Function::Sum, Some(0), SqlType::Double),
        (Function::Average, Some(0), SqlType::Double),
        (moment(false, false), Some(0), SqlType::Double),
        (Function::Sum, Some(2), SqlType::BigInt),
        (Function::Count, Some(3), SqlType::BigInt),
        (Function::Count, Some(1), SqlType::BigInt),
    ]
}

/// LAG(x, 2, i) has a column for the rows that have none.
fn plan(frame: Frame, keys: Vec<usize>) -> SlidingPlan {
    let spec = |(i, (function, argument, sql_type)): (usize, (Function, Option<usize>, SqlType))| FunctionSpec {
        function,
        argument,
        distinct: i + DISTINCT >= functions().len(),
        otherwise: (function == Function::Place { place: Place::Before(2), ignore_nulls: false }).then_some(NUMBER),
        field: Arc::new(Field::new(format!("f{i}"), sql_type.data_type(), true)),
    };
    let functions = functions().into_iter().enumerate().map(spec).collect();
    SlidingPlan { input: input(), rowtime: TIME, keys, frame, arguments: vec![NUMBER, TRUTH, WHOLE, TEXT], functions }
}

fn window(plan: &SlidingPlan) -> SlidingWindow {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    SlidingWindow::try_new(plan.clone(), Budget::new("sliding window", "", &pool)).expect("types that are supported")
}

/// A result as the definition has it.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(Option<f64>),
    Truth(Option<bool>),
    Whole(Option<i64>),
    Text(Option<String>),
}

/// The results of the row at `place` by the definition.
fn expected(rows: &[Row], place: usize, frame: Frame, has_keys: bool) -> Vec<Value> {
    let current = &rows[place];
    let of_key = || rows[..=place].iter().filter(|row| !has_keys || row.1 == current.1);
    let frame: Vec<&Row> = match frame {
        Frame::Range(length_ms) => of_key().filter(|row| row.0 >= current.0 - length_ms).collect(),
        Frame::Rows(before) => of_key().skip(of_key().count().saturating_sub(before as usize + 1)).collect(),
    };
    let numbers: Vec<f64> = frame.iter().filter_map(|row| row.2).collect();
    let count = numbers.len() as f64;
    let some = |value: f64| Value::Number((!numbers.is_empty()).then_some(value));
    let sum: f64 = numbers.iter().sum();
    let spread: f64 = numbers.iter().map(|x| (x - sum / count) * (x - sum / count)).sum();
    let truths: Vec<bool> = frame.iter().filter_map(|row| row.3).collect();
    let mut different = numbers.clone();
    different.sort_by(f64::total_cmp);
    different.dedup();
    let (different_count, different_sum) = (different.len() as f64, different.iter().sum::<f64>());
    let different_mean = different_sum / different_count;
    let different_spread: f64 = different.iter().map(|x| (x - different_mean) * (x - different_mean)).sum();
    let wholes: std::collections::BTreeSet<i64> = frame.iter().filter_map(|row| whole(row)).collect();
    let before: Vec<&&Row> = frame[..frame.len() - 1].iter().rev().collect();
    let weight = |row: &Row| 0.5_f64.powi(((current.0 - row.0) / FADED_MS).min(62) as i32);
    let weighted = |value: fn(&Row) -> Option<f64>| frame.iter().filter_map(|row| Some(value(row)? * weight(row))).sum::<f64>();
    vec![
        Value::Whole(Some(frame.len() as i64)),
        Value::Whole(Some(numbers.len() as i64)),
        some(sum),
        some(sum / count),
        some(numbers.iter().copied().fold(f64::MAX, f64::min)),
        some(numbers.iter().copied().fold(f64::MIN, f64::max)),
        some(spread / count),
        Value::Number((numbers.len() > 1).then(|| (spread / (count - 1.0)).sqrt())),
        Value::Truth((!truths.is_empty()).then(|| truths.contains(&true))),
        Value::Truth((!truths.is_empty()).then(|| !truths.contains(&false))),
        Value::Whole((!numbers.is_empty()).then(|| frame.iter().filter_map(|row| whole(row)).sum())),
        Value::Text(frame.iter().filter_map(|row| text(row)).max()),
        Value::Text(frame.get(1).and_then(|row| text(row))),
        Value::Number(numbers.first().copied()),
        Value::Number(numbers.last().copied()),
        Value::Whole(frame.iter().rev().nth(2).and_then(|row| whole(row))),
        Value::Number(before.get(1).map_or(current.2, |row| row.2)),
        Value::Number(before.iter().find_map(|row| row.2)),
        some(weighted(|row| row.2) / weighted(|row| row.2.map(|_| 1.0))),
        Value::Whole(Some(different.len() as i64)),
        some(different_sum),
        some(different_sum / different_count),
        some(different_spread / different_count),
        Value::Whole((!numbers.is_empty()).then(|| wholes.iter().sum())),
        Value::Whole(Some(different.len() as i64)),
        Value::Whole(Some(i64::from(truths.contains(&true)) + i64::from(truths.contains(&false)))),
    ]
}

fn shown(batch: &RecordBatch, row: usize) -> Vec<Value> {
    let results = &batch.columns()[input().fields().len()..];
    let value = |column: &ArrayRef| {
        let valid = column.is_valid(row);
        match column.data_type() {
            DataType::Float64 => Value::Number(valid.then(|| column.as_primitive::<Float64Type>().value(row))),
            DataType::Int64 => Value::Whole(valid.then(|| column.as_primitive::<arrow::datatypes::Int64Type>().value(row))),
            DataType::Boolean => Value::Truth(valid.then(|| column.as_boolean().value(row))),
            _ => Value::Text(valid.then(|| column.as_string::<i32>().value(row).to_owned())),
        }
    };
    results.iter().map(value).collect()
}

fn is_close(got: &Value, expected: &Value, scale: f64) -> bool {
    match (got, expected) {
        // Roots of what rounding leaves of a variance of 0.
        (Value::Number(Some(got)), Value::Number(Some(expected))) => (got - expected).abs() <= 1e-7 * scale.max(1e-3),
        _ => got == expected,
    }
}

fn rows_of(out: Output) -> Vec<RecordBatch> {
    let batches = out.events.into_iter().filter_map(|event| if let Event::Batch(batch) = event { Some(batch) } else { None });
    batches.collect()
}

/// Runs `rows` in pieces cut at `cuts`; a new window takes over from a snapshot before the pieces in `restarts`.
fn run(plan: &SlidingPlan, rows: &[Row], cuts: &[usize], restarts: &[usize]) -> RecordBatch {
    let mut window = window(plan);
    let mut out = Output::default();
    let mut from = 0;
    for (piece, to) in cuts.iter().copied().chain([rows.len()]).enumerate() {
        if restarts.contains(&piece) {
            let state = window.snapshot().expect("saved").expect("has state");
            window = self::window(plan);
            window.restore(state).expect("restored");
        }
        if to > from {
            window.on_batch(0, batch(&rows[from..to]), &mut out).expect("computed");
            window.on_watermark(rows[to - 1].0, &mut out).expect("passed");
            from = to;
        }
    }
    concat_batches(&plan.schema(), &rows_of(out)).expect("one schema")
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let number = prop_oneof![4 => -1000i32..1000, 1 => Just(7)].prop_map(|n| f64::from(n) / 8.0);
    let row = (
        prop_oneof![3 => Just(0i64), 5 => 0i64..40, 1 => 0i64..400],
        prop::option::weighted(0.9, 0u8..3),
        prop::option::weighted(0.8, number),
        prop::option::weighted(0.7, prop::bool::ANY),
    );
    prop::collection::vec(row, 1..80).prop_map(|rows| {
        let mut time = 0;
        let rows = rows.into_iter().map(|(step, key, number, truth)| {
            time += step;
            (time, key, number, truth)
        });
        rows.collect()
    })
}

fn frames() -> impl Strategy<Value = Frame> {
    prop_oneof![(0i64..300).prop_map(Frame::Range), (0u32..8).prop_map(Frame::Rows)]
}

proptest! {
    #[test]
    fn frames_follow_their_definition(
        rows in rows(), frame in frames(), has_keys in prop::bool::ANY,
        cuts in prop::collection::vec(0usize..80, 0..8), restarts in prop::collection::vec(0usize..8, 0..3),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
        cuts.sort_unstable();
        let plan = plan(frame, if has_keys { vec![KEY] } else { vec![] });
        let got = run(&plan, &rows, &cuts, &restarts);
        prop_assert_eq!(got.num_rows(), rows.len());
        let scale = rows.iter().filter_map(|row| row.2).map(|x| x * x).sum::<f64>();
        for place in 0..rows.len() {
            let (got, expected) = (shown(&got, place), expected(&rows, place, frame, has_keys));
            for (function, (got, expected)) in functions().iter().zip(got.iter().zip(&expected)) {
                prop_assert!(is_close(got, expected, scale), "row {}, {:?}: {:?} instead of {:?}", place, function, got, expected);
            }
        }
        // To the last bit, whatever the cuts and restarts.
        prop_assert_eq!(&got, &run(&plan, &rows, &[], &[]));
    }
}

#[test]
fn sums_do_not_drift() {
    let plan = plan(Frame::Rows(9), vec![]);
    let mut window = window(&plan);
    // Numbers from 1e-12 to 1e12: plain sums would be off after a few rows and stay so.
    let number = |i: u64| {
        let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
        (mixed as f64 / (1_u64 << 53) as f64 - 0.5) * 10_f64.powi((mixed % 25) as i32 - 12)
    };
    let rows: Vec<Row> = (0..200_000).map(|i| (i as i64, None, Some(number(i)), None)).collect();
    for (piece, rows_of_piece) in rows.chunks(1_000).enumerate() {
        let mut out = Output::default();
        window.on_batch(0, batch(rows_of_piece), &mut out).expect("computed");
        let batch = &rows_of(out)[0];
        let last = (piece + 1) * 1_000 - 1;
        let frame = rows[last - 9..=last].iter().filter_map(|row| row.2);
        let mut exact = long_sum::LongSum::default();
        frame.for_each(|x| exact.add(x));
        let sum = batch.column(6 + 2).as_primitive::<Float64Type>().value(999);
        assert!((sum - exact.value.high).abs() <= exact.value.high.abs() * 1e-15, "{sum} instead of {}", exact.value.high);
    }
}

#[test]
fn infinite_numbers_leave_too() {
    let plan = plan(Frame::Rows(1), vec![]);
    let numbers = [1.0, f64::INFINITY, 2.0, f64::MAX, f64::MAX, 3.0, 4.0];
    let rows: Vec<Row> = numbers.iter().map(|x| (0, None, Some(*x), None)).collect();
    let got = run(&plan, &rows, &[], &[]);
    let sums = got.column(6 + 2).as_primitive::<Float64Type>();
    let expected = [1.0, f64::INFINITY, f64::INFINITY, f64::MAX, f64::INFINITY, f64::MAX, 7.0];
    assert_eq!(sums.values().as_ref(), expected.as_slice());
}

#[test]
fn memory_is_given_back_as_time_passes() {
    let plan = plan(Frame::Range(1_000), vec![KEY]);
    let mut window = window(&plan);
    let mut out = Output::default();
    let rows: Vec<Row> = (0..40_000).map(|i| (i / 40, Some((i % 251) as u8), Some(i as f64), None)).collect();
    window.on_batch(0, batch(&rows), &mut out).expect("computed");
    let full = window.state.size();
    window.on_watermark(1_000_000, &mut out).expect("passed");
    let empty = window.state.size();
    assert!(empty < full / 100, "{empty} of {full} bytes are left");
    window.on_batch(0, batch(&[(1_000_001, Some(1), Some(1.0), None)]), &mut out).expect("computed");
    assert_eq!(shown(rows_of(out).last().expect("a row"), 0)[0], Value::Whole(Some(1)));
}

#[test]
fn values_that_are_gone_are_forgotten() {
    let mut plan = plan(Frame::Rows(9), vec![]);
    plan.functions.drain(..functions().len() - DISTINCT);
    let mut window = window(&plan);
    let size_after = |window: &mut SlidingWindow, numbers: std::ops::Range<i32>| {
        let rows: Vec<Row> = numbers.map(|i| (i64::from(i), None, Some(f64::from(i)), None)).collect();
        let mut out = Output::default();
        for rows in rows.chunks(1_000) {
            window.on_batch(0, batch(rows), &mut out).expect("computed");
        }
        let last = rows_of(out).pop().expect("rows");
        assert_eq!(shown(&last, 999)[0], Value::Whole(Some(10)));
        window.state.size()
    };
    let before = size_after(&mut window, 0..20_000);
    let after = size_after(&mut window, 20_000..200_000);
    assert!(after < 2 * before, "{after} bytes instead of {before}");
}
