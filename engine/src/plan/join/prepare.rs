//! Joins of streams in the tree of a query: every pair of streams that are joined becomes a relation of its own, named
//! `$join0`, `$join1`, …, which has the ROWTIME of the joined rows (kda-sql-reference.md §2.5, §3.2, §4.5).
//!
//! | Written | In the tree |
//! | --- | --- |
//! | `a OVER (…) JOIN b ON c` | `(a JOIN b ON c) AS "$join0"`; the windows are in [`StreamJoins`] |
//! | `a OVER (…), b` | `(a CROSS JOIN b) AS "$join0"` |
//! | `USING (k)`, `NATURAL` | `ON a.k = b.k`; `k` alone is `a.k` or, if only `b` is kept, `b.k` or either |

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, NamedWindowDefinition, ObjectName,
    Select, SelectItem, SelectItemQualifiedWildcardKind, TableAlias, TableFactor, TableSampleKind, TableWithJoins, VisitMut,
    VisitorMut,
};

use super::check::{place, reads_stream};
use super::window::{JoinWindow, join_window, keep};
use crate::diagnostic::{Diagnostic, Span};
use crate::operator::join_side::Keep;
use crate::plan::query::StreamSchemas;
use crate::plan::rowtime::relation_name;
use crate::types::{ROWTIME, is_declared};

/// Begins the names of joined streams.
const JOIN: &str = "$join";

/// True for the name of a join of streams.
pub(in crate::plan) fn is_stream_join(name: &str) -> bool {
    name.starts_with(JOIN)
}

/// What each join of streams keeps, by its name.
pub(in crate::plan) type StreamJoins = BTreeMap<String, JoinSpec>;

/// The windows of a join.
#[derive(Debug, Clone)]
pub(in crate::plan) struct JoinSpec {
    pub(super) keep: (Keep, Keep),
    /// The windows as EXPLAIN shows them.
    pub(super) text: String,
}

/// Finds the joins of streams in `query`, its derived tables included, and gives each its name.
pub(in crate::plan) fn prepare_joins(query: &mut ast::Query, streams: &StreamSchemas) -> Result<StreamJoins, Vec<Diagnostic>> {
    let mut prepare = Prepare { streams, joins: StreamJoins::new(), names: Vec::new(), depths: Vec::new(), problems: Vec::new() };
    // The visitor never breaks off.
    let _ = query.visit(&mut prepare);
    if prepare.problems.is_empty() { Ok(prepare.joins) } else { Err(prepare.problems) }
}

struct Prepare<'a> {
    streams: &'a StreamSchemas,
    joins: StreamJoins,
    /// Windows of the WINDOW clauses around: they can be used in subqueries (§2.7).
    names: Vec<NamedWindowDefinition>,
    /// How many names there were before each SELECT around.
    depths: Vec<usize>,
    problems: Vec<Diagnostic>,
}

