//! Rows to the bytes of one object: encoded, compressed.

use std::io::{self, Write as _};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::format::{self, Encoder, FormatSpec};
use kinesql_engine::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// A Parquet row group ends at this many rows.
const ROW_GROUP_ROWS: usize = 1_000_000;

/// How objects are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Snappy,
    Zstd,
    Zip,
}

impl Compression {
    pub(super) const OPTION: OptionSpec = OptionSpec {
        name: "compression",
        kind: OptionKind::OneOf(&["auto", "none", "gzip", "snappy", "zstd", "zip"]),
        required: false,
        default: Some("auto"),
        help: "How objects are compressed; auto (the default): text is not, Parquet with zstd.",
    };

    fn of(options: &Options, is_parquet: bool) -> Self {
        match options.text(Self::OPTION.name) {
            Some("none") => Self::None,
            Some("gzip") => Self::Gzip,
            Some("snappy") => Self::Snappy,
            Some("zstd") => Self::Zstd,
            Some("zip") => Self::Zip,
            _ if is_parquet => Self::Zstd,
            _ => Self::None,
        }
    }

    /// What Firehose adds to the name of an object, and what others do.
    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
            Self::Zstd => ".zst",
            Self::Zip => ".zip",
        }
    }
}

/// What objects hold.
#[derive(Debug, Clone)]
pub(super) struct ObjectFormat {
    pub(super) spec: FormatSpec,
    pub(super) compression: Compression,
    pub(super) schema: SchemaRef,
}

impl ObjectFormat {
    pub(super) fn try_new(spec: FormatSpec, options: &Options, schema: SchemaRef) -> Result<Self> {
        let is_parquet = spec == FormatSpec::Parquet;
        let compression = Compression::of(options, is_parquet);
        if is_parquet && matches!(compression, Compression::Gzip | Compression::Zip) {
            return Err(Error::config("Parquet is not compressed with gzip or zip here")
                .with_hint("Use compression = 'zstd' or 'snappy'."));
        }
        if !is_parquet {
            // Types that the format cannot take are wrong now, not when a job starts.
            format::encoder(&spec, &schema)?;
        }
        Ok(Self { spec, compression, schema })
    }

    /// The extension of an object's name, such as `.jsonl.gz`.
    pub(super) fn extension(&self) -> String {
        match &self.spec {
            FormatSpec::Parquet => ".parquet".to_owned(),
            FormatSpec::Csv(_) => format!(".csv{}", self.compression.suffix()),
            // What is in the records is not known; objects of Firehose have no extension either.
            FormatSpec::Raw => self.compression.suffix().to_owned(),
            _ => format!(".jsonl{}", self.compression.suffix()),
        }
    }
}

/// The rows of one object, until it is written.
pub(super) struct Rows {
    format: Arc<ObjectFormat>,
    /// None for Parquet.
    encoder: Option<Box<dyn Encoder>>,
    text: Vec<u8>,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Rows {
    pub(super) fn new(format: Arc<ObjectFormat>) -> Result<Self> {
        let encoder = match format.spec {
            FormatSpec::Parquet => None,
            _ => Some(format::encoder(&format.spec, &format.schema)?),
        };
        Ok(Self { format, encoder, text: Vec::new(), batches: Vec::new(), bytes: 0 })
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.encoder {
            Some(encoder) => encoder.encode(batch, &mut self.text)?,
            None => {
                let columns = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
                self.bytes += columns.sum::<Result<usize, _>>()?;
                self.batches.push(batch.clone());
            }
        }
        Ok(())
    }

    /// Bytes before compression: of the text, for Parquet of the values in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.text.len()
    }

    /// The object; blocks while it compresses.
    pub(super) fn finish(self, name: &str) -> Result<Bytes> {
        let failed = |error: io::Error| Error::internal(format!("cannot compress '{name}'")).with_cause(error);
        if self.encoder.is_some() {
            return compress(self.format.compression, self.text, name).map_err(failed);
        }
        let compression = match self.format.compression {
            Compression::Zstd => parquet::basic::Compression::ZSTD(Default::default()),
            Compression::Snappy => parquet::basic::Compression::SNAPPY,
            _ => parquet::basic::Compression::UNCOMPRESSED,
        };
        let properties =
            WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
        let written =
            ArrowWriter::try_new(Vec::new(), self.format.schema.clone(), Some(properties.build())).and_then(|mut writer| {
                self.batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.into_inner()
            });
        written.map(Bytes::from).map_err(|error| Error::internal(format!("cannot write '{name}' as Parquet: {error}")))
    }
}

fn compress(compression: Compression, text: Vec<u8>, name: &str) -> io::Result<Bytes> {
    Ok(Bytes::from(match compression {
        Compression::None => text,
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&text)?;
            encoder.finish()?
        }
        Compression::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(&text)?;
            encoder.into_inner().map_err(|error| io::Error::other(error.to_string()))?
        }
        Compression::Zstd => zstd::encode_all(&text[..], zstd::DEFAULT_COMPRESSION_LEVEL)?,
        Compression::Zip => zip(&text, name)?,
    }))
}

/// An archive with one file, called as the object is without `.zip` (PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16).
fn zip(text: &[u8], name: &str) -> io::Result<Vec<u8>> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let file = file.strip_suffix(".zip").unwrap_or(file).as_bytes();
    let mut crc = flate2::Crc::new();
    crc.update(text);
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    deflated.write_all(text)?;
    let deflated = deflated.finish()?;
    let size = |bytes: usize| u32::try_from(bytes).map_err(|_| io::Error::other("a zip file of 4 GB or more"));
    // Version 2.0, name in UTF-8 (flag bit 11), deflate, 1980-01-01 00:00; then checksum and sizes.
    let mut common = Vec::new();
    for field in [20_u16, 1 << 11, 8, 0, 0x21] {
        common.extend(field.to_le_bytes());
    }
    for field in [crc.sum(), size(deflated.len())?, size(text.len())?] {
        common.extend(field.to_le_bytes());
    }
    common.extend((file.len() as u16).to_le_bytes());
    common.extend(0_u16.to_le_bytes());

    let mut archive = Vec::with_capacity(deflated.len() + 200);
    archive.extend(0x0403_4b50_u32.to_le_bytes());
    archive.extend(&common);
    archive.extend(file);
    archive.extend(&deflated);
    let directory = archive.len();
    archive.extend(0x0201_4b50_u32.to_le_bytes());
    archive.extend(20_u16.to_le_bytes());
    archive.extend(&common);
    // No comment, disk 0, no attributes; the file begins the archive.
    archive.extend([0; 14]);
    archive.extend(file);
    let directory_bytes = archive.len() - directory;
    archive.extend(0x0605_4b50_u32.to_le_bytes());
    for field in [0_u16, 0, 1, 1] {
        archive.extend(field.to_le_bytes());
    }
    archive.extend(size(directory_bytes)?.to_le_bytes());
    archive.extend(size(directory)?.to_le_bytes());
    archive.extend(0_u16.to_le_bytes());
    Ok(archive)
}
