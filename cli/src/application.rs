//! An application: its scripts, and an engine with the sources and sinks that the command line adds to them.
//!
//! Names on the command line are taken as SQL takes them: `ticks` is `TICKS` unless a script writes `"ticks"` in double
//! quotes somewhere, or the argument itself does.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinesql_engine::connector::common::LATE;
use kinesql_engine::connector::{ConnectorRegistry, OptionEntry};
use kinesql_engine::diagnostic::{Diagnostic, Script, closest};
use kinesql_engine::runtime::error_rows::ERROR_STREAM;
use kinesql_engine::sql::{ObjectKind, Statement, TokenClass, highlight_tokens, parse_script};
use kinesql_engine::{CheckpointOptions, Engine, EngineBuilder, Error, ErrorKind, Result};

use crate::args::{ApplicationArgs, Assignment, JobArgs};
use crate::params::Params;
use crate::uri::{self, Direction};

/// Scripts that are not executed yet, and the engine that is to run them.
pub struct Application {
    /// Knows the sources of the command line, nothing of the scripts.
    pub engine: Engine,
    /// The scripts with parameters replaced, in order.
    pub scripts: Vec<Arc<Script>>,
    /// Sinks of the command line.
    sinks: Vec<SinkArgument>,
    /// The part of Kinesis streams that is read.
    worker: Option<String>,
}

struct SinkArgument {
    argument: Assignment,
    options: Vec<OptionEntry>,
}

impl Application {
    /// Replaces parameters and binds the sources. Columns of sources may be inferred, so files can be read.
    pub async fn prepare(scripts: Vec<Arc<Script>>, args: &ApplicationArgs, job: &JobArgs) -> Result<Self> {
        let mut params = Params::try_new(&args.params)?;
        let scripts = match args.literal {
            true => scripts,
            false => scripts.iter().map(|script| params.apply(script)).collect::<Result<Vec<_>>>()?,
        };
        for name in params.unused().filter(|_| !scripts.is_empty()) {
            crate::report::warning(&Diagnostic::warning(format!("parameter \"{name}\" is not used")));
        }
        check_repeats("source", &args.sources, &scripts)?;
        check_repeats("rowtime", &args.rowtimes, &scripts)?;
        check_repeats("format", &args.formats, &scripts)?;
        let engine = engine(args, job, &scripts)?;
        check_sources(args, &scripts, engine.connectors())?;
        let formats: Vec<_> = args.formats.iter().map(|format| (resolve(&format.name, &scripts), format)).collect();
        let mut rowtimes: Vec<_> = args.rowtimes.iter().map(|rowtime| (resolve(&rowtime.name, &scripts), rowtime)).collect();
        let options = |argument: &Assignment, direction: Direction| {
            let mut options = uri::options(&argument.value, direction, engine.connectors())
                .map_err(|error| in_argument(&format!("--{} {argument}", direction.name()), error))?;
            let name = resolve(&argument.name, &scripts);
            let formats = formats.iter().filter(|(stream, _)| *stream == name);
            options.extend(formats.map(|(_, format)| OptionEntry::new("format", format.value.as_str())));
            Ok::<_, Error>(options)
        };

        for argument in &args.sources {
            let name = resolve(&argument.name, &scripts);
            let options = options(argument, Direction::Source)?;
            let found = rowtimes.iter().position(|(source, _)| *source == name);
            let rowtime = found.map(|index| rowtimes.remove(index).1);
            let column = rowtime.map(|rowtime| rowtime.value.as_str());
            if declares(&name, &scripts) {
                let bound = engine.bind_declared_source(&name, options, column).await;
                bound.map_err(|error| in_argument(&format!("--source {argument}"), error))?;
                continue;
            }
            if let Err(error) = engine.bind_source(&name, options.clone(), column).await {
                return Err(match rowtime {
                    // What can be bound without it is wrong in nothing else.
                    Some(rowtime) if engine.bind_source(&name, options, None).await.is_ok() => {
                        in_argument(&format!("--rowtime {rowtime}"), error)
                    }
                    _ => in_argument(&format!("--source {argument}"), error),
                });
            }
        }
        let mut sinks = Vec::new();
        for argument in &args.sinks {
            sinks.push(SinkArgument { argument: argument.clone(), options: options(argument, Direction::Sink)? });
        }
        if let Some((_, rowtime)) = rowtimes.first() {
            let missing = Error::config(format!("--rowtime {rowtime}: there is no --source {}", rowtime.name));
            return Err(match closest(&rowtime.name, args.sources.iter().map(|source| source.name.as_str())) {
                Some(name) => missing.with_hint(format!("Did you mean --rowtime {name}={}?", rowtime.value)),
                None => missing.with_hint("In a CREATE SOURCE write WATERMARK FOR column AS column instead."),
            });
        }
        if let Some((stream, format)) = formats.iter().find(|(stream, _)| !uses(stream, args, &scripts)) {
            return Err(Error::config(format!("--format {format}: there is no --source or --sink {stream}"))
                .with_hint("In CREATE SOURCE and CREATE SINK write the option format = '…'."));
        }
        Ok(Self { engine, scripts, sinks, worker: args.worker.clone() })
    }

