//! Joins of a query: which are possible, and how they become operators (kda-sql-reference.md §2.5, §4.5, §4.6, §8.5).
//!
//! ```text
//! AST ─ check: what joins what, or why not ─ prepare: joins of streams get a name, windows are read
//!     ─ DataFusion's planner: LogicalPlan::Join with tables, node: StreamJoin of streams
//!     ─ conditions: equalities of WHERE and ON become keys ─ … ─ reference: tables are read ─ physical: operators
//! ```

mod check;
mod conditions;
mod node;
mod physical;
mod prepare;
mod reference;
mod spec;
mod using;
mod window;

pub(super) use check::{check_joins, reads_stream};
pub(super) use conditions::find_keys;
pub(super) use node::{JoinPlanner, StreamJoin};
pub(super) use physical::{plan_lookup_join, plan_window_join};
pub(super) use prepare::{StreamJoins, is_stream_join, prepare_joins, qualify_rowtime};
pub(super) use reference::read_tables;
