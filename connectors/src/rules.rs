//! Which test shows that a connector keeps to a rule: docs/connectors/README.md is written from here.
//!
//! A test is named by its file below `connectors/`, perhaps a module that `rules!` of `tests/aws/conformance.rs` makes, and its
//! function; what is no test says why there is none. The test here fails if a connector, a rule or a named test is missing, or
//! if the page is another one; with `UPDATE_DOCS=1` it writes the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use kinesql_engine::connector::ConnectorRegistry;

/// The rules.
const RULES: [&str; 6] = [
    "Restart: reads, or writes, on behind the checkpoint",
    "Backpressure: a slow sink, or service, stops the reading",
    "A bad record costs no other",
    "A service that goes down and comes back costs nothing",
    "Graceful stop",
    "At least once, or better, when the process dies",
];

/// A connector as a source or a sink, and for each rule its tests.
type Row = (&'static str, &'static str, [&'static [&'static str]; 6]);

const SINK_CONFORMS: &str = "src/storage/sink/tests.rs::objects_of_every_checkpoint_conform";
const S3_SINK_CONFORMS: &str = "tests/aws/s3.rs::the_sink_conforms";
const S3_SINK_FAULTS: &str = "tests/aws/s3.rs::failures_cost_the_sink_time_only";
const S3_SINK_DOWN: &str = "tests/aws/conformance/sinks.rs::the_s3_sink_waits_for_a_store_that_goes_down_and_comes_back";
const AZURE_SINK_CONFORMS: &[&str] = &["tests/aws/clouds.rs::the_azure_sink_conforms"];
const SAME_CODE: &[&str] = &["the code is that of `s3`"];

