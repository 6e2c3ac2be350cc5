//! `$cast(CAST(x AS type), 'type')`: a CAST with a name of its own. DataFusion calls the columns of `AVG(x)` and
//! `AVG(CAST(x AS DOUBLE))` by one name, and so refuses a query that has both. The parser puts it around the arguments of
//! aggregates; the rule of casts takes it off again.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::sql::NAMED_CAST;

/// The function as the session knows it. It is never run.
pub(super) fn marker() -> ScalarUDF {
    ScalarUDF::from(NamedCast { signature: Signature::any(2, Volatility::Immutable) })
}

/// The CAST, if the expression is one with a name.
pub(super) fn unnamed(expr: Expr) -> std::result::Result<Expr, Expr> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, mut args }) if func.name() == NAMED_CAST && args.len() == 2 => {
            Ok(args.swap_remove(0))
        }
        expr => Err(expr),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NamedCast {
    signature: Signature,
}

impl ScalarUDFImpl for NamedCast {
    fn name(&self) -> &str {
        NAMED_CAST
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [operand, Expr::Literal(data_type, _)] => Ok(format!("CAST({} AS {data_type})", operand.schema_name())),
            _ => internal_err!("a CAST with a name has an operand and a type"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("the name of a CAST was not taken off")
    }
}
