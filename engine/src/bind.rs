//! Binding: a parsed statement changes the catalog, or says with its place why it cannot.

mod function;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::execution::SessionState;

use crate::catalog::{Catalog, Object, PumpEntry, Rowtime, SinkEntry, SourceBinding, SourceEntry, StreamEntry, TableEntry};
use crate::connector::common::{
    CONNECTOR, CSV_DELIMITER, CSV_HEADER, CSV_ROW_DELIMITER, IDLE_TIMEOUT, JSON_ROW_PATH, LATE, METADATA, RECORD_OPTIONS,
    REFRESH, SINK_OPTIONS, SOURCE_OPTIONS, TABLE_OPTIONS, format_option,
};
use crate::connector::options::parse_duration;
use crate::connector::{
    ConnectorRegistry, OptionEntry, OptionSpec, Options, Payload, SinkDefinition, SinkFactory, Source, SourceContext,
    SourceDefinition, SourceFactory, kinesis_metadata,
};
use crate::diagnostic::{Diagnostic, Span};
use crate::error::Error;
use crate::format::{self, CsvOptions, DecodeColumn, FormatSpec, RowEnd};
use crate::plan::names::{unknown_input, unknown_stream};
use crate::plan::query::stream_schema_of;
use crate::plan::{PlanNode, QueryPlan, plan_stream_query};
use crate::runtime::clock::Clock;
use crate::runtime::error_rows::ERROR_STREAM;
use crate::settings::Settings;
use crate::sql::reserved::warning_of;
use crate::sql::{
    AlterPump, CreatePump, CreateSink, CreateSource, CreateStream, CreateTable, Drop as DropStatement, Name, ObjectKind, Query,
    SourceColumn, StatementKind, Watermark,
};
use crate::table::Table;
use crate::types::{ROWTIME, SqlType, is_declared};

/// Problems of one statement.
type Problems = Vec<Diagnostic>;

