//! One input of a window join: its rows that may still match, found by the hash of their keys.
//!
//! Rows have sequence numbers in the order in which they are processed. They are kept in batches, an append-only log; a
//! batch is dropped when its last row has left the window. Rows of equal hash are chained from the newest back, so that
//! the chain ends where the window does: a hash whose newest row has left needs no removal, it is swept out with others when
//! the table is full.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array, UInt64Array, new_null_array};
use arrow::compute::{concat, concat_batches, filter_record_batch, interleave, not, take, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::Output;
use super::budget::bytes_of_rows;
use super::join_keys::KeyHashes;
use super::row_errors::evaluate_or_report;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// No row.
pub const NONE: u64 = u64::MAX;

/// Batches of the log are merged up to this many rows.
const LOG_ROWS: usize = 8_192;

/// Rows that are looked for in both tables before the first of them is processed.
const WARM_ROWS: usize = 32;

/// How long a row can be matched by later rows of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For this many milliseconds of ROWTIME, the last one included.
    For(i64),
    /// Until this many rows of its own side have come after it.
    Rows(u64),
}

/// What a side of a window join is made of.
#[derive(Clone)]
pub struct JoinInput {
    /// Columns of the input.
    pub schema: SchemaRef,
    /// Place of ROWTIME among them.
    pub rowtime: usize,
    /// Equality keys.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// How long a row can be matched, at most.
    pub keep: Keep,
    /// The last time at which a row can be matched, where that is not a fixed time after the row.
    pub end: Option<Arc<dyn PhysicalExpr>>,
    /// True if rows without a match are kept, with NULL for the other side.
    pub preserved: bool,
}

/// A row that may still match.
struct Row {
    time: EventTime,
    /// The row before it that has the same hash.
    previous: u64,
    matched: bool,
    /// True if it has left the window while rows before it have not.
    gone: bool,
}

/// A row that is logged but not processed yet.
struct Ready {
    time: EventTime,
    hash: Option<u64>,
    /// The last time at which it can be matched, if that is computed.
    end: EventTime,
}

/// A row that has left the window.
pub struct Expired {
    /// Its sequence number.
    pub row: u64,
    /// The end of its window.
    pub time: EventTime,
    /// True if it had a match.
    pub matched: bool,
}

/// Rows of the log, from `first` on: the columns of the input, then the keys that are no columns.
struct Logged {
    first: u64,
    columns: Vec<ArrayRef>,
    rows: usize,
    bytes: usize,
}

/// A side of a window join.
pub struct JoinSide {
    /// The input.
    pub input: JoinInput,
    /// Rows that an earlier one may still come before, with the input that they came from.
    waiting: Vec<(usize, RecordBatch)>,
    ready: VecDeque<Ready>,
    rows: VecDeque<Row>,
    /// The computed ends of the rows, the first one first.
    ends: BinaryHeap<Reverse<(EventTime, u64)>>,
    /// Sequence number of the first of `rows`.
    base: u64,
    /// Hashes with their newest row, also if that has left.
    newest: HashTable<(u64, u64)>,
    /// So many of the first ready rows have been looked for in both tables already.
    warm: usize,
    log: VecDeque<Logged>,
    /// Rows that left since [`JoinSide::forget`]; only if they are preserved. In sequence, unless their ends are computed.
    expired: Vec<Expired>,
    /// Bytes of the log and of waiting rows.
    bytes: usize,
}

