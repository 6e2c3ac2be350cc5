//! The `s3`, `gcs` and `azure` sources: the objects under a prefix, or one object.
//!
//! Service:  ListObjectsV2 and GetObject of S3, and what is like them elsewhere.
//! Options:  `path`, `follow`, `poll_interval`, `late_window`, `start_after`, `start_time`, `max_record_bytes` and those of the
//!           service; see docs/connectors/s3.md.
//! Splits:   as many as wanted; each reads the objects whose keys fall to it.
//! Order:    that of the keys within a split; what appears late comes late (`progress`).
//! Delivery: exactly-once with checkpoints: an offset is a key, a position in the content and the keys that are done. An
//!           object that was replaced while it was read cannot be resumed.
//! Retries:  what passes is tried again, with backoff: for ten seconds until the first answer, then with `follow` for ever, else
//!           for three minutes, since a table or a job to its end should not wait unseen (`insistence`).
//! Errors:   a damaged object under a prefix goes to `error_stream` and the next one is read; one that is a table is an error.

mod body;
mod progress;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use kinesql_engine::connector::{
    ConnectorMetric, Offset, OptionKind, OptionSpec, Options, Payload, Records, Sample, Source, SourceContext, SourceDefinition,
    SourceFactory, SplitReader, Trouble,
};
use kinesql_engine::format::{CsvOptions, FormatSpec};
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};
use object_store::GetOptions;

use self::body::{Body, BodyOptions, Found, check_size, collect};
use self::progress::Progress;
pub(super) use self::reader::parse;
use self::reader::{ObjectFormat, ObjectReader, ReadOptions, list};
use super::error::{Call, store_error};
use super::insistence::{Attempts, Insistence};
use super::place::{PATH, Place, Service};
use crate::aws;
use crate::blocking::unblock;
use crate::file::framing::Framing;
use crate::parquet::schema_of;
use crate::sample::sample_of;

const FOLLOW: OptionSpec = OptionSpec {
    name: "follow",
    kind: OptionKind::Boolean,
    required: false,
    default: Some("false"),
    help: "Look for new objects again and again instead of ending with those that are there; default false.",
};
const POLL_INTERVAL: OptionSpec = OptionSpec {
    name: "poll_interval",
    kind: OptionKind::Duration,
    required: false,
    default: Some("30s"),
    help: "With follow: time between two listings; default 30s.",
};
const LATE_WINDOW: OptionSpec = OptionSpec {
    name: "late_window",
    kind: OptionKind::Duration,
    required: false,
    default: Some("1h"),
    help: "An object that appears so long after one with a greater key is still read; default 1h.",
};
const START_AFTER: OptionSpec = OptionSpec {
    name: "start_after",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Without a checkpoint: leave out keys up to this one, which is written without the bucket.",
};
const START_TIME: OptionSpec = OptionSpec {
    name: "start_time",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Leave out objects that were last changed before, such as 2024-01-31 12:00:00 (UTC).",
};
const MAX_RECORD_BYTES: OptionSpec = OptionSpec {
    name: "max_record_bytes",
    kind: OptionKind::Bytes,
    required: false,
    default: Some("1mb"),
    help: "Longest record; a longer one goes to error_stream. Default 1mb.",
};

const OWN: &[OptionSpec] = &[PATH, FOLLOW, POLL_INTERVAL, LATE_WINDOW, START_AFTER, START_TIME, MAX_RECORD_BYTES];
const OF_S3: &[OptionSpec] = &[
    PATH,
    aws::REGION,
    aws::ENDPOINT,
    aws::PROFILE,
    aws::ROLE_ARN,
    aws::EXTERNAL_ID,
    FOLLOW,
    POLL_INTERVAL,
    LATE_WINDOW,
    START_AFTER,
    START_TIME,
    MAX_RECORD_BYTES,
];

/// How long a source that ends waits for a store that has answered before.
const BOUNDED_PATIENCE: Duration = Duration::from_secs(180);

/// Makes sources of one service.
#[derive(Debug)]
pub struct StorageSourceFactory(pub Service);

impl SourceFactory for StorageSourceFactory {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn options(&self) -> &'static [OptionSpec] {
        if self.0 == Service::S3 { OF_S3 } else { OWN }
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw", "parquet"]
    }

    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        let place = Place::of(self.0, options)?;
        Ok(Arc::new(StorageSource::try_new(place, definition, options)?))
    }
}

/// A bound source.
#[derive(Debug)]
struct StorageSource {
    place: Arc<Place>,
    format: FormatSpec,
    follow: bool,
    poll_interval: Duration,
    late_window: Duration,
    start_after: Option<String>,
    start_time: Option<EventTime>,
    max_record_bytes: usize,
    declared: Option<SchemaRef>,
    /// Columns of Parquet objects, once one was looked at.
    schema: OnceLock<SchemaRef>,
    counters: Arc<Counters>,
}

