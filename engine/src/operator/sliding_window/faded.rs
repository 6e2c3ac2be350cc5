//! EXP_AVG(x, h): an average in which a row weighs half as much as one that is younger by h (kda-sql-reference.md §5.2, §8.6).
//!
//! The frame is cut into sub-windows of length h, counted back from the current row; the weight is 2 to the power of minus the
//! sub-window. Per key there is a sum for each sub-window, and rows move from one to the next as they age. Sub-windows from
//! the 63rd on share a sum and the weight 2^-62: beside any younger row theirs does not show.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::Float64Type;

use super::frame::{Frame, NOWHERE};
use super::kernel::{Batch, Kernel, is_valid};
use super::long_sum::LongSum;
use super::values::PrimitiveValues;
use crate::error::Result;

/// Sub-windows at most.
const SUB_WINDOWS_MAX: i64 = 63;

/// The rows of one key that are of one age.
#[derive(Clone, Copy)]
struct SubWindow {
    sum: LongSum,
    /// Rows with a value.
    count: u32,
    /// The oldest row that is in this sub-window or a younger one.
    oldest: u32,
}

const EMPTY: SubWindow =
    SubWindow { sum: LongSum { value: super::long_sum::Long { high: 0.0, low: 0.0 }, lost: 0.0 }, count: 0, oldest: NOWHERE };

impl SubWindow {
    fn add(&mut self, x: Option<f64>) {
        if let Some(x) = x {
            self.sum.add(x);
            self.count += 1;
        }
    }

    fn remove(&mut self, x: Option<f64>) {
        if let Some(x) = x {
            self.sum.add(-x);
            self.count -= 1;
            if self.count == 0 {
                self.sum = LongSum::default();
            }
        }
    }
}

/// EXP_AVG of DOUBLE. Infinite values and NaN are ignored like NULL: they would hide all others for good.
pub struct FadedAverage {
    half_life_ms: i64,
    /// Sub-windows per key.
    width: usize,
    /// Key by key.
    sub_windows: Vec<SubWindow>,
}

impl FadedAverage {
    /// Weights halve every `half_life_ms`, at least 1.
    pub fn new(half_life_ms: i64, frame: Frame) -> Self {
        let width = match frame {
            Frame::Range(length_ms) => (length_ms / half_life_ms + 1).min(SUB_WINDOWS_MAX),
            Frame::Rows(_) => SUB_WINDOWS_MAX,
        };
        Self { half_life_ms, width: width as usize, sub_windows: Vec::new() }
    }
}

impl Kernel for FadedAverage {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, rows, keys, .. } = *batch;
        let (width, half_life_ms) = (self.width, self.half_life_ms);
        self.sub_windows.resize(keys * width, EMPTY);
        let argument = PrimitiveValues::<Float64Type>::of(batch.argument()?)?;
        let (values, valid) = (argument.values.as_slice(), argument.valid());
        let value = |slot: u32| Some(values[slot as usize]).filter(|x| is_valid(valid, slot) && x.is_finite());
        let of_key = |key: u32| key as usize * width..(key as usize + 1) * width;
        let mut results = Vec::with_capacity(steps.rows());
        steps.follow(
            &mut self.sub_windows,
            |all, slot, key| {
                let sub_windows = &mut all[of_key(key)];
                // It is in the youngest sub-window that begins with it, or else in the last.
                let place = sub_windows.iter().position(|sub_window| sub_window.oldest == slot).unwrap_or(width - 1);
                sub_windows[place].remove(value(slot));
                let next = rows.next(slot);
                sub_windows[place..].iter_mut().filter(|other| other.oldest == slot).for_each(|other| other.oldest = next);
            },
            |all, row| {
                let (slot, sub_windows) = (steps.slots[row], &mut all[of_key(steps.keys[row])]);
                let now = rows.time(slot);
                sub_windows[0].add(value(slot));
                for place in 0..width - 1 {
                    if sub_windows[place].oldest == NOWHERE {
                        sub_windows[place].oldest = slot;
                    }
                    while (now - rows.time(sub_windows[place].oldest)) / half_life_ms > place as i64 {
                        let aged = sub_windows[place].oldest;
                        sub_windows[place].remove(value(aged));
                        sub_windows[place + 1].add(value(aged));
                        sub_windows[place].oldest = rows.next(aged);
                    }
                }
                let weighted = sub_windows.iter().rev().fold((0.0, 0.0), |(sum, weight), sub_window| {
                    (sum / 2.0 + sub_window.sum.value.high, weight / 2.0 + f64::from(sub_window.count))
                });
                results.push((weighted.1 > 0.0).then(|| weighted.0 / weighted.1));
            },
        );
        Ok(Arc::new(Float64Array::from(results)))
    }

    fn size(&self) -> usize {
        self.sub_windows.capacity() * size_of::<SubWindow>()
    }
}
