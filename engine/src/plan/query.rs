//! One stream query: from the parsed text to operators, with errors that point at the text.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::parser::Statement as DataFusionStatement;
use futures::FutureExt;
use sqlparser::ast::{
    self, BinaryOperator, GroupByExpr, OrderByKind, SelectItem, SetExpr, Spanned, UnaryOperator, Visit, Visitor,
};

use super::alias_list;
use super::explain_error::explain_error;
use super::function::Functions;
use super::item_names::name_by_text;
use super::join::{JoinPlanner, StreamJoins, check_joins, find_keys, prepare_joins, read_tables};
use super::locate::locate;
use super::metadata::resolve_metadata;
use super::monotonic_key::group_by_column;
use super::names::check_names;
use super::over::resolve_windows;
use super::override_order::split_overrides;
use super::physical::{NO_ROWTIME, OperatorSpec, PlanNode, plan_operators};
use super::places::{at_call, division_of_tables, explain_in, narrow};
use super::planner_words::NO_CONDITION;
use super::rowtime::{Carrier, make_explicit};
use super::rules::{kda_rules, literals, steps, subqueries};
use super::table_function::{TableFunctionPlanner, TableFunctions, prepare_table_functions};
use super::unknown_columns::all_unknown_columns;
use super::window_table::{WindowCalls, WindowTablePlanner, prepare_windows};
use crate::diagnostic::{Diagnostic, Span};
use crate::error::DIVISION_BY_ZERO;
use crate::runtime::clock::EventTime;
use crate::settings::Settings;
use crate::sql::{Query, parse_own_query};
use crate::types::{ROWTIME, SqlType};

/// Columns of every stream that a query may read, ROWTIME last, by the stream's name.
pub type StreamSchemas = BTreeMap<String, SchemaRef>;

/// Tables that a query may join with a stream, by name.
pub type ReferenceTables = BTreeMap<String, Arc<dyn TableProvider>>;