impl StorageSource {
    fn try_new(place: Place, definition: &SourceDefinition, options: &Options) -> Result<Self> {
        let connector = place.service.name();
        let cannot = |option: &str, why: &str| Error::config(format!("option \"{option}\" of connector '{connector}' {why}"));
        let follow = options.flag(FOLLOW.name);
        if follow && !place.is_prefix() {
            return Err(cannot(FOLLOW.name, "needs a path that ends in '/': an object does not grow")
                .with_hint("End the path in '/' to read the objects that appear under it."));
        }
        let start_time = options.text(START_TIME.name).map(|text| {
            let parsed = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"]
                .iter()
                .find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok());
            parsed.map(|time| time.and_utc().timestamp_millis()).ok_or_else(|| {
                cannot(START_TIME.name, &format!("cannot be '{text}'")).with_hint("Write it as 2024-01-31 12:00:00, in UTC.")
            })
        });
        let max_record_bytes = options.bytes(MAX_RECORD_BYTES.name).unwrap_or(1 << 20) as usize;
        if max_record_bytes == 0 {
            return Err(cannot(MAX_RECORD_BYTES.name, "cannot be 0"));
        }
        let span = |spec: &OptionSpec| options.duration(spec.name).unwrap_or_default();
        if follow && span(&POLL_INTERVAL).is_zero() {
            return Err(cannot(POLL_INTERVAL.name, "cannot be 0"));
        }
        if definition.format != FormatSpec::Parquet {
            Framing::of(&definition.format)?;
        }
        Ok(Self {
            place: Arc::new(place),
            format: definition.format.clone(),
            follow,
            poll_interval: span(&POLL_INTERVAL),
            late_window: span(&LATE_WINDOW),
            start_after: options.text(START_AFTER.name).map(str::to_owned),
            start_time: start_time.transpose()?,
            max_record_bytes,
            declared: definition.schema.clone(),
            schema: OnceLock::new(),
            counters: Arc::default(),
        })
    }

    /// `raw`: somebody else takes the records apart.
    fn object_format(&self, format: &FormatSpec, raw: bool) -> Result<ObjectFormat> {
        if *format == FormatSpec::Parquet {
            let schema = self.schema.get().cloned();
            return Ok(ObjectFormat::Parquet(schema.ok_or_else(|| Error::internal("Parquet was read before it was looked at"))?));
        }
        let header = matches!(format, FormatSpec::Csv(CsvOptions { header: true, .. }));
        let may_be_documents = *format == FormatSpec::Json;
        Ok(ObjectFormat::Records(BodyOptions {
            may_be_documents,
            raw,
            framing: Framing::of(format)?,
            header,
            max_record_bytes: self.max_record_bytes,
        }))
    }

    /// The first object with its bytes; None if there is none.
    async fn first(&self) -> Result<Option<(String, object_store::GetResult)>> {
        let listed = list(&self.place, self.start_after.as_deref()).await?;
        let first = listed.into_iter().filter(|meta| meta.size > 0).min_by(|one, other| one.location.cmp(&other.location));
        let Some(first) = first else { return Ok(None) };
        let store = self.place.store().await?;
        let url = self.place.url_of(first.location.as_ref());
        let answer = store.objects.get_opts(&first.location, GetOptions::default()).await;
        Ok(Some((url.clone(), answer.map_err(|error| store_error(self.place.service, Call::Get, &url, error))?)))
    }
}

#[async_trait]
impl Source for StorageSource {
    fn payload(&self) -> Payload {
        match self.format {
            FormatSpec::Parquet => Payload::Batches(self.schema.get().cloned().unwrap_or_else(|| Arc::new(Schema::empty()))),
            _ => Payload::Bytes,
        }
    }

    async fn inspect(&self) -> Result<()> {
        if self.format != FormatSpec::Parquet {
            return Ok(());
        }
        let schema = match (self.first().await?, &self.declared) {
            (Some((url, answer)), declared) => {
                // As for all of an object that is read: its columns are described at its end.
                check_size(&url, answer.meta.size, reader::PARQUET_BYTES_MAX)?;
                let size = answer.meta.size;
                let bytes = collect(Box::pin(answer.into_stream()), size).await;
                let bytes = bytes.map_err(|error| store_error(self.place.service, Call::Get, &url, error))?;
                let declared = declared.clone();
                unblock(move || schema_of(&bytes, &url, declared.as_ref())).await?
            }
            (None, Some(declared)) => declared.clone(),
            (None, None) => {
                return Err(Error::config(format!("'{}' has no object yet that tells the columns", self.place.url))
                    .with_hint("Declare the columns."));
            }
        };
        // The first answer holds.
        let _ = self.schema.set(schema);
        Ok(())
    }

    async fn version(&self) -> Result<Option<String>> {
        let mut listed = list(&self.place, None).await?;
        let tag = |meta: &object_store::ObjectMeta| {
            let changed = || format!("{}-{}", meta.last_modified.timestamp_millis(), meta.size);
            let tag = meta.version.clone().or_else(|| meta.e_tag.clone()).unwrap_or_else(changed);
            tag.trim_matches('"').to_owned()
        };
        if let ([only], false) = (listed.as_slice(), self.place.is_prefix()) {
            return Ok(Some(tag(only)));
        }
        listed.sort_by(|one, other| one.location.cmp(&other.location));
        let all: String = listed.iter().map(|meta| format!("{}:{};", meta.location, tag(meta))).collect();
        Ok(Some(format!("{}-{:016x}", listed.len(), reader::spread(&all))))
    }

