//! Joins of streams in the tree of a query: every pair of streams that are joined becomes a relation of its own, named
//! `$join0`, `$join1`, …, which has the ROWTIME of the joined rows (kda-sql-reference.md §2.5, §3.2, §4.5).
//!
//! | Written | In the tree |
//! | --- | --- |
//! | `a OVER (…) JOIN b ON c` | `(a JOIN b ON c) AS "$join0"`; the windows are in [`StreamJoins`] |
//! | `a OVER (…), b` | `(a CROSS JOIN b) AS "$join0"` |
//! | `a OVER (…) JOIN b ON c JOIN d ON e` | `((a JOIN b ON c) AS "$join0" JOIN d ON e) AS "$join1"` |
//! | `USING (k)`, `NATURAL`, with tables too | `ON a.k = b.k`; `k` alone is `a.k` or, if only `b` is kept, `b.k` or either |
//! | `(SELECT …)` without a name | `(SELECT …) AS "$relation0"` |

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, NamedWindowDefinition, Select, SelectItem, SetExpr,
    TableAlias, TableFactor, TableSampleKind, TableWithJoins, VisitMut, VisitorMut,
};

use super::check::{place, reads_stream};
use super::spec::{JoinSpec, Joined};
use super::using::{self, Merged, Relation, expand_wildcards, merge_columns};
use super::window::{JoinWindow, join_window};
use crate::diagnostic::{Diagnostic, Span};
use crate::plan::item_names::given_name;
use crate::plan::query::{ReferenceTables, StreamSchemas};
use crate::plan::rowtime::relation_name;
use crate::settings::Settings;
use crate::types::{ROWTIME, is_declared};

/// Begins the names of joined streams.
const JOIN: &str = "$join";

/// Begins the names of queries and table functions in FROM that the query does not name.
const UNNAMED: &str = "$relation";

/// True for the name of a join of streams.
pub(in crate::plan) fn is_stream_join(name: &str) -> bool {
    name.starts_with(JOIN)
}

/// What each join of streams keeps, by its name.
pub(in crate::plan) type StreamJoins = BTreeMap<String, JoinSpec>;

/// Finds the joins of streams in `query`, its derived tables included, and gives each its name.
pub(in crate::plan) fn prepare_joins(
    query: &mut ast::Query,
    streams: &StreamSchemas,
    tables: &ReferenceTables,
    settings: &Settings,
) -> Result<StreamJoins, Vec<Diagnostic>> {
    let (joins, names, depths, problems) = (StreamJoins::new(), Vec::new(), Vec::new(), Vec::new());
    let mut prepare = Prepare { streams, tables, settings, joins, names, depths, unnamed: 0, problems };
    // The visitor never breaks off.
    let _ = query.visit(&mut prepare);
    if prepare.problems.is_empty() { Ok(prepare.joins) } else { Err(prepare.problems) }
}

struct Prepare<'a> {
    streams: &'a StreamSchemas,
    tables: &'a ReferenceTables,
    settings: &'a Settings,
    joins: StreamJoins,
    /// Windows of the WINDOW clauses around: they can be used in subqueries (§2.7).
    names: Vec<NamedWindowDefinition>,
    /// How many names there were before each SELECT around.
    depths: Vec<usize>,
    /// Queries in FROM that were given a name.
    unnamed: usize,
    problems: Vec<Diagnostic>,
}

impl VisitorMut for Prepare<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.depths.push(self.names.len());
        self.names.extend(select.named_window.iter().cloned());
        if select.from.len() > 1 || select.from.iter().any(joins_relations) {
            select.from.iter_mut().for_each(|table| self.name_queries(table));
        }
        self.commas(select);
        let mut using = Vec::new();
        let mut joined = false;
        let has_stream = select.from.iter().any(|table| self.has_stream(table));
        for table in &mut select.from {
            joined |= self.table_with_joins(table, &mut using, has_stream).is_some();
            self.unused_windows(table);
        }
        if joined || !using.is_empty() {
            expand_wildcards(select, &using);
            merge_columns(select, &using);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<()> {
        self.names.truncate(self.depths.pop().unwrap_or(0));
        ControlFlow::Continue(())
    }
}

