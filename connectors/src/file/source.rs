//! The `file` source: reads JSON lines, CSV or Parquet from one file, a folder or the files that match a pattern.
//!
//! Options:   `path`, `follow`, `compression`, `max_record_bytes`, `chunk_bytes`; see docs/connectors/file.md.
//! Splits:    a plain JSON file is shared by several readers, range by range; any other file is read by one reader.
//!            A folder or pattern is one split, its files one after the other in name order; with parallelism every file is one.
//! Order:     that of the file, or of the files, within a split.
//! Delivery:  exactly-once with checkpoints: an offset is a position in the (decompressed) file, and the file is
//!            recognised by its first bytes and its length before a reader resumes.
//! Limits:    a record over `max_record_bytes` is refused without being held in memory.
//! Errors:    `Config` for a path that cannot be read, `State` for a file that changed, `Data` for damaged compression.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use kinesql_engine::connector::{
    Offset, OptionKind, OptionSpec, Options, Records, Sample, Source, SourceContext, SourceDefinition, SourceFactory, SplitReader,
};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::{Error, Result};

use super::fingerprint::Fingerprint;
use super::framing::Framing;
use super::parquet::ParquetSource;
use super::ranges::{RangeReader, Ranges};
use super::reader::{FileReader, ReadOptions, open_file};
use super::several::{self, Several};
use super::{Compression, file_error, resolved};
use crate::blocking::{BlockingReader, ReadAhead, Step, unblock};
use crate::sample::sample_of;

/// How often a followed file is looked at.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Name of the split that is a whole file.
pub(super) const WHOLE: &str = "0/1";

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        required: true,
        default: None,
        help: "File to read; a folder ('logs/') or a pattern in the file name ('logs/*.jsonl') reads several, in the order of their names.",
    },
    OptionSpec {
        name: "follow",
        kind: OptionKind::Boolean,
        required: false,
        default: Some("false"),
        help: "Wait for records that are appended, as tail -F does, instead of ending with the file; default false.",
    },
    Compression::OPTION,
    OptionSpec {
        name: "max_record_bytes",
        kind: OptionKind::Bytes,
        required: false,
        default: Some("1mb"),
        help: "Longest record; a longer one goes to error_stream. Default 1mb.",
    },
    OptionSpec {
        name: "chunk_bytes",
        kind: OptionKind::Bytes,
        required: false,
        default: Some("1mb"),
        help: "How much is read at once, and the size of the ranges that parallel readers take in turn; default 1mb.",
    },
];

/// Makes `file` sources.
#[derive(Debug)]
pub struct FileSourceFactory;

impl SourceFactory for FileSourceFactory {
    fn name(&self) -> &'static str {
        "file"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw", "parquet"]
    }

    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        let source = FileSource::try_new(&definition.format, options)?;
        match definition.format {
            FormatSpec::Parquet => Ok(Arc::new(ParquetSource::new(source, definition.schema.clone()))),
            _ => Ok(Arc::new(source)),
        }
    }
}

/// A bound `file` source.
#[derive(Debug, Clone)]
pub(super) struct FileSource {
    pub(super) path: PathBuf,
    format: FormatSpec,
    options: Options,
    follow: bool,
    max_record_bytes: usize,
    chunk_bytes: usize,
    /// Length of a file that several readers share, when the first of them looked.
    length: OnceLock<u64>,
}

impl FileSource {
    fn try_new(format: &FormatSpec, options: &Options) -> Result<Self> {
        if *format != FormatSpec::Parquet {
            Framing::of(format)?;
        }
        let size = |name: &str| match options.bytes(name) {
            Some(0) => Err(Error::config(format!("option \"{name}\" of connector 'file' cannot be 0"))),
            size => Ok(size.unwrap_or(1 << 20) as usize),
        };
        let source = Self {
            path: PathBuf::from(options.text("path").unwrap_or_default()),
            format: format.clone(),
            options: options.clone(),
            follow: options.flag("follow"),
            max_record_bytes: size("max_record_bytes")?,
            chunk_bytes: size("chunk_bytes")?,
            length: OnceLock::new(),
        };
        if source.path.as_os_str().is_empty() {
            return Err(Error::config("option \"path\" of connector 'file' cannot be empty"));
        }
        if source.follow && source.is_several() {
            return Err(Error::config("option \"follow\" of connector 'file' needs the path of one file")
                .with_hint("Create one source per file to follow."));
        }
        if source.follow && Compression::of(options, &source.path) != Compression::None {
            return Err(Error::config("option \"follow\" of connector 'file' cannot be used with a compressed file"));
        }
        if *format == FormatSpec::Parquet {
            if source.follow {
                return Err(Error::config(
                    "option \"follow\" of connector 'file' cannot be used with Parquet, which is written as a whole",
                ));
            }
            if Compression::of(options, &source.path) != Compression::None {
                return Err(Error::config(
                    "option \"compression\" has no meaning for Parquet, which compresses its columns itself",
                ));
            }
        }
        Ok(source)
    }

