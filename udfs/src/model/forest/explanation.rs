//! The text of ANOMALY_EXPLANATION (kda-sql-reference.md §5.12): one JSON object, a member for each numeric column.
//!
//! `{"Systolic":{"DIRECTION":"HIGH","STRENGTH":"0.8567","ATTRIBUTION_SCORE":"1.7447"},…}`. ATTRIBUTION_SCORE is what the
//! column adds to the score, too high and too low together; DIRECTION is the larger of the two. How the service computes
//! STRENGTH is not known: |HIGH − LOW| × ANOMALY_SCORE agrees with every published value.

/// What a column adds to a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Attribution {
    pub(super) high: f64,
    pub(super) low: f64,
}

/// Writes explanations.
#[derive(Debug, Clone)]
pub(super) struct ExplanationText {
    /// `"name":{` for each column.
    members: Vec<String>,
    with_directionality: bool,
}

impl ExplanationText {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>, with_directionality: bool) -> Self {
        let members = names.map(|name| format!("{}:{{", json_text(name))).collect();
        Self { members, with_directionality }
    }

    /// Appends the explanation of a row.
    pub(super) fn write(&self, score: f64, attributions: impl Iterator<Item = Attribution>, text: &mut String) {
        text.push('{');
        for (column, (member, Attribution { high, low })) in self.members.iter().zip(attributions).enumerate() {
            if column > 0 {
                text.push(',');
            }
            text.push_str(member);
            if self.with_directionality {
                text.push_str(if high > low {
                    r#""DIRECTION":"HIGH","STRENGTH":""#
                } else {
                    r#""DIRECTION":"LOW","STRENGTH":""#
                });
                four_decimals((high - low).abs() * score, text);
                text.push_str(r#"","#);
            }
            text.push_str(r#""ATTRIBUTION_SCORE":""#);
            four_decimals(high + low, text);
            text.push_str(r#""}"#);
        }
        text.push('}');
    }
}

/// Appends a number from 0 to 10^12 with four decimals.
fn four_decimals(value: f64, text: &mut String) {
    let scaled = (value * 10_000.0).round() as u64;
    let (mut whole, fraction) = (scaled / 10_000, scaled % 10_000);
    // Digits from the last to the first: at most 12, a point and 4.
    let mut digits = [b'0'; 24];
    let mut rest = fraction;
    for digit in digits[20..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits[19] = b'.';
    let mut first = 19;
    loop {
        first -= 1;
        digits[first] = b'0' + (whole % 10) as u8;
        whole /= 10;
        if whole == 0 || first == 0 {
            break;
        }
    }
    text.extend(digits[first..].iter().map(|digit| char::from(*digit)));
}

/// A JSON string (RFC 8259, section 7).
fn json_text(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\u{0}'..='\u{1f}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_decimals() {
        for value in [0.0, 0.00004, 0.00006, 0.09999, 0.99996, 1.0, 1.7447, 7.0981, 63.99999, 12_345.678_9, 1e12] {
            let mut text = String::new();
            four_decimals(value, &mut text);
            assert_eq!(text, format!("{value:.4}"));
        }
    }

    #[test]
    fn names_are_escaped_and_directions_can_be_left_out() {
        let attributions = [Attribution { high: 1.5, low: 0.25 }, Attribution { high: 0.0, low: 0.5 }];
        let mut text = String::new();
        ExplanationText::new(["a\"b\\\n", "Ü"].into_iter(), true).write(2.0, attributions.into_iter(), &mut text);
        assert_eq!(
            text,
            r#"{"a\"b\\\u000a":{"DIRECTION":"HIGH","STRENGTH":"2.5000","ATTRIBUTION_SCORE":"1.7500"},"#.to_owned()
                + r#""Ü":{"DIRECTION":"LOW","STRENGTH":"1.0000","ATTRIBUTION_SCORE":"0.5000"}}"#
        );
        text.clear();
        ExplanationText::new(["a", "b"].into_iter(), false).write(2.0, attributions.into_iter(), &mut text);
        assert_eq!(text, r#"{"a":{"ATTRIBUTION_SCORE":"1.7500"},"b":{"ATTRIBUTION_SCORE":"0.5000"}}"#);
    }
}
