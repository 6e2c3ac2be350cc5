//! The arguments of the functions of text, read per row whether they are columns or constants (text_function.rs).

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::ColumnarValue;

/// The arguments of a batch.
pub(super) struct Arguments<'a> {
    values: &'a [ColumnarValue],
    result: &'a FieldRef,
    /// Rows of the batch; 1 if every argument is a constant.
    pub rows: usize,
    /// When the query started, in milliseconds since 1970, for functions that ask for it.
    pub query_time: Option<i64>,
}

impl<'a> Arguments<'a> {
    pub fn new(values: &'a [ColumnarValue], result: &'a FieldRef, rows: usize, query_time: Option<i64>) -> Self {
        Self { values, result, rows, query_time }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn data_type(&self, argument: usize) -> DataType {
        self.values[argument].data_type()
    }

    /// The type of the result, as planned.
    pub fn result_type(&self) -> &DataType {
        self.result.data_type()
    }

    pub fn texts(&self, argument: usize) -> Result<Texts> {
        let (column, is_constant) = self.column(argument, &DataType::Utf8)?;
        Ok(Texts { column: column.as_string().clone(), is_constant })
    }

    pub fn integers(&self, argument: usize) -> Result<Integers> {
        let (column, is_constant) = self.column(argument, &DataType::Int64)?;
        Ok(Integers { column: column.as_primitive::<Int64Type>().clone(), is_constant })
    }

    /// An argument in the given type, and whether it is one value for all rows.
    pub fn column(&self, argument: usize, data_type: &DataType) -> Result<(ArrayRef, bool)> {
        let (column, is_constant) = match &self.values[argument] {
            ColumnarValue::Array(column) => (column.clone(), false),
            ColumnarValue::Scalar(value) => (value.to_array()?, true),
        };
        Ok((if column.data_type() == data_type { column } else { cast(&column, data_type)? }, is_constant))
    }

    /// A constant text; None if it is NULL.
    pub fn constant_text(&self, argument: usize) -> Result<Option<&str>> {
        match &self.values[argument] {
            ColumnarValue::Scalar(value) => Ok(value.try_as_str().flatten()),
            ColumnarValue::Array(_) => plan_err!("the argument {} must be a constant text", argument + 1),
        }
    }

    /// A constant whole number; None if it is NULL or text.
    pub fn constant_integer(&self, argument: usize) -> Option<i64> {
        match &self.values[argument] {
            ColumnarValue::Scalar(value) => integer(value),
            ColumnarValue::Array(_) => None,
        }
    }
}

/// Text per row.
pub(super) struct Texts {
    column: StringArray,
    is_constant: bool,
}

impl Texts {
    pub fn at(&self, row: usize) -> Option<&str> {
        let row = if self.is_constant { 0 } else { row };
        self.column.is_valid(row).then(|| self.column.value(row))
    }

    /// Bytes of all texts, also if they are a slice of a longer column.
    pub fn byte_count(&self) -> usize {
        let offsets = self.column.value_offsets();
        offsets.first().zip(offsets.last()).map_or(0, |(first, last)| (last - first) as usize)
    }

    /// The column itself; one row if it is a constant.
    pub fn column(&self) -> &StringArray {
        &self.column
    }

    pub fn is_constant(&self) -> bool {
        self.is_constant
    }
}

/// A whole number per row.
pub(super) struct Integers {
    column: Int64Array,
    is_constant: bool,
}

impl Integers {
    pub fn at(&self, row: usize) -> Option<i64> {
        let row = if self.is_constant { 0 } else { row };
        self.column.is_valid(row).then(|| self.column.value(row))
    }
}

/// The value of a whole number.
pub(super) fn integer(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) if value.data_type().is_integer() => number,
        _ => None,
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

pub(super) fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// The error of a row.
pub(super) fn row_error(message: impl Into<String>) -> DataFusionError {
    ArrowError::ComputeError(message.into()).into()
}

/// The byte at which the character of this number (0 for the first) starts; the length of the text past its end.
pub(super) fn byte_of_character(text: &str, character: usize) -> usize {
    if text.is_ascii() {
        return character.min(text.len());
    }
    text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte)
}

/// Text as an error shows it: its start, if it is long.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS: usize = 60;
    let start = &text[..byte_of_character(text, CHARACTERS)];
    format!("'{start}{}'", if start.len() < text.len() { "…" } else { "" })
}
