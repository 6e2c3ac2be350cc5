//! SQL types and the Arrow types that hold them (kda-sql-reference.md §1.6).
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | TINYINT, SMALLINT, INTEGER, BIGINT | Int8, Int16, Int32, Int64 |
//! | DECIMAL(p, s) | Decimal128(p, s), p ≤ 38 (§8.2) |
//! | REAL / DOUBLE, FLOAT | Float32 / Float64 |
//! | BOOLEAN | Boolean |
//! | CHAR(n), VARCHAR(n) | Utf8, the length in the field's metadata |
//! | BINARY(n), VARBINARY(n) | Binary, the length in the field's metadata |
//! | DATE / TIME / TIMESTAMP | Date32 / Time32(ms) / Timestamp(ms), always UTC |

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

/// Longest VARCHAR, and the length of a VARCHAR without one (§8.2).
pub const CHARACTER_LENGTH_MAX: u32 = 65_535;

const LENGTH: &str = "kinesql.length";
const FIXED: &str = "kinesql.fixed";
const TRUNCATED: &str = "kinesql.truncated";
const QUALIFIER: &str = "kinesql.qualifier";

/// A column type as SQL names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// 8-bit signed.
    TinyInt,
    /// 16-bit signed.
    SmallInt,
    /// 32-bit signed.
    Integer,
    /// 64-bit signed.
    BigInt,
    /// Exact number: precision 1–38, scale 0–precision.
    Decimal(u8, i8),
    /// 32-bit float.
    Real,
    /// 64-bit float.
    Double,
    /// Three-valued.
    Boolean,
    /// Blank-padded text of this many characters.
    Char(u32),
    /// Text of at most this many characters.
    Varchar(u32),
    /// Bytes, at most this many, zero-padded.
    Binary(u32),
    /// Bytes, at most this many.
    Varbinary(u32),
    /// Day.
    Date,
    /// Time of day in milliseconds.
    Time,
    /// Milliseconds since the Unix epoch, UTC.
    Timestamp,
}

impl SqlType {
    /// The Arrow type that holds it.
    pub fn data_type(self) -> DataType {
        match self {
            SqlType::TinyInt => DataType::Int8,
            SqlType::SmallInt => DataType::Int16,
            SqlType::Integer => DataType::Int32,
            SqlType::BigInt => DataType::Int64,
            SqlType::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            SqlType::Real => DataType::Float32,
            SqlType::Double => DataType::Float64,
            SqlType::Boolean => DataType::Boolean,
            SqlType::Char(_) | SqlType::Varchar(_) => DataType::Utf8,
            SqlType::Binary(_) | SqlType::Varbinary(_) => DataType::Binary,
            SqlType::Date => DataType::Date32,
            SqlType::Time => DataType::Time32(TimeUnit::Millisecond),
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
        }
    }

    /// A column of this type; the length of text and bytes goes into the field's metadata.
    pub fn field(self, name: &str, nullable: bool) -> FieldRef {
        let mut metadata = HashMap::new();
        if let SqlType::Char(length) | SqlType::Varchar(length) | SqlType::Binary(length) | SqlType::Varbinary(length) = self {
            metadata.insert(LENGTH.to_owned(), length.to_string());
        }
        if let SqlType::Char(_) | SqlType::Binary(_) = self {
            metadata.insert(FIXED.to_owned(), "true".to_owned());
        }
        Arc::new(Field::new(name, self.data_type(), nullable).with_metadata(metadata))
    }

