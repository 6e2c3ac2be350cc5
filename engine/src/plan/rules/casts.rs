//! CAST by KDA's rules: rounding, forms of time, lengths of text (kda-sql-reference.md §1.8).
//!
//! The rule puts the function `kda_cast` in place of every CAST of the query that DataFusion would do differently. Casts
//! between DATE and TIMESTAMP stay what they are: they are the same, and monotonicity is known of them.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable};
use kinesql_udfs::scalar::kda_cast;

use crate::plan::named_cast::unnamed;
use crate::types::SqlType;

/// The rule for `expr`; run it before type coercion, whose casts are not the query's.
pub(super) fn typed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Cast(Cast { expr, field }) => match SqlType::of_field(&field) {
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

fn is_day(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}
