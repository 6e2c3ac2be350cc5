//! The columns of a query have SQL types, whatever the types of the functions that made them.
//!
//! DataFusion's functions also give Arrow types that no SQL column has: `now()` nanoseconds, `ascii()` unsigned numbers,
//! some string functions views. The rule converts the query's columns to the type that SQL has for them.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, cast};

use super::casts;
use crate::types::SqlType;

/// Adds a projection above `plan` if a column needs one.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    converted(plan, nearest)
}

/// The same for a query that is answered and goes into no stream: what has no SQL type is shown as text, intervals and NULL.
pub fn shown(plan: LogicalPlan) -> Result<LogicalPlan> {
    converted(plan, |data_type| if is_shown_as_text(data_type) { Some(DataType::Utf8) } else { nearest(data_type) })
}

/// These have no type to be cast from by KDA's rules.
fn is_shown_as_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Null | DataType::Interval(_) | DataType::Duration(_))
}

fn converted(plan: LogicalPlan, nearest: fn(&DataType) -> Option<DataType>) -> Result<LogicalPlan> {
    let fields = plan.schema().fields();
    if fields.iter().all(|field| SqlType::of_field(field).is_some()) {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().zip(fields).map(|(column, field)| {
        let name = column.name.clone();
        Ok(match nearest(field.data_type()) {
            Some(data_type) if is_shown_as_text(field.data_type()) => {
                cast(Expr::Column(column.clone()), data_type).alias_qualified(column.relation, name)
            }
            Some(data_type) => {
                let converted = casts::typed(cast(Expr::Column(column.clone()), data_type), plan.schema())?;
                converted.data.alias_qualified(column.relation, name)
            }
            None => Expr::Column(column),
        })
    });
    let columns = columns.collect::<Result<_>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// The SQL type that holds all or nearly all values; None if there is nothing to convert, or nothing to convert to.
pub(in crate::plan) fn nearest(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Timestamp(TimeUnit::Millisecond, None) => return None,
        DataType::Timestamp(..) => SqlType::Timestamp.data_type(),
        DataType::Time32(TimeUnit::Second) | DataType::Time64(_) => SqlType::Time.data_type(),
        DataType::Date64 => DataType::Date32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
        DataType::Dictionary(_, value) => nearest(value).unwrap_or_else(|| value.as_ref().clone()),
        _ => return None,
    })
}
