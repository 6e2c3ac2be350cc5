//! `kind = 'ticks'`: stock prices with the columns of the Amazon Kinesis Data Analytics demo stream, and an event time.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, StringBuilder, TimestampMillisecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use kinesql_engine::Result;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::types::SqlType;

use super::Rows;
use super::random::{Random, scale};

/// Symbols of up to four letters that are possible.
pub(super) const KEYS_MAX: i64 = 26 * 26 * 26 * 26;

const SECTORS: [&str; 6] = ["HEALTHCARE", "RETAIL", "TECHNOLOGY", "ENERGY", "FINANCIAL", "TRANSPORTATION"];

/// The first symbols; further ones are made up. Symbol i belongs to sector i modulo 6.
const SYMBOLS: [&str; 20] = [
    "QXZ", "AMZN", "TBV", "RFV", "WFC", "KIN", "UHN", "WMT", "MSFT", "QWE", "BAC", "ALY", "ASD", "TGT", "INTC", "SLW", "JKL",
    "PPL", "MJN", "CVB",
];

/// How many rows it takes a price to go up and down once.
const CYCLE_ROWS: u64 = 20_000;

/// Stock prices.
#[derive(Debug)]
pub(super) struct Ticks {
    schema: SchemaRef,
    symbols: Vec<String>,
}

impl Ticks {
    /// Ticks of this many symbols.
    pub(super) fn new(keys: u64) -> Self {
        let schema = Arc::new(Schema::new(vec![
            SqlType::Varchar(4).field("TICKER_SYMBOL", true),
            SqlType::Varchar(16).field("SECTOR", true),
            SqlType::Real.field("CHANGE", true),
            SqlType::Real.field("PRICE", true),
            SqlType::Timestamp.field("EVENT_TIME", true),
        ]));
        Self { schema, symbols: symbols(keys) }
    }
}

/// The known symbols, then AAAA, AAAB, ….
fn symbols(keys: u64) -> Vec<String> {
    let made_up = (0..KEYS_MAX as u64).map(|mut number| {
        let mut letters = [b'A'; 4];
        for letter in letters.iter_mut().rev() {
            *letter += (number % 26) as u8;
            number /= 26;
        }
        letters.iter().map(|letter| char::from(*letter)).collect::<String>()
    });
    let known = SYMBOLS.iter().map(|symbol| (*symbol).to_owned());
    known.chain(made_up.filter(|symbol| !SYMBOLS.contains(&symbol.as_str()))).take(keys as usize).collect()
}

impl Rows for Ticks {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn batch(&self, rows: Range<u64>, random: Random, event_times: Vec<EventTime>) -> Result<RecordBatch> {
        let count = event_times.len();
        let mut symbol = StringBuilder::with_capacity(count, count * 4);
        let mut sector = StringBuilder::with_capacity(count, count * 11);
        let (mut change, mut price) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let bases = random.lane(2);
        for row in rows {
            let bits = random.of(row);
            let key = scale(bits, self.symbols.len() as u64);
            symbol.append_value(&self.symbols[key as usize]);
            sector.append_value(SECTORS[(key % SECTORS.len() as u64) as usize]);
            // All in cents, so that the same rows come out on every machine.
            let base = 1_000 + bases.below(key, 19_000) as i64;
            let phase = (row + key * 997) % CYCLE_ROWS;
            let rise = phase.min(CYCLE_ROWS - phase) as i64;
            let step = (bits & 0xff) as i64 - 128;
            let moved = base * step / 10_000;
            change.push(moved as f32 / 100.0);
            price.push((base + base * rise / (5 * CYCLE_ROWS as i64) + moved) as f32 / 100.0);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(symbol.finish()),
            Arc::new(sector.finish()),
            Arc::new(Float32Array::from(change)),
            Arc::new(Float32Array::from(price)),
            Arc::new(TimestampMillisecondArray::from(event_times)),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_symbols_are_made_up() {
        assert_eq!(symbols(3), ["QXZ", "AMZN", "TBV"]);
        assert_eq!(symbols(22)[19..], ["CVB", "AAAA", "AAAB"]);
        let all = symbols(KEYS_MAX as u64);
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|symbol| symbol.len() <= 4));
    }
}
