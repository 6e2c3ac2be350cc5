//! Models by key against one model for each key's rows alone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::compute::concat;
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;

use super::{PartitionOptions, Partitioned};
use crate::model::Model;
use crate::model::forest::{ForestOptions, RandomCutForest};
use crate::model::random::Random;

/// Key, seconds, value.
type Row = (Option<&'static str>, i64, f64);

fn batch(rows: &[Row]) -> RecordBatch {
    let keys = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>()) as ArrayRef;
    let times = Arc::new(rows.iter().map(|row| Some(row.1 * 1000)).collect::<TimestampMillisecondArray>()) as ArrayRef;
    let values = Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()) as ArrayRef;
    RecordBatch::try_from_iter([("k", keys), ("t", times), ("v", values)]).expect("equal lengths")
}

fn forest() -> RandomCutForest {
    let options = ForestOptions { trees: 5, sample_size: 10, time_decay: 50, ..Default::default() };
    RandomCutForest::try_new(options, &batch(&[]).schema()).expect("options in range")
}

fn partitioned(models_max: usize, idle_seconds: Option<i64>) -> Partitioned<RandomCutForest> {
    let options = PartitionOptions { keys: vec![0], models_max, idle_ms: idle_seconds.map(|seconds| (1, seconds * 1000)) };
    Partitioned::try_new(forest(), options, &batch(&[]).schema()).expect("options in range")
}

fn rows(count: usize) -> Vec<Row> {
    let mut random = Random::seeded(1, 7);
    let keys = [None, Some("a"), Some("b"), Some("c"), Some("d"), Some("")];
    (0..count as i64)
        .map(|row| {
            // Keys come and go: for a while one of them does not occur.
            let silent = (row / 40) as usize % keys.len();
            let key = (random.uniform() * keys.len() as f64) as usize;
            (keys[if key == silent { (key + 1) % keys.len() } else { key }], row, (random.uniform() * 9.0).round())
        })
        .collect()
}

/// The rules of the module's comment, row by row.
fn expected(rows: &[Row], models_max: usize, idle_seconds: Option<i64>) -> Vec<f64> {
    let mut models: HashMap<Option<&str>, (RandomCutForest, i64)> = HashMap::new();
    let score = |row: &Row| {
        let (key, now, _) = *row;
        models.retain(|_, (_, last)| idle_seconds.is_none_or(|idle| now - *last <= idle));
        if !models.contains_key(&key) && models.len() == models_max {
            let silent = models.iter().min_by_key(|(_, (_, last))| *last).map(|(key, _)| *key).expect("at least one");
            models.remove(&silent);
        }
        let (model, last) = models.entry(key).or_insert_with(|| (forest(), now));
        *last = now;
        model.update(&batch(&[*row])).expect("usable")[0].as_primitive::<Float64Type>().value(0)
    };
    rows.iter().map(score).collect()
}

#[test]
fn each_key_has_a_model_of_its_rows() {
    let rows = rows(360);
    for (models_max, idle_seconds) in [(10, None), (10, Some(30)), (3, None), (2, Some(3)), (1, None)] {
        let expected = expected(&rows, models_max, idle_seconds);
        for size in [1, 7, 360] {
            let mut model = partitioned(models_max, idle_seconds);
            let mut parts = Vec::new();
            for (number, rows) in rows.chunks(size).enumerate() {
                parts.push(model.update(&batch(rows)).expect("usable").remove(0));
                assert!(model.models() <= models_max);
                // A restart now and then.
                if number % 11 == 5 {
                    let saved = model.snapshot().expect("writable");
                    model = partitioned(models_max, idle_seconds);
                    model.restore(&saved).expect("saved by the same model");
                    assert!(model.snapshot().expect("writable") == saved);
                }
            }
            let whole = concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>()).expect("of one type");
            assert_eq!(whole.as_primitive::<Float64Type>().values(), &expected[..], "{models_max} {idle_seconds:?} {size}");
        }
    }
}

#[test]
fn idle_models_are_dropped_and_their_memory_with_them() {
    let mut model = partitioned(100, Some(60));
    let before = model.memory_size();
    model.update(&batch(&rows(100))).expect("usable");
    assert_eq!(model.models(), 6);
    assert!(model.memory_size() > before + 6 * 5 * 10 * 10, "{}", model.memory_size());
    model.update(&batch(&[(Some("z"), 10_000, 1.0)])).expect("usable");
    assert_eq!(model.models(), 1);
}

#[test]
fn an_empty_batch_gives_empty_columns() {
    let output = partitioned(2, None).update(&batch(&[])).expect("usable");
    assert_eq!((output.len(), output[0].len()), (1, 0));
}

#[test]
fn wrong_options_and_snapshots_are_refused() {
    let schema = batch(&[]).schema();
    let usual = PartitionOptions { keys: vec![0], models_max: 5, idle_ms: None };
    for (options, message) in [
        (PartitionOptions { keys: vec![], ..usual.clone() }, "PARTITION BY needs at least one column"),
        (PartitionOptions { keys: vec![3], ..usual.clone() }, "PARTITION BY needs at least one column"),
        (PartitionOptions { models_max: 0, ..usual.clone() }, "the number of models of PARTITION BY is 0"),
        (PartitionOptions { idle_ms: Some((1, 0)), ..usual.clone() }, "the idle time of PARTITION BY is 0 ms"),
        (PartitionOptions { idle_ms: Some((2, 5)), ..usual }, "needs a TIMESTAMP column"),
    ] {
        let error = Partitioned::try_new(forest(), options, &schema).err().expect("not allowed").to_string();
        assert!(error.contains(message), "{error}");
    }

    let mut model = partitioned(6, None);
    model.update(&batch(&rows(300))).expect("usable");
    let saved = model.snapshot().expect("writable");
    let error = partitioned(5, None).restore(&saved).expect_err("too many").to_string();
    assert!(error.contains("6 models were saved, at most 5 are allowed"), "{error}");
    let options = PartitionOptions { keys: vec![2], models_max: 6, idle_ms: None };
    let error = Partitioned::try_new(forest(), options, &schema).expect("in range").restore(&saved).expect_err("other keys");
    assert!(error.to_string().contains("keys of other types"), "{error}");
    assert!((0..saved.len()).step_by(97).all(|length| model.restore(&saved[..length]).is_err()));
    assert!(model.snapshot().expect("writable") == saved);
}
