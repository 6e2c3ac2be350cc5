//! TS_MINUS(a, b, qualifier): the time from `b` to `a`, the function behind `(a - b) qualifier`
//! (kda-sql-reference.md §1.5).
//!
//! Input:  two TIMESTAMPs, DATEs or TIMEs of the same type; a constant qualifier.
//! Output: NULL for NULL. A qualifier of one field gives the count of its units, so that it can be divided, rounded and cast
//!         like any number: `YEAR`, `MONTH`, `DAY`, `HOUR`, `MINUTE` BIGINT, `SECOND` DECIMAL(19, 3), with milliseconds. One
//!         of several gives an interval: `YEAR TO MONTH` one of months, `DAY TO MINUTE` and the like a duration. What is
//!         smaller than the last field is dropped towards zero.
//! Time:   a month has passed when the same day and time of day is reached in the later one.
//! Order:  rises with `a`, falls with `b`.
//! Errors: arguments of two types, or an unknown qualifier, when the query is planned; a difference out of range, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Decimal128Array, DurationMillisecondArray, Int64Array, IntervalYearMonthArray};
use arrow::compute::kernels::arity::try_binary;
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMillisecondType, Field, FieldRef, Int64Type, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::calendar::civil_from_days;
use super::date_pattern::DAY_MS;
use super::instant::milliseconds;
use super::qualifier::Qualifier;
use super::unit::Unit;
use super::{any_nullable, zip_columns};
use crate::sql_type::{qualifier_metadata, sql_type_name};

/// Holds every difference of two TIMESTAMPs in seconds.
const SECONDS: DataType = DataType::Decimal128(19, 3);

/// The function `ts_minus`.
pub fn udf() -> Arc<ScalarUDF> {
    static MINUS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(TsMinus::default())));
    MINUS.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TsMinus {
    signature: Signature,
}

impl Default for TsMinus {
    fn default() -> Self {
        Self { signature: Signature::any(3, Volatility::Immutable) }
    }
}

/// What a difference of a qualifier is.
impl Qualifier {
    fn data_type(self) -> DataType {
        match (self.first == self.last, self.last) {
            (true, Unit::Second) => SECONDS,
            (true, _) => DataType::Int64,
            (false, Unit::Month) => DataType::Interval(IntervalUnit::YearMonth),
            (false, _) => DataType::Duration(TimeUnit::Millisecond),
        }
    }

    fn between(self, a: &Int64Array, b: &Int64Array) -> Result<ArrayRef, ArrowError> {
        let one_field = self.first == self.last;
        let Some(unit) = self.last.milliseconds() else {
            let months = try_binary::<_, _, _, Int64Type>(a, b, |a, b| Ok(months_between(a, b)))?;
            return Ok(match (one_field, self.last) {
                (true, Unit::Month) => Arc::new(months),
                (true, _) => Arc::new(months.unary::<_, Int64Type>(|months| months / 12)),
                (false, _) => {
                    let narrow = |months: i64| i32::try_from(months).map_err(|_| out_of_range());
                    let months: IntervalYearMonthArray = months.try_unary::<_, IntervalYearMonthType, _>(narrow)?;
                    Arc::new(months)
                }
            });
        };
        let difference = |a: i64, b: i64| a.checked_sub(b).ok_or_else(out_of_range);
        Ok(match (one_field, self.last) {
            (true, Unit::Second) => {
                let ms: Decimal128Array = try_binary::<_, _, _, Decimal128Type>(a, b, |a, b| difference(a, b).map(i128::from))?;
                Arc::new(ms.with_data_type(SECONDS))
            }
            (true, _) => {
                let units: Int64Array = try_binary(a, b, |a, b| Ok(difference(a, b)? / unit))?;
                Arc::new(units)
            }
            (false, _) => {
                // Milliseconds are part of the seconds.
                let kept = if self.last == Unit::Second { 1 } else { unit };
                let ms: DurationMillisecondArray =
                    try_binary::<_, _, _, DurationMillisecondType>(a, b, |a, b| Ok(difference(a, b)? / kept * kept))?;
                Arc::new(ms)
            }
        })
    }
}

fn out_of_range() -> ArrowError {
    ArrowError::ArithmeticOverflow("the difference of two times is out of range".to_owned())
}

/// Whole months from `b` to `a`, negative if `a` is the earlier.
fn months_between(a: i64, b: i64) -> i64 {
    let split = |ms: i64| {
        let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
        (year * 12 + i64::from(month), (day, ms.rem_euclid(DAY_MS)))
    };
    let ((month_of_a, rest_of_a), (month_of_b, rest_of_b)) = (split(a), split(b));
    let months = month_of_a - month_of_b;
    if months > 0 {
        months - i64::from(rest_of_a < rest_of_b)
    } else if months < 0 {
        months + i64::from(rest_of_a > rest_of_b)
    } else {
        0
    }
}

/// TIMESTAMP, DATE and TIME are three kinds, whatever their unit.
fn kind(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Timestamp(..) => Some(0),
        DataType::Date32 | DataType::Date64 => Some(1),
        DataType::Time32(_) | DataType::Time64(_) => Some(2),
        _ => None,
    }
}

impl ScalarUDFImpl for TsMinus {
    fn name(&self) -> &str {
        "ts_minus"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a difference depends on its qualifier")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let qualifier = Qualifier::of_constant(args.scalar_arguments[2])?;
        let (a, b) = (args.arg_fields[0].data_type(), args.arg_fields[1].data_type());
        let is_time = |data_type: &DataType| data_type.is_null() || kind(data_type).is_some();
        let same = a.is_null() || b.is_null() || kind(a) == kind(b);
        if !is_time(a) || !is_time(b) || !same {
            return plan_err!(
                "cannot subtract {} from {}: both must be of the same type, TIMESTAMP, DATE or TIME",
                sql_type_name(&args.arg_fields[1]),
                sql_type_name(&args.arg_fields[0])
            );
        }
        if qualifier.first <= Unit::Month && (kind(a) == Some(2) || kind(b) == Some(2)) {
            return plan_err!("a difference of two TIMEs has no years and months");
        }
        let field = Field::new(self.name(), qualifier.data_type(), any_nullable(args.arg_fields));
        // A difference of one field is a number.
        Ok(Arc::new(match qualifier.one_field() {
            Some(_) => field,
            None => field.with_metadata(qualifier_metadata(&qualifier.to_string())),
        }))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(qualifier) = &args.args[2] else {
            return plan_err!("the qualifier of a difference must be a constant");
        };
        let qualifier = Qualifier::of_constant(Some(qualifier))?;
        zip_columns(&args.args[0], &args.args[1], |a, b| Ok(qualifier.between(&milliseconds(a)?, &milliseconds(b)?)?))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(match inputs {
            [a, b, _] => a.sort_properties.sub(&b.sort_properties),
            _ => SortProperties::Unordered,
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Returns the time from b to a: of one unit its count, of several an interval. What is smaller than the last unit \
                 is dropped.",
                "ts_minus(a, b, qualifier)",
            )
            .with_sql_example(
                r#"```sql
> select ts_minus(TIME '12:03:34', TIME '11:57:23', 'MINUTE') as m;
+---+
| m |
+---+
| 6 |
+---+
```"#,
            )
            .with_argument("a", "A TIMESTAMP, DATE or TIME.")
            .with_argument("b", "One of the same type.")
            .with_argument("qualifier", "YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, YEAR TO MONTH, DAY TO SECOND or one within.")
            .with_alternative_syntax("(a - b) qualifier, in KDA SQL")
            .with_related_udf("tsdiff")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}
