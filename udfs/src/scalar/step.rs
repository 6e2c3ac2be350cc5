//! STEP(x BY step): rounds down to a multiple of a step (kda-sql-reference.md §4.2, §5.7, §8.6).
//!
//! Input:  a TIMESTAMP, DATE or TIME and an interval or duration; or a number and a number. The step is a constant.
//! Output: the type of `x`; NULL for NULL.
//! Time:   counted from 1970-01-01 00:00:00 UTC, a TIME from midnight. Steps of years and months are calendar buckets
//!         counted from January 1970. All steps round towards −∞.
//! Errors: a step that is not positive or that the type of `x` cannot hold, when the query is planned; a result out of
//!         the range of that type, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Field, FieldRef, Float32Type, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, internal_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::decimal::{power_of_ten, rescale_exact};
use super::time_bucket::{Buckets, Rounding, out_of_range, units_per_day};
use super::{any_nullable, map_column, order_of_first};

const NANOSECONDS_PER_DAY: i128 = 86_400_000_000_000;

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

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of STEP depends on its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let (value, step) = (args.arg_fields[0].data_type(), args.arg_fields[1].data_type());
        if !can_step(value, step) {
            return plan_err!("cannot round {value} to multiples of {step}: STEP takes a time and an interval, or two numbers");
        }
        if let Some(step) = args.scalar_arguments[1] {
            Multiples::try_new(value, step)?;
        }
        Ok(Arc::new(Field::new(self.name(), value.clone(), any_nullable(args.arg_fields))))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(step) = &args.args[1] else { return plan_err!("the step of STEP must be a constant") };
        let multiples = Multiples::try_new(&args.args[0].data_type(), step)?;
        map_column(&args.args[0], |column| match multiples {
            Some(multiples) => multiples.floor(column),
            None => Ok(new_null_array(column.data_type(), column.len())),
        })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(order_of_first(inputs))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Rounds a time or a number down to a multiple of the step. Times are counted from 1970-01-01 00:00:00 UTC; \
                 steps of months and years are calendar buckets counted from January 1970.",
                "step(x, step)",
            )
            .with_sql_example(
                r#"```sql
> select step(TIMESTAMP '2004-09-30 13:48:23', INTERVAL '10' SECOND) as s;
+---------------------+
| s                   |
+---------------------+
| 2004-09-30T13:48:20 |
+---------------------+
```"#,
            )
            .with_argument("x", "A TIMESTAMP, DATE, TIME or number.")
            .with_argument("step", "A positive constant: an interval or duration for a time, a number for a number.")
            .with_alternative_syntax("STEP(x BY step), in KDA SQL")
            .with_related_udf("floor_to")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}

/// Whether values of the one type can be rounded to multiples of the other.
fn can_step(value: &DataType, step: &DataType) -> bool {
    let step_is_time = matches!(step, DataType::Interval(_) | DataType::Duration(_));
    match value {
        DataType::Null => step_is_time || step.is_numeric() || step.is_null(),
        value if units_per_day(value).is_some() => step_is_time || step.is_null(),
        value if value.is_integer() => step.is_integer() || step.is_null(),
        DataType::Decimal128(..) | DataType::Float32 | DataType::Float64 => {
            step.is_integer()
                || step.is_null()
                || matches!(step, DataType::Decimal128(..) | DataType::Float32 | DataType::Float64)
        }
        _ => false,
    }
}

/// The numbers or instants that a column is rounded down to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Multiples {
    /// Of a time or an integer of at most 63 bits.
    Buckets(Buckets),
    /// The column itself: one day is a multiple of the step, and a DATE has no smaller part.
    Every,
    Unsigned(u64),
    /// In units of the column's scale.
    Decimal(i128),
    Float(f64),
}

impl Multiples {
    /// None if the step is NULL.
    fn try_new(value: &DataType, step: &ScalarValue) -> Result<Option<Self>> {
        if step.is_null() || value.is_null() {
            return Ok(None);
        }
        let not_positive = || plan_datafusion_err!("step must be positive, not {step}");
        let multiples = match value {
            DataType::UInt64 => Multiples::Unsigned(positive(whole_number(step)?).ok_or_else(not_positive)?),
            value if value.is_integer() => {
                Multiples::Buckets(Buckets::Units(positive(whole_number(step)?).ok_or_else(not_positive)?))
            }
            DataType::Decimal128(precision, scale) => {
                let units = units_of_decimal(step, *scale)?.ok_or_else(|| {
                    plan_datafusion_err!("a step of {step} is finer or larger than DECIMAL({precision}, {scale}) can hold")
                })?;
                Multiples::Decimal(positive(units).ok_or_else(not_positive)?)
            }
            DataType::Float32 | DataType::Float64 => match step.cast_to(&DataType::Float64)? {
                ScalarValue::Float64(Some(step)) if step > 0.0 => Multiples::Float(step),
                _ => return Err(not_positive()),
            },
            value => return Self::of_time(value, step).map(Some),
        };
        Ok(Some(multiples))
    }

    fn of_time(value: &DataType, step: &ScalarValue) -> Result<Self> {
        let Some(units_per_day) = units_per_day(value) else {
            return plan_err!("cannot round {value} to multiples: STEP takes a time or a number");
        };
        let (months, nanoseconds) = months_and_nanoseconds(step)?;
        if months < 0 || nanoseconds < 0 || (months == 0 && nanoseconds == 0) {
            return plan_err!("the step of STEP must be positive, not {}", interval_text(step));
        }
        let is_time_of_day = matches!(value, DataType::Time32(_) | DataType::Time64(_));
        if months > 0 && (nanoseconds > 0 || is_time_of_day) {
            let reason = if is_time_of_day { "a TIME has none" } else { "they cannot be mixed with days" };
            return plan_err!("a step of {} counts months: {reason}", interval_text(step));
        }
        if months > 0 {
            return Ok(Multiples::Buckets(Buckets::Months { count: months, units_per_day }));
        }
        let unit = NANOSECONDS_PER_DAY / i128::from(units_per_day);
        if nanoseconds % unit == 0 {
            let units = i64::try_from(nanoseconds / unit)
                .map_err(|_| plan_datafusion_err!("a step of {} is out of range", interval_text(step)))?;
            return Ok(Multiples::Buckets(Buckets::Units(units)));
        }
        if units_per_day == 1 && NANOSECONDS_PER_DAY % nanoseconds == 0 {
            return Ok(Multiples::Every);
        }
        plan_err!("a step of {} is not a whole number of the units of {value}", interval_text(step))
    }

    fn floor(self, column: &ArrayRef) -> Result<ArrayRef> {
        match self {
            Multiples::Buckets(buckets) => buckets.round(column, Rounding::Down),
            Multiples::Every => Ok(column.clone()),
            Multiples::Unsigned(step) => {
                let values = column.as_primitive::<UInt64Type>();
                Ok(Arc::new(values.unary::<_, UInt64Type>(|value| value - value % step)))
            }
            Multiples::Decimal(step) => {
                let values = column.as_primitive::<Decimal128Type>();
                let limit = power_of_ten(u32::from(values.precision())).unwrap_or(i128::MAX);
                let floor = |value: i128| {
                    let floor = value.checked_sub(value.rem_euclid(step)).filter(|floor| floor.abs() < limit);
                    floor.ok_or(value)
                };
                let floors = values.try_unary::<_, Decimal128Type, i128>(floor).map_err(|failed| {
                    out_of_range(&Decimal128Type::format_decimal(failed, values.precision(), values.scale()), Rounding::Down)
                })?;
                Ok(Arc::new(floors.with_data_type(column.data_type().clone())))
            }
            Multiples::Float(step) => {
                // A quotient past the largest number says that the step is finer than the number can tell.
                let floor = |value: f64| {
                    let steps = (value / step).floor();
                    if steps.is_finite() { steps * step } else { value }
                };
                Ok(match column.data_type() {
                    DataType::Float32 => Arc::new(
                        column.as_primitive::<Float32Type>().unary::<_, Float32Type>(|value| floor(f64::from(value)) as f32),
                    ),
                    _ => Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(floor)),
                })
            }
        }
    }
}

fn positive<T: TryFrom<i128>>(number: i128) -> Option<T> {
    if number > 0 { T::try_from(number).ok() } else { None }
}

fn whole_number(step: &ScalarValue) -> Result<i128> {
    match step.cast_to(&DataType::Decimal128(38, 0))? {
        ScalarValue::Decimal128(Some(number), ..) => Ok(number),
        other => internal_err!("{other} is not an integer"),
    }
}

/// The step as a multiple of 10^−scale, if it is one.
fn units_of_decimal(step: &ScalarValue, scale: i8) -> Result<Option<i128>> {
    Ok(match step {
        ScalarValue::Decimal128(Some(units), _, step_scale) => rescale_exact(*units, *step_scale, scale),
        ScalarValue::Float32(_) | ScalarValue::Float64(_) => {
            // The text of a float is the shortest that means it: 0.1 is a tenth here.
            let text = step.to_string();
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            match i8::try_from(digits).ok().and_then(|digits| Some((digits, text.replacen('.', "", 1).parse().ok()?))) {
                Some((digits, units)) => rescale_exact(units, digits, scale),
                None => None,
            }
        }
        step => rescale_exact(whole_number(step)?, 0, scale),
    })
}

/// An interval for messages, such as `1 month 0.5 s`.
fn interval_text(step: &ScalarValue) -> String {
    let Ok((months, nanoseconds)) = months_and_nanoseconds(step) else { return step.to_string() };
    let seconds = format!("{} s", nanoseconds as f64 / 1e9);
    match (months, nanoseconds) {
        (0, _) => seconds,
        (months, 0) => format!("{months} months"),
        (months, _) => format!("{months} months {seconds}"),
    }
}

fn months_and_nanoseconds(step: &ScalarValue) -> Result<(i64, i128)> {
    Ok(match step {
        ScalarValue::IntervalYearMonth(Some(months)) => (i64::from(*months), 0),
        ScalarValue::IntervalDayTime(Some(step)) => {
            (0, i128::from(step.days) * NANOSECONDS_PER_DAY + i128::from(step.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalMonthDayNano(Some(step)) => {
            (i64::from(step.months), i128::from(step.days) * NANOSECONDS_PER_DAY + i128::from(step.nanoseconds))
        }
        ScalarValue::DurationSecond(Some(step)) => (0, i128::from(*step) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(step)) => (0, i128::from(*step) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(step)) => (0, i128::from(*step) * 1_000),
        ScalarValue::DurationNanosecond(Some(step)) => (0, i128::from(*step)),
        other => return plan_err!("cannot round a time to multiples of {other}: STEP takes an interval"),
    })
}
