//! Runs scripts as users do, with the connectors of this crate.

use std::io::Write as _;
use std::sync::Once;

use kinesql_connectors::register_all;
use kinesql_engine::{Engine, Job};

/// Starts a job.
pub async fn start(sql: &str) -> kinesql_engine::Result<Job> {
    use_test_credentials();
    Engine::builder().connectors(register_all).build()?.run_script(sql).await
}

/// Runs a job to its end.
pub async fn run(sql: &str) -> kinesql_engine::Result<()> {
    start(sql).await?.wait().await
}

/// A file of JSON lines: `{"ID": 0, "NAME": "n0"}`, … with `names` different names in turn.
pub fn rows(count: usize, names: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a file");
    for id in 0..count {
        writeln!(file, "{{\"ID\": {id}, \"NAME\": \"n{}\"}}", id % names).expect("written");
    }
    file.flush().expect("written");
    file
}

/// A script that sends the rows of a file to a sink with these options.
pub fn script(file: &tempfile::NamedTempFile, sink: &str) -> String {
    let path = file.path().display();
    format!(
        "CREATE SOURCE \"IN\" (\"ID\" INTEGER, \"NAME\" VARCHAR(16)) WITH (connector = 'file', path = '{path}');
         CREATE STREAM \"OUT\" (\"ID\" INTEGER, \"NAME\" VARCHAR(16));
         CREATE PUMP \"P\" AS INSERT INTO \"OUT\" SELECT STREAM \"ID\", \"NAME\" FROM \"IN\";
         CREATE SINK \"S\" FROM \"OUT\" WITH ({sink});"
    )
}

/// The connectors look for credentials where users keep them: here in the environment.
pub fn use_test_credentials() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, value) in
            [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
        {
            // SAFETY: every test comes here before it starts a job, and nothing else in this process reads these variables.
            #[allow(unsafe_code, reason = "the standard credential chain cannot be given credentials in another way")]
            unsafe {
                std::env::set_var(name, value);
            }
        }
    });
}
