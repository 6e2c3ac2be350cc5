//! One stream query: from the parsed text to operators, with errors that point at the text.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::{DataFusionError, SchemaError, TableReference};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DataFusionStatement;
use sqlparser::ast::{self, SelectItem, SetExpr, Spanned, Visit, Visitor};

use super::item_names::name_by_text;
use super::physical::{OperatorSpec, PlanNode, plan_operators};
use super::rowtime::{Carrier, make_explicit};
use super::rules::{aggregate_types, casts, output_types};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Span, closest};
use crate::runtime::clock::EventTime;
use crate::sql::{Name, Query};
use crate::types::{ROWTIME, SqlType, sql_type_name};

/// Columns of every stream that a query may read, ROWTIME last, by the stream's name.
pub type StreamSchemas = BTreeMap<String, SchemaRef>;

/// A planned stream query.
#[derive(Clone)]
pub struct QueryPlan {
    /// The operators.
    pub node: PlanNode,
    /// Places of the select list in the output, in order.
    pub columns: Vec<usize>,
    /// Place of ROWTIME in the output.
    pub rowtime: usize,
    /// What the select list says of ROWTIME.
    pub carrier: Carrier,
    /// Place of every item of the select list in the text, if it has no wildcard.
    item_spans: Vec<Span>,
    /// Place of the whole query.
    span: Span,
}

/// Plans a stream query over `streams`; `now` is the time that CURRENT_TIMESTAMP has while it runs.
pub async fn plan_stream_query(
    query: &Query,
    state: &SessionState,
    streams: &StreamSchemas,
    tables: &[String],
    now: EventTime,
) -> Result<QueryPlan, Vec<Diagnostic>> {
    let problems = check_names(&query.ast, state, streams, tables);
    if !problems.is_empty() {
        return Err(problems);
    }
    let item_spans = item_spans(&query.ast.body);
    let mut explicit = query.ast.clone();
    name_by_text(&mut explicit, &query.item_texts);
    let carrier = make_explicit(&mut explicit);
    let fail = |diagnostic: Diagnostic| vec![if diagnostic.span.is_none() { diagnostic.at(query.span) } else { diagnostic }];
    let statement = DataFusionStatement::Statement(Box::new(ast::Statement::Query(explicit)));
    let logical = state_with_streams(state, streams).statement_to_plan(statement).await;
    let optimized = logical
        .and_then(output_types::apply)
        .and_then(casts::apply)
        .and_then(aggregate_types::apply)
        .and_then(|plan| optimize(plan, state, now));
    let logical = optimized.map_err(|error| fail(explain_error(&error, streams)))?;
    let node = plan_operators(&logical, state.execution_props()).map_err(fail)?;
    let schema = node.schema();
    let rowtime = schema.index_of(ROWTIME).map_err(|_| fail(Diagnostic::error("the query has no ROWTIME")))?;
    let columns = (0..schema.fields().len()).filter(|i| *i != rowtime || carrier != Carrier::Added).collect();
    Ok(QueryPlan { node, columns, rowtime, carrier, item_spans, span: query.span })
}

