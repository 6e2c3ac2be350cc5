//! Reads every n-th range of a plain file, so that several readers get through one file side by side.
//!
//! The file is cut into ranges of equal size; reader k of p takes ranges k, k+p, k+2p…. A record belongs to the range in
//! which it starts, so a reader looks for the first record start in its range (the byte after a line break) and reads on
//! past the end of the range until the record that started last is complete.

use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kinesql_engine::Result;
use kinesql_engine::connector::Offset;
use kinesql_engine::format::REJECTED_RAW_MAX;
use memchr::{memchr, memrchr};

use super::file_error;
use super::fingerprint::{FileOffset, Fingerprint};
use super::framing::Cutter;
use super::reader::{ReadOptions, open_file, read_head};
use crate::blocking::{BlockingReader, Step};

/// How much is read at once past the end of a range.
const OVERHANG_BYTES: usize = 1 << 16;

/// Which ranges of a file a reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ranges {
    /// The first one, from 0.
    pub(super) first: u64,
    /// From one to the next.
    pub(super) step: u64,
    /// Size of a range.
    pub(super) bytes: u64,
}

/// Reads some ranges of a file.
pub(super) struct RangeReader {
    path: PathBuf,
    origin: Arc<str>,
    file: File,
    ranges: Ranges,
    options: ReadOptions,
    head: Fingerprint,
    /// The job reads the file up to here: its length when the job started.
    length: u64,
    /// Records that start before this place are read. At the start of a range, where its first record starts is not known
    /// yet; within a range, this is the start of a record.
    position: u64,
    /// Furthest byte that was read.
    read_to: u64,
    /// Records of the current range, and where the reader goes after them.
    current: Option<(Cutter, u64)>,
}

impl RangeReader {
    /// Opens `path` at `offset`, or at the first range; reads up to `length`.
    pub(super) fn open(path: &Path, offset: Option<&Offset>, ranges: Ranges, length: u64, options: ReadOptions) -> Result<Self> {
        let origin: Arc<str> = path.display().to_string().into();
        let (mut file, metadata) = open_file(path)?;
        let head = read_head(&mut file).map_err(|error| file_error("read", path, error))?;
        let (position, read_to) = match offset {
            Some(offset) => {
                let offset = FileOffset::restore(offset, &origin, &head, metadata.len())?;
                (offset.position, offset.file_bytes)
            }
            None => (ranges.first * ranges.bytes, 0),
        };
        Ok(Self {
            path: path.to_owned(),
            origin,
            file,
            ranges,
            options,
            head: Fingerprint::of(&head),
            length,
            position,
            read_to,
            current: None,
        })
    }

    /// Reads up to `length` instead.
    pub(super) fn up_to(self, length: u64) -> Self {
        Self { length, ..self }
    }

    /// Reads the range at `position`; its records may be none.
    fn read_range(&mut self) -> io::Result<(Cutter, u64)> {
        let Ranges { step, bytes: size, .. } = self.ranges;
        let range = self.position / size;
        let range_end = (range + 1) * size;
        let next = if range_end > self.length { self.length } else { (range + step) * size };
        let end = range_end.min(self.length);
        // The byte before the range tells whether its first byte starts a record.
        let known = self.position == 0 || !self.position.is_multiple_of(size);
        let from = if known { self.position } else { self.position - 1 };

        let mut bytes = Vec::with_capacity((end - from) as usize + OVERHANG_BYTES);
        self.file.seek(SeekFrom::Start(from))?;
        self.read_up_to(&mut bytes, end - from)?;
        let start = if known { Some(0) } else { memchr(b'\n', &bytes).map(|end| end + 1) };
        let start = start.filter(|start| *start < bytes.len()).unwrap_or(bytes.len());
        let mut last_record = memrchr(b'\n', &bytes[start..]).map_or(start, |end| start + end + 1);
        // Past the limit no more is needed than the error stream shows.
        let enough = self.options.max_record_bytes.max(REJECTED_RAW_MAX);
        while last_record < bytes.len() && bytes.len() - last_record <= enough {
            let searched = bytes.len();
            if self.read_up_to(&mut bytes, OVERHANG_BYTES as u64)? == 0 {
                break;
            }
            if let Some(end) = memchr(b'\n', &bytes[searched..]) {
                bytes.truncate(searched + end + 1);
                last_record = bytes.len();
            }
        }
        self.read_to = self.read_to.max(from + bytes.len() as u64);
        let mut cutter = Cutter::new(self.options.framing, self.options.max_record_bytes, from + start as u64);
        cutter.push(Bytes::from(bytes).slice(start..));
        Ok((cutter, next))
    }

    fn read_up_to(&mut self, bytes: &mut Vec<u8>, count: u64) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.file.stream_position()?);
        io::Read::by_ref(&mut self.file).take(count.min(left)).read_to_end(bytes)
    }

    fn offset(&self) -> Offset {
        FileOffset { position: self.position, file_bytes: self.read_to, head: self.head.clone() }.save()
    }

    fn advance(&mut self) -> io::Result<Step> {
        loop {
            if let Some((cutter, next)) = &mut self.current {
                if let Some(piece) = cutter.next(true) {
                    self.position = if cutter.rest().is_empty() { *next } else { piece.end };
                    let offset = self.offset();
                    return Ok(Step::Records(piece.into_records(&self.origin, offset)));
                }
                self.position = *next;
                self.current = None;
            }
            if self.position >= self.length {
                return Ok(Step::End(self.offset()));
            }
            self.current = Some(self.read_range()?);
        }
    }
}

impl BlockingReader for RangeReader {
    fn step(&mut self) -> Result<Step> {
        self.advance().map_err(|error| file_error("read", &self.path, error))
    }
}
