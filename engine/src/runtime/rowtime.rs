//! ROWTIME of a source's rows: where it comes from, which watermark follows, which rows are late.
//!
//! Late is decided row by row in the order of the split: a row is late if its ROWTIME lies behind the greatest one
//! before it minus the delay. So it does not matter how the rows are cut into batches.
//!
//! A split with parts (shards) stands where its slowest part stands (runtime/parts.rs), and that is what late means there.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, TimestampMillisecondArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use kinesql_udfs::scalar::kda_cast::{TIMES_OF_TEXT, year_of};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::clock::EventTime;
use super::error_rows::{ErrorReporter, ErrorRow};
use super::parts::Parts;
use crate::checkpoint::manifest::SplitPosition;
use crate::connector::Offset;
use crate::error::{Error, Result};

/// `idle_timeout` under `rowtime = 'arrival'` unless it is given: records that a service has got are read within a second
/// (kda-sql-reference.md §3.5).
pub(crate) const ARRIVAL_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// ROWTIME lies in the years 0001 to 9999, those that a time has a text of: so far from the ends of 64 bits the ends of windows and
/// the beginnings of frames can be computed.
pub(crate) const ROWTIMES: RangeInclusive<EventTime> = TIMES_OF_TEXT;

/// Fails for a time that no row can have as ROWTIME.
fn checked_rowtime(time: EventTime) -> Result<EventTime> {
    if ROWTIMES.contains(&time) {
        return Ok(time);
    }
    let when = year_of(time);
    Err(Error::data(format!("a ROWTIME of {when} is out of range: its years are 0001 to 9999")).named("COERCION_ERROR"))
}

/// The new ROWTIME that a query gives a row.
pub(crate) fn new_rowtime(time: Option<EventTime>) -> Result<EventTime> {
    time.ok_or_else(|| Error::data("ROWTIME is NULL").named("NULL_VIOLATION")).and_then(checked_rowtime)
}

/// Where ROWTIME comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowtimeSource {
    /// The clock when the rows are read: KDA's behaviour (kda-sql-reference.md §3.1).
    Processing,
    /// The time at which the service received the records, the clock where it does not say. It never goes back in a part.
    Arrival,
    /// A column, by its place; rows may be late by up to `delay_ms`.
    Column {
        /// Place of the column in the decoded batch; a TIMESTAMP.
        index: usize,
        /// The `d` of `WATERMARK FOR c AS c - d`.
        delay_ms: i64,
    },
}

/// When the service received the rows of a batch.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// It does not say.
    Unknown,
    /// All at this time.
    At(EventTime),
    /// Each at its own time.
    PerRow(TimestampMillisecondArray),
}

/// Gives the rows of one split their ROWTIME.
pub struct RowtimeAssigner {
    source: RowtimeSource,
    /// The decoded columns and ROWTIME.
    schema: SchemaRef,
    reporter: ErrorReporter,
    /// Where the split stands: the watermark is the delay before it. [`EventTime::MIN`] before the first row.
    reached: EventTime,
    /// The parts, if the split has any.
    parts: Option<Parts>,
    /// Late rows since they were last taken; None if nobody wants them.
    late: Option<Vec<RecordBatch>>,
}

impl RowtimeAssigner {
    /// `schema` is that of the output: the decoded columns, then ROWTIME.
    pub fn new(source: RowtimeSource, schema: SchemaRef, reporter: ErrorReporter) -> Self {
        Self { source, schema, reporter, reached: EventTime::MIN, parts: None, late: None }
    }

    /// Goes on where an earlier run was at a checkpoint.
    pub fn restored(self, position: &SplitPosition, now: EventTime) -> Self {
        let parts = position.parts.as_ref().map(|parts| Parts::restored(parts, now));
        Self { reached: position.max_rowtime.unwrap_or(EventTime::MIN), parts, ..self }
    }

    /// Keeps late rows for [`RowtimeAssigner::take_late`].
    pub fn keeping_late_rows(self) -> Self {
        Self { late: Some(Vec::new()), ..self }
    }

