//! Writes times by a pattern. Text of four letters or more is written in full, numbers are padded with zeros to the count of
//! letters, the zone is UTC.

use std::fmt::{Result, Write};

use super::{DAY_MS, Day, ERAS, Field, HALVES, Item, MONTHS, Pattern, SHORT, WEEKDAYS};

impl Pattern {
    /// Writes the time `ms` milliseconds after 1970-01-01 00:00:00 UTC.
    pub(crate) fn write(&self, ms: i64, out: &mut impl Write) -> Result {
        let day = Day::new(ms.div_euclid(DAY_MS));
        let ms_of_day = ms.rem_euclid(DAY_MS);
        for item in &self.items {
            match item {
                Item::Text(text) => out.write_str(text)?,
                Item::Field { field, letters, .. } => write_field(*field, *letters, &day, ms_of_day, out)?,
            }
        }
        Ok(())
    }
}

fn write_field(field: Field, letters: usize, day: &Day, ms_of_day: i64, out: &mut impl Write) -> Result {
    let hour = ms_of_day / 3_600_000;
    let number = match field {
        Field::Year => return write_year(day.year, letters, out),
        Field::WeekYear => return write_year(day.week().0, letters, out),
        Field::Era => return out.write_str(ERAS[usize::from(day.year > 0)]),
        Field::Month if letters >= SHORT => return write_name(MONTHS[day.month as usize - 1], letters, out),
        Field::WeekdayName => return write_name(WEEKDAYS[day.weekday() as usize], letters, out),
        Field::Half => return out.write_str(HALVES[usize::from(hour >= 12)]),
        Field::ZoneName => return out.write_str(if letters > SHORT { "Coordinated Universal Time" } else { "UTC" }),
        Field::ZoneNumber => return out.write_str("+0000"),
        Field::ZoneIso => return out.write_str("Z"),
        Field::Month => i64::from(day.month),
        Field::WeekInYear => day.week().1,
        Field::WeekInMonth => day.week_in_month(),
        Field::DayInYear => day.in_year(),
        Field::Day => i64::from(day.day),
        Field::WeekdayInMonth => day.weekday_in_month(),
        Field::WeekdayNumber => (day.weekday() + 6) % 7 + 1,
        Field::HourFrom0 => hour,
        Field::HourFrom1 => (hour + 23) % 24 + 1,
        Field::HalfHourFrom0 => hour % 12,
        Field::HalfHourFrom1 => (hour + 11) % 12 + 1,
        Field::Minute => ms_of_day / 60_000 % 60,
        Field::Second => ms_of_day / 1_000 % 60,
        Field::Millisecond => ms_of_day % 1_000,
    };
    write_number(number, letters, out)
}

/// Years before Christ count backwards from 1.
fn write_year(year: i64, letters: usize, out: &mut impl Write) -> Result {
    let of_era = if year > 0 { year } else { 1 - year };
    write_number(if letters == 2 { of_era % 100 } else { of_era }, letters, out)
}

fn write_name(name: &str, letters: usize, out: &mut impl Write) -> Result {
    out.write_str(if letters > SHORT { name } else { &name[..SHORT] })
}

fn write_number(number: i64, width: usize, out: &mut impl Write) -> Result {
    if width == 2 && number < 100 {
        out.write_char(char::from(b'0' + (number / 10) as u8))?;
        return out.write_char(char::from(b'0' + (number % 10) as u8));
    }
    write!(out, "{number:0width$}")
}
