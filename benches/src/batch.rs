//! DataFusion's batch answer over a file, and digests by which answers are compared.

use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::error::Result;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, SessionConfig, SessionContext};

use crate::ticks;
use crate::workloads::{Beside, Workload};

/// Computes `workload` over files of `rows` ticks on so many partitions, writes JSON lines to `output`.
pub fn run(workload: &Workload, rows: usize, output: &Path, partitions: usize) -> Result<()> {
    let inputs = workload.inputs(rows)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(partitions).enable_all().build()?;
    runtime.block_on(async {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
        let json = async |name: &str, path: &Path, schema: &Schema| {
            let options = JsonReadOptions::default().schema(schema).file_extension("jsonl");
            session.register_json(name, path.to_string_lossy(), options).await
        };
        json("ticks", &inputs.ticks, &ticks::file_schema()).await?;
        match (workload.beside, &inputs.beside) {
            (Beside::Orders, Some(path)) => json("orders", path, &ticks::order_schema()).await?,
            (Beside::Companies, Some(path)) => {
                let schema = ticks::company_schema();
                session.register_csv("companies", path.to_string_lossy(), CsvReadOptions::new().schema(&schema)).await?;
            }
            _ => {}
        }
        let write = DataFrameWriteOptions::new().with_single_file_output(true);
        session.sql(workload.datafusion()).await?.write_json(&output.to_string_lossy(), write, None).await?;
        Ok(())
    })
}

/// A few sums over an answer.
pub fn digest(workload: &Workload, answer: &Path) -> Result<String> {
    let rows: Vec<RecordBatch> = tokio::runtime::Runtime::new()?.block_on(async {
        let session = SessionContext::new();
        let options = JsonReadOptions::default().file_extension("jsonl");
        session.register_json("answer", answer.to_string_lossy(), options).await?;
        session.sql(&workload.digest()).await?.collect().await
    })?;
    Ok(pretty_format_batches(&rows)?.to_string())
}