impl Prepare<'_> {
    fn is_stream(&self, factor: &TableFactor) -> bool {
        reads_stream(factor, self.streams)
    }

    fn has_stream(&self, table: &TableWithJoins) -> bool {
        let joined = table.joins.iter().map(|join| &join.relation);
        std::iter::once(&table.relation).chain(joined).any(|factor| self.is_stream(factor))
    }

    /// Queries beside other relations get a name if they have none: `*` is written out by the names of relations, and a
    /// query without one would hand on the names of those inside it.
    fn name_queries(&mut self, table: &mut TableWithJoins) {
        for factor in std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation)) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => self.name_queries(table_with_joins),
                TableFactor::Derived { alias: alias @ None, .. } => {
                    *alias = Some(alias_of(&format!("{UNNAMED}{}", self.unnamed)));
                    self.unnamed += 1;
                }
                _ => {}
            }
        }
    }

    /// Commas between several streams become CROSS JOINs.
    fn commas(&self, select: &mut Select) {
        if select.from.iter().filter(|table| self.has_stream(table)).count() < 2 {
            return;
        }
        let mut tables = std::mem::take(&mut select.from).into_iter();
        if let Some(mut all) = tables.next() {
            for table in tables {
                let relation = if table.joins.is_empty() { table.relation } else { nested(table, None) };
                let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
                all.joins.push(Join { relation, global: false, join_operator });
            }
            select.from = vec![all];
        }
    }

    /// Joins the streams of `table` pairwise, from the left; tells what the last join is made of, if there is one.
    /// `of_stream`: the FROM clause reads a stream.
    fn table_with_joins(&mut self, table: &mut TableWithJoins, using: &mut Vec<Merged>, of_stream: bool) -> Option<Joined> {
        let mut joined = self.in_parentheses(&mut table.relation, using, of_stream);
        let mut has_stream = self.is_stream(&table.relation);
        let joins = std::mem::take(&mut table.joins);
        for mut join in joins {
            let other = self.in_parentheses(&mut join.relation, using, of_stream);
            let is_stream = self.is_stream(&join.relation);
            if !(has_stream && is_stream) {
                has_stream |= is_stream;
                joined = joined.or(other);
                // DataFusion would take the column of USING from the relation whose name sorts first.
                if of_stream {
                    let relations = self.relations(table);
                    self.using_to_on(&relations, &mut join, using);
                }
                table.joins.push(join);
                continue;
            }
            let relations = self.relations(table);
            let joins = std::mem::take(&mut table.joins);
            let placeholder = nested(TableWithJoins { relation: join.relation.clone(), joins: Vec::new() }, None);
            let left = std::mem::replace(&mut table.relation, placeholder);
            let left = if joins.is_empty() { left } else { nested(TableWithJoins { relation: left, joins }, None) };
            self.using_to_on(&relations, &mut join, using);
            let name = format!("{JOIN}{}", self.joins.len());
            (table.relation, joined) = self.stream_join((left, joined), (join, other), &name);
        }
        joined
    }

    fn in_parentheses(&mut self, factor: &mut TableFactor, using: &mut Vec<Merged>, of_stream: bool) -> Option<Joined> {
        match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.table_with_joins(table_with_joins, using, of_stream)
            }
            _ => None,
        }
    }

    /// Joins what stands before JOIN with what stands behind it; either may be joined streams already.
    fn stream_join(
        &mut self,
        (mut left, left_joined): (TableFactor, Option<Joined>),
        (mut join, right_joined): (Join, Option<Joined>),
        name: &str,
    ) -> (TableFactor, Option<Joined>) {
        let has_tables = left_joined.is_none() && matches!(left, TableFactor::NestedJoin { .. });
        let is_pair = left_joined.is_none() && right_joined.is_none();
        let (one, one_span) = self.side(&mut left, left_joined);
        let (other, other_span) = self.side(&mut join.relation, right_joined);
        if let (true, [JoinWindow::Rows(_)], Some(span)) = (has_tables, one.windows.as_slice(), one_span) {
            self.problems.push(
                Diagnostic::error("a window of rows on a stream that is joined with a table first")
                    .at(span)
                    .hint("Join the streams first, then the table; or use a window of time."),
            );
        }
        let without_window = one.is_current() && other.is_current() && one_span.or(other_span).is_none();
        if without_window && !matches!(join.join_operator, JoinOperator::CrossJoin(_)) && !compares_rowtimes(&join.join_operator)
        {
            self.problems.push(
                Diagnostic::error("a join of two streams needs a window on at least one of them")
                    .at(place(&join.relation))
                    .label("without a window only rows of the same ROWTIME would meet")
                    .hint("Write stream OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS alias, or join ON a.ROWTIME = b.ROWTIME."),
            );
        }
        let joined = match JoinSpec::of(&one, &other, preserved(&join.join_operator)) {
            Some((spec, joined)) => {
                self.joins.insert(name.to_owned(), spec);
                Some(joined)
            }
            None if is_pair => {
                let problem = Diagnostic::error("a window of rows joined with a window that is FOLLOWING");
                let problem = problem.at(one_span.or(other_span).unwrap_or_default());
                self.problems.push(problem.hint("Use RANGE on both sides."));
                None
            }
            None => {
                let problem = Diagnostic::error("a window of rows in a join of more than two streams");
                let problem = problem.at(other_span.unwrap_or_else(|| place(&join.relation)));
                self.problems.push(
                    problem.hint("Use RANGE, or join two of them into a stream with a pump, and that stream with the next one."),
                );
                None
            }
        };
        (nested(TableWithJoins { relation: left, joins: vec![join] }, Some(alias_of(name))), joined)
    }

    /// What a side of a join is made of, and where its window stands.
    fn side(&mut self, factor: &mut TableFactor, joined: Option<Joined>) -> (Joined, Option<Span>) {
        if let Some(joined) = joined {
            return (joined, None);
        }
        match self.take_window(factor) {
            Some((window, span)) => (Joined::of_stream(window), Some(span)),
            None => (Joined::of_stream(JoinWindow::Current), None),
        }
    }

    /// Takes the window off a stream, or off the stream among tables in parentheses.
    fn take_window(&mut self, factor: &mut TableFactor) -> Option<(JoinWindow, Span)> {
        let sample = match factor {
            TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => sample.take(),
            TableFactor::NestedJoin { table_with_joins: table, .. } => {
                let factors = std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation));
                for factor in factors {
                    if reads_stream(factor, self.streams) {
                        return self.take_window(factor);
                    }
                }
                None
            }
            _ => None,
        };
        self.window(&sample?)
    }

    fn window(&mut self, sample: &TableSampleKind) -> Option<(JoinWindow, Span)> {
        match join_window(sample, &self.names) {
            Ok((window, span)) => Some((window.switched(self.settings), span)),
            Err(problem) => {
                let span = problem.span.unwrap_or_default();
                self.problems.push(problem);
                Some((JoinWindow::Range(0), span))
            }
        }
    }

    /// Windows of relations that are joined with no stream.
    fn unused_windows(&mut self, table: &mut TableWithJoins) {
        for factor in std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation)) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => self.unused_windows(table_with_joins),
                TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => {
                    let Some(sample) = sample.take() else { continue };
                    let place = place(factor);
                    let span = self.window(&sample).map_or(place, |(_, span)| span);
                    self.problems.push(
                        Diagnostic::error("a window in FROM is for a stream that is joined with a stream").at(span).hint(
                            "Sliding windows are written behind a function: AVG(x) OVER (RANGE INTERVAL '1' MINUTE PRECEDING).",
                        ),
                    );
                }
                _ => {}
            }
        }
    }

    /// USING and NATURAL say ON which columns; `relations` are those before JOIN.
    fn using_to_on(&mut self, relations: &[Relation], join: &mut Join, using: &mut Vec<Merged>) {
        let right = self.columns(&join.relation);
        self.problems.extend(using::to_on(relations, right.as_deref(), join, using).err());
    }

    /// The relations of a table with its joins, as USING can name their columns.
    fn relations(&self, table: &TableWithJoins) -> Vec<Relation> {
        let mut relations = Vec::new();
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => relations.extend(self.relations(table_with_joins)),
                factor => relations.extend(relation_name(factor).map(|name| (name, self.columns(factor)))),
            }
        }
        relations
    }

    /// The columns of a stream, a table or a query, if they can be told without planning it.
    fn columns(&self, factor: &TableFactor) -> Option<Vec<String>> {
        let names = |alias: &Option<TableAlias>| {
            let columns = alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.value.clone());
            Some(columns.collect::<Vec<_>>()).filter(|columns| !columns.is_empty())
        };
        match factor {
            TableFactor::Table { name, alias, .. } => names(alias).or_else(|| {
                let name = &name.0.last()?.as_ident()?.value;
                if let Some(schema) = self.streams.get(name) {
                    let columns = schema.fields().iter().map(|field| field.name().clone());
                    return Some(columns.filter(|name| is_declared(schema, name)).collect());
                }
                let schema = self.tables.get(name)?.schema();
                Some(schema.fields().iter().map(|field| field.name().clone()).collect())
            }),
            TableFactor::Derived { subquery, alias, .. } => names(alias).or_else(|| self.columns_of_query(&subquery.body)),
            _ => None,
        }
    }

    /// The names in the select list of a query; items without a name have none that could be written.
    fn columns_of_query(&self, body: &SetExpr) -> Option<Vec<String>> {
        let select = match body {
            SetExpr::Select(select) => select,
            SetExpr::Query(query) => return self.columns_of_query(&query.body),
            SetExpr::SetOperation { left, .. } => return self.columns_of_query(left),
            _ => return None,
        };
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => columns.extend(given_name(item)),
                SelectItem::Wildcard(options) if options.opt_exclude.is_none() => match select.from.as_slice() {
                    [TableWithJoins { relation, joins }] if joins.is_empty() => columns.extend(self.columns(relation)?),
                    _ => return None,
                },
                _ => return None,
            }
        }
        columns.retain(|name| name != ROWTIME);
        Some(columns)
    }
}

