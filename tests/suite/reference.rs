//! `docs/sql-reference.md`: its examples are right, and those that are queries give rows.

use std::path::Path;
use std::process::Command;

use futures::StreamExt;
use kinesql_engine::diagnostic::Script;
use kinesql_engine::{Engine, Outcome};

use crate::stream::wait;

/// The contents of the code blocks of one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    page.split(&opening).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

#[test]
fn every_example_runs_with_the_statements_at_the_top() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql-reference.md");
    let page = std::fs::read_to_string(page).expect("readable");
    let folder = tempfile::tempdir().expect("a folder");
    for files in blocks(&page, "sh") {
        let made = Command::new("sh").args(["-e", "-c", &files]).current_dir(folder.path()).status().expect("a shell");
        assert!(made.success(), "{files}");
    }
    let examples = blocks(&page, "sql");
    let (setup, examples) = examples.split_first().expect("examples");
    assert!(examples.len() > 10, "{} examples", examples.len());
    // Fewer rows tell as much here.
    let setup = setup.replace("rows = 20000", "rows = 500");
    for example in examples {
        let text = format!("{setup}{example}").replace("path = '", &format!("path = '{}/", folder.path().display()));
        let engine = Engine::builder().connectors(kinesql_connectors::register_all).build().expect("an engine");
        wait(async {
            let outcomes = engine.execute(&Script::new("example.sql", text)).await;
            let outcomes = outcomes.unwrap_or_else(|error| panic!("{example}\n{error}"));
            for outcome in outcomes {
                let Outcome::Query(mut rows) = outcome else { continue };
                let mut count = 0;
                while let Some(batch) = rows.next().await {
                    count += batch.unwrap_or_else(|error| panic!("{example}\n{error}")).num_rows();
                }
                assert!(count > 0, "no rows:\n{example}");
            }
        });
    }
}
