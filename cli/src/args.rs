//! The command line: commands, options and the help that teaches them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kinesql_engine::connector::options::{parse_bytes, parse_duration};

const EXAMPLES: &str = "\
Examples:
  kinesql                                     a prompt: type SQL, watch streams live
  kinesql run app.sql                         run a script until its sources end or Ctrl-C
  kinesql < app.sql                           the same, from standard input
  kinesql -c 'SELECT STREAM * FROM ticks' --source ticks=ticks.jsonl
                                              one query over a file
  kinesql check app.sql                       find every mistake, run nothing

Exit codes: 0 done, 1 the job failed, 2 wrong SQL or arguments, 130 aborted by a second Ctrl-C.";

const RUN_EXAMPLES: &str = "\
Examples:
  kinesql run app.sql
      Runs CREATE SOURCE, STREAM, PUMP and SINK statements as one application.
  kinesql run app.sql --source SOURCE_SQL_STREAM_001=ticks.jsonl --sink DESTINATION_SQL_STREAM=-
      Runs a script that names its input and output streams only: reads a file, prints the result.
  kinesql run app.sql --source SOURCE_SQL_STREAM_001='generator:ticks?rate=1000' --sink DESTINATION_SQL_STREAM=out/
      Reads made-up stock ticks, writes files into a folder.
  kinesql run app.sql --source SOURCE_SQL_STREAM_001=ticks.jsonl --rowtime SOURCE_SQL_STREAM_001=EVENT_TIME
      Windows follow the column EVENT_TIME instead of the clock: a replay gives the same result every time.
  tail -F log.jsonl | kinesql run app.sql --source SOURCE_SQL_STREAM_001=-
      Reads standard input.
  kinesql run --app application.json --source SOURCE_SQL_STREAM_001=ticks.jsonl --sink DESTINATION_SQL_STREAM=-
      Runs what DescribeApplication saved of an application, with a local input and output in place of its own.
  kinesql run app.sql --worker 2/5
      Reads the second fifth of the shards of every Kinesis stream; four other processes read the rest.
  kinesql run sources.sql app.sql --param region=eu-west-1 --checkpoint-dir state/
      Runs two files in order, ${region} replaced; after a crash or Ctrl-C the next run goes on where this one stopped.

Ctrl-C stops reading, processes what was read and takes a last checkpoint; a second Ctrl-C aborts at once.
SIGHUP refreshes the reference tables of a run whose standard input is no terminal.";

const URI_HELP: &str = "  -                              standard input or output
  ticks.jsonl  out/  x.csv       a file or folder; the format follows from the extension
  file:ticks.jsonl?follow=true   a connector with options; `kinesql connectors` lists them
  generator:ticks?rate=1000
  kinesis:ticks?region=eu-west-1 a Kinesis stream, by name or ARN";

/// Runs streaming SQL written for Amazon Kinesis Data Analytics, unchanged, in one process.
#[derive(Debug, Parser)]
#[command(name = "kinesql", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; a prompt if nothing is given, or the script on standard input if that is not a terminal.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Runs this SQL text; the rows of queries are printed.
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub text: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help")]
    pub application: ApplicationArgs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help")]
    pub job: JobArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs SQL files as one application, until its sources end or Ctrl-C.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        #[command(flatten)]
        #[allow(missing_docs, reason = "clap would show it as help")]
        files: FileArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "clap would show it as help")]
        application: ApplicationArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "clap would show it as help")]
        job: JobArgs,
    },
    /// Finds every mistake in SQL files; runs nothing.
    #[command(after_help = "\
Examples:
  kinesql check app.sql
  kinesql check sources.sql app.sql --param region=eu-west-1
  kinesql check app.sql --source SOURCE_SQL_STREAM_001=ticks.jsonl

Prints every error and warning with its place: in statements, names, types and options. Data is read only of tables, and of
sources without declared columns; whether the other files and services are there shows when the job starts.
Exit code 0 without errors, else 2; 1 if data that it reads is damaged.")]
    Check {
        #[command(flatten)]
        #[allow(missing_docs, reason = "clap would show it as help")]
        files: FileArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "clap would show it as help")]
        application: ApplicationArgs,
    },
    /// Shows how SQL files run: operators, and what makes windows close.
    #[command(after_help = "\
