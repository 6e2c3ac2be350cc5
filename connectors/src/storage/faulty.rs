//! A store in memory that a test takes down and brings back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The store.
#[derive(Debug, Default)]
pub(super) struct Faulty {
    pub(super) inner: InMemory,
    down: AtomicBool,
    denied: AtomicBool,
    refused: AtomicUsize,
    /// Answers of bodies that break off, from now on.
    breaks: AtomicUsize,
}

impl Faulty {
    /// From now on every call fails, or succeeds again.
    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// From now on no call is allowed.
    pub(super) fn deny(&self) {
        self.denied.store(true, Ordering::SeqCst);
    }

    /// Calls that failed.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// The bodies of the next so many objects break off in the middle.
    pub(super) fn break_bodies(&self, objects: usize) {
        self.breaks.store(objects, Ordering::SeqCst);
    }

    fn check(&self) -> Result<()> {
        if self.denied.load(Ordering::SeqCst) {
            return Err(Error::PermissionDenied { path: String::new(), source: "not allowed".into() });
        }
        if !self.down.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(Self::failure())
    }

    fn failure() -> Error {
        Error::Generic { store: "S3", source: "connection refused".into() }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check()?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.check()?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check()?;
        let head = options.head;
        let mut answer = self.inner.get_opts(location, options).await?;
        let breaks = |left: usize| left.checked_sub(1);
        if !head && self.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, breaks).is_ok() {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let (meta, range, attributes) = (answer.meta.clone(), answer.range.clone(), answer.attributes.clone());
            let bytes = answer.bytes().await?;
            let pieces = [Ok(bytes.slice(..bytes.len() / 2)), Err(Self::failure())];
            let payload = object_store::GetResultPayload::Stream(futures::stream::iter(pieces).boxed());
            answer = GetResult { payload, meta, range, attributes };
        }
        Ok(answer)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.check() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check()?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Faulty {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.check()?;
        self.inner.create_multipart(path).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, place: usize, data: PutPayload) -> Result<PartId> {
        self.check()?;
        self.inner.put_part(path, id, place, data).await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        self.check()?;
        self.inner.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.check()?;
        self.inner.abort_multipart(path, id).await
    }
}
