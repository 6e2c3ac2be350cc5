//! Reference tables that are looked at when somebody asks for it: SIGHUP, as servers are told to read their files again.
//!
//! Only a job with tables that is not started at a terminal listens: there SIGHUP says that the terminal is gone, and ends it.

use std::convert::Infallible;
use std::io::IsTerminal as _;

use kinesql_engine::Engine;
use kinesql_engine::table::Refreshed;

use crate::report;

/// Requests to refresh; from its creation on they no longer end the process.
#[derive(Debug)]
pub struct Requests {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Requests {
    /// Listens if there is something to refresh. To be called within a Tokio runtime, when all tables are there.
    pub fn listen(engine: &Engine) -> Self {
        let at_terminal = std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
        let listens = engine.objects().iter().any(|object| object.kind == "table") && !at_terminal;
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            // Where it cannot be listened to, it ends the process as it always did.
            Self { signal: listens.then(|| signal(SignalKind::hangup()).ok()).flatten() }
        }
        #[cfg(not(unix))]
        {
            let _ = listens;
            Self {}
        }
    }

    /// Waits for the next request.
    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }

    /// Refreshes all tables whenever it is asked for and says what became of it, on standard error; never returns.
    pub async fn serve(mut self, engine: &Engine, quiet: bool) -> Infallible {
        loop {
            self.next().await;
            for (table, refreshed) in engine.refresh_tables().await {
                match refreshed {
                    Ok(_) if quiet => {}
                    Ok(Refreshed::Unchanged) => report::note(&format!("table {table} is unchanged")),
                    Ok(Refreshed::Replaced { rows, .. }) => report::note(&format!("table {table} is refreshed: {rows} rows")),
                    // The job goes on with the rows that the table has.
                    Err(error) => report::error(&error),
                }
            }
        }
    }
}
