//! The functions that exist with OVER only, as DataFusion's planner sees them: names and result types. They are never run;
//! the sliding window computes them.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, TypeSignature, Volatility, WindowUDF, WindowUDFImpl};

/// `FIRST_VALUE(x)`.
pub const FIRST_VALUE: &str = "$first_value";
/// `LAST_VALUE(x)`.
pub const LAST_VALUE: &str = "$last_value";
/// `NTH_VALUE(x, n)`, FROM FIRST.
pub const NTH_VALUE: &str = "$nth_value";
/// `NTH_VALUE(x, n) FROM LAST`.
pub const NTH_VALUE_FROM_LAST: &str = "$nth_value_from_last";
/// `LAG(x, n, otherwise)`.
pub const LAG: &str = "$lag";
/// `EXP_AVG(x, h)`.
pub const EXP_AVG: &str = "$exp_avg";

/// `ROW_NUMBER()`.
pub const ROW_NUMBER: &str = "$row_number";

/// All of them, for a session.
pub fn window_functions() -> impl Iterator<Item = WindowUDF> {
    let marker = |name| {
        WindowUDF::from(Marker {
            name,
            signature: Signature::one_of(vec![TypeSignature::VariadicAny, TypeSignature::Nullary], Volatility::Immutable),
        })
    };
    [FIRST_VALUE, LAST_VALUE, NTH_VALUE, NTH_VALUE_FROM_LAST, LAG, EXP_AVG, ROW_NUMBER].into_iter().map(marker)
}

/// A name and its result type: that of the first argument, DOUBLE for an average, BIGINT for a number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    signature: Signature,
}

impl WindowUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        not_impl_err!("{} exists only in a sliding window of a stream", self.name)
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let name = args.name();
        match (self.name, args.input_fields().first()) {
            (ROW_NUMBER, _) => Ok(Field::new(name, DataType::Int64, false).into()),
            (EXP_AVG, _) | (_, None) => Ok(Field::new(name, DataType::Float64, true).into()),
            (_, Some(argument)) => Ok(argument.as_ref().clone().with_name(name).with_nullable(true).into()),
        }
    }
}
