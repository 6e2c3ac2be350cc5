//! Planning: a parsed query becomes operators on streams.
//!
//! ```text
//! query (AST) ─ check names ─ make ROWTIME explicit ─ DataFusion SQL planner ─ KDA casts and result types
//!             ─ type coercion, simplify, prune columns ─ QueryPlan: operators on streams, or an error with its place
//! ```

pub(crate) mod alias_list;
pub(crate) mod batch_models;
mod constant_text;
mod cooperative_joins;
mod distinct;
pub mod explain;
pub(crate) mod explain_error;
mod expr_text;
pub(crate) mod function;
mod function_forms;
mod groups;
mod insert;
pub(crate) mod item_names;
mod join;
pub(crate) mod locate;
mod metadata;
mod misplaced;
pub mod monotonic;
mod monotonic_key;
mod named_cast;
pub(crate) mod names;
mod operators;
mod over;
mod override_order;
pub mod physical;
pub(crate) mod places;
pub(crate) mod planner_words;
pub mod query;
mod retimed;
pub(crate) mod row_clock;
pub mod rowtime;
pub mod rules;
pub mod session;
mod sliding;
mod sort;
mod stagger;
mod table_function;
mod top_n;
pub(crate) mod unknown_columns;
pub mod window_functions;
mod window_table;

pub use function::{Function, Functions};
pub use physical::{OperatorSpec, PlanNode};
pub use query::{QueryPlan, StreamSchemas, plan_stream_query};
