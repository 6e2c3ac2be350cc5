//! SUM and AVG: a row adds its value when it comes and takes it away when it leaves.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, PrimitiveArray};
use arrow::datatypes::{ArrowNativeType, ArrowNativeTypeOp, ArrowPrimitiveType, DataType, DecimalType, Float64Type};

use super::kernel::{Batch, Kernel, Native, is_valid};
use super::long_sum::LongSum;
use super::values::PrimitiveValues;
use crate::error::{Error, Result};

/// Sum and count of one key's frame.
#[derive(Clone, Copy, Default)]
struct FloatSum {
    sum: LongSum,
    /// Rows with a value.
    count: u32,
    /// Of them infinite or not a number: those are not in `sum`.
    special: u32,
    /// Rows that came or left since the sum was last added up.
    changes: u32,
}

impl FloatSum {
    #[inline]
    fn come(&mut self, x: f64) {
        self.count += 1;
        self.changes = self.changes.saturating_add(1);
        if x.is_finite() { self.sum.add(x) } else { self.special += 1 }
    }

    #[inline]
    fn leave(&mut self, x: f64) {
        self.count -= 1;
        self.changes = self.changes.saturating_add(1);
        if x.is_finite() {
            self.sum.add(-x)
        } else {
            self.special -= 1
        }
        if self.count == 0 {
            *self = Self::default();
        }
    }

    /// The sum of the values of `frame`, which are those that came and have not left.
    #[inline]
    fn value(&mut self, frame: impl Fn() -> f64, add_up: impl Fn() -> LongSum) -> f64 {
        if self.special > 0 {
            return frame();
        }
        // Adding up costs as much as the frame is long, so it waits until a quarter of it has changed.
        if self.sum.is_worn() && self.changes > self.count / 4 {
            self.sum = add_up();
            self.changes = 0;
            if !self.sum.value.high.is_finite() {
                return frame();
            }
        }
        self.sum.value.high
    }
}

/// SUM and AVG of DOUBLE.
pub struct FloatSums {
    average: bool,
    of_key: Vec<FloatSum>,
}

impl FloatSums {
    /// AVG if `average`, else SUM.
    pub fn new(average: bool) -> Self {
        Self { average, of_key: Vec::new() }
    }
}

impl Kernel for FloatSums {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, keys, .. } = *batch;
        self.of_key.resize(keys, FloatSum::default());
        let argument = PrimitiveValues::<Float64Type>::of(batch.argument()?)?;
        let (values, valid, average) = (argument.values.as_slice(), argument.valid(), self.average);
        let mut results = Vec::with_capacity(steps.rows());
        let mut present = valid.map(|_| Vec::with_capacity(steps.rows()));
        steps.follow(
            &mut self.of_key,
            |sums, slot, key| {
                if is_valid(valid, slot) {
                    sums[key as usize].leave(values[slot as usize]);
                }
            },
            |sums, row| {
                let (sum, slot) = (&mut sums[steps.keys[row] as usize], steps.slots[row]);
                if is_valid(valid, slot) {
                    sum.come(values[slot as usize]);
                }
                let frame = || {
                    let slots = batch.frame(row).filter(|slot| is_valid(valid, *slot));
                    slots.map(|slot| values[slot as usize])
                };
                let value = sum.value(
                    || frame().sum(),
                    || {
                        let mut sum = LongSum::default();
                        frame().for_each(|x| sum.add(x));
                        sum
                    },
                );
                if let Some(present) = &mut present {
                    present.push(sum.count > 0);
                }
                results.push(if average { value / f64::from(sum.count.max(1)) } else { value });
            },
        );
        Ok(Arc::new(Float64Array::new(results.into(), present.map(Into::into))))
    }

    fn size(&self) -> usize {
        self.of_key.capacity() * size_of::<FloatSum>()
    }
}

/// Sums and counts per key, exact.
struct Totals<N> {
    of_key: Vec<(N, u32)>,
}

