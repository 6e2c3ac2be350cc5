//! COUNT, SUM, MIN and MAX over hopping windows of one hour by key: what a slide costs.
//!
//! A tenth of 10,000 keys has a row in each slide, so every window has all keys. What is measured is one slide in the middle of
//! the stream: the pane that it adds and the window that it closes, which has 360 panes or 3,600.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::expressions::Column;
use datafusion::prelude::col;
use kinesql_engine::operator::budget::Budget;
use kinesql_engine::operator::hop_window::{HopPlan, HopWindow};
use kinesql_engine::operator::tumbling_window::{Emit, OutputColumn, TumblingWindow, WindowPlan};
use kinesql_engine::operator::window_key::WindowKey;
use kinesql_engine::operator::window_pane::{AggregateSpec, PaneLayout};
use kinesql_engine::operator::window_rows::Spans;
use kinesql_engine::operator::{Chain, Operator};
use kinesql_engine::runtime::channel::Event;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::runtime::error_rows::ErrorReporter;
use kinesql_engine::types::{ROWTIME, SqlType};

const KEYS: usize = 10_000;
/// Rows of one slide.
const ROWS: usize = 1_000;
const SIZE_MS: i64 = 3_600_000;

fn input() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        SqlType::Varchar(8).field("k", true),
        SqlType::Double.field("v", true),
        SqlType::Timestamp.field("start", false),
        SqlType::Timestamp.field(ROWTIME, false),
    ]))
}

fn plan(slide: i64) -> HopPlan {
    let (input, props) = (input(), ExecutionProps::new());
    let schema = Arc::new(DFSchema::try_from(input.as_ref().clone()).expect("columns of different names"));
    let aggregates = [count(col("v")), sum(col("v")), min(col("v")), max(col("v"))].map(|call| {
        let context = PhysicalPlanningContext::default();
        let lowered = LoweredAggregateBuilder::new(&call, &schema, &input, &props, &context).build().expect("an aggregate");
        AggregateSpec { arguments: lowered.aggregate.expressions(), function: lowered.aggregate }
    });
    let key: FieldRef = input.field(0).clone().into();
    let results: Vec<FieldRef> = aggregates.iter().map(|aggregate| aggregate.function.field()).collect();
    let end: FieldRef = SqlType::Timestamp.field(ROWTIME, false);
    let of_row: Arc<dyn PhysicalExpr> = Arc::new(Column::new("start", 2));
    // The bench closes panes by watermarks that are their ends.
    let of_time: Arc<dyn PhysicalExpr> = Arc::new(Column::new(ROWTIME, 0));
    let panes = WindowPlan {
        name: "hopping window",
        window: WindowKey::new(of_row, of_time, false),
        keys: vec![Arc::new(Column::new("k", 0))],
        layout: PaneLayout::try_new(vec![key.clone()], aggregates.to_vec()).expect("states of known types"),
        columns: std::iter::once(OutputColumn::Key(0))
            .chain((0..4).map(OutputColumn::Aggregate))
            .chain([OutputColumn::WindowEnd(0)])
            .collect(),
        schema: Arc::new(Schema::new(std::iter::once(key).chain(results).chain([end]).collect::<Vec<_>>())),
    };
    HopPlan { panes, spans: Spans { size: SIZE_MS, slide, offset: 0 } }
}

/// Rows of the pane that begins at `start`: its share of the keys.
fn batch(names: &ArrayRef, values: &ArrayRef, start: i64, slide: i64) -> RecordBatch {
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_value(start, ROWS));
    let first = (start / slide) as usize % (KEYS / ROWS) * ROWS;
    let columns = vec![names.slice(first, ROWS), values.slice(first, ROWS), times.clone(), times];
    RecordBatch::try_new(input(), columns).expect("as declared")
}

fn hop(c: &mut Criterion) {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let reporter = || ErrorReporter::new("", ManualClock::starting_at(0));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..KEYS).map(|key| format!("K{key:06}"))));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..KEYS).map(|key| (key * 37 % 1_000) as f64)));
    assert_eq!(*values.data_type(), DataType::Float64);
    let mut group = c.benchmark_group("hop_window");
    group.throughput(Throughput::Elements(KEYS as u64)).sample_size(20);
    for (name, slide) in [("1 hour by 10 seconds", 10_000), ("1 hour by 1 second", 1_000)] {
        let plan = plan(slide);
        let panes = TumblingWindow::try_new(plan.panes.clone(), Emit::States, Budget::new("panes", "", &pool), reporter());
        let window = HopWindow::try_new(plan, Budget::new("hopping window", "", &pool), reporter());
        let operators: Vec<Box<dyn Operator>> =
            vec![Box::new(panes.expect("known types")), Box::new(window.expect("known types"))];
        let mut chain = Chain::new(operators);
        let mut start = 0;
        let (mut events, mut errors) = (Vec::new(), Vec::new());
        let mut step = || {
            events.clear();
            chain.run(0, Event::Batch(batch(&names, &values, start, slide)), &mut events, &mut errors).expect("aggregated");
            start += slide;
            chain.run(0, Event::Watermark(start), &mut events, &mut errors).expect("closed");
            assert!(errors.is_empty());
            events.iter().map(|event| if let Event::Batch(rows) = event { rows.num_rows() } else { 0 }).sum::<usize>()
        };
        // Two hours, so that windows are full and a block has been turned.
        (0..2 * SIZE_MS / slide).for_each(|_| assert!(step() > 0));
        group.bench_function(name, |b| b.iter(|| assert_eq!(step(), KEYS)));
    }
    group.finish();
}

criterion_group!(benches, hop);
criterion_main!(benches);
