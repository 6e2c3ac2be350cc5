//! Dates and times as text, without allocation: the hottest conversion of a stream engine.
//!
//! Read: `yyyy-MM-dd`, `yyyy-MM-dd HH:mm:ss[.f…]` with a blank or `T` between, then nothing, `Z` or an offset
//!       (`±hh:mm`, `±hhmm`, `±hh`); digits of the fraction after the third are cut off (kda-sql-reference.md §6.7, §8.2).
//! Written: `yyyy-MM-dd HH:mm:ss.SSS`, `yyyy-MM-dd`, `HH:mm:ss.SSS` (§6.13).
//! Calendar: proleptic Gregorian, UTC; no leap seconds, no 24:00:00.

/// Milliseconds in a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Milliseconds since the Unix epoch; None if `text` is neither a timestamp nor a date.
pub fn parse(text: &[u8]) -> Option<i64> {
    TimestampParser::default().parse(text)
}

/// Days since the Unix epoch of `yyyy-MM-dd`.
pub fn parse_date(text: &[u8]) -> Option<i32> {
    date_head(text.try_into().ok()?)
}

/// Milliseconds since midnight of `HH:mm:ss[.f…]`.
pub fn parse_time(text: &[u8]) -> Option<i32> {
    let (head, rest) = text.split_first_chunk::<8>()?;
    let seconds = time_head(head)?;
    match fraction(rest)? {
        (fraction_ms, []) => Some(seconds * 1000 + fraction_ms),
        _ => None,
    }
}

/// Appends `yyyy-MM-dd HH:mm:ss.SSS`. Years outside 0–9999 are written with a sign, as ISO 8601 has them.
pub fn format(ms: i64, out: &mut Vec<u8>) {
    TimestampFormatter::default().format(ms, out);
}

/// Appends `yyyy-MM-dd`.
pub fn format_date(days: i32, out: &mut Vec<u8>) {
    write_date(i64::from(days), out);
}

/// Appends `HH:mm:ss.SSS` of the milliseconds since midnight.
pub fn format_time(ms: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&time_text(ms.rem_euclid(DAY_MS as i32) as u32));
}

/// Parses timestamps one after the other and keeps the last date, which most often is the next one's too.
#[derive(Debug)]
pub struct TimestampParser {
    date: [u8; 10],
    /// `date` in milliseconds since the epoch.
    date_ms: i64,
}

impl Default for TimestampParser {
    fn default() -> Self {
        Self { date: *b"1970-01-01", date_ms: 0 }
    }
}

impl TimestampParser {
    /// Milliseconds since the Unix epoch; None if `text` is neither a timestamp nor a date.
    #[inline]
    pub fn parse(&mut self, text: &[u8]) -> Option<i64> {
        match self.parse_leading(text) {
            Some((ms, length)) if length == text.len() => Some(ms),
            _ => parse_date(text).map(|days| i64::from(days) * DAY_MS),
        }
    }

    /// The timestamp (not just a date) that `text` starts with, and its length.
    #[inline]
    pub(super) fn parse_leading(&mut self, text: &[u8]) -> Option<(i64, usize)> {
        let (head, rest) = text.split_first_chunk::<19>()?;
        let date: &[u8; 10] = head.first_chunk()?;
        if *date != self.date {
            self.date_ms = i64::from(date_head(date)?) * DAY_MS;
            self.date = *date;
        }
        if head[10] != b' ' && head[10] != b'T' {
            return None;
        }
        let seconds = time_head(head.last_chunk()?)?;
        let (fraction_ms, zone) = fraction(rest)?;
        let (offset_minutes, rest) = offset(zone)?;
        let ms = self.date_ms + i64::from(seconds) * 1000 + i64::from(fraction_ms) - i64::from(offset_minutes) * 60_000;
        Some((ms, text.len() - rest.len()))
    }
}

/// Formats timestamps one after the other and keeps the text of the last day, which most often is the next one's too.
#[derive(Debug, Default)]
pub struct TimestampFormatter {
    day: Option<i64>,
    date: Vec<u8>,
}

impl TimestampFormatter {
    /// Appends `yyyy-MM-dd HH:mm:ss.SSS`.
    #[inline]
    pub fn format(&mut self, ms: i64, out: &mut Vec<u8>) {
        let day = ms.div_euclid(DAY_MS);
        if self.day != Some(day) {
            self.day = Some(day);
            self.date.clear();
            write_date(day, &mut self.date);
            self.date.push(b' ');
        }
        out.extend_from_slice(&self.date);
        out.extend_from_slice(&time_text(ms.rem_euclid(DAY_MS) as u32));
    }
}

/// A digit's value, or something above 9.
#[inline(always)]
fn digit(byte: u8) -> u32 {
    u32::from(byte.wrapping_sub(b'0'))
}

