//! Where a row goes: the prefix of its object, in the notation of Firehose or in that of Hive.
//!
//! ```text
//! prefix        = 'ticks/!{timestamp:yyyy/MM/dd/HH}/!{partitionKey:SECTOR}/'      →  ticks/2024/01/31/12/TECHNOLOGY/
//! partition_by  = 'SECTOR, EXCHANGE'                                              →  SECTOR=TECHNOLOGY/EXCHANGE=NYSE/
//! ```
//!
//! A value stands in a key with its special characters as `%` and two hexadecimal digits, as Hive writes them; NULL and the
//! empty text are `__HIVE_DEFAULT_PARTITION__`.

use std::collections::HashMap;
use std::fmt::Write as _;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kinesql_engine::diagnostic::closest;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};
use object_store::path::Path;

/// What Firehose writes unless it is told otherwise.
pub(super) const FIREHOSE: &str = "!{timestamp:yyyy/MM/dd/HH}/";

/// Longest key, in bytes of UTF-8 (S3 User Guide, "Naming Amazon S3 objects"); names of objects need some of it.
const PREFIX_BYTES_MAX: usize = 1024 - 100;

const DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// A prefix as it is written in the options.
#[derive(Debug, Clone)]
pub(super) struct Template {
    parts: Vec<Part>,
    /// The column whose time counts; None: the clock's.
    time_column: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Time(Vec<TimeItem>),
    Column(usize),
    /// `!{firehose:error-output-type}`.
    ErrorType,
}

#[derive(Debug, Clone, PartialEq)]
enum TimeItem {
    Text(String),
    /// A pattern of chrono for a letter of Java, and the milliseconds in which its text does not change.
    Field(&'static str),
}

/// Rows of one prefix.
#[derive(Debug, PartialEq)]
pub(super) struct Group {
    pub(super) prefix: String,
    /// None: all of the batch.
    pub(super) rows: Option<Vec<u32>>,
}

/// A row that has no prefix, and why.
pub(super) type Refused = (u32, String);

impl Template {
    /// Parses option `option`, whose value is `text`, for rows of `schema`.
    pub(super) fn parse(option: &str, text: &str, schema: &SchemaRef, time_column: Option<usize>) -> Result<Self> {
        let wrong = |why: String, hint: &str| {
            Error::config(format!("option \"{option}\" cannot be '{text}': {why}")).with_hint(hint.to_owned())
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("!{") {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let Some(end) = rest[start..].find('}') else {
                return Err(wrong("'!{' is not closed".to_owned(), "Write !{timestamp:yyyy/MM/dd} or !{partitionKey:COLUMN}."));
            };
            let inner = &rest[start + 2..start + end];
            rest = &rest[start + end + 1..];
            let (namespace, value) = inner.split_once(':').unwrap_or((inner, ""));
            parts.push(match namespace {
                "timestamp" => Part::Time(time_items(value).map_err(|why| {
                    wrong(why, "Letters are yyyy, MM, dd, HH, mm, ss, SSS and DDD, as in Java; other text stands in quotes.")
                })?),
                "partitionKey" | "partitionKeyFromQuery" | "partitionKeyFromLambda" => {
                    Part::Column(column(option, value, schema)?)
                }
                "firehose" if value == "error-output-type" && option == "error_prefix" => Part::ErrorType,
                _ => {
                    return Err(wrong(
                        format!("there is no '!{{{inner}}}'"),
                        "There are !{timestamp:…}, !{partitionKey:COLUMN} and, in error_prefix, !{firehose:error-output-type}.",
                    ));
                }
            });
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if text.starts_with('/') || text.contains("//") {
            return Err(wrong("a key has no empty parts".to_owned(), "Leave the slash at the beginning out."));
        }
        Ok(Self { parts, time_column })
    }

    /// Adds `NAME=value/` for every column.
    pub(super) fn with_hive_columns(mut self, columns: &[usize], schema: &SchemaRef) -> Self {
        for column in columns {
            self.parts.push(Part::Text(format!("{}=", escaped(schema.field(*column).name()))));
            self.parts.push(Part::Column(*column));
            self.parts.push(Part::Text("/".to_owned()));
        }
        self
    }

    /// True if every row of a batch has the same prefix.
    fn is_common(&self) -> bool {
        let of_row = |part: &Part| match part {
            Part::Column(_) => true,
            Part::Time(_) => self.time_column.is_some(),
            Part::Text(_) | Part::ErrorType => false,
        };
        !self.parts.iter().any(of_row)
    }

    /// The prefix of what goes wrong at `now`.
    pub(super) fn of_errors(&self, now: EventTime) -> String {
        let mut prefix = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => prefix.push_str(text),
                Part::Time(items) => write_time(items, now, &mut prefix),
                Part::ErrorType => prefix.push_str("partitioning-failed"),
                Part::Column(_) => prefix.push_str(DEFAULT_PARTITION),
            }
        }
        prefix
    }

