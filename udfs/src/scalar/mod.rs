//! Scalar functions, one per file.

pub mod floor_to;
pub mod nonzero;
pub mod step;
#[cfg(test)]
mod tests;
mod time_bucket;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

/// All scalar functions.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![step::udf(), floor_to::floor_udf(), floor_to::ceil_udf(), nonzero::udf()]
}
