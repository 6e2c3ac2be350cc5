//! Drives the engine step by step for tests: rows in, watermarks, clock, rows out.

pub mod driver;
