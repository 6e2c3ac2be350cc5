//! Reference tables: rows that are read as a whole, and again when their source has changed (kda-sql-reference.md §4.6, §6.11).
//!
//! A [`Table`] is a DataFusion table whose rows can be replaced. What joins computed from it is registered as [`Derived`].
//! A refresh asks the source for its version and, if that is another one, reads it and computes everything anew beside what
//! is in use; only when all of that has succeeded is it swapped, between two batches. A version that cannot be read, or that
//! is worse than the one in use, changes nothing and is reported once: to the caller, or through the joins to `error_stream`.
//!
//! A version is worse if it refuses more records than the one in use, or has no rows where that one has some: so do objects
//! look that were cut off while they were written.

mod read;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::{MemTable, TableProvider, TableType, source_as_provider};
use datafusion::logical_expr::{Expr, TableSource};
use datafusion::physical_plan::ExecutionPlan;

pub use read::Contents;

use crate::catalog::SourceEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::clock::{Clock, EventTime};

/// What was computed from a table and has to follow it.
#[async_trait]
pub trait Derived: Send + Sync {
    /// Computes it from the table's new rows; nothing changes until the returned call.
    async fn recompute(self: Arc<Self>) -> Result<Box<dyn FnOnce() + Send>>;

    /// Something happened to the table that the readers of `error_stream` should know.
    fn note(&self, note: Note);
}

/// What a join says of its table in `error_stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// `ERROR` or `WARN`.
    pub level: &'static str,
    /// [`NOT_REFRESHED`] or [`CHANGED`].
    pub name: &'static str,
    /// What happened.
    pub message: String,
}

/// `ERROR_NAME` where a new version cannot be used.
pub const NOT_REFRESHED: &str = "REFERENCE_DATA_ERROR";

/// `ERROR_NAME` where a job goes on with another version than that of its checkpoint.
pub const CHANGED: &str = "REFERENCE_DATA_CHANGED";

/// What a refresh did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// The source still has the version in use.
    Unchanged,
    /// A new version is in use.
    Replaced {
        /// Its rows.
        rows: usize,
        /// What the source calls it.
        version: Option<String>,
    },
}

/// A reference table.
pub struct Table {
    this: Weak<Self>,
    name: String,
    entry: SourceEntry,
    schema: SchemaRef,
    clock: Arc<dyn Clock>,
    /// Time between two looks at the source; None: only on command.
    interval: Option<Duration>,
    contents: RwLock<Arc<Contents>>,
    derived: Mutex<Vec<Weak<dyn Derived>>>,
    /// Held during a refresh.
    looks: tokio::sync::Mutex<Looks>,
}

/// What is known of the source between two refreshes.
struct Looks {
    last: EventTime,
    /// The version that was found bad, so that it is read and reported once.
    bad: Option<String>,
}

