//! Table functions over a cursor: `TABLE(f(CURSOR(SELECT STREAM …), arguments…))` (kda-sql-reference.md §5.3, §5.10–5.13).
//!
//! ```text
//! AST ─ prepare: cursors get a name, calls are read ─ DataFusion's planner, node: TableFunction over the cursor's plan
//!     ─ physical: operators
//! ```
//!
//! Nothing is pushed below a table function: it sees every row and every column of its cursor.

mod arguments;
mod call;
mod node;
mod physical;
mod prepare;

pub(super) use node::{TableFunction, TableFunctionPlanner};
pub(super) use physical::plan_table_function;
pub(super) use prepare::{TableFunctions, prepare_table_functions};