    /// Adds the sinks of the command line. To be called once the scripts are executed, so that their streams are known.
    pub fn bind_sinks(&self) -> Result<()> {
        let reads_kinesis = |object: &kinesql_engine::Object| object.kind == "source" && object.detail == "kinesis";
        if let Some(worker) = &self.worker
            && !self.engine.objects().iter().any(reads_kinesis)
        {
            return Err(Error::config(format!("--worker {worker}: no source reads a Kinesis stream"))
                .with_hint("Other sources cannot be shared by processes; leave it out."));
        }
        let streams: Vec<_> =
            self.engine.objects().into_iter().filter(|object| matches!(object.kind, "source" | "stream")).collect();
        let mut found = Vec::new();
        for SinkArgument { argument, options } in &self.sinks {
            let name = resolve(&argument.name, &self.scripts);
            let exact = streams.iter().find(|stream| stream.name == name);
            let Some(stream) = exact.or_else(|| streams.iter().find(|stream| stream.name.eq_ignore_ascii_case(&name))) else {
                let missing = Error::config(format!("--sink {argument}: stream \"{name}\" does not exist"));
                let names: BTreeSet<_> = streams.iter().map(|stream| stream.name.as_str()).collect();
                return Err(match closest(&name, names.iter().copied()) {
                    Some(candidate) => missing.with_hint(format!("Did you mean \"{candidate}\"?")),
                    None => missing.with_hint(format!("Streams are {}.", names.into_iter().collect::<Vec<_>>().join(", "))),
                });
            };
            found.push((&stream.name, options));
        }
        found.into_iter().try_for_each(|(stream, options)| self.engine.bind_sink(stream, options.clone()))
    }

    /// True if anything writes the rows of a stream somewhere.
    pub fn has_sinks(&self) -> bool {
        !self.sinks.is_empty() || self.engine.objects().iter().any(|object| object.kind == "sink")
    }

    /// True if rows are printed to standard output while the job runs.
    pub fn prints_rows(&self) -> bool {
        // The detail of a sink is "STREAM → connector".
        let printing = |object: &kinesql_engine::Object| object.kind == "sink" && object.detail.ends_with(" stdout");
        self.sinks.iter().any(|sink| sink.options.iter().any(|option| option.key == "connector" && option.value == "stdout"))
            || self.engine.objects().iter().any(printing)
    }

    /// Adds the argument to an error about sinks of the command line, which have no place in a script.
    pub fn explain_sink_error(&self, error: Error) -> Error {
        let placed = error.diagnostics().iter().any(|problem| problem.span.is_some());
        match self.sinks.as_slice() {
            [only] if error.kind() == ErrorKind::Sql && !placed => in_argument(&format!("--sink {}", only.argument), error),
            _ => error,
        }
    }
}

/// The script that standard input holds.
pub const STDIN: &str = "<stdin>";

