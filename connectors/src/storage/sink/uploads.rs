//! Objects that nobody sees until they are completed: multipart uploads, or hidden files in a local folder.
//!
//! An upload is known by its name and an id, which outlive the process: another one can complete or abort it. All names here are
//! without the path of the sink.

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
use crate::storage::error::{Call, chain, store_error};
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

/// Begins an upload.
pub(super) async fn begin(place: &Place, name: &str) -> Result<Upload> {
    let id = match &place.store().await?.parts {
        Some(parts) => {
            let id = parts.create_multipart(&path(place, name)?).await;
            id.map_err(|error| store_error(place.service, Call::Put, &url(place, name), error))?
        }
        None => String::new(),
    };
    Ok(Upload { name: name.to_owned(), id, parts: Vec::new() })
}

/// Sends all of an object; it can be completed then, but is not.
pub(super) async fn send(place: &Place, upload: &mut Upload, bytes: Bytes) -> Result<()> {
    let key = path(place, &upload.name)?;
    let Some(store) = &place.store().await?.parts else {
        let staged = staged(&place.key(&upload.name));
        return unblock(move || write_synced(&staged, &bytes)).await;
    };
    let parts: Vec<Bytes> =
        (0..bytes.len()).step_by(PART_BYTES).map(|at| bytes.slice(at..bytes.len().min(at + PART_BYTES))).collect();
    let sent = parts.into_iter().enumerate().map(|(place, part)| {
        let (store, key, id) = (Arc::clone(store), key.clone(), upload.id.clone());
        async move { store.put_part(&key, &id, place, part.into()).await.map(|part| part.content_id) }
    });
    let sent: Vec<String> = futures::stream::iter(sent)
        .buffered(PARTS_AT_ONCE)
        .try_collect()
        .await
        .map_err(|error| store_error(place.service, Call::Put, &url(place, &upload.name), error))?;
    upload.parts = sent;
    Ok(())
}

/// [`complete`] of an upload that may have been completed by an earlier run.
pub(super) async fn complete_again(place: &Place, upload: &Upload) -> Result<()> {
    let store = place.store().await?;
    // Names are never used twice: an object that is there is this one.
    if store.parts.is_some() && exists(store, &path(place, &upload.name)?).await {
        return Ok(());
    }
    complete(place, upload).await
}

/// Makes an object visible.
pub(super) async fn complete(place: &Place, upload: &Upload) -> Result<()> {
    let url = url(place, &upload.name);
    let store = place.store().await?;
    let lost = || {
        Error::state(format!("cannot complete '{url}': its upload is gone"))
            .with_hint("Something aborted it, such as a lifecycle rule of the bucket for incomplete uploads: give it more days.")
    };
    let Some(parts) = &store.parts else {
        let (staged, target) = (staged(&place.key(&upload.name)), local(&place.key(&upload.name)));
        let renamed = unblock(move || match fs::rename(&staged, &target) {
            Ok(()) => sync_folder(&target).map(|()| true).map_err(|error| local_error(&target, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target.exists()),
            Err(error) => Err(local_error(&target, error)),
        });
        return if renamed.await? { Ok(()) } else { Err(lost()) };
    };
    let key = path(place, &upload.name)?;
    let ids = upload.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
    let Err(error) = parts.complete_multipart(&key, &upload.id, ids).await else { return Ok(()) };
    // The answer of an earlier call may have been lost: then the upload is gone because the object is there.
    if is_gone(&error) {
        return if exists(store, &key).await { Ok(()) } else { Err(lost().with_cause(error)) };
    }
    Err(store_error(place.service, Call::Put, &url, error))
}

/// Undoes an upload, whether it was completed or not.
pub(super) async fn undo(place: &Place, upload: &Upload) -> Result<()> {
    let url = url(place, &upload.name);
    let store = place.store().await?;
    let key = path(place, &upload.name)?;
    match &store.parts {
        None => {
            let staged = staged(&place.key(&upload.name));
            unblock(move || remove(&staged)).await?;
        }
        Some(parts) => {
            if let Err(error) = parts.abort_multipart(&key, &upload.id).await
                && !is_gone(&error)
            {
                return Err(store_error(place.service, Call::Abort, &url, error));
            }
        }
    }
    delete(place, &upload.name).await
}

/// Deletes an object, if it is there.
pub(super) async fn delete(place: &Place, name: &str) -> Result<()> {
    match place.store().await?.objects.delete(&path(place, name)?).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(store_error(place.service, Call::Delete, &url(place, name), error)),
    }
}

/// Writes a small object, visible at once.
pub(super) async fn put(place: &Place, name: &str, bytes: Bytes) -> Result<()> {
    let put = place.store().await?.objects.put(&path(place, name)?, bytes.into()).await;
    put.map(drop).map_err(|error| store_error(place.service, Call::Put, &url(place, name), error))
}

/// Writes a small object that nobody else has; false if it is there already.
pub(super) async fn create(place: &Place, name: &str) -> Result<bool> {
    let put = place
        .store()
        .await?
        .objects
        .put_opts(&path(place, name)?, Bytes::from_static(b"{}").into(), PutMode::Create.into())
        .await;
    match put {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
        Err(error) => Err(store_error(place.service, Call::Put, &url(place, name), error)),
    }
}

/// Reads a small object.
pub(super) async fn get(place: &Place, name: &str) -> Result<Bytes> {
    let failed = |error| {
        let error = store_error(place.service, Call::Get, &url(place, name), error);
        match error.kind() {
            ErrorKind::Config => Error::state(error.message().to_owned()).with_cause(error),
            _ => error,
        }
    };
    let answer = place.store().await?.objects.get(&path(place, name)?).await.map_err(failed)?;
    answer.bytes().await.map_err(failed)
}

/// The key of `name`.
fn path(place: &Place, name: &str) -> Result<Path> {
    parse(&place.key(name))
}

/// `name` for messages.
fn url(place: &Place, name: &str) -> String {
    place.url_of(&place.key(name))
}

async fn exists(store: &Store, key: &Path) -> bool {
    store.objects.get_opts(key, GetOptions { head: true, ..GetOptions::default() }).await.is_ok()
}

/// True if the store does not know the upload.
fn is_gone(error: &object_store::Error) -> bool {
    // S3 may say so within an answer of status 200, hence the code; the other texts are of stores in tests.
    let said = chain(error);
    matches!(error, object_store::Error::NotFound { .. })
        || ["NoSuchUpload", "MultipartUpload not found"].iter().any(|code| said.contains(code))
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
