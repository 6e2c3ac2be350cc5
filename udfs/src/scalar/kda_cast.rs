//! CAST (x AS type) by KDA's rules (kda-sql-reference.md §1.8, §8.2).
//!
//! | From | To | |
//! | --- | --- | --- |
//! | numbers | whole numbers, DECIMAL | rounded half away from zero |
//! | numbers | text | shortest decimal, no exponent |
//! | text | numbers, BOOLEAN | surrounding blanks are dropped |
//! | text | DATE, TIME, TIMESTAMP | `yyyy-MM-dd`, `HH:mm:ss[.f]`, both with one blank between them; no blanks before a DATE |
//! | DATE, TIME, TIMESTAMP | text | the same forms, the fraction only if it is not zero |
//! | TIMESTAMP | DATE, TIME | the part of it |
//! | DATE, TIME | TIMESTAMP | midnight of the day, the time on 1970-01-01 |
//! | BOOLEAN | text | `TRUE`, `FALSE` |
//! | anything | CHAR(n), BINARY(n) | padded |
//!
//! Output: NULL for NULL; the field's metadata has the length (sql_type.rs).
//! Errors: a pair that is not in the table, when the query is planned; a value that is malformed, out of range or too long,
//!         for the row (`ArrowError::CastError`).

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryBuilder, BooleanArray, GenericByteArray, Int64Array, PrimitiveArray,
    StringArray, StringBuilder,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ByteArrayType, DataType, Date32Type, FieldRef, Float32Type, Float64Type, Int64Type, Time32MillisecondType,
    TimestampMillisecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{FormatOptions, array_value_to_string};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{is_text, map_column};
use crate::sql_type::{SqlType, sql_type_name};

/// A failing cast is an error, not a NULL.
const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };
const DAY_MS: i64 = 86_400_000;

/// The cast to `target` as a function of one argument. It has no name in SQL: the engine puts it in place of CAST.
pub fn udf(target: SqlType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(KdaCast { target, signature: Signature::any(1, Volatility::Immutable) }))
}

