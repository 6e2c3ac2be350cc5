//! The order of the output over many pairs, and memory.

use arrow::array::{Array, Int32Array};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::physical_expr::expressions::Column;

use super::*;
use crate::runtime::channel::Event;
use crate::runtime::clock::ManualClock;

fn batch(names: [&str; 2], rows: &[(Option<i32>, i32)]) -> RecordBatch {
    let fields = names.map(|name| Field::new(name, DataType::Int32, true)).to_vec();
    let keys: ArrayRef = Arc::new(rows.iter().map(|(key, _)| *key).collect::<Int32Array>());
    let values: ArrayRef = Arc::new(rows.iter().map(|(_, value)| Some(*value)).collect::<Int32Array>());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![keys, values]).expect("as declared")
}

fn join(table: &[(Option<i32>, i32)], kind: LookupKind, pool: &Arc<dyn MemoryPool>) -> Result<LookupJoin> {
    let key = || vec![Arc::new(Column::new("k", 0)) as Arc<dyn PhysicalExpr>];
    let fields = ["k", "v", "k", "w"].map(|name| Field::new(name, DataType::Int32, true)).to_vec();
    let origin = Origin { tables: Vec::new(), compute: Arc::new(|| Box::pin(async { Err(Error::internal("no tables")) })) };
    let plan = LookupPlan {
        keys: key(),
        table: LookupTable::new(batch(["k", "w"], table), key(), origin),
        stream: Side::Left,
        filter: None,
        kind,
        schema: Arc::new(Schema::new(fields)),
    };
    LookupJoin::try_new(plan, pool, ErrorReporter::new("P", ManualClock::starting_at(0)))
}

/// The values of the stream and of the table.
fn run(join: &mut LookupJoin, rows: &[(Option<i32>, i32)]) -> Vec<(i32, Option<i32>)> {
    let mut out = Output::default();
    join.on_batch(0, batch(["k", "v"], rows), &mut out).expect("no failing rows");
    let mut joined = Vec::new();
    for event in &out.events {
        let Event::Batch(batch) = event else { continue };
        let (stream, table) = (batch.column(1).as_primitive::<Int32Type>(), batch.column(3).as_primitive::<Int32Type>());
        joined.extend((0..batch.num_rows()).map(|row| (stream.value(row), table.is_valid(row).then(|| table.value(row)))));
    }
    joined
}

#[test]
fn rows_come_in_the_order_of_the_stream_then_of_the_table() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
    // Keys 0 to 9, each three times; a row without a key.
    let table: Vec<_> = (0..30).map(|row| (Some(row % 10), row)).chain([(None, 99)]).collect();
    let stream: Vec<_> = (0..20_000).map(|row| ((row % 13 != 12).then_some(row % 13), row)).collect();
    for outer in [false, true] {
        let mut expected = Vec::new();
        for (key, value) in &stream {
            let before = expected.len();
            expected
                .extend(table.iter().filter(|(other, _)| key.is_some() && other == key).map(|(_, found)| (*value, Some(*found))));
            if outer && expected.len() == before {
                expected.push((*value, None));
            }
        }
        let mut join = join(&table, if outer { LookupKind::Outer } else { LookupKind::Inner }, &pool).expect("a small table");
        assert_eq!(run(&mut join, &stream), expected);
    }
}

#[test]
fn a_table_is_counted_once_and_freed_with_its_plan() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
    let table: Vec<_> = (0..1_000).map(|row| (Some(row), row)).collect();
    let one = join(&table, LookupKind::Inner, &pool).expect("a small table");
    let held = pool.reserved();
    assert!(held > 8_000, "{held} bytes");
    let other = LookupJoin::try_new(one.plan.clone(), &pool, one.reporter.clone()).expect("the same table");
    assert_eq!(pool.reserved(), held);
    drop((one, other));
    assert_eq!(pool.reserved(), 0);
    let small: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
    let error = join(&table, LookupKind::Inner, &small).err().expect("too large");
    assert!(error.message().starts_with("lookup join needs "), "{error}");
}

#[test]
fn not_in_is_never_true_beside_null_and_not_exists_is() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
    let stream = [(Some(1), 10), (Some(7), 20), (None, 30)];
    let values = |kind: LookupKind, table: &[(Option<i32>, i32)]| {
        let mut join = join(table, kind, &pool).expect("a small table");
        let fields = ["k", "v"].map(|name| Field::new(name, DataType::Int32, true)).to_vec();
        join.plan.schema = Arc::new(Schema::new(fields));
        let mut out = Output::default();
        join.on_batch(0, batch(["k", "v"], &stream), &mut out).expect("no failing rows");
        let batches = out.events.iter().filter_map(|event| match event {
            Event::Batch(batch) => Some(batch.column(1).as_primitive::<Int32Type>().values().to_vec()),
            _ => None,
        });
        batches.flatten().collect::<Vec<_>>()
    };
    let (with_null, without, empty) = ([(Some(1), 0), (None, 0)], [(Some(1), 0)], []);
    assert_eq!(values(LookupKind::Semi, &with_null), [10]);
    assert_eq!(values(LookupKind::Anti { null_aware: true }, &with_null), [0; 0]);
    assert_eq!(values(LookupKind::Anti { null_aware: true }, &without), [20]);
    assert_eq!(values(LookupKind::Anti { null_aware: true }, &empty), [10, 20, 30]);
    assert_eq!(values(LookupKind::Anti { null_aware: false }, &with_null), [20, 30]);
}
