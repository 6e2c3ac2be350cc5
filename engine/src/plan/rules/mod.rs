//! Rewrites of logical plans, one per file.

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

pub mod aggregate_types;
pub mod casts;
pub mod division;
pub mod kinds;
pub mod literals;
pub mod output_types;
pub mod window_types;

/// All of them, in their order: what KDA's rules make of a plan as DataFusion's planner has written it.
pub fn kda_rules(plan: LogicalPlan) -> Result<LogicalPlan> {
    literals::apply(plan)
        .and_then(super::function::inline)
        .and_then(kinds::apply)
        .and_then(division::apply)
        .and_then(output_types::apply)
        .and_then(casts::apply)
        .and_then(aggregate_types::apply)
        .and_then(window_types::apply)
}
