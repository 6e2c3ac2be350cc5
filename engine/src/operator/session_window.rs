//! Session windows: GROUP BY over `TABLE(SESSION(…))`.
//!
//! Input:  batches with ROWTIME; rows may come in any order down to the watermark.
//! Output: one row per session: the GROUP BY columns, then the aggregates; sessions by their end, then by key, NULL last.
//! State:  per key the states of its open session, one per pane; a pane is as long as the gap.
//! Time:   a session is the rows of a key of which each comes less than the gap after the one before. It ends one gap behind
//!         its last row: a row exactly then is the first of another session. It closes when the watermark reaches its end,
//!         which is the ROWTIME of its result.
//! Late:   rows behind the watermark go to `error_stream` as `LATE_ROW`.
//! Errors: a row whose key or argument fails to evaluate goes to `error_stream`.
//!
//! All rows of a key in one pane are of one session, so rows are aggregated by pane and key, and a session is a list of those
//! states. Rows out of order, also such that make one session of two, thus cost nothing more: sessions are put together when
//! a pane is over, and a session that ends before is known to be complete, as all rows but those of the open pane are there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, TimestampMillisecondArray, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, filter_record_batch, interleave, lexsort_to_indices, take_arrays};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::PhysicalExpr;

use super::budget::Budget;
use super::group_keys::GroupKeys;
use super::row_errors::evaluate_or_report;
use super::tumbling_window::{OutputColumn, emit_groups, window_of};
use super::window_pane::{Pane, PaneLayout, states_of};
use super::{Operator, Output, times_of};
use crate::checkpoint::OperatorState;
use crate::error::Result;
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;
use crate::types::ROWTIME;

/// Ascending, NULL last (kda-sql-reference.md §8.5).
const ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };

/// After so many panes the states of a session become one.
const PIECES_MAX: usize = 32;

/// The plan of session windows.
#[derive(Clone)]
pub struct SessionPlan {
    /// Milliseconds without a row that end a session.
    pub gap: i64,
    /// The keys over the input.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Keys and aggregates.
    pub layout: PaneLayout,
    /// What the output columns are.
    pub columns: Vec<OutputColumn>,
    /// Their names and types.
    pub schema: SchemaRef,
}

/// Groups and aggregates rows per session.
pub struct SessionWindow {
    plan: SessionPlan,
    keys: GroupKeys,
    /// Panes that the watermark has not passed, by their start.
    panes: BTreeMap<EventTime, OpenPane>,
    /// The states of the panes that it has passed.
    pieces: Vec<Vec<ArrayRef>>,
    /// By the number of a key: its session, as far as the panes that are over know it.
    sessions: Vec<Option<Session>>,
    /// Ends of sessions with the numbers of their keys, also of such as have moved meanwhile; not of those that are known to go
    /// on in an open pane.
    ends: BinaryHeap<Reverse<(EventTime, u32)>>,
    watermark: EventTime,
    budget: Budget,
    reporter: ErrorReporter,
}

struct OpenPane {
    groups: Pane,
    /// ROWTIME of the first and the last row of each group.
    bounds: Vec<(EventTime, EventTime)>,
}

struct Session {
    first: EventTime,
    last: EventTime,
    /// Its states: the piece and the row in it.
    parts: Vec<(u32, u32)>,
}

/// A session that is over.
type Closed = (u32, Session);

/// Rows of a batch, evaluated.
struct Evaluated {
    keys: Vec<ArrayRef>,
    /// Per aggregate its arguments.
    arguments: Vec<Vec<ArrayRef>>,
}

impl SessionWindow {
    /// `budget` counts the open sessions.
    pub fn try_new(plan: SessionPlan, budget: Budget, reporter: ErrorReporter) -> Result<Self> {
        Ok(Self {
            keys: GroupKeys::try_new(plan.layout.keys.clone())?,
            plan,
            panes: BTreeMap::new(),
            pieces: Vec::new(),
            sessions: Vec::new(),
            ends: BinaryHeap::new(),
            watermark: EventTime::MIN,
            budget,
            reporter,
        })
    }

