//! The `stdout` sink: rows to standard output, as a table for people or as JSON or CSV for programs.
//!
//! Formats:   `table` (default on a terminal), `json` (default otherwise), `csv`.
//! Order:     that of the stream.
//! Delivery:  at least once; after a restart rows since the last checkpoint are printed again.
//! Buffering: rows are printed when the engine has no more of them waiting, or `BUFFER_BYTES` are there.
//! Errors:    `Unavailable` when the output is closed, as by `| head`; see [`is_closed`].

mod table;

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter};
use kinesql_engine::format::{self, Encoder, FormatSpec};
use kinesql_engine::{Error, ErrorKind, Result};

use self::table::Table;
use crate::blocking::unblock;

/// Encoded rows are written once they are this long.
const BUFFER_BYTES: usize = 64 << 10;

const CLOSED: &str = "standard output was closed";

/// True if `error` says that nobody reads standard output any more: a job ends quietly then.
pub fn is_closed(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.message() == CLOSED
}

/// Makes `stdout` sinks.
#[derive(Debug)]
pub struct StdoutSinkFactory;

impl SinkFactory for StdoutSinkFactory {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn formats(&self) -> &'static [&'static str] {
        &["table", "json", "csv", "raw"]
    }

    fn create(&self, definition: &SinkDefinition, _options: &Options) -> Result<Arc<dyn Sink>> {
        let default = if io::stdout().is_terminal() { FormatSpec::Table } else { FormatSpec::Json };
        let format = definition.format.clone().unwrap_or(default);
        Ok(Arc::new(StdoutSink::try_new(Box::new(io::stdout()), format, &definition.schema)?))
    }
}

type Output = Arc<Mutex<Box<dyn Write + Send>>>;

/// A bound `stdout` sink; writes to anything.
struct StdoutSink {
    output: Output,
    format: FormatSpec,
    schema: SchemaRef,
}

impl StdoutSink {
    fn try_new(output: Box<dyn Write + Send>, format: FormatSpec, schema: &SchemaRef) -> Result<Self> {
        if format == FormatSpec::Parquet {
            return Err(Error::config("connector 'stdout' cannot write format 'parquet'")
                .with_hint("Use connector = 'file' with a path that ends in '.parquet'."));
        }
        Ok(Self { output: Arc::new(Mutex::new(output)), format, schema: Arc::clone(schema) })
    }
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutSink").field("format", &self.format).finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for StdoutSink {
    async fn open(&self, _state: Option<&SinkState>, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let encoder = match &self.format {
            FormatSpec::Table => Box::new(Table::new(&self.schema)),
            format => format::encoder(format, &self.schema)?,
        };
        Ok(Box::new(StdoutWriter { output: Arc::clone(&self.output), encoder, buffer: Vec::new(), bytes_written: 0 }))
    }
}

struct StdoutWriter {
    output: Output,
    encoder: Box<dyn Encoder>,
    buffer: Vec<u8>,
    bytes_written: u64,
}

#[async_trait]
impl SinkWriter for StdoutWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.encode(batch, &mut self.buffer)?;
        if self.buffer.len() >= BUFFER_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.bytes_written += buffer.len() as u64;
        let output = Arc::clone(&self.output);
        // A reader that does not keep up blocks the write for as long as it likes.
        unblock(move || {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.write_all(&buffer).and_then(|()| output.flush()).map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Error::unavailable(CLOSED).with_cause(error),
                _ => Error::unavailable(format!("cannot write to standard output: {error}")).with_cause(error),
            })
        })
        .await
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
        self.flush().await?;
        Ok(SinkState(serde_json::Value::Null))
    }

    async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.flush().await
    }

    fn bytes_written(&self) -> u64 {
        self.bytes_written
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float32Array, StringArray};
    use arrow::datatypes::Schema;
    use kinesql_engine::types::SqlType;

    use super::*;
    use crate::conformance::sink_context;

    /// A `Write` that can be read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text")
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![SqlType::Varchar(4).field("TICKER", true), SqlType::Real.field("PRICE", true)]))
    }

    fn batch(rows: &[(&str, f32)]) -> RecordBatch {
        let tickers: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(ticker, _)| ticker)));
        let prices: ArrayRef = Arc::new(Float32Array::from_iter_values(rows.iter().map(|(_, price)| *price)));
        RecordBatch::try_new(schema(), vec![tickers, prices]).expect("a batch")
    }

    async fn writer(output: impl Write + Send + 'static, format: FormatSpec) -> Box<dyn SinkWriter> {
        let sink = StdoutSink::try_new(Box::new(output), format, &schema()).expect("a sink");
        sink.open(None, &sink_context(true)).await.expect("open")
    }

    #[tokio::test]
    async fn rows_are_printed_on_flush_and_at_a_checkpoint() {
        let page = Page::default();
        let mut writer = writer(page.clone(), FormatSpec::Json).await;
        writer.write(&batch(&[("AMZN", 10.5)])).await.expect("write");
        assert_eq!(page.text(), "");
        writer.flush().await.expect("flush");
        assert_eq!(page.text(), "{\"TICKER\":\"AMZN\",\"PRICE\":10.5}\n");
        writer.write(&batch(&[("QXZ", 2.0)])).await.expect("write");
        assert_eq!(writer.prepare(1).await.expect("prepare"), SinkState(serde_json::Value::Null));
        assert_eq!(page.text().lines().count(), 2);
        assert_eq!(writer.bytes_written(), page.text().len() as u64);
    }

    #[tokio::test]
    async fn a_table_has_one_header() {
        let page = Page::default();
        let mut writer = writer(page.clone(), FormatSpec::Table).await;
        writer.write(&batch(&[("AMZN", 10.5)])).await.expect("write");
        writer.flush().await.expect("flush");
        writer.write(&batch(&[("QXZ", 2.0)])).await.expect("write");
        writer.close().await.expect("close");
        assert_eq!(page.text(), " TICKER | PRICE\n--------+-------\n AMZN   |  10.5\n QXZ    |   2.0\n");
    }

    #[tokio::test]
    async fn a_closed_output_is_told_apart() {
        let mut writer = writer(Closed, FormatSpec::Json).await;
        writer.write(&batch(&[("AMZN", 10.5)])).await.expect("buffered");
        let error = writer.flush().await.expect_err("closed");
        assert!(is_closed(&error), "{error}");
        assert!(!is_closed(&Error::unavailable("the disk is full")));
    }

    #[test]
    fn parquet_is_refused() {
        let error = StdoutSink::try_new(Box::new(io::sink()), FormatSpec::Parquet, &schema()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
