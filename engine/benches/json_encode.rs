//! Rows to JSON records: ours beside arrow-json, on stock ticks of about 130 bytes.
//!
//! Throughput is rows per second on one core.

use std::hint::black_box;

use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinesql_engine::format::json::{JsonDecoder, JsonEncoder};
use kinesql_engine::format::{DecodeColumn, Decoder, Encoder};
use kinesql_engine::types::SqlType;

const ROWS: usize = 8192;

fn ticks() -> RecordBatch {
    let column = |(index, (name, sql_type)): (usize, (&str, SqlType))| DecodeColumn {
        field: sql_type.field(name, true),
        path: None,
        index,
    };
    let columns = [
        ("EVENT_TIME", SqlType::Timestamp),
        ("TICKER_SYMBOL", SqlType::Varchar(16)),
        ("SECTOR", SqlType::Varchar(16)),
        ("CHANGE", SqlType::Double),
        ("PRICE", SqlType::Double),
        ("VOLUME", SqlType::BigInt),
    ];
    let mut text = String::new();
    for row in 0..ROWS {
        let (second, ms, price, volume) = (row / 1000 % 60, row % 1000, row as f64 / 100.0, row * 7919 % 1000);
        text += &format!(
            "{{\"EVENT_TIME\":\"2024-01-01T00:00:{second:02}.{ms:03}Z\",\"TICKER_SYMBOL\":\"AMZN\",\"SECTOR\":\"TECHNOLOGY\""
        );
        text += &format!(",\"CHANGE\":-1.25,\"PRICE\":{price},\"VOLUME\":{volume}}}\n");
    }
    let mut decoder = JsonDecoder::try_new(columns.into_iter().enumerate().map(column).collect()).expect("the columns are plain");
    decoder.decode(text.as_bytes(), &mut Vec::new()).expect("bad records are rejected")
}

fn encode(c: &mut Criterion) {
    let batch = ticks();
    assert_eq!(batch.num_rows(), ROWS);
    let mut group = c.benchmark_group("json_encode");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("6 columns", |b| {
        let mut encoder = JsonEncoder::try_new(&batch.schema()).expect("the columns are plain");
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            encoder.encode(black_box(&batch), &mut out).expect("writing to memory");
            out.len()
        });
    });
    group.bench_function("arrow-json, 6 columns", |b| {
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            let mut writer = LineDelimitedWriter::new(&mut out);
            writer.write(black_box(&batch)).expect("writing to memory");
            writer.finish().expect("writing to memory");
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
