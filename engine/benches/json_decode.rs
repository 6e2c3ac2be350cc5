//! JSON records to rows: ours beside arrow-json and simd-json, on stock ticks of about 130 bytes.
//!
//! Throughput is rows per second on one core.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::Schema;
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinesql_engine::format::json::JsonDecoder;
use kinesql_engine::format::{DecodeColumn, Decoder, timestamp};
use kinesql_engine::types::SqlType;
use simd_json::{Buffers, Node, StaticNode, Tape, fill_tape};

const ROWS: usize = 8192;

/// Ticks with values of varying length; `separators` stands behind a comma and a colon.
fn ticks(separators: (&str, &str), nested: bool) -> Vec<u8> {
    let (comma, colon) = separators;
    let companies =
        [("AMZN", "TECHNOLOGY"), ("JPM", "FINANCIAL"), ("PFE", "HEALTHCARE"), ("XOM", "ENERGY"), ("BRK.B", "FINANCIAL")];
    let mut text = String::new();
    let mut random: u64 = 42;
    for row in 0..ROWS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (ticker, sector) = companies[(random >> 33) as usize % companies.len()];
        let change = ((random >> 20) % 2000) as f64 / 100.0 - 10.0;
        let price = ((random >> 40) % 100_000) as f64 / 100.0;
        let (second, ms) = (row / 1000 % 60, row % 1000);
        let time = format!("2024-01-01T00:00:{second:02}.{ms:03}Z");
        text += &format!(
            "{{\"EVENT_TIME\":{colon}\"{time}\",{comma}\"TICKER_SYMBOL\":{colon}\"{ticker}\",{comma}\"SECTOR\":{colon}\"{sector}\""
        );
        text += &format!(
            ",{comma}\"CHANGE\":{colon}{change:.2},{comma}\"PRICE\":{colon}{price:.2},{comma}\"VOLUME\":{colon}{}",
            random >> 54
        );
        text += if nested { ",\"DETAIL\":{\"BID\":[1.25,100],\"ASK\":[1.5,200]}}\n" } else { "}\n" };
    }
    text.into_bytes()
}

const TYPES: [(&str, SqlType); 6] = [
    ("EVENT_TIME", SqlType::Timestamp),
    ("TICKER_SYMBOL", SqlType::Varchar(16)),
    ("SECTOR", SqlType::Varchar(16)),
    ("CHANGE", SqlType::Double),
    ("PRICE", SqlType::Double),
    ("VOLUME", SqlType::BigInt),
];

fn columns(names: &[&str]) -> Vec<DecodeColumn> {
    let wanted = TYPES.iter().filter(|(name, _)| names.contains(name));
    wanted
        .enumerate()
        .map(|(index, (name, sql_type))| DecodeColumn { field: sql_type.field(name, true), path: None, index })
        .collect()
}

fn arrow_json(schema: &Arc<Schema>, bytes: &[u8]) -> RecordBatch {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(ROWS).build_decoder().expect("the schema is plain");
    decoder.decode(bytes).expect("the records are JSON");
    decoder.flush().expect("no record is torn").expect("there are rows")
}

/// The columns of a tick, filled from simd-json's tape: the nodes of a record, one after the other.
#[derive(Default)]
struct TapeColumns {
    time: TimestampMillisecondBuilder,
    ticker: StringBuilder,
    sector: StringBuilder,
    change: Float64Builder,
    price: Float64Builder,
    volume: Int64Builder,
}

impl TapeColumns {
    fn add(&mut self, nodes: &[Node<'_>]) {
        for pair in nodes[1..].chunks_exact(2) {
            let Node::String(name) = pair[0] else { panic!("a member has a name") };
            match (name, &pair[1]) {
                ("EVENT_TIME", Node::String(text)) => self.time.append_option(timestamp::parse(text.as_bytes())),
                ("TICKER_SYMBOL", Node::String(text)) => self.ticker.append_value(text),
                ("SECTOR", Node::String(text)) => self.sector.append_value(text),
                ("CHANGE", Node::Static(StaticNode::F64(value))) => self.change.append_value(*value),
                ("PRICE", Node::Static(StaticNode::F64(value))) => self.price.append_value(*value),
                ("VOLUME", Node::Static(StaticNode::U64(value))) => self.volume.append_value(*value as i64),
                ("VOLUME", Node::Static(StaticNode::I64(value))) => self.volume.append_value(*value),
                other => panic!("a tick has no {other:?}"),
            }
        }
    }

    fn finish(&mut self) -> [ArrayRef; 6] {
        [
            Arc::new(self.time.finish()),
            Arc::new(self.ticker.finish()),
            Arc::new(self.sector.finish()),
            Arc::new(self.change.finish()),
            Arc::new(self.price.finish()),
            Arc::new(self.volume.finish()),
        ]
    }
}

fn decode(c: &mut Criterion) {
    let compact = ticks(("", ""), false);
    let spaced = ticks((" ", " "), false);
    let nested = ticks(("", ""), true);
    let all: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    let three = ["EVENT_TIME", "TICKER_SYMBOL", "PRICE"];

    let mut group = c.benchmark_group("json_decode");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut ours = |name: &str, names: &[&str], bytes: &[u8]| {
        let mut decoder = JsonDecoder::try_new(columns(names)).expect("the columns are plain");
        let mut rejected = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                let batch = decoder.decode(black_box(bytes), &mut rejected).expect("bad records are rejected");
                assert_eq!((batch.num_rows(), rejected.len()), (ROWS, 0));
                batch
            });
        });
    };
    ours("6 columns", &all, &compact);
    ours("3 of 6 columns", &three, &compact);
    ours("6 columns, spaces between tokens", &all, &spaced);
    ours("6 columns, nested member unused", &all, &nested);

    for (name, names) in [("arrow-json, 6 columns", &all[..]), ("arrow-json, 3 of 6 columns", &three)] {
        let fields: Vec<_> = columns(names).into_iter().map(|column| column.field).collect();
        let schema = Arc::new(Schema::new(fields));
        group.bench_function(name, |b| b.iter(|| arrow_json(&schema, black_box(&compact))));
    }
    group.bench_function("simd-json's tape, 6 columns", |b| {
        let (mut buffers, mut copy) = (Buffers::new(256), Vec::new());
        let mut columns = TapeColumns::default();
        let mut spare = Some(Tape(Vec::new()));
        b.iter(|| {
            // simd-json unescapes in place.
            copy.clear();
            copy.extend_from_slice(black_box(&compact));
            let mut tape = spare.take().expect("put back below").reset();
            for line in copy.split_mut(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let mut filled = tape.reset();
                fill_tape(line, &mut buffers, &mut filled).expect("the records are JSON");
                columns.add(&filled.0);
                tape = filled.reset();
            }
            spare = Some(tape.reset());
            columns.finish()
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
