//! Select: picks columns by place, without copying. Every reader of a stream starts with it.
//!
//! Input:  any batch.  Output: the chosen columns, in the given order.  State: none.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::{Operator, Output};
use crate::error::Result;

/// Picks columns by place and gives them the names of `schema`.
pub struct Select {
    indices: Vec<usize>,
    schema: SchemaRef,
}

impl Select {
    /// Picks the columns `indices`; `schema` names them.
    pub fn new(indices: Vec<usize>, schema: SchemaRef) -> Self {
        Self { indices, schema }
    }
}

impl Operator for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let columns = self.indices.iter().map(|index| batch.column(*index).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        out.batch(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        Ok(())
    }
}
