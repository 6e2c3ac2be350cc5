//! HOTSPOTS against a plain evaluation of its definition, against scikit-learn, and on the service's own example.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

use super::bits::Bits;
use super::clusters::component;
use super::window::Window;
use super::{Hotspots, HotspotsOptions};
use crate::model::Model;
use crate::model::random::Random;

/// Columns of DOUBLE from rows.
fn batch(columns: usize, rows: &[Vec<f64>]) -> RecordBatch {
    let column = |column: usize| Arc::new(rows.iter().map(|row| row[column]).collect::<Float64Array>()) as ArrayRef;
    RecordBatch::try_from_iter((0..columns).map(|number| (format!("c{number}"), column(number)))).expect("equal lengths")
}

fn hotspots(columns: usize, window_size: i64, scan_radius: f64, points_min: i64) -> Hotspots {
    let options = HotspotsOptions { window_size, scan_radius, points_min };
    Hotspots::try_new(options, &batch(columns, &[]).schema()).expect("options in range")
}

fn results(model: &mut Hotspots, rows: &[Vec<f64>]) -> Vec<String> {
    let output = model.update(&batch(rows[0].len(), rows)).expect("rows of the relation");
    output[0].as_string::<i32>().iter().map(|text| text.expect("usable").to_owned()).collect()
}

/// The definition, word by word.
fn by_definition(window: &[Vec<f64>], radius: f64, points_min: usize) -> String {
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() <= radius * radius;
    let is_core: Vec<bool> =
        window.iter().map(|row| window.iter().filter(|other| near(row, other)).count() >= points_min).collect();
    let mut component: Vec<usize> = (0..window.len()).collect();
    let mut again = true;
    while again {
        again = false;
        for a in 0..window.len() {
            for b in 0..window.len() {
                if is_core[a] && is_core[b] && component[a] < component[b] && near(&window[a], &window[b]) {
                    component[b] = component[a];
                    again = true;
                }
            }
        }
    }
    let mut found: Vec<(f64, Vec<f64>, Vec<f64>)> = Vec::new();
    for number in 0..window.len() {
        let cores: Vec<usize> = (0..window.len()).filter(|row| is_core[*row] && component[*row] == number).collect();
        let records: Vec<&Vec<f64>> = window.iter().filter(|row| cores.iter().any(|core| near(row, &window[*core]))).collect();
        if !cores.is_empty() {
            assert!(records.len() >= points_min);
            let bound = |pick: fn(f64, f64) -> f64| -> Vec<f64> {
                let values = |column: usize| records.iter().map(move |row| row[column]);
                (0..window[0].len()).map(|column| values(column).reduce(pick).expect("records")).collect()
            };
            let (min, max) = (bound(f64::min), bound(f64::max));
            let side = |(min, max): (&f64, &f64)| if min == max { radius } else { max - min };
            found.push((records.len() as f64 / min.iter().zip(&max).map(side).product::<f64>(), min, max));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.partial_cmp(&b.1).expect("numbers")));
    let hotspots: Vec<String> = found
        .iter()
        .map(|(density, min, max)| format!("{{\"density\":{density:?},\"minValues\":{min:?},\"maxValues\":{max:?}}}"))
        .collect();
    format!("{{\"hotspots\":[{}]}}", hotspots.join(",")).replace(", ", ",")
}

/// Rows in clouds that move, on a coarse grid so that many distances are the radius, or equal.
fn clouds(count: usize, columns: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = Random::seeded(seed, 5);
    (0..count)
        .map(|row| {
            let cloud = (random.uniform() * 4.0).floor() * 3.0 + (row / 120) as f64;
            let spread = if random.uniform() < 0.3 { 12.0 } else { 1.5 };
            (0..columns).map(|_| ((cloud + spread * (random.uniform() - 0.5)) * 4.0).round() / 4.0 + 0.0).collect()
        })
        .collect()
}

