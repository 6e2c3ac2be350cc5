use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::TimestampMillisecondType;
use datafusion::common::ScalarValue;

use super::{call, check, check_error};
use crate::scalar::char_to::{date_udf, time_udf, timestamp_udf};
use crate::scalar::date_pattern::Pattern;

const NO_MATCH: &str = "is no TIMESTAMP";

async fn reads(pattern: &str, text: &str, expected: &str) {
    check(&format!("char_to_timestamp('{pattern}', '{text}')"), expected).await;
}

async fn fails(pattern: &str, text: &str) {
    check_error(&format!("char_to_timestamp('{pattern}', '{text}')"), NO_MATCH).await;
}

/// Vectors of kda-sql-reference.md, §5.5 and Appendix A.
#[tokio::test]
async fn reads_the_examples_of_the_reference() {
    for (pattern, text, expected) in [
        ("yyyy-mm", "2012-02-08 07:23:19", "2012-01-01T00:02:00"),
        ("yyyy-ss-mm", "2012-02-08 07:23:19", "2012-01-01T00:08:02"),
        ("yyyy-hh-mm", "2009-09-16 03:15:24", "2009-01-01T09:16:00"),
        ("yyyy", "2009-09-16 03:15:24", "2009-01-01T00:00:00"),
        ("MM/dd/yy hh:mm:ss", "12/19/11 12:11:10", "2011-12-19T00:11:10"),
        ("MMM dd, yyyy", "March 7, 2010", "2010-03-07T00:00:00"),
        ("MMM dd, yyyy", "Mar 7, 2010", "2010-03-07T00:00:00"),
        ("MMM dd,y", "March 7, 10", "0010-03-07T00:00:00"),
        ("M-d", "2-8", "1970-02-08T00:00:00"),
        ("yyyy-MM-dd", "2009-09-16 03:15:24", "2009-09-16T00:00:00"),
        ("yyyy-MM-dd", "2031-09-16 03:15:24", "2031-09-16T00:00:00"),
        ("dd/MMM/yyyy:HH:mm:ss", "16/Sep/2009:03:15:24 +0100", "2009-09-16T03:15:24"),
        ("HH:mm:ss.SSS", "00:00:00.337510", "1970-01-01T00:05:37.510"),
        ("yy", "1", "0001-01-01T00:00:00"),
    ] {
        reads(pattern, text, expected).await;
    }
    for (pattern, text) in [
        ("yyyy hh", "2009-09-16 03:15:24"),
        ("yyyy-MM hh", "2009-09-16 03:15:24"),
        ("yyyy/MM/dd", "2009-09-16"),
        ("MM-dd", "2012-09"),
        ("M-d-y", "13-1-2000"),
    ] {
        fails(pattern, text).await;
    }
}

#[tokio::test]
async fn reads_every_letter() {
    for (pattern, text, expected) in [
        ("yyyyMMddHHmmssSSS", "20240229235958007", "2024-02-29T23:59:58.007"),
        ("y G", "0044 BC", "-0043-01-01T00:00:00"),
        ("y G", "44 ad", "0044-01-01T00:00:00"),
        ("D yyyy", "366 2024", "2024-12-31T00:00:00"),
        ("yyyy ww E", "2024 05 Tue", "2024-01-30T00:00:00"),
        ("yyyy ww u", "2024 05 7", "2024-01-28T00:00:00"),
        ("YYYY ww u", "2025 1 2", "2024-12-31T00:00:00"),
        ("YYYY", "2025", "2024-12-29T00:00:00"),
        ("YYYY-MM-dd HH:mm", "2024-03-05 10:20", "2023-12-31T10:20:00"),
        ("YYYY-MM-dd E", "2024-03-05 Tue", "2024-01-02T00:00:00"),
        ("yyyy ww", "2024 05", "2024-01-28T00:00:00"),
        ("yyyy-MM W E", "2024-02 1 Thursday", "2024-02-01T00:00:00"),
        ("yyyy-MM W", "2024-02 2", "2024-02-04T00:00:00"),
        ("yyyy-MM F EEE", "2024-02 3 Mon", "2024-02-19T00:00:00"),
        ("yyyy-MM F", "2024-02 1", "2024-02-04T00:00:00"),
        ("EEEE", "monday", "1970-01-05T00:00:00"),
        ("EEE, d MMMM yyyy", "Thu, 29 FEB 2024", "2024-02-29T00:00:00"),
        ("kk:mm", "24:30", "1970-01-01T00:30:00"),
        ("KK:mm a", "11:30 PM", "1970-01-01T23:30:00"),
        ("h:mm a", "12:30 pm", "1970-01-01T12:30:00"),
        ("a", "PM", "1970-01-01T12:00:00"),
        ("HH:mm z", "10:00 PST", "1970-01-01T18:00:00"),
        ("HH:mm z", "10:00 GMT-1:30", "1970-01-01T11:30:00"),
        ("HH:mm z", "10:00 GMT", "1970-01-01T10:00:00"),
        ("HH:mm z", "10:00 +0130", "1970-01-01T08:30:00"),
        ("HH:mm zzzz", "10:00 Eastern Daylight Time", "1970-01-01T14:00:00"),
        ("HH:mm Z", "10:00 -0800", "1970-01-01T18:00:00"),
        ("HH:mm Z", "10:00 UTC", "1970-01-01T10:00:00"),
        ("HH:mmX", "10:00+02", "1970-01-01T08:00:00"),
        ("HH:mmXX", "10:00+0230", "1970-01-01T07:30:00"),
        ("HH:mmXXX", "10:00+02:30", "1970-01-01T07:30:00"),
        ("HH:mmXXX", "10:00Z", "1970-01-01T10:00:00"),
        ("yyyy-MM-dd''T''HH:mm", "2024-02-29T10:00", "2024-02-29T10:00:00"),
        ("h ''o''''clock''", "9 o''clock", "1970-01-01T09:00:00"),
        ("yyyy-MM-dd HH", "2024-  2- 29  9", "2024-02-29T09:00:00"),
    ] {
        reads(pattern, text, expected).await;
    }
}

