//! FLOOR(x TO unit) and CEIL(x TO unit): rounds a time to a calendar unit (kda-sql-reference.md §4.2).

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::time_bucket::{Width, bucket};

/// The function `floor_to`.
pub fn floor_udf() -> Arc<ScalarUDF> {
    static FLOOR: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(RoundTo::new(false))));
    FLOOR.clone()
}

/// The function `ceil_to`.
pub fn ceil_udf() -> Arc<ScalarUDF> {
    static CEIL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(RoundTo::new(true))));
    CEIL.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundTo {
    up: bool,
    signature: Signature,
}

impl RoundTo {
    fn new(up: bool) -> Self {
        Self { up, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for RoundTo {
    fn name(&self) -> &str {
        if self.up { "ceil_to" } else { "floor_to" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &arguments[0] {
            time if time.is_temporal() && !matches!(time, DataType::Interval(_) | DataType::Duration(_)) => Ok(time.clone()),
            other => plan_err!("FLOOR and CEIL … TO a unit of time take a TIMESTAMP, DATE or TIME, not {other}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(unit) = &args.args[1] else { return exec_err!("the unit of FLOOR and CEIL must be a constant") };
        let unit = unit.try_as_str().flatten().unwrap_or_default().to_ascii_uppercase();
        let width = match unit.as_str() {
            "SECOND" => Width::Milliseconds(1_000),
            "MINUTE" => Width::Milliseconds(60_000),
            "HOUR" => Width::Milliseconds(3_600_000),
            "DAY" => Width::Milliseconds(86_400_000),
            "MONTH" => Width::Months(1),
            "YEAR" => Width::Months(12),
            _ => return exec_err!("unknown unit of time {unit}: expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND"),
        };
        let rounded = bucket(&args.args[0].to_array(args.number_rows)?, width, self.up)?;
        match &args.args[0] {
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&rounded, 0)?)),
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(rounded)),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 2]> = LazyLock::new(|| {
            ["down", "up"].map(|direction| {
                let name = if direction == "up" { "CEIL" } else { "FLOOR" };
                let description = format!("Rounds a time {direction} to a unit of the calendar.");
                let section = DocSection { label: "Time and Date Functions", ..DocSection::default() };
                Documentation::builder(section, description, format!("{name}(x TO unit)"))
                    .with_argument("x", "A TIMESTAMP, DATE or TIME.")
                    .with_argument("unit", "YEAR, MONTH, DAY, HOUR, MINUTE or SECOND.")
                    .build()
            })
        });
        Some(&DOCUMENTATION[usize::from(self.up)])
    }
}
