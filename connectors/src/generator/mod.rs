//! The `generator` source: made-up rows for demos, tests and measurements.
//!
//! Options:   `kind`, `rate`, `rows`, `seed`, `keys`, `start`, `out_of_order`; see docs/connectors/generator.md.
//! Rows:      row i depends on the seed and on i alone, so every run, split and restart makes the same rows.
//! Time:      the event time of row i is start + i / rate, less up to `out_of_order`; with rate 0 as if it were 1,000/s.
//! Pace:      with a rate, a batch is handed over when its last row is due, at most `LATENCY_MS` after its first one.
//!            A reader that fell behind catches up at full speed.
//! Splits:    rows are dealt out in blocks: split k of p makes blocks k, k+p, k+2p…. Up to `SHARED_RATE` rows/s one split
//!            makes them all, so that they stay in order.
//! Delivery:  exactly-once with checkpoints; an offset is the number of the next row and the start time.

mod nexmark;
mod random;
mod ticks;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use chrono::NaiveDateTime;
use kinesql_engine::connector::{
    Offset, OptionKind, OptionSpec, Options, Payload, Read, Sample, Source, SourceContext, SourceDefinition, SourceFactory,
    SplitReader,
};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use self::nexmark::Bids;
use self::random::Random;
use self::ticks::Ticks;

/// Most rows of a batch.
const BLOCK_ROWS: u64 = 8_192;

/// Longest time that a row waits for its batch.
const LATENCY_MS: f64 = 100.0;

/// Rows per second from which on several splits share the work: one makes more than ten times as many.
const SHARED_RATE: f64 = 500_000.0;

/// Rows per second of event time when rows are made as fast as possible.
const UNPACED_RATE: f64 = 1_000.0;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "kind",
        kind: OptionKind::OneOf(&["ticks", "nexmark_bids"]),
        required: false,
        default: Some("ticks"),
        help: "What rows are made: ticks (stock prices, the default) or nexmark_bids.",
    },
    OptionSpec {
        name: "rate",
        kind: OptionKind::Number,
        required: false,
        default: Some("1000"),
        help: "Rows per second; 0 makes them as fast as possible. Default 1000.",
    },
    OptionSpec {
        name: "rows",
        kind: OptionKind::Integer { min: 0, max: i64::MAX },
        required: false,
        default: Some("0"),
        help: "How many rows are made; 0, the default, never ends.",
    },
    OptionSpec {
        name: "seed",
        kind: OptionKind::Integer { min: i64::MIN, max: i64::MAX },
        required: false,
        default: Some("42"),
        help: "Another seed makes other rows; default 42.",
    },
    OptionSpec {
        name: "keys",
        kind: OptionKind::Integer { min: 1, max: ticks::KEYS_MAX },
        required: false,
        default: None,
        help: "How many different ticker symbols (default 20) or auctions (default 1000) there are.",
    },
    OptionSpec {
        name: "start",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "Event time of the first row, such as '2024-01-01 00:00:00'; default now.",
    },
    OptionSpec {
        name: "out_of_order",
        kind: OptionKind::Duration,
        required: false,
        default: Some("0ms"),
        help: "By how much the event time of a row may lie before that of an earlier row; default 0ms.",
    },
];

/// Makes `generator` sources.
#[derive(Debug)]
pub struct GeneratorSourceFactory;

impl SourceFactory for GeneratorSourceFactory {
    fn name(&self) -> &'static str {
        "generator"
    }

    fn delivers_rows(&self) -> bool {
        true
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn formats(&self) -> &'static [&'static str] {
        &[]
    }

    fn create(&self, _definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(GeneratorSource::try_new(options)?))
    }
}

/// Makes rows of one kind.
trait Rows: Send + Sync + std::fmt::Debug {
    /// Their columns.
    fn schema(&self) -> SchemaRef;

    /// Rows of these numbers; `event_times` holds one time per row.
    fn batch(&self, rows: Range<u64>, random: Random, event_times: Vec<EventTime>) -> Result<RecordBatch>;
}

/// A bound `generator` source.
#[derive(Debug)]
struct GeneratorSource {
    rows: Arc<dyn Rows>,
    /// One past the last row, or None without an end.
    end: Option<u64>,
    schedule: Schedule,
    random: Random,
    /// Event time of row 0; unless the option gives it, that is when the first split was opened.
    start: OnceLock<EventTime>,
}

/// When rows are due and what their event times are.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    /// Rows per second, or 0 without a pace.
    rate: f64,
    out_of_order_ms: u64,
}

impl Schedule {
    /// Milliseconds that `rows` rows take.
    fn duration_of(self, rows: u64) -> i64 {
        let rate = if self.rate > 0.0 { self.rate } else { UNPACED_RATE };
        (rows as f64 * 1_000.0 / rate) as i64
    }

    fn block_rows(self) -> u64 {
        if self.rate > 0.0 { ((self.rate * LATENCY_MS / 1_000.0) as u64).clamp(1, BLOCK_ROWS) } else { BLOCK_ROWS }
    }

    fn event_time(self, start: EventTime, row: u64, random: Random) -> EventTime {
        let jitter = match self.out_of_order_ms {
            0 => 0,
            most => random.lane(1).below(row, most + 1) as i64,
        };
        start + self.duration_of(row) - jitter
    }
}