#[tokio::test]
async fn reads_zones_by_their_names_and_regions() {
    for (text, hour) in [
        ("UTC", "10:00"),
        ("GMT", "10:00"),
        ("GMT+2:00", "08:00"),
        ("PST", "18:00"),
        ("PDT", "17:00"),
        ("pacific daylight time", "17:00"),
        ("CET", "09:00"),
        ("CEST", "08:00"),
        ("Central European Summer Time", "08:00"),
        ("EEST", "07:00"),
        ("WEST", "09:00"),
        ("IST", "04:30"),
        ("JST", "01:00"),
        ("AEDT", "2024-06-30T23:00"),
        ("Etc/UTC", "10:00"),
        // Whether it is summer there is known by the day.
        ("America/New_York", "14:00"),
        ("America/New_York, at noon", "14:00"),
        ("Asia/Kolkata", "04:30"),
        ("-0330", "13:30"),
    ] {
        let expected = if hour.contains('T') { format!("{hour}:00") } else { format!("2024-07-01T{hour}:00") };
        reads("yyyy-MM-dd HH:mm z", &format!("2024-07-01 10:00 {text}"), &expected).await;
    }
    reads("yyyy-MM-dd HH:mm z", "2024-01-01 10:00 America/New_York", "2024-01-01T15:00:00").await;
    // The hour that comes twice is the second one, the one that is left out is none.
    reads("yyyy-MM-dd HH:mm z", "2024-11-03 01:30 America/New_York", "2024-11-03T06:30:00").await;
    fails("yyyy-MM-dd HH:mm z", "2024-03-10 02:30 America/New_York").await;
    fails("yyyy-MM-dd HH:mm z", "2024-01-01 10:00 America/Atlantis").await;
    fails("yyyy-MM-dd HH:mm z", "2024-01-01 10:00 Z").await;
}

#[tokio::test]
async fn what_does_not_match_fails() {
    for (pattern, text) in [
        ("yyyy-MM-dd", ""),
        ("yyyy-MM-dd", "2024-02-30"),
        ("yyyy-MM-dd", "2023-02-29"),
        ("yyyy-MM-dd", "2024-02"),
        ("yyyy", "0"),
        ("yyyy", "-5"),
        ("yyyy", "99999999999"),
        ("yyyyMMdd", "202401"),
        ("yyyyMMdd", "2024-01-01"),
        ("D", "366"),
        ("HH", "24"),
        ("kk", "0"),
        ("hh", "13"),
        ("hh", "0"),
        ("KK", "12"),
        ("mm", "60"),
        ("ss", "60"),
        ("u", "0"),
        ("E, yyyy-MM-dd", "Mon, 2024-02-29"),
        ("HH:mm a", "13:00 AM"),
        ("MMM", "Foo"),
        ("G", "xx"),
        ("Z", "+2460"),
        ("XXX", "+0200"),
        ("X", "UTC"),
        ("z", "Mars"),
        ("yyyy-MM-dd", "２０２４-01-01"),
        ("MMM", "日本"),
    ] {
        fails(pattern, text).await;
    }
    check_error("char_to_timestamp('yyyy-MM-dd', '16.09.2009')", "'16.09.2009' is no TIMESTAMP 'yyyy-MM-dd'").await;
}

#[tokio::test]
async fn wrong_patterns_and_types_are_refused_when_planned() {
    let empty = "(SELECT max(char_to_date('{}', y)) FROM (VALUES ('x')) AS t(y) WHERE y = 'z')";
    check_error(&empty.replace("{}", "yyyy-bb"), "the letter b, which has no meaning").await;
    check_error(&empty.replace("{}", "yyyy''T"), "a quote that does not end").await;
    check_error("char_to_date('XXXX', 'x')", "more than three X").await;
    check_error(&format!("char_to_date('{}', 'x')", "S".repeat(70_000)), "has more than 255 S in a row").await;
    check_error("char_to_date('yyyy', 5)", "cannot read a DATE from BIGINT: CHAR_TO_DATE takes a pattern and a text").await;
    check_error("char_to_time(TIME '10:00:00', 'x')", "CHAR_TO_TIME takes").await;
}

