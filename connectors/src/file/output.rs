//! One file that rows are written to: encoded, compressed, or as Parquet.
//!
//! Text is written in buffers of up to `BUFFER_BYTES`. Compressed text is a sequence of gzip members or zstd frames;
//! [`OutputFile::seal`] ends one, so that the file can be cut there. Parquet keeps at most one row group in memory.
//! All file access runs on blocking threads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use kinesql_engine::format::{self, Encoder, FormatSpec};
use kinesql_engine::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::{Compression, file_error};
use crate::blocking::{Offload, unblock};

/// Encoded text is written once it is this long.
const BUFFER_BYTES: usize = 1 << 20;

/// A Parquet row group ends at this size or …
const ROW_GROUP_BYTES: usize = 64 << 20;

/// … at this many rows.
const ROW_GROUP_ROWS: usize = 1_000_000;

/// What is written.
#[derive(Debug, Clone)]
pub(super) struct OutputFormat {
    /// JSON, CSV, raw or Parquet.
    pub(super) spec: FormatSpec,
    /// None for Parquet, which compresses inside.
    pub(super) compression: Compression,
    /// Columns of every batch.
    pub(super) schema: SchemaRef,
}

impl OutputFormat {
    /// The extension of a file of this format, such as `.csv.gz`.
    pub(super) fn extension(&self) -> String {
        let name = match &self.spec {
            FormatSpec::Csv(_) => ".csv",
            FormatSpec::Parquet => ".parquet",
            // What is in the records is not known.
            FormatSpec::Raw => "",
            _ => ".jsonl",
        };
        format!("{name}{}", self.compression.suffix())
    }

    /// The encoder of text; `continues` says that the file has records already, so that no names are written.
    fn encoder(&self, continues: bool) -> Result<Box<dyn Encoder>> {
        let mut spec = self.spec.clone();
        if let FormatSpec::Csv(options) = &mut spec {
            options.header &= !continues;
        }
        format::encoder(&spec, &self.schema)
    }
}

/// Where an [`OutputFile`] begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// With an empty file; an existing one is emptied.
    Empty,
    /// After what is there.
    Append,
    /// After this many bytes; the rest is cut off.
    At(u64),
}

/// A file that rows are written to. Dropped without `finish`, it is left as it is.
pub(super) struct OutputFile {
    /// None for Parquet.
    encoder: Option<Box<dyn Encoder>>,
    text: Vec<u8>,
    body: Offload<Body>,
    length: u64,
}

enum Body {
    Text(TextFile),
    Parquet { path: PathBuf, writer: Box<ArrowWriter<File>> },
}

impl OutputFile {
    /// Opens `path`; its folder is created if need be. Parquet begins `Empty` only.
    pub(super) async fn open(path: PathBuf, format: &OutputFormat, begin: Begin) -> Result<Self> {
        if format.spec == FormatSpec::Parquet {
            let schema = Arc::clone(&format.schema);
            let body = unblock(move || {
                let file = create(&path)?;
                let properties = WriterProperties::builder()
                    .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
                    .build();
                let writer = ArrowWriter::try_new(file, schema, Some(properties));
                let writer = Box::new(writer.map_err(|error| parquet_error(&path, error))?);
                Ok(Body::Parquet { path, writer })
            });
            return Ok(Self { encoder: None, text: Vec::new(), body: Offload::new(body.await?), length: 0 });
        }
        let compression = format.compression;
        let file = unblock(move || TextFile::open(&path, compression, begin)).await?;
        let (length, encoder) = (file.length, format.encoder(file.length > 0)?);
        Ok(Self { encoder: Some(encoder), text: Vec::new(), body: Offload::new(Body::Text(file)), length })
    }

    /// Adds rows.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if let Some(encoder) = &mut self.encoder {
            encoder.encode(batch, &mut self.text)?;
            return if self.text.len() >= BUFFER_BYTES { self.flush().await } else { Ok(()) };
        }
        let batch = batch.clone();
        let write = move |body: &mut Body| match body {
            Body::Text(file) => Ok(file.length),
            Body::Parquet { path, writer } => {
                writer.write(&batch).map_err(|error| parquet_error(path, error))?;
                Ok(writer.bytes_written() as u64)
            }
        };
        self.length = self.body.run(write).await?;
        Ok(())
    }

    /// Passes buffered text on: a plain file shows it, a compressed one may keep it until it is sealed.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.length = self.body.run(move |body| body.append(&text)).await?;
        }
        Ok(())
    }

    /// Makes everything written so far durable, and the end of the file a place at which it can be cut; returns its
    /// length. A Parquet file cannot be written to any more.
    pub(super) async fn seal(&mut self) -> Result<u64> {
        self.flush().await?;
        self.length = self.body.run(Body::seal).await?;
        Ok(self.length)
    }

    /// Bytes in the file so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

impl Body {
    fn append(&mut self, text: &[u8]) -> Result<u64> {
        match self {
            Body::Text(file) => file.append(text).map_err(|error| file_error("write", &file.path, error))?,
            Body::Parquet { .. } => return Err(Error::internal("text was written to a Parquet file")),
        }
        Ok(self.length())
    }

