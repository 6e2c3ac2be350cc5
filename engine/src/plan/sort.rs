//! ORDER BY of a stream query (kda-sql-reference.md §2.8).
//!
//! For DataFusion's planner `ORDER BY t WITHIN INTERVAL '30' SECOND` is `ORDER BY "$within"(t, INTERVAL '30000 milliseconds')`: a
//! function that is known by its name and never computed. The item `t AS ROWTIME` of such a query is
//! `"$within"(t, s.ROWTIME) AS ROWTIME`, so that the ROWTIME that the rows come with is not pruned.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DataFusionResult, ScalarValue, not_impl_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Projection, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Sort,
    Volatility,
};

use datafusion::physical_expr::expressions::Column;

use super::expr_text::{milliseconds_text, text, texts_over};
use super::monotonic::{Monotonicity, monotonicity, window_of};
use super::physical::{
    CAME, OperatorSpec, PlanNode, is_window_result, period_key, physical, plan_operators, with_field, without_metadata,
};
use crate::diagnostic::{Diagnostic, Span};
use crate::operator::stream_sort::{SortKey, StreamSortPlan};
use crate::operator::window_key::WindowKey;
use crate::operator::within_sort::WithinSortPlan;
use crate::sql::WITHIN;
use crate::types::{ROWTIME, SqlType};

/// The marker as DataFusion sees it. It is never run.
pub(super) fn marker() -> ScalarUDF {
    // Volatile: the planner may not compute it.
    ScalarUDF::from(Within { signature: Signature::any(2, Volatility::Volatile) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Within {
    signature: Signature,
}

impl ScalarUDFImpl for Within {
    fn name(&self) -> &str {
        WITHIN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(SqlType::Timestamp.data_type())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        not_impl_err!("WITHIN exists only in ORDER BY")
    }
}

/// Plans ORDER BY.
pub(super) fn plan_sort(sort: &Sort, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    let [first, others @ ..] = sort.expr.as_slice() else { return plan_operators(&sort.input, props) };
    // Where an expression was rewritten, an alias keeps its name.
    if let Expr::ScalarFunction(function) = first.expr.clone().unalias()
        && function.name() == WITHIN
    {
        return plan_within(&function.args, others, &sort.input, props);
    }
    let input = sort.input.as_ref();
    let moving = check_first(first, input)?;
    let node = plan_operators(input, props)?;
    let (schema, rowtime) = (node.schema(), rowtime_of(&node)?);
    if others.is_empty() && !moving.is_declared() {
        // What grows with ROWTIME is in order where ROWTIME is.
        return Ok(node.then(OperatorSpec::TimeOrder { schema, rowtime }));
    }
    let period = period_key(&first.expr, &moving, input.schema(), props)?;
    let plan = StreamSortPlan { period, by: keys(others, input, props)?, complete: is_complete(input), rowtime, schema };
    Ok(node.then(OperatorSpec::Sort { plan: Box::new(plan), text: sort_text(&sort.expr, input) }))
}

/// True if no more rows of a ROWTIME can come once the watermark has reached it: those of a window that time closes.
pub(super) fn is_complete(input: &LogicalPlan) -> bool {
    fn by_rows(plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::Aggregate(aggregate) => window_of(aggregate).is_some_and(|(_, moving)| moving.is_declared()),
            plan => plan.inputs().into_iter().any(by_rows),
        }
    }
    is_window_result(input) && !by_rows(input)
}

/// How the first expression of an ORDER BY moves; or why rows cannot be sorted by it.
fn check_first(first: &SortExpr, input: &LogicalPlan) -> Result<Monotonicity, Diagnostic> {
    let written = || texts_over(std::slice::from_ref(&first.expr), input);
    let refuse = |problem: String| Err(located(Diagnostic::error(problem), &first.expr).hint(FORM));
    let moving = monotonicity(&first.expr, input);
    let rises = match &moving {
        Monotonicity::Ascending(_) => true,
        Monotonicity::Descending(_) => false,
        Monotonicity::Constant(_) | Monotonicity::None => {
            return refuse(format!(
                "ORDER BY on a stream begins with ROWTIME or a monotonic expression of it: rows sorted by {} could never be emitted",
                written()
            ));
        }
    };
    if first.asc != rises {
        let (order, moves) = if rises { ("DESC", "grows") } else { ("ASC", "falls") };
        return refuse(format!("ORDER BY on a stream cannot be {order} by {}, which {moves} as time goes on", written()));
    }
    let data_type = first.expr.get_type(input.schema().as_ref()).ok();
    if !moving.is_declared() && !data_type.as_ref().is_some_and(WindowKey::supports) {
        return refuse(format!("ORDER BY on a stream cannot begin with {}: it is no time and no number", written()));
    }
    Ok(moving)
}

const FORM: &str = "Write ORDER BY FLOOR(ROWTIME TO MINUTE), … to sort the rows of a minute, or t WITHIN INTERVAL '30' SECOND with t AS ROWTIME.";

fn plan_within(
    arguments: &[Expr],
    others: &[SortExpr],
    input: &LogicalPlan,
    props: &ExecutionProps,
) -> Result<PlanNode, Diagnostic> {
    let [time, interval] = arguments else { return Err(Diagnostic::error("ORDER BY … WITHIN needs an interval").hint(FORM)) };
    let within_ms = match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) if value.months == 0 => {
            i64::from(value.days) * 86_400_000 + value.nanoseconds / 1_000_000
        }
        _ => {
            let problem = Diagnostic::error("ORDER BY … WITHIN needs an interval of days to seconds: months differ in length");
            return Err(problem.hint(FORM));
        }
    };
    if within_ms < 0 {
        return Err(Diagnostic::error("ORDER BY … WITHIN cannot have a negative interval").hint(FORM));
    }
    let at_time = |problem: String| located(Diagnostic::error(problem), time);
    let missing = || {
        at_time(format!("ORDER BY … WITHIN needs its time in the select list as ROWTIME: {} is not there", text(time)))
            .hint("Write SELECT STREAM t AS ROWTIME, … ORDER BY t WITHIN INTERVAL '30' SECOND.")
    };
    let LogicalPlan::Projection(projection) = input else { return Err(missing()) };
    let rowtime = projection.schema.fields().iter().position(|field| field.name() == ROWTIME).ok_or_else(missing)?;
    let exprs: Vec<_> = projection.expr.iter().map(unmarked).collect();
    if origin(time, projection) != unaliased(&exprs[rowtime]) {
        return Err(missing());
    }
    let schema = without_metadata(projection.schema.as_arrow());
    let data_type = exprs[rowtime].get_type(projection.input.schema().as_ref()).ok();
    if data_type != Some(SqlType::Timestamp.data_type()) {
        let time = texts_over(&[unaliased(&exprs[rowtime])], &projection.input);
        return Err(at_time(format!("ORDER BY … WITHIN needs a TIMESTAMP, which {time} is not")));
    }
    // Below the new time rows are in the order of the old one: what is late then does not depend on which input is faster.
    let below = plan_operators(&projection.input, props)?;
    let came = rowtime_of(&below)?;
    let order = OperatorSpec::TimeOrder { schema: below.schema(), rowtime: came };
    let expressions = exprs.iter().map(|expr| physical(expr, projection.input.schema(), props));
    let mut expressions = expressions.collect::<Result<Vec<_>, _>>()?;
    expressions.push(Arc::new(Column::new(ROWTIME, came)));
    let project = OperatorSpec::Project {
        expressions,
        schema: with_field(&schema, SqlType::Timestamp.field(CAME, true)),
        text: texts_over(&exprs, &projection.input),
    };
    let by = keys(others, input, props)?;
    let rest = if others.is_empty() { String::new() } else { format!(", {}", sort_text(others, input)) };
    let time = texts_over(&[unaliased(&exprs[rowtime])], &projection.input);
    let text = format!("{time} WITHIN {}{rest}", milliseconds_text(within_ms));
    let plan = WithinSortPlan { by, within_ms, rowtime, schema };
    Ok(below.then(order).then(project).then(OperatorSpec::SortWithin { plan: Box::new(plan), text }))
}

