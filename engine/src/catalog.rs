//! What an engine knows: streams, sources, pumps, sinks, tables and functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use crate::connector::{OptionEntry, Sink, Source};
use crate::diagnostic::Diagnostic;
use crate::format::{DecodeColumn, FormatSpec};
use crate::plan::{Functions, PlanNode, StreamSchemas};
use crate::runtime::error_rows::{ERROR_STREAM, ERROR_STREAM_SCHEMA};
use crate::runtime::rowtime::RowtimeSource;
use crate::table::Table;
use crate::types::{ROWTIME, SqlType, is_declared, with_hidden};

/// All objects, in the order in which they were created where that matters.
#[derive(Clone)]
pub struct Catalog {
    /// Streams and sources by name; `error_stream` is always there.
    pub streams: BTreeMap<String, StreamEntry>,
    /// Pumps in order of creation.
    pub pumps: Vec<PumpEntry>,
    /// Sinks in order of creation.
    pub sinks: Vec<SinkEntry>,
    /// Reference tables by name.
    pub tables: BTreeMap<String, TableEntry>,
    /// Functions that the script created.
    pub functions: Functions,
}

/// A stream.
#[derive(Clone)]
pub struct StreamEntry {
    /// Its columns, ROWTIME last.
    pub schema: SchemaRef,
    /// Where its rows come from, if not from pumps.
    pub source: Option<SourceEntry>,
}

/// A source: a stream that a connector fills.
#[derive(Clone)]
pub struct SourceEntry {
    /// Name of the connector.
    pub connector: String,
    /// The bound connector.
    pub source: Arc<dyn Source>,
    /// How records are encoded.
    pub format: FormatSpec,
    /// The declared columns and where their values stand.
    pub columns: Vec<DecodeColumn>,
    /// What the source knows of each record, but for names that are declared.
    pub metadata: SchemaRef,
    /// True if every column is decoded, also those that nobody reads.
    pub all_columns: bool,
    /// Bytes that the record of a row can have.
    pub row_bytes_max: usize,
    /// Where ROWTIME comes from.
    pub rowtime: Rowtime,
    /// After this long without a row a split no longer holds the watermark back.
    pub idle_timeout: Option<Duration>,
    /// The stream of its late rows.
    pub late: Option<String>,
}

/// Where a source's ROWTIME comes from, by the column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rowtime {
    /// The clock when a row is read.
    Processing,
    /// The time at which the service received it.
    Arrival,
    /// A column; rows may be late by up to `delay_ms`.
    Column {
        /// Its name.
        name: String,
        /// Allowed lateness in milliseconds.
        delay_ms: i64,
    },
}

/// A pump: a query that runs all the time and inserts into a stream.
#[derive(Clone)]
pub struct PumpEntry {
    /// Its name.
    pub name: String,
    /// The stream it inserts into.
    pub target: String,
    /// The query and the insert.
    pub plan: PlanNode,
    /// False while it is stopped.
    pub started: bool,
    /// The switches that its query was planned with, as `name = 'value', …`.
    pub settings: String,
}

/// A sink.
#[derive(Clone)]
pub struct SinkEntry {
    /// Its name.
    pub name: String,
    /// The stream it reads; empty for the sink of a query.
    pub stream: String,
    /// The columns that it writes.
    pub plan: PlanNode,
    /// Name of the connector.
    pub connector: String,
    /// The bound connector.
    pub sink: Arc<dyn Sink>,
}

/// A reference table.
#[derive(Clone)]
pub struct TableEntry {
    /// Its columns.
    pub schema: SchemaRef,
    /// Name of the connector that it was read from.
    pub connector: String,
    /// The bound connector.
    pub source: Arc<dyn Source>,
    /// Its rows.
    pub table: Arc<Table>,
}

/// A connector given outside the script: it replaces what the script says, or stands for what it leaves out.
#[derive(Debug, Clone)]
pub struct SourceBinding {
    /// `connector = …` and its options.
    pub options: Vec<OptionEntry>,
    /// The column that is ROWTIME.
    pub rowtime: Option<String>,
}

/// An object as listings show it.
#[derive(Debug, Clone)]
pub struct Object {
    /// `source`, `stream`, `pump`, `sink`, `table` or `function`.
    pub kind: &'static str,
    /// Its name, exact case.
    pub name: String,
    /// Its columns without ROWTIME, a function's parameters; empty for pumps and sinks.
    pub columns: Vec<FieldRef>,
    /// Connector, what a pump reads and writes, or what a function returns.
    pub detail: String,
}

