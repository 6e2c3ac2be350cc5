//! Rewrites of logical plans, one per file.

pub mod aggregate_types;
pub mod casts;
pub mod output_types;