/// What binding needs besides the catalog.
pub(crate) struct Binder<'a> {
    pub(crate) catalog: &'a mut Catalog,
    pub(crate) state: &'a SessionState,
    pub(crate) connectors: &'a ConnectorRegistry,
    pub(crate) bindings: &'a BTreeMap<String, SourceBinding>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    /// What no source can have, since it is used otherwise: see [`Source::exclusive`].
    pub(crate) in_use: &'a [(String, Diagnostic)],
    /// Options of every source of a connector, from outside the script.
    pub(crate) source_options: &'a [(String, OptionEntry)],
    /// True if a source that declares no columns gets those of its records.
    pub(crate) infers: bool,
    /// Warnings of the statements bound so far.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Binder<'_> {
    pub(crate) async fn create_stream(&mut self, statement: &CreateStream) -> Result<String, Problems> {
        let name = &statement.name;
        let is_free = self.check_new_stream(name, statement.or_replace);
        let is_free = is_free.and_then(|()| statement.query.as_ref().map_or(Ok(()), |_| self.check_free_for_stream(name)));
        let plan = match &statement.query {
            Some(query) => self.plan(query).await.map(Some),
            None => Ok(None),
        };
        let ((), plan) = both(is_free, plan)?;
        let plan = plan.map(|plan| if statement.columns.is_empty() { plan.without_rowtime() } else { plan });
        let schema = match &plan {
            Some(plan) if statement.columns.is_empty() => {
                let schema = stream_schema_of(plan)?;
                check_columns_of_query(name, &schema)?;
                schema
            }
            _ => {
                let columns = statement
                    .columns
                    .iter()
                    .map(|column| (&column.name, column.sql_type.field(&column.name.value, !column.not_null)));
                let columns = distinct(columns)?;
                Arc::new(Schema::new(columns.into_iter().chain([SqlType::Timestamp.field(ROWTIME, false)]).collect::<Vec<_>>()))
            }
        };
        if statement.or_replace {
            self.drop_stream(&name.value);
        }
        self.warn_of_names(statement.columns.iter().map(|column| &column.name));
        self.catalog.streams.insert(name.value.clone(), StreamEntry { schema: schema.clone(), source: None });
        if let Some(plan) = plan {
            let (plan, warnings) = plan.insert_into(name, &schema, None)?;
            self.check_no_cycle(&format!("stream \"{}\"", name.value), &plan, name)?;
            self.warnings.extend(warnings);
            let (pump, target) = (name.value.clone(), name.value.clone());
            self.catalog.pumps.push(PumpEntry { name: pump, target, plan, started: true, settings: self.settings() });
        }
        Ok(format!("stream {}", name.value))
    }

    pub(crate) async fn create_pump(&mut self, statement: &CreatePump) -> Result<String, Problems> {
        let CreatePump { name, target, columns, query, started, or_replace } = statement;
        let is_taken = !or_replace && self.catalog.pumps.iter().any(|pump| pump.name == name.value);
        let is_free = if is_taken { Err(vec![already_exists("pump", name)]) } else { Ok(()) };
        let (schema, plan) = both(self.columns_to_fill(name, target), self.plan(query).await)?;
        let inserted = plan.insert_into(target, &schema, columns.as_deref());
        let ((), (plan, warnings)) = both(is_free, inserted)?;
        let (name_of_pump, name_of_target) = (name.value.clone(), target.value.clone());
        let settings = self.settings();
        let pump = PumpEntry { name: name_of_pump, target: name_of_target, plan, started: *started, settings };
        self.catalog.pumps.retain(|other| other.name != name.value);
        self.check_no_cycle(&format!("pump \"{}\"", name.value), &pump.plan, target)?;
        self.warnings.extend(warnings);
        self.catalog.pumps.push(pump);
        Ok(format!("pump {}", name.value))
    }

    /// The columns of the stream that pump `name` fills.
    fn columns_to_fill(&self, name: &Name, target: &Name) -> Result<SchemaRef, Problems> {
        if target.value.eq_ignore_ascii_case(ERROR_STREAM) {
            let problem = Diagnostic::error(format!("pump \"{}\" cannot insert into error_stream", name.value));
            return Err(vec![problem.at(target.span).hint("The engine alone writes it; any pump or sink may read it.")]);
        }
        let Some(entry) = self.catalog.streams.get(&target.value) else {
            return Err(vec![unknown_stream(&target.value, self.catalog.streams.keys().map(String::as_str)).at(target.span)]);
        };
        self.check_no_late_stream(target)?;
        if entry.source.is_some() {
            let problem = Diagnostic::error(format!("\"{}\" is a source: pumps cannot insert into it", target.value));
            return Err(vec![problem.at(target.span).hint("Create a stream with CREATE STREAM and insert into that.")]);
        }
        Ok(entry.schema.clone())
    }

    /// Fails if a pump with `plan` into `target`, which `what` makes, would feed itself.
    fn check_no_cycle(&self, what: &str, plan: &PlanNode, target: &Name) -> Result<(), Problems> {
        for input in Catalog::inputs(plan) {
            if let Some(path) = self.catalog.path(&target.value, &input) {
                let streams = path.iter().chain([&target.value]).map(|stream| format!("\"{stream}\""));
                let path = streams.collect::<Vec<_>>().join(" → ");
                let problem = Diagnostic::error(format!("{what} closes a cycle: {path}")).at(target.span);
                return Err(vec![problem.hint("A pump may not feed a stream that it reads, directly or through other pumps.")]);
            }
        }
        Ok(())
    }

    /// Fails if the pump that CREATE STREAM … AS SELECT makes, of the stream's name, is there already for another stream.
    fn check_free_for_stream(&self, name: &Name) -> Result<(), Problems> {
        match self.catalog.pumps.iter().find(|pump| pump.name == name.value && pump.target != name.value) {
            None => Ok(()),
            Some(pump) => {
                let problem = Diagnostic::error(format!("pump \"{}\" exists already: it feeds \"{}\"", name.value, pump.target));
                let hint =
                    "The SELECT of a CREATE STREAM runs as a pump of the stream's name: choose another name for one of the two.";
                Err(vec![problem.at(name.span).hint(hint)])
            }
        }
    }

    pub(crate) async fn create_source(&mut self, statement: &CreateSource) -> Result<String, Problems> {
        let name = &statement.name;
        let binding = self.bindings.get(&name.value);
        // A binding from outside has made a source of this name already; now its columns are declared.
        let replace = statement.or_replace || binding.is_some();
        let is_free = self.check_new_stream(name, replace);
        let (options, span) = match binding {
            Some(binding) => (&binding.options, None),
            None => (&statement.options, Some(statement.options_span)),
        };
        let columns = distinct(statement.columns.iter().map(|column| (&column.name, column)))?;
        let watermark = binding.is_none_or(|binding| binding.rowtime.is_none()).then_some(statement.watermark.as_ref()).flatten();
        let rowtime = binding.and_then(|binding| binding.rowtime.as_deref());
        let inherited = binding.map_or(&[][..], |_| &statement.options);
        let entry = self.bind_source(&name.value, &columns, watermark, rowtime, options, span, inherited, SOURCE_OPTIONS).await;
        let ((), entry) = both(is_free, entry)?;
        let late_span = value_span(options, LATE.name).unwrap_or(name.span);
        self.check_late_stream(&name.value, &entry).map_err(|problem| vec![problem.at(late_span)])?;
        if replace {
            self.drop_stream(&name.value);
        }
        self.insert_source(&name.value, entry);
        self.warn_of_names(statement.columns.iter().map(|column| &column.name));
        Ok(format!("source {}", name.value))
    }

    /// Warns of columns that are called by a reserved word without quotes.
    fn warn_of_names<'n>(&mut self, names: impl Iterator<Item = &'n Name>) {
        self.warnings.extend(names.filter(|name| !name.quoted).filter_map(|name| warning_of(&name.value, name.span)));
    }

    /// Adds a source that exists outside the script only.
    pub(crate) async fn add_bound_source(&mut self, name: &str, binding: &SourceBinding) -> Result<(), Problems> {
        let (rowtime, options) = (binding.rowtime.as_deref(), &binding.options);
        let entry = self.bind_source(name, &[], None, rowtime, options, None, &[], SOURCE_OPTIONS).await?;
        self.check_late_stream(name, &entry).map_err(|problem| vec![problem])?;
        self.insert_source(name, entry);
        Ok(())
    }

    /// Adds a source and the stream of its late rows.
    fn insert_source(&mut self, name: &str, entry: SourceEntry) {
        let late = entry.late.clone();
        let stream = entry.into_stream();
        if let Some(late) = late {
            self.catalog.streams.insert(late, StreamEntry { schema: stream.schema.clone(), source: None });
        }
        self.catalog.streams.insert(name.to_owned(), stream);
    }

    /// Checks that the name of the late rows is free, unless it was that of the source's late rows before.
    fn check_late_stream(&self, source: &str, entry: &SourceEntry) -> Result<(), Diagnostic> {
        let Some(late) = entry.late.as_deref() else { return Ok(()) };
        let is_taken = self.catalog.streams.contains_key(late) || self.catalog.tables.contains_key(late);
        if late == source || (is_taken && self.catalog.source_of_late(late) != Some(source)) {
            let problem = Diagnostic::error(format!("\"{late}\" exists already: it cannot be the late rows of \"{source}\""));
            return Err(problem.hint("Choose a name of its own for the stream of late rows."));
        }
        Ok(())
    }

    /// The problem of changing the stream `name`, if it is one of late rows.
    fn check_no_late_stream(&self, name: &Name) -> Result<(), Problems> {
        match self.catalog.source_of_late(&name.value) {
            None => Ok(()),
            Some(source) => {
                let problem = Diagnostic::error(format!("\"{}\" has the late rows of source \"{source}\"", name.value));
                Err(vec![problem.at(name.span).hint("Any pump or sink may read it; it comes and goes with its source.")])
            }
        }
    }

    pub(crate) fn create_sink(&mut self, statement: &CreateSink) -> Result<String, Problems> {
        let CreateSink { name, from, options, options_span, or_replace } = statement;
        let is_taken = !or_replace && self.catalog.sinks.iter().any(|sink| sink.name == name.value);
        let is_free = if is_taken { Err(vec![already_exists("sink", name)]) } else { Ok(()) };
        let ((), entry) = both(is_free, self.bind_sink(&name.value, from, options, Some(*options_span)))?;
        self.catalog.sinks.retain(|sink| sink.name != name.value);
        self.catalog.sinks.push(entry);
        Ok(format!("sink {}", name.value))
    }

    /// Binds a sink without adding it.
    pub(crate) fn bind_sink(
        &self,
        name: &str,
        from: &Name,
        options: &[OptionEntry],
        span: Option<Span>,
    ) -> Result<SinkEntry, Problems> {
        let at = |diagnostic: Diagnostic| if from.span == Span::default() { diagnostic } else { diagnostic.at(from.span) };
        // error_stream is written in any case in configurations; its own name is lower case.
        let stream = if from.value.eq_ignore_ascii_case(ERROR_STREAM) { ERROR_STREAM } else { from.value.as_str() };
        let entry = self.catalog.streams.get(stream);
        let entry = entry.ok_or_else(|| vec![at(unknown_input(stream, self.catalog.streams.keys().map(String::as_str)))]);
        let (entry, CheckedSink { factory, options, format }) = both(entry, self.check_sink(options, span))?;
        let plan = declared_columns(stream, &entry.schema);
        let definition = SinkDefinition { name: name.to_owned(), stream: stream.to_owned(), schema: plan.schema(), format };
        let sink = factory.create(&definition, &options).map_err(|error| vec![place(from_error(&error), span)])?;
        Ok(SinkEntry { name: name.to_owned(), stream: stream.to_owned(), plan, connector: factory.name().to_owned(), sink })
    }

    /// The connector of a sink and its options, whatever stream it reads.
    fn check_sink(&self, options: &[OptionEntry], span: Option<Span>) -> Result<CheckedSink<'_>, Problems> {
        let known: Vec<_> = self.connectors.sinks().map(|factory| factory.name()).collect();
        let connector = connector_name("sink", options, span, &known)?;
        let Some(factory) = self.connectors.sink(&connector.value) else {
            return Err(vec![unknown_connector("sink", connector, &known)]);
        };
        let format_of_sink = format_option(factory.formats());
        let mut specs = vec![&CONNECTOR];
        if !factory.formats().is_empty() {
            specs.push(&format_of_sink);
            specs.extend(SINK_OPTIONS);
        }
        specs.extend(factory.options());
        let checked = Options::check(&format!("connector '{}'", factory.name()), &specs, options, span)?;
        let format = match checked.text("format") {
            None => {
                let format = format_spec(format_of_path(&checked), &checked, options)?;
                check_csv_options(&format, options)?;
                check_written_csv(&format, options)?;
                None
            }
            Some(word) => {
                let format = format_spec(word, &checked, options)?;
                check_csv_options(&format, options)?;
                check_written_csv(&format, options)?;
                Some(format)
            }
        };
        Ok(CheckedSink { factory, options: checked, format })
    }

    /// What is wrong with the options of a statement that cannot be bound, since its columns are wrong.
    pub(crate) fn problems_of_options(&self, statement: &StatementKind) -> Problems {
        let (name, options, span, known) = match statement {
            StatementKind::CreateSource(CreateSource { name, options, options_span, .. }) => {
                (name, options, options_span, SOURCE_OPTIONS)
            }
            StatementKind::CreateTable(CreateTable { name, options, options_span, .. }) => {
                (name, options, options_span, TABLE_OPTIONS)
            }
            _ => return Vec::new(),
        };
        // A binding from outside takes their place.
        if self.bindings.contains_key(&name.value) {
            return Vec::new();
        }
        self.check_source(&name.value, options, Some(*span), &[], known).err().unwrap_or_default()
    }

    /// Reads a reference table as a whole; returns it for the session.
    pub(crate) async fn create_table(&mut self, statement: &CreateTable) -> Result<(String, Arc<Table>), Problems> {
        let CreateTable { name, columns, options, options_span, or_replace } = statement;
        let binding = self.bindings.get(&name.value);
        let (options, span, inherited) = match binding {
            Some(binding) if binding.rowtime.is_some() => {
                let problem = Diagnostic::error(format!("--rowtime {}=…: it is a table, which has no event time", name.value));
                return Err(vec![problem.at(name.span)]);
            }
            // A binding from outside has made a stream of this name already; now it is a table.
            Some(binding) => {
                if self.catalog.streams.get(&name.value).is_some_and(|stream| stream.source.is_some()) {
                    self.drop_stream(&name.value);
                }
                (&binding.options, None, &options[..])
            }
            None => (options, Some(*options_span), &[][..]),
        };
        if !or_replace && self.catalog.tables.contains_key(&name.value) {
            return Err(vec![already_exists("table", name)]);
        }
        if let Some(stream) = self.catalog.streams.get(&name.value) {
            return Err(vec![is_another(if stream.source.is_some() { "source" } else { "stream" }, name)]);
        }
        let columns = distinct(columns.iter().map(|column| (&column.name, column)))?;
        let entry = self.bind_source(&name.value, &columns, None, None, options, span, inherited, TABLE_OPTIONS).await?;
        let interval = match options.iter().find(|option| option.key == REFRESH.name) {
            Some(option) => match parse_duration(&option.value) {
                Some(interval) if !interval.is_zero() => Some(interval),
                _ => {
                    let problem = Diagnostic::error(format!("option \"refresh\" cannot be '{}'", option.value));
                    return Err(vec![place(problem, option.value_span).label("expected a time span above 0")]);
                }
            },
            None => None,
        };
        let at_name = |error: Error| vec![from_error(&error).at(name.span)];
        if !entry.source.is_bounded() {
            let problem = Diagnostic::error(format!("table \"{}\" cannot be read as a whole: its source never ends", name.value));
            return Err(vec![problem.at(name.span).hint("Use CREATE SOURCE for endless data.")]);
        }
        if let Some(key) = entry.source.leaves_out() {
            let problem =
                Diagnostic::error(format!("option \"{key}\" has no meaning in CREATE TABLE: a table is read as a whole"));
            let option = options.iter().find(|option| option.key == key);
            return Err(vec![
                place(problem, option.and_then(|option| option.key_span)).hint("Leave it out, or use CREATE SOURCE."),
            ]);
        }
        let fields: Vec<_> = entry.columns.iter().map(|column| column.field.clone()).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let (connector, source) = (entry.connector.clone(), entry.source.clone());
        let table = Table::load(&name.value, entry, schema.clone(), self.clock.clone(), interval).await.map_err(at_name)?;
        let contents = table.contents();
        if let Some(first) = &contents.first_refused {
            let (refused, name) = (contents.refused, &name.value);
            let what = format!("{refused} records of table \"{name}\" cannot be used and are left out; the first: {first}");
            self.warnings.push(Diagnostic::warning(what).at(statement.name.span));
        }
        self.warn_of_names(statement.columns.iter().map(|column| &column.name));
        self.catalog.tables.insert(name.value.clone(), TableEntry { schema, connector, source, table: table.clone() });
        Ok((format!("table {}", name.value), table))
    }

    /// The table that REFRESH TABLE names.
    pub(crate) fn table(&self, name: &Name) -> Result<Arc<Table>, Problems> {
        match self.catalog.tables.get(&name.value) {
            Some(entry) => Ok(entry.table.clone()),
            None => {
                let problem = Diagnostic::error(format!("table \"{}\" does not exist", name.value)).at(name.span);
                Err(vec![problem.missing(&name.value).did_you_mean(&name.value, self.catalog.tables.keys().map(String::as_str))])
            }
        }
    }

    pub(crate) fn drop_object(&mut self, statement: &DropStatement) -> Result<String, Problems> {
        let DropStatement { kind, name, if_exists, restrict } = statement;
        if *restrict && matches!(kind, ObjectKind::Stream | ObjectKind::Source) {
            self.check_unused(name)?;
        }
        let (word, existed) = match kind {
            ObjectKind::Stream | ObjectKind::Source => {
                self.check_no_late_stream(name)?;
                let word = if matches!(kind, ObjectKind::Stream) { "stream" } else { "source" };
                let is_source = self.catalog.streams.get(&name.value).map(|entry| entry.source.is_some());
                let existed = is_source == Some(word == "source") && name.value != ERROR_STREAM;
                if existed {
                    self.drop_stream(&name.value);
                }
                (word, existed)
            }
            ObjectKind::Pump => ("pump", remove(&mut self.catalog.pumps, |pump| pump.name == name.value)),
            ObjectKind::Sink => ("sink", remove(&mut self.catalog.sinks, |sink| sink.name == name.value)),
            ObjectKind::Table => ("table", self.catalog.tables.remove(&name.value).is_some()),
        };
        if !existed && !if_exists {
            let names: Vec<_> =
                self.catalog.objects().into_iter().filter(|object| object.kind == word).map(|object| object.name).collect();
            let problem = Diagnostic::error(format!("{word} \"{}\" does not exist", name.value)).at(name.span);
            let is_relation = matches!(kind, ObjectKind::Stream | ObjectKind::Source | ObjectKind::Table);
            let problem = if is_relation { problem.missing(&name.value) } else { problem };
            let of_another_kind = self.catalog.objects().into_iter().find(|object| object.name == name.value);
            return Err(vec![match of_another_kind.filter(|object| object.name != ERROR_STREAM) {
                Some(Object { kind, .. }) => {
                    let hint = format!("Write DROP {} \"{}\".", kind.to_uppercase(), name.value);
                    problem.label(format!("it is a {kind}")).hint(hint)
                }
                None => problem.did_you_mean(&name.value, names.iter().map(String::as_str)),
            }]);
        }
        Ok(format!("{word} {}", name.value))
    }

    /// Fails if a pump or a sink depends on the stream `name`.
    fn check_unused(&self, name: &Name) -> Result<(), Problems> {
        let pumps = self
            .catalog
            .pumps
            .iter()
            .filter(|pump| pump.target == name.value || Catalog::inputs(&pump.plan).contains(&name.value));
        let pumps = pumps.map(|pump| format!("pump \"{}\"", pump.name));
        let sinks = self.catalog.sinks.iter().filter(|sink| sink.stream == name.value);
        let users: Vec<_> = pumps.chain(sinks.map(|sink| format!("sink \"{}\"", sink.name))).collect();
        if users.is_empty() {
            return Ok(());
        }
        let (verb, them) = if users.len() == 1 { ("uses", "it") } else { ("use", "them") };
        let problem = Diagnostic::error(format!("stream \"{}\" cannot be dropped: {} {verb} it", name.value, users.join(", ")));
        Err(vec![problem.at(name.span).hint(format!("Drop {them} first, or write CASCADE to drop {them} as well."))])
    }

    pub(crate) fn alter_pump(&mut self, statement: &AlterPump) -> Result<String, Problems> {
        let mut problems = Vec::new();
        if statement.names.is_empty() {
            self.catalog.pumps.iter_mut().for_each(|pump| pump.started = statement.start);
            return Ok("all pumps".to_owned());
        }
        for name in &statement.names {
            match self.catalog.pumps.iter_mut().find(|pump| pump.name == name.value) {
                Some(pump) => pump.started = statement.start,
                None => {
                    let names = self.catalog.pumps.iter().map(|pump| pump.name.as_str());
                    problems.push(
                        Diagnostic::error(format!("pump \"{}\" does not exist", name.value))
                            .at(name.span)
                            .did_you_mean(&name.value, names),
                    );
                }
            }
        }
        let names: Vec<_> = statement.names.iter().map(|name| name.value.as_str()).collect();
        if problems.is_empty() { Ok(format!("pump {}", names.join(", "))) } else { Err(problems) }
    }

    fn settings(&self) -> String {
        Settings::of(self.state).to_string()
    }

    /// Plans a stream query over the catalog's streams and the session's tables.
    pub(crate) async fn plan(&self, query: &Query) -> Result<QueryPlan, Problems> {
        plan_stream_query(query, self.state, &self.catalog.schemas(), &self.catalog.functions, self.clock.now()).await
    }

    fn check_new_stream(&self, name: &Name, or_replace: bool) -> Result<(), Problems> {
        if name.value.eq_ignore_ascii_case(ERROR_STREAM) {
            return Err(vec![Diagnostic::error("error_stream exists already: the engine creates it").at(name.span)]);
        }
        if self.catalog.tables.contains_key(&name.value) {
            return Err(vec![is_another("table", name)]);
        }
        self.check_no_late_stream(name)?;
        let taken = self.catalog.streams.contains_key(&name.value);
        if taken && !or_replace { Err(vec![already_exists("stream", name)]) } else { Ok(()) }
    }

    /// Drops a stream and, as CREATE OR REPLACE does, what depends on it (kda-sql-reference.md §2.1).
    fn drop_stream(&mut self, name: &str) {
        let dropped = self.catalog.streams.remove(name);
        if let Some(late) = dropped.and_then(|entry| entry.source?.late) {
            self.drop_stream(&late);
        }
        self.catalog.pumps.retain(|pump| pump.target != name && !Catalog::inputs(&pump.plan).iter().any(|input| input == name));
        self.catalog.sinks.retain(|sink| sink.stream != name);
    }

    /// `inherited`: the options of a statement whose source is replaced from outside the script. `engine_options`: those of the
    /// engine, besides the connector's own, that make sense here.
    #[allow(clippy::too_many_arguments, reason = "each is one part of the statement")]
    pub(crate) async fn bind_source(
        &self,
        name: &str,
        declared: &[&SourceColumn],
        watermark: Option<&Watermark>,
        rowtime_column: Option<&str>,
        options: &[OptionEntry],
        span: Option<Span>,
        inherited: &[OptionEntry],
        engine_options: &[&OptionSpec],
    ) -> Result<SourceEntry, Problems> {
        let CheckedSource { factory, options, checked } = self.check_source(name, options, span, inherited, engine_options)?;
        let options = options.as_slice();
        let format = match checked.text("format") {
            Some(word) => format_spec(word, &checked, options)?,
            None if factory.formats().contains(&"parquet") && names_parquet(&checked) => FormatSpec::Parquet,
            None => format_spec(format_of_path(&checked), &checked, options)?,
        };
        check_csv_options(&format, options)?;
        let row_path = checked.text(JSON_ROW_PATH.name).filter(|path| *path != "$");
        check_row_path(&format, declared, options)?;
        check_paths_allowed(&format, declared)?;
        let mut columns: Vec<DecodeColumn> = declared
            .iter()
            .enumerate()
            .map(|(index, column)| DecodeColumn {
                field: column.sql_type.field(&column.name.value, !column.not_null),
                path: path_in_record(row_path, column),
                index,
            })
            .collect();
        let fields = (!columns.is_empty())
            .then(|| Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>())));
        let definition = SourceDefinition { name: name.to_owned(), schema: fields, format: format.clone() };
        let failed = |error: Error| vec![place(from_error(&error), span)];
        let source = factory.create(&definition, &checked).map_err(failed)?;
        let connector_span = value_span(options, CONNECTOR.name).or(span);
        self.check_exclusive(name, source.as_ref()).map_err(|problem| vec![place(problem, connector_span)])?;
        source.inspect().await.map_err(failed)?;
        let mut metadata = SchemaRef::new(Schema::empty());
        match source.payload() {
            Payload::Bytes => {
                metadata = source.metadata();
                if columns.is_empty() && self.infers {
                    columns = self.infer_columns(source.as_ref(), &format).await.map_err(failed)?;
                }
                // Paths and types that the format cannot take are wrong now, not when a job starts.
                check_column_paths(&format, declared, &columns)?;
                if !columns.is_empty() {
                    format::decoder(&format, columns.clone()).map_err(failed)?;
                }
            }
            Payload::Batches(schema) => {
                refuse_paths(declared, "the source delivers rows: a column of it is found by its name")?;
                if format != FormatSpec::Parquet && options.iter().any(|option| option.key == "format") {
                    let problem = Diagnostic::error(format!("connector '{}' delivers rows: it takes no format", factory.name()));
                    return Err(vec![place(problem, value_span(options, "format"))]);
                }
                columns = match_columns(&schema, declared)?;
            }
        }
        let rowtime = match (rowtime_column, watermark, checked.text("rowtime")) {
            (Some(column), ..) => Rowtime::Column { name: column.to_owned(), delay_ms: 0 },
            (None, Some(watermark), None) => {
                Rowtime::Column { name: watermark.column.value.clone(), delay_ms: watermark.delay_ms }
            }
            (None, Some(_), Some(_)) => {
                let problem = Diagnostic::error("a source has either a WATERMARK clause or the option \"rowtime\"");
                return Err(vec![place(
                    problem,
                    options.iter().find(|option| option.key == "rowtime").and_then(|option| option.key_span),
                )]);
            }
            (None, None, Some("arrival")) if !source.has_arrival_times() => {
                let problem = Diagnostic::error(format!("connector '{}' does not know when records arrived", factory.name()));
                let problem = problem.hint("Use rowtime = 'processing', or a WATERMARK clause for a column that has the time.");
                return Err(vec![place(problem, value_span(options, "rowtime"))]);
            }
            (None, None, Some("arrival")) => Rowtime::Arrival,
            (None, None, _) => Rowtime::Processing,
        };
        let meaningless: &[&str] = match rowtime {
            Rowtime::Processing => &[IDLE_TIMEOUT.name, LATE.name],
            Rowtime::Arrival => &[LATE.name],
            Rowtime::Column { .. } => &[],
        };
        if let Some(option) = options.iter().find(|option| meaningless.contains(&option.key.as_str())) {
            let problem = Diagnostic::error(format!("option \"{}\" needs event time", option.key));
            let problem = place(problem, option.key_span).label(match option.key == LATE.name {
                true => "without it no row is late",
                false => "without it windows close by the clock anyway",
            });
            return Err(vec![problem.hint("Add WATERMARK FOR column AS column to the columns.")]);
        }
        if let Rowtime::Column { name: column, .. } = &rowtime {
            let at = watermark.filter(|_| rowtime_column.is_none()).map(|watermark| watermark.column.span);
            check_event_time(name, column, &mut columns, declared.is_empty()).map_err(|problem| {
                let outside = rowtime_column.is_some() && !declared.is_empty();
                let message = if outside { format!("{}, as --rowtime says", problem.message) } else { problem.message.clone() };
                vec![place(Diagnostic { message, ..problem }, at)]
            })?;
        }
        // What stands in for the source of an application, which the command line replaces, has all that the service had.
        let kinesis = match span.is_none() || checked.text(METADATA.name).is_some() {
            true => kinesis_metadata(),
            false => SchemaRef::new(Schema::empty()),
        };
        let more = kinesis.fields().iter().filter(|field| metadata.index_of(field.name()).is_err());
        // A column that is declared wins.
        let is_free = |name: &str| columns.iter().all(|column| column.field.name() != name);
        let fields = metadata.fields().iter().chain(more).filter(|field| is_free(field.name())).cloned();
        Ok(SourceEntry {
            connector: factory.name().to_owned(),
            source,
            format,
            metadata: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            columns,
            all_columns: Settings::of(self.state).decodes_all_columns(),
            row_bytes_max: Settings::of(self.state).row_bytes_max(),
            rowtime,
            idle_timeout: checked.duration("idle_timeout"),
            late: checked.text(LATE.name).map(str::to_owned),
        })
    }

    /// The connector of a source or table and its options, whatever its columns are.
    fn check_source(
        &self,
        name: &str,
        options: &[OptionEntry],
        span: Option<Span>,
        inherited: &[OptionEntry],
        engine_options: &[&OptionSpec],
    ) -> Result<CheckedSource<'_>, Problems> {
        let known: Vec<_> = self.connectors.sources().map(|factory| factory.name()).collect();
        let connector = connector_name("source", options, span, &known)?;
        let Some(factory) = self.connectors.source(&connector.value) else {
            return Err(vec![unknown_connector("source", connector, &known)]);
        };
        let options = [options, &self.more_options(name, factory.as_ref(), options, inherited)?].concat();
        let format_of_source = format_option(factory.formats());
        let mut specs = vec![&CONNECTOR];
        if !factory.formats().is_empty() {
            specs.push(&format_of_source);
            specs.extend(RECORD_OPTIONS);
        }
        specs.extend(engine_options);
        specs.extend(factory.options());
        let checked = Options::check(&format!("connector '{}'", factory.name()), &specs, &options, span)?;
        Ok(CheckedSource { factory, options, checked })
    }

    /// Fails if a source needs what is in use already, such as standard input.
    fn check_exclusive(&self, name: &str, source: &dyn Source) -> Result<(), Diagnostic> {
        let Some(what) = source.exclusive() else { return Ok(()) };
        if let Some((_, problem)) = self.in_use.iter().find(|(used, _)| used == what) {
            return Err(problem.clone());
        }
        let streams = self.catalog.streams.iter().filter_map(|(name, entry)| Some((name, &entry.source.as_ref()?.source)));
        let tables = self.catalog.tables.iter().map(|(name, entry)| (name, &entry.source));
        match streams.chain(tables).find(|(other, source)| *other != name && source.exclusive() == Some(what)) {
            None => Ok(()),
            Some((other, _)) => Err(Diagnostic::error(format!("\"{name}\" cannot have {what}: \"{other}\" reads it"))
                .hint(format!("Read \"{other}\" in several pumps, or give one of the two another connector."))),
        }
    }

    /// Options that `options` leave open: how records are encoded, from the statement whose source is replaced, unless the path
    /// names another format; and those that every source of the connector gets.
    fn more_options(
        &self,
        name: &str,
        factory: &dyn SourceFactory,
        options: &[OptionEntry],
        inherited: &[OptionEntry],
    ) -> Result<Vec<OptionEntry>, Problems> {
        let given = |key: &str| options.iter().find(|option| option.key == key);
        let mut more = Vec::new();
        if !inherited.is_empty() && !factory.delivers_rows() && given("format").is_none() {
            let of_statement = |key: &str| inherited.iter().find(|option| option.key == key).map(|option| option.value.as_str());
            let of_path = |path: Option<&str>| path.and_then(format_of_extension);
            let format = of_statement("format").or_else(|| of_path(of_statement("path"))).unwrap_or("json");
            if of_path(given("path").map(|path| path.value.as_str())).is_none_or(|own| own == format) {
                more.push(OptionEntry::new("format", format));
                let encoding = [&CSV_DELIMITER, &CSV_ROW_DELIMITER, &CSV_HEADER, &JSON_ROW_PATH];
                let open = encoding.iter().filter(|spec| given(spec.name).is_none());
                more.extend(open.filter_map(|spec| Some(OptionEntry::new(spec.name, of_statement(spec.name)?))));
            }
        }
        for (_, option) in self.source_options.iter().filter(|(connector, _)| connector == factory.name()) {
            if let Some(own) = given(&option.key) {
                let problem = format!("source \"{name}\" has {} = '{}' already", own.key, own.value);
                return Err(vec![
                    place(Diagnostic::error(problem), own.key_span)
                        .hint(format!("Leave out --{} {}, or the option of the source.", option.key, option.value)),
                ]);
            }
            more.push(option.clone());
        }
        Ok(more)
    }

    fn source_context(&self, format: &FormatSpec) -> SourceContext {
        SourceContext::new(self.clock.clone(), format.clone())
    }

    async fn infer_columns(&self, source: &dyn Source, format: &FormatSpec) -> Result<Vec<DecodeColumn>, Error> {
        let sample = source.sample(SAMPLE_BYTES, &self.source_context(format)).await?;
        let schema = format::infer_schema(format, &sample.bytes)?;
        let columns = schema.fields().iter().enumerate();
        Ok(columns.map(|(index, field)| DecodeColumn { field: field.clone(), path: None, index }).collect())
    }
}

