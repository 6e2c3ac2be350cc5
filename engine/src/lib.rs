//! Streaming KDA SQL on Apache DataFusion: the embeddable engine.

pub mod checkpoint;
pub mod connector;
pub mod diagnostic;
pub mod error;
pub mod format;
pub mod operator;
pub mod runtime;
pub mod sql;
pub mod types;

pub use error::{Error, ErrorKind, Result};
