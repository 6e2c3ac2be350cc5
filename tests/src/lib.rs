//! Drives the engine step by step for tests: rows in, watermarks, clock, rows out, and faults where a test wants them.

pub mod driver;
pub mod fragile;
pub mod service;