    fn seal(&mut self) -> Result<u64> {
        match self {
            Body::Text(file) => file.seal().map_err(|error| file_error("write", &file.path, error))?,
            Body::Parquet { path, writer } => {
                writer.finish().map_err(|error| parquet_error(path, error))?;
                writer.inner_mut().sync_data().map_err(|error| file_error("write", path, error))?;
            }
        }
        Ok(self.length())
    }

    fn length(&self) -> u64 {
        match self {
            Body::Text(file) => file.length,
            Body::Parquet { writer, .. } => writer.bytes_written() as u64,
        }
    }
}

fn parquet_error(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => file_error("write", path, *error),
            Err(inner) => Error::internal(format!("cannot write '{}': {inner}", path.display())),
        },
        error => Error::internal(format!("cannot write '{}': {error}", path.display())).with_cause(error),
    }
}

/// Creates or empties a file, and creates its folder.
fn create(path: &Path) -> Result<File> {
    create_folder(path)?;
    File::create(path).map_err(|error| file_error("write", path, error))
}

fn create_folder(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            fs::create_dir_all(folder).map_err(|error| file_error("create folder", folder, error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in the folder of `path` durable: a new or renamed file could vanish with the power otherwise.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| file_error("write", folder, error))?;
    }
    Ok(())
}

/// A text file that is being written.
struct TextFile {
    path: PathBuf,
    file: File,
    compression: Compression,
    /// The gzip member or zstd frame that is being written.
    frame: Option<Frame>,
    length: u64,
    /// False for devices such as /dev/null, which can be neither cut nor made durable.
    is_regular: bool,
    is_new: bool,
}

enum Frame {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl TextFile {
    fn open(path: &Path, compression: Compression, begin: Begin) -> Result<Self> {
        create_folder(path)?;
        let mut options = OpenOptions::new();
        options.read(begin == Begin::Append).write(true).truncate(begin == Begin::Empty);
        // Where records should be, a missing file is an error.
        options.create(!matches!(begin, Begin::At(length) if length > 0));
        let opened = options.open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (file, metadata) = match (opened, begin) {
            (Ok(opened), _) => opened,
            (Err(error), Begin::At(length)) if error.kind() == io::ErrorKind::NotFound => {
                let lost = format!("cannot resume writing '{}': at the checkpoint it had {length} bytes", path.display());
                return Err(Error::state(format!("{lost}, now it is gone")).with_cause(error));
            }
            (Err(error), _) => return Err(file_error("write", path, error)),
        };
        let is_regular = metadata.is_file();
        let mut opened =
            Self { path: path.to_owned(), file, compression, frame: None, length: metadata.len(), is_regular, is_new: true };
        if is_regular {
            opened.seek(begin)?;
        }
        Ok(opened)
    }

    fn seek(&mut self, begin: Begin) -> Result<()> {
        let failed = |error| file_error("write", &self.path, error);
        match begin {
            Begin::Empty => {}
            Begin::At(length) => {
                if self.length < length {
                    let (path, found) = (self.path.display(), self.length);
                    let short = format!("cannot resume writing '{path}': at the checkpoint it had {length} bytes");
                    return Err(Error::state(format!("{short}, now {found}"))
                        .with_hint("Put the file back, or start the job without its checkpoint."));
                }
                self.file.set_len(length).and_then(|()| self.file.seek(SeekFrom::Start(length))).map_err(failed)?;
                self.length = length;
            }
            Begin::Append => {
                self.file.seek(SeekFrom::Start(self.length.saturating_sub(1))).map_err(failed)?;
                let mut last = Vec::new();
                self.file.read_to_end(&mut last).map_err(failed)?;
                // Two records must not end up in one line.
                if self.compression == Compression::None && last.last().is_some_and(|last| *last != b'\n') {
                    self.file.write_all(b"\n").map_err(failed)?;
                    self.length += 1;
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if self.frame.is_none() {
            self.frame = match self.compression {
                Compression::None => {
                    self.file.write_all(text)?;
                    self.length += text.len() as u64;
                    return Ok(());
                }
                Compression::Gzip => Some(Frame::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()))),
                Compression::Zstd => {
                    Some(Frame::Zstd(zstd::stream::write::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?))
                }
            };
        }
        let compressed = match &mut self.frame {
            None => return Ok(()),
            Some(Frame::Gzip(encoder)) => {
                encoder.write_all(text)?;
                std::mem::take(encoder.get_mut())
            }
            Some(Frame::Zstd(encoder)) => {
                encoder.write_all(text)?;
                std::mem::take(encoder.get_mut())
            }
        };
        self.file.write_all(&compressed)?;
        self.length += compressed.len() as u64;
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        let ending = match self.frame.take() {
            None => Vec::new(),
            Some(Frame::Gzip(encoder)) => encoder.finish()?,
            Some(Frame::Zstd(encoder)) => encoder.finish()?,
        };
        self.file.write_all(&ending)?;
        self.length += ending.len() as u64;
        if self.is_regular {
            self.file.sync_data()?;
            if std::mem::replace(&mut self.is_new, false) {
                sync_folder(&self.path).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }
}
