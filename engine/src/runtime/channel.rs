//! The edge between two tasks: batches, watermarks, barriers and the end, in order, bounded in bytes.
//!
//! A batch takes as many permits as it has kibibytes and gives them back when it is received, so a slow reader makes
//! the writer wait (backpressure) whatever the size of the batches. Everything else is free.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::clock::EventTime;
use crate::checkpoint::Epoch;
use crate::operator::budget::bytes_of_rows;

/// What travels along an edge.
#[derive(Debug, Clone)]
pub enum Event {
    /// Rows.
    Batch(RecordBatch),
    /// No earlier row follows: every later row has ROWTIME ≥ this.
    Watermark(EventTime),
    /// The input is silent and does not hold the watermark of a merge back until it speaks again.
    Idle,
    /// Everything before belongs to the epoch, everything after does not.
    Barrier(Barrier),
    /// Nothing follows.
    End(End),
}

/// The marker of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The epoch that it ends.
    pub epoch: Epoch,
    /// True if the operators save their state; false if the barrier only shows that everything before has arrived.
    pub save: bool,
}

/// Why an input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The data is complete: open windows close.
    Complete,
    /// The job stops: open windows stay open, in the checkpoint if there is one.
    Stopped,
}

/// The writing side of an edge.
#[derive(Debug, Clone)]
pub struct EventSender {
    queue: mpsc::UnboundedSender<(Event, Option<OwnedSemaphorePermit>)>,
    kibibytes: Arc<Semaphore>,
    capacity: u32,
}

/// The reading side of an edge.
#[derive(Debug)]
pub struct EventReceiver {
    queue: mpsc::UnboundedReceiver<(Event, Option<OwnedSemaphorePermit>)>,
}

/// An edge that holds at most `capacity_bytes` of batches; one batch larger than that passes alone.
pub fn channel(capacity_bytes: usize) -> (EventSender, EventReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let capacity = u32::try_from(capacity_bytes / 1024).unwrap_or(u32::MAX).clamp(1, Semaphore::MAX_PERMITS as u32 / 2);
    let kibibytes = Arc::new(Semaphore::new(capacity as usize));
    (EventSender { queue: sender, kibibytes, capacity }, EventReceiver { queue: receiver })
}

/// The other side of an edge is gone: its task failed or was aborted.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl EventSender {
    /// Sends an event, waiting while the edge is full.
    pub async fn send(&self, event: Event) -> Result<(), Closed> {
        let permit = match &event {
            Event::Batch(batch) => {
                let kibibytes = batch_kibibytes(batch).clamp(1, self.capacity);
                Some(self.kibibytes.clone().acquire_many_owned(kibibytes).await.map_err(|_| Closed)?)
            }
            _ => None,
        };
        self.queue.send((event, permit)).map_err(|_| Closed)
    }
}

impl EventReceiver {
    /// The next event; None if the sender is gone without [`Event::End`].
    pub fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Event>> {
        self.queue.poll_recv(cx).map(|received| received.map(|(event, _permit)| event))
    }

    /// The next event; None if the sender is gone without [`Event::End`]. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// True if nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

fn batch_kibibytes(batch: &RecordBatch) -> u32 {
    u32::try_from(bytes_of_rows(batch) / 1024).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    fn batch(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).expect("one column")
    }

    #[tokio::test]
    async fn a_full_edge_makes_the_writer_wait_for_the_reader() {
        let (sender, mut receiver) = channel(64 * 1024);
        sender.send(Event::Batch(batch(8 * 1024))).await.expect("open");
        let mut second = Box::pin(sender.send(Event::Batch(batch(1024))));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(matches!(receiver.next().await, Some(Event::Batch(_))));
        assert_eq!(second.await, Ok(()));
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_edge_passes_alone_and_markers_pass_always() {
        let (sender, mut receiver) = channel(1024);
        sender.send(Event::Batch(batch(100_000))).await.expect("open");
        sender.send(Event::Watermark(7)).await.expect("open");
        assert!(matches!(receiver.next().await, Some(Event::Batch(_))));
        assert!(matches!(receiver.next().await, Some(Event::Watermark(7))));
    }
}
