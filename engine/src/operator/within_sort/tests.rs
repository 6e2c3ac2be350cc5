use arrow::array::{Int32Array, TimestampMillisecondArray};
use arrow::datatypes::{Int32Type, Schema};
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::physical_expr::expressions::col;

use super::*;
use crate::runtime::channel::Event;
use crate::runtime::clock::ManualClock;
use crate::types::{ROWTIME, SqlType};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::Integer.field("n", true), SqlType::Timestamp.field(ROWTIME, true)]))
}

/// ORDER BY t WITHIN 10 ms, and then by n if `by_number`.
fn sort(by_number: bool) -> WithinSort {
    let number = || (col("n", &schema()).expect("a column"), SortOptions { descending: false, nulls_first: false });
    let by = if by_number { vec![number()] } else { Vec::new() };
    let plan = WithinSortPlan { by, within_ms: 10, rowtime: 1, schema: schema() };
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    WithinSort::new(plan, Budget::new("sort within", "", &pool), ErrorReporter::new("P", ManualClock::starting_at(0)))
}

fn batch(rows: &[(i32, Option<EventTime>)]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter(rows.iter().map(|row| row.1)));
    RecordBatch::try_new(schema(), vec![numbers, times]).expect("as declared")
}

/// The numbers of the rows that come out, the last watermark, and the names of the errors.
fn seen(out: &Output) -> (Vec<i32>, Option<EventTime>, Vec<&'static str>) {
    let (mut numbers, mut watermark) = (Vec::new(), None);
    for event in &out.events {
        match event {
            Event::Batch(batch) => numbers.extend(batch.column(0).as_primitive::<Int32Type>().values()),
            Event::Watermark(at) => watermark = Some(*at),
            _ => {}
        }
    }
    (numbers, watermark, out.errors.iter().map(|error| error.name).collect())
}

fn feed(sort: &mut WithinSort, rows: &[(i32, EventTime)]) -> (Vec<i32>, Option<EventTime>, Vec<&'static str>) {
    let rows: Vec<_> = rows.iter().map(|(n, time)| (*n, Some(*time))).collect();
    let mut out = Output::default();
    sort.on_batch(0, batch(&rows), &mut out).expect("taken");
    seen(&out)
}

fn end(sort: &mut WithinSort) -> Vec<i32> {
    let mut out = Output::default();
    sort.on_watermark(EventTime::MAX, &mut out).expect("released");
    seen(&out).0
}

#[test]
fn a_row_is_released_by_one_that_is_the_interval_later() {
    let mut sort = sort(false);
    assert_eq!(feed(&mut sort, &[(1, 100), (2, 95), (3, 109)]), (vec![2], Some(95), vec![]), "95 + 10 is reached, 100 + 10 not");
    assert_eq!(feed(&mut sort, &[(4, 110)]), (vec![1], Some(100), vec![]));
    assert_eq!(end(&mut sort), [3, 4]);
}

#[test]
fn what_comes_behind_a_released_row_is_late_and_what_comes_beside_it_is_not() {
    let mut sort = sort(false);
    assert_eq!(feed(&mut sort, &[(1, 100), (2, 150)]), (vec![1], Some(100), vec![]));
    assert_eq!(feed(&mut sort, &[(3, 99), (4, 100), (5, 120)]), (vec![4, 5], Some(120), vec!["LATE_ROW"]));
}

#[test]
fn rows_without_a_time_are_reported() {
    let (mut sort, mut out) = (sort(false), Output::default());
    sort.on_batch(0, batch(&[(1, None), (2, Some(5))]), &mut out).expect("taken");
    assert_eq!(seen(&out), (vec![], None, vec!["NULL_VIOLATION"]));
    assert_eq!(end(&mut sort), [2]);
}

#[test]
fn the_result_does_not_depend_on_how_the_rows_are_cut_nor_on_a_restore() {
    let rows: Vec<(i32, EventTime)> = (0..200).map(|i| (i * 37 % 11, EventTime::from(i / 3 * 4 - i * 7 % 15))).collect();
    for by_number in [false, true] {
        let mut whole = sort(by_number);
        let (mut expected, _, late) = feed(&mut whole, &rows);
        expected.extend(end(&mut whole));
        assert!(!late.is_empty(), "some are late");
        for piece in [1, 3, 64] {
            let (mut sort, mut found) = (sort(by_number), Vec::new());
            for (i, rows) in rows.chunks(piece).enumerate() {
                found.extend(feed(&mut sort, rows).0);
                if i % 2 == 0 {
                    let state = sort.snapshot().expect("saved").expect("has state");
                    sort = self::sort(by_number);
                    sort.restore(state).expect("restored");
                }
            }
            found.extend(end(&mut sort));
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }
}

#[test]
fn rows_of_one_time_are_sorted_by_the_other_expressions() {
    let mut sort = sort(true);
    assert_eq!(feed(&mut sort, &[(3, 100), (1, 100), (2, 100), (9, 110)]).0, [1, 2, 3]);
}

#[test]
fn batches_are_dropped_when_their_last_row_has_left() {
    let mut sort = sort(false);
    for i in 0..100 {
        feed(&mut sort, &[(1, i * 10), (2, i * 10 + 1)]);
    }
    assert!(sort.waiting.len() < 4, "{}", sort.waiting.len());
    assert!(sort.bytes < 100, "{}", sort.bytes);
}