/// Reads scripts; `-` is standard input.
pub fn read_scripts(files: &[PathBuf]) -> Result<Vec<Arc<Script>>> {
    files.iter().map(|file| if file == Path::new("-") { read_stdin() } else { read_script(file) }).collect()
}

/// Reads the script on standard input.
pub fn read_stdin() -> Result<Arc<Script>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.map_err(|error| Error::config("cannot read the script from standard input").with_cause(error))?;
    script(STDIN, bytes)
}

/// Reads a script from a file.
pub fn read_script(file: &Path) -> Result<Arc<Script>> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| Error::config(format!("cannot read script '{name}'")).with_cause(error))?;
    script(&name, bytes)
}

fn script(name: &str, bytes: Vec<u8>) -> Result<Arc<Script>> {
    match String::from_utf8(bytes) {
        // A byte order mark, as some Windows editors write it.
        Ok(text) => Ok(Script::new(name, text.strip_prefix('\u{feff}').unwrap_or(&text))),
        Err(error) => Err(Error::config(format!(
            "script '{name}' is not UTF-8 text: byte {} is {:#04x}",
            error.utf8_error().valid_up_to(),
            error.as_bytes()[error.utf8_error().valid_up_to()]
        ))),
    }
}

fn engine(args: &ApplicationArgs, job: &JobArgs, scripts: &[Arc<Script>]) -> Result<Engine> {
    let builder = Engine::builder()
        .parallelism(args.parallelism.max(1).into())
        .memory_limit(usize::try_from(args.memory_limit).unwrap_or(usize::MAX))
        .connectors(kinesql_connectors::register_all);
    let set = |builder: EngineBuilder, switch: &Assignment| builder.set(switch.name.as_str(), switch.value.as_str());
    let builder = args.switches.iter().fold(builder, set);
    let builder = match &args.worker {
        Some(worker) => builder.source_option("kinesis", "worker", worker.as_str()),
        None => builder,
    };
    let taken = if scripts.is_empty() {
        Some(Diagnostic::error("standard input is the prompt").hint("Read a file, or put the statements into a script."))
    } else if scripts.iter().any(|script| script.name == STDIN) {
        Some(Diagnostic::error("standard input holds the script already").hint("Put the script into a file."))
    } else {
        None
    };
    let builder = match taken {
        Some(problem) => builder.in_use(kinesql_connectors::stdin::STDIN, problem),
        None => builder,
    };
    let builder = match &job.checkpoint_dir {
        Some(directory) => {
            builder.checkpoints(CheckpointOptions { interval: job.checkpoint_interval, ..CheckpointOptions::new(directory) })
        }
        None => builder,
    };
    builder.build()
}

/// The name of a stream as a script means it.
fn resolve(name: &str, scripts: &[Arc<Script>]) -> String {
    if let Some(quoted) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        return quoted.to_owned();
    }
    let written = format!("\"{name}\"");
    let quoted_in = |script: &Arc<Script>| {
        let mut tokens = highlight_tokens(&script.text).into_iter();
        tokens.any(|(range, class)| class == TokenClass::QuotedIdentifier && script.text[range] == written)
    };
    if scripts.iter().any(quoted_in) { name.to_owned() } else { name.to_uppercase() }
}

/// True if a script has a CREATE SOURCE or CREATE TABLE of this name.
fn declares(name: &str, scripts: &[Arc<Script>]) -> bool {
    let quoted = format!("\"{name}\"");
    scripts.iter().any(|script| {
        let words: Vec<&str> = highlight_tokens(&script.text).into_iter().map(|(range, _)| &script.text[range]).collect();
        let creates = |word: &str| ["SOURCE", "TABLE"].iter().any(|kind| word.eq_ignore_ascii_case(kind));
        words.windows(2).any(|pair| creates(pair[0]) && (pair[1] == quoted || pair[1].to_uppercase() == name))
    })
}

fn uses(stream: &str, args: &ApplicationArgs, scripts: &[Arc<Script>]) -> bool {
    args.sources.iter().chain(&args.sinks).any(|argument| resolve(&argument.name, scripts) == stream)
}

