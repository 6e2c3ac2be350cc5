//! Where checkpoints are kept: an object store, one folder per job.
//!
//! ```text
//! manifest-00000000000000000007.json     written last, with create-if-absent: the epoch is complete when it exists
//! state-00000000000000000007/0.arrow     one Arrow IPC stream per operator with state
//! lock                                   of a local folder: locked by the process whose job runs
//! ```

use std::fs::{File, TryLockError};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ListResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::manifest::{FORMAT_VERSION, Manifest};
use super::{Epoch, OperatorState};
use crate::error::{Error, Result};

/// Name of the schema metadata entry that holds [`OperatorState::summary`].
const SUMMARY: &str = "kinesql.summary";

/// Reads and writes checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    /// A local folder can be locked.
    folder: Option<PathBuf>,
    shown: String,
}

/// Keeps other jobs away from a folder of checkpoints, until it is released or the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock(Option<File>);

impl FolderLock {
    /// Lets others have the folder.
    pub fn release(&self) {
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}

impl CheckpointStore {
    /// Checkpoints in `store`, which messages call `shown`.
    pub fn new(store: Arc<dyn ObjectStore>, shown: String) -> Self {
        Self { store, folder: None, shown }
    }

    /// Checkpoints in the local folder `directory`, which is created if it is missing.
    pub fn local(directory: &FilePath) -> Result<Self> {
        let shown = directory.display().to_string();
        std::fs::create_dir_all(directory).map_err(|error| unusable(&shown, &error))?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| unusable(&shown, &error))?;
        // Else the folder of each state stays, empty.
        let store = store.with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), folder: Some(directory.to_owned()), shown })
    }

    /// Takes a local folder for one job. In other stores it shows late, by [`CheckpointStore::commit`], that two jobs have one.
    pub fn lock(&self) -> Result<FolderLock> {
        let Some(folder) = &self.folder else { return Ok(FolderLock(None)) };
        let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock"));
        let file = file.map_err(|error| unusable(&self.shown, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock(Some(file))),
            Err(TryLockError::WouldBlock) => {
                Err(Error::state(format!("checkpoint folder {} is that of another running job", self.shown))
                    .with_hint("Stop that job first, or give this one a --checkpoint-dir of its own."))
            }
            // A file system without locks.
            Err(TryLockError::Error(_)) => Ok(FolderLock(None)),
        }
    }

    /// The newest complete checkpoint, if there is one.
    pub async fn newest(&self) -> Result<Option<Manifest>> {
        let Some(epoch) = epochs(&self.listed().await?).into_iter().max() else { return Ok(None) };
        let bytes = self.read(&manifest_path(epoch)).await?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| self.unreadable(epoch).with_cause(error))?;
        if value["version"] != FORMAT_VERSION {
            return Err(Error::state(format!(
                "checkpoint {epoch} in {} has format {}, this version reads {FORMAT_VERSION}",
                self.shown, value["version"]
            )));
        }
        Ok(Some(serde_json::from_value(value).map_err(|error| self.unreadable(epoch).with_cause(error))?))
    }

    /// Writes the state of one operator; returns the name to put into the manifest.
    pub async fn write_state(&self, epoch: Epoch, number: usize, state: &OperatorState) -> Result<String> {
        let path = Path::from(format!("state-{epoch:020}/{number}.arrow"));
        let bytes = encode_state(state)?;
        self.store.put(&path, bytes.into()).await.map_err(|error| self.unwritable(epoch, &error))?;
        Ok(path.to_string())
    }

    /// Reads the state of one operator.
    pub async fn read_state(&self, name: &str) -> Result<OperatorState> {
        // The folder is named after the epoch.
        let epoch = name.strip_prefix("state-").and_then(|rest| rest.get(..20)).and_then(|digits| digits.parse().ok());
        let hinted = |error: Error| match epoch {
            Some(epoch) => error.with_hint(fall_back(epoch)),
            None => error,
        };
        let bytes = self.read(&Path::from(name)).await.map_err(hinted)?;
        let broken = |cause| Error::state(format!("{name} of checkpoint folder {} is broken", self.shown)).with_cause(cause);
        decode_state(&bytes).map_err(|cause| hinted(broken(cause)))
    }

    /// Makes `manifest` the newest checkpoint. Fails if its epoch exists: another process writes to the same folder.
    pub async fn commit(&self, manifest: &Manifest) -> Result<()> {
        let bytes =
            serde_json::to_vec_pretty(manifest).map_err(|error| Error::internal("a manifest is not JSON").with_cause(error))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&manifest_path(manifest.epoch), bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                Err(Error::state(format!("checkpoint {} in {} was written by another process", manifest.epoch, self.shown))
                    .with_hint("Give every running job a --checkpoint-dir of its own."))
            }
            Err(error) => Err(self.unwritable(manifest.epoch, &error)),
        }
    }

    /// Deletes all but the newest `retain` checkpoints, and states that belong to none. Failures are left for the next call.
    pub async fn clean(&self, retain: usize) {
        let Ok(listed) = self.listed().await else { return };
        let mut epochs = epochs(&listed);
        epochs.sort_unstable();
        let Some(oldest_kept) = epochs.len().checked_sub(retain.max(1)).and_then(|first| epochs.get(first)).copied() else {
            return;
        };
        for epoch in epochs.into_iter().filter(|epoch| *epoch < oldest_kept) {
            // The manifest goes first: a checkpoint without it does not exist, one without its states is broken.
            if self.store.delete(&manifest_path(epoch)).await.is_err() {
                return;
            }
        }
        for states in listed.common_prefixes {
            let epoch = states.filename().and_then(|name| name.strip_prefix("state-")?.parse::<Epoch>().ok());
            if epoch.is_some_and(|epoch| epoch < oldest_kept) {
                let Ok(files) = self.store.list(Some(&states)).try_collect::<Vec<_>>().await else { return };
                for file in files {
                    let _ = self.store.delete(&file.location).await;
                }
                // One that was left behind empty.
                if let Some(folder) = &self.folder {
                    let _ = std::fs::remove_dir(folder.join(states.as_ref()));
                }
            }
        }
    }

    /// The manifests, and the folders of states.
    async fn listed(&self) -> Result<ListResult> {
        let listed = self.store.list_with_delimiter(None).await;
        listed.map_err(|error| Error::state(format!("cannot list checkpoint folder {}", self.shown)).with_cause(error))
    }

    async fn read(&self, path: &Path) -> Result<Bytes> {
        let unreadable =
            |error| Error::state(format!("cannot read {path} of checkpoint folder {}", self.shown)).with_cause(error);
        self.store.get(path).await.map_err(unreadable)?.bytes().await.map_err(unreadable)
    }

    fn unreadable(&self, epoch: Epoch) -> Error {
        Error::state(format!("checkpoint {epoch} in {} is not readable", self.shown)).with_hint(fall_back(epoch))
    }

    fn unwritable(&self, epoch: Epoch, error: &object_store::Error) -> Error {
        Error::state(format!("cannot write checkpoint {epoch} to {}: {}", self.shown, root_cause(error)))
            .with_hint("Make room or fix the folder, then start again: the job resumes from the checkpoint before.")
    }
}