/// Which sides of a join are kept without a match.
pub(super) fn preserved(join: &JoinOperator) -> (bool, bool) {
    use JoinOperator::{FullOuter, Left, LeftOuter, Right, RightOuter};
    match join {
        Left(_) | LeftOuter(_) => (true, false),
        Right(_) | RightOuter(_) => (false, true),
        FullOuter(_) => (true, true),
        _ => (false, false),
    }
}

/// True if `table` has more than one relation.
fn joins_relations(table: &TableWithJoins) -> bool {
    match &table.relation {
        TableFactor::NestedJoin { table_with_joins, .. } if table.joins.is_empty() => joins_relations(table_with_joins),
        _ => !table.joins.is_empty(),
    }
}

fn alias_of(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::with_quote('"', name), columns: Vec::new(), at: None }
}

fn nested(table: TableWithJoins, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(table), alias }
}

/// True if a condition demands that both rows have the same ROWTIME.
fn compares_rowtimes(join: &JoinOperator) -> bool {
    fn demands(expr: &Expr) -> bool {
        let is_rowtime = |expr: &Expr| matches!(expr, Expr::CompoundIdentifier(parts) if parts.last().is_some_and(|ident| ident.value == ROWTIME));
        match expr {
            Expr::Nested(inner) => demands(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => demands(left) || demands(right),
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => is_rowtime(left) && is_rowtime(right) && left != right,
            _ => false,
        }
    }
    use JoinOperator::{FullOuter, Inner, Left, LeftOuter, Right, RightOuter};
    match join {
        JoinOperator::Join(JoinConstraint::On(condition))
        | Inner(JoinConstraint::On(condition))
        | Left(JoinConstraint::On(condition))
        | LeftOuter(JoinConstraint::On(condition))
        | Right(JoinConstraint::On(condition))
        | RightOuter(JoinConstraint::On(condition))
        | FullOuter(JoinConstraint::On(condition)) => demands(condition),
        _ => false,
    }
}

pub(super) fn relation_names(table: &TableWithJoins, names: &mut Vec<Ident>) {
    for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => relation_names(table_with_joins, names),
            factor => names.extend(relation_name(factor)),
        }
    }
}

