//! Names in a query that do not exist: found before planning, because here their places are known.

use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use sqlparser::ast::{self, Spanned, Visit, Visitor};

use super::batch_models::{is_model, over_streams, over_tables};
use super::function::user_name;
use super::misplaced::{Reads, check_places};
use super::over::needs_over;
use super::query::{ReferenceTables, StreamSchemas};
use super::rowtime::relation_name;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Span, closest, count};
use crate::sql::Query;
use crate::sql::keywords::FUNCTIONS;
use crate::types::ROWTIME;

/// Functions of the dialect (kda-sql-reference.md §5.1): those that are missing are missing here, not in the script.
const KDA_FUNCTIONS: &[&str] = &[
    "ANY",
    "CHAR_TO_DATE",
    "CHAR_TO_TIME",
    "CHAR_TO_TIMESTAMP",
    "DATE_TO_CHAR",
    "EVERY",
    "EXP_AVG",
    "FAST_REGEX_LOG_PARSE",
    "FIRST_VALUE",
    "FIXED_COLUMN_LOG_PARSE",
    "LAG",
    "LAST_VALUE",
    "MOD",
    "MONOTONIC",
    "NTH_VALUE",
    "REGEX_LOG_PARSE",
    "REGEX_REPLACE",
    "SYS_LOG_PARSE",
    "TIMESTAMP_TO_CHAR",
    "TIME_TO_CHAR",
    "TSDIFF",
    "UNIX_TIMESTAMP",
    "VARIABLE_COLUMN_LOG_PARSE",
    "W3C_LOG_PARSE",
];

