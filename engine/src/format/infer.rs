//! Columns of a source found in its first records.
//!
//! Input:  a sample; its last record may be torn. Records that cannot be read are passed over.
//! Output: nullable columns in the order in which they were first seen. JSON: integers become BIGINT, other numbers DOUBLE,
//!         `true`/`false` BOOLEAN, everything else (timestamps too, as in the original's discovery) VARCHAR(65535), objects
//!         and arrays as JSON text; names are kept exactly, since they are also the paths. CSV: the text is read as JSON's
//!         strings are; names come from the header, made to fit as kda-sql-reference.md §6.9 says, or are COL_1, COL_2, …. Raw:
//!         RECORD, whatever the sample is.
//! Errors: `Data` when no record of the sample can be used.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::csv::{Fields, Layout, check, next_record};
use super::{CsvOptions, FormatSpec, number};
use crate::error::{Error, Result};
use crate::types::{CHARACTER_LENGTH_MAX, SqlType};

/// Columns that fit the records of `sample`.
pub fn infer_schema(spec: &FormatSpec, sample: &[u8]) -> Result<SchemaRef> {
    let columns = match spec {
        FormatSpec::Json => json_columns(sample),
        FormatSpec::Csv(options) => csv_columns(options, sample)?,
        // Any record will do.
        FormatSpec::Raw => vec![SqlType::Varchar(CHARACTER_LENGTH_MAX).field("RECORD", true)],
        FormatSpec::Parquet | FormatSpec::Table => {
            return Err(Error::config("columns cannot be inferred from parquet: it is a format of sinks"));
        }
    };
    if columns.is_empty() && sample.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::data("no column can be inferred: there are no records yet").with_hint("Declare the columns."));
    }
    if columns.is_empty() {
        return Err(Error::data(format!("no column can be inferred: none of the sample's records is {}", spec.name()))
            .with_hint("Declare the columns, or check the format option."));
    }
    Ok(Arc::new(Schema::new(columns)))
}

/// What the values of a column have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Double,
    Text,
}

impl Kind {
    fn widen(self, other: Kind) -> Kind {
        match (self, other) {
            (kind, same) if kind == same => kind,
            (Kind::Null, kind) | (kind, Kind::Null) => kind,
            (Kind::Integer, Kind::Double) | (Kind::Double, Kind::Integer) => Kind::Double,
            _ => Kind::Text,
        }
    }

    fn field(self, name: &str) -> FieldRef {
        let sql_type = match self {
            Kind::Boolean => SqlType::Boolean,
            Kind::Integer => SqlType::BigInt,
            Kind::Double => SqlType::Double,
            Kind::Null | Kind::Text => SqlType::Varchar(CHARACTER_LENGTH_MAX),
        };
        sql_type.field(name, true)
    }
}

fn json_columns(sample: &[u8]) -> Vec<FieldRef> {
    let mut columns: Vec<(String, Kind)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in sample.split(|&byte| byte == b'\n') {
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        let records = serde_json::Deserializer::from_slice(line).into_iter::<Members>();
        for (name, kind) in records.map_while(|record| record.ok()).flat_map(|record| record.0) {
            match places.get(&name) {
                Some(&place) => columns[place].1 = columns[place].1.widen(kind),
                None => {
                    places.insert(name.clone(), columns.len());
                    columns.push((name, kind));
                }
            }
        }
    }
    columns.into_iter().map(|(name, kind)| kind.field(&name)).collect()
}

/// The members of an object, in order. Anything else is an error.
struct Members(Vec<(String, Kind)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KindVisitor;

        impl<'de> Visitor<'de> for KindVisitor {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Kind, E> {
                Ok(Kind::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
                Ok(Kind::Boolean)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
                Ok(Kind::Integer)
            }

            fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
                Ok(if i64::try_from(value).is_ok() { Kind::Integer } else { Kind::Double })
            }

            fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
                Ok(Kind::Double)
            }

            fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
                Ok(Kind::Text)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Kind::Text)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Kind::Text)
            }
        }

        deserializer.deserialize_any(KindVisitor)
    }
}

fn csv_columns(options: &CsvOptions, sample: &[u8]) -> Result<Vec<FieldRef>> {
    check(options)?;
    let mut names: Option<Vec<String>> = None;
    let mut kinds: Vec<Kind> = Vec::new();
    csv_records(options, sample, |cells| {
        if options.header && names.is_none() {
            names = Some(cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect());
            return;
        }
        kinds.resize(kinds.len().max(cells.len()), Kind::Null);
        kinds.iter_mut().zip(cells).for_each(|(kind, cell)| *kind = kind.widen(text_kind(cell)));
    });
    let names = names.unwrap_or_default();
    kinds.resize(kinds.len().max(names.len()), Kind::Null);
    let mut taken: Vec<String> = Vec::new();
    for index in 0..kinds.len() {
        let default = || format!("COL_{}", index + 1);
        let name = names.get(index).map_or_else(default, |name| column_name(name).unwrap_or_else(default));
        let unique = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}_{n}") }).find(|name| !taken.contains(name));
        taken.push(unique.unwrap_or(name));
    }
    Ok(taken.iter().zip(kinds).map(|(name, kind)| kind.field(name)).collect())
}

/// Calls `take` with the fields of every record of a sample that can be read. The last record may be torn: it counts only if there
/// is no other.
pub(super) fn csv_records(options: &CsvOptions, sample: &[u8], mut take: impl FnMut(&[&[u8]])) {
    let mut fields = Fields::new(options, usize::MAX);
    let (layout, mut records) = (Layout::of(options), 0);
    let mut start = if sample.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    while let Some(record) = next_record(sample, start, layout) {
        let torn = record.next > sample.len();
        start = record.next;
        let text = &sample[record.text];
        if text.is_empty() || record.problem.is_some() || std::str::from_utf8(text).is_err() || (torn && records > 0) {
            continue;
        }
        records += 1;
        let (text, ranges) = fields.split(text);
        take(&ranges.iter().map(|range| &text[range.clone()]).collect::<Vec<_>>());
    }
}

