//! `scripts/local-aws` and the example in `sql-examples-aws`, as docs/local-aws.md shows them: the built binary, the AWS CLI, and
//! real server processes.
//!
//! Where Node or Python are missing these tests say so and do nothing, except in CI, where that is a failure.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest wait for one line of output, on a busy machine.
const LINE_TIMEOUT: Duration = Duration::from_secs(120);

/// Puts in order, with a stock of each shard: `AMZN` is in the first of the two, `MSFT` in the second.
const RECORDS: &str = r#"[
  {"PartitionKey": "AMZN", "Data": "{\"TICKER_SYMBOL\":\"AMZN\",\"CHANGE\":4,\"PRICE\":104,\"EVENT_TIME\":\"2024-05-06 10:00:01.000\"}"},
  {"PartitionKey": "MSFT", "Data": "{\"TICKER_SYMBOL\":\"MSFT\",\"CHANGE\":2,\"PRICE\":102,\"EVENT_TIME\":\"2024-05-06 10:00:02.000\"}"},
  {"PartitionKey": "MSFT", "Data": "{\"TICKER_SYMBOL\":\"MSFT\",\"CHANGE\":0,\"PRICE\":102,\"EVENT_TIME\":\"2024-05-06 10:00:03.000\"}"}]"#;

/// What Firehose makes of the windows: objects of records without line breaks between them.
const WINDOWS: &str = "
  CREATE SOURCE windows (window_end TIMESTAMP, ticker VARCHAR(4), company VARCHAR(32), ticks INTEGER, low REAL, high REAL)
    WITH (connector = 's3', path = 's3://archive/', follow = true, poll_interval = '1s');
  SELECT STREAM * FROM windows";

#[test]
fn the_example_delivers_windows_alerts_and_errors() {
    let Some(mut command) = local_aws(&["--run"]) else { return };
    let output = command.stdin(Stdio::null()).output().expect("started");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{messages}");
    let expected = std::fs::read_to_string(workspace().join("sql-examples-aws/ticks/expected")).expect("readable");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{messages}");
}

#[test]
fn the_application_file_of_the_example_runs_and_ctrl_c_stops_every_server() {
    let Some(mut command) = local_aws(&["--free-ports"]) else { return };
    let mut servers = Running::start(&mut command);
    let environment = servers.find(|line| line.trim_start().strip_prefix("source ").map(PathBuf::from));
    servers.find(|line| line.contains("docs/local-aws.md").then_some(()));
    let in_environment = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-c", "source \"$0\" && exec \"$@\""]).arg(&environment).arg(program).args(arguments);
        command.current_dir(workspace());
        command
    };

    // Late rows apart, what arrives is the same whether the records are there before or come while it runs.
    let put = ["kinesis", "put-records", "--stream-name", "ticks", "--records", RECORDS];
    assert!(in_environment("aws", &put).stdout(Stdio::null()).status().expect("started").success());
    let application = Running::start(&mut in_environment(
        "kinesql",
        &[
            "run",
            "--app",
            "sql-examples-aws/ticks/application.json",
            "--source",
            "SOURCE_SQL_STREAM_001=kinesis:ticks?scan.start=trim_horizon&idle_timeout=10s",
            "--rowtime",
            "SOURCE_SQL_STREAM_001=EVENT_TIME",
        ],
    ));
    let alerts = Running::start(&mut in_environment("kinesql", &["run", "sql-examples-aws/ticks/watch.sql"]));
    let mut shown = [alerts.next(), alerts.next()];
    shown.sort();
    assert_eq!(
        shown,
        [
            r#"{"AT_TIME":"2024-05-06 10:00:01.000","TICKER":"AMZN","COMPANY":"Amazon","PRICE":104.0,"MOVED":4.0}"#,
            r#"{"AT_TIME":"2024-05-06 10:00:02.000","TICKER":"MSFT","COMPANY":"Microsoft","PRICE":102.0,"MOVED":2.0}"#,
        ]
    );
    let windows = Running::start(&mut in_environment("kinesql", &["-c", WINDOWS]));
    let mut shown = [windows.next(), windows.next()];
    shown.sort();
    assert_eq!(
        shown,
        [
            r#"{"WINDOW_END":"2024-05-06 10:00:10.000","TICKER":"AMZN","COMPANY":"Amazon","TICKS":1,"LOW":104.0,"HIGH":104.0}"#,
            r#"{"WINDOW_END":"2024-05-06 10:00:10.000","TICKER":"MSFT","COMPANY":"Microsoft","TICKS":2,"LOW":102.0,"HIGH":102.0}"#,
        ]
    );
    for mut running in [application, alerts, windows] {
        running.ctrl_c();
    }

    let ports = ports(&environment);
    assert!(ports.len() == 2 && ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()), "{ports:?}");
    let processes = other_groups(servers.child.id());
    assert!(processes.len() >= 2 || cfg!(not(target_os = "linux")), "{processes:?}");
    servers.ctrl_c();
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "a server still listens at port {port}");
    }
    for process in processes {
        assert!(!Path::new(&format!("/proc/{process}")).exists(), "process {process} is left");
    }
    assert!(!environment.exists(), "{} is left", environment.display());
}

