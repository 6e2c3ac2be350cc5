//! Running a plan.

pub mod clock;
pub mod metrics;
