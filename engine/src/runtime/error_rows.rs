//! Rows of `error_stream`: what each column holds (kda-sql-reference.md §6.12, §8.7).

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Schema, SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use super::clock::{Clock, EventTime};
use crate::error::{Error, Result};
use crate::plan::rowtime::GROUP_ROWTIME;
use crate::types::{ROWTIME, SqlType};

/// Name of the stream that takes failing rows.
pub const ERROR_STREAM: &str = "error_stream";

/// Characters of `DATA_ROW` (§6.12): the hex text of a row is cut there.
const DATA_ROW_MAX: usize = 49_152;
/// Characters of `MESSAGE` (§6.12).
const MESSAGE_MAX: usize = 4_096;

/// Columns of `error_stream` in their order, ROWTIME last.
pub static ERROR_STREAM_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let columns = [
        ("ERROR_TIME", SqlType::Timestamp),
        ("ERROR_LEVEL", SqlType::Varchar(10)),
        ("ERROR_NAME", SqlType::Varchar(32)),
        ("MESSAGE", SqlType::Varchar(4096)),
        ("DATA_ROWTIME", SqlType::Timestamp),
        ("DATA_ROW", SqlType::Varchar(49_152)),
        ("PUMP_NAME", SqlType::Varchar(128)),
    ];
    let fields = columns.map(|(name, sql_type)| sql_type.field(name, true)).into_iter();
    Arc::new(Schema::new(fields.chain([SqlType::Timestamp.field(ROWTIME, false)]).collect::<Vec<_>>()))
});

/// A row that was lost, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRow {
    /// When it happened, on the engine's clock.
    pub time: EventTime,
    /// `ERROR`, or `WARN` for late rows.
    pub level: &'static str,
    /// One of the codes of §8.7.
    pub name: &'static str,
    /// What is wrong, with the values.
    pub message: String,
    /// ROWTIME of the row, if it had one.
    pub rowtime: Option<EventTime>,
    /// The row or record as bytes; shown as hex.
    pub data: Vec<u8>,
    /// Who was at work.
    pub place: Place,
}

/// Where a row failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Before any pump: in a source.
    Input,
    /// In the pump of this name.
    Pump(Arc<str>),
    /// In the sink of this name.
    Sink(Arc<str>),
}

impl Place {
    /// What `PUMP_NAME` shows: the pump's or the sink's name, nothing for the input side.
    pub fn name(&self) -> &str {
        match self {
            Place::Input => "",
            Place::Pump(name) | Place::Sink(name) => name,
        }
    }
}

/// Makes error rows on behalf of a source, a pump or a sink.
#[derive(Debug, Clone)]
pub struct ErrorReporter {
    place: Place,
    clock: Arc<dyn Clock>,
}

impl ErrorReporter {
    /// Reports for `pump`; its name is empty for the input side.
    pub fn new(pump: &str, clock: Arc<dyn Clock>) -> Self {
        let place = if pump.is_empty() { Place::Input } else { Place::Pump(pump.into()) };
        Self { place, clock }
    }

    /// Reports for a sink.
    pub fn of_sink(sink: &str, clock: Arc<dyn Clock>) -> Self {
        Self { place: Place::Sink(sink.into()), clock }
    }

    /// The clock of the job.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// A row (a batch of one) that failed with `error`.
    pub fn row(&self, row: &RecordBatch, error: &Error) -> ErrorRow {
        ErrorRow { rowtime: rowtime_of(row, 0), ..self.record(error.name(), error.message(), row_as_json(row)) }
    }

    /// Every row of a batch, each of which failed with `error`.
    pub fn rows(&self, rows: &RecordBatch, error: &Error) -> Vec<ErrorRow> {
        (0..rows.num_rows()).map(|row| self.row(&rows.slice(row, 1), error)).collect()
    }

