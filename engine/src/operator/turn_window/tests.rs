use arrow::array::{AsArray, Int32Array, StringArray};
use arrow::datatypes::{Int64Type, Schema, TimestampMillisecondType};
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{CastExpr, col};

use super::*;
use crate::operator::window_pane::AggregateSpec;
use crate::runtime::channel::Event;
use crate::runtime::clock::ManualClock;
use crate::types::{ROWTIME, SqlType};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        SqlType::Varchar(8).field("batch", true),
        SqlType::Integer.field("n", true),
        SqlType::Timestamp.field(ROWTIME, false),
    ]))
}

/// SELECT "batch", SUM("n"), ROWTIME … GROUP BY MONOTONIC("batch").
fn window() -> TurnWindow {
    let column = |name: &str| col(name, &schema()).expect("a column");
    let argument: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(column("n"), DataType::Int64, None));
    let function = AggregateExprBuilder::new(sum_udaf(), vec![argument.clone()]).schema(schema()).alias("sum").build();
    let sum = AggregateSpec { function: Arc::new(function.expect("a sum")), arguments: vec![argument] };
    let key = schema().fields()[0].clone();
    let output = Schema::new(vec![key.clone(), SqlType::BigInt.field("sum", true), SqlType::Timestamp.field(ROWTIME, false)]);
    let plan = TurnPlan {
        period: PeriodKey::declared(column("batch"), false),
        rowtime: 2,
        keys: vec![column("batch")],
        layout: PaneLayout::try_new(vec![key], vec![sum]).expect("types that have states"),
        columns: vec![OutputColumn::Key(0), OutputColumn::Aggregate(0), OutputColumn::WindowEnd(0)],
        schema: Arc::new(output),
    };
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let reporter = ErrorReporter::new("P", ManualClock::starting_at(0));
    TurnWindow::try_new(plan, Budget::new("window by turns", "", &pool), reporter).expect("functions that exist")
}

fn batch(rows: &[(&str, i32, EventTime)]) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.2)));
    RecordBatch::try_new(schema(), vec![names, numbers, times]).expect("as declared")
}

fn shown(out: &Output) -> Vec<String> {
    let mut rows = Vec::new();
    for event in &out.events {
        if let Event::Batch(batch) = event {
            let (names, sums) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
            let times = batch.column(2).as_primitive::<TimestampMillisecondType>();
            rows.extend((0..batch.num_rows()).map(|i| format!("{} {} at {}", names.value(i), sums.value(i), times.value(i))));
        }
    }
    rows
}

#[test]
fn a_value_is_over_when_a_later_one_comes_at_the_time_of_that_row() {
    let (mut window, mut out) = (window(), Output::default());
    window.on_batch(0, batch(&[("a", 1, 10), ("a", 2, 20), ("b", 5, 30)]), &mut out).expect("taken");
    assert_eq!(shown(&out), ["a 3 at 30"]);
    let mut out = Output::default();
    window.on_watermark(1_000, &mut out).expect("passed on");
    assert_eq!(shown(&out), Vec::<String>::new(), "time says nothing of it");
    window.on_batch(0, batch(&[("a", 7, 1_001), ("b", 1, 1_001), ("d", 4, 1_002), ("c", 9, 1_003)]), &mut out).expect("taken");
    assert_eq!(shown(&out), ["b 6 at 1002"]);
    assert_eq!(out.errors.len(), 2, "a and c have gone back");
    let mut out = Output::default();
    window.on_watermark(EventTime::MAX, &mut out).expect("closed");
    assert_eq!(shown(&out), ["d 4 at 1002"]);
}

#[test]
fn goes_on_after_a_restore() {
    let (mut window, mut out) = (window(), Output::default());
    window.on_batch(0, batch(&[("a", 1, 10), ("b", 2, 20)]), &mut out).expect("taken");
    let state = window.snapshot().expect("saved").expect("has state");
    window.on_batch(0, batch(&[("b", 3, 30), ("c", 1, 31)]), &mut out).expect("goes on as if not asked");
    assert_eq!(shown(&out), ["a 1 at 20", "b 5 at 31"]);
    let (mut window, mut out) = (self::window(), Output::default());
    window.restore(state).expect("restored");
    window.on_batch(0, batch(&[("a", 9, 29), ("b", 3, 30), ("c", 1, 31)]), &mut out).expect("taken");
    assert_eq!((shown(&out), out.errors.len()), (vec!["b 5 at 31".to_owned()], 1));
}
