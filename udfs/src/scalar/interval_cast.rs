//! CAST of intervals (kda-sql-reference.md §1.8), which needs the fields that an interval is written with:
//!
//! | Function | CAST | |
//! | --- | --- | --- |
//! | `interval_text(i, qualifier, n)` | interval AS VARCHAR(n) | `+2 00:06:11`, cut after n characters |
//! | `interval_number(i, qualifier)` | interval AS BIGINT, DECIMAL | units of the one field |
//! | `to_interval(x, qualifier)` | text, interval AS INTERVAL | parsed; what is below the last field is dropped |
//!
//! Input:  an interval, a duration, or, but for `to_interval`, the number that a difference of one field is; a constant qualifier.
//! Output: NULL for NULL. Numbers are BIGINT, of SECOND DECIMAL(19, 3); intervals are durations, or of months.
//! Errors: a qualifier that does not suit the value, when the query is planned; malformed text, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array, DurationMillisecondArray, Int64Array, StringArray, StringBuilder};
use arrow::compute::{cast, kernels::arity};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMillisecondType, Field, FieldRef, Int64Type, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::qualifier::Qualifier;
use super::unit::Unit;
use super::{is_text, map_column};
use crate::sql_type::{CHARACTER_LENGTH_MAX, SqlType, qualifier_metadata, sql_type_name, truncated};

/// Holds every difference of two TIMESTAMPs in seconds.
const SECONDS: DataType = DataType::Decimal128(19, 3);

/// The function `interval_text`.
pub fn text_udf() -> Arc<ScalarUDF> {
    static TEXT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| udf(Target::Text));
    TEXT.clone()
}

/// The function `interval_number`.
pub fn number_udf() -> Arc<ScalarUDF> {
    static NUMBER: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| udf(Target::Number));
    NUMBER.clone()
}

/// The function `to_interval`.
pub fn interval_udf() -> Arc<ScalarUDF> {
    static INTERVAL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| udf(Target::Interval));
    INTERVAL.clone()
}

