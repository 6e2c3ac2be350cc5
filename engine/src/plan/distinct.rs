//! SELECT STREAM DISTINCT: rows are compared within a period, which a monotonic column makes (kda-sql-reference.md §2.5).

use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::expr_text::text;
use super::monotonic::{is_plain_rowtime, monotonicity, of_instant};
use super::physical::{OperatorSpec, period_key, without_metadata};
use crate::diagnostic::Diagnostic;
use crate::operator::distinct::DistinctPlan;
use crate::operator::window_key::WindowKey;
use crate::types::ROWTIME;

/// The operator that makes the rows of `input` distinct.
pub(super) fn plan_distinct(input: &LogicalPlan, props: &ExecutionProps) -> Result<OperatorSpec, Diagnostic> {
    let schema = input.schema();
    let places = (0..schema.fields().len()).filter(|place| schema.field(*place).name() != ROWTIME);
    let mut columns: Vec<_> = places
        .map(|place| {
            let expr = Expr::Column(schema.qualified_field(place).into());
            let moving = monotonicity(&expr, input);
            (place, expr, moving)
        })
        .collect();
    // ROWTIME under another name is not compared either, if something else says within what rows are.
    if columns.iter().any(|(.., moving)| moving.groups_neighbours() && !is_plain_rowtime(moving)) {
        columns.retain(|(.., moving)| !is_plain_rowtime(moving));
    }
    let compared = columns.iter().map(|(place, ..)| *place).collect();
    let moving = columns.into_iter().filter_map(|(place, expr, moving)| {
        let is_supported = moving.is_declared() || WindowKey::supports(schema.field(place).data_type());
        (is_supported && moving.groups_neighbours()).then_some((expr, moving))
    });
    // What only rows move is the last choice.
    let Some((expr, moving)) = moving.min_by_key(|(_, moving)| moving.is_declared()) else {
        return Err(Diagnostic::error(
            "SELECT STREAM DISTINCT needs a monotonic expression of ROWTIME in its list: without one it could never forget a row",
        )
        .hint("Add one, such as FLOOR(s.ROWTIME TO MINUTE): rows are then distinct within a minute."));
    };
    let period = period_key(&expr, &moving, schema, props)?;
    let of_time = moving.of_time().map_or_else(|| text(&expr), |of_time| text(&of_instant(of_time, false)));
    let text = format!("within {of_time}");
    Ok(OperatorSpec::Distinct {
        plan: Box::new(DistinctPlan { period, compared, schema: without_metadata(schema.as_arrow()) }),
        text,
    })
}
