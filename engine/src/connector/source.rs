//! Sources: where records come from, and how a reader resumes.
//!
//! A source is cut into *splits* (a file, a shard, a range), each read by one [`SplitReader`] on a task of its own.
//! Offsets are opaque to the engine: it saves the one that came with the last piece ahead of a checkpoint barrier and
//! gives it back to [`Source::open`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::options::{OptionSpec, Options};
use crate::error::Result;
use crate::format::{Decoder, FormatSpec, Rejected};
use crate::runtime::clock::{Clock, EventTime};

/// The metadata column that has the time at which the service received a record (kda-sql-reference.md §3.3).
pub const ARRIVAL_TIME: &str = "APPROXIMATE_ARRIVAL_TIME";

/// The metadata column that names a record within its part. Error rows say it instead of a place in bytes that nobody can look at.
pub const SEQUENCE_NUMBER: &str = "SEQUENCE_NUMBER";

/// The metadata columns of records of a Kinesis stream (kda-sql-reference.md §3.3).
pub fn kinesis_metadata() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        Field::new(ARRIVAL_TIME, DataType::Timestamp(TimeUnit::Millisecond, None), true),
        text("PARTITION_KEY"),
        text(SEQUENCE_NUMBER),
        text("SHARD_ID"),
    ]))
}

/// The metric of how far behind the newest record of its stream a part is: the progress line shows the greatest.
pub const BEHIND_LATEST_MS: &str = "behind_latest_ms";

/// A place in a split, written into checkpoints as JSON. Only the source that made it can read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub serde_json::Value);

/// What a split reader hands over.
#[derive(Debug)]
pub enum Read {
    /// Encoded records, to be decoded by the source's format.
    Records(Records),
    /// Decoded rows in the schema of [`Payload::Batches`].
    Batch {
        /// The rows.
        batch: RecordBatch,
        /// The place after the last row.
        offset: Offset,
    },
    /// The source knows that no row earlier than this follows on the split.
    Watermark {
        /// The watermark.
        time: EventTime,
        /// The place after it.
        offset: Offset,
    },
    /// The parts (shards) that the split has from now on, when a shard was taken, closed or given away. The split's watermark
    /// is that of its slowest part; a part that is silent for the `idle_timeout` no longer holds it back. A part that is at its
    /// end stays among them until those that follow it are, which then count from where the split stands. A split without open
    /// parts is idle. A reader that never says this has no parts.
    Parts {
        /// The names of the open parts.
        open: Vec<Arc<str>>,
        /// The place, unchanged by rows but perhaps by the parts.
        offset: Offset,
    },
    /// A bounded split is read to its end; the reader is not called again.
    End {
        /// The place of the end, from which a later run finds nothing, or what was appended meanwhile.
        offset: Offset,
    },
}

/// Whole records of a split, in the source's order.
#[derive(Debug)]
pub struct Records {
    /// The records as the format frames them (for JSON, CSV and raw text: lines), or, with [`Records::envelopes`], one after the
    /// other with nothing in between. Never ends within a record; without the header that a CSV file may start with.
    pub bytes: Bytes,
    /// Where the bytes come from, for error messages: a file's path, a shard's name.
    pub origin: Arc<str>,
    /// Place of the first byte within `origin`, for error messages.
    pub position: u64,
    /// Records that the reader itself refused, such as one over the size limit.
    pub rejected: Vec<Rejected>,
    /// When the service received the records, if it says so: the ROWTIME under `rowtime = 'arrival'`, unless the envelopes have
    /// a column [`ARRIVAL_TIME`].
    pub arrival_time: Option<EventTime>,
    /// The part of the split that the records come from, one of the last [`Read::Parts`].
    pub part: Option<Arc<str>>,
    /// What the service says of each record, in the columns of [`Source::metadata`].
    pub envelopes: Option<Envelopes>,
    /// The place after the last record.
    pub offset: Offset,
}

impl Records {
    /// The rows of the records. `records_of_rows`, if it is wanted, gets for each row the place of its record among the envelopes.
    pub(crate) fn decode(
        &self,
        decoder: &mut dyn Decoder,
        records_of_rows: Option<&mut Vec<u32>>,
        rejected: &mut Vec<Rejected>,
    ) -> Result<RecordBatch> {
        match &self.envelopes {
            Some(envelopes) => decoder.decode_records(&self.bytes, &envelopes.ends, records_of_rows, rejected),
            None => decoder.decode(&self.bytes, rejected),
        }
    }
}

