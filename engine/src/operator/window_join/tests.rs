//! Memory, late rows and the budget; what is joined with what is tested with SQL and against the definition.

use arrow::array::{Array, Int32Array};
use arrow::datatypes::Int32Type;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::physical_expr::expressions::Column;

use super::*;
use crate::error::ErrorKind;
use crate::operator::join_side::Keep;
use crate::runtime::channel::Event;
use crate::runtime::clock::ManualClock;
use crate::types::{ROWTIME, SqlType};

fn columns() -> Vec<Field> {
    vec![SqlType::Integer.field("k", true).as_ref().clone(), SqlType::Timestamp.field(ROWTIME, false).as_ref().clone()]
}

fn join(keep: (Keep, Keep), preserved: (bool, bool), bytes: usize) -> (WindowJoin, Arc<dyn MemoryPool>) {
    let input = |keep: Keep, preserved: bool| JoinInput {
        schema: Arc::new(Schema::new(columns())),
        rowtime: 1,
        keys: vec![Arc::new(Column::new("k", 0))],
        keep,
        end: None,
        preserved,
    };
    let rowtime = columns().swap_remove(1);
    let nullable = |field: Field| field.with_nullable(true);
    let fields = columns().into_iter().chain(columns()).map(nullable);
    let plan = WindowJoinPlan {
        left: input(keep.0, preserved.0),
        right: input(keep.1, preserved.1),
        filter: None,
        schema: Arc::new(Schema::new(std::iter::once(rowtime).chain(fields).collect::<Vec<_>>())),
    };
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
    let reporter = ErrorReporter::new("P", ManualClock::starting_at(0));
    let budget = Budget::new("window join", "Shorten the windows.", &pool);
    (WindowJoin::new(plan, vec![Side::Left, Side::Right], budget, reporter), pool)
}

fn batch(rows: impl IntoIterator<Item = (Option<i32>, i64)>) -> RecordBatch {
    let (keys, times): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let keys: ArrayRef = Arc::new(Int32Array::from(keys));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(times));
    RecordBatch::try_new(Arc::new(Schema::new(columns())), vec![keys, times]).expect("as declared")
}

/// ROWTIME and the keys of both sides.
fn rows(out: &Output) -> Vec<(i64, Option<i32>, Option<i32>)> {
    let mut rows = Vec::new();
    for event in &out.events {
        let Event::Batch(batch) = event else { continue };
        let times = batch.column(0).as_primitive::<arrow::datatypes::TimestampMillisecondType>();
        let key = |column: usize, row| {
            let column = batch.column(column).as_primitive::<Int32Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        rows.extend((0..batch.num_rows()).map(|row| (times.value(row), key(1, row), key(3, row))));
    }
    rows
}

#[test]
fn frees_what_has_left_the_window() {
    let (mut join, pool) = join((Keep::For(2_000), Keep::Rows(50)), (true, true), usize::MAX);
    let mut most = 0;
    let mut emitted = 0;
    for second in 0..200i64 {
        let mut out = Output::default();
        let keys = |offset: i32| (0..500).map(move |row| (Some(row * 7 + offset), second * 1_000 + i64::from(row)));
        join.on_batch(0, batch(keys(second as i32)), &mut out).expect("in time");
        join.on_batch(1, batch(keys(second as i32 + 1)), &mut out).expect("in time");
        join.on_watermark(second * 1_000 + 900, &mut out).expect("in order");
        emitted += rows(&out).len();
        if second == 20 {
            most = pool.reserved();
        }
        assert!(second < 20 || pool.reserved() <= most * 2, "{} bytes after {second} s", pool.reserved());
    }
    let mut out = Output::default();
    join.on_watermark(EventTime::MAX, &mut out).expect("the end");
    emitted += rows(&out).len();
    assert!(emitted >= 200 * 500, "every row of a full join is emitted: {emitted}");
    assert!(pool.reserved() < 10_000, "{} bytes at the end", pool.reserved());
}

#[test]
fn names_itself_when_the_budget_is_exceeded() {
    let (mut join, _) = join((Keep::For(60_000), Keep::For(0)), (false, false), 20_000);
    let mut out = Output::default();
    let error = (0..100)
        .find_map(|second| {
            let rows = (0..100).map(|row| (Some(row), second * 1_000));
            let fed = join.on_batch(0, batch(rows), &mut out);
            fed.and_then(|()| join.on_watermark(second * 1_000 + 1, &mut out)).err()
        })
        .expect("the windows outgrow the budget");
    assert_eq!(error.kind(), ErrorKind::Memory);
    assert!(error.message().starts_with("window join needs "), "{error}");
    assert!(error.message().contains("rows of the left side and 0 of the right"), "{error}");
}

#[test]
fn rows_behind_the_watermark_are_late() {
    let (mut join, _) = join((Keep::For(1_000), Keep::For(0)), (false, false), usize::MAX);
    let mut out = Output::default();
    join.on_watermark(1_000, &mut out).expect("in order");
    join.on_batch(0, batch([(Some(1), 999), (Some(2), 1_000)]), &mut out).expect("late rows are reported");
    join.on_batch(1, batch([(Some(1), 1_500), (Some(2), 1_500)]), &mut out).expect("in time");
    join.on_watermark(2_000, &mut out).expect("in order");
    assert_eq!(out.errors.iter().map(|error| (error.name, error.rowtime)).collect::<Vec<_>>(), [("LATE_ROW", Some(999))]);
    assert_eq!(rows(&out), [(1_500, Some(2), Some(2))]);
}

#[test]
fn many_pairs_of_one_key_come_in_order() {
    let (mut join, _) = join((Keep::For(100), Keep::For(100)), (true, false), usize::MAX);
    let mut out = Output::default();
    let same = |from: i64, rows: i64| batch((0..rows).map(move |row| (Some(1), from + row)));
    join.on_batch(0, same(0, 1_000), &mut out).expect("in time");
    join.on_batch(1, same(0, 1_000), &mut out).expect("in time");
    join.on_batch(0, batch([(None, 5_000), (Some(2), 5_000)]), &mut out).expect("in time");
    join.on_watermark(EventTime::MAX, &mut out).expect("the end");
    let rows = rows(&out);
    let pairs: usize = (0..1_000i64).map(|left| (0..1_000i64).filter(|right| (left - right).abs() <= 100).count()).sum();
    assert_eq!(rows.len(), pairs + 2);
    assert!(rows.is_sorted_by_key(|row| row.0));
    assert_eq!(rows[pairs..], [(5_100, None, None), (5_100, Some(2), None)]);
}
