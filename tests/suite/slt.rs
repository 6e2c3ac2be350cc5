//! Every file under `slt/`, run straight, through a restore after every step, and with sources in four splits.
//!
//! `SLT_UPDATE=1 cargo test -p kinesql-tests slt::every_file_straight` (`just slt-update`) rewrites the expected rows and messages;
//! read them before you commit. It leaves a file alone where an error would become a success, or the other way round. `SLT=kda/5 cargo test …` runs only the files whose names contain `kda/5`.

use std::path::Path;

use kinesql_tests::conformance::files;
use kinesql_tests::driver::{Driver, Mode};
use sqllogictest::{
    DefaultColumnType, QueryExpect, Record, Runner, StatementExpect, default_column_validator, default_normalizer,
    default_validator, parse,
};

/// Runs every file; all failures are shown, not only the first.
fn run(mode: Mode) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let wanted = std::env::var("SLT").unwrap_or_default();
    let mut files = files(&folder, "slt").expect("the folder of .slt files");
    files.retain(|file| file.display().to_string().contains(&wanted));
    assert!(!files.is_empty(), "there are .slt files");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut failures = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&folder).expect("inside").display().to_string();
        // A file about one split says so: its rows depend on which came first.
        if mode == Mode::Parallel && std::fs::read_to_string(file).expect("readable").contains("# one split") {
            continue;
        }
        let result = runtime.block_on(async {
            let mut runner = Runner::new(|| async { Driver::new(mode) });
            if mode == Mode::Straight && std::env::var_os("SLT_UPDATE").is_some() {
                let before = std::fs::read_to_string(file).expect("readable");
                let validators = (default_validator, default_normalizer, default_column_validator);
                let updated = runner.update_test_file(file, " ", validators.0, validators.1, validators.2).await;
                updated.map_err(|error| error.to_string())?;
                let after = std::fs::read_to_string(file).expect("readable");
                return same_outcomes(&before, &after).inspect_err(|_| std::fs::write(file, &before).expect("writable"));
            }
            runner.run_file_async(file).await.map_err(|error| error.display(false).to_string())
        });
        if let Err(error) = result {
            failures.push(format!("{name} ({mode:?}):\n{error}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} files failed\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
}

/// What an update may not do silently: make an error of what worked, or the other way round.
fn same_outcomes(before: &str, after: &str) -> Result<(), String> {
    let [before, after] = [before, after].map(outcomes);
    let changed: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before.is_error != after.is_error)
        .map(|(Outcome { line, .. }, Outcome { is_error, record, .. })| match is_error {
            true => format!("line {line} worked and is an error now:\n{record}"),
            false => format!("line {line} was an error and works now:\n{record}"),
        })
        .collect();
    if changed.is_empty() && before.len() == after.len() {
        return Ok(());
    }
    let what = "the file is left as it was; if this is meant, first change \"ok\" and \"error\" in it by hand";
    Err(format!("{what}\n\n{}", changed.join("\n")))
}

/// How a record of a file ends.
struct Outcome {
    line: u32,
    is_error: bool,
    record: String,
}

fn outcomes(text: &str) -> Vec<Outcome> {
    let records = parse::<DefaultColumnType>(text).expect("a file of records");
    let outcome = |record| {
        let (line, is_error) = match &record {
            Record::Statement { loc, expected, .. } => (loc.line(), matches!(expected, StatementExpect::Error(_))),
            Record::Query { loc, expected, .. } => (loc.line(), matches!(expected, QueryExpect::Error(_))),
            _ => return None,
        };
        Some(Outcome { line, is_error, record: record.to_string() })
    };
    records.into_iter().filter_map(outcome).collect()
}

#[test]
fn an_update_does_not_turn_an_error_into_a_success_or_back() {
    let (ok, error) = ("statement ok\nSELECT 1\n\n", "statement error\nSELECT 1\n----\nwrong\n\n\n");
    assert_eq!(same_outcomes(&format!("{ok}{error}"), &format!("{ok}{}", error.replace("wrong", "worse"))), Ok(()));
    let refused = same_outcomes(&format!("{ok}{error}"), &format!("{ok}{ok}")).expect_err("an error is gone");
    assert!(refused.contains("line 4 was an error and works now"), "{refused}");
    let refused = same_outcomes(&format!("{ok}{ok}"), &format!("{error}{ok}")).expect_err("an error more");
    assert!(refused.contains("line 1 worked and is an error now") && refused.contains("wrong"), "{refused}");
}

#[test]
fn every_file_straight() {
    run(Mode::Straight);
}

#[test]
fn every_file_through_a_restore_after_every_step() {
    run(Mode::Restore);
}

#[test]
fn every_file_with_sources_in_four_splits() {
    run(Mode::Parallel);
}
