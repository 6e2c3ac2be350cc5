//! What outlives a crash besides the checkpoint: notes about uploads, and rows that wait for their object.
//!
//! Both are small objects under `_kinesql/SINK-RUN/` below the sink's path; readers of data lakes leave names out that begin
//! with `_`. RUN counts the jobs that began anew: each has keys of its own, so that nothing is ever overwritten.
//!
//! | Object | Holds | Written | Deleted |
//! | --- | --- | --- | --- |
//! | `run.json` | nothing: it claims the run | when a job starts without a checkpoint | never |
//! | `epoch-0000000007.json` | the uploads of epoch 7 | when they are begun, before anything of them is sent | ten epochs later |
//! | `committed.json` | the last epoch whose objects are all visible | by its commit | never |
//! | `rows-0000000007.arrow`, `errors-…` | rows that epoch 7 has and no object yet | in its prepare | ten epochs after the last object of them |
//! | `closed-0000000007.json` | the uploads of the rows that a stopped job still had | when it ends | ten epochs later |

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::{Error, Result};
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::uploads::{self, Depot, Upload};
use crate::storage::error::Call;
use crate::storage::source::parse;

/// A restart may be from a checkpoint that is so many epochs old.
pub(super) const KEPT_EPOCHS: u64 = 10;

/// The folder of one run of a sink.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    depot: Depot,
    folder: String,
}

/// The uploads of an epoch.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    uploads: Vec<Upload>,
}

/// What is visible: whatever became of it since, it is not to be completed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Committed {
    /// The objects of this epoch and of those before.
    pub(super) epoch: Epoch,
    /// Those that were made as a job ended after it.
    pub(super) closed: bool,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Epochs with notes.
    pub(super) epochs: Vec<Epoch>,
    /// Epochs after which a run has ended.
    pub(super) closed: Vec<Epoch>,
    /// True if something was committed.
    pub(super) committed: bool,
}

const COMMITTED: &str = "committed.json";

impl Journal {
    pub(super) fn new(depot: Depot, sink: &str, run: &str) -> Self {
        let folder = format!("_kinesql/{sink}-{run}/");
        Self { depot, folder }
    }

    /// Claims the next run of a sink; several processes get different ones.
    pub(super) async fn claim(depot: &Depot, sink: &str) -> Result<String> {
        let all = parse(&depot.place.key("_kinesql"))?;
        let store = depot.place.store().await?;
        let list = || async {
            let listed = store.quick.list_with_delimiter(Some(&all)).await;
            listed.map_err(|error| depot.failed(Call::List, "_kinesql", error))
        };
        let listed = depot.insistence.call(list).await?;
        let number = |folder: &Path| folder.filename()?.strip_prefix(sink)?.strip_prefix('-')?.parse::<u64>().ok();
        let mut run = listed.common_prefixes.iter().filter_map(number).max().unwrap_or(0);
        loop {
            run += 1;
            if uploads::create(depot, &format!("_kinesql/{sink}-{run:04}/run.json")).await? {
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
        let folder = self.folder.trim_end_matches('/');
        let prefix = parse(&self.depot.place.key(folder))?;
        let store = self.depot.place.store().await?;
        let list = || async {
            let listed = store.quick.list(Some(&prefix)).try_collect::<Vec<_>>().await;
            listed.map_err(|error| self.depot.failed(Call::List, folder, error))
        };
        let mut found = Found::default();
        for meta in self.depot.insistence.call(list).await? {
            let name = meta.location.filename().unwrap_or_default();
            let number = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(".json")?.parse::<Epoch>().ok();
            found.epochs.extend(number("epoch-"));
            found.closed.extend(number("closed-"));
            found.committed |= name == COMMITTED;
        }
        found.epochs.sort_unstable();
        found.closed.sort_unstable();
        Ok(found)
    }

    /// What is visible, as an earlier run left it.
    pub(super) async fn committed(&self) -> Result<Committed> {
        self.read(&self.committed_key()).await
    }

    /// From here on this is visible, and will not be completed again.
    pub(super) async fn commit(&self, committed: Committed) -> Result<()> {
        self.write(&self.committed_key(), &committed).await
    }

    fn committed_key(&self) -> String {
        format!("{}{COMMITTED}", self.folder)
    }

    /// Notes the uploads of `epoch`, before anything of them is sent.
    pub(super) async fn note(&self, epoch: Epoch, uploads: &[Upload]) -> Result<()> {
        self.write(&self.epoch_key(epoch), &Entry { uploads: uploads.to_vec() }).await
    }

    /// Notes that the run ended after `epoch`, with these uploads for what was left: the moment from which they count.
    pub(super) async fn close(&self, epoch: Epoch, uploads: &[Upload]) -> Result<()> {
        self.write(&self.closed_key(epoch), &Entry { uploads: uploads.to_vec() }).await
    }

    async fn write(&self, key: &str, entry: &impl Serialize) -> Result<()> {
        let entry = serde_json::to_vec(entry);
        let entry = entry.map_err(|error| Error::internal("a note of a sink cannot be written as JSON").with_cause(error))?;
        uploads::put(&self.depot, key, Bytes::from(entry)).await
    }

    pub(super) async fn uploads(&self, epoch: Epoch) -> Result<Vec<Upload>> {
        self.read(&self.epoch_key(epoch)).await.map(|entry: Entry| entry.uploads)
    }

    pub(super) async fn closed(&self, epoch: Epoch) -> Result<Vec<Upload>> {
        self.read(&self.closed_key(epoch)).await.map(|entry: Entry| entry.uploads)
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let bytes = uploads::get(&self.depot, key).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::state(format!("'{}' is damaged", self.depot.url(key))).with_cause(error))
    }

    pub(super) async fn forget(&self, epoch: Epoch) -> Result<()> {
        uploads::delete(&self.depot, &self.epoch_key(epoch)).await
    }

    pub(super) async fn forget_closed(&self, epoch: Epoch) -> Result<()> {
        uploads::delete(&self.depot, &self.closed_key(epoch)).await
    }

    /// Keeps rows, all of one schema.
    pub(super) async fn keep(&self, key: &str, batches: &[RecordBatch]) -> Result<()> {
        let Some(first) = batches.first() else { return Ok(()) };
        let options = IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::ZSTD))?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &first.schema(), options)?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        uploads::put(&self.depot, key, Bytes::from(writer.into_inner()?)).await
    }

    /// The rows that were kept, batch by batch.
    pub(super) async fn kept(&self, key: &str) -> Result<Vec<RecordBatch>> {
        let bytes = uploads::get(&self.depot, key).await?;
        let damaged = |error| Error::state(format!("'{}' is damaged", self.depot.url(key))).with_cause(error);
        StreamReader::try_new(std::io::Cursor::new(bytes), None).and_then(Iterator::collect).map_err(damaged)
    }

    pub(super) async fn drop_rows(&self, key: &str) -> Result<()> {
        uploads::delete(&self.depot, key).await
    }
}
