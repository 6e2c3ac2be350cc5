//! RANDOM_CUT_FOREST beside the `krcf` crate, the fastest published forest in Rust: whole processes, start-up included.
//!
//! Both score every row and learn it: 100 trees, 256 samples, time decay 100,000, one thread. They read the rows from the same
//! file. krcf's program is `benches/krcf`, a workspace of its own, for what it depends on is nobody else's business.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::exec_err;
use datafusion::error::Result;
use kinesql_udfs::model::Model;
use kinesql_udfs::model::forest::{ForestOptions, RandomCutForest};

use crate::report::{Runs, heading};
use crate::{Args, process};

const BATCH_ROWS: usize = 4096;

/// Compares both forests for 1, 6 and 60 dimensions, and ours on one core and on two.
pub fn run(args: &Args) -> Result<()> {
    let krcf = krcf()?;
    let folder = std::env::temp_dir().join(format!("kinesql-benches-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("rows");
    for (columns, shingle_size, rows) in [(1, 1, 100_000), (6, 1, 60_000), (6, 10, 20_000)] {
        heading(&format!("RANDOM_CUT_FOREST, {} dimensions, {rows} rows, start-up included", columns * shingle_size));
        let [mut ours, mut theirs, mut warm, mut speedup] = [const { Runs::new() }; 4];
        for _ in 0..args.runs {
            write_waves(&file, columns, rows)?;
            let shape = [columns, shingle_size].map(|number| number.to_string());
            let per_cpu = |rows: usize, taken: process::Taken| rows as f64 / 1e3 / taken.cpu.as_secs_f64();
            ours.add(per_cpu(rows, process::run(&mut forest(&file, &shape, 1)?)?));
            theirs.add(per_cpu(rows, process::run(Command::new(&krcf).arg(&file).args(&shape))?));
            // Ours again with more rows: what it does once it is warm, and on two cores.
            let rows = 10 * rows;
            write_waves(&file, columns, rows)?;
            let one = process::run(&mut forest(&file, &shape, 1)?)?;
            let two = process::run(&mut forest(&file, &shape, 2)?)?;
            warm.add(per_cpu(rows, one));
            speedup.add(one.elapsed.as_secs_f64() / two.elapsed.as_secs_f64());
        }
        println!("{:24} {:>28}", "", "thousand rows / CPU-second");
        println!("{:24} {:>28}", "kinesql", ours.show());
        println!("{:24} {:>28}", "krcf", theirs.show());
        println!("{:24} {:>28.2}", "ratio", ours.median() / theirs.median());
        println!("{:24} {:>28}", "kinesql, ten times longer", warm.show());
        println!("{:24} {:>28}", "the same, 2 cores / 1", speedup.show());
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// krcf's program.
fn krcf() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("krcf/Cargo.toml");
    let target = std::env::current_exe()?.with_file_name("krcf-target");
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--quiet", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
    if !build.status()?.success() {
        return exec_err!("benches/krcf does not build");
    }
    Ok(target.join("release/krcf-bench"))
}

fn forest(file: &Path, shape: &[String], threads: usize) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("forest").arg(file).args(shape).arg(threads.to_string());
    Ok(command)
}

/// Scores and learns the rows of `file` in this process.
pub fn score(file: &Path, columns: usize, shingle_size: usize, threads: usize) -> Result<()> {
    let bytes = std::fs::read(file)?;
    let values: Vec<f64> = bytes.as_chunks().0.iter().map(|value| f64::from(f32::from_le_bytes(*value))).collect();
    let batches = values.chunks(BATCH_ROWS * columns).map(|rows| batch(rows, columns));
    let options = ForestOptions { shingle_size: shingle_size as i64, threads, ..ForestOptions::default() };
    let mut forest = RandomCutForest::try_new(options, &batch(&[], columns)?.schema())?;
    let mut above = 0;
    for batch in batches {
        let output = forest.update(&batch?)?;
        above += output[0].as_primitive::<Float64Type>().values().iter().filter(|score| **score > 1.0).count();
    }
    // A forest that does no work finds nothing.
    if above == 0 {
        return exec_err!("no row scores above 1");
    }
    Ok(())
}

fn batch(rows: &[f64], columns: usize) -> Result<RecordBatch> {
    let column = |column: usize| -> (String, ArrayRef) {
        (format!("c{column}"), Arc::new(rows.iter().skip(column).step_by(columns).copied().collect::<Float64Array>()))
    };
    Ok(RecordBatch::try_from_iter((0..columns).map(column).collect::<Vec<_>>())?)
}

/// Rows of f32: each column a wave of its own with noise and, now and then, a spike.
fn write_waves(file: &Path, columns: usize, rows: usize) -> Result<()> {
    let mut random = 42u64;
    // Uniform on 0 ≤ x < 1.
    let mut uniform = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut bytes = Vec::with_capacity(rows * columns * size_of::<f32>());
    for row in 0..rows {
        for column in 0..columns {
            let wave = (row as f64 * 0.01 * (1.0 + column as f64 * 0.3)).sin() * 20.0;
            let spike = if uniform() < 0.002 { 100.0 * uniform() } else { 0.0 };
            let value = 50.0 + wave + 5.0 * uniform() + spike;
            bytes.extend((value as f32).to_le_bytes());
        }
    }
    Ok(std::fs::write(file, bytes)?)
}
