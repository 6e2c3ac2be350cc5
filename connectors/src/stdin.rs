//! The `stdin` source: records from standard input, as they arrive.
//!
//! Options:   `max_record_bytes`.
//! Splits:    one. A record is handed over as soon as its line break is there; what piled up comes in one piece.
//! Delivery:  at most once: standard input cannot be read again, so a checkpoint cannot be resumed.
//! Threads:   a thread of its own reads, since a blocked read could not be cancelled; it lives as long as the process or
//!            until the input ends. It reads at most `WAITING_PORTIONS` portions ahead.
//! Errors:    `State` when opened at an offset, `Config` when opened twice, `Unavailable` when reading fails.

use std::fmt;
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kinesql_engine::connector::{
    Offset, OptionKind, OptionSpec, Options, Read, Sample, Source, SourceContext, SourceDefinition, SourceFactory, SplitReader,
};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::{Error, Result};
use tokio::sync::mpsc;

use crate::file::framing::{Cutter, Framing};

/// What only one source can read.
pub const STDIN: &str = "standard input";

/// How much is read at once: what a Linux pipe holds (pipe(7)).
const PORTION_BYTES: usize = 64 << 10;

/// Portions that wait for the engine.
const WAITING_PORTIONS: usize = 16;

/// A piece takes no more waiting portions once it is this long.
const PIECE_BYTES: usize = 1 << 20;

const OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "max_record_bytes",
    kind: OptionKind::Bytes,
    required: false,
    default: Some("1mb"),
    help: "Longest record; a longer one goes to error_stream. Default 1mb.",
}];

/// Makes `stdin` sources.
#[derive(Debug)]
pub struct StdinSourceFactory;

impl SourceFactory for StdinSourceFactory {
    fn name(&self) -> &'static str {
        "stdin"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(StdinSource::try_new(&definition.format, options, Box::new(io::stdin()))?))
    }
}

/// A bound `stdin` source.
struct StdinSource {
    max_record_bytes: usize,
    header: bool,
    state: Arc<Mutex<State>>,
}

/// The input, as it goes from the source to its only reader.
enum State {
    /// Nothing is read yet.
    Unread(Box<dyn io::Read + Send>),
    /// A sample was taken; what it read comes first.
    Sampled(Input),
    /// A reader or a sample has it.
    Taken,
}

impl StdinSource {
    fn try_new(format: &FormatSpec, options: &Options, input: Box<dyn io::Read + Send>) -> Result<Self> {
        Framing::of(format)?;
        Ok(Self {
            max_record_bytes: options.bytes("max_record_bytes").unwrap_or(1 << 20).max(1) as usize,
            header: matches!(format, FormatSpec::Csv(options) if options.header),
            state: Arc::new(Mutex::new(State::Unread(input))),
        })
    }

    fn take_input(&self) -> Result<Input> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Unread(input) => Ok(Input::start(input)?),
            State::Sampled(input) => Ok(input),
            State::Taken => Err(Error::config("standard input is already being read")
                .with_hint("Create one 'stdin' source and read its stream from several pumps.")),
        }
    }
}

impl fmt::Debug for StdinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdinSource").field("max_record_bytes", &self.max_record_bytes).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for StdinSource {
    fn exclusive(&self) -> Option<&'static str> {
        Some(STDIN)
    }

    fn is_bounded(&self) -> bool {
        true
    }

    async fn splits(&self, _parallelism: usize) -> Result<Vec<String>> {
        Ok(vec!["stdin".to_owned()])
    }

    async fn open(&self, _split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        if offset.is_some() {
            return Err(Error::state("standard input cannot be resumed from a checkpoint: what was read from it is gone")
                .with_hint("Write the records to a file and use connector = 'file', or start without the checkpoint."));
        }
        let input = self.take_input()?;
        let cutter = Cutter::new(Framing::of(&context.format)?, self.max_record_bytes, 0);
        let cutter = if self.header { cutter.skip_first_record() } else { cutter };
        Ok(Box::new(StdinReader { input, cutter, origin: "stdin".into() }))
    }

    /// Waits for the first whole record, then takes what is there.
    async fn sample(&self, max_bytes: usize, context: &SourceContext) -> Result<Sample> {
        let framing = Framing::of(&context.format)?;
        // Puts the input back even if the sample is cancelled.
        let mut held = Held { state: Arc::clone(&self.state), input: Some(self.take_input()?) };
        let Some(input) = held.input.as_mut() else { return Ok(Sample::default()) };
        loop {
            let mut cutter = Cutter::new(framing, self.max_record_bytes, 0);
            cutter.push(Bytes::from(input.waiting.concat()));
            let mut sample = Sample::default();
            while let Some(piece) = cutter.next(input.ended) {
                sample.bytes.extend_from_slice(&piece.bytes);
                sample.rejected.extend(piece.rejected);
            }
            if input.ended || !sample.bytes.is_empty() {
                return Ok(sample);
            }
            input.receive(max_bytes).await?;
        }
    }
}

