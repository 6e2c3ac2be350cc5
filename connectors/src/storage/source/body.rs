//! The bytes of an object: decompressed as they arrive and cut into whole records.
//!
//! The compression is told by the first bytes (RFC 1952, RFC 8878): no text begins so, and Firehose lets the user choose the
//! names. JSON is either lines or, as Firehose writes what a producer sent without line breaks, documents one behind the
//! other; the first document tells which.

use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use kinesql_engine::{Error, Result};
use zstd::stream::raw::{InBuffer, Operation as _, OutBuffer};

use crate::file::framing::{Cutter, Framing, Piece, document_end};

/// What is decompressed at once, at least.
const PORTION: usize = 256 << 10;

/// An object that is being read.
pub(super) struct Body {
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    inflate: Option<Inflate>,
    framing: Framing,
    raw: bool,
    header: bool,
    max_record_bytes: usize,
    /// None until the framing is known.
    cutter: Option<Cutter>,
    /// Decompressed bytes before the cutter is there.
    start: Vec<u8>,
    /// Decompressed bytes to drop: they were read before a restart.
    skip: u64,
    position: u64,
    finished: bool,
}

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyOptions {
    pub(super) framing: Framing,
    /// The records may be documents without line breaks: JSON.
    pub(super) may_be_documents: bool,
    /// Nobody knows yet what the records are, only what a pre-processor makes of them: what does not begin as JSON is lines.
    pub(super) raw: bool,
    /// The first record holds names.
    pub(super) header: bool,
    pub(super) max_record_bytes: usize,
}

/// What the next call of [`Body::next`] found.
pub(super) enum Found {
    Piece(Piece),
    /// The content cannot be read on from here, and what can be done about it.
    Damaged(String, &'static str),
    End,
}

impl Body {
    /// Reads `chunks`, whose compression is yet to be seen, from the record at `position` on; the chunks begin with the
    /// object, and what is before is dropped. `documents` is the framing that was found before a restart.
    pub(super) fn new(
        chunks: BoxStream<'static, object_store::Result<Bytes>>,
        options: BodyOptions,
        position: u64,
        documents: Option<bool>,
    ) -> Self {
        let BodyOptions { framing, may_be_documents, raw, header, max_record_bytes } = options;
        let framing = if documents == Some(true) { Framing::Documents } else { framing };
        let known = !may_be_documents || documents.is_some();
        let mut body = Self {
            chunks,
            inflate: None,
            framing,
            raw,
            header,
            max_record_bytes,
            cutter: None,
            start: Vec::new(),
            skip: position,
            position,
            finished: false,
        };
        if known {
            body.begin();
        }
        body
    }

    /// True if the documents are not lines.
    pub(super) fn is_documents(&self) -> bool {
        self.framing == Framing::Documents
    }

    /// True if somebody else takes the records apart.
    pub(super) fn is_raw(&self) -> bool {
        self.raw
    }

    fn begin(&mut self) {
        let cutter = Cutter::new(self.framing, self.max_record_bytes, self.position);
        let mut cutter = if self.header && self.position == 0 { cutter.skip_first_record() } else { cutter };
        cutter.push(Bytes::from(std::mem::take(&mut self.start)));
        self.cutter = Some(cutter);
    }

    /// The next piece. An error is one of the service.
    pub(super) async fn next(&mut self) -> object_store::Result<Found> {
        loop {
            if let Some(piece) = self.cutter.as_mut().and_then(|cutter| cutter.next(self.finished)) {
                return Ok(Found::Piece(piece));
            }
            if self.finished {
                return Ok(Found::End);
            }
            if let Err(error) = self.fill().await? {
                let hint = match self.inflate {
                    Some(Inflate::Foreign(_, hint)) => hint,
                    _ => "The object is cut off or damaged: write it again as a whole.",
                };
                return Ok(Found::Damaged(error.to_string(), hint));
            }
        }
    }

    /// Reads and decompresses some more.
    async fn fill(&mut self) -> object_store::Result<io::Result<()>> {
        let mut bytes = Vec::new();
        while bytes.len() < PORTION && !self.finished {
            match self.chunks.next().await.transpose()? {
                Some(chunk) => {
                    let inflate = self.inflate.get_or_insert_with(|| Inflate::of(&chunk));
                    if let Err(error) = inflate.run(&chunk, &mut bytes) {
                        return Ok(Err(error));
                    }
                }
                None => {
                    self.finished = true;
                    if let Some(Err(error)) = self.inflate.as_mut().map(|inflate| inflate.finish(&mut bytes)) {
                        return Ok(Err(error));
                    }
                }
            }
        }
        let dropped = self.skip.min(bytes.len() as u64);
        self.skip -= dropped;
        bytes.drain(..dropped as usize);
        match &mut self.cutter {
            Some(cutter) => cutter.push(Bytes::from(bytes)),
            None => {
                self.start.extend_from_slice(&bytes);
                self.find_framing();
            }
        }
        Ok(Ok(()))
    }

