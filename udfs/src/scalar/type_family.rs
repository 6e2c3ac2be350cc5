//! Families of types whose values can be compared and assigned without CAST (kda-sql-reference.md §1.6).

use arrow::datatypes::DataType;

/// DATE, TIME and TIMESTAMP are families of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Number,
    Text,
    Bytes,
    Boolean,
    Date,
    Time,
    Timestamp,
    Interval,
}

impl Family {
    /// None for NULL without a type, which belongs to all, and for types that no SQL value has.
    pub(crate) fn of(data_type: &DataType) -> Option<Family> {
        Some(match data_type {
            number if number.is_numeric() => Family::Number,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Family::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Family::Bytes,
            DataType::Boolean => Family::Boolean,
            DataType::Date32 | DataType::Date64 => Family::Date,
            DataType::Time32(_) | DataType::Time64(_) => Family::Time,
            DataType::Timestamp(..) => Family::Timestamp,
            DataType::Interval(_) | DataType::Duration(_) => Family::Interval,
            _ => return None,
        })
    }
}

/// The first two types that are of different families.
pub(crate) fn strangers(types: &[DataType]) -> Option<(&DataType, &DataType)> {
    let mut typed = types.iter().filter(|data_type| !data_type.is_null());
    let first = typed.next()?;
    typed.find(|other| Family::of(other) != Family::of(first)).map(|other| (first, other))
}