struct Held {
    state: Arc<Mutex<State>>,
    input: Option<Input>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(input) = self.input.take() {
            *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Sampled(input);
        }
    }
}

/// What the reading thread sends; it ends with the input.
struct Input {
    portions: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// Received, but not handed out yet.
    waiting: Vec<Vec<u8>>,
    ended: bool,
}

impl Input {
    fn start(mut input: Box<dyn io::Read + Send>) -> Result<Self> {
        let (sender, portions) = mpsc::channel(WAITING_PORTIONS);
        let read = move || {
            loop {
                let mut portion = vec![0; PORTION_BYTES];
                let read = match input.read(&mut portion) {
                    Ok(0) => return,
                    Ok(length) => {
                        portion.truncate(length);
                        Ok(portion)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(read);
        thread.map_err(|error| Error::unavailable("cannot start the thread that reads standard input").with_cause(error))?;
        Ok(Self { portions, waiting: Vec::new(), ended: false })
    }

    /// Waits for a portion, then takes those that are there too until about `max_bytes` are waiting. Safe to cancel.
    async fn receive(&mut self, max_bytes: usize) -> Result<()> {
        match self.portions.recv().await {
            Some(portion) => self.waiting.push(portion.map_err(read_failed)?),
            None => self.ended = true,
        }
        let mut length: usize = self.waiting.iter().map(Vec::len).sum();
        while !self.ended && length < max_bytes {
            match self.portions.try_recv() {
                Ok(portion) => {
                    let portion = portion.map_err(read_failed)?;
                    length += portion.len();
                    self.waiting.push(portion);
                }
                Err(mpsc::error::TryRecvError::Disconnected) => self.ended = true,
                Err(mpsc::error::TryRecvError::Empty) => break,
            }
        }
        Ok(())
    }
}

fn read_failed(error: io::Error) -> Error {
    Error::unavailable(format!("cannot read standard input: {error}")).with_cause(error)
}

struct StdinReader {
    input: Input,
    cutter: Cutter,
    origin: Arc<str>,
}

impl StdinReader {
    fn offset(position: u64) -> Offset {
        Offset(serde_json::json!({ "position": position }))
    }
}

#[async_trait]
impl SplitReader for StdinReader {
    async fn next(&mut self) -> Result<Read> {
        loop {
            if let Some(piece) = self.cutter.next(self.input.ended && self.input.waiting.is_empty()) {
                let offset = Self::offset(piece.end);
                return Ok(Read::Records(piece.into_records(&self.origin, offset)));
            }
            if self.input.waiting.is_empty() {
                if self.input.ended {
                    return Ok(Read::End { offset: Self::offset(self.cutter.fed_to()) });
                }
                self.input.receive(PIECE_BYTES).await?;
            }
            let waiting = std::mem::take(&mut self.input.waiting);
            self.cutter.push(Bytes::from(waiting.concat()));
        }
    }
}

/// A source of JSON that reads something else than standard input.
#[cfg(test)]
pub(crate) fn reading(input: impl io::Read + Send + 'static) -> Arc<dyn Source> {
    Arc::new(StdinSource::try_new(&FormatSpec::Json, &Options::default(), Box::new(input)).expect("a source"))
}

#[cfg(test)]
mod tests {
    use kinesql_engine::ErrorKind;

    use super::*;
    use crate::conformance::{read_split, source_context};

    fn source(input: impl io::Read + Send + 'static) -> StdinSource {
        StdinSource::try_new(&FormatSpec::Json, &Options::default(), Box::new(input)).expect("a source")
    }

    async fn all(source: &dyn Source) -> Vec<String> {
        let seen = read_split(source, "stdin", None, &source_context()).await.expect("reading");
        seen.into_iter().flat_map(|seen| seen.records).collect()
    }

    #[tokio::test]
    async fn reads_to_the_end() {
        assert_eq!(all(&source(&b"one\ntwo\r\n\nthree"[..])).await, ["one", "two", "three"]);
        assert_eq!(all(&source(io::empty())).await, Vec::<String>::new());
        let many: String = (0..200_000).map(|i| format!("record {i}\n")).collect();
        let expected: Vec<_> = many.lines().map(str::to_owned).collect();
        assert_eq!(all(&source(io::Cursor::new(many))).await, expected);
    }

    /// Gives what the test sends, one `read` after the other.
    struct Typed(std::sync::mpsc::Receiver<&'static str>);

    impl io::Read for Typed {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let text = self.0.recv().unwrap_or_default();
            buffer[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }

    #[tokio::test]
    async fn a_record_comes_as_soon_as_its_line_break() {
        let (keyboard, typed) = std::sync::mpsc::channel();
        let source = source(Typed(typed));
        let mut reader = source.open("stdin", None, &source_context()).await.expect("open");
        for (text, record) in [("one\ntw", "one\n"), ("o\n", "two\n")] {
            keyboard.send(text).expect("typed");
            let Read::Records(records) = reader.next().await.expect("read") else { panic!("records") };
            assert_eq!(records.bytes, record);
        }
        keyboard.send("three").expect("typed");
        drop(keyboard);
        let Read::Records(records) = reader.next().await.expect("read") else { panic!("records") };
        assert_eq!((&records.bytes[..], records.position), (&b"three"[..], 8));
        assert!(matches!(reader.next().await.expect("read"), Read::End { .. }));
    }

    #[tokio::test]
    async fn a_sample_waits_for_one_record_only_and_loses_nothing() {
        let (keyboard, typed) = std::sync::mpsc::channel();
        let source = source(Typed(typed));
        keyboard.send("{\"a\"").expect("typed");
        keyboard.send(": 1}\n{\"a").expect("typed");
        assert_eq!(source.sample(1000, &source_context()).await.expect("a sample").bytes, b"{\"a\": 1}\n");
        keyboard.send("\": 2}").expect("typed");
        drop(keyboard);
        assert_eq!(source.sample(1000, &source_context()).await.expect("again").bytes, b"{\"a\": 1}\n");
        assert_eq!(all(&source).await, ["{\"a\": 1}", "{\"a\": 2}"]);
    }

    /// Gives zeros for ever, and counts them.
    struct Zeros(Arc<std::sync::atomic::AtomicUsize>);

    impl io::Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'0');
            if let Some(last) = buffer.last_mut() {
                *last = b'\n';
            }
            self.0.fetch_add(buffer.len(), std::sync::atomic::Ordering::SeqCst);
            Ok(buffer.len())
        }
    }

    #[tokio::test]
    async fn what_nobody_asks_for_is_not_read() {
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let read = || count.load(std::sync::atomic::Ordering::SeqCst);
        let source = source(Zeros(Arc::clone(&count)));
        let mut reader = source.open("stdin", None, &source_context()).await.expect("open");
        let Read::Records(first) = reader.next().await.expect("read") else { panic!("records") };
        // What waits, what is being sent, and what was handed over.
        let most = first.bytes.len() + PIECE_BYTES + (WAITING_PORTIONS + 2) * PORTION_BYTES;
        while read() < first.bytes.len() + WAITING_PORTIONS * PORTION_BYTES {
            tokio::task::yield_now().await;
        }
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(read() <= most, "{} bytes were read, {} handed over", read(), first.bytes.len());
    }

    #[tokio::test]
    async fn what_was_read_is_gone() {
        let source = source(&b"one\n"[..]);
        let offset = StdinReader::offset(4);
        let error = source.open("stdin", Some(&offset), &source_context()).await.map(|_| ()).expect_err("no resume");
        assert_eq!(error.kind(), ErrorKind::State);
        let _reader = source.open("stdin", None, &source_context()).await.expect("open");
        let error = source.open("stdin", None, &source_context()).await.map(|_| ()).expect_err("twice");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "standard input is already being read"));
    }
}