impl Table {
    /// Reads the table for the first time. `entry` has its columns; `interval` is the time between two looks at the source.
    pub(crate) async fn load(
        name: &str,
        entry: SourceEntry,
        schema: SchemaRef,
        clock: Arc<dyn Clock>,
        interval: Option<Duration>,
    ) -> Result<Arc<Self>> {
        let contents = read::read(&entry, &schema, &clock).await?;
        if let (Some(_), None) = (interval, &contents.version) {
            let problem = format!("connector '{}' cannot say whether its data has changed", entry.connector);
            return Err(Error::config(problem).with_hint("Leave the option \"refresh\" out."));
        }
        let looks = tokio::sync::Mutex::new(Looks { last: clock.now(), bad: None });
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            name: name.to_owned(),
            entry,
            schema,
            clock,
            interval,
            contents: RwLock::new(Arc::new(contents)),
            derived: Mutex::default(),
            looks,
        }))
    }

    /// The table behind the scan of a plan; None for tables that a program registered itself.
    pub(crate) fn of(scan: &Arc<dyn TableSource>) -> Option<Arc<Self>> {
        let provider = source_as_provider(scan).ok()?;
        provider.downcast_ref::<Self>()?.this.upgrade()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rows in use.
    pub fn contents(&self) -> Arc<Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers what was computed from the table; it is forgotten when nobody holds it any more.
    pub fn add_derived(&self, derived: Weak<dyn Derived>) {
        let mut all = self.derived();
        all.retain(|derived| derived.strong_count() > 0);
        all.push(derived);
    }

    /// Looks at the source now. An error leaves the table as it is.
    pub async fn refresh(&self) -> Result<Refreshed> {
        let mut looks = self.looks.lock().await;
        // Who asks wants to know, even if the version was found bad before.
        looks.bad = None;
        self.look(&mut looks).await
    }

    /// Looks at the source whenever the interval has passed, reporting through the joins; never returns. Of several callers
    /// one looks.
    pub(crate) async fn keep_fresh(&self) {
        let Some(interval) = self.interval else { return std::future::pending().await };
        loop {
            let due = self.looks.lock().await.last.saturating_add(interval.as_millis() as i64);
            self.clock.sleep_until(due).await;
            let mut looks = self.looks.lock().await;
            if looks.last.saturating_add(interval.as_millis() as i64) > self.clock.now() {
                continue;
            }
            if let Err(error) = self.look(&mut looks).await {
                self.note(NOT_REFRESHED, "ERROR", error.message());
            }
        }
    }

    /// Tells the joins that a checkpoint was made with version `saved`, if that is not the one in use.
    pub(crate) fn compare_with(&self, saved: &str) {
        let contents = self.contents();
        let version = contents.version.as_deref().unwrap_or("unknown");
        if version != saved {
            let what = format!("table \"{}\" has version {version}, at the checkpoint it had {saved}", self.name);
            self.note(CHANGED, "WARN", &format!("{what}: rows from here on are joined with the new one"));
        }
    }

    fn note(&self, name: &'static str, level: &'static str, message: &str) {
        let derived: Vec<_> = self.derived().iter().filter_map(Weak::upgrade).collect();
        for derived in derived {
            derived.note(Note { level, name, message: message.to_owned() });
        }
    }

    fn derived(&self) -> MutexGuard<'_, Vec<Weak<dyn Derived>>> {
        // Entries are only added and removed as a whole.
        self.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, looks: &mut Looks) -> Result<Refreshed> {
        looks.last = self.clock.now();
        let kept = |error: Error| {
            let Self { name, .. } = self;
            let said = format!("table \"{name}\" keeps the version it has: {}", error.message());
            let kept = Error::new(error.kind(), said);
            match error.hint() {
                Some(hint) => kept.with_hint(hint),
                None => kept,
            }
        };
        let version = self.entry.source.version().await.map_err(kept)?;
        let current = self.contents();
        if version.is_some() && (version == current.version || version == looks.bad) {
            return Ok(Refreshed::Unchanged);
        }
        let new = match read::read(&self.entry, &self.schema, &self.clock).await.and_then(|new| better(new, &current)) {
            Ok(new) => new,
            Err(error) => {
                // What could not be reached may be whole; what is damaged stays so.
                looks.bad = version.filter(|_| error.kind() != ErrorKind::Unavailable);
                return Err(kept(error));
            }
        };
        let refreshed = Refreshed::Replaced { rows: new.rows(), version: new.version.clone() };
        let version = new.version.clone();
        self.swap(Arc::new(new), current).await.map_err(|error| {
            looks.bad = version;
            kept(error)
        })?;
        looks.bad = None;
        Ok(refreshed)
    }

    /// Puts `new` in the place of `current` and everything computed from it with it, or nothing at all.
    async fn swap(&self, new: Arc<Contents>, current: Arc<Contents>) -> Result<()> {
        let set = |contents: Arc<Contents>| *self.contents.write().unwrap_or_else(PoisonError::into_inner) = contents;
        set(new);
        let derived: Vec<_> = self.derived().iter().filter_map(Weak::upgrade).collect();
        let mut swaps = Vec::with_capacity(derived.len());
        for derived in derived {
            match derived.recompute().await {
                Ok(swap) => swaps.push(swap),
                Err(error) => {
                    set(current);
                    return Err(error);
                }
            }
        }
        swaps.into_iter().for_each(|swap| swap());
        Ok(())
    }
}

/// The new contents, unless they are worse than the current ones.
fn better(new: Contents, current: &Contents) -> Result<Contents> {
    let version = new.version.as_deref().map(|version| format!("version {version}")).unwrap_or_else(|| "the data".to_owned());
    if new.refused > current.refused {
        let first = new.first_refused.as_deref().unwrap_or_default();
        let what = format!("{version} has {} records that cannot be used; the first: {first}", new.refused);
        return Err(Error::data(what).with_hint("Write the object again as a whole, or CREATE OR REPLACE the table to take it."));
    }
    if new.rows() == 0 && current.rows() > 0 {
        let what = format!("{version} has no rows, the one in use has {}", current.rows());
        return Err(Error::data(what).with_hint("CREATE OR REPLACE the table if it is meant to be empty."));
    }
    Ok(new)
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.name)
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let rows = MemTable::try_new(self.schema.clone(), vec![self.contents().batches.clone()])?;
        rows.scan(state, projection, filters, limit).await
    }
}

impl Contents {
    /// Number of its rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}
