//! JSON records whose arrays become rows: one row per element (kda-sql-reference.md §6.7).
//!
//! Input:  records, of which one array is named by the paths of columns, such as `$.list[0:].x`.
//! Output: for each element a row; columns outside of the array repeat. An element that is no object, and an array that is
//!         empty, missing or no array, gives one row in which the columns below it are NULL.
//! Errors: as [`JsonDecoder`]; an element that does not fit its columns refuses its whole record.
//! How:    the array is read as text beside the other columns, its elements are decoded as records of their own, and the other
//!         columns are repeated with one `take`.

use std::ops::Range;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

use super::decode::{JsonDecoder, elements};
use super::path::Path;
use crate::error::{Error, Result};
use crate::format::{DecodeColumn, Decoder, RejectReason, Rejected, framed};
use crate::types::SqlType;

/// Decodes records of which one array is flattened.
pub struct FlatteningDecoder {
    schema: SchemaRef,
    /// The columns outside of the array, then the array as text.
    records: JsonDecoder,
    /// The columns below the array.
    elements: JsonDecoder,
    /// Where each column comes from.
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Record(usize),
    Element(usize),
}

/// Longest array as text: no limit but that of the record.
const ARRAY_TEXT: SqlType = SqlType::Varchar(i32::MAX as u32);

/// A decoder for `columns`: one that flattens if a path asks for it.
/// Fails with `Config` if paths flatten more than one array or are outside the subset.
pub fn decoder(columns: Vec<DecodeColumn>) -> Result<Box<dyn Decoder>> {
    let mut array: Option<(String, String)> = None;
    let (mut records, mut elements, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let schema = Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>());
    for column in columns {
        let Some((of, within)) = column.path.as_deref().and_then(Path::split_at_elements) else {
            places.push(Place::Record(records.len()));
            records.push(column);
            continue;
        };
        let (of, within) = (of.to_owned(), format!("${within}"));
        if Path::split_at_elements(&within).is_some() {
            let path = column.path.as_deref().unwrap_or_default();
            return Err(Error::config(format!("the JSON path \"{path}\" asks for rows of an array within an array"))
                .with_hint("End the path with the second [0:] to get that array as JSON text."));
        }
        match &array {
            Some((other, name)) if *other != of => {
                return Err(Error::config(format!(
                    "columns \"{name}\" and \"{}\" ask for one row per element of two arrays, {other} and {of}",
                    column.field.name()
                ))
                .with_hint("Only one array can become rows: end the path of the other with [0:] to get it as JSON text."));
            }
            Some(_) => {}
            None => array = Some((of, column.field.name().clone())),
        }
        places.push(Place::Element(elements.len()));
        elements.push(DecodeColumn { path: Some(within), ..column });
    }
    let Some((path, _)) = array else { return Ok(Box::new(JsonDecoder::try_new(records)?)) };
    records.push(DecodeColumn { field: ARRAY_TEXT.field("", true), path: Some(path), index: 0 });
    Ok(Box::new(FlatteningDecoder {
        schema: Arc::new(schema),
        records: JsonDecoder::try_new(records)?,
        elements: JsonDecoder::try_new(elements)?,
        places,
    }))
}