/// The epochs that have a manifest.
fn epochs(listed: &ListResult) -> Vec<Epoch> {
    let names = listed.objects.iter().filter_map(|object| object.location.filename());
    names.filter_map(|name| name.strip_prefix("manifest-")?.strip_suffix(".json")?.parse().ok()).collect()
}

fn unusable(shown: &str, error: &dyn std::error::Error) -> Error {
    Error::state(format!("cannot use checkpoint folder {shown}: {}", root_cause(error)))
        .with_hint("Check that it is a folder you may write to.")
}

/// The innermost message: what the operating system said.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What to do about a checkpoint that cannot be read.
fn fall_back(epoch: Epoch) -> String {
    format!("Delete manifest-{epoch:020}.json there to fall back to the checkpoint before it.")
}

fn manifest_path(epoch: Epoch) -> Path {
    Path::from(format!("manifest-{epoch:020}.json"))
}

fn encode_state(state: &OperatorState) -> Result<Vec<u8>> {
    let schema = state.batches.first().map_or_else(|| Schema::empty().into(), |batch| batch.schema());
    let summary = [(SUMMARY.to_owned(), state.summary.to_string())].into();
    let schema = Schema::new_with_metadata(schema.fields().clone(), summary);
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    for batch in &state.batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?)
}

