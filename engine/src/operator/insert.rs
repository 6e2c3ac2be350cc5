//! Insert: makes a query's rows fit the columns of the target stream (kda-sql-reference.md §1.6, §2.4, §8.2).
//!
//! Input:  the select list and ROWTIME.  Output: the stream's declared columns, then ROWTIME.  State: none.
//! Types:  as by CAST, but the seconds of EXTRACT lose their fraction in a whole number, where CAST would round them (§8.6).
//! Errors: a value that does not fit (numeric range, too many characters, NULL in a NOT NULL column) sends its row to
//!         `error_stream`; the others go on.

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use kinesql_udfs::scalar::kda_cast::cast;

use super::row_errors::evaluate_rows;
use super::{Operator, Output};
use crate::error::{Error, Result};
use crate::runtime::error_rows::ErrorReporter;
use crate::types::SqlType;

/// Where a column of the target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertSource {
    /// The input column.
    pub column: usize,
    /// True if its digits behind the point are dropped.
    pub truncates: bool,
}

/// Casts a query's columns to those of the target stream.
pub struct Insert {
    /// For each column of the output the input column, or None for NULL.
    sources: Vec<Option<InsertSource>>,
    schema: SchemaRef,
    reporter: ErrorReporter,
}

impl Insert {
    /// Fills the columns of `schema` (ROWTIME included) from the input columns `sources`; None becomes NULL.
    pub fn new(sources: Vec<Option<InsertSource>>, schema: SchemaRef, reporter: ErrorReporter) -> Self {
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

fn fit_batch(sources: &[Option<InsertSource>], schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = schema.fields().iter().zip(sources).map(|(field, source)| match source {
        Some(InsertSource { column, truncates: false }) => fit(batch.column(*column), field),
        // Arrow's cast of a DECIMAL to a whole number truncates.
        Some(InsertSource { column, truncates: true }) => {
            fit(&arrow::compute::cast(batch.column(*column), &DataType::Int64)?, field)
        }
        None => Ok(new_null_array(field.data_type(), rows)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?)
}

fn fit(column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    let sql_type = SqlType::of_field(field).ok_or_else(|| Error::internal(format!("no column has the type of {field}")))?;
    let column = cast(column, sql_type).map_err(|error| {
        let error = Error::from(error);
        let message = format!("column \"{}\" of type {sql_type}: {}", field.name(), error.message());
        Error::data(message).named(error.name())
    })?;
    if !field.is_nullable() && column.null_count() > 0 {
        return Err(Error::data(format!("NULL in column \"{}\", which is NOT NULL", field.name())).named("NULL_VIOLATION"));
    }
    Ok(column)
}
