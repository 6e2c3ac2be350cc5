//! Records of a shard to pieces for the engine: aggregated ones are taken apart, compressed ones decompressed, and all of them
//! laid one behind the other, with the place where each ends.
//!
//! Input:  the records of an answer, in the shard's order.
//! Output: pieces of about 1 MiB, each with the place behind it, which may lie within an aggregated record.
//! Order:  kept.
//! Errors: none for bad records. `Parse`: an aggregated record that is damaged (under format raw it is a record like any other),
//!         compressed data that is damaged. `TooLarge`: over `max_record_bytes`. Each names its sequence number.

use std::io::Read as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RunArray, StringBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use aws_sdk_kinesis::types::Record;
use bytes::Bytes;
use kinesql_engine::connector::{ARRIVAL_TIME, Envelopes, SEQUENCE_NUMBER};
use kinesql_engine::format::{FormatSpec, RejectReason, Rejected};
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};

use super::kpl::{self, Aggregated};
use super::limits::PIECE_BYTES;
use super::position::{Position, ShardId};
use super::shards::HashRange;

/// What becomes of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadFormat {
    /// JSON or delimited text.
    Text,
    /// Anything at all.
    Raw,
    /// Anything, and compressed as it came: for a pre-processor.
    Original,
}

impl PayloadFormat {
    /// The source's format; `Config` if records of a stream cannot be read with it.
    pub(crate) fn of(format: &FormatSpec) -> Result<Self> {
        match format {
            FormatSpec::Csv(options) if options.header => {
                Err(Error::config("option \"csv.header\" of connector 'kinesis' cannot be 'true': a stream has no first record")
                    .with_hint("Leave csv.header out; columns are taken by their order."))
            }
            FormatSpec::Json | FormatSpec::Csv(_) => Ok(PayloadFormat::Text),
            FormatSpec::Raw => Ok(PayloadFormat::Raw),
            other => Err(Error::config(format!("connector 'kinesis' cannot read format '{}'", other.name()))
                .with_hint("It reads 'json', 'csv' and 'raw'.")),
        }
    }
}

/// The columns that somebody reads, with the one that error rows name records by. Nobody else reads that, so it says each number
/// once, with where its records end.
pub(crate) fn with_sequence_number(read: &SchemaRef) -> SchemaRef {
    if read.column_with_name(SEQUENCE_NUMBER).is_some() {
        return Arc::clone(read);
    }
    let number = Arc::new(Field::new(SEQUENCE_NUMBER, runs_of_text(), true));
    Arc::new(Schema::new(read.fields().iter().cloned().chain([number]).collect::<Vec<_>>()))
}

fn runs_of_text() -> DataType {
    let ends = Field::new("run_ends", DataType::Int32, false);
    DataType::RunEndEncoded(Arc::new(ends), Arc::new(Field::new("values", DataType::Utf8, true)))
}

/// Whole records, and the place behind them.
#[derive(Debug)]
pub(crate) struct Piece {
    /// One behind the other.
    pub(crate) bytes: Bytes,
    /// What was refused here.
    pub(crate) rejected: Vec<Rejected>,
    /// When the service received the last record.
    pub(crate) arrival_time: Option<EventTime>,
    /// Where each ends, and what the service says of it.
    pub(crate) envelopes: Envelopes,
    /// The place behind the last record.
    pub(crate) position: Position,
}

/// Takes records of one shard apart.
#[derive(Debug)]
pub(crate) struct Unpacker {
    format: PayloadFormat,
    shard: ShardId,
    /// Sub-records outside of it belong to another shard; None: all are taken.
    range: Option<HashRange>,
    record_bytes_max: usize,
    metadata: SchemaRef,
    decompressed: Vec<u8>,
    /// Sub-records that were left out since this was last asked.
    filtered: usize,
}

impl Unpacker {
    /// For the records of `shard`. `range` filters the records within aggregated ones.
    /// `metadata` are the columns of [`kinesql_engine::connector::kinesis_metadata`] that somebody reads.
    pub(crate) fn new(
        format: PayloadFormat,
        shard: ShardId,
        range: Option<HashRange>,
        record_bytes_max: usize,
        metadata: SchemaRef,
    ) -> Self {
        let range = range.filter(|range| !range.is_everything());
        Self { format, shard, range, record_bytes_max, metadata, decompressed: Vec::new(), filtered: 0 }
    }

    /// How many records within aggregated ones were left out, since this was last asked.
    pub(crate) fn take_filtered(&mut self) -> usize {
        std::mem::take(&mut self.filtered)
    }