impl QueryPlan {
    /// Adds the operator that makes the rows fit `target` (ROWTIME last), named by `list` or in declared order.
    ///
    /// Returns warnings, or the problems that make the insert impossible (kda-sql-reference.md §1.6, §2.2).
    pub fn insert_into(
        mut self,
        target: &Name,
        schema: &SchemaRef,
        list: Option<&[Name]>,
    ) -> Result<(PlanNode, Vec<Diagnostic>), Vec<Diagnostic>> {
        let declared = &schema.fields()[..schema.fields().len() - 1];
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let targets: Vec<Option<usize>> = match list {
            None => (0..declared.len()).map(Some).collect(),
            Some(names) => names
                .iter()
                .map(|name| {
                    let place = declared.iter().position(|field| *field.name() == name.value);
                    if place.is_none() && name.value != ROWTIME {
                        let existing = declared.iter().map(|field| field.name().as_str());
                        problems
                            .push(unknown_column(&name.value, &format!("stream \"{}\"", target.value), existing).at(name.span));
                    }
                    place
                })
                .collect(),
        };
        // `… AS ROWTIME` beside as many columns as the target has is no column of its own.
        if let Carrier::Override(_) = self.carrier
            && self.columns.len() == targets.len() + 1
        {
            self.columns.retain(|column| *column != self.rowtime);
        }
        if self.columns.len() != targets.len() {
            let what = if list.is_some() { "the column list has" } else { "the stream has" };
            let names = declared.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
            problems.push(
                Diagnostic::error(format!("the query gives {}, {what} {}", count(self.columns.len(), "column"), targets.len()))
                    .at(self.span)
                    .label(format!("columns of \"{}\" are {names}", target.value))
                    .hint("Give one expression per column, or name the columns: INSERT INTO stream (column, …) SELECT STREAM …"),
            );
            return Err(problems);
        }
        let output = self.node.schema();
        let mut sources = vec![None; declared.len()];
        for (i, (column, place)) in self.columns.iter().zip(&targets).enumerate() {
            let Some(place) = place else { continue };
            let (from, to) = (output.field(*column), &declared[*place]);
            let at = |diagnostic: Diagnostic| match self.item_spans.get(i) {
                Some(span) if self.item_spans.len() == self.columns.len() => diagnostic.at(*span),
                _ => diagnostic.at(self.span),
            };
            match assignable(from.data_type(), to.data_type()) {
                Assignable::Yes => {}
                Assignable::Parsed => warnings.push(at(Diagnostic::warning(format!(
                    "text is parsed as {} for column \"{}\"; rows whose text is no number go to error_stream",
                    sql_type_name(to),
                    to.name()
                )))),
                Assignable::No => problems.push(
                    at(Diagnostic::error(format!(
                        "{} cannot be assigned to column \"{}\" of type {}",
                        sql_type_name(from),
                        to.name(),
                        sql_type_name(to)
                    )))
                    .hint(format!("Convert it: CAST(… AS {}).", sql_type_name(to))),
                ),
            }
            if sources[*place].replace(*column).is_some() {
                problems.push(Diagnostic::error(format!("column \"{}\" is listed twice", to.name())).at(self.span));
            }
        }
        for (field, source) in declared.iter().zip(&sources) {
            if source.is_none() && !field.is_nullable() {
                problems.push(
                    Diagnostic::error(format!("column \"{}\" is NOT NULL and gets no value", field.name()))
                        .at(target.span)
                        .hint("Add it to the column list and the select list."),
                );
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        sources.push(Some(self.rowtime));
        let operator = OperatorSpec::Insert { sources, schema: schema.clone() };
        Ok((PlanNode::Unary { input: Box::new(self.node), operator }, warnings))
    }

    /// The operators of a query whose rows are shown: the select list, nothing else.
    pub fn into_output(self) -> PlanNode {
        let schema = self.node.schema();
        let fields: Vec<_> = self.columns.iter().map(|column| schema.fields()[*column].clone()).collect();
        let operator = OperatorSpec::Select { indices: self.columns, schema: Arc::new(Schema::new(fields)) };
        PlanNode::Unary { input: Box::new(self.node), operator }
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

enum Assignable {
    Yes,
    /// Text into a number: per row, with a warning (§8.2).
    Parsed,
    No,
}

fn assignable(from: &DataType, to: &DataType) -> Assignable {
    let numeric = |data_type: &DataType| data_type.is_numeric();
    let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let binary = |data_type: &DataType| matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    match (from, to) {
        (DataType::Null, _) => Assignable::Yes,
        (from, to) if from == to => Assignable::Yes,
        (from, to) if numeric(from) && numeric(to) || text(from) && text(to) || binary(from) && binary(to) => Assignable::Yes,
        (DataType::Timestamp(..), DataType::Timestamp(..)) | (DataType::Time32(_) | DataType::Time64(_), DataType::Time32(_)) => {
            Assignable::Yes
        }
        (from, to) if text(from) && numeric(to) => Assignable::Parsed,
        _ => Assignable::No,
    }
}

fn optimize(plan: LogicalPlan, state: &SessionState, now: EventTime) -> datafusion::common::Result<LogicalPlan> {
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let now = chrono::DateTime::from_timestamp_millis(now).unwrap_or_default();
    let context = OptimizerContext::new_with_config_options(state.config_options().clone()).with_query_execution_start_time(now);
    // Only rules that keep streams streams: no reordering, no limits, no joins.
    let rules = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new()), Arc::new(OptimizeProjections::new())]);
    rules.optimize(plan, &context, |_, _| {})
}

/// A session in which only the streams can be read.
fn state_with_streams(state: &SessionState, streams: &StreamSchemas) -> SessionState {
    let schema = MemorySchemaProvider::new();
    for (name, columns) in streams {
        // Registration fails only for a name that exists, and the names of a map differ.
        let _ = schema.register_table(name.clone(), Arc::new(EmptyTable::new(columns.clone())));
    }
    let options = &state.config_options().catalog;
    let catalog = MemoryCatalogProvider::new();
    let _ = catalog.register_schema(&options.default_schema, Arc::new(schema));
    let list = MemoryCatalogProviderList::new();
    datafusion::catalog::CatalogProviderList::register_catalog(&list, options.default_catalog.clone(), Arc::new(catalog));
    SessionStateBuilder::new_from_existing(state.clone()).with_catalog_list(Arc::new(list)).build()
}

/// Unknown streams and functions, found before planning because here their places are known.
fn check_names(query: &ast::Query, state: &SessionState, streams: &StreamSchemas, tables: &[String]) -> Vec<Diagnostic> {
    struct Names<'a> {
        state: &'a SessionState,
        streams: &'a StreamSchemas,
        tables: &'a [String],
        problems: Vec<Diagnostic>,
    }
    impl Visitor for Names<'_> {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> ControlFlow<()> {
            if let Some(ident) = relation.0.last().and_then(|part| part.as_ident())
                && !self.streams.contains_key(&ident.value)
            {
                self.problems.push(if self.tables.contains(&ident.value) {
                    Diagnostic::error(format!("\"{}\" is a table: a stream query needs a stream", ident.value))
                        .at(ident.span)
                        .hint("Joins of streams with tables are not supported yet; SELECT without STREAM reads the table alone.")
                } else {
                    unknown_stream(&ident.value, self.streams.keys().map(String::as_str)).at(ident.span)
                });
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } = expr {
                let problem = Diagnostic::error("a subquery in an expression of a stream query is not supported yet");
                self.problems.push(problem.at(expr.span()).hint("A query in parentheses can stand in FROM."));
                return ControlFlow::Continue(());
            }
            if let ast::Expr::Function(function) = expr
                && let Some(ident) = function.name.0.last().and_then(|part| part.as_ident())
            {
                let known = |name: &str| {
                    self.state.scalar_functions().contains_key(name)
                        || self.state.aggregate_functions().contains_key(name)
                        || self.state.window_functions().contains_key(name)
                };
                if !known(&ident.value) {
                    let names = self.state.scalar_functions().keys().chain(self.state.aggregate_functions().keys());
                    let names = names.filter(|name| !name.starts_with('$')).map(String::as_str);
                    let unknown = Diagnostic::error(format!("unknown function {}", ident.value.to_uppercase())).at(ident.span);
                    self.problems.push(match closest(&ident.value, names) {
                        Some(name) => unknown.hint(format!("Did you mean {}?", name.to_uppercase())),
                        None => unknown.hint("docs/sql-reference.md lists the functions."),
                    });
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names { state, streams, tables, problems: Vec::new() };
    let _ = query.visit(&mut names);
    names.problems
}

/// Problems of a query without STREAM that reads a stream, or a table that does not exist.
pub(crate) fn check_tables(query: &Query, catalog: &Catalog, session: &SessionContext) -> Result<(), Vec<Diagnostic>> {
    let with: Vec<_> = query.ast.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.as_str()).collect();
    // Whoever embeds the engine may have registered tables and table functions of their own.
    let is_known = |name: &str| {
        session.table_exist(TableReference::bare(name)).unwrap_or(false) || session.state().table_functions().contains_key(name)
    };
    let mut problems = Vec::new();
    // The visitor never breaks off.
    let _ = ast::visit_relations(&query.ast, |relation| {
        if let Some(ident) = relation.0.last().and_then(|part| part.as_ident()) {
            let name = ident.value.as_str();
            if catalog.streams.contains_key(name) {
                let problem = Diagnostic::error(format!("\"{name}\" is a stream: a query of it has no end")).at(ident.span);
                problems.push(problem.hint("Write SELECT STREAM … to see its rows as they come."));
            } else if relation.0.len() == 1 && !with.contains(&name) && !is_known(name) {
                let tables = catalog.tables.keys().map(String::as_str);
                let problem = Diagnostic::error(format!("table \"{name}\" does not exist")).at(ident.span);
                problems.push(problem.did_you_mean(name, tables));
            }
        }
        ControlFlow::<()>::Continue(())
    });
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The error for a stream that does not exist: says what does, and points out a name that differs in case only.
pub fn unknown_stream<'a>(name: &str, existing: impl Iterator<Item = &'a str>) -> Diagnostic {
    let existing: Vec<_> = existing.collect();
    let diagnostic = Diagnostic::error(format!("stream \"{name}\" does not exist"));
    let diagnostic = match existing.as_slice() {
        [] => diagnostic.label("there are no streams yet"),
        names => diagnostic.label(format!("streams are {}", names.join(", "))),
    };
    match existing.iter().find(|other| other.eq_ignore_ascii_case(name)) {
        Some(other) => diagnostic.hint(format!("Names without quotes are upper case. Did you mean \"{other}\", in quotes?")),
        None => diagnostic.did_you_mean(name, existing),
    }
}

fn unknown_column<'a>(name: &str, owner: &str, existing: impl Iterator<Item = &'a str>) -> Diagnostic {
    let existing: Vec<_> = existing.filter(|name| *name != ROWTIME).collect();
    let diagnostic = Diagnostic::error(format!("column \"{name}\" does not exist in {owner}"))
        .label(format!("columns are {}", existing.join(", ")));
    match existing.iter().find(|other| other.eq_ignore_ascii_case(name)) {
        Some(other) => diagnostic.hint(format!("Names without quotes are upper case. Did you mean \"{other}\", in quotes?")),
        None => diagnostic.did_you_mean(name, existing),
    }
}

