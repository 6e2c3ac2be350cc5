//! Reads times by a pattern, as a `SimpleDateFormat` that is not lenient does.
//!
//! The pattern is followed from the start of the text; what is left of the text is ignored. Text must match literally.
//! Fields that are not in the pattern are those of 1970-01-01 00:00:00. Every field that is given must be one of the time
//! that results: the 30th of February and a Monday that was a Tuesday do not match. Only milliseconds may be any number, so
//! that `.337510` read by `SSS` is 337,510 ms, as in Java, and the month and the day beside `YYYY`, a year of weeks, do not count:
//! `2024-03-05` read by `YYYY-MM-dd` is the first day of the first week of 2024.

use chrono::{DateTime, TimeZone};
use chrono_tz::Tz;

use super::{DAY_MS, Day, ERAS, Field, HALVES, Item, MONTHS, Pattern, SHORT, WEEKDAYS, first_week, weekday};
use crate::scalar::calendar::{civil_from_days, days_from_civil};

/// Past what a TIMESTAMP holds; the bound keeps the arithmetic of days within an i64.
const YEAR_MAX: i64 = 300_000_000;

/// Zones by the names that the US locale has for them, minutes from UTC; of a name for several zones the one that Java takes. A name
/// says whether it is of summer, so it is one offset.
const ZONES: [(&str, i64); 83] = [
    ("Coordinated Universal Time", 0),
    ("Greenwich Mean Time", 0),
    ("Newfoundland Standard Time", -210),
    ("Newfoundland Daylight Time", -150),
    ("Atlantic Standard Time", -240),
    ("Atlantic Daylight Time", -180),
    ("Eastern Standard Time", -300),
    ("Eastern Daylight Time", -240),
    ("Central Standard Time", -360),
    ("Central Daylight Time", -300),
    ("Mountain Standard Time", -420),
    ("Mountain Daylight Time", -360),
    ("Pacific Standard Time", -480),
    ("Pacific Daylight Time", -420),
    ("Alaska Standard Time", -540),
    ("Alaska Daylight Time", -480),
    ("Hawaii Standard Time", -600),
    ("Brasilia Time", -180),
    ("Argentine Time", -180),
    ("Western European Time", 0),
    ("Western European Summer Time", 60),
    ("British Summer Time", 60),
    ("Central European Time", 60),
    ("Central European Summer Time", 120),
    ("Eastern European Time", 120),
    ("Eastern European Summer Time", 180),
    ("Moscow Standard Time", 180),
    ("South Africa Standard Time", 120),
    ("India Standard Time", 330),
    ("Indochina Time", 420),
    ("Singapore Time", 480),
    ("Hong Kong Time", 480),
    ("China Standard Time", 480),
    ("Japan Standard Time", 540),
    ("Korea Standard Time", 540),
    ("New Zealand Standard Time", 720),
    ("New Zealand Daylight Time", 780),
    ("AKST", -540),
    ("AKDT", -480),
    ("ACST", 570),
    ("ACDT", 630),
    ("AEST", 600),
    ("AEDT", 660),
    ("AWST", 480),
    ("CEST", 120),
    ("EEST", 180),
    ("WEST", 60),
    ("NZST", 720),
    ("NZDT", 780),
    ("SAST", 120),
    ("UTC", 0),
    ("GMT", 0),
    ("WET", 0),
    ("CET", 60),
    ("EET", 120),
    ("BST", 60),
    ("WAT", 60),
    ("CAT", 120),
    ("EAT", 180),
    ("MSK", 180),
    ("PKT", 300),
    ("IST", 330),
    ("ICT", 420),
    ("WIB", 420),
    ("SGT", 480),
    ("HKT", 480),
    ("JST", 540),
    ("KST", 540),
    ("NST", -210),
    ("NDT", -150),
    ("AST", -240),
    ("ADT", -180),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("HST", -600),
    ("BRT", -180),
    ("ART", -180),
];

/// Digits of a fraction that milliseconds have.
const FRACTION_DIGITS: usize = 3;

/// What a text says, each field in the range that its letter has.
#[derive(Debug, Default)]
struct Given {
    /// 0 is BC.
    era: Option<i64>,
    year: Option<i64>,
    week_year: Option<i64>,
    /// The year had two digits that stand for four.
    short_year: bool,
    month: Option<i64>,
    week_in_year: Option<i64>,
    week_in_month: Option<i64>,
    day_in_year: Option<i64>,
    day: Option<i64>,
    weekday_in_month: Option<i64>,
    /// 0 is Sunday.
    weekday: Option<i64>,
    /// 1 is PM.
    half: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
    millisecond: Option<i64>,
    /// Minutes by which the zone is ahead of UTC.
    zone: Option<i64>,
    /// The zone as the name of a region, which is as far ahead as it was at the time.
    region: Option<Tz>,
}

