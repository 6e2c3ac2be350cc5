//! Values of a batch as text, for every format that writes text (kda-sql-reference.md §6.13).
//!
//! A batch's columns are looked up once per batch, so that writing a value is a jump to its type and no allocation.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, BinaryArray, BooleanArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, Time32MillisecondType, TimestampMillisecondType,
};
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow::record_batch::RecordBatch;

use super::timestamp::{self, TimestampFormatter};
use crate::error::{Error, Result};
use crate::types::SqlType;

/// How a format writes values that are not bare numbers or words.
pub(super) trait Style {
    /// NULL, NaN and infinities.
    fn null(out: &mut Vec<u8>);
    /// UTF-8 text of any content.
    fn text(text: &[u8], out: &mut Vec<u8>);
    /// Stands around text that needs no escaping, such as a date.
    const QUOTE: &'static [u8];
}

/// A column of a batch that is being written.
pub(super) struct Cells<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum Values<'a> {
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Decimal(&'a [i128], usize),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Boolean(&'a BooleanArray),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Date(&'a [i32]),
    Time(&'a [i32]),
    Timestamp(&'a [i64], TimestampFormatter),
    /// As JSON.
    Array(NullableEncoder<'a>),
}

/// Times in arrays look as they do outside.
static ARRAYS: LazyLock<EncoderOptions> = LazyLock::new(|| {
    let options = EncoderOptions::default().with_timestamp_format("%Y-%m-%d %H:%M:%S%.3f".to_owned());
    options.with_time_format("%H:%M:%S%.3f".to_owned()).with_explicit_nulls(true)
});

/// True for arrays, which answers to queries of tables may have.
pub(super) fn is_array(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

/// Fails with `Config` if a column's type is not one that SQL columns have, nor one that `writes` says the format has too.
pub(super) fn check_writable(schema: &SchemaRef, writes: impl Fn(&DataType) -> bool) -> Result<()> {
    let is_unknown = |field: &&Arc<Field>| SqlType::of_field(field).is_none() && !writes(field.data_type());
    let Some(field) = schema.fields().iter().find(is_unknown) else { return Ok(()) };
    let name = field.name();
    Err(match field.data_type() {
        DataType::Struct(fields) => {
            let names = fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
            let first = names.first().copied().unwrap_or_default();
            Error::config(format!("column \"{name}\" is a record of {}, which cannot be written", names.join(", "))).with_hint(
                format!("Select its fields in a query around: SELECT q.\"{name}\".\"{first}\", … FROM (SELECT … AS \"{name}\" …) AS q."),
            )
        }
        data_type if is_array(data_type) => Error::config(format!("column \"{name}\" is an array, which cannot be written"))
            .with_hint("Make a text of it: array_to_string(…, ', ')."),
        other => Error::config(format!("column \"{name}\" has the type {other}, which cannot be written"))
            .with_hint("Cast the column to an SQL type."),
    })
}

/// The columns of `batch`, which must have the types of `schema`.
pub(super) fn columns<'a>(schema: &'a SchemaRef, batch: &'a RecordBatch) -> Result<Vec<Cells<'a>>> {
    if batch.num_columns() != schema.fields().len() {
        return Err(Error::internal(format!(
            "a batch of {} columns reached an encoder of {}",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    schema.fields().iter().zip(batch.columns()).map(|(field, array)| Cells::try_new(field, array.as_ref())).collect()
}

impl<'a> Cells<'a> {
    fn try_new(field: &'a FieldRef, array: &'a dyn Array) -> Result<Self> {
        let wrong_type = || {
            let (name, expected, found) = (field.name(), field.data_type(), array.data_type());
            Error::internal(format!("column \"{name}\" reached an encoder as {found} instead of {expected}"))
        };
        if array.data_type() != field.data_type() {
            return Err(wrong_type());
        }
        if is_array(array.data_type()) {
            return Ok(Self { values: Values::Array(make_encoder(field, array, &ARRAYS)?), nulls: array.nulls() });
        }
        let values = match SqlType::of_field(field).ok_or_else(wrong_type)? {
            SqlType::TinyInt => Values::Int8(array.as_primitive::<Int8Type>().values()),
            SqlType::SmallInt => Values::Int16(array.as_primitive::<Int16Type>().values()),
            SqlType::Integer => Values::Int32(array.as_primitive::<Int32Type>().values()),
            SqlType::BigInt => Values::Int64(array.as_primitive::<Int64Type>().values()),
            SqlType::Decimal(_, scale) => Values::Decimal(
                array.as_primitive::<Decimal128Type>().values(),
                usize::try_from(scale).map_err(|_| wrong_type())?,
            ),
            SqlType::Real => Values::Float32(array.as_primitive::<Float32Type>().values()),
            SqlType::Double => Values::Float64(array.as_primitive::<Float64Type>().values()),
            SqlType::Boolean => Values::Boolean(array.as_boolean()),
            SqlType::Char(_) | SqlType::Varchar(_) => Values::Text(array.as_string()),
            SqlType::Binary(_) | SqlType::Varbinary(_) => Values::Bytes(array.as_binary()),
            SqlType::Date => Values::Date(array.as_primitive::<Date32Type>().values()),
            SqlType::Time => Values::Time(array.as_primitive::<Time32MillisecondType>().values()),
            SqlType::Timestamp => {
                Values::Timestamp(array.as_primitive::<TimestampMillisecondType>().values(), TimestampFormatter::default())
            }
        };
        debug_assert!(!matches!(array.data_type(), DataType::Null));
        Ok(Self { values, nulls: array.nulls() })
    }

    /// Appends the value of a row.
    #[inline]
    pub(super) fn write<S: Style>(&mut self, row: usize, out: &mut Vec<u8>) {
        if let Some(nulls) = self.nulls
            && nulls.is_null(row)
        {
            return S::null(out);
        }
        match &mut self.values {
            Values::Int8(values) => write_integer(values[row], out),
            Values::Int16(values) => write_integer(values[row], out),
            Values::Int32(values) => write_integer(values[row], out),
            Values::Int64(values) => write_integer(values[row], out),
            Values::Decimal(values, scale) => write_decimal(values[row], *scale, out),
            Values::Float32(values) if values[row].is_finite() => write_float(values[row], out),
            Values::Float64(values) if values[row].is_finite() => write_float(values[row], out),
            Values::Float32(_) | Values::Float64(_) => S::null(out),
            Values::Boolean(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Values::Text(values) => S::text(values.value(row).as_bytes(), out),
            Values::Bytes(values) => quoted::<S>(out, |out| write_base64(values.value(row), out)),
            Values::Date(values) => quoted::<S>(out, |out| timestamp::format_date(values[row], out)),
            Values::Time(values) => quoted::<S>(out, |out| timestamp::format_time(values[row], out)),
            Values::Array(values) => values.encode(row, out),
            Values::Timestamp(values, formatter) => quoted::<S>(out, |out| formatter.format(values[row], out)),
        }
    }
}

#[inline(always)]
fn quoted<S: Style>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(S::QUOTE);
    write(out);
    out.extend_from_slice(S::QUOTE);
}

#[inline(always)]
fn write_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest text that reads back as the same number, as serde_json writes it: `1.0`, `1e+300`.
#[inline(always)]
fn write_float(value: impl zmij::Float, out: &mut Vec<u8>) {
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
}

/// All digits of the scale, no exponent: `-0.50`.
fn write_decimal(value: i128, scale: usize, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if scale == 0 {
        out.extend_from_slice(digits);
        return;
    }
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    out.push(b'.');
    out.resize(out.len() + scale - fraction.len(), b'0');
    out.extend_from_slice(fraction);
}

/// RFC 4648 §4, padded.
fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let word = u32::from_be_bytes([0, a, b, c]);
        let letter = |shift: u32| ALPHABET[(word >> shift) as usize & 63];
        out.push(letter(18));
        out.push(letter(12));
        out.push(if chunk.len() > 1 { letter(6) } else { b'=' });
        out.push(if chunk.len() > 2 { letter(0) } else { b'=' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_have_all_digits_and_no_exponent() {
        for (value, scale, expected) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (-123, 2, "-1.23"),
            (100, 2, "1.00"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 0, "99999999999999999999999999999999999999"),
            (-99_999_999_999_999_999_999_999_999_999_999_999_999, 38, "-0.99999999999999999999999999999999999999"),
        ] {
            assert_eq!(written(|out| write_decimal(value, scale, out)), expected);
        }
    }

    #[test]
    fn floats_read_back_and_look_like_json() {
        for (value, expected) in
            [(1.0, "1.0"), (0.1, "0.1"), (-0.0, "-0.0"), (1e300, "1e+300"), (123.45, "123.45"), (1e15, "1000000000000000.0")]
        {
            assert_eq!(written(|out| write_float(value, out)), expected);
            assert_eq!(serde_json::to_string(&value).unwrap(), expected);
        }
        assert_eq!(written(|out| write_float(0.1f32, out)), "0.1");
    }

    #[test]
    fn base64_as_in_rfc_4648() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(written(|out| write_base64(bytes.as_bytes(), out)), expected);
        }
        assert_eq!(written(|out| write_base64(&[0xFF, 0xFE, 0xFD], out)), "//79");
    }
}