fn text_kind(text: &[u8]) -> Kind {
    let trimmed = text.trim_ascii();
    if text.is_empty() {
        Kind::Null
    } else if trimmed.eq_ignore_ascii_case(b"true") || trimmed.eq_ignore_ascii_case(b"false") {
        Kind::Boolean
    } else if !number::is_number(trimmed) {
        Kind::Text
    } else if number::exact(trimmed, 0).is_ok_and(|value| i64::try_from(value).is_ok()) && !trimmed.contains(&b'.') {
        Kind::Integer
    } else {
        Kind::Double
    }
}

/// A header cell as a column name (§6.9), or None if nothing of it is left. Reserved words stay: they can be quoted.
pub(super) fn column_name(cell: &str) -> Option<String> {
    const NAME_MAX: usize = 100;
    let cell = cell.trim();
    let kept: String = cell.chars().filter(|c| c.is_alphanumeric() || *c == '_').take(NAME_MAX).collect();
    if kept.is_empty() {
        None
    } else if kept == cell && !kept.starts_with(|c: char| c.is_numeric()) {
        Some(kept)
    } else {
        Some(format!("COL_{kept}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(spec: &FormatSpec, sample: &str) -> String {
        match infer_schema(spec, sample.as_bytes()) {
            Ok(schema) => {
                let column = |field: &FieldRef| {
                    assert!(field.is_nullable());
                    format!("{} {}", field.name(), crate::types::sql_type_name(field))
                };
                schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
            }
            Err(error) => format!("{:?}: {}", error.kind(), error.message()),
        }
    }

    #[test]
    fn json() {
        for (sample, expected) in [
            (r#"{"b":1,"a":1.5,"C":true,"d":"x"}"#, "b BIGINT, a DOUBLE, C BOOLEAN, d VARCHAR(65535)"),
            (r#"{"t":"2024-01-01T00:00:00Z"}"#, "t VARCHAR(65535)"),
            (r#"{"o":{"x":1},"l":[1,2],"n":null}"#, "o VARCHAR(65535), l VARCHAR(65535), n VARCHAR(65535)"),
            ("{\"a\":1}\n{\"a\":2.5,\"b\":null}\n{\"b\":7}", "a DOUBLE, b BIGINT"),
            ("{\"a\":1}\n{\"a\":\"x\"}", "a VARCHAR(65535)"),
            ("{\"a\":1}\n{\"a\":true}", "a VARCHAR(65535)"),
            ("{\"a\":1}{\"b\":2}\r\n\n{\"c\":3}{\"d\":", "a BIGINT, b BIGINT, c BIGINT"),
            ("nonsense\n{\"a\":1}\n{\"zz", "a BIGINT"),
            (r#"{"a":18446744073709551615,"b":1e400}"#, "Data: no column can be inferred: none of the sample's records is json"),
            (r#"{"a":18446744073709551615,"b":123456789012345678901234567890}"#, "a DOUBLE, b DOUBLE"),
            (r#"{"A b":1,"A b":"x"}"#, "A b VARCHAR(65535)"),
            ("\u{FEFF}{\"a\":1}", "a BIGINT"),
            ("[1,2]\n", "Data: no column can be inferred: none of the sample's records is json"),
            ("{}", "Data: no column can be inferred: none of the sample's records is json"),
            ("", "Data: no column can be inferred: there are no records yet"),
        ] {
            assert_eq!(inferred(&FormatSpec::Json, sample), expected, "{sample}");
        }
    }

    #[test]
    fn csv() {
        let spec = |delimiter: char, header| {
            FormatSpec::Csv(CsvOptions { delimiter: delimiter.to_string(), header, ..CsvOptions::default() })
        };
        for (spec, sample, expected) in [
            (spec(',', false), "1,x,2.5,true\n", "COL_1 BIGINT, COL_2 VARCHAR(65535), COL_3 DOUBLE, COL_4 BOOLEAN"),
            (spec(',', false), "1,,\n2.5,7\n3", "COL_1 DOUBLE, COL_2 BIGINT, COL_3 VARCHAR(65535)"),
            (spec(',', false), "1,2\n3,torn", "COL_1 BIGINT, COL_2 BIGINT"),
            (spec(',', false), "1,2", "COL_1 BIGINT, COL_2 BIGINT"),
            (spec(',', false), "1,\"a\nb\"\r\n2,\"torn", "COL_1 BIGINT, COL_2 VARCHAR(65535)"),
            (
                spec('|', true),
                "id|USER@DOMAIN|2nd|@@|id\n1|x|2|3|4\n",
                "id BIGINT, COL_USERDOMAIN VARCHAR(65535), COL_2nd BIGINT, COL_4 BIGINT, id_2 BIGINT",
            ),
            (spec(',', true), "a,b\n", "a VARCHAR(65535), b VARCHAR(65535)"),
            (spec(',', true), "a\n1,2\n", "a BIGINT, COL_2 BIGINT"),
            (spec(',', false), "\n\n", "Data: no column can be inferred: there are no records yet"),
        ] {
            assert_eq!(inferred(&spec, sample), expected, "{sample}");
        }
    }

    #[test]
    fn parquet_is_refused() {
        assert_eq!(
            inferred(&FormatSpec::Parquet, ""),
            "Config: columns cannot be inferred from parquet: it is a format of sinks"
        );
    }
}