    /// True if the path names a folder or a pattern.
    pub(super) fn is_several(&self) -> bool {
        let path = self.path.to_string_lossy();
        path.ends_with('/') || path.rsplit('/').next().is_some_and(|name| name.contains(['*', '?']))
    }

    fn read_options(&self, path: &Path, format: &FormatSpec) -> Result<ReadOptions> {
        Ok(ReadOptions {
            framing: Framing::of(format)?,
            header: matches!(format, FormatSpec::Csv(options) if options.header),
            max_record_bytes: self.max_record_bytes,
            chunk_bytes: self.chunk_bytes,
            compression: Compression::of(&self.options, path),
            follow: self.follow,
        })
    }

    /// The files of a folder or pattern, in name order.
    pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
        let text = path.to_string_lossy();
        let (folder, pattern) = text.rsplit_once('/').map_or(("", &*text), |(folder, pattern)| (folder, pattern));
        let folder = match folder {
            "" if text.starts_with('/') => Path::new("/"),
            "" => Path::new("."),
            folder => Path::new(folder),
        };
        let pattern = if pattern.is_empty() { "*" } else { pattern };
        let listed = fs::read_dir(folder).and_then(|entries| {
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') && matches(pattern, &name) && fs::metadata(entry.path())?.is_file() {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        });
        let names = listed.map_err(|error| file_error("list", folder, error))?;
        if names.is_empty() {
            return Err(Error::config(format!("cannot read '{}': no file matches", path.display()))
                .with_hint("Files whose names start with '.' are left out."));
        }
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }
}

/// True if `name` fits `pattern`, in which `*` stands for any text and `?` for one character.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(rest, &name[at..])),
        _ => name.chars().next().is_some_and(|c| (first == '?' || first == c) && matches(rest, &name[c.len_utf8()..])),
    }
}

/// A split's name taken apart.
#[derive(Debug, PartialEq, Eq)]
enum Split<'a> {
    Whole,
    Ranges(Ranges),
    File(&'a str),
}

impl<'a> Split<'a> {
    /// `0/1`, `k/p:bytes`, or `file:` and a path.
    fn parse(name: &'a str) -> Option<Self> {
        if name == WHOLE {
            return Some(Split::Whole);
        }
        if let Some(path) = name.strip_prefix("file:") {
            return Some(Split::File(path));
        }
        let (ranges, bytes) = name.split_once(':')?;
        let (first, step) = ranges.split_once('/')?;
        let ranges = Ranges { first: first.parse().ok()?, step: step.parse().ok()?, bytes: bytes.parse().ok()? };
        (ranges.first < ranges.step && ranges.bytes > 0).then_some(Split::Ranges(ranges))
    }
}

#[async_trait]
impl Source for FileSource {
    async fn version(&self) -> Result<Option<String>> {
        if self.follow {
            return Ok(None);
        }
        let (path, several) = (self.path.clone(), self.is_several());
        unblock(move || {
            let files = if several { Self::files(&path)? } else { vec![path] };
            let mut state = String::new();
            for file in &files {
                let metadata = open_file(file)?.1;
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                let modified = modified.map_or(0, |time| time.as_nanos());
                state += &format!("{}:{modified}:{};", file.display(), metadata.len());
            }
            Ok(Some(Fingerprint::of(state.as_bytes()).hash))
        })
        .await
    }

    fn is_bounded(&self) -> bool {
        !self.follow
    }