/// DataFusion's planning error in our words.
pub(crate) fn explain_error(error: &DataFusionError, streams: &StreamSchemas) -> Diagnostic {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| Span {
        start: crate::diagnostic::Position { line: span.start.line, column: span.start.column },
        end: crate::diagnostic::Position { line: span.end.line, column: span.end.column },
    });
    let diagnostic = match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                // A name without a qualifier is looked up in the only stream there is.
                let relations = valid_fields.iter().filter_map(|column| column.relation.as_ref());
                let mut relations: Vec<_> = relations.map(|relation| relation.table().to_owned()).collect();
                relations.dedup();
                let only = relations.pop().filter(|_| relations.is_empty());
                let relation = field.relation.as_ref().map(|relation| relation.table().to_owned()).or(only);
                let valid: Vec<_> = valid_fields.iter().map(|column| column.name.as_str()).collect();
                let owner = match relation {
                    Some(relation) if streams.contains_key(&relation) => format!("stream \"{relation}\""),
                    Some(relation) => format!("\"{relation}\""),
                    None => "the streams of FROM".to_owned(),
                };
                unknown_column(&field.name, &owner, valid.into_iter())
            }
            SchemaError::AmbiguousReference { field } => Diagnostic::error(format!("column \"{}\" is ambiguous", field.name))
                .hint("Write it with the alias of its stream: alias.column."),
            other => Diagnostic::error(lower_first(&other.to_string())),
        },
        DataFusionError::Plan(message) if message.contains("must appear in the GROUP BY clause") => {
            let column = message.split('"').nth(1).and_then(|name| name.rsplit('.').next()).unwrap_or_default();
            Diagnostic::error(format!("column \"{column}\" is neither in GROUP BY nor inside an aggregate"))
                .hint("Add it to the GROUP BY, or use it inside an aggregate such as MAX.")
        }
        // What DataFusion takes for its own mistake is here a call that it cannot plan.
        DataFusionError::Internal(message) => {
            let first = message.lines().next().unwrap_or_default().split(".This issue").next().unwrap_or_default();
            Diagnostic::error(format!("this cannot be planned: {}", lower_first(first)))
        }
        root => Diagnostic::error(lower_first(&message_of(root))),
    };
    match span {
        Some(span) => diagnostic.at(span),
        None => diagnostic,
    }
}

/// The message without the name of the error's variant in front.
fn message_of(error: &DataFusionError) -> String {
    let text = error.message().into_owned();
    text.split("\n\nbacktrace:").next().unwrap_or_default().trim().to_owned()
}

fn lower_first(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    match characters.next() {
        // A word in capitals, such as TIMESTAMP, stays.
        Some(first) if !characters.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}

fn item_spans(body: &SetExpr) -> Vec<Span> {
    match body {
        SetExpr::Select(select)
            if !select
                .projection
                .iter()
                .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))) =>
        {
            select.projection.iter().map(|item| item.span().into()).collect()
        }
        SetExpr::Query(query) => item_spans(&query.body),
        SetExpr::SetOperation { left, .. } => item_spans(left),
        _ => Vec::new(),
    }
}

/// Columns as a stream created by `CREATE STREAM s AS SELECT …` has them, ROWTIME last.
pub fn stream_schema_of(plan: &QueryPlan) -> SchemaRef {
    let output = plan.node.schema();
    let columns = plan.columns.iter().filter(|column| **column != plan.rowtime).map(|column| output.fields()[*column].clone());
    Arc::new(Schema::new(columns.chain([SqlType::Timestamp.field(ROWTIME, false)]).collect::<Vec<_>>()))
}
