//! Periods: what an expression that only grows cuts the rows of a stream into, those of one value each.
//!
//! Either the expression is one of ROWTIME (kda-sql-reference.md §1.12). Then the watermark says when a period is over. Or it is
//! declared to grow, `MONOTONIC(x)`. Then only rows do: a period is over when one of a later period has come (§8.6).

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array, make_comparator};
use arrow::compute::{SortOptions, filter_record_batch, take};
use arrow::datatypes::{Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

use super::Output;
use super::window_key::WindowKey;
use crate::checkpoint::OperatorState;
use crate::error::{Error, Result};
use crate::runtime::clock::EventTime;
use crate::runtime::error_rows::ErrorReporter;

/// The expression that makes periods.
#[derive(Clone)]
pub enum PeriodKey {
    /// Of ROWTIME.
    Time(WindowKey),
    /// Declared to grow, or to fall if the options say `descending`.
    Declared(Arc<dyn PhysicalExpr>, SortOptions),
}

impl PeriodKey {
    /// A declared expression. NULL is before any value.
    pub fn declared(expr: Arc<dyn PhysicalExpr>, descending: bool) -> Self {
        PeriodKey::Declared(expr, SortOptions { descending, nulls_first: true })
    }

    /// The values of `rows`, which are in order by [`PeriodKey::options`].
    pub fn values(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        match self {
            PeriodKey::Time(key) => key.of_rows(rows),
            PeriodKey::Declared(expr, _) => Ok(expr.evaluate(rows)?.into_array(rows.num_rows())?),
        }
    }

    /// How values follow each other.
    pub fn options(&self) -> SortOptions {
        match self {
            PeriodKey::Time(_) => SortOptions::default(),
            PeriodKey::Declared(_, options) => *options,
        }
    }
}

/// Numbers the periods of a stream, in their order.
pub struct Periods {
    key: PeriodKey,
    /// The greatest declared value so far, an array of one.
    current: Option<ArrayRef>,
    /// The number of its period.
    number: i64,
}

impl Periods {
    /// Before the first row.
    pub fn new(key: PeriodKey) -> Self {
        Self { key, current: None, number: 0 }
    }

    /// The expression.
    pub fn key(&self) -> &PeriodKey {
        &self.key
    }

    /// The numbers of the periods of `rows`, whose `values` are known. A row whose declared value has fallen is reported, and
    /// not among the rows that are given back.
    pub fn number(
        &mut self,
        rows: RecordBatch,
        values: &ArrayRef,
        reporter: &ErrorReporter,
        out: &mut Output,
    ) -> Result<(RecordBatch, Vec<i64>)> {
        let options = match &self.key {
            PeriodKey::Time(_) => return Ok((rows, values.as_primitive::<Int64Type>().values().to_vec())),
            PeriodKey::Declared(_, options) => *options,
        };
        let before = self.current.clone();
        let with_before = before.as_ref().map(|before| make_comparator(values, before, options)).transpose()?;
        let among = make_comparator(values, values, options)?;
        // Place of the greatest value of these rows, once there is one greater than those before.
        let mut greatest = None;
        let (mut numbers, mut keep) = (Vec::with_capacity(rows.num_rows()), Vec::with_capacity(rows.num_rows()));
        for row in 0..rows.num_rows() {
            let order = match (greatest, &with_before) {
                (Some(greatest), _) => among(row, greatest),
                (None, Some(with_before)) => with_before(row, 0),
                (None, None) => Ordering::Greater,
            };
            keep.push(order != Ordering::Less);
            match order {
                Ordering::Greater => {
                    self.number += 1;
                    greatest = Some(row);
                }
                Ordering::Equal => {}
                Ordering::Less => {
                    let error = Error::data("the value that is declared to be monotonic has gone back").named("LATE_ROW");
                    out.error(reporter.row(&rows.slice(row, 1), &error));
                    continue;
                }
            }
            numbers.push(self.number);
        }
        if let Some(greatest) = greatest {
            // Not a slice, which would hold all rows.
            self.current = Some(take(values, &UInt32Array::from(vec![greatest as u32]), None)?);
        }
        if numbers.len() == keep.len() {
            return Ok((rows, numbers));
        }
        Ok((filter_record_batch(&rows, &BooleanArray::from(keep))?, numbers))
    }

    /// Periods below this number are over at `watermark`.
    pub fn open_from(&self, watermark: EventTime) -> i64 {
        match (&self.key, watermark) {
            (_, EventTime::MAX) => i64::MAX,
            (PeriodKey::Time(_), EventTime::MIN) => i64::MIN,
            (PeriodKey::Time(key), watermark) => key.of_instant(watermark).unwrap_or(i64::MAX),
            (PeriodKey::Declared(..), _) => self.number,
        }
    }

    /// What to save.
    pub fn snapshot(&self) -> Result<PeriodState> {
        let current = match &self.current {
            None => None,
            Some(value) => {
                let field = Field::new("value", value.data_type().clone(), true);
                Some(encode(&RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![value.clone()])?)?)
            }
        };
        Ok(PeriodState { number: self.number, current })
    }

    /// Goes on from what was saved as `period` in the summary of `state`.
    pub fn restore(&mut self, state: &OperatorState) -> Result<()> {
        let PeriodState { number, current } = state.summary_value("period")?;
        self.number = number;
        self.current = current.map(|bytes| decode(&bytes)).transpose()?;
        Ok(())
    }
}

/// The state of [`Periods`].
#[derive(serde::Serialize, serde::Deserialize)]
pub struct PeriodState {
    number: i64,
    /// The greatest declared value, as an Arrow file of one row.
    current: Option<Vec<u8>>,
}

fn encode(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}

fn decode(bytes: &[u8]) -> Result<ArrayRef> {
    let mut reader = arrow::ipc::reader::StreamReader::try_new(bytes, None)?;
    match reader.next() {
        Some(batch) => Ok(batch?.column(0).clone()),
        None => Err(Error::state("the checkpoint has no value for its period")),
    }
}
