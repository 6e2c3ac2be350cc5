//! The embeddable engine: statements go in, jobs and record batches come out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DataFusionStatement;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use object_store::ObjectStore;
use tokio::sync::mpsc;

use crate::bind::{Binder, declared_columns, from_error};
use crate::catalog::{Catalog, Object, PumpEntry, SinkEntry, SourceBinding, SourceEntry};
use crate::checkpoint::store::CheckpointStore;
use crate::connector::common::SOURCE_OPTIONS;
use crate::connector::conflicts::check_paths;
use crate::connector::memory::ChannelSink;
use crate::connector::{ConnectorRegistry, OptionEntry, OptionSpec};
use crate::diagnostic::{Diagnostic, Script, Span};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::alias_list::{explain as explain_list, is_about_list};
use crate::plan::batch_models::place_at_model;
use crate::plan::explain::explain;
use crate::plan::explain_error::explain_error;
use crate::plan::item_names::name_by_text;
use crate::plan::locate::locate;
use crate::plan::names::{check_tables, input_hint};
use crate::plan::places::{explain_in, narrow};
use crate::plan::row_clock::current_row_timestamp;
use crate::plan::rules::kda_rules;
use crate::plan::rules::output_types::shown;
use crate::plan::session::session_context;
use crate::plan::unknown_columns::all_unknown_columns;
use crate::plan::{Functions, PlanNode, StreamSchemas};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::graph;
use crate::runtime::job::{Job, JobOptions};
use crate::runtime::metrics::Metrics;
use crate::settings::Settings;
use crate::sql::{Name, ObjectKind, Query, Statement, StatementKind, parse_script};
use crate::table::{Refreshed, Table};

/// How a job takes checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    /// Folder of one job's checkpoints; created if it is missing.
    pub directory: PathBuf,
    /// Keeps the checkpoints instead of the folder, which then only names them in messages. One job's alone.
    pub store: Option<Arc<dyn ObjectStore>>,
    /// Time between two checkpoints; 10 s unless set.
    pub interval: Duration,
    /// How many complete checkpoints are kept; 3 unless set.
    pub retain: usize,
}

impl CheckpointOptions {
    /// Checkpoints in `directory`, every 10 s, the newest 3 kept.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), store: None, interval: Duration::from_secs(10), retain: 3 }
    }
}

/// Configures an [`Engine`].
pub struct EngineBuilder {
    clock: Arc<dyn Clock>,
    parallelism: usize,
    memory_limit: usize,
    checkpoints: Option<CheckpointOptions>,
    connectors: ConnectorRegistry,
    switches: Vec<OptionEntry>,
    source_options: Vec<(String, OptionEntry)>,
    in_use: Vec<(String, Diagnostic)>,
}

impl EngineBuilder {
    /// The clock of ROWTIME, timers and rates; the machine's unless set.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Splits per source where the source can be split, and threads of a random cut forest; 1 unless set, so that a replay
    /// gives the same rows in the same order on every machine.
    pub fn parallelism(mut self, splits: usize) -> Self {
        self.parallelism = splits.max(1);
        self
    }

    /// Bytes that the state of all operators may take; 1 GiB unless set. A job that needs more fails and says which
    /// operator does.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Takes checkpoints and starts from the newest one; none unless set.
    pub fn checkpoints(mut self, options: CheckpointOptions) -> Self {
        self.checkpoints = Some(options);
        self
    }

    /// Registers connectors: `kinesql_connectors::register_all` or your own.
    pub fn connectors(mut self, register: impl FnOnce(&mut ConnectorRegistry)) -> Self {
        register(&mut self.connectors);
        self
    }

    /// Sets a switch, such as `avg_double` to `true`: [`crate::settings::SWITCHES`] lists them. `SET` in a script changes it again.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.switches.push(OptionEntry::new(name, value));
        self
    }

    /// Gives every source of `connector` an option, such as `worker` of `kinesis`. It is an error if a source has it already.
    pub fn source_option(mut self, connector: impl Into<String>, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.source_options.push((connector.into(), OptionEntry::new(name, value)));
        self
    }

    /// Says that no source can have `what`, such as `standard input`, and why: [`crate::connector::Source::exclusive`].
    pub fn in_use(mut self, what: impl Into<String>, problem: Diagnostic) -> Self {
        self.in_use.push((what.into(), problem));
        self
    }

    /// The engine. Fails if the checkpoint folder cannot be used, or a switch cannot be set.
    pub fn build(self) -> Result<Engine> {
        let Self { clock, parallelism, memory_limit, checkpoints, connectors, switches, source_options, in_use } = self;
        let mut settings = Settings::default();
        for switch in switches {
            settings.set(switch).map_err(|problem| Error::sql(vec![problem]))?;
        }
        let checkpoints = match checkpoints {
            Some(CheckpointOptions { directory, store, interval, retain }) => {
                let store = match store {
                    Some(store) => CheckpointStore::new(store, directory.display().to_string()),
                    None => CheckpointStore::local(&directory)?,
                };
                Some((store, interval, retain))
            }
            None => None,
        };
        let session = session_context(memory_limit)?;
        session.register_udf(current_row_timestamp(clock.clone()));
        let shared = Mutex::new(Shared { settings, ..Shared::default() });
        let inner = Inner { session, clock, parallelism, checkpoints, connectors, source_options, in_use, shared };
        Ok(Engine { inner: Arc::new(inner) })
    }
}