/// Days since the epoch of `yyyy-MM-dd`.
#[inline]
fn date_head(text: &[u8; 10]) -> Option<i32> {
    let d = |i: usize| digit(text[i]);
    let digits_ok = (d(0) <= 9) & (d(1) <= 9) & (d(2) <= 9) & (d(3) <= 9) & (d(5) <= 9) & (d(6) <= 9) & (d(8) <= 9) & (d(9) <= 9);
    if !(digits_ok & (text[4] == b'-') & (text[7] == b'-')) {
        return None;
    }
    let (year, month, day) = (d(0) * 1000 + d(1) * 100 + d(2) * 10 + d(3), d(5) * 10 + d(6), d(8) * 10 + d(9));
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year as i32, month, day))
}

/// Seconds since midnight of `HH:mm:ss`.
#[inline]
fn time_head(text: &[u8; 8]) -> Option<i32> {
    let d = |i: usize| digit(text[i]);
    let digits_ok = (d(0) <= 9) & (d(1) <= 9) & (d(3) <= 9) & (d(4) <= 9) & (d(6) <= 9) & (d(7) <= 9);
    let (hour, minute, second) = (d(0) * 10 + d(1), d(3) * 10 + d(4), d(6) * 10 + d(7));
    let in_range = (hour < 24) & (minute < 60) & (second < 60) & (text[2] == b':') & (text[5] == b':');
    (digits_ok & in_range).then_some((hour * 3600 + minute * 60 + second) as i32)
}

/// Milliseconds of an optional `.f…`, and what follows it.
#[inline]
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    match text {
        [b'.', a, b, c, rest @ ..] if digit(*a) <= 9 && digit(*b) <= 9 && digit(*c) <= 9 => {
            let more = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            Some(((digit(*a) * 100 + digit(*b) * 10 + digit(*c)) as i32, &rest[more..]))
        }
        [b'.', a, b, rest @ ..] if digit(*a) <= 9 && digit(*b) <= 9 => Some(((digit(*a) * 100 + digit(*b) * 10) as i32, rest)),
        [b'.', a, rest @ ..] if digit(*a) <= 9 => Some((digit(*a) as i32 * 100, rest)),
        [b'.', ..] => None,
        rest => Some((0, rest)),
    }
}

/// Minutes east of UTC, zero if no zone follows, and what stands behind it.
#[inline]
fn offset(text: &[u8]) -> Option<(i32, &[u8])> {
    let (sign, rest) = match text {
        [b'Z', rest @ ..] => return Some((0, rest)),
        [sign @ (b'+' | b'-'), rest @ ..] => (*sign, rest),
        rest => return Some((0, rest)),
    };
    let two = |text: &[u8; 2]| text.iter().all(u8::is_ascii_digit).then(|| (digit(text[0]) * 10 + digit(text[1])) as i32);
    let (hour, rest) = rest.split_first_chunk()?;
    let hour = two(hour)?;
    let after_colon = rest.strip_prefix(b":");
    let (minute, rest) = match after_colon.unwrap_or(rest).split_first_chunk().map(|(minute, rest)| (two(minute), rest)) {
        Some((Some(minute), rest)) => (minute, rest),
        _ if after_colon.is_some() => return None,
        _ => (0, rest),
    };
    // ISO 8601 knows no larger offset than a day; the widest in use is +14:00.
    let minutes = (hour < 24 && minute < 60).then_some(hour * 60 + minute)?;
    Some((if sign == b'-' { -minutes } else { minutes }, rest))
}

