//! The forest as its callers see it: exact scores, the same bits whatever the batches, explanations, saved states, errors.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::{Explanation, ForestOptions, RandomCutForest, Scoring};
use crate::model::Model;
use crate::model::random::Random;

mod trees;

/// Columns `a`, `b`, … of DOUBLE, from rows.
fn batch<const N: usize>(rows: &[[f64; N]]) -> RecordBatch {
    let columns: Vec<ArrayRef> =
        (0..N).map(|column| Arc::new(rows.iter().map(|row| row[column]).collect::<Float64Array>()) as ArrayRef).collect();
    RecordBatch::try_from_iter(["a", "b", "c"].into_iter().zip(columns)).expect("equal lengths")
}

fn forest<const N: usize>(options: ForestOptions) -> RandomCutForest {
    RandomCutForest::try_new(options, &batch::<N>(&[]).schema()).expect("options in range")
}

/// The scores of rows that are all usable.
fn scores<const N: usize>(forest: &mut RandomCutForest, rows: &[[f64; N]]) -> Vec<f64> {
    let output = forest.update(&batch(rows)).expect("rows of the relation");
    let scores = output[0].as_primitive::<Float64Type>();
    assert_eq!((scores.len(), scores.null_count()), (rows.len(), 0));
    scores.values().to_vec()
}

fn close(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-13
}

/// Rows near a moving centre, with repeated values and now and then one far out.
fn noisy_rows(count: usize, seed: u64) -> Vec<[f64; 2]> {
    let mut random = Random::seeded(seed, 99);
    let row = |number: usize| {
        let centre = (number as f64 * 0.01).sin() * 3.0;
        let far = if number % 97 == 96 { 40.0 * random.uniform() } else { 0.0 };
        [(centre + random.uniform() + far).mul_add(8.0, 0.0).round() / 8.0, 1000.0 - centre * random.uniform()]
    };
    (0..count).map(row).collect()
}

#[test]
fn a_constant_column_scores_8_of_257() {
    for (seed, trees, value) in [(1, 100, 7.25), (2, 1, 0.0), (3, 13, -1e12)] {
        let mut forest = forest::<1>(ForestOptions { seed, trees, ..Default::default() });
        let scores = scores(&mut forest, &[[value]; 2000]);
        assert!(scores[..256].iter().all(|score| *score == 0.0));
        assert!(scores[256..].iter().all(|score| close(*score, 0.0311284046692607)), "{}", scores[256]);
    }
}

#[test]
fn two_values_score_by_their_number_in_any_order() {
    for seed in 0..5 {
        let mut random = Random::seeded(seed, 0);
        let mut rows: Vec<[f64; 1]> = (0..256).map(|row| [if row < 148 { 20.0 } else { 80.0 }]).collect();
        for last in (1..rows.len()).rev() {
            rows.swap(last, (random.uniform() * (last + 1) as f64) as usize);
        }
        rows.push([20.0]);
        let scores = scores(&mut forest::<1>(ForestOptions { seed, trees: 30, ..Default::default() }), &rows);
        assert!(close(scores[256], 0.9744863200629312), "{}", scores[256]);
    }
}

#[test]
fn the_librarys_scoring_differs_for_repeated_values_alone() {
    let of = |scoring, rows: &[[f64; 1]]| {
        let options = ForestOptions { scoring, trees: 30, ..Default::default() };
        scores(&mut forest::<1>(options), rows)
    };
    // One leaf: (1 - 256 / 512) / log2(257), times log2(257).
    let constant = of(Scoring::Library, &[[7.25]; 300]);
    assert!(constant[..256].iter().all(|score| *score == 0.0) && constant[256..].iter().all(|score| close(*score, 0.5)));
    // Two leaves below the root.
    let mut rows: Vec<[f64; 1]> = (0..256).map(|row| [if row < 148 { 20.0 } else { 80.0 }]).collect();
    rows.push([20.0]);
    let expected = (1.0 - 148.0 / 512.0) / (1.0 + 149f64.log2()) * 257f64.log2();
    assert!(close(of(Scoring::Library, &rows)[256], expected));
    // A value that no sample holds: the same but for the scale.
    rows[256] = [50.5];
    let (service, library) = (of(Scoring::Service, &rows)[256], of(Scoring::Library, &rows)[256]);
    assert!(close(library / service, 257f64.log2() / 8.0), "{library} {service}");
}