const MATRIX: &[Row] = &[
    (
        "source",
        "kinesis",
        [
            &[
                "tests/aws/conformance.rs::kinesis::a_restart_loses_and_doubles_nothing",
                "src/kinesis/tests/reading.rs::resumes_after_the_last_sequence_number",
            ],
            &[
                "src/kinesis/tests/reading.rs::reading_stops_while_nobody_takes_the_records",
                "src/kinesis/tests/reading.rs::a_shard_far_ahead_waits_for_the_slowest_one",
            ],
            &[
                "tests/aws/conformance.rs::kinesis::a_bad_record_costs_no_other",
                "src/kinesis/tests/reading.rs::aggregated_plain_and_corrupt_records_may_be_mixed",
            ],
            &[
                "tests/aws/conformance.rs::kinesis::a_service_that_goes_down_and_comes_back_costs_nothing",
                "src/kinesis/tests/faults.rs::failures_of_the_service_never_fail_a_running_job",
            ],
            &["tests/aws/conformance.rs::kinesis::a_graceful_stop_loses_and_doubles_nothing"],
            &["tests/aws/kinesis_source.rs::a_reshard_from_2_to_4_to_3_with_restarts_loses_nothing_and_doubles_nothing"],
        ],
    ),
    (
        "source",
        "enhanced fan-out",
        [
            &[
                "tests/aws/conformance.rs::fan_out::a_restart_loses_and_doubles_nothing",
                "tests/aws/kinesis_source.rs::fan_out_registers_reads_is_taken_over_and_deregistered",
            ],
            &[
                "the records wait where those of polling do: src/kinesis/tests/reading.rs::reading_stops_while_nobody_takes_the_records",
            ],
            &["tests/aws/conformance.rs::fan_out::a_bad_record_costs_no_other"],
            &["tests/aws/conformance.rs::fan_out::a_service_that_goes_down_and_comes_back_costs_nothing"],
            &["tests/aws/conformance.rs::fan_out::a_graceful_stop_loses_and_doubles_nothing"],
            &["tests/aws/conformance.rs::fan_out::a_restart_loses_and_doubles_nothing"],
        ],
    ),
    (
        "source",
        "firehose",
        [
            &[
                "tests/aws/conformance.rs::firehose::a_restart_loses_and_doubles_nothing",
                "src/firehose/source/tests.rs::a_repeated_delivery_is_recognised_also_after_a_restart",
            ],
            &["src/firehose/source/tests.rs::deliveries_that_the_engine_does_not_take_wait_before_they_are_read"],
            &["tests/aws/conformance.rs::firehose::a_bad_record_costs_no_other"],
            &[
                "it calls no service; its own going down and coming back: tests/aws/http_to_firehose.rs::nothing_is_lost_or_doubled_between_two_jobs",
            ],
            &[
                "tests/aws/conformance.rs::firehose::a_graceful_stop_loses_and_doubles_nothing",
                "tests/aws/firehose_source.rs::what_was_acknowledged_is_in_the_sinks_when_a_job_stops",
            ],
            &["tests/aws/http_to_firehose.rs::nothing_is_lost_or_doubled_between_two_jobs"],
        ],
    ),
    (
        "source",
        "s3",
        [
            &[
                "tests/aws/conformance.rs::s3::a_restart_loses_and_doubles_nothing",
                "src/storage/source/tests.rs::objects_under_a_prefix_conform",
            ],
            &["tests/aws/conformance.rs::s3::a_sink_that_takes_nothing_stops_the_source"],
            &[
                "tests/aws/conformance.rs::s3::a_bad_record_costs_no_other",
                "src/storage/source/tests.rs::a_damaged_object_is_reported_and_the_next_one_read",
            ],
            &["tests/aws/conformance.rs::s3::a_service_that_goes_down_and_comes_back_costs_nothing"],
            &["tests/aws/conformance.rs::s3::a_graceful_stop_loses_and_doubles_nothing"],
            &["tests/aws/conformance.rs::s3::a_restart_loses_and_doubles_nothing"],
        ],
    ),
    ("source", "gcs", [SAME_CODE; 6]),
    ("source", "azure", [SAME_CODE; 6]),
    (
        "source",
        "file",
        [
            &[
                "tests/aws/conformance.rs::file::a_restart_loses_and_doubles_nothing",
                "src/file/source/tests.rs::a_plain_file_conforms",
            ],
            &["tests/aws/conformance.rs::file::a_sink_that_takes_nothing_stops_the_source"],
            &[
                "tests/aws/conformance.rs::file::a_bad_record_costs_no_other",
                "src/file/source/tests.rs::a_long_record_is_refused_and_reading_goes_on",
            ],
            &["there is no service"],
            &["tests/aws/conformance.rs::file::a_graceful_stop_loses_and_doubles_nothing"],
            &["../cli/tests/e2e.rs::kill_9_and_resume_gives_the_same_bytes"],
        ],
    ),
    (
        "source",
        "stdin",
        [
            &["refused, since it cannot be read again: src/stdin.rs::what_was_read_is_gone"],
            &["src/stdin.rs::what_nobody_asks_for_is_not_read"],
            &["framed as lines of a file are: src/file/framing.rs::a_record_over_the_limit_is_refused_and_reading_goes_on"],
            &["there is no service"],
            &[
                "what was read is processed, as of every source: ../tests/suite/seams.rs::readers_are_closed_without_checkpoints_too_but_not_when_the_job_is_aborted",
            ],
            &["no guarantee across restarts"],
        ],
    ),
    (
        "source",
        "generator",
        [
            &["src/generator/tests.rs::a_generator_conforms", "src/generator/tests.rs::a_restart_keeps_the_start_time"],
            &["it makes a piece when it is asked for one"],
            &["it makes none"],
            &["there is no service"],
            &["it has nothing to give back"],
            &["src/generator/tests.rs::a_generator_conforms"],
        ],
    ),
    (
        "source",
        "a pre-processor",
        [
            &[
                "tests/aws/conformance.rs::preprocessed::a_restart_loses_and_doubles_nothing",
                "src/lambda/preprocessor/tests.rs::a_source_with_a_function_passes_the_conformance_checks_of_sources",
            ],
            &[
                "it reads as many pieces ahead as it has invocations: src/lambda/preprocessor/tests.rs::a_consumer_that_takes_nothing_stops_the_reading",
            ],
            &[
                "src/lambda/preprocessor/tests.rs::a_record_is_replaced_dropped_or_failed",
                "tests/aws/lambda.rs::a_source_reads_what_its_function_makes_of_the_records",
            ],
            &[
                "tests/aws/conformance.rs::preprocessed::a_service_that_goes_down_and_comes_back_costs_nothing",
                "src/lambda/preprocessor/tests.rs::a_batch_is_repeated_until_every_record_is_answered",
            ],
            &["tests/aws/conformance.rs::preprocessed::a_graceful_stop_loses_and_doubles_nothing"],
            &["tests/aws/conformance.rs::preprocessed::a_restart_loses_and_doubles_nothing"],
        ],
    ),
    ("sink", "kinesis", [&[KINESIS_SINK]; 6]),
    ("sink", "firehose", [&[FIREHOSE_SINK]; 6]),
    ("sink", "lambda", [&[LAMBDA_SINK]; 6]),
    (
        "sink",
        "http",
        [
            &["src/http/sink/tests.rs::passes_the_conformance_checks"],
            &["src/http/sink/tests.rs::passes_the_conformance_checks"],
            &["src/http/sink/tests.rs::a_request_that_is_too_large_is_halved_and_a_row_that_is_goes_to_the_error_stream"],
            &["tests/aws/http_to_firehose.rs::nothing_is_lost_or_doubled_between_two_jobs"],
            &["src/http/sink/tests.rs::passes_the_conformance_checks"],
            &["tests/aws/http_to_firehose.rs::nothing_is_lost_or_doubled_between_two_jobs"],
        ],
    ),
    (
        "sink",
        "s3",
        [
            &[S3_SINK_CONFORMS, SINK_CONFORMS],
            &[S3_SINK_FAULTS, S3_SINK_DOWN],
            &[S3_SINK_FAULTS, "src/storage/sink/tests.rs::rows_without_a_key_go_to_the_error_prefix_or_to_the_error_stream"],
            &[S3_SINK_FAULTS, S3_SINK_DOWN],
            &["src/storage/sink/tests.rs::what_a_stopped_job_still_had_is_written_once"],
            &[S3_SINK_CONFORMS, "src/storage/sink/tests.rs::objects_of_many_checkpoints_conform"],
        ],
    ),
    ("sink", "gcs", [SAME_CODE; 6]),
    ("sink", "azure", [AZURE_SINK_CONFORMS, SAME_CODE, SAME_CODE, SAME_CODE, SAME_CODE, AZURE_SINK_CONFORMS]),
    (
        "sink",
        "file",
        [
            &["src/file/sink/tests.rs::one_file_conforms", "src/file/sink/tests.rs::a_folder_conforms"],
            &["a write returns when the file has it"],
            &["every row of a stream can be written"],
            &["a full disk ends the job: ../tests/suite/faults.rs::a_full_disk_ends_the_job_and_loses_nothing"],
            &["src/file/sink/tests.rs::one_file_holds_the_records_of_all_epochs"],
            &["../cli/tests/e2e.rs::kill_9_and_resume_gives_the_same_bytes"],
        ],
    ),
    (
        "sink",
        "stdout",
        [
            &["rows since the checkpoint are printed again: src/stdout/mod.rs::rows_are_printed_on_flush_and_at_a_checkpoint"],
            &["a write returns when the output has it"],
            &["every row of a stream can be printed"],
            &["a closed output ends the job: src/stdout/mod.rs::a_closed_output_is_told_apart"],
            &["src/stdout/mod.rs::rows_are_printed_on_flush_and_at_a_checkpoint"],
            &["src/stdout/mod.rs::rows_are_printed_on_flush_and_at_a_checkpoint"],
        ],
    ),
];