/// Runs streaming SQL. Clones share the catalog.
///
/// Statements are added with [`Engine::execute`]; [`Engine::start`] runs all pumps and sinks, [`Engine::query`] one
/// query with what it depends on.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    session: SessionContext,
    clock: Arc<dyn Clock>,
    parallelism: usize,
    checkpoints: Option<(CheckpointStore, Duration, usize)>,
    connectors: ConnectorRegistry,
    source_options: Vec<(String, OptionEntry)>,
    in_use: Vec<(String, Diagnostic)>,
    shared: Mutex<Shared>,
}

#[derive(Clone, Default)]
struct Shared {
    catalog: Catalog,
    bindings: BTreeMap<String, SourceBinding>,
    settings: Settings,
    /// Sinks given outside the script: stream and options.
    sinks: Vec<(String, Vec<OptionEntry>)>,
}

/// What a statement did.
pub enum Outcome {
    /// It created this, such as `stream DESTINATION_SQL_STREAM`.
    Created(String),
    /// It removed this.
    Dropped(String),
    /// It changed this.
    Altered(String),
    /// It looked at this table's source, such as `table PRICES: 120 rows`.
    Refreshed(String),
    /// It explained a plan.
    Explained(String),
    /// It is a query; its rows come from the stream.
    Query(QueryStream),
    /// It works, perhaps not as meant. Comes before the statement's own outcome.
    Warning(Diagnostic),
}

