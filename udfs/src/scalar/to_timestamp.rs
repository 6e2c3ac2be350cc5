//! TO_TIMESTAMP(ms): the TIMESTAMP so many milliseconds after 1970-01-01 00:00:00 UTC (kda-sql-reference.md §5.4).
//!
//! Input:  a number, rounded half away from zero if it is not whole. Seconds are for the caller to multiply.
//! Output: TIMESTAMP; NULL for NULL. A BIGINT column is not copied.
//! Order:  that of the number.
//! Errors: other types, when the query is planned; a number out of the range of BIGINT, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type, TimestampMillisecondType};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::kda_cast::cast;
use super::{any_nullable, map_column, order_of_first};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `to_timestamp`, in place of DataFusion's, which takes seconds.
pub fn udf() -> Arc<ScalarUDF> {
    static TO_TIMESTAMP: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(ToTimestamp::default())));
    TO_TIMESTAMP.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestamp {
    signature: Signature,
}

impl Default for ToTimestamp {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ToTimestamp {
    fn name(&self) -> &str {
        "to_timestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(SqlType::Timestamp.data_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let source = &args.arg_fields[0];
        if !source.data_type().is_numeric() && !source.data_type().is_null() {
            let source = sql_type_name(source);
            return plan_err!("cannot make a TIMESTAMP of {source}: TO_TIMESTAMP takes milliseconds as a BIGINT");
        }
        Ok(SqlType::Timestamp.field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map_column(&args.args[0], |column| {
            let ms = cast(column, SqlType::BigInt)?;
            Ok(Arc::new(ms.as_primitive::<Int64Type>().reinterpret_cast::<TimestampMillisecondType>()) as ArrayRef)
        })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(order_of_first(inputs))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Returns the time so many milliseconds after 1970-01-01 00:00:00 UTC.",
                "to_timestamp(ms)",
            )
            .with_sql_example(
                r#"```sql
> select to_timestamp(1500) as t;
+-------------------------+
| t                       |
+-------------------------+
| 1970-01-01T00:00:01.500 |
+-------------------------+
```"#,
            )
            .with_argument("ms", "Milliseconds.")
            .with_related_udf("unix_timestamp")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}
