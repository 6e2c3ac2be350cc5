//! Reads the objects of one split, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kinesql_engine::connector::{Envelopes, Offset, Read, Records, SplitReader};
use kinesql_engine::format::{RejectReason, Rejected};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use kinesql_engine::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta};

use super::Counters;
use super::body::{Body, BodyOptions, Found, check_size, collect, damaged};
use super::progress::{Current, Progress};
use crate::blocking::{split_rows, unblock};
use crate::file::framing::{Framing, Piece};
use crate::parquet::ParquetRows;
use crate::storage::error::{Call, store_error};
use crate::storage::insistence::{Failures, Insistence};
use crate::storage::place::Place;

/// Largest Parquet object: that of reference data (kda-sql-reference.md §6.11).
pub(super) const PARQUET_BYTES_MAX: u64 = 1 << 30;

/// What a reader is told by the source.
#[derive(Debug, Clone)]
pub(super) struct ReadOptions {
    /// None: the objects are Parquet, with these columns.
    pub(super) format: ObjectFormat,
    /// Time between two listings; None: the objects of the first one are all.
    pub(super) poll_interval: Option<Duration>,
    pub(super) late_window: Duration,
    /// Objects that changed last before this time are left out.
    pub(super) start_time: Option<EventTime>,
    /// Of so many splits, this one: `(i, n)`.
    pub(super) part: (u64, u64),
}

/// How objects are encoded.
#[derive(Debug, Clone)]
pub(super) enum ObjectFormat {
    Records(BodyOptions),
    Parquet(SchemaRef),
}

pub(super) struct ObjectReader {
    place: Arc<Place>,
    options: ReadOptions,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    insistence: Insistence,
    progress: Progress,
    queue: VecDeque<ObjectMeta>,
    /// When to list again; None before the first listing.
    due: Option<EventTime>,
    open: Option<Open>,
    /// The rows of the last piece, where those refused of it came first.
    pending: Option<Read>,
    /// Where the open object could not be read on, and how often.
    broken: Option<(u64, Failures)>,
}

struct Open {
    meta: ObjectMeta,
    url: Arc<str>,
    content: Content,
}

enum Content {
    Records(Box<Body>),
    /// None while a thread reads.
    Rows(Option<ParquetRows>),
}

impl ObjectReader {
    pub(super) fn new(
        place: Arc<Place>,
        options: ReadOptions,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        insistence: Insistence,
        progress: Progress,
    ) -> Self {
        let (queue, due, open, pending, broken) = (VecDeque::new(), None, None, None, None);
        Self { place, options, clock, counters, insistence, progress, queue, due, open, pending, broken }
    }

    /// Opens the object that a restart interrupted.
    pub(super) async fn reopen(mut self) -> Result<Self> {
        let Some(current) = self.progress.current.clone() else { return Ok(self) };
        let store = self.place.store().await?;
        let path = parse(&current.key)?;
        let url = self.place.url_of(&current.key);
        let head = || async {
            let found = store.quick.get_opts(&path, GetOptions { head: true, ..GetOptions::default() }).await;
            found.map_err(|error| store_error(self.place.service, Call::Get, &url, error))
        };
        let meta = self.insistence.call(head).await?.meta;
        if meta.e_tag != current.etag {
            return Err(Error::state(format!("cannot resume reading '{url}': it has changed since the checkpoint"))
                .with_hint("Put the object back, or start the job without its checkpoint."));
        }
        self.insistence.started();
        self.open = Some(insist_on(&self.insistence, &self.place, &self.options.format, &meta, Some(&current)).await?);
        Ok(self)
    }

    /// Objects that are not read yet, in key order.
    async fn list(&mut self) -> Result<()> {
        let listed = self.insistence.call(|| list(&self.place, self.progress.floor.as_deref())).await?;
        self.insistence.started();
        let (part, parts) = self.options.part;
        let wanted = listed.into_iter().filter(|meta| {
            let key = meta.location.as_ref();
            // What was written to mark a folder holds no records.
            let is_empty = meta.size == 0;
            let is_young = self.options.start_time.is_none_or(|start| meta.last_modified.timestamp_millis() >= start);
            let is_own = self.progress.current.as_ref().is_none_or(|current| current.key != key);
            !is_empty && is_young && is_own && (parts == 1 || spread(key) % parts == part)
        });
        self.queue = self.progress.new_objects(wanted.collect());
        let interval = self.options.poll_interval.unwrap_or_default().as_millis() as i64;
        self.due = Some(self.clock.now().saturating_add(interval));
        self.counters.waiting(self.options.part.0, self.queue.len());
        Ok(())
    }