    /// A row (a batch of one) that came behind the watermark.
    pub fn late_row(&self, row: &RecordBatch, watermark: EventTime) -> ErrorRow {
        let rowtime = rowtime_of(row, 0);
        let message = match rowtime {
            Some(rowtime) => {
                format!("row is late: ROWTIME {} is behind the watermark {}", show_time(rowtime), show_time(watermark))
            }
            None => format!("row is late: it is behind the watermark {}", show_time(watermark)),
        };
        ErrorRow { level: "WARN", rowtime, ..self.record("LATE_ROW", &message, row_as_json(row)) }
    }

    /// A record that became no row; `data` are its bytes.
    pub fn record(&self, name: &'static str, message: &str, data: Vec<u8>) -> ErrorRow {
        let message = message.chars().take(MESSAGE_MAX).collect();
        ErrorRow { time: self.clock.now(), level: "ERROR", name, message, rowtime: None, data, place: self.place.clone() }
    }
}

/// `yyyy-MM-dd HH:mm:ss.SSS`, UTC.
pub fn show_time(time: EventTime) -> String {
    match chrono::DateTime::from_timestamp_millis(time) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        None => format!("{time} ms"),
    }
}

/// Rows of `error_stream`. ROWTIME is the failing row's, at least `watermark`, so that the stream stays in order; where
/// neither is known it is the time of the error.
pub fn error_batch(rows: &[ErrorRow], watermark: EventTime) -> Result<RecordBatch> {
    let text =
        |value: &dyn Fn(&ErrorRow) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(value))) };
    let rowtime = |row: &ErrorRow| match (row.rowtime, watermark) {
        (None, EventTime::MIN | EventTime::MAX) => row.time,
        (None, watermark) => watermark,
        (Some(rowtime), EventTime::MAX) => rowtime,
        (Some(rowtime), watermark) => rowtime.max(watermark),
    };
    Ok(RecordBatch::try_new(
        ERROR_STREAM_SCHEMA.clone(),
        vec![
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.time))),
            text(&|row| row.level.to_owned()),
            text(&|row| row.name.to_owned()),
            text(&|row| row.message.clone()),
            Arc::new(TimestampMillisecondArray::from_iter(rows.iter().map(|row| row.rowtime))),
            text(&|row| hex(&row.data)),
            text(&|row| row.place.name().to_owned()),
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(rowtime))),
        ],
    )?)
}

/// ROWTIME of a row, if the batch has it.
pub fn rowtime_of(batch: &RecordBatch, row: usize) -> Option<EventTime> {
    let column = batch.column(rowtime_column(batch)?).as_primitive_opt::<TimestampMillisecondType>()?;
    arrow::array::Array::is_valid(column, row).then(|| column.value(row))
}

/// The place of ROWTIME; of the result of a group it is the column of the marker until the query has named it.
fn rowtime_column(batch: &RecordBatch) -> Option<usize> {
    let place = |is: &dyn Fn(&str) -> bool| batch.schema_ref().fields().iter().position(|field| is(field.name()));
    place(&|name| name == ROWTIME).or_else(|| place(&|name| name.contains(GROUP_ROWTIME)))
}

/// The row's values as one JSON object, ROWTIME left out (§8.7).
fn row_as_json(row: &RecordBatch) -> Vec<u8> {
    let rowtime = rowtime_column(row);
    let columns: Vec<usize> = (0..row.num_columns()).filter(|column| Some(*column) != rowtime).collect();
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    // The JSON text is for people: a type that arrow-json cannot write leaves it empty.
    let written = row.project(&columns).and_then(|row| writer.write(&row)).and_then(|()| writer.finish());
    let mut text = if written.is_ok() { writer.into_inner() } else { Vec::new() };
    text.truncate(text.trim_ascii_end().len());
    text
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len().min(DATA_ROW_MAX / 2));
    for byte in &bytes[..bytes.len().min(DATA_ROW_MAX / 2)] {
        let _ = write!(text, "{byte:02X}");
    }
    text
}
