//! Streaming KDA SQL on Apache DataFusion: the embeddable engine.

mod bind;
pub mod catalog;
pub mod checkpoint;
pub mod connector;
pub mod diagnostic;
mod discover;
pub mod engine;
pub mod error;
pub mod format;
pub mod operator;
pub mod plan;
pub mod runtime;
pub mod settings;
pub mod sql;
pub mod table;
pub mod types;

pub use catalog::Object;
pub use discover::Discovered;
pub use engine::{CheckpointOptions, Engine, EngineBuilder, Outcome, QueryStream};
pub use error::{Error, ErrorKind, Result};
pub use runtime::job::Job;
