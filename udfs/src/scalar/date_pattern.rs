//! Patterns of dates and times as Java's `SimpleDateFormat` reads them, US locale, UTC (kda-sql-reference.md §5.5).
//!
//! | Letter | Field | Letter | Field |
//! | --- | --- | --- | --- |
//! | `G` | era | `a` | AM or PM |
//! | `y` / `Y` | year / year of the week | `H` / `k` | hour 0–23 / 1–24 |
//! | `M` | month, 3 letters or more: its name | `K` / `h` | hour 0–11 / 1–12 of half a day |
//! | `w` / `W` | week in year / in month, from Sunday | `m` / `s` / `S` | minute / second / millisecond |
//! | `D` / `d` | day in year / in month | `z` / `Z` / `X` | zone as name or region / `+0130` / `+01:30` or `Z` |
//! | `F` | which Monday, Tuesday, … of the month | `E` / `u` | day of the week by name / 1 = Monday |
//!
//! `'…'` is text, `''` one quote; every other character but letters is text too. Days are counted by the Gregorian calendar
//! at all times, where Java changes to the Julian one before 1582. A pattern is compiled once and then applied to all rows.

mod format;
mod parse;

use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, plan_err};

use super::calendar::{civil_from_days, days_from_civil};

pub(crate) const DAY_MS: i64 = 86_400_000;

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
/// From Sunday, the first day of a week in the US.
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ERAS: [&str; 2] = ["BC", "AD"];
const HALVES: [&str; 2] = ["AM", "PM"];
/// Letters of the short form of a name.
const SHORT: usize = 3;

/// Most letters of one field: far more digits than a field has, and few enough to be written.
const LETTERS_MAX: usize = 255;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    source: String,
    items: Vec<Item>,
    /// Digits of a fraction behind the third are dropped.
    cuts_fractions: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(String),
    /// `letters` of one kind; `adjacent` if a field follows without text between.
    Field {
        field: Field,
        letters: usize,
        adjacent: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Era,
    Year,
    WeekYear,
    Month,
    WeekInYear,
    WeekInMonth,
    DayInYear,
    Day,
    WeekdayInMonth,
    WeekdayName,
    WeekdayNumber,
    Half,
    HourFrom0,
    HourFrom1,
    HalfHourFrom0,
    HalfHourFrom1,
    Minute,
    Second,
    Millisecond,
    ZoneName,
    ZoneNumber,
    ZoneIso,
}

impl Field {
    fn of_letter(letter: char) -> Option<Field> {
        Some(match letter {
            'G' => Field::Era,
            'y' => Field::Year,
            'Y' => Field::WeekYear,
            'M' => Field::Month,
            'w' => Field::WeekInYear,
            'W' => Field::WeekInMonth,
            'D' => Field::DayInYear,
            'd' => Field::Day,
            'F' => Field::WeekdayInMonth,
            'E' => Field::WeekdayName,
            'u' => Field::WeekdayNumber,
            'a' => Field::Half,
            'H' => Field::HourFrom0,
            'k' => Field::HourFrom1,
            'K' => Field::HalfHourFrom0,
            'h' => Field::HalfHourFrom1,
            'm' => Field::Minute,
            's' => Field::Second,
            'S' => Field::Millisecond,
            'z' => Field::ZoneName,
            'Z' => Field::ZoneNumber,
            'X' => Field::ZoneIso,
            _ => return None,
        })
    }
}

