//! KDA_EXTRACT(unit, x): one field of a time or an interval, the function behind EXTRACT(unit FROM x)
//! (kda-sql-reference.md §5.4, §8.6).
//!
//! Input:  a constant YEAR, MONTH, DAY, HOUR, MINUTE or SECOND; a TIMESTAMP, DATE, TIME, interval or duration.
//! Output: BIGINT; of SECOND DECIMAL(5, 3), with milliseconds, which are dropped, not rounded, where the number goes into a whole
//!         one without CAST. NULL for NULL.
//! Time:   UTC. A DATE is its midnight. Fields of an interval are what is left after the larger ones, days being the largest
//!         beside hours and years beside months; all have the sign of the interval.
//! Errors: a unit that the type does not have, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, new_null_array};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::calendar::civil_from_days;
use super::date_pattern::DAY_MS;
use super::instant::milliseconds;
use super::map_column;
use super::unit::Unit;
use crate::sql_type::{sql_type_name, truncated};

const SECOND_TYPE: DataType = DataType::Decimal128(5, 3);

/// The function `kda_extract`.
pub fn udf() -> Arc<ScalarUDF> {
    static EXTRACT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(KdaExtract::default())));
    EXTRACT.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct KdaExtract {
    signature: Signature,
}

impl Default for KdaExtract {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for KdaExtract {
    fn name(&self) -> &str {
        "kda_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of EXTRACT depends on its unit")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let Some(unit) = args.scalar_arguments[0] else { return plan_err!("the unit of EXTRACT must be a constant") };
        let unit = Unit::of_constant(unit)?;
        let source = &args.arg_fields[1];
        if !has_field(source.data_type(), unit) {
            let name = format!("{unit:?}").to_uppercase();
            return plan_err!("cannot extract {name} from {}: it has no such field", sql_type_name(source));
        }
        let field = |data_type| Field::new(self.name(), data_type, source.is_nullable());
        Ok(Arc::new(if unit == Unit::Second { truncated(field(SECOND_TYPE)) } else { field(DataType::Int64) }))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(unit) = &args.args[0] else { return plan_err!("the unit of EXTRACT must be a constant") };
        let unit = Unit::of_constant(unit)?;
        map_column(&args.args[1], |column| extract(column, unit))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        // Which unit it is cannot be seen here, and all but the year start again.
        Ok(match inputs {
            [_, x] if x.sort_properties == SortProperties::Singleton => SortProperties::Singleton,
            _ => SortProperties::Unordered,
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Returns one field of a time or an interval as a number. Seconds have three digits after the point.",
                "kda_extract(unit, x)",
            )
            .with_sql_example(
                r#"```sql
> select kda_extract('MINUTE', TIMESTAMP '2004-09-30 13:48:23') as m;
+----+
| m  |
+----+
| 48 |
+----+
```"#,
            )
            .with_argument("unit", "YEAR, MONTH, DAY, HOUR, MINUTE or SECOND.")
            .with_argument("x", "A TIMESTAMP, DATE, TIME, interval or duration.")
            .with_alternative_syntax("EXTRACT(unit FROM x), in KDA SQL")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}

fn has_field(data_type: &DataType, unit: Unit) -> bool {
    match data_type {
        DataType::Null | DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => true,
        DataType::Time32(_) | DataType::Time64(_) => unit >= Unit::Hour,
        DataType::Duration(_) | DataType::Interval(IntervalUnit::DayTime) => unit >= Unit::Day,
        DataType::Interval(IntervalUnit::YearMonth) => unit <= Unit::Month,
        DataType::Interval(IntervalUnit::MonthDayNano) => true,
        _ => false,
    }
}

fn extract(column: &ArrayRef, unit: Unit) -> Result<ArrayRef> {
    let fields: Int64Array = match column.data_type() {
        DataType::Null => {
            let data_type = if unit == Unit::Second { SECOND_TYPE } else { DataType::Int64 };
            return Ok(new_null_array(&data_type, column.len()));
        }
        DataType::Duration(_) => milliseconds(column)?.unary(|ms| of_duration(ms, unit)),
        DataType::Interval(IntervalUnit::YearMonth) => {
            column.as_primitive::<IntervalYearMonthType>().unary(|months| of_months(months, unit))
        }
        DataType::Interval(IntervalUnit::DayTime) => column
            .as_primitive::<IntervalDayTimeType>()
            .unary(|step| of_duration(i64::from(step.days) * DAY_MS + i64::from(step.milliseconds), unit)),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            column.as_primitive::<IntervalMonthDayNanoType>().unary(|step| match unit {
                Unit::Year | Unit::Month => of_months(step.months, unit),
                _ => of_duration(i64::from(step.days) * DAY_MS + step.nanoseconds / 1_000_000, unit),
            })
        }
        _ => milliseconds(column)?.unary(|ms| of_time(ms, unit)),
    };
    if unit != Unit::Second {
        return Ok(Arc::new(fields));
    }
    let seconds: Decimal128Array = fields.unary::<_, Decimal128Type>(i128::from);
    Ok(Arc::new(seconds.with_data_type(SECOND_TYPE)))
}

/// Seconds are in milliseconds here and below.
fn of_time(ms: i64, unit: Unit) -> i64 {
    let ms_of_day = ms.rem_euclid(DAY_MS);
    match unit {
        Unit::Year => civil_from_days(ms.div_euclid(DAY_MS)).0,
        Unit::Month => i64::from(civil_from_days(ms.div_euclid(DAY_MS)).1),
        Unit::Day => i64::from(civil_from_days(ms.div_euclid(DAY_MS)).2),
        Unit::Hour | Unit::Minute | Unit::Second => of_duration(ms_of_day, unit),
    }
}

fn of_duration(ms: i64, unit: Unit) -> i64 {
    match unit {
        Unit::Second => ms % 60_000,
        Unit::Minute => ms / 60_000 % 60,
        Unit::Hour => ms / 3_600_000 % 24,
        _ => ms / DAY_MS,
    }
}

fn of_months(months: i32, unit: Unit) -> i64 {
    i64::from(if unit == Unit::Year { months / 12 } else { months % 12 })
}
