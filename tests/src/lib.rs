//! Drives the engine step by step for tests: rows in, watermarks, clock, rows out, and faults where a test wants them.

pub mod conformance;
pub mod driver;
pub mod evaluate;
pub mod fragile;
pub mod service;