/// One test has all rules of a sink that delivers at least once.
const KINESIS_SINK: &str = "tests/aws/conformance/sinks.rs::the_kinesis_sink_conforms";
const FIREHOSE_SINK: &str = "tests/aws/conformance/sinks.rs::the_firehose_sink_conforms";
const LAMBDA_SINK: &str = "tests/aws/conformance/sinks.rs::the_lambda_sink_conforms";

/// The file, the module and the function that an entry names, if it names a test.
fn test_of(entry: &str) -> Option<(&str, Option<&str>, &str)> {
    let name = entry.rsplit(' ').next()?;
    let (file, rest) = name.split_once(".rs::")?;
    let file = &name[..file.len() + 3];
    Some(match rest.split_once("::") {
        Some((module, function)) => (file, Some(module), function),
        None => (file, None, rest),
    })
}

/// Why an entry does not hold; None if it does.
fn objection(entry: &str) -> Option<String> {
    let Some((file, module, function)) = test_of(entry) else { return entry.contains("::").then(|| "no test".to_owned()) };
    let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) else {
        return Some(format!("there is no file {file}"));
    };
    let definition = text.contains(&format!("fn {function}("));
    let listed = module.is_none_or(|module| {
        let list = text.split(&format!("    {module}, super::feeds::")).nth(1).and_then(|list| list.split(");\n").next());
        list.is_some_and(|list| list.contains(function))
    });
    (!definition || !listed).then(|| format!("{file} has no such test"))
}