    /// The pieces of `records`, which were read from `position`: of an aggregated record of which a part was handed over before,
    /// the rest.
    pub(crate) fn unpack(&mut self, records: &[Record], position: &Position) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut build = Build::new(&self.metadata);
        let mut left: usize = records.iter().map(|record| record.data.as_ref().len()).sum();
        let aggregated = kpl::find(records.iter().map(|record| record.data.as_ref()));
        for (record, aggregated) in records.iter().zip(aggregated) {
            let data = record.data.as_ref();
            let sequence = record.sequence_number.as_str();
            build.is_begun = true;
            build.arrival_time = arrival_time(record).or(build.arrival_time);
            let done = match position {
                Position::After { after, sub: Some(sub) } if **after == *sequence => Some(*sub),
                _ => None,
            };
            match aggregated.map(|body| body.and_then(Aggregated::open)) {
                Some(Ok(mut aggregated)) => {
                    let subs = std::mem::take(&mut aggregated.records);
                    for (index, sub) in subs.iter().enumerate() {
                        if done.is_some_and(|done| index as u64 <= done) {
                            continue;
                        }
                        if self.range.is_some_and(|range| !range.contains(aggregated.hash_key(sub))) {
                            self.filtered += 1;
                            continue;
                        }
                        build.reserve(left);
                        self.payload(&mut build, sub.data, Some(aggregated.partition_key(sub)), record);
                        if build.bytes.len() >= PIECE_BYTES && index + 1 < subs.len() {
                            let position = Position::After { after: sequence.into(), sub: Some(index as u64) };
                            build.close(record);
                            pieces.push(build.finish(position)?);
                            build.is_begun = true;
                        }
                    }
                }
                // A part of it was handed over, so it was intact then.
                _ if done.is_some() => {}
                Some(Err(why)) if self.format == PayloadFormat::Text => {
                    let message = format!("record {sequence} is an aggregated record of the KPL, but {why}");
                    build.reject(data, RejectReason::Parse, message);
                }
                None | Some(Err(_)) => {
                    build.reserve(left);
                    self.payload(&mut build, data, record.partition_key.as_deref(), record);
                }
            }
            left -= data.len();
            build.close(record);
            if build.bytes.len() >= PIECE_BYTES {
                pieces.push(build.finish(Position::after(sequence))?);
            }
        }
        if let Some(last) = records.last()
            && build.is_begun
        {
            pieces.push(build.finish(Position::after(&last.sequence_number))?);
        }
        Ok(pieces)
    }

    /// Appends one user record.
    fn payload(&mut self, build: &mut Build, data: &[u8], partition_key: Option<&str>, record: &Record) {
        let sequence = record.sequence_number.as_str();
        if self.format == PayloadFormat::Original {
            build.bytes.extend_from_slice(data);
            return build.envelope(record, partition_key, &self.shard);
        }
        let decompressed = match decompress(data, self.record_bytes_max, &mut self.decompressed) {
            Ok(decompressed) => decompressed,
            Err(why) => return build.reject(data, RejectReason::Parse, format!("record {sequence} {why}")),
        };
        let payload = if decompressed { self.decompressed.as_slice() } else { data };
        if payload.len() > self.record_bytes_max {
            let message = format!("record {sequence} is longer than {} bytes", self.record_bytes_max);
            return build.reject(payload, RejectReason::TooLarge, message);
        }
        build.bytes.extend_from_slice(payload);
        build.envelope(record, partition_key, &self.shard);
    }
}

/// Decompresses gzip (RFC 1952) and zstd (RFC 8878) into `out`, recognised by their first bytes; false if it is neither.
fn decompress(data: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<bool, String> {
    out.clear();
    // One byte more than allowed tells that it is too long, without decompressing the rest of it.
    let most = limit as u64 + 1;
    let (name, read) = if data.starts_with(&[0x1F, 0x8B, 0x08]) {
        ("gzip", flate2::read::MultiGzDecoder::new(data).take(most).read_to_end(out))
    } else if data.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(data);
        ("zstd", decoder.and_then(|decoder| decoder.take(most).read_to_end(out)))
    } else {
        return Ok(false);
    };
    read.map(|_| true).map_err(|error| format!("is compressed with {name}, but damaged: {error}"))
}

/// A piece being put together.
struct Build {
    bytes: Vec<u8>,
    rejected: Vec<Rejected>,
    arrival_time: Option<EventTime>,
    /// True if a record is part of the piece, be it one that brings nothing.
    is_begun: bool,
    ends: Vec<u32>,
    metadata: SchemaRef,
    columns: Vec<Metadata>,
}

/// A column of [`kinesql_engine::connector::kinesis_metadata`].
enum Metadata {
    ArrivalTime(TimestampMillisecondBuilder),
    PartitionKey(StringBuilder),
    SequenceNumber(StringBuilder),
    /// The same: where the user records of each record end, and its number.
    SequenceNumberRuns(Vec<i32>, StringBuilder),
    Shard(StringBuilder),
}

impl Metadata {
    fn of(field: &Field) -> Self {
        match field.name().as_str() {
            SEQUENCE_NUMBER if *field.data_type() != DataType::Utf8 => {
                Metadata::SequenceNumberRuns(Vec::new(), StringBuilder::new())
            }
            ARRIVAL_TIME => Metadata::ArrivalTime(TimestampMillisecondBuilder::new()),
            "PARTITION_KEY" => Metadata::PartitionKey(StringBuilder::new()),
            SEQUENCE_NUMBER => Metadata::SequenceNumber(StringBuilder::new()),
            _ => Metadata::Shard(StringBuilder::new()),
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Metadata::ArrivalTime(times) => Arc::new(times.finish()),
            Metadata::PartitionKey(texts) | Metadata::SequenceNumber(texts) | Metadata::Shard(texts) => Arc::new(texts.finish()),
            Metadata::SequenceNumberRuns(ends, numbers) => {
                Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(std::mem::take(ends)), &numbers.finish())?)
            }
        })
    }
}

