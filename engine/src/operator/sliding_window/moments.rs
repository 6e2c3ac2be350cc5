//! Variances and standard deviations: `(Σx² − (Σx)²/N)/N` or `/(N−1)` (kda-sql-reference.md §5.2).
//!
//! The formula takes nearly equal numbers from each other; both sums have two parts, so that enough digits are left.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::Float64Type;

use super::kernel::{Batch, Kernel, is_valid};
use super::long_sum::{Long, LongSum};
use super::values::PrimitiveValues;
use crate::error::Result;

/// Which variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistic {
    /// Divided by N − 1; NULL for a single row.
    pub sample: bool,
    /// Its root.
    pub deviation: bool,
}

/// Differences of the two sums below this part of them are what rounding has left: equal values have variance 0.
const NOISE: f64 = 1.0 / (1_u128 << 98) as f64;

/// How much of the difference may be lost before the sums are added up anew.
const WORN: f64 = 1.0 / (1_u64 << 40) as f64;

#[derive(Clone, Copy, Default)]
struct Sums {
    of_values: LongSum,
    of_squares: LongSum,
    /// Rows with a value.
    count: u32,
    /// Of them infinite or not a number: those are not in the sums.
    special: u32,
    /// Rows that came or left since the sums were last added up.
    changes: u32,
}

impl Sums {
    #[inline]
    fn add(&mut self, x: f64) {
        self.of_values.add(x);
        self.of_squares.add_long(Long::square_of(x));
    }

    #[inline]
    fn come(&mut self, x: f64) {
        self.count += 1;
        self.changes = self.changes.saturating_add(1);
        if x.is_finite() { self.add(x) } else { self.special += 1 }
    }

    #[inline]
    fn leave(&mut self, x: f64) {
        self.count -= 1;
        self.changes = self.changes.saturating_add(1);
        if x.is_finite() {
            self.of_values.add(-x);
            let square = Long::square_of(x);
            self.of_squares.add_long(Long { high: -square.high, low: -square.low });
        } else {
            self.special -= 1;
        }
        if self.count == 0 {
            *self = Self::default();
        }
    }

    /// Σ(x − mean)².
    fn spread(&self) -> f64 {
        let spread = self.of_squares.value.minus(self.of_values.value.squared().divided_by(f64::from(self.count)));
        if spread <= self.of_squares.value.high * NOISE { 0.0 } else { spread }
    }

    fn is_worn(&self) -> bool {
        let lost = self.of_squares.lost + self.of_values.lost * self.of_values.value.high.abs() / f64::from(self.count.max(1));
        lost > self.spread() * WORN && self.of_squares.lost > self.of_squares.value.high * NOISE
            || !self.of_squares.value.high.is_finite()
    }

    /// The result; `frame` has the values that came and have not left.
    fn value<I: Iterator<Item = f64>>(&mut self, statistic: Statistic, frame: impl Fn() -> I) -> Option<f64> {
        let divisor = self.count.checked_sub(u32::from(statistic.sample)).filter(|divisor| *divisor > 0)?;
        if self.special > 0 {
            return Some(f64::NAN);
        }
        // Adding up costs as much as the frame is long, so it waits until a quarter of it has changed.
        if self.is_worn() && self.changes > self.count / 4 {
            let mut sums = Sums { count: self.count, ..Sums::default() };
            frame().for_each(|x| sums.add(x));
            *self = sums;
        }
        let variance = self.spread() / f64::from(divisor);
        Some(if statistic.deviation { variance.sqrt() } else { variance })
    }
}

/// VAR_POP, VAR_SAMP, STDDEV_POP and STDDEV_SAMP of DOUBLE.
pub struct Moments {
    statistic: Statistic,
    of_key: Vec<Sums>,
}

impl Moments {
    /// Computes `statistic`.
    pub fn new(statistic: Statistic) -> Self {
        Self { statistic, of_key: Vec::new() }
    }
}

impl Kernel for Moments {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, keys, .. } = *batch;
        self.of_key.resize(keys, Sums::default());
        let argument = PrimitiveValues::<Float64Type>::of(batch.argument()?)?;
        let (values, valid, statistic) = (argument.values.as_slice(), argument.valid(), self.statistic);
        let mut results = Vec::with_capacity(steps.rows());
        steps.follow(
            &mut self.of_key,
            |sums, slot, key| {
                if is_valid(valid, slot) {
                    sums[key as usize].leave(values[slot as usize]);
                }
            },
            |sums, row| {
                let (sums, slot) = (&mut sums[steps.keys[row] as usize], steps.slots[row]);
                if is_valid(valid, slot) {
                    sums.come(values[slot as usize]);
                }
                results.push(sums.value(statistic, || {
                    let slots = batch.frame(row).filter(|slot| is_valid(valid, *slot));
                    slots.map(|slot| values[slot as usize])
                }));
            },
        );
        Ok(Arc::new(Float64Array::from(results)))
    }

    fn size(&self) -> usize {
        self.of_key.capacity() * size_of::<Sums>()
    }
}
