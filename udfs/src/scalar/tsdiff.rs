//! TSDIFF(start, end): `end` − `start` in milliseconds (kda-sql-reference.md §5.4, §8.6).
//!
//! Input:  two TIMESTAMPs, or two BIGINTs of milliseconds since 1970.
//! Output: BIGINT; NULL for NULL.
//! Order:  rises with `end`, falls with `start`.
//! Errors: other types, when the query is planned; a difference out of range, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::compute::kernels::arity::try_binary;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::instant::milliseconds;
use super::{any_nullable, zip_columns};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `tsdiff`.
pub fn udf() -> Arc<ScalarUDF> {
    static TSDIFF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Tsdiff::default())));
    TSDIFF.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Tsdiff {
    signature: Signature,
}

impl Default for Tsdiff {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Tsdiff {
    fn name(&self) -> &str {
        "tsdiff"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let all = |takes: fn(&DataType) -> bool| {
            args.arg_fields.iter().all(|field| takes(field.data_type()) || field.data_type().is_null())
        };
        if !all(|data_type| matches!(data_type, DataType::Timestamp(..))) && !all(DataType::is_integer) {
            let [start, end] = [0, 1].map(|place: usize| sql_type_name(&args.arg_fields[place]));
            return plan_err!("cannot tell the milliseconds from {start} to {end}: TSDIFF takes two TIMESTAMPs or two BIGINTs");
        }
        Ok(SqlType::BigInt.field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        zip_columns(&args.args[0], &args.args[1], |start, end| {
            let (start, end) = (counts(start)?, counts(end)?);
            let difference = |start: i64, end: i64| {
                let difference = end.checked_sub(start);
                difference.ok_or_else(|| ArrowError::ArithmeticOverflow(format!("{end} - {start} is out of the range of BIGINT")))
            };
            let differences: Int64Array = try_binary(&start, &end, difference)?;
            Ok(Arc::new(differences))
        })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(match inputs {
            [start, end] => end.sort_properties.sub(&start.sort_properties),
            _ => SortProperties::Unordered,
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Returns the milliseconds from start to end; negative if end is the earlier.",
                "tsdiff(start, end)",
            )
            .with_sql_example(
                r#"```sql
> select tsdiff(TIMESTAMP '2004-09-30 13:48:23', TIMESTAMP '2004-09-30 13:48:24.5') as d;
+------+
| d    |
+------+
| 1500 |
+------+
```"#,
            )
            .with_argument("start", "A TIMESTAMP, or milliseconds since 1970.")
            .with_argument("end", "Another of the same type.")
            .with_related_udf("ts_minus")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn counts(column: &ArrayRef) -> Result<Int64Array, ArrowError> {
    if column.data_type().is_integer() {
        return Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone());
    }
    milliseconds(column)
}