#[test]
fn batches_threads_and_restarts_do_not_change_a_bit() {
    let rows = noisy_rows(1100, 5);
    let options = |threads| ForestOptions {
        trees: 20,
        sample_size: 64,
        time_decay: 500,
        shingle_size: 3,
        explanation: Explanation::Directionality,
        threads,
        ..Default::default()
    };
    let whole = forest::<2>(options(1)).update(&batch(&rows)).expect("usable");
    for threads in [1, 2, 8] {
        // The largest batches are work enough for several threads.
        for size in [1, 7, 1024] {
            let mut model = forest::<2>(options(threads));
            let mut first = 0;
            for rows in rows.chunks(size) {
                // A restart at every seventh batch.
                if first / size % 7 == 3 {
                    let saved = model.snapshot().unwrap();
                    model = forest::<2>(options(threads));
                    model.restore(&saved).expect("saved by the same model");
                    assert!(model.snapshot().unwrap() == saved);
                }
                let output = model.update(&batch(rows)).expect("usable");
                for (part, whole) in output.iter().zip(&whole) {
                    assert!(part.as_ref() == whole.slice(first, rows.len()).as_ref(), "{threads} threads, rows from {first}");
                }
                first += rows.len();
            }
        }
    }
}

#[test]
fn one_column_scores_the_same_in_stretches_of_any_length() {
    let rows: Vec<[f64; 1]> = noisy_rows(1500, 13).into_iter().map(|[a, _]| [a]).collect();
    let options = || ForestOptions { trees: 10, sample_size: 100, time_decay: 20_000, ..Default::default() };
    let expected = scores(&mut forest::<1>(options()), &rows);
    for size in [1, 5, 47, 48, 300] {
        let mut model = forest::<1>(options());
        let got: Vec<f64> = rows.chunks(size).flat_map(|rows| scores(&mut model, rows)).collect();
        assert!(got == expected, "{size}");
    }
}

#[test]
fn the_work_of_large_batches_is_shared_without_changing_a_bit() {
    let rows = noisy_rows(1500, 6);
    let options = |threads| ForestOptions { threads, trees: 33, ..Default::default() };
    let expected = scores(&mut forest::<2>(options(1)), &rows);
    for threads in [2, 8, 100] {
        assert!(scores(&mut forest::<2>(options(threads)), &rows) == expected);
    }
}

#[test]
fn seeds_differ_and_explanations_do_not_change_scores() {
    let rows = noisy_rows(600, 7);
    let run = |seed, explanation| scores(&mut forest::<2>(ForestOptions { seed, explanation, ..Default::default() }), &rows);
    assert!(run(1, Explanation::None) == run(1, Explanation::Attribution));
    assert!(run(1, Explanation::None) != run(2, Explanation::None));
}

#[test]
fn scores_do_not_depend_on_the_origin_or_on_other_columns() {
    let rows: Vec<[f64; 2]> = noisy_rows(600, 8).iter().map(|[a, b]| [a.round(), b.round()]).collect();
    let moved: Vec<[f64; 2]> = rows.iter().map(|[a, b]| [a + 1e12, b - 1e12]).collect();
    let expected = scores(&mut forest::<2>(ForestOptions::default()), &rows);
    assert!(scores(&mut forest::<2>(ForestOptions::default()), &moved) == expected);

    let integers = |column: usize| Arc::new(rows.iter().map(|row| row[column] as i64).collect::<Int64Array>()) as ArrayRef;
    let text = Arc::new(rows.iter().map(|_| Some("x")).collect::<StringArray>()) as ArrayRef;
    let mixed = RecordBatch::try_from_iter([("t", text.clone()), ("a", integers(0)), ("u", text), ("b", integers(1))]).unwrap();
    let mut forest = RandomCutForest::try_new(ForestOptions::default(), &mixed.schema()).unwrap();
    assert_eq!(forest.update(&mixed).unwrap()[0].as_primitive::<Float64Type>().values().to_vec(), expected);
}

