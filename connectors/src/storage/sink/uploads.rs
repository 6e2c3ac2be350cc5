//! Objects that nobody sees until they are completed: multipart uploads, or hidden files in a local folder.
//!
//! An upload is known by its name and an id, which outlive the process: another one can complete or abort it. All names here are
//! without the path of the sink. Every call is made again while the store is not to be had (`storage::insistence`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use kinesql_engine::{Error, ErrorKind, Result};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStoreExt as _, PutMode};
use serde::{Deserialize, Serialize};

use crate::blocking::unblock;
use crate::storage::error::{Call, all_texts, store_error};
use crate::storage::insistence::Insistence;
use crate::storage::place::{Place, Store};
use crate::storage::source::parse;

/// Size of a part: at least 5 MB but for the last one, at most 10,000 of them (S3 User Guide, "Multipart upload limits").
const PART_BYTES: usize = 8 << 20;

/// Parts that are sent at the same time.
const PARTS_AT_ONCE: usize = 4;

/// An object that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Upload {
    /// Its key, without the path of the sink.
    pub(super) name: String,
    /// The store's own id of the upload; empty in a local folder.
    pub(super) id: String,
    /// What was sent, if all of it was.
    #[serde(default)]
    pub(super) parts: Vec<String>,
}

/// Where a sink writes, and how long its calls are made again.
#[derive(Debug, Clone)]
pub(super) struct Depot {
    pub(super) place: Arc<Place>,
    pub(super) insistence: Insistence,
}

impl Depot {
    async fn store(&self) -> Result<&Store> {
        self.place.store().await
    }

    /// The key of `name`.
    fn path(&self, name: &str) -> Result<Path> {
        parse(&self.place.key(name))
    }

    /// `name` for messages.
    pub(super) fn url(&self, name: &str) -> String {
        self.place.url_of(&self.place.key(name))
    }

    pub(super) fn failed(&self, call: Call, name: &str, error: object_store::Error) -> Error {
        store_error(self.place.service, call, &self.url(name), error)
    }
}

/// Begins an upload.
pub(super) async fn begin(depot: &Depot, name: &str) -> Result<Upload> {
    let id = match &depot.store().await?.parts {
        Some(parts) => {
            let key = depot.path(name)?;
            let begin = || async { parts.create_multipart(&key).await.map_err(|error| depot.failed(Call::Put, name, error)) };
            depot.insistence.call(begin).await?
        }
        None => String::new(),
    };
    Ok(Upload { name: name.to_owned(), id, parts: Vec::new() })
}

/// Sends all of an object; it can be completed then, but is not.
pub(super) async fn send(depot: &Depot, upload: &mut Upload, bytes: Bytes) -> Result<()> {
    let key = depot.path(&upload.name)?;
    let Some(store) = &depot.store().await?.parts else {
        let staged = staged(&depot.place.key(&upload.name));
        return unblock(move || write_synced(&staged, &bytes)).await;
    };
    let parts: Vec<Bytes> =
        (0..bytes.len()).step_by(PART_BYTES).map(|at| bytes.slice(at..bytes.len().min(at + PART_BYTES))).collect();
    let Upload { name, id, .. } = &*upload;
    let sent = parts.into_iter().enumerate().map(|(place, part)| {
        let key = &key;
        async move {
            let put = || async {
                let sent = store.put_part(key, id, place, part.clone().into()).await;
                sent.map(|part| part.content_id).map_err(|error| depot.failed(Call::Put, name, error))
            };
            depot.insistence.call(put).await
        }
    });
    let sent: Vec<String> = futures::stream::iter(sent).buffered(PARTS_AT_ONCE).try_collect().await?;
    upload.parts = sent;
    Ok(())
}

/// [`complete`] of an upload that may have been completed by an earlier run.
pub(super) async fn complete_again(depot: &Depot, upload: &Upload) -> Result<()> {
    let store = depot.store().await?;
    // Names are never used twice: an object that is there is this one.
    if store.parts.is_some() && depot.insistence.call(|| exists(depot, &upload.name)).await? {
        return Ok(());
    }
    complete(depot, upload).await
}

