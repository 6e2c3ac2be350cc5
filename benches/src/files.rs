//! JSON lines in, JSON lines out: kinesql as a stream, DataFusion and DuckDB in batch.
//!
//! kinesql runs as its users run it: event time, watermarks, a checkpoint every second, an exactly-once file sink.
//! After every run the answers are compared.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use datafusion::common::exec_err;
use datafusion::error::Result;

use crate::report::{Runs, heading};
use crate::workloads::{self, Inputs, Workload};
use crate::{Args, batch, process};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Kinesql,
    DataFusion,
    DuckDb,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Engine::Kinesql => "kinesql (stream)",
            Engine::DataFusion => "DataFusion (batch)",
            Engine::DuckDb => "DuckDB (batch)",
        })
    }
}

/// Compares the engines on every workload, or on one, on one core and on two.
pub fn run(args: &Args, only: Option<&str>) -> Result<()> {
    let has_duckdb = Command::new(&args.python).args(["-c", "import duckdb"]).output().is_ok_and(|out| out.status.success());
    if !has_duckdb {
        println!("DuckDB is left out: `{} -c 'import duckdb'` fails.", args.python.display());
    }
    let workloads = only.map_or(Ok(workloads::ALL.iter().collect()), |name| Workload::named(name).map(|one| vec![one]))?;
    for workload in workloads {
        let inputs = workload.inputs(args.rows)?;
        for cores in [1, 2] {
            heading(&format!("{}: {} JSON lines, {cores} core(s)", workload.title, workload.rows_in(args.rows)));
            let mut engines = vec![Engine::Kinesql, Engine::DataFusion];
            if has_duckdb {
                engines.push(Engine::DuckDb);
            }
            compare(args, workload, &inputs, cores, &engines)?;
        }
    }
    Ok(())
}

fn compare(args: &Args, workload: &Workload, inputs: &Inputs, cores: usize, engines: &[Engine]) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("kinesql-benches-{}", std::process::id()));
    let mut per_cpu: Vec<Runs> = engines.iter().map(|_| Runs::default()).collect();
    let mut elapsed: Vec<Runs> = engines.iter().map(|_| Runs::default()).collect();
    let mut rss: Vec<Runs> = engines.iter().map(|_| Runs::default()).collect();
    let mut answers: Vec<Option<String>> = vec![None; engines.len()];
    for _ in 0..args.runs {
        for (i, engine) in engines.iter().enumerate() {
            std::fs::create_dir_all(&folder)?;
            let output = folder.join("out.jsonl");
            let mut command = match engine {
                Engine::Kinesql => kinesql(args, workload, inputs, &output, cores)?,
                Engine::DataFusion => {
                    let mut command = Command::new(std::env::current_exe()?);
                    command.args(["batch", workload.name]).arg(&output).arg(cores.to_string());
                    command.args(["--rows", &args.rows.to_string()]);
                    command
                }
                Engine::DuckDb => {
                    let mut command = Command::new(&args.python);
                    command.arg("-c").arg(workload.duckdb(inputs, &output, cores));
                    command
                }
            };
            let taken = process::run(&mut command)?;
            per_cpu[i].add(workload.rows_in(args.rows) as f64 / 1e6 / taken.cpu.as_secs_f64());
            elapsed[i].add(taken.elapsed.as_secs_f64());
            rss[i].add(taken.rss_bytes as f64 / 1e6);
            if answers[i].is_none() {
                answers[i] = Some(batch::digest(workload, &output)?);
            }
            std::fs::remove_dir_all(&folder)?;
        }
    }
    if answers.iter().any(|answer| *answer != answers[0]) {
        return exec_err!("the engines answer differently: {answers:?}");
    }
    println!("{:20} {:>26} {:>22} {:>12} {:>8}", "", "million rows / CPU-second", "seconds", "peak RSS", "ratio");
    for (i, engine) in engines.iter().enumerate() {
        let ratio = per_cpu[0].median() / per_cpu[i].median();
        let rss = format!("{:.0} MB", rss[i].median());
        println!("{engine:20} {:>26} {:>22} {rss:>12} {ratio:>8.2}", per_cpu[i].show(), elapsed[i].show());
    }
    Ok(())
}

/// The command for a run of the script with a checkpoint every second.
pub fn kinesql(args: &Args, workload: &Workload, inputs: &Inputs, output: &Path, cores: usize) -> Result<Command> {
    let folder = output.parent().map(PathBuf::from).unwrap_or_default();
    let script = folder.join("app.sql");
    std::fs::write(&script, workload.application(inputs, output))?;
    let mut command = Command::new(binary(args)?);
    command.arg("run").arg(script).arg("--checkpoint-dir").arg(folder.join("checkpoints"));
    command.args(["--checkpoint-interval", "1s", "--parallelism", &cores.to_string()]);
    Ok(command)
}

/// The binary under test.
pub fn binary(args: &Args) -> Result<PathBuf> {
    let path = match &args.kinesql {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("kinesql"),
    };
    if path.exists() {
        return Ok(path);
    }
    exec_err!(
        "{} does not exist: build it first with `cargo build --release -p kinesql`, or name it with --kinesql",
        path.display()
    )
}