fn udf(target: Target) -> Arc<ScalarUDF> {
    let arguments = if target == Target::Text { 3 } else { 2 };
    Arc::new(ScalarUDF::from(IntervalCast { target, signature: Signature::any(arguments, Volatility::Immutable) }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Text,
    Number,
    Interval,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalCast {
    target: Target,
    signature: Signature,
}

impl ScalarUDFImpl for IntervalCast {
    fn name(&self) -> &str {
        match self.target {
            Target::Text => "interval_text",
            Target::Number => "interval_number",
            Target::Interval => "to_interval",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a cast interval depends on its qualifier")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let qualifier = Qualifier::of_constant(args.scalar_arguments[1])?;
        let source = &args.arg_fields[0];
        let nullable = source.is_nullable();
        let is_number = source.data_type().is_numeric();
        let from_text = self.target == Target::Interval && is_text(source.data_type());
        if self.target == Target::Interval && is_number {
            let from = sql_type_name(source);
            let unit = format!("{:?}", qualifier.last).to_uppercase();
            return plan_err!("{from} cannot be cast to INTERVAL {qualifier}: multiply it, as in n * INTERVAL '1' {unit}");
        }
        if !from_text && !qualifier.is_held_by(source.data_type()) {
            return plan_err!("{} is no INTERVAL {qualifier}", sql_type_name(source));
        }
        if from_text && qualifier.is_of_months() {
            return plan_err!("{} cannot be cast to INTERVAL {qualifier}: only to one of days and less", sql_type_name(source));
        }
        let data_type = match (self.target, qualifier.one_field()) {
            (Target::Text, _) => {
                let length = length(args.scalar_arguments.get(2).copied().flatten())?;
                return Ok(SqlType::Varchar(length).field(self.name(), nullable));
            }
            (Target::Number, None) => {
                return plan_err!(
                    "INTERVAL {qualifier} is no number: only an interval of one field, such as MINUTE, can be cast to one"
                );
            }
            (Target::Number, Some(_)) if is_number => source.data_type().clone(),
            (Target::Number, Some(Unit::Second)) => SECONDS,
            (Target::Number, Some(_)) => DataType::Int64,
            (Target::Interval, _) => interval_type(qualifier),
        };
        let field = Field::new(self.name(), data_type, nullable);
        // Without CAST around it, it stands for EXTRACT.
        Ok(Arc::new(match self.target {
            Target::Number => truncated(field),
            _ => field.with_metadata(qualifier_metadata(&qualifier.to_string())),
        }))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = |place: usize| match args.args.get(place) {
            Some(ColumnarValue::Scalar(value)) => Some(value),
            _ => None,
        };
        let qualifier = Qualifier::of_constant(constant(1))?;
        map_column(&args.args[0], |column| match self.target {
            Target::Text => Ok(Arc::new(texts(&qualifier.counts(column)?, qualifier, length(constant(2))? as usize))),
            Target::Number if column.data_type().is_numeric() => Ok(column.clone()),
            Target::Number => Ok(numbers(&qualifier.counts(column)?, qualifier)?),
            Target::Interval if is_text(column.data_type()) => Ok(intervals(&parsed(column, qualifier)?, qualifier)?),
            Target::Interval => Ok(intervals(&qualifier.counts(column)?, qualifier)?),
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 3]> = LazyLock::new(|| {
            let build = |what: &str, syntax: &str, example: &str, alternative: &str| {
                Documentation::builder(DOC_SECTION_DATETIME, what, syntax)
                    .with_sql_example(example)
                    .with_argument("interval", "An interval or duration, or the number of units of its one field.")
                    .with_argument("qualifier", "Its fields, such as 'MINUTE' or 'DAY TO SECOND'.")
                    .with_alternative_syntax(alternative)
                    .with_related_udf("ts_minus")
            };
            [
                build(
                    "Returns an interval as text: a sign, the first field, and the others with two digits.",
                    "interval_text(interval, qualifier, length)",
                    r#"```sql
> select interval_text(INTERVAL '371 seconds', 'MINUTE TO SECOND', 10) as x;
+-------+
| x     |
+-------+
| +6:11 |
+-------+
```"#,
                    "CAST(interval AS VARCHAR(length)), in KDA SQL",
                )
                .with_argument("length", "The most characters; longer text is cut.")
                .build(),
                build(
                    "Returns an interval of one field as the number of its units, seconds with three digits after the point.",
                    "interval_number(interval, qualifier)",
                    r#"```sql
> select interval_number(INTERVAL '371 seconds', 'MINUTE') as x;
+---+
| x |
+---+
| 6 |
+---+
```"#,
                    "CAST(interval AS BIGINT), in KDA SQL",
                )
                .build(),
                build(
                    "Returns text as an interval, or an interval without what is smaller than the last field.",
                    "to_interval(interval, qualifier)",
                    r#"```sql
> select to_interval('6:11', 'MINUTE TO SECOND') as x;
+--------+
| x      |
+--------+
| PT371S |
+--------+
```"#,
                    "CAST(x AS INTERVAL qualifier), in KDA SQL",
                )
                .build(),
            ]
        });
        Some(match self.target {
            Target::Text => &DOCUMENTATION[0],
            Target::Number => &DOCUMENTATION[1],
            Target::Interval => &DOCUMENTATION[2],
        })
    }
}

/// The type that holds intervals of this qualifier.
fn interval_type(qualifier: Qualifier) -> DataType {
    match qualifier.is_of_months() {
        true => DataType::Interval(IntervalUnit::YearMonth),
        false => DataType::Duration(TimeUnit::Millisecond),
    }
}

fn length(constant: Option<&ScalarValue>) -> Result<u32> {
    let length = constant.and_then(|value| value.cast_to(&DataType::UInt32).ok());
    match length {
        Some(ScalarValue::UInt32(Some(length @ 1..=CHARACTER_LENGTH_MAX))) => Ok(length),
        _ => plan_err!("the length of an interval's text must be a constant from 1 to {CHARACTER_LENGTH_MAX}"),
    }
}

fn texts(counts: &Int64Array, qualifier: Qualifier, length: usize) -> StringArray {
    let mut texts = StringBuilder::with_capacity(counts.len(), counts.len() * 12);
    let mut written = String::new();
    for count in counts {
        match count {
            Some(count) => {
                written.clear();
                qualifier.write(count, &mut written);
                // All characters are ASCII.
                written.truncate(length);
                texts.append_value(&written);
            }
            None => texts.append_null(),
        }
    }
    texts.finish()
}

fn numbers(counts: &Int64Array, qualifier: Qualifier) -> Result<ArrayRef, ArrowError> {
    let size = match qualifier.last {
        Unit::Second => {
            let ms: Decimal128Array = counts.unary::<_, Decimal128Type>(i128::from);
            return Ok(Arc::new(ms.with_data_type(SECONDS)));
        }
        Unit::Year => 12,
        Unit::Month => 1,
        unit => unit.milliseconds().unwrap_or(1),
    };
    Ok(Arc::new(counts.unary::<_, Int64Type>(|count| count / size)))
}

fn intervals(counts: &Int64Array, qualifier: Qualifier) -> Result<ArrayRef, ArrowError> {
    if qualifier.is_of_months() {
        let narrow = |months: i64| {
            i32::try_from(qualifier.cut(months))
                .map_err(|_| ArrowError::ArithmeticOverflow("an interval is out of range".to_owned()))
        };
        return Ok(Arc::new(counts.try_unary::<_, IntervalYearMonthType, _>(narrow)?));
    }
    let durations: DurationMillisecondArray = arity::unary::<_, _, DurationMillisecondType>(counts, |ms| qualifier.cut(ms));
    Ok(Arc::new(durations))
}

fn parsed(column: &ArrayRef, qualifier: Qualifier) -> Result<Int64Array, ArrowError> {
    let texts = cast(column, &DataType::Utf8)?;
    let parse = |text: &str| {
        let malformed = || {
            let shown: String = text.chars().take(60).collect();
            ArrowError::CastError(format!("'{shown}' is no INTERVAL {qualifier}"))
        };
        qualifier.parse(text).ok_or_else(malformed)
    };
    texts.as_string::<i32>().iter().map(|text| text.map(parse).transpose()).collect()
}