#[test]
fn rows_that_cannot_be_used_score_null_and_leave_no_trace() {
    let rows = noisy_rows(400, 9);
    let options = ForestOptions { sample_size: 50, shingle_size: 2, explanation: Explanation::Attribution, ..Default::default() };
    let mut expected = forest::<2>(options.clone()).update(&batch(&rows)).unwrap();

    let unusable = [(Some(f64::NAN), Some(1.0)), (Some(1.0), None), (None, None), (Some(1.0), Some(f64::INFINITY))];
    let usable = rows.iter().map(|[a, b]| (Some(*a), Some(*b)));
    let mixed: Vec<_> = usable.enumerate().flat_map(|(row, values)| [unusable[row % 4], values]).collect();
    let (a, b): (Vec<_>, Vec<_>) = mixed.into_iter().unzip();
    let columns = [a, b].map(|values| Arc::new(Float64Array::from(values)) as ArrayRef);
    let mixed = RecordBatch::try_from_iter(["a", "b"].into_iter().zip(columns)).unwrap();
    let output = forest::<2>(options).update(&mixed).unwrap();
    let odd: arrow::array::UInt32Array = (0..rows.len() as u32).map(|row| 2 * row + 1).collect();
    for (output, expected) in output.iter().zip(&mut expected) {
        assert_eq!(output.null_count(), rows.len());
        assert!((0..rows.len()).all(|row| output.is_null(2 * row)));
        assert!(arrow::compute::take(output, &odd, None).unwrap().as_ref() == expected.as_ref());
    }
}

#[test]
fn the_ends_of_double_are_cut_off() {
    let values = [0.0, 1e308, -1e308, 5e-324, 1e-300, -1.0, 1e38, f64::MAX, f64::MIN, 1e-31];
    let rows: Vec<[f64; 3]> = (0..900).map(|row| [values[row % 10], values[row / 10 % 10], values[row * 7 / 3 % 10]]).collect();
    let options = ForestOptions { trees: 10, shingle_size: 5, explanation: Explanation::Directionality, ..Default::default() };
    let mut model = forest::<3>(options);
    let output = model.update(&batch(&rows)).unwrap();
    let scores = output[0].as_primitive::<Float64Type>();
    assert!(scores.values().iter().all(|score| (0.0..=8.0).contains(score)));
    for (row, explanation) in output[1].as_string::<i32>().iter().enumerate() {
        assert!(!explanation.unwrap().contains("NaN"), "{row}");
        let sum: f64 = members(explanation.unwrap()).iter().map(|member| member.2).sum();
        assert!((sum - scores.value(row)).abs() < 3e-4, "{row}: {sum} {}", scores.value(row));
    }
}

/// Direction, strength and attribution.
type Member = (String, f64, f64);

/// What an explanation says of each column.
fn members(explanation: &str) -> Vec<Member> {
    let mut texts = explanation.split('"');
    let mut members = Vec::new();
    while texts.by_ref().any(|text| text == "DIRECTION") {
        let mut next = |skip| texts.nth(skip).expect("a member");
        let direction = next(1).to_owned();
        let strength = next(3).parse().expect("a number");
        members.push((direction, strength, next(3).parse().expect("a number")));
    }
    members
}

#[test]
fn a_point_far_out_in_one_column_is_explained_by_it() {
    let mut rows = noisy_rows(1000, 11);
    rows.retain(|row| row[0].abs() < 6.0);
    let normal = rows.len();
    rows.extend([[200.0, 1000.0], [-200.0, 1000.0], [0.0, 2000.0], [0.0, -2000.0]]);
    for shingle_size in [1, 4] {
        let options = ForestOptions { explanation: Explanation::Directionality, shingle_size, ..Default::default() };
        let output = forest::<2>(options).update(&batch(&rows)).unwrap();
        let scores = output[0].as_primitive::<Float64Type>();
        let explanations = output[1].as_string::<i32>();
        for row in 0..rows.len() {
            let members = members(explanations.value(row));
            let sum: f64 = members.iter().map(|member| member.2).sum();
            assert!((sum - scores.value(row)).abs() < 1.1e-4, "{row}: {sum} {}", scores.value(row));
            assert!(row >= 256 || members.iter().all(|member| *member == ("LOW".to_owned(), 0.0, 0.0)));
        }
        for (row, column, direction) in [(0, 0, "HIGH"), (1, 0, "LOW"), (2, 1, "HIGH"), (3, 1, "LOW")] {
            // A shingle still holds the rows before.
            if shingle_size == 1 || row == 0 {
                let member = &members(explanations.value(normal + row))[column];
                assert!(member.0 == direction && member.2 > 0.9 * scores.value(normal + row), "{row}: {member:?}");
                assert!((member.1 - member.2 * scores.value(normal + row)).abs() < 0.2 * member.1);
            }
        }
    }
}