impl Pattern {
    /// Milliseconds from 1970-01-01 00:00:00 UTC to the time that `text` says; None if it does not match. Years of two
    /// digits are those from the 80th year before `now` on, in milliseconds too.
    pub(crate) fn parse(&self, text: &str, now: i64) -> Option<i64> {
        let bytes = text.as_bytes();
        let mut given = Given::default();
        let mut at = 0;
        for item in &self.items {
            at = match item {
                Item::Text(literal) => bytes[at..].starts_with(literal.as_bytes()).then_some(at + literal.len())?,
                Item::Field { field: Field::Millisecond, .. } if self.cuts_fractions => given.read_fraction(bytes, at)?,
                Item::Field { field, letters, adjacent } => given.read(*field, *letters, *adjacent, bytes, at, now)?,
            };
        }
        let time = given.time()?;
        // The first year of the hundred belongs to them only from today's date on.
        if given.short_year && time < century_start(now) {
            given.year = given.year.map(|year| year + 100);
            given.week_year = given.week_year.map(|year| year + 100);
            return given.time();
        }
        Some(time)
    }
}

fn century_start(now: i64) -> i64 {
    let (year, month, day) = civil_from_days(now.div_euclid(DAY_MS));
    days_from_civil(year - 80, month, day) * DAY_MS + now.rem_euclid(DAY_MS)
}

impl Given {
    /// Reads one field from byte `start` on; gives the place after it.
    fn read(&mut self, field: Field, letters: usize, adjacent: bool, text: &[u8], start: usize, now: i64) -> Option<usize> {
        let at = start + text[start..].iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
        // Names start where the field before ended: blanks are skipped only before numbers and zones.
        match field {
            Field::Era => return store(&mut self.era, name(text, start, &ERAS, ERAS[0].len())),
            Field::Half => return store(&mut self.half, name(text, start, &HALVES, HALVES[0].len())),
            Field::WeekdayName => return store(&mut self.weekday, name(text, start, &WEEKDAYS, SHORT)),
            Field::Month if letters >= SHORT => {
                let month = name(text, start, &MONTHS, SHORT).map(|(month, end)| (month + 1, end));
                return store(&mut self.month, month);
            }
            Field::ZoneName | Field::ZoneNumber => {
                if let Some((region, end)) = region(text, at) {
                    self.region = Some(region);
                    return Some(end);
                }
                return store(&mut self.zone, zone(text, at));
            }
            Field::ZoneIso => return store(&mut self.zone, iso_zone(text, at, letters)),
            _ => {}
        }
        // Only fields that touch are cut by their count of letters; blanks before the digits count as well.
        let limit = if adjacent { start + letters } else { text.len() };
        let (number, end) = digits(text.get(..limit)?, at)?;
        let (slot, number, range) = match field {
            Field::Year | Field::WeekYear => {
                let short = letters == 2 && end - at == 2;
                self.short_year |= short;
                let number = if short { in_century(number, now) } else { number };
                (if field == Field::Year { &mut self.year } else { &mut self.week_year }, number, 1..=YEAR_MAX)
            }
            Field::Month => (&mut self.month, number, 1..=12),
            Field::WeekInYear => (&mut self.week_in_year, number, 1..=53),
            Field::WeekInMonth => (&mut self.week_in_month, number, 0..=6),
            Field::DayInYear => (&mut self.day_in_year, number, 1..=366),
            Field::Day => (&mut self.day, number, 1..=31),
            Field::WeekdayInMonth => (&mut self.weekday_in_month, number, 1..=5),
            Field::WeekdayNumber => (&mut self.weekday, from_one(number, 7), 0..=6),
            Field::HourFrom0 => (&mut self.hour, number, 0..=23),
            Field::HourFrom1 => (&mut self.hour, from_one(number, 24), 0..=23),
            Field::HalfHourFrom0 => (&mut self.half_hour, number, 0..=11),
            Field::HalfHourFrom1 => (&mut self.half_hour, from_one(number, 12), 0..=11),
            Field::Minute => (&mut self.minute, number, 0..=59),
            Field::Second => (&mut self.second, number, 0..=59),
            _ => (&mut self.millisecond, number, 0..=i64::from(i32::MAX)),
        };
        store(slot, range.contains(&number).then_some((number, end)))
    }

