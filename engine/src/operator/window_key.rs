//! The key that makes a tumbling window: a monotonic expression of ROWTIME such as `STEP(ROWTIME BY …)`.
//!
//! A window is the set of rows for which the expression has the same value, whatever the expression is
//! (kda-sql-reference.md §4.2: only the *change* of the value matters). So it closes when the expression, applied to the
//! watermark, has moved on, and its end is the first instant at which the expression has another value.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::rowtime::ROWTIMES;
use crate::types::{ROWTIME, SqlType};

/// A monotonic expression of ROWTIME.
#[derive(Clone)]
pub struct WindowKey {
    /// The expression over the operator's input.
    of_row: Arc<dyn PhysicalExpr>,
    /// The same expression over a batch whose only column is ROWTIME.
    of_time: Arc<dyn PhysicalExpr>,
    time_schema: SchemaRef,
    descending: bool,
    /// True if ROWTIME of a row is the first instant behind the window that it is the result of.
    of_results: bool,
}

impl WindowKey {
    /// `of_row` is the expression over the input, `of_time` the same over a single column ROWTIME.
    pub fn new(of_row: Arc<dyn PhysicalExpr>, of_time: Arc<dyn PhysicalExpr>, descending: bool) -> Self {
        Self { of_row, of_time, time_schema: Self::time_schema(), descending, of_results: false }
    }

    /// The key of rows that are results of windows, and have their end as ROWTIME: a row is in the window of the instant before.
    pub fn of_results(self) -> Self {
        Self { of_results: true, ..self }
    }

    /// The schema that `of_time` is planned on.
    pub fn time_schema() -> SchemaRef {
        Arc::new(Schema::new([SqlType::Timestamp.field(ROWTIME, false)]))
    }

    /// True for types that can be a window key: numbers and times, each of which is a whole number of 64 bits in the same order.
    pub fn supports(data_type: &DataType) -> bool {
        data_type.is_integer()
            || matches!(
                data_type,
                DataType::Timestamp(..)
                    | DataType::Date32
                    | DataType::Time32(_)
                    | DataType::Duration(_)
                    | DataType::Decimal128(..)
                    | DataType::Float32
                    | DataType::Float64
            )
    }

    /// The window of every row, as numbers that grow with time.
    pub fn of_rows(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        self.numbers(self.of_row.evaluate(batch)?.into_array(batch.num_rows())?)
    }

    /// The window of an instant. None beyond the range of the expression: later than any window.
    pub fn of_instant(&self, time: EventTime) -> Option<i64> {
        self.of_instants(&[time]).ok()?.first().copied()
    }

    /// The column that shows window `number` on `rows` rows, in the expression's own type.
    pub fn show(&self, number: i64, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
        let number = if self.descending { number.wrapping_neg() } else { number };
        let column: ArrayRef = match data_type {
            DataType::Float32 | DataType::Float64 => Arc::new(Float64Array::from_value(float_of(number), rows)),
            DataType::Decimal128(..) => {
                let values = Decimal128Array::from_value(i128::from(number), rows);
                return Ok(Arc::new(values.with_data_type(data_type.clone())));
            }
            DataType::Date32 | DataType::Time32(_) => cast(&Int64Array::from_value(number, rows), &DataType::Int32)?,
            _ => Arc::new(Int64Array::from_value(number, rows)),
        };
        Ok(cast(&column, data_type)?)
    }

    /// The first instant behind the window of a row of this ROWTIME, [`EventTime::MAX`] if there is none.
    pub fn end_of(&self, rowtime: EventTime) -> Result<EventTime> {
        let inside = rowtime.saturating_sub(i64::from(self.of_results));
        let window = self.of_instant(inside).ok_or_else(|| Error::internal("a row's ROWTIME has no window"))?;
        let is_later = |time: EventTime| self.of_instant(time).is_none_or(|other| other > window);
        // Doubling steps find a range, halving finds the instant in it.
        let (mut low, mut step) = (inside, 1i64);
        loop {
            let Some(high) = inside.checked_add(step).filter(|high| *high < MAX_INSTANT) else { return Ok(EventTime::MAX) };
            if is_later(high) {
                break;
            }
            low = high;
            step = step.saturating_mul(2);
        }
        let mut high = inside + step;
        // `low` is inside, `high` is later; 64 candidates per evaluation narrow the range 64-fold.
        while high - low > 1 {
            let stride = ((high - low) / 64).max(1);
            let candidates: Vec<_> = (1..64).map(|i| low + i * stride).filter(|time| *time < high).collect();
            let windows = self.of_instants(&candidates)?;
            let first_later = windows.iter().position(|other| *other > window).unwrap_or(candidates.len());
            high = candidates.get(first_later).copied().unwrap_or(high);
            low = first_later.checked_sub(1).map_or(low, |i| candidates[i]);
        }
        Ok(high)
    }

    fn of_instants(&self, times: &[EventTime]) -> Result<Vec<i64>> {
        let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()));
        let batch = RecordBatch::try_new(self.time_schema.clone(), vec![column])?;
        let values = self.of_time.evaluate(&batch)?.into_array(times.len())?;
        Ok(self.numbers(values)?.as_primitive::<Int64Type>().values().to_vec())
    }

    fn numbers(&self, values: ArrayRef) -> Result<ArrayRef> {
        let numbers: ArrayRef = match values.data_type() {
            DataType::Float32 | DataType::Float64 => {
                let floats = cast(&values, &DataType::Float64)?;
                Arc::new(floats.as_primitive::<Float64Type>().unary::<_, Int64Type>(number_of))
            }
            // The digits, without the point.
            DataType::Decimal128(..) => {
                let digits = |digits: i128| {
                    i64::try_from(digits)
                        .map_err(|_| ArrowError::ArithmeticOverflow("the key of a window has over 18 digits".to_owned()))
                };
                Arc::new(values.as_primitive::<Decimal128Type>().try_unary::<_, Int64Type, _>(digits)?)
            }
            DataType::Date32 | DataType::Time32(_) => cast(&cast(&values, &DataType::Int32)?, &DataType::Int64)?,
            _ => cast(&values, &DataType::Int64)?,
        };
        if !self.descending {
            return Ok(numbers);
        }
        Ok(Arc::new(numbers.as_primitive::<Int64Type>().unary::<_, Int64Type>(|number| number.wrapping_neg())))
    }
}

/// The bits of a float as a whole number, which grows as the float does (IEEE 754, totalOrder); −0.0 is 0.0.
fn number_of(float: f64) -> i64 {
    let bits = (float + 0.0).to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// The float that [`number_of`] makes `number` of.
fn float_of(number: i64) -> f64 {
    f64::from_bits(if number < 0 { number ^ i64::MAX } else { number }.cast_unsigned())
}

/// Calendar functions fail far beyond, and no row is there.
pub(super) const MAX_INSTANT: EventTime = *ROWTIMES.end();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_in_the_order_of_their_numbers() {
        let floats = [f64::NEG_INFINITY, -1.5e300, -2.0, -1e-300, 0.0, f64::MIN_POSITIVE, 0.1, 28_401_120.0, f64::INFINITY];
        let numbers = floats.map(number_of);
        assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
        assert_eq!(numbers.map(float_of), floats);
        assert_eq!(number_of(-0.0), number_of(0.0));
    }
}
