//! Arithmetic on bounding boxes: two points, the smallest and the largest value in each dimension.
//!
//! Boxes are padded to a multiple of [`LANES`] dimensions, points need not be: the values behind a point's end may be any
//! finite ones, because the padding of a box reaches from −∞ to ∞. One dimension alone is not padded.

/// Dimensions worked on at a time, one 128-bit register of f32.
pub(super) const LANES: usize = 4;

/// Values kept for a point or a side of a box of so many dimensions.
pub(super) fn stride(dimensions: usize) -> usize {
    if dimensions == 1 { 1 } else { dimensions.next_multiple_of(LANES) }
}

/// How far `x` lies above `max` (positive) or below `min` (negative).
#[inline(always)]
pub(super) fn excess(x: f32, min: f32, max: f32) -> f32 {
    above(x - max) - above(min - x)
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
    let lanes = point.as_chunks::<LANES>().0.iter().zip(min.as_chunks::<LANES>().0).zip(max.as_chunks::<LANES>().0);
    let mut sums = [0f32; LANES];
    for ((x, min), max) in lanes {
        for lane in 0..LANES {
            sums[lane] += larger(above(x[lane] - max[lane]), min[lane] - x[lane]);
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// The sum of the sides; padding is left out.
pub(super) fn sides(min: &[f32], max: &[f32], dimensions: usize) -> f32 {
    let mut sums = [0f32; LANES];
    for (dimension, (min, max)) in min.iter().zip(max).take(dimensions).enumerate() {
        sums[dimension % LANES] += max - min;
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}