/// The first records of a source.
#[derive(Debug, Default)]
pub struct Sample {
    /// As the format frames them; the header that a CSV file may start with is among them.
    pub bytes: Vec<u8>,
    /// Records that were refused before they could be decoded, such as one over the size limit.
    pub rejected: Vec<Rejected>,
}

impl From<Vec<u8>> for Sample {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, rejected: Vec::new() }
    }
}

/// What the service says of each record of [`Records::bytes`]: a record may hold several rows, or none.
#[derive(Debug, Clone)]
pub struct Envelopes {
    /// Where each record ends within the bytes, rising to their length.
    pub ends: Vec<u32>,
    /// The columns of [`SourceContext::metadata`], perhaps with others of [`Source::metadata`]; a row for each record. A column
    /// [`ARRIVAL_TIME`] may be missing where [`Records::arrival_time`] is that of all records; [`SEQUENCE_NUMBER`] may be there for error
    /// rows alone, and run-end encoded then.
    pub columns: RecordBatch,
}

impl Envelopes {
    /// The [`SEQUENCE_NUMBER`] of the record that holds the byte at `position`, if the columns say it.
    pub fn sequence_number(&self, position: u64) -> Option<&str> {
        let numbers = self.columns.column_by_name(SEQUENCE_NUMBER)?;
        let record = self.ends.partition_point(|end| u64::from(*end) <= position);
        if record >= numbers.len() {
            return None;
        }
        let (numbers, place) = match numbers.as_run_opt::<Int32Type>() {
            Some(runs) => (runs.values(), runs.get_physical_index(record)),
            None => (numbers, record),
        };
        numbers.as_string_opt::<i32>().map(|numbers| numbers.value(place))
    }
}

/// A number that a connector shows of itself, such as how far behind the newest record a shard is. One in milliseconds is how
/// things are now, any other counts from the start of the job.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectorMetric {
    /// Its name with the unit last, such as `behind_latest_ms`.
    pub name: &'static str,
    /// The part (shard) that it is about; empty for the whole connector.
    pub part: String,
    /// Its value now.
    pub value: f64,
}

impl ConnectorMetric {
    /// True if it says how things are now, false if it counts.
    pub fn is_level(&self) -> bool {
        self.name.ends_with("_ms")
    }
}

/// What keeps a connector from getting on: something that fails and is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// When it began.
    pub since: EventTime,
    /// What failed last, in one line.
    pub reason: String,
}

/// Whether a source delivers bytes to decode or rows.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Encoded records: the `format` option applies.
    Bytes,
    /// Rows of this schema: `format` must not be given. The columns of CREATE SOURCE are matched by name.
    Batches(SchemaRef),
}

