//! Checkpoints: what is saved, when it is complete, how a job resumes.

pub mod coordinator;
pub mod manifest;
pub mod store;

use arrow::record_batch::RecordBatch;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Number of a checkpoint, from 1, increasing over restarts of a job.
pub type Epoch = u64;

/// What one operator saves: a small JSON summary, and rows. The batches share one schema.
#[derive(Debug, Clone, Default)]
pub struct OperatorState {
    /// Small values by name.
    pub summary: serde_json::Value,
    /// Rows, possibly none.
    pub batches: Vec<RecordBatch>,
}

impl OperatorState {
    /// The value `name` of the summary.
    pub fn summary_value<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_value(self.summary[name].clone())
            .map_err(|error| Error::state(format!("the checkpoint has no usable value \"{name}\"")).with_cause(error))
    }
}
