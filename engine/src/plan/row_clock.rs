//! CURRENT_ROW_TIMESTAMP: the clock when a row is produced (kda-sql-reference.md §3.4).
//!
//! Output: TIMESTAMP, never NULL; all rows of a batch are produced at one time.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::runtime::clock::Clock;
use crate::types::SqlType;

/// The function over the engine's clock.
pub fn current_row_timestamp(clock: Arc<dyn Clock>) -> ScalarUDF {
    ScalarUDF::from(CurrentRowTimestamp { clock, signature: Signature::nullary(Volatility::Volatile) })
}

#[derive(Debug)]
struct CurrentRowTimestamp {
    clock: Arc<dyn Clock>,
    signature: Signature,
}

impl PartialEq for CurrentRowTimestamp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.clock, &other.clock)
    }
}

impl Eq for CurrentRowTimestamp {}

impl Hash for CurrentRowTimestamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for CurrentRowTimestamp {
    fn name(&self) -> &str {
        "current_row_timestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(SqlType::Timestamp.data_type())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::TimestampMillisecond(Some(self.clock.now()), None)))
    }
}
