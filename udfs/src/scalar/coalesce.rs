//! COALESCE(v1, v2, …): the first argument that is not NULL (kda-sql-reference.md §5.6).
//!
//! DataFusion's own function with KDA's rules for types: DataFusion makes text of a number beside a text, and a DECIMAL of a
//! DOUBLE beside one.
//!
//! Input:  arguments of one family of types, such as numbers. Those after the first that is not NULL are not computed.
//! Output: the common type, approximate if one of the numbers is (§1.7); NULL if all are NULL.
//! Errors: arguments of two families, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::functions::core::coalesce::CoalesceFunc;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_CONDITIONAL;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::type_family::strangers;
use crate::sql_type::{approximate_of, sql_type_name};

/// The function `coalesce`.
pub fn udf() -> Arc<ScalarUDF> {
    static COALESCE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Coalesce::default())));
    COALESCE.clone()
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Coalesce {
    own: CoalesceFunc,
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        self.own.name()
    }

    fn signature(&self) -> &Signature {
        self.own.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if let Some((one, other)) = strangers(arg_types) {
            let [one, other] = [one, other].map(|data_type| sql_type_name(&Field::new("", data_type.clone(), true)));
            return plan_err!("COALESCE of {one} and {other}: its arguments must be of one kind, such as numbers");
        }
        match approximate_of(arg_types) {
            Some(approximate) => Ok(vec![approximate; arg_types.len()]),
            None => self.own.coerce_types(arg_types),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.own.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.own.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.own.simplify(args, info)
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.own.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.own.short_circuits()
    }

    /// Only reached in plans that were not optimised: the optimiser makes a CASE of it.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.own.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_CONDITIONAL,
                "Returns the first argument that is not NULL; NULL if all are.",
                "coalesce(x, ...)",
            )
            .with_sql_example(
                r#"```sql
> select coalesce(NULL, 5, 6) as x;
+---+
| x |
+---+
| 5 |
+---+
```"#,
            )
            .with_argument("x", "Values of one kind, such as numbers.")
            .with_related_udf("nullif")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}
