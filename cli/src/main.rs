//! kinesql on the command line: runs streaming KDA SQL from files, from arguments or from a prompt.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `args` | commands and options |
//! | `application` | scripts and the engine that is to run them |
//! | `app_file` | `--app` and `kinesql import`: applications as the service described them |
//! | `discover` | `kinesql discover` |
//! | `params`, `uri` | `--param`, `--source` and `--sink` |
//! | `run` | runs scripts to their end |
//! | `check` | finds mistakes, explains plans |
//! | `listing` | lists connectors |
//! | `repl` | the prompt |
//! | `render`, `progress`, `summary`, `report` | rows, progress, results and errors on the terminal |
//! | `signals` | Ctrl-C and SIGTERM |
//! | `refresh` | SIGHUP: reference tables are looked at |
//! | `memory` | gives back what only planning needs |

mod app_file;
mod application;
mod args;
mod check;
mod discover;
mod listing;
mod memory;
mod params;
mod progress;
mod refresh;
mod render;
mod repl;
mod report;
mod run;
mod signals;
mod summary;
mod trouble;
mod uri;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use kinesql_engine::Error;
use kinesql_engine::connector::ConnectorRegistry;
use kinesql_engine::diagnostic::Script;
use tokio::runtime::Runtime;

use crate::application::{Application, read_stdin};
use crate::args::{ApplicationArgs, Cli, Command, JobArgs};
use crate::report::Stop;
use crate::signals::Interrupts;

/// Hands memory back sooner than the system's allocator does when windows close.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error),
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.exit(),
    }
}

fn dispatch(cli: Cli) -> Result<(), Stop> {
    let Cli { command, text, application, job } = cli;
    match command {
        Some(Command::Run { files, application, job }) => {
            let (scripts, application) = app_file::scripts(&files, application)?;
            run(scripts, &application, &job)
        }
        Some(Command::Check { files, application }) => {
            let (scripts, application) = app_file::scripts(&files, application)?;
            prepared(scripts, &application, &JobArgs::default(), async |application, interrupts| {
                interrupts.abort_on_next(check::check(&application)).await
            })
        }
        Some(Command::Explain { files, application }) => {
            let (scripts, application) = app_file::scripts(&files, application)?;
            prepared(scripts, &application, &JobArgs::default(), async |application, interrupts| {
                interrupts.abort_on_next(check::explain(&application)).await
            })
        }
        Some(Command::Import { app, files, params }) => run::print_text(&app_file::import(&app, &files, &params)?),
        Some(Command::Discover { source, name, format, rows }) => {
            let runtime = runtime(&application)?;
            let interrupts = Interrupts::of_command()?;
            let arguments = discover::Arguments { source, name, format, rows };
            let ended = runtime.block_on(interrupts.abort_on_next(discover::run(&arguments)));
            runtime.shutdown_background();
            ended
        }
        Some(Command::Connectors { name }) => {
            let mut registry = ConnectorRegistry::default();
            kinesql_connectors::register_all(&mut registry);
            run::print_text(&listing::connectors(&registry, name.as_deref())?)
        }
        None => match text {
            Some(text) => run(vec![Script::new("<sql>", text)], &application, &job),
            None if std::io::stdin().is_terminal() => {
                let runtime = runtime(&application)?;
                let ended = repl::run(&runtime, &application, &job);
                runtime.shutdown_background();
                ended
            }
            None => run(vec![read_stdin()?], &application, &job),
        },
    }
}

fn run(scripts: Vec<Arc<Script>>, args: &ApplicationArgs, job: &JobArgs) -> Result<(), Stop> {
    prepared(scripts, args, job, async |application, interrupts| run::run(&application, job, &interrupts).await)
}

/// Prepares an application and does something with it.
fn prepared(
    scripts: Vec<Arc<Script>>,
    args: &ApplicationArgs,
    job: &JobArgs,
    action: impl AsyncFnOnce(Application, Interrupts) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let runtime = runtime(args)?;
    let interrupts = Interrupts::of_command()?;
    let ended = runtime.block_on(async {
        // Columns of a source may be inferred, which waits for standard input.
        let application = interrupts.abort_on_next(Application::prepare(scripts, args, job)).await?;
        action(application, interrupts).await
    });
    // A thread that waits for standard input would hold the process.
    runtime.shutdown_background();
    ended
}

/// Threads for the tasks of jobs; none of them does anything before there are tasks.
fn runtime(args: &ApplicationArgs) -> Result<Runtime, Stop> {
    let threads = usize::from(args.parallelism).max(2);
    // Planning recurses deeply over deep queries, and without optimisation it needs more than the usual 2 MiB.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(threads).thread_stack_size(8 << 20).enable_all().build();
    built.map_err(|error| Error::unavailable(format!("cannot start {threads} threads")).with_cause(error).into())
}

/// Prints what is wrong with the command line, or the help; `kinesql app.sql` is told about `run`, `kinesql -q run app.sql` where options
/// stand.
fn explain_usage(error: &clap::Error) -> ExitCode {
    // Standard error may be closed: there is nobody to tell then.
    let _ = error.print();
    if error.kind() == ClapErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand)
        && Path::new(name).exists()
    {
        report::note(&format!("To run a script: kinesql run {name}"));
    }
    if error.kind() == ClapErrorKind::ArgumentConflict
        && let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand)
    {
        report::note(&format!("Options stand behind the command: kinesql {command} … {}", options_before(error)));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The options that stand before a command, as clap writes them.
fn options_before(error: &clap::Error) -> String {
    match error.get(ContextKind::PriorArg) {
        Some(ContextValue::String(option)) => option.clone(),
        Some(ContextValue::Strings(options)) => options.join(" "),
        _ => String::new(),
    }
}