Examples:
  kinesql explain app.sql --source SOURCE_SQL_STREAM_001=ticks.jsonl
  kinesql -c 'EXPLAIN SELECT STREAM * FROM ticks' --source ticks=ticks.jsonl")]
    Explain {
        #[command(flatten)]
        #[allow(missing_docs, reason = "clap would show it as help")]
        files: FileArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "clap would show it as help")]
        application: ApplicationArgs,
    },
    /// Prints the application of a file as one SQL script, with its sources and sinks.
    #[command(after_help = "\
Examples:
  aws kinesisanalytics describe-application --application-name traffic > traffic.json
  kinesql import traffic.json > traffic.sql
  kinesql import template.yaml --param Stage=prod --param AWS::Region=eu-west-1 --param AWS::AccountId=123456789012")]
    Import {
        /// DescribeApplication or CreateApplication JSON, a CloudFormation or SAM template.
        #[arg(value_name = "FILE")]
        app: PathBuf,

        /// SQL files: the code of an application that comes without, else statements that follow it.
        #[arg(value_name = "SQL")]
        files: Vec<PathBuf>,

        /// Value of a parameter of a template.
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = assignment)]
        params: Vec<Assignment>,
    },
    /// Looks at the first records of a source and prints a CREATE SOURCE for them, sample rows, and records that do not fit.
    #[command(after_help = "\
Examples:
  kinesql discover ticks.jsonl
  kinesql discover 'kinesis:ticks?region=eu-west-1&scan.start=trim_horizon' --name SOURCE_SQL_STREAM_001 > source.sql
  kinesql discover log.csv --format csv

The statement goes to standard output, rows and refused records to standard error.")]
    Discover {
        /// The source, as --source takes it.
        #[arg(value_name = "URI")]
        source: String,

        /// The name in the statement.
        #[arg(long, value_name = "NAME", default_value = "SOURCE_SQL_STREAM_001")]
        name: String,

        /// Format of the records: json or csv. By default the extension decides, else json.
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,

        /// Sample rows that are shown.
        #[arg(long, value_name = "N", default_value_t = 5)]
        rows: usize,
    },
    /// Lists the connectors and their options.
    #[command(after_help = "\
Examples:
  kinesql connectors
  kinesql connectors file")]
    Connectors {
        /// Only this connector.
        name: Option<String>,
    },
}

/// The scripts.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// SQL files, run in this order as one application; - is standard input. With --app: its code if it comes without, else
    /// statements that follow it.
    #[arg(required_unless_present = "app", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Runs the application that this file describes: DescribeApplication or CreateApplication JSON of the service, a
    /// CloudFormation or SAM template (JSON or YAML; --param gives values to its parameters).
    #[arg(long, value_name = "FILE")]
    pub app: Option<PathBuf>,
}

/// What surrounds a script: parameters, sources and sinks, resources.
#[derive(Debug, Args, Default, Clone)]
pub struct ApplicationArgs {
    /// Replaces ${NAME} in the SQL text; $${ stands for a plain ${.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = assignment, help_heading = "Script")]
    pub params: Vec<Assignment>,

    /// Sets a switch of the engine, such as avg_double=true, as SET in the script does; docs/cli.md lists them.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment, help_heading = "Script")]
    pub switches: Vec<Assignment>,

    /// Feeds stream NAME from URI, in place of its CREATE SOURCE if it has one; fills a table in place of its CREATE TABLE.
    #[arg(long = "source", value_name = "NAME=URI", value_parser = assignment, help_heading = "Sources and sinks",
          long_help = format!("Feeds stream NAME from URI, in place of its CREATE SOURCE if it has one; fills a table in place of its CREATE TABLE.\n\nURI is one of:\n{URI_HELP}"))]
    pub sources: Vec<Assignment>,

    /// Takes the event time (ROWTIME) of a --source from this TIMESTAMP column instead of the clock.
    #[arg(long = "rowtime", value_name = "NAME=COLUMN", value_parser = assignment, help_heading = "Sources and sinks")]
    pub rowtimes: Vec<Assignment>,

    /// Writes stream STREAM to URI, besides the script's own sinks.
    #[arg(long = "sink", value_name = "STREAM=URI", value_parser = assignment, help_heading = "Sources and sinks",
          long_help = format!("Writes stream STREAM to URI, besides the script's own sinks.\n\nURI is one of:\n{URI_HELP}"))]
    pub sinks: Vec<Assignment>,

    /// Format of a --source or --sink: json, csv, raw, parquet, table. By default the extension decides, else json.
    #[arg(long = "format", value_name = "STREAM=FORMAT", value_parser = assignment, help_heading = "Sources and sinks")]
    pub formats: Vec<Assignment>,

    /// Splits per source that are read at the same time, where a source can be split, and threads that score the rows of a
    /// RANDOM_CUT_FOREST. A run that goes on from a checkpoint keeps the splits of that checkpoint.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024), help_heading = "Resources")]
    pub parallelism: u16,

    /// Most memory that windows, joins and other state may take, such as 512mb.
    #[arg(long, value_name = "SIZE", default_value = "1gb", value_parser = bytes, help_heading = "Resources")]
    pub memory_limit: u64,

    /// Reads only a part of every Kinesis stream, such as 2/5: the second of five processes that share the streams. Each needs a
    /// --checkpoint-dir of its own.
    #[arg(long, value_name = "N/M", help_heading = "Resources")]
    pub worker: Option<String>,

    /// True for the code of an application file: a `${` in it is no parameter.
    #[arg(skip)]
    pub literal: bool,
}