/// The example of the service's reference (kda-sql-reference.md §5.12): readings of blood pressure, 99 % uniform on 90 – 120
/// and 60 – 80, the others far below or far above. Returns the score of 144/123, its members, and the score of 105/70.
fn blood_pressure(seed: u64) -> (f64, Vec<Member>, f64) {
    let mut random = Random::seeded(seed, 0);
    let mut readings: Vec<[i32; 2]> = (0..600)
        .map(|_| {
            let kind = random.uniform();
            let mut between = |low: f64, high: f64| (low + (high - low) * random.uniform()).round() as i32;
            match kind {
                ..0.005 => [between(50.0, 80.0), between(30.0, 50.0)],
                ..0.01 => [between(130.0, 200.0), between(90.0, 150.0)],
                _ => [between(90.0, 120.0), between(60.0, 80.0)],
            }
        })
        .collect();
    readings.extend([[144, 123], [105, 70]]);
    let column = |column: usize| Arc::new(readings.iter().map(|reading| reading[column]).collect::<Int32Array>()) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("Systolic", column(0)), ("Diastolic", column(1))]).unwrap();
    let options = ForestOptions { explanation: Explanation::Directionality, seed, ..Default::default() };
    let output = RandomCutForest::try_new(options, &batch.schema()).unwrap().update(&batch).unwrap();
    let (scores, explanation) = (output[0].as_primitive::<Float64Type>(), output[1].as_string::<i32>().value(600));
    assert!(explanation.starts_with(r#"{"Systolic":{"DIRECTION":""#) && explanation.contains(r#""},"Diastolic":{"DIR"#));
    (scores.value(600), members(explanation), scores.value(601))
}

#[test]
fn blood_pressure_scores_as_published() {
    let runs: Vec<_> = (0..12).map(blood_pressure).collect();
    let mean = |value: fn(&(f64, Vec<Member>, f64)) -> f64| runs.iter().map(value).sum::<f64>() / 12.0;
    // Published for one run: 3.856 = 1.745 + 2.111. Correct forests give 3.70 = 1.51 + 2.19, 80 % of runs 3.24 – 4.31: the
    // mean of 12 runs has a standard error of 0.12.
    let means = [mean(|run| run.0), mean(|run| run.1[0].2), mean(|run| run.1[1].2)];
    assert!(means.iter().zip([3.70, 1.51, 2.19]).all(|(mean, expected)| (mean - expected).abs() < 0.35), "{means:?}");
    let high = runs.iter().filter(|run| run.1.iter().all(|member| member.0 == "HIGH")).count();
    assert!(high > 7, "{high}");
    // Published ordinary readings: 0.71 – 0.74.
    let ordinary = mean(|run| run.2);
    assert!((0.66..0.80).contains(&ordinary), "{ordinary}");
}

#[test]
fn snapshots_of_other_forests_and_damaged_ones_are_refused() {
    let options = ForestOptions { trees: 3, sample_size: 10, time_decay: 40, shingle_size: 2, ..Default::default() };
    let rows = noisy_rows(100, 12);
    let mut model = forest::<2>(options.clone());
    scores(&mut model, &rows);
    let saved = model.snapshot().unwrap();

    for (other, message) in [
        (ForestOptions { trees: 4, ..options.clone() }, "numberOfTrees 3, this one has 4"),
        (ForestOptions { sample_size: 11, ..options.clone() }, "subSampleSize 10, this one has 11"),
        (ForestOptions { time_decay: 41, ..options.clone() }, "timeDecay 40, this one has 41"),
        (ForestOptions { shingle_size: 3, ..options.clone() }, "shingleSize 2, this one has 3"),
        (ForestOptions { seed: 7, ..options.clone() }, "seed 1, this one has 7"),
    ] {
        let error = forest::<2>(other).restore(&saved).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = forest::<3>(options.clone()).restore(&saved).unwrap_err().to_string();
    assert!(error.contains("numeric columns of 2, this one has 3"), "{error}");

    let mut newer = saved.clone();
    newer[4] = 9;
    let error = model.restore(&newer).unwrap_err().to_string();
    assert!(error.contains("the saved model has format 9, this version reads 1"), "{error}");
    assert!(model.restore(b"KRHS").is_err());
    for length in 0..saved.len() {
        assert!(model.restore(&saved[..length]).is_err());
    }
    assert!(model.restore(&[&saved[..], &[0]].concat()).is_err());
    // Any byte changed: refused, or a state that works.
    for place in 0..saved.len() {
        let mut damaged = saved.clone();
        damaged[place] ^= 0x55;
        let mut other = forest::<2>(options.clone());
        if other.restore(&damaged).is_ok() {
            assert!(scores(&mut other, &rows[..20]).iter().all(|score| (0.0..=4.0).contains(score)));
        }
    }
    // Nothing of that has changed the model.
    assert!(model.snapshot().unwrap() == saved);
}

#[test]
fn a_forest_stays_within_its_memory() {
    let run = |shingle_size: i64| {
        let mut model = forest::<3>(ForestOptions { shingle_size, time_decay: 300, ..Default::default() });
        let mut random = Random::seeded(1, 1);
        let rows: Vec<[f64; 3]> = (0..600).map(|_| [random.uniform(), random.uniform(), random.uniform()]).collect();
        scores(&mut model, &rows);
        model.memory_size()
    };
    assert!(run(20) < 20_000_000, "{}", run(20));
    let mut small = forest::<1>(ForestOptions::default());
    assert!(small.memory_size() < 100_000, "{}", small.memory_size());
    let mut random = Random::seeded(1, 1);
    let rows: Vec<[f64; 1]> = (0..600).map(|_| [random.uniform()]).collect();
    scores(&mut small, &rows);
    assert!(small.memory_size() < 1_500_000, "{}", small.memory_size());
}

fn error(options: ForestOptions, fields: Vec<Field>) -> String {
    let result: Result<RandomCutForest> = RandomCutForest::try_new(options, &Schema::new(fields));
    result.expect_err("not allowed").to_string()
}

#[test]
fn errors_name_the_argument_its_value_and_its_range() {
    let numeric = || vec![Field::new("a", DataType::Float64, true)];
    let default = ForestOptions::default;
    for (options, message) in [
        (ForestOptions { trees: 0, ..default() }, "numberOfTrees of RANDOM_CUT_FOREST is 0, it must be 1 to 1000"),
        (ForestOptions { trees: 1001, ..default() }, "numberOfTrees of RANDOM_CUT_FOREST is 1001, it must be 1 to 1000"),
        (ForestOptions { sample_size: 9, ..default() }, "subSampleSize of RANDOM_CUT_FOREST is 9, it must be 10 to 1000"),
        (ForestOptions { time_decay: 0, ..default() }, "timeDecay of RANDOM_CUT_FOREST is 0, it must be 1 to 2147483647"),
        (ForestOptions { shingle_size: 31, ..default() }, "shingleSize of RANDOM_CUT_FOREST is 31, it must be 1 to 30"),
        (
            ForestOptions { time_decay: 256, explanation: Explanation::Attribution, ..default() },
            "subSampleSize of RANDOM_CUT_FOREST_WITH_EXPLANATION is 256, it must be less than timeDecay, which is 256",
        ),
    ] {
        let error = error(options, numeric());
        assert!(error.contains(message), "{error}");
    }
    let decimal = error(default(), vec![Field::new("price", DataType::Decimal128(10, 2), true)]);
    assert!(decimal.contains("column \"price\"") && decimal.contains("CAST(\"price\" AS DOUBLE)"), "{decimal}");
    let none = error(default(), vec![Field::new("t", DataType::Utf8, true)]);
    assert!(none.contains("RANDOM_CUT_FOREST needs 1 to 30 numeric columns, there are 0"), "{none}");
    let many = error(default(), (0..31).map(|column| Field::new(format!("c{column}"), DataType::Int8, true)).collect());
    assert!(many.contains("there are 31"), "{many}");
}

#[test]
fn the_largest_forest_works() {
    let options = ForestOptions {
        trees: 2,
        sample_size: 1000,
        time_decay: 1001,
        shingle_size: 30,
        explanation: Explanation::Attribution,
        ..Default::default()
    };
    let mut model = forest::<3>(options);
    let mut random = Random::seeded(4, 4);
    let rows: Vec<[f64; 3]> = (0..2500).map(|_| [random.uniform(), random.uniform(), random.uniform()]).collect();
    let scores = scores(&mut model, &rows);
    assert!(scores[..1029].iter().all(|score| *score == 0.0) && scores[1029..].iter().all(|score| *score > 0.0));
    model.members.iter().for_each(|member| assert_eq!(member.tree.check(), 1000));
}
