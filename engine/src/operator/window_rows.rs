//! Rows with their windows: TABLE(TUMBLE(…)) and TABLE(HOP(…)).
//!
//! Input:  batches with ROWTIME.
//! Output: every row once for each window that it is in, earlier windows first, with WINDOW_START, WINDOW_END and
//!         WINDOW_TIME, the last millisecond of the window, behind its columns.
//! State:  none.
//! Time:   the rows keep their ROWTIME.
//! Errors: none.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::{Operator, Output, times_of};
use crate::error::Result;
use crate::runtime::clock::EventTime;

/// Rows of one emitted batch, if a row has no more windows than that.
const OUTPUT_ROWS: usize = 8_192;

/// Windows of one length at regular distances, in milliseconds. The length is a multiple of the distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spans {
    /// How long a window is.
    pub size: i64,
    /// From the start of a window to that of the next.
    pub slide: i64,
    /// A start, counted from 1970; at least 0 and less than `slide`.
    pub offset: i64,
}

impl Spans {
    /// The start of the last window that `time` is in.
    pub fn last_start(&self, time: EventTime) -> EventTime {
        time.saturating_sub((time.wrapping_sub(self.offset)).rem_euclid(self.slide))
    }
}

/// The plan of rows with their windows.
#[derive(Debug, Clone)]
pub struct WindowRowsPlan {
    /// The windows.
    pub spans: Spans,
    /// True if all three columns are the start: an aggregate behind knows the windows.
    pub starts_only: bool,
    /// Place of what says which windows a row is in: ROWTIME, or another TIMESTAMP without NULLs.
    pub time: usize,
    /// Columns of the output: the input's and three more.
    pub schema: SchemaRef,
}

/// Adds the columns of windows to rows.
pub struct WindowRows {
    plan: WindowRowsPlan,
}

impl WindowRows {
    /// Windows by `plan`.
    pub fn new(plan: WindowRowsPlan) -> Self {
        Self { plan }
    }

    fn with_windows(&self, batch: &RecordBatch, starts: Vec<EventTime>) -> Result<RecordBatch> {
        let size = self.plan.spans.size;
        let moved = |by: i64| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from_iter_values(starts.iter().map(|start| start.saturating_add(by))))
        };
        let windows = match self.plan.starts_only {
            true => std::array::repeat(moved(0)),
            false => [moved(0), moved(size), moved(size - 1)],
        };
        Ok(RecordBatch::try_new(self.plan.schema.clone(), batch.columns().iter().cloned().chain(windows).collect())?)
    }
}

impl Operator for WindowRows {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let spans = self.plan.spans;
        let windows = spans.size / spans.slide;
        if windows == 1 {
            let starts = times_of(&batch, self.plan.time)?.iter().map(|time| spans.last_start(*time)).collect();
            out.batch(self.with_windows(&batch, starts)?);
            return Ok(());
        }
        let rows = (OUTPUT_ROWS / windows as usize).max(1);
        for start in (0..batch.num_rows()).step_by(rows) {
            let batch = batch.slice(start, rows.min(batch.num_rows() - start));
            let (mut places, mut starts) = (Vec::new(), Vec::new());
            for (row, time) in times_of(&batch, self.plan.time)?.iter().enumerate() {
                let last = spans.last_start(*time);
                places.extend(std::iter::repeat_n(row as u32, windows as usize));
                starts.extend((0..windows).rev().map(|back| last.saturating_sub(back * spans.slide)));
            }
            let columns = take_arrays(batch.columns(), &UInt32Array::from(places), None)?;
            out.batch(self.with_windows(&RecordBatch::try_new(batch.schema(), columns)?, starts)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_the_last_window_is_at_or_before_the_instant() {
        let spans = Spans { size: 60, slide: 10, offset: 3 };
        for (time, start) in [(3, 3), (12, 3), (13, 13), (2, -7), (-8, -17), (-7, -7)] {
            assert_eq!(spans.last_start(time), start, "{time}");
        }
    }
}