impl Engine {
    /// An engine without connectors, checkpoints and parallelism.
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            clock: SystemClock::shared(),
            parallelism: 1,
            memory_limit: 1 << 30,
            checkpoints: None,
            connectors: ConnectorRegistry::default(),
            switches: Vec::new(),
            source_options: Vec::new(),
            in_use: Vec::new(),
        }
    }

    /// The DataFusion session: register functions, tables and object stores here. Its tables can be read by SELECT
    /// without STREAM; its functions can be used everywhere.
    pub fn session_context(&self) -> &SessionContext {
        &self.inner.session
    }

    /// The connectors that this engine knows.
    pub fn connectors(&self) -> &ConnectorRegistry {
        &self.inner.connectors
    }

    /// The engine's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Adds the statements of a script, in order. Queries are answered with a stream, other statements take effect when
    /// a job starts. If any statement is wrong the error holds every problem found and nothing is kept.
    pub async fn execute(&self, script: &Arc<Script>) -> Result<Vec<Outcome>> {
        let Prepared { shared, outcomes } = self.prepare(script).await?;
        *self.shared() = shared;
        // Queries start once the whole script is known to be right.
        let mut results = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            results.push(match outcome {
                Bound::Outcome(outcome) => outcome,
                Bound::Query(query, settings) => Outcome::Query(self.start_query(&query, &settings, script).await?),
                Bound::Refresh(table) => Outcome::Refreshed(match table.refresh().await? {
                    Refreshed::Unchanged => format!("table {}: unchanged", table.name()),
                    Refreshed::Replaced { rows, .. } => format!("table {}: {rows} rows", table.name()),
                }),
            });
        }
        Ok(results)
    }

    /// Every problem and warning of a script, as [`Engine::execute`] would find them; nothing is kept or started.
    pub async fn check(&self, script: &Arc<Script>) -> Vec<Diagnostic> {
        let prepared = async { self.detached().await?.prepare(script).await };
        match prepared.await {
            Ok(Prepared { outcomes, .. }) => outcomes
                .into_iter()
                .filter_map(|outcome| match outcome {
                    Bound::Outcome(Outcome::Warning(warning)) => Some(warning),
                    _ => None,
                })
                .collect(),
            Err(error) if error.diagnostics().is_empty() => vec![from_error(&error)],
            Err(error) => error.diagnostics().to_vec(),
        }
    }

    /// Binds a script on a copy of the catalog. Tables are read and registered; if the script is wrong they are what
    /// they were before.
    async fn prepare(&self, script: &Arc<Script>) -> Result<Prepared> {
        let parsed = parse_script(script);
        let mut tables = BTreeMap::new();
        let names: Vec<_> = self.shared().catalog.tables.keys().cloned().collect();
        for name in names {
            let provider = self.inner.session.table_provider(TableReference::bare(name.as_str())).await?;
            tables.insert(name, provider);
        }
        let mut problems = parsed.diagnostics;
        let mut shared = self.shared().clone();
        let mut outcomes = Vec::new();
        for statement in &parsed.faulty {
            let state = self.inner.session.state();
            let found = self.binder(&mut shared.catalog, &shared.bindings, &state).problems_of_options(&statement.kind);
            problems.extend(found.into_iter().map(|problem| problem.in_script(&statement.script)));
        }
        // A statement that refers to a stream or table whose own statement is wrong has no problem of its own.
        let mut failed_names: Vec<String> = parsed.unparsed_names;
        for statement in &parsed.statements {
            match self.bind(&mut shared, statement).await {
                Ok((warnings, bound)) => {
                    let warnings = warnings.into_iter().map(|warning| warning.in_script(&statement.script));
                    outcomes.extend(warnings.map(|warning| Bound::Outcome(Outcome::Warning(warning))));
                    outcomes.push(bound);
                }
                Err(found) => {
                    failed_names.extend(created_name(&statement.kind).map(str::to_owned));
                    let follows = |problem: &Diagnostic| problem.missing.as_ref().is_some_and(|name| failed_names.contains(name));
                    problems.extend(found.into_iter().filter(|problem| !follows(problem)).map(|problem| {
                        let problem = in_view_of(&parsed.statements, problem);
                        let problem = if problem.span.is_none() { problem.at(statement.span) } else { problem };
                        problem.in_script(&statement.script)
                    }));
                }
            }
        }
        if problems.is_empty() {
            return Ok(Prepared { shared, outcomes });
        }
        for name in shared.catalog.tables.keys() {
            self.inner.session.deregister_table(TableReference::bare(name.as_str()))?;
        }
        for (name, provider) in tables {
            self.inner.session.deregister_table(TableReference::bare(name.as_str()))?;
            self.inner.session.register_table(TableReference::bare(name.as_str()), provider)?;
        }
        problems.sort_by_key(|problem| problem.span.map(|span| span.start));
        Err(Error::sql(problems))
    }

    /// Gives a source its connector from outside the script: it replaces that of a CREATE SOURCE, or makes a source that
    /// the script only names, with inferred columns. `rowtime` names the event-time column; late rows are not allowed.
    pub async fn bind_source(&self, name: &str, options: Vec<OptionEntry>, rowtime: Option<&str>) -> Result<()> {
        let binding = SourceBinding { options, rowtime: rowtime.map(str::to_owned) };
        let mut shared = self.shared().clone();
        let state = shared.settings.in_session(self.inner.session.state());
        let mut binder = self.binder(&mut shared.catalog, &shared.bindings, &state);
        binder.add_bound_source(name, &binding).await.map_err(Error::sql)?;
        shared.bindings.insert(name.to_owned(), binding);
        *self.shared() = shared;
        Ok(())
    }

    /// The same for a source or table that a script declares: its records are not looked at, and `rowtime` is checked when its
    /// columns are known.
    pub async fn bind_declared_source(&self, name: &str, options: Vec<OptionEntry>, rowtime: Option<&str>) -> Result<()> {
        self.bind_without_columns(name, &options, SOURCE_OPTIONS).await?;
        let binding = SourceBinding { options, rowtime: rowtime.map(str::to_owned) };
        self.shared().bindings.insert(name.to_owned(), binding);
        Ok(())
    }

    /// Adds a sink from outside the script. The stream may be created later, before a job starts.
    pub fn bind_sink(&self, stream: &str, options: Vec<OptionEntry>) -> Result<()> {
        self.shared().sinks.push((stream.to_owned(), options));
        Ok(())
    }

    /// Adds a sink that is not a registered connector, for example a [`crate::connector::memory::MemorySink`].
    pub fn add_sink(&self, name: &str, stream: &str, sink: Arc<dyn crate::connector::Sink>) -> Result<()> {
        let mut shared = self.shared();
        let Some(entry) = shared.catalog.streams.get(stream) else {
            return Err(Error::config(format!("sink \"{name}\" reads stream \"{stream}\", which does not exist")));
        };
        let plan = declared_columns(stream, &entry.schema);
        shared.catalog.sinks.push(SinkEntry {
            name: name.to_owned(),
            stream: stream.to_owned(),
            plan,
            connector: CUSTOM.to_owned(),
            sink,
        });
        Ok(())
    }

    /// Adds a source that is not a registered connector, for example a [`crate::connector::memory::MemorySource`].
    /// Its ROWTIME is the clock's, or the column `rowtime` with rows at most `delay` late.
    pub fn add_source(
        &self,
        name: &str,
        source: Arc<dyn crate::connector::Source>,
        rowtime: Option<(&str, Duration)>,
    ) -> Result<()> {
        use crate::catalog::{Rowtime, SourceEntry};
        use crate::connector::Payload;
        use crate::format::{DecodeColumn, FormatSpec};
        let Payload::Batches(schema) = source.payload() else {
            return Err(Error::config(format!("source \"{name}\" delivers bytes"))
                .with_hint("Register it as a connector and name its columns in CREATE SOURCE."));
        };
        let fields = schema.fields().iter().enumerate();
        let columns: Vec<_> = fields.map(|(index, field)| DecodeColumn { field: field.clone(), path: None, index }).collect();
        let rowtime = match rowtime {
            None => Rowtime::Processing,
            Some((column, delay)) => match schema.field_with_name(column) {
                Ok(field) if *field.data_type() == crate::types::SqlType::Timestamp.data_type() => {
                    Rowtime::Column { name: column.to_owned(), delay_ms: delay.as_millis() as i64 }
                }
                _ => return Err(Error::config(format!("source \"{name}\" has no TIMESTAMP column \"{column}\""))),
            },
        };
        let (connector, format) = (CUSTOM.to_owned(), FormatSpec::Json);
        let metadata = Arc::new(arrow::datatypes::Schema::empty());
        let entry = SourceEntry {
            connector,
            source,
            format,
            columns,
            metadata,
            all_columns: false,
            row_bytes_max: usize::MAX,
            rowtime,
            idle_timeout: None,
            late: None,
        };
        self.shared().catalog.streams.insert(name.to_owned(), entry.into_stream());
        Ok(())
    }

    /// [`Engine::execute`] and [`Engine::start`].
    pub async fn run_script(&self, sql: &str) -> Result<Job> {
        self.execute(&Script::new("<sql>", sql)).await?;
        self.start().await
    }

    /// Starts all pumps and sinks, from the newest checkpoint if there is one.
    pub async fn start(&self) -> Result<Job> {
        let (catalog, sinks) = self.complete()?;
        if sinks.is_empty() {
            return Err(Error::config("there is no sink: nothing would be written").with_hint(
                "Add CREATE SINK … FROM stream WITH (connector = 'stdout'), or --sink STREAM=- on the command line.",
            ));
        }
        let pumps: Vec<_> = catalog.pumps.iter().filter(|pump| pump.started).collect();
        Job::start(&catalog, &pumps, &sinks, self.job_options(true)).await
    }

    /// Answers one SELECT. With STREAM the rows come for ever, or until the sources end; dropping the stream stops it.
    /// Only the pumps that the query depends on run.
    pub async fn query(&self, sql: &str) -> Result<QueryStream> {
        let (mut warnings, mut others) = (Vec::new(), Vec::new());
        for outcome in self.execute(&Script::new("<sql>", sql)).await? {
            match outcome {
                Outcome::Warning(warning) => warnings.push(warning),
                other => others.push(other),
            }
        }
        match others.pop() {
            Some(Outcome::Query(stream)) if others.is_empty() => Ok(QueryStream { warnings, ..stream }),
            _ => Err(Error::config("not a single query").with_hint("Use `execute` for other statements.")),
        }
    }

    /// Checks what [`Engine::start`] would refuse before it reads or writes anything: sinks from outside the script, and a sink that
    /// writes what something else reads or writes.
    pub fn check_sinks(&self) -> Result<()> {
        self.complete().map(drop)
    }

    /// A warning for each stream that a sink reads, one from outside the script included, and nothing brings rows to.
    pub fn check_rows(&self) -> Vec<Diagnostic> {
        let Shared { catalog, sinks, .. } = self.shared().clone();
        let streams = catalog.sinks.iter().map(|sink| &sink.stream).chain(sinks.iter().map(|(stream, _)| stream));
        let streams: BTreeSet<_> = streams.collect();
        streams.into_iter().filter_map(|stream| catalog.stream_without_rows(stream)).collect()
    }

    /// What every pump and sink does: operators, and what makes windows close. Asks the sources that they read for their splits.
    pub async fn explain(&self) -> Result<String> {
        let (catalog, sinks) = self.complete()?;
        let pumps: Vec<_> = catalog.pumps.iter().filter(|pump| pump.started).collect();
        self.explain_graph(&catalog, &pumps, &sinks).await
    }

    /// Looks whether the data of a table has changed and, if so, reads it: running joins go on with the new rows. A version
    /// that cannot be used leaves the table as it is; the error says why.
    pub async fn refresh_table(&self, name: &str) -> Result<Refreshed> {
        let table = self.shared().catalog.tables.get(name).map(|entry| entry.table.clone());
        match table {
            Some(table) => table.refresh().await,
            None => Err(Error::config(format!("table \"{name}\" does not exist"))),
        }
    }

    /// Does the same for every table, in the order of their names.
    pub async fn refresh_tables(&self) -> Vec<(String, Result<Refreshed>)> {
        let tables: Vec<_> = self.shared().catalog.tables.values().map(|entry| entry.table.clone()).collect();
        let mut refreshed = Vec::with_capacity(tables.len());
        for table in tables {
            refreshed.push((table.name().to_owned(), table.refresh().await));
        }
        refreshed
    }

    /// All objects, for listings and completion.
    pub fn objects(&self) -> Vec<Object> {
        self.shared().catalog.objects()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // The value is replaced as a whole, so a panic elsewhere does not spoil it.
        self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn binder<'a>(
        &'a self,
        catalog: &'a mut Catalog,
        bindings: &'a BTreeMap<String, SourceBinding>,
        state: &'a SessionState,
    ) -> Binder<'a> {
        let Inner { connectors, clock, source_options, in_use, .. } = self.inner.as_ref();
        Binder { catalog, state, connectors, bindings, clock, in_use, source_options, infers: true, warnings: Vec::new() }
    }

    /// A source bound by itself, without columns and without a look at its records; the catalog stays as it is. `engine_options`:
    /// those of the engine that it may have.
    pub(crate) async fn bind_without_columns(
        &self,
        name: &str,
        options: &[OptionEntry],
        engine_options: &[&OptionSpec],
    ) -> Result<SourceEntry> {
        let (mut catalog, bindings) = (Catalog::default(), BTreeMap::new());
        let state = self.inner.session.state();
        let binder = Binder { infers: false, ..self.binder(&mut catalog, &bindings, &state) };
        binder.bind_source(name, &[], None, None, options, None, &[], engine_options).await.map_err(Error::sql)
    }

    /// The catalog and all sinks, those from outside the script included.
    fn complete(&self) -> Result<(Catalog, Vec<SinkEntry>)> {
        let Shared { mut catalog, bindings, sinks: outside, .. } = self.shared().clone();
        let mut sinks = catalog.sinks.clone();
        let state = self.inner.session.state();
        let binder = self.binder(&mut catalog, &bindings, &state);
        for (i, (stream, options)) in outside.iter().enumerate() {
            let from = Name { value: stream.clone(), span: Span::default(), quoted: true };
            let name = format!("{stream} (command line {})", i + 1);
            sinks.push(binder.bind_sink(&name, &from, options, None).map_err(Error::sql)?);
        }
        check_paths(&catalog, &sinks)?;
        Ok((catalog, sinks))
    }

    fn job_options(&self, checkpointed: bool) -> JobOptions {
        JobOptions {
            clock: self.inner.clock.clone(),
            pool: self.inner.session.runtime_env().memory_pool.clone(),
            parallelism: self.inner.parallelism,
            checkpoints: self.inner.checkpoints.clone().filter(|_| checkpointed),
        }
    }

    async fn explain_graph(&self, catalog: &Catalog, pumps: &[&PumpEntry], sinks: &[SinkEntry]) -> Result<String> {
        let splits = graph::splits(catalog, pumps, sinks, None, self.inner.parallelism).await?;
        Ok(explain(&graph::build(catalog, pumps, sinks, &splits)?))
    }

    async fn bind(&self, shared: &mut Shared, statement: &Statement) -> Result<(Vec<Diagnostic>, Bound), Vec<Diagnostic>> {
        let state = self.state_with(&shared.catalog.functions, &shared.settings);
        let state = state.map_err(|error| vec![from_error(&error)])?;
        let mut binder = self.binder(&mut shared.catalog, &shared.bindings, &state);
        let outcome = match &statement.kind {
            StatementKind::CreateStream(statement) => Outcome::Created(binder.create_stream(statement).await?),
            StatementKind::CreatePump(statement) => Outcome::Created(binder.create_pump(statement).await?),
            StatementKind::CreateSource(statement) => Outcome::Created(binder.create_source(statement).await?),
            StatementKind::CreateSink(statement) => Outcome::Created(binder.create_sink(statement)?),
            StatementKind::CreateTable(statement) => {
                let (created, table) = binder.create_table(statement).await?;
                let registered = self.register_table(table);
                registered.map_err(|error| vec![from_error(&error)])?;
                Outcome::Created(created)
            }
            StatementKind::Drop(statement) => {
                let dropped = binder.drop_object(statement)?;
                if matches!(statement.kind, ObjectKind::Table) {
                    let dropped = self.inner.session.deregister_table(TableReference::bare(statement.name.value.as_str()));
                    dropped.map_err(|error| vec![Diagnostic::error(error.message().into_owned())])?;
                }
                Outcome::Dropped(dropped)
            }
            StatementKind::CreateFunction(statement) => Outcome::Created(binder.create_function(statement).await?),
            StatementKind::DropFunction(statement) => Outcome::Dropped(binder.drop_function(statement)?),
            StatementKind::Refresh(name) => return Ok((Vec::new(), Bound::Refresh(binder.table(name)?))),
            StatementKind::AlterPump(statement) => Outcome::Altered(binder.alter_pump(statement)?),
            StatementKind::Set(entry) => {
                shared.settings.set(entry.clone()).map_err(|problem| vec![problem])?;
                Outcome::Altered(format!("{} = '{}'", entry.key, entry.value))
            }
            StatementKind::Explain(statement) => Outcome::Explained(self.explain_statement(&binder, statement).await?),
            StatementKind::Query(query) => {
                // Planned now for its errors; started when the whole script is right.
                if query.stream {
                    let plan = binder.plan(query).await?;
                    binder.warnings.extend(plan.warnings().iter().cloned());
                    binder.warnings.extend(binder.catalog.without_rows(&plan.node).map(|problem| problem.at(query.span)));
                } else {
                    binder.warnings.extend(query.warnings.iter().cloned());
                    check_tables(query, binder.catalog, &self.inner.session)?;
                    let plan = plan_table_query(query, &binder.catalog.functions, binder.state).await?;
                    check_operators(&plan, query, binder.state).await?;
                }
                let warnings = std::mem::take(&mut binder.warnings);
                return Ok((warnings, Bound::Query(query.clone(), shared.settings.clone())));
            }
        };
        Ok((binder.warnings, Bound::Outcome(outcome)))
    }

    async fn explain_statement(&self, binder: &Binder<'_>, statement: &Statement) -> Result<String, Vec<Diagnostic>> {
        let mut catalog = binder.catalog.clone();
        let (mut pumps, mut sinks) = (Vec::new(), Vec::new());
        match &statement.kind {
            StatementKind::Query(query) if query.stream => {
                sinks.push(query_sink(binder.plan(query).await?.into_output(), mpsc::channel(1).0));
            }
            StatementKind::CreatePump(pump) => {
                let mut binder = self.binder(&mut catalog, binder.bindings, binder.state);
                binder.create_pump(pump).await?;
                pumps.extend(catalog.pumps.last());
            }
            StatementKind::CreateStream(stream) if stream.query.is_some() => {
                let mut binder = self.binder(&mut catalog, binder.bindings, binder.state);
                binder.create_stream(stream).await?;
                pumps.extend(catalog.pumps.last());
            }
            StatementKind::Query(query) => {
                check_tables(query, binder.catalog, &self.inner.session)?;
                let plan = plan_table_query(query, &binder.catalog.functions, binder.state).await?;
                let plan =
                    binder.state.optimize(&plan).map_err(|error| vec![explain_error(&error, &StreamSchemas::default())])?;
                return Ok(plan.display_indent().to_string());
            }
            _ => {
                let problem = Diagnostic::error("EXPLAIN needs a query: a SELECT, a CREATE PUMP or a CREATE STREAM … AS SELECT");
                return Err(vec![problem.at(statement.span)]);
            }
        }
        let text = self.explain_graph(&catalog, &pumps, &sinks).await;
        text.map_err(|error| vec![from_error(&error)])
    }

    async fn start_query(&self, query: &Query, settings: &Settings, script: &Arc<Script>) -> Result<QueryStream> {
        let Shared { mut catalog, bindings, .. } = self.shared().clone();
        let state = self.state_with(&catalog.functions, settings)?;
        if !query.stream {
            return self.table_query(query, &catalog.functions, &state, script).await;
        }
        let plan = self.binder(&mut catalog, &bindings, &state).plan(query).await.map_err(Error::sql)?.into_output();
        let schema = plan.schema();
        let (sender, receiver) = mpsc::channel(QUERY_BATCHES);
        let pumps = catalog.pumps_behind(&plan);
        let job = Job::start(&catalog, &pumps, &[query_sink(plan.clone(), sender)], self.job_options(false)).await?;
        Ok(QueryStream { schema, rows: Rows::Job { job, receiver, end: None }, warnings: Vec::new() })
    }

    /// A query without STREAM: DataFusion answers it.
    async fn table_query(
        &self,
        query: &Query,
        functions: &Functions,
        state: &SessionState,
        script: &Arc<Script>,
    ) -> Result<QueryStream> {
        let plan = plan_table_query(query, functions, state).await.map_err(Error::sql)?;
        let (span, script) = (query.span, script.clone());
        let placed = move |error: DataFusionError| match Error::from(error) {
            error if error.kind() == ErrorKind::Data => Error::sql(vec![from_error(&error).at(span).in_script(&script)]),
            error => error,
        };
        let rows = async { self.inner.session.execute_logical_plan(plan).await?.execute_stream().await };
        let rows = rows.await.map_err(&placed)?;
        let schema = rows.schema();
        // An operator can work for long before it returns, which must not hold up whoever waits for the rows. The task starts when
        // the first row is asked for, and is aborted with the stream.
        let rows = stream::once(async move { spawn_buffered(rows, QUERY_BATCHES) }).flatten();
        let rows = rows.map(move |batch| batch.map_err(&placed)).boxed();
        Ok(QueryStream { schema, rows: Rows::Table(rows), warnings: Vec::new() })
    }

    /// The session, with the functions that the script created and its switches.
    fn state_with(&self, functions: &Functions, settings: &Settings) -> Result<SessionState> {
        let mut state = settings.in_session(self.inner.session.state());
        functions.register(&mut state)?;
        Ok(state)
    }

    fn register_table(&self, table: Arc<Table>) -> Result<()> {
        let reference = TableReference::bare(table.name());
        self.inner.session.deregister_table(reference.clone())?;
        self.inner.session.register_table(reference, table)?;
        Ok(())
    }

    /// A copy with a catalog and tables of its own.
    async fn detached(&self) -> Result<Engine> {
        let Inner { session, clock, parallelism, connectors, source_options, in_use, .. } = self.inner.as_ref();
        let state = SessionStateBuilder::new_from_existing(session.state());
        let list = Arc::new(datafusion::catalog::MemoryCatalogProviderList::new());
        let catalog = Arc::new(datafusion::catalog::MemoryCatalogProvider::new());
        let options = session.copied_config().options().catalog.clone();
        let schema = Arc::new(datafusion::catalog::MemorySchemaProvider::new());
        datafusion::catalog::CatalogProvider::register_schema(catalog.as_ref(), &options.default_schema, schema)?;
        datafusion::catalog::CatalogProviderList::register_catalog(list.as_ref(), options.default_catalog.clone(), catalog);
        let copy = SessionContext::new_with_state(state.with_catalog_list(list).build());
        if let Some(tables) =
            session.catalog(&options.default_catalog).and_then(|catalog| catalog.schema(&options.default_schema))
        {
            for name in tables.table_names() {
                if let Some(table) = tables.table(&name).await? {
                    copy.register_table(TableReference::bare(name), table)?;
                }
            }
        }
        let shared = Mutex::new(self.shared().clone());
        let inner = Inner {
            session: copy,
            clock: clock.clone(),
            parallelism: *parallelism,
            checkpoints: None,
            connectors: connectors.clone(),
            source_options: source_options.clone(),
            in_use: in_use.clone(),
            shared,
        };
        Ok(Engine { inner: Arc::new(inner) })
    }
}

