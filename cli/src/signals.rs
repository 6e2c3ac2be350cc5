//! Ctrl-C and SIGTERM, counted: the first asks to stop, the second to stop at once.

use std::sync::Arc;

use tokio::sync::watch;

use crate::report::Stop;

/// Counts signals from its creation on. From then on they no longer end the process by themselves.
#[derive(Debug, Clone)]
pub struct Interrupts {
    count: Arc<watch::Sender<u64>>,
}

impl Interrupts {
    /// Listens to Ctrl-C, and with `terminate` to SIGTERM. To be called within a Tokio runtime.
    pub fn listen(terminate: bool) -> Self {
        let interrupts = Self { count: Arc::new(watch::Sender::new(0)) };
        #[cfg(unix)]
        {
            use tokio::signal::unix::SignalKind;
            interrupts.listen_to(SignalKind::interrupt());
            if terminate {
                interrupts.listen_to(SignalKind::terminate());
            }
        }
        #[cfg(not(unix))]
        {
            let _ = terminate;
            let count = interrupts.count.clone();
            tokio::spawn(async move {
                while tokio::signal::ctrl_c().await.is_ok() {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        interrupts
    }

    #[cfg(unix)]
    fn listen_to(&self, kind: tokio::signal::unix::SignalKind) {
        // Where a signal cannot be listened to, it ends the process as it always did.
        if let Ok(mut signal) = tokio::signal::unix::signal(kind) {
            let count = self.count.clone();
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
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
