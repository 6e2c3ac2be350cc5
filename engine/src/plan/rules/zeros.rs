//! −0.0 is equal to 0.0 (IEEE 754), also where DataFusion or arrow compare bits: in an IN of many values, in `CASE x WHEN …` and among
//! the arguments of DISTINCT. There a negative zero is made a plain one first; `=` and its like know it by themselves.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::utils::{normalize_float_zero, normalize_float_zero_scalar};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::expr::{AggregateFunction, InList};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name of the function that makes a plain zero of a negative one.
pub(in crate::plan) const PLAIN_ZERO: &str = "$plain_zero";

/// The rule for `expr`, whose operands have KDA's types.
pub(super) fn typed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    let mut plain = |expr: &mut Expr| {
        // What has no type has a problem, which is found later.
        if expr.get_type(schema).is_ok_and(|data_type| data_type.is_floating()) {
            *expr = plain_zero(std::mem::take(expr));
            changed = true;
        }
    };
    let expr = match expr {
        Expr::InList(InList { mut expr, mut list, negated }) => {
            plain(&mut expr);
            list.iter_mut().for_each(&mut plain);
            Expr::InList(InList { expr, list, negated })
        }
        Expr::Case(mut case) => {
            if let Some(base) = &mut case.expr {
                plain(base);
                case.when_then_expr.iter_mut().for_each(|(when, _)| plain(when));
            }
            Expr::Case(case)
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            if params.distinct {
                params.args.iter_mut().for_each(&mut plain);
            }
            Expr::AggregateFunction(AggregateFunction { func, params })
        }
        expr => expr,
    };
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// A literal is made plain now.
fn plain_zero(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(value, metadata) => Expr::Literal(normalize_float_zero_scalar(value), metadata),
        expr => ScalarUDF::from(PlainZero { signature: Signature::any(1, Volatility::Immutable) }).call(vec![expr]),
    }
}

/// Numbers as they are, but 0.0 for −0.0. Without one of those nothing is copied.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PlainZero {
    signature: Signature,
}

impl ScalarUDFImpl for PlainZero {
    fn name(&self) -> &str {
        PLAIN_ZERO
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a number is its own")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(normalize_float_zero(values)),
            ColumnarValue::Scalar(value) => ColumnarValue::Scalar(normalize_float_zero_scalar(value.clone())),
        })
    }
}
