//! Running a plan.

pub mod channel;
pub mod clock;
pub mod error_rows;
pub mod graph;
pub mod job;
pub mod merge_task;
pub mod metrics;
pub mod parts;
pub mod row_metadata;
pub mod rowtime;
pub mod sink_task;
pub mod source_task;
pub mod stage;
