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

pub mod scalar;

use datafusion::common::Result;
use datafusion::prelude::SessionContext;

/// Registers every function; one of DataFusion's of the same name is replaced.
pub fn register_all(session: &SessionContext) -> Result<()> {
    for function in scalar::all() {
        session.register_udf(function.as_ref().clone());
    }
    Ok(())
}
