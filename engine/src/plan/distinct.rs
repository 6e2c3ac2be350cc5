//! SELECT STREAM DISTINCT: rows are compared within a period, which a monotonic column makes (kda-sql-reference.md §2.5).

use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::expr_text::text;
use super::monotonic::{Monotonicity, monotonicity};
use super::physical::{OperatorSpec, physical, without_metadata};
use crate::diagnostic::Diagnostic;
use crate::operator::distinct::DistinctPlan;
use crate::operator::window_key::WindowKey;
use crate::types::ROWTIME;

/// The operator that makes the rows of `input` distinct.
pub(super) fn plan_distinct(input: &LogicalPlan, props: &ExecutionProps) -> Result<OperatorSpec, Diagnostic> {
    let schema = input.schema();
    let compared: Vec<_> = (0..schema.fields().len()).filter(|column| schema.field(*column).name() != ROWTIME).collect();
    let found = compared.iter().find_map(|column| {
        let expr = Expr::Column(schema.qualified_field(*column).into());
        let moving = monotonicity(&expr, input);
        let supported = WindowKey::supports(schema.field(*column).data_type());
        (supported && moving.groups_neighbours()).then_some((expr, moving))
    });
    let (expr, of_time, descending) = match found {
        Some((expr, Monotonicity::Ascending(of_time))) => (expr, of_time, false),
        Some((expr, Monotonicity::Descending(of_time))) => (expr, of_time, true),
        _ => {
            return Err(Diagnostic::error(
                "SELECT STREAM DISTINCT needs a monotonic expression of ROWTIME in its list: without one it could never forget a row",
            )
            .hint("Add one, such as FLOOR(s.ROWTIME TO MINUTE): rows are then distinct within a minute."));
        }
    };
    let internal = |error: datafusion::error::DataFusionError| Diagnostic::error(error.strip_backtrace());
    let time_schema = DFSchema::try_from(WindowKey::time_schema().as_ref().clone()).map_err(internal)?;
    let period = WindowKey::new(physical(&expr, schema, props)?, physical(&of_time, &time_schema, props)?, descending);
    let text = format!("within {}", text(&of_time));
    Ok(OperatorSpec::Distinct {
        plan: Box::new(DistinctPlan { period, compared, schema: without_metadata(schema.as_arrow()) }),
        text,
    })
}
