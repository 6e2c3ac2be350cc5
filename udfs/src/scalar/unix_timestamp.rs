//! UNIX_TIMESTAMP(ts): milliseconds since 1970-01-01 00:00:00 UTC (kda-sql-reference.md §5.4).
//!
//! Input:  a TIMESTAMP.
//! Output: BIGINT; NULL for NULL. A column of milliseconds is not copied.
//! Order:  that of the time.
//! Errors: other types, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::instant::milliseconds;
use super::{any_nullable, map_column, order_of_first};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `unix_timestamp`.
pub fn udf() -> Arc<ScalarUDF> {
    static UNIX_TIMESTAMP: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(UnixTimestamp::default())));
    UNIX_TIMESTAMP.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct UnixTimestamp {
    signature: Signature,
}

impl Default for UnixTimestamp {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for UnixTimestamp {
    fn name(&self) -> &str {
        "unix_timestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let source = &args.arg_fields[0];
        if !matches!(source.data_type(), DataType::Timestamp(..) | DataType::Null) {
            let source = sql_type_name(source);
            return plan_err!("cannot tell the milliseconds since 1970 of {source}: UNIX_TIMESTAMP takes a TIMESTAMP");
        }
        Ok(SqlType::BigInt.field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map_column(&args.args[0], |column| Ok(Arc::new(milliseconds(column)?) as ArrayRef))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(order_of_first(inputs))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Returns the milliseconds from 1970-01-01 00:00:00 UTC to a time.",
                "unix_timestamp(x)",
            )
            .with_sql_example(
                r#"```sql
> select unix_timestamp(TIMESTAMP '1970-01-01 00:00:01.5') as ms;
+------+
| ms   |
+------+
| 1500 |
+------+
```"#,
            )
            .with_argument("x", "A TIMESTAMP.")
            .with_related_udf("to_timestamp")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}
