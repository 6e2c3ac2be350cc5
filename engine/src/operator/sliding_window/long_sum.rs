//! A sum of floating-point numbers that rows can leave again without a trace.
//!
//! It is kept in two parts of 53 bits (Knuth's TwoSum; Dekker 1971, "double-double"). While no bit falls off the end, which
//! takes values that differ by more than a factor of about 10^15, the sum is exact: it depends on the rows in the frame only,
//! and not on those that were there before. What falls off is counted, so that the owner knows when to add up anew.

/// a + b and what the rounding of it lost.
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// a · b and what the rounding of it lost (Veltkamp's splitting; products up to about 10^300).
#[inline]
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let split = |x: f64| {
        let shifted = 134_217_729.0 * x;
        let high = shifted - (shifted - x);
        (high, x - high)
    };
    let product = a * b;
    let ((a1, a2), (b1, b2)) = (split(a), split(b));
    (product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2)
}

/// An unevaluated sum of two numbers, the second at most half a unit in the last place of the first.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Long {
    /// The value, rounded.
    pub high: f64,
    /// What the rounding leaves out.
    pub low: f64,
}

impl Long {
    /// x².
    pub fn square_of(x: f64) -> Self {
        let (high, low) = two_product(x, x);
        Self { high, low }
    }

    /// The square, with a relative error of some 2^-102.
    pub fn squared(self) -> Self {
        let (high, low) = two_product(self.high, self.high);
        let (high, low) = two_sum(high, low + 2.0 * self.high * self.low);
        Self { high, low }
    }

    /// Divided by `divisor`, with a relative error of some 2^-102.
    pub fn divided_by(self, divisor: f64) -> Self {
        let quotient = self.high / divisor;
        let (product, lost) = two_product(quotient, divisor);
        let (high, low) = two_sum(quotient, (((self.high - product) - lost) + self.low) / divisor);
        Self { high, low }
    }

    /// The difference, rounded.
    pub fn minus(self, other: Self) -> f64 {
        let (high, low) = two_sum(self.high, -other.high);
        high + (low + (self.low - other.low))
    }
}

/// A running sum.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongSum {
    /// The sum.
    pub value: Long,
    /// At least what the sum may be wrong by.
    pub lost: f64,
}

impl LongSum {
    /// Adds a number; the negative one takes it away again.
    #[inline]
    pub fn add(&mut self, x: f64) {
        let (high, rest) = two_sum(self.value.high, x);
        let (low, lost) = two_sum(self.value.low, rest);
        let (high, low) = two_sum(high, low);
        self.value = Long { high, low };
        self.lost += lost.abs();
    }

    /// Adds both parts.
    #[inline]
    pub fn add_long(&mut self, x: Long) {
        self.add(x.high);
        self.add(x.low);
    }

    /// True if what was lost may show in the result.
    #[inline]
    pub fn is_worn(&self) -> bool {
        // Also true if the sum has left the range of DOUBLE on its way: then all is NaN.
        self.lost.is_nan() || self.lost > self.value.high.abs() * f64::EPSILON / 4.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_leave_without_a_trace() {
        let numbers: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7_919 % 10_007) / 100.0 - 31.7).collect();
        let mut sum = LongSum::default();
        numbers.iter().for_each(|x| sum.add(*x));
        numbers[..9_999].iter().for_each(|x| sum.add(-x));
        assert_eq!((sum.value, sum.lost), (Long { high: numbers[9_999], low: 0.0 }, 0.0));
    }

    #[test]
    fn what_falls_off_is_noticed() {
        let mut sum = LongSum::default();
        [1e60, 1e20, 0.1, -1e60, -1e20].iter().for_each(|x| sum.add(*x));
        assert!(sum.is_worn(), "{sum:?}");
        let mut sum = LongSum::default();
        [f64::MAX, f64::MAX, -f64::MAX].iter().for_each(|x| sum.add(*x));
        assert!(sum.is_worn(), "{sum:?}");
    }

    #[test]
    fn squares_and_quotients_have_two_parts() {
        let third = Long { high: 1.0, low: 0.0 }.divided_by(3.0);
        assert_eq!((third.high, third.low), (1.0 / 3.0, 1.850371707708594e-17));
        let square = Long::square_of(1.0 + f64::EPSILON);
        assert_eq!(square.minus(Long { high: 1.0 + 2.0 * f64::EPSILON, low: 0.0 }), f64::EPSILON * f64::EPSILON);
    }
}
