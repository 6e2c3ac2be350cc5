//! The values of an argument in the frames, by slot.
//!
//! Several functions of one argument share them: `AVG(x)`, `MIN(x)` and `MAX(x)` over one window keep x once.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, BooleanBuilder, PrimitiveArray, StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMillisecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Time32MillisecondType, TimeUnit, TimestampMillisecondType, i256,
};

use super::frame::{Left, NOWHERE};
use crate::error::{Error, Result};

/// The values of an argument, by slot.
pub trait Values: Any + Send {
    /// Puts the rows of `column` into `slots`, of `capacity` in all.
    fn store(&mut self, slots: &[u32], column: &ArrayRef, capacity: usize);

    /// The values of these slots are not needed any more.
    fn release(&mut self, _left: &[Left]) {}

    /// The values in `slots`; NULL for [`NOWHERE`].
    fn gather(&self, slots: &[u32]) -> ArrayRef;

    /// The slots with a value; None while no value is NULL.
    fn valid(&self) -> Option<&[bool]>;

    /// Numbers for the values in `slots` that sort as the values do, anything where the value is NULL. True if different
    /// values have different numbers.
    fn ranks(&self, slots: &[u32], ranks: &mut Vec<i64>) -> bool;

    /// True if the value in slot `a` sorts before that in slot `b`; neither is NULL.
    fn is_less(&self, a: u32, b: u32) -> bool;

    /// Bytes held.
    fn size(&self) -> usize;
}

/// Where the values of an argument of this type go.
pub fn values_of(data_type: &DataType) -> Result<Box<dyn Values>> {
    fn primitive<T: ArrowPrimitiveType<Native: Rank>>(data_type: &DataType) -> Result<Box<dyn Values>> {
        Ok(Box::new(PrimitiveValues::<T> { values: Vec::new(), valid: Valid::default(), data_type: data_type.clone() }))
    }
    match data_type {
        DataType::Int8 => primitive::<Int8Type>(data_type),
        DataType::Int16 => primitive::<Int16Type>(data_type),
        DataType::Int32 => primitive::<Int32Type>(data_type),
        DataType::Int64 => primitive::<Int64Type>(data_type),
        DataType::Float32 => primitive::<Float32Type>(data_type),
        DataType::Float64 => primitive::<Float64Type>(data_type),
        DataType::Decimal128(..) => primitive::<Decimal128Type>(data_type),
        DataType::Decimal256(..) => primitive::<Decimal256Type>(data_type),
        DataType::Date32 => primitive::<Date32Type>(data_type),
        DataType::Time32(TimeUnit::Millisecond) => primitive::<Time32MillisecondType>(data_type),
        DataType::Timestamp(TimeUnit::Millisecond, None) => primitive::<TimestampMillisecondType>(data_type),
        DataType::Duration(TimeUnit::Millisecond) => primitive::<DurationMillisecondType>(data_type),
        DataType::Interval(IntervalUnit::YearMonth) => primitive::<IntervalYearMonthType>(data_type),
        DataType::Interval(IntervalUnit::MonthDayNano) => primitive::<IntervalMonthDayNanoType>(data_type),
        DataType::Boolean => Ok(Box::new(BooleanValues::default())),
        DataType::Utf8 | DataType::Binary => Ok(Box::new(ByteValues::new(data_type.clone()))),
        other => Err(Error::internal(format!("a sliding window cannot keep values of type {other}"))),
    }
}

/// Which slots have a value. Nothing is written while no value is NULL.
#[derive(Default)]
struct Valid(Option<Vec<bool>>);

impl Valid {
    fn store(&mut self, slots: &[u32], nulls: Option<&NullBuffer>, capacity: usize) {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        if self.0.is_none() && nulls.is_none() {
            return;
        }
        let valid = self.0.get_or_insert_default();
        valid.resize(capacity, true);
        match nulls {
            None => slots.iter().for_each(|slot| valid[*slot as usize] = true),
            Some(nulls) => slots.iter().zip(nulls.iter()).for_each(|(slot, is_valid)| valid[*slot as usize] = is_valid),
        }
    }

    fn gather(&self, slots: &[u32]) -> Option<NullBuffer> {
        let nulls = match &self.0 {
            None if !slots.contains(&NOWHERE) => return None,
            None => slots.iter().map(|slot| *slot != NOWHERE).collect(),
            Some(valid) => slots.iter().map(|slot| *slot != NOWHERE && valid[*slot as usize]).collect::<NullBuffer>(),
        };
        Some(nulls).filter(|nulls: &NullBuffer| nulls.null_count() > 0)
    }

    fn size(&self) -> usize {
        self.0.as_ref().map_or(0, Vec::capacity)
    }
}

/// Values that sort as whole numbers.
trait Rank: Copy {
    /// True if different values have different ranks.
    const EXACT: bool = true;

    fn rank(self) -> i64;
}

macro_rules! rank_of_whole_numbers {
    ($($native:ty),*) => {
        $(impl Rank for $native {
            fn rank(self) -> i64 {
                i64::from(self)
            }
        })*
    };
}

