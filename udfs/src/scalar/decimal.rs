//! Exact arithmetic on scaled integers, as DECIMAL columns hold them.

/// 10^`exponent` up to 10^38.
pub(crate) fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

/// `units` of 10^−`from` in units of 10^−`to`, rounded half away from zero; None past the largest i128.
pub(crate) fn rescale(units: i128, from: i8, to: i8) -> Option<i128> {
    let shift = i32::from(to) - i32::from(from);
    match power_of_ten(shift.unsigned_abs()) {
        Some(factor) if shift >= 0 => units.checked_mul(factor),
        Some(divisor) => {
            let (quotient, rest) = (units / divisor, units % divisor);
            Some(if rest.abs() >= divisor / 2 && divisor > 1 { quotient + units.signum() } else { quotient })
        }
        None => (units == 0 || shift < 0).then_some(0),
    }
}

/// [`rescale`], None if that rounds.
pub(crate) fn rescale_exact(units: i128, from: i8, to: i8) -> Option<i128> {
    rescale(units, from, to).filter(|rescaled| rescale(*rescaled, to, from) == Some(units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_half_away_from_zero() {
        for (units, rescaled) in [(15, 2), (14, 1), (-15, -2), (-14, -1), (5, 1), (-5, -1), (4, 0)] {
            assert_eq!(rescale(units, 1, 0), Some(rescaled), "{units}");
        }
        assert_eq!(rescale(i128::MAX, 0, 1), None);
        assert_eq!(rescale(7, 60, 0), Some(0));
        assert_eq!(rescale_exact(150, 2, 1), Some(15));
        assert_eq!(rescale_exact(155, 2, 1), None);
    }
}