/// Unknown streams and functions, and names that stand where they mean nothing.
pub(super) fn check_names(
    query: &ast::Query,
    state: &SessionState,
    streams: &StreamSchemas,
    tables: &ReferenceTables,
) -> Vec<Diagnostic> {
    struct Names<'a> {
        state: &'a SessionState,
        streams: &'a StreamSchemas,
        tables: &'a ReferenceTables,
        /// Names that WITH gives to queries.
        with: Vec<String>,
        problems: Vec<Diagnostic>,
    }
    impl Visitor for Names<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
            self.with.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.clone()));
            self.problems.extend(query.order_by.as_ref().and_then(subquery).map(|at| no_subquery("ORDER BY", at)));
            ControlFlow::Continue(())
        }
        fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> ControlFlow<()> {
            if let Some(ident) = relation.0.last().and_then(|part| part.as_ident())
                && !self.streams.contains_key(&ident.value)
                && !self.tables.contains_key(&ident.value)
                && !self.with.contains(&ident.value)
            {
                self.problems.push(unknown_input(&ident.value, self.streams.keys().map(String::as_str)).at(ident.span));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
            self.problems.extend(repeated_relation(select));
            if let ast::GroupByExpr::Expressions(keys, _) = &select.group_by {
                self.problems.extend(keys.iter().find_map(subquery).map(|at| no_subquery("GROUP BY", at)));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::Subquery(query)
            | ast::Expr::InSubquery { subquery: query, .. }
            | ast::Expr::Exists { subquery: query, .. } = expr
                && let Some(stream) = first_stream(query, self.streams)
            {
                let problem = Diagnostic::error(format!("a subquery in an expression cannot read stream \"{}\"", stream.value));
                let hint = "It can read tables. Join the streams: stream OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS alias.";
                self.problems.push(problem.at(stream.span).hint(hint));
                return ControlFlow::Continue(());
            }
            // Functions with OVER and table functions have lists of their own, those that stand for clauses none.
            if let ast::Expr::Function(function) = expr
                && function.over.is_none()
                && let Some(ident) = function.name.0.last().and_then(|part| part.as_ident())
                && !ident.value.starts_with('$')
            {
                let known = |name: &str| {
                    self.state.scalar_functions().contains_key(name) || self.state.aggregate_functions().contains_key(name)
                };
                let name = ident.value.to_uppercase();
                let has_no_window = !known(&ident.value) && is_window_function(self.state, &ident.value);
                if has_no_window || needs_over(&ident.value) {
                    let problem = Diagnostic::error(format!("{name} needs OVER")).at(ident.span);
                    let hint = match is_model(&ident.value) {
                        true => over_streams(&ident.value),
                        false => format!("Write {name}(…) OVER (RANGE INTERVAL '1' MINUTE PRECEDING)."),
                    };
                    self.problems.push(problem.hint(hint));
                } else if !known(&ident.value) && KDA_FUNCTIONS.contains(&name.as_str()) {
                    self.problems.push(Diagnostic::error(format!("{name} is not supported yet")).at(ident.span));
                } else if !known(&ident.value) {
                    let names = self.state.scalar_functions().keys().chain(self.state.aggregate_functions().keys());
                    let users = names.clone().filter_map(|name| user_name(name));
                    let internal = internal_functions();
                    let is_callable = |name: &&String| !name.starts_with('$') && !internal.contains(*name);
                    let names = names.filter(is_callable).map(String::as_str).chain(users);
                    let unknown = Diagnostic::error(format!("unknown function {}", ident.value.to_uppercase())).at(ident.span);
                    let unknown = unknown.missing(ident.value.to_uppercase());
                    self.problems.push(match closest(&ident.value, names) {
                        Some(name) => unknown.hint(format!("Did you mean {}?", as_called(name))),
                        None => unknown.hint("docs/sql-reference.md lists the functions."),
                    });
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names { state, streams, tables, with: Vec::new(), problems: Vec::new() };
    let _ = query.visit(&mut names);
    names.problems.extend(wrong_ordinal(query));
    names.problems.extend(check_places(query, Reads::Streams));
    names.problems
}

/// Functions behind FLOOR(… TO …) and CEIL(… TO …): what is close to their names is close to those.
const ROUNDING: [(&str, &str); 2] = [("floor_to", "FLOOR"), ("ceil_to", "CEIL")];

/// Names of functions that only stand for what the dialect writes otherwise, such as CAST.
fn internal_functions() -> Vec<String> {
    let is_written =
        |name: &str| FUNCTIONS.contains(&name.to_uppercase().as_str()) || ROUNDING.iter().any(|(rounding, _)| *rounding == name);
    let names = kinesql_udfs::all_scalar().into_iter().map(|function| function.name().to_owned());
    names.filter(|name| !is_written(name)).collect()
}

/// The name of a function of the session as a query has it.
fn as_called(name: &str) -> String {
    let rounding = ROUNDING.iter().find(|(rounding, _)| *rounding == name);
    rounding.map_or_else(|| name.to_uppercase(), |(_, called)| (*called).to_owned())
}

/// True for a function that exists with OVER only.
fn is_window_function(state: &SessionState, name: &str) -> bool {
    let exists_without = state.scalar_functions().contains_key(name) || state.aggregate_functions().contains_key(name);
    state.window_functions().contains_key(name) && !exists_without
}

/// The place of the first subquery in `part`.
fn subquery(part: &impl Visit) -> Option<Span> {
    struct Subqueries;
    impl Visitor for Subqueries {
        type Break = Span;
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Span> {
            match expr {
                ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => {
                    ControlFlow::Break(expr.span().into())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    part.visit(&mut Subqueries).break_value()
}

fn no_subquery(clause: &str, at: Span) -> Diagnostic {
    let problem = Diagnostic::error(format!("a subquery is not allowed in {clause}")).at(at);
    problem.hint("Compute it in a query in FROM, in parentheses, and refer to its column.")
}

/// The second of two relations of FROM that have one name.
fn repeated_relation(select: &ast::Select) -> Option<Diagnostic> {
    fn names(table: &ast::TableWithJoins, found: &mut Vec<ast::Ident>) {
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            match factor {
                ast::TableFactor::NestedJoin { table_with_joins, .. } => names(table_with_joins, found),
                factor => found.extend(relation_name(factor).filter(|name| !name.value.starts_with('$'))),
            }
        }
    }
    let mut found = Vec::new();
    select.from.iter().for_each(|table| names(table, &mut found));
    let is_repeated = |place: usize| found[..place].iter().any(|before| before.value == found[place].value);
    let second = &found[(0..found.len()).find(|place| is_repeated(*place))?];
    let problem = Diagnostic::error(format!("two relations of FROM are called \"{}\"", second.value)).at(second.span);
    Some(problem.hint("Give each an alias of its own: \"S\" AS a JOIN \"S\" AS b."))
}

/// The first stream that a query reads.
fn first_stream(query: &ast::Query, streams: &StreamSchemas) -> Option<ast::Ident> {
    let mut found = None;
    // Breaks off at the first one.
    let _ = ast::visit_relations(query, |relation| match relation.0.last().and_then(|part| part.as_ident()) {
        Some(ident) if streams.contains_key(&ident.value) => {
            found = Some(ident.clone());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found
}

/// A number in ORDER BY that is behind the select list: the planner would take it for the ROWTIME that every list ends with.
fn wrong_ordinal(query: &ast::Query) -> Option<Diagnostic> {
    let (ast::SetExpr::Select(select), Some(ast::OrderByKind::Expressions(sorts))) =
        (query.body.as_ref(), query.order_by.as_ref().map(|order| &order.kind))
    else {
        return None;
    };
    let is_wildcard =
        |item: &ast::SelectItem| matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..));
    let items = select.projection.len();
    sorts.iter().filter(|_| !select.projection.iter().any(is_wildcard)).find_map(|sort| match &sort.expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(number, _) if number.parse::<usize>().is_ok_and(|number| !(1..=items).contains(&number)) => {
                let problem = Diagnostic::error(format!("ORDER BY {number}: the select list has {}", count(items, "item")));
                Some(problem.at(value.span).hint("A number in ORDER BY is the place of an item, from 1."))
            }
            _ => None,
        },
        _ => None,
    })
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
                problems.push(problem.missing(name).did_you_mean(name, tables));
            }
        }
        ControlFlow::<()>::Continue(())
    });
    let state = session.state();
    let _ = ast::visit_expressions(&query.ast, |expr| {
        if let ast::Expr::Function(function) = expr
            && function.over.is_none()
            && let Some(ident) = function.name.0.last().and_then(|part| part.as_ident())
            && is_window_function(&state, &ident.value)
        {
            let name = ident.value.to_uppercase();
            let problem = Diagnostic::error(format!("{name} needs OVER")).at(ident.span);
            problems.push(match is_model(&name) {
                true => problem.hint(over_tables(&name)),
                false => problem.hint(format!("Write {name}(…) OVER (ORDER BY …).")),
            });
        }
        ControlFlow::<()>::Continue(())
    });
    problems.extend(wrong_ordinal(&query.ast));
    problems.extend(check_places(&query.ast, Reads::Tables));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The error for a stream that does not exist: says what does, and points out a name that differs in case only.
pub fn unknown_stream<'a>(name: &str, existing: impl Iterator<Item = &'a str>) -> Diagnostic {
    let existing: Vec<_> = existing.collect();
    let diagnostic = Diagnostic::error(format!("stream \"{name}\" does not exist")).missing(name);
    let diagnostic = match existing.as_slice() {
        [] => diagnostic.label("there are no streams yet"),
        names => diagnostic.label(format!("streams are {}", names.join(", "))),
    };
    match existing.iter().find(|other| other.eq_ignore_ascii_case(name)) {
        Some(other) => diagnostic.hint(format!("Names without quotes are upper case. Did you mean \"{other}\", in quotes?")),
        None => diagnostic.did_you_mean(name, existing),
    }
}

/// The same for a stream that is read: if its name is no slip of the finger, it may be an input whose data is not named yet.
pub fn unknown_input<'a>(name: &str, existing: impl Iterator<Item = &'a str>) -> Diagnostic {
    match unknown_stream(name, existing) {
        problem if problem.hint.is_none() => problem.hint(input_hint(name)),
        problem => problem,
    }
}

/// What to do about an input that is not there.
pub fn input_hint(name: &str) -> String {
    format!("If it is an input, add a CREATE SOURCE for it, or --source {name}=FILE on the command line.")
}

/// The error for `alias.column` of a relation that FROM does not have.
pub(super) fn unknown_relation(name: &str, existing: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("FROM has no \"{name}\"")).label(format!("it has {}", existing.join(", ")));
    match existing.iter().find(|other| other.eq_ignore_ascii_case(name)) {
        Some(other) => diagnostic.hint(format!("Names without quotes are upper case. Did you mean \"{other}\", in quotes?")),
        None => diagnostic.did_you_mean(name, existing.iter().copied()),
    }
}

pub(super) fn unknown_column<'a>(name: &str, owner: &str, existing: impl Iterator<Item = &'a str>) -> Diagnostic {
    let existing: Vec<_> = existing.filter(|name| *name != ROWTIME).collect();
    if existing.is_empty() {
        return Diagnostic::error(format!("column \"{name}\" does not exist: there is nothing in FROM that it could be of"));
    }
    let diagnostic = Diagnostic::error(format!("column \"{name}\" does not exist in {owner}"))
        .label(format!("columns are {}", existing.join(", ")));
    match existing.iter().find(|other| other.eq_ignore_ascii_case(name)) {
        Some(other) => diagnostic.hint(format!("Names without quotes are upper case. Did you mean \"{other}\", in quotes?")),
        None => diagnostic.did_you_mean(name, existing),
    }
}