    /// Reads up to three digits from byte `start` on; gives the place after all of them.
    fn read_fraction(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let (number, _) = digits(&text[..text.len().min(start + FRACTION_DIGITS)], start)?;
        self.millisecond = Some(number);
        Some(start + text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count())
    }

    /// The time, if every field agrees with it.
    fn time(&self) -> Option<i64> {
        let days = self.days()?;
        let hour = self.hour.unwrap_or_else(|| self.half_hour.unwrap_or(0) + 12 * self.half.unwrap_or(0));
        let agrees = |given: Option<i64>, is: i64| given.is_none_or(|given| given == is);
        if !agrees(self.half_hour, hour % 12) || !agrees(self.half, hour / 12) {
            return None;
        }
        let minutes = hour * 60 + self.minute.unwrap_or(0) - self.zone.unwrap_or(0);
        let ms = (minutes * 60 + self.second.unwrap_or(0)) * 1_000 + self.millisecond.unwrap_or(0);
        let time = days.checked_mul(DAY_MS)?.checked_add(ms)?;
        match self.region {
            Some(region) => in_region(time, region),
            None => Some(time),
        }
    }

    /// The day since 1970-01-01, if every field of it agrees.
    fn days(&self) -> Option<i64> {
        let year_of_era = self.year.unwrap_or(1970);
        let year = if self.era == Some(0) { 1 - year_of_era } else { year_of_era };
        let month = self.month.unwrap_or(1);
        // A year of weeks has weeks and days of them; to Java, months and days of months beside it mean nothing.
        let by_week = self.week_year.is_some() && self.year.is_none();
        let days = match self.day {
            Some(day) if !by_week => days_from_civil(year, month as u32, day as u32),
            _ => self.days_without_day(year, month),
        };
        let day = Day::new(days);
        let agrees = |given: Option<i64>, is: i64| given.is_none_or(|given| given == is);
        let usual = agrees(self.year.map(|_| year), day.year)
            && (by_week || agrees(self.month, i64::from(day.month)) && agrees(self.day, i64::from(day.day)));
        let rare = || {
            agrees(self.era, i64::from(day.year > 0))
                && agrees(self.weekday, day.weekday())
                && agrees(self.day_in_year, day.in_year())
                && agrees(self.week_year, day.week().0)
                && agrees(self.week_in_year, day.week().1)
                && agrees(self.week_in_month, day.week_in_month())
                && agrees(self.weekday_in_month, day.weekday_in_month())
        };
        (usual && (!self.has_rare_fields() || rare())).then_some(days)
    }

    fn has_rare_fields(&self) -> bool {
        let rare = [
            self.era,
            self.weekday,
            self.day_in_year,
            self.week_year,
            self.week_in_year,
            self.week_in_month,
            self.weekday_in_month,
        ];
        rare.iter().any(Option::is_some)
    }

    /// The day by the other fields that can tell one, a week starting on Sunday; a month alone is its first day. Which of
    /// several is asked does not matter, as all must agree.
    fn days_without_day(&self, year: i64, month: i64) -> i64 {
        if let (Some(week_year), None) = (self.week_year, self.year) {
            return first_week(week_year) + (self.week_in_year.unwrap_or(1) - 1) * 7 + self.weekday.unwrap_or(0);
        }
        let first_of_month = days_from_civil(year, month as u32, 1);
        if let Some(day) = self.day_in_year {
            days_from_civil(year, 1, 1) + day - 1
        } else if let (Some(week), Some(weekday)) = (self.week_in_year, self.weekday) {
            first_week(year) + (week - 1) * 7 + weekday
        } else if let Some(week) = self.week_in_month {
            first_of_month - weekday(first_of_month) + (week - 1) * 7 + self.weekday.unwrap_or(0)
        } else if self.weekday.is_some() || self.weekday_in_month.is_some() {
            let to_weekday = (self.weekday.unwrap_or(0) - weekday(first_of_month)).rem_euclid(7);
            first_of_month + to_weekday + (self.weekday_in_month.unwrap_or(1) - 1) * 7
        } else if let Some(week) = self.week_in_year {
            first_week(year) + (week - 1) * 7
        } else {
            first_of_month
        }
    }
}

fn store(slot: &mut Option<i64>, read: Option<(i64, usize)>) -> Option<usize> {
    let (value, end) = read?;
    *slot = Some(value);
    Some(end)
}