#[test]
fn results_are_those_of_the_definition() {
    for (columns, radius, points_min) in [(1, 0.25, 8), (2, 0.5, 4), (2, 0.75, 12), (3, 1.0, 5), (2, 0.1, 2), (2, 50.0, 100)] {
        let rows = clouds(240, columns, 3);
        let results = results(&mut hotspots(columns, 100, radius, points_min), &rows);
        for last in 0..rows.len() {
            let window = &rows[(last + 1).saturating_sub(100)..=last];
            assert_eq!(results[last], by_definition(window, radius, points_min as usize), "{columns} {radius}, row {last}");
        }
    }
}

#[test]
fn core_rows_and_components_are_those_of_scikit_learn() {
    let mut lines = include_str!("tests/dbscan.txt").lines().filter(|line| !line.starts_with('#'));
    let mut windows = 0;
    while let Some(line) = lines.next() {
        let words: Vec<f64> = line.split(' ').skip(1).map(|word| word.parse().expect("a number")).collect();
        let &[columns, radius, points_min, rows] = &words[..] else { panic!("not a window: {line}") };
        let (columns, rows) = (columns as usize, rows as usize);
        let mut window = Window::new(columns, rows, radius, points_min as u16);
        // Other rows come first and go.
        let others = rows + 37;
        clouds(others, columns, 1).iter().for_each(|row| {
            window.push(row);
        });
        let mut labels = HashMap::new();
        for row in 0..rows {
            let values: Vec<f64> = lines.next().expect("a row").split(' ').map(|word| word.parse().expect("a number")).collect();
            window.push(&values[..columns]);
            if values[columns] == 1.0 {
                labels.insert((others + row) % rows, values[columns + 1] as i64);
            }
        }
        let mut left = *window.core();
        assert_eq!(left.count(), labels.len(), "{line}");
        left.for_each(|place| assert!(labels.contains_key(&place), "{line}: {place}"));
        let mut seen = Vec::new();
        while let Some(first) = left.first() {
            let before = left;
            component(&window, first, &mut left);
            // The component's core rows are what is gone: all with one label that no other component has.
            before.for_each(|place| {
                let gone = !contains(&left, place);
                assert_eq!(gone, labels[&place] == labels[&first], "{line}: {place}");
            });
            assert!(!seen.contains(&labels[&first]));
            seen.push(labels[&first]);
        }
        windows += 1;
    }
    assert_eq!(windows, 7);
}

fn contains(bits: &Bits, place: usize) -> bool {
    let mut found = false;
    bits.for_each(|other| found |= other == place);
    found
}

/// Numbers of a text, in order: density, minimum x and y, maximum x and y of each hotspot.
fn numbers(text: &str) -> Vec<f64> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).filter_map(|word| word.parse().ok()).collect()
}

/// The service's example (kda-sql-reference.md §5.13): rows on a field of 10 x 10, a fifth of them in a square of 1 x 1 that moves
/// every 1000 rows.
#[test]
fn the_example_of_the_service_has_one_hotspot_at_a_time() {
    let mut random = Random::seeded(17, 0);
    let mut model = hotspots(2, 1000, 0.2, 17);
    let (mut overlaps, mut densities) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let corner = [random.uniform() * 9.0, random.uniform() * 9.0];
        let rows: Vec<Vec<f64>> = (0..1000)
            .map(|_| {
                let hot = random.uniform() < 0.2;
                let mut place = |corner: f64| if hot { corner + random.uniform() } else { random.uniform() * 10.0 };
                vec![place(corner[0]), place(corner[1])]
            })
            .collect();
        let results = results(&mut model, &rows);
        let found = numbers(&results[999]);
        let &[density, min_x, min_y, max_x, max_y] = &found[..] else { panic!("not one hotspot: {}", results[999]) };
        let common = |min: f64, max: f64, corner: f64| max.min(corner + 1.0) - min.max(corner);
        let both = common(min_x, max_x, corner[0]) * common(min_y, max_y, corner[1]);
        overlaps.push(both / ((max_x - min_x) * (max_y - min_y) + 1.0 - both));
        densities.push(density);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&overlaps) >= 0.8, "{overlaps:?}");
    assert!((160.0..205.0).contains(&mean(&densities)), "{densities:?}");
}