impl<N: ArrowNativeTypeOp> Totals<N> {
    /// Per row what `result` makes of sum and count; None where no row has a value.
    fn follow<T: ArrowPrimitiveType<Native = N>>(
        &mut self,
        batch: &Batch<'_>,
        result: impl Fn(N, u32) -> N,
    ) -> Result<PrimitiveArray<T>> {
        let Batch { steps, keys, .. } = *batch;
        self.of_key.resize(keys, (N::default(), 0));
        let argument = PrimitiveValues::<T>::of(batch.argument()?)?;
        let (values, valid) = (argument.values.as_slice(), argument.valid());
        let mut results = Vec::with_capacity(steps.rows());
        let mut present = valid.map(|_| Vec::with_capacity(steps.rows()));
        steps.follow(
            &mut self.of_key,
            |totals, slot, key| {
                if is_valid(valid, slot) {
                    let (sum, count) = &mut totals[key as usize];
                    (*sum, *count) = (sum.sub_wrapping(values[slot as usize]), *count - 1);
                }
            },
            |totals, row| {
                let ((sum, count), slot) = (&mut totals[steps.keys[row] as usize], steps.slots[row]);
                if is_valid(valid, slot) {
                    (*sum, *count) = (sum.add_wrapping(values[slot as usize]), *count + 1);
                }
                if let Some(present) = &mut present {
                    present.push(*count > 0);
                }
                results.push(result(*sum, *count));
            },
        );
        Ok(PrimitiveArray::new(results.into(), present.map(Into::into)))
    }
}

/// SUM of BIGINT and DECIMAL. The planner chooses types in which a frame that fits in memory cannot overflow.
pub struct ExactSums<T: ArrowPrimitiveType> {
    result: DataType,
    totals: Totals<Native<T>>,
}

impl<T: ArrowPrimitiveType> ExactSums<T> {
    /// Sums as `result`.
    pub fn new(result: DataType) -> Self {
        Self { result, totals: Totals { of_key: Vec::new() } }
    }
}

impl<T: ArrowPrimitiveType> Kernel for ExactSums<T> {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let sums = self.totals.follow::<T>(batch, |sum, _| sum)?;
        Ok(Arc::new(sums.with_data_type(self.result.clone())))
    }

    fn size(&self) -> usize {
        self.totals.of_key.capacity() * size_of::<(Native<T>, u32)>()
    }
}

/// AVG of DECIMAL, cut off behind the last digit of the result's scale as DataFusion's `avg` does. The planner chooses types that
/// have room for the sum with the digits of the result.
pub struct DecimalAverages<T: DecimalType> {
    result: DataType,
    /// 10 to the power of the digits that the result has more.
    factor: Native<T>,
    totals: Totals<Native<T>>,
}

impl<T: DecimalType> DecimalAverages<T> {
    /// Averages of numbers with `scale` digits behind the point as `result`.
    pub fn try_new(scale: i8, result: &DataType) -> Result<Self> {
        let (DataType::Decimal128(_, digits) | DataType::Decimal256(_, digits)) = result else {
            return Err(Error::internal(format!("an average of decimals as {result}")));
        };
        let more = u32::from(digits.saturating_sub(scale).max(0).unsigned_abs());
        let factor = Native::<T>::usize_as(10).pow_wrapping(more);
        Ok(Self { result: result.clone(), factor, totals: Totals { of_key: Vec::new() } })
    }
}

impl<T: DecimalType> Kernel for DecimalAverages<T> {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let factor = self.factor;
        let average = |sum: Native<T>, count: u32| {
            let count = Native::<T>::usize_as(count.max(1) as usize);
            sum.mul_wrapping(factor).div_wrapping(count)
        };
        let averages = self.totals.follow::<T>(batch, average)?;
        Ok(Arc::new(averages.with_data_type(self.result.clone())))
    }

    fn size(&self) -> usize {
        self.totals.of_key.capacity() * size_of::<(Native<T>, u32)>()
    }
}
