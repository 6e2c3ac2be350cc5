//! kinesql inside a Rust program: a source, a sink and a function of your own, live queries as Arrow batches, and a job
//! that stops and resumes from its checkpoint.
//!
//! Run it: `cargo run -p kinesql-engine --example embed`

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::TryStreamExt;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{
    Offset, Payload, Read, Sample, Sink, SinkContext, SinkState, SinkWriter, Source, SourceContext, SplitReader,
    memory::MemorySource,
};
use kinesql_engine::types::SqlType;
use kinesql_engine::{CheckpointOptions, Engine, Result};

/// A source of your own: 600 temperatures, one every 100 ms of event time.
#[derive(Debug)]
struct Thermometer {
    rows: i64,
}

fn columns() -> Arc<Schema> {
    let fields = [("sensor", SqlType::Varchar(16)), ("celsius", SqlType::Double), ("at", SqlType::Timestamp)];
    Arc::new(Schema::new(fields.map(|(name, sql_type)| sql_type.field(name, true)).to_vec()))
}

#[async_trait]
impl Source for Thermometer {
    fn payload(&self) -> Payload {
        Payload::Batches(columns())
    }

    fn is_bounded(&self) -> bool {
        true
    }

    async fn splits(&self, _parallelism: usize) -> Result<Vec<String>> {
        Ok(vec!["only".to_owned()])
    }

    /// The offset is whatever the reader hands out; here the number of the next row.
    async fn open(&self, _split: &str, offset: Option<&Offset>, _context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let next = offset.and_then(|offset| offset.0.as_i64()).unwrap_or(0);
        Ok(Box::new(Thermometer { rows: self.rows }.reader(next)))
    }

    async fn sample(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Sample> {
        Ok(Sample::default())
    }
}

struct ThermometerReader {
    next: i64,
    rows: i64,
}

impl Thermometer {
    fn reader(&self, next: i64) -> ThermometerReader {
        ThermometerReader { next, rows: self.rows }
    }
}

#[async_trait]
impl SplitReader for ThermometerReader {
    async fn next(&mut self) -> Result<Read> {
        if self.next >= self.rows {
            return Ok(Read::End { offset: Offset(self.next.into()) });
        }
        let range = self.next..self.rows.min(self.next + 100);
        self.next = range.end;
        let sensors: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(|row| format!("hall {}", row % 2 + 1))));
        let celsius: ArrayRef = Arc::new(Float64Array::from_iter_values(range.clone().map(|row| 20.0 + (row % 7) as f64)));
        let at: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(range.map(|row| 1_704_067_200_000 + row * 100)));
        let batch = RecordBatch::try_new(columns(), vec![sensors, celsius, at])?;
        Ok(Read::Batch { batch, offset: Offset(self.next.into()) })
    }
}

/// A sink of your own: prints what it gets. It cannot take rows back, so after a crash some may come twice.
#[derive(Debug)]
struct Printer;

#[async_trait]
impl Sink for Printer {
    async fn open(&self, _state: Option<&SinkState>, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(Printer))
    }
}

#[async_trait]
impl SinkWriter for Printer {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        println!("{}", pretty_format_batches(std::slice::from_ref(batch))?);
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
        Ok(SinkState(serde_json::Value::Null))
    }

    async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

const APPLICATION: &str = r#"
    CREATE STREAM "AVERAGES" ("sensor" VARCHAR(16), "window_end" TIMESTAMP, "fahrenheit" DOUBLE);

    CREATE PUMP "AVERAGE_PUMP" AS
      INSERT INTO "AVERAGES"
        SELECT STREAM "sensor", ROWTIME, AVG(fahrenheit("celsius"))
        FROM "READINGS"
        GROUP BY "sensor", STEP("READINGS".ROWTIME BY INTERVAL '20' SECOND);
"#;

fn engine(checkpoints: Option<CheckpointOptions>) -> Result<Engine> {
    let builder = Engine::builder();
    let builder = match checkpoints {
        Some(options) => builder.checkpoints(options),
        None => builder,
    };
    let engine = builder.build()?;
    // Functions, tables and object stores of the DataFusion session are there for every query.
    let fahrenheit = create_udf(
        "fahrenheit",
        vec![DataType::Float64],
        DataType::Float64,
        Volatility::Immutable,
        Arc::new(|arguments| {
            let values = ColumnarValue::values_to_arrays(arguments)?;
            let result: ArrayRef =
                Arc::new(values[0].as_primitive::<Float64Type>().unary::<_, Float64Type>(|celsius| celsius * 1.8 + 32.0));
            Ok(ColumnarValue::Array(result))
        }),
    );
    engine.session_context().register_udf(fahrenheit);
    Ok(engine)
}

#[tokio::main]
async fn main() -> Result<()> {
    // 1. Run a script from a source into a sink, to the end of the source.
    let one = engine(None)?;
    one.add_source("READINGS", Arc::new(Thermometer { rows: 600 }), Some(("at", Duration::ZERO)))?;
    one.execute(&kinesql_engine::diagnostic::Script::new("averages.sql", APPLICATION)).await?;
    one.add_sink("printer", "AVERAGES", Arc::new(Printer))?;
    one.start().await?.wait().await?;

    // 2. Read a stream as Arrow batches. Only what the query needs runs; dropping the stream stops it.
    let hottest = one.query(r#"SELECT STREAM "sensor", "fahrenheit" FROM "AVERAGES" WHERE "fahrenheit" > 73.3"#).await?;
    let rows: usize = hottest.map_ok(|batch| batch.num_rows()).try_fold(0, |sum, rows| async move { Ok(sum + rows) }).await?;
    println!("{rows} windows were above 73.3 °F");

    // 3. Stop and resume: the open window is in the checkpoint.
    let folder = std::env::temp_dir().join(format!("kinesql-embed-{}", std::process::id()));
    let readings = MemorySource::new(columns());
    for part in 0..2 {
        let engine = engine(Some(CheckpointOptions::new(&folder)))?;
        engine.add_source("READINGS", Arc::new(readings.clone()), Some(("at", Duration::ZERO)))?;
        engine.execute(&kinesql_engine::diagnostic::Script::new("averages.sql", APPLICATION)).await?;
        engine.add_sink("printer", "AVERAGES", Arc::new(Printer))?;
        let job = engine.start().await?;
        if let Read::Batch { batch, .. } = (Thermometer { rows: 100 * (part + 1) }).reader(100 * part).next().await? {
            readings.push(batch);
        }
        if part == 0 {
            while job.metrics().sources[0].rows.get() < 100 {
                tokio::task::yield_now().await;
            }
            job.stop();
        } else {
            readings.finish();
        }
        job.wait().await?;
        println!("part {}: checkpoint {:?}", part + 1, job.metrics().epoch);
    }
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}