impl GeneratorSource {
    fn try_new(options: &Options) -> Result<Self> {
        let keys = options.integer("keys").map(|keys| keys as u64);
        let rows: Arc<dyn Rows> = match options.text("kind") {
            Some("nexmark_bids") => Arc::new(Bids::new(keys.unwrap_or(1_000))),
            _ => Arc::new(Ticks::new(keys.unwrap_or(20))),
        };
        let start = OnceLock::new();
        if let Some(text) = options.text("start") {
            let _ = start.set(parse_start(text)?);
        }
        Ok(Self {
            rows,
            end: options.integer("rows").filter(|rows| *rows > 0).map(|rows| rows as u64),
            schedule: Schedule {
                rate: options.number("rate").unwrap_or_default(),
                out_of_order_ms: options.duration("out_of_order").unwrap_or_default().as_millis() as u64,
            },
            random: Random::seeded(options.integer("seed").unwrap_or_default() as u64),
            start,
        })
    }
}

fn parse_start(text: &str) -> Result<EventTime> {
    let text = text.trim().trim_end_matches('Z');
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDateTime::parse_from_str(&format!("{text} 00:00:00"), "%Y-%m-%d %H:%M:%S").ok())
        .map(|time| time.and_utc().timestamp_millis())
        .ok_or_else(|| {
            Error::config(format!("option \"start\" of connector 'generator' cannot be '{text}'"))
                .with_hint("Write a time in UTC, such as '2024-01-01 00:00:00'.")
        })
}

/// The place of a generator, as it stands in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
struct GeneratorOffset {
    /// The next row.
    row: u64,
    /// Event time of row 0.
    start: EventTime,
}

/// Which rows a split makes: from its name, `k/p:rows in a block`.
#[derive(Debug, Clone, Copy)]
struct Share {
    index: u64,
    of: u64,
    block_rows: u64,
}

impl Share {
    fn parse(split: &str) -> Option<Self> {
        let (share, block_rows) = split.split_once(':')?;
        let (index, of) = share.split_once('/')?;
        let share = Share { index: index.parse().ok()?, of: of.parse().ok()?, block_rows: block_rows.parse().ok()? };
        (share.index < share.of && share.block_rows > 0).then_some(share)
    }
}

#[async_trait]
impl Source for GeneratorSource {
    fn payload(&self) -> Payload {
        Payload::Batches(self.rows.schema())
    }

    fn is_bounded(&self) -> bool {
        self.end.is_some()
    }

    async fn splits(&self, parallelism: usize) -> Result<Vec<String>> {
        let block_rows = self.schedule.block_rows();
        let shared = self.schedule.rate == 0.0 || self.schedule.rate > SHARED_RATE;
        let blocks = self.end.map_or(u64::MAX, |end| end.div_ceil(block_rows));
        let splits = if shared { (parallelism as u64).min(blocks).max(1) } else { 1 };
        Ok((0..splits).map(|index| format!("{index}/{splits}:{block_rows}")).collect())
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let share = Share::parse(split).ok_or_else(|| Error::state(format!("'{split}' is not a part of a generator's rows")))?;
        let (row, start) = match offset {
            None => (share.index * share.block_rows, *self.start.get_or_init(|| context.clock.now())),
            Some(offset) => {
                let offset: GeneratorOffset = serde_json::from_value(offset.0.clone()).map_err(|error| {
                    Error::state("the checkpoint holds no offset for a generator where rows are generated").with_cause(error)
                })?;
                (offset.row, *self.start.get_or_init(|| offset.start))
            }
        };
        Ok(Box::new(GeneratorReader {
            rows: Arc::clone(&self.rows),
            end: self.end.unwrap_or(u64::MAX),
            schedule: self.schedule,
            random: self.random,
            start,
            share,
            next_row: row,
            opened_row: row,
            opened_at: context.clock.now(),
            clock: Arc::clone(&context.clock),
        }))
    }

    async fn sample(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Sample> {
        Ok(Sample::default())
    }
}

struct GeneratorReader {
    rows: Arc<dyn Rows>,
    end: u64,
    schedule: Schedule,
    random: Random,
    start: EventTime,
    share: Share,
    next_row: u64,
    /// The row that was due when the reader was opened.
    opened_row: u64,
    opened_at: EventTime,
    clock: Arc<dyn Clock>,
}

impl GeneratorReader {
    fn offset(&self) -> Offset {
        Offset(serde_json::json!({ "row": self.next_row, "start": self.start }))
    }
}

#[async_trait]
impl SplitReader for GeneratorReader {
    // Safe to cancel: nothing changes before the wait is over.
    async fn next(&mut self) -> Result<Read> {
        if self.next_row >= self.end {
            return Ok(Read::End { offset: self.offset() });
        }
        let block = self.next_row / self.share.block_rows;
        let block_end = (block + 1) * self.share.block_rows;
        let rows = self.next_row..block_end.min(self.end);
        if self.schedule.rate > 0.0 {
            let due = self.opened_at + self.schedule.duration_of(rows.end - 1 - self.opened_row);
            self.clock.sleep_until(due).await;
        }
        let times = rows.clone().map(|row| self.schedule.event_time(self.start, row, self.random)).collect();
        let batch = self.rows.batch(rows, self.random, times)?;
        self.next_row = block_end.min(self.end);
        if self.next_row < self.end {
            self.next_row = (block + self.share.of) * self.share.block_rows;
        }
        Ok(Read::Batch { batch, offset: self.offset() })
    }
}

#[cfg(test)]
mod tests;
