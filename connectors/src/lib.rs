//! Sources and sinks of kinesql.
//!
//! | Connector | Source | Sink |
//! | --- | --- | --- |
//! | `file` | [`file::FileSourceFactory`] | [`file::FileSinkFactory`] |
//! | `generator` | [`generator::GeneratorSourceFactory`] | |
//! | `kinesis` | [`kinesis::KinesisSourceFactory`] | |
//! | `stdin` | [`stdin::StdinSourceFactory`] | |
//! | `stdout` | | [`stdout::StdoutSinkFactory`] |

use std::sync::Arc;

use kinesql_engine::connector::ConnectorRegistry;

pub mod aws;
mod blocking;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(test)]
mod documentation;
pub mod file;
pub mod generator;
pub mod kinesis;
pub mod stdin;
pub mod stdout;

/// Registers every connector of this crate: the only list of them.
pub fn register_all(registry: &mut ConnectorRegistry) {
    registry.register_source(Arc::new(file::FileSourceFactory));
    registry.register_source(Arc::new(generator::GeneratorSourceFactory));
    registry.register_source(Arc::new(kinesis::KinesisSourceFactory));
    registry.register_source(Arc::new(stdin::StdinSourceFactory));
    registry.register_sink(Arc::new(file::FileSinkFactory));
    registry.register_sink(Arc::new(stdout::StdoutSinkFactory));
}
