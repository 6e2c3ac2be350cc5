//! INTERVAL_MULTIPLY(i, n) and INTERVAL_DIVIDE(i, n): the functions behind `i * n` and `i / n`, which DataFusion has for
//! whole numbers and products only (kda-sql-reference.md §1.5).
//!
//! Input:  an interval or duration, and any number; of decimals nine digits after the point count.
//! Output: the interval's type; NULL for NULL. Parts of a month or of a millisecond are dropped towards zero.
//! Errors: other types, when the query is planned; a division by zero or a result out of range, for the row.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{CastOptions, cast_with_options, kernels::arity::try_binary};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMillisecondType, FieldRef, Float64Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{any_nullable, zip_columns};
use crate::sql_type::sql_type_name;

/// The function `interval_multiply`.
pub fn multiply_udf() -> Arc<ScalarUDF> {
    static MULTIPLY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| udf(Operation::Multiply));
    MULTIPLY.clone()
}

/// The function `interval_divide`.
pub fn divide_udf() -> Arc<ScalarUDF> {
    static DIVIDE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| udf(Operation::Divide));
    DIVIDE.clone()
}

fn udf(operation: Operation) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(IntervalScale { operation, signature: Signature::any(2, Volatility::Immutable) }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Multiply,
    Divide,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalScale {
    operation: Operation,
    signature: Signature,
}

/// Digits after the point of a decimal factor.
const SCALE: i8 = 9;
const ONE: i128 = 1_000_000_000;

impl Operation {
    fn exact(self, count: i64, factor: i128) -> Result<i64, ArrowError> {
        let count = i128::from(count);
        let result = match self {
            Operation::Multiply => count.checked_mul(factor).map(|product| product / ONE),
            Operation::Divide if factor == 0 => return Err(ArrowError::DivideByZero),
            Operation::Divide => count.checked_mul(ONE).map(|count| count / factor),
        };
        result.and_then(|result| i64::try_from(result).ok()).ok_or_else(out_of_range)
    }

    fn approximate(self, count: i64, factor: f64) -> Result<i64, ArrowError> {
        let result = match self {
            Operation::Multiply => count as f64 * factor,
            Operation::Divide if factor == 0.0 => return Err(ArrowError::DivideByZero),
            Operation::Divide => count as f64 / factor,
        };
        // 2^63 is the first number past the largest i64; NaN is in no range.
        let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&result);
        if fits { Ok(result as i64) } else { Err(out_of_range()) }
    }

    fn apply(self, counts: &Int64Array, factors: &ArrayRef) -> Result<Int64Array, ArrowError> {
        const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };
        if factors.data_type().is_floating() {
            let factors = cast_with_options(factors, &DataType::Float64, &STRICT)?;
            return try_binary(counts, factors.as_primitive::<Float64Type>(), |count, factor| self.approximate(count, factor));
        }
        let factors = cast_with_options(factors, &DataType::Decimal128(38, SCALE), &STRICT)?;
        try_binary(counts, factors.as_primitive::<Decimal128Type>(), |count, factor| self.exact(count, factor))
    }
}

fn out_of_range() -> ArrowError {
    ArrowError::ArithmeticOverflow("an interval is out of range".to_owned())
}

fn narrow(months: i64) -> Result<i32, ArrowError> {
    i32::try_from(months).map_err(|_| out_of_range())
}

impl ScalarUDFImpl for IntervalScale {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Multiply => "interval_multiply",
            Operation::Divide => "interval_divide",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a scaled interval is that of the interval")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [interval, factor] = args.arg_fields else { return plan_err!("an interval is multiplied with one number") };
        let is_interval = matches!(
            interval.data_type(),
            DataType::Duration(TimeUnit::Millisecond) | DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::MonthDayNano)
        );
        if !is_interval || !(factor.data_type().is_numeric() || factor.data_type().is_null()) {
            let [interval, factor] = [interval, factor].map(|field| sql_type_name(field));
            return plan_err!("cannot compute {interval} with {factor}: it takes an interval and a number");
        }
        Ok(Arc::new(interval.as_ref().clone().with_name(self.name()).with_nullable(any_nullable(args.arg_fields))))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let operation = self.operation;
        zip_columns(&args.args[0], &args.args[1], |intervals, factors| Ok(scale(operation, intervals, factors)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 2]> = LazyLock::new(|| {
            let build = |what: &str, syntax: &str, example: &str, alternative: &str| {
                Documentation::builder(DOC_SECTION_DATETIME, what, syntax)
                    .with_sql_example(example)
                    .with_argument("interval", "An interval or duration.")
                    .with_argument("n", "A number.")
                    .with_alternative_syntax(alternative)
                    .build()
            };
            [
                build(
                    "Returns an interval n times as long.",
                    "interval_multiply(interval, n)",
                    r#"```sql
> select interval_multiply(INTERVAL '1 minute', 1.5) as x;
+--------------------------+
| x                        |
+--------------------------+
| 1 mins 30.000000000 secs |
+--------------------------+
```"#,
                    "interval * n, in KDA SQL",
                ),
                build(
                    "Returns the n-th part of an interval.",
                    "interval_divide(interval, n)",
                    r#"```sql
> select interval_divide(INTERVAL '1 minute', 2) as x;
+-------------------+
| x                 |
+-------------------+
| 30.000000000 secs |
+-------------------+
```"#,
                    "interval / n, in KDA SQL",
                ),
            ]
        });
        Some(&DOCUMENTATION[usize::from(self.operation == Operation::Divide)])
    }
}

fn scale(operation: Operation, intervals: &ArrayRef, factors: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match intervals.data_type() {
        DataType::Duration(_) => {
            let counts = intervals.as_primitive::<DurationMillisecondType>().unary::<_, Int64Type>(|ms| ms);
            let scaled = operation.apply(&counts, factors)?;
            Ok(Arc::new(scaled.unary::<_, DurationMillisecondType>(|ms| ms)))
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let counts = intervals.as_primitive::<IntervalYearMonthType>().unary::<_, Int64Type>(i64::from);
            let scaled = operation.apply(&counts, factors)?;
            Ok(Arc::new(scaled.try_unary::<_, IntervalYearMonthType, _>(narrow)?))
        }
        // Its parts one by one: of the dialect's intervals only one is not zero. Days become hours, which are all of one length.
        _ => {
            let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
            let months = operation.apply(&intervals.unary::<_, Int64Type>(|value| i64::from(value.months)), factors)?;
            let nanoseconds = |value: IntervalMonthDayNano| {
                let days = i64::from(value.days).checked_mul(86_400_000_000_000);
                days.and_then(|days| days.checked_add(value.nanoseconds)).ok_or_else(out_of_range)
            };
            let times = operation.apply(&intervals.try_unary::<_, Int64Type, _>(nanoseconds)?, factors)?;
            // Down to the millisecond that the dialect counts in.
            let whole = |ns: i64| ns / 1_000_000 * 1_000_000;
            let both = |months: i64, ns: i64| Ok::<_, ArrowError>(IntervalMonthDayNano::new(narrow(months)?, 0, whole(ns)));
            let scaled = try_binary::<_, _, _, IntervalMonthDayNanoType>(&months, &times, both)?;
            Ok(Arc::new(scaled))
        }
    }
}
