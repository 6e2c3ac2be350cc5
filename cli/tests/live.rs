//! The built binary while it runs: rows that come before the input ends, Ctrl-C, and what stops the rest of a run.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

mod support;

use support::Folder;

/// Longer than anything here takes, on a busy machine too: only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time between two looks at something that has no event.
const LOOK: Duration = Duration::from_millis(10);

impl Folder {
    /// Lines of a file that may not be there yet; only those that have ended.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesql"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).spawn().expect("started");
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines }
    }
}

/// A running program, killed with the test.
struct Running {
    child: Child,
    /// What it writes to standard output; ends with it.
    lines: Receiver<String>,
}

impl Running {
    /// The next line of standard output.
    fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                let _ = self.child.kill();
                panic!("{error}: {}", self.said())
            }
        }
    }

    /// Sends what Ctrl-C sends.
    fn interrupt(&self) {
        interrupt(&self.child);
    }

    /// Waits until `is_so`, which the program brings about.
    fn until(&mut self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            if is_so() {
                return;
            }
            if let Err(RecvTimeoutError::Disconnected) = self.lines.recv_timeout(LOOK) {
                panic!("it ended before {what}: {}", self.said());
            }
        }
        let _ = self.child.kill();
        panic!("not in time: {what}: {}", self.said())
    }

    /// Waits for its end; how it ended, and what it wrote to standard error.
    fn end(mut self) -> (ExitStatus, String) {
        drop(self.child.stdin.take());
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            match self.lines.recv_timeout(LOOK) {
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().expect("ended");
                    return (status, self.said());
                }
            }
        }
        let _ = self.child.kill();
        panic!("it does not end: {}", self.said())
    }

    /// Standard error, of a program that has ended.
    fn said(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut text));
        stderr.map_or_else(String::new, |_| text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn interrupt(child: &Child) {
    send("-INT", child);
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

/// A stream that passes on what comes from `S`.
const PASS: &str = "CREATE STREAM o (a INTEGER); CREATE PUMP p AS INSERT INTO o SELECT STREAM \"a\" FROM s;";

#[test]
fn rows_appear_while_standard_input_is_still_open() {
    let folder = Folder::new();
    folder.write("pass.sql", PASS);
    let mut running = folder.start(&["run", "pass.sql", "--source", "s=-", "--sink", "o=-", "-q"]);
    let mut input = running.child.stdin.take().expect("piped");
    for row in 1..=3 {
        writeln!(input, "{{\"a\":{row}}}").expect("open");
        assert_eq!(running.line(), format!("{{\"A\":{row}}}"));
    }
    drop(input);
    let (status, said) = running.end();
    assert!(status.success(), "{said}");
}

#[cfg(unix)]
#[test]
fn rows_that_are_appended_to_a_followed_file_appear_in_a_file() {
    let folder = Folder::new();
    folder.write("pass.sql", PASS);
    folder.write("in.jsonl", "{\"a\":1}\n");
    let mut running = folder.start(&["run", "pass.sql", "--source", "s=file:in.jsonl?follow=true", "--sink", "o=out.jsonl"]);
    running.until("the first row", || folder.lines("out.jsonl") == ["{\"A\":1}"]);
    let appended = std::fs::OpenOptions::new().append(true).open(folder.path("in.jsonl"));
    appended.expect("there").write_all(b"{\"a\":2}\n").expect("written");
    running.until("the second row", || folder.lines("out.jsonl") == ["{\"A\":1}", "{\"A\":2}"]);
    running.interrupt();
    let (status, said) = running.end();
    assert!(status.success() && said.contains("stopping: processing what was read"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_hangup_refreshes_the_reference_tables() {
    let folder = Folder::new();
    folder.write(
        "app.sql",
        "CREATE TABLE t (k INTEGER, name VARCHAR(8)) WITH (connector = 'file', path = 't.csv');
         CREATE SOURCE s (\"a\" INTEGER) WITH (connector = 'file', path = 'in.jsonl', follow = true);
         CREATE STREAM o (a INTEGER, name VARCHAR(8));
         CREATE PUMP p AS INSERT INTO o SELECT STREAM s.\"a\", t.name FROM s JOIN t ON s.\"a\" = t.k;
         CREATE SINK k FROM o WITH (connector = 'file', path = 'out.jsonl');",
    );
    folder.write("t.csv", "1,one\n");
    folder.write("in.jsonl", "{\"a\":1}\n");
    let mut running = folder.start(&["run", "app.sql", "--no-progress"]);
    let first = "{\"A\":1,\"NAME\":\"one\"}";
    running.until("the first row", || folder.lines("out.jsonl") == [first]);
    std::fs::rename(folder.write("t.new", "1,uno\n2,dos\n"), folder.path("t.csv")).expect("renamed");
    let sent = Command::new("kill").args(["-HUP", &running.child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
    // Until then rows are joined with the old version.
    running.until("a row of the new version", || {
        let appended = std::fs::OpenOptions::new().append(true).open(folder.path("in.jsonl"));
        appended.expect("there").write_all(b"{\"a\":1}\n").expect("written");
        folder.lines("out.jsonl").last().is_some_and(|line| line.contains("uno"))
    });
    running.interrupt();
    let (status, said) = running.end();
    assert!(status.success() && said.contains("table T is refreshed: 2 rows"), "{said}");
}

#[cfg(unix)]
#[test]
fn the_first_interrupt_saves_a_checkpoint_from_which_the_next_run_goes_on() {
    let folder = Folder::new();
    folder.write(
        "app.sql",
        "CREATE SOURCE t WITH (connector = 'generator', rate = 500); CREATE STREAM o (ticker VARCHAR(8), price REAL);
         CREATE PUMP p AS INSERT INTO o SELECT STREAM ticker_symbol, price FROM t;
         CREATE SINK k FROM o WITH (connector = 'file', path = 'out.jsonl');",
    );
    let mut before: Vec<String> = Vec::new();
    for run in 0..2 {
        let mut running =
            folder.start(&["run", "app.sql", "--checkpoint-dir", "checkpoints", "--checkpoint-interval", "1h", "--no-progress"]);
        running.until("more rows", || folder.lines("out.jsonl").len() > before.len() + 5);
        running.interrupt();
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("then a last checkpoint") && said.contains("done in"), "{said}");
        assert_eq!(said.contains("going on from checkpoint 1"), run == 1, "{said}");
        let after = folder.lines("out.jsonl");
        assert!(after.starts_with(&before) && after.len() > before.len(), "{} rows, then {}", before.len(), after.len());
        before = after;
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_query() {
    let folder = Folder::new();
    let mut running =
        folder.start(&["-c", "SELECT STREAM * FROM t", "--source", "t=generator:ticks?rate=100", "--output", "json"]);
    assert!(running.line().contains("TICKER_SYMBOL"));
    running.interrupt();
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(0), "{said}");
}

/// A pipe holds 64 KiB: once it is nearly full the program waits for room. To be kept, or the pipe closes.
#[cfg(target_os = "linux")]
fn wait_for_a_full_pipe(child: &mut Child) -> std::process::ChildStdout {
    let output = child.stdout.take().expect("piped");
    while rustix::io::ioctl_fionread(&output).expect("a pipe") < 60_000 {
        assert!(child.try_wait().expect("asked").is_none(), "it ended");
        std::thread::yield_now();
    }
    output
}

/// Two signals that come at once count as one, so it may take more than two.
#[cfg(target_os = "linux")]
fn interrupt_until_it_ends(child: &mut Child) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("asked") {
            return status;
        }
        interrupt(child);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_second_interrupt_aborts_a_query_whose_rows_nobody_reads() {
    let folder = Folder::new();
    let query = ["-c", "SELECT STREAM * FROM t", "--source", "t=generator:ticks?rate=0", "--output", "json"];
    let mut child = folder.command(&query).spawn().expect("started");
    // A batch of rows is longer than what a pipe holds.
    let _output = wait_for_a_full_pipe(&mut child);
    assert_eq!(interrupt_until_it_ends(&mut child).code(), Some(130));
}

/// Two queries of a table: one that answers at once, and one that computes for minutes.
fn long_query(folder: &Folder) -> &'static str {
    folder.write("n.csv", (0..30_000).map(|n| format!("{n}\n")).collect::<String>());
    "CREATE TABLE n (n BIGINT) WITH (connector = 'file', path = 'n.csv');
     SELECT COUNT(*) AS c FROM n; SELECT SUM(a.n * b.n) AS s FROM n AS a, n AS b;"
}

#[cfg(unix)]
#[test]
fn the_first_signal_ends_a_query_of_tables_that_is_computing() {
    let folder = Folder::new();
    let sql = long_query(&folder);
    folder.write("long.sql", sql);
    for (arguments, signal) in [(["-c", sql], "-INT"), (["run", "long.sql"], "-INT"), (["-c", sql], "-TERM")] {
        let mut running = folder.start(&arguments);
        assert_eq!(running.line(), "{\"C\":30000}");
        send(signal, &running.child);
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(0), "{arguments:?} {signal}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_second_signal_ends_the_process_whatever_it_is_doing() {
    let folder = Folder::new();
    folder.write("n.csv", "1\n");
    // More text than a pipe holds, written to one that nobody reads.
    let explain = format!("EXPLAIN SELECT n FROM n WHERE n < 7 AND CAST(n AS VARCHAR(10)) <> '{}';", "x".repeat(200));
    let table = "CREATE TABLE n (n BIGINT) WITH (connector = 'file', path = 'n.csv');";
    folder.write("app.sql", table.to_owned() + &explain.repeat(600));
    let mut child = folder.command(&["run", "app.sql"]).spawn().expect("started");
    let _output = wait_for_a_full_pipe(&mut child);
    assert_eq!(interrupt_until_it_ends(&mut child).code(), Some(130));
}

/// A source without end, and a sink that takes its rows.
fn endless(sink: &str) -> String {
    format!(
        "CREATE SOURCE t WITH (connector = 'generator', rate = 1000); CREATE STREAM o (price REAL);
         CREATE PUMP p AS INSERT INTO o SELECT STREAM price FROM t;
         CREATE SINK k FROM o WITH (connector = 'file', path = '{sink}');"
    )
}

#[test]
fn a_query_that_fails_stops_the_sinks() {
    let folder = Folder::new();
    folder.write("damaged.json.gz", "not gzip");
    let query = "CREATE SOURCE g (a INTEGER) WITH (connector = 'file', path = 'damaged.json.gz'); SELECT STREAM a FROM g;";
    folder.write("app.sql", endless("out.jsonl") + query);
    let (status, said) = folder.start(&["run", "app.sql"]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("failed after") && said.contains("its content is damaged"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_sink_that_fails_ends_the_queries() {
    let folder = Folder::new();
    folder.write("app.sql", endless("/dev/full") + "SELECT STREAM price FROM t WHERE price > 1000000;");
    let (status, said) = folder.start(&["run", "app.sql"]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("failed after") && said.contains("the disk is full"), "{said}");
}

#[test]
fn a_check_needs_the_data_of_inferred_columns_only() {
    let folder = Folder::new();
    let sink = "CREATE SINK k FROM s WITH (connector = 'stdout');";
    folder.write("declared.sql", format!("CREATE SOURCE s (a INTEGER) WITH (connector = 'file', path = 'none.json'); {sink}"));
    folder.write("inferred.sql", format!("CREATE SOURCE s WITH (connector = 'file', path = 'none.json'); {sink}"));
    folder.write("damaged.sql", format!("CREATE SOURCE s WITH (connector = 'file', path = 'damaged.json.gz'); {sink}"));
    folder.write("damaged.json.gz", "not gzip");
    for (command, script, code, message) in [
        ("check", "declared.sql", 0, ""),
        ("run", "declared.sql", 2, "source \"S\": cannot read 'none.json'"),
        ("check", "inferred.sql", 2, "cannot read 'none.json'"),
        // Nothing is wrong with the script.
        ("check", "damaged.sql", 1, "its content is damaged"),
        ("run", "damaged.sql", 1, "its content is damaged"),
    ] {
        let (status, said) = folder.start(&[command, script]).end();
        assert_eq!(status.code(), Some(code), "{command} {script}: {said}");
        assert!(said.contains(message), "{command} {script}: {said}");
    }
}
