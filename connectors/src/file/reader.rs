//! Reads one file from front to back, plain or compressed; follows a plain one as it grows.
//!
//! Reads big portions and hands out slices of them: bytes are copied only where a record crosses two portions.
//! Following works as `tail -F`: a file that is replaced (rotated) is read to its end, then the new one from its start; a
//! file that is truncated is read from its start again. An unfinished last line waits for its line break; it becomes a
//! record as it is when the file is complete, rotated or truncated.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read as _, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kinesql_engine::connector::{Offset, Records};
use kinesql_engine::{Error, Result};

use super::fingerprint::{FileOffset, Fingerprint, HEAD_BYTES};
use super::framing::{Cutter, Framing, Piece};
use super::{Compression, file_error};
use crate::blocking::{BlockingReader, Step};

/// What a reader of a file is told by the source's options.
#[derive(Debug, Clone)]
pub(super) struct ReadOptions {
    /// How records are told apart.
    pub(super) framing: Framing,
    /// The first record holds names.
    pub(super) header: bool,
    /// Longest record; a longer one is refused.
    pub(super) max_record_bytes: usize,
    /// How much is read at once.
    pub(super) chunk_bytes: usize,
    /// How the file is compressed.
    pub(super) compression: Compression,
    /// Wait for more at the end.
    pub(super) follow: bool,
}

/// Reads one file.
pub(super) struct FileReader {
    path: PathBuf,
    origin: Arc<str>,
    options: ReadOptions,
    input: Input,
    cutter: Cutter,
    /// The file's first bytes, as far as they are known.
    head: Vec<u8>,
    /// No more bytes will come from this input.
    finished: bool,
}

enum Input {
    Plain(File),
    Compressed(Box<dyn io::Read + Send>),
}

impl FileReader {
    /// Opens `path` at `offset`, or at its beginning.
    pub(super) fn open(path: &Path, offset: Option<&Offset>, options: ReadOptions) -> Result<Self> {
        let origin: Arc<str> = path.display().to_string().into();
        let (mut file, metadata) = open_file(path)?;
        let head = read_head(&mut file).map_err(|error| file_error("read", path, error))?;
        let position = match offset {
            Some(offset) => FileOffset::restore(offset, &origin, &head, metadata.len())?.position,
            None => 0,
        };
        let mut cutter = cutter(&options, position);
        let input = match options.compression {
            Compression::None => {
                if position > 0 && !ends_line(&mut file, position).map_err(|error| file_error("read", path, error))? {
                    cutter = cutter.skip_first_line_break();
                }
                file.seek(SeekFrom::Start(position)).map_err(|error| file_error("read", path, error))?;
                Input::Plain(file)
            }
            compression => {
                let mut decoder = decompress(compression, file).map_err(|error| file_error("read", path, error))?;
                let skipped = io::copy(&mut decoder.by_ref().take(position), &mut io::sink());
                skipped.map_err(|error| file_error("read", path, damaged(error)))?;
                Input::Compressed(decoder)
            }
        };
        Ok(Self { path: path.to_owned(), origin, options, input, cutter, head, finished: false })
    }