    fn pane_of(&self, time: EventTime) -> EventTime {
        time.saturating_sub(time.rem_euclid(self.plan.gap))
    }

    fn end_of(&self, session: &Session) -> EventTime {
        session.last.saturating_add(self.plan.gap)
    }

    /// `batch` without its late rows, which are reported.
    fn in_time(&self, batch: RecordBatch, out: &mut Output) -> Result<RecordBatch> {
        let rowtime = batch.schema_ref().index_of(ROWTIME)?;
        let times = times_of(&batch, rowtime)?;
        if times.iter().all(|time| *time >= self.watermark) {
            return Ok(batch);
        }
        let late = (0..times.len()).filter(|row| times[*row] < self.watermark);
        late.for_each(|row| out.error(self.reporter.late_row(&batch.slice(row, 1), self.watermark)));
        let in_time: BooleanArray = times.iter().map(|time| Some(*time >= self.watermark)).collect();
        Ok(filter_record_batch(&batch, &in_time)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        let evaluate = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(batch.num_rows());
        let keys = self.plan.keys.iter().map(evaluate).collect::<Result<_, _>>()?;
        let aggregates = self.plan.layout.aggregates.iter();
        let arguments =
            aggregates.map(|aggregate| aggregate.arguments.iter().map(evaluate).collect()).collect::<Result<_, _>>()?;
        Ok(Evaluated { keys, arguments })
    }

    fn add(&mut self, batch: &RecordBatch, rows: Evaluated) -> Result<()> {
        let times = times_of(batch, batch.schema_ref().index_of(ROWTIME)?)?;
        let mut numbers = Vec::new();
        self.keys.intern(&rows.keys, batch.num_rows(), &mut numbers)?;
        let Some(pane) = times.first().map(|time| self.pane_of(*time)) else { return Ok(()) };
        let end = pane.saturating_add(self.plan.gap);
        if times.iter().all(|time| (pane..end).contains(time)) {
            return self.add_to(pane, times, &numbers, &rows.arguments);
        }
        // Of several panes: gather the rows of each, in the order in which they came.
        let mut gathered: BTreeMap<EventTime, Vec<u32>> = BTreeMap::new();
        for (row, time) in times.iter().enumerate() {
            gathered.entry(self.pane_of(*time)).or_default().push(row as u32);
        }
        for (pane, indices) in gathered {
            let times: Vec<_> = indices.iter().map(|row| times[*row as usize]).collect();
            let numbers: Vec<_> = indices.iter().map(|row| numbers[*row as usize]).collect();
            let indices = UInt32Array::from(indices);
            let take = |columns: &Vec<ArrayRef>| take_arrays(columns, &indices, None);
            let arguments = rows.arguments.iter().map(take).collect::<Result<Vec<_>, _>>()?;
            self.add_to(pane, &times, &numbers, &arguments)?;
        }
        Ok(())
    }

    fn add_to(&mut self, pane: EventTime, times: &[EventTime], numbers: &[usize], arguments: &[Vec<ArrayRef>]) -> Result<()> {
        let open = match self.panes.entry(pane) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(OpenPane { groups: Pane::try_new(&self.plan.layout, pane)?, bounds: Vec::new() })
            }
        };
        let mut places = Vec::new();
        open.groups.update(&self.keys, numbers, arguments, &mut places)?;
        open.bounds.resize(open.groups.groups().len(), (EventTime::MAX, EventTime::MIN));
        for (place, time) in places.iter().zip(times) {
            let (first, last) = &mut open.bounds[*place];
            (*first, *last) = ((*first).min(*time), (*last).max(*time));
        }
        Ok(())
    }

    /// The pane is over: its groups go on with their sessions or begin new ones.
    fn finish_pane(&mut self, pane: OpenPane, closed: &mut Vec<Closed>) -> Result<()> {
        let (numbers, states) = pane.groups.into_states()?;
        let piece = self.pieces.len() as u32;
        self.pieces.push(states);
        self.sessions.resize_with(self.keys.count(), || None);
        for (row, (number, (first, last))) in numbers.into_iter().zip(pane.bounds).enumerate() {
            let part = (piece, row as u32);
            let session = &mut self.sessions[number as usize];
            match session {
                Some(session) if first < session.last.saturating_add(self.plan.gap) => {
                    session.last = session.last.max(last);
                    session.parts.push(part);
                }
                session => {
                    closed.extend(session.take().map(|session| (number, session)));
                    *session = Some(Session { first, last, parts: vec![part] });
                }
            }
            self.ends.push(Reverse((last.saturating_add(self.plan.gap), number)));
        }
        Ok(())
    }

    /// Takes the sessions that the watermark has reached the end of.
    fn close(&mut self, closed: &mut Vec<Closed>) {
        let open = self.panes.get(&self.pane_of(self.watermark));
        while let Some(Reverse((end, number))) = self.ends.peek().copied().filter(|next| next.0.0 <= self.watermark) {
            self.ends.pop();
            let session = &mut self.sessions[number as usize];
            let is_over = session.as_ref().is_some_and(|session| session.last.saturating_add(self.plan.gap) == end)
                // Rows that the open pane has of it are behind its end, or it goes on with them.
                && open.is_none_or(|open| open.groups.place_of(number).is_none_or(|place| open.bounds[place].0 >= end));
            if is_over {
                closed.extend(session.take().map(|session| (number, session)));
            }
        }
    }

    fn emit(&mut self, closed: &[Closed], out: &mut Output) -> Result<()> {
        if closed.is_empty() {
            return Ok(());
        }
        self.keys.settle()?;
        let keys = self.keys.take(&closed.iter().map(|(number, _)| *number).collect::<UInt32Array>())?;
        let ends: ArrayRef = Arc::new(closed.iter().map(|(_, session)| self.end_of(session)).collect::<Int64Array>());
        let columns = std::iter::once(&ends).chain(&keys);
        let columns: Vec<_> = columns.map(|values| SortColumn { values: values.clone(), options: Some(ORDER) }).collect();
        let order = lexsort_to_indices(&columns, None)?;
        let keys = take_arrays(&keys, &order, None)?;
        let ordered: Vec<&Session> = order.values().iter().map(|row| &closed[*row as usize].1).collect();
        let mut accumulators = self.plan.layout.accumulators()?;
        let (states, places) = self.states_of(&ordered)?;
        self.plan.layout.merge(&mut accumulators, &states, &places, ordered.len())?;
        let results = accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let of_window = |column, _: &DataType| {
            let instants = ordered.iter().map(|session| match column {
                OutputColumn::WindowEnd(shift) => self.end_of(session).saturating_add(shift),
                _ => session.first,
            });
            Ok(Arc::new(TimestampMillisecondArray::from_iter_values(instants)) as ArrayRef)
        };
        emit_groups(&self.plan.columns, &self.plan.schema, (keys, results, ordered.len()), of_window, out)
    }

    /// The states of `sessions`, one after the other, and which session each is of.
    fn states_of(&self, sessions: &[&Session]) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
        let (mut indices, mut places) = (Vec::new(), Vec::new());
        for (place, session) in sessions.iter().enumerate() {
            indices.extend(session.parts.iter().map(|(piece, row)| (*piece as usize, *row as usize)));
            places.resize(indices.len(), place);
        }
        let width = self.pieces.first().map_or(0, Vec::len);
        let column = |column: usize| {
            let parts: Vec<&dyn Array> = self.pieces.iter().map(|piece| piece[column].as_ref()).collect();
            interleave(&parts, &indices)
        };
        Ok(((0..width).map(column).collect::<Result<_, _>>()?, places))
    }

    /// Makes one state of the states of each session, so that neither they nor closed sessions pile up.
    fn compact(&mut self) -> Result<()> {
        let sessions: Vec<&Session> = self.sessions.iter().flatten().collect();
        let mut accumulators = self.plan.layout.accumulators()?;
        let (states, places) = self.states_of(&sessions)?;
        self.plan.layout.merge(&mut accumulators, &states, &places, sessions.len())?;
        self.pieces = vec![states_of(&mut accumulators)?];
        for (row, session) in self.sessions.iter_mut().flatten().enumerate() {
            session.parts = vec![(0, row as u32)];
        }
        Ok(())
    }

    /// Forgets the keys that only closed sessions had.
    fn forget_keys(&mut self) -> Result<()> {
        let in_use = self.ends.len() + self.panes.values().map(|pane| pane.groups.groups().len()).sum::<usize>();
        let of_sessions = self.sessions.iter().enumerate().filter(|(_, session)| session.is_some());
        let numbers = || {
            let of_panes = self.panes.values().flat_map(|pane| pane.groups.groups().iter().copied());
            of_sessions.map(|(number, _)| number as u32).chain(of_panes).collect()
        };
        let Some(renumbered) = self.keys.retain(in_use, numbers)? else { return Ok(()) };
        let sessions: Vec<Session> = std::mem::take(&mut self.sessions).into_iter().flatten().collect();
        let (of_sessions, mut rest) = renumbered.split_at(sessions.len());
        self.sessions.resize_with(self.keys.count(), || None);
        self.ends.clear();
        for (session, number) in sessions.into_iter().zip(of_sessions) {
            self.ends.push(Reverse((self.end_of(&session), *number as u32)));
            self.sessions[*number] = Some(session);
        }
        for pane in self.panes.values_mut() {
            let (of_pane, others) = rest.split_at(pane.groups.groups().len());
            pane.groups.renumber(&self.keys, of_pane);
            rest = others;
        }
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let panes = self.panes.values().map(|pane| pane.groups.size() + pane.bounds.capacity() * size_of::<(i64, i64)>());
        let pieces = self.pieces.iter().flatten().map(|column| column.get_array_memory_size());
        let sessions =
            self.sessions.capacity() * size_of::<Option<Session>>() + self.ends.len() * size_of::<(i64, u32, [u32; 4])>();
        let bytes = self.keys.size() + panes.sum::<usize>() + pieces.sum::<usize>() + sessions;
        let in_panes = || self.panes.values().map(|pane| pane.groups.groups().len()).sum::<usize>();
        self.budget.resize(bytes, || format!("{} open sessions", self.sessions.iter().flatten().count() + in_panes()))
    }

    /// Columns of a saved state: those of a pane, then the times of the first and the last row.
    fn saved_schema(&self) -> SchemaRef {
        let times = ["$first", "$last"].map(|name| FieldRef::new(Field::new(name, DataType::Int64, false)));
        Arc::new(Schema::new(self.plan.layout.state_schema.fields().iter().cloned().chain(times).collect::<Vec<_>>()))
    }

    fn saved(&self, start: EventTime, numbers: Vec<u32>, states: Vec<ArrayRef>, bounds: &[(i64, i64)]) -> Result<RecordBatch> {
        let start: ArrayRef = Arc::new(Int64Array::from_value(start, numbers.len()));
        let keys = self.keys.take(&UInt32Array::from(numbers))?;
        let first: ArrayRef = Arc::new(bounds.iter().map(|(first, _)| *first).collect::<Int64Array>());
        let last: ArrayRef = Arc::new(bounds.iter().map(|(_, last)| *last).collect::<Int64Array>());
        let columns = [start.clone(), start].into_iter().chain(keys).chain(states).chain([first, last]).collect();
        Ok(RecordBatch::try_new(self.saved_schema(), columns)?)
    }
}

