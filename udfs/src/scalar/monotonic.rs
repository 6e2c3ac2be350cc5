//! MONOTONIC(x): passes `x`, and declares that it never falls from row to row (kda-sql-reference.md §1.12, §8.6).
//!
//! Input:  any type.
//! Output: the argument itself, not a copy.
//! Order:  ascending, whatever its argument's is known to be. Nothing checks it: a result that needs the order is undefined
//!         if it is not true.

use std::sync::{Arc, LazyLock};

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_OTHER;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function `monotonic`.
pub fn udf() -> Arc<ScalarUDF> {
    static MONOTONIC: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Monotonic::default())));
    MONOTONIC.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Monotonic {
    signature: Signature,
}

impl Default for Monotonic {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Monotonic {
    fn name(&self) -> &str {
        "monotonic"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of MONOTONIC is that of its argument")
    }

    /// The argument's field with its metadata: the length of a VARCHAR stays.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(args.arg_fields[0].as_ref().clone().with_name(self.name())))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[0].clone())
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(match inputs {
            [x] if x.sort_properties == SortProperties::Singleton => SortProperties::Singleton,
            _ => SortProperties::Ordered(SortOptions { descending: false, nulls_first: false }),
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_OTHER,
                "Returns its argument, and declares that it never falls from row to row. Results are undefined if it does.",
                "monotonic(x)",
            )
            .with_sql_example(
                r#"```sql
> select monotonic(x) as m from (values (1), (2)) as t(x);
+---+
| m |
+---+
| 1 |
| 2 |
+---+
```"#,
            )
            .with_argument("x", "An expression of any type.")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}
