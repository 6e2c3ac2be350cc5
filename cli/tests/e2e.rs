//! The built binary as a user runs it: files in, files and text out, exit codes, kill and resume.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod support;

use support::Folder;

impl Folder {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("readable")
    }

    fn kinesql(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("started")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesql"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An application as it ran in the service: the source and the output are configured elsewhere.
const KDA: &str = r#"
-- Ticks per minute.
CREATE OR REPLACE STREAM "DESTINATION_SQL_STREAM" ("TICKER" VARCHAR(4), "N" INTEGER, "AVG_PRICE" DOUBLE);
CREATE OR REPLACE PUMP "STREAM_PUMP" AS
  INSERT INTO "DESTINATION_SQL_STREAM"
    SELECT STREAM "TICKER", COUNT(*), AVG("PRICE")
    FROM "SOURCE_SQL_STREAM_001"
    GROUP BY "TICKER", STEP("SOURCE_SQL_STREAM_001".ROWTIME BY INTERVAL '60' SECOND);
"#;

fn ticks(rows: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let time = chrono::DateTime::from_timestamp_millis(1_704_067_200_000 + 20 * row as i64).expect("in range");
        let time = time.format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let (ticker, price) = (row % 7, (row % 113) as f64 * 1.37 + 0.01);
        text += &format!("{{\"EVENT_TIME\":\"{time}\",\"TICKER\":\"T{ticker}\",\"PRICE\":{price:.2}}}\n");
    }
    text
}

const BOUND: [&str; 6] = [
    "--source",
    "SOURCE_SQL_STREAM_001=ticks.jsonl",
    "--rowtime",
    "SOURCE_SQL_STREAM_001=EVENT_TIME",
    "--sink",
    "DESTINATION_SQL_STREAM=-",
];