    fn has_arrival_times(&self) -> bool {
        self.format != FormatSpec::Parquet
    }

    fn is_bounded(&self) -> bool {
        !self.follow
    }

    fn leaves_out(&self) -> Option<&'static str> {
        let start_time = self.start_time.map(|_| START_TIME.name);
        self.start_after.as_ref().map(|_| START_AFTER.name).or(start_time)
    }

    async fn splits(&self, parallelism: usize) -> Result<Vec<String>> {
        let splits = if self.place.is_prefix() { parallelism.max(1) } else { 1 };
        Ok((0..splits).map(|split| format!("{split}/{splits}")).collect())
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let part = split.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
        let Some((part, parts)) = part.filter(|(part, parts): &(u64, u64)| part < parts) else {
            return Err(Error::state(format!("'{split}' is not a part of '{}'", self.place.url)));
        };
        let progress = match offset {
            Some(offset) => Progress::restore(offset, &self.place.url)?,
            None => Progress { floor: self.start_after.clone(), ..Progress::default() },
        };
        let options = ReadOptions {
            format: match self.format {
                FormatSpec::Parquet => self.object_format(&self.format, false)?,
                _ => self.object_format(&context.format, context.raw)?,
            },
            poll_interval: self.follow.then_some(self.poll_interval),
            late_window: self.late_window,
            start_time: self.start_time,
            part: (part, parts),
        };
        let give_up_after = match self.place.local_path() {
            // A folder of this machine is there or not.
            Some(_) => Some(Duration::ZERO),
            None => (!self.follow).then_some(BOUNDED_PATIENCE),
        };
        let insistence = Insistence::new(&context.clock, &self.counters.attempts, give_up_after);
        let (place, counters) = (Arc::clone(&self.place), Arc::clone(&self.counters));
        let reader = ObjectReader::new(place, options, Arc::clone(&context.clock), counters, insistence, progress);
        Ok(Box::new(reader.reopen().await?))
    }

    async fn sample(&self, max_bytes: usize, context: &SourceContext) -> Result<Sample> {
        Ok(sample_of(self.sample_records(max_bytes, context).await?.into_iter().flatten(), &context.format))
    }

    async fn sample_records(&self, max_bytes: usize, context: &SourceContext) -> Result<Option<Vec<Records>>> {
        let mut sample = Vec::new();
        let ObjectFormat::Records(options) = self.object_format(&self.format, context.raw)? else { return Ok(None) };
        let Some((url, answer)) = self.first().await? else { return Ok(Some(sample)) };
        let arrival_time = Some(answer.meta.last_modified.timestamp_millis());
        let mut body = Body::new(Box::pin(answer.into_stream()), BodyOptions { header: false, ..options }, 0, None);
        let origin: Arc<str> = url.as_str().into();
        let mut bytes = 0;
        while bytes < max_bytes {
            let found = body.next().await.map_err(|error| store_error(self.place.service, Call::Get, &url, error))?;
            match found {
                Found::Piece(piece) => {
                    bytes += piece.bytes.len();
                    let mut records = Records { arrival_time, ..piece.into_records(&origin, Offset(serde_json::Value::Null)) };
                    if context.raw && body.is_documents() {
                        reader::tell_ends(&mut records)?;
                    }
                    sample.push(records);
                }
                Found::Damaged(why, hint) => return Err(body::damaged(&origin, bytes as u64, &why, hint)),
                Found::End => break,
            }
        }
        Ok(Some(sample))
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        self.counters.metrics()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.counters.attempts.troubles.current()
    }

    fn reads_path(&self, path: &FilePath) -> bool {
        let Some(own) = self.place.local_path().and_then(|own| own.canonicalize().ok()) else { return false };
        path == own || path.starts_with(&own) || own.starts_with(path)
    }
}

/// What the readers of a source have done.
#[derive(Debug, Default)]
struct Counters {
    objects: AtomicU64,
    bytes: AtomicU64,
    /// Objects that each split has listed and not begun.
    waiting: Mutex<BTreeMap<u64, usize>>,
    attempts: Arc<Attempts>,
}

impl Counters {
    fn object(&self) {
        self.objects.fetch_add(1, Ordering::Relaxed);
    }

    fn bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn waiting(&self, split: u64, objects: usize) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(split, objects);
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        let waiting: usize = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().sum();
        let metric = |name, value| ConnectorMetric { name, part: String::new(), value };
        vec![
            metric("objects_read", self.objects.load(Ordering::Relaxed) as f64),
            metric("bytes_read", self.bytes.load(Ordering::Relaxed) as f64),
            metric("objects_waiting", waiting as f64),
            metric("calls_failed", self.attempts.failed()),
        ]
    }
}
