//! STEP: rounds down to a multiple of a step (kda-sql-reference.md §4.2, §8.6).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::time_bucket::{Width, bucket};

const DAY_MS: i64 = 86_400_000;

/// The function `step`.
pub fn udf() -> Arc<ScalarUDF> {
    static STEP: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Step::default())));
    STEP.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Step {
    signature: Signature,
}

impl Default for Step {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Step {
    fn name(&self) -> &str {
        "step"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (&arguments[0], &arguments[1]) {
            (time, DataType::Interval(_)) if time.is_temporal() => Ok(time.clone()),
            (value, step) if value.is_numeric() && step.is_numeric() => Ok(value.clone()),
            (value, step) => plan_err!("STEP takes a time and an interval, or two numbers, not {value} and {step}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(step) = &args.args[1] else { return exec_err!("the step of STEP must be a constant") };
        let column = args.args[0].to_array(args.number_rows)?;
        let stepped = match step.data_type() {
            DataType::Interval(unit) => bucket(&column, width(&unit, step)?, false)?,
            _ => step_number(&column, step)?,
        };
        match &args.args[0] {
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&stepped, 0)?)),
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(stepped)),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            let description = "Rounds a time or a number down to a multiple of the step; times are counted from 1970-01-01 00:00:00 UTC.";
            Documentation::builder(DocSection { label: "Time and Date Functions", ..DocSection::default() }, description, "STEP(x BY step)")
                .with_argument("x", "A TIMESTAMP, DATE, TIME or number.")
                .with_argument("step", "An interval literal, or a positive number.")
                .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn width(unit: &IntervalUnit, step: &ScalarValue) -> Result<Width> {
    let step = step.to_array()?;
    if step.is_null(0) {
        return exec_err!("the step of STEP is NULL");
    }
    let (months, milliseconds) = match unit {
        IntervalUnit::YearMonth => (i64::from(step.as_primitive::<IntervalYearMonthType>().value(0)), 0),
        IntervalUnit::DayTime => {
            let step = step.as_primitive::<IntervalDayTimeType>().value(0);
            (0, i64::from(step.days) * DAY_MS + i64::from(step.milliseconds))
        }
        IntervalUnit::MonthDayNano => {
            let step = step.as_primitive::<IntervalMonthDayNanoType>().value(0);
            (i64::from(step.months), i64::from(step.days) * DAY_MS + step.nanoseconds / 1_000_000)
        }
    };
    match (months, milliseconds) {
        (0, milliseconds) if milliseconds > 0 => Ok(Width::Milliseconds(milliseconds)),
        (months, 0) if months > 0 => Ok(Width::Months(months)),
        _ => exec_err!("step must be positive, of at least a millisecond, and either months or days to seconds"),
    }
}

fn step_number(column: &ArrayRef, step: &ScalarValue) -> Result<ArrayRef> {
    let data_type = column.data_type();
    if data_type.is_integer() {
        let ScalarValue::Int64(Some(step @ 1..)) = step.cast_to(&DataType::Int64)? else { return exec_err!("step must be positive") };
        let numbers = cast(column, &DataType::Int64)?;
        let stepped: ArrayRef = Arc::new(numbers.as_primitive::<Int64Type>().unary::<_, Int64Type>(|number| number.div_euclid(step) * step));
        return Ok(cast(&stepped, data_type)?);
    }
    let step = match step.cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(step)) if step > 0.0 => step,
        _ => return exec_err!("step must be positive"),
    };
    let numbers = cast(column, &DataType::Float64)?;
    let stepped: ArrayRef = Arc::new(numbers.as_primitive::<Float64Type>().unary::<_, Float64Type>(|number| (number / step).floor() * step));
    Ok(cast(&stepped, data_type)?)
}