impl Build {
    fn new(metadata: &SchemaRef) -> Self {
        Self {
            bytes: Vec::new(),
            rejected: Vec::new(),
            arrival_time: None,
            is_begun: false,
            ends: Vec::new(),
            metadata: Arc::clone(metadata),
            columns: metadata.fields().iter().map(|field| Metadata::of(field.as_ref())).collect(),
        }
    }

    /// Makes room for a piece, given how much there is still to come.
    fn reserve(&mut self, left: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(left.min(PIECE_BYTES + PIECE_BYTES / 16));
        }
    }

    fn reject(&mut self, record: &[u8], reason: RejectReason, message: String) {
        self.rejected.push(Rejected::new(record, self.bytes.len(), reason, message));
    }

    fn envelope(&mut self, record: &Record, partition_key: Option<&str>, shard: &str) {
        // A piece ends soon behind 1 MiB, and a record is far from 4 GiB.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        for column in &mut self.columns {
            match column {
                Metadata::ArrivalTime(times) => times.append_option(arrival_time(record)),
                Metadata::PartitionKey(texts) => texts.append_option(partition_key),
                Metadata::SequenceNumber(texts) => texts.append_value(&record.sequence_number),
                // Once for all of an aggregated record: in `close`.
                Metadata::SequenceNumberRuns(..) => {}
                Metadata::Shard(texts) => texts.append_value(shard),
            }
        }
    }

    /// What the piece gets of a record is in it.
    fn close(&mut self, record: &Record) {
        let end = i32::try_from(self.ends.len()).unwrap_or(i32::MAX);
        for column in &mut self.columns {
            if let Metadata::SequenceNumberRuns(ends, numbers) = column
                && end > ends.last().copied().unwrap_or(0)
            {
                ends.push(end);
                numbers.append_value(&record.sequence_number);
            }
        }
    }

    /// The piece up to here; what follows is the next one.
    fn finish(&mut self, position: Position) -> Result<Piece> {
        let next = Self { arrival_time: self.arrival_time, ..Self::new(&self.metadata) };
        let Self { bytes, rejected, arrival_time, ends, metadata, mut columns, .. } = std::mem::replace(self, next);
        let options = RecordBatchOptions::new().with_row_count(Some(ends.len()));
        let columns = columns.iter_mut().map(Metadata::finish).collect::<Result<_>>()?;
        let envelopes = Envelopes { ends, columns: RecordBatch::try_new_with_options(metadata, columns, &options)? };
        Ok(Piece { bytes: bytes.into(), rejected, arrival_time, envelopes, position })
    }
}

/// When the service received a record.
pub(crate) fn arrival_time(record: &Record) -> Option<EventTime> {
    record.approximate_arrival_timestamp.as_ref()?.to_millis().ok()
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::Blob;

    use super::super::kpl::testing::aggregate;
    use super::*;

    fn record(sequence: &str, data: &[u8]) -> Record {
        Record::builder().sequence_number(sequence).partition_key("a").data(Blob::new(data)).build().expect("complete")
    }

    #[test]
    fn every_user_record_is_named_by_its_records_number_whether_that_column_is_read_or_not() {
        let large = vec![b'x'; PIECE_BYTES];
        let aggregated = aggregate(&[("a", None, b"22"), ("b", None, &large), ("a", None, b"3")]);
        let records =
            [record("1", b"1"), record("2", b""), record("3", &aggregated), record("4", b"\xF3\x89\x9A\xC2"), record("5", b"5")];
        let read = Arc::new(Schema::new(vec![Field::new(SEQUENCE_NUMBER, DataType::Utf8, true)]));
        for metadata in [with_sequence_number(&Arc::new(Schema::empty())), with_sequence_number(&read)] {
            let mut unpacker = Unpacker::new(PayloadFormat::Text, "s".into(), None, 64 << 20, metadata);
            let pieces = unpacker.unpack(&records, &Position::TrimHorizon).expect("pieces");
            let mut numbers = Vec::new();
            for piece in &pieces {
                let starts = std::iter::once(0).chain(piece.envelopes.ends.iter().copied());
                let spans = starts.zip(&piece.envelopes.ends).filter(|(start, end)| start < end);
                numbers.push(
                    spans.map(|(start, _)| piece.envelopes.sequence_number(start.into()).expect("named")).collect::<Vec<_>>(),
                );
            }
            assert_eq!(numbers, [vec!["1", "3", "3"], vec!["3", "5"]]);
        }
        let mut unpacker = Unpacker::new(PayloadFormat::Text, "s".into(), None, 64 << 20, with_sequence_number(&read));
        assert_eq!(unpacker.unpack(&[], &Position::TrimHorizon).expect("nothing").len(), 0);
    }
}