    /// The next piece of the open object; None at its end.
    async fn piece(&mut self) -> Result<Option<Read>> {
        let Some(Open { meta, url, content }) = &mut self.open else { return Ok(None) };
        let Some(current) = &mut self.progress.current else { return Ok(None) };
        match content {
            Content::Records(body) => {
                let found = body.next().await;
                let found = found.map_err(|error| store_error(self.place.service, Call::Get, url, error))?;
                let (raw, is_documents) = (body.is_raw(), body.is_documents());
                current.documents = is_documents;
                let (piece, arrival) = match found {
                    Found::Piece(piece) => (piece, Some(meta.last_modified.timestamp_millis())),
                    Found::End => return Ok(None),
                    Found::Damaged(why, hint) if !self.place.is_prefix() => {
                        return Err(damaged(url, current.position, &why, hint));
                    }
                    Found::Damaged(why, hint) => {
                        // One bad object must not stop the stream of the others.
                        let (url, position) = (Arc::clone(url), current.position);
                        let message = format!("{}. {hint}", damaged(&url, position, &why, hint).message());
                        self.progress.finish(self.options.late_window.as_millis() as i64);
                        self.open = None;
                        return Ok(Some(Read::Records(refused(&url, position, message, self.progress.save()))));
                    }
                };
                current.position = piece.end;
                self.counters.bytes(piece.bytes.len());
                let url = Arc::clone(url);
                let mut records = piece.into_records(&url, self.progress.save());
                records.arrival_time = arrival;
                if raw && is_documents {
                    tell_ends(&mut records)?;
                }
                Ok(Some(Read::Records(records)))
            }
            Content::Rows(rows) => {
                let Some(mut reader) = rows.take() else { return Err(Error::internal("a reader was used after it failed")) };
                let (reader, found) = unblock(move || {
                    let found = reader.next();
                    Ok((reader, found))
                })
                .await?;
                let position = reader.row();
                *rows = Some(reader);
                let Some(found) = found? else { return Ok(None) };
                let url = Arc::clone(url);
                let before = self.progress.save();
                if let Some(current) = &mut self.progress.current {
                    current.position = position;
                }
                let (refused, rows) = split_rows(found, &url, before, self.progress.save());
                let Some(refused) = refused else { return Ok(Some(rows)) };
                self.pending = Some(rows);
                Ok(Some(refused))
            }
        }
    }
}

impl ObjectReader {
    /// Opens the object again from the current place on, once it is time to, after it could not be read on because of `error`.
    async fn open_again(&mut self, meta: &ObjectMeta, error: Error) -> Result<()> {
        let Some(current) = self.progress.current.clone() else { return Err(error) };
        // Failures at one place count together, also if the object can be opened between them.
        let mut failures = match self.broken {
            Some((position, failures)) if position == current.position => failures,
            _ => Failures::since(self.clock.now()),
        };
        self.insistence.wait(&mut failures, error).await?;
        self.broken = Some((current.position, failures));
        self.open = Some(insist_on(&self.insistence, &self.place, &self.options.format, meta, Some(&current)).await?);
        Ok(())
    }
}

