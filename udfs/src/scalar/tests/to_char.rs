use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampMillisecondArray, TimestampNanosecondArray};

use super::{call_columns, check, check_error};
use crate::scalar::date_pattern::Pattern;
use crate::scalar::to_char::timestamp_udf;

fn write(pattern: &str, ms: i64) -> String {
    let mut text = String::new();
    Pattern::compile(pattern).expect("a pattern").write(ms, &mut text).expect("a String takes everything");
    text
}

#[tokio::test]
async fn writes_the_examples_of_the_reference() {
    check("timestamp_to_char('yyyy/MM/dd/HH', TIMESTAMP '2009-09-16 03:15:24')", "2009/09/16/03").await;
    check("timestamp_to_char('yyyy', NULL)", "null").await;
    check("timestamp_to_char('yyyy', CAST(NULL AS TIMESTAMP))", "null").await;
    check("date_to_char('yyyy', NULL)", "null").await;
    check("time_to_char('HH', NULL)", "null").await;
    check("timestamp_to_char(NULL, TIMESTAMP '2009-09-16 03:15:24')", "").await;
    check("date_to_char('EEE, d MMM yyyy HH:mm', DATE '2024-02-29')", "Thu, 29 Feb 2024 00:00").await;
    check("time_to_char('h:mm a yyyy', TIME '15:23:19')", "3:23 PM 1970").await;
}

#[test]
fn writes_every_letter() {
    // Tuesday, 2024-12-31 00:05:09.007
    let ms = 1_735_603_509_007;
    for (pattern, expected) in [
        ("G y yy yyy yyyy yyyyyy", "AD 2024 24 2024 2024 002024"),
        ("Y YY YYYY", "2025 25 2025"),
        ("M MM MMM MMMM", "12 12 Dec December"),
        ("w ww W F D DDDD d dd", "1 01 5 5 366 0366 31 31"),
        ("E EEE EEEE u uu", "Tue Tue Tuesday 2 02"),
        ("a H HH k K h hh", "AM 0 00 24 0 12 12"),
        ("m mm s ss S SSS SSSSS", "5 05 9 09 7 007 00007"),
        ("z zzzz Z X XXX", "UTC Coordinated Universal Time +0000 Z Z"),
        ("'it''s' ''yyyy'' – ü", "it's '2024' – ü"),
        ("", ""),
    ] {
        assert_eq!(write(pattern, ms), expected, "{pattern}");
    }
    assert_eq!(write("a H k K h", ms + 46_800_000), "PM 13 13 1 1");
    assert_eq!(write("u", 1_735_430_400_000), "7");
    assert_eq!(write("y G yy", -62_198_755_200_000), "2 BC 02");
    assert_eq!(write("yyyy-MM-dd HH:mm:ss.SSS", -1), "1969-12-31 23:59:59.999");
    assert_eq!(write("y M d", i64::MAX), "292278994 8 17");
}

#[test]
fn what_is_written_is_read_again() {
    let patterns = [
        "yyyy-MM-dd HH:mm:ss.SSS",
        "yyyyMMddHHmmssSSS",
        "EEEE, d MMMM y G hh:mm:ss.SSS a Z",
        "D y kk:mm:ss:SSS",
        "Y w u K:mm:ss,SSS a z",
        "y w E H:m:s.S X",
        "M/y W EEE H:m:s.S",
        "M/y F EEE H:m:s.S XXX",
    ];
    for pattern in patterns {
        let compiled = Pattern::compile(pattern).expect("a pattern");
        for ms in (-15_000..15_000).map(|i| i * 37 * 86_399_999 + i) {
            let text = write(pattern, ms);
            // The last days of a year may be in week 1, and by their own year that is the week of its start.
            if !(pattern.starts_with("y w") && write("M w", ms) == "12 1") {
                assert_eq!(compiled.parse(&text, 0), Some(ms), "{pattern}: {text}");
            }
        }
    }
}

#[test]
fn patterns_may_differ_by_row() {
    let patterns: ArrayRef = Arc::new(StringArray::from(vec![Some("yyyy"), Some("HH"), None, Some("HH")]));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(3_600_000), Some(0), None]));
    let texts = call_columns(&timestamp_udf(), &[patterns, times]).expect("patterns");
    assert_eq!(texts.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("1970"), Some("01"), None, Some("null")]);
    let patterns: ArrayRef = Arc::new(StringArray::from(vec!["yyyy SSS"]));
    let before_1970: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1]));
    let texts = call_columns(&timestamp_udf(), &[patterns, before_1970]).expect("a pattern");
    assert_eq!(texts.as_string::<i32>().value(0), "1969 999");
    assert_eq!(texts.null_count(), 0);
}

#[tokio::test]
async fn wrong_types_and_patterns_are_refused_when_planned() {
    check_error("date_to_char('yyyy', TIMESTAMP '2009-09-16 03:15:24')", "DATE_TO_CHAR takes a pattern and a DATE").await;
    check_error("timestamp_to_char('yyyy', DATE '2009-09-16')", "TIMESTAMP_TO_CHAR takes a pattern and a TIMESTAMP").await;
    check_error("time_to_char('yyyy', '10:00')", "cannot write VARCHAR").await;
    check_error("time_to_char(5, TIME '10:00:00')", "TIME_TO_CHAR takes").await;
    check_error("timestamp_to_char('yyyy nn', TIMESTAMP '2009-09-16 03:15:24')", "the letter n, which has no meaning").await;
}
