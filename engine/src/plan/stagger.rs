//! WINDOWED BY STAGGER (kda-sql-reference.md §4.3).
//!
//! For DataFusion's planner `WINDOWED BY STAGGER (PARTITION BY a, b RANGE INTERVAL '1' MINUTE)` is
//! `GROUP BY a, b, "$stagger"(INTERVAL '1' MINUTE)`: a group key that is known by its name and never computed.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result as DataFusionResult, ScalarValue, not_impl_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::physical::{OperatorSpec, is_group_rowtime, physical, plan_aggregate, without_metadata};
use crate::diagnostic::Diagnostic;
use crate::operator::stagger_window::StaggerPlan;
use crate::operator::tumbling_window::OutputColumn;
use crate::operator::window_pane::PaneLayout;
use crate::plan::expr_text::{text, texts};
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
    let input = aggregate.input.schema();
    let (mut columns, mut keys, mut key_fields) = (Vec::new(), Vec::new(), Vec::<FieldRef>::new());
    for (i, expr) in aggregate.group_expr.iter().enumerate() {
        if i == place {
            columns.push(OutputColumn::WindowEnd);
        } else {
            columns.push(OutputColumn::Key(keys.len()));
            keys.push(physical(expr, input, props)?);
            key_fields.push(aggregate.schema.field(i).clone());
        }
    }
    let mut aggregates = Vec::new();
    for expr in &aggregate.aggr_expr {
        if is_group_rowtime(expr) {
            columns.push(OutputColumn::WindowEnd);
        } else {
            columns.push(OutputColumn::Aggregate(aggregates.len()));
            aggregates.push(plan_aggregate(expr, input, props)?);
        }
    }
    let keys_text = texts(aggregate.group_expr.iter().enumerate().filter(|(i, _)| *i != place).map(|(_, expr)| expr));
    let calls_text = texts(aggregate.aggr_expr.iter().filter(|expr| !is_group_rowtime(expr)));
    let layout = PaneLayout::try_new(key_fields, aggregates).map_err(|error| Diagnostic::error(error.message()))?;
    let schema = without_metadata(aggregate.schema.as_arrow());
    let plan = StaggerPlan { length, keys, layout, columns, schema };
    let text = format!("{}; by {keys_text}; computing {calls_text}", text(range));
    Ok(OperatorSpec::Stagger { plan: Box::new(plan), text })
}
