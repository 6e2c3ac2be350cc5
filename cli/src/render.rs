//! Rows of queries as text: an aligned table for people, JSON or CSV for programs.
//!
//! ```text
//!  TICKER | PRICE
//! --------+-------
//!  AMZN   |  10.5
//! ```
//!
//! A table is printed while its rows arrive, its names once. A column is as wide as its name and the values so far, so
//! a wide value moves the rows after it, not those before. The rows of a query that ends by itself are held back up to
//! `HELD_ROWS`, so that all of them are aligned. Numbers stand to the right; NULL is dim.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use arrow::array::Array as _;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt as _;
use kinesql_engine::diagnostic::Diagnostic;
use kinesql_engine::format::{self, CsvOptions, Encoder, FormatSpec};
use kinesql_engine::{Error, QueryStream, Result};
use nu_ansi_term::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::args::Output;
use crate::report::{self, Stop};
use crate::signals::Interrupts;

/// KDA writes three digits of a second (kda-sql-reference.md §6.13).
const FORMAT: FormatOptions<'_> = FormatOptions::new()
    .with_null("NULL")
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.3f"))
    .with_time_format(Some("%H:%M:%S%.3f"));

/// Rows of a finite table that are looked at for the widths of columns before the first is printed.
const HELD_ROWS: usize = 1_000;

/// A value longer than this does not widen its column.
const WIDTH_MAX: usize = 48;

/// What has been printed of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printed {
    pub rows: u64,
    /// True if the query did not come to its end.
    pub stopped: bool,
}

/// Prints the rows of `query` to standard output until it ends. Errors of rows are summed up on standard
/// error. `base` interrupts came before: the next one ends the query, the one after that also a write that nobody reads. A query
/// of tables that is ended so says that rows are missing.
pub async fn print_rows(
    mut query: QueryStream,
    output: Option<Output>,
    interrupts: &Interrupts,
    base: u64,
) -> Result<Printed, Stop> {
    // Only stream queries run as a job.
    let live = query.metrics().is_some();
    let mut printer = Printer::try_new(&query.schema(), output, live)?;
    let mut stop = std::pin::pin!(interrupts.reached(base + 1));
    let (mut rows, mut stopped) = (0, false);
    let failed = loop {
        let batch = tokio::select! {
            biased;
            () = &mut stop => {
                stopped = true;
                if !live {
                    report::warning(&Diagnostic::warning("the query was stopped: rows are missing"));
                }
                // An empty table would say that there are none.
                if !live && rows == 0 {
                    return Ok(Printed { rows, stopped });
                }
                break None;
            }
            batch = query.next() => batch,
        };
        match batch {
            None => break None,
            Some(Ok(batch)) => {
                rows += batch.num_rows() as u64;
                let text = printer.print(batch)?;
                write_or_abort(text, interrupts, base + 2).await?;
            }
            Some(Err(error)) => break Some(error),
        }
    };
    write_or_abort(printer.finish()?, interrupts, base + 2).await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if let Some(metrics) = query.metrics().filter(|metrics| metrics.errors.get() > 0) {
        crate::summary::print_errors(&metrics);
    }
    Ok(Printed { rows, stopped })
}

/// Rows as an aligned table without colours.
pub fn table(rows: &RecordBatch) -> Result<String> {
    Table::new(&rows.schema(), false).render(std::slice::from_ref(rows))
}

/// Turns batches into what is written to standard output.
enum Printer {
    Table { table: Table, held: Vec<RecordBatch>, live: bool },
    Encoded(Box<dyn Encoder>),
}

impl Printer {
    fn try_new(schema: &SchemaRef, output: Option<Output>, live: bool) -> Result<Self> {
        let default = if io::stdout().is_terminal() { Output::Table } else { Output::Json };
        let spec = match output.unwrap_or(default) {
            Output::Table => {
                let table = Table::new(schema, report::colours(&io::stdout()));
                return Ok(Printer::Table { table, held: Vec::new(), live });
            }
            Output::Json => FormatSpec::Json,
            Output::Csv => FormatSpec::Csv(CsvOptions { header: true, ..CsvOptions::default() }),
        };
        Ok(Printer::Encoded(format::encoder(&spec, schema)?))
    }