impl Default for Catalog {
    fn default() -> Self {
        let errors = StreamEntry { schema: ERROR_STREAM_SCHEMA.clone(), source: None };
        let streams = BTreeMap::from([(ERROR_STREAM.to_owned(), errors)]);
        Self { streams, pumps: Vec::new(), sinks: Vec::new(), tables: BTreeMap::new(), functions: Functions::default() }
    }
}

impl Catalog {
    /// The columns of every stream.
    pub fn schemas(&self) -> StreamSchemas {
        self.streams.iter().map(|(name, entry)| (name.clone(), entry.schema.clone())).collect()
    }

    /// The source whose late rows are the stream `name`.
    pub fn source_of_late(&self, name: &str) -> Option<&str> {
        let is_late = |entry: &StreamEntry| entry.source.as_ref().is_some_and(|source| source.late.as_deref() == Some(name));
        self.streams.iter().find(|(_, entry)| is_late(entry)).map(|(source, _)| source.as_str())
    }

    /// Streams that `plan` reads.
    pub fn inputs(plan: &PlanNode) -> Vec<String> {
        let mut inputs = Vec::new();
        plan.for_each_scan(&mut |stream, _| {
            if !inputs.iter().any(|input| input == stream) {
                inputs.push(stream.to_owned());
            }
        });
        inputs
    }

    /// The pumps that a query depends on, directly or through other pumps, in order of creation.
    pub fn pumps_behind(&self, query: &PlanNode) -> Vec<&PumpEntry> {
        self.pumps_into(Self::inputs(query))
    }

    /// The running pumps that bring rows to the streams `wanted`, directly or through other pumps.
    fn pumps_into(&self, mut wanted: Vec<String>) -> Vec<&PumpEntry> {
        let mut found = vec![false; self.pumps.len()];
        while let Some(stream) = wanted.pop() {
            for (pump, found) in self.pumps.iter().zip(&mut found) {
                if pump.target == stream && pump.started && !*found {
                    *found = true;
                    wanted.extend(Self::inputs(&pump.plan));
                }
            }
        }
        self.pumps.iter().zip(found).filter_map(|(pump, found)| found.then_some(pump)).collect()
    }

    /// A warning if no source is behind a query, so that it ends at once.
    pub fn without_rows(&self, query: &PlanNode) -> Option<Diagnostic> {
        let inputs = Self::inputs(query);
        let pumps = self.pumps_behind(query);
        let mut all = inputs.iter().cloned().chain(pumps.iter().flat_map(|pump| Self::inputs(&pump.plan)));
        let is_fed = |name: &str| {
            self.source_of_late(name).is_some() || self.streams.get(name).is_some_and(|entry| entry.source.is_some())
        };
        if all.any(|name| is_fed(&name)) {
            return None;
        }
        Some(match inputs.first()?.as_str() {
            ERROR_STREAM => {
                Diagnostic::warning("error_stream has no rows in a query that reads nothing else: a query runs by itself")
                    .hint("Let a sink read it beside the others: CREATE SINK … FROM error_stream, or --sink error_stream=-.")
            }
            name => Diagnostic::warning(format!("stream \"{name}\" has no rows: no running pump brings it any from a source")),
        })
    }

    /// A warning if no source is behind a stream that a sink reads. `error_stream` has rows of its own.
    pub fn stream_without_rows(&self, name: &str) -> Option<Diagnostic> {
        let pumps = self.pumps_into(vec![name.to_owned()]);
        let reads_tables = pumps.iter().any(|pump| Self::inputs(&pump.plan).is_empty());
        let mut behind = std::iter::once(name.to_owned()).chain(pumps.iter().flat_map(|pump| Self::inputs(&pump.plan)));
        let is_fed = |name: &str| {
            name.eq_ignore_ascii_case(ERROR_STREAM)
                || self.source_of_late(name).is_some()
                || self.streams.get(name).is_none_or(|entry| entry.source.is_some())
        };
        if reads_tables || behind.any(|name| is_fed(&name)) {
            return None;
        }
        let warning = Diagnostic::warning(format!("stream \"{name}\" has no rows: no running pump brings it any from a source"));
        let stopped = self.pumps.iter().find(|pump| pump.target == name && !pump.started);
        Some(match stopped {
            Some(pump) => warning.hint(format!("Pump \"{0}\" is stopped: ALTER PUMP \"{0}\" START.", pump.name)),
            None if pumps.is_empty() => warning.hint("Nothing fills it: CREATE PUMP … AS INSERT INTO it."),
            None => warning,
        })
    }