/// The part of the page that is made from the matrix.
fn tables() -> String {
    let mut text = String::new();
    for (direction, name, tests) in MATRIX {
        let shown = if name.contains(' ') { (*name).to_owned() } else { format!("`{name}`") };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n### {shown} ({direction})\n\n");
        if tests.iter().all(|test| test == &tests[0]) {
            let _ = writeln!(text, "All rules: {}.", cell(tests[0]));
            continue;
        }
        text.push_str("| Rule | Shown by |\n| --- | --- |\n");
        for (rule, tests) in RULES.iter().zip(tests) {
            let _ = writeln!(text, "| {rule} | {} |", cell(tests));
        }
    }
    text
}

fn cell(entries: &[&str]) -> String {
    let entries = entries.iter().map(|entry| match test_of(entry) {
        Some(_) => match entry.rsplit_once(' ') {
            Some((why, test)) => format!("{why} `{}`", test.trim_start_matches("../")),
            None => format!("`{}`", entry.trim_start_matches("../")),
        },
        None => (*entry).to_owned(),
    });
    entries.collect::<Vec<_>>().join("<br>")
}

#[test]
fn every_connector_has_a_test_for_every_rule() {
    let mut registry = ConnectorRegistry::default();
    crate::register_all(&mut registry);
    let sources = registry.sources().map(|source| ("source", source.name().to_owned()));
    let sinks = registry.sinks().map(|sink| ("sink", sink.name().to_owned()));
    let listed: BTreeSet<_> = MATRIX.iter().map(|(direction, name, _)| (*direction, (*name).to_owned())).collect();
    let missing: Vec<_> = sources.chain(sinks).filter(|connector| !listed.contains(connector)).collect();
    assert!(missing.is_empty(), "add {missing:?} to the matrix");
    let entries = MATRIX.iter().flat_map(|(_, _, tests)| tests.iter().copied().flatten());
    let wrong: Vec<_> = entries.filter_map(|entry| Some(format!("{entry}: {}", objection(entry)?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_page_shows_the_tests_of_every_rule() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/connectors/README.md");
    let page = std::fs::read_to_string(&path).expect("docs/connectors/README.md");
    let (before, rest) = page.split_once("<!-- tests of the rules -->\n").expect("a place for the tests");
    let (_, after) = rest.split_once("<!-- end of tests -->").expect("its end");
    let expected = format!("{before}<!-- tests of the rules -->\n{}\n<!-- end of tests -->{after}", tables());
    if page != expected && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).expect("written");
    } else {
        assert_eq!(page, expected, "run with UPDATE_DOCS=1 to update docs/connectors/README.md");
    }
}
