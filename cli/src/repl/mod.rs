//! The prompt: SQL statements over several lines, commands that begin with a backslash, live queries.
//!
//! A statement ends with `;`. A `SELECT STREAM` prints rows until Ctrl-C, which ends the query and not the session; nor
//! does any error. `\run` runs pumps and sinks as `kinesql run` does.

mod commands;
mod complete;
mod editor;
mod highlight;

use std::sync::Arc;
use std::time::Duration;

use kinesql_engine::diagnostic::Script;
use kinesql_engine::{Error, Outcome, Result};
use reedline::{Reedline, Signal};
use tokio::runtime::Runtime;

use self::commands::{Command, HELP};
use crate::application::{Application, read_script};
use crate::args::{ApplicationArgs, JobArgs};
use crate::render::print_rows;
use crate::report::{self, Stop};
use crate::run::{JobWatch, print_text};
use crate::signals::Interrupts;
use crate::summary::{count, summary, time};

/// Reads and executes until the user quits.
pub fn run(runtime: &Runtime, args: &ApplicationArgs, job: &JobArgs) -> Result<(), Stop> {
    // SIGTERM ends a prompt as it ends any program.
    let interrupts = Interrupts::of_prompt()?;
    let prepared = Application::prepare(Vec::new(), args, job);
    let application = runtime.block_on(interrupts.abort_on_next(prepared))?;
    let mut session = Session { runtime, application, args, job, interrupts, timing: false, sinks_bound: false };
    let mut editor = editor::editor(&session.application.engine);
    if !job.quiet {
        report::note(&format!("kinesql {}. \\? shows help, Ctrl-D quits.", env!("CARGO_PKG_VERSION")));
    }
    loop {
        let text = match editor.read_line(&editor::SqlPrompt) {
            Ok(Signal::Success(text)) => text,
            Ok(Signal::CtrlD) => return Ok(()),
            Ok(_) => continue,
            Err(error) => return Err(Error::unavailable("cannot read from the terminal").with_cause(error).into()),
        };
        match session.answer(&text, &mut editor) {
            Ok(true) => {}
            Ok(false) | Err(Stop::Closed) => return Ok(()),
            Err(Stop::Error(error)) => report::error(&error),
            Err(Stop::Aborted) => report::note("cancelled"),
            Err(Stop::Reported(_)) => {}
        }
    }
}

struct Session<'a> {
    runtime: &'a Runtime,
    application: Application,
    args: &'a ApplicationArgs,
    job: &'a JobArgs,
    interrupts: Interrupts,
    timing: bool,
    sinks_bound: bool,
}

impl Session<'_> {
    /// Does what one input asks for; false to quit.
    fn answer(&mut self, text: &str, editor: &mut Reedline) -> Result<bool, Stop> {
        let command = match Command::parse(text) {
            None => {
                self.execute(&Script::new("<sql>", text))?;
                return Ok(true);
            }
            Some(command) => command?,
        };
        let objects = || self.application.engine.objects();
        match command {
            Command::Quit => return Ok(false),
            Command::Nothing => {}
            Command::Help => print_text(HELP)?,
            Command::List => print_text(&commands::list(&objects()))?,
            Command::Describe(name) => print_text(&commands::describe(&name, &objects())?)?,
            Command::Include(file) => {
                let mut params = crate::params::Params::try_new(&self.args.params)?;
                let script = params.apply(read_script(&file)?.as_ref())?;
                self.execute(&script)?;
            }
            Command::Run => self.run_job()?,
            Command::Timing => {
                self.timing = !self.timing;
                print_text(if self.timing { "Timing is on." } else { "Timing is off." })?;
            }
            Command::Clear => editor.clear_screen()?,
        }
        Ok(true)
    }

    fn execute(&self, script: &Arc<Script>) -> Result<(), Stop> {
        let Self { application, interrupts, job, .. } = self;
        let clock = application.engine.clock();
        let started = clock.now();
        self.runtime.block_on(async {
            for outcome in interrupts.abort_on_next(application.engine.execute(script)).await? {
                match outcome {
                    Outcome::Created(what) => print_text(&format!("created {what}"))?,
                    Outcome::Dropped(what) => print_text(&format!("dropped {what}"))?,
                    Outcome::Altered(what) => print_text(&format!("altered {what}"))?,
                    Outcome::Refreshed(what) => print_text(&format!("refreshed {what}"))?,
                    Outcome::Explained(text) => print_text(&text)?,
                    Outcome::Warning(warning) => report::warning(&warning),
                    Outcome::Query(query) => {
                        if query.metrics().is_some() {
                            report::note("rows as they arrive, until Ctrl-C:");
                        }
                        let printed = print_rows(query, job.output, interrupts, interrupts.count()).await?;
                        let stopped = if printed.stopped { ", stopped" } else { "" };
                        report::note(&format!("({}{stopped})", count(printed.rows, "row")));
                    }
                }
            }
            Ok::<_, Stop>(())
        })?;
        if self.timing {
            report::note(&format!("time: {}", time(elapsed(started, clock.now()))));
        }
        Ok(())
    }

    /// Runs all pumps and sinks until their sources end or Ctrl-C.
    fn run_job(&mut self) -> Result<(), Stop> {
        if !self.sinks_bound {
            self.application.bind_sinks()?;
            self.sinks_bound = true;
        }
        let Self { application, interrupts, job: args, .. } = self;
        let engine = &application.engine;
        let started = engine.clock().now();
        self.runtime.block_on(async {
            let base = interrupts.count();
            let job = interrupts.abort_on_next(engine.start()).await?;
            engine.check_rows().iter().for_each(report::warning);
            report::note("running until the sources end or Ctrl-C");
            let watch = JobWatch { engine, args, interrupts, prints_rows: application.prints_rows(), base };
            let ended = watch.run(&job).await;
            report::note(&summary(job.metrics(), elapsed(started, engine.clock().now()), ended.is_ok()));
            ended
        })
    }
}

fn elapsed(start: i64, end: i64) -> Duration {
    Duration::from_millis(u64::try_from(end - start).unwrap_or(0))
}
