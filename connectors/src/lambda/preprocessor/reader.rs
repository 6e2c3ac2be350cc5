//! A reader whose pieces go through the function: several at a time, handed over in order.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt, ready};
use futures::stream::{FuturesOrdered, StreamExt};
use kinesql_engine::connector::{Read, SplitReader};
use kinesql_engine::{Error, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::batch::{Patience, Processor};

/// Wraps the reader of a split.
pub(super) struct PreprocessedReader {
    processor: Arc<Processor>,
    /// What the wrapped reader returned.
    reads: mpsc::Receiver<Result<Read>>,
    /// Pieces in the order in which they were read.
    pieces: FuturesOrdered<BoxFuture<'static, Result<Read>>>,
    /// The wrapped reader has ended or failed.
    ended: bool,
    close: Option<oneshot::Sender<()>>,
    reading: JoinHandle<Result<()>>,
}

impl PreprocessedReader {
    /// `reader` reads on in a task of its own, so that waiting for it never holds up what the function has answered.
    pub(super) fn start(reader: Box<dyn SplitReader>, processor: Arc<Processor>) -> Self {
        let (sender, reads) = mpsc::channel(1);
        let (close, closed) = oneshot::channel();
        let reading = tokio::spawn(read(reader, sender, closed));
        Self { processor, reads, pieces: FuturesOrdered::new(), ended: false, close: Some(close), reading }
    }
}

async fn read(
    mut reader: Box<dyn SplitReader>,
    reads: mpsc::Sender<Result<Read>>,
    mut closed: oneshot::Receiver<()>,
) -> Result<()> {
    loop {
        let read = tokio::select! {
            biased;
            _ = &mut closed => return reader.close().await,
            read = reader.next() => read,
        };
        let last = matches!(read, Ok(Read::End { .. }) | Err(_));
        tokio::select! {
            biased;
            _ = &mut closed => return reader.close().await,
            sent = reads.send(read) => if sent.is_err() { return Ok(()) },
        }
        if last {
            let _ = closed.await;
            return reader.close().await;
        }
    }
}

#[async_trait]
impl SplitReader for PreprocessedReader {
    async fn next(&mut self) -> Result<Read> {
        loop {
            tokio::select! {
                biased;
                Some(piece) = self.pieces.next() => return piece,
                read = self.reads.recv(), if !self.ended && self.pieces.len() < self.processor.concurrency => {
                    let read = read.unwrap_or_else(|| Err(Error::internal("the reader of a source died")));
                    self.ended = matches!(read, Ok(Read::End { .. }) | Err(_));
                    let processor = Arc::clone(&self.processor);
                    self.pieces.push_back(match read {
                        Ok(Read::Records(records)) => async move { processor.process(records, Patience::Endless).await.map(Read::Records) }.boxed(),
                        other => ready(other).boxed(),
                    });
                }
                else => return Err(Error::internal("a reader was used after it ended")),
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        let Some(close) = self.close.take() else { return Ok(()) };
        // Nobody waits for it if the task has ended.
        let _ = close.send(());
        (&mut self.reading).await.map_err(|error| Error::internal("the reader of a source died").with_cause(error))?
    }
}

impl Drop for PreprocessedReader {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
