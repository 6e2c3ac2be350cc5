//! The proleptic Gregorian calendar in days since 1970-01-01.
//!
//! After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". chrono itself ends at the years ±262,142,
//! short of what a TIMESTAMP holds.

const DAYS_OF_400_YEARS: i64 = 146_097;
/// From 0000-03-01, where the algorithm's years start, to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Days since 1970-01-01; `month` is 1–12, `day` 1–31.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_OF_400_YEARS + day_of_era - DAYS_TO_1970
}

/// Year, month 1–12 and day 1–31 of so many days since 1970-01-01, saturating near the largest i64.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days.saturating_add(DAYS_TO_1970);
    let (era, day_of_era) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};

    use super::*;

    #[test]
    fn agrees_with_chrono_in_both_directions() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
        // Every 97th day of 4,000 years meets every day of the year; 97 and 365 share no factor.
        for days in (-730_000..730_000).step_by(97) {
            let date = epoch + chrono::Duration::days(days);
            assert_eq!(civil_from_days(days), (i64::from(date.year()), date.month(), date.day()));
            assert_eq!(days_from_civil(i64::from(date.year()), date.month(), date.day()), days);
        }
    }
}
