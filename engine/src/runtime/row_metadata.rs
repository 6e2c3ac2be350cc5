//! What a source says of its records, brought to the rows that were decoded from them: a record may hold several rows, or none.
//! What it does not say is NULL; without a time of arrival rows arrive when they are read.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMillisecondArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::rowtime::Arrival;
use crate::connector::{ARRIVAL_TIME, Envelopes, Records};
use crate::error::{Error, Result};
use crate::format::{Decoder, Rejected};
use crate::runtime::clock::EventTime;

/// Decodes records together with the metadata that somebody reads.
#[derive(Debug)]
pub struct RowMetadata {
    /// The metadata columns of the rows.
    columns: SchemaRef,
    /// True if ROWTIME is the time of arrival.
    by_arrival: bool,
    /// For each row the place of its record.
    records_of_rows: Vec<u32>,
}

impl RowMetadata {
    /// Rows get `columns`; `by_arrival` also asks for the time at which each arrived.
    pub fn new(columns: &SchemaRef, by_arrival: bool) -> Self {
        Self { columns: columns.clone(), by_arrival, records_of_rows: Vec::new() }
    }

    /// The rows of `records`, which are read `now`, with their metadata behind the decoded columns, and when they arrived.
    pub fn decode(
        &mut self,
        records: &Records,
        now: EventTime,
        decoder: &mut dyn Decoder,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(RecordBatch, Arrival)> {
        let of_all = records.arrival_time.map_or(Arrival::Unknown, Arrival::At);
        if self.columns.fields().is_empty() && !self.by_arrival {
            return Ok((records.decode(decoder, None, rejected)?, of_all));
        }
        self.records_of_rows.clear();
        let batch = records.decode(decoder, Some(&mut self.records_of_rows), rejected)?;
        let arrival = match &records.envelopes {
            Some(envelopes) if self.by_arrival => self.arrival(envelopes)?,
            _ => None,
        };
        let arrived = records.arrival_time.unwrap_or(now);
        Ok((self.with_metadata(batch, records.envelopes.as_ref(), arrived)?, arrival.unwrap_or(of_all)))
    }

    fn arrival(&self, envelopes: &Envelopes) -> Result<Option<Arrival>> {
        let Some(times) = self.of_rows(envelopes, ARRIVAL_TIME)? else { return Ok(None) };
        let times = times.as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(|| Error::internal("the arrival times of records are not timestamps"))?;
        Ok(Some(Arrival::PerRow(times.clone())))
    }

    /// Rows with their metadata behind their columns: what the envelopes do not say is NULL, but for the time of arrival.
    pub fn with_metadata(&self, batch: RecordBatch, envelopes: Option<&Envelopes>, arrived: EventTime) -> Result<RecordBatch> {
        if self.columns.fields().is_empty() {
            return Ok(batch);
        }
        let rows = batch.num_rows();
        let (schema, mut columns, _) = batch.into_parts();
        for field in self.columns.fields() {
            let column = envelopes.map(|envelopes| self.of_rows(envelopes, field.name())).transpose()?.flatten();
            columns.push(column.unwrap_or_else(|| match field.name().as_str() {
                ARRIVAL_TIME => Arc::new(TimestampMillisecondArray::from_value(arrived, rows)),
                _ => new_null_array(field.data_type(), rows),
            }));
        }
        let fields = schema.fields().iter().chain(self.columns.fields()).cloned();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// A column of the envelopes, a value for each row; None if the envelopes do not have it.
    fn of_rows(&self, envelopes: &Envelopes, name: &str) -> Result<Option<ArrayRef>> {
        let Some(column) = envelopes.columns.column_by_name(name) else { return Ok(None) };
        let records = 0..envelopes.columns.num_rows() as u32;
        if self.records_of_rows.iter().copied().eq(records) {
            return Ok(Some(column.clone()));
        }
        Ok(Some(take(column, &UInt32Array::from(self.records_of_rows.clone()), None)?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array as _;
    use bytes::Bytes;

    use super::*;
    use crate::connector::{Offset, kinesis_metadata};
    use crate::format::{CsvOptions, DecodeColumn, FormatSpec, decoder};
    use crate::types::SqlType;

    /// The metadata of two rows of a piece that says nothing of its records but, perhaps, when they arrived.
    fn of_rows(arrival_time: Option<EventTime>, kept_apart: bool) -> RecordBatch {
        let bytes = Bytes::from_static(b"1\n2\n");
        let nothing = RecordBatchOptions::new().with_row_count(Some(1));
        let nothing = RecordBatch::try_new_with_options(Arc::new(arrow::datatypes::Schema::empty()), Vec::new(), &nothing);
        let envelopes = kept_apart.then(|| Envelopes { ends: vec![4], columns: nothing.expect("no columns") });
        let (origin, offset) = ("test".into(), Offset(serde_json::Value::Null));
        let records = Records { bytes, origin, position: 0, rejected: Vec::new(), arrival_time, part: None, envelopes, offset };
        let column = DecodeColumn { field: SqlType::Integer.field("A", true), path: None, index: 0 };
        let mut decoder = decoder(&FormatSpec::Csv(CsvOptions::default()), vec![column]).expect("a decoder");
        let mut metadata = RowMetadata::new(&kinesis_metadata(), false);
        metadata.decode(&records, 1_000, decoder.as_mut(), &mut Vec::new()).expect("rows").0
    }

    #[test]
    fn what_is_not_said_is_null_and_rows_arrive_with_their_delivery_or_when_they_are_read() {
        for (arrival_time, kept_apart, expected) in [(Some(777), true, 777), (None, true, 1_000), (None, false, 1_000)] {
            let batch = of_rows(arrival_time, kept_apart);
            let times = batch.column_by_name(ARRIVAL_TIME).expect("a column").as_primitive::<TimestampMillisecondType>();
            assert_eq!(times.values(), &[expected, expected]);
            assert_eq!(batch.column_by_name("SHARD_ID").expect("a column").null_count(), 2);
        }
    }
}
