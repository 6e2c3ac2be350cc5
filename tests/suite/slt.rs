//! Every file under `slt/`, run straight, through a restore after every step, and with sources in four splits.

use std::path::{Path, PathBuf};

use kinesql_tests::driver::{Driver, Mode};
use sqllogictest::Runner;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of .slt files") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Runs every file; all failures are shown, not only the first.
fn run(mode: Mode) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let files = files(&folder);
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
            runner.run_file_async(file).await
        });
        if let Err(error) = result {
            failures.push(format!("{name} ({mode:?}):\n{}", error.display(false)));
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
