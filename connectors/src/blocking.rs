//! Blocking work away from the threads that run tasks: files and standard streams have no asynchronous calls.
//!
//! [`ReadAhead`] reads the next piece on a blocking thread while the current one is decoded, and may be cancelled at
//! any await: what it was reading is kept for the next call. [`Offload`] runs single calls for the sinks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kinesql_engine::connector::{Offset, Read, Records, SplitReader};
use kinesql_engine::runtime::clock::Clock;
use kinesql_engine::{Error, Result};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::parquet::Rows;

/// What one step of a [`BlockingReader`] found.
#[derive(Debug)]
pub(crate) enum Step {
    /// A piece.
    Records(Records),
    /// Rows of a Parquet file.
    Rows {
        /// The rows, and those refused.
        rows: Rows,
        /// The file, for error messages.
        origin: Arc<str>,
        /// The place before them.
        before: Offset,
        /// The place after them.
        offset: Offset,
    },
    /// Nothing now; look again later.
    Idle,
    /// The end of a bounded split.
    End(Offset),
}

/// A reader whose steps block for as long as the file system takes.
pub(crate) trait BlockingReader: Send + 'static {
    /// The next piece. After an error or the end it is not called again.
    fn step(&mut self) -> Result<Step>;
}

/// A [`SplitReader`] that stays one piece ahead. Safe to cancel.
pub(crate) struct ReadAhead<R> {
    idle: Option<R>,
    running: Option<JoinHandle<(R, Result<Step>)>>,
    clock: Arc<dyn Clock>,
    poll_interval: Duration,
    /// The rows of the last piece, where those refused of it came first.
    pending: Option<Read>,
}

impl<R: BlockingReader> ReadAhead<R> {
    /// Wraps `reader`; after [`Step::Idle`] it looks again when `poll_interval` has passed on `clock`.
    pub(crate) fn new(reader: R, clock: Arc<dyn Clock>, poll_interval: Duration) -> Self {
        Self { idle: Some(reader), running: None, clock, poll_interval, pending: None }
    }

    fn start(mut reader: R) -> JoinHandle<(R, Result<Step>)> {
        spawn_blocking(move || {
            let step = reader.step();
            (reader, step)
        })
    }
}

#[async_trait]
impl<R: BlockingReader> SplitReader for ReadAhead<R> {
    async fn next(&mut self) -> Result<Read> {
        if let Some(pending) = self.pending.take() {
            return Ok(pending);
        }
        loop {
            if let Some(reader) = self.idle.take() {
                self.running = Some(Self::start(reader));
            }
            let Some(running) = &mut self.running else {
                return Err(Error::internal("a reader was used after it failed"));
            };
            let finished = running.await;
            self.running = None;
            let (reader, step) = finished.map_err(panicked)?;
            match step? {
                Step::Records(records) => {
                    self.running = Some(Self::start(reader));
                    return Ok(Read::Records(records));
                }
                Step::Rows { rows, origin, before, offset } => {
                    self.running = Some(Self::start(reader));
                    let (refused, rows) = split_rows(rows, &origin, before, offset);
                    let Some(refused) = refused else { return Ok(rows) };
                    self.pending = Some(rows);
                    return Ok(refused);
                }
                Step::Idle => {
                    self.idle = Some(reader);
                    self.clock.sleep(self.poll_interval).await;
                }
                Step::End(offset) => {
                    self.idle = Some(reader);
                    return Ok(Read::End { offset });
                }
            }
        }
    }
}

/// What was refused of `rows`, to be handed over first, and the others.
///
/// The refused ones carry the offset before all of them: a restart between the two reports them again rather than never.
pub(crate) fn split_rows(rows: Rows, origin: &Arc<str>, before: Offset, offset: Offset) -> (Option<Read>, Read) {
    let Rows { batch, rejected, start } = rows;
    let refused = (!rejected.is_empty()).then(|| {
        Read::Records(Records {
            bytes: Bytes::new(),
            origin: Arc::clone(origin),
            position: start,
            rejected,
            arrival_time: None,
            part: None,
            envelopes: None,
            offset: before,
        })
    });
    (refused, Read::Batch { batch, offset })
}

/// A value that is used on blocking threads only, by one call after the other.
pub(crate) struct Offload<T>(Arc<Mutex<T>>);

impl<T: Send + 'static> Offload<T> {
    /// Wraps `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Runs `work` on a blocking thread.
    pub(crate) async fn run<U: Send + 'static>(&self, work: impl FnOnce(&mut T) -> Result<U> + Send + 'static) -> Result<U> {
        let value = Arc::clone(&self.0);
        unblock(move || work(&mut value.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

/// Runs `work` on a blocking thread.
pub(crate) async fn unblock<U: Send + 'static>(work: impl FnOnce() -> Result<U> + Send + 'static) -> Result<U> {
    spawn_blocking(work).await.map_err(panicked)?
}

fn panicked(error: JoinError) -> Error {
    Error::internal("file access failed unexpectedly").with_cause(error)
}