/// A bound source: its options are checked, nothing is opened yet.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// Bytes or rows.
    fn payload(&self) -> Payload {
        Payload::Bytes
    }

    /// True if its records say when the service received them: `rowtime = 'arrival'` may be used.
    fn has_arrival_times(&self) -> bool {
        false
    }

    /// Looks at the data as far as [`Source::payload`] must know it. Called once when the source is bound, before any other call.
    async fn inspect(&self) -> Result<()> {
        Ok(())
    }

    /// What tells one state of the data from another, such as an object's ETag; None if the source cannot say. A table is
    /// read again when it changes.
    async fn version(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// True if the source ends by itself, as a file does.
    fn is_bounded(&self) -> bool;

    /// The option by which the source leaves out what is there, such as old objects: a table is read as a whole.
    fn leaves_out(&self) -> Option<&'static str> {
        None
    }

    /// Names of the splits for a first start, at most `parallelism` where the source is free to choose.
    /// After a restore the names in the checkpoint are used instead.
    async fn splits(&self, parallelism: usize) -> Result<Vec<String>>;

    /// Opens a split at `offset`, or at its beginning.
    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>>;

    /// The first records, at most about `max_bytes`, for schema inference. Reading them does not lose them.
    async fn sample(&self, max_bytes: usize, context: &SourceContext) -> Result<Sample>;

    /// The same as [`SplitReader::next`] hands them over under this context, for somebody who takes the records apart, such as a
    /// pre-processor. None: there is nothing to say of them but what [`Source::sample`] gives.
    async fn sample_records(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Option<Vec<Records>>> {
        Ok(None)
    }

    /// Columns that the source knows of each record besides the record itself (kda-sql-reference.md §3.3), their names in upper
    /// case. They can be selected by name, are not part of `*`, and come with [`Records::envelopes`]. Sources of rows have none.
    fn metadata(&self) -> SchemaRef {
        Arc::new(Schema::empty())
    }

    /// A checkpoint that holds `offset` of `split` is complete: nothing before it is read again. Called for every split with
    /// every checkpoint, whether the split has been read on or not. Must not block.
    fn checkpointed(&self, _split: &str, _offset: &Offset) {}

    /// In a job without checkpoints: the rows up to `offset` of `split` are on their way to the sinks, and a graceful stop lets
    /// them arrive. Called after each piece with records or rows. Must not block.
    fn taken(&self, _split: &str, _offset: &Offset) {}

    /// What the source shows of itself while a job runs.
    fn metrics(&self) -> Vec<ConnectorMetric> {
        Vec::new()
    }

    /// What keeps it from getting on now; None while all is well.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// What it alone can read, such as `standard input`: a second source of the same is refused. None if others may read it too.
    fn exclusive(&self) -> Option<&'static str> {
        None
    }

    /// True if it reads this local file, or files in this folder. The path is absolute and without links.
    fn reads_path(&self, _path: &Path) -> bool {
        false
    }
}

/// Reads one split. Called by one task; `next` waits when there is nothing to read yet.
#[async_trait]
pub trait SplitReader: Send {
    /// The next piece of the split. When the job stops it is broken off where it waits; then only `close` follows.
    async fn next(&mut self) -> Result<Read>;

    /// The job has ended or stops gracefully, after its last checkpoint if it takes any: gives back what others may wait for,
    /// such as leases. Not called if the job fails or is aborted.
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a reader gets from the engine.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// The engine's clock: the only one a reader may use.
    pub clock: Arc<dyn Clock>,
    /// The source's format: how records are framed.
    pub format: FormatSpec,
    /// True if the job takes checkpoints: [`Source::checkpointed`] will be called.
    pub checkpointed: bool,
    /// The columns of [`Source::metadata`] that somebody reads: [`Envelopes::columns`] may leave out the others.
    pub metadata: SchemaRef,
    /// True if somebody else frames the records, such as a pre-processor: a source that knows where each ends
    /// ([`Envelopes::ends`]) hands them over as they came then, neither decompressed nor separated.
    pub raw: bool,
}

impl SourceContext {
    /// The context of a reader outside of a job: no checkpoints, no metadata.
    pub fn new(clock: Arc<dyn Clock>, format: FormatSpec) -> Self {
        Self { clock, format, checkpointed: false, metadata: Arc::new(Schema::empty()), raw: false }
    }
}

/// What CREATE SOURCE says besides the options.
#[derive(Debug, Clone)]
pub struct SourceDefinition {
    /// The stream's name, exact case.
    pub name: String,
    /// The declared columns without ROWTIME, or None if they are to be inferred.
    pub schema: Option<SchemaRef>,
    /// The `format` option, JSON unless given.
    pub format: FormatSpec,
}

/// Makes sources of one kind: the `connector = '…'` of CREATE SOURCE.
pub trait SourceFactory: Send + Sync {
    /// The connector's name.
    fn name(&self) -> &'static str;

    /// Its options besides the common ones (`connector`, `format`, `rowtime`, …), for checks, errors and docs.
    fn options(&self) -> &[OptionSpec];

    /// Values of `format` that it takes; empty if its records have none. One that reads rows from a format, as from Parquet, has [`Payload::Batches`] then.
    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw"]
    }

    /// True if its sources deliver rows, whatever their options: then no `format` can be given.
    fn delivers_rows(&self) -> bool {
        false
    }

    /// Binds a source. Fails only with [`crate::ErrorKind::Config`]; must not block.
    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>>;
}