    /// Whether the first document ends its line.
    fn find_framing(&mut self) {
        let text = &self.start;
        if self.raw && text.trim_ascii_start().first().is_some_and(|byte| !matches!(byte, b'{' | b'[')) {
            return self.begin();
        }
        let first = document_end(text);
        let line = memchr::memchr(b'\n', text.trim_ascii_start()).map(|at| at + text.len() - text.trim_ascii_start().len());
        self.framing = match (first, line) {
            // The line break stands behind the document, perhaps behind others of its line.
            (Some(end), Some(line)) if line >= end => Framing::Lines,
            (Some(_), Some(_)) => Framing::Documents,
            (Some(_), None) if self.finished => Framing::Documents,
            // One long line so far, or one long document: it may still be either.
            _ if self.finished || text.len() > 2 * self.max_record_bytes => match first {
                Some(_) => Framing::Documents,
                None => Framing::Lines,
            },
            _ => return,
        };
        self.begin();
    }
}

/// Takes compressed bytes as they come.
enum Inflate {
    None,
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Zstd {
        decoder: zstd::stream::raw::Decoder<'static>,
        within_frame: bool,
    },
    /// Neither text nor compressed text: what it is, and what can be done about it.
    Foreign(&'static str, &'static str),
}

impl Inflate {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => match zstd::stream::raw::Decoder::new() {
                Ok(decoder) => Self::Zstd { decoder, within_frame: false },
                Err(_) => Self::None,
            },
            // Text may begin with these letters too, but no control character follows (Apache Parquet, "File Format").
            [b'P', b'A', b'R', b'1', 0..9 | 14..32, ..] => {
                Self::Foreign("it is Parquet", "Say format = 'parquet', which only a path with that extension tells by itself.")
            }
            [b'P', b'K', 3, 4, ..] => {
                Self::Foreign("it is a ZIP archive", "Write the objects with gzip or zstd, or without compression.")
            }
            _ => Self::None,
        }
    }

    fn run(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::None => out.extend_from_slice(bytes),
            Self::Foreign(what, _) => return Err(io::Error::other(*what)),
            Self::Gzip(decoder) => {
                decoder.write_all(bytes)?;
                out.append(decoder.get_mut());
            }
            Self::Zstd { decoder, within_frame } => {
                let mut input = InBuffer::around(bytes);
                let mut portion = vec![0; PORTION];
                loop {
                    let mut output = OutBuffer::around(&mut portion[..]);
                    let hint = decoder.run(&mut input, &mut output)?;
                    let written = output.pos();
                    // The decoder begins the next frame by itself.
                    *within_frame = hint != 0;
                    out.extend_from_slice(&portion[..written]);
                    if input.pos() == bytes.len() && written < PORTION {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::None | Self::Foreign(..) => Ok(()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                out.append(decoder.get_mut());
                Ok(())
            }
            Self::Zstd { within_frame: true, .. } => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the zstd frame is cut off"))
            }
            Self::Zstd { .. } => Ok(()),
        }
    }
}

/// All of an object that must be there as a whole.
pub(super) async fn collect(
    mut chunks: BoxStream<'static, object_store::Result<Bytes>>,
    size: u64,
) -> object_store::Result<Bytes> {
    let mut bytes = Vec::with_capacity(size as usize);
    while let Some(chunk) = chunks.next().await.transpose()? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(Bytes::from(bytes))
}

/// The error of an object whose content is damaged.
pub(super) fn damaged(url: &Arc<str>, position: u64, why: &str, hint: &'static str) -> Error {
    Error::data(format!("cannot read '{url}' behind byte {position} of its content: {why}")).with_hint(hint)
}

/// Checks a size that is to be held in memory.
pub(super) fn check_size(url: &str, size: u64, max: u64) -> Result<()> {
    if size <= max {
        return Ok(());
    }
    Err(Error::config(format!("'{url}' has {size} bytes: Parquet objects over {max} bytes are not read"))
        .with_hint("A Parquet object is held in memory while it is read; write smaller ones."))
}
