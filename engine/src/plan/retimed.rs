//! `t AS ROWTIME` keeps the ROWTIME that the rows come with beside the one that they get: a row that fails is reported with it
//! (kda-sql-reference.md §6.12).
//!
//! For DataFusion's planner the item is `"$retimed"(t, s.ROWTIME) AS ROWTIME`, so that the old time is not pruned. Where rows get
//! their new time, both arguments become columns; anywhere else the function is its first argument.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name of the function.
pub(super) const RETIMED: &str = "$retimed";

/// The function as DataFusion sees it.
pub(super) fn marker() -> ScalarUDF {
    ScalarUDF::from(Retimed { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Retimed {
    signature: Signature,
}

impl ScalarUDFImpl for Retimed {
    fn name(&self) -> &str {
        RETIMED
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a new ROWTIME is that of its expression")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}

/// The items of `projection` without the function at the place of ROWTIME, and the time that the rows come with.
pub(super) fn split(projection: &Projection, rowtime: usize) -> (Vec<Expr>, Option<Expr>) {
    let mut items = projection.expr.clone();
    let name = items[rowtime].qualified_name();
    let split = match items[rowtime].clone().unalias_nested().data {
        Expr::ScalarFunction(function) if function.name() == RETIMED => <[Expr; 2]>::try_from(function.args).ok(),
        _ => None,
    };
    let came = split.map(|[time, came]| {
        items[rowtime] = time.alias_qualified(name.0, name.1);
        came
    });
    (items, came)
}