fn decode_state(bytes: &[u8]) -> Result<OperatorState, ArrowError> {
    let reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    let summary = schema.metadata().get(SUMMARY).and_then(|text| serde_json::from_str(text).ok());
    let summary = summary.ok_or_else(|| ArrowError::ParseError("it has no summary".to_owned()))?;
    let plain: Arc<Schema> = Arc::new(Schema::new(schema.fields().clone()));
    let batches = reader.map(|batch| batch.and_then(|batch| RecordBatch::try_new(plain.clone(), batch.columns().to_vec())));
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    Ok(OperatorState { summary, batches })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::collections::BTreeMap;

    fn manifest(epoch: Epoch) -> Manifest {
        let (definitions, sources, sinks, states) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Manifest { version: FORMAT_VERSION, epoch, definitions, sources, sinks, states, tables: BTreeMap::new() }
    }

    #[tokio::test]
    async fn the_newest_manifest_wins_and_an_epoch_is_written_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("a folder");
        assert_eq!(store.newest().await.expect("empty"), None);
        for epoch in [1, 2, 10] {
            store.commit(&manifest(epoch)).await.expect("new");
        }
        assert_eq!(store.newest().await.expect("readable").map(|manifest| manifest.epoch), Some(10));
        assert_eq!(store.commit(&manifest(10)).await.expect_err("taken").kind(), crate::ErrorKind::State);
    }

    #[tokio::test]
    async fn states_come_back_as_they_were_and_old_ones_are_cleaned() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("a folder");
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let state = OperatorState { summary: serde_json::json!({ "watermark": 7 }), batches: vec![batch.clone(), batch] };
        let mut names = Vec::new();
        for epoch in 1..=3 {
            names.push(store.write_state(epoch, 0, &state).await.expect("written"));
            store.commit(&manifest(epoch)).await.expect("new");
        }
        std::fs::create_dir(folder.path().join("state-00000000000000000000")).expect("made");
        store.clean(1).await;
        assert!(store.read_state(&names[0]).await.is_err());
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
        left.sort();
        assert_eq!(left, ["manifest-00000000000000000003.json", "state-00000000000000000003"]);
        let read = store.read_state(&names[2]).await.expect("kept");
        assert_eq!((read.summary_value::<i64>("watermark").expect("saved"), read.batches), (7, state.batches));
    }

    #[test]
    fn a_folder_is_that_of_one_job_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = || CheckpointStore::local(folder.path()).expect("a folder");
        let lock = store().lock().expect("free");
        let error = store().lock().expect_err("taken");
        assert_eq!(error.kind(), crate::ErrorKind::State);
        assert!(error.message().ends_with("is that of another running job"), "{}", error.message());
        lock.release();
        drop(store().lock().expect("free again"));
        store().lock().expect("free once more");
    }

    #[tokio::test]
    async fn a_state_file_that_cannot_be_read_is_named_and_the_way_back_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("a folder");
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let state = OperatorState { summary: serde_json::json!({}), batches: vec![batch] };
        let name = store.write_state(7, 3, &state).await.expect("written");
        let file = folder.path().join(&name);
        let whole = std::fs::read(&file).expect("readable");
        let shown = folder.path().display();
        let spoils: [(&dyn Fn(), &str); 3] = [
            (&|| std::fs::write(&file, &whole[..whole.len() / 2]).expect("written"), "is broken"),
            (&|| std::fs::write(&file, "").expect("written"), "is broken"),
            (&|| std::fs::remove_file(&file).expect("removed"), "cannot read"),
        ];
        for (spoil, expected) in spoils {
            spoil();
            let error = store.read_state(&name).await.expect_err(expected);
            let message = error.message();
            assert_eq!(error.kind(), crate::ErrorKind::State);
            assert!(message.contains(expected) && message.contains(&format!("{name} of checkpoint folder {shown}")), "{message}");
            let hint = "Delete manifest-00000000000000000007.json there to fall back to the checkpoint before it.";
            assert_eq!(error.hint(), Some(hint));
        }
    }
}