/// A planned stream query.
#[derive(Clone)]
pub struct QueryPlan {
    /// The operators.
    pub node: PlanNode,
    /// The columns of the output as the query declares them: the lengths of texts, which the operators do not ask for.
    pub(super) fields: Vec<FieldRef>,
    /// Places of the select list in the output, in order.
    pub columns: Vec<usize>,
    /// Place of ROWTIME in the output.
    pub rowtime: usize,
    /// What the select list says of ROWTIME.
    pub carrier: Carrier,
    /// Place of every item of the select list in the text, if it has no wildcard.
    pub(super) item_spans: Vec<Span>,
    /// Place of the whole query.
    pub(super) span: Span,
    /// What may not be meant.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Plans a stream query over `streams`, which may call `functions`, registered in `state`; `now` is the time that
/// CURRENT_TIMESTAMP has while it runs.
pub async fn plan_stream_query(
    query: &Query,
    state: &SessionState,
    streams: &StreamSchemas,
    functions: &Functions,
    now: EventTime,
) -> Result<QueryPlan, Vec<Diagnostic>> {
    let fail = |diagnostic: Diagnostic| vec![if diagnostic.span.is_none() { diagnostic.at(query.span) } else { diagnostic }];
    let mut written = query.ast.clone();
    functions.rename_calls(&mut written);
    let explain = |error: DataFusionError| fail(explain_in(&error, streams, &written));
    let settings = Settings::of(state);
    let tables = reference_tables(state).await.map_err(explain)?;
    let mut problems = check_names(&written, state, streams, &tables);
    problems.extend(of_streams(query, streams));
    if problems.is_empty() {
        problems = check_joins(&written, streams);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let item_spans = item_spans(&written.body);
    let mut explicit = written.clone();
    let streams = &resolve_metadata(&mut explicit, streams, &tables);
    name_by_text(&mut explicit, &query.item_texts);
    let windows = prepare_windows(&mut explicit)?;
    let value_of = |expr: &ast::Expr| constant_value(expr, state, &settings, now);
    let (functions, mut warnings) = prepare_table_functions(&mut explicit, &value_of)?;
    let joins = prepare_joins(&mut explicit, streams, &tables, &settings)?;
    warnings.extend(query.warnings.iter().cloned());
    warnings.extend(resolve_windows(&mut explicit, streams, &settings, &value_of)?);
    group_by_column(&mut explicit);
    split_overrides(&mut explicit);
    let carrier = make_explicit(&mut explicit, streams);
    let session = state_with(state, streams, tables, joins, functions, windows);
    let plan = |query: Box<ast::Query>| logical_plan(query, &session, streams, &settings, now);
    let logical = match plan(explicit.clone()).await {
        Ok(logical) => logical,
        Err(error) => {
            // Everything that is named is at hand: planning a part of the query again does not wait.
            let planned = |part| plan(Box::new(part)).now_or_never();
            let first = explain_in(&error, streams, &written);
            if alias_list::is_about_list(&first.message) {
                let mut schema_of = |part| Some(planned(part)?.ok()?.schema().clone());
                return Err(fail(alias_list::explain(&explicit, &mut schema_of).unwrap_or(first)));
            }
            let mut error_of = |part| planned(part)?.err();
            let errors = all_unknown_columns(&explicit, error, &mut error_of);
            let mut problems: Vec<_> = errors.iter().map(|error| explain_in(error, streams, &written)).collect();
            if problems.len() > 1 {
                return Err(problems);
            }
            let problem = problems.remove(0);
            let mut problem_of = |part| error_of(part).map(|error| explain_error(&error, streams).message);
            let known = problem.span.is_some();
            let place = if known { None } else { locate(&explicit, &problem.message, &mut problem_of) };
            let place = place.or_else(|| clause_span(&query.ast, &problem.message).filter(|_| problem.span.is_none()));
            return Err(fail(match place {
                Some(place) => narrow(problem.at(place), &errors[0], &written),
                None => problem,
            }));
        }
    };
    let logical = read_tables(logical, state, streams).await.map_err(|error| {
        let problem = explain_in(&error, streams, &written);
        let place = division_of_tables(&written, streams);
        fail(match place.filter(|_| problem.span.is_none() && problem.message == DIVISION_BY_ZERO) {
            Some(place) => problem.at(place).hint("Leave out such rows with WHERE, or divide by NULLIF(n, 0), which gives NULL."),
            None => problem,
        })
    })?;
    let node = plan_operators(&logical, state.execution_props()).map_err(|problem| {
        // Problems that are about one call, one item, or one clause.
        let problem = at_call(problem, &query.ast);
        let item = if let Carrier::Override(item) = carrier { item_spans.get(item) } else { None };
        let item = item.filter(|_| problem.message.starts_with(NO_ROWTIME)).copied();
        fail(match item.or_else(|| clause_span(&query.ast, &problem.message)).filter(|_| problem.span.is_none()) {
            Some(place) => problem.at(place),
            None => problem,
        })
    })?;
    let schema = node.schema();
    let rowtime = schema.index_of(ROWTIME).map_err(|_| fail(Diagnostic::error("the query has no ROWTIME")))?;
    let columns = (0..schema.fields().len()).filter(|i| *i != rowtime || carrier != Carrier::Added).collect();
    let fields = declared_fields(&schema, logical.schema().as_arrow());
    Ok(QueryPlan { node, fields, columns, rowtime, carrier, item_spans, span: query.span, warnings })
}

impl QueryPlan {
    /// The plan for a stream of its own: the item `ROWTIME` is no column of it, as it is one of every stream.
    pub fn without_rowtime(mut self) -> Self {
        if self.item_spans.len() == self.columns.len() {
            let mut columns = self.columns.iter();
            self.item_spans.retain(|_| columns.next() != Some(&self.rowtime));
        }
        self.columns.retain(|column| *column != self.rowtime);
        self
    }

    /// What may not be meant, for a query that is shown; those of a pump come with its insert.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The operators of a query whose rows are shown: the select list, nothing else.
    pub fn into_output(self) -> PlanNode {
        let schema = self.node.schema();
        let fields: Vec<_> = self.columns.iter().map(|column| schema.fields()[*column].clone()).collect();
        let operator = OperatorSpec::Select { indices: self.columns, schema: Arc::new(Schema::new(fields)) };
        PlanNode::Unary { input: Box::new(self.node), operator }
    }
}

/// What stands in a part of the query that reads a stream, and is for tables.
fn of_streams(query: &Query, streams: &StreamSchemas) -> Vec<Diagnostic> {
    let mut read: Vec<Span> = Vec::new();
    // The visitor never breaks off.
    let _ = ast::visit_relations(&query.ast, |relation| {
        let ident = relation.0.last().and_then(|part| part.as_ident());
        read.extend(ident.filter(|ident| streams.contains_key(&ident.value)).map(|ident| Span::from(ident.span)));
        ControlFlow::<()>::Continue(())
    });
    let reads = |within: Span| read.iter().any(|stream| within.start <= stream.start && stream.end <= within.end);
    query.of_streams.iter().filter(|part| reads(part.within)).map(|part| part.problem.clone()).collect()
}

/// The fields of `schema` with what `logical`, which has the same columns, says of them.
fn declared_fields(schema: &Schema, logical: &Schema) -> Vec<FieldRef> {
    let declared = |(place, field): (usize, &FieldRef)| match logical.fields().get(place) {
        Some(known) if known.name() == field.name() && known.data_type() == field.data_type() => {
            Arc::new(field.as_ref().clone().with_metadata(known.metadata().clone()))
        }
        _ => field.clone(),
    };
    schema.fields().iter().enumerate().map(declared).collect()
}

/// What DataFusion's planner and the rules make of a query.
async fn logical_plan(
    query: Box<ast::Query>,
    session: &SessionState,
    streams: &StreamSchemas,
    settings: &Settings,
    now: EventTime,
) -> datafusion::common::Result<LogicalPlan> {
    let statement = DataFusionStatement::Statement(Box::new(ast::Statement::Query(query)));
    let plan = session.statement_to_plan(statement).await;
    plan.and_then(|plan| kda_rules(plan, settings)).and_then(|plan| optimize(plan, session, streams, now))
}

fn optimize(
    plan: LogicalPlan,
    state: &SessionState,
    streams: &StreamSchemas,
    now: EventTime,
) -> datafusion::common::Result<LogicalPlan> {
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let now = chrono::DateTime::from_timestamp_millis(now).unwrap_or_default();
    let plan = subqueries::apply(plan, state.config_options(), now)?;
    let plan = find_keys(literals::fold(plan)?, streams)?;
    let context = OptimizerContext::new_with_config_options(state.config_options().clone()).with_query_execution_start_time(now);
    // Only rules that keep streams streams: no reordering, no limits.
    let rules = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new()), Arc::new(OptimizeProjections::new())]);
    let plan = rules.optimize(plan, &context, |_, _| {})?;
    steps::check(&plan)?;
    Ok(plan)
}