/// The plan of a query without STREAM.
async fn plan_table_query(query: &Query, functions: &Functions, state: &SessionState) -> Result<LogicalPlan, Vec<Diagnostic>> {
    let mut ast = query.ast.clone();
    functions.rename_calls(&mut ast);
    name_by_text(&mut ast, &query.item_texts);
    let settings = Settings::of(state);
    let plan = async |query: Box<sqlparser::ast::Query>| {
        let statement = DataFusionStatement::Statement(Box::new(sqlparser::ast::Statement::Query(query)));
        state.statement_to_plan(statement).await.and_then(|plan| kda_rules(plan, &settings)).and_then(shown)
    };
    let error = match plan(ast.clone()).await {
        Ok(plan) => return Ok(plan),
        Err(error) => error,
    };
    // The tables are at hand: planning does not wait.
    let planned = |part| plan(Box::new(part)).now_or_never();
    let errors = all_unknown_columns(&ast, error, &mut |part| planned(part)?.err());
    if let [error] = errors.as_slice() {
        let problem = explain_in(error, &StreamSchemas::default(), &ast);
        if is_about_list(&problem.message) {
            let mut schema_of = |part| Some(planned(part)?.ok()?.schema().clone());
            return Err(vec![explain_list(&ast, &mut schema_of).unwrap_or_else(|| problem.at(query.span))]);
        }
        let mut problem_of = |part| Some(explain_in(&planned(part)?.err()?, &StreamSchemas::default(), &ast).message);
        let problem = if problem.span.is_none() { place_at_model(problem, &ast) } else { problem };
        let place = if problem.span.is_none() { locate(&ast, &problem.message, &mut problem_of) } else { None };
        if let Some(place) = place {
            return Err(vec![narrow(problem.at(place), error, &ast)]);
        }
    }
    Err(errors.iter().map(|error| table_problem(error, query, &ast)).collect())
}

