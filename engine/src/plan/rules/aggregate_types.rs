//! KDA's result types of aggregates: SUM and AVG have the type of their argument (kda-sql-reference.md §1.7).
//!
//! DataFusion widens: `sum(INTEGER)` is BIGINT, `avg(INTEGER)` is DOUBLE, decimals gain digits. The rule computes the
//! wide result and casts it back in a projection above, where a value that does not fit is the error of its row.
//! `avg` of whole numbers becomes `sum / count`, which truncates as KDA does (29, 32 → 30). DataFusion's sums wrap around
//! silently, so BIGINT is summed as DECIMAL, and a long DECIMAL in 256 bits: [`summed_as`]. With the switch `avg_double`, `avg`
//! of whole numbers stays a DOUBLE.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::{count::count_udaf, sum::sum_udaf};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Projection, cast};
use kinesql_udfs::aggregate::distinct_statistics::distinct_of;

use super::aggregated;
use crate::settings::Settings;

/// The rule for `aggregate`, whose arguments have KDA's types.
pub(super) fn typed(aggregate: Aggregate, settings: &Settings) -> Result<LogicalPlan> {
    let Aggregate { input, group_expr, aggr_expr, schema, .. } = aggregate;
    let mut calls: Vec<Expr> = Vec::new();
    let mut call = |expr: Expr| {
        let column = Expr::Column(Column::from_name(expr.schema_name().to_string()));
        if !calls.contains(&expr) {
            calls.push(expr);
        }
        column
    };
    let mut results = Vec::with_capacity(aggr_expr.len());
    for expr in &aggr_expr {
        let name = expr.schema_name().to_string();
        // Other rules rename what they change.
        let expr = if let Expr::Alias(alias) = expr { alias.expr.as_ref() } else { expr };
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
            results.push(call(expr.clone()).alias_if_changed(name)?);
            continue;
        };
        let with = |func, params| Expr::AggregateFunction(AggregateFunction { func, params });
        aggregated::check_interval(func.name(), params.args.first(), input.schema())?;
        let argument_type = params.args.first().map(|argument| argument.get_type(input.schema())).transpose()?;
        let result = match (func.name(), argument_type) {
            (_, Some(_)) if let (true, Some(func)) = (params.distinct, distinct_of(func)) => {
                let mut params = AggregateFunctionParams { distinct: false, ..params.clone() };
                params.args = params.args.into_iter().map(|argument| cast(argument, DataType::Float64)).collect();
                call(with(func, params))
            }
            ("avg", Some(data_type)) if data_type.is_integer() && !settings.avg_is_double() => {
                let sum = call(with(sum_udaf(), exact(params, &data_type)));
                let count = call(with(count_udaf(), params.clone()));
                average(sum, count, data_type)
            }
            ("sum", Some(data_type)) if data_type.is_integer() => {
                cast(call(with(func.clone(), exact(params, &data_type))), data_type)
            }
            ("sum" | "avg", Some(data_type @ (DataType::Float32 | DataType::Decimal128(..)))) => {
                cast(call(with(func.clone(), exact(params, &data_type))), data_type)
            }
            _ => call(expr.clone()),
        };
        results.push(aggregated::named(result, name, func.name(), params.args.first(), input.schema()));
    }
    let groups = schema.columns().into_iter().take(schema.fields().len() - aggr_expr.len()).map(Expr::Column);
    let output = groups.chain(results).collect();
    let aggregate = LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, calls)?);
    Ok(LogicalPlan::Projection(Projection::try_new(output, Arc::new(aggregate))?))
}

/// The arguments of a sum that cannot overflow.
fn exact(params: &AggregateFunctionParams, data_type: &DataType) -> AggregateFunctionParams {
    let mut params = params.clone();
    if let Some(wide) = summed_as(data_type) {
        params.args = params.args.into_iter().map(|argument| cast(argument, wide.clone())).collect();
    }
    params
}

/// What numbers of this type are added up as, if not as they are: so that 10^10 of the largest fit, and the four digits that an
/// average has more. BIGINT is a DECIMAL of 19 digits; 128 bits hold 38 digits.
pub(super) fn summed_as(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int64 => Some(DataType::Decimal128(19, 0)),
        DataType::Decimal128(precision @ 25.., scale) => Some(DataType::Decimal256(*precision, *scale)),
        _ => None,
    }
}

/// The average of whole numbers of this type, without its fraction. It fits where the sum does not, so the sum is divided as it is.
pub(super) fn average(sum: Expr, count: Expr, data_type: DataType) -> Expr {
    let count = if data_type == DataType::Int64 { cast(count, DataType::Decimal128(19, 0)) } else { count };
    cast(Expr::BinaryExpr(BinaryExpr::new(Box::new(sum), Operator::Divide, Box::new(count))), data_type)
}