/// A connector of sources, with all options of one.
struct CheckedSource<'a> {
    factory: &'a Arc<dyn SourceFactory>,
    /// As they are written, with those that come from elsewhere.
    options: Vec<OptionEntry>,
    checked: Options,
}

/// A connector of sinks, with all options of one.
struct CheckedSink<'a> {
    factory: &'a Arc<dyn SinkFactory>,
    options: Options,
    format: Option<FormatSpec>,
}

/// Both results, or the problems of both: none of the two depends on the other.
fn both<A, B>(first: Result<A, Problems>, second: Result<B, Problems>) -> Result<(A, B), Problems> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(first), Err(second)) => Err([first, second].concat()),
        (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => Err(problems),
    }
}

/// A reader of a stream's declared columns: what a sink writes.
pub(crate) fn declared_columns(stream: &str, schema: &SchemaRef) -> PlanNode {
    let columns: Vec<_> = schema.fields().iter().filter(|field| is_declared(schema, field.name())).cloned().collect();
    PlanNode::Scan { stream: stream.to_owned(), schema: Arc::new(Schema::new(columns)) }
}

/// Bytes that schema inference looks at.
const SAMPLE_BYTES: usize = 256 << 10;

/// The columns of a source of rows: those declared, matched by name, or all.
fn match_columns(schema: &SchemaRef, declared: &[&SourceColumn]) -> Result<Vec<DecodeColumn>, Problems> {
    if declared.is_empty() {
        let fields = schema.fields().iter().enumerate();
        return Ok(fields.map(|(index, field)| DecodeColumn { field: field.clone(), path: None, index }).collect());
    }
    let mut problems = Vec::new();
    let mut columns = Vec::new();
    for column in declared {
        let name = column.name.value.as_str();
        let Ok(index) = schema.index_of(name) else {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let problem = Diagnostic::error(format!("the source has no column \"{name}\"")).at(column.name.span);
            problems.push(problem.label(format!("columns are {}", names.join(", "))).did_you_mean(name, names));
            continue;
        };
        let existing = schema.field(index);
        if existing.data_type() != &column.sql_type.data_type() {
            let is = crate::types::sql_type_name(existing);
            problems.push(
                Diagnostic::error(format!("column \"{name}\" of the source is {is}, not {}", column.sql_type))
                    .at(column.name.span)
                    .hint(format!("Declare it {is}, or leave all columns out to have those of the source.")),
            );
        }
        columns.push(DecodeColumn { field: column.sql_type.field(name, !column.not_null), path: None, index });
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

/// Checks that `column` can be ROWTIME; an inferred text column becomes a timestamp.
fn check_event_time(source: &str, column: &str, columns: &mut [DecodeColumn], inferred: bool) -> Result<(), Diagnostic> {
    let names: Vec<_> = columns.iter().map(|column| column.field.name().clone()).collect();
    let Some(found) = columns.iter_mut().find(|candidate| candidate.field.name() == column) else {
        let problem = Diagnostic::error(format!("source \"{source}\" has no column \"{column}\""))
            .label(format!("columns are {}", names.join(", ")));
        return Err(problem.did_you_mean(column, names.iter().map(String::as_str)));
    };
    match found.field.data_type() {
        DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None) => Ok(()),
        DataType::Utf8 if inferred => {
            found.field = SqlType::Timestamp.field(column, true);
            Ok(())
        }
        _ => Err(Diagnostic::error(format!(
            "column \"{column}\" is {}: ROWTIME needs a TIMESTAMP",
            crate::types::sql_type_name(&found.field)
        ))),
    }
}

fn format_spec(word: &str, checked: &Options, options: &[OptionEntry]) -> Result<FormatSpec, Problems> {
    match word {
        "csv" => {
            let delimiter = unescaped(checked.text(CSV_DELIMITER.name).unwrap_or(","));
            let last = unescaped(checked.text(CSV_ROW_DELIMITER.name).unwrap_or("\n"));
            let row_delimiter = RowEnd::of(&last).ok_or_else(|| {
                let shown = last.escape_default();
                let problem = Diagnostic::error(format!("option \"{}\" cannot be '{shown}'", CSV_ROW_DELIMITER.name))
                    .label(format!("expected a character, or a text of at most {} bytes", RowEnd::BYTES_MAX));
                vec![place(problem, value_span(options, CSV_ROW_DELIMITER.name))]
            })?;
            Ok(FormatSpec::Csv(CsvOptions { delimiter, row_delimiter, header: checked.flag(CSV_HEADER.name) }))
        }
        "raw" => Ok(FormatSpec::Raw),
        "parquet" => Ok(FormatSpec::Parquet),
        "table" => Ok(FormatSpec::Table),
        _ => Ok(FormatSpec::Json),
    }
}

/// Backslash escapes of a delimiter: `\t`, `\n`, `\r`.
fn unescaped(delimiter: &str) -> String {
    delimiter.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t")
}

/// True if the extension of option `path` is that of Parquet.
fn names_parquet(checked: &Options) -> bool {
    checked.text("path").unwrap_or_default().to_lowercase().ends_with(".parquet")
}

/// The text format that the extension of option `path` names, else JSON.
fn format_of_path(checked: &Options) -> &'static str {
    match checked.text("path").and_then(format_of_extension) {
        Some("csv") => "csv",
        _ => "json",
    }
}

