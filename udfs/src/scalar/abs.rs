//! ABS(x): a number or an interval without its sign (kda-sql-reference.md §5.7).
//!
//! Input:  any number, interval or duration.
//! Output: the argument's type; NULL for NULL.
//! Errors: the smallest number of a whole type, whose opposite that type cannot hold, for the row; other types, when the
//!         query is planned.

use std::fmt::Display;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTime, IntervalDayTimeType,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::map_column;
use crate::sql_type::sql_type_name;

/// The function `abs`.
pub fn udf() -> Arc<ScalarUDF> {
    static ABS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Abs::default())));
    ABS.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Abs {
    signature: Signature,
}

impl Default for Abs {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Abs {
    fn name(&self) -> &str {
        "abs"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of ABS is that of its argument")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let source = &args.arg_fields[0];
        match source.data_type() {
            DataType::Float16 | DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..) => {}
            DataType::Null | DataType::Interval(_) | DataType::Duration(_) => {
                return Ok(Arc::new(source.as_ref().clone().with_name(self.name())));
            }
            number if number.is_numeric() => return Ok(Arc::new(source.as_ref().clone().with_name(self.name()))),
            _ => {}
        }
        plan_err!("cannot take the sign off {}: ABS takes a number or an interval", sql_type_name(source))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map_column(&args.args[0], abs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(DOC_SECTION_MATH, "Returns a number or an interval without its sign.", "abs(x)")
                .with_sql_example(
                    r#"```sql
> select abs(-5) as x;
+---+
| x |
+---+
| 5 |
+---+
```"#,
                )
                .with_argument("x", "A number or an interval.")
                .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn abs(column: &ArrayRef) -> Result<ArrayRef> {
    use DataType::*;
    Ok(match column.data_type() {
        Int8 => checked::<Int8Type>(column, i8::checked_abs)?,
        Int16 => checked::<Int16Type>(column, i16::checked_abs)?,
        Int32 => checked::<Int32Type>(column, i32::checked_abs)?,
        Int64 => checked::<Int64Type>(column, i64::checked_abs)?,
        Null | UInt8 | UInt16 | UInt32 | UInt64 => column.clone(),
        Float32 => Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs)),
        Float64 => Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs)),
        Decimal128(..) => checked::<Decimal128Type>(column, i128::checked_abs)?,
        Duration(TimeUnit::Second) => checked::<DurationSecondType>(column, i64::checked_abs)?,
        Duration(TimeUnit::Millisecond) => checked::<DurationMillisecondType>(column, i64::checked_abs)?,
        Duration(TimeUnit::Microsecond) => checked::<DurationMicrosecondType>(column, i64::checked_abs)?,
        Duration(TimeUnit::Nanosecond) => checked::<DurationNanosecondType>(column, i64::checked_abs)?,
        Interval(IntervalUnit::YearMonth) => checked::<IntervalYearMonthType>(column, i32::checked_abs)?,
        Interval(IntervalUnit::DayTime) => checked_by::<IntervalDayTimeType, _>(column, abs_of_days, |step| {
            format!("{} days {} ms", step.days, step.milliseconds)
        })?,
        Interval(IntervalUnit::MonthDayNano) => checked_by::<IntervalMonthDayNanoType, _>(column, abs_of_months, |step| {
            format!("{} months {} days {} ns", step.months, step.days, step.nanoseconds)
        })?,
        other => return exec_err!("a value of type {other} has no sign"),
    })
}

fn checked<T: ArrowPrimitiveType>(column: &ArrayRef, abs: impl Fn(T::Native) -> Option<T::Native>) -> Result<ArrayRef, ArrowError>
where
    T::Native: Display,
{
    checked_by::<T, _>(column, abs, |value| value.to_string())
}

fn checked_by<T: ArrowPrimitiveType, F: Fn(T::Native) -> Option<T::Native>>(
    column: &ArrayRef,
    abs: F,
    show: impl Fn(T::Native) -> String,
) -> Result<ArrayRef, ArrowError> {
    let out_of_range =
        |value| ArrowError::ArithmeticOverflow(format!("the absolute value of {} is out of the range of its type", show(value)));
    let values = column.as_primitive::<T>();
    let values = values.try_unary::<_, T, ArrowError>(|value| abs(value).ok_or_else(|| out_of_range(value)))?;
    Ok(Arc::new(values.with_data_type(column.data_type().clone())))
}

/// The opposite of an interval whose days and milliseconds make it negative.
fn abs_of_days(step: IntervalDayTime) -> Option<IntervalDayTime> {
    let total = i64::from(step.days) * 86_400_000 + i64::from(step.milliseconds);
    if total >= 0 {
        return Some(step);
    }
    Some(IntervalDayTime::new(step.days.checked_neg()?, step.milliseconds.checked_neg()?))
}

/// Months decide, as intervals have them or days and smaller fields, not both.
fn abs_of_months(step: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let total = i128::from(step.days) * 86_400_000_000_000 + i128::from(step.nanoseconds);
    if step.months > 0 || (step.months == 0 && total >= 0) {
        return Some(step);
    }
    Some(IntervalMonthDayNano::new(step.months.checked_neg()?, step.days.checked_neg()?, step.nanoseconds.checked_neg()?))
}
