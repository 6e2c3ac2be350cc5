//! Benchmarks: kinesql beside DataFusion, DuckDB and krcf on the same input, printed as ratios.
//!
//! `just bench` builds and runs all of them; `kinesql-benches files` and so on run one. Whole processes are compared by
//! rows per CPU-second (user and system time of the process, all threads): that is what a machine costs, and it varies
//! less than elapsed time on a busy machine. The engines take turns, and every figure is the median of its runs with the
//! lowest and the highest beside it.

mod anomaly;
mod batch;
mod files;
mod memory;
mod process;
mod report;
mod startup;
mod ticks;
mod workloads;

use std::path::PathBuf;
use std::process::Command;

use clap::{Parser, Subcommand};
use datafusion::common::exec_err;
use datafusion::error::Result;

use crate::workloads::Workload;

/// The same allocator as the `kinesql` binary, so that DataFusion's batch answer has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures kinesql, with DataFusion's and DuckDB's answers over the same input in the same run.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Rows of a file, or of a run in memory.
    #[arg(long, global = true, default_value_t = 4_000_000)]
    rows: usize,
    /// Runs of every engine.
    #[arg(long, global = true, default_value_t = 5)]
    runs: usize,
    /// The kinesql binary; the one beside this program when not given.
    #[arg(long, global = true)]
    kinesql: Option<PathBuf>,
    /// A Python that can import duckdb; DuckDB is left out when it cannot.
    #[arg(long, global = true, default_value = "python3")]
    python: PathBuf,
}

#[derive(Subcommand)]
enum What {
    /// JSON lines in, JSON lines out: filters, windows and joins.
    Files {
        /// Only this workload: filter, window, window-100000, sliding, lookup, join or top.
        workload: Option<String>,
    },
    /// The windows over Arrow batches in memory, on one core and on two.
    Memory {
        /// Only this many tickers.
        #[arg(long)]
        tickers: Option<usize>,
    },
    /// Time to the first result row, and memory.
    Startup,
    /// RANDOM_CUT_FOREST beside the krcf crate.
    Anomaly,
    /// One DataFusion batch query; the other benchmarks start it as a process of its own.
    #[command(hide = true)]
    Batch { workload: String, output: PathBuf, partitions: usize },
    /// RANDOM_CUT_FOREST over a file of rows; the comparison starts it as a process of its own.
    #[command(hide = true)]
    Forest { file: PathBuf, columns: usize, shingle_size: usize, threads: usize },
}

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.what {
        Some(What::Batch { workload, output, partitions }) => {
            return batch::run(Workload::named(workload)?, args.rows, output, *partitions);
        }
        Some(What::Forest { file, columns, shingle_size, threads }) => {
            return anomaly::score(file, *columns, *shingle_size, *threads);
        }
        Some(What::Files { workload }) => files::run(&args, workload.as_deref())?,
        Some(What::Memory { tickers }) => memory::run(&args, *tickers)?,
        Some(What::Startup) => startup::run(&args)?,
        Some(What::Anomaly) => anomaly::run(&args)?,
        // Each in a process of its own: the peak memory of a child includes that of the process that started it.
        None => {
            for part in ["files", "memory", "startup", "anomaly"] {
                let program = std::env::current_exe()?;
                let status = Command::new(program).arg(part).args(std::env::args_os().skip(1)).status()?;
                if !status.success() {
                    return exec_err!("{part} failed");
                }
            }
        }
    }
    Ok(())
}