fn keys(sorts: &[SortExpr], input: &LogicalPlan, props: &ExecutionProps) -> Result<Vec<SortKey>, Diagnostic> {
    let key = |sort: &SortExpr| {
        let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
        Ok((physical(&sort.expr, input.schema(), props)?, options))
    };
    sorts.iter().map(key).collect()
}

fn rowtime_of(node: &PlanNode) -> Result<usize, Diagnostic> {
    node.schema().index_of(ROWTIME).map_err(|_| Diagnostic::error("the rows of ORDER BY have no ROWTIME"))
}

/// What `expr` over the output of `projection` is over its input.
fn origin(expr: &Expr, projection: &Projection) -> Expr {
    let replaced = expr.clone().transform_up(|node| {
        let place = if let Expr::Column(column) = &node { projection.schema.maybe_index_of_column(column) } else { None };
        Ok(match place {
            Some(place) => Transformed::yes(unaliased(&unmarked(&projection.expr[place]))),
            None => Transformed::no(node),
        })
    });
    // The visitor never fails.
    replaced.map_or_else(|_| expr.clone(), |replaced| unaliased(&replaced.data))
}

/// An item of the select list without the marker.
fn unmarked(item: &Expr) -> Expr {
    match item {
        Expr::Alias(alias) => unmarked(&alias.expr).alias_qualified(alias.relation.clone(), alias.name.clone()),
        Expr::ScalarFunction(function) if function.name() == WITHIN => function.args[0].clone(),
        item => item.clone(),
    }
}

fn unaliased(expr: &Expr) -> Expr {
    expr.clone().unalias_nested().data
}

fn sort_text(sorts: &[SortExpr], input: &LogicalPlan) -> String {
    let item = |sort: &SortExpr| {
        format!("{}{}", texts_over(std::slice::from_ref(&sort.expr), input), if sort.asc { "" } else { " DESC" })
    };
    sorts.iter().map(item).collect::<Vec<_>>().join(", ")
}

/// `problem` at the columns of `expr`, as far as their places are known.
fn located(problem: Diagnostic, expr: &Expr) -> Diagnostic {
    let mut place: Option<Span> = None;
    // The visitor never fails.
    let _ = expr.apply(|node| {
        if let Expr::Column(column) = node
            && let Some(span) = column.spans().first()
        {
            let span = Span::from(sqlparser::tokenizer::Span {
                start: sqlparser::tokenizer::Location { line: span.start.line, column: span.start.column },
                end: sqlparser::tokenizer::Location { line: span.end.line, column: span.end.column },
            });
            place = Some(place.map_or(span, |place| place.union(span)));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    match place {
        Some(place) => problem.at(place),
        None => problem,
    }
}
