//! Lookup join: a stream against a reference table (kda-sql-reference.md §4.6).
//!
//! Input:  batches of the stream.
//! Output: per row of the stream one row per matching row of the table, in the order of the stream, then of the table;
//!         a LEFT JOIN gives NULLs for the columns of the table where nothing matches. A subquery in an expression, such as
//!         `x IN (SELECT …)`, is a join as well: it asks only whether a row matches. ROWTIME is the stream row's.
//! State:  none; the table is hashed by its keys once, when the first operator of a plan is built, and shared.
//! Errors: a row whose key fails to evaluate and a pair whose condition fails go to `error_stream`, the others go on.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{filter, take, take_arrays};
use arrow::datatypes::{SchemaRef, UInt32Type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_expr::PhysicalExpr;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::budget::{Budget, bytes_of_rows};
use super::join_keys::{KeyHashes, equal_keys};
use super::pair_filter::{PairFilter, Side};
use super::row_errors::evaluate_rows;
use super::{Operator, Output};
use crate::error::{Error, Result};
use crate::runtime::error_rows::ErrorReporter;

/// Pairs that are looked at together; the pairs of one row of the stream are never divided.
const PAIRS: usize = 8_192;

/// The end of a chain of rows.
const NONE: u32 = u32::MAX;

/// A reference table on one side of a join. Clones of a plan share it.
pub struct LookupTable {
    rows: RecordBatch,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    index: OnceLock<Result<Index>>,
}

impl LookupTable {
    /// A table that is looked up by `keys`.
    pub fn new(rows: RecordBatch, keys: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self { rows, keys, index: OnceLock::new() }
    }

    /// The index over the table; built at the first call, whose `pool` counts it and the table.
    fn index(&self, pool: &Arc<dyn MemoryPool>) -> Result<&Index> {
        self.index.get_or_init(|| Index::try_new(&self.rows, &self.keys, pool)).as_ref().map_err(Clone::clone)
    }
}

/// What a lookup makes of the matches of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupKind {
    /// A row per match.
    Inner,
    /// The same, and the row with NULLs if there is none.
    Outer,
    /// The row itself if there is a match.
    Semi,
    /// The row itself if there is none. `NOT IN` is not TRUE either if NULL is on one of its sides (§1.9): `null_aware`.
    Anti {
        /// Of `NOT IN`, not of `NOT EXISTS`.
        null_aware: bool,
    },
    /// The row itself, and whether there is a match.
    Mark,
}

/// From the hash of a key to the rows of a table that have it.
struct Index {
    keys: Vec<ArrayRef>,
    /// Per hash the first row that has it.
    first: HashTable<(u64, u32)>,
    /// Per row the next one of the same hash.
    next: Vec<u32>,
    /// Held as long as the table is.
    _budget: Budget,
}

impl Index {
    fn try_new(rows: &RecordBatch, keys: &[Arc<dyn PhysicalExpr>], pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        if rows.num_rows() >= NONE as usize {
            return Err(Error::config(format!("a reference table of {} rows is too large to join it", rows.num_rows())));
        }
        let evaluated = keys.iter().map(|key| key.evaluate(rows)?.into_array(rows.num_rows()));
        let keys: Vec<ArrayRef> = evaluated.collect::<Result<_, _>>().map_err(|error| {
            let error = Error::from(error);
            Error::config(format!("the key of a reference table cannot be computed: {}", error.message()))
        })?;
        let hashes = KeyHashes::of(&keys, rows.num_rows())?;
        let mut first = HashTable::with_capacity(rows.num_rows());
        let mut next = vec![NONE; rows.num_rows()];
        // From the last row to the first, so that every chain is in the order of the table.
        for row in (0..rows.num_rows()).rev() {
            let Some(hash) = hashes.get(row) else { continue };
            match first.entry(hash, |(other, _)| *other == hash, |(hash, _)| *hash) {
                Entry::Occupied(mut entry) => next[row] = std::mem::replace(&mut entry.get_mut().1, row as u32),
                Entry::Vacant(entry) => {
                    entry.insert((hash, row as u32));
                }
            }
        }
        let budget = Budget::new("lookup join", "Raise --memory-limit, or select fewer columns of the table.", pool);
        let bytes = bytes_of_rows(rows) + first.allocation_size() + next.len() * size_of::<u32>();
        budget.resize(bytes, || format!("{} rows of a reference table", rows.num_rows()))?;
        Ok(Self { keys, first, next, _budget: budget })
    }

