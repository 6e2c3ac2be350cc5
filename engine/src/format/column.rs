//! Columns under construction: converts values as kda-sql-reference.md §6.7 lists and keeps them in Arrow's layout.
//!
//! A value that does not fit is refused and leaves the column as it was; the decoder then takes the whole row back with
//! [`ColumnBuilder::truncate`].

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, PrimitiveArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, TimestampMillisecondType,
};

use super::number;
use super::timestamp::{self, TimestampParser};
use crate::error::{Error, Result};
use crate::types::SqlType;

/// Why a value cannot stand in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// NULL in a NOT NULL column.
    Null,
    /// No value of this kind can: an array in a number's place.
    Incompatible,
    /// Text that does not read as the column's type.
    Malformed,
    /// Too large or too small.
    OutOfRange,
    /// Digits would be lost.
    Inexact,
}

/// A value of a record, before its conversion. Text is UTF-8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Boolean(bool),
    /// In JSON's spelling.
    Number(&'a [u8]),
    Text(&'a [u8]),
    /// An object or array as compact JSON text.
    Container(&'a [u8]),
}

/// A column of the batch that is being decoded.
pub(crate) struct ColumnBuilder {
    field: FieldRef,
    pub(crate) sql_type: SqlType,
    pub(crate) values: Values,
    /// Rows so far.
    len: usize,
    /// Rows that are NULL, ascending: few in most columns, and none costs nothing.
    nulls: Vec<usize>,
    pub(crate) timestamps: TimestampParser,
}

/// The values so far; a NULL has an arbitrary one.
pub(crate) enum Values {
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int128(Vec<i128>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Boolean(BooleanBufferBuilder),
    /// All bytes one after the other, and where each value ends.
    Bytes(Vec<u8>, Vec<i32>),
}

impl Values {
    fn new(sql_type: SqlType, rows: usize, bytes: usize) -> Self {
        match sql_type {
            SqlType::TinyInt => Values::Int8(Vec::with_capacity(rows)),
            SqlType::SmallInt => Values::Int16(Vec::with_capacity(rows)),
            SqlType::Integer | SqlType::Date | SqlType::Time => Values::Int32(Vec::with_capacity(rows)),
            SqlType::BigInt | SqlType::Timestamp => Values::Int64(Vec::with_capacity(rows)),
            SqlType::Decimal(..) => Values::Int128(Vec::with_capacity(rows)),
            SqlType::Real => Values::Float32(Vec::with_capacity(rows)),
            SqlType::Double => Values::Float64(Vec::with_capacity(rows)),
            SqlType::Boolean => Values::Boolean(BooleanBufferBuilder::new(rows)),
            SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Binary(_) | SqlType::Varbinary(_) => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                Values::Bytes(Vec::with_capacity(bytes), offsets)
            }
        }
    }
}

impl ColumnBuilder {
    /// Fails with `Config` if the field's type is not one that SQL columns have.
    pub(crate) fn try_new(field: &FieldRef) -> Result<Self> {
        let sql_type = SqlType::of_field(field).ok_or_else(|| {
            Error::config(format!(
                "column \"{}\" has the type {}, which no record can be converted to",
                field.name(),
                field.data_type()
            ))
        })?;
        Ok(Self {
            field: Arc::clone(field),
            sql_type,
            values: Values::new(sql_type, 0, 0),
            len: 0,
            nulls: Vec::new(),
            timestamps: TimestampParser::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    /// Rows so far.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Drops the rows from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if rows >= self.len {
            return;
        }
        self.len = rows;
        self.nulls.truncate(self.nulls.partition_point(|&null| null < rows));
        match &mut self.values {
            Values::Int8(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) => values.truncate(rows),
            Values::Int64(values) => values.truncate(rows),
            Values::Int128(values) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Boolean(values) => values.truncate(rows),
            Values::Bytes(bytes, ends) => {
                ends.truncate(rows + 1);
                bytes.truncate(ends[rows] as usize);
            }
        }
    }

    /// Marks the value that was just added to [`Self::values`] as present.
    #[inline(always)]
    pub(crate) fn added(&mut self) {
        self.len += 1;
    }

    /// Converts and adds a value.
    pub(crate) fn push(&mut self, value: Value<'_>) -> Result<(), Refusal> {
        match value {
            Value::Null => self.push_null(),
            Value::Boolean(value) => self.push_boolean(value),
            Value::Number(text) => self.push_number(text),
            Value::Text(text) => self.push_text(text),
            Value::Container(text) => match self.sql_type {
                SqlType::Char(_) | SqlType::Varchar(_) => self.push_characters(text),
                _ => Err(Refusal::Incompatible),
            },
        }
    }

    pub(crate) fn push_null(&mut self) -> Result<(), Refusal> {
        if !self.field.is_nullable() {
            return Err(Refusal::Null);
        }
        match &mut self.values {
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::Int128(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Boolean(values) => values.append(false),
            Values::Bytes(bytes, ends) => ends.push(bytes.len() as i32),
        }
        self.nulls.push(self.len);
        self.len += 1;
        Ok(())
    }

    fn push_boolean(&mut self, value: bool) -> Result<(), Refusal> {
        match self.sql_type {
            SqlType::Boolean => {
                self.add_boolean(value);
                Ok(())
            }
            SqlType::Char(_) | SqlType::Varchar(_) => self.push_characters(if value { b"true" } else { b"false" }),
            SqlType::Varbinary(_) => self.push_bytes(&[u8::from(value)]),
            SqlType::Binary(length) => {
                let mut bytes = vec![0; length as usize];
                if let Some(lowest) = bytes.last_mut() {
                    *lowest = u8::from(value);
                }
                self.push_bytes(&bytes)
            }
            SqlType::Date | SqlType::Time | SqlType::Timestamp => Err(Refusal::Incompatible),
            _ => self.add_number(if value { b"1" } else { b"0" }),
        }
    }

    fn push_number(&mut self, text: &[u8]) -> Result<(), Refusal> {
        match self.sql_type {
            SqlType::Char(_) | SqlType::Varchar(_) => self.push_characters(text),
            SqlType::Boolean => {
                let digits = text.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
                self.add_boolean(digits.iter().any(|byte| matches!(byte, b'1'..=b'9')));
                Ok(())
            }
            SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Date | SqlType::Time | SqlType::Timestamp => {
                Err(Refusal::Incompatible)
            }
            _ => self.add_number(text),
        }
    }

    /// Text may have blanks around a number, a date or a time; a character column keeps them.
    fn push_text(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let trimmed = text.trim_ascii();
        match self.sql_type {
            SqlType::Char(_) | SqlType::Varchar(_) => self.push_characters(text),
            SqlType::Boolean => {
                self.add_boolean(text.eq_ignore_ascii_case(b"true"));
                Ok(())
            }
            SqlType::Binary(length) => {
                let mut bytes = hex_literal(trimmed).ok_or(Refusal::Malformed)?;
                bytes.resize(bytes.len().max(length as usize), 0);
                self.push_bytes(&bytes)
            }
            SqlType::Varbinary(_) => self.push_bytes(&hex_literal(trimmed).ok_or(Refusal::Malformed)?),
            SqlType::Timestamp => {
                let ms = self.timestamps.parse(trimmed).ok_or(Refusal::Malformed)?;
                self.add_int64(ms)
            }
            SqlType::Date => {
                let day = match timestamp::parse_date(trimmed) {
                    Some(day) => day,
                    None => timestamp::parse(trimmed).ok_or(Refusal::Malformed)?.div_euclid(timestamp::DAY_MS) as i32,
                };
                self.add_int32(day)
            }
            SqlType::Time => {
                let time = match timestamp::parse_time(trimmed) {
                    Some(time) => time,
                    // A date alone says nothing about the time.
                    None if timestamp::parse_date(trimmed).is_some() => return Err(Refusal::Malformed),
                    None => timestamp::parse(trimmed).ok_or(Refusal::Malformed)?.rem_euclid(timestamp::DAY_MS) as i32,
                };
                self.add_int32(time)
            }
            _ if number::is_number(trimmed) => self.add_number(trimmed),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Adds a number to a numeric column; `text` is one ([`number::is_number`]).
    fn add_number(&mut self, text: &[u8]) -> Result<(), Refusal> {
        fn fit<T: TryFrom<i128>>(value: i128) -> Result<T, Refusal> {
            T::try_from(value).map_err(|_| Refusal::OutOfRange)
        }
        let integer = || match number::leading_integer(text) {
            Some((value, end)) if end == text.len() => Ok(i128::from(value)),
            _ => number::exact(text, 0),
        };
        let as_str = || std::str::from_utf8(text).map_err(|_| Refusal::Malformed);
        match (&mut self.values, self.sql_type) {
            (Values::Int8(values), _) => values.push(fit(integer()?)?),
            (Values::Int16(values), _) => values.push(fit(integer()?)?),
            (Values::Int32(values), _) => values.push(fit(integer()?)?),
            (Values::Int64(values), _) => values.push(fit(integer()?)?),
            (Values::Int128(values), SqlType::Decimal(precision, scale)) => {
                let value = number::exact(text, scale)?;
                if value.unsigned_abs() >= 10u128.pow(u32::from(precision)) {
                    return Err(Refusal::OutOfRange);
                }
                values.push(value);
            }
            (Values::Float32(values), _) => {
                let value: f32 = as_str()?.parse().map_err(|_| Refusal::Malformed)?;
                values.push(if value.is_finite() { value } else { return Err(Refusal::OutOfRange) });
            }
            (Values::Float64(values), _) => {
                let value: f64 = match number::leading_double(text) {
                    Some((value, end)) if end == text.len() => value,
                    _ => as_str()?.parse().map_err(|_| Refusal::Malformed)?,
                };
                values.push(if value.is_finite() { value } else { return Err(Refusal::OutOfRange) });
            }
            _ => return Err(Refusal::Incompatible),
        }
        self.added();
        Ok(())
    }

    fn add_boolean(&mut self, value: bool) {
        if let Values::Boolean(values) = &mut self.values {
            values.append(value);
            self.added();
        }
    }

    fn add_int32(&mut self, value: i32) -> Result<(), Refusal> {
        let Values::Int32(values) = &mut self.values else { return Err(Refusal::Incompatible) };
        values.push(value);
        self.added();
        Ok(())
    }

    fn add_int64(&mut self, value: i64) -> Result<(), Refusal> {
        let Values::Int64(values) = &mut self.values else { return Err(Refusal::Incompatible) };
        values.push(value);
        self.added();
        Ok(())
    }

    /// Adds UTF-8 text to a character column: cut to its length silently, a CHAR padded with blanks.
    #[inline]
    pub(crate) fn push_characters(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let (length, fixed) = match self.sql_type {
            SqlType::Char(length) => (length as usize, true),
            SqlType::Varchar(length) => (length as usize, false),
            _ => return Err(Refusal::Incompatible),
        };
        let Values::Bytes(bytes, ends) = &mut self.values else { return Err(Refusal::Incompatible) };
        // No text has more characters than bytes, so most need not be counted.
        let kept = if text.len() <= length { text } else { &text[..prefix_bytes(text, length)] };
        bytes.extend_from_slice(kept);
        if fixed {
            let characters = kept.iter().filter(|&&byte| !is_continuation(byte)).count();
            bytes.resize(bytes.len() + length - characters, b' ');
        }
        // Offsets are 32 bit. A batch comes near only if a wide CHAR is padded very often.
        if bytes.len() > i32::MAX as usize {
            bytes.truncate(ends[ends.len() - 1] as usize);
            return Err(Refusal::OutOfRange);
        }
        ends.push(bytes.len() as i32);
        self.len += 1;
        Ok(())
    }

    pub(crate) fn push_bytes(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let (SqlType::Binary(length) | SqlType::Varbinary(length)) = self.sql_type else { return Err(Refusal::Incompatible) };
        let Values::Bytes(bytes, ends) = &mut self.values else { return Err(Refusal::Incompatible) };
        if value.len() > length as usize || bytes.len() + value.len() > i32::MAX as usize {
            return Err(Refusal::OutOfRange);
        }
        bytes.extend_from_slice(value);
        ends.push(bytes.len() as i32);
        self.added();
        Ok(())
    }

    /// The finished column. The builder is empty again, with room for as many rows as there were.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let rows = self.len();
        let bytes = if let Values::Bytes(bytes, _) = &self.values { bytes.len() } else { 0 };
        let values = std::mem::replace(&mut self.values, Values::new(self.sql_type, rows, bytes));
        let nulls = self.finish_nulls();
        Ok(match values {
            Values::Int8(values) => primitive::<Int8Type>(values, nulls),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls),
            Values::Int32(values) => match self.sql_type {
                SqlType::Date => primitive::<Date32Type>(values, nulls),
                SqlType::Time => primitive::<Time32MillisecondType>(values, nulls),
                _ => primitive::<Int32Type>(values, nulls),
            },
            Values::Int64(values) => match self.sql_type {
                SqlType::Timestamp => primitive::<TimestampMillisecondType>(values, nulls),
                _ => primitive::<Int64Type>(values, nulls),
            },
            Values::Int128(values) => {
                let array = Decimal128Array::new(ScalarBuffer::from(values), nulls);
                Arc::new(array.with_data_type(self.field.data_type().clone()))
            }
            Values::Float32(values) => primitive::<Float32Type>(values, nulls),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls),
            Values::Boolean(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Bytes(bytes, ends) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                if *self.field.data_type() == DataType::Binary {
                    Arc::new(BinaryArray::try_new(offsets, bytes.into(), nulls)?)
                } else {
                    Arc::new(StringArray::try_new(offsets, bytes.into(), nulls)?)
                }
            }
        })
    }

    fn finish_nulls(&mut self) -> Option<NullBuffer> {
        let rows = std::mem::take(&mut self.len);
        if self.nulls.is_empty() {
            return None;
        }
        let mut valid = BooleanBufferBuilder::new(rows);
        valid.append_n(rows, true);
        for null in self.nulls.drain(..) {
            valid.set_bit(null, false);
        }
        Some(NullBuffer::new(valid.finish()))
    }

    /// What the reader of `error_stream` sees: the column, the value and why it does not fit.
    pub(crate) fn explain(&self, value: Value<'_>, refusal: Refusal) -> String {
        let (name, sql_type) = (self.name(), self.sql_type);
        let kind = match value {
            Value::Null => return format!("column \"{name}\" is NOT NULL and the record has no value for it"),
            Value::Boolean(_) => "boolean",
            Value::Number(_) => "number",
            Value::Text(_) => "string",
            Value::Container([b'[', ..]) => "array",
            Value::Container(_) => "object",
        };
        let shown = match value {
            Value::Null => String::new(),
            Value::Boolean(value) => value.to_string(),
            Value::Number(text) | Value::Container(text) => shorten(text),
            Value::Text(text) => format!("'{}'", shorten(text)),
        };
        match refusal {
            Refusal::Null => format!("column \"{name}\" is NOT NULL and the record has no value for it"),
            Refusal::Incompatible => format!("column \"{name}\": the {kind} {shown} cannot become {sql_type}"),
            Refusal::Malformed => format!("column \"{name}\": {shown} cannot be read as {sql_type}"),
            Refusal::OutOfRange => format!("column \"{name}\": {shown} is out of range for {sql_type}"),
            Refusal::Inexact => format!("column \"{name}\": {shown} would lose digits as {sql_type}"),
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls))
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Bytes of the first `characters` characters.
fn prefix_bytes(text: &[u8], characters: usize) -> usize {
    text.iter().enumerate().filter(|(_, byte)| !is_continuation(**byte)).nth(characters).map_or(text.len(), |(at, _)| at)
}

/// The first characters of a value, for a message.
fn shorten(text: &[u8]) -> String {
    const SHOWN: usize = 64;
    let end = prefix_bytes(text, SHOWN);
    format!("{}{}", String::from_utf8_lossy(&text[..end]), if end < text.len() { "…" } else { "" })
}

/// The bytes of `X'3F67'`.
fn hex_literal(text: &[u8]) -> Option<Vec<u8>> {
    let [b'X' | b'x', b'\'', digits @ .., b'\''] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|&[high, low]| Some((digit(high)? * 16 + digit(low)?) as u8)).collect()
}