impl FlatteningDecoder {
    /// The rows of `records`, of which row `i` comes from the record at `origins[i]` of `ranges`; for each of them, the row of
    /// `records`. Records with an element that does not fit are refused.
    fn expand(
        &mut self,
        bytes: &[u8],
        ranges: &[Range<usize>],
        records: &RecordBatch,
        origins: &[u32],
        rejected: &mut Vec<Rejected>,
    ) -> Result<(RecordBatch, UInt32Array)> {
        let arrays = records.columns().last().and_then(|column| column.as_string_opt::<i32>());
        let arrays = arrays.ok_or_else(|| Error::internal("an array was not read as text"))?;
        // Elements as records, and the row that each belongs to.
        let (mut text, mut ends, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..arrays.len() {
            let before = rows.len();
            if arrays.is_valid(row) {
                elements(arrays.value(row).as_bytes(), |element| {
                    let element = if element.starts_with(b"{") { element } else { b"{}" };
                    text.extend_from_slice(element);
                    ends.push(text.len() as u32);
                    rows.push(row as u32);
                });
            }
            if rows.len() == before {
                text.extend_from_slice(b"{}");
                ends.push(text.len() as u32);
                rows.push(row as u32);
            }
        }
        if u32::try_from(text.len()).is_err() {
            return Err(Error::data("the arrays of one piece of the source exceed 4 GiB"));
        }
        let (mut refused, mut decoded_elements) = (Vec::new(), Vec::new());
        let batch = self.elements.decode_records(&text, &ends, Some(&mut decoded_elements), &mut refused)?;
        let row_of = |element: u32| rows[element as usize];
        if refused.is_empty() {
            return Ok((batch, decoded_elements.iter().map(|element| row_of(*element)).collect()));
        }
        let mut bad = vec![false; records.num_rows()];
        for refusal in refused {
            let element = ends.partition_point(|end| u64::from(*end) <= refusal.position);
            let row = row_of(element as u32) as usize;
            if !std::mem::replace(&mut bad[row], true) {
                let range = ranges[origins[row] as usize].clone();
                let record = &bytes[range.clone()];
                let start = record.len() - record.trim_ascii_start().len();
                let message = refusal.message;
                rejected.push(Rejected::new(record.trim_ascii(), range.start + start, RejectReason::Coercion, message));
            }
        }
        let kept = (0..batch.num_rows() as u32).filter(|place| !bad[row_of(decoded_elements[*place as usize]) as usize]);
        let kept = kept.collect::<UInt32Array>();
        let rows = kept.values().iter().map(|place| row_of(decoded_elements[*place as usize])).collect();
        Ok((arrow::compute::take_record_batch(&batch, &kept)?, rows))
    }
}

impl Decoder for FlatteningDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Counts the whole record: its rows are no longer than it.
    fn limit_rows(&mut self, bytes: usize) {
        self.records.limit_rows(bytes);
    }

    fn decode(&mut self, bytes: &[u8], rejected: &mut Vec<Rejected>) -> Result<RecordBatch> {
        // A line is a record.
        let mut ends: Vec<u32> = memchr::memchr_iter(b'\n', bytes).map(|end| end as u32 + 1).collect();
        if ends.last().map_or(0, |end| *end as usize) < bytes.len() {
            ends.push(bytes.len() as u32);
        }
        self.decode_records(bytes, &ends, None, rejected)
    }