/// The plan of a query of streams alone, as DataFusion makes it.
pub(super) async fn plan_of_streams(
    query: &ast::Query,
    state: &SessionState,
    streams: &StreamSchemas,
) -> datafusion::common::Result<LogicalPlan> {
    let statement = DataFusionStatement::Statement(Box::new(ast::Statement::Query(Box::new(query.clone()))));
    let none = (ReferenceTables::new(), StreamJoins::default(), TableFunctions::default(), WindowCalls::default());
    state_with(state, streams, none.0, none.1, none.2, none.3).statement_to_plan(statement).await
}

/// The value of an expression that reads nothing; None if it has none, or cannot be computed.
fn constant_value(expr: &ast::Expr, state: &SessionState, settings: &Settings, now: EventTime) -> Option<ScalarValue> {
    let mut query = parse_own_query("SELECT NULL FROM NOTHING")?;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    select.from.clear();
    select.projection = vec![SelectItem::UnnamedExpr(expr.clone())];
    // Everything that is named is at hand: planning does not wait.
    let plan = logical_plan(query, state, &StreamSchemas::new(), settings, now).now_or_never()?.ok()?;
    match &plan.expressions().first()?.clone().unalias() {
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    }
}

/// Every table of the session.
async fn reference_tables(state: &SessionState) -> datafusion::common::Result<ReferenceTables> {
    let options = &state.config_options().catalog;
    let catalog = state.catalog_list().catalog(&options.default_catalog);
    let schema = catalog.and_then(|catalog| catalog.schema(&options.default_schema));
    let mut tables = ReferenceTables::new();
    if let Some(schema) = schema {
        for name in schema.table_names() {
            tables.extend(schema.table(&name).await?.map(|table| (name, table)));
        }
    }
    Ok(tables)
}

/// A session in which the streams and tables can be read.
fn state_with(
    state: &SessionState,
    streams: &StreamSchemas,
    tables: ReferenceTables,
    joins: StreamJoins,
    functions: TableFunctions,
    windows: WindowCalls,
) -> SessionState {
    let schema = MemorySchemaProvider::new();
    for (name, table) in tables.into_iter().filter(|(name, _)| !streams.contains_key(name)) {
        // As below.
        let _ = schema.register_table(name, table);
    }
    for (name, columns) in streams {
        // Registration fails only for a name that exists, and the names of a map differ.
        let _ = schema.register_table(name.clone(), Arc::new(EmptyTable::new(columns.clone())));
    }
    let options = &state.config_options().catalog;
    let catalog = MemoryCatalogProvider::new();
    let _ = catalog.register_schema(&options.default_schema, Arc::new(schema));
    let list = MemoryCatalogProviderList::new();
    datafusion::catalog::CatalogProviderList::register_catalog(&list, options.default_catalog.clone(), Arc::new(catalog));
    let mut state = SessionStateBuilder::new_from_existing(state.clone()).with_catalog_list(Arc::new(list)).build();
    // Adding one fails in no case.
    if !joins.is_empty() {
        let _ = state.register_relation_planner(Arc::new(JoinPlanner(joins)));
    }
    if !windows.is_empty() {
        let _ = state.register_relation_planner(Arc::new(WindowTablePlanner(windows)));
    }
    if !functions.is_empty() {
        let _ = state.register_relation_planner(Arc::new(TableFunctionPlanner(functions)));
    }
    state
}