    async fn splits(&self, parallelism: usize) -> Result<Vec<String>> {
        let path = self.path.clone();
        if self.is_several() {
            let files = unblock(move || Self::files(&path)).await?;
            if parallelism < 2 {
                return Ok(vec![several::SPLIT.to_owned()]);
            }
            return Ok(files.iter().map(|file| format!("file:{}", file.display())).collect());
        }
        let read = self.read_options(&self.path, &self.format)?;
        let found = unblock(move || open_file(&path).map(|(_, metadata)| metadata.len())).await?;
        if self.follow || read.framing != Framing::Lines || read.compression != Compression::None {
            return Ok(vec![WHOLE.to_owned()]);
        }
        let length = *self.length.get_or_init(|| found);
        let splits = parallelism.min(length.div_ceil(self.chunk_bytes as u64) as usize);
        if splits < 2 {
            return Ok(vec![WHOLE.to_owned()]);
        }
        Ok((0..splits).map(|first| format!("{first}/{splits}:{}", self.chunk_bytes)).collect())
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        if split == several::SPLIT {
            let (source, format, offset) = (self.clone(), context.format.clone(), offset.cloned());
            let reader = unblock(move || {
                let (path, files) = (source.path.clone(), Self::files(&source.path)?);
                let open =
                    move |file: &Path, at: Option<&Offset>| FileReader::open(file, at, source.read_options(file, &format)?);
                Several::start(&path, files, offset.as_ref(), Box::new(open))
            });
            return Ok(Box::new(ReadAhead::new(reader.await?, Arc::clone(&context.clock), POLL_INTERVAL)));
        }
        let path = match Split::parse(split) {
            Some(Split::File(path)) => PathBuf::from(path),
            Some(_) => self.path.clone(),
            None => return Err(Error::state(format!("'{split}' is not a part of file '{}'", self.path.display()))),
        };
        let options = self.read_options(&path, &context.format)?;
        let offset = offset.cloned();
        let Some(Split::Ranges(ranges)) = Split::parse(split) else {
            let reader = unblock(move || FileReader::open(&path, offset.as_ref(), options)).await?;
            return Ok(Box::new(ReadAhead::new(reader, Arc::clone(&context.clock), POLL_INTERVAL)));
        };
        if self.follow || options.framing != Framing::Lines || options.compression != Compression::None {
            return Err(Error::state(format!(
                "cannot resume reading '{}': at the checkpoint it was a plain JSON file, read in parallel and not followed",
                path.display()
            ))
            .with_hint("Undo the change of the source's options, or start the job without its checkpoint."));
        }
        let known = self.length.get().copied();
        let (reader, length) = unblock(move || {
            let length = match known {
                Some(length) => length,
                None => open_file(&path)?.1.len(),
            };
            Ok((RangeReader::open(&path, offset.as_ref(), ranges, length, options)?, length))
        })
        .await?;
        // Splits that are opened at the same time may both have looked: the first answer holds for all of them.
        let reader = reader.up_to(*self.length.get_or_init(|| length));
        Ok(Box::new(ReadAhead::new(reader, Arc::clone(&context.clock), POLL_INTERVAL)))
    }

    async fn sample(&self, max_bytes: usize, context: &SourceContext) -> Result<Sample> {
        Ok(sample_of(self.sample_records(max_bytes, context).await?.into_iter().flatten(), &context.format))
    }

    async fn sample_records(&self, max_bytes: usize, _context: &SourceContext) -> Result<Option<Vec<Records>>> {
        let (path, several) = (self.path.clone(), self.is_several());
        let path = if several { unblock(move || Ok(Self::files(&path)?.remove(0))).await? } else { path };
        let options = ReadOptions { header: false, chunk_bytes: max_bytes.max(1), ..self.read_options(&path, &self.format)? };
        unblock(move || {
            let mut reader = FileReader::open(&path, None, options)?;
            let (mut sample, mut bytes) = (Vec::new(), 0);
            while bytes < max_bytes
                && let Step::Records(records) = reader.step()?
            {
                bytes += records.bytes.len();
                sample.push(records);
            }
            Ok(Some(sample))
        })
        .await
    }

    fn reads_path(&self, path: &Path) -> bool {
        let Some(own) = resolved(&self.path) else { return false };
        let Some((folder, name)) = own.parent().zip(own.file_name()) else { return false };
        if self.path.to_string_lossy().ends_with('/') {
            return own == path || path.parent() == Some(own.as_path());
        }
        let matched = |other: &Path| match other.file_name() {
            Some(other) if self.is_several() => matches(&name.to_string_lossy(), &other.to_string_lossy()),
            other => other == Some(name),
        };
        folder == path || (path.parent() == Some(folder) && matched(path))
    }
}

#[cfg(test)]
mod tests;
