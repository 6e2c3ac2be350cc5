//! ROWTIME of a source's rows: where it comes from, which watermark follows, which rows are late.
//!
//! Late is decided row by row in the order of the split: a row is late if its ROWTIME lies behind the greatest one
//! before it minus the delay. So it does not matter how the rows are cut into batches.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, TimestampMillisecondArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

use super::clock::EventTime;
use super::error_rows::{ErrorReporter, ErrorRow};
use crate::error::{Error, Result};

/// Where ROWTIME comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowtimeSource {
    /// The clock when the rows are read: KDA's behaviour (kda-sql-reference.md §3.1).
    Processing,
    /// The time at which the service received the records, the clock where it does not say.
    Arrival,
    /// A column, by its place; rows may be late by up to `delay_ms`.
    Column {
        /// Place of the column in the decoded batch; a TIMESTAMP.
        index: usize,
        /// The `d` of `WATERMARK FOR c AS c - d`.
        delay_ms: i64,
    },
}

/// Gives the rows of one split their ROWTIME.
pub struct RowtimeAssigner {
    source: RowtimeSource,
    /// The decoded columns and ROWTIME.
    schema: SchemaRef,
    reporter: ErrorReporter,
    /// Greatest ROWTIME so far.
    pub max_rowtime: Option<EventTime>,
    /// Late rows since they were last taken; None if nobody wants them.
    late: Option<Vec<RecordBatch>>,
}

impl RowtimeAssigner {
    /// `schema` is that of the output: the decoded columns, then ROWTIME.
    pub fn new(source: RowtimeSource, schema: SchemaRef, reporter: ErrorReporter, max_rowtime: Option<EventTime>) -> Self {
        Self { source, schema, reporter, max_rowtime, late: None }
    }

    /// Keeps late rows for [`RowtimeAssigner::take_late`].
    pub fn keeping_late_rows(self) -> Self {
        Self { late: Some(Vec::new()), ..self }
    }

    /// The late rows since the last call. Their ROWTIME is the watermark that they came behind.
    pub fn take_late(&mut self) -> Vec<RecordBatch> {
        self.late.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// True if the watermark follows a clock, so that windows close without rows.
    pub fn follows_clock(&self) -> bool {
        !matches!(self.source, RowtimeSource::Column { .. })
    }

    /// The watermark: no later row will have a ROWTIME below it.
    pub fn watermark(&self) -> EventTime {
        match (&self.source, self.max_rowtime) {
            (_, None) => EventTime::MIN,
            (RowtimeSource::Column { delay_ms, .. }, Some(time)) => time.saturating_sub(*delay_ms),
            (_, Some(time)) => time,
        }
    }

    /// Raises the time of a source that follows the clock to `now`.
    pub fn tick(&mut self, now: EventTime) {
        self.max_rowtime = Some(self.max_rowtime.map_or(now, |time| time.max(now)));
    }

    /// Raises the watermark to at least `watermark`.
    pub fn raise(&mut self, watermark: EventTime) {
        let delay = if let RowtimeSource::Column { delay_ms, .. } = self.source { delay_ms } else { 0 };
        self.tick(watermark.saturating_add(delay));
    }

    /// Adds ROWTIME to `batch`; late rows and rows without event time are left out and reported.
    pub fn assign(
        &mut self,
        batch: RecordBatch,
        arrival: Option<EventTime>,
        now: EventTime,
        errors: &mut Vec<ErrorRow>,
    ) -> Result<RecordBatch> {
        let RowtimeSource::Column { index, delay_ms } = self.source else {
            let time = if self.source == RowtimeSource::Arrival { arrival.unwrap_or(now) } else { now };
            self.tick(time);
            let time = self.max_rowtime.unwrap_or(time);
            let rowtime: ArrayRef = Arc::new(TimestampMillisecondArray::from_value(time, batch.num_rows()));
            return self.with_rowtime(batch, rowtime);
        };
        let column = batch.column(index).clone();
        let times = column.as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(|| Error::internal("the event time column is not a timestamp"))?;
        if times.null_count() == 0
            && let Some(greatest) = greatest_if_in_time(times.values(), self.max_rowtime, delay_ms)
        {
            self.max_rowtime = greatest;
            return self.with_rowtime(batch, column);
        }
        let mut keep = Vec::with_capacity(times.len());
        let (mut late_rows, mut watermarks) = (Vec::new(), Vec::new());
        for (row, time) in times.iter().enumerate() {
            let watermark = self.watermark();
            keep.push(time.is_some_and(|time| time >= watermark));
            match time {
                None => {
                    let error = Error::data("the event time is NULL").named("NULL_VIOLATION");
                    errors.push(self.reporter.row(&batch.slice(row, 1), &error));
                }
                Some(time) if time < watermark => {
                    let late = self.with_rowtime(batch.slice(row, 1), column.slice(row, 1))?;
                    errors.push(self.reporter.late_row(&late, watermark));
                    late_rows.push(row as u32);
                    watermarks.push(watermark);
                }
                Some(time) => self.max_rowtime = Some(self.max_rowtime.map_or(time, |greatest| greatest.max(time))),
            }
        }
        if self.late.is_some() && !late_rows.is_empty() {
            let rows = take_record_batch(&batch, &UInt32Array::from(late_rows))?;
            let rows = self.with_rowtime(rows, Arc::new(TimestampMillisecondArray::from(watermarks)))?;
            self.late.iter_mut().for_each(|late| late.push(rows.clone()));
        }
        let kept = filter_record_batch(&batch, &BooleanArray::from(keep))?;
        let rowtime = kept.column(index).clone();
        self.with_rowtime(kept, rowtime)
    }

    fn with_rowtime(&self, batch: RecordBatch, rowtime: ArrayRef) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let (_, mut columns, _) = batch.into_parts();
        columns.push(rowtime);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// The greatest of `times` and `before`, or None if any of `times` is late.
fn greatest_if_in_time(times: &[EventTime], before: Option<EventTime>, delay_ms: i64) -> Option<Option<EventTime>> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Some(before) };
    let is_late = |time: EventTime, greatest: EventTime| time < greatest.saturating_sub(delay_ms);
    if is_ascending(times) {
        return (!before.is_some_and(|before| is_late(*first, before))).then_some(before.max(Some(*last)));
    }
    let mut greatest = before.unwrap_or(EventTime::MIN);
    let mut in_time = true;
    for time in times {
        in_time &= !is_late(*time, greatest);
        greatest = greatest.max(*time);
    }
    in_time.then_some(Some(greatest))
}

