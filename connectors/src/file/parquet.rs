//! The `file` source for Parquet: rows instead of records.
//!
//! Splits:   as of text: a folder or pattern is one, with parallelism every file. Order: that of the file, or of the files.
//! Delivery: exactly-once with checkpoints: an offset is a number of rows, and the file is recognised as for text.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use kinesql_engine::connector::{Offset, Payload, Sample, Source, SourceContext, SplitReader};
use kinesql_engine::{Error, Result};

use super::file_error;
use super::fingerprint::{FileOffset, Fingerprint};
use super::reader::{open_file, read_head};
use super::several::{self, Several};
use super::source::{FileSource, POLL_INTERVAL, WHOLE};
use crate::blocking::{BlockingReader, ReadAhead, Step, unblock};
use crate::parquet::{ParquetRows, schema_of};

/// A bound `file` source of Parquet files.
#[derive(Debug)]
pub(super) struct ParquetSource {
    files: FileSource,
    declared: Option<SchemaRef>,
    schema: OnceLock<SchemaRef>,
}

impl ParquetSource {
    pub(super) fn new(files: FileSource, declared: Option<SchemaRef>) -> Self {
        Self { files, declared, schema: OnceLock::new() }
    }

    async fn paths(&self) -> Result<Vec<PathBuf>> {
        let path = self.files.path.clone();
        if self.files.is_several() { unblock(move || FileSource::files(&path)).await } else { Ok(vec![path]) }
    }
}

#[async_trait]
impl Source for ParquetSource {
    fn payload(&self) -> Payload {
        Payload::Batches(self.schema.get().cloned().unwrap_or_else(|| Arc::new(Schema::empty())))
    }

    async fn inspect(&self) -> Result<()> {
        let (path, declared) = (self.paths().await?.remove(0), self.declared.clone());
        let schema = unblock(move || schema_of(&open_file(&path)?.0, &path.display().to_string(), declared.as_ref())).await?;
        // The first answer holds.
        let _ = self.schema.set(schema);
        Ok(())
    }

    async fn version(&self) -> Result<Option<String>> {
        self.files.version().await
    }

    fn is_bounded(&self) -> bool {
        true
    }

    async fn splits(&self, parallelism: usize) -> Result<Vec<String>> {
        match self.files.is_several() {
            true => self.files.splits(parallelism).await,
            false => Ok(vec![WHOLE.to_owned()]),
        }
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let clock = Arc::clone(&context.clock);
        let path = match split.strip_prefix("file:") {
            Some(path) => PathBuf::from(path),
            None => self.files.path.clone(),
        };
        let (offset, schema) = (offset.cloned(), self.schema.get().cloned());
        let schema = schema.ok_or_else(|| Error::internal("a Parquet file was opened before it was looked at"))?;
        if split == several::SPLIT {
            let reader = unblock(move || {
                let open = move |file: &Path, at: Option<&Offset>| Reader::open(file, at, &schema);
                Several::start(&path, FileSource::files(&path)?, offset.as_ref(), Box::new(open))
            });
            return Ok(Box::new(ReadAhead::new(reader.await?, clock, POLL_INTERVAL)));
        }
        let reader = unblock(move || Reader::open(&path, offset.as_ref(), &schema)).await?;
        Ok(Box::new(ReadAhead::new(reader, clock, POLL_INTERVAL)))
    }

    async fn sample(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Sample> {
        Ok(Sample::default())
    }

    fn reads_path(&self, path: &Path) -> bool {
        self.files.reads_path(path)
    }
}

struct Reader {
    rows: ParquetRows,
    origin: Arc<str>,
    head: Fingerprint,
    file_bytes: u64,
}

impl Reader {
    fn open(path: &Path, offset: Option<&Offset>, schema: &SchemaRef) -> Result<Self> {
        let origin: Arc<str> = path.display().to_string().into();
        let (mut file, metadata) = open_file(path)?;
        let head = read_head(&mut file).map_err(|error| file_error("read", path, error))?;
        let row = match offset {
            Some(offset) => FileOffset::restore(offset, &origin, &head, metadata.len())?.position,
            None => 0,
        };
        let rows = ParquetRows::open::<File>(file, &origin, schema, row)?;
        Ok(Self { rows, origin, head: Fingerprint::of(&head), file_bytes: metadata.len() })
    }

    fn offset(&self) -> Offset {
        FileOffset { position: self.rows.row(), file_bytes: self.file_bytes, head: self.head.clone() }.save()
    }
}

impl BlockingReader for Reader {
    fn step(&mut self) -> Result<Step> {
        let before = self.offset();
        let Some(rows) = self.rows.next()? else { return Ok(Step::End(before)) };
        Ok(Step::Rows { rows, origin: self.origin.clone(), before, offset: self.offset() })
    }
}