/// The type that `function` casts to, if it is a cast.
pub fn target(function: &ScalarUDF) -> Option<SqlType> {
    function.inner().downcast_ref::<KdaCast>().map(|cast| cast.target)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct KdaCast {
    target: SqlType,
    signature: Signature,
}

impl ScalarUDFImpl for KdaCast {
    fn name(&self) -> &str {
        "kda_cast"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let operand = args.first().map(|operand| operand.schema_name().to_string()).unwrap_or_default();
        Ok(format!("CAST({operand} AS {})", self.target))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the field of a cast has the length of its type")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let source = &args.arg_fields[0];
        if !can_cast(source.data_type(), self.target) {
            return plan_err!("{} cannot be cast to {}", sql_type_name(source), self.target);
        }
        Ok(self.target.field("cast", source.is_nullable()))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map_column(&args.args[0], |column| Ok(cast(column, self.target)?))
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

/// True if CAST takes a value of `from` to `to`.
pub fn can_cast(from: &DataType, to: SqlType) -> bool {
    use SqlType::*;
    let date = matches!(from, DataType::Date32 | DataType::Date64);
    let timestamp = matches!(from, DataType::Timestamp(..));
    let binary = matches!(from, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    match to {
        _ if from.is_null() => true,
        TinyInt | SmallInt | Integer | BigInt | Decimal(..) | Real | Double => from.is_numeric() || is_text(from),
        Boolean => *from == DataType::Boolean || is_text(from),
        Char(_) | Varchar(_) => {
            from.is_numeric() || *from == DataType::Boolean || is_text(from) || date || timestamp || is_time(from)
        }
        Binary(_) | Varbinary(_) => binary,
        Date => is_text(from) || date || timestamp,
        Time => is_text(from) || is_time(from) || timestamp,
        Timestamp => is_text(from) || is_time(from) || date || timestamp,
    }
}

/// Casts a column; of pairs outside the table above the result is an error.
pub fn cast(column: &ArrayRef, target: SqlType) -> Result<ArrayRef, ArrowError> {
    let text = is_text(column.data_type());
    match target {
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Integer | SqlType::BigInt => to_integer(column, target),
        SqlType::Decimal(..) if text => parsed(column, target, |text| text.trim_matches(' ')),
        SqlType::Real | SqlType::Double if text => finite(column, parsed(column, target, |text| text.trim_matches(' '))?, target),
        SqlType::Real => to_real(column),
        SqlType::Decimal(..) => strict(column, &target.data_type()).map_err(|error| match column.len() {
            // The row that fails is found by halving.
            1 => out_of_range(array_value_to_string(column, 0).unwrap_or_default(), target),
            _ => ArrowError::CastError(error.to_string()),
        }),
        SqlType::Boolean if text => parse_each::<BooleanArray, _>(column, target, |text| {
            let is = |word: &str| text.eq_ignore_ascii_case(word);
            if is("true") { Some(true) } else { is("false").then_some(false) }
        }),
        // A CHAR has blanks at its end; before the day there must be none (§1.8).
        SqlType::Date if text => parse_each::<PrimitiveArray<Date32Type>, _>(column, target, parse_day),
        SqlType::Time if text => {
            parse_each::<PrimitiveArray<Time32MillisecondType>, _>(column, target, |text| Some(parse_time(text)? as i32))
        }
        SqlType::Timestamp if text => parse_each::<PrimitiveArray<TimestampMillisecondType>, _>(column, target, |text| {
            let (day, time) = text.split_once(' ')?;
            Some(i64::from(parse_day(day)?) * DAY_MS + parse_time(time)?)
        }),
        SqlType::Timestamp if is_time(column.data_type()) => {
            let ms = strict(column, &SqlType::Time.data_type())?;
            let ms = ms.as_primitive::<Time32MillisecondType>();
            Ok(Arc::new(ms.unary::<_, TimestampMillisecondType>(i64::from)))
        }
        SqlType::Time if matches!(column.data_type(), DataType::Timestamp(..)) => {
            let times = strict(column, &SqlType::Timestamp.data_type())?;
            let of_day = |ms: i64| ms.rem_euclid(DAY_MS) as i32;
            Ok(Arc::new(times.as_primitive::<TimestampMillisecondType>().unary::<_, Time32MillisecondType>(of_day)))
        }
        SqlType::Char(length) => pad_text(fit_length(to_text(column)?, target, length)?, length as usize),
        SqlType::Varchar(length) => fit_length(to_text(column)?, target, length),
        SqlType::Binary(length) => pad_bytes(fit_length(strict(column, &DataType::Binary)?, target, length)?, length as usize),
        SqlType::Varbinary(length) => fit_length(strict(column, &DataType::Binary)?, target, length),
        _ => strict(column, &target.data_type()),
    }
}

fn strict(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == data_type { Ok(column.clone()) } else { cast_with_options(column, data_type, &STRICT) }
}

fn out_of_range(value: impl Display, target: SqlType) -> ArrowError {
    ArrowError::CastError(format!("{value} is out of the range of {target}"))
}

fn to_integer(column: &ArrayRef, target: SqlType) -> Result<ArrayRef, ArrowError> {
    let narrow = |whole: ArrayRef| -> Result<ArrayRef, ArrowError> {
        strict(&whole, &target.data_type()).map_err(|_| {
            let wide = strict(&whole, &DataType::Int64).ok();
            let bounds = i64::from(i32::MIN)..=i64::from(i32::MAX);
            let culprit = wide.and_then(|wide| {
                let fits = |value: &i64| match target {
                    SqlType::TinyInt => i8::try_from(*value).is_ok(),
                    SqlType::SmallInt => i16::try_from(*value).is_ok(),
                    _ => bounds.contains(value),
                };
                wide.as_primitive::<Int64Type>().iter().flatten().find(|value| !fits(value))
            });
            out_of_range(culprit.map_or_else(|| "a number".to_owned(), |value| value.to_string()), target)
        })
    };
    match column.data_type() {
        DataType::Float32 | DataType::Float64 | DataType::Float16 => {
            let floats = strict(column, &DataType::Float64)?;
            // 2^63 is the first number past the largest i64, and i64::MIN is −2^63 itself.
            let round = |value: f64| {
                let rounded = value.round();
                let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
                fits.then_some(rounded as i64).ok_or_else(|| out_of_range(value, target))
            };
            let whole: Int64Array = floats.as_primitive::<Float64Type>().try_unary(round)?;
            narrow(Arc::new(whole))
        }
        // arrow rounds half away from zero when the scale shrinks, but truncates when it casts to an integer.
        DataType::Decimal128(_, scale) if *scale > 0 => narrow(strict(column, &DataType::Decimal128(38, 0))?),
        data_type if is_text(data_type) => {
            let whole = parse_each::<Int64Array, _>(column, target, |text| {
                let fractional =
                    || text.parse::<f64>().ok().map(f64::round).filter(|value| value.abs() < 9.0e15).map(|value| value as i64);
                text.parse().ok().or_else(fractional)
            })?;
            narrow(whole)
        }
        _ => narrow(column.clone()),
    }
}

fn to_real(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let reals = strict(column, &DataType::Float32)?;
    if let DataType::Float64 = column.data_type() {
        let doubles = column.as_primitive::<Float64Type>().iter().flatten();
        let mut pairs = doubles.zip(reals.as_primitive::<Float32Type>().iter().flatten());
        if let Some((double, _)) = pairs.find(|(double, real)| real.is_infinite() && double.is_finite()) {
            return Err(out_of_range(double, SqlType::Real));
        }
    }
    Ok(reals)
}

/// Casts text with arrow's own parser after `prepare`.
fn parsed(column: &ArrayRef, target: SqlType, prepare: impl Fn(&str) -> &str) -> Result<ArrayRef, ArrowError> {
    let texts = strict(column, &DataType::Utf8)?;
    let prepared: ArrayRef = Arc::new(texts.as_string::<i32>().iter().map(|text| text.map(&prepare)).collect::<StringArray>());
    strict(&prepared, &target.data_type()).map_err(|error| match texts.len() {
        1 => malformed(texts.as_string::<i32>().value(0), target),
        _ => error,
    })
}

/// The numbers that `texts` were read as; fails for one that is too large, which arrow reads as infinity.
fn finite(texts: &ArrayRef, numbers: ArrayRef, target: SqlType) -> Result<ArrayRef, ArrowError> {
    let doubles = strict(&numbers, &DataType::Float64)?;
    let infinite = doubles.as_primitive::<Float64Type>().iter().position(|number| number.is_some_and(f64::is_infinite));
    if let Some(row) = infinite {
        let texts = strict(texts, &DataType::Utf8)?;
        let text = texts.as_string::<i32>().value(row).trim_matches(' ');
        // The word for it has no digit.
        if text.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(out_of_range(text, target));
        }
    }
    Ok(numbers)
}

fn malformed(text: &str, target: SqlType) -> ArrowError {
    const SHOWN: usize = 60;
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    let form = match target {
        SqlType::Date => " 'yyyy-MM-dd'",
        SqlType::Time => " 'HH:mm:ss'",
        SqlType::Timestamp => " 'yyyy-MM-dd HH:mm:ss'",
        SqlType::Boolean => " 'TRUE' or 'FALSE'",
        _ => "",
    };
    ArrowError::CastError(format!("'{shown}{more}' is no {target}{form}"))
}

fn parse_each<A, T>(column: &ArrayRef, target: SqlType, parse: impl Fn(&str) -> Option<T>) -> Result<ArrayRef, ArrowError>
where
    A: Array + FromIterator<Option<T>> + 'static,
{
    let texts = strict(column, &DataType::Utf8)?;
    let one = |text: &str| {
        let from = if target == SqlType::Date { text } else { text.trim_start_matches(' ') };
        parse(from.trim_end_matches(' ')).ok_or_else(|| malformed(text, target))
    };
    let values = texts.as_string::<i32>().iter().map(|text| text.map(one).transpose());
    Ok(Arc::new(values.collect::<Result<A, _>>()?))
}

fn parse_day(text: &str) -> Option<i32> {
    let form = |(place, byte): (usize, u8)| if place == 4 || place == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    if text.len() != 10 || !text.bytes().enumerate().all(form) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().ok();
    let date = NaiveDate::from_ymd_opt(number(0..4)? as i32, number(5..7)?, number(8..10)?)?;
    Some(date.to_epoch_days()).filter(|day| TIMES_OF_TEXT.contains(&(i64::from(*day) * DAY_MS)))
}

/// Milliseconds since midnight.
fn parse_time(text: &str) -> Option<i64> {
    let form = |(place, byte): (usize, u8)| match place {
        2 | 5 => byte == b':',
        8 => byte == b'.',
        _ => byte.is_ascii_digit(),
    };
    if text.len() < 8 || text.len() == 9 || text.len() > 18 || !text.bytes().enumerate().all(form) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().ok();
    let time = NaiveTime::from_hms_opt(number(0..2)?, number(3..5)?, number(6..8)?)?;
    let fraction = text.get(9..).unwrap_or_default().bytes().chain(*b"000").take(3);
    let ms = fraction.fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some(i64::from(time.num_seconds_from_midnight()) * 1000 + ms)
}

fn to_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Boolean => {
            let word = |value: Option<bool>| value.map(|value| if value { "TRUE" } else { "FALSE" });
            Arc::new(column.as_boolean().iter().map(word).collect::<StringArray>())
        }
        DataType::Float64 => written::<Float64Type>(column, |value, out| write!(out, "{value}")),
        DataType::Float32 => written::<Float32Type>(column, |value, out| write!(out, "{value}")),
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().iter().flatten();
            check_years(days.map(i64::from).map(|day| day * DAY_MS), SqlType::Date)?;
            strict(column, &DataType::Utf8)?
        }
        DataType::Timestamp(..) => {
            let column = strict(column, &SqlType::Timestamp.data_type())?;
            check_years(column.as_primitive::<TimestampMillisecondType>().iter().flatten(), SqlType::Timestamp)?;
            written::<TimestampMillisecondType>(&column, |ms, out| match DateTime::from_timestamp_millis(ms) {
                Some(time) => {
                    write!(out, "{}", time.format("%Y-%m-%d %H:%M:%S"))?;
                    write_fraction(ms, out)
                }
                None => write!(out, "{ms}"),
            })
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let column = strict(column, &SqlType::Time.data_type())?;
            written::<Time32MillisecondType>(&column, |ms, out| {
                let seconds = ms / 1000;
                write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
                write_fraction(i64::from(ms), out)
            })
        }
        _ => strict(column, &DataType::Utf8)?,
    })
}