/// How a job runs and what it shows.
#[derive(Debug, Args, Default)]
pub struct JobArgs {
    /// Saves checkpoints here, and goes on from the newest one at the next start.
    #[arg(long, value_name = "DIR", help_heading = "Checkpoints")]
    pub checkpoint_dir: Option<PathBuf>,

    /// Time between two checkpoints, such as 500ms, 10s, 1min.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, requires = "checkpoint_dir", help_heading = "Checkpoints")]
    pub checkpoint_interval: Duration,

    /// How the rows of queries are printed; a table on a terminal, else json.
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Output")]
    pub output: Option<Output>,

    /// No progress line; the summary at the end stays.
    #[arg(long, help_heading = "Output")]
    pub no_progress: bool,

    /// No progress line, no summary, no notes; errors and warnings only.
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}

/// How the rows of queries are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns.
    Table,
    /// One JSON document per row.
    Json,
    /// One line of comma-separated values per row.
    Csv,
}

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// What stands before the first `=`.
    pub name: String,
    /// What stands behind it.
    pub value: String,
}

impl std::fmt::Display for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // In messages: what opens a door is not repeated there.
        write!(f, "{}={}", self.name, crate::uri::shown(&self.value))
    }
}

fn assignment(text: &str) -> Result<Assignment, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.is_empty() => {
            Ok(Assignment { name: name.trim().to_owned(), value: value.to_owned() })
        }
        Some(("", _)) => Err("there is no name before '='".to_owned()),
        Some(_) => Err("there is no value behind '='".to_owned()),
        None => Err("expected a name, '=' and a value".to_owned()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).filter(|bytes| *bytes > 0).ok_or_else(|| "expected a size such as 512mb or 2gb".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Some(duration) if duration.is_zero() => Err("expected more than 0, such as 500ms, 10s, 1min".to_owned()),
        Some(duration) => Ok(duration),
        None => Err("expected a time span such as 500ms, 10s, 1min".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn options_come_before_or_behind_the_files() {
        let cli = parse("kinesql run --source A=x.csv a.sql b.sql --sink B=- --checkpoint-dir state --checkpoint-interval 500ms")
            .expect("valid");
        let Some(Command::Run { files, application, job }) = cli.command else { panic!("not run") };
        assert_eq!(files.files, [PathBuf::from("a.sql"), PathBuf::from("b.sql")]);
        assert_eq!(application.sources[0].to_string(), "A=x.csv");
        assert_eq!(application.memory_limit, 1 << 30);
        assert_eq!(application.worker, None);
        assert_eq!(job.checkpoint_interval, Duration::from_millis(500));
    }

    #[test]
    fn wrong_values_say_what_is_expected() {
        for (line, expected) in [
            ("kinesql run a.sql --source x.csv", "expected a name, '=' and a value"),
            ("kinesql run a.sql --source =x.csv", "there is no name before '='"),
            ("kinesql run a.sql --sink B=", "there is no value behind '='"),
            ("kinesql run a.sql --memory-limit big", "expected a size such as 512mb or 2gb"),
            ("kinesql run a.sql --checkpoint-dir d --checkpoint-interval soon", "expected a time span such as 500ms, 10s, 1min"),
            ("kinesql run a.sql --checkpoint-dir d --checkpoint-interval 0s", "expected more than 0, such as 500ms, 10s, 1min"),
            ("kinesql run a.sql --parallelism 0", "0 is not in 1..=1024"),
            ("kinesql run", "<FILE>"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
