//! The windows over Arrow batches that are in memory already: kinesql's window operator beside DataFusion's hash
//! aggregate, and two splits beside one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::exec_err;
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use kinesql_engine::Engine;
use kinesql_engine::connector::memory::MemorySource;

use crate::report::{Runs, heading};
use crate::workloads;
use crate::{Args, ticks};

const WINDOW: &str = r#"
    SELECT STREAM "TICKER_SYMBOL", COUNT(*) AS "TICKS", AVG("PRICE") AS "AVERAGE", MIN("PRICE") AS "LOW", MAX("PRICE") AS "HIGH"
    FROM "TICKS" GROUP BY "TICKER_SYMBOL", STEP("TICKS".ROWTIME BY INTERVAL '10' SECOND)"#;

/// Times the rows of the other parts: batches in memory are so fast that a job's start would count in a shorter run.
const TIMES: usize = 8;

/// Compares rows per second of elapsed time, with as many threads as cores.
pub fn run(args: &Args, tickers: Option<usize>) -> Result<()> {
    let total = args.rows * TIMES;
    for tickers in tickers.map_or(vec![100, 100_000], |tickers| vec![tickers]) {
        heading(&format!("W2 in memory: {total} rows in Arrow batches, {tickers} tickers"));
        let (schema, batches) = ticks::batches(total, tickers)?;
        let (mut kinesql, mut datafusion) = ([Runs::default(), Runs::default()], [Runs::default(), Runs::default()]);
        for _ in 0..args.runs {
            for cores in [1, 2] {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build()?;
                // On the runtime's own threads: the thread that waits here would be one more.
                let (ours, rows) =
                    runtime.block_on(runtime.spawn(stream(schema.clone(), batches.clone(), cores))).map_err(lost)??;
                let (theirs, expected) =
                    runtime.block_on(runtime.spawn(hash_aggregate(schema.clone(), batches.clone(), cores))).map_err(lost)??;
                if rows != expected {
                    return exec_err!("kinesql answers {rows} rows, DataFusion {expected}");
                }
                let per_second = |time: Duration| total as f64 / 1e6 / time.as_secs_f64();
                kinesql[cores - 1].add(per_second(ours));
                datafusion[cores - 1].add(per_second(theirs));
            }
        }
        println!("{:20} {:>22} {:>22} {:>14}", "million rows / s", "1 core", "2 cores", "2 cores / 1");
        for (name, runs) in [("kinesql (stream)", &kinesql), ("DataFusion (batch)", &datafusion)] {
            let speedup = runs[1].median() / runs[0].median();
            println!("{name:20} {:>22} {:>22} {speedup:>14.2}", runs[0].show(), runs[1].show());
        }
        let ratio = |cores: usize| kinesql[cores].median() / datafusion[cores].median();
        println!("{:20} {:>22.2} {:>22.2}", "ratio", ratio(0), ratio(1));
    }
    Ok(())
}

fn lost(error: tokio::task::JoinError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]
async fn stream(schema: SchemaRef, batches: Vec<RecordBatch>, splits: usize) -> Result<(Duration, usize)> {
    let failed = |error: kinesql_engine::Error| DataFusionError::External(Box::new(error));
    let engine = Engine::builder().parallelism(splits).build().map_err(failed)?;
    let source = MemorySource::with_splits(schema, splits);
    batches.into_iter().for_each(|batch| source.push(batch));
    source.finish();
    engine.add_source("TICKS", Arc::new(source), Some(("EVENT_TIME", Duration::from_secs(1)))).map_err(failed)?;
    let start = Instant::now();
    let answer = engine.query(WINDOW).await.map_err(failed)?;
    let rows = answer.try_fold(0, async |rows, batch| Ok(rows + batch.num_rows())).await.map_err(failed)?;
    Ok((start.elapsed(), rows))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]
async fn hash_aggregate(schema: SchemaRef, batches: Vec<RecordBatch>, partitions: usize) -> Result<(Duration, usize)> {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    let mut parts = vec![Vec::new(); partitions];
    for (i, batch) in batches.into_iter().enumerate() {
        parts[i % partitions].push(batch);
    }
    session.register_table("ticks", Arc::new(MemTable::try_new(schema, parts)?))?;
    let start = Instant::now();
    let answer = session.sql(workloads::WINDOW.datafusion()).await?.execute_stream().await?;
    let rows = answer.try_fold(0, async |rows, batch| Ok(rows + batch.num_rows())).await?;
    Ok((start.elapsed(), rows))
}