/// The format that the extension of a path names.
pub(crate) fn format_of_extension(path: &str) -> Option<&'static str> {
    let path = path.to_lowercase();
    let compressed = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|suffix| path.strip_suffix(suffix));
    let (_, extension) = compressed.unwrap_or(&path).rsplit_once('.')?;
    match extension {
        "csv" => Some("csv"),
        "json" | "jsonl" | "ndjson" => Some("json"),
        "parquet" => Some("parquet"),
        _ => None,
    }
}

/// Refuses a row path where no column is found by it.
fn check_row_path(format: &FormatSpec, declared: &[&SourceColumn], options: &[OptionEntry]) -> Result<(), Problems> {
    let Some(option) = options.iter().find(|option| option.key == JSON_ROW_PATH.name) else { return Ok(()) };
    let (problem, hint) = match format {
        FormatSpec::Json if declared.is_empty() => ("needs declared columns", "Write the columns with their types before WITH."),
        FormatSpec::Json if !option.value.starts_with('$') => ("is a path that starts with $", "Write $.a.b or $.list[0:]."),
        FormatSpec::Json => return Ok(()),
        _ => ("needs format 'json'", "Leave the option out."),
    };
    let problem = Diagnostic::error(format!("option \"{}\" {problem}", option.key));
    Err(vec![place(problem, option.key_span).hint(hint)])
}

