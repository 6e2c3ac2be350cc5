//! The record that a log-parsing function returns: a Struct, one field per column of the line (kda-sql-reference.md §5.9).
//!
//! A line that does not have the expected form is a NULL record, as is a NULL line. A value that is missing or that its column's
//! type cannot hold is NULL; text that is too long is cut, as it is when records are read. A NULL in a column that is NOT NULL is
//! an error of the row. A format's year of two digits is one around the time of the query.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, NullBufferBuilder, StringArray, StringBuilder, StructArray, Time32MillisecondArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::{Field, Fields};
use datafusion::common::Result;

use super::date_pattern::{DAY_MS, Pattern};
use super::kda_cast::cast;
use super::log_columns::Column;
use super::text_arguments::{Arguments, byte_of_character, row_error};
use crate::sql_type::SqlType;

/// The fields of a record. All can be NULL because the whole can.
pub(super) fn fields(columns: &[Column]) -> Fields {
    columns.iter().map(|column| column.sql_type.field(&column.name, true)).collect()
}

/// Collects records row by row, in order of the columns.
pub(super) struct RecordBuilder<'a> {
    columns: &'a [Column],
    texts: Vec<StringBuilder>,
    query_time: Option<i64>,
    records: NullBufferBuilder,
    /// The column that the next value goes to.
    next: usize,
}

impl<'a> RecordBuilder<'a> {
    /// For the rows of a call whose lines have so many bytes together.
    pub fn new(columns: &'a [Column], args: &Arguments<'_>, bytes: usize) -> Self {
        let texts = columns.iter().map(|_| StringBuilder::with_capacity(args.rows, bytes / columns.len())).collect();
        Self { columns, texts, query_time: args.query_time, records: NullBufferBuilder::new(args.rows), next: 0 }
    }

    /// The value of the next column; what is past the last one is ignored.
    pub fn push(&mut self, value: Option<&str>) {
        let Some(column) = self.columns.get(self.next) else { return };
        let fitting = value.map(|value| match column.sql_type {
            SqlType::Char(length) | SqlType::Varchar(length) if value.len() > length as usize => {
                &value[..byte_of_character(value, length as usize)]
            }
            _ => value,
        });
        self.texts[self.next].append_option(fitting);
        self.next += 1;
    }

    /// The columns without a value are NULL.
    pub fn end_record(&mut self) {
        self.pad();
        self.records.append_non_null();
    }

    /// The line has no record. No value of it may have been pushed.
    pub fn null_record(&mut self) {
        self.pad();
        self.records.append_null();
    }

    fn pad(&mut self) {
        for text in &mut self.texts[self.next..] {
            text.append_null();
        }
        self.next = 0;
    }

    pub fn finish(mut self) -> Result<ArrayRef> {
        let records = self.records.finish();
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (column, texts) in self.columns.iter().zip(&mut self.texts) {
            let texts = texts.finish();
            let array = match &column.format {
                Some(format) => read(&texts, format, column.sql_type, self.query_time)?,
                None => converted(&(Arc::new(texts) as ArrayRef), column.sql_type)?,
            };
            let is_missing = |row: usize| array.is_null(row) && records.as_ref().is_none_or(|records| records.is_valid(row));
            if !column.is_nullable && array.null_count() > 0 && (0..array.len()).any(is_missing) {
                let (name, sql_type) = (&column.name, column.sql_type);
                return Err(row_error(format!("a line has no {sql_type} for the column {name}, which is NOT NULL")));
            }
            arrays.push(array);
        }
        Ok(Arc::new(StructArray::try_new(fields(self.columns), arrays, records)?))
    }
}

/// A record with fields that are not texts.
pub(super) fn record(
    fields: Vec<Arc<Field>>,
    arrays: Vec<ArrayRef>,
    records: Option<arrow::buffer::NullBuffer>,
) -> Result<ArrayRef> {
    Ok(Arc::new(StructArray::try_new(fields.into(), arrays, records)?))
}

/// Reads times by their format; a text that does not have it is NULL.
fn read(texts: &StringArray, format: &Pattern, sql_type: SqlType, query_time: Option<i64>) -> Result<ArrayRef> {
    let query_time = match query_time {
        None if format.has_two_digit_year() => {
            let format = format.source();
            return Err(row_error(format!(
                "the format '{format}' has years of two digits, and the time of the query is not known"
            )));
        }
        time => time.unwrap_or(0),
    };
    let times = texts.iter().map(|text| format.parse(text?, query_time));
    Ok(match sql_type {
        SqlType::Date => {
            let day = |ms: i64| i32::try_from(ms.div_euclid(DAY_MS)).ok();
            Arc::new(times.map(|ms| day(ms?)).collect::<Date32Array>())
        }
        SqlType::Time => Arc::new(times.map(|ms| Some(ms?.rem_euclid(DAY_MS) as i32)).collect::<Time32MillisecondArray>()),
        _ => Arc::new(times.collect::<TimestampMillisecondArray>()),
    })
}

/// Casts; a value that cannot be cast is NULL. Halves are tried until the value that fails is found.
fn converted(texts: &ArrayRef, sql_type: SqlType) -> Result<ArrayRef> {
    match cast(texts, sql_type) {
        Ok(values) => Ok(values),
        Err(_) if texts.len() == 1 => Ok(new_null_array(&sql_type.data_type(), 1)),
        Err(_) => {
            let half = texts.len() / 2;
            let first = converted(&texts.slice(0, half), sql_type)?;
            let second = converted(&texts.slice(half, texts.len() - half), sql_type)?;
            Ok(concat(&[&first, &second])?)
        }
    }
}
