//! CAST by KDA's rules: rounding, forms of time, lengths of text (kda-sql-reference.md §1.8).
//!
//! The rule puts the function `kda_cast` in place of every CAST of the query that DataFusion would do differently. Casts
//! between DATE and TIMESTAMP stay what they are: they are the same, and monotonicity is known of them. Where an interval is written
//! out, `sql/query/interval_casts` knows its fields; here those are known that come in columns.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use kinesql_udfs::scalar::{interval_cast, kda_cast};
use kinesql_udfs::sql_type::qualifier_of;

use crate::plan::named_cast::unnamed;
use crate::types::SqlType;

/// The rule for `expr`; run it before type coercion, whose casts are not the query's.
pub(super) fn typed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Cast(Cast { expr, field }) => match SqlType::of_field(&field) {
            Some(target) if let Some(interval) = of_interval(&expr, target, schema) => Transformed::yes(interval),
            Some(target) if !(is_day(&expr.get_type(schema)?) && is_day(&target.data_type())) => {
                Transformed::yes(kda_cast::udf(target).call(vec![*expr]))
            }
            _ => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        expr => match unnamed(expr) {
            Ok(cast) => Transformed::yes(cast),
            Err(expr) => Transformed::no(expr),
        },
    })
}

/// CAST of an interval whose fields are known to what an interval can be cast to.
fn of_interval(expr: &Expr, target: SqlType, schema: &DFSchema) -> Option<Expr> {
    let qualifier = lit(fields_of(expr, schema)?);
    let taken_apart = match target {
        SqlType::Char(length) | SqlType::Varchar(length) => {
            interval_cast::text_udf().call(vec![expr.clone(), qualifier, lit(i64::from(length))])
        }
        SqlType::BigInt | SqlType::Decimal(..) => interval_cast::number_udf().call(vec![expr.clone(), qualifier]),
        _ => return None,
    };
    Some(kda_cast::udf(target).call(vec![taken_apart]))
}

/// The fields of an interval, such as `HOUR TO SECOND`; None if its parts do not say them, or say different ones.
pub(super) fn fields_of(expr: &Expr, schema: &DFSchema) -> Option<String> {
    let field = expr.to_field(schema).ok()?.1;
    if !is_interval(field.data_type()) {
        return None;
    }
    if let Some(qualifier) = qualifier_of(&field) {
        return Some(qualifier.to_owned());
    }
    let mut found: Vec<Option<String>> = Vec::new();
    // The visitor never fails.
    let _ = expr.apply_children(|part| {
        if part.get_type(schema).is_ok_and(|data_type| is_interval(&data_type)) {
            found.push(fields_of(part, schema));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let first = found.first()?.clone();
    if found.iter().all(|other| *other == first) { first } else { None }
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

fn is_day(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}