/// Makes an object visible.
pub(super) async fn complete(depot: &Depot, upload: &Upload) -> Result<()> {
    let store = depot.store().await?;
    let lost = || {
        Error::state(format!("cannot complete '{}': its upload is gone", depot.url(&upload.name))).with_hint(
            "Something aborted it, such as a lifecycle rule of the bucket for incomplete uploads, or the week after which Azure drops \
             blocks, or moved the object within the moment in which the job died.",
        )
    };
    let Some(parts) = &store.parts else {
        let key = depot.place.key(&upload.name);
        let (staged, target) = (staged(&key), local(&key));
        let renamed = unblock(move || match fs::rename(&staged, &target) {
            Ok(()) => sync_folder(&target).map(|()| true).map_err(|error| local_error(&target, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target.exists()),
            Err(error) => Err(local_error(&target, error)),
        });
        return if renamed.await? { Ok(()) } else { Err(lost()) };
    };
    let key = depot.path(&upload.name)?;
    let complete = || async {
        let ids = upload.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
        let Err(error) = parts.complete_multipart(&key, &upload.id, ids).await else { return Ok(()) };
        // The answer of an earlier call may have been lost: then the upload is gone because the object is there.
        match is_gone(&error) {
            true if exists(depot, &upload.name).await? => Ok(()),
            true => Err(lost()),
            false => Err(depot.failed(Call::Put, &upload.name, error)),
        }
    };
    depot.insistence.call(complete).await
}

/// Undoes an upload, whether it was completed or not.
pub(super) async fn undo(depot: &Depot, upload: &Upload) -> Result<()> {
    if depot.store().await?.parts.is_some() {
        abort(depot, upload).await?;
    } else {
        let staged = staged(&depot.place.key(&upload.name));
        unblock(move || remove(&staged)).await?;
    }
    delete(depot, &upload.name).await
}

async fn abort(depot: &Depot, upload: &Upload) -> Result<()> {
    let Some(parts) = &depot.store().await?.parts else { return Ok(()) };
    let key = depot.path(&upload.name)?;
    let abort = || async {
        match parts.abort_multipart(&key, &upload.id).await {
            Err(error) if !is_gone(&error) => Err(depot.failed(Call::Abort, &upload.name, error)),
            _ => Ok(()),
        }
    };
    depot.insistence.call(abort).await
}

/// Aborts the uploads that were begun and nobody knows of: those below the path whose object's name `is_own`, after all others
/// were completed or undone. Where they cannot be listed they stay; there is nothing in them.
pub(super) async fn abort_unknown(depot: &Depot, is_own: impl Fn(&str) -> bool) -> Result<()> {
    let Some(open_uploads) = &depot.store().await?.open_uploads else { return Ok(()) };
    let Ok(listed) = open_uploads.list(&depot.place.root).await else { return Ok(()) };
    for upload in listed.into_iter().filter(|upload| is_own(upload.key.rsplit('/').next().unwrap_or_default())) {
        let Some(name) = upload.key.strip_prefix(depot.place.root.as_str()) else { continue };
        abort(depot, &Upload { name: name.to_owned(), id: upload.id, parts: Vec::new() }).await?;
    }
    Ok(())
}

/// Deletes an object, if it is there.
pub(super) async fn delete(depot: &Depot, name: &str) -> Result<()> {
    let (store, path) = (depot.store().await?, depot.path(name)?);
    let delete = || async {
        match store.quick.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(depot.failed(Call::Delete, name, error)),
        }
    };
    depot.insistence.call(delete).await
}

/// Writes an object, visible at once.
pub(super) async fn put(depot: &Depot, name: &str, bytes: Bytes) -> Result<()> {
    let (store, path) = (depot.store().await?, depot.path(name)?);
    let put = || async {
        let put = store.objects.put(&path, bytes.clone().into()).await;
        put.map(drop).map_err(|error| depot.failed(Call::Put, name, error))
    };
    depot.insistence.call(put).await
}

/// Writes a small object that nobody else has; false if it is there already.
pub(super) async fn create(depot: &Depot, name: &str) -> Result<bool> {
    let (store, path) = (depot.store().await?, depot.path(name)?);
    let create = || async {
        match store.quick.put_opts(&path, Bytes::from_static(b"{}").into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(depot.failed(Call::Put, name, error)),
        }
    };
    depot.insistence.call(create).await
}

/// Reads an object of the sink's own.
pub(super) async fn get(depot: &Depot, name: &str) -> Result<Bytes> {
    let (store, path) = (depot.store().await?, depot.path(name)?);
    let failed = |error| {
        let error = depot.failed(Call::Get, name, error);
        match error.kind() {
            ErrorKind::Config => Error::state(error.message().to_owned()).with_cause(error),
            _ => error,
        }
    };
    let get = || async { store.objects.get(&path).await.map_err(failed)?.bytes().await.map_err(failed) };
    depot.insistence.call(get).await
}

async fn exists(depot: &Depot, name: &str) -> Result<bool> {
    let head = GetOptions { head: true, ..GetOptions::default() };
    match depot.store().await?.quick.get_opts(&depot.path(name)?, head).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(depot.failed(Call::Get, name, error)),
    }
}

/// True if the store does not know the upload.
fn is_gone(error: &object_store::Error) -> bool {
    // S3 may say so within an answer of status 200, hence the code; Azure that it does not know the blocks, which it drops after a
    // week (REST API, "Put Block List"); the other text is of a store in tests.
    let said = all_texts(error);
    (matches!(error, object_store::Error::NotFound { .. }) && !said.contains("NoSuchBucket"))
        || ["NoSuchUpload", "InvalidBlockList", "MultipartUpload not found"].iter().any(|code| said.contains(code))
}

/// The path of a key in a local folder.
fn local(key: &str) -> PathBuf {
    FilePath::new("/").join(key)
}

/// The hidden file that becomes a key's.
fn staged(key: &str) -> PathBuf {
    let path = local(key);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.inprogress"))
}

fn write_synced(path: &FilePath, bytes: &[u8]) -> Result<()> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        sync_folder(path)
    });
    written.map_err(|error| local_error(path, error))
}

fn remove(path: &FilePath) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(local_error(path, error)),
        _ => Ok(()),
    }
}

fn sync_folder(path: &FilePath) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn local_error(path: &FilePath, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot write '{}': {error}", path.display())).with_cause(error)
}