/// Fails if an option that a stream can have once is given twice for one: the earlier would be forgotten.
fn check_repeats(option: &str, arguments: &[Assignment], scripts: &[Arc<Script>]) -> Result<()> {
    for (i, argument) in arguments.iter().enumerate() {
        let name = resolve(&argument.name, scripts);
        if let Some(first) = arguments[..i].iter().find(|other| resolve(&other.name, scripts) == name) {
            return Err(Error::config(format!("--{option} {argument}: \"{name}\" has one already, --{option} {first}"))
                .with_hint("Leave one of the two out."));
        }
    }
    Ok(())
}

/// Fails if a `--source` feeds a stream that the scripts do not know: its name is mistyped, and what it was meant for stays as it
/// is. A prompt has no scripts yet.
fn check_sources(args: &ApplicationArgs, scripts: &[Arc<Script>], connectors: &ConnectorRegistry) -> Result<()> {
    if args.sources.is_empty() || scripts.is_empty() {
        return Ok(());
    }
    let parsed: Vec<_> = scripts.iter().map(parse_script).collect();
    // What a script with mistakes reads is not known; the mistakes are reported next.
    if parsed.iter().any(|parsed| !parsed.diagnostics.is_empty()) {
        return Ok(());
    }
    let statements = || parsed.iter().flat_map(|parsed| &parsed.statements);
    let reads = statements().flat_map(Statement::reads).chain(args.sinks.iter().map(|sink| resolve(&sink.name, scripts)));
    let reads: BTreeSet<String> = reads.collect();
    let makes: Vec<_> = statements().flat_map(Statement::makes).collect();
    let makes_stream = |name: &str| makes.contains(&(ObjectKind::Stream, name));
    let late: Vec<_> = args.sources.iter().map(|source| late_stream(source, connectors)).collect();
    let is_late = |name: &str| late.iter().flatten().any(|late| late == name);
    let has_source = |name: &str| makes.iter().any(|(kind, made)| *kind != ObjectKind::Stream && *made == name);
    for (argument, late) in args.sources.iter().zip(&late) {
        let name = resolve(&argument.name, scripts);
        // Its late rows are a stream of their own.
        if has_source(&name) || late.as_ref().is_some_and(|late| reads.contains(late)) {
            continue;
        }
        if makes_stream(&name) {
            let problem = Error::config(format!("--source {argument}: the script creates stream \"{name}\" itself"));
            return Err(problem.with_hint("Pumps fill that stream. An input is read without a CREATE STREAM."));
        }
        if !reads.contains(&name) {
            let is_made = |name: &str| makes_stream(name) || has_source(name) || is_late(name);
            let is_open = |name: &&str| !is_made(name) && !name.eq_ignore_ascii_case(ERROR_STREAM);
            let open: Vec<&str> = reads.iter().map(String::as_str).filter(is_open).collect();
            let own: Vec<&str> = makes.iter().filter(|(kind, _)| *kind != ObjectKind::Stream).map(|(_, name)| *name).collect();
            let found = closest(&name, open.iter().copied()).or_else(|| closest(&name, own.iter().copied()));
            let problem = Error::config(format!("--source {argument}: nothing reads a stream \"{name}\""));
            return Err(problem.with_hint(match (found, open.as_slice(), own.as_slice()) {
                (Some(found), ..) => format!("Did you mean \"{found}\"?"),
                (None, [], []) => "The script has no inputs.".to_owned(),
                (None, [], own) => format!("Sources of the script are {}.", own.join(", ")),
                (None, open, _) => format!("Inputs without a CREATE SOURCE are {}.", open.join(", ")),
            }));
        }
    }
    Ok(())
}

/// The stream of the late rows of a `--source`. What is wrong with its URI is reported when it is bound.
fn late_stream(source: &Assignment, connectors: &ConnectorRegistry) -> Option<String> {
    let options = uri::options(&source.value, Direction::Source, connectors).ok()?;
    options.into_iter().find(|option| option.key == LATE.name).map(|option| option.value)
}