/// The milliseconds of the years 0001 to 9999: a year has four digits in a text.
pub const TIMES_OF_TEXT: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// What is said of a time, in milliseconds, that is not in [`TIMES_OF_TEXT`]: its year, if it has one.
pub fn year_of(ms: i64) -> String {
    let year = DateTime::from_timestamp_millis(ms).map(|time| format!("the year {}", time.year()));
    year.unwrap_or_else(|| format!("{ms} milliseconds since 1970"))
}

/// Fails for a time, in milliseconds, whose year a text cannot have.
fn check_years(mut times: impl Iterator<Item = i64>, from: SqlType) -> Result<(), ArrowError> {
    match times.find(|ms| !TIMES_OF_TEXT.contains(ms)) {
        None => Ok(()),
        Some(ms) => Err(ArrowError::CastError(format!("a {from} of {} has no text: its years are 0001 to 9999", year_of(ms)))),
    }
}

/// `.25` of 1,250 ms; nothing of whole seconds.
fn write_fraction(ms: i64, out: &mut StringBuilder) -> std::fmt::Result {
    match ms.rem_euclid(1000) {
        0 => Ok(()),
        ms if ms % 100 == 0 => write!(out, ".{}", ms / 100),
        ms if ms % 10 == 0 => write!(out, ".{:02}", ms / 10),
        ms => write!(out, ".{ms:03}"),
    }
}