    /// The rows with this hash, in the order of the table.
    fn rows(&self, hash: u64) -> impl Iterator<Item = u32> {
        let first = self.first.find(hash, |(other, _)| *other == hash).map(|(_, row)| *row);
        std::iter::successors(first, |row| Some(self.next[*row as usize]).filter(|next| *next != NONE))
    }
}

/// The plan of a lookup join.
#[derive(Clone)]
pub struct LookupPlan {
    /// Keys over the stream's columns, as many as the table has.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The table.
    pub table: Arc<LookupTable>,
    /// The side of the stream: its columns come first if it is the left one.
    pub stream: Side,
    /// What else must be TRUE of a pair.
    pub filter: Option<PairFilter>,
    /// What matches are for.
    pub kind: LookupKind,
    /// The columns of the left side, then those of the right; what is asked for, where that is only whether a row matches.
    pub schema: SchemaRef,
}

/// Joins a stream with a table.
pub struct LookupJoin {
    plan: LookupPlan,
    reporter: ErrorReporter,
}

impl LookupJoin {
    /// Builds the table's index if it is not built yet; `pool` counts its memory.
    pub fn try_new(plan: LookupPlan, pool: &Arc<dyn MemoryPool>, reporter: ErrorReporter) -> Result<Self> {
        plan.table.index(pool)?;
        Ok(Self { plan, reporter })
    }

    /// Joins rows whose keys are known.
    fn join(&self, batch: &RecordBatch, keys: &[ArrayRef], out: &mut Output) -> Result<()> {
        // Built by the constructor.
        let index = match self.plan.table.index.get() {
            Some(Ok(index)) => index,
            _ => return Err(Error::internal("the table has no index")),
        };
        let hashes = KeyHashes::of(keys, batch.num_rows())?;
        let (mut stream_rows, mut table_rows) = (Vec::new(), Vec::new());
        let mut from = 0;
        for row in 0..batch.num_rows() {
            if let Some(hash) = hashes.get(row) {
                for found in index.rows(hash) {
                    stream_rows.push(row as u32);
                    table_rows.push(found);
                }
            }
            if stream_rows.len() >= PAIRS || row + 1 == batch.num_rows() {
                let pairs = (std::mem::take(&mut stream_rows).into(), std::mem::take(&mut table_rows).into());
                let (stream, table) = self.matching(batch, keys, index, pairs, out)?;
                let rows = from as u32..row as u32 + 1;
                match self.plan.kind {
                    LookupKind::Inner => self.emit(batch, &stream, &table, out)?,
                    LookupKind::Outer => {
                        let (stream, table) = with_unmatched(rows, &stream, &table);
                        self.emit(batch, &stream, &table, out)?;
                    }
                    _ => self.emit_found(batch, keys, index, rows, &stream, out)?,
                }
                from = row + 1;
            }
        }
        Ok(())
    }