    fn decode_records(
        &mut self,
        bytes: &[u8],
        ends: &[u32],
        records_of_rows: Option<&mut Vec<u32>>,
        rejected: &mut Vec<Rejected>,
    ) -> Result<RecordBatch> {
        let ranges: Vec<_> = framed(bytes, ends)?.0.collect();
        let mut origins = Vec::new();
        let records = self.records.decode_records(bytes, ends, Some(&mut origins), rejected)?;
        let (elements, rows) = self.expand(bytes, &ranges, &records, &origins, rejected)?;
        let columns = self.places.iter().map(|place| match *place {
            Place::Record(index) => Ok(take(records.column(index), &rows, None)?),
            Place::Element(index) => Ok(elements.column(index).clone()),
        });
        if let Some(records_of_rows) = records_of_rows {
            records_of_rows.extend(rows.values().iter().map(|row| origins[*row as usize]));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns.collect::<Result<_>>()?, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{decoded, framed_rows};

    fn flattening(paths: &[(&str, SqlType)]) -> Box<dyn Decoder> {
        let column = |(path, sql_type): &(&str, SqlType)| DecodeColumn {
            field: sql_type.field(path, true),
            path: Some((*path).to_owned()),
            index: 0,
        };
        decoder(paths.iter().map(column).collect()).expect("valid paths")
    }

    #[test]
    fn every_element_is_a_row_and_the_rest_repeats() {
        let mut decoder = flattening(&[
            ("$.id", SqlType::Integer),
            ("$.list[0:].x", SqlType::Integer),
            ("$.list[0:].o.y", SqlType::Varchar(8)),
            ("$.list[0:]", SqlType::Varchar(64)),
            ("$.other[0:]", SqlType::Varchar(64)),
        ]);
        for (record, expected) in [
            (
                r#"{"id":1,"list":[{"x":1,"o":{"y":"a"}}, {"x":2}],"other":[1,2]}"#,
                &[
                    r#"1|1|'a'|'[{"x":1,"o":{"y":"a"}},{"x":2}]'|'[1,2]'"#,
                    r#"1|2|NULL|'[{"x":1,"o":{"y":"a"}},{"x":2}]'|'[1,2]'"#,
                ][..],
            ),
            (r#"{"id":1,"list":[]}"#, &["1|NULL|NULL|'[]'|NULL"]),
            (r#"{"id":1}"#, &["1|NULL|NULL|NULL|NULL"]),
            (r#"{"id":1,"list":{"x":1}}"#, &["1|NULL|NULL|NULL|NULL"]),
            (
                r#"{"id":1,"list":[7,{"x":3},null]}"#,
                &[
                    "1|NULL|NULL|'[7,{\"x\":3},null]'|NULL",
                    "1|3|NULL|'[7,{\"x\":3},null]'|NULL",
                    "1|NULL|NULL|'[7,{\"x\":3},null]'|NULL",
                ],
            ),
        ] {
            assert_eq!(decoded(decoder.as_mut(), record.as_bytes()), expected, "{record}");
        }
    }

    #[test]
    fn an_element_that_does_not_fit_refuses_its_record_only() {
        let mut decoder = flattening(&[("$.id", SqlType::Integer), ("$.list[0:].x", SqlType::Integer)]);
        let lines = "{\"id\":1,\"list\":[{\"x\":1}]}\n  {\"id\":2,\"list\":[{\"x\":1},{\"x\":\"?\"},{\"x\":\"!\"}]}\nno JSON\n{\"id\":4,\"list\":[{\"x\":4}]}";
        assert_eq!(
            decoded(decoder.as_mut(), lines.as_bytes()),
            [
                "1|1",
                "4|4",
                "Parse@74: the record is not JSON: it does not start with {",
                "Coercion@28: column \"$.list[0:].x\": '?' cannot be read as INTEGER",
            ]
        );
    }

    #[test]
    fn rows_know_their_record() {
        let mut decoder = flattening(&[("$.list[0:].x", SqlType::Integer)]);
        let records: [&[u8]; 3] = [b"{\"list\":[{\"x\":1},\n{\"x\":2}]}", b"", b"{\"list\":[]}{\"list\":[{\"x\":3}]}"];
        let (rows, places) = framed_rows(decoder.as_mut(), &records);
        assert_eq!((rows, places), (["1", "2", "NULL", "3"].map(str::to_owned).to_vec(), vec![0, 0, 2, 2]));
    }

    #[test]
    fn one_array_can_be_flattened() {
        let column =
            |path: &str| DecodeColumn { field: SqlType::Integer.field(&path[2..3], true), path: Some(path.to_owned()), index: 0 };
        let error = decoder(vec![column("$.a[0:].x"), column("$.b[0:].x")]).err().expect("two arrays");
        assert_eq!(error.message(), "columns \"a\" and \"b\" ask for one row per element of two arrays, $.a[0:] and $.b[0:]");
        let error = decoder(vec![column("$.a[0:].x[0:].y")]).err().expect("nested");
        assert_eq!(error.message(), "the JSON path \"$.a[0:].x[0:].y\" asks for rows of an array within an array");
    }
}