/// True if `times` ascend; false also for times beyond 2^62, 146 million years away.
///
/// It looks at signs of differences instead of comparing: that takes several rows at once on any processor, and within
/// ±2^62, where the two highest bits are equal, no difference overflows.
fn is_ascending(times: &[EventTime]) -> bool {
    let is_far = |time: EventTime| time ^ (time << 1);
    let pairs = times.iter().zip(times.iter().skip(1));
    let signs = pairs.fold(0, |signs, (time, next)| signs | is_far(*time) | next.wrapping_sub(*time));
    (signs | times.last().map_or(0, |last| is_far(*last))) >= 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::ManualClock;
    use crate::types::{ROWTIME, SqlType};
    use arrow::datatypes::Schema;
    use proptest::prelude::*;

    fn assigner(delay_ms: i64) -> RowtimeAssigner {
        let schema = Schema::new(["t", ROWTIME].map(|name| SqlType::Timestamp.field(name, true)).to_vec());
        let reporter = ErrorReporter::new("", ManualClock::starting_at(0));
        RowtimeAssigner::new(RowtimeSource::Column { index: 0, delay_ms }, Arc::new(schema), reporter, None)
    }

    fn assign(assigner: &mut RowtimeAssigner, times: &[Option<i64>]) -> (Vec<i64>, Vec<&'static str>) {
        let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()));
        let mut errors = Vec::new();
        let batch = RecordBatch::try_from_iter_with_nullable([("t", column, true)]).expect("one column");
        let batch = assigner.assign(batch, None, 0, &mut errors).expect("timestamps");
        let kept = batch.column(1).as_primitive::<TimestampMillisecondType>().values().to_vec();
        (kept, errors.iter().map(|error| error.name).collect())
    }

    #[test]
    fn a_row_behind_the_watermark_is_late_and_one_at_the_watermark_is_not() {
        let mut assigner = assigner(5);
        assert_eq!(
            assign(&mut assigner, &[Some(10), Some(5), Some(4), None, Some(12)]),
            (vec![10, 5, 12], vec!["LATE_ROW", "NULL_VIOLATION"])
        );
        assert_eq!(assigner.watermark(), 7);
    }

    #[test]
    fn late_rows_are_kept_in_the_order_of_the_watermarks_that_they_came_behind() {
        let mut assigner = assigner(5).keeping_late_rows();
        assign(&mut assigner, &[Some(10), Some(4), None, Some(30), Some(24), Some(25), Some(3)]);
        let [late] = assigner.take_late().try_into().expect("one batch");
        let column = |place: usize| late.column(place).as_primitive::<TimestampMillisecondType>().values().to_vec();
        assert_eq!((column(0), column(1)), (vec![4, 24, 3], vec![5, 25, 25]));
        assert!(assigner.take_late().is_empty());
    }

    #[test]
    fn ascending_times_are_recognised_up_to_the_far_future() {
        for (times, ascending) in [
            (&[][..], true),
            (&[5], true),
            (&[-3, -3, 0, 7, 7], true),
            (&[1, 2, 1], false),
            (&[i64::MIN, i64::MAX], false),
            (&[i64::MAX, i64::MIN], false),
            (&[-(1 << 62), (1 << 62) - 1], true),
            (&[0, 1 << 62], false),
        ] {
            assert_eq!(is_ascending(times), ascending, "{times:?}");
        }
        // What is not recognised takes the longer way to the same answer.
        assert_eq!(greatest_if_in_time(&[i64::MIN, i64::MAX], None, 0), Some(Some(i64::MAX)));
        assert_eq!(greatest_if_in_time(&[i64::MAX, i64::MIN], None, 0), None);
    }

    proptest! {
        #[test]
        fn the_cut_into_batches_does_not_matter(times in prop::collection::vec(prop::option::of(0i64..50), 0..60), cut in 0usize..60, delay in 0i64..20) {
            let cut = cut.min(times.len());
            let mut whole = assigner(delay);
            let expected = assign(&mut whole, &times);
            let mut parts = assigner(delay);
            let (mut kept, mut errors) = assign(&mut parts, &times[..cut]);
            let (more_kept, more_errors) = assign(&mut parts, &times[cut..]);
            kept.extend(more_kept);
            errors.extend(more_errors);
            prop_assert_eq!((kept, errors), expected);
            prop_assert_eq!(parts.watermark(), whole.watermark());
        }
    }
}
