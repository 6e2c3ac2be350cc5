//! From the start of the process to its first result row, and memory that does not grow with the input.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use datafusion::error::Result;

use crate::files::{binary, kinesql};
use crate::report::{Runs, heading};
use crate::workloads::WINDOW;
use crate::{Args, process};

const SCRIPT: &str = r#"
    CREATE SOURCE "TICKS" (TICKER_SYMBOL VARCHAR(4), PRICE REAL, EVENT_TIME TIMESTAMP,
        WATERMARK FOR EVENT_TIME AS EVENT_TIME - INTERVAL '1' SECOND)
      WITH (connector = 'generator', rows = 100000, rate = 0, start = '2024-01-01 00:00:00');
    CREATE STREAM "COUNTS" (TICKER_SYMBOL VARCHAR(4), TICKS BIGINT);
    CREATE PUMP "PUMP" AS INSERT INTO "COUNTS"
      SELECT STREAM TICKER_SYMBOL, COUNT(*) FROM "TICKS"
      GROUP BY TICKER_SYMBOL, STEP("TICKS".ROWTIME BY INTERVAL '10' SECOND);
    CREATE SINK terminal FROM "COUNTS" WITH (connector = 'stdout', format = 'json');"#;

/// Prints both.
pub fn run(args: &Args) -> Result<()> {
    heading("From process start to the first result row");
    let folder = std::env::temp_dir().join(format!("kinesql-benches-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let script = folder.join("app.sql");
    std::fs::write(&script, SCRIPT)?;
    let mut first_row = Runs::default();
    for _ in 0..args.runs.max(10) {
        first_row.add(milliseconds_to_first_byte(&binary(args)?, &script)?);
    }
    println!("one window over the tick generator: {} ms", first_row.show());

    heading("Peak resident memory, W2 with 100 tickers");
    let mut medians = Vec::new();
    for rows in [1_000_000, 20_000_000] {
        let inputs = WINDOW.inputs(rows)?;
        let mut rss = Runs::default();
        for _ in 0..args.runs.min(3) {
            let taken = process::run(&mut kinesql(args, &WINDOW, &inputs, &folder.join("out.jsonl"), 1)?)?;
            rss.add(taken.rss_bytes as f64 / 1e6);
            std::fs::remove_dir_all(folder.join("checkpoints"))?;
        }
        println!("{rows:>12} rows: {} MB", rss.show());
        medians.push(rss.median());
    }
    println!("twenty times the rows take {:.2} times the memory", medians[1] / medians[0]);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]
fn milliseconds_to_first_byte(kinesql: &Path, script: &Path) -> Result<f64> {
    let start = Instant::now();
    let mut child =
        Command::new(kinesql).arg("run").arg(script).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut first = [0];
    if let Some(stdout) = &mut child.stdout {
        stdout.read_exact(&mut first)?;
    }
    let elapsed = start.elapsed();
    child.kill()?;
    child.wait()?;
    Ok(elapsed.as_secs_f64() * 1000.0)
}
