//! Table functions as operators.

use datafusion::execution::context::ExecutionProps;
use kinesql_udfs::model::forest::{Explanation, Scoring};

use super::node::{Function, TableFunction};
use crate::diagnostic::Diagnostic;
use crate::operator::group_rank::GroupRankPlan;
use crate::operator::model::{ModelFunction, ModelPlan};
use crate::plan::explain_error::plain_message;
use crate::plan::physical::{OperatorSpec, PlanNode, plan_operators};

/// Plans a table function over its cursor.
pub(in crate::plan) fn plan_table_function(node: &TableFunction, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    let input = plan_operators(&node.input, props)?;
    // The operators' columns are those of the planned cursor, which says more of them than a logical plan does.
    let schema = input.schema();
    Ok(input.then(match &node.function {
        Function::Model(plan) => {
            let plan = ModelPlan { input: schema, ..plan.clone() };
            let output = plan.output().map_err(|error| Diagnostic::error(plain_message(&error)))?;
            OperatorSpec::Model { text: model_text(&plan), plan: Box::new(plan), schema: output }
        }
        Function::Rank(plan) => {
            let plan = GroupRankPlan { input: schema, ..plan.clone() };
            OperatorSpec::GroupRank { text: rank_text(&plan), plan: Box::new(plan) }
        }
    }))
}

/// The call, as EXPLAIN shows it and as checkpoints know it.
fn model_text(plan: &ModelPlan) -> String {
    let mut text = match &plan.function {
        ModelFunction::Forest(options) => {
            let mut text = format!(
                "{}({}, {}, {}, {}",
                options.function(),
                options.trees,
                options.sample_size,
                options.time_decay,
                options.shingle_size
            );
            if options.explanation == Explanation::Directionality {
                text += ", TRUE";
            }
            if options.scoring != Scoring::default() {
                text += &format!(", scoring => '{}'", options.scoring.name());
            }
            text + &format!(", seed => {})", options.seed)
        }
        ModelFunction::Hotspots(options) => {
            format!("HOTSPOTS({}, {}, {})", options.window_size, options.scan_radius, options.points_min)
        }
    };
    if let Some(partition) = &plan.partition {
        let keys = partition.keys.iter().map(|place| plan.input.field(*place).name().as_str()).collect::<Vec<_>>();
        text += &format!(" by {}, at most {} models", keys.join(", "), partition.models_max);
        if let Some((_, ms)) = partition.idle_ms {
            text += &format!(", each for {ms} ms");
        }
    }
    text
}

fn rank_text(plan: &GroupRankPlan) -> String {
    let by = plan
        .rank_by
        .iter()
        .map(|(place, options)| format!("{}{}", plan.input.field(*place).name(), if options.descending { " DESC" } else { "" }));
    let mut text = format!("by {}", by.collect::<Vec<_>>().join(", "));
    if let Some(rows) = plan.rows_max {
        text += &format!("; the first {rows}");
    }
    if plan.descending {
        text += "; last rank first";
    }
    if let Some(ms) = plan.idle_ms_max {
        text += &format!("; released {ms} ms after its last row");
    }
    text
}
