//! CHAR_TO_DATE, CHAR_TO_TIME, CHAR_TO_TIMESTAMP (pattern, text): read times by a pattern of Java's `SimpleDateFormat`
//! (kda-sql-reference.md §5.5; date_pattern.rs).
//!
//! Input:  a pattern, usually a constant, and a text; what is left of the text after the pattern is ignored.
//! Output: DATE, TIME or TIMESTAMP in UTC; fields that are not in the pattern are those of 1970-01-01 00:00:00. NULL for NULL.
//! Time:   `yy` means a year from 80 years before to 20 years after the start of the query.
//! Errors: a pattern that means nothing, when the query is planned if it is a constant; a text that does not match, for the
//!         row (`ArrowError::ParseError`).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, FieldRef, Time32MillisecondType, TimestampMillisecondType};
use arrow::error::ArrowError;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::date_pattern::{DAY_MS, Pattern, shorten};
use super::{any_nullable, is_text, map_column};
use crate::sql_type::{SqlType, sql_type_name};

/// The function `char_to_date`.
pub fn date_udf() -> Arc<ScalarUDF> {
    static DATE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| CharTo::udf(Target::Date, None, false));
    DATE.clone()
}

/// The function `char_to_time`.
pub fn time_udf() -> Arc<ScalarUDF> {
    static TIME: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| CharTo::udf(Target::Time, None, false));
    TIME.clone()
}

/// The function `char_to_timestamp`.
pub fn timestamp_udf() -> Arc<ScalarUDF> {
    static TIMESTAMP: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| CharTo::udf(Target::Timestamp, None, false));
    TIMESTAMP.clone()
}

/// `function` as one that drops the digits of a fraction behind the third; None if it is not one of these.
pub fn cutting_fractions(function: &ScalarUDF) -> Option<Arc<ScalarUDF>> {
    let CharTo { target, now, .. } = function.inner().downcast_ref::<CharTo>()?;
    Some(CharTo::udf(*target, *now, true))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Date,
    Time,
    Timestamp,
}