#[tokio::test]
async fn dates_and_times_are_parts_of_the_timestamp() {
    check("char_to_date('yyyy-MM-dd HH', '1969-12-31 23')", "1969-12-31").await;
    check("char_to_date('MMM d, yyyy', 'March 7, 2010')", "2010-03-07").await;
    check("arrow_typeof(char_to_date('yyyy', '2010'))", "Date32").await;
    check("char_to_time('yyyy-MM-dd HH:mm:ss.SSS', '1969-12-31 07:23:19.5')", "07:23:19.005").await;
    check("arrow_typeof(char_to_time('HH', '10'))", "Time32(ms)").await;
    check("arrow_typeof(char_to_timestamp('HH', '10'))", "Timestamp(ms)").await;
    check_error("char_to_time('HH', 'x')", "'x' is no TIME 'HH'").await;
    check_error("char_to_date('yyyy', '20000000')", "is no DATE 'yyyy'").await;
}

#[tokio::test]
async fn null_gives_null() {
    for function in ["char_to_date", "char_to_time", "char_to_timestamp"] {
        check(&format!("{function}(NULL, '2010')"), "").await;
        check(&format!("{function}('yyyy', NULL)"), "").await;
        check(&format!("{function}('yyyy', CAST(NULL AS VARCHAR))"), "").await;
    }
}

#[test]
fn columns_of_every_kind_of_text_are_read() {
    let columns: [ArrayRef; 3] = [
        Arc::new(StringArray::from(vec![Some("1970-01-02"), None, Some("1970-01-01")])),
        Arc::new(LargeStringArray::from(vec![Some("1970-01-02"), None, Some("1970-01-01")])),
        Arc::new(StringViewArray::from(vec![Some("1970-01-02"), None, Some("1970-01-01")])),
    ];
    for column in columns {
        // The pattern is the first argument: the column of texts comes second.
        let patterns: ArrayRef = Arc::new(StringArray::from(vec!["yyyy-MM-dd"; 3]));
        let both = super::call_columns(&timestamp_udf(), &[patterns, column.clone()]).expect("all match");
        let values = both.as_primitive::<TimestampMillisecondType>();
        assert_eq!(values.iter().collect::<Vec<_>>(), [Some(86_400_000), None, Some(0)]);
    }
}

#[test]
fn patterns_may_differ_by_row() {
    let patterns: ArrayRef = Arc::new(StringArray::from(vec![Some("yyyy"), Some("yyyy"), None, Some("HH"), Some("yyyy")]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("1970"), None, Some("x"), Some("1"), Some("1971")]));
    let both = super::call_columns(&timestamp_udf(), &[patterns.clone(), texts]).expect("all match");
    let values = both.as_primitive::<TimestampMillisecondType>();
    assert_eq!(values.iter().collect::<Vec<_>>(), [Some(0), None, None, Some(3_600_000), Some(31_536_000_000)]);
    // A constant text with the patterns of a column.
    let years = call(&timestamp_udf(), patterns.slice(0, 2), &[ScalarValue::from("1971")]).expect("all match");
    assert_eq!(years.as_primitive::<TimestampMillisecondType>().values(), &[31_536_000_000, 31_536_000_000]);
    for udf in [date_udf(), time_udf()] {
        assert_eq!(call(&udf, patterns.slice(0, 0), &[ScalarValue::from("x")]).expect("no row").len(), 0);
    }
}

#[tokio::test]
async fn the_start_of_the_query_tells_the_century() {
    for pattern in ["'dd.MM.yy'", "p"] {
        let parse = format!("char_to_date({pattern}, d) FROM (VALUES ('dd.MM.yy', '24.12.11')) AS t(p, d)");
        check(&parse, "2011-12-24").await;
    }
}

#[test]
fn two_digits_are_a_year_from_80_years_before_to_20_years_after_now() {
    let pattern = Pattern::compile("dd.MM.yy").expect("a pattern");
    let full = Pattern::compile("dd.MM.yyyy").expect("a pattern");
    let now = full.parse("15.06.2024", 0).expect("a day");
    for (text, expected) in [
        ("01.01.24", "01.01.2024"),
        ("01.01.43", "01.01.2043"),
        ("14.06.44", "14.06.2044"),
        ("15.06.44", "15.06.1944"),
        ("01.01.45", "01.01.1945"),
        ("01.01.99", "01.01.1999"),
        ("01.01.100", "01.01.0100"),
        ("01.01.5", "01.01.0005"),
    ] {
        assert_eq!(pattern.parse(text, now), full.parse(expected, now), "{text}");
    }
    // Without the start of a query nobody can tell.
    let column: ArrayRef = Arc::new(StringArray::from(vec!["yy"]));
    let error = call(&timestamp_udf(), column, &[ScalarValue::from("24")]).expect_err("no clock");
    assert!(error.to_string().contains("the start of the query is not known"), "{error}");
}
