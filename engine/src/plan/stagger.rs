//! WINDOWED BY STAGGER (kda-sql-reference.md §4.3).
//!
//! For DataFusion's planner `WINDOWED BY STAGGER (PARTITION BY a, b RANGE INTERVAL '1' MINUTE)` is
//! `GROUP BY a, b, "$stagger"(INTERVAL '1' MINUTE)`: a group key that is known by its name and never computed.

use arrow::datatypes::DataType;
use datafusion::common::{Result as DataFusionResult, ScalarValue, not_impl_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::groups::Groups;
use super::physical::OperatorSpec;
use crate::diagnostic::Diagnostic;
use crate::operator::stagger_window::StaggerPlan;
use crate::operator::tumbling_window::OutputColumn;
use crate::plan::expr_text::text;
use crate::sql::STAGGER;
use crate::types::SqlType;

/// The marker as DataFusion sees it. It is never run.
pub(super) fn marker() -> ScalarUDF {
    // Volatile: the planner may not compute it, although its argument is constant.
    ScalarUDF::from(Stagger { signature: Signature::any(1, Volatility::Volatile) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Stagger {
    signature: Signature,
}

impl ScalarUDFImpl for Stagger {
    fn name(&self) -> &str {
        STAGGER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(SqlType::Timestamp.data_type())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        not_impl_err!("the end of a stagger window exists only in the window")
    }
}

/// Place and length of the marker among the group keys.
fn find(aggregate: &Aggregate) -> Option<(usize, &Expr)> {
    aggregate.group_expr.iter().enumerate().find_map(|(place, expr)| match expr {
        Expr::ScalarFunction(function) if function.name() == STAGGER => Some((place, function.args.first()?)),
        _ => None,
    })
}

/// True if the groups are those of stagger windows.
pub(super) fn is_staggered(aggregate: &Aggregate) -> bool {
    find(aggregate).is_some()
}

/// The operator, if the query is windowed by stagger.
pub(super) fn plan_stagger(aggregate: &Aggregate, props: &ExecutionProps) -> Option<Result<OperatorSpec, Diagnostic>> {
    let (place, range) = find(aggregate)?;
    Some(length_of(range).and_then(|length| plan_with(aggregate, place, range, length, props)))
}

fn length_of(range: &Expr) -> Result<i64, Diagnostic> {
    match range {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => {
            let milliseconds = i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000;
            if interval.months != 0 {
                return Err(Diagnostic::error("the RANGE of a stagger window cannot be counted in months")
                    .hint("Use days, hours, minutes or seconds, which all have one length."));
            }
            if milliseconds <= 0 {
                return Err(Diagnostic::error("the RANGE of a stagger window must be longer than nothing"));
            }
            Ok(milliseconds)
        }
        _ => Err(Diagnostic::error("the RANGE of a stagger window must be an interval, such as INTERVAL '1' MINUTE")),
    }
}

fn plan_with(
    aggregate: &Aggregate,
    place: usize,
    range: &Expr,
    length: i64,
    props: &ExecutionProps,
) -> Result<OperatorSpec, Diagnostic> {
    let window = |other| (other == place).then_some(OutputColumn::WindowEnd(0));
    let groups = Groups::try_new(aggregate, window, props)?;
    let text = groups.text(&text(range));
    let Groups { keys, layout, columns, schema, .. } = groups;
    let plan = StaggerPlan { length, keys, layout, columns, schema };
    Ok(OperatorSpec::Stagger { plan: Box::new(plan), text })
}
