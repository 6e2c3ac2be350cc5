//! JSON lines in, JSON lines out: kinesql as a stream, DataFusion and DuckDB in batch.
//!
//! kinesql runs as its users run it: event time, watermarks, a checkpoint every second, an exactly-once file sink.
//! After every run the answers are compared.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use datafusion::common::exec_err;
use datafusion::error::Result;

use crate::report::{Runs, heading};
use crate::{Args, batch, process, ticks};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// W1: filter and projection; half of the rows pass.
    Filter,
    /// W2: COUNT, AVG, MIN and MAX by ticker and 10 seconds.
    Window,
}

impl Workload {
    /// Its name on the command line of a child.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Filter => "filter",
            Workload::Window => "window",
        }
    }
}

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

/// Compares the engines on every workload, on one core and on two.
pub fn run(args: &Args) -> Result<()> {
    let has_duckdb = Command::new(&args.python).args(["-c", "import duckdb"]).output().is_ok_and(|out| out.status.success());
    if !has_duckdb {
        println!("DuckDB is left out: `{} -c 'import duckdb'` fails.", args.python.display());
    }
    let rows = args.rows;
    for (workload, tickers, title) in [
        (Workload::Filter, 100, "W1, filter and projection"),
        (Workload::Window, 100, "W2, 10-second windows, 100 tickers"),
        (Workload::Window, 100_000, "W2, 10-second windows, 100,000 tickers"),
    ] {
        let input = ticks::file(rows, tickers)?;
        for cores in [1, 2] {
            heading(&format!("{title}: {rows} JSON lines, {cores} core(s)"));
            let mut engines = vec![Engine::Kinesql, Engine::DataFusion];
            if has_duckdb {
                engines.push(Engine::DuckDb);
            }
            compare(args, workload, &input, cores, &engines)?;
        }
    }
    Ok(())
}

fn compare(args: &Args, workload: Workload, input: &Path, cores: usize, engines: &[Engine]) -> Result<()> {
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
                Engine::Kinesql => kinesql(args, workload, input, &output, cores)?,
                Engine::DataFusion => {
                    let mut command = Command::new(std::env::current_exe()?);
                    command.args(["batch", workload.name()]).args([input, &output]).arg(cores.to_string());
                    command
                }
                Engine::DuckDb => {
                    let mut command = Command::new(&args.python);
                    command.arg("-c").arg(duckdb(workload, input, &output, cores));
                    command
                }
            };
            let taken = process::run(&mut command)?;
            per_cpu[i].add(args.rows as f64 / 1e6 / taken.cpu.as_secs_f64());
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
pub fn kinesql(args: &Args, workload: Workload, input: &Path, output: &Path, cores: usize) -> Result<Command> {
    let folder = output.parent().map(PathBuf::from).unwrap_or_default();
    let script = folder.join("app.sql");
    std::fs::write(&script, application(workload, input, output))?;
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

fn application(workload: Workload, input: &Path, output: &Path) -> String {
    let (columns, query) = match workload {
        Workload::Filter => (
            r#""EVENT_TIME" TIMESTAMP, "TICKER_SYMBOL" VARCHAR(16), "PRICE" DOUBLE, "PERCENT" DOUBLE"#,
            r#"SELECT STREAM "EVENT_TIME", "TICKER_SYMBOL", "PRICE", "CHANGE" / "PRICE" * 100 FROM "TICKS" WHERE "PRICE" > 50"#,
        ),
        Workload::Window => (
            r#""TICKER_SYMBOL" VARCHAR(16), "TICKS" BIGINT, "AVERAGE" DOUBLE, "LOW" DOUBLE, "HIGH" DOUBLE"#,
            r#"SELECT STREAM "TICKER_SYMBOL", COUNT(*), AVG("PRICE"), MIN("PRICE"), MAX("PRICE") FROM "TICKS"
               GROUP BY "TICKER_SYMBOL", STEP("TICKS".ROWTIME BY INTERVAL '10' SECOND)"#,
        ),
    };
    let (input, output) = (input.display(), output.display());
    format!(
        r#"CREATE SOURCE "TICKS" (
             "EVENT_TIME" TIMESTAMP, "TICKER_SYMBOL" VARCHAR(16), "SECTOR" VARCHAR(16), "CHANGE" DOUBLE, "PRICE" DOUBLE,
             "VOLUME" BIGINT, WATERMARK FOR "EVENT_TIME" AS "EVENT_TIME" - INTERVAL '1' SECOND)
             WITH (connector = 'file', path = '{input}', format = 'json');
           CREATE STREAM "RESULTS" ({columns});
           CREATE PUMP "PUMP" AS INSERT INTO "RESULTS" {query};
           CREATE SINK "FILE" FROM "RESULTS" WITH (connector = 'file', path = '{output}', format = 'json');"#
    )
}

fn duckdb(workload: Workload, input: &Path, output: &Path, cores: usize) -> String {
    let (input, output) = (input.display(), output.display());
    let ticks = format!(
        "read_json('{input}', format = 'newline_delimited', columns = {{EVENT_TIME: 'TIMESTAMP', TICKER_SYMBOL: 'VARCHAR', \
         SECTOR: 'VARCHAR', CHANGE: 'DOUBLE', PRICE: 'DOUBLE', VOLUME: 'BIGINT'}})"
    );
    let query = match workload {
        Workload::Filter => {
            format!("SELECT EVENT_TIME, TICKER_SYMBOL, PRICE, CHANGE / PRICE * 100 AS PERCENT FROM {ticks} WHERE PRICE > 50")
        }
        Workload::Window => format!(
            "SELECT TICKER_SYMBOL, COUNT(*) AS TICKS, AVG(PRICE) AS AVERAGE, MIN(PRICE) AS LOW, MAX(PRICE) AS HIGH \
             FROM {ticks} GROUP BY TICKER_SYMBOL, time_bucket(INTERVAL '10 seconds', EVENT_TIME)"
        ),
    };
    format!(
        "import duckdb; c = duckdb.connect(); c.execute('SET threads = {cores}'); \
         c.execute(\"\"\"COPY ({query}) TO '{output}' (FORMAT json)\"\"\")"
    )
}