    fn print(&mut self, batch: RecordBatch) -> Result<Vec<u8>> {
        match self {
            Printer::Encoded(encoder) => {
                let mut out = Vec::new();
                encoder.encode(&batch, &mut out)?;
                Ok(out)
            }
            Printer::Table { table, held, live } => {
                held.push(batch);
                if !*live && held.iter().map(RecordBatch::num_rows).sum::<usize>() < HELD_ROWS {
                    return Ok(Vec::new());
                }
                *live = true;
                Ok(table.render(&std::mem::take(held))?.into_bytes())
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        match self {
            Printer::Table { table, held, live: false } => {
                let mut text = table.render(&std::mem::take(held))?;
                if !table.started {
                    table.header(&mut text);
                }
                Ok(text.into_bytes())
            }
            Printer::Encoded(_) | Printer::Table { .. } => Ok(Vec::new()),
        }
    }
}

/// Writes to standard output at once. A closed pipe is [`Stop::Closed`].
pub fn write(bytes: &[u8]) -> Result<(), Stop> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// [`write()`] on a thread of its own, which a reader that has stopped reading holds up; so many interrupts end the waiting.
async fn write_or_abort(bytes: Vec<u8>, interrupts: &Interrupts, abort: u64) -> Result<(), Stop> {
    if bytes.is_empty() {
        return Ok(());
    }
    tokio::select! {
        written = tokio::task::spawn_blocking(move || write(&bytes)) => match written {
            Ok(written) => written,
            Err(error) => Err(Error::internal("writing to standard output failed unexpectedly").with_cause(error).into()),
        },
        () = interrupts.reached(abort) => Err(Stop::Aborted),
    }
}

/// Turns batches into the lines of a table.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    colours: bool,
    started: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    is_number: bool,
    /// In columns of the terminal.
    width: usize,
}

/// A value, ready to be printed.
struct Cell {
    text: String,
    is_null: bool,
}

impl Table {
    /// A table without rows.
    pub fn new(schema: &SchemaRef, colours: bool) -> Self {
        let column = |field: &arrow::datatypes::FieldRef| {
            let name = escape(field.name().clone());
            let least = match field.data_type() {
                DataType::Timestamp(..) => "2024-01-01 00:00:00.000".len(),
                _ => 0,
            };
            Column { is_number: field.data_type().is_numeric(), width: name.width().max(least), name }
        };
        Self { columns: schema.fields().iter().map(column).collect(), colours, started: false }
    }

    /// The lines of some more rows, with the names before the first.
    pub fn render(&mut self, batches: &[RecordBatch]) -> Result<String> {
        let mut rows = Vec::new();
        for batch in batches {
            let formatters = batch.columns().iter().map(|array| ArrayFormatter::try_new(array.as_ref(), &FORMAT));
            let formatters = formatters.collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let cells = formatters.iter().zip(batch.columns()).map(|(formatter, array)| {
                    Ok(Cell { text: escape(formatter.value(row).try_to_string()?), is_null: array.is_null(row) })
                });
                rows.push(cells.collect::<Result<Vec<_>>>()?);
            }
        }
        for row in &rows {
            for (column, cell) in self.columns.iter_mut().zip(row) {
                column.width = column.width.max(cell.text.width().min(WIDTH_MAX));
            }
        }
        let mut text = String::new();
        if !rows.is_empty() && !self.started {
            self.header(&mut text);
        }
        let (plain, null) = (Style::new(), if self.colours { Style::new().dimmed() } else { Style::new() });
        for row in &rows {
            let cells = row.iter().map(|cell| (cell.text.as_str(), if cell.is_null { null } else { plain }));
            self.line(cells, &mut text);
        }
        Ok(text)
    }

    fn header(&mut self, out: &mut String) {
        self.started = true;
        let (name, rule) = if self.colours { (Style::new().bold(), Style::new().dimmed()) } else { Default::default() };
        self.line(self.columns.iter().map(|column| (column.name.as_str(), name)), out);
        let rules: Vec<_> = self.columns.iter().map(|column| "-".repeat(column.width + 2)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", rule.paint(rules.join("+")));
    }

    fn line<'a>(&self, cells: impl Iterator<Item = (&'a str, Style)>, out: &mut String) {
        let last = self.columns.len().saturating_sub(1);
        for (i, (column, (text, style))) in self.columns.iter().zip(cells).enumerate() {
            // The escape codes of a colour take no room, so the blanks are counted without them.
            let blanks = " ".repeat(column.width.saturating_sub(text.width()));
            let text = style.paint(text);
            // Writing to a string cannot fail.
            let _ = match (column.is_number, i == last) {
                (true, _) => write!(out, " {blanks}{text}"),
                (false, false) => write!(out, " {text}{blanks}"),
                (false, true) => write!(out, " {text}"),
            };
            out.push_str(if i == last { "" } else { " |" });
        }
        out.push('\n');
    }
}

