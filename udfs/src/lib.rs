//! KDA SQL functions as ordinary DataFusion functions, usable from any DataFusion session.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> datafusion::common::Result<()> {
//! let session = datafusion::prelude::SessionContext::new();
//! kinesql_udfs::register_all(&session)?;
//! let rows = session.sql("SELECT floor_to(TIMESTAMP '2024-01-01 10:59:59', 'HOUR')").await?.collect().await?;
//! assert_eq!(rows[0].num_rows(), 1);
//! # Ok(()) }
//! ```

pub mod aggregate;
pub mod model;
pub mod scalar;
pub mod sql_type;
pub mod window;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

/// Registers every function; one of DataFusion's of the same name is replaced.
pub fn register_all(session: &SessionContext) -> Result<()> {
    for function in all_scalar() {
        session.register_udf(function.as_ref().clone());
    }
    for function in aggregate::all() {
        session.register_udaf(function.as_ref().clone());
    }
    for function in window::all() {
        session.register_udwf(function.as_ref().clone());
    }
    Ok(())
}

/// Every scalar function.
pub fn all_scalar() -> Vec<Arc<ScalarUDF>> {
    scalar::all()
}
