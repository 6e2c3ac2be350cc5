//! Columns with types and paths for records that nobody has described, as the service's DiscoverInputSchema proposed them
//! (kda-sql-reference.md §6.9).
//!
//! Input:  a sample; its last record may be torn.
//! Output: columns in the order in which they were first seen. Objects within the record become columns of their members, two
//!         levels deep; what lies deeper and arrays stay JSON text. Whole numbers are INTEGER, or BIGINT where one needs it,
//!         other numbers DOUBLE, text VARCHAR(n) with n the first of 4, 16, 64, … that holds the longest value. Times stay
//!         text, as in the service: the caller can say which columns look like one.
//! Errors: `Data` when no record of the sample can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{CsvOptions, FormatSpec, infer, number};
use crate::error::{Error, Result};
use crate::sql::keywords;
use crate::types::{CHARACTER_LENGTH_MAX, SqlType};

/// Levels of objects within the record whose members become columns.
const FLATTENED_LEVELS: usize = 2;

/// A proposed column.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscoveredColumn {
    /// Its name, made to fit.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// Where it stands in a JSON document; None for CSV.
    pub path: Option<String>,
    /// True if every value of it looks like a time.
    pub is_time: bool,
}

/// Columns that fit the records of `sample`.
pub fn discover_columns(spec: &FormatSpec, sample: &[u8]) -> Result<Vec<DiscoveredColumn>> {
    let columns = match spec {
        FormatSpec::Json => json_columns(sample),
        FormatSpec::Csv(options) => csv_columns(options, sample),
        other => return Err(Error::config(format!("records of {} cannot be discovered", other.name()))),
    };
    if columns.is_empty() {
        return Err(Error::data(format!("no column can be found: none of the records that were read is {}", spec.name()))
            .with_hint("Check the format, or wait until the source has records."));
    }
    let mut taken = BTreeSet::new();
    Ok(columns
        .into_iter()
        .enumerate()
        .map(|(place, (name, values, path))| {
            let name = infer::column_name(&name).map_or_else(
                || format!("COL_{place}"),
                |name| if keywords::is_reserved(&name) { format!("COL_{name}") } else { name },
            );
            let unique = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}_{n}") });
            let unique = unique.into_iter().find(|name| taken.insert(name.clone())).unwrap_or(name);
            DiscoveredColumn { name: unique, sql_type: values.sql_type(), path, is_time: values.kind == Kind::Time }
        })
        .collect())
}

/// What the values of a column have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Null,
    Boolean,
    Integer,
    BigInteger,
    Double,
    Time,
    Text,
}

/// The values of a column.
#[derive(Debug, Clone, Copy, Default)]
struct Values {
    kind: Kind,
    /// Characters of the longest.
    length: usize,
}

impl Values {
    fn add(&mut self, other: Values) {
        use Kind::{BigInteger, Double, Integer, Null, Text};
        self.length = self.length.max(other.length);
        self.kind = match (self.kind, other.kind) {
            (kind, same) if kind == same => kind,
            (Null, kind) | (kind, Null) => kind,
            (Integer, BigInteger) | (BigInteger, Integer) => BigInteger,
            (Integer | BigInteger | Double, Integer | BigInteger | Double) => Double,
            _ => Text,
        };
    }

    fn of_integer(value: i64, length: usize) -> Self {
        let kind = if i32::try_from(value).is_ok() { Kind::Integer } else { Kind::BigInteger };
        Self { kind, length }
    }

    fn of_text(text: &str) -> Self {
        let kind = if super::timestamp::parse(text.as_bytes()).is_some() { Kind::Time } else { Kind::Text };
        Self { kind, length: text.chars().count() }
    }

    fn sql_type(self) -> SqlType {
        match self.kind {
            Kind::Boolean => SqlType::Boolean,
            Kind::Integer => SqlType::Integer,
            Kind::BigInteger => SqlType::BigInt,
            Kind::Double => SqlType::Double,
            Kind::Null | Kind::Time | Kind::Text => {
                let fitting = (1..).map(|power| 4_usize.pow(power)).find(|size| *size >= self.length);
                SqlType::Varchar(fitting.unwrap_or(usize::MAX).min(CHARACTER_LENGTH_MAX as usize) as u32)
            }
        }
    }
}

/// A name, its values and its path.
type Found = (String, Values, Option<String>);