    /// The rows of a batch by their prefixes, in the order in which these come first, and those that have none.
    pub(super) fn groups(&self, batch: &RecordBatch, now: EventTime) -> Result<(Vec<Group>, Vec<Refused>)> {
        if self.is_common() {
            return Ok((vec![Group { prefix: self.of_errors(now), rows: None }], Vec::new()));
        }
        let options = FormatOptions::default();
        let columns = self.parts.iter().map(|part| match part {
            Part::Column(column) => ArrayFormatter::try_new(batch.column(*column).as_ref(), &options).map(Some),
            _ => Ok(None),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let times = match self.time_column {
            Some(column) => batch.column(column).as_primitive_opt::<TimestampMillisecondType>(),
            None => None,
        };
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<String, Option<usize>> = HashMap::new();
        let mut refused = Vec::new();
        // Neighbours mostly have the same second, and no part of a prefix but SSS is finer.
        let mut known: HashMap<(usize, EventTime), String> = HashMap::new();
        let (mut prefix, mut value) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            prefix.clear();
            let time = match times {
                Some(times) if times.is_null(row) => {
                    refused.push((row as u32, "the time column is NULL".to_owned()));
                    continue;
                }
                Some(times) => times.value(row),
                None => now,
            };
            for (place, part) in self.parts.iter().enumerate() {
                match (part, &columns[place]) {
                    (Part::Text(text), _) => prefix.push_str(text),
                    (Part::Time(items), _) => {
                        let key = (place, if has_milliseconds(items) { time } else { time.div_euclid(1_000) });
                        let text = known.entry(key).or_insert_with(|| {
                            let mut text = String::new();
                            write_time(items, time, &mut text);
                            text
                        });
                        prefix.push_str(text);
                        if known.len() > 1_000 {
                            known.clear();
                        }
                    }
                    (Part::Column(column), Some(formatter)) => {
                        value.clear();
                        if batch.column(*column).is_valid(row) {
                            // Writing to a string cannot fail; what cannot be shown stays empty.
                            let _ = write!(value, "{}", formatter.value(row));
                        }
                        if value.is_empty() { prefix.push_str(DEFAULT_PARTITION) } else { escape(&value, &mut prefix) }
                    }
                    _ => {}
                }
            }
            let place = match places.get(prefix.as_str()) {
                Some(place) => *place,
                None => {
                    let usable = prefix.len() <= PREFIX_BYTES_MAX && Path::parse(&prefix).is_ok();
                    let place = usable.then(|| {
                        groups.push(Group { prefix: prefix.clone(), rows: Some(Vec::new()) });
                        groups.len() - 1
                    });
                    places.insert(prefix.clone(), place);
                    place
                }
            };
            match place.and_then(|place| groups[place].rows.as_mut()) {
                Some(rows) => rows.push(row as u32),
                None => {
                    let shown: String = prefix.chars().take(100).collect();
                    refused.push((row as u32, format!("'{shown}' cannot begin a key: it may have {PREFIX_BYTES_MAX} bytes")));
                }
            }
        }
        Ok((groups, refused))
    }
}

/// Place of the column that an option names.
pub(super) fn column(option: &str, name: &str, schema: &SchemaRef) -> Result<usize> {
    let bare = name.trim_matches('"');
    let found = schema.index_of(bare).ok().or_else(|| {
        let mut matching = schema.fields().iter().enumerate().filter(|(_, field)| field.name().eq_ignore_ascii_case(bare));
        matching.next().map(|(place, _)| place)
    });
    found.ok_or_else(|| {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let problem = Error::config(format!("option \"{option}\" names no column: there is no \"{bare}\""));
        match closest(bare, names.iter().copied()) {
            Some(candidate) => problem.with_hint(format!("Did you mean \"{candidate}\"?")),
            None => problem.with_hint(format!("Columns are {}.", names.join(", "))),
        }
    })
}

/// The column of option `time_column`.
pub(super) fn time_column(name: &str, schema: &SchemaRef) -> Result<usize> {
    let place = column("time_column", name, schema)?;
    match schema.field(place).data_type() {
        DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None) => Ok(place),
        _ => Err(Error::config(format!("option \"time_column\" needs a TIMESTAMP: \"{name}\" is none"))),
    }
}

/// A pattern of Java's DateTimeFormatter.
fn time_items(pattern: &str) -> Result<Vec<TimeItem>, String> {
    let mut items = Vec::new();
    let mut rest = pattern;
    if pattern.is_empty() {
        return Err("!{timestamp:} has no pattern".to_owned());
    }
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let end = rest[1..].find('\'').ok_or_else(|| format!("the text in '{pattern}' is not closed"))?;
            items.push(TimeItem::Text(if end == 0 { "'".to_owned() } else { rest[1..=end].to_owned() }));
            rest = &rest[end + 2..];
        } else if first.is_ascii_alphabetic() {
            let length = rest.find(|c| c != first).unwrap_or(rest.len());
            let field = match &rest[..length] {
                "yyyy" | "YYYY" | "uuuu" => "%Y",
                "yy" => "%y",
                "MM" => "%m",
                "dd" => "%d",
                "HH" => "%H",
                "mm" => "%M",
                "ss" => "%S",
                "SSS" => "%3f",
                "DDD" => "%j",
                other => return Err(format!("'{other}' is no part of a time")),
            };
            items.push(TimeItem::Field(field));
            rest = &rest[length..];
        } else {
            items.push(TimeItem::Text(first.to_string()));
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(items)
}

fn has_milliseconds(items: &[TimeItem]) -> bool {
    items.contains(&TimeItem::Field("%3f"))
}

fn write_time(items: &[TimeItem], time: EventTime, out: &mut String) {
    let time = chrono::DateTime::from_timestamp_millis(time).unwrap_or_default();
    for item in items {
        match item {
            TimeItem::Text(text) => out.push_str(text),
            // Patterns are known ones, and writing to a string cannot fail.
            TimeItem::Field(field) => {
                let _ = write!(out, "{}", time.format(field));
            }
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape(text, &mut out);
    out
}

/// The characters that Hive escapes in names of partitions (`FileUtils.escapePathName`).
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        let special = character.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(character);
        // A part of a key cannot be "." or "..".
        let dots = text == "." || text == "..";
        if special || dots {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{:02X}", character as u32);
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
    use arrow::datatypes::Schema;
    use kinesql_engine::types::SqlType;

    use super::*;

    /// 2024-01-31 12:34:56.789.
    const NOON: EventTime = 1_706_704_496_789;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![
            SqlType::Varchar(20).field("SECTOR", true),
            SqlType::BigInt.field("n", true),
            SqlType::Timestamp.field("AT", true),
        ]);
        let columns: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec![Some("TECH"), Some("a/b=c"), None, Some(""), Some("TECH"), Some("..")])),
            Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5, 6])),
            Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(3_600_000), None, Some(0), Some(1), Some(0)])),
        ];
        RecordBatch::try_new(Arc::new(schema), columns.to_vec()).expect("a batch")
    }

    fn groups(template: &Template) -> Vec<(String, Option<Vec<u32>>)> {
        let groups = template.groups(&batch(), NOON).expect("groups").0;
        groups.into_iter().map(|group| (group.prefix, group.rows)).collect()
    }

    #[test]
    fn prefixes_of_firehose() {
        let parse = |text| Template::parse("prefix", text, &batch().schema(), None).expect(text);
        assert_eq!(groups(&parse(FIREHOSE)), [("2024/01/31/12/".to_owned(), None)]);
        let text = "dt=!{timestamp:yyyy-MM-dd}/h!{timestamp:HH'h'mm}/!{timestamp:DDD-SSS}/";
        assert_eq!(groups(&parse(text)), [("dt=2024-01-31/h12h34/031-789/".to_owned(), None)]);
        let by_key = groups(&parse("!{partitionKeyFromQuery:sector}/!{timestamp:HH}/"));
        let expected = [
            ("TECH/12/", vec![0, 4]),
            ("a%2Fb%3Dc/12/", vec![1]),
            ("__HIVE_DEFAULT_PARTITION__/12/", vec![2, 3]),
            ("%2E%2E/12/", vec![5]),
        ];
        assert_eq!(by_key, expected.map(|(prefix, rows)| (prefix.to_owned(), Some(rows))));
    }

    #[test]
    fn the_time_of_a_column_and_partitions_of_hive() {
        let schema = batch().schema();
        let template = Template::parse("prefix", "!{timestamp:HH}/", &schema, Some(2)).expect("valid");
        let (found, refused) = template.with_hive_columns(&[1], &schema).groups(&batch(), NOON).expect("groups");
        let prefixes: Vec<_> = found.iter().map(|group| group.prefix.as_str()).collect();
        assert_eq!(prefixes, ["00/n=1/", "01/n=2/", "00/n=4/", "00/n=5/", "00/n=6/"]);
        assert_eq!(refused, [(2, "the time column is NULL".to_owned())]);
    }

    #[test]
    fn a_prefix_that_is_too_long_refuses_its_rows() {
        let long = "x".repeat(PREFIX_BYTES_MAX);
        let template = Template::parse("prefix", &format!("{long}!{{partitionKey:n}}/"), &batch().schema(), None).expect("valid");
        let (groups, refused) = template.groups(&batch(), NOON).expect("groups");
        assert_eq!((groups.len(), refused.len()), (0, 6));
    }

    #[test]
    fn wrong_prefixes_say_what_there_is() {
        for (text, why) in [
            ("!{timestamp:yyyy", "is not closed"),
            ("!{timestamp:QQ}", "'QQ' is no part of a time"),
            ("!{partitionKey:SECTR}", "there is no \"SECTR\"\nhint: Did you mean \"SECTOR\"?"),
            ("!{firehose:random-string}", "there is no '!{firehose:random-string}'"),
            ("/a", "a key has no empty parts"),
        ] {
            let error = Template::parse("prefix", text, &batch().schema(), None).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(time_column("n", &batch().schema()).is_err());
    }
}