impl Operator for SessionWindow {
    fn name(&self) -> &'static str {
        "session window"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let batch = self.in_time(batch, out)?;
        for (batch, rows) in evaluate_or_report(batch, |batch| self.evaluate(batch), &self.reporter, out)? {
            self.add(&batch, rows)?;
        }
        self.account()
    }

    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        let mut closed = Vec::new();
        while let Some(pane) = self.panes.first_entry().filter(|pane| pane.key().saturating_add(self.plan.gap) <= self.watermark)
        {
            let pane = pane.remove();
            self.finish_pane(pane, &mut closed)?;
        }
        self.close(&mut closed);
        self.emit(&closed, out)?;
        // A session without an end here goes on in an open pane.
        if self.ends.is_empty() && self.panes.is_empty() {
            self.pieces.clear();
        } else if self.pieces.len() > PIECES_MAX {
            self.compact()?;
        }
        if !closed.is_empty() {
            self.forget_keys()?;
        }
        self.account()?;
        out.watermark(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        self.keys.settle()?;
        let (mut numbers, mut bounds, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
        for (number, session) in self.sessions.iter().enumerate() {
            if let Some(session) = session {
                numbers.resize(numbers.len() + session.parts.len(), number as u32);
                bounds.resize(numbers.len(), (session.first, session.last));
                sessions.push(session);
            }
        }
        let mut batches = Vec::new();
        if !sessions.is_empty() {
            let (states, _) = self.states_of(&sessions)?;
            batches.push(self.saved(EventTime::MIN, numbers, states, &bounds)?);
        }
        let summary = serde_json::json!({ "watermark": self.watermark, "sessions": batches.len() });
        let mut panes = std::mem::take(&mut self.panes);
        for (start, pane) in &mut panes {
            // Reading empties a pane: it is filled again, as a restart does it.
            let empty = Pane::try_new(&self.plan.layout, *start)?;
            let (numbers, states) = std::mem::replace(&mut pane.groups, empty).into_states()?;
            let places: Vec<usize> = numbers.iter().map(|number| *number as usize).collect();
            pane.groups.merge_states(&self.plan.layout, &self.keys, &places, &states)?;
            batches.push(self.saved(*start, numbers, states, &pane.bounds)?);
        }
        self.panes = panes;
        Ok(Some(OperatorState { summary, batches }))
    }

    fn restore(&mut self, state: OperatorState) -> Result<()> {
        self.watermark = state.summary_value("watermark")?;
        let sessions: usize = state.summary_value("sessions")?;
        for (place, batch) in state.batches.iter().enumerate() {
            let width = batch.num_columns();
            let (keys, states) = self.plan.layout.columns_of(batch);
            let states = &states[..states.len() - 2];
            let mut numbers = Vec::new();
            self.keys.intern(keys, batch.num_rows(), &mut numbers)?;
            let times = |column: usize| batch.column(column).as_primitive::<Int64Type>().values();
            let bounds = times(width - 2).iter().copied().zip(times(width - 1).iter().copied());
            if place < sessions {
                self.pieces.push(states.to_vec());
                self.sessions.resize_with(self.keys.count(), || None);
                for (row, (number, (first, last))) in numbers.into_iter().zip(bounds).enumerate() {
                    let session = self.sessions[number].get_or_insert(Session { first, last, parts: Vec::new() });
                    session.parts.push((0, row as u32));
                    self.ends.push(Reverse((last.saturating_add(self.plan.gap), number as u32)));
                }
            } else {
                let start = window_of(batch);
                let mut groups = Pane::try_new(&self.plan.layout, start)?;
                groups.merge_states(&self.plan.layout, &self.keys, &numbers, states)?;
                self.panes.insert(start, OpenPane { groups, bounds: bounds.collect() });
            }
        }
        self.sessions.resize_with(self.keys.count(), || None);
        self.account()
    }
}
