//! The connectors that an engine knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{SinkFactory, SourceFactory};

/// Source and sink factories by the name that `connector = '…'` takes.
#[derive(Clone, Default)]
pub struct ConnectorRegistry {
    sources: BTreeMap<&'static str, Arc<dyn SourceFactory>>,
    sinks: BTreeMap<&'static str, Arc<dyn SinkFactory>>,
}

impl ConnectorRegistry {
    /// Adds a source connector; one of the same name is replaced.
    pub fn register_source(&mut self, factory: Arc<dyn SourceFactory>) {
        self.sources.insert(factory.name(), factory);
    }

    /// Adds a sink connector; one of the same name is replaced.
    pub fn register_sink(&mut self, factory: Arc<dyn SinkFactory>) {
        self.sinks.insert(factory.name(), factory);
    }

    /// The source connector named `name`.
    pub fn source(&self, name: &str) -> Option<&Arc<dyn SourceFactory>> {
        self.sources.get(name)
    }

    /// The sink connector named `name`.
    pub fn sink(&self, name: &str) -> Option<&Arc<dyn SinkFactory>> {
        self.sinks.get(name)
    }

    /// All source connectors, by name.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<dyn SourceFactory>> {
        self.sources.values()
    }

    /// All sink connectors, by name.
    pub fn sinks(&self) -> impl Iterator<Item = &Arc<dyn SinkFactory>> {
        self.sinks.values()
    }
}
