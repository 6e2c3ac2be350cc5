//! `kinesql run`, and everything else that runs scripts without a prompt: `kinesql -c`, `kinesql < script.sql`.
//!
//! Scripts are executed in order. If there is a sink then all pumps and sinks run as one job; while it runs, queries in the
//! scripts are printed, one after the other. An error of the one ends the other.

use std::sync::Arc;
use std::time::Duration;

use kinesql_engine::diagnostic::Diagnostic;
use kinesql_engine::runtime::clock::Clock;
use kinesql_engine::{Engine, Job, Outcome, QueryStream};

use crate::application::Application;
use crate::args::{JobArgs, Output};
use crate::memory;
use crate::progress::{self, Progress};
use crate::refresh::Requests;
use crate::render::{print_rows, write};
use crate::report::{self, Stop};
use crate::signals::Interrupts;
use crate::summary::summary;
use crate::trouble::Told;

/// Time between two looks at a job whose progress is not shown.
const UNSEEN: Duration = Duration::from_secs(1);

/// Runs an application to its end, or until it is interrupted.
pub async fn run(application: &Application, args: &JobArgs, interrupts: &Interrupts) -> Result<(), Stop> {
    let engine = &application.engine;
    let mut queries = Vec::new();
    let mut explained = false;
    for script in &application.scripts {
        for outcome in interrupts.abort_on_next(engine.execute(script)).await? {
            match outcome {
                Outcome::Query(query) => queries.push(query),
                Outcome::Explained(text) => {
                    explained = true;
                    print_text(&text)?;
                }
                Outcome::Warning(warning) => report::warning(&warning),
                Outcome::Created(_) | Outcome::Dropped(_) | Outcome::Altered(_) | Outcome::Refreshed(_) => {}
            }
        }
    }
    let requests = Requests::listen(engine);
    tokio::select! {
        ended = start(application, args, interrupts, queries, explained) => ended,
        never = requests.serve(engine, args.quiet) => match never {},
    }
}

/// Starts what the scripts have created, and waits for its end.
async fn start(
    application: &Application,
    args: &JobArgs,
    interrupts: &Interrupts,
    queries: Vec<QueryStream>,
    explained: bool,
) -> Result<(), Stop> {
    let engine = &application.engine;
    application.bind_sinks()?;
    if !application.has_sinks() && (explained || !queries.is_empty()) {
        if args.checkpoint_dir.is_some() {
            let unused = Diagnostic::warning("--checkpoint-dir is not used: a query has no checkpoints, only sinks have");
            report::warning(&unused.hint("Let a pump fill a stream and add --sink STREAM=-."));
        }
        return print_queries(queries, args.output, interrupts).await;
    }
    let prints_rows = application.prints_rows() || !queries.is_empty();
    let started = engine.clock().now();
    let job = interrupts.abort_on_next(engine.start()).await.map_err(|stop| match stop {
        Stop::Error(error) => application.explain_sink_error(error).into(),
        stop => stop,
    })?;
    engine.check_rows().iter().for_each(report::warning);
    memory::release_code();
    let watch = JobWatch { engine, args, interrupts, prints_rows, base: 0 };
    let ended = both(&job, watch.run(&job), print_queries(queries, args.output, interrupts)).await;
    let elapsed = Duration::from_millis(u64::try_from(engine.clock().now() - started).unwrap_or(0));
    if !args.quiet && !matches!(ended, Err(Stop::Closed | Stop::Aborted)) {
        report::note(&summary(job.metrics(), elapsed, ended.is_ok()));
    }
    ended
}

/// Waits for the sinks and the queries of a run. The first error is its result: if the sinks fail the queries end at once, if a
/// query fails the job is stopped as Ctrl-C stops it.
async fn both(
    job: &Job,
    sinks: impl Future<Output = Result<(), Stop>>,
    queries: impl Future<Output = Result<(), Stop>>,
) -> Result<(), Stop> {
    let (mut sinks, mut queries) = (std::pin::pin!(sinks), std::pin::pin!(queries));
    tokio::select! {
        ended = &mut sinks => match ended {
            Ok(()) => queries.await,
            failed => failed,
        },
        ended = &mut queries => match ended {
            // That nobody reads the rows of a query is no reason to write less to a sink.
            Ok(()) | Err(Stop::Closed) => sinks.await,
            Err(Stop::Aborted) => ended,
            failed => {
                job.stop();
                // It has failed already; how the rest of it ends adds nothing.
                let _ = sinks.await;
                failed
            }
        },
    }
}

/// Prints text of several lines to standard output.
pub fn print_text(text: &str) -> Result<(), Stop> {
    write(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
}

async fn print_queries(queries: Vec<QueryStream>, output: Option<Output>, interrupts: &Interrupts) -> Result<(), Stop> {
    for query in queries {
        if interrupts.count() > 0 {
            break;
        }
        print_rows(query, output, interrupts, 0).await?;
    }
    Ok(())
}

/// Waits for a job, shows its progress and lets the user stop it.
pub struct JobWatch<'a> {
    /// The engine of the job.
    pub engine: &'a Engine,
    /// What to show.
    pub args: &'a JobArgs,
    /// Where Ctrl-C arrives.
    pub interrupts: &'a Interrupts,
    /// True if rows are printed to standard output meanwhile.
    pub prints_rows: bool,
    /// Interrupts that came before the job.
    pub base: u64,
}

impl JobWatch<'_> {
    /// Returns when the job has ended. The first interrupt stops it, the second aborts it.
    pub async fn run(&self, job: &Job) -> Result<(), Stop> {
        let clock: &Arc<dyn Clock> = self.engine.clock();
        let epoch = job.metrics().epoch.load(std::sync::atomic::Ordering::Relaxed);
        if epoch > 0 && !self.args.quiet {
            report::note(&format!("going on from checkpoint {epoch}"));
        }
        let shows_progress = !self.args.quiet && !self.args.no_progress;
        let mut progress = shows_progress.then(|| Progress::start(job.metrics(), clock, self.prints_rows)).flatten();
        let mut ended = std::pin::pin!(job.wait());
        let mut stopping = false;
        let mut told = Told::default();
        loop {
            tokio::select! {
                result = &mut ended => {
                    drop(progress);
                    return Ok(result?);
                }
                () = self.interrupts.reached(self.base + 1), if !stopping => {
                    stopping = true;
                    if let Some(shown) = progress.take() {
                        drop(shown);
                    }
                    if !self.args.quiet {
                        report::note(match self.args.checkpoint_dir {
                            Some(_) => "stopping: processing what was read, then a last checkpoint (Ctrl-C again aborts)",
                            None => "stopping: processing what was read (Ctrl-C again aborts)",
                        });
                    }
                    job.stop();
                }
                () = self.interrupts.reached(self.base + 2), if stopping => {
                    job.abort();
                    return Err(Stop::Aborted);
                }
                () = clock.sleep(if progress.is_some() { progress::REFRESH } else { UNSEEN }), if !self.args.quiet => {
                    for note in told.notes(job.metrics(), clock.now()) {
                        match &progress {
                            Some(progress) => progress.note(&note),
                            None => report::note(&note),
                        }
                    }
                    if stopping && let Some(waiting) = told.waiting(job.metrics(), clock.now()) {
                        report::note(&waiting);
                    }
                    if let Some(progress) = &mut progress {
                        progress.update();
                    }
                }
            }
        }
    }
}
