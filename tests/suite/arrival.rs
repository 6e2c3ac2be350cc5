//! Windows that depend on the order of rows of one ROWTIME, against their definitions: sliding windows see the rows that came
//! before, stagger windows are opened by a key's first row (kda-sql-reference.md §4.3, §4.4).

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::stream::{Row, courses, rows, run, wait};

/// In the order of ROWTIME; of one ROWTIME in the order of arrival.
fn in_order(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.2);
    rows
}

/// The text of a time, as the driver shows it.
fn time(ms: i64) -> String {
    let column: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::TimestampMillisecondArray::from(vec![ms]));
    let batch = arrow::record_batch::RecordBatch::try_from_iter([("t", column)]).expect("a batch");
    kinesql_tests::driver::show(&batch).expect("text").remove(0).remove(0)
}

fn or_null<T: ToString>(value: Option<T>) -> String {
    value.map_or("NULL".to_owned(), |value| value.to_string())
}

/// COUNT, SUM, MIN, MAX, FIRST_VALUE, LAST_VALUE of the rows of a window.
fn aggregates(values: &[Option<i32>]) -> String {
    let present: Vec<i32> = values.iter().copied().flatten().collect();
    let sum = (!present.is_empty()).then(|| present.iter().sum::<i32>());
    let (low, high) = (present.iter().min(), present.iter().max());
    let ends = (values.first().copied().flatten(), values.last().copied().flatten());
    let cells = [or_null(sum), or_null(low), or_null(high), or_null(ends.0), or_null(ends.1)];
    format!("{} {}", values.len(), cells.join(" "))
}

fn functions(over: &str) -> String {
    let names = ["SUM", "MIN", "MAX", "FIRST_VALUE", "LAST_VALUE"];
    let calls = names.iter().enumerate().map(|(place, name)| format!("{name}(\"v\") {over} AS \"{over}{place}\""));
    format!("COUNT(*) {over} AS \"{over}n\", {}", calls.collect::<Vec<_>>().join(", "))
}

fn sliding(rows: &[Row], length: i64, count: usize) -> Vec<String> {
    let rows = in_order(rows);
    let result = |(place, (key, _, at)): (usize, &Row)| {
        let of_key: Vec<&Row> = rows[..=place].iter().filter(|row| row.0 == *key).collect();
        let range: Vec<_> = of_key.iter().filter(|row| row.2 >= at - length).map(|row| row.1).collect();
        let last: Vec<_> = of_key[of_key.len().saturating_sub(count + 1)..].iter().map(|row| row.1).collect();
        let all: Vec<_> = rows[..=place].iter().filter(|row| row.2 >= at - length).map(|row| row.1).collect();
        format!("{} {} {} {}", time(*at), aggregates(&range), aggregates(&last), all.len())
    };
    rows.iter().enumerate().map(result).collect()
}

fn stagger(rows: &[Row], length: i64) -> Vec<String> {
    let mut open: BTreeMap<Option<u8>, usize> = BTreeMap::new();
    let mut windows: Vec<(Option<u8>, i64, Vec<Option<i32>>)> = Vec::new();
    for (key, value, at) in in_order(rows) {
        match open.get(&key).filter(|window| at < windows[**window].1) {
            Some(window) => windows[*window].2.push(value),
            None => {
                open.insert(key, windows.len());
                windows.push((key, at + length, vec![value]));
            }
        }
    }
    let shown = |(key, end, values): (Option<u8>, i64, Vec<Option<i32>>)| {
        format!("{} {} {}", time(end), or_null(key.map(|key| format!("k{key}"))), aggregates(&values))
    };
    windows.into_iter().map(shown).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn sliding_windows_see_what_came_before(rows in rows(100, false), course in courses(1, 1..2), length in 0i64..4_000, count in 0usize..8) {
        let seconds = format!("INTERVAL '{}.{:03}' SECOND", length / 1_000, length % 1_000);
        let application = format!(
            "CREATE STREAM \"OUT\" AS SELECT STREAM ROWTIME AS \"at\", {}, {}, COUNT(*) OVER (RANGE {seconds} PRECEDING) AS \"all\"
             FROM \"S\" WINDOW r AS (PARTITION BY \"k\" RANGE {seconds} PRECEDING), n AS (PARTITION BY \"k\" ROWS {count} PRECEDING);",
            functions("OVER r"), functions("OVER n")
        );
        let got = wait(run(&application, &[("S", &rows)], &course));
        prop_assert_eq!(got, sliding(&rows, length, count));
    }

    #[test]
    fn stagger_windows_begin_with_a_row_of_their_key(rows in rows(100, false), course in courses(1, 1..2), length in 1i64..4_000) {
        let seconds = format!("INTERVAL '{}.{:03}' SECOND", length / 1_000, length % 1_000);
        let application = format!(
            "CREATE STREAM \"OUT\" AS SELECT STREAM ROWTIME AS \"at\", \"k\", {} FROM \"S\" WINDOWED BY STAGGER (PARTITION BY \"k\" RANGE {seconds});",
            functions("")
        );
        let got = wait(run(&application, &[("S", &rows)], &course));
        prop_assert_eq!(got, stagger(&rows, length));
    }
}