    /// Of pairs with equal hashes those that match.
    fn matching(
        &self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        index: &Index,
        (stream, table): (UInt32Array, UInt32Array),
        out: &mut Output,
    ) -> Result<(UInt32Array, UInt32Array)> {
        let equal = equal_keys(&take_arrays(keys, &stream, None)?, &take_arrays(&index.keys, &table, None)?)?;
        let (stream, table) = kept((stream, table), equal)?;
        let Some(condition) = self.plan.filter.as_ref().filter(|_| !stream.is_empty()) else { return Ok((stream, table)) };
        let columns = condition.columns.iter().map(|(side, column)| match *side == self.plan.stream {
            true => take(batch.column(*column), &stream, None),
            false => take(self.plan.table.rows.column(*column), &table, None),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let matches = condition.matches(columns, stream.len(), &self.reporter, out)?;
        kept((stream, table), Some(matches))
    }

    fn emit(&self, batch: &RecordBatch, stream: &UInt32Array, table: &UInt32Array, out: &mut Output) -> Result<()> {
        let of_stream = take_arrays(batch.columns(), stream, None)?;
        let of_table = take_arrays(self.plan.table.rows.columns(), table, None)?;
        let columns = match self.plan.stream {
            Side::Left => [of_stream, of_table].concat(),
            Side::Right => [of_table, of_stream].concat(),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(stream.len()));
        out.batch(RecordBatch::try_new_with_options(self.plan.schema.clone(), columns, &options)?);
        Ok(())
    }
}

impl LookupJoin {
    /// Emits rows of the stream by whether they have a match: those at the places `matched`, which are in order.
    fn emit_found(
        &self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        index: &Index,
        rows: Range<u32>,
        matched: &UInt32Array,
        out: &mut Output,
    ) -> Result<()> {
        let mut found = vec![false; rows.len()];
        matched.values().iter().for_each(|row| found[(row - rows.start) as usize] = true);
        let table_rows = self.plan.table.rows.num_rows();
        let has_null = index.keys.iter().any(|key| key.logical_null_count() > 0);
        let is_null = |row: u32| keys.iter().any(|key| key.is_null(row as usize));
        let keep = |row: u32, found: bool| match self.plan.kind {
            LookupKind::Semi => found,
            LookupKind::Anti { null_aware: true } => !found && (table_rows == 0 || !(has_null || is_null(row))),
            LookupKind::Anti { null_aware: false } => !found,
            LookupKind::Mark | LookupKind::Inner | LookupKind::Outer => true,
        };
        let kept: UInt32Array = rows.clone().zip(&found).filter(|(row, found)| keep(*row, **found)).map(|(row, _)| row).collect();
        let mut columns = take_arrays(batch.columns(), &kept, None)?;
        if self.plan.kind == LookupKind::Mark {
            columns.push(Arc::new(BooleanArray::from(found)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(kept.len()));
        out.batch(RecordBatch::try_new_with_options(self.plan.schema.clone(), columns, &options)?);
        Ok(())
    }
}

fn kept((left, right): (UInt32Array, UInt32Array), mask: Option<BooleanArray>) -> Result<(UInt32Array, UInt32Array)> {
    let Some(mask) = mask.filter(|mask| mask.true_count() < mask.len()) else { return Ok((left, right)) };
    Ok((filter(&left, &mask)?.as_primitive::<UInt32Type>().clone(), filter(&right, &mask)?.as_primitive::<UInt32Type>().clone()))
}

/// Adds the `rows` that no pair has, in their order, each with NULL for the row of the table.
fn with_unmatched(rows: Range<u32>, stream: &UInt32Array, table: &UInt32Array) -> (UInt32Array, UInt32Array) {
    let mut pairs = stream.values().iter().zip(table.values()).peekable();
    let (mut all_stream, mut all_table) = (Vec::with_capacity(stream.len()), Vec::with_capacity(stream.len()));
    for row in rows {
        let before = all_stream.len();
        while let Some((_, found)) = pairs.next_if(|(paired, _)| **paired == row) {
            all_stream.push(row);
            all_table.push(Some(*found));
        }
        if all_stream.len() == before {
            all_stream.push(row);
            all_table.push(None);
        }
    }
    (all_stream.into(), all_table.into())
}

impl Operator for LookupJoin {
    fn name(&self) -> &'static str {
        "lookup join"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let mut evaluated = Vec::with_capacity(1);
        let mut errors = Vec::new();
        evaluate_rows(
            batch,
            &mut |batch| {
                let keys = self.plan.keys.iter().map(|key| key.evaluate(batch)?.into_array(batch.num_rows()));
                Ok(keys.collect::<Result<Vec<_>, _>>()?)
            },
            &mut |batch, keys| {
                evaluated.push((batch, keys));
                Ok(())
            },
            &mut |row, error| errors.push(self.reporter.row(&row, &error)),
        )?;
        errors.into_iter().for_each(|error| out.error(error));
        for (batch, keys) in evaluated {
            self.join(&batch, &keys, out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
