//! The manifest: one JSON file per epoch that names everything a restart needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Epoch;
use crate::connector::{Offset, SinkState};
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;

/// Version of the layout; a checkpoint of another version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The epoch.
    pub epoch: Epoch,
    /// What every operator chain computed when it was saved, by chain: a changed script shows here.
    pub definitions: BTreeMap<String, String>,
    /// Per source and split, how far it was read.
    pub sources: BTreeMap<String, BTreeMap<String, SplitPosition>>,
    /// Per sink, what it needs to continue.
    pub sinks: BTreeMap<String, SinkState>,
    /// Per operator with state, the file that holds it.
    pub states: BTreeMap<String, String>,
    /// Per reference table that has one, the version that rows were joined with.
    #[serde(default)]
    pub tables: BTreeMap<String, String>,
}

/// How far a split was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitPosition {
    /// The source's own offset; None if nothing was read yet.
    pub offset: Option<Offset>,
    /// Greatest ROWTIME seen, or that of the slowest part, from which the watermark follows; None before the first row.
    pub max_rowtime: Option<EventTime>,
    /// The greatest ROWTIME of every open part (shard), None before its first row; None if the split has no parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<BTreeMap<String, Option<EventTime>>>,
}

impl Manifest {
    /// Refuses a checkpoint that was made by other statements, naming what differs.
    pub fn check_definitions(&self, current: &BTreeMap<String, String>) -> Result<()> {
        let mut differences = Vec::new();
        for (name, definition) in current {
            match self.definitions.get(name) {
                None => differences.push(format!("{name} is new")),
                Some(saved) if saved != definition => differences.push(format!("{name} has changed")),
                Some(_) => {}
            }
        }
        differences
            .extend(self.definitions.keys().filter(|name| !current.contains_key(*name)).map(|name| format!("{name} is gone")));
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::state(format!("checkpoint {} was made by another script: {}", self.epoch, differences.join(", ")))
            .with_hint("Run the script that made it, or start over with an empty --checkpoint-dir."))
    }
}
