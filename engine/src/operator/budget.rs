//! The memory budget: what operators hold is counted against one limit, and who needs more is told by name.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use crate::error::{Error, ErrorKind, Result};

/// An operator's share of the memory budget; given back when it is dropped.
pub struct Budget {
    operator: &'static str,
    hint: &'static str,
    reservation: MemoryReservation,
    pool: Arc<dyn MemoryPool>,
}

impl Budget {
    /// Counts what `operator` holds in `pool`; `hint` says how it can do with less.
    pub fn new(operator: &'static str, hint: &'static str, pool: &Arc<dyn MemoryPool>) -> Self {
        Self { operator, hint, reservation: MemoryConsumer::new(operator).register(pool), pool: pool.clone() }
    }

    /// Bytes that no operator holds; None without a limit.
    pub fn left(&self) -> Option<usize> {
        match self.pool.memory_limit() {
            MemoryLimit::Finite(limit) => Some(limit.saturating_sub(self.pool.reserved())),
            _ => None,
        }
    }

    /// The operator holds `bytes` from now on, for what `held` says. Fails with [`crate::ErrorKind::Memory`].
    pub fn resize(&self, bytes: usize, held: impl FnOnce() -> String) -> Result<()> {
        // The pool's own words add nothing.
        self.reservation.try_resize(bytes).map_err(|_| {
            let megabytes = |bytes: usize| match bytes {
                0..10_000 => format!("{bytes} B"),
                10_000..100_000 => format!("{:.1} kB", bytes as f64 / 1e3),
                _ => format!("{:.1} MB", bytes as f64 / 1e6),
            };
            let mut message =
                format!("{} needs {} for {}, which exceeds the memory budget", self.operator, megabytes(bytes), held());
            if let MemoryLimit::Finite(limit) = self.pool.memory_limit() {
                message += &format!(" of {}", megabytes(limit));
                let others = self.pool.reserved().saturating_sub(self.reservation.size());
                if others > 0 {
                    message += &format!(", of which other operators hold {}", megabytes(others));
                }
            }
            Error::new(ErrorKind::Memory, message).with_hint(self.hint)
        })
    }
}

/// Bytes of a batch. Slices of one large batch share its buffers: this is the rows' share.
pub fn bytes_of_rows(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