/// What is found only when operators are made of a plan: arguments of a function that must be constants, or are out of range.
async fn check_operators(plan: &LogicalPlan, query: &Query, state: &SessionState) -> Result<(), Vec<Diagnostic>> {
    match state.create_physical_plan(plan).await {
        Err(error) if matches!(error.find_root(), DataFusionError::Plan(_) | DataFusionError::NotImplemented(_)) => {
            Err(vec![table_problem(&error, query, &query.ast)])
        }
        // Anything else happens again when the query runs, which has words for it.
        _ => Ok(()),
    }
}

/// A problem of a query without STREAM, at its place in `ast`, or at the whole query.
fn table_problem(error: &DataFusionError, query: &Query, ast: &sqlparser::ast::Query) -> Diagnostic {
    let problem = explain_in(error, &StreamSchemas::default(), ast);
    let problem = if problem.span.is_none() { place_at_model(problem, ast) } else { problem };
    if problem.span.is_none() { problem.at(query.span) } else { problem }
}

/// Shown as the connector of sources and sinks that were added by code.
const CUSTOM: &str = "custom";

/// Name of a query's sink; no user's object has a `$`.
const QUERY: &str = "$query";

/// Batches that wait for the reader of a query.
const QUERY_BATCHES: usize = 8;

/// A script that is right, before it takes effect.
struct Prepared {
    shared: Shared,
    outcomes: Vec<Bound>,
}