    /// The late rows since the last call. Their ROWTIME is the watermark that they came behind.
    pub fn take_late(&mut self) -> Vec<RecordBatch> {
        self.late.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// True if ROWTIME is the clock, so that windows close without rows.
    pub fn follows_clock(&self) -> bool {
        self.source == RowtimeSource::Processing
    }

    /// Raises the time of a source that follows the clock to `now`.
    pub fn tick(&mut self, now: EventTime) {
        self.reached = self.reached.max(now);
    }

    /// After this long without a row a split, or a part of it, is idle. `given` is the option `idle_timeout`.
    pub fn idle_timeout(&self, given: Option<Duration>) -> Option<Duration> {
        match self.source {
            RowtimeSource::Processing => None,
            RowtimeSource::Arrival => given.or(Some(ARRIVAL_IDLE_TIMEOUT)),
            RowtimeSource::Column { .. } => given,
        }
    }

    /// What a checkpoint says of the split, read up to `offset`.
    pub fn position(&self, offset: Option<Offset>) -> SplitPosition {
        let max_rowtime = Some(self.reached).filter(|time| *time != EventTime::MIN);
        SplitPosition { offset, max_rowtime, parts: self.parts.as_ref().map(Parts::saved) }
    }

    /// The watermark: no later row will have a ROWTIME below it.
    pub fn watermark(&self) -> EventTime {
        self.watermark_at(self.reached)
    }

    /// The watermark that follows when rows up to `time` have come.
    pub fn watermark_at(&self, time: EventTime) -> EventTime {
        time.saturating_sub(self.delay_ms())
    }

    fn delay_ms(&self) -> i64 {
        if let RowtimeSource::Column { delay_ms, .. } = self.source { delay_ms } else { 0 }
    }

    /// The parts of the split; None if it is whole.
    pub fn parts(&self) -> Option<&Parts> {
        self.parts.as_ref()
    }

    /// The open parts are these from now on.
    pub fn set_parts(&mut self, open: &[Arc<str>], now: EventTime) {
        let reached = self.reached;
        self.parts.get_or_insert_default().set_open(open, reached, now);
        self.follow_parts();
    }

    /// Rows of `part` have come.
    pub fn hear_from(&mut self, part: &Arc<str>, now: EventTime) {
        let reached = self.reached;
        self.parts.get_or_insert_default().touch(part, reached, now);
    }

    /// Parts that were silent for `timeout` no longer hold the watermark back.
    pub fn expire_parts(&mut self, timeout: Duration, now: EventTime) {
        if let Some(parts) = &mut self.parts {
            parts.expire(timeout, now);
        }
        self.follow_parts();
    }

    /// Raises the watermark to at least `watermark`, whoever says so; silent parts stay silent.
    pub fn raise(&mut self, watermark: EventTime) {
        let time = watermark.saturating_add(self.delay_ms());
        self.reached = self.reached.max(time);
        if let Some(parts) = &mut self.parts {
            parts.raise(time);
        }
    }

    /// The source says that nothing before `watermark` follows on any part.
    pub fn declare(&mut self, watermark: EventTime, now: EventTime) {
        self.raise(watermark);
        if let Some(parts) = &mut self.parts {
            parts.touch_all(self.reached, now);
        }
        self.follow_parts();
    }

    /// The split stands where its slowest part does; if all are idle it stays where it is.
    fn follow_parts(&mut self) {
        if let Some(slowest) = self.parts.as_ref().and_then(Parts::slowest) {
            self.reached = self.reached.max(slowest);
        }
    }

    /// Adds ROWTIME to `batch`, rows of `part` if the split has parts; late rows and rows without event time are left out and
    /// reported.
    pub fn assign(
        &mut self,
        batch: RecordBatch,
        part: Option<&Arc<str>>,
        arrival: Arrival,
        now: EventTime,
        errors: &mut Vec<ErrorRow>,
    ) -> Result<RecordBatch> {
        if self.source == RowtimeSource::Processing {
            self.reached = self.reached.max(now);
            let rowtime: ArrayRef = Arc::new(TimestampMillisecondArray::from_value(self.reached, batch.num_rows()));
            return self.with_rowtime(batch, rowtime);
        }
        // How far the rows before these have come, and how far the other parts let the split come.
        let (before, others) = match (part, &mut self.parts) {
            (None, None) => (self.reached, EventTime::MAX),
            (None, Some(_)) => (self.reached, self.reached),
            (Some(part), parts) => {
                let parts = parts.get_or_insert_default();
                (parts.time(part).unwrap_or(self.reached), parts.slowest_besides(part).unwrap_or(EventTime::MAX))
            }
        };
        let (batch, after) = match self.source {
            RowtimeSource::Column { index, delay_ms } => self.by_column(batch, index, delay_ms, before, others, errors)?,
            _ => self.by_arrival(batch, arrival, now, before)?,
        };
        match (part, &mut self.parts) {
            (Some(part), Some(parts)) => {
                parts.advance(part, after);
                self.follow_parts();
            }
            _ => self.reached = self.reached.max(after.min(others)),
        }
        Ok(batch)
    }

    fn by_arrival(
        &self,
        batch: RecordBatch,
        arrival: Arrival,
        now: EventTime,
        before: EventTime,
    ) -> Result<(RecordBatch, EventTime)> {
        let rows = batch.num_rows();
        let (rowtime, after) = match arrival {
            Arrival::Unknown => (TimestampMillisecondArray::from_value(before.max(now), rows), before.max(now)),
            Arrival::At(time) => (TimestampMillisecondArray::from_value(before.max(time), rows), before.max(time)),
            Arrival::PerRow(times) => {
                let mut after = before;
                let running = times.iter().map(|time| {
                    after = after.max(time.unwrap_or(now));
                    after
                });
                (TimestampMillisecondArray::from_iter_values(running), after)
            }
        };
        Ok((self.with_rowtime(batch, Arc::new(rowtime))?, after))
    }

    /// `before`: the greatest event time before these rows. What is behind it, but not behind `others`, is not late.
    fn by_column(
        &mut self,
        batch: RecordBatch,
        index: usize,
        delay_ms: i64,
        before: EventTime,
        others: EventTime,
        errors: &mut Vec<ErrorRow>,
    ) -> Result<(RecordBatch, EventTime)> {
        let column = batch.column(index).clone();
        let times = column.as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(|| Error::internal("the event time column is not a timestamp"))?;
        if times.null_count() == 0
            && let Some(greatest) = greatest_if_fine(times.values(), before, others, delay_ms)
        {
            return Ok((self.with_rowtime(batch, column)?, greatest));
        }
        let mut keep = Vec::with_capacity(times.len());
        let (mut late_rows, mut watermarks) = (Vec::new(), Vec::new());
        let mut greatest = before;
        for (row, time) in times.iter().enumerate() {
            let watermark = self.watermark_at(greatest.min(others));
            let checked = time.map(checked_rowtime).transpose();
            keep.push(matches!(checked, Ok(Some(time)) if time >= watermark));
            match time {
                None => {
                    let error = Error::data("the event time is NULL").named("NULL_VIOLATION");
                    errors.push(self.reporter.row(&batch.slice(row, 1), &error));
                }
                Some(_) if let Err(error) = &checked => errors.push(self.reporter.row(&batch.slice(row, 1), error)),
                Some(time) if time < watermark => {
                    let late = self.with_rowtime(batch.slice(row, 1), column.slice(row, 1))?;
                    errors.push(self.reporter.late_row(&late, watermark));
                    late_rows.push(row as u32);
                    watermarks.push(watermark);
                }
                Some(time) => greatest = greatest.max(time),
            }
        }
        if self.late.is_some() && !late_rows.is_empty() {
            let rows = take_record_batch(&batch, &UInt32Array::from(late_rows))?;
            let rows = self.with_rowtime(rows, Arc::new(TimestampMillisecondArray::from(watermarks)))?;
            self.late.iter_mut().for_each(|late| late.push(rows.clone()));
        }
        let kept = filter_record_batch(&batch, &BooleanArray::from(keep))?;
        let rowtime = kept.column(index).clone();
        Ok((self.with_rowtime(kept, rowtime)?, greatest))
    }

    fn with_rowtime(&self, batch: RecordBatch, rowtime: ArrayRef) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let (_, mut columns, _) = batch.into_parts();
        columns.push(rowtime);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// The greatest of `times` and `before`, or None if any of `times` is late, or none of [`ROWTIMES`].
fn greatest_if_fine(times: &[EventTime], before: EventTime, others: EventTime, delay_ms: i64) -> Option<EventTime> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Some(before) };
    let is_late = |time: EventTime, greatest: EventTime| time < greatest.min(others).saturating_sub(delay_ms);
    if is_ascending(times) {
        let is_fine = !is_late(*first, before) && ROWTIMES.contains(first) && ROWTIMES.contains(last);
        return is_fine.then_some(before.max(*last));
    }
    let mut greatest = before;
    let mut is_fine = true;
    for time in times {
        is_fine &= !is_late(*time, greatest) & ROWTIMES.contains(time);
        greatest = greatest.max(*time);
    }
    is_fine.then_some(greatest)
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
        RowtimeAssigner::new(RowtimeSource::Column { index: 0, delay_ms }, Arc::new(schema), reporter)
    }

    fn assign(assigner: &mut RowtimeAssigner, times: &[Option<i64>]) -> (Vec<i64>, Vec<&'static str>) {
        assign_part(assigner, None, times)
    }

    fn assign_part(assigner: &mut RowtimeAssigner, part: Option<&str>, times: &[Option<i64>]) -> (Vec<i64>, Vec<&'static str>) {
        let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()));
        let mut errors = Vec::new();
        let batch = RecordBatch::try_from_iter_with_nullable([("t", column, true)]).expect("one column");
        let part: Option<Arc<str>> = part.map(Arc::from);
        part.iter().for_each(|part| assigner.hear_from(part, 0));
        let batch = assigner.assign(batch, part.as_ref(), Arrival::Unknown, 0, &mut errors).expect("timestamps");
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
    fn a_row_outside_the_years_of_rowtime_fails_and_does_not_advance_the_watermark() {
        let (first, last) = (*ROWTIMES.start(), *ROWTIMES.end());
        let fails = "COERCION_ERROR";
        let mut ascending = assigner(5);
        assert_eq!(assign(&mut ascending, &[Some(i64::MIN), Some(first - 1), Some(first)]), (vec![first], vec![fails, fails]));
        assert_eq!(ascending.watermark(), first - 5);
        let mut descending = assigner(5);
        assert_eq!(assign(&mut descending, &[Some(i64::MAX), Some(last + 1), Some(7)]), (vec![7], vec![fails, fails]));
        assert_eq!(assign(&mut descending, &[Some(last)]), (vec![last], vec![]));
        assert_eq!(descending.watermark(), last - 5);
    }

    #[test]
    fn late_is_what_lies_behind_the_slowest_part_however_far_the_others_are() {
        let mut assigner = assigner(5);
        let open = ["a", "b"].map(Arc::from);
        assigner.set_parts(&open, 0);
        assert_eq!(assign_part(&mut assigner, Some("a"), &[Some(100), Some(10)]), (vec![100, 10], vec![]));
        assert_eq!(assigner.watermark(), i64::MIN.saturating_sub(5), "b has not come");
        assert_eq!(assign_part(&mut assigner, Some("b"), &[Some(50), Some(44), Some(45)]), (vec![50, 45], vec!["LATE_ROW"]));
        assert_eq!(assigner.watermark(), 45);
        assert_eq!(assign_part(&mut assigner, Some("a"), &[Some(44), Some(45)]), (vec![45], vec!["LATE_ROW"]));
        assert_eq!(assign_part(&mut assigner, Some("b"), &[Some(200)]).0, [200]);
        assert_eq!(assigner.watermark(), 95, "now a is the slowest");
    }

    #[test]
    fn parts_that_come_and_go_never_take_the_watermark_back() {
        let mut assigner = assigner(0);
        assigner.set_parts(&["parent"].map(Arc::from), 0);
        assign_part(&mut assigner, Some("parent"), &[Some(10)]);
        assigner.set_parts(&["left", "right"].map(Arc::from), 0);
        assert_eq!(assigner.watermark(), 10);
        assert_eq!(assign_part(&mut assigner, Some("left"), &[Some(9), Some(30)]), (vec![30], vec!["LATE_ROW"]));
        assert_eq!(assigner.watermark(), 10, "right has not come");
        assigner.set_parts(&["left"].map(Arc::from), 0);
        assert_eq!(assigner.watermark(), 30, "right was given away");
        assigner.set_parts(&[], 0);
        assert_eq!(assigner.watermark(), 30);
        assigner.set_parts(&["right"].map(Arc::from), 0);
        assert_eq!(assign_part(&mut assigner, Some("right"), &[Some(29), Some(31)]), (vec![31], vec!["LATE_ROW"]));
        assert_eq!(assigner.watermark(), 31);
    }

    #[test]
    fn an_idle_part_holds_nothing_back_and_comes_back_at_the_watermark() {
        let mut assigner = assigner(0);
        assigner.set_parts(&["a", "b"].map(Arc::from), 0);
        assign_part(&mut assigner, Some("a"), &[Some(10)]);
        assign_part(&mut assigner, Some("b"), &[Some(90)]);
        assigner.hear_from(&"b".into(), 1_000);
        assigner.expire_parts(Duration::from_secs(1), 1_000);
        assert_eq!(assigner.watermark(), 90, "a is idle");
        assigner.expire_parts(Duration::from_secs(1), 2_000);
        assert_eq!(assigner.watermark(), 90, "all are idle");
        assert_eq!(assign_part(&mut assigner, Some("a"), &[Some(20), Some(95)]), (vec![95], vec!["LATE_ROW"]));
        assert_eq!(assigner.watermark(), 95, "b still is");
    }

    #[test]
    fn a_checkpoint_keeps_how_far_each_part_has_come() {
        let mut before = assigner(0);
        before.set_parts(&["a", "b", "c"].map(Arc::from), 0);
        assign_part(&mut before, Some("a"), &[Some(10)]);
        assign_part(&mut before, Some("b"), &[Some(90)]);
        let position = before.position(None);
        let saved = serde_json::to_string(&position).expect("JSON");
        assert_eq!(saved, r#"{"offset":null,"max_rowtime":null,"parts":{"a":10,"b":90,"c":null}}"#);
        let mut after = assigner(0).restored(&serde_json::from_str(&saved).expect("JSON"), 0);
        assign_part(&mut after, Some("c"), &[Some(50)]);
        assert_eq!(after.watermark(), 10);
        let whole = serde_json::to_string(&assigner(0).position(None)).expect("JSON");
        assert_eq!(whole, r#"{"offset":null,"max_rowtime":null}"#);
    }

    #[test]
    fn arrival_times_of_a_part_never_go_back_and_are_never_late() {
        let schema = Schema::new([ROWTIME].map(|name| SqlType::Timestamp.field(name, true)).to_vec());
        let reporter = ErrorReporter::new("", ManualClock::starting_at(0));
        let mut assigner = RowtimeAssigner::new(RowtimeSource::Arrival, Arc::new(schema), reporter);
        assigner.set_parts(&["a", "b"].map(Arc::from), 0);
        let mut assign = |part: &str, times: &[i64]| {
            let options = RecordBatchOptions::new().with_row_count(Some(times.len()));
            let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).expect("no columns");
            let arrival = Arrival::PerRow(TimestampMillisecondArray::from(times.to_vec()));
            let batch = assigner.assign(batch, Some(&part.into()), arrival, 0, &mut Vec::new()).expect("assigned");
            (batch.column(0).as_primitive::<TimestampMillisecondType>().values().to_vec(), assigner.watermark())
        };
        assert_eq!(assign("a", &[100, 90, 110]), (vec![100, 100, 110], i64::MIN));
        assert_eq!(assign("b", &[20, 30]), (vec![20, 30], 30));
        assert_eq!(assign("b", &[10, 200]), (vec![30, 200], 110));
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
        // What is not recognised takes the longer way.
        assert_eq!(greatest_if_fine(&[7, 3, 5], i64::MIN, i64::MAX, 4), Some(7));
        assert_eq!(greatest_if_fine(&[7, 3, 5], i64::MIN, i64::MAX, 3), None);
        assert_eq!(greatest_if_fine(&[0, i64::MAX], i64::MIN, i64::MAX, 0), None);
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
