//! Joins of a query: which are possible, and how they become operators (kda-sql-reference.md §2.5, §4.5, §4.6, §8.5).
//!
//! ```text
//! AST ─ check: what joins what, or why not ─ DataFusion's planner: LogicalPlan::Join
//!     ─ conditions: equalities of WHERE and ON become keys ─ … ─ reference: tables are read ─ physical: operators
//! ```

mod check;
mod conditions;
mod physical;
mod reference;

pub(super) use check::{check_joins, reads_stream};
pub(super) use conditions::find_keys;
pub(super) use physical::plan_lookup_join;
pub(super) use reference::read_tables;