#[test]
fn an_unchanged_application_runs_with_connectors_from_the_command_line() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    folder.write("ticks.jsonl", ticks(3_100));
    let output = folder.kinesql(&[&["run", "app.sql"], &BOUND[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 14, "7 tickers in 2 minutes");
    assert!(lines[0].starts_with(r#"{"TICKER":"T0","N":429,"AVG_PRICE":"#), "{}", lines[0]);
}

#[test]
fn the_names_in_a_csv_file_are_no_row_and_its_first_row_is_one() {
    let folder = Folder::new();
    folder.write("in.csv", "a,b\n1,x\n2,y\n");
    for source in ["T=in.csv?csv.header=true", "T=file:in.csv?csv.header=true&chunk_bytes=4"] {
        let output = folder.kinesql(&["-c", "SELECT STREAM * FROM T", "--source", source, "--output", "json"]);
        assert_eq!(
            text(&output.stdout).lines().collect::<Vec<_>>(),
            [r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#],
            "{}",
            text(&output.stderr)
        );
    }
    let table = "CREATE TABLE t WITH (connector = 'file', path = 'in.csv', csv.header = true); SELECT * FROM t";
    let output = folder.kinesql(&["-c", table, "--output", "json"]);
    assert_eq!(
        text(&output.stdout).lines().collect::<Vec<_>>(),
        [r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#],
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_source_on_the_command_line_takes_the_place_of_the_scripts() {
    let folder = Folder::new();
    let script = r#"
        CREATE SOURCE "TICKS" ("TICKER" VARCHAR(4), "PRICE" DOUBLE) WITH (connector = 'generator', rows = 1000000000);
        CREATE SINK "K" FROM "TICKS" WITH (connector = 'stdout', format = 'csv');
    "#;
    folder.write("app.sql", script);
    folder.write("ticks.jsonl", ticks(2));
    let output = folder.kinesql(&["run", "app.sql", "--source", "TICKS=ticks.jsonl"]);
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), ["T0,0.01", "T1,1.38"], "{}", text(&output.stderr));
}

#[test]
fn a_sink_that_nothing_can_reach_ends_the_run() {
    let folder = Folder::new();
    let script = r#"
        CREATE SOURCE "T" WITH (connector = 'generator', rows = 10);
        CREATE STREAM "O" ("TICKER" VARCHAR(4));
        CREATE PUMP "P" STOPPED AS INSERT INTO "O" SELECT STREAM TICKER_SYMBOL FROM "T";
        CREATE SINK "K" FROM "O" WITH (connector = 'stdout');
    "#;
    folder.write("app.sql", script);
    let output = folder.kinesql(&["run", "app.sql"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

/// Answers requests of the `http` sink: 503 until `well`, then as a receiver does.
fn receiver(well: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/in", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.expect("a connection"));
            let (mut length, mut id) = (0, String::new());
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                match line.split_once(": ").unwrap_or_default() {
                    (name, value) if name.eq_ignore_ascii_case("content-length") => length = value.parse().expect("a number"),
                    (name, value) if name.eq_ignore_ascii_case("x-amz-firehose-request-id") => id = value.to_owned(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let (status, body) = match well.load(Ordering::SeqCst) {
                true => ("200 OK", format!("{{\"requestId\":\"{id}\",\"timestamp\":1}}")),
                false => ("503 Service Unavailable", "{\"errorMessage\":\"under repair\"}".to_owned()),
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            // A client that asks with HEAD reads no body.
            let _ = reader.into_inner().write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn what_a_job_waits_for_is_said_with_the_reason() {
    let folder = Folder::new();
    let well = Arc::new(AtomicBool::new(false));
    let url = receiver(Arc::clone(&well));
    folder.write("in.jsonl", "{\"A\":1}\n");
    let script = format!(
        "CREATE SOURCE \"IN\" (\"A\" INTEGER) WITH (connector = 'file', path = 'in.jsonl');
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'http', url = '{url}', linger = '0ms', retry.max_delay = '100ms');"
    );
    folder.write("app.sql", script);
    let mut child = folder.command(&["run", "app.sql"]).stderr(Stdio::piped()).spawn().expect("started");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for line in lines {
        seen.push(line);
        if seen.iter().any(|line| line.starts_with("sink OUT is stuck")) {
            well.store(true, Ordering::SeqCst);
        }
    }
    assert!(child.wait().expect("ended").success(), "{seen:#?}");
    let stuck =
        format!("sink OUT is stuck: POST of {url}: 503 Service Unavailable: under repair; it is tried again until it succeeds");
    assert_eq!(seen.iter().filter(|line| **line == stuck).count(), 1, "{seen:#?}");
}

#[cfg(unix)]
#[test]
fn a_stop_says_what_it_waits_for() {
    let folder = Folder::new();
    let url = receiver(Arc::new(AtomicBool::new(false)));
    let script = format!(
        "CREATE SOURCE \"IN\" WITH (connector = 'generator', kind = 'ticks', rate = 100);
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'http', url = '{url}', linger = '0ms', retry.max_delay = '100ms');"
    );
    folder.write("app.sql", script);
    let mut child = folder.command(&["run", "app.sql"]).stderr(Stdio::piped()).spawn().expect("started");
    let interrupt = |pid: u32| {
        let sent = Command::new("kill").args(["-INT", &pid.to_string()]).status().expect("kill");
        assert!(sent.success());
    };
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for line in lines {
        if line.starts_with("sink OUT is stuck") || line.starts_with("stopping: waiting") {
            interrupt(child.id());
        }
        seen.push(line);
    }
    assert_eq!(child.wait().expect("ended").code(), Some(130), "{seen:#?}");
    let waiting = seen.iter().find(|line| line.starts_with("stopping: waiting for sink OUT, stuck for "));
    let expected = format!(": POST of {url}: 503 Service Unavailable: under repair (Ctrl-C again aborts)");
    assert!(waiting.is_some_and(|line| line.ends_with(&expected)), "{seen:#?}");
}

#[test]
fn what_opens_a_door_is_not_repeated_in_an_error() {
    let folder = Folder::new();
    folder.write("app.sql", "CREATE STREAM \"OUT\" (\"A\" INTEGER);");
    for sink in [
        "OUT=http:http://127.0.0.1:1/x?access_key=HUSH&nonsense=1",
        "OUT=http:http://me:HUSH@127.0.0.1:1/x",
        "OUT=http:http://me:HUSH@:1/x?access_key=HUSH",
        "OUT=http://127.0.0.1:1/x?api-key=HUSH#a",
        "NONE=http:http://127.0.0.1:1/x?access_key=HUSH",
        "OUT=htpp:http://127.0.0.1:1/x?access_key=HUSH",
        "OUT=http:http://127.0.0.1:1/x?access_key=HUSH%",
    ] {
        let output = folder.kinesql(&["run", "app.sql", "--sink", sink]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{sink}: {said}");
        assert!(said.starts_with("error: ") && !said.contains("HUSH"), "{sink}: {said}");
    }
}

#[test]
fn a_key_may_come_from_the_environment() {
    let folder = Folder::new();
    folder.write("app.sql", "CREATE STREAM \"OUT\" (\"A\" INTEGER);");
    let output = folder.kinesql(&["run", "app.sql", "--sink", "OUT=http:http://127.0.0.1:1/x?access_key=env:NO_SUCH_KEY"]);
    let said = text(&output.stderr);
    assert!(said.contains("option \"access_key\": the environment variable NO_SUCH_KEY cannot be read"), "{said}");
}

#[test]
fn an_http_sink_to_which_nobody_listens_is_named_at_the_start() {
    let folder = Folder::new();
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    folder.write("in.jsonl", "{\"A\":1}\n");
    let script = format!(
        "CREATE SOURCE \"IN\" (\"A\" INTEGER) WITH (connector = 'file', path = 'in.jsonl');
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'http', url = 'http://{closed}/in', retry.max_elapsed = '100ms');"
    );
    folder.write("app.sql", script);
    let output = folder.kinesql(&["run", "app.sql"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with(&format!("error: POST of http://{closed}/in: ")) && said.contains("onnection refused"), "{said}");
    assert!(said.contains("\nhint: Check option \"url\", or start the receiver first"), "{said}");
}

#[test]
fn a_dropped_table_is_gone() {
    let folder = Folder::new();
    folder.write("t.csv", "1\n");
    let table =
        "CREATE TABLE t (a INTEGER) WITH (connector = 'file', path = 't.csv'); SELECT * FROM t; DROP TABLE t; SELECT * FROM t";
    let output = folder.kinesql(&["-c", table]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("table \"T\" does not exist"), "{}", text(&output.stderr));
}

#[test]
fn rows_of_a_file_may_end_with_a_text() {
    let folder = Folder::new();
    folder.write("in.csv", "1,a||2,\"b|\n||3,c");
    let script = |last: &str| {
        format!(
            "CREATE SOURCE s (n INTEGER, t VARCHAR(8)) WITH (connector = 'file', path = 'in.csv', csv.row_delimiter = '{last}');
             CREATE SINK o FROM s WITH (connector = 'file', path = 'out.jsonl');"
        )
    };
    folder.write("app.sql", script("||"));
    let output = folder.kinesql(&["run", "app.sql"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(folder.read("out.jsonl"), "{\"N\":1,\"T\":\"a\"}\n{\"N\":2,\"T\":\"\\\"b|\\n\"}\n{\"N\":3,\"T\":\"c\"}\n");
    folder.write("app.sql", script(&"|".repeat(17)));
    let output = folder.kinesql(&["run", "app.sql"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("expected a character, or a text of at most 16 bytes"), "{}", text(&output.stderr));
}

#[test]
fn a_query_of_a_stream_without_stream_says_so() {
    let folder = Folder::new();
    folder.write("app.sql", "CREATE STREAM s (a INTEGER); SELECT * FROM s; SELECT * FROM nowhere;");
    for command in ["run", "check"] {
        let output = folder.kinesql(&[command, "app.sql"]);
        assert_eq!(output.status.code(), Some(2));
        let message = text(&output.stderr) + &text(&output.stdout);
        assert!(message.contains("app.sql:1:44") && message.contains("Write SELECT STREAM"), "{message}");
        assert!(message.contains("table \"NOWHERE\" does not exist"), "{message}");
    }
}

#[test]
fn a_wrong_script_exits_with_2_and_shows_the_place() {
    let folder = Folder::new();
    folder.write("app.sql", KDA.replace("COUNT(*)", "COUNTT(*)"));
    folder.write("ticks.jsonl", ticks(10));
    for command in ["run", "check"] {
        let output = folder.kinesql(&[&[command, "app.sql"], &BOUND[..]].concat());
        assert_eq!(output.status.code(), Some(2));
        let message = text(&output.stderr) + &text(&output.stdout);
        assert!(message.contains("app.sql:6:29") && message.contains("Did you mean COUNT?"), "{message}");
    }
}

#[test]
fn a_missing_file_is_named_and_exits_with_2() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    let output = folder.kinesql(&[&["run", "app.sql"], &BOUND[..]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("ticks.jsonl"), "{}", text(&output.stderr));
    let output = folder.kinesql(&["run", "no-such.sql"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no-such.sql"), "{}", text(&output.stderr));
}

#[test]
fn a_script_comes_from_standard_input_too() {
    let folder = Folder::new();
    let script = r#"
        CREATE SOURCE "TICKS" WITH (connector = 'generator', rows = 50, rate = 0, start = '2024-01-01 00:00:00');
        CREATE STREAM "OUT" ("symbol" VARCHAR(8));
        CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM TICKER_SYMBOL FROM "TICKS";
        CREATE SINK "K" FROM "OUT" WITH (connector = 'stdout', format = 'csv');
    "#;
    let mut child =
        folder.command(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 50);
}

#[test]
fn bad_records_go_to_error_stream_and_the_others_go_on() {
    let folder = Folder::new();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(50_000_000));
    let mut data: Vec<u8> =
        b"{\"a\":1}\r\n\n{\"a\":\"x\"}\nnot json\n{\"b\":2}\n{\"a\":null,\"c\":{\"d\":[1]}}\n\xff\xfe\n".to_vec();
    data.extend(long.as_bytes());
    data.extend(b"\n{\"a\":7}\n{\"a\":8");
    folder.write("in.json", data);
    folder.write(
        "app.sql",
        r#"
        CREATE SOURCE "S" ("a" INTEGER) WITH (connector = 'file', path = 'in.json');
        CREATE STREAM "OUT" ("a" INTEGER);
        CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM "a" FROM "S";
        CREATE STREAM "FAILED" ("name" VARCHAR(32), "message" VARCHAR(4096));
        CREATE PUMP "Q" AS INSERT INTO "FAILED" SELECT STREAM ERROR_NAME, MESSAGE FROM error_stream;
        CREATE SINK "K" FROM "OUT" WITH (connector = 'file', path = 'out.json');
        CREATE SINK "E" FROM "FAILED" WITH (connector = 'file', path = 'errors.json');
        "#,
    );
    let output = folder.kinesql(&["run", "app.sql"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(folder.read("out.json"), "{\"a\":1}\n{\"a\":null}\n{\"a\":null}\n{\"a\":7}\n");
    let errors = folder.read("errors.json");
    let names: Vec<_> = errors.lines().filter_map(|line| line.split('"').nth(3)).collect();
    assert_eq!(names.iter().filter(|name| **name == "PARSE_ERROR").count(), 4, "{errors}");
    assert_eq!(names.iter().filter(|name| **name == "COERCION_ERROR").count(), 1, "{errors}");
    assert!(errors.contains("in.json, byte "), "{errors}");
}

#[test]
fn an_empty_file_is_a_run_without_rows() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    folder.write("ticks.jsonl", "");
    folder.write("source.sql", r#"CREATE SOURCE "SOURCE_SQL_STREAM_001" ("TICKER" VARCHAR(4), "PRICE" DOUBLE) WITH (connector = 'file', path = 'ticks.jsonl');"#);
    let output = folder.kinesql(&["run", "source.sql", "app.sql", "--sink", "DESTINATION_SQL_STREAM=-"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
}

fn manifests(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("manifest-")).count()
}

fn newest_manifest(folder: &Folder) -> Option<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder.path("checkpoints")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("manifest-")).max()
}

/// Kills a run again and again, once it has taken a new checkpoint; the output of the last, complete run is to the byte
/// that of a run that nobody killed.
#[test]
fn kill_9_and_resume_gives_the_same_bytes() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    folder.write("ticks.jsonl", ticks(400_000));
    let run = |out: &str, checkpoints: Option<&str>| {
        let sink = format!("DESTINATION_SQL_STREAM={out}");
        let mut arguments = vec!["run", "app.sql", BOUND[0], BOUND[1], BOUND[2], BOUND[3], "--sink", &sink];
        if let Some(checkpoints) = checkpoints {
            arguments.extend(["--checkpoint-dir", checkpoints, "--checkpoint-interval", "20ms"]);
        }
        folder.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started")
    };
    assert!(run("straight.json", None).wait().expect("ended").success());
    let mut kills = 0;
    let output = loop {
        let before = manifests(&folder.path("checkpoints"));
        let newest_before = newest_manifest(&folder);
        let mut child = run("resumed.json", Some("checkpoints"));
        let status = loop {
            if let Some(status) = child.try_wait().expect("asked") {
                break Some(status);
            }
            if kills < 5 && (manifests(&folder.path("checkpoints")) > before || newest_manifest(&folder) != newest_before) {
                child.kill().expect("killed");
                child.wait().expect("ended");
                break None;
            }
            std::thread::yield_now();
        };
        match status {
            None => kills += 1,
            Some(status) => {
                let output = child.wait_with_output().expect("ended");
                assert!(status.success(), "{}", text(&output.stderr));
                break output;
            }
        }
    };
    assert!(kills > 0, "the run was over before its first checkpoint: {}", text(&output.stderr));
    assert!(folder.read("straight.json") == folder.read("resumed.json"), "outputs differ after {kills} kills");
    assert_eq!(folder.read("resumed.json").lines().count(), 7 * 134);
}

#[cfg(unix)]
#[test]
fn a_second_run_on_the_same_checkpoints_is_refused_and_the_first_goes_on() {
    let folder = Folder::new();
    let script = "CREATE SOURCE \"IN\" WITH (connector = 'generator', kind = 'ticks', rate = 100);
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'file', path = 'out.json', format = 'json');";
    folder.write("app.sql", script);
    let arguments = ["run", "app.sql", "--checkpoint-dir", "checkpoints", "--checkpoint-interval", "50ms"];
    let mut first = folder.command(&arguments).stderr(Stdio::piped()).spawn().expect("started");
    // It has saved something, and shown rows: the generator may still be silent at the first checkpoint.
    let has_rows = || std::fs::metadata(folder.path("out.json")).is_ok_and(|file| file.len() > 0);
    while manifests(&folder.path("checkpoints")) == 0 || !has_rows() {
        assert!(first.try_wait().expect("asked").is_none(), "it is over before its first rows");
        std::thread::yield_now();
    }
    let second = folder.kinesql(&arguments);
    let told = text(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert!(told.contains("checkpoint folder checkpoints is that of another running job"), "{told}");
    let interrupt = |child: &std::process::Child| {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    };
    interrupt(&first);
    let output = first.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows = folder.read("out.json");
    assert!(!rows.is_empty() && rows.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{rows}");
    let before = newest_manifest(&folder);
    let third = folder.command(&arguments).stderr(Stdio::piped()).spawn().expect("started");
    while newest_manifest(&folder) == before {
        std::thread::yield_now();
    }
    interrupt(&third);
    assert!(third.wait_with_output().expect("ended").status.success(), "the folder is free again");
}

#[test]
fn a_checkpoint_of_another_script_is_refused() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    folder.write("ticks.jsonl", ticks(100));
    let arguments = [&["run", "app.sql", "--checkpoint-dir", "checkpoints"], &BOUND[..]].concat();
    assert!(folder.kinesql(&arguments).status.success());
    folder.write("app.sql", KDA.replace("'60'", "'30'"));
    let output = folder.kinesql(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("pump STREAM_PUMP has changed"), "{}", text(&output.stderr));
}

#[test]
fn params_are_replaced_and_unknown_ones_named() {
    let folder = Folder::new();
    folder.write("app.sql", KDA.replace("'60'", "'${seconds}'"));
    folder.write("ticks.jsonl", ticks(100));
    let output = folder.kinesql(&[&["run", "app.sql", "--param", "seconds=1"], &BOUND[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 14);
    let output = folder.kinesql(&[&["run", "app.sql"], &BOUND[..]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("seconds"), "{}", text(&output.stderr));
}

#[test]
fn switches_are_set_for_all_statements_and_wrong_ones_refused() {
    let folder = Folder::new();
    let query = "SELECT TSDIFF(TIMESTAMP '2024-01-01 00:00:01', TIMESTAMP '2024-01-01 00:00:00') AS d";
    for (switch, expected) in [("second_minus_first", "{\"d\":-1000}\n"), ("first_minus_second", "{\"d\":1000}\n")] {
        let set = format!("tsdiff_order={switch}");
        let output = folder.kinesql(&["-c", query, "--set", &set, "--output", "json"]);
        assert_eq!(text(&output.stdout).to_lowercase(), expected, "{}", text(&output.stderr));
    }
    let output = folder.kinesql(&["-c", query, "--set", "tsdif_order=first_minus_second"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Did you mean \"tsdiff_order\"?"), "{}", text(&output.stderr));
}

#[test]
fn a_sink_never_overwrites_what_a_source_reads_or_another_sink_writes() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    folder.write("ticks.jsonl", ticks(100));
    let before = folder.read("ticks.jsonl");
    let output = folder.kinesql(&["run", "app.sql", BOUND[0], BOUND[1], "--sink", "DESTINATION_SQL_STREAM=./ticks.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("which source \"SOURCE_SQL_STREAM_001\" reads"), "{said}");
    assert_eq!(folder.read("ticks.jsonl"), before);

    let sink = ["--sink", "DESTINATION_SQL_STREAM=out.json"];
    let output = folder.kinesql(&[&["run", "app.sql", BOUND[0], BOUND[1]], &sink[..], &sink[..]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("both write"), "{}", text(&output.stderr));
}

#[test]
fn a_query_says_that_it_takes_no_checkpoints() {
    let folder = Folder::new();
    folder.write("app.sql", "SELECT STREAM * FROM \"SOURCE_SQL_STREAM_001\"");
    folder.write("ticks.jsonl", ticks(3));
    let output = folder.kinesql(&["run", "app.sql", BOUND[0], BOUND[1], "--checkpoint-dir", "checkpoints"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("--checkpoint-dir is not used"), "{}", text(&output.stderr));
}

/// An application as `DescribeApplication` gave it, with a stream and a delivery stream that no test has.
fn described(code: &str) -> String {
    let code = code.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        r#"{{ "ApplicationDetail": {{
  "ApplicationName": "ticks", "ApplicationCode": "{code}",
  "InputDescriptions": [ {{ "InputId": "1.1", "NamePrefix": "SOURCE_SQL_STREAM",
      "KinesisStreamsInputDescription": {{ "ResourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/ticks" }},
      "InputSchema": {{ "RecordFormat": {{ "RecordFormatType": "JSON" }},
        "RecordColumns": [ {{ "Name": "TICKER", "Mapping": "$.t.name", "SqlType": "VARCHAR(4)" }},
          {{ "Name": "PRICE", "Mapping": "$.price", "SqlType": "DOUBLE" }}, {{ "Name": "AT", "Mapping": "$.at", "SqlType": "TIMESTAMP" }} ] }} }} ],
  "OutputDescriptions": [ {{ "Name": "DESTINATION_SQL_STREAM",
      "KinesisFirehoseOutputDescription": {{ "ResourceARN": "arn:aws:firehose:eu-west-1:123456789012:deliverystream/out" }},
      "DestinationSchema": {{ "RecordFormatType": "JSON" }} }} ],
  "ReferenceDataSourceDescriptions": [ {{ "TableName": "names",
      "S3ReferenceDataSourceDescription": {{ "BucketARN": "arn:aws:s3:::tables", "FileKey": "names.csv" }},
      "ReferenceSchema": {{ "RecordFormat": {{ "RecordFormatType": "CSV" }},
        "RecordColumns": [ {{ "Name": "id", "SqlType": "VARCHAR(4)" }}, {{ "Name": "name", "SqlType": "VARCHAR(16)" }} ] }} }} ] }} }}"#
    )
}

const ENRICH: &str = r#"CREATE OR REPLACE STREAM "DESTINATION_SQL_STREAM" ("name" VARCHAR(16), "n" INTEGER, "pattern" VARCHAR(8));
CREATE OR REPLACE PUMP "STREAM_PUMP" AS
  INSERT INTO "DESTINATION_SQL_STREAM"
    SELECT STREAM r."name", COUNT(*), '${x}'
    FROM "SOURCE_SQL_STREAM_001" AS s JOIN "names" AS r ON s.TICKER = r."id"
    GROUP BY r."name", STEP(s.ROWTIME BY INTERVAL '60' SECOND);
"#;

#[test]
fn an_application_file_runs_with_local_bindings() {
    let folder = Folder::new();
    folder.write("app.json", described(ENRICH));
    folder.write("names.csv", "A,alpha\nB,beta\n");
    folder.write(
        "ticks.jsonl",
        "{\"t\":{\"name\":\"A\"},\"price\":1,\"at\":\"2024-01-01 00:00:01\"}\n\
         {\"t\":{\"name\":\"B\"},\"price\":2,\"at\":\"2024-01-01 00:00:02\"}\n\
         {\"t\":{\"name\":\"A\"},\"price\":3,\"at\":\"2024-01-01 00:01:02\"}\n",
    );
    let output = folder.kinesql(&[
        "run",
        "--app",
        "app.json",
        "--source",
        "SOURCE_SQL_STREAM_001=ticks.jsonl",
        "--rowtime",
        "SOURCE_SQL_STREAM_001=AT",
        "--source",
        "names=names.csv",
        "--sink",
        "DESTINATION_SQL_STREAM=-",
        "--quiet",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    lines[..2].sort();
    assert_eq!(
        lines,
        [
            r#"{"name":"alpha","n":1,"pattern":"${x}"}"#,
            r#"{"name":"beta","n":1,"pattern":"${x}"}"#,
            r#"{"name":"alpha","n":1,"pattern":"${x}"}"#,
        ]
    );
}

#[test]
fn errors_in_the_code_of_an_application_file_have_the_lines_of_the_code() {
    let folder = Folder::new();
    folder.write(
        "app.json",
        described("CREATE STREAM \"S\" (\"a\" INTEGER);\nCREATE PUMP p AS INSERT INTO \"T\" SELECT STREAM 1 FROM \"S\";\n"),
    );
    folder.write("names.csv", "A,alpha\n");
    folder.write("ticks.jsonl", "");
    let output = folder.kinesql(&[
        "check",
        "--app",
        "app.json",
        "--source",
        "SOURCE_SQL_STREAM_001=ticks.jsonl",
        "--source",
        "names=names.csv",
        "--sink",
        "DESTINATION_SQL_STREAM=-",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(" --> app.json (code):2:30\n"), "{}", text(&output.stderr));
}

#[test]
fn an_imported_application_is_one_script() {
    let folder = Folder::new();
    folder.write("app.json", described(ENRICH));
    let output = folder.kinesql(&["import", "app.json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let script = text(&output.stdout);
    assert!(
        script.contains("CREATE SOURCE \"SOURCE_SQL_STREAM_001\" (\n    \"TICKER\" VARCHAR(4) PATH '$.t.name',\n"),
        "{script}"
    );
    assert!(script.contains(&ENRICH.trim_end().replace("${", "$${")), "{script}");
    assert!(
        script.contains("CREATE SINK \"DESTINATION_SQL_STREAM to firehose out\" FROM \"DESTINATION_SQL_STREAM\""),
        "{script}"
    );
    let output = folder.kinesql(&["import", "gone.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("error: cannot read application file 'gone.json'"));
}

#[test]
fn a_discovered_source_can_be_created_as_it_is_proposed() {
    let folder = Folder::new();
    folder.write(
        "ticks.jsonl",
        "{\"TICKER\":\"AMZN\",\"quote\":{\"price\":1.5,\"n\":7},\"seen\":\"2024-01-01T00:00:00Z\"}\noops\n",
    );
    let output = folder.kinesql(&["discover", "ticks.jsonl", "--name", "ticks"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let statement = text(&output.stdout);
    assert_eq!(
        statement,
        "-- \"seen\" looks like a time: declare it TIMESTAMP to compute with it.\n\
         CREATE SOURCE \"ticks\" (\n    \"TICKER\" VARCHAR(4),\n    \"quote_price\" DOUBLE PATH '$.quote.price',\n    \
         \"quote_n\" INTEGER PATH '$.quote.n',\n    \"seen\" VARCHAR(64))\n  \
         WITH (connector = 'file', path = 'ticks.jsonl', format = 'json');\n"
    );
    let shown = text(&output.stderr);
    assert!(shown.contains("AMZN") && shown.contains("1 record refused") && shown.contains("oops"), "{shown}");
    folder.write("app.sql", format!("{statement}SELECT STREAM \"quote_n\" + 1 AS \"n\" FROM \"ticks\";"));
    let output = folder.kinesql(&["run", "app.sql", "--quiet"]);
    assert_eq!(text(&output.stdout), "{\"n\":8}\n", "{}", text(&output.stderr));
}

#[test]
fn a_table_of_objects_is_read_as_a_whole() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("names")).expect("created");
    folder.write("names/a.csv", "1\n");
    let path = folder.path("names").display().to_string();
    for (option, value) in [("start_after", "b"), ("start_time", "2999-01-01 00:00:00")] {
        let sql = format!(
            "CREATE TABLE names (a INTEGER) WITH (connector = 's3', path = 'file://{path}/', format = 'csv', {option} = '{value}');\n\
             SELECT a FROM names;"
        );
        folder.write("app.sql", sql);
        let output = folder.kinesql(&["run", "app.sql"]);
        let said = text(&output.stderr);
        let expected = format!("error: option \"{option}\" has no meaning in CREATE TABLE: a table is read as a whole\n");
        assert!(said.starts_with(&expected) && output.status.code() == Some(2), "{said}");
    }
}

#[test]
fn a_table_that_cannot_be_read_is_one_problem() {
    let folder = Folder::new();
    let table = "CREATE TABLE names (a INTEGER) WITH (connector = 'file', path = 'gone.csv');";
    folder.write("app.sql", format!("{table}\nSELECT a FROM names;"));
    let output = folder.kinesql(&["run", "app.sql"]);
    let said = text(&output.stderr);
    assert!(said.contains("gone.csv") && !said.contains("does not exist\n"), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

/// Files often end without a line break, and standard input is a file here.
#[test]
fn the_last_record_counts_though_no_line_break_ends_it() {
    let folder = Folder::new();
    folder.write("ab.jsonl", "{\"a\":1}\n{\"b\":2}");
    let output = folder.kinesql(&["discover", "ab.jsonl"]);
    assert!(text(&output.stdout).contains("    \"b\" INTEGER"), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stderr).contains("2 rows of 2"), "{}", text(&output.stderr));
    folder.write("app.sql", "SELECT STREAM \"b\" FROM t;");
    let output = folder.kinesql(&["run", "app.sql", "--source", "t=ab.jsonl", "--quiet"]);
    assert_eq!(text(&output.stdout), "{\"b\":null}\n{\"b\":2}\n", "{}", text(&output.stderr));
}

#[test]
fn the_names_of_a_header_are_no_sample_row() {
    let folder = Folder::new();
    folder.write("x.csv", "id,\"the\nname\"\n1,one\n2,two\n");
    let output = folder.kinesql(&["discover", "x.csv?csv.header=true"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("    \"id\" INTEGER"), "{}", text(&output.stdout));
    let shown = text(&output.stderr);
    assert!(shown.contains("2 rows of 2") && shown.contains("one") && !shown.contains("refused"), "{shown}");
}

/// kda-sql-reference.md §6.7: a document may hold many rows.
#[test]
fn the_rows_of_a_row_path_are_discovered() {
    let folder = Folder::new();
    folder.write("x.jsonl", "{\"rows\":[{\"a\":1,\"b\":{\"c\":\"x\"}},{\"a\":2}],\"d\":1}\n");
    let output = folder.kinesql(&["discover", "x.jsonl?json.row_path=$.rows[0:]", "--name", "t"]);
    let statement = text(&output.stdout);
    let expected = "CREATE SOURCE \"t\" (\n    \"a\" INTEGER,\n    \"b_c\" VARCHAR(4) PATH '$.b.c')\n  \
                    WITH (connector = 'file', path = 'x.jsonl', json.row_path = '$.rows[0:]', format = 'json');\n";
    assert_eq!(statement, expected, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("2 rows of 2"), "{}", text(&output.stderr));
    folder.write("app.sql", format!("{statement}SELECT STREAM \"a\", \"b_c\" FROM \"t\";"));
    let output = folder.kinesql(&["run", "app.sql", "--quiet"]);
    assert_eq!(text(&output.stdout), "{\"a\":1,\"b_c\":\"x\"}\n{\"a\":2,\"b_c\":null}\n", "{}", text(&output.stderr));
    // However long the document is.
    let rows: Vec<_> = (0..3_000).map(|n| format!("{{\"a\":{n},\"text\":\"some text of a row\"}}")).collect();
    folder.write("long.jsonl", format!("{{\"rows\":[{}]}}\n", rows.join(",")));
    let output = folder.kinesql(&["discover", "long.jsonl?json.row_path=$.rows[0:]"]);
    assert!(text(&output.stderr).contains("rows of 3000"), "{}", text(&output.stderr));
}

#[test]
fn a_source_without_records_is_said_to_have_none() {
    let folder = Folder::new();
    folder.write("x.jsonl", "\n");
    let output = folder.kinesql(&["discover", "x.jsonl"]);
    assert!(
        text(&output.stderr).contains("no column can be found: the source has no records\nhint: "),
        "{}",
        text(&output.stderr)
    );
    // What is too long to be read is refused all the same.
    folder.write("y.jsonl", format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n", "x".repeat(3_000)));
    let output = folder.kinesql(&["discover", "y.jsonl?max_record_bytes=2kb"]);
    assert!(text(&output.stderr).contains("1 record refused"), "{}", text(&output.stderr));
}

#[test]
fn the_format_and_the_delimiter_of_a_source_are_found_out() {
    let folder = Folder::new();
    folder.write("sample", "1|AMZN|1.5\n2|A,B|2.5\n");
    let output = folder.kinesql(&["discover", "sample", "--name", "ticks"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "CREATE SOURCE \"ticks\" (\n    \"COL_1\" INTEGER,\n    \"COL_2\" VARCHAR(4),\n    \"COL_3\" DOUBLE)\n  \
         WITH (connector = 'file', path = 'sample', format = 'csv', csv.delimiter = '|');\n"
    );
    folder.write("sample.csv", "1\t2\n3\t4\n");
    let output = folder.kinesql(&["discover", "sample.csv"]);
    let statement = text(&output.stdout);
    assert!(statement.contains("path = 'sample.csv', csv.delimiter = '\\t', format = 'csv'"), "{statement}");
    folder.write("app.sql", format!("{statement}SELECT STREAM COL_1 + COL_2 AS \"sum\" FROM SOURCE_SQL_STREAM_001;"));
    let output = folder.kinesql(&["run", "app.sql", "--quiet"]);
    assert_eq!(text(&output.stdout), "{\"sum\":3}\n{\"sum\":7}\n", "{}", text(&output.stderr));
}

/// Standard input can be read once only: a look at it is the only one.
#[test]
fn records_of_standard_input_are_discovered() {
    let folder = Folder::new();
    for (input, expected) in [
        ("1|AMZN\n2|B\n", "WITH (connector = 'stdin', format = 'csv', csv.delimiter = '|');"),
        ("{\"A\":1}\n", "WITH (connector = 'stdin', format = 'json');"),
    ] {
        let mut child = folder
            .command(&["discover", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("ended");
        assert!(text(&output.stdout).contains(expected), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn a_table_that_cannot_be_read_is_the_only_error_of_its_script() {
    let folder = Folder::new();
    folder.write("rows.jsonl", "{\"A\":1}\n");
    folder.write(
        "app.sql",
        "CREATE SOURCE S (A INTEGER) WITH (connector = 'file', path = 'rows.jsonl');\n\
         CREATE TABLE T (A INTEGER) WITH (connector = 'file', path = 'gone.csv');\n\
         SELECT STREAM S.A FROM S JOIN T ON S.A = T.A;",
    );
    let output = folder.kinesql(&["check", "app.sql"]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("gone.csv") && message.contains("1 error") && !message.contains("does not exist\n -->"),
        "{message}"
    );
}

/// What the service knew of each record is NULL, or the time of reading, where another source stands in.
#[test]
fn metadata_columns_exist_also_where_a_file_stands_in_for_a_stream() {
    let folder = Folder::new();
    let code = r#"CREATE STREAM "DESTINATION_SQL_STREAM" ("ticker" VARCHAR(4), "n" INTEGER, "key" VARCHAR(8));
CREATE PUMP "P" AS INSERT INTO "DESTINATION_SQL_STREAM"
SELECT STREAM s.TICKER, COUNT(s.APPROXIMATE_ARRIVAL_TIME), MAX(s.PARTITION_KEY) FROM "SOURCE_SQL_STREAM_001" AS s
GROUP BY s.TICKER, STEP(s.ROWTIME BY INTERVAL '60' SECOND), STEP(s.APPROXIMATE_ARRIVAL_TIME BY INTERVAL '1' DAY);
"#;
    folder.write("app.json", described(code));
    folder.write("code.sql", code);
    folder.write("names.csv", "A,alpha\n");
    folder.write("ticks.jsonl", "{\"t\":{\"name\":\"A\"},\"at\":\"2024-01-01 00:00:01\"}\n{\"TICKER\":\"A\"}\n");
    let bound = ["--source", "SOURCE_SQL_STREAM_001=ticks.jsonl", "--sink", "DESTINATION_SQL_STREAM=-", "--quiet"];
    let names = ["--app", "app.json", "--source", "names=names.csv"];
    let output = folder.kinesql(&[&["run"], &names[..], &bound[..]].concat());
    assert_eq!(
        text(&output.stdout),
        "{\"ticker\":\"A\",\"n\":1,\"key\":null}\n{\"ticker\":null,\"n\":1,\"key\":null}\n",
        "{}",
        text(&output.stderr)
    );
    // Code without any CREATE SOURCE, whose columns are found in the file.
    let output = folder.kinesql(&[&["run", "code.sql"], &bound[..]].concat());
    assert!(text(&output.stdout).contains("{\"ticker\":\"A\",\"n\":1,\"key\":null}\n"), "{}", text(&output.stderr));
    folder.write(
        "app.sql",
        "CREATE SOURCE S (A INTEGER) WITH (connector = 'file', path = 'ticks.jsonl');\nSELECT STREAM SHARD_ID FROM S;",
    );
    let output = folder.kinesql(&["run", "app.sql"]);
    assert_eq!(output.status.code(), Some(2), "a file has no shards: {}", text(&output.stdout));
}

#[test]
fn an_imported_script_takes_local_bindings_as_its_application_does() {
    let folder = Folder::new();
    let csv = "\"CSV\", \"MappingParameters\": { \"CSVMappingParameters\": { \"RecordRowDelimiter\": \"\\n\", \
               \"RecordColumnDelimiter\": \"::\" } }";
    folder.write("app.json", described(ENRICH).replacen("\"CSV\"", csv, 1));
    folder.write("names.txt", "A::alpha\nB::beta\n");
    folder.write("ticks.jsonl", "{\"t\":{\"name\":\"A\"},\"at\":\"2024-01-01 00:00:01\"}\n");
    let script = text(&folder.kinesql(&["import", "app.json"]).stdout);
    let (script, _) = script.split_once("CREATE SINK").expect("an output");
    folder.write("app.sql", script);
    let bound = [
        "--source",
        "SOURCE_SQL_STREAM_001=ticks.jsonl",
        "--rowtime",
        "SOURCE_SQL_STREAM_001=AT",
        "--source",
        "names=names.txt",
        "--sink",
        "DESTINATION_SQL_STREAM=-",
        "--quiet",
    ];
    let output = folder.kinesql(&[&["run", "app.sql"], &bound[..]].concat());
    assert_eq!(text(&output.stdout), "{\"name\":\"alpha\",\"n\":1,\"pattern\":\"${x}\"}\n", "{}", text(&output.stderr));
}

#[test]
fn an_imported_script_prints_what_its_application_prints() {
    let folder = Folder::new();
    folder.write("names.csv", "A,alpha\n");
    folder.write("ticks.jsonl", "{\"t\":{\"name\":\"A\"},\"price\":1,\"at\":\"2024-01-01 00:00:01\"}\n");
    let select = "CREATE STREAM \"DESTINATION_SQL_STREAM\" AS SELECT STREAM \"TICKER\", '${a} $${b} $${' AS \"t\" FROM \"SOURCE_SQL_STREAM_001\"";
    // Code as consoles kept it: the last statement may end with the text, or with a comment.
    for code in [select.to_owned(), format!("{select}\n-- the end ${{c}}"), format!("{select} ; /* the end */")] {
        folder.write("app.json", described(&code));
        let bound = ["--source", "SOURCE_SQL_STREAM_001=ticks.jsonl", "--source", "names=names.csv"];
        let bound = [&bound[..], &["--sink", "DESTINATION_SQL_STREAM=-", "--quiet"]].concat();
        let run = folder.kinesql(&[&["run", "--app", "app.json"], &bound[..]].concat());
        assert_eq!(text(&run.stdout), "{\"TICKER\":\"A\",\"t\":\"${a} $${b} $${\"}\n", "{}", text(&run.stderr));
        let script = text(&folder.kinesql(&["import", "app.json"]).stdout);
        let (inputs, outputs) = script.split_once("CREATE SINK").expect("an output");
        assert!(outputs.contains("delivery_stream"), "{outputs}");
        folder.write("app.sql", inputs);
        let imported = folder.kinesql(&[&["run", "app.sql"], &bound[..]].concat());
        assert_eq!(text(&imported.stdout), text(&run.stdout), "{code}: {}", text(&imported.stderr));
        let checked = folder.kinesql(&[&["check", "app.sql"], &bound[..bound.len() - 1]].concat());
        assert!(checked.status.success(), "{}", text(&checked.stderr));
    }
}

#[test]
fn an_application_runs_on_generated_rows() {
    let folder = Folder::new();
    let code = "CREATE STREAM \"DESTINATION_SQL_STREAM\" AS SELECT STREAM PRICE FROM SOURCE_SQL_STREAM_001;";
    let app = described(code).replace("\"TICKER\"", "\"TICKER_SYMBOL\"").replace("\"DOUBLE\"", "\"REAL\"");
    folder.write("app.json", app.replace("\"AT\"", "\"CHANGE\"").replace("\"TIMESTAMP\"", "\"REAL\""));
    folder.write("names.csv", "A,alpha\n");
    let output = folder.kinesql(&[
        "run",
        "--app",
        "app.json",
        "--source",
        "SOURCE_SQL_STREAM_001=generator:ticks?rows=3&rate=0",
        "--source",
        "names=names.csv",
        "--sink",
        "DESTINATION_SQL_STREAM=-",
        "--quiet",
    ]);
    assert_eq!(text(&output.stdout).lines().count(), 3, "{}", text(&output.stderr));
}

/// kda-sql-reference.md §6.7: a wrong value loses its whole row. By default that goes for columns that somebody reads.
#[test]
fn a_wrong_value_in_a_column_that_nobody_reads_is_an_error_if_all_are_decoded() {
    let folder = Folder::new();
    folder.write("rows.jsonl", "{\"A\":1,\"B\":2}\n{\"A\":3,\"B\":\"x\"}\n");
    folder.write(
        "app.sql",
        "CREATE SOURCE S (A INTEGER, B INTEGER) WITH (connector = 'file', path = 'rows.jsonl');\n\
         CREATE STREAM OUT_A AS SELECT STREAM A FROM S;",
    );
    let run = ["run", "app.sql", "--sink", "OUT_A=-", "--sink", "error_stream=errors.jsonl", "--quiet"];
    let output = folder.kinesql(&run);
    assert_eq!(text(&output.stdout), "{\"A\":1}\n{\"A\":3}\n", "{}", text(&output.stderr));
    assert_eq!(folder.read("errors.jsonl"), "");
    std::fs::remove_file(folder.path("errors.jsonl")).expect("removed");
    let output = folder.kinesql(&[&run[..], &["--set", "decode_all_columns=true"]].concat());
    assert_eq!(text(&output.stdout), "{\"A\":1}\n", "{}", text(&output.stderr));
    assert!(folder.read("errors.jsonl").contains("COERCION_ERROR"), "{}", folder.read("errors.jsonl"));
}

#[test]
fn a_worker_needs_a_stream_that_it_can_share() {
    let folder = Folder::new();
    folder.write("rows.jsonl", "{\"A\":1}\n");
    let kinesis = |options: &str| {
        format!("CREATE SOURCE S (A INTEGER) WITH (connector = 'kinesis', stream = 's', region = 'eu-west-1'{options});")
    };
    for (script, worker, expected) in [
        (
            "CREATE SOURCE S (A INTEGER) WITH (connector = 'file', path = 'rows.jsonl');".to_owned(),
            "2/5",
            "error: --worker 2/5: no source reads a Kinesis stream",
        ),
        (kinesis(", worker = '1/2'"), "2/5", "source \"S\" has worker = '1/2' already"),
        (kinesis(""), "6/5", "option \"worker\" of connector 'kinesis' cannot be '6/5'"),
    ] {
        folder.write("app.sql", script);
        let output = folder.kinesql(&["check", "app.sql", "--worker", worker]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    folder.write("app.sql", kinesis(""));
    let output = folder.kinesql(&["check", "app.sql", "--worker", "2/5"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn elements_of_an_array_become_rows() {
    let folder = Folder::new();
    folder.write(
        "orders.jsonl",
        "{\"id\":1,\"items\":[{\"sku\":\"a\",\"n\":2},{\"sku\":\"b\",\"n\":3}]}\n{\"id\":2,\"items\":[]}\n",
    );
    folder.write(
        "app.sql",
        "CREATE SOURCE orders (\"id\" INTEGER, \"sku\" VARCHAR(4) PATH '$.items[0:].sku', \"n\" INTEGER PATH '$.items[0:].n')\n\
         WITH (connector = 'file', path = 'orders.jsonl');\n\
         SELECT STREAM \"id\", \"sku\", \"n\" FROM orders;",
    );
    let expected = "{\"id\":1,\"sku\":\"a\",\"n\":2}\n{\"id\":1,\"sku\":\"b\",\"n\":3}\n{\"id\":2,\"sku\":null,\"n\":null}\n";
    let output = folder.kinesql(&["run", "app.sql", "--quiet"]);
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    folder.write(
        "app.sql",
        "CREATE SOURCE items (\"sku\" VARCHAR(4), \"n\" INTEGER, \"id\" INTEGER PATH '$.items[0:].id')\n\
         WITH (connector = 'file', path = 'orders.jsonl', json.row_path = '$.items[0:]');\n\
         SELECT STREAM SUM(\"n\") AS \"n\" FROM items GROUP BY FLOOR(items.ROWTIME TO YEAR);",
    );
    let output = folder.kinesql(&["run", "app.sql", "--quiet"]);
    assert_eq!(text(&output.stdout), "{\"n\":5}\n", "{}", text(&output.stderr));
}

/// A binding that does nothing would leave the script with the wrong rows, and nobody would know.
#[test]
fn a_source_that_is_mistyped_or_given_twice_is_refused() {
    let folder = Folder::new();
    folder.write("kda.sql", KDA);
    folder.write(
        "own.sql",
        "CREATE SOURCE SRC (A INTEGER) WITH (connector = 'file', path = 'a.jsonl');\nSELECT STREAM A FROM SRC;",
    );
    folder.write("a.jsonl", "{\"A\":1}\n");
    folder.write("b.jsonl", "{\"A\":2}\n");
    for (arguments, expected) in [
        (
            &["run", "kda.sql", "--source", "SOURCE_SQL_STREAM_01=a.jsonl"][..],
            "error: --source SOURCE_SQL_STREAM_01=a.jsonl: nothing reads a stream \"SOURCE_SQL_STREAM_01\"\n\
             hint: Did you mean \"SOURCE_SQL_STREAM_001\"?\n",
        ),
        (
            &["run", "own.sql", "--source", "SRCE=b.jsonl"],
            "error: --source SRCE=b.jsonl: nothing reads a stream \"SRCE\"\nhint: Did you mean \"SRC\"?\n",
        ),
        (
            &["run", "own.sql", "--source", "SRC=a.jsonl", "--source", "src=b.jsonl"],
            "error: --source src=b.jsonl: \"SRC\" has one already, --source SRC=a.jsonl\nhint: Leave one of the two out.\n",
        ),
        (
            &["run", "own.sql", "--source", "SRC=a.jsonl", "--rowtime", "SRC=T", "--rowtime", "SRC=A"],
            "error: --rowtime SRC=A: \"SRC\" has one already, --rowtime SRC=T\nhint: Leave one of the two out.\n",
        ),
    ] {
        let output = folder.kinesql(arguments);
        assert_eq!((text(&output.stderr).as_str(), text(&output.stdout).as_str()), (expected, ""), "{arguments:?}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let output = folder.kinesql(&["run", "own.sql", "--source", "SRC=b.jsonl", "-q"]);
    assert_eq!(text(&output.stdout), "{\"A\":2}\n", "{}", text(&output.stderr));
}

/// Rows of standard input go to one reader; who comes second would see an empty source.
#[test]
fn standard_input_has_one_reader() {
    let folder = Folder::new();
    let source = |name: &str| format!("CREATE SOURCE {name} (a INTEGER) WITH (connector = 'stdin');\n");
    let one = source("S") + "SELECT STREAM a FROM S;";
    let two = source("S") + &source("S2") + "SELECT STREAM a FROM S;";
    folder.write("one.sql", &one);
    folder.write("two.sql", &two);
    let named = "SELECT STREAM a FROM S UNION ALL SELECT STREAM a FROM S2;";
    folder.write("named.sql", named);
    let held = "standard input holds the script already";
    let two_readers = "\"S2\" cannot have standard input: \"S\" reads it";
    for (arguments, input, expected) in [
        (&[][..], one.as_str(), held),
        (&["run", "-"], &one, held),
        (&["check", "-"], &one, held),
        (&["run", "-", "--source", "S=-"], "SELECT STREAM * FROM S;", "--source S=-: standard input holds the script already"),
        (&["run", "two.sql"], "{\"A\":1}\n", two_readers),
        (&["check", "two.sql"], "", two_readers),
        (&["run", "named.sql", "--source", "S=-", "--source", "S2=-"], "{\"a\":1}\n", two_readers),
    ] {
        let mut command = folder.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        // A refusal may come before anything is read.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("ended");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let mut command = folder.command(&["run", "one.sql", "-q"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("piped").write_all(b"{\"A\":1}\n").expect("written");
    assert_eq!(text(&child.wait_with_output().expect("ended").stdout), "{\"A\":1}\n");
}

#[test]
fn an_input_that_is_not_bound_says_how_to_bind_it() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    for command in ["check", "run"] {
        let output = folder.kinesql(&[command, "app.sql"]);
        let hint =
            "hint: If it is an input, add a CREATE SOURCE for it, or --source SOURCE_SQL_STREAM_001=FILE on the command line.\n";
        let message = text(&output.stderr);
        assert!(message.contains("stream \"SOURCE_SQL_STREAM_001\" does not exist") && message.contains(hint), "{message}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn a_broken_state_of_a_checkpoint_is_named_with_the_way_back() {
    let folder = Folder::new();
    folder.write("app.sql", KDA);
    folder.write("ticks.jsonl", ticks(100));
    let arguments = [&["run", "app.sql", "--checkpoint-dir", "checkpoints"], &BOUND[..]].concat();
    assert!(folder.kinesql(&arguments).status.success());
    let states = std::fs::read_dir(folder.path("checkpoints")).expect("a folder").map(|entry| entry.expect("readable").path());
    let newest = states.filter(|path| path.is_dir()).max().expect("a checkpoint");
    let file = newest.join("0.arrow");
    let whole = std::fs::read(&file).expect("a state");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    let output = folder.kinesql(&arguments);
    let epoch = newest.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("state-")).expect("an epoch");
    let (message, said) =
        (format!("error: state-{epoch}/0.arrow of checkpoint folder checkpoints is broken"), text(&output.stderr));
    let hint = format!("hint: Delete manifest-{epoch}.json there to fall back to the checkpoint before it.");
    assert!(said.contains(&message) && said.contains(&hint), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

/// A budget is no argument that is wrong by itself: which data is too much for it shows only while a job runs.
#[test]
fn a_job_that_outgrows_its_memory_has_failed() {
    let folder = Folder::new();
    folder.write(
        "app.sql",
        "CREATE SOURCE S (N INTEGER, T TIMESTAMP, WATERMARK FOR T AS T) WITH (connector = 'file', path = 'in.csv', csv.header = true);
         CREATE STREAM O (N INTEGER, C BIGINT);
         CREATE PUMP P AS INSERT INTO O SELECT STREAM N, COUNT(*) FROM S GROUP BY N, FLOOR(S.ROWTIME TO YEAR);
         CREATE SINK K FROM O WITH (connector = 'file', path = 'out.jsonl');",
    );
    let rows: String = (0..50_000).map(|n| format!("{n},2024-01-01 00:00:00\n")).collect();
    folder.write("in.csv", format!("N,T\n{rows}"));
    let output = folder.kinesql(&["run", "-q", "app.sql", "--memory-limit", "1mb"]);
    let message = text(&output.stderr);
    assert!(message.contains("exceeds the memory budget") && !message.contains("caused by"), "{message}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_stream_that_nothing_fills_is_warned_of() {
    let folder = Folder::new();
    let source = "CREATE SOURCE S WITH (connector = 'generator', rows = 3, rate = 0);\n";
    let pump = "CREATE PUMP P AS INSERT INTO O SELECT STREAM TICKER_SYMBOL FROM S;\n";
    let sink = "CREATE SINK K FROM O WITH (connector = 'stdout');\n";
    let stream = "CREATE STREAM O (T VARCHAR(4));\n";
    let warning = "warning: stream \"O\" has no rows: no running pump brings it any from a source\n";
    let nothing = format!("{warning}hint: Nothing fills it: CREATE PUMP … AS INSERT INTO it.\n");
    let stopped = format!("{warning}hint: Pump \"P\" is stopped: ALTER PUMP \"P\" START.\n");
    for (script, arguments, expected) in [
        (format!("{source}{stream}{sink}"), &[][..], nothing.as_str()),
        (format!("{source}{stream}{pump}{sink}ALTER PUMP P STOP;"), &[], &stopped),
        // Drops the pump.
        (format!("{source}{stream}{pump}CREATE OR REPLACE {}", &stream["CREATE ".len()..]), &["--sink", "O=-"], &nothing),
        (format!("{source}{stream}{pump}{sink}CREATE SINK E FROM error_stream WITH (connector = 'stdout');"), &[], ""),
    ] {
        folder.write("app.sql", &script);
        for command in [&["check", "app.sql"][..], &["run", "app.sql", "-q"]] {
            let output = folder.kinesql(&[command, arguments].concat());
            assert_eq!(text(&output.stderr), expected, "{command:?} {script}");
            assert!(output.status.success());
        }
    }
}

#[test]
fn a_failure_of_a_query_of_tables_has_its_place_and_no_words_of_parts_inside() {
    let folder = Folder::new();
    let output = folder.kinesql(&["-c", "SELECT 1;\nSELECT 1/0"]);
    let expected = "error: division by zero\n --> <sql>:2:1\n  |\n2 | SELECT 1/0\n  | ^^^^^^^^^^\n";
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(1));
    let rows: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    folder.write("n.csv", rows);
    let table = "CREATE TABLE N (n BIGINT) WITH (connector = 'file', path = 'n.csv');";
    let query = format!("{table} SELECT a.n, COUNT(*) AS c FROM N AS a GROUP BY a.n");
    let output = folder.kinesql(&["-c", &query, "--memory-limit", "1mb"]);
    let message = text(&output.stderr);
    assert!(message.contains("memory budget") && !message.contains("caused by"), "{message}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn options_before_the_command_are_told_their_place() {
    let folder = Folder::new();
    folder.write("app.sql", "SELECT 1");
    let output = folder.kinesql(&["-q", "run", "app.sql"]);
    let message = text(&output.stderr);
    assert!(message.contains("Options stand behind the command: kinesql run … --quiet\n"), "{message}");
    assert_eq!(output.status.code(), Some(2));
}
