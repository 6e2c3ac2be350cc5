use arrow::array::{AsArray, Int32Array, TimestampMillisecondArray};
use arrow::datatypes::{Int32Type, Schema};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};

use super::*;
use crate::operator::window_key::WindowKey;
use crate::runtime::channel::Event;
use crate::runtime::clock::ManualClock;
use crate::types::{ROWTIME, SqlType};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::Integer.field("n", true), SqlType::Timestamp.field(ROWTIME, false)]))
}

fn sort_in(period: PeriodKey, pool: &Arc<dyn MemoryPool>) -> StreamSort {
    let by = vec![(col("n", &schema()).expect("a column"), SortOptions { descending: true, nulls_first: true })];
    let plan = StreamSortPlan { period, by, complete: false, rowtime: 1, schema: schema() };
    StreamSort::new(plan, Budget::new("sort", "", pool), ErrorReporter::new("P", ManualClock::starting_at(0)))
}

/// ORDER BY ROWTIME, n DESC.
fn sort() -> StreamSort {
    sort_in(of_rowtime(), &(Arc::new(UnboundedMemoryPool::default()) as Arc<dyn MemoryPool>))
}

fn of_rowtime() -> PeriodKey {
    let of_time = col(ROWTIME, &WindowKey::time_schema()).expect("the only column");
    PeriodKey::Time(WindowKey::new(col(ROWTIME, &schema()).expect("a column"), of_time, false))
}

fn batch(rows: &[(i32, EventTime)]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1)));
    RecordBatch::try_new(schema(), vec![numbers, times]).expect("as declared")
}

fn numbers(out: &Output) -> Vec<i32> {
    let batches = out.events.iter().filter_map(|event| match event {
        Event::Batch(batch) => Some(batch.column(0).as_primitive::<Int32Type>().values().to_vec()),
        _ => None,
    });
    batches.flatten().collect()
}

fn watermarks(out: &Output) -> Vec<EventTime> {
    let found = out.events.iter().filter_map(|event| match event {
        Event::Watermark(watermark) => Some(*watermark),
        _ => None,
    });
    found.collect()
}

fn feed(sort: &mut StreamSort, rows: &[(i32, EventTime)]) -> Vec<i32> {
    let mut out = Output::default();
    sort.on_batch(0, batch(rows), &mut out).expect("taken");
    numbers(&out)
}

#[test]
fn a_later_row_releases_all_periods_before_its_own() {
    let mut sort = sort();
    assert_eq!(feed(&mut sort, &[(1, 10), (3, 10), (2, 10)]), [0; 0]);
    assert_eq!(feed(&mut sort, &[(4, 10), (1, 20), (2, 20), (9, 30)]), [4, 3, 2, 1, 2, 1]);
}

#[test]
fn the_watermark_releases_a_period_once_it_has_passed_it_and_stays_behind_what_waits() {
    let (mut sort, mut out) = (sort(), Output::default());
    feed(&mut sort, &[(1, 10), (2, 10)]);
    sort.on_watermark(10, &mut out).expect("passed on");
    assert_eq!((numbers(&out), watermarks(&out)), (vec![], vec![10]), "a row of the same ROWTIME may follow");
    let mut out = Output::default();
    sort.on_watermark(11, &mut out).expect("released");
    assert_eq!((numbers(&out), watermarks(&out)), (vec![2, 1], vec![11]));
}

#[test]
fn the_results_of_a_window_do_not_wait_for_more_of_their_time() {
    let (mut sort, mut out) = (sort(), Output::default());
    sort.plan.complete = true;
    feed(&mut sort, &[(1, 10), (2, 10), (1, 11)]);
    sort.on_watermark(10, &mut out).expect("passed on");
    assert_eq!(numbers(&out), [0; 0], "those of 10 came out with the row of 11");
    sort.on_watermark(11, &mut out).expect("released");
    assert_eq!(numbers(&out), [1]);
}

#[test]
fn equal_rows_stay_as_they_came_however_they_are_cut() {
    let rows = [(5, 10), (5, 10), (7, 10), (5, 20), (7, 20), (1, 30)];
    let mut whole = sort();
    let expected = feed(&mut whole, &rows);
    let mut single = sort();
    let one_by_one: Vec<_> = rows.iter().flat_map(|row| feed(&mut single, &[*row])).collect();
    assert_eq!(one_by_one, expected);
}

#[test]
fn a_silent_input_releases_what_waits() {
    let (mut sort, mut out) = (sort(), Output::default());
    feed(&mut sort, &[(1, 10), (2, 10)]);
    sort.on_idle(&mut out).expect("released");
    assert_eq!(numbers(&out), [2, 1]);
}

#[test]
fn goes_on_after_a_restore() {
    let mut sort = sort();
    feed(&mut sort, &[(1, 10), (2, 10)]);
    let state = sort.snapshot().expect("saved").expect("has state");
    let mut sort = self::sort();
    sort.restore(state).expect("restored");
    assert_eq!(feed(&mut sort, &[(3, 10), (1, 11)]), [3, 2, 1]);
}

#[test]
fn a_declared_key_releases_by_rows_alone_and_reports_what_goes_back() {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let tens: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(col("n", &schema()).expect("a column"), Op::Divide, lit(10_i32)));
    let new = || sort_in(PeriodKey::declared(tens.clone(), false), &pool);
    let mut sort = new();
    assert_eq!(feed(&mut sort, &[(11, 1), (12, 2)]), [0; 0]);
    let mut out = Output::default();
    sort.on_watermark(1_000, &mut out).expect("passed on");
    assert_eq!((numbers(&out), watermarks(&out)), (vec![], vec![1]), "time says nothing of it");
    let state = sort.snapshot().expect("saved").expect("has state");
    let mut sort = new();
    sort.restore(state).expect("restored");
    let mut out = Output::default();
    sort.on_batch(0, batch(&[(5, 1_001), (13, 1_001), (21, 1_002)]), &mut out).expect("taken");
    assert_eq!(numbers(&out), [13, 12, 11]);
    assert_eq!(out.errors.iter().map(|error| error.name).collect::<Vec<_>>(), ["LATE_ROW"]);
    let mut out = Output::default();
    sort.on_watermark(EventTime::MAX, &mut out).expect("released");
    assert_eq!((numbers(&out), watermarks(&out)), (vec![21], vec![EventTime::MAX]));
}

#[test]
fn rows_that_do_not_fit_into_the_memory_budget_end_the_job_with_its_name() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
    let mut sort = sort_in(of_rowtime(), &pool);
    let rows: Vec<_> = (0..1_000).map(|n| (n, 10)).collect();
    let error = sort.on_batch(0, batch(&rows), &mut Output::default()).expect_err("too many");
    assert!(error.message().starts_with("sort needs 12.0 kB for 1000 rows that are to be sorted"), "{error}");
}
