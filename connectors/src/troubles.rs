//! What keeps a connector from getting on, while it is tried again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kinesql_engine::connector::Trouble;
use kinesql_engine::runtime::clock::EventTime;

/// Since when everything has failed, and why the last attempt did.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<Option<Trouble>>);

impl Troubles {
    /// An attempt failed at `now`.
    pub(crate) fn failing(&self, now: EventTime, reason: &str) {
        let mut trouble = self.lock();
        let since = trouble.take().map_or(now, |trouble| trouble.since);
        *trouble = Some(Trouble { since, reason: reason.to_owned() });
    }

    /// An attempt succeeded.
    pub(crate) fn over(&self) {
        *self.lock() = None;
    }

    /// What is wrong now.
    pub(crate) fn current(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