fn is_leap_year(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[inline]
fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap_year(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
#[inline]
fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let year = year - i32::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month as i32 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i32 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day. Same source, `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    if let Ok(year @ 0..=9999) = u32::try_from(year) {
        out.extend_from_slice(&pair(year / 100));
        out.extend_from_slice(&pair(year % 100));
    } else {
        out.extend_from_slice(format!("{year:+05}").as_bytes());
    }
    let ([m1, m2], [d1, d2]) = (pair(month), pair(day));
    out.extend_from_slice(&[b'-', m1, m2, b'-', d1, d2]);
}

/// `HH:mm:ss.SSS`.
#[inline]
fn time_text(ms: u32) -> [u8; 12] {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let ([h1, h2], [m1, m2], [s1, s2]) = (pair(seconds / 3600), pair(seconds / 60 % 60), pair(seconds % 60));
    let [f2, f3] = pair(ms % 100);
    [h1, h2, b':', m1, m2, b':', s1, s2, b'.', b'0' + (ms / 100) as u8, f2, f3]
}

/// Two decimal digits of a number below 100.
#[inline(always)]
fn pair(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate, NaiveTime};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_reference_lists() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("1970-01-01 00:00:00", Some(0)),
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1969-12-31 23:59:59.999", Some(-1)),
            ("1970-01-01 00:00:00.1", Some(100)),
            ("1970-01-01 00:00:00.12", Some(120)),
            ("1970-01-01 00:00:00.1239", Some(123)),
            ("1970-01-01T00:00:00.123456789+00:00", Some(123)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-01T00:00:00-05:30", Some(19_800_000)),
            ("1970-01-01T00:00:00+0100", Some(-3_600_000)),
            ("1970-01-01T00:00:00+01", Some(-3_600_000)),
            ("1970-01-01 00:00:00.5Z", Some(500)),
            ("2024-02-29", Some(1_709_164_800_000)),
            ("2000-02-29", Some(951_782_400_000)),
            ("1900-02-28", Some(-2_203_977_600_000)),
            ("0001-01-01", Some(-62_135_596_800_000)),
            ("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
            ("2023-02-29", None),
            ("1900-02-29", None),
            ("2024-13-01", None),
            ("2024-00-01", None),
            ("2024-04-31", None),
            ("2024-01-00", None),
            ("2024-01-01 24:00:00", None),
            ("2024-01-01 00:60:00", None),
            ("2024-01-01 00:00:60", None),
            ("2024-01-01 00:00:00.", None),
            ("2024-01-01 00:00:00.x", None),
            ("2024-01-01 00:00", None),
            ("2024-01-01X00:00:00", None),
            ("2024/01/01 00:00:00", None),
            ("2024-01-01T00:00:00z", None),
            ("2024-01-01T00:00:00+1", None),
            ("2024-01-01T00:00:00+01:", None),
            ("2024-01-01T00:00:00+01:0", None),
            ("2024-01-01T00:00:00+010", None),
            ("2024-01-01T00:00:00+01:00Z", None),
            ("\0\0\0\0\0\0\0\0\0\0T00:00:00", None),
            ("2024-01-01T00:00:00+25:00", None),
            ("2024-01-01T00:00:00*01:00", None),
            ("2024-01-01T00:00:00Zx", None),
            (" 2024-01-01", None),
            ("", None),
            ("\u{661}\u{662}\u{663}\u{664}-01-01", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
        let mut parser = TimestampParser::default();
        for (text, expected) in [
            ("2024-02-29T00:00:01", Some(1_709_164_801_000)),
            ("2023-02-29T00:00:01", None),
            ("2024-02-29T00:00:02", Some(1_709_164_802_000)),
        ] {
            assert_eq!(parser.parse(text.as_bytes()), expected, "whatever came before");
        }
        assert_eq!(parse_time(b"23:59:59.9"), Some(86_399_900));
        assert_eq!(parse_time(b"00:00:00"), Some(0));
        assert_eq!(parse_time(b"00:00:00Z"), None);
        assert_eq!(parse_time(b"24:00:00"), None);
        assert_eq!(parse_date(b"1970-01-02"), Some(1));
        assert_eq!(parse_date(b"1970-01-02 "), None);
    }

    #[test]
    fn writes_three_digits_and_years_of_any_size() {
        let text = |ms| {
            let mut out = Vec::new();
            format(ms, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0), "1970-01-01 00:00:00.000");
        assert_eq!(text(-1), "1969-12-31 23:59:59.999");
        assert_eq!(text(253_402_300_800_000), "+10000-01-01 00:00:00.000");
        assert_eq!(text(-62_198_755_200_000), "-0001-01-01 00:00:00.000");
        text(i64::MIN);
        text(i64::MAX);
    }

    proptest! {
        #[test]
        fn agrees_with_chrono(ms in -62_135_596_800_000i64..253_402_300_800_000, offset in -1439i32..1440, t in any::<bool>()) {
            let utc = DateTime::from_timestamp_millis(ms).unwrap();
            let mut text = Vec::new();
            format(ms, &mut text);
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), utc.format("%Y-%m-%d %H:%M:%S%.3f").to_string());
            prop_assert_eq!(parse(&text), Some(ms));

            let local = utc.with_timezone(&chrono::FixedOffset::east_opt(offset * 60).unwrap());
            let text = local.format(if t { "%Y-%m-%dT%H:%M:%S%.6f%:z" } else { "%Y-%m-%d %H:%M:%S%.9f%z" }).to_string();
            if text.len() <= 35 && text.starts_with(|c: char| c.is_ascii_digit()) {
                prop_assert_eq!(parse(text.as_bytes()), Some(ms), "{}", text);
            }

            let mut date = Vec::new();
            format_date(ms.div_euclid(DAY_MS) as i32, &mut date);
            prop_assert_eq!(std::str::from_utf8(&date).unwrap(), utc.date_naive().to_string());
            let mut time = Vec::new();
            format_time(ms.rem_euclid(DAY_MS) as i32, &mut time);
            prop_assert_eq!(parse_time(&time), Some(ms.rem_euclid(DAY_MS) as i32));
        }

        #[test]
        fn accepts_only_what_chrono_accepts(text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]([ T][0-2][0-9]:[0-6][0-9]:[0-6][0-9])?") {
            let date = NaiveDate::parse_from_str(&text[..10], "%Y-%m-%d").ok();
            let time = text.get(11..).map_or(Some(NaiveTime::MIN), |time| NaiveTime::parse_from_str(time, "%H:%M:%S").ok());
            // chrono reads second 60 as a leap second.
            let expected = match (date, time) {
                (Some(date), Some(time)) if !text.ends_with(":60") => Some(date.and_time(time).and_utc().timestamp_millis()),
                _ => None,
            };
            prop_assert_eq!(parse(text.as_bytes()), expected);
        }
    }
}
