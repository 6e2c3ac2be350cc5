//! Arithmetic on bounding boxes: two points, the smallest and the largest value in each dimension.
//!
//! Boxes are padded to a multiple of [`LANES`] dimensions, points need not be: the values behind a point's end may be any
//! finite ones, because the padding of a box reaches from −∞ to ∞. One dimension alone is not padded.

use std::array;

/// Dimensions worked on at a time, one 128-bit register of f32.
pub(super) const LANES: usize = 4;

/// Values kept for a point or a side of a box of so many dimensions.
pub(super) fn stride(dimensions: usize) -> usize {
    if dimensions == 1 { 1 } else { dimensions.next_multiple_of(LANES) }
}

/// How far `x` lies above `max` (positive) or below `min` (negative).
#[inline(always)]
pub(super) fn excess(x: f32, min: f32, max: f32) -> f32 {
    x - smaller(larger(x, min), max)
}

#[inline(always)]
fn above(x: f32) -> f32 {
    // Unlike `f32::max`, one instruction.
    if x > 0.0 { x } else { 0.0 }
}

#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The growth of the sides' sum when `point` is added to a box. All three have the stride's length.
#[inline(always)]
pub(super) fn growth(point: &[f32], min: &[f32], max: &[f32]) -> f32 {
    if let (&[x], &[min], &[max]) = (point, min, max) {
        return larger(above(x - max), min - x);
    }
    wide_growth(point, min, max)
}

/// Not inlined: by itself it is compiled to four lanes at a time, within some callers only to two.
#[inline(never)]
fn wide_growth(point: &[f32], min: &[f32], max: &[f32]) -> f32 {
    // Two registers, since each addition waits for the one before it in the same register.
    let mut sums = [0f32; 2 * LANES];
    let (points, mins, maxs) = (point.as_chunks(), min.as_chunks(), max.as_chunks());
    for ((x, min), max) in points.0.iter().zip(mins.0).zip(maxs.0) {
        add_growth::<{ 2 * LANES }>(&mut sums, x, min, max);
    }
    let mut sums = array::from_fn(|lane| sums[lane] + sums[lane + LANES]);
    if let (Some(x), Some(min), Some(max)) = (points.1.first_chunk(), mins.1.first_chunk(), maxs.1.first_chunk()) {
        add_growth::<LANES>(&mut sums, x, min, max);
    }
    sums[0] + sums[1] + sums[2] + sums[3]
}

#[inline(always)]
fn add_growth<const N: usize>(sums: &mut [f32; N], x: &[f32; N], min: &[f32; N], max: &[f32; N]) {
    for lane in 0..N {
        sums[lane] += larger(above(x[lane] - max[lane]), min[lane] - x[lane]);
    }
}

/// The sum of the sides; padding is left out.
pub(super) fn sides(min: &[f32], max: &[f32], dimensions: usize) -> f32 {
    let mut sums = [0f32; LANES];
    for (dimension, (min, max)) in min.iter().zip(max).take(dimensions).enumerate() {
        sums[dimension % LANES] += max - min;
    }
    sums[0] + sums[1] + sums[2] + sums[3]
}
