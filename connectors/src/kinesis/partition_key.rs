//! The partition key of a row: from columns, fixed, or a hash of the row; and the explicit hash key.
//!
//! Columns: one column of text is the key as it is; otherwise the key is the values as CSV writes them. A key of more than 256
//!          characters is replaced by its hash, so that equal keys stay together; an empty one by the hash of the row.
//! Hash:    16 hexadecimal digits of the MD5 of the record. It is the same when the record is sent again, and spreads rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use kinesql_engine::diagnostic::closest;
use kinesql_engine::format::{self, CsvOptions, Encoder, FormatSpec};
use kinesql_engine::{Error, Result};
use md5::{Digest, Md5};

use super::limits::PARTITION_KEY_CHARS_MAX;
use crate::delivery::{Encoded, Route, Routing};

/// Where keys come from, as the options say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySpec {
    /// These columns.
    Columns(Vec<usize>),
    /// Always this.
    Fixed(Box<str>),
    /// The row.
    Hash,
}

/// Where explicit hash keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HashKeySpec {
    /// There are none.
    None,
    /// Always this.
    Fixed(Box<str>),
    /// A column; NULL for none.
    Column(usize),
}

impl KeySpec {
    /// Reads `partition_key` and `partition_key.fixed`.
    pub(super) fn try_new(columns: Option<&str>, fixed: Option<&str>, schema: &Schema) -> Result<Self> {
        match (columns, fixed) {
            (Some(_), Some(_)) => Err(Error::config("options \"partition_key\" and \"partition_key.fixed\" exclude each other")
                .with_hint("Give the columns of the key, or one key for all rows.")),
            (None, None) => Ok(KeySpec::Hash),
            (None, Some(fixed)) if fixed.is_empty() || fixed.chars().count() > PARTITION_KEY_CHARS_MAX => {
                Err(Error::config(format!("option \"partition_key.fixed\" has {} characters", fixed.chars().count()))
                    .with_hint(format!("A partition key has 1 to {PARTITION_KEY_CHARS_MAX} characters.")))
            }
            (None, Some(fixed)) => Ok(KeySpec::Fixed(fixed.into())),
            (Some(columns), None) => {
                let columns = columns.split(',').map(|name| column("partition_key", name.trim(), schema));
                Ok(KeySpec::Columns(columns.collect::<Result<_>>()?))
            }
        }
    }
}

impl HashKeySpec {
    /// Reads `explicit_hash_key`.
    pub(super) fn try_new(text: Option<&str>, schema: &Schema) -> Result<Self> {
        match text {
            None => Ok(HashKeySpec::None),
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => match hash_key(text) {
                Some(key) => Ok(HashKeySpec::Fixed(key)),
                None => Err(Error::config(format!("option \"explicit_hash_key\" cannot be '{text}'"))
                    .with_hint("A hash key is a whole number from 0 to 2^128 - 1, or the name of a column that holds such.")),
            },
            Some(name) => Ok(HashKeySpec::Column(column("explicit_hash_key", name, schema)?)),
        }
    }
}

fn column(option: &str, name: &str, schema: &Schema) -> Result<usize> {
    let found = schema.index_of(name).or_else(|error| {
        // SQL folds unquoted names to upper case.
        schema.index_of(&name.to_ascii_uppercase()).map_err(|_| error)
    });
    found.map_err(|_| {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let hint = match closest(name, names.iter().copied()) {
            Some(candidate) => format!("Did you mean \"{candidate}\"?"),
            None => format!("Columns are {}.", names.join(", ")),
        };
        Error::config(format!("option \"{option}\" names the column \"{name}\", which the stream does not have")).with_hint(hint)
    })
}

/// A decimal number below 2^128, without leading zeros (API reference, PutRecordsRequestEntry).
fn hash_key(text: &str) -> Option<Box<str>> {
    text.trim().parse::<u128>().ok().map(|key| key.to_string().into())
}

