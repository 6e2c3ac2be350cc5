//! NULLIF(a, b): NULL if `a` = `b`, else `a` (kda-sql-reference.md §5.6).
//!
//! DataFusion's own gives the common type of the two and takes a text beside a number.
//!
//! Input:  two arguments of one family of types, such as two numbers. They are compared as `=` does: of CHAR blanks at the end do
//!         not count, a DECIMAL beside a REAL or DOUBLE is a DOUBLE.
//! Output: the type of `a`; `a` if `b` is NULL.
//! Errors: types that cannot be compared, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::utils::normalize_float_zero;
use datafusion::common::{Result, internal_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::binary::comparison_coercion;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_CONDITIONAL;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::type_family::strangers;
use super::zip_columns;
use crate::sql_type::{SqlType, approximate_of, sql_type_name};

/// The function `nullif`.
pub fn udf() -> Arc<ScalarUDF> {
    static NULLIF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Nullif::default())));
    NULLIF.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullif {
    signature: Signature,
}

impl Default for Nullif {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Nullif {
    fn name(&self) -> &str {
        "nullif"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of NULLIF is that of its first argument")
    }

    /// The first argument's field with its metadata: the length of a VARCHAR stays.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types = [0, 1].map(|place: usize| args.arg_fields[place].data_type().clone());
        if strangers(&types).is_some() {
            let [a, b] = [0, 1].map(|place: usize| sql_type_name(&args.arg_fields[place]));
            return plan_err!("cannot compare {a} with {b} in NULLIF: cast one of them to the type of the other");
        }
        common(&types[0], &types[1])?;
        Ok(Arc::new(Field::clone(&args.arg_fields[0]).with_name(self.name()).with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_char = |field: &FieldRef| matches!(SqlType::of_field(field), Some(SqlType::Char(_)));
        let padded = args.arg_fields.iter().any(is_char);
        zip_columns(&args.args[0], &args.args[1], |a, b| {
            if a.data_type().is_null() || b.data_type().is_null() {
                return Ok(a.clone());
            }
            let data_type = if padded { DataType::Utf8 } else { common(a.data_type(), b.data_type())? };
            let compared = |column: &ArrayRef| {
                let column = cast(column, &data_type)?;
                // Arrow compares bits: to it −0.0 is another value than 0.0.
                Ok::<_, ArrowError>(if padded { without_padding(&column) } else { normalize_float_zero(&column) })
            };
            Ok(nullif(a, &eq(&compared(a)?, &compared(b)?)?)?)
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(DOC_SECTION_CONDITIONAL, "Returns NULL if a = b, else a.", "nullif(a, b)")
                .with_sql_example(
                    r#"```sql
> select nullif(x, 0) as x from (values (0), (5)) as t(x);
+---+
| x |
+---+
|   |
| 5 |
+---+
```"#,
                )
                .with_argument("a", "The result, if it is not b.")
                .with_argument("b", "A value that can be compared with a.")
                .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn without_padding(texts: &ArrayRef) -> ArrayRef {
    let texts = texts.as_string::<i32>();
    Arc::new(texts.iter().map(|text| text.map(|text| text.trim_end_matches(' '))).collect::<StringArray>())
}

/// The type in which both are compared.
fn common(a: &DataType, b: &DataType) -> Result<DataType> {
    approximate_of([a, b])
        .or_else(|| comparison_coercion(a, b))
        .ok_or_else(|| plan_datafusion_err!("cannot compare {a} with {b} in NULLIF"))
}