/// The place of the clause that `message` begins with, if the query has one of its kind.
fn clause_span(query: &ast::Query, message: &str) -> Option<Span> {
    struct Clauses<'a> {
        message: &'a str,
        found: Vec<Span>,
    }
    impl Clauses<'_> {
        fn found(&mut self, spans: impl Iterator<Item = sqlparser::tokenizer::Span>) {
            let spans = spans.filter(|span| *span != sqlparser::tokenizer::Span::empty()).map(Span::from);
            self.found.extend(spans.reduce(Span::union));
        }
    }
    impl Visitor for Clauses<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
            let kind = query.order_by.as_ref().map(|order| &order.kind);
            if let Some(OrderByKind::Expressions(sorts)) = kind.filter(|_| self.message.starts_with("ORDER BY")) {
                self.found(sorts.iter().map(|sort| sort.expr.span()));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
            if let GroupByExpr::Expressions(exprs, _) = &select.group_by
                && !exprs.is_empty()
                && self.message.starts_with("GROUP BY")
            {
                self.found(exprs.iter().map(|expr| expr.span()));
            }
            if self.message.starts_with(NO_CONDITION) {
                // Each is a clause of its own: with two of them the place is not known.
                let joins = select.from.iter().flat_map(|table| &table.joins).filter_map(condition_of);
                let conditions = select.selection.iter().chain(&select.having).chain(joins);
                let conditions = conditions.filter(|condition| !is_condition(condition));
                conditions.for_each(|condition| self.found(std::iter::once(condition.span())));
            }
            if select.distinct.is_some() && self.message.starts_with("SELECT STREAM DISTINCT") {
                self.found(select.projection.iter().map(|item| item.span()));
            }
            ControlFlow::Continue(())
        }
    }
    let mut clauses = Clauses { message, found: Vec::new() };
    // The visitor never breaks off.
    let _ = query.visit(&mut clauses);
    match clauses.found.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// The condition behind ON.
fn condition_of(join: &ast::Join) -> Option<&ast::Expr> {
    use ast::JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match &join.join_operator {
        Join(constraint)
        | Inner(constraint)
        | Left(constraint)
        | LeftOuter(constraint)
        | Right(constraint)
        | RightOuter(constraint)
        | FullOuter(constraint) => match constraint {
            ast::JoinConstraint::On(condition) => Some(condition),
            _ => None,
        },
        _ => None,
    }
}

/// True for what is BOOLEAN whatever it is made of.
fn is_condition(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::BinaryOp { op, .. } => !matches!(
            op,
            BinaryOperator::Plus
                | BinaryOperator::Minus
                | BinaryOperator::Multiply
                | BinaryOperator::Divide
                | BinaryOperator::Modulo
                | BinaryOperator::StringConcat
        ),
        ast::Expr::Nested(inner) => is_condition(inner),
        ast::Expr::UnaryOp { op, .. } => matches!(op, UnaryOperator::Not),
        ast::Expr::Identifier(_)
        | ast::Expr::CompoundIdentifier(_)
        | ast::Expr::Value(_)
        | ast::Expr::Function(_)
        | ast::Expr::Case { .. }
        | ast::Expr::Cast { .. }
        | ast::Expr::Subquery(_) => false,
        _ => true,
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

/// Columns as a stream created by `CREATE STREAM s AS SELECT …` has them, ROWTIME last. An interval is no column (kda-sql-reference.md
/// §1.5).
pub fn stream_schema_of(plan: &QueryPlan) -> Result<SchemaRef, Vec<Diagnostic>> {
    let (mut columns, mut problems) = (Vec::new(), Vec::new());
    for (item, column) in plan.columns.iter().enumerate().filter(|(_, column)| **column != plan.rowtime) {
        let field = &plan.fields[*column];
        if matches!(field.data_type(), DataType::Interval(_) | DataType::Duration(_)) {
            let place = plan.item_spans.get(item).filter(|_| plan.item_spans.len() == plan.columns.len());
            let problem = Diagnostic::error(format!("column \"{}\" is an interval: streams have none", field.name()));
            let hint = "Convert it: CAST(… AS VARCHAR(20)), or CAST(… AS BIGINT) if it has one field.";
            problems.push(problem.at(place.copied().unwrap_or(plan.span)).hint(hint));
        }
        columns.push(match SqlType::of_field(field) {
            Some(sql_type) => sql_type.field(field.name(), field.is_nullable()),
            None => field.clone(),
        });
    }
    columns.push(SqlType::Timestamp.field(ROWTIME, false));
    if problems.is_empty() { Ok(Arc::new(Schema::new(columns))) } else { Err(problems) }
}