#[test]
fn batches_and_restarts_do_not_change_a_byte() {
    let mut rows = clouds(700, 2, 9);
    rows.iter_mut().step_by(3).for_each(|row| row[0] *= -0.0);
    let expected = results(&mut hotspots(2, 150, 0.5, 4), &rows);
    for size in [1, 7, 64, 700] {
        let mut model = hotspots(2, 150, 0.5, 4);
        let mut found = Vec::new();
        for rows in rows.chunks(size) {
            let saved = model.snapshot().unwrap();
            model = hotspots(2, 150, 0.5, 4);
            model.restore(&saved).expect("saved by the same model");
            assert!(model.snapshot().unwrap() == saved);
            found.extend(results(&mut model, rows));
        }
        assert!(found == expected, "{size}");
    }
}

#[test]
fn rows_that_cannot_be_used_give_null_and_leave_no_trace() {
    let rows = clouds(300, 2, 10);
    let expected = results(&mut hotspots(2, 100, 0.5, 4), &rows);
    let mixed: Vec<Vec<f64>> = rows.iter().flat_map(|row| [vec![row[0], f64::NAN], row.clone()]).collect();
    let output = hotspots(2, 100, 0.5, 4).update(&batch(2, &mixed)).expect("rows of the relation");
    for (row, text) in output[0].as_string::<i32>().iter().enumerate() {
        assert_eq!(text, (row % 2 == 1).then(|| expected[row / 2].as_str()));
    }
    assert_eq!(output[0].null_count(), 300);
}

#[test]
fn sides_without_length_count_as_the_radius() {
    let rows = vec![vec![1.5, -2.0]; 4];
    let results = results(&mut hotspots(2, 100, 0.5, 3), &rows);
    assert_eq!(results[1], r#"{"hotspots":[]}"#);
    assert_eq!(results[3], r#"{"hotspots":[{"density":16.0,"minValues":[1.5,-2.0],"maxValues":[1.5,-2.0]}]}"#);
}

#[test]
fn snapshots_of_other_windows_and_damaged_ones_are_refused() {
    let mut model = hotspots(2, 100, 0.5, 4);
    results(&mut model, &clouds(130, 2, 11));
    let saved = model.snapshot().unwrap();
    for (mut other, message) in [
        (hotspots(2, 101, 0.5, 4), "windowSize 100, this one has 101"),
        (hotspots(2, 100, 0.25, 4), "scanRadius 0.5, this one has 0.25"),
        (hotspots(2, 100, 0.5, 5), "minimumNumberOfPointsInAHotspot 4, this one has 5"),
        (hotspots(3, 100, 0.5, 4), "numeric columns of 2, this one has 3"),
    ] {
        let error = other.restore(&saved).expect_err("another shape").to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!((0..saved.len()).all(|length| model.restore(&saved[..length]).is_err()));
    assert!(model.restore(&[&saved[..], &[0]].concat()).is_err());
    assert!(model.snapshot().unwrap() == saved);
    assert!(model.memory_size() < 100_000, "{}", model.memory_size());
}

#[test]
fn errors_name_the_argument_its_value_and_its_range() {
    let schema = Schema::new(vec![Field::new("x", DataType::Float32, true)]);
    let usual = HotspotsOptions { window_size: 1000, scan_radius: 0.2, points_min: 17 };
    for (options, message) in [
        (HotspotsOptions { window_size: 99, ..usual.clone() }, "windowSize of HOTSPOTS is 99, it must be 100 to 1000"),
        (HotspotsOptions { window_size: 1001, ..usual.clone() }, "windowSize of HOTSPOTS is 1001, it must be 100 to 1000"),
        (HotspotsOptions { scan_radius: 0.0, ..usual.clone() }, "scanRadius of HOTSPOTS is 0.0, it must be more than 0"),
        (HotspotsOptions { scan_radius: f64::NAN, ..usual.clone() }, "scanRadius of HOTSPOTS is NaN, it must be more than 0"),
        (HotspotsOptions { points_min: 1, ..usual.clone() }, "minimumNumberOfPointsInAHotspot of HOTSPOTS is 1, it must be 2 to"),
        (HotspotsOptions { points_min: 1001, ..usual }, "is 1001, it must be 2 to windowSize, which is 1000"),
    ] {
        let error = Hotspots::try_new(options, &schema).expect_err("out of range").to_string();
        assert!(error.contains(message), "{error}");
    }
}
