//! What outlives a crash besides the checkpoint: notes about uploads, and rows that wait for their object.
//!
//! Both are small objects under `_kinesql/SINK-RUN/` below the sink's path; readers of data lakes leave names out that begin
//! with `_`. RUN counts the jobs that began anew: each has keys of its own, so that nothing is ever overwritten.
//!
//! | Object | Holds | Written | Deleted |
//! | --- | --- | --- | --- |
//! | `run.json` | nothing: it claims the run | when a job starts without a checkpoint | never |
//! | `epoch-0000000007.json` | the uploads of epoch 7 | before they are sent | ten epochs later |
//! | `rows-0000000007.arrow`, `errors-…` | rows that epoch 7 has and no object yet | in its prepare | ten epochs after the last object of them |
//! | `closed-0000000007.json` | the uploads of the rows that a stopped job still had | when it ends | ten epochs later |

use std::sync::Arc;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::{Error, Result};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::uploads::{self, Upload};
use crate::storage::error::{Call, store_error};
use crate::storage::place::Place;
use crate::storage::source::parse;

/// A restart may be from a checkpoint that is so many epochs old.
pub(super) const KEPT_EPOCHS: u64 = 10;

/// The folder of one run of a sink.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    place: Arc<Place>,
    folder: String,
}

/// The uploads of an epoch.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    uploads: Vec<Upload>,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Epochs with notes.
    pub(super) epochs: Vec<Epoch>,
    /// Epochs after which a run has ended.
    pub(super) closed: Vec<Epoch>,
}

impl Journal {
    pub(super) fn new(place: Arc<Place>, sink: &str, run: &str) -> Self {
        let folder = format!("_kinesql/{sink}-{run}/");
        Self { place, folder }
    }

    /// Claims the next run of a sink; several processes get different ones.
    pub(super) async fn claim(place: &Place, sink: &str) -> Result<String> {
        let all = place.key("_kinesql");
        let listed = place.store().await?.objects.list_with_delimiter(Some(&parse(&all)?)).await;
        let listed = listed.map_err(|error| store_error(place.service, Call::List, &place.url_of(&all), error))?;
        let number = |folder: &Path| folder.filename()?.strip_prefix(sink)?.strip_prefix('-')?.parse::<u64>().ok();
        let mut run = listed.common_prefixes.iter().filter_map(number).max().unwrap_or(0);
        loop {
            run += 1;
            if uploads::create(place, &format!("_kinesql/{sink}-{run:04}/run.json")).await? {
                return Ok(format!("{run:04}"));
            }
        }
    }

    fn epoch_key(&self, epoch: Epoch) -> String {
        format!("{}epoch-{epoch:010}.json", self.folder)
    }

    fn closed_key(&self, epoch: Epoch) -> String {
        format!("{}closed-{epoch:010}.json", self.folder)
    }

    /// The key of the `kind` rows of an epoch.
    pub(super) fn rows_key(&self, kind: &str, epoch: Epoch) -> String {
        format!("{}{kind}-{epoch:010}.arrow", self.folder)
    }

    pub(super) async fn find(&self) -> Result<Found> {
        let folder = self.place.key(self.folder.trim_end_matches('/'));
        let prefix = parse(&folder)?;
        let listed = self.place.store().await?.objects.list(Some(&prefix)).try_collect::<Vec<_>>().await;
        let url = self.place.url_of(&folder);
        let listed = listed.map_err(|error| store_error(self.place.service, Call::List, &url, error))?;
        let mut found = Found::default();
        for meta in listed {
            let name = meta.location.filename().unwrap_or_default();
            let number = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(".json")?.parse::<Epoch>().ok();
            found.epochs.extend(number("epoch-"));
            found.closed.extend(number("closed-"));
        }
        found.epochs.sort_unstable();
        found.closed.sort_unstable();
        Ok(found)
    }

    /// Notes the uploads of `epoch`, before anything of them is sent.
    pub(super) async fn note(&self, epoch: Epoch, uploads: &[Upload]) -> Result<()> {
        self.write(&self.epoch_key(epoch), uploads).await
    }

    /// Notes that the run ended after `epoch`, with these uploads for what was left: the moment from which they count.
    pub(super) async fn close(&self, epoch: Epoch, uploads: &[Upload]) -> Result<()> {
        self.write(&self.closed_key(epoch), uploads).await
    }

    async fn write(&self, key: &str, uploads: &[Upload]) -> Result<()> {
        let entry = serde_json::to_vec(&Entry { uploads: uploads.to_vec() });
        let entry = entry.map_err(|error| Error::internal("uploads cannot be written as JSON").with_cause(error))?;
        uploads::put(&self.place, key, Bytes::from(entry)).await
    }

    pub(super) async fn uploads(&self, epoch: Epoch) -> Result<Vec<Upload>> {
        self.read(&self.epoch_key(epoch)).await
    }

    pub(super) async fn closed(&self, epoch: Epoch) -> Result<Vec<Upload>> {
        self.read(&self.closed_key(epoch)).await
    }

    async fn read(&self, key: &str) -> Result<Vec<Upload>> {
        let bytes = uploads::get(&self.place, key).await?;
        let entry: Entry = serde_json::from_slice(&bytes).map_err(|error| {
            Error::state(format!("'{}' is damaged", self.place.url_of(&self.place.key(key)))).with_cause(error)
        })?;
        Ok(entry.uploads)
    }

    pub(super) async fn forget(&self, epoch: Epoch) -> Result<()> {
        uploads::delete(&self.place, &self.epoch_key(epoch)).await
    }

    pub(super) async fn forget_closed(&self, epoch: Epoch) -> Result<()> {
        uploads::delete(&self.place, &self.closed_key(epoch)).await
    }

    /// Keeps rows, all of one schema.
    pub(super) async fn keep(&self, key: &str, batches: &[RecordBatch]) -> Result<()> {
        let Some(first) = batches.first() else { return Ok(()) };
        let options = IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::ZSTD))?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &first.schema(), options)?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        uploads::put(&self.place, key, Bytes::from(writer.into_inner()?)).await
    }

    /// The rows that were kept, batch by batch.
    pub(super) async fn kept(&self, key: &str) -> Result<Vec<RecordBatch>> {
        let bytes = uploads::get(&self.place, key).await?;
        let damaged = |error| Error::state(format!("'{}' is damaged", self.place.url_of(&self.place.key(key)))).with_cause(error);
        StreamReader::try_new(std::io::Cursor::new(bytes), None).and_then(Iterator::collect).map_err(damaged)
    }

    pub(super) async fn drop_rows(&self, key: &str) -> Result<()> {
        uploads::delete(&self.place, key).await
    }
}
