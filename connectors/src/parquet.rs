//! Rows of a Parquet file in the SQL types of a source, for every connector that reads files or objects.
//!
//! Columns are found by name and read as declared; without a declaration all of them are, in the SQL type that holds every
//! value of theirs. A row with a value that its column cannot hold is refused, the others go on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use kinesql_engine::format::{RejectReason, Rejected};
use kinesql_engine::types::{CHARACTER_LENGTH_MAX, SqlType};
use kinesql_engine::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

/// Rows that are decoded together.
const BATCH_ROWS: usize = 8_192;

/// The columns of a source that reads `file`, called `origin`: those `declared`, which must be in it, or all.
pub(crate) fn schema_of<R: ChunkReader>(file: &R, origin: &str, declared: Option<&SchemaRef>) -> Result<SchemaRef> {
    let found = ArrowReaderMetadata::load(file, Default::default()).map_err(|error| damaged(origin, error))?.schema().clone();
    if let Some(declared) = declared {
        for column in declared.fields() {
            column_of(&found, column, origin)?;
        }
        return Ok(declared.clone());
    }
    let fields = found.fields().iter().map(|field| match sql_type(field.data_type()) {
        Some(sql_type) => Ok(sql_type.field(field.name(), field.is_nullable())),
        None => Err(Error::config(format!(
            "column \"{}\" of '{origin}' is {}, which is no SQL type",
            field.name(),
            field.data_type()
        ))
        .with_hint("Declare the columns to be read; the others are left out.")),
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// Place of a declared column.
fn column_of(found: &Schema, column: &FieldRef, origin: &str) -> Result<usize> {
    let name = column.name();
    let Ok(index) = found.index_of(name) else {
        let names: Vec<_> = found.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::config(format!("'{origin}' has no column \"{name}\"; its columns are {}", names.join(", ")))
            .with_hint("Names are compared as written: quote those that are not in upper case."));
    };
    let (from, to) = (found.field(index).data_type(), column.data_type());
    match can_cast_types(from, to) {
        true => Ok(index),
        false => Err(Error::config(format!("column \"{name}\" of '{origin}' is {from}: it cannot be read as {to}"))),
    }
}

/// The SQL type that holds every value of an Arrow type.
fn sql_type(data_type: &DataType) -> Option<SqlType> {
    Some(match data_type {
        DataType::Int8 => SqlType::TinyInt,
        DataType::Int16 | DataType::UInt8 => SqlType::SmallInt,
        DataType::Int32 | DataType::UInt16 => SqlType::Integer,
        DataType::Int64 | DataType::UInt32 => SqlType::BigInt,
        DataType::UInt64 => SqlType::Decimal(20, 0),
        DataType::Float16 | DataType::Float32 => SqlType::Real,
        DataType::Float64 => SqlType::Double,
        DataType::Boolean => SqlType::Boolean,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Varchar(CHARACTER_LENGTH_MAX),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            SqlType::Varbinary(CHARACTER_LENGTH_MAX)
        }
        DataType::Date32 | DataType::Date64 => SqlType::Date,
        DataType::Time32(_) | DataType::Time64(_) => SqlType::Time,
        DataType::Timestamp(..) => SqlType::Timestamp,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            SqlType::Decimal(*precision, *scale)
        }
        DataType::Dictionary(_, values) => return sql_type(values),
        _ => return None,
    })
}

/// Reads the rows of one file from front to back.
pub(crate) struct ParquetRows {
    reader: ParquetRecordBatchReader,
    origin: Arc<str>,
    schema: SchemaRef,
    /// Rows before the next one.
    row: u64,
}

/// Some rows, and those of them that were refused.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
    pub(crate) rejected: Vec<Rejected>,
    /// Rows before these.
    pub(crate) start: u64,
}

impl ParquetRows {
    /// Opens `file` at its row `row`, to read the columns of `schema`.
    pub(crate) fn open<R: ChunkReader + 'static>(file: R, origin: &str, schema: &SchemaRef, row: u64) -> Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(origin, error))?;
        let found = builder.schema().clone();
        let columns = schema.fields().iter().map(|column| column_of(&found, column, origin));
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.collect::<Result<Vec<_>>>()?);
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_offset(row as usize).build();
        let reader = reader.map_err(|error| damaged(origin, error))?;
        Ok(Self { reader, origin: origin.into(), schema: schema.clone(), row })
    }

    /// Rows before the next one.
    pub(crate) fn row(&self) -> u64 {
        self.row
    }

    /// The next rows; None at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Rows>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|error| damaged(&self.origin, error))?;
        let start = self.row;
        self.row += batch.num_rows() as u64;
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        let mut refused: Vec<(usize, String)> = Vec::new();
        for field in self.schema.fields() {
            let column = batch.column_by_name(field.name()).ok_or_else(|| Error::internal("a projected column is missing"))?;
            columns.push(convert(column, field, &mut refused)?);
        }
        let mut kept = BooleanBufferBuilder::new(batch.num_rows());
        kept.append_n(batch.num_rows(), true);
        let mut rejected = Vec::new();
        for (row, message) in refused {
            // One reason per row suffices.
            if kept.get_bit(row) {
                kept.set_bit(row, false);
                let text = as_json(&batch.slice(row, 1));
                let message = format!("row {}: {message}", start + row as u64 + 1);
                rejected.push(Rejected::new(&text, 0, RejectReason::Coercion, message));
            }
        }
        // Nullable while rows that are to go may hold NULL.
        let nullable: Vec<_> = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let all = RecordBatch::try_new(Arc::new(Schema::new(nullable)), columns)?;
        let batch = if rejected.is_empty() { all } else { filter_record_batch(&all, &BooleanArray::new(kept.finish(), None))? };
        Ok(Some(Rows { batch: RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?, rejected, start }))
    }
}

/// The column in the type of `field`; rows that it cannot hold go to `refused`.
fn convert(column: &ArrayRef, field: &FieldRef, refused: &mut Vec<(usize, String)>) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(column, field.data_type(), &options)?;
    let mut refuse = |row: usize, what: &str| refused.push((row, format!("column \"{}\": {what}", field.name())));
    if cast.null_count() > column.logical_null_count() {
        for row in (0..cast.len()).filter(|row| cast.is_null(*row) && column.is_valid(*row)) {
            refuse(row, &format!("the value does not fit {}", field.data_type()));
        }
    }
    if !field.is_nullable() && column.logical_null_count() > 0 {
        (0..cast.len()).filter(|row| column.is_null(*row)).for_each(|row| refuse(row, "NULL in a NOT NULL column"));
    }
    match SqlType::of_field(field) {
        Some(SqlType::Varchar(length) | SqlType::Char(length)) if length < CHARACTER_LENGTH_MAX => {
            for (row, text) in cast.as_string::<i32>().iter().enumerate() {
                let long = text.is_some_and(|text| text.len() > length as usize && text.chars().count() > length as usize);
                if long {
                    refuse(row, &format!("the text is longer than {length} characters"));
                }
            }
        }
        _ => {}
    }
    Ok(cast)
}

fn as_json(row: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    // For people only: a type that JSON cannot say leaves the text empty.
    match writer.write(row).and_then(|()| writer.finish()) {
        Ok(()) => writer.into_inner(),
        Err(_) => Vec::new(),
    }
}

fn damaged(origin: &str, error: impl Into<ParquetError>) -> Error {
    let error = error.into();
    Error::data(format!("cannot read '{origin}' as Parquet: {error}")).with_hint("The file may be cut off, or of another format.")
}
