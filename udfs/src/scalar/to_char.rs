//! DATE_TO_CHAR, TIME_TO_CHAR, TIMESTAMP_TO_CHAR (pattern, time): write times by a pattern of Java's `SimpleDateFormat`
//! (kda-sql-reference.md §5.5, §8.6; date_pattern.rs).
//!
//! Input:  a pattern, usually a constant, and a DATE, TIME or TIMESTAMP, as the name says.
//! Output: VARCHAR, in UTC. A DATE is its midnight, a TIME one of 1970-01-01. A time that is NULL gives the text `null`, as
//!         KDA does, or NULL in the variant of [`keeping_null`]; a pattern that is NULL gives NULL.
//! Errors: a pattern that means nothing, when the query is planned if it is a constant.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::date_pattern::Pattern;
use super::instant::milliseconds;
use super::{is_text, map_column};
use crate::sql_type::{CHARACTER_LENGTH_MAX, SqlType, sql_type_name};

/// What a time that is NULL is written as.
const NULL_TEXT: &str = "null";

/// The function `date_to_char`.
pub fn date_udf() -> Arc<ScalarUDF> {
    static DATE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| ToChar::udf(Source::Date, Some(NULL_TEXT)));
    DATE.clone()
}

/// The function `time_to_char`.
pub fn time_udf() -> Arc<ScalarUDF> {
    static TIME: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| ToChar::udf(Source::Time, Some(NULL_TEXT)));
    TIME.clone()
}

/// The function `timestamp_to_char`.
pub fn timestamp_udf() -> Arc<ScalarUDF> {
    static TIMESTAMP: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| ToChar::udf(Source::Timestamp, Some(NULL_TEXT)));
    TIMESTAMP.clone()
}

/// `function` as one that gives NULL for NULL; None if it is not one of these.
pub fn keeping_null(function: &ScalarUDF) -> Option<Arc<ScalarUDF>> {
    let ToChar { source, .. } = function.inner().downcast_ref::<ToChar>()?;
    Some(ToChar::udf(*source, None))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Date,
    Time,
    Timestamp,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    source: Source,
    /// What a time that is NULL is written as, if it is not NULL.
    null: Option<&'static str>,
    signature: Signature,
}

impl ToChar {
    fn udf(source: Source, null: Option<&'static str>) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(ToChar { source, null, signature: Signature::any(2, Volatility::Immutable) }))
    }

    fn takes(&self, data_type: &DataType) -> bool {
        match self.source {
            _ if data_type.is_null() => true,
            Source::Date => matches!(data_type, DataType::Date32 | DataType::Date64),
            Source::Time => matches!(data_type, DataType::Time32(_) | DataType::Time64(_)),
            Source::Timestamp => matches!(data_type, DataType::Timestamp(..)),
        }
    }

    fn append(&self, texts: &mut StringBuilder, pattern: Option<&Pattern>, times: &Int64Array, row: usize) {
        match pattern {
            None => texts.append_null(),
            Some(_) if times.is_null(row) => texts.append_option(self.null),
            Some(pattern) => {
                // Writing to a builder cannot fail; what was written becomes the value.
                let _ = pattern.write(times.value(row), texts);
                texts.append_value("");
            }
        }
    }
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        match self.source {
            Source::Date => "date_to_char",
            Source::Time => "time_to_char",
            Source::Timestamp => "timestamp_to_char",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [pattern, time] = args.arg_fields else { return internal_err!("{} takes two arguments", self.name()) };
        if !(is_text(pattern.data_type()) || pattern.data_type().is_null()) || !self.takes(time.data_type()) {
            let name = self.name().to_uppercase();
            let source = name.trim_end_matches("_TO_CHAR");
            return plan_err!(
                "cannot write {} by {}: {name} takes a pattern and a {source}",
                sql_type_name(time),
                sql_type_name(pattern)
            );
        }
        Pattern::check_constant(args.scalar_arguments[0])?;
        Ok(SqlType::Varchar(CHARACTER_LENGTH_MAX)
            .field(self.name(), pattern.is_nullable() || (self.null.is_none() && time.is_nullable())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [patterns, times] = args.args.as_slice() else { return internal_err!("{} takes two arguments", self.name()) };
        if let ColumnarValue::Scalar(pattern) = patterns {
            let pattern = pattern.try_as_str().flatten().map(Pattern::compile).transpose()?;
            return map_column(times, |times| {
                let times = milliseconds(times)?;
                let bytes = pattern.as_ref().map_or(0, |pattern| times.len() * (pattern.source().len() + 4));
                let mut texts = StringBuilder::with_capacity(times.len(), bytes);
                (0..times.len()).for_each(|row| self.append(&mut texts, pattern.as_ref(), &times, row));
                Ok(Arc::new(texts.finish()) as ArrayRef)
            });
        }
        let patterns = cast(&patterns.to_array(args.number_rows)?, &DataType::Utf8)?;
        let times = milliseconds(&times.to_array(args.number_rows)?)?;
        let mut texts = StringBuilder::new();
        // A pattern that is the same as in the row before is not compiled again.
        let mut compiled: Option<Pattern> = None;
        for (row, pattern) in patterns.as_string::<i32>().iter().enumerate() {
            if compiled.as_ref().map(Pattern::source) != pattern {
                compiled = pattern.map(Pattern::compile).transpose()?;
            }
            self.append(&mut texts, compiled.as_ref(), &times, row);
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<[Documentation; 3]> = LazyLock::new(|| {
            [
                ("date_to_char", "DATE", "'MMM dd, yyyy', DATE '2010-03-07'", "Mar 07, 2010"),
                ("time_to_char", "TIME", "'h:mm a', TIME '15:23:19'", "3:23 PM"),
                ("timestamp_to_char", "TIMESTAMP", "'yyyy/MM/dd/HH', TIMESTAMP '2009-09-16 03:15:24'", "2009/09/16/03"),
            ]
            .map(|(name, source, example, result)| {
                Documentation::builder(
                    DOC_SECTION_DATETIME,
                    format!(
                        "Writes a {source} by a pattern of Java's SimpleDateFormat; a {source} that is NULL as the text null."
                    ),
                    format!("{name}(pattern, x)"),
                )
                .with_sql_example(format!(
                    "```sql\n> select {name}({example}) as x;\n+---------------+\n| x             |\n+---------------+\n\
                     | {result:13} |\n+---------------+\n```"
                ))
                .with_argument("pattern", "Such as 'yyyy-MM-dd HH:mm:ss.SSS'. Letters that are not fields go into quotes.")
                .with_argument("x", format!("A {source}."))
                .with_related_udf("char_to_".to_owned() + &source.to_lowercase())
                .build()
            })
        });
        Some(&DOCUMENTATION[self.source as usize])
    }
}
