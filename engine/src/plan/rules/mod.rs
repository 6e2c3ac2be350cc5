//! Rewrites of logical plans, one per file.

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

pub mod aggregate_types;
pub mod casts;
pub mod decimal_types;
pub mod kinds;
pub mod literals;
pub mod output_types;
pub mod steps;
pub mod subqueries;
pub mod switches;
pub mod window_types;

use crate::settings::Settings;

/// All of them, in their order: what KDA's rules make of a plan as DataFusion's planner has written it, under the engine's
/// switches.
pub fn kda_rules(plan: LogicalPlan, settings: &Settings) -> Result<LogicalPlan> {
    literals::apply(plan)
        .and_then(super::function::inline)
        .and_then(|plan| switches::apply(plan, settings))
        .and_then(kinds::apply)
        .and_then(|plan| decimal_types::apply(plan, settings))
        .and_then(output_types::apply)
        .and_then(casts::apply)
        .and_then(|plan| aggregate_types::apply(plan, settings))
        .and_then(|plan| window_types::apply(plan, settings))
}