    /// A way from `from` to `to` along pumps, as names of streams; None if there is none.
    pub fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        fn search(catalog: &Catalog, at: &str, to: &str, seen: &mut Vec<String>) -> Option<Vec<String>> {
            if at == to {
                return Some(vec![at.to_owned()]);
            }
            if seen.iter().any(|stream| stream == at) {
                return None;
            }
            seen.push(at.to_owned());
            let readers = catalog.pumps.iter().filter(|pump| Catalog::inputs(&pump.plan).iter().any(|input| input == at));
            for pump in readers {
                if let Some(mut rest) = search(catalog, &pump.target, to, seen) {
                    rest.insert(0, at.to_owned());
                    return Some(rest);
                }
            }
            None
        }
        search(self, from, to, &mut Vec::new())
    }

    /// All objects, for listings.
    pub fn objects(&self) -> Vec<Object> {
        let columns =
            |schema: &SchemaRef| schema.fields().iter().filter(|field| is_declared(schema, field.name())).cloned().collect();
        let streams = self.streams.iter().map(|(name, entry)| {
            let (kind, detail) = match &entry.source {
                Some(source) => ("source", source.connector.clone()),
                None => ("stream", String::new()),
            };
            Object { kind, name: name.clone(), columns: columns(&entry.schema), detail }
        });
        let pumps = self.pumps.iter().map(|pump| {
            let stopped = if pump.started { "" } else { ", stopped" };
            let detail = format!("{} → {}{stopped}", Self::inputs(&pump.plan).join(", "), pump.target);
            Object { kind: "pump", name: pump.name.clone(), columns: Vec::new(), detail }
        });
        let sinks = self.sinks.iter().map(|sink| {
            let detail = format!("{} → {}", sink.stream, sink.connector);
            Object { kind: "sink", name: sink.name.clone(), columns: Vec::new(), detail }
        });
        let tables = self.tables.iter().map(|(name, table)| {
            let detail = format!("{}, {} rows", table.connector, table.table.contents().rows());
            Object { kind: "table", name: name.clone(), columns: columns(&table.schema), detail }
        });
        let functions = self.functions.0.iter().map(|function| {
            let columns = function.parameters.iter().map(|(name, sql_type)| sql_type.field(name, true)).collect();
            Object { kind: "function", name: function.name.clone(), columns, detail: format!("returns {}", function.returns) }
        });
        streams.chain(pumps).chain(sinks).chain(tables).chain(functions).collect()
    }
}

impl SourceEntry {
    /// Schema of rows with some of the declared columns, some of the metadata, and ROWTIME.
    pub fn stream_schema(columns: &[DecodeColumn], metadata: &Schema) -> SchemaRef {
        let fields = columns.iter().map(|column| column.field.clone()).chain(metadata.fields().iter().cloned());
        Arc::new(Schema::new(fields.chain([SqlType::Timestamp.field(ROWTIME, false)]).collect::<Vec<_>>()))
    }

    /// The source's stream, for the catalog.
    pub fn into_stream(self) -> StreamEntry {
        let schema = Self::stream_schema(&self.columns, &self.metadata);
        let hidden: Vec<_> = self.metadata.fields().iter().map(|field| field.name().as_str()).collect();
        let schema = Arc::new(with_hidden(schema.as_ref().clone(), &hidden));
        StreamEntry { schema, source: Some(self) }
    }

    /// Where ROWTIME comes from, if only `columns` are decoded.
    pub fn rowtime_source(&self, columns: &[DecodeColumn]) -> RowtimeSource {
        match &self.rowtime {
            Rowtime::Processing => RowtimeSource::Processing,
            Rowtime::Arrival => RowtimeSource::Arrival,
            Rowtime::Column { name, delay_ms } => {
                let index = columns.iter().position(|column| column.field.name() == name).unwrap_or(0);
                RowtimeSource::Column { index, delay_ms: *delay_ms }
            }
        }
    }
}
