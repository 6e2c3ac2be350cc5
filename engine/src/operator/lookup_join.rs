//! Lookup join: a stream against a reference table (kda-sql-reference.md §4.6).
//!
//! Input:  batches of the stream.
//! Output: per row of the stream one row per matching row of the table, in the order of the stream, then of the table;
//!         a LEFT JOIN gives NULLs for the columns of the table where nothing matches. A subquery in an expression, such as
//!         `x IN (SELECT …)`, is a join as well: it asks only whether a row matches. ROWTIME is the stream row's.
//! State:  none; the table is hashed by its keys once, when the first operator of a plan is built, and shared. A refresh of
//!         the table hashes the new version beside it and then takes its place: a batch sees one version only.
//! Errors: a row whose key fails to evaluate and a pair whose condition fails go to `error_stream`, the others go on; what
//!         the table's refreshes have to say goes there as well.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{filter, take, take_arrays};
use arrow::datatypes::{SchemaRef, UInt32Type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_expr::PhysicalExpr;
use futures::future::BoxFuture;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::budget::{Budget, bytes_of_rows};
use super::join_keys::{KeyHashes, equal_keys};
use super::pair_filter::{PairFilter, Side};
use super::row_errors::evaluate_or_report;
use super::{Operator, Output};
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::{ErrorReporter, ErrorRow, rowtime_of};
use crate::table::{Derived, Note, Table};

/// Pairs that are looked at together; the pairs of one row of the stream are never divided.
const PAIRS: usize = 8_192;

/// The end of a chain of rows.
const NONE: u32 = u32::MAX;

/// A reference table on one side of a join. Clones of a plan share it.
pub struct LookupTable {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    origin: Origin,
    version: RwLock<Arc<Version>>,
    /// Counts the index and the rows of every version, once the first operator is built.
    pool: OnceLock<Arc<dyn MemoryPool>>,
    /// What `error_stream` has not been told yet.
    notes: Mutex<Vec<Note>>,
}

/// Computes the rows of a table's side of a join.
pub type ComputeRows = dyn Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync;

/// Where the rows of a [`LookupTable`] come from.
#[derive(Clone)]
pub struct Origin {
    /// The tables that they are computed from.
    pub tables: Vec<Arc<Table>>,
    /// Computes them from what the tables hold now.
    pub compute: Arc<ComputeRows>,
}

/// The rows at one time.
struct Version {
    rows: RecordBatch,
    index: OnceLock<Result<Index>>,
}

impl Version {
    fn new(rows: RecordBatch) -> Self {
        Self { rows, index: OnceLock::new() }
    }

    /// The index over the rows; built at the first call, whose `pool` counts it and the rows.
    fn index(&self, keys: &[Arc<dyn PhysicalExpr>], pool: &Arc<dyn MemoryPool>) -> Result<&Index> {
        self.index.get_or_init(|| Index::try_new(&self.rows, keys, pool)).as_ref().map_err(Clone::clone)
    }
}

impl LookupTable {
    /// A table that is looked up by `keys` and follows its `origin`, which gave `rows`.
    pub fn new(rows: RecordBatch, keys: Vec<Arc<dyn PhysicalExpr>>, origin: Origin) -> Arc<Self> {
        let version = RwLock::new(Arc::new(Version::new(rows)));
        let table = Arc::new(Self { keys, origin, version, pool: OnceLock::new(), notes: Mutex::default() });
        for origin in &table.origin.tables {
            let derived: Arc<dyn Derived> = table.clone();
            origin.add_derived(Arc::downgrade(&derived));
        }
        table
    }

    /// The tables that it is computed from.
    pub fn tables(&self) -> &[Arc<Table>] {
        &self.origin.tables
    }

    fn version(&self) -> Arc<Version> {
        self.version.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to be told since the last call; by whichever operator comes first.
    fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Derived for LookupTable {
    async fn recompute(self: Arc<Self>) -> Result<Box<dyn FnOnce() + Send>> {
        let version = Version::new((self.origin.compute)().await?);
        if let Some(pool) = self.pool.get() {
            version.index(&self.keys, pool)?;
        }
        Ok(Box::new(move || *self.version.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(version)))
    }

    fn note(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
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
        let pool = plan.table.pool.get_or_init(|| pool.clone());
        plan.table.version().index(&plan.table.keys, pool)?;
        Ok(Self { plan, reporter })
    }

    /// Tells what happened to the table.
    fn tell(&self, out: &mut Output) {
        for Note { level, name, message } in self.plan.table.take_notes() {
            out.error(ErrorRow { level, ..self.reporter.record(name, &message, Vec::new()) });
        }
    }

    /// Joins rows whose keys are known.
    fn join(&self, batch: &RecordBatch, keys: &[ArrayRef], version: &Version, out: &mut Output) -> Result<()> {
        // Built by the constructor or the refresh; here only if a refresh came before the first operator was built.
        let pool = self.plan.table.pool.get().ok_or_else(|| Error::internal("the table has no index"))?;
        let index = version.index(&self.plan.table.keys, pool)?;
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
                let (stream, table) = self.matching(batch, keys, (version, index), pairs, out)?;
                let rows = from as u32..row as u32 + 1;
                match self.plan.kind {
                    LookupKind::Inner => self.emit(batch, &version.rows, (&stream, &table), out)?,
                    LookupKind::Outer => {
                        let (stream, table) = with_unmatched(rows, &stream, &table);
                        self.emit(batch, &version.rows, (&stream, &table), out)?;
                    }
                    _ => self.emit_found(batch, keys, (version, index), rows, &stream, out)?,
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
        (version, index): (&Version, &Index),
        (stream, table): (UInt32Array, UInt32Array),
        out: &mut Output,
    ) -> Result<(UInt32Array, UInt32Array)> {
        let equal = equal_keys(&take_arrays(keys, &stream, None)?, &take_arrays(&index.keys, &table, None)?)?;
        let (stream, table) = kept((stream, table), equal)?;
        let Some(condition) = self.plan.filter.as_ref().filter(|_| !stream.is_empty()) else { return Ok((stream, table)) };
        let columns = condition.columns.iter().map(|(side, column)| match *side == self.plan.stream {
            true => take(batch.column(*column), &stream, None),
            false => take(version.rows.column(*column), &table, None),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let time_of = |pair: usize| rowtime_of(batch, stream.value(pair) as usize);
        let matches = condition.matches(columns, (stream.len(), &time_of), &self.reporter, out)?;
        kept((stream, table), Some(matches))
    }

    fn emit(
        &self,
        batch: &RecordBatch,
        rows: &RecordBatch,
        (stream, table): (&UInt32Array, &UInt32Array),
        out: &mut Output,
    ) -> Result<()> {
        let of_stream = take_arrays(batch.columns(), stream, None)?;
        let of_table = take_arrays(rows.columns(), table, None)?;
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
        (version, index): (&Version, &Index),
        rows: Range<u32>,
        matched: &UInt32Array,
        out: &mut Output,
    ) -> Result<()> {
        let mut found = vec![false; rows.len()];
        matched.values().iter().for_each(|row| found[(row - rows.start) as usize] = true);
        let table_rows = version.rows.num_rows();
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
        self.tell(out);
        let version = self.plan.table.version();
        let keys = |batch: &RecordBatch| {
            let keys = self.plan.keys.iter().map(|key| key.evaluate(batch)?.into_array(batch.num_rows()));
            Ok(keys.collect::<Result<Vec<_>, _>>()?)
        };
        for (batch, keys) in evaluate_or_report(batch, keys, &self.reporter, out)? {
            self.join(&batch, &keys, &version, out)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        // A table can fail while its stream is silent.
        self.tell(out);
        out.watermark(watermark);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
