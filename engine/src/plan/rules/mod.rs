//! Rewrites of logical plans, one per file.

pub mod aggregate_types;
pub mod casts;
pub mod decimal_types;
pub mod literals;
pub mod output_types;
pub mod subqueries;
pub mod switches;
pub mod window_types;