impl Target {
    fn sql_type(self) -> SqlType {
        match self {
            Target::Date => SqlType::Date,
            Target::Time => SqlType::Time,
            Target::Timestamp => SqlType::Timestamp,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CharTo {
    target: Target,
    /// The start of the query in milliseconds since 1970, once the query is being simplified.
    now: Option<i64>,
    /// Digits of a fraction behind the third are dropped, not read as a number of milliseconds.
    cuts_fractions: bool,
    signature: Signature,
}

impl CharTo {
    fn udf(target: Target, now: Option<i64>, cuts_fractions: bool) -> Arc<ScalarUDF> {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(ScalarUDF::from(CharTo { target, now, cuts_fractions, signature }))
    }

    fn compile(&self, pattern: &str) -> Result<Pattern, ArrowError> {
        let pattern = Pattern::compile(pattern)?;
        Ok(if self.cuts_fractions { pattern.cutting_fractions() } else { pattern })
    }

    fn parse(&self, texts: &StringArray, pattern: &Pattern) -> Result<ArrayRef, ArrowError> {
        let now = match self.now {
            None if pattern.has_two_digit_year() => {
                return Err(ArrowError::ComputeError(format!(
                    "the pattern '{}' of a time has years of two digits, and the start of the query is not known",
                    shorten(pattern.source())
                )));
            }
            now => now.unwrap_or(0),
        };
        let ms = |row: usize| {
            let text = texts.value(row);
            pattern.parse(text, now).ok_or_else(|| self.no_match(text, pattern))
        };
        Ok(match self.target {
            Target::Timestamp => Arc::new(collect::<TimestampMillisecondType>(texts, ms)?),
            Target::Time => Arc::new(collect::<Time32MillisecondType>(texts, |row| Ok(ms(row)?.rem_euclid(DAY_MS) as i32))?),
            Target::Date => Arc::new(collect::<Date32Type>(texts, |row| {
                let days = i32::try_from(ms(row)?.div_euclid(DAY_MS));
                days.map_err(|_| self.no_match(texts.value(row), pattern))
            })?),
        })
    }

    fn no_match(&self, text: &str, pattern: &Pattern) -> ArrowError {
        ArrowError::ParseError(format!("'{}' is no {} '{}'", shorten(text), self.target.sql_type(), shorten(pattern.source())))
    }

    /// Patterns that differ by row: one that is the same as in the row before is not compiled again.
    fn parse_by_row(&self, patterns: &StringArray, texts: &StringArray) -> Result<ArrayRef, ArrowError> {
        let mut runs: Vec<ArrayRef> = Vec::new();
        let (mut start, rows) = (0, texts.len());
        let pattern_of = |row: usize| patterns.is_valid(row).then(|| patterns.value(row));
        while start < rows {
            let pattern = pattern_of(start);
            let end = (start + 1..rows).find(|row| pattern_of(*row) != pattern).unwrap_or(rows);
            runs.push(match pattern {
                Some(pattern) => self.parse(&texts.slice(start, end - start), &self.compile(pattern)?)?,
                None => new_null_array(&self.target.sql_type().data_type(), end - start),
            });
            start = end;
        }
        match runs.is_empty() {
            true => Ok(new_null_array(&self.target.sql_type().data_type(), 0)),
            false => arrow::compute::concat(&runs.iter().map(|run| run.as_ref()).collect::<Vec<_>>()),
        }
    }
}

/// One value per row of `texts` that is not NULL.
fn collect<T: arrow::datatypes::ArrowPrimitiveType>(
    texts: &StringArray,
    value: impl Fn(usize) -> Result<T::Native, ArrowError>,
) -> Result<PrimitiveArray<T>, ArrowError> {
    let mut values = vec![T::default_value(); texts.len()];
    for (row, slot) in values.iter_mut().enumerate() {
        if texts.is_valid(row) {
            *slot = value(row)?;
        }
    }
    PrimitiveArray::try_new(values.into(), texts.nulls().cloned())
}

impl ScalarUDFImpl for CharTo {
    fn name(&self) -> &str {
        match self.target {
            Target::Date => "char_to_date",
            Target::Time => "char_to_time",
            Target::Timestamp => "char_to_timestamp",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.target.sql_type().data_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let Some(other) = args.arg_fields.iter().find(|field| !is_text(field.data_type()) && !field.data_type().is_null()) {
            return plan_err!(
                "cannot read a {} from {}: {} takes a pattern and a text",
                self.target.sql_type(),
                sql_type_name(other),
                self.name().to_uppercase()
            );
        }
        Pattern::check_constant(args.scalar_arguments[0])?;
        Ok(self.target.sql_type().field(self.name(), any_nullable(args.arg_fields)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match info.query_execution_start_time() {
            Some(start) if self.now.is_none() => {
                let function = CharTo::udf(self.target, Some(start.timestamp_millis()), self.cuts_fractions);
                Ok(ExprSimplifyResult::Simplified(function.call(args)))
            }
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [patterns, texts] = args.args.as_slice() else { return internal_err!("{} takes two arguments", self.name()) };
        if let ColumnarValue::Scalar(pattern) = patterns {
            let pattern = pattern.try_as_str().flatten().map(|pattern| self.compile(pattern)).transpose()?;
            return map_column(texts, |texts| match &pattern {
                Some(pattern) => Ok(self.parse(cast(texts, &DataType::Utf8)?.as_string(), pattern)?),
                None => Ok(new_null_array(&self.target.sql_type().data_type(), texts.len())),
            });
        }
        let patterns = cast(&patterns.to_array(args.number_rows)?, &DataType::Utf8)?;
        let texts = cast(&texts.to_array(args.number_rows)?, &DataType::Utf8)?;
        Ok(ColumnarValue::Array(self.parse_by_row(patterns.as_string(), texts.as_string())?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 3]> = LazyLock::new(|| {
            [
                ("char_to_date", "DATE", "'MMM dd, yyyy', 'March 7, 2010'", "2010-03-07"),
                ("char_to_time", "TIME", "'HH:mm', '07:23:19'", "07:23:00"),
                ("char_to_timestamp", "TIMESTAMP", "'yyyy-MM-dd HH', '2009-09-16 03:15'", "2009-09-16T03:00:00"),
            ]
            .map(|(name, target, example, result)| {
                Documentation::builder(
                    DOC_SECTION_DATETIME,
                    format!("Reads a {target} from the start of a text, by a pattern of Java's SimpleDateFormat."),
                    format!("{name}(pattern, text)"),
                )
                .with_sql_example(format!(
                    "```sql\n> select {name}({example}) as x;\n+---------------------+\n| x                   |\n\
                     +---------------------+\n| {result:19} |\n+---------------------+\n```"
                ))
                .with_argument(
                    "pattern",
                    "Such as 'yyyy-MM-dd HH:mm:ss.SSS'. Other text than letters must match; letters in quotes too.",
                )
                .with_argument("text", "The text to read. What follows the pattern is ignored.")
                .with_related_udf(name.replace("char_to_", "") + "_to_char")
                .build()
            })
        });
        Some(&DOCUMENTATION[self.target as usize])
    }
}