/// Says which argument an error is about.
fn in_argument(argument: &str, error: Error) -> Error {
    if !error.diagnostics().is_empty() {
        let problems = error.diagnostics().iter().cloned();
        return Error::sql(
            problems.map(|problem| Diagnostic { message: format!("{argument}: {}", problem.message), ..problem }).collect(),
        );
    }
    error.about(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(sources: &[&str], rowtimes: &[&str], formats: &[&str], sinks: &[&str]) -> ApplicationArgs {
        let assignments = |texts: &[&str]| {
            let pairs = texts.iter().map(|text| text.split_once('=').expect("an assignment"));
            pairs.map(|(name, value)| Assignment { name: name.to_owned(), value: value.to_owned() }).collect()
        };
        ApplicationArgs {
            sources: assignments(sources),
            rowtimes: assignments(rowtimes),
            formats: assignments(formats),
            sinks: assignments(sinks),
            memory_limit: 1 << 20,
            ..ApplicationArgs::default()
        }
    }

    async fn prepare(sql: &str, args: ApplicationArgs) -> Result<Application, String> {
        let prepared = Application::prepare(vec![Script::new("app.sql", sql)], &args, &JobArgs::default()).await;
        let application = prepared.map_err(|error| error.to_string())?;
        for script in &application.scripts {
            application.engine.execute(script).await.map_err(|error| error.to_string())?;
        }
        application.bind_sinks().map_err(|error| error.to_string())?;
        Ok(application)
    }

    #[test]
    fn names_fold_as_in_sql() {
        let scripts = [Script::new("app.sql", "SELECT STREAM * FROM ticks, \"Ticks\" -- \"bids\"")];
        for (name, expected) in [("ticks", "TICKS"), ("Ticks", "Ticks"), ("bids", "BIDS"), ("\"bids\"", "bids")] {
            assert_eq!(resolve(name, &scripts), expected);
        }
    }

    #[tokio::test]
    async fn sources_and_sinks_of_the_command_line_complete_a_script() {
        let sql =
            "CREATE STREAM out (ticker VARCHAR(4)); CREATE PUMP p AS INSERT INTO out SELECT STREAM ticker_symbol FROM ticks;";
        let source = "ticks=generator:ticks?rows=10&rate=0";
        let application = prepare(sql, args(&[source], &[], &["out=csv"], &["out=-"])).await.expect("valid");
        assert!(application.has_sinks() && application.prints_rows());
        let error = prepare(sql, args(&[source], &[], &[], &["outt=-"])).await.err().expect("no such stream");
        assert_eq!(error, "--sink outt=-: stream \"OUTT\" does not exist\nhint: Did you mean \"OUT\"?");
    }

    #[tokio::test]
    async fn errors_name_the_argument() {
        for (args, expected) in [
            (args(&["t=generator:tics"], &[], &[], &[]), "error: --source t=generator:tics: option \"kind\" cannot be 'tics'"),
            (args(&["t=fiel:x"], &[], &[], &[]), "--source t=fiel:x: there is no source connector 'fiel'"),
            (args(&[], &["t=AT"], &[], &[]), "--rowtime t=AT: there is no --source t\nhint: In a CREATE SOURCE"),
            (
                args(&["t=generator:"], &["tt=AT"], &[], &[]),
                "--rowtime tt=AT: there is no --source tt\nhint: Did you mean --rowtime t=AT?",
            ),
            (
                args(&["t=a.json", "T=b.json"], &[], &[], &[]),
                "--source T=b.json: \"T\" has one already, --source t=a.json\nhint: Leave one of the two out.",
            ),
            (
                args(&["t=generator:"], &["t=A", "t=B"], &[], &[]),
                "--rowtime t=B: \"T\" has one already, --rowtime t=A\nhint: Leave one of the two out.",
            ),
            (args(&["t=a.json"], &[], &["t=csv", "t=json"], &[]), "--format t=json: \"T\" has one already, --format t=csv"),
            (args(&[], &[], &["t=csv"], &[]), "--format t=csv: there is no --source or --sink T"),
            (args(&["t=generator:"], &["t=AT"], &[], &[]), "error: --rowtime t=AT: source \"T\" has no column \"AT\""),
            (args(&["t=generator:tics"], &["t=AT"], &[], &[]), "error: --source t=generator:tics: option \"kind\""),
        ] {
            let error = prepare("SELECT STREAM * FROM t", args).await.err().expect(expected);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn a_source_that_the_script_does_not_know_is_refused() {
        let open = "CREATE STREAM o (a INTEGER); CREATE PUMP p AS INSERT INTO o SELECT STREAM a FROM ticks;";
        let several = "CREATE SOURCE in_001 WITH (connector = 'generator'); CREATE SOURCE in_002 WITH (connector = 'generator');
                       CREATE SINK k FROM in_001 WITH (connector = 'stdout'); CREATE SINK l FROM in_002 WITH (connector = 'stdout');";
        let own = "CREATE SOURCE ticks WITH (connector = 'generator'); CREATE SINK k FROM ticks WITH (connector = 'stdout');";
        for (sql, source, expected) in [
            (open, "tiks=x", "--source tiks=x: nothing reads a stream \"TIKS\"\nhint: Did you mean \"TICKS\"?"),
            (open, "x=y", "--source x=y: nothing reads a stream \"X\"\nhint: Inputs without a CREATE SOURCE are TICKS."),
            (open, "o=y", "--source o=y: the script creates stream \"O\" itself\nhint: Pumps fill that stream."),
            (own, "tiks=x", "--source tiks=x: nothing reads a stream \"TIKS\"\nhint: Did you mean \"TICKS\"?"),
            (several, "in_00=x", "--source in_00=x: nothing reads a stream \"IN_00\"\nhint: Did you mean \"IN_001\"?"),
            (own, "x=y", "--source x=y: nothing reads a stream \"X\"\nhint: Sources of the script are TICKS."),
            ("SELECT 1", "x=y", "--source x=y: nothing reads a stream \"X\"\nhint: The script has no inputs."),
        ] {
            let error = prepare(sql, args(&[source], &[], &[], &[])).await.err().expect(expected);
            assert!(error.starts_with(expected), "{error}");
        }
        // What only a sink of the command line reads, what replaces a source, and what a prompt may read later.
        let generated = "ticks=generator:ticks?rows=1";
        prepare("SET avg_double = TRUE", args(&[generated], &[], &[], &["ticks=-"])).await.expect("read by a sink");
        prepare(own, args(&[generated], &[], &[], &[])).await.expect("replaced");
        let late = "ticks=generator:ticks?rows=1&late=LATE";
        let of_late = "CREATE STREAM o (a VARCHAR(4)); CREATE PUMP p AS INSERT INTO o SELECT STREAM ticker_symbol FROM late;";
        let of_late = prepare(of_late, args(&[late], &["ticks=EVENT_TIME"], &[], &[])).await;
        of_late.expect("only its late rows are read");
        let prompt = Application::prepare(Vec::new(), &args(&[generated], &[], &[], &[]), &JobArgs::default()).await;
        prompt.expect("nothing is known yet");
    }

    #[tokio::test]
    async fn a_prompt_is_the_reader_of_standard_input() {
        let prompt = Application::prepare(Vec::new(), &args(&[], &[], &[], &[]), &JobArgs::default()).await.expect("a prompt");
        let source = Script::new("<sql>", "CREATE SOURCE s (a INTEGER) WITH (connector = 'stdin');");
        let error = prompt.engine.execute(&source).await.err().expect("refused").to_string();
        assert!(error.starts_with("error: standard input is the prompt\n --> <sql>:1:"), "{error}");
        let bound = Application::prepare(Vec::new(), &args(&["s=-"], &[], &[], &[]), &JobArgs::default()).await;
        let error = bound.err().expect("refused").to_string();
        assert!(error.starts_with("error: --source s=-: standard input is the prompt"), "{error}");
    }
}
