//! The `s3`, `gcs` and `azure` sinks: rows as objects of JSON, CSV or Parquet.
//!
//! Service:  multipart uploads, PutObject, DeleteObject and ListObjectsV2 of S3, and what is like them elsewhere.
//! Options:  `path`, `prefix`, `partition_by`, `time_column`, `buffer_size`, `buffer_interval`, `compression`, `error_prefix`,
//!           `max_partitions` and those of the service; see docs/connectors/s3.md.
//! Order:    that of the stream within an object; an object's name tells its epoch.
//! Delivery: exactly-once with checkpoints: an object is uploaded before the checkpoint and completed after it, so that it
//!           appears once and never changes (`writer`). Without checkpoints objects appear when they are full.
//! Retries:  what passes is tried again, with backoff: for ten seconds while the job starts, then for ever (`insistence`).
//! Errors:   `Config` for missing buckets, denied calls and what the service calls wrong. A row that has no key goes to
//!           `error_prefix`, or to `error_stream`.

mod encode;
mod journal;
mod prefix;
#[cfg(test)]
mod tests;
mod uploads;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kinesql_engine::connector::{
    ConnectorMetric, OptionKind, OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter,
    Trouble,
};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::{Error, Result};

use self::encode::{Compression, ObjectFormat};
use self::prefix::{FIREHOSE, Template, column, time_column};
use self::writer::ObjectWriter;
use super::insistence::Attempts;
use super::place::{PATH, Place, Service};
use crate::aws;

const FOLDER: OptionSpec = OptionSpec { help: "Where objects are written, such as s3://bucket/results/; ends in '/'.", ..PATH };
const PREFIX: OptionSpec = OptionSpec {
    name: "prefix",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "What follows the path in a key: !{timestamp:yyyy/MM/dd/HH}/ (the default), !{partitionKey:COLUMN}/, other text.",
};
const PARTITION_BY: OptionSpec = OptionSpec {
    name: "partition_by",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Columns, separated by commas, whose values become COLUMN=value/ in the key and are left out of the rows.",
};
const TIME_COLUMN: OptionSpec = OptionSpec {
    name: "time_column",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "The TIMESTAMP column that !{timestamp:…} means; default: the clock when a row is written.",
};
const BUFFER_SIZE: OptionSpec = OptionSpec {
    name: "buffer_size",
    kind: OptionKind::Bytes,
    required: false,
    default: Some("5mb"),
    help: "An object is completed when it has so many bytes before compression, 1mb to 128mb; default 5mb.",
};
const BUFFER_INTERVAL: OptionSpec = OptionSpec {
    name: "buffer_interval",
    kind: OptionKind::Duration,
    required: false,
    default: Some("300s"),
    help: "An object is completed when its first row is so old, 0s to 900s; 0s: with every checkpoint. Default 300s.",
};
const ERROR_PREFIX: OptionSpec = OptionSpec {
    name: "error_prefix",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "What follows the path in keys of rows that cannot be written, as for prefix; default: such rows go to error_stream.",
};
const MAX_PARTITIONS: OptionSpec = OptionSpec {
    name: "max_partitions",
    // Firehose, "Quota": 500 active partitions by default, 5,000 on request.
    kind: OptionKind::Integer { min: 1, max: 5_000 },
    required: false,
    default: Some("500"),
    help: "Objects that are filled at the same time; one more completes the oldest. Default 500.",
};

const OWN: &[OptionSpec] =
    &[FOLDER, PREFIX, PARTITION_BY, TIME_COLUMN, BUFFER_SIZE, BUFFER_INTERVAL, Compression::OPTION, ERROR_PREFIX, MAX_PARTITIONS];
const OF_S3: &[OptionSpec] = &[
    FOLDER,
    aws::REGION,
    aws::ENDPOINT,
    aws::PROFILE,
    aws::ROLE_ARN,
    aws::EXTERNAL_ID,
    PREFIX,
    PARTITION_BY,
    TIME_COLUMN,
    BUFFER_SIZE,
    BUFFER_INTERVAL,
    Compression::OPTION,
    ERROR_PREFIX,
    MAX_PARTITIONS,
];

/// Sizes of an object before compression (Firehose, "Understand buffering hints", S3: 1 to 128 MiB).
const BUFFER_SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=128 << 20;

/// Greatest age of an object's first row (the same page: 0 to 900 seconds).
const BUFFER_INTERVAL_MAX: Duration = Duration::from_secs(900);

