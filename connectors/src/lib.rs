//! Sources and sinks of kinesql.
//!
//! | Connector | Source | Sink |
//! | --- | --- | --- |
//! | `file` | [`file::FileSourceFactory`] | [`file::FileSinkFactory`] |
//! | `firehose` | [`firehose::FirehoseSourceFactory`] | |
//! | `generator` | [`generator::GeneratorSourceFactory`] | |
//! | `kinesis` | [`kinesis::KinesisSourceFactory`] | |
//! | `s3`, `gcs`, `azure` | [`storage::StorageSourceFactory`] | [`storage::StorageSinkFactory`] |
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
pub mod firehose;
pub mod generator;
pub mod kinesis;
mod parquet;
pub mod stdin;
pub mod stdout;
pub mod storage;

/// Registers every connector of this crate: the only list of them.
pub fn register_all(registry: &mut ConnectorRegistry) {
    registry.register_source(Arc::new(file::FileSourceFactory));
    registry.register_source(Arc::new(firehose::FirehoseSourceFactory));
    registry.register_source(Arc::new(generator::GeneratorSourceFactory));
    registry.register_source(Arc::new(kinesis::KinesisSourceFactory));
    registry.register_source(Arc::new(stdin::StdinSourceFactory));
    for service in [storage::Service::S3, storage::Service::Gcs, storage::Service::Azure] {
        registry.register_source(Arc::new(storage::StorageSourceFactory(service)));
        registry.register_sink(Arc::new(storage::StorageSinkFactory(service)));
    }
    registry.register_sink(Arc::new(file::FileSinkFactory));
    registry.register_sink(Arc::new(stdout::StdoutSinkFactory));
}
