//! RANDOM_CUT_FOREST and HOTSPOTS: rows per second, scored and learned, and the memory of a model.
//!
//! Defaults of SQL: 100 trees, sample 256, time decay 100000. A column is a wave of its own with noise and, now and then, a
//! spike. 60 dimensions are 6 columns with shingle size 10. Models are warm; start-up is in `just bench anomaly`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinesql_udfs::model::Model;
use kinesql_udfs::model::forest::{Explanation, ForestOptions, RandomCutForest};
use kinesql_udfs::model::hotspots::{Hotspots, HotspotsOptions};

const ROWS: usize = 4096;
const BATCHES: usize = 16;

/// Uniform on 0 ≤ x < 1.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

fn batches(columns: usize, mut value: impl FnMut(usize, usize) -> f64) -> Vec<RecordBatch> {
    let batch = |number: usize| {
        let column = |column: usize| -> (String, ArrayRef) {
            let values: Float64Array = (0..ROWS).map(|row| value(number * ROWS + row, column)).collect();
            (format!("c{column}"), Arc::new(values))
        };
        RecordBatch::try_from_iter((0..columns).map(column).collect::<Vec<_>>()).expect("equal lengths")
    };
    (0..BATCHES).map(batch).collect()
}

fn waves(columns: usize) -> Vec<RecordBatch> {
    let mut state = 42;
    batches(columns, |row, column| {
        let wave = (row as f64 * 0.01 * (1.0 + column as f64 * 0.3)).sin() * 20.0;
        let spike = if uniform(&mut state) < 0.002 { 100.0 * uniform(&mut state) } else { 0.0 };
        50.0 + wave + 5.0 * uniform(&mut state) + spike
    })
}

/// Uniform places in a square, a fifth of them in a small one that moves every 1000 rows: the service's own example.
fn places() -> Vec<RecordBatch> {
    let mut state = 42;
    let mut hot = false;
    batches(2, |row, column| {
        if column == 0 {
            hot = uniform(&mut state) < 0.2;
        }
        let corner = ((row / 1000 * 7 + column * 3) % 9) as f64;
        if hot { corner + uniform(&mut state) } else { 10.0 * uniform(&mut state) }
    })
}

/// Measures a model that has seen all batches once, and prints its memory.
fn measure(criterion: &mut Criterion, name: &str, mut model: impl Model, batches: &[RecordBatch]) {
    batches.iter().for_each(|batch| drop(model.update(batch).expect("rows of the relation")));
    let mut next = batches.iter().cycle();
    let mut group = criterion.benchmark_group("anomaly");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    group.bench_function(name, |bencher| {
        bencher.iter(|| model.update(next.next().expect("a cycle")).expect("rows of the relation"));
    });
    group.finish();
    println!("{name}: {:.2} MB", model.memory_size() as f64 / 1e6);
}

fn forests(criterion: &mut Criterion) {
    for (columns, shingle_size) in [(1, 1), (6, 1), (6, 10)] {
        let batches = waves(columns);
        let mut run = |name: &str, options: ForestOptions| {
            let options = ForestOptions { shingle_size, ..options };
            let model = RandomCutForest::try_new(options, &batches[0].schema()).expect("options in range");
            measure(criterion, &format!("{} dimensions{name}", columns * shingle_size as usize), model, &batches);
        };
        let usual = ForestOptions::default();
        run("", usual.clone());
        run(", explained", ForestOptions { explanation: Explanation::Directionality, ..usual.clone() });
        run(", 2 threads", ForestOptions { threads: 2, ..usual.clone() });
        run(", time decay 1000", ForestOptions { time_decay: 1000, ..usual });
    }
}

fn hotspots(criterion: &mut Criterion) {
    let batches = places();
    let options = HotspotsOptions { window_size: 1000, scan_radius: 0.2, points_min: 17 };
    let model = Hotspots::try_new(options, &batches[0].schema()).expect("options in range");
    measure(criterion, "hotspots, window 1000", model, &batches);
}

criterion_group!(benches, forests, hotspots);
criterion_main!(benches);