impl VisitorMut for Prepare<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.depths.push(self.names.len());
        self.names.extend(select.named_window.iter().cloned());
        self.commas(select);
        let mut using = Vec::new();
        let mut joined = false;
        for table in &mut select.from {
            joined |= self.table_with_joins(table, &mut using).is_some();
            self.unused_windows(table);
        }
        if joined {
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

/// A column of USING: its name and what it stands for.
struct Merged {
    name: String,
    value: Expr,
    left: Ident,
    right: Ident,
}

impl Prepare<'_> {
    fn is_stream(&self, factor: &TableFactor) -> bool {
        reads_stream(factor, self.streams)
    }

    /// Commas between several streams become CROSS JOINs.
    fn commas(&self, select: &mut Select) {
        let reads = |table: &TableWithJoins| {
            std::iter::once(&table.relation)
                .chain(table.joins.iter().map(|join| &join.relation))
                .any(|factor| self.is_stream(factor))
        };
        if select.from.iter().filter(|table| reads(table)).count() < 2 {
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

    /// Joins the streams of `table` pairwise; gives the name of the join if there is one.
    fn table_with_joins(&mut self, table: &mut TableWithJoins, using: &mut Vec<Merged>) -> Option<String> {
        let mut joined = self.in_parentheses(&mut table.relation, using);
        let mut has_stream = self.is_stream(&table.relation);
        let joins = std::mem::take(&mut table.joins);
        for mut join in joins {
            let other = self.in_parentheses(&mut join.relation, using);
            let is_stream = self.is_stream(&join.relation);
            if !(has_stream && is_stream) {
                has_stream |= is_stream;
                joined = joined.or(other);
                table.joins.push(join);
                continue;
            }
            if joined.is_some() || other.is_some() {
                self.problems.push(
                    Diagnostic::error("a join of more than two streams is not supported yet")
                        .at(place(&join.relation))
                        .hint("Join two of them into a stream with a pump, and that stream with the next one."),
                );
                return joined;
            }
            let joins = std::mem::take(&mut table.joins);
            let placeholder = nested(TableWithJoins { relation: join.relation.clone(), joins: Vec::new() }, None);
            let left = std::mem::replace(&mut table.relation, placeholder);
            let left = if joins.is_empty() { left } else { nested(TableWithJoins { relation: left, joins }, None) };
            let name = format!("{JOIN}{}", self.joins.len());
            table.relation = self.stream_join(left, join, &name, using);
            joined = Some(name);
        }
        joined
    }

    fn in_parentheses(&mut self, factor: &mut TableFactor, using: &mut Vec<Merged>) -> Option<String> {
        match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.table_with_joins(table_with_joins, using),
            _ => None,
        }
    }

    fn stream_join(&mut self, mut left: TableFactor, mut join: Join, name: &str, using: &mut Vec<Merged>) -> TableFactor {
        let is_nested = matches!(left, TableFactor::NestedJoin { .. });
        let (one, other) = (self.take_window(&mut left), self.take_window(&mut join.relation));
        let windows =
            (one.map_or(JoinWindow::Current, |(window, _)| window), other.map_or(JoinWindow::Current, |(window, _)| window));
        if let (true, JoinWindow::Rows(_), Some((_, span))) = (is_nested, windows.0, one) {
            self.problems.push(
                Diagnostic::error("a window of rows on a stream that is joined with a table first")
                    .at(span)
                    .hint("Join the streams first, then the table; or use a window of time."),
            );
        }
        match keep(windows.0, windows.1) {
            Some(keep) => {
                let text = format!("{} × {}", windows.0, windows.1);
                self.joins.insert(name.to_owned(), JoinSpec { keep, text });
            }
            None => {
                let span = one.or(other).map(|(_, span)| span).unwrap_or_default();
                let problem = Diagnostic::error("a window of rows joined with a window that is FOLLOWING").at(span);
                self.problems.push(problem.hint("Use RANGE on both sides."));
            }
        }
        self.using_to_on(&left, &mut join, using);
        let without_window = one.is_none() && other.is_none();
        if without_window && !matches!(join.join_operator, JoinOperator::CrossJoin(_)) && !compares_rowtimes(&join.join_operator)
        {
            self.problems.push(
                Diagnostic::error("a join of two streams needs a window on at least one of them")
                    .at(place(&join.relation))
                    .label("without a window only rows of the same ROWTIME would meet")
                    .hint("Write stream OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS alias, or join ON a.ROWTIME = b.ROWTIME."),
            );
        }
        let alias = TableAlias { explicit: true, name: Ident::with_quote('"', name), columns: Vec::new(), at: None };
        nested(TableWithJoins { relation: left, joins: vec![join] }, Some(alias))
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
            Ok(window) => Some(window),
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

    /// USING and NATURAL say ON which columns.
    fn using_to_on(&mut self, left: &TableFactor, join: &mut Join, using: &mut Vec<Merged>) {
        use JoinOperator::{FullOuter, Inner, Left, LeftOuter, Right, RightOuter};
        let (keeps_left, keeps_right) = match &join.join_operator {
            Left(_) | LeftOuter(_) => (true, false),
            Right(_) | RightOuter(_) => (false, true),
            FullOuter(_) => (true, true),
            _ => (false, false),
        };
        let (JoinOperator::Join(constraint)
        | Inner(constraint)
        | Left(constraint)
        | LeftOuter(constraint)
        | Right(constraint)
        | RightOuter(constraint)
        | FullOuter(constraint)) = &mut join.join_operator
        else {
            return;
        };
        let columns: Vec<Ident> = match constraint {
            JoinConstraint::Using(names) => names.iter().filter_map(|name| name.0.last()?.as_ident().cloned()).collect(),
            JoinConstraint::Natural => match (self.columns(left), self.columns(&join.relation)) {
                (Some(left), Some(right)) => {
                    left.into_iter().filter(|name| right.contains(name)).map(|name| Ident::with_quote('"', name)).collect()
                }
                _ => Vec::new(),
            },
            JoinConstraint::On(_) | JoinConstraint::None => return,
        };
        let (Some(left), Some(right), false) = (relation_name(left), relation_name(&join.relation), columns.is_empty()) else {
            let natural = matches!(constraint, JoinConstraint::Natural);
            let what = if natural { "NATURAL JOIN finds no common columns here" } else { "USING is not possible here" };
            let problem = Diagnostic::error(what).at(place(&join.relation));
            self.problems.push(problem.hint("Name both columns: ON a.key = b.key."));
            *constraint = JoinConstraint::On(Expr::value(ast::Value::Boolean(true)));
            return;
        };
        let column = |relation: &Ident, name: &Ident| Expr::CompoundIdentifier(vec![relation.clone(), name.clone()]);
        let mut on = None;
        for name in &columns {
            let (of_left, of_right) = (column(&left, name), column(&right, name));
            let equal = binary(of_left.clone(), BinaryOperator::Eq, of_right.clone());
            on = Some(match on {
                Some(on) => binary(on, BinaryOperator::And, equal),
                None => equal,
            });
            let value = match (keeps_left, keeps_right) {
                (true, true) => Expr::Case {
                    case_token: ast::helpers::attached_token::AttachedToken::empty(),
                    end_token: ast::helpers::attached_token::AttachedToken::empty(),
                    operand: None,
                    conditions: vec![ast::CaseWhen { condition: Expr::IsNotNull(Box::new(of_left.clone())), result: of_left }],
                    else_result: Some(Box::new(of_right)),
                },
                (false, true) => of_right,
                _ => of_left,
            };
            using.push(Merged { name: name.value.clone(), value, left: left.clone(), right: right.clone() });
        }
        if let Some(on) = on {
            *constraint = JoinConstraint::On(on);
        }
    }

    /// The columns of a stream that is named; None for queries.
    fn columns(&self, factor: &TableFactor) -> Option<Vec<String>> {
        let TableFactor::Table { name, .. } = factor else { return None };
        let schema = self.streams.get(&name.0.last()?.as_ident()?.value)?;
        Some(schema.fields().iter().map(|field| field.name().clone()).filter(|name| is_declared(schema, name)).collect())
    }
}

fn nested(table: TableWithJoins, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(table), alias }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
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

/// Gives the names of the columns of USING, where they are written without a relation, their meaning.
fn merge_columns(select: &mut Select, using: &[Merged]) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(merged) = using.iter().find(|merged| is_column(expr, &merged.name))
        {
            let alias = Ident::with_quote('"', &merged.name);
            *item = SelectItem::ExprWithAlias { expr: merged.value.clone(), alias };
        }
    }
    in_clauses(select, &mut |expr| {
        if let Some(merged) = using.iter().find(|merged| is_column(expr, &merged.name)) {
            *expr = merged.value.clone();
        }
    });
}