impl JoinSide {
    /// A side without rows.
    pub fn new(input: JoinInput) -> Self {
        Self {
            input,
            waiting: Vec::new(),
            ready: VecDeque::new(),
            rows: VecDeque::new(),
            ends: BinaryHeap::new(),
            base: 0,
            newest: HashTable::new(),
            warm: 0,
            log: VecDeque::new(),
            expired: Vec::new(),
            bytes: 0,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
            + self.rows.capacity() * size_of::<Row>()
            + self.ends.capacity() * size_of::<(EventTime, u64)>()
            + self.newest.allocation_size()
    }

    /// Rows held.
    pub fn held(&self) -> usize {
        self.rows.len() + self.waiting.iter().map(|(_, batch)| batch.num_rows()).sum::<usize>()
    }

    /// The times of a batch's rows.
    pub fn times<'a>(&self, batch: &'a RecordBatch) -> Result<&'a [EventTime]> {
        let column = batch.column(self.input.rowtime).as_primitive_opt::<TimestampMillisecondType>();
        Ok(column.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?.values())
    }

    /// Takes rows that cannot be processed before the watermark has passed them.
    pub fn wait(&mut self, input: usize, batch: RecordBatch) {
        self.bytes += bytes_of_rows(&batch);
        self.waiting.push((input, batch));
    }

    /// Logs the waiting rows before `watermark`, in the order of their time, then of their input, then of their arrival.
    pub fn prepare(&mut self, watermark: EventTime, reporter: &ErrorReporter, out: &mut Output) -> Result<()> {
        let Some(rows) = self.take_ready(watermark)? else { return Ok(()) };
        let values = |batch: &RecordBatch| {
            let exprs = self.input.keys.iter().chain(&self.input.end);
            let values = exprs.map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()));
            Ok(values.collect::<Result<Vec<_>, _>>()?)
        };
        let evaluated = evaluate_or_report(rows, values, reporter, out)?;
        evaluated.into_iter().try_for_each(|(batch, values)| self.log(&batch, &values))
    }

    fn take_ready(&mut self, watermark: EventTime) -> Result<Option<RecordBatch>> {
        let is_ready = |time: EventTime| time < watermark || watermark == EventTime::MAX;
        let mut ready = Vec::new();
        // Batches that wait as a whole are not touched: one side may be far ahead of the other.
        for (input, batch) in std::mem::take(&mut self.waiting) {
            let times = self.times(&batch)?;
            let count = times.iter().filter(|time| is_ready(**time)).count();
            if count == 0 {
                self.waiting.push((input, batch));
                continue;
            }
            self.bytes -= bytes_of_rows(&batch);
            if count == times.len() {
                ready.push((input, batch));
                continue;
            }
            if times.is_sorted() {
                ready.push((input, batch.slice(0, count)));
                self.wait(input, batch.slice(count, batch.num_rows() - count));
                continue;
            }
            let mask: BooleanArray = times.iter().map(|time| Some(is_ready(*time))).collect();
            ready.push((input, filter_record_batch(&batch, &mask)?));
            self.wait(input, filter_record_batch(&batch, &not(&mask)?)?);
        }
        // The sort below is stable: input order, then arrival order, within one ROWTIME.
        ready.sort_by_key(|(input, _)| *input);
        let rows = match ready.as_slice() {
            [] => return Ok(None),
            [(_, only)] => only.clone(),
            several => concat_batches(&self.input.schema, several.iter().map(|(_, batch)| batch))?,
        };
        let times = self.times(&rows)?;
        if times.is_sorted() {
            return Ok(Some(rows));
        }
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|row| times[*row as usize]);
        Ok(Some(take_record_batch(&rows, &UInt32Array::from(order))?))
    }

    /// `values` are those of the keys, and then the ends if they are computed.
    fn log(&mut self, batch: &RecordBatch, values: &[ArrayRef]) -> Result<()> {
        let (keys, ends) = values.split_at(self.input.keys.len());
        let hashes = KeyHashes::of(keys, batch.num_rows())?;
        let times = self.times(batch)?;
        let ends = match ends.first() {
            Some(ends) => match ends.as_primitive_opt::<TimestampMillisecondType>() {
                Some(ends) => ends.values(),
                None => return Err(Error::internal("the end of a joined row is not a timestamp")),
            },
            None => times,
        };
        let rows = times.iter().zip(ends).enumerate();
        self.ready.extend(rows.map(|(row, (time, end))| Ready { time: *time, hash: hashes.get(row), end: *end }));
        let computed = self.input.keys.iter().zip(keys).filter(|(key, _)| key.downcast_ref::<Column>().is_none());
        let mut columns: Vec<ArrayRef> = batch.columns().iter().chain(computed.map(|(_, key)| key)).cloned().collect();
        let (mut first, mut rows) = (self.end_of_log(), batch.num_rows());
        // Many small batches become few larger ones; each row is copied a few times at most.
        while let Some(last) = self.log.pop_back_if(|last| last.rows <= rows && last.rows + rows <= LOG_ROWS) {
            let both = last.columns.iter().zip(&columns);
            columns = both.map(|(one, other)| concat(&[one.as_ref(), other.as_ref()])).collect::<Result<_, _>>()?;
            (first, rows) = (last.first, last.rows + rows);
            self.bytes -= last.bytes;
        }
        let bytes = columns.iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        self.bytes += bytes;
        self.log.push_back(Logged { first, columns, rows, bytes });
        Ok(())
    }

    fn end_of_log(&self) -> u64 {
        self.log.back().map_or(self.base + self.rows.len() as u64, |last| last.first + last.rows as u64)
    }

    /// The time of the next row to process.
    pub fn next_time(&self) -> Option<EventTime> {
        self.ready.front().map(|row| row.time)
    }

    /// Processes the next row: gives its sequence number and its hash, if it can match. Its own side keeps it from now on.
    pub fn arrive(&mut self) -> Option<(u64, Option<u64>)> {
        let Ready { time, hash, end } = self.ready.pop_front()?;
        self.warm = self.warm.saturating_sub(1);
        let row = self.base + self.rows.len() as u64;
        let mut previous = NONE;
        if let Some(hash) = hash {
            if self.newest.len() == self.newest.capacity() {
                self.sweep();
            }
            match self.newest.entry(hash, |(other, _)| *other == hash, |(hash, _)| *hash) {
                Entry::Occupied(mut entry) => previous = std::mem::replace(&mut entry.get_mut().1, row),
                Entry::Vacant(entry) => {
                    entry.insert((hash, row));
                }
            }
        }
        self.rows.push_back(Row { time, previous, matched: false, gone: false });
        if self.input.end.is_some() {
            self.ends.push(Reverse((end, row)));
        }
        if let Keep::Rows(rows) = self.input.keep {
            while self.rows.len() as u64 > rows {
                self.expire_first(time);
            }
        }
        Some((row, hash))
    }

    /// The rows with this hash that are in the window, newest first.
    pub fn candidates(&self, hash: u64) -> impl Iterator<Item = u64> {
        let in_window = |row: &u64| *row != NONE && *row >= self.base;
        let newest = self.newest.find(hash, |(other, _)| *other == hash).map(|(_, row)| *row).filter(in_window);
        std::iter::successors(newest, move |row| Some(self.rows[(*row - self.base) as usize].previous).filter(in_window))
    }

    /// Lets go of the rows that nothing at `now` or later can match. `ends` is true if nothing comes any more at all.
    pub fn expire(&mut self, now: EventTime, last: EventTime, ends: bool) {
        if self.input.end.is_some() {
            return self.expire_by_end(now, ends);
        }
        loop {
            let Some(row) = self.rows.front() else { return };
            let end = match self.input.keep {
                Keep::For(length) => row.time.saturating_add(length),
                Keep::Rows(_) if ends => row.time.max(last),
                Keep::Rows(_) => return,
            };
            if end >= now && !ends {
                return;
            }
            self.expire_first(end);
        }
    }

    /// Rows whose ends are computed stay where they are until those before them have left.
    fn expire_by_end(&mut self, now: EventTime, ends: bool) {
        while let Some(Reverse((end, row))) = self.ends.peek().copied().filter(|Reverse((end, _))| *end < now || ends) {
            self.ends.pop();
            if let Some(of_row) = row.checked_sub(self.base).and_then(|place| self.rows.get_mut(place as usize)) {
                of_row.gone = true;
                // A row that is restored may have left before.
                if self.input.preserved && !of_row.matched {
                    self.expired.push(Expired { row, time: end, matched: false });
                }
            }
        }
    }

    fn expire_first(&mut self, time: EventTime) {
        let Some(row) = self.pop_first() else { return };
        if self.input.preserved {
            self.expired.push(Expired { row: self.base - 1, time, matched: row.matched });
        }
    }

    fn pop_first(&mut self) -> Option<Row> {
        let row = self.rows.pop_front()?;
        self.base += 1;
        Some(row)
    }

    /// Brings what the next rows will look up on both sides into the cache. A window is larger than that, and waiting for one
    /// row after the other would be most of a join's time; here the waits overlap.
    pub fn warm_up(&mut self, other: &Self) {
        if self.warm > 0 {
            return;
        }
        let mut seen = 0;
        for hash in self.ready.iter().take(WARM_ROWS).filter_map(|ready| ready.hash) {
            seen ^= self.newest.find(hash, |(other, _)| *other == hash).map_or(0, |(_, row)| *row);
            seen ^= other.candidates(hash).next().map_or(0, |row| other.rows[(row - other.base) as usize].previous);
        }
        std::hint::black_box(seen);
        self.warm = self.ready.len().min(WARM_ROWS);
    }

    /// Makes a table of the hashes with a row in the window, with room for as many more.
    fn sweep(&mut self) {
        let in_window = |(_, row): &&(u64, u64)| *row >= self.base;
        let mut swept = HashTable::with_capacity(2 * self.newest.iter().filter(in_window).count());
        for entry in self.newest.iter().filter(in_window) {
            swept.insert_unique(entry.0, *entry, |(hash, _)| *hash);
        }
        self.newest = swept;
    }

    /// The rows that left since [`JoinSide::forget`] and never matched.
    pub fn unmatched(&self) -> impl Iterator<Item = &Expired> {
        self.expired.iter().filter(|expired| match expired.row.checked_sub(self.base) {
            Some(place) => !self.rows[place as usize].matched,
            None => !expired.matched,
        })
    }

    /// Remembers that a row has matched.
    pub fn set_matched(&mut self, row: u64) {
        if let Some(place) = row.checked_sub(self.base) {
            self.rows[place as usize].matched = true;
        } else if let Some(place) = self.expired.first().and_then(|first| row.checked_sub(first.row)) {
            // Rows leave in sequence.
            self.expired[place as usize].matched = true;
        }
    }

    /// Frees what left the window; nothing of it can be gathered any more.
    pub fn forget(&mut self) {
        self.expired.clear();
        while self.rows.front().is_some_and(|row| row.gone) {
            self.pop_first();
        }
        while let Some(first) = self.log.pop_front_if(|first| first.first + first.rows as u64 <= self.base) {
            self.bytes -= first.bytes;
        }
        if self.rows.len() * 8 < self.newest.capacity() {
            self.sweep();
        }
        if self.rows.len() * 4 < self.rows.capacity() {
            self.rows.shrink_to(self.rows.len() * 2);
        }
    }

    /// The keys of `rows`.
    pub fn gather_keys(&self, rows: &[u64]) -> Result<Vec<ArrayRef>> {
        let mut computed = self.input.schema.fields().len();
        let places = self.input.keys.iter().map(|key| match key.downcast_ref::<Column>() {
            Some(column) => column.index(),
            None => {
                computed += 1;
                computed - 1
            }
        });
        let places: Vec<_> = places.collect();
        self.gather(rows, &places)
    }

    /// The columns `places` of `rows`; NULL for [`NONE`].
    pub fn gather(&self, rows: &[u64], places: &[usize]) -> Result<Vec<ArrayRef>> {
        // From a batch of the log to its place among those that are used; the first one is for NULL.
        let mut slots = vec![0; self.log.len()];
        let mut used = Vec::new();
        let mut current = 0;
        let mut indices = Vec::with_capacity(rows.len());
        for row in rows {
            if *row == NONE {
                indices.push((0, 0));
                continue;
            }
            let holds = |logged: &Logged| (logged.first..logged.first + logged.rows as u64).contains(row);
            if !self.log.get(current).is_some_and(holds) {
                current = self.log.partition_point(|logged| logged.first + logged.rows as u64 <= *row);
            }
            let logged = self.log.get(current).ok_or_else(|| Error::internal("a row has left its window too early"))?;
            if slots[current] == 0 {
                used.push(current);
                slots[current] = used.len();
            }
            indices.push((slots[current], (*row - logged.first) as usize));
        }
        let data_type = |place: usize| match self.input.schema.fields().get(place) {
            Some(field) => field.data_type().clone(),
            None => self.log[used[0]].columns[place].data_type().clone(),
        };
        if let ([only], false) = (used.as_slice(), indices.iter().any(|(slot, _)| *slot == 0)) {
            let rows = UInt64Array::from_iter_values(indices.iter().map(|(_, row)| *row as u64));
            return Ok(places
                .iter()
                .map(|place| take(&self.log[*only].columns[*place], &rows, None))
                .collect::<Result<_, _>>()?);
        }
        let columns = places.iter().map(|place| {
            let null = new_null_array(&data_type(*place), 1);
            let used = used.iter().map(|batch| self.log[*batch].columns[*place].as_ref());
            interleave(&std::iter::once(null.as_ref()).chain(used).collect::<Vec<_>>(), &indices)
        });
        Ok(columns.collect::<Result<_, _>>()?)
    }

    /// The rows in the window, batch by batch, and which of them have matched.
    pub fn saved_rows(&self) -> Result<Vec<(RecordBatch, BooleanArray)>> {
        let width = self.input.schema.fields().len();
        let kept = self.log.iter().filter(|logged| logged.first + logged.rows as u64 > self.base);
        let saved = kept.map(|logged| {
            let from = self.base.saturating_sub(logged.first) as usize;
            let columns = logged.columns[..width].iter().map(|column| column.slice(from, logged.rows - from)).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(logged.rows - from));
            let first = (logged.first + from as u64 - self.base) as usize;
            let matched =
                (first..first + logged.rows - from).map(|row| Some(self.rows[row].matched || self.rows[row].gone)).collect();
            Ok((RecordBatch::try_new_with_options(self.input.schema.clone(), columns, &options)?, matched))
        });
        saved.collect()
    }

    /// The rows that wait, with the inputs that they came from.
    pub fn saved_waiting(&self) -> &[(usize, RecordBatch)] {
        &self.waiting
    }

    /// Takes saved rows of the window, in their order.
    pub fn restore_rows(&mut self, batch: &RecordBatch, matched: &BooleanArray) -> Result<()> {
        let exprs = self.input.keys.iter().chain(&self.input.end);
        let values = exprs.map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()));
        self.log(batch, &values.collect::<Result<Vec<_>, _>>()?)?;
        for row in 0..batch.num_rows() {
            if let Some((row, _)) = self.arrive().filter(|_| matched.value(row)) {
                self.set_matched(row);
            }
        }
        Ok(())
    }
}
