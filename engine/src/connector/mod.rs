//! What a connector is: the traits that sources and sinks implement, their options, and the list of known ones.
//!
//! The engine knows no concrete connector but `memory`; `kinesql-connectors` and embedders register theirs in a
//! [`ConnectorRegistry`].

pub mod common;
pub(crate) mod conflicts;
pub mod memory;
pub mod options;
pub mod registry;
pub mod sink;
pub mod source;

pub use options::{OptionEntry, OptionKind, OptionSpec, Options};
pub use registry::ConnectorRegistry;
pub use sink::{RefusedRows, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter};
pub use source::{
    ARRIVAL_TIME, BEHIND_LATEST_MS, ConnectorMetric, Envelopes, Offset, Payload, Read, Records, SEQUENCE_NUMBER, Sample, Source,
    SourceContext, SourceDefinition, SourceFactory, SplitReader, Trouble, kinesis_metadata,
};