fn written<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    write: impl Fn(T::Native, &mut StringBuilder) -> std::fmt::Result,
) -> ArrayRef {
    let values = column.as_primitive::<T>();
    let mut texts = StringBuilder::with_capacity(values.len(), values.len() * 8);
    for value in values {
        match value {
            // Writing to a builder cannot fail.
            Some(value) => {
                let _ = write(value, &mut texts);
                texts.append_value("");
            }
            None => texts.append_null(),
        }
    }
    Arc::new(texts.finish())
}

/// Fails for the first value that is longer than `length` characters or bytes.
fn fit_length(column: ArrayRef, target: SqlType, length: u32) -> Result<ArrayRef, ArrowError> {
    let too_long = |count: usize, unit: &str| ArrowError::CastError(format!("{count} {unit} do not fit {target}"));
    let length = length as usize;
    match column.data_type() {
        DataType::Utf8 => {
            // As many characters as bytes at most: texts that are short in bytes need no counting.
            let texts = column.as_string::<i32>();
            if has_longer(texts, length) {
                let count = texts.iter().flatten().map(|text| text.chars().count()).find(|count| *count > length);
                count.map_or(Ok(()), |count| Err(too_long(count, "characters")))?;
            }
        }
        _ => {
            let bytes = column.as_binary::<i32>();
            if has_longer(bytes, length) {
                let count = bytes.iter().flatten().map(<[u8]>::len).find(|count| *count > length);
                count.map_or(Ok(()), |count| Err(too_long(count, "bytes")))?;
            }
        }
    }
    Ok(column)
}

fn has_longer<T: ByteArrayType<Offset = i32>>(values: &GenericByteArray<T>, length: usize) -> bool {
    values.value_offsets().windows(2).fold(false, |longer, ends| longer | ((ends[1] - ends[0]) as usize > length))
}

fn pad_text(column: ArrayRef, length: usize) -> Result<ArrayRef, ArrowError> {
    let texts = column.as_string::<i32>();
    let mut padded = StringBuilder::with_capacity(texts.len(), texts.len() * length);
    for text in texts {
        match text {
            Some(text) => {
                let _ = write!(padded, "{text:<length$}");
                padded.append_value("");
            }
            None => padded.append_null(),
        }
    }
    Ok(Arc::new(padded.finish()))
}

fn pad_bytes(column: ArrayRef, length: usize) -> Result<ArrayRef, ArrowError> {
    let values = column.as_binary::<i32>();
    let mut padded = BinaryBuilder::with_capacity(values.len(), values.len() * length);
    let mut value_padded = Vec::with_capacity(length);
    for value in values {
        value_padded.clear();
        value_padded.extend_from_slice(value.unwrap_or_default());
        value_padded.resize(length, 0);
        padded.append_option(value.map(|_| &value_padded));
    }
    Ok(Arc::new(padded.finish()))
}
