//! Numbers as text: fast paths for the usual ones, exact conversions for all.
//!
//! The fast readers take a number at the start of `bytes`, so that a JSON value is scanned and converted in one go; they
//! give up (None) on anything unusual, which then takes the exact way through [`exact`] or the standard library.

use super::column::Refusal;

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];

/// A JSON integer of at most 18 digits at the start of `bytes`, and its length; None if a fraction or exponent follows.
#[inline]
pub(crate) fn leading_integer(bytes: &[u8]) -> Option<(i64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (magnitude, end) = digits(bytes, start, 0);
    let count = end - start;
    if count == 0 || count > 18 || (count > 1 && bytes[start] == b'0') {
        return None;
    }
    if let Some(b'.' | b'e' | b'E') = bytes.get(end) {
        return None;
    }
    let magnitude = magnitude as i64;
    Some((if negative { -magnitude } else { magnitude }, end))
}

/// A JSON number at the start of `bytes` that converts to a double in one correctly rounded step (W. Clinger, "How to read
/// floating point numbers accurately", 1990), and its length.
#[inline]
pub(crate) fn leading_double(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut mantissa, mut end) = digits(bytes, start, 0);
    let mut count = end - start;
    if count == 0 || (count > 1 && bytes[start] == b'0') {
        return None;
    }
    let mut fraction_digits = 0;
    if bytes.get(end) == Some(&b'.') {
        let fraction_start = end + 1;
        (mantissa, end) = digits(bytes, fraction_start, mantissa);
        fraction_digits = end - fraction_start;
        if fraction_digits == 0 {
            return None;
        }
        count += fraction_digits;
    }
    // Below 10^15 < 2^53 the mantissa is exact, and so is the power: one division rounds once.
    if count > 15 || matches!(bytes.get(end), Some(b'e' | b'E')) {
        return None;
    }
    let value = mantissa as f64 / EXACT_POWERS[fraction_digits];
    Some((if negative { -value } else { value }, end))
}

/// Reads digits from `at` on behind the digits already in `value`; wraps around above 19 of them.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(&byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// Where a JSON number that starts at `at` ends; None if none does.
pub(crate) fn json_number_end(bytes: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(bytes.get(at) == Some(&b'-'));
    let (_, mut end) = digits(bytes, start, 0);
    if end == start || (end - start > 1 && bytes[start] == b'0') {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction_start = end + 1;
        (_, end) = digits(bytes, fraction_start, 0);
        if end == fraction_start {
            return None;
        }
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let exponent_start = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        (_, end) = digits(bytes, exponent_start, 0);
        if end == exponent_start {
            return None;
        }
    }
    Some(end)
}

/// A number in text as SQL reads it: JSON's numbers, and also a leading `+` or zeros, `.5` and `5.`.
pub(crate) fn is_number(text: &[u8]) -> bool {
    let start = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let (_, mut end) = digits(text, start, 0);
    let mut count = end - start;
    if text.get(end) == Some(&b'.') {
        let fraction_start = end + 1;
        (_, end) = digits(text, fraction_start, 0);
        count += end - fraction_start;
    }
    if count > 0 && matches!(text.get(end), Some(b'e' | b'E')) {
        let exponent_start = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        (_, end) = digits(text, exponent_start, 0);
        if end == exponent_start {
            return false;
        }
    }
    count > 0 && end == text.len()
}

/// `text` (see [`is_number`]) times `10^scale`, exactly: refused if a non-zero digit would be lost.
pub(crate) fn exact(text: &[u8], scale: i8) -> Result<i128, Refusal> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let negative = mantissa.first() == Some(&b'-');
    let fraction_digits = mantissa.iter().position(|&byte| byte == b'.').map_or(0, |at| mantissa.len() - at - 1);
    // value = digits × 10^power
    let mut power = exponent - fraction_digits as i64 + i64::from(scale);
    let mut value: i128 = 0;
    // Zeros are held back until a digit follows: those at the end only shift the power.
    let mut zeros: u32 = 0;
    for digit in mantissa.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| i128::from(byte - b'0')) {
        if digit == 0 {
            zeros = zeros.saturating_add(1);
            continue;
        }
        value = shift(value, zeros + 1)?.checked_add(digit).ok_or(Refusal::OutOfRange)?;
        zeros = 0;
    }
    power += i64::from(zeros);
    if value == 0 {
        return Ok(0);
    }
    if power < 0 {
        return Err(Refusal::Inexact);
    }
    let value = shift(value, u32::try_from(power).map_err(|_| Refusal::OutOfRange)?)?;
    Ok(if negative { -value } else { value })
}

