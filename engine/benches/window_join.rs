//! A join of two streams on a key within one minute: rows per second in on one core, and bytes per row that is held.
//!
//! Rows come in order, ten per millisecond of each side. With a million keys a row has 0.6 matches in the minute before it, with
//! ten million hardly any.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::physical_expr::expressions::Column;
use kinesql_engine::operator::budget::Budget;
use kinesql_engine::operator::join_side::{JoinInput, Keep};
use kinesql_engine::operator::pair_filter::Side;
use kinesql_engine::operator::window_join::{WindowJoin, WindowJoinPlan};
use kinesql_engine::operator::{Operator, Output};
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::runtime::error_rows::ErrorReporter;
use kinesql_engine::types::{ROWTIME, SqlType};

const ROWS: usize = 8192;
const BATCHES: usize = 16;
/// So many are made, then they come again: more than a minute has.
const DIFFERENT_BATCHES: usize = 97;
const MINUTE_MS: i64 = 60_000;
const ROWS_PER_MS: i64 = 10;

fn input() -> JoinInput {
    let schema = Schema::new(vec![
        SqlType::Varchar(16).field("KEY", true),
        SqlType::Double.field("PRICE", true),
        SqlType::Timestamp.field(ROWTIME, false),
    ]);
    JoinInput {
        schema: Arc::new(schema),
        rowtime: 2,
        keys: vec![Arc::new(Column::new("KEY", 0))],
        keep: Keep::For(MINUTE_MS),
        end: None,
        preserved: false,
    }
}

fn plan() -> WindowJoinPlan {
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    let side: Vec<Field> = input().schema.fields().iter().map(nullable).collect();
    let rowtime = input().schema.field(2).clone();
    let fields = std::iter::once(rowtime).chain(side.clone()).chain(side).collect::<Vec<_>>();
    WindowJoinPlan { left: input(), right: input(), filter: None, schema: Arc::new(Schema::new(fields)) }
}

/// Keys and prices of one side; the times are set in every round.
fn columns(keys: u64, side: u64) -> Vec<(ArrayRef, ArrayRef)> {
    let mut random = 42 + side;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 20) % end
    };
    let batch = |_| {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|_| format!("T{:08}", below(keys)))));
        let prices: ArrayRef = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|_| below(10_000) as f64 / 100.0)));
        (names, prices)
    };
    (0..DIFFERENT_BATCHES).map(batch).collect()
}

fn join(c: &mut Criterion) {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let mut group = c.benchmark_group("window_join");
    group.throughput(Throughput::Elements(2 * (ROWS * BATCHES) as u64)).sample_size(20);
    for keys in [1_000_000, 10_000_000] {
        let budget = Budget::new("window join", "", &pool);
        let reporter = ErrorReporter::new("", ManualClock::starting_at(0));
        let mut join = WindowJoin::new(plan(), vec![Side::Left, Side::Right], budget, reporter);
        let (schema, sides) = (input().schema, [columns(keys, 0), columns(keys, 1)]);
        let mut row = 0;
        let mut step = || {
            let time = |row: i64| row / ROWS_PER_MS;
            for (input, columns) in sides.iter().enumerate() {
                let (names, prices) = &columns[(row as usize / ROWS) % columns.len()];
                let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values((row..row + ROWS as i64).map(time)));
                let columns = vec![names.clone(), prices.clone(), times];
                let batch = RecordBatch::try_new(schema.clone(), columns).expect("as declared");
                join.on_batch(input, batch, &mut Output::default()).expect("in time");
            }
            row += ROWS as i64;
            join.on_watermark(time(row), &mut Output::default()).expect("in order");
        };
        // A minute and more, so that rows leave as they come.
        (0..2 * MINUTE_MS * ROWS_PER_MS / ROWS as i64).for_each(|_| step());
        group.bench_function(format!("1 minute, {keys} keys"), |b| b.iter(|| (0..BATCHES).for_each(|_| step())));
        let held = 2 * MINUTE_MS * ROWS_PER_MS;
        println!("{keys} keys: {:.0} bytes per row held", pool.reserved() as f64 / held as f64);
    }
    group.finish();
}

criterion_group!(benches, join);
criterion_main!(benches);
