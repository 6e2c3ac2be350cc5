//! Object storage: S3, Google Cloud Storage, Azure Blob Storage, or a local folder in their place.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `place` | a path such as `s3://bucket/prefix/`, its options, and the store behind it |
//! | `credentials` | the credentials of the AWS SDK for the S3 client |
//! | `insistence` | calls that are made again until they succeed |
//! | `open_uploads` | the multipart uploads of a bucket that are neither completed nor aborted |
//! | `error` | a failed call as one line that names the call and the missing action |
//! | `sink` | rows as objects, each of which appears once |
//! | `source` | objects under a prefix in key order, or one object: streams and reference tables |
//!
//! See: docs/connectors/s3.md

mod credentials;
mod error;
#[cfg(test)]
mod faulty;
mod insistence;
mod open_uploads;
mod place;
mod sink;
mod source;

pub use place::Service;
pub use sink::StorageSinkFactory;
pub use source::StorageSourceFactory;
