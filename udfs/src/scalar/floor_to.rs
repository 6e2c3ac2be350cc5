//! FLOOR(x TO unit) and CEIL(x TO unit): rounds a time to a calendar unit, an interval to whole units (kda-sql-reference.md §4.2,
//! §5.7).
//!
//! Input:  a TIMESTAMP, DATE, TIME or interval, and the name of a unit as a constant, in either case of letters.
//! Output: the type of `x`; NULL for NULL. CEIL leaves an exact boundary as it is.
//! Errors: a unit unknown or without meaning for a TIME or interval, when the query is planned; CEIL past the end of the day of a
//!         TIME, or any result out of the range of its type, for the row.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::time_bucket::{Buckets, Rounding, units_per_day};
use super::unit::Unit;
use super::{any_nullable, interval_round, map_column, order_of_first};
use crate::sql_type::sql_type_name;

/// The function `floor_to`.
pub fn floor_udf() -> Arc<ScalarUDF> {
    static FLOOR: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(RoundTo::new(Rounding::Down))));
    FLOOR.clone()
}

/// The function `ceil_to`.
pub fn ceil_udf() -> Arc<ScalarUDF> {
    static CEIL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(RoundTo::new(Rounding::Up))));
    CEIL.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundTo {
    rounding: Rounding,
    signature: Signature,
}

impl RoundTo {
    fn new(rounding: Rounding) -> Self {
        Self { rounding, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for RoundTo {
    fn name(&self) -> &str {
        match self.rounding {
            Rounding::Down => "floor_to",
            Rounding::Up => "ceil_to",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} depends on its arguments", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let data_type = args.arg_fields[0].data_type();
        let rounds_interval = interval_round::is_interval(data_type);
        if units_per_day(data_type).is_none() && !rounds_interval && !data_type.is_null() {
            let from = sql_type_name(&args.arg_fields[0]);
            return plan_err!("cannot round {from} to a unit of time: FLOOR and CEIL take a TIMESTAMP, DATE, TIME or interval");
        }
        if let Some(unit) = args.scalar_arguments[1].filter(|_| rounds_interval) {
            interval_round::check(data_type, Unit::of_constant(unit)?)?;
        } else if let Some(unit) = args.scalar_arguments[1] {
            buckets(data_type, unit)?;
        }
        Ok(Arc::new(Field::new(self.name(), data_type.clone(), any_nullable(args.arg_fields))))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(unit) = &args.args[1] else {
            return plan_err!("the unit of FLOOR and CEIL must be a constant");
        };
        if interval_round::is_interval(&args.args[0].data_type()) {
            let unit = Unit::of_constant(unit)?;
            return map_column(&args.args[0], |column| interval_round::round(column, unit, self.rounding));
        }
        let buckets = buckets(&args.args[0].data_type(), unit)?;
        map_column(&args.args[0], |column| match buckets {
            Some(buckets) => buckets.round(column, self.rounding),
            None => Ok(column.clone()),
        })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(order_of_first(inputs))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 2]> = LazyLock::new(|| {
            [("floor_to", "down", "FLOOR"), ("ceil_to", "up", "CEIL")].map(|(name, direction, keyword)| {
                let boundary = if name == "ceil_to" { "; a time that starts a unit stays what it is" } else { "" };
                let result = if name == "ceil_to" { "2004-10-01T00:00:00" } else { "2004-09-30T00:00:00" };
                Documentation::builder(
                    DOC_SECTION_DATETIME,
                    format!("Rounds a time {direction} to the start of a unit of the calendar{boundary}. Of an interval whole units are left."),
                    format!("{name}(x, unit)"),
                )
                .with_sql_example(format!(
                    "```sql\n> select {name}(TIMESTAMP '2004-09-30 13:48:23', 'DAY') as d;\n\
                     +---------------------+\n| d                   |\n+---------------------+\n\
                     | {result} |\n+---------------------+\n```"
                ))
                .with_argument("x", "A TIMESTAMP, DATE, TIME or interval.")
                .with_argument(
                    "unit",
                    "YEAR, MONTH, DAY, HOUR, MINUTE or SECOND; of a TIME only the last three, of an interval those of its kind.",
                )
                .with_alternative_syntax(format!("{keyword}(x TO unit), in KDA SQL"))
                .with_related_udf("step")
                .build()
            })
        });
        Some(&DOCUMENTATION[usize::from(self.rounding == Rounding::Up)])
    }
}

/// None where every value is a boundary: a DATE has no part smaller than a day.
fn buckets(data_type: &DataType, unit: &ScalarValue) -> Result<Option<Buckets>> {
    let Some(name) = unit.try_as_str().flatten() else {
        return plan_err!("the unit of FLOOR and CEIL must be a name such as 'HOUR', not {unit}");
    };
    let Some(units_per_day) = units_per_day(data_type) else { return Ok(None) };
    let name = name.trim().to_ascii_uppercase();
    let parts_of_day = match name.as_str() {
        "SECOND" => 86_400,
        "MINUTE" => 1_440,
        "HOUR" => 24,
        "DAY" | "MONTH" | "YEAR" if matches!(data_type, DataType::Time32(_) | DataType::Time64(_)) => {
            return plan_err!("a TIME has no {name}: expected HOUR, MINUTE or SECOND");
        }
        "DAY" => 1,
        "MONTH" => return Ok(Some(Buckets::Months { count: 1, units_per_day })),
        "YEAR" => return Ok(Some(Buckets::Months { count: 12, units_per_day })),
        _ => return plan_err!("unknown unit of time {name}: expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND"),
    };
    Ok((units_per_day >= parts_of_day).then(|| Buckets::Units(units_per_day / parts_of_day)))
}
