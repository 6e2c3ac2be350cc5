//! Every file under `slt/`, run straight, through a restore after every step, and with sources in four splits.
//!
//! `SLT_UPDATE=1 cargo test -p kinesql-tests slt::every_file_straight` (`just slt-update`) rewrites the expected rows and messages;
//! read them before you commit. `SLT=kda/5 cargo test …` runs only the files whose names contain `kda/5`.

use std::path::Path;

use kinesql_tests::conformance::files;
use kinesql_tests::driver::{Driver, Mode};
use sqllogictest::{Runner, default_column_validator, default_normalizer, default_validator};

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
                let validators = (default_validator, default_normalizer, default_column_validator);
                return runner
                    .update_test_file(file, " ", validators.0, validators.1, validators.2)
                    .await
                    .map_err(|error| error.to_string());
            }
            runner.run_file_async(file).await.map_err(|error| error.display(false).to_string())
        });
        if let Err(error) = result {
            failures.push(format!("{name} ({mode:?}):\n{error}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} files failed\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
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
