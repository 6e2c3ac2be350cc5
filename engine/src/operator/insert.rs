//! Insert: makes a query's rows fit the columns of the target stream (kda-sql-reference.md §1.6, §2.4, §8.2).
//!
//! Input:  the select list and ROWTIME.  Output: the stream's declared columns, then ROWTIME.  State: none.
//! Errors: a value that does not fit (numeric range, too many characters, NULL in a NOT NULL column) sends its row to
//!         `error_stream`; the others go on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::FormatOptions;

use super::row_errors::evaluate_rows;
use super::{Operator, Output};
use crate::error::{Error, Result};
use crate::runtime::error_rows::ErrorReporter;
use crate::types::{SqlType, sql_type_name};

/// A failing cast is an error, not a NULL.
const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// Casts a query's columns to those of the target stream.
pub struct Insert {
    /// For each column of the output the input column, or None for NULL.
    sources: Vec<Option<usize>>,
    schema: SchemaRef,
    reporter: ErrorReporter,
}

impl Insert {
    /// Fills the columns of `schema` (ROWTIME included) from the input columns `sources`; None becomes NULL.
    pub fn new(sources: Vec<Option<usize>>, schema: SchemaRef, reporter: ErrorReporter) -> Self {
        Self { sources, schema, reporter }
    }
}

impl Operator for Insert {
    fn name(&self) -> &'static str {
        "insert"
    }

    fn on_batch(&mut self, _input: usize, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let Self { sources, schema, reporter } = self;
        let mut inserted = Vec::with_capacity(1);
        let mut errors = Vec::new();
        evaluate_rows(
            batch,
            &mut |batch| fit_batch(sources, schema, batch),
            &mut |_, batch| {
                inserted.push(batch);
                Ok(())
            },
            &mut |row, error| errors.push(reporter.row(&row, &error)),
        )?;
        inserted.into_iter().for_each(|batch| out.batch(batch));
        errors.into_iter().for_each(|error| out.error(error));
        Ok(())
    }
}

fn fit_batch(sources: &[Option<usize>], schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = schema.fields().iter().zip(sources).map(|(field, source)| match source {
        Some(index) => fit(batch.column(*index), field),
        None => Ok(new_null_array(field.data_type(), rows)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?)
}

fn fit(column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    let column = if column.data_type() == field.data_type() {
        column.clone()
    } else {
        cast_with_options(column, field.data_type(), &STRICT).map_err(|error| {
            let error = Error::from(error);
            Error::data(format!("column \"{}\" of type {}: {}", field.name(), sql_type_name(field), error.message()))
                .named(error.name())
        })?
    };
    if !field.is_nullable() && column.null_count() > 0 {
        return Err(Error::data(format!("NULL in column \"{}\", which is NOT NULL", field.name())).named("NULL_VIOLATION"));
    }
    match SqlType::of_field(field) {
        Some(SqlType::Varchar(length)) => fit_characters(&column, field, length as usize, false),
        Some(SqlType::Char(length)) => fit_characters(&column, field, length as usize, true),
        Some(SqlType::Varbinary(length) | SqlType::Binary(length)) => fit_bytes(&column, field, length as usize),
        _ => Ok(column),
    }
}

/// Checks the length of every text, counted in characters; pads it with blanks if `fixed`.
fn fit_characters(column: &ArrayRef, field: &FieldRef, length: usize, fixed: bool) -> Result<ArrayRef> {
    let texts = column.as_string::<i32>();
    // As many characters as bytes at most, so a short byte length settles it without looking at the text.
    let suspicious = texts.value_offsets().windows(2).any(|ends| (ends[1] - ends[0]) as usize > length);
    if suspicious {
        for text in texts.iter().flatten() {
            let characters = text.chars().count();
            if characters > length {
                let message =
                    format!("{characters} characters do not fit column \"{}\" of type {}", field.name(), sql_type_name(field));
                return Err(Error::data(message).named("COERCION_ERROR"));
            }
        }
    }
    if !fixed {
        return Ok(column.clone());
    }
    let padded: StringArray = texts.iter().map(|text| text.map(|text| format!("{text:<length$}"))).collect();
    Ok(Arc::new(padded))
}

fn fit_bytes(column: &ArrayRef, field: &FieldRef, length: usize) -> Result<ArrayRef> {
    let longest = column.as_binary::<i32>().iter().flatten().map(<[u8]>::len).max().unwrap_or(0);
    if longest > length {
        let message = format!("{longest} bytes do not fit column \"{}\" of type {}", field.name(), sql_type_name(field));
        return Err(Error::data(message).named("COERCION_ERROR"));
    }
    Ok(column.clone())
}