/// `*` are the columns of USING, then those of every relation.
fn expand_wildcards(select: &mut Select, using: &[Merged]) {
    let mut relations = Vec::new();
    select.from.iter().for_each(|table| relation_names(table, &mut relations));
    let items = std::mem::take(&mut select.projection);
    for item in items {
        let SelectItem::Wildcard(options) = item else {
            select.projection.push(item);
            continue;
        };
        for Merged { name, value, .. } in using {
            select.projection.push(SelectItem::ExprWithAlias { expr: value.clone(), alias: Ident::with_quote('"', name) });
        }
        for relation in &relations {
            let mut options = options.clone();
            let merged = using.iter().filter(|merged| merged.left == *relation || merged.right == *relation);
            let names: Vec<_> = merged.map(|merged| ObjectName::from(Ident::with_quote('"', &merged.name))).collect();
            options.opt_exclude = (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
            let of = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(relation.clone()));
            select.projection.push(SelectItem::QualifiedWildcard(of, options));
        }
    }
}

fn relation_names(table: &TableWithJoins, names: &mut Vec<Ident>) {
    for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => relation_names(table_with_joins, names),
            factor => names.extend(relation_name(factor)),
        }
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
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

/// Visits the expressions of every clause but FROM.
fn in_clauses(select: &mut Select, change: &mut dyn FnMut(&mut Expr)) {
    struct Visit<'a>(&'a mut dyn FnMut(&mut Expr));
    impl VisitorMut for Visit<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            (self.0)(expr);
            ControlFlow::Continue(())
        }
    }
    let mut visit = Visit(change);
    // The visitor never breaks off.
    let _ = select.projection.visit(&mut visit);
    let _ = select.selection.visit(&mut visit);
    let _ = select.group_by.visit(&mut visit);
    let _ = select.having.visit(&mut visit);
}