    /// Reads the next portion; false at the end of the input.
    fn fill(&mut self) -> io::Result<bool> {
        let rest = self.cutter.rest();
        let kept = rest.len();
        // At least doubling keeps the copies of a record longer than the portion linear in its length.
        let mut portion = vec![0; kept + self.options.chunk_bytes.max(kept)];
        portion[..kept].copy_from_slice(rest);
        let mut length = kept;
        while length < portion.len() {
            let read = match &mut self.input {
                Input::Plain(file) => file.read(&mut portion[length..]),
                Input::Compressed(decoder) => decoder.read(&mut portion[length..]).map_err(damaged),
            };
            match read {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        portion.truncate(length);
        if self.options.follow && self.head.len() < HEAD_BYTES {
            // The file was shorter than the hashed head when it was opened; `rest` is read already, so it is in there.
            let known = (self.head.len() as u64).saturating_sub(self.cutter.fed_to()) as usize;
            let new = &portion[(kept + known).min(length)..];
            self.head.extend_from_slice(&new[..new.len().min(HEAD_BYTES - self.head.len())]);
        }
        self.cutter.replace_rest(Bytes::from(portion));
        Ok(length > kept)
    }

    /// What is to come of a followed file whose end is reached.
    fn fate(&mut self) -> io::Result<Fate> {
        let Input::Plain(file) = &self.input else { return Ok(Fate::Complete) };
        let here = file.metadata()?;
        if here.len() < self.cutter.fed_to() {
            return Ok(Fate::Complete);
        }
        match fs::metadata(&self.path) {
            // The writer may have added to the file before it renamed it, hence one more read.
            Ok(there) if !same_file(&here, &there) => Ok(if self.fill()? { Fate::Grown } else { Fate::Complete }),
            Ok(_) => Ok(Fate::Waiting),
            // Renamed, and the new one is not there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Fate::Waiting),
            Err(error) => Err(error),
        }
    }

    /// Follows the path to the file that is there now.
    fn reopen(&mut self) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        self.head = read_head(&mut file)?;
        file.rewind()?;
        self.input = Input::Plain(file);
        self.cutter = cutter(&self.options, 0);
        self.finished = false;
        Ok(())
    }

    fn offset(&self, position: u64) -> Offset {
        let file_bytes = match self.input {
            Input::Plain(_) => position,
            Input::Compressed(_) => 0,
        };
        FileOffset { position, file_bytes, head: Fingerprint::of(&self.head) }.save()
    }

    fn advance(&mut self) -> io::Result<Step> {
        loop {
            if let Some(piece) = self.cutter.next(self.finished) {
                let offset = self.offset(piece.end);
                return Ok(Step::Records(piece.into_records(&self.origin, offset)));
            }
            if self.finished {
                if !self.options.follow {
                    return Ok(Step::End(self.offset(self.cutter.fed_to())));
                }
                return match self.reopen() {
                    // An empty piece, so that a checkpoint no longer refers to the file that is gone.
                    Ok(()) => Ok(Step::Records(Piece::empty(0).into_records(&self.origin, self.offset(0)))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Step::Idle),
                    Err(error) => Err(error),
                };
            }
            if self.fill()? {
                continue;
            }
            let fate = if self.options.follow { self.fate()? } else { Fate::Complete };
            match fate {
                Fate::Grown => {}
                Fate::Waiting => return Ok(Step::Idle),
                Fate::Complete => self.finished = true,
            }
        }
    }
}

/// See [`FileReader::fate`].
enum Fate {
    Waiting,
    Grown,
    Complete,
}

impl BlockingReader for FileReader {
    fn step(&mut self) -> Result<Step> {
        self.advance().map_err(|error| file_error("read", &self.path, error))
    }
}

impl Piece {
    /// A piece without records.
    fn empty(position: u64) -> Self {
        Piece { bytes: Bytes::new(), start: position, end: position, rejected: None }
    }

    /// The piece as the engine takes it.
    pub(crate) fn into_records(self, origin: &Arc<str>, offset: Offset) -> Records {
        Records {
            bytes: self.bytes,
            origin: Arc::clone(origin),
            position: self.start,
            rejected: self.rejected.into_iter().collect(),
            arrival_time: None,
            part: None,
            envelopes: None,
            offset,
        }
    }
}

fn cutter(options: &ReadOptions, position: u64) -> Cutter {
    let cutter = Cutter::new(options.framing, options.max_record_bytes, position);
    if options.header && position == 0 { cutter.skip_first_record() } else { cutter }
}

/// Opens a file for reading; a folder is an error here rather than at the first read.
pub(super) fn open_file(path: &Path) -> Result<(File, Metadata)> {
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        if metadata.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok((file, metadata)) }
    });
    let (file, metadata) = opened.map_err(|error| file_error("read", path, error))?;
    if metadata.is_file() {
        return Ok((file, metadata));
    }
    Err(Error::config(format!("cannot read '{}': it is not a regular file", path.display()))
        .with_hint("Use connector = 'stdin' to read from a pipe."))
}

/// The first bytes of a file, up to [`HEAD_BYTES`].
pub(super) fn read_head(file: &mut File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A reader of what a compressed file holds, all members and frames of it.
fn decompress(compression: Compression, file: File) -> io::Result<Box<dyn io::Read + Send>> {
    let mut file = file;
    file.rewind()?;
    // No rows were written: such a file lacks even the header of an empty one.
    if file.metadata()?.len() == 0 {
        return Ok(Box::new(io::empty()));
    }
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file))),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    })
}

/// Tells damaged content from a failing disk: only the latter has a code of the operating system.
fn damaged(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        None if error.kind() != io::ErrorKind::Interrupted => io::Error::new(io::ErrorKind::InvalidData, error),
        _ => error,
    }
}

fn ends_line(file: &mut File, position: u64) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(position - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

#[cfg(unix)]
fn same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same_file(_: &Metadata, _: &Metadata) -> bool {
    true
}
