//! Windows as table functions: `TABLE(TUMBLE(…))`, `TABLE(HOP(…))` and `TABLE(SESSION(…))`.
//!
//! ```text
//! AST ─ call: the arguments are read ─ DataFusion's planner, node: WindowTable over the stream's plan
//!     ─ aggregate: GROUP BY of HOP and SESSION windows becomes an operator ─ physical: rows with the columns of windows
//! ```
//!
//! The rows of the stream get the columns WINDOW_START, WINDOW_END and WINDOW_TIME, the last millisecond of the window. A
//! TUMBLE window is a monotonic expression of ROWTIME (`plan::monotonic`), so everything that takes those takes it too.

mod aggregate;
mod call;
mod node;
mod physical;

pub(super) use aggregate::plan_windowed;
pub(super) use call::{WindowCalls, prepare_windows};
pub(super) use node::{WindowTable, WindowTablePlanner, ends_with, of_result_rowtime, origin};
pub(super) use physical::plan_window_table;
