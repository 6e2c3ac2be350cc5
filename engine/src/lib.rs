//! Streaming KDA SQL on Apache DataFusion: the embeddable engine.
//!
//! [`Engine::builder`] makes an engine, [`Engine::execute`] adds the statements of a script, [`Engine::start`] runs its pumps and
//! sinks as a [`Job`], and [`Engine::query`] gives the rows of a `SELECT STREAM` as a stream of Arrow record batches.
//! `examples/embed.rs` shows all of it, with a source, a sink and a function of its own, and a restart from a checkpoint.
//!
//! | Module | What it has |
//! | --- | --- |
//! | [`engine`] | [`Engine`] and its builder |
//! | [`connector`] | the traits of sources and sinks, their options, and the `memory` connector |
//! | [`error`], [`diagnostic`] | what goes wrong: kinds that say what to do, and places in a script |
//! | [`runtime`] | a running job: clocks, metrics, tasks and the edges between them |
//! | [`format`](mod@format) | bytes to record batches and back: JSON, CSV |
//! | [`types`], [`settings`] | SQL types in Arrow, and the switches of the dialect |
//! | [`sql`] | text to statements |
//! | [`catalog`] | streams, sources, pumps, sinks, tables and functions |
//! | [`plan`] | statements to operators |
//! | [`operator`] | the operators: windows, joins, sorting, models |
//! | [`table`] | reference tables, and their refresh |
//! | [`checkpoint`] | epochs, what they save, and where |

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
