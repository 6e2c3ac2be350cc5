//! AVG, MIN, MAX and COUNT over sliding windows by key: rows per second on one core.
//!
//! Ticks come in order, so many per millisecond; what is measured includes numbering the keys. Bytes per row that is held are
//! printed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use kinesql_engine::operator::budget::Budget;
use kinesql_engine::operator::sliding_window::frame::Frame;
use kinesql_engine::operator::sliding_window::kernel::Function;
use kinesql_engine::operator::sliding_window::{FunctionSpec, SlidingPlan, SlidingWindow};
use kinesql_engine::operator::{Operator, Output};
use kinesql_engine::types::{ROWTIME, SqlType};

const ROWS: usize = 8192;
const BATCHES: usize = 64;

/// Batches whose ROWTIMEs are set anew in every round.
fn batches(plan: &SlidingPlan, keys: u64) -> Vec<RecordBatch> {
    let mut random: u64 = 42;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    let batch = |_| {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|_| format!("T{:06}", below(keys)))));
        let prices: ArrayRef = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|_| below(10_000) as f64 / 100.0)));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_value(0, ROWS));
        RecordBatch::try_new(plan.input.clone(), vec![names, prices, times]).expect("as declared")
    };
    (0..BATCHES).map(batch).collect()
}

fn plan(frame: Frame, functions: &[Function]) -> SlidingPlan {
    let input = Arc::new(Schema::new(vec![
        SqlType::Varchar(8).field("TICKER", true),
        SqlType::Double.field("PRICE", true),
        SqlType::Timestamp.field(ROWTIME, false),
    ]));
    let spec = |(i, function): (usize, &Function)| {
        let (argument, data_type) = match function {
            Function::CountRows => (None, DataType::Int64),
            _ => (Some(0), DataType::Float64),
        };
        let field = Arc::new(Field::new(format!("f{i}"), data_type, true));
        FunctionSpec { function: *function, argument, distinct: false, otherwise: None, field }
    };
    let functions = functions.iter().enumerate().map(spec).collect();
    SlidingPlan { input, rowtime: 2, keys: vec![0], frame, arguments: vec![1], functions }
}

fn slide(c: &mut Criterion) {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let mut group = c.benchmark_group("sliding_window");
    group.throughput(Throughput::Elements((ROWS * BATCHES) as u64)).sample_size(10);
    let four = [Function::Average, Function::Min, Function::Max, Function::CountRows];
    let minute = Frame::Range(60_000);
    let mut measure = |name: String, frame: Frame, functions: &[Function], keys: u64, per_millisecond: i64| {
        let plan = plan(frame, functions);
        let batches = batches(&plan, keys);
        let budget = Budget::new("sliding window", "", &pool);
        let mut window = SlidingWindow::try_new(plan, budget).expect("types that are supported");
        let mut row = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                for batch in &batches {
                    let times =
                        TimestampMillisecondArray::from_iter_values((row..row + ROWS as i64).map(|row| row / per_millisecond));
                    row += ROWS as i64;
                    let columns = vec![batch.column(0).clone(), batch.column(1).clone(), Arc::new(times) as ArrayRef];
                    let batch = RecordBatch::try_new(batch.schema(), columns).expect("as declared");
                    window.on_batch(0, batch, &mut Output::default()).expect("computed");
                }
            });
        });
        // Of rows in order, so many are in a frame by time.
        if let Frame::Range(ms) = frame {
            println!("{:.0} bytes per row held", pool.reserved() as f64 / (ms * per_millisecond).min(row) as f64);
        }
    };
    for keys in [100, 1_000, 100_000] {
        for per_millisecond in [1, 10] {
            measure(format!("1 minute, {keys} keys, {per_millisecond}/ms"), minute, &four, keys, per_millisecond);
        }
    }
    measure("10 rows, 1000 keys".to_owned(), Frame::Rows(10), &four, 1_000, 1);
    for (name, function) in ["AVG", "MIN", "MAX", "COUNT"].into_iter().zip(four) {
        measure(format!("{name} alone, 1000 keys"), minute, &[function], 1_000, 1);
    }
    group.finish();
}

criterion_group!(benches, slide);
criterion_main!(benches);