/// Makes sinks of one service.
#[derive(Debug)]
pub struct StorageSinkFactory(pub Service);

impl SinkFactory for StorageSinkFactory {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn options(&self) -> &'static [OptionSpec] {
        if self.0 == Service::S3 { OF_S3 } else { OWN }
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw", "parquet"]
    }

    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(StorageSink::try_new(Place::of(self.0, options)?, definition, options)?))
    }
}

/// What a writer is told by the options.
#[derive(Debug)]
struct Settings {
    place: Arc<Place>,
    /// The sink's name as keys can have it.
    name: String,
    format: Arc<ObjectFormat>,
    /// Columns of the stream that are written.
    columns: Vec<usize>,
    prefix: Template,
    errors: Option<Template>,
    buffer_size: usize,
    buffer_interval_ms: i64,
    max_partitions: usize,
    objects: AtomicU64,
    bytes: AtomicU64,
    attempts: Arc<Attempts>,
}

/// A bound sink.
#[derive(Debug)]
struct StorageSink(Arc<Settings>);

impl StorageSink {
    fn try_new(place: Place, definition: &SinkDefinition, options: &Options) -> Result<Self> {
        let connector = place.service.name();
        let cannot = |option: &str, why: &str| Error::config(format!("option \"{option}\" of connector '{connector}' {why}"));
        if !place.is_prefix() {
            return Err(cannot("path", "must end in '/'").with_hint("A sink writes many objects; their names are made by it."));
        }
        let schema = &definition.schema;
        let time = options.text(TIME_COLUMN.name).map(|name| time_column(name, schema)).transpose()?;
        let partition_by = options.text(PARTITION_BY.name).unwrap_or_default();
        let names = partition_by.split(',').map(str::trim).filter(|name| !name.is_empty());
        let hive = names.map(|name| column(PARTITION_BY.name, name, schema)).collect::<Result<Vec<_>>>()?;
        let default = if hive.is_empty() { FIREHOSE } else { "" };
        let text = options.text(PREFIX.name).unwrap_or(default);
        let prefix = Template::parse(PREFIX.name, text, schema, time)?.with_hive_columns(&hive, schema);
        let errors = options.text(ERROR_PREFIX.name).map(|text| Template::parse(ERROR_PREFIX.name, text, schema, None));
        let columns: Vec<usize> = (0..schema.fields().len()).filter(|column| !hive.contains(column)).collect();
        if columns.is_empty() {
            return Err(cannot(PARTITION_BY.name, "leaves no column for the rows"));
        }
        let buffer_size = options.bytes(BUFFER_SIZE.name).unwrap_or(5 << 20);
        if !BUFFER_SIZES.contains(&buffer_size) {
            return Err(cannot(BUFFER_SIZE.name, "must be between 1mb and 128mb"));
        }
        let interval = options.duration(BUFFER_INTERVAL.name).unwrap_or(Duration::from_secs(300));
        if interval > BUFFER_INTERVAL_MAX {
            return Err(cannot(BUFFER_INTERVAL.name, "must be between 0s and 900s"));
        }
        let spec = definition.format.clone().unwrap_or(FormatSpec::Json);
        let format = ObjectFormat::try_new(spec, options, Arc::new(schema.project(&columns)?))?;
        let keyed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
        Ok(Self(Arc::new(Settings {
            place: Arc::new(place),
            name: definition.name.chars().map(keyed).collect(),
            format: Arc::new(format),
            columns,
            prefix,
            errors: errors.transpose()?,
            buffer_size: buffer_size as usize,
            buffer_interval_ms: interval.as_millis() as i64,
            max_partitions: options.integer(MAX_PARTITIONS.name).unwrap_or(500) as usize,
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            attempts: Arc::default(),
        })))
    }
}

#[async_trait]
impl Sink for StorageSink {
    async fn open(&self, state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(ObjectWriter::open(Arc::clone(&self.0), state, context).await?))
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        let metric = |name, value| ConnectorMetric { name, part: String::new(), value };
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        vec![
            metric("objects_written", count(&self.0.objects)),
            metric("bytes_written", count(&self.0.bytes)),
            metric("calls_failed", self.0.attempts.failed()),
        ]
    }

    fn trouble(&self) -> Option<Trouble> {
        self.0.attempts.troubles.current()
    }

    fn owned_path(&self) -> Option<PathBuf> {
        let path = self.0.place.local_path()?;
        path.canonicalize().ok().or_else(|| Some(path.to_owned()))
    }
}