/// A number of 1–`last` where `last` stands for 0; what is outside stays outside.
fn from_one(number: i64, last: i64) -> i64 {
    if number == last {
        0
    } else if number == 0 {
        last
    } else {
        number
    }
}

/// The year of two digits in the hundred years from the 80th before `now` on.
fn in_century(number: i64, now: i64) -> i64 {
    let first = civil_from_days(now.div_euclid(DAY_MS)).0 - 80;
    first - first.rem_euclid(100) + number + if number < first.rem_euclid(100) { 100 } else { 0 }
}

/// A number of at least one digit that fits 31 bits, and the place after it.
fn digits(text: &[u8], start: usize) -> Option<(i64, usize)> {
    let mut number = 0;
    let mut at = start;
    while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
        number = number * 10 + i64::from(digit - b'0');
        if number > i64::from(i32::MAX) {
            return None;
        }
        at += 1;
    }
    (at > start).then_some((number, at))
}

fn starts_with(text: &[u8], at: usize, name: &str) -> bool {
    text.get(at..at + name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
}

/// Which of `names` the text goes on with, in full or with its first `short` letters, in any case.
fn name(text: &[u8], at: usize, names: &[&str], short: usize) -> Option<(i64, usize)> {
    let place = names.iter().position(|name| starts_with(text, at, &name[..short]))?;
    let length = if starts_with(text, at, names[place]) { names[place].len() } else { short };
    Some((place as i64, at + length))
}

/// A region of the time zone database, such as `America/New_York`. `SimpleDateFormat` writes and reads names of zones only; a region
/// cannot be mistaken for one.
fn region(text: &[u8], at: usize) -> Option<(Tz, usize)> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
    let end = at + text[at..].iter().take_while(|byte| is_of_name(byte)).count();
    let name = std::str::from_utf8(&text[at..end]).ok().filter(|name| name.contains('/'))?;
    Some((name.parse().ok()?, end))
}

/// The instant at which clocks in `region` show `time`. Of the hour that comes twice in autumn the second one, as in Java, of the one
/// that is left out in spring none.
fn in_region(time: i64, region: Tz) -> Option<i64> {
    let shown = DateTime::from_timestamp_millis(time)?.naive_utc();
    region.from_local_datetime(&shown).latest().map(|instant| instant.timestamp_millis())
}

/// `+hhmm`, `GMT`, `GMT+h:mm`, `GMT+hh:mm` or a name; in minutes.
fn zone(text: &[u8], at: usize) -> Option<(i64, usize)> {
    if let Some(sign) = sign(text, at) {
        return offset(text, at + 1, sign, 2, false);
    }
    let after = at + 3;
    if let (true, Some(sign)) = (starts_with(text, at, "GMT"), sign(text, after)) {
        return offset(text, after + 1, sign, 0, true);
    }
    let (name, minutes) = ZONES.iter().find(|(name, _)| starts_with(text, at, name))?;
    Some((*minutes, at + name.len()))
}

/// `Z`, or `+hh`, `+hhmm` and `+hh:mm` for one, two and three letters.
fn iso_zone(text: &[u8], at: usize, letters: usize) -> Option<(i64, usize)> {
    if text.get(at) == Some(&b'Z') {
        return Some((0, at + 1));
    }
    offset(text, at + 1, sign(text, at)?, letters, letters == 3)
}

fn sign(text: &[u8], at: usize) -> Option<i64> {
    match text.get(at)? {
        b'+' => Some(1),
        b'-' => Some(-1),
        _ => None,
    }
}

/// Hours, and minutes unless there is one letter; only `GMT+h:mm`, of no letters, may have one digit of hours.
fn offset(text: &[u8], start: usize, sign: i64, letters: usize, colon: bool) -> Option<(i64, usize)> {
    let digit = |at: usize| text.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'));
    let mut hours = digit(start)?;
    let mut at = start + 1;
    match digit(at) {
        Some(second) => {
            hours = hours * 10 + second;
            at += 1;
        }
        None if letters > 0 => return None,
        None => {}
    }
    let mut minutes = 0;
    if letters != 1 {
        if colon {
            (text.get(at) == Some(&b':')).then_some(())?;
            at += 1;
        }
        minutes = digit(at)? * 10 + digit(at + 1)?;
        at += 2;
    }
    (hours <= 23 && minutes <= 59).then_some((sign * (hours * 60 + minutes), at))
}