/// Control characters would break the lines apart, or give orders to the terminal.
fn escape(text: String) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
    use arrow::datatypes::Schema;
    use kinesql_engine::types::SqlType;

    use super::*;

    fn batch(rows: &[(Option<&str>, Option<i64>, Option<f64>)]) -> RecordBatch {
        let fields = [("name", SqlType::Varchar(16)), ("at", SqlType::Timestamp), ("price", SqlType::Double)];
        let schema = Schema::new(fields.map(|(name, sql_type)| sql_type.field(name, true)).to_vec());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|(name, ..)| *name).collect::<StringArray>()),
            Arc::new(rows.iter().map(|(_, at, _)| *at).collect::<TimestampMillisecondArray>()),
            Arc::new(rows.iter().map(|(.., price)| *price).collect::<Float64Array>()),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
    }

    #[test]
    fn names_come_once_and_columns_widen() {
        let first = batch(&[(Some("a"), Some(0), Some(1.5)), (None, None, None)]);
        let mut table = Table::new(&first.schema(), false);
        assert_eq!(table.render(&[batch(&[])]).expect("nothing"), "");
        let second = batch(&[(Some("a long\nname"), Some(1_704_067_200_250), Some(123_456.25)), (Some("ü"), None, Some(-7.0))]);
        let text = [table.render(&[first]).expect("rows"), table.render(&[second]).expect("rows")].concat();
        assert_eq!(
            text,
            [
                " name | at                      | price",
                "------+-------------------------+-------",
                " a    | 1970-01-01 00:00:00.000 |   1.5",
                " NULL | NULL                    |  NULL",
                " a long\\nname | 2024-01-01 00:00:00.250 | 123456.25",
                " ü            | NULL                    |      -7.0",
                ""
            ]
            .join("\n")
        );
    }

    #[test]
    fn rows_rendered_together_are_aligned_and_very_long_values_stick_out() {
        let long = "x".repeat(60);
        let rows = batch(&[(Some("a"), None, None), (Some(&long), None, None)]);
        let text = Table::new(&rows.schema(), false).render(&[rows]).expect("rows");
        let bars: Vec<_> = text.lines().map(|line| line.find(['|', '+'])).collect();
        assert_eq!(bars, [Some(50), Some(50), Some(50), Some(62)], "{text}");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let rows = batch(&[(Some("日本"), Some(0), None), (Some("é"), None, None)]);
        let text = Table::new(&rows.schema(), false).render(&[rows]).expect("rows");
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(lines[0], " 日本 | 1970-01-01 00:00:00.000 |  NULL", "{text}");
        assert_eq!(lines[1], " é    | NULL                    |  NULL", "{text}");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = batch(&[(None, Some(0), None)]);
        let text = Table::new(&rows.schema(), true).render(&[rows]).expect("rows");
        let last = text.lines().last().expect("a row");
        assert_eq!(last, " \u{1b}[2mNULL\u{1b}[0m | 1970-01-01 00:00:00.000 |  \u{1b}[2mNULL\u{1b}[0m");
    }

    /// An operator of a query of tables may compute for minutes before it lets go of its thread.
    #[test]
    fn an_interrupt_ends_a_query_that_is_computing_and_the_next_one_answers() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let folder = tempfile::tempdir().expect("a folder");
        let numbers = folder.path().join("n.csv");
        std::fs::write(&numbers, (0..30_000).map(|n| format!("{n}\n")).collect::<String>()).expect("written");
        let engine = kinesql_engine::Engine::builder().connectors(kinesql_connectors::register_all).build().expect("an engine");
        let table = format!("CREATE TABLE N (n BIGINT) WITH (connector = 'file', path = '{}')", numbers.display());
        let interrupts = Interrupts::raised();
        let (stopped, answered) = runtime.block_on(async {
            engine.execute(&kinesql_engine::diagnostic::Script::new("<sql>", table)).await.expect("a table");
            let long = engine.query("SELECT SUM(a.n * b.n) AS s FROM N AS a, N AS b").await.expect("a query");
            let stopped = print_rows(long, Some(Output::Json), &interrupts, 0);
            let (stopped, ()) = tokio::join!(stopped, async { interrupts.raise() });
            let short = engine.query("SELECT COUNT(*) AS c FROM N").await.expect("a query");
            (stopped, print_rows(short, Some(Output::Json), &interrupts, interrupts.count()).await)
        });
        // The operator may still be at it.
        runtime.shutdown_background();
        let printed = (stopped.ok(), answered.ok());
        let expected = (Printed { rows: 0, stopped: true }, Printed { rows: 1, stopped: false });
        assert_eq!(printed, (Some(expected.0), Some(expected.1)));
    }
}
