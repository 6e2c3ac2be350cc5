//! Numbers in a query: what no type holds is refused here, where its place is known (kda-sql-reference.md §1.4).

use crate::diagnostic::Diagnostic;

/// Digits that a DECIMAL has at most.
const DIGITS_MAX: usize = 38;

/// Checks a number as it is written, behind a minus that belongs to it if `negative`; the problem lacks its place.
pub(super) fn check_number(number: &str, negative: bool) -> Result<(), Box<Diagnostic>> {
    if number.contains(['e', 'E']) {
        return match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(()),
            _ => Err(Box::new(Diagnostic::error(format!("{number} exceeds the range of DOUBLE")).label("at most 1.79E308"))),
        };
    }
    let Some((whole, fraction)) = number.split_once('.') else {
        let signed = if negative { format!("-{number}") } else { number.to_owned() };
        return match signed.parse::<i64>() {
            Ok(_) => Ok(()),
            Err(_) => {
                let bound = if negative { format!("at least {}", i64::MIN) } else { format!("at most {}", i64::MAX) };
                let problem = Diagnostic::error(format!("{signed} exceeds the range of BIGINT")).label(bound);
                Err(Box::new(problem.hint(format!(
                    "A number with a point is a DECIMAL of up to {DIGITS_MAX} digits, {number}.0; one with an exponent is a DOUBLE, {number}e0."
                ))))
            }
        };
    };
    let digits = whole.trim_start_matches('0').len() + fraction.len();
    if digits > DIGITS_MAX {
        let problem = Diagnostic::error(format!("the number has {digits} digits"));
        let hint = format!("With an exponent it is a DOUBLE, which rounds to about 15 digits: {number}e0.");
        return Err(Box::new(problem.label(format!("a DECIMAL has at most {DIGITS_MAX}")).hint(hint)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_their_types() {
        let most = "9".repeat(DIGITS_MAX);
        for number in ["9223372036854775807", &format!("{most}.0")[1..], &format!("0.{most}"), "1e308", "1e-400", ".5", "5."] {
            assert!(check_number(number, false).is_ok(), "{number}");
        }
        assert!(check_number("9223372036854775808", true).is_ok());
        for (number, negative) in
            [("9223372036854775808", false), ("9223372036854775809", true), (&format!("{most}.0"), false), ("1e309", false)]
        {
            assert!(check_number(number, negative).is_err(), "{number}");
        }
    }
}