    /// The SQL type of a column; None for Arrow types that no SQL column can have.
    pub fn of_field(field: &Field) -> Option<SqlType> {
        let length = field.metadata().get(LENGTH).and_then(|length| length.parse().ok()).unwrap_or(CHARACTER_LENGTH_MAX);
        let fixed = field.metadata().contains_key(FIXED);
        Some(match field.data_type() {
            DataType::Int8 => SqlType::TinyInt,
            DataType::Int16 => SqlType::SmallInt,
            DataType::Int32 => SqlType::Integer,
            DataType::Int64 => SqlType::BigInt,
            DataType::Decimal128(precision, scale) => SqlType::Decimal(*precision, *scale),
            DataType::Float32 => SqlType::Real,
            DataType::Float64 => SqlType::Double,
            DataType::Boolean => SqlType::Boolean,
            DataType::Utf8 if fixed => SqlType::Char(length),
            DataType::Utf8 => SqlType::Varchar(length),
            DataType::Binary if fixed => SqlType::Binary(length),
            DataType::Binary => SqlType::Varbinary(length),
            DataType::Date32 => SqlType::Date,
            DataType::Time32(TimeUnit::Millisecond) => SqlType::Time,
            DataType::Timestamp(TimeUnit::Millisecond, None) => SqlType::Timestamp,
            _ => return None,
        })
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::TinyInt => f.write_str("TINYINT"),
            SqlType::SmallInt => f.write_str("SMALLINT"),
            SqlType::Integer => f.write_str("INTEGER"),
            SqlType::BigInt => f.write_str("BIGINT"),
            SqlType::Decimal(precision, scale) => write!(f, "DECIMAL({precision}, {scale})"),
            SqlType::Real => f.write_str("REAL"),
            SqlType::Double => f.write_str("DOUBLE"),
            SqlType::Boolean => f.write_str("BOOLEAN"),
            SqlType::Char(length) => write!(f, "CHAR({length})"),
            SqlType::Varchar(length) => write!(f, "VARCHAR({length})"),
            SqlType::Binary(length) => write!(f, "BINARY({length})"),
            SqlType::Varbinary(length) => write!(f, "VARBINARY({length})"),
            SqlType::Date => f.write_str("DATE"),
            SqlType::Time => f.write_str("TIME"),
            SqlType::Timestamp => f.write_str("TIMESTAMP"),
        }
    }
}

/// The type that numbers have in common if some of them are approximate and some DECIMAL: DOUBLE (§1.7). DataFusion would take a
/// DECIMAL of 30 digits, which the largest DOUBLEs do not fit and the smallest vanish in.
pub fn approximate_of<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Option<DataType> {
    let (mut has_approximate, mut has_decimal) = (false, false);
    for data_type in types {
        has_approximate |= data_type.is_floating();
        has_decimal |= data_type.is_decimal();
    }
    (has_approximate && has_decimal).then_some(DataType::Float64)
}

/// Marks a number whose digits behind the point are dropped when it is assigned to a whole number: EXTRACT(SECOND FROM …) (§8.6).
pub(crate) fn truncated(field: Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(TRUNCATED.to_owned(), "true".to_owned());
    field.with_metadata(metadata)
}

/// True for a field that `truncated` has marked.
pub fn is_truncated(field: &Field) -> bool {
    field.metadata().contains_key(TRUNCATED)
}

/// What says of an interval that it is written with the fields of `qualifier`, such as `HOUR TO SECOND`, in the metadata of its field.
pub fn qualifier_metadata(qualifier: &str) -> HashMap<String, String> {
    HashMap::from([(QUALIFIER.to_owned(), qualifier.to_owned())])
}

/// The qualifier that the metadata of an interval's field says.
pub fn qualifier_of(field: &Field) -> Option<&str> {
    field.metadata().get(QUALIFIER).map(String::as_str)
}

/// The type of a column as SQL names it, or the Arrow name for types that SQL columns cannot have.
pub fn sql_type_name(field: &Field) -> String {
    match (SqlType::of_field(field), field.data_type()) {
        (Some(sql_type), _) => sql_type.to_string(),
        (None, DataType::Interval(_) | DataType::Duration(_)) => "INTERVAL".to_owned(),
        // Sums have more digits than columns.
        (None, DataType::Decimal256(precision, scale)) => format!("DECIMAL({precision}, {scale})"),
        (None, other) => other.to_string(),
    }
}