fn json_columns(sample: &[u8]) -> Vec<Found> {
    let mut record = Shape::default();
    let mut start = 0;
    while start < sample.len() {
        let text = sample[start..].strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&sample[start..]);
        let skipped = sample.len() - start - text.len();
        let mut documents = serde_json::Deserializer::from_slice(text).into_iter::<Shape>();
        for shape in documents.by_ref() {
            match shape {
                Ok(shape) if !shape.members.is_empty() => record.add(shape),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // Behind a record that is no JSON the next line may be one.
        let read = start + skipped + documents.byte_offset();
        start = memchr::memchr(b'\n', &sample[read.min(sample.len())..]).map_or(sample.len(), |length| read + length + 1);
    }
    let mut columns = Vec::new();
    flatten(record, "$", "", 0, &mut columns);
    columns
}

/// The members of `shape` as columns; of an object within as columns of its own members down to [`FLATTENED_LEVELS`].
fn flatten(shape: Shape, path: &str, prefix: &str, level: usize, columns: &mut Vec<Found>) {
    for (name, member) in shape.members {
        let is_word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | ' '));
        let step = if is_word { format!(".{name}") } else { format!("['{name}']") };
        let (path, full) = (format!("{path}{step}"), format!("{prefix}{name}"));
        if !member.members.is_empty() && !member.mixed && level < FLATTENED_LEVELS {
            flatten(member, &path, &format!("{full}_"), level + 1, columns);
        } else if member.array && member.members.is_empty() && !member.mixed {
            columns.push((full, member.values, Some(format!("{path}[0:]"))));
        } else {
            columns.push((full, member.values, Some(path)));
        }
    }
}

/// A value of one or of many records: scalars, arrays, members of objects.
#[derive(Debug, Default)]
struct Shape {
    values: Values,
    array: bool,
    /// True if it is an object in one record and something else in another.
    mixed: bool,
    members: Vec<(String, Shape)>,
}

impl Shape {
    fn scalar(values: Values) -> Self {
        Self { values, ..Self::default() }
    }

    fn is_null(&self) -> bool {
        self.values.kind == Kind::Null && !self.array && self.members.is_empty()
    }

    fn add(&mut self, other: Shape) {
        let kind = |shape: &Shape| (shape.array, !shape.members.is_empty());
        self.mixed |= other.mixed || (!self.is_null() && !other.is_null() && kind(self) != kind(&other));
        self.array |= other.array;
        self.values.add(other.values);
        for (name, member) in other.members {
            match self.members.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.add(member),
                None => self.members.push((name, member)),
            }
        }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;

        /// Characters of a number or word as JSON writes it.
        fn written(value: impl fmt::Display) -> usize {
            value.to_string().len()
        }

        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Shape, E> {
                Ok(Shape::default())
            }

            fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
                Ok(Shape::scalar(Values { kind: Kind::Boolean, length: written(value) }))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
                Ok(Shape::scalar(Values::of_integer(value, written(value))))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
                let values = i64::try_from(value).map(|value| Values::of_integer(value, written(value)));
                Ok(Shape::scalar(values.unwrap_or(Values { kind: Kind::Double, length: written(value) })))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
                Ok(Shape::scalar(Values { kind: Kind::Double, length: written(value) }))
            }

            fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
                Ok(Shape::scalar(Values::of_text(value)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                // As text an array has brackets and commas.
                let mut length = 2;
                while let Some(item) = seq.next_element::<Shape>()? {
                    length += item.values.length + 3;
                }
                Ok(Shape { values: Values { kind: Kind::Text, length }, array: true, ..Shape::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                let mut shape = Shape::default();
                let mut length = 2;
                while let Some((name, member)) = map.next_entry::<String, Shape>()? {
                    length += name.chars().count() + member.values.length + 6;
                    shape.add(Shape { members: vec![(name, member)], ..Shape::default() });
                }
                shape.mixed = false;
                shape.values = Values { kind: Kind::Text, length };
                Ok(shape)
            }
        }

        deserializer.deserialize_any(ShapeVisitor)
    }
}

fn csv_columns(options: &CsvOptions, sample: &[u8]) -> Vec<Found> {
    let mut names: Option<Vec<String>> = None;
    let mut columns: Vec<Values> = Vec::new();
    infer::csv_records(options, sample, |cells| {
        let cells: Vec<_> = cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        if options.header && names.is_none() {
            names = Some(cells);
            return;
        }
        columns.resize(columns.len().max(cells.len()), Values::default());
        columns.iter_mut().zip(&cells).for_each(|(values, cell)| values.add(of_cell(cell)));
    });
    let names = names.unwrap_or_default();
    let default = |index: usize| format!("COL_{}", index + 1);
    let named = columns.into_iter().enumerate();
    named.map(|(index, values)| (names.get(index).cloned().unwrap_or_else(|| default(index)), values, None)).collect()
}

/// What may separate fields, the likeliest first.
const DELIMITERS: &[&str] = &[",", "|", "\t", ";", "^", "~", "\u{1}"];