#[async_trait]
impl SplitReader for ObjectReader {
    async fn next(&mut self) -> Result<Read> {
        if let Some(pending) = self.pending.take() {
            return Ok(pending);
        }
        loop {
            if let Some(open) = &self.open {
                let meta = open.meta.clone();
                match self.piece().await {
                    Ok(Some(read)) => return Ok(read),
                    Ok(None) => {}
                    // The connection broke, and again each time that the client went on behind what it had.
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        self.open_again(&meta, error).await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                (self.open, self.broken) = (None, None);
                self.progress.finish(self.options.late_window.as_millis() as i64);
                self.counters.object();
            } else if let Some(meta) = self.queue.pop_front() {
                self.counters.waiting(self.options.part.0, self.queue.len());
                let (key, etag) = (meta.location.to_string(), meta.e_tag.clone());
                let modified = meta.last_modified.timestamp_millis();
                let open = match insist_on(&self.insistence, &self.place, &self.options.format, &meta, None).await {
                    Ok(open) => open,
                    // Of several objects one may go, or be damaged, between the listing and now.
                    Err(error) if self.place.is_prefix() && is_about_object(&error) => {
                        self.progress.current = Some(Current { key, etag, modified, position: 0, documents: false });
                        self.progress.finish(self.options.late_window.as_millis() as i64);
                        let url = self.place.url_of(meta.location.as_ref()).into();
                        return Ok(Read::Records(refused(&url, 0, error.message().to_owned(), self.progress.save())));
                    }
                    Err(error) => return Err(error),
                };
                self.progress.current = Some(Current { key, etag, modified, position: 0, documents: false });
                self.open = Some(open);
            } else {
                match (self.due, self.options.poll_interval) {
                    (None, _) => {}
                    (Some(due), Some(_)) => self.clock.sleep_until(due).await,
                    (Some(_), None) => return Ok(Read::End { offset: self.progress.save() }),
                }
                self.list().await?;
            }
        }
    }
}

/// [`open_object`], until it succeeds.
async fn insist_on(
    insistence: &Insistence,
    place: &Place,
    format: &ObjectFormat,
    meta: &ObjectMeta,
    resumed: Option<&Current>,
) -> Result<Open> {
    insistence.call(|| open_object(place, format, meta, resumed)).await
}

/// Opens an object, or goes on with one that was read to a place.
async fn open_object(place: &Place, format: &ObjectFormat, meta: &ObjectMeta, resumed: Option<&Current>) -> Result<Open> {
    let url: Arc<str> = place.url_of(meta.location.as_ref()).into();
    let failed = |error| store_error(place.service, Call::Get, &url, error);
    let position = resumed.map_or(0, |current| current.position);
    let store = place.store().await?;
    // The same object from the first byte to the last, even if it is replaced meanwhile.
    let options = GetOptions { if_match: meta.e_tag.clone(), ..GetOptions::default() };
    let answer = store.objects.get_opts(&meta.location, options).await.map_err(failed)?;
    let size = answer.meta.size;
    let chunks = Box::pin(answer.into_stream());
    let content = match format {
        ObjectFormat::Records(options) => {
            // Before the first record it is not known yet.
            let documents = resumed.filter(|current| current.position > 0).map(|current| current.documents);
            Content::Records(Box::new(Body::new(chunks, *options, position, documents)))
        }
        ObjectFormat::Parquet(schema) => {
            check_size(&url, size, PARQUET_BYTES_MAX)?;
            let bytes = collect(chunks, size).await.map_err(failed)?;
            let (url, schema) = (Arc::clone(&url), Arc::clone(schema));
            Content::Rows(Some(unblock(move || ParquetRows::open(bytes, &url, &schema, position)).await?))
        }
    };
    Ok(Open { meta: meta.clone(), url, content })
}

/// Says where each document ends, for whoever else takes the records apart: no line break needs to be there.
pub(super) fn tell_ends(records: &mut Records) -> Result<()> {
    let ends = Framing::Documents.ends(&records.bytes);
    // What is blank is no document.
    records.bytes.truncate(ends.last().map_or(0, |end| *end as usize));
    let rows = RecordBatchOptions::new().with_row_count(Some(ends.len()));
    let columns = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &rows)?;
    records.envelopes = Some(Envelopes { ends, columns });
    Ok(())
}

fn is_about_object(error: &Error) -> bool {
    use kinesql_engine::ErrorKind::{Config, Data, State};
    let denied = error.message().contains("access denied") || error.message().contains("no such bucket");
    matches!(error.kind(), Data | State) || (error.kind() == Config && !denied)
}

/// An error row for an object that cannot be read from `position` on.
fn refused(url: &Arc<str>, position: u64, message: String, offset: Offset) -> Records {
    let rejected = Rejected { raw: Vec::new(), position: 0, reason: RejectReason::Parse, message };
    Piece { bytes: Bytes::new(), start: position, end: position, rejected: Some(rejected) }.into_records(url, offset)
}

/// A key as a path of the store.
pub(in crate::storage) fn parse(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| Error::config(format!("'{key}' cannot be the key of an object")).with_cause(error))
}

/// The objects of a place behind the key `floor`: those whose keys begin with its root, or the one it names.
pub(super) async fn list(place: &Place, floor: Option<&str>) -> Result<Vec<ObjectMeta>> {
    let store = place.store().await?;
    if !place.is_prefix() {
        let head = GetOptions { head: true, ..GetOptions::default() };
        let found = store.quick.get_opts(&parse(&place.root)?, head).await;
        return match found {
            Ok(found) => Ok(vec![found.meta]),
            Err(error) => Err(store_error(place.service, Call::Get, &place.url, error)),
        };
    }
    let prefix = parse(place.root.trim_end_matches('/'))?;
    let prefix = Some(&prefix).filter(|prefix| !prefix.as_ref().is_empty());
    let listing = match floor {
        Some(floor) => store.quick.list_with_offset(prefix, &parse(floor)?),
        None => store.quick.list(prefix),
    };
    let listed: Vec<ObjectMeta> =
        listing.try_collect().await.map_err(|error| store_error(place.service, Call::List, &place.url, error))?;
    if listed.is_empty() {
        place.check_listing().await?;
    }
    // By the convention of Hive, Spark and Athena such names are not data.
    let hidden = |meta: &ObjectMeta| {
        let name = &meta.location.as_ref()[place.root.len().min(meta.location.as_ref().len())..];
        name.split('/').any(|part| part.starts_with(['_', '.']))
    };
    Ok(listed.into_iter().filter(|meta| !hidden(meta)).collect())
}

/// Spreads keys over splits: FNV-1a, 64 bits (RFC 9923, section 5). Splits live in checkpoints, so it must never change.
pub(super) fn spread(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