enum Bound {
    Outcome(Outcome),
    /// With the switches that hold for it.
    Query(Query, Settings),
    Refresh(Arc<Table>),
}

/// The sink that hands the rows of `plan` to the reader of a query.
fn query_sink(plan: PlanNode, rows: mpsc::Sender<RecordBatch>) -> SinkEntry {
    SinkEntry {
        name: QUERY.to_owned(),
        stream: String::new(),
        plan,
        connector: "query".to_owned(),
        sink: Arc::new(ChannelSink::new(rows)),
    }
}

/// A stream that is missing where it is read is no input if the script makes it, or fills it.
fn in_view_of(statements: &[Statement], problem: Diagnostic) -> Diagnostic {
    let reads = statements.iter().flat_map(Statement::reads);
    let Some(name) = reads.into_iter().find(|name| problem.hint.as_deref() == Some(&input_hint(name))) else { return problem };
    if statements.iter().any(|statement| statement.makes().iter().any(|(_, made)| *made == name)) {
        return problem.hint("The script creates it further down: move that statement up.");
    }
    let fills = |statement: &Statement| matches!(&statement.kind, StatementKind::CreatePump(pump) if pump.target.value == name);
    match statements.iter().any(fills) {
        true => problem.hint("Create it with CREATE STREAM, above the pump that fills it."),
        false => problem,
    }
}

