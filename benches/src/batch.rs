//! DataFusion's batch answer over a file, and digests by which answers are compared.

use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::error::Result;
use datafusion::prelude::{JsonReadOptions, SessionConfig, SessionContext};

use crate::files::Workload;
use crate::ticks;

/// Reads `input`, computes `workload` on so many partitions, writes JSON lines to `output`.
pub fn run(workload: Workload, input: &Path, output: &Path, partitions: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(partitions).enable_all().build()?;
    runtime.block_on(async {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
        let schema = ticks::file_schema();
        let options = JsonReadOptions::default().schema(&schema).file_extension("jsonl");
        session.register_json("ticks", input.to_string_lossy(), options).await?;
        let query = match workload {
            Workload::Filter => {
                r#"SELECT "EVENT_TIME", "TICKER_SYMBOL", "PRICE", "CHANGE" / "PRICE" * 100 AS "PERCENT" FROM ticks WHERE "PRICE" > 50"#
            }
            Workload::Window => WINDOW,
        };
        let write = DataFrameWriteOptions::new().with_single_file_output(true);
        session.sql(query).await?.write_json(&output.to_string_lossy(), write, None).await?;
        Ok(())
    })
}

/// W2 over the table `ticks`.
pub const WINDOW: &str = r#"
    SELECT "TICKER_SYMBOL", COUNT(*) AS "TICKS", AVG("PRICE") AS "AVERAGE", MIN("PRICE") AS "LOW", MAX("PRICE") AS "HIGH"
    FROM ticks GROUP BY "TICKER_SYMBOL", date_bin(INTERVAL '10 seconds', "EVENT_TIME")"#;

/// A few sums over an answer, rounded so that the order of additions does not show.
pub fn digest(workload: Workload, answer: &Path) -> Result<String> {
    let query = match workload {
        Workload::Filter => {
            r#"SELECT COUNT(*), COUNT(DISTINCT "TICKER_SYMBOL"), COUNT(DISTINCT substr("EVENT_TIME", 12, 8)),
                      round(SUM("PRICE")), round(SUM("PERCENT") / 100) FROM answer"#
        }
        Workload::Window => {
            r#"SELECT COUNT(*), COUNT(DISTINCT "TICKER_SYMBOL"), SUM("TICKS"), round(SUM("AVERAGE")), round(SUM("LOW")),
                      round(SUM("HIGH")) FROM answer"#
        }
    };
    let rows: Vec<RecordBatch> = tokio::runtime::Runtime::new()?.block_on(async {
        let session = SessionContext::new();
        let options = JsonReadOptions::default().file_extension("jsonl");
        session.register_json("answer", answer.to_string_lossy(), options).await?;
        session.sql(query).await?.collect().await
    })?;
    Ok(pretty_format_batches(&rows)?.to_string())
}
