//! Running a plan.

pub mod clock;
