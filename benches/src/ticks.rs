//! Stock ticks: as JSON lines in a file, and as Arrow batches.
//!
//! 10,000 ticks per second of event time, in order; tickers and prices are uniformly random. A line is
//! `{"EVENT_TIME":"2024-01-01T00:00:00.000Z","TICKER_SYMBOL":"T012345","SECTOR":"TECHNOLOGY","CHANGE":-1.25,"PRICE":57.12,"VOLUME":731}`.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;

const ROWS_PER_MS: usize = 10;
/// Ticks per order.
pub const TICKS_PER_ORDER: usize = 4;
/// 2024-01-01 00:00:00 UTC.
const START_MS: i64 = 1_704_067_200_000;
const SECTORS: [&str; 4] = ["TECHNOLOGY", "HEALTHCARE", "FINANCIAL", "ENERGY"];
const BATCH_ROWS: usize = 8192;

/// The columns of a file, as a schema that needs no inference.
pub fn file_schema() -> Schema {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let double = |name| Field::new(name, DataType::Float64, true);
    Schema::new(vec![
        Field::new("EVENT_TIME", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        text("TICKER_SYMBOL"),
        text("SECTOR"),
        double("CHANGE"),
        double("PRICE"),
        Field::new("VOLUME", DataType::Int64, true),
    ])
}

/// The columns of orders.
pub fn order_schema() -> Schema {
    let columns = file_schema();
    let quantity = Field::new("QUANTITY", DataType::Int64, true);
    Schema::new(vec![columns.field(0).clone(), columns.field(1).clone(), quantity])
}

/// The columns of companies.
pub fn company_schema() -> Schema {
    Schema::new(["TICKER", "COMPANY"].map(|name| Field::new(name, DataType::Utf8, true)).to_vec())
}

/// A file of `rows` ticks of `tickers` symbols; made once, then found again.
pub fn file(rows: usize, tickers: usize) -> Result<PathBuf> {
    made_once(&format!("{rows}-rows-{tickers}-tickers.jsonl"), |file| write_ticks(file, rows, tickers))
}

/// A file of `rows` orders, over the same time as so many times [`TICKS_PER_ORDER`] ticks.
pub fn orders(rows: usize, tickers: usize) -> Result<PathBuf> {
    made_once(&format!("{rows}-orders-{tickers}-tickers.jsonl"), |file| {
        // Other numbers than those of the ticks.
        let mut random = Random(Random::new().0.rotate_left(64) | 1);
        for row in 0..rows {
            let (time, ticker, quantity) = (Time(row * TICKS_PER_ORDER / ROWS_PER_MS), random.below(tickers), random.below(1000));
            writeln!(file, "{{\"EVENT_TIME\":\"{time}\",\"TICKER_SYMBOL\":\"T{ticker:06}\",\"QUANTITY\":{quantity}}}")?;
        }
        Ok(())
    })
}

/// A CSV file of so many companies, by their symbols.
pub fn companies(tickers: usize) -> Result<PathBuf> {
    made_once(&format!("{tickers}-companies.csv"), |file| {
        writeln!(file, "TICKER,COMPANY")?;
        (0..tickers).try_for_each(|ticker| writeln!(file, "T{ticker:06},Company number {ticker}"))
    })
}

/// The file of this name among the temporary ones, written if there is none.
fn made_once(name: &str, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("kinesql-benches-{name}"));
    if !path.exists() {
        let unfinished = path.with_extension("part");
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&unfinished)?);
        write(&mut file)?;
        file.flush()?;
        std::fs::rename(unfinished, &path)?;
    }
    Ok(path)
}

/// So many milliseconds after the start of the first day.
struct Time(usize);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second, ms) = (self.0 / 3_600_000, self.0 / 60_000 % 60, self.0 / 1000 % 60, self.0 % 1000);
        write!(f, "2024-01-01T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

fn write_ticks(file: &mut BufWriter<File>, rows: usize, tickers: usize) -> std::io::Result<()> {
    let mut random = Random::new();
    for row in 0..rows {
        let time = Time(row / ROWS_PER_MS);
        let ticker = random.below(tickers);
        let sector = SECTORS[ticker % SECTORS.len()];
        let change = random.below(2000) as i64 - 1000;
        let (sign, change) = (if change < 0 { "-" } else { "" }, change.abs());
        let (price, volume) = (random.below(10_000), random.below(1000));
        writeln!(
            file,
            "{{\"EVENT_TIME\":\"{time}\",\"TICKER_SYMBOL\":\"T{ticker:06}\",\
             \"SECTOR\":\"{sector}\",\"CHANGE\":{sign}{}.{:02},\"PRICE\":{}.{:02},\"VOLUME\":{volume}}}",
            change / 100,
            change % 100,
            price / 100,
            price % 100
        )?;
    }
    Ok(())
}

/// Time, ticker and price of `rows` ticks.
pub fn batches(rows: usize, tickers: usize) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let schema = file_schema().project(&[0, 1, 4])?;
    let schema = Arc::new(schema);
    let names: Vec<String> = (0..tickers).map(|ticker| format!("T{ticker:06}")).collect();
    let mut random = Random::new();
    let starts = (0..rows).step_by(BATCH_ROWS);
    let batches = starts.map(|start| {
        let range = start..rows.min(start + BATCH_ROWS);
        let times = range.clone().map(|row| START_MS + (row / ROWS_PER_MS) as i64);
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(times));
        let tickers: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(|_| &names[random.below(tickers)])));
        let prices: ArrayRef = Arc::new(Float64Array::from_iter_values(range.map(|_| random.below(10_000) as f64 / 100.0)));
        Ok(RecordBatch::try_new(schema.clone(), vec![times, tickers, prices])?)
    });
    let batches = batches.collect::<Result<_>>()?;
    Ok((schema, batches))
}

/// A multiplicative congruential generator (Lehmer's, with 128 bits of state): the same numbers in every run.
struct Random(u128);

impl Random {
    fn new() -> Self {
        Self(42 << 1 | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0xda94_2042_e4dd_58b5);
        let high = (self.0 >> 64) as u64;
        ((u128::from(high) * end as u128) >> 64) as usize
    }
}