fn shift(value: i128, power: u32) -> Result<i128, Refusal> {
    if value == 0 {
        return Ok(0);
    }
    10i128.checked_pow(power).and_then(|factor| value.checked_mul(factor)).ok_or(Refusal::OutOfRange)
}

/// The exponent, cut to a size beyond every type's range.
fn exponent(text: &[u8]) -> i64 {
    const LIMIT: i64 = 1_000_000_000;
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let size = text.iter().fold(0i64, |size, byte| (size * 10 + i64::from(byte - b'0')).min(LIMIT));
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exact_keeps_every_digit_or_refuses() {
        for (text, scale, expected) in [
            ("0", 0, Ok(0)),
            ("-0.000", 2, Ok(0)),
            ("0e999999999999", 0, Ok(0)),
            ("12", 2, Ok(1200)),
            ("12.30", 1, Ok(123)),
            ("12.34", 1, Err(Refusal::Inexact)),
            ("-12.34", 2, Ok(-1234)),
            ("1200e-2", 0, Ok(12)),
            ("1e2", 0, Ok(100)),
            ("1.5E+1", 0, Ok(15)),
            ("1e-1", 0, Err(Refusal::Inexact)),
            ("1e39", 0, Err(Refusal::OutOfRange)),
            ("1e99999999999999999999", 0, Err(Refusal::OutOfRange)),
            ("1e-99999999999999999999", 0, Err(Refusal::Inexact)),
            ("99999999999999999999999999999999999999", 0, Ok(99_999_999_999_999_999_999_999_999_999_999_999_999)),
            ("100000000000000000000000000000000000000000000e-10", 0, Ok(10_000_000_000_000_000_000_000_000_000_000_000)),
            ("+.5", 1, Ok(5)),
            ("5.", 0, Ok(5)),
        ] {
            assert_eq!(exact(text.as_bytes(), scale), expected, "{text} scale {scale}");
        }
    }

    #[test]
    fn knows_numbers() {
        for text in ["0", "-1", "+1", "007", "1.", ".5", "1.5", "1e5", "1.5E-7"] {
            assert!(is_number(text.as_bytes()), "{text}");
        }
        for text in ["", "-", ".", "e5", "1e", "1e+", "1 ", "0x1", "inf", "NaN", "1.2.3", "--1", "1,5"] {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
        for (text, end) in
            [("0,", 1), ("-0.5e-3}", 7), ("10", 2), ("1.5", 3), ("0123", 0), ("1.", 0), ("1e", 0), ("-", 0), ("+1", 0), (".5", 0)]
        {
            assert_eq!(json_number_end(text.as_bytes(), 0).unwrap_or(0), end, "{text}");
        }
    }

    proptest! {
        #[test]
        fn fast_doubles_are_rounded_as_the_standard_library_does(text in "-?(0|[1-9][0-9]{0,16})(\\.[0-9]{1,18})?") {
            if let Some((value, end)) = leading_double(text.as_bytes()) {
                prop_assert_eq!(end, text.len());
                prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
            }
        }

        #[test]
        fn fast_integers_are_exact(value in any::<i64>(), shift in 0u32..64) {
            let text = (value >> shift).to_string();
            match leading_integer(text.as_bytes()) {
                Some(found) => prop_assert_eq!(found, (value >> shift, text.len())),
                None => prop_assert!(text.len() > 18),
            }
        }

        #[test]
        fn exact_agrees_with_integers(value in any::<i64>(), scale in 0i8..10) {
            prop_assert_eq!(exact(value.to_string().as_bytes(), scale), Ok(i128::from(value) * 10i128.pow(scale as u32)));
        }
    }
}