rank_of_whole_numbers!(i8, i16, i32, i64);

impl Rank for f64 {
    /// The bits of positive numbers sort as they do, those of negative ones the other way round (as in `total_cmp`).
    fn rank(self) -> i64 {
        let bits = self.to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    }
}

impl Rank for f32 {
    fn rank(self) -> i64 {
        f64::from(self).rank()
    }
}

impl Rank for IntervalMonthDayNano {
    /// Months, or milliseconds: an interval has only one of them (kda-sql-reference.md §1.5).
    fn rank(self) -> i64 {
        match self.months {
            0 => i64::from(self.days) * 86_400_000 + self.nanoseconds / 1_000_000,
            months => i64::from(months),
        }
    }
}

impl Rank for i128 {
    const EXACT: bool = false;

    fn rank(self) -> i64 {
        self.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

impl Rank for i256 {
    const EXACT: bool = false;

    fn rank(self) -> i64 {
        self.to_i128().map_or(if self < i256::ZERO { i64::MIN } else { i64::MAX }, Rank::rank)
    }
}

/// Numbers and times.
pub struct PrimitiveValues<T: ArrowPrimitiveType> {
    /// By slot; anything where the value is NULL.
    pub values: Vec<T::Native>,
    valid: Valid,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType> PrimitiveValues<T> {
    /// The values if they are of type `T`.
    pub fn of(values: &dyn Values) -> Result<&Self> {
        let values: &dyn Any = values;
        values.downcast_ref().ok_or_else(|| Error::internal("the argument of a sliding window has an unexpected type"))
    }

    /// The slots with a value; None while no value is NULL.
    pub fn valid(&self) -> Option<&[bool]> {
        self.valid.0.as_deref()
    }
}

impl<T: ArrowPrimitiveType<Native: Rank>> Values for PrimitiveValues<T> {
    fn store(&mut self, slots: &[u32], column: &ArrayRef, capacity: usize) {
        let column = column.as_primitive::<T>();
        self.values.resize(capacity, T::Native::default());
        for (slot, value) in slots.iter().zip(column.values()) {
            self.values[*slot as usize] = *value;
        }
        self.valid.store(slots, column.nulls(), capacity);
    }

    fn gather(&self, slots: &[u32]) -> ArrayRef {
        let value = |slot: &u32| if *slot == NOWHERE { T::Native::default() } else { self.values[*slot as usize] };
        let values: ScalarBuffer<T::Native> = slots.iter().map(value).collect();
        let column = PrimitiveArray::<T>::new(values, self.valid.gather(slots));
        Arc::new(column.with_data_type(self.data_type.clone()))
    }

    fn valid(&self) -> Option<&[bool]> {
        self.valid.0.as_deref()
    }

    fn ranks(&self, slots: &[u32], ranks: &mut Vec<i64>) -> bool {
        ranks.extend(slots.iter().map(|slot| self.values[*slot as usize].rank()));
        T::Native::EXACT
    }

    fn is_less(&self, a: u32, b: u32) -> bool {
        self.values[a as usize].is_lt(self.values[b as usize])
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.valid.size()
    }
}

/// Truth values.
#[derive(Default)]
pub struct BooleanValues {
    /// By slot; anything where the value is NULL.
    pub values: Vec<bool>,
    valid: Valid,
}

impl BooleanValues {
    /// The values if they are truth values.
    pub fn of(values: &dyn Values) -> Result<&Self> {
        let values: &dyn Any = values;
        values.downcast_ref().ok_or_else(|| Error::internal("the argument of a sliding window has an unexpected type"))
    }
}

impl Values for BooleanValues {
    fn store(&mut self, slots: &[u32], column: &ArrayRef, capacity: usize) {
        let column = column.as_boolean();
        self.values.resize(capacity, false);
        for (slot, value) in slots.iter().zip(column.values()) {
            self.values[*slot as usize] = value;
        }
        self.valid.store(slots, column.nulls(), capacity);
    }

    fn gather(&self, slots: &[u32]) -> ArrayRef {
        let mut values = BooleanBuilder::with_capacity(slots.len());
        slots.iter().for_each(|slot| values.append_value(*slot != NOWHERE && self.values[*slot as usize]));
        Arc::new(BooleanArray::new(values.finish().values().clone(), self.valid.gather(slots)))
    }

    fn valid(&self) -> Option<&[bool]> {
        self.valid.0.as_deref()
    }

    fn ranks(&self, slots: &[u32], ranks: &mut Vec<i64>) -> bool {
        ranks.extend(slots.iter().map(|slot| i64::from(self.values[*slot as usize])));
        true
    }

    fn is_less(&self, a: u32, b: u32) -> bool {
        !self.values[a as usize] & self.values[b as usize]
    }

    fn size(&self) -> usize {
        self.values.capacity() + self.valid.size()
    }
}

/// Texts and bytes, one behind the other; what was released is squeezed out when it is the greater part.
struct ByteValues {
    bytes: Vec<u8>,
    /// By slot start and length.
    places: Vec<(usize, u32)>,
    /// Bytes of slots that are in use.
    used: usize,
    valid: Valid,
    data_type: DataType,
}

/// Below so many bytes nothing is squeezed out.
const SQUEEZED_MIN: usize = 1 << 16;

impl ByteValues {
    fn new(data_type: DataType) -> Self {
        Self { bytes: Vec::new(), places: Vec::new(), used: 0, valid: Valid::default(), data_type }
    }

    fn value(&self, slot: u32) -> &[u8] {
        let (start, length) = self.places[slot as usize];
        &self.bytes[start..start + length as usize]
    }

    fn squeeze(&mut self) {
        let mut bytes = Vec::with_capacity(2 * self.used);
        for (start, length) in &mut self.places {
            let place = bytes.len();
            bytes.extend_from_slice(&self.bytes[*start..*start + *length as usize]);
            *start = place;
        }
        self.bytes = bytes;
    }
}

impl Values for ByteValues {
    fn store(&mut self, slots: &[u32], column: &ArrayRef, capacity: usize) {
        self.places.resize(capacity, (0, 0));
        let (offsets, bytes) = match column.as_string_opt::<i32>() {
            Some(texts) => (texts.value_offsets(), texts.value_data()),
            None => {
                let column = column.as_binary::<i32>();
                (column.value_offsets(), column.value_data())
            }
        };
        let (first, last) = (offsets[0] as usize, offsets[slots.len()] as usize);
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&bytes[first..last]);
        self.used += last - first;
        for (slot, ends) in slots.iter().zip(offsets.windows(2)) {
            self.places[*slot as usize] = (base + ends[0] as usize - first, (ends[1] - ends[0]) as u32);
        }
        self.valid.store(slots, column.nulls(), capacity);
    }

    fn release(&mut self, left: &[Left]) {
        for (slot, _) in left {
            let (start, length) = &mut self.places[*slot as usize];
            self.used -= *length as usize;
            (*start, *length) = (0, 0);
        }
        if self.bytes.len() > SQUEEZED_MIN.max(2 * self.used) {
            self.squeeze();
        }
    }

    fn gather(&self, slots: &[u32]) -> ArrayRef {
        let value = |slot: &u32| if *slot == NOWHERE { &[][..] } else { self.value(*slot) };
        let offsets = OffsetBuffer::<i32>::from_lengths(slots.iter().map(|slot| value(slot).len()));
        let mut bytes = Vec::with_capacity(offsets[slots.len()] as usize);
        slots.iter().for_each(|slot| bytes.extend_from_slice(value(slot)));
        let column = BinaryArray::new(offsets, Buffer::from_vec(bytes), self.valid.gather(slots));
        match self.data_type {
            DataType::Utf8 => {
                Arc::new(StringArray::try_from_binary(column).expect("every value was taken from a column of texts"))
            }
            _ => Arc::new(column),
        }
    }

    fn valid(&self) -> Option<&[bool]> {
        self.valid.0.as_deref()
    }

    /// The first eight bytes.
    fn ranks(&self, slots: &[u32], ranks: &mut Vec<i64>) -> bool {
        ranks.extend(slots.iter().map(|slot| {
            let value = self.value(*slot);
            let mut start = [0; 8];
            let length = value.len().min(8);
            start[..length].copy_from_slice(&value[..length]);
            // Unsigned numbers sort as signed ones do when the highest bit is turned round.
            (u64::from_be_bytes(start) ^ (1 << 63)) as i64
        }));
        false
    }

    fn is_less(&self, a: u32, b: u32) -> bool {
        self.value(a) < self.value(b)
    }

    fn size(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<(usize, u32)>() + self.valid.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_after_others_were_squeezed_out() {
        let mut values = values_of(&DataType::Utf8).expect("texts");
        let long = "x".repeat(1_000);
        let kept: ArrayRef = Arc::new(StringArray::from(vec![Some("first"), None]));
        values.store(&[0, 1], &kept, 2);
        for _ in 0..200 {
            let column: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
            values.store(&[2], &column, 3);
            values.release(&[(2, 0)]);
        }
        assert!(values.size() < 3 * SQUEEZED_MIN, "{} bytes", values.size());
        let expected: ArrayRef = Arc::new(StringArray::from(vec![None, Some("first"), None]));
        assert_eq!(&values.gather(&[1, 0, NOWHERE]), &expected);
    }

    #[test]
    fn types_survive() {
        let units = [IntervalUnit::YearMonth, IntervalUnit::MonthDayNano].map(DataType::Interval);
        let intervals = [DataType::Duration(TimeUnit::Millisecond)].into_iter().chain(units);
        let others = [DataType::Decimal128(5, 2), DataType::Date32, DataType::Boolean, DataType::Binary, DataType::Float32];
        for data_type in intervals.chain(others) {
            let column = arrow::array::new_null_array(&data_type, 2);
            let mut values = values_of(&data_type).expect("supported");
            values.store(&[1, 0], &column, 2);
            assert_eq!(&values.gather(&[0, NOWHERE]), &column);
        }
    }
}