/// Refuses PATH in a format whose records have no paths.
fn check_paths_allowed(format: &FormatSpec, declared: &[&SourceColumn]) -> Result<(), Problems> {
    match format {
        FormatSpec::Json => Ok(()),
        FormatSpec::Csv(_) => refuse_paths(declared, "format 'csv' has none: the fields go to the columns in their order"),
        FormatSpec::Raw => refuse_paths(declared, "format 'raw' has none: the column gets the whole record"),
        FormatSpec::Parquet | FormatSpec::Table => {
            refuse_paths(declared, &format!("format '{}' has none: a column is found by its name", format.name()))
        }
    }
}

/// Refuses every PATH; `why` they have no meaning.
fn refuse_paths(declared: &[&SourceColumn], why: &str) -> Result<(), Problems> {
    let with_path = declared.iter().filter_map(|column| Some((column, column.path.as_ref()?)));
    let problems: Problems = with_path
        .map(|(column, (_, span))| {
            let problem = Diagnostic::error(format!("column \"{}\" cannot have a PATH", column.name.value)).at(*span);
            problem.label(why).hint("Leave PATH out: only format 'json' has paths.")
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Every PATH that cannot be read, each where it stands.
fn check_column_paths(format: &FormatSpec, declared: &[&SourceColumn], columns: &[DecodeColumn]) -> Result<(), Problems> {
    let with_path = declared.iter().zip(columns).filter_map(|(column, decoded)| Some((column.path.as_ref()?.1, decoded)));
    let problems: Problems = with_path
        .filter_map(|(span, decoded)| Some(from_error(&format::decoder(format, vec![decoded.clone()]).err()?).at(span)))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Where a column stands in the record: its path is that of the record if it begins with the row path, else it starts at the
/// row (kda-sql-reference.md §8.8).
fn path_in_record(row_path: Option<&str>, column: &SourceColumn) -> Option<String> {
    let own = column.path.as_ref().map(|(path, _)| path.trim());
    let Some(row_path) = row_path else { return own.map(str::to_owned) };
    let step = match own {
        Some(path) if path.starts_with(row_path) => return Some(path.to_owned()),
        Some(path) => path.strip_prefix('$').unwrap_or(path).to_owned(),
        None => format!("['{}']", column.name.value),
    };
    Some(format!("{}{step}", row_path.trim()))
}

/// Refuses delimiters that only a source can use.
fn check_written_csv(format: &FormatSpec, options: &[OptionEntry]) -> Result<(), Problems> {
    match format {
        FormatSpec::Csv(csv) if csv.quotable().is_none_or(|delimiter| !delimiter.is_ascii()) => {
            let problem = Diagnostic::error(format!("option \"{}\" cannot be '{}'", CSV_DELIMITER.name, csv.delimiter));
            let problem = problem.label("expected one ASCII character");
            Err(vec![place(problem, value_span(options, CSV_DELIMITER.name))])
        }
        _ => Ok(()),
    }
}

/// Refuses options of CSV where another format is used.
fn check_csv_options(format: &FormatSpec, options: &[OptionEntry]) -> Result<(), Problems> {
    let stray = options.iter().find(|option| option.key.starts_with("csv."));
    match stray.filter(|_| !matches!(format, FormatSpec::Csv(_))) {
        Some(option) => {
            let problem = Diagnostic::error(format!("option \"{}\" needs format 'csv'", option.key));
            Err(vec![place(problem, option.key_span).hint("Add format = 'csv', or leave the option out.")])
        }
        None => Ok(()),
    }
}

fn connector_name<'a>(
    kind: &str,
    options: &'a [OptionEntry],
    span: Option<Span>,
    known: &[&str],
) -> Result<&'a OptionEntry, Problems> {
    options.iter().find(|option| option.key == "connector").ok_or_else(|| {
        let problem = Diagnostic::error(format!("the {kind} needs option \"connector\""))
            .label(format!("connectors are {}", known.join(", ")));
        vec![place(problem, span).hint("Add connector = '…' to the WITH clause.")]
    })
}

fn unknown_connector(kind: &str, entry: &OptionEntry, known: &[&str]) -> Diagnostic {
    let problem = Diagnostic::error(format!("unknown {kind} connector '{}'", entry.value))
        .label(format!("connectors are {}", known.join(", ")));
    place(problem, entry.value_span).did_you_mean(&entry.value, known.iter().copied())
}

pub(crate) fn already_exists(kind: &str, name: &Name) -> Diagnostic {
    let hint = format!("Write CREATE OR REPLACE {} to replace it.", kind.to_uppercase());
    Diagnostic::error(format!("{kind} \"{}\" exists already", name.value)).at(name.span).hint(hint)
}

/// CREATE OR REPLACE does not turn one kind of object into another.
fn is_another(kind: &str, name: &Name) -> Diagnostic {
    let hint = format!("Choose another name, or drop it first: DROP {} \"{}\".", kind.to_uppercase(), name.value);
    Diagnostic::error(format!("\"{}\" exists already: it is a {kind}", name.value)).at(name.span).hint(hint)
}

fn place(diagnostic: Diagnostic, span: Option<Span>) -> Diagnostic {
    match span {
        Some(span) if diagnostic.span.is_none() => diagnostic.at(span),
        _ => diagnostic,
    }
}

fn value_span(options: &[OptionEntry], key: &str) -> Option<Span> {
    options.iter().find(|option| option.key == key).and_then(|option| option.value_span)
}

/// The problem that an error is, with its hint.
pub(crate) fn from_error(error: &Error) -> Diagnostic {
    let diagnostic = Diagnostic { kind: error.kind(), ..Diagnostic::error(error.message()) };
    match error.hint() {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

/// Checks the columns of a stream that is made of a query: no two have one name, as `*` over a join can give them, and each has
/// a type that can be declared.
fn check_columns_of_query(stream: &Name, schema: &Schema) -> Result<(), Problems> {
    let mut names = BTreeSet::new();
    if let Some(twice) = schema.fields().iter().find(|field| !names.insert(field.name())) {
        let problem = Diagnostic::error(format!("stream \"{}\" would have two columns named \"{}\"", stream.value, twice.name()));
        let hint = "List the columns instead of *, and give one of the two another name with AS.";
        return Err(vec![problem.at(stream.span).hint(hint)]);
    }
    if let Some(field) = schema.fields().iter().find(|field| SqlType::of_field(field).is_none()) {
        let convert = "Convert it, such as with CAST(… AS VARCHAR(20)).";
        let (what, hint) = match field.data_type() {
            DataType::Null => ("has no type: it is always NULL", convert),
            DataType::Struct(_) => (
                "is a record, which a stream cannot have",
                "Select its fields: t.r.COLUMN1 is one of the record r of a derived table t.",
            ),
            _ => ("has a type that a stream cannot have", convert),
        };
        let problem = Diagnostic::error(format!("column \"{}\" of stream \"{}\" {what}", field.name(), stream.value));
        return Err(vec![problem.at(stream.span).hint(hint)]);
    }
    Ok(())
}

/// The values, or an error for the first name that comes twice.
fn distinct<'a, T>(columns: impl Iterator<Item = (&'a Name, T)>) -> Result<Vec<T>, Problems> {
    let mut names: Vec<&Name> = Vec::new();
    let mut values = Vec::new();
    for (name, value) in columns {
        if names.iter().any(|other| other.value == name.value) {
            return Err(vec![Diagnostic::error(format!("column \"{}\" is declared twice", name.value)).at(name.span)]);
        }
        if name.value == ROWTIME {
            let problem = Diagnostic::error("column ROWTIME cannot be declared: every stream has it").at(name.span);
            return Err(vec![problem.hint("Give the column another name, such as \"row_time\".")]);
        }
        names.push(name);
        values.push(value);
    }
    Ok(values)
}

fn remove<T>(entries: &mut Vec<T>, is: impl Fn(&T) -> bool) -> bool {
    let before = entries.len();
    entries.retain(|entry| !is(entry));
    entries.len() < before
}
