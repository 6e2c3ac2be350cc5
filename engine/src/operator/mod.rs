//! Operators: synchronous, vectorised state machines, one per file.
//!
//! A [`Chain`] fuses operators into one task: what one emits is handed to the next by a call, without a channel.

pub mod budget;
pub mod distinct;
pub mod filter;
pub mod group_keys;
pub mod group_rank;
pub mod hop_window;
pub mod insert;
pub mod join_keys;
pub mod join_side;
pub mod lookup_join;
pub mod merge;
pub mod model;
pub mod override_rowtime;
pub mod pair_filter;
pub mod periods;
pub mod project;
pub mod row_errors;
pub mod running_aggregate;
pub mod select;
pub mod session_window;
pub mod sliding_window;
pub mod sorted_runs;
pub mod stagger_window;
pub mod stream_sort;
pub mod text_numbers;
pub mod time_order;
pub mod top_n;
pub mod tumbling_window;
pub mod turn_window;
pub mod window_join;
pub mod window_key;
pub mod window_pane;
pub mod window_rows;
pub mod within_sort;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMillisecondType;
use arrow::record_batch::RecordBatch;

use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::channel::{End, Event};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorRow;

/// A streaming operator. Calls come in the order of the input; none blocks.
pub trait Operator: Send {
    /// Short name for EXPLAIN, errors and memory accounting, such as `filter`.
    fn name(&self) -> &'static str;

    /// Takes a batch of input `input` (0 unless the operator stands behind a merge).
    fn on_batch(&mut self, input: usize, batch: RecordBatch, out: &mut Output) -> Result<()>;

    /// No row earlier than `watermark` follows on any input. Must emit a watermark once its own output is complete.
    fn on_watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<()> {
        out.watermark(watermark);
        Ok(())
    }

    /// The inputs are silent: a merge behind does not wait for them until they speak again. Must emit what would miss its
    /// time there, then say so.
    fn on_idle(&mut self, out: &mut Output) -> Result<()> {
        out.idle();
        Ok(())
    }

    /// When, on the clock of the job, the operator is to be woken; None while it waits for nothing but its input.
    fn wake_time(&self) -> Option<EventTime> {
        None
    }

    /// The clock shows the wake time or later.
    fn on_wake(&mut self, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// All inputs ended. On [`End::Complete`] the watermark was raised to [`EventTime::MAX`] before.
    fn on_end(&mut self, _end: End, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// The state to save at a barrier; None for operators without state. The operator goes on as if not asked.
    fn snapshot(&mut self) -> Result<Option<OperatorState>> {
        Ok(None)
    }

    /// Takes a saved state, before any other call.
    fn restore(&mut self, _state: OperatorState) -> Result<()> {
        Ok(())
    }
}

/// The ROWTIMEs of a batch, whose column `rowtime` they are.
pub(crate) fn times_of(batch: &RecordBatch, rowtime: usize) -> Result<&[EventTime]> {
    let times = batch.column(rowtime).as_primitive_opt::<TimestampMillisecondType>();
    Ok(times.ok_or_else(|| Error::internal("ROWTIME is not a timestamp"))?.values())
}

/// Where an operator puts its output during one call.
#[derive(Debug, Default)]
pub struct Output {
    events: Vec<Event>,
    errors: Vec<ErrorRow>,
}

impl Output {
    /// Emits a batch; empty ones are dropped.
    pub fn batch(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.events.push(Event::Batch(batch));
        }
    }

    /// Emits a watermark.
    pub fn watermark(&mut self, watermark: EventTime) {
        self.events.push(Event::Watermark(watermark));
    }

    /// Says that the output is silent.
    pub fn idle(&mut self) {
        self.events.push(Event::Idle);
    }

    /// Reports a row that was dropped.
    pub fn error(&mut self, error: ErrorRow) {
        self.errors.push(error);
    }
}

/// Operators in a row, fused into one task.
#[derive(Default)]
pub struct Chain {
    operators: Vec<Box<dyn Operator>>,
}

impl Chain {
    /// A chain; without operators it passes everything on.
    pub fn new(operators: Vec<Box<dyn Operator>>) -> Self {
        Self { operators }
    }

    /// Runs one event of input `input` through all operators; what comes out is appended to `events`, rows dropped on
    /// the way to `errors`. Barriers pass at once: ask for [`Chain::snapshot`] first.
    pub fn run(&mut self, input: usize, event: Event, events: &mut Vec<Event>, errors: &mut Vec<ErrorRow>) -> Result<()> {
        run(&mut self.operators, input, event, events, errors)
    }

    /// When the first operator is to be woken.
    pub fn wake_time(&self) -> Option<EventTime> {
        self.operators.iter().filter_map(|operator| operator.wake_time()).min()
    }

    /// Wakes the operators whose time has come by `now`; what comes out is handed on as by [`Chain::run`].
    pub fn wake(&mut self, now: EventTime, events: &mut Vec<Event>, errors: &mut Vec<ErrorRow>) -> Result<()> {
        let mut operators = self.operators.as_mut_slice();
        while let Some((first, rest)) = operators.split_first_mut() {
            if first.wake_time().is_some_and(|time| time <= now) {
                let mut out = Output::default();
                first.on_wake(&mut out)?;
                hand_on(rest, out, events, errors)?;
            }
            operators = rest;
        }
        Ok(())
    }

    /// The state of every operator that has one, by its place in the chain.
    pub fn snapshot(&mut self) -> Result<Vec<(usize, OperatorState)>> {
        let states = self.operators.iter_mut().enumerate().map(|(i, operator)| Ok(operator.snapshot()?.map(|state| (i, state))));
        states.filter_map(Result::transpose).collect()
    }

    /// Gives a saved state back to the operator at `place`.
    pub fn restore(&mut self, place: usize, state: OperatorState) -> Result<()> {
        match self.operators.get_mut(place) {
            Some(operator) => operator.restore(state),
            None => Err(Error::state(format!("the checkpoint has state for operator {place}, the plan has none there"))),
        }
    }
}

fn run(
    operators: &mut [Box<dyn Operator>],
    input: usize,
    event: Event,
    events: &mut Vec<Event>,
    errors: &mut Vec<ErrorRow>,
) -> Result<()> {
    let Some((first, rest)) = operators.split_first_mut() else {
        events.push(event);
        return Ok(());
    };
    let mut out = Output::default();
    match event {
        Event::Batch(batch) => first.on_batch(input, batch, &mut out)?,
        Event::Watermark(watermark) => first.on_watermark(watermark, &mut out)?,
        Event::Idle => first.on_idle(&mut out)?,
        Event::Barrier(_) => out.events.push(event),
        Event::End(end) => {
            first.on_end(end, &mut out)?;
            out.events.push(event);
        }
    }
    hand_on(rest, out, events, errors)
}

/// Runs the output of an operator through those behind it.
fn hand_on(rest: &mut [Box<dyn Operator>], mut out: Output, events: &mut Vec<Event>, errors: &mut Vec<ErrorRow>) -> Result<()> {
    errors.append(&mut out.errors);
    for event in out.events {
        run(rest, 0, event, events, errors)?;
    }
    Ok(())
}