/// The file of the service and the script hold the same application.
#[test]
fn the_code_of_the_application_file_is_that_of_the_script() {
    let folder = workspace().join("sql-examples-aws/ticks");
    let output = Command::new(env!("CARGO_BIN_EXE_kinesql")).arg("import").arg(folder.join("application.json")).output();
    let imported = String::from_utf8(output.expect("started").stdout).expect("text");
    let script = std::fs::read_to_string(folder.join("app.sql")).expect("readable");
    let (_, code) = script.split_once("-- ---- The application, as it ran in the service ----\n").expect("a heading");
    let (code, _) = code.split_once("-- ---- Outputs ----\n").expect("a heading");
    assert!(code.contains("CREATE OR REPLACE PUMP") && imported.contains(code.trim()), "{imported}");
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The script; None, with a message, on a machine without Node or Python that is not CI.
fn local_aws(arguments: &[&str]) -> Option<Command> {
    let status = Command::new(workspace().join("scripts/test-servers")).status();
    if !status.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "scripts/test-servers failed");
        eprintln!("skipped: the test servers cannot be installed (they need Node 20 and Python 3.11)");
        return None;
    }
    let mut command = Command::new(workspace().join("scripts/local-aws"));
    command.args(arguments).env("KINESQL", env!("CARGO_BIN_EXE_kinesql"));
    Some(command)
}

/// A process that runs until it is interrupted; it ends when this process does, however that dies.
struct Running {
    child: Child,
    lines: Lines,
    messages: Lines,
    _lifeline: ChildStdin,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        // The process takes the place of this shell and has its id. What stays behind waits for the end of standard input.
        // Tests that run in the background ignore Ctrl-C, and so would all that they start: `env` of GNU takes that back.
        let mut shell = Command::new("bash");
        shell.args([
            "-c",
            r#"exec 3<&0 < /dev/null; (trap "" INT; cat <&3; kill $$) > /dev/null 2>&1 & exec 3<&-
               reset=(env --default-signal=INT); "${reset[@]}" true 2> /dev/null || reset=(); exec "${reset[@]}" "$@""#,
            "bash",
        ]);
        shell.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            shell.env(name, value.expect("set"));
        }
        // As a terminal does it, so that Ctrl-C reaches all processes of the command.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().expect("started");
        let lines = Lines::of(child.stdout.take().expect("piped"));
        let messages = Lines::of(child.stderr.take().expect("piped"));
        Self { lines, messages, _lifeline: child.stdin.take().expect("piped"), child }
    }

    /// The next line that it writes.
    fn next(&self) -> String {
        match self.lines.0.recv_timeout(LINE_TIMEOUT) {
            Ok(line) => line,
            Err(error) => panic!("{error}: {:?}", self.messages.0.try_iter().collect::<Vec<_>>()),
        }
    }

    /// Skips lines until one is found.
    fn find<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.next()) {
                return found;
            }
        }
    }

    /// Interrupts the process and waits until it has ended well.
    fn ctrl_c(&mut self) {
        let group = format!("-{}", self.child.id());
        assert!(Command::new("kill").args(["-INT", "--", &group]).status().expect("started").success());
        // Its output ends with it.
        self.lines.rest();
        let messages = self.messages.rest();
        let status = self.child.wait().expect("ended");
        assert!(status.success(), "{status}: {messages:?}");
    }
}

/// The lines that a process writes, read as they come.
struct Lines(Receiver<String>);

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// All lines up to the end of the output.
    fn rest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.0.recv_timeout(LINE_TIMEOUT) {
                Ok(line) => lines.push(line),
                Err(error) => {
                    assert!(error == std::sync::mpsc::RecvTimeoutError::Disconnected, "still running: {lines:?}");
                    return lines;
                }
            }
        }
    }
}

/// The ports of the endpoints in the environment that the script has written.
fn ports(environment: &Path) -> Vec<u16> {
    let text = std::fs::read_to_string(environment).expect("readable");
    text.lines().filter_map(|line| line.rsplit_once("=http://127.0.0.1:")?.1.parse().ok()).collect()
}

/// The processes below this one that are not of its group, where the system tells: each server has a group of its own.
fn other_groups(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![process];
    while let Some(parent) = open.pop() {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        open.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        // Behind the name, which may hold anything: state, parent, group.
        let status = std::fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
        let group = status.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(2)?.parse().ok());
        found.extend(group.filter(|group: &u32| *group != process).map(|_| parent));
    }
    found
}
