//! Models: functions of a whole relation that learn from its rows, such as RANDOM_CUT_FOREST and HOTSPOTS.
//!
//! A model takes the batches of one relation in order and gives a column or two for each. It knows nothing of SQL or
//! streams; the engine wraps it in an operator.

pub(crate) mod arguments;
mod bytes;
mod columns;
pub mod forest;
pub mod hotspots;
pub mod partition;
mod random;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

/// A model of one relation.
pub trait Model: Send {
    /// The columns that [`Model::update`] gives; all can be NULL.
    fn fields(&self) -> Vec<FieldRef>;

    /// Takes the next rows and returns a value for each of them in each column of [`Model::fields`].
    ///
    /// The result depends on the rows so far, not on how they are split into batches. Fails only for a batch that is not of
    /// the relation that the model was made for.
    fn update(&mut self, batch: &RecordBatch) -> Result<Vec<ArrayRef>>;

    /// The state as bytes, with a version.
    fn snapshot(&self) -> Result<Vec<u8>>;

    /// Takes the state of a snapshot: what follows is bit for bit as if the model had not been interrupted. Fails, and leaves
    /// the model as it was, for a snapshot of other options, another number of columns or another version, or a damaged one.
    fn restore(&mut self, snapshot: &[u8]) -> Result<()>;

    /// Bytes held.
    fn memory_size(&self) -> usize;

    /// How many bytes more the model may hold after the next `rows` rows, at most; 0 once it is as large as it gets.
    fn growth(&self, rows: usize) -> usize;
}