/// Finds the keys of rows.
pub(super) struct Keys {
    columns: Option<KeyColumns>,
    fixed: Option<Box<str>>,
    hash_key: HashKeySpec,
}

struct KeyColumns {
    indices: Vec<usize>,
    encoder: Box<dyn Encoder>,
}

impl Keys {
    pub(super) fn try_new(key: &KeySpec, hash_key: &HashKeySpec, schema: &SchemaRef) -> Result<Self> {
        let mut keys = Self { columns: None, fixed: None, hash_key: hash_key.clone() };
        match key {
            KeySpec::Hash => {}
            KeySpec::Fixed(fixed) => keys.fixed = Some(fixed.clone()),
            KeySpec::Columns(indices) => {
                let schema = Arc::new(schema.project(indices)?);
                let encoder = format::encoder(&FormatSpec::Csv(CsvOptions::default()), &schema)?;
                keys.columns = Some(KeyColumns { indices: indices.clone(), encoder });
            }
        }
        Ok(keys)
    }
}

impl KeyColumns {
    /// A key for each row; empty where there is none.
    fn keys(&mut self, batch: &RecordBatch) -> Result<Vec<String>> {
        let batch = batch.project(&self.indices)?;
        if let (1, Some(texts)) = (batch.num_columns(), batch.column(0).as_string_opt::<i32>()) {
            return Ok(texts.iter().map(|text| text.unwrap_or_default().to_owned()).collect());
        }
        let mut keys = Vec::with_capacity(batch.num_rows());
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            text.clear();
            self.encoder.encode(&batch.slice(row, 1), &mut text)?;
            text.pop();
            let key = String::from_utf8(std::mem::take(&mut text));
            let key = key.map_err(|error| Error::internal("a CSV record is not text").with_cause(error))?;
            // The only column is NULL.
            keys.push(if key == "\"\"" { String::new() } else { key });
        }
        Ok(keys)
    }
}

impl Routing for Keys {
    fn routes(&mut self, batch: &RecordBatch, encoded: &Encoded) -> Result<Vec<Result<Route>>> {
        let keys = self.columns.as_mut().map(|columns| columns.keys(batch)).transpose()?;
        let mut keys = keys.map(Vec::into_iter);
        let hash_keys = match &self.hash_key {
            HashKeySpec::Column(index) => Some(cast(batch.column(*index), &DataType::Utf8)?),
            HashKeySpec::Fixed(_) | HashKeySpec::None => None,
        };
        let hash_keys: Option<&StringArray> = hash_keys.as_ref().map(|column| column.as_string());
        let routes = (0..batch.num_rows()).map(|row| {
            let key: Box<str> = match (&self.fixed, keys.as_mut().and_then(Iterator::next)) {
                (Some(fixed), _) => fixed.clone(),
                (None, Some(key)) if key.chars().count() > PARTITION_KEY_CHARS_MAX => hash_of(key.as_bytes()),
                (None, Some(key)) if !key.is_empty() => key.into(),
                (None, _) => hash_of(&encoded.record(row)),
            };
            let hash_key = match (&self.hash_key, hash_keys) {
                (HashKeySpec::Fixed(key), _) => Some(key.clone()),
                (HashKeySpec::Column(index), Some(column)) if column.is_valid(row) => {
                    let value = column.value(row);
                    Some(hash_key(value).ok_or_else(|| {
                        let schema = batch.schema_ref();
                        let name = schema.field(*index).name();
                        Error::data(format!("\"{name}\" is '{value}': a hash key is a whole number from 0 to 2^128 - 1"))
                            .named("COERCION_ERROR")
                    })?)
                }
                _ => None,
            };
            Ok(Route { key, hash_key })
        });
        Ok(routes.collect())
    }
}

