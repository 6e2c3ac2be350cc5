//! Refuses a job whose sinks would destroy each other's output, or what the job reads.

use crate::catalog::{Catalog, SinkEntry};
use crate::error::{Error, Result};

/// Checks the local files that `sinks` own against each other and against what the catalog's sources and tables read.
pub(crate) fn check_paths(catalog: &Catalog, sinks: &[SinkEntry]) -> Result<()> {
    for (i, sink) in sinks.iter().enumerate() {
        let Some(path) = sink.sink.owned_path() else { continue };
        if let Some(other) = sinks[..i].iter().find(|other| other.sink.owned_path().as_deref() == Some(&path)) {
            let both = format!("sinks \"{}\" and \"{}\" both write '{}'", other.name, sink.name, path.display());
            return Err(Error::config(both).with_hint("Give each sink a path of its own, or let pumps fill one stream."));
        }
        let streams = catalog.streams.iter().filter_map(|(name, entry)| Some(("source", name, &entry.source.as_ref()?.source)));
        let tables = catalog.tables.iter().map(|(name, entry)| ("table", name, &entry.source));
        if let Some((kind, name, _)) = streams.chain(tables).find(|(_, _, source)| source.reads_path(&path)) {
            let both = format!("sink \"{}\" would overwrite '{}', which {kind} \"{name}\" reads", sink.name, path.display());
            return Err(Error::config(both).with_hint("Give the sink another path."));
        }
    }
    Ok(())
}