pub(super) fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Identifier(ident) if ident.value == name)
}

/// Says in every clause but FROM that ROWTIME without a relation is that of `relation`.
pub(in crate::plan) fn qualify_rowtime(select: &mut Select, relation: &Ident) {
    in_clauses(select, &mut |expr| {
        if is_column(expr, ROWTIME) {
            *expr = Expr::CompoundIdentifier(vec![relation.clone(), Ident::with_quote('"', ROWTIME)]);
        }
    });
}

/// Visits expressions from the inside out.
struct Visit<'a>(&'a mut dyn FnMut(&mut Expr));

impl VisitorMut for Visit<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        (self.0)(expr);
        ControlFlow::Continue(())
    }
}

/// Visits the expressions of every clause but FROM and WINDOW.
pub(super) fn in_clauses(select: &mut Select, change: &mut dyn FnMut(&mut Expr)) {
    let mut visit = Visit(change);
    // The visitor never breaks off.
    let _ = select.projection.visit(&mut visit);
    let _ = select.selection.visit(&mut visit);
    let _ = select.group_by.visit(&mut visit);
    let _ = select.having.visit(&mut visit);
}

/// Visits the expressions of the WINDOW clause.
pub(super) fn in_windows(select: &mut Select, change: &mut dyn FnMut(&mut Expr)) {
    // As above.
    let _ = select.named_window.visit(&mut Visit(change));
}
