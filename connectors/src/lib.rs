//! Sources and sinks of kinesql.
//!
//! | Connector | Source | Sink |
//! | --- | --- | --- |
//! | `file` | [`file::FileSourceFactory`] | [`file::FileSinkFactory`] |
//! | `firehose` | [`firehose::FirehoseSourceFactory`] | [`firehose::FirehoseSinkFactory`] |
//! | `generator` | [`generator::GeneratorSourceFactory`] | |
//! | `http` | | [`http::HttpSinkFactory`] |
//! | `kinesis` | [`kinesis::KinesisSourceFactory`] | [`kinesis::KinesisSinkFactory`] |
//! | `lambda` | | [`lambda::LambdaSinkFactory`] |
//! | `s3`, `gcs`, `azure` | [`storage::StorageSourceFactory`] | [`storage::StorageSinkFactory`] |
//! | `stdin` | [`stdin::StdinSourceFactory`] | |
//! | `stdout` | | [`stdout::StdoutSinkFactory`] |

use std::sync::Arc;

use kinesql_engine::connector::ConnectorRegistry;

pub mod application;
pub mod aws;
mod blocking;
mod causes;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod delivery;
#[cfg(test)]
mod documentation;
pub mod file;
pub mod firehose;
pub mod generator;
pub mod http;
pub mod kinesis;
pub mod lambda;
mod parquet;
#[cfg(test)]
mod rules;
mod sample;
mod secret;
pub mod stdin;
pub mod stdout;
pub mod storage;
#[cfg(test)]
mod stub;
mod troubles;

use self::lambda::preprocessor::Preprocessed;

/// Registers every connector of this crate: the only list of them.
pub fn register_all(registry: &mut ConnectorRegistry) {
    registry.register_source(Arc::new(Preprocessed::new(file::FileSourceFactory)));
    registry.register_source(Arc::new(Preprocessed::new(firehose::FirehoseSourceFactory)));
    registry.register_source(Arc::new(generator::GeneratorSourceFactory));
    registry.register_source(Arc::new(Preprocessed::new(kinesis::KinesisSourceFactory)));
    registry.register_source(Arc::new(Preprocessed::new(stdin::StdinSourceFactory)));
    for service in [storage::Service::S3, storage::Service::Gcs, storage::Service::Azure] {
        registry.register_source(Arc::new(Preprocessed::new(storage::StorageSourceFactory(service))));
        registry.register_sink(Arc::new(storage::StorageSinkFactory(service)));
    }
    registry.register_sink(Arc::new(file::FileSinkFactory));
    registry.register_sink(Arc::new(firehose::FirehoseSinkFactory));
    registry.register_sink(Arc::new(http::HttpSinkFactory));
    registry.register_sink(Arc::new(kinesis::KinesisSinkFactory));
    registry.register_sink(Arc::new(lambda::LambdaSinkFactory));
    registry.register_sink(Arc::new(stdout::StdoutSinkFactory));
}
