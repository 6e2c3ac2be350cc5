//! Ctrl-C and SIGTERM, counted: the first asks to stop, the second to stop at once.
//!
//! They arrive on a thread of their own: every thread of the runtime may be busy with one long step of a query.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kinesql_engine::Error;
use kinesql_engine::runtime::clock::{Clock as _, SystemClock};
use tokio::sync::watch;

use crate::report::{ABORTED, Stop};

/// How long a command may take to end after the second signal. Then the process ends, whatever it is doing.
const GRACE: Duration = Duration::from_secs(1);

/// Counts signals from its creation on. From then on they no longer end the process by themselves.
#[derive(Debug, Clone)]
pub struct Interrupts {
    count: Arc<watch::Sender<u64>>,
}

impl Interrupts {
    /// Listens for one command: to Ctrl-C and SIGTERM. The second of them ends the process.
    pub fn of_command() -> Result<Self, Stop> {
        Self::listen(true)
    }

    /// Listens for a prompt: to Ctrl-C, which ends what the prompt is doing and never the process.
    pub fn of_prompt() -> Result<Self, Stop> {
        Self::listen(false)
    }

    fn listen(is_command: bool) -> Result<Self, Stop> {
        let failed = |error| Error::unavailable("cannot start the thread that waits for Ctrl-C").with_cause(error);
        let interrupts = Self { count: Arc::new(watch::Sender::new(0)) };
        let count = interrupts.count.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        // From here on, not from when the thread runs, so that no signal is missed.
        let mut signals = {
            let _context = runtime.enter();
            signals(is_command)
        };
        let counting = async move {
            while signals.next().await.is_some() {
                count.send_modify(|count| *count += 1);
                if is_command && *count.borrow() >= 2 {
                    SystemClock::default().sleep(GRACE).await;
                    std::process::exit(i32::from(ABORTED));
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(counting));
        thread.map_err(failed)?;
        Ok(interrupts)
    }

    /// Signals so far.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Waits until there were `count` signals. Safe to cancel.
    pub async fn reached(&self, count: u64) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|current| *current >= count).await;
    }

    /// Does something that can be dropped at any time: the next signal ends it with [`Stop::Aborted`].
    pub async fn abort_on_next<T, E: Into<Stop>>(&self, action: impl Future<Output = Result<T, E>>) -> Result<T, Stop> {
        let next = self.count() + 1;
        tokio::select! {
            result = action => result.map_err(Into::into),
            () = self.reached(next) => Err(Stop::Aborted),
        }
    }
}

/// The signals that are counted. Where one cannot be listened to, it ends the process as it always did.
#[cfg(unix)]
fn signals(terminate: bool) -> impl Stream<Item = ()> + Send + Unpin {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [Some(SignalKind::interrupt()), terminate.then(SignalKind::terminate)];
    let listened = kinds.into_iter().flatten().filter_map(|kind| signal(kind).ok());
    futures::stream::select_all(listened.map(|mut signal| futures::stream::poll_fn(move |context| signal.poll_recv(context))))
}

#[cfg(not(unix))]
fn signals(_terminate: bool) -> impl Stream<Item = ()> + Send + Unpin {
    futures::stream::unfold((), async |()| tokio::signal::ctrl_c().await.ok().map(|()| ((), ()))).boxed()
}

#[cfg(test)]
impl Interrupts {
    /// Those that a test raises.
    pub fn raised() -> Self {
        Self { count: Arc::new(watch::Sender::new(0)) }
    }

    /// Counts one.
    pub fn raise(&self) {
        self.count.send_modify(|count| *count += 1);
    }
}