/// 16 hexadecimal digits.
fn hash_of(bytes: &[u8]) -> Box<str> {
    let hash = Md5::digest(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    format!("{:016x}", u64::from_be_bytes(first)).into()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int32Array};
    use kinesql_engine::types::SqlType;

    use super::*;
    use crate::delivery::encoded;

    fn batch() -> RecordBatch {
        let columns = vec![
            (
                SqlType::Varchar(2_000).field("T", true),
                Arc::new(StringArray::from(vec![Some("a,\"b\""), None, Some("")])) as ArrayRef,
            ),
            (SqlType::Integer.field("I", true), Arc::new(Int32Array::from(vec![Some(-5), None, Some(7)]))),
            (SqlType::Double.field("F", true), Arc::new(Float64Array::from(vec![Some(1.5), None, None]))),
            (
                SqlType::Decimal(39 - 1, 0).field("D", true),
                Arc::new(Decimal128Array::from(vec![Some(12), None, Some(-1)]).with_precision_and_scale(38, 0).expect("valid")),
            ),
        ];
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
    }

    fn routes(key: Option<&str>, hash_key: Option<&str>) -> Vec<Result<Route>> {
        let batch = batch();
        let schema = batch.schema();
        let key = KeySpec::try_new(key, None, &schema).expect("valid");
        let hash_key = HashKeySpec::try_new(hash_key, &schema).expect("valid");
        let mut keys = Keys::try_new(&key, &hash_key, &schema).expect("valid");
        keys.routes(&batch, &encoded(&batch)).expect("routes")
    }

    fn keys(columns: &str) -> Vec<String> {
        routes(Some(columns), None).into_iter().map(|route| route.expect("a route").key.into()).collect()
    }

    #[test]
    fn one_column_of_text_is_the_key_as_it_is_and_several_are_written_as_csv() {
        assert_eq!(keys("T")[0], "a,\"b\"");
        assert_eq!(keys("I")[0], "-5");
        assert_eq!(keys("F")[0], "1.5");
        assert_eq!(keys("T,I"), ["\"a,\"\"b\"\"\",-5", ",", ",7"]);
    }

    #[test]
    fn rows_without_a_key_are_spread_by_their_hash() {
        let [_, null, empty] = &keys("T")[..] else { panic!("three rows") };
        assert!(null.len() == 16 && empty.len() == 16 && null != empty, "{null} {empty}");
        assert_eq!(keys("I")[1].len(), 16);
    }

    #[test]
    fn a_key_that_is_too_long_is_replaced_by_its_hash() {
        let keys = |characters: usize| {
            let column: ArrayRef = Arc::new(StringArray::from(vec!["é".repeat(characters)]));
            let schema: SchemaRef = Arc::new(Schema::new(vec![SqlType::Varchar(2_000).field("T", true)]));
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).expect("a batch");
            let mut keys = Keys::try_new(&KeySpec::Columns(vec![0]), &HashKeySpec::None, &schema).expect("valid");
            let routes = keys.routes(&batch, &encoded(&batch)).expect("routes");
            routes.into_iter().map(|route| route.expect("a route").key.to_string()).collect::<String>()
        };
        assert_eq!(keys(256), "é".repeat(256));
        assert_eq!(keys(257), keys(257));
        assert_eq!(keys(257).len(), 16);
        assert_eq!(hash_of(b"abc").as_ref(), "900150983cd24fb0", "the first half of the MD5");
    }

    #[test]
    fn hash_keys_are_whole_numbers() {
        let hash_keys: Vec<_> = routes(None, Some("D")).into_iter().map(|route| route.map(|route| route.hash_key)).collect();
        assert_eq!(hash_keys[0].as_ref().expect("a key").as_deref(), Some("12"));
        assert_eq!(hash_keys[1].as_ref().expect("none").as_deref(), None);
        let error = hash_keys[2].as_ref().expect_err("negative");
        assert_eq!(error.message(), "\"D\" is '-1': a hash key is a whole number from 0 to 2^128 - 1");
        assert_eq!(hash_key("007").as_deref(), Some("7"));
    }
}