fn created_name(kind: &StatementKind) -> Option<&str> {
    match kind {
        StatementKind::CreateStream(statement) => Some(&statement.name.value),
        StatementKind::CreateSource(statement) => Some(&statement.name.value),
        StatementKind::CreateTable(statement) => Some(&statement.name.value),
        StatementKind::CreateFunction(statement) => Some(&statement.name.value),
        _ => None,
    }
}

/// The rows of a query as they come. Dropping it stops the query.
pub struct QueryStream {
    schema: SchemaRef,
    rows: Rows,
    warnings: Vec<Diagnostic>,
}

enum Rows {
    Table(BoxStream<'static, Result<RecordBatch>>),
    Job {
        job: Job,
        receiver: mpsc::Receiver<RecordBatch>,
        /// Waits for the job's result once the last row was handed over.
        end: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
    },
}

impl QueryStream {
    /// Columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What may not be meant, if [`Engine::query`] gave the stream; [`Engine::execute`] gives warnings as outcomes.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Counters of the job behind a stream query.
    pub fn metrics(&self) -> Option<Arc<Metrics>> {
        match &self.rows {
            Rows::Table(_) => None,
            Rows::Job { job, .. } => Some(job.metrics().clone()),
        }
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.rows {
            Rows::Table(rows) => rows.poll_next_unpin(cx),
            Rows::Job { job, receiver, end } => {
                if end.is_none() {
                    match receiver.poll_recv(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(batch)) => return Poll::Ready(Some(Ok(batch))),
                        Poll::Ready(None) => {}
                    }
                }
                // No more rows: the job's own result says whether that is all.
                match end.get_or_insert_with(|| job.ended()).as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(())) => Poll::Ready(None),
                    Poll::Ready(Err(error)) => {
                        *end = Some(Box::pin(std::future::ready(Ok(()))));
                        Poll::Ready(Some(Err(error)))
                    }
                }
            }
        }
    }
}