impl Pattern {
    /// Fails for letters without a meaning, a quote that does not end, too many letters in a row, and more than three `X`.
    pub(crate) fn compile(source: &str) -> Result<Pattern, ArrowError> {
        let wrong = |what: String| ArrowError::ParseError(format!("the pattern '{}' of a time {what}", shorten(source)));
        let mut items = Vec::new();
        let mut text = String::new();
        let mut letters = source.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == '\'' {
                if letters.next_if_eq(&'\'').is_some() {
                    text.push('\'');
                    continue;
                }
                loop {
                    match letters.next() {
                        Some('\'') if letters.next_if_eq(&'\'').is_none() => break,
                        Some(quoted) => text.push(quoted),
                        None => return Err(wrong("has a quote that does not end".to_owned())),
                    }
                }
            } else if letter.is_ascii_alphabetic() {
                let field = Field::of_letter(letter).ok_or_else(|| {
                    wrong(format!("has the letter {letter}, which has no meaning: text goes into quotes, as in 'yyyy''T''HH'"))
                })?;
                let mut count = 1;
                while letters.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                if count > LETTERS_MAX {
                    return Err(wrong(format!("has more than {LETTERS_MAX} {letter} in a row")));
                }
                if field == Field::ZoneIso && count > 3 {
                    return Err(wrong("has more than three X".to_owned()));
                }
                if !text.is_empty() {
                    items.push(Item::Text(std::mem::take(&mut text)));
                }
                items.push(Item::Field { field, letters: count, adjacent: false });
            } else {
                text.push(letter);
            }
        }
        if !text.is_empty() {
            items.push(Item::Text(text));
        }
        for place in 1..items.len() {
            if let [Item::Field { adjacent, .. }, Item::Field { .. }] = &mut items[place - 1..=place] {
                *adjacent = true;
            }
        }
        Ok(Pattern { source: source.to_owned(), items, cuts_fractions: false })
    }

    /// Refuses a pattern that cannot be compiled while the query is planned, if it is a constant.
    pub(crate) fn check_constant(pattern: Option<&ScalarValue>) -> Result<()> {
        match pattern.and_then(|pattern| pattern.try_as_str().flatten()).map(Pattern::compile) {
            Some(Err(ArrowError::ParseError(message))) => plan_err!("{message}"),
            _ => Ok(()),
        }
    }

    /// The same pattern, for which `SSS` reads milliseconds and drops finer digits, instead of a number of milliseconds.
    pub(crate) fn cutting_fractions(self) -> Pattern {
        Pattern { cuts_fractions: true, ..self }
    }

    /// The text that was compiled.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it has `yy` or `YY`, whose two digits mean a year around now.
    pub(crate) fn has_two_digit_year(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Field { field: Field::Year | Field::WeekYear, letters: 2, .. }))
    }
}

/// The first characters of a text for a message.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() { shown + "…" } else { shown }
}

/// A day in the terms of a pattern.
#[derive(Debug, Clone, Copy)]
struct Day {
    /// Since 1970-01-01.
    days: i64,
    /// Of the astronomical count: 0 is 1 BC.
    year: i64,
    month: u32,
    day: u32,
}

impl Day {
    fn new(days: i64) -> Self {
        let (year, month, day) = civil_from_days(days);
        Self { days, year, month, day }
    }

    fn weekday(&self) -> i64 {
        weekday(self.days)
    }

    fn in_year(&self) -> i64 {
        self.days - days_from_civil(self.year, 1, 1) + 1
    }

    fn week_in_month(&self) -> i64 {
        (i64::from(self.day) - 1 + weekday(self.days - i64::from(self.day) + 1)) / 7 + 1
    }

    fn weekday_in_month(&self) -> i64 {
        (i64::from(self.day) - 1) / 7 + 1
    }

    /// Year and number of the week. The week with the 1st of January is the first of its year.
    fn week(&self) -> (i64, i64) {
        let next_year = first_week(self.year + 1);
        if self.days >= next_year { (self.year + 1, 1) } else { (self.year, (self.days - first_week(self.year)) / 7 + 1) }
    }
}

/// 0 is Sunday. 1970-01-01 was a Thursday.
fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// The Sunday that starts the first week of a year.
fn first_week(year: i64) -> i64 {
    let new_year = days_from_civil(year, 1, 1);
    new_year - weekday(new_year)
}