/// What separates the fields of `sample`: the one with which most records have the same number of fields, more than one; None if with
/// none of them nine of ten records do.
pub fn guess_delimiter(options: &CsvOptions, sample: &[u8]) -> Option<String> {
    let mut best: Option<(usize, usize, &str)> = None;
    for &delimiter in DELIMITERS {
        let mut counts = BTreeMap::<usize, usize>::new();
        let options = CsvOptions { delimiter: delimiter.to_owned(), ..options.clone() };
        infer::csv_records(&options, sample, |cells| *counts.entry(cells.len()).or_default() += 1);
        let records: usize = counts.values().sum();
        let Some((&fields, &alike)) = counts.iter().max_by_key(|(_, alike)| **alike) else { continue };
        let is_better = best.is_none_or(|(most, width, _)| (alike, fields) > (most, width));
        if fields > 1 && alike * 10 >= records * 9 && is_better {
            best = Some((alike, fields, delimiter));
        }
    }
    best.map(|(_, _, delimiter)| delimiter.to_owned())
}

fn of_cell(cell: &str) -> Values {
    let trimmed = cell.trim();
    let length = cell.chars().count();
    if cell.is_empty() {
        return Values::default();
    }
    if trimmed.eq_ignore_ascii_case("true") || trimmed.eq_ignore_ascii_case("false") {
        return Values { kind: Kind::Boolean, length };
    }
    if !number::is_number(trimmed.as_bytes()) {
        return Values::of_text(cell);
    }
    match trimmed.parse::<i64>() {
        Ok(value) => Values::of_integer(value, length),
        Err(_) => Values { kind: Kind::Double, length },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spec: FormatSpec, sample: &str) -> Vec<String> {
        let columns = discover_columns(&spec, sample.as_bytes()).expect("columns");
        let show = |column: &DiscoveredColumn| {
            let path = column.path.as_ref().map(|path| format!(" at {path}")).unwrap_or_default();
            format!("{} {}{path}{}", column.name, column.sql_type, if column.is_time { ", a time" } else { "" })
        };
        columns.iter().map(show).collect()
    }

    #[test]
    fn members_of_objects_become_columns_two_levels_deep() {
        let sample = r#"{"a": 1, "seen": "2024-01-01T00:00:00Z", "o": {"x": 1.5, "p": {"y": true, "q": {"z": 1}}}, "l": [1, 2]}"#;
        assert_eq!(
            found(FormatSpec::Json, sample),
            [
                "a INTEGER at $.a",
                "seen VARCHAR(64) at $.seen, a time",
                "o_x DOUBLE at $.o.x",
                "o_p_y BOOLEAN at $.o.p.y",
                "o_p_q VARCHAR(16) at $.o.p.q",
                "l VARCHAR(16) at $.l[0:]",
            ]
        );
    }

    #[test]
    fn types_widen_over_the_sample() {
        let sample = "{\"a\":1,\"b\":null,\"c\":1,\"d\":{\"x\":1}}\nno JSON\n{\"a\":3000000000,\"b\":\"x\",\"c\":1.5,\"d\":2}{\"e\":\"12345\"}\n{\"torn\":";
        assert_eq!(
            found(FormatSpec::Json, sample),
            ["a BIGINT at $.a", "b VARCHAR(4) at $.b", "c DOUBLE at $.c", "d VARCHAR(16) at $.d", "e VARCHAR(16) at $.e"]
        );
    }

    #[test]
    fn names_are_made_to_fit() {
        let sample = r#"{"USER": 1, "USER@DOMAIN": 2, "@@": 3, "ok": 4, "9x": 5}"#;
        let columns = found(FormatSpec::Json, sample);
        let names: Vec<_> = columns.iter().map(|column| column.split(' ').next().expect("a name")).collect();
        assert_eq!(names, ["COL_USER", "COL_USERDOMAIN", "COL_2", "ok", "COL_9x"]);
    }

    #[test]
    fn fields_of_csv_are_named_by_place() {
        let spec = FormatSpec::Csv(CsvOptions::default());
        assert_eq!(
            found(spec, "1,AMZN,2024-01-01 00:00:00,\n2,B,2024-01-01 00:00:01,x\n3"),
            ["COL_1 INTEGER", "COL_2 VARCHAR(4)", "COL_3 VARCHAR(64), a time", "COL_4 VARCHAR(4)"]
        );
        let error = discover_columns(&FormatSpec::Json, b"hello").expect_err("no JSON");
        assert_eq!(error.message(), "no column can be found: none of the records that were read is json");
    }

    #[test]
    fn the_delimiter_is_what_gives_all_records_the_same_fields() {
        for (sample, expected) in [
            ("a|b,c|1\nd|e|2\n", Some("|")),
            ("1\t2,5\n3\t4,5\n", Some(",")),
            ("1\t2\t3,5\n3\t4\t4,5\n", Some("\t")),
            ("1;2,5\n3;4\n", Some(";")),
            ("\"a,b\"^1\n\"c\"^2\n", Some("^")),
            ("1,2\n3,4\n5,6\n7,8\n9,10\n1,2\n3,4\n5,6\n7,8\nragged,1,2\n", Some(",")),
            ("hello, world\nbye\n", None),
            ("", None),
        ] {
            assert_eq!(guess_delimiter(&CsvOptions::default(), sample.as_bytes()).as_deref(), expected, "{sample}");
        }
    }
}
