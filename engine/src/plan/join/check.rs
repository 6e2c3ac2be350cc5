//! What can be joined with what: checked on the tree of the query, where the places are known (§4.5, §4.6, §8.4, §8.5).

use std::ops::ControlFlow;

use sqlparser::ast::{self, JoinConstraint, JoinOperator, Select, SetExpr, Spanned, TableFactor, TableWithJoins, Visit, Visitor};

use crate::diagnostic::{Diagnostic, Span};
use crate::plan::query::StreamSchemas;

/// Every join of `query` that cannot be run, and every query in it that reads no stream and is not joined to one.
pub(in crate::plan) fn check_joins(query: &ast::Query, streams: &StreamSchemas) -> Vec<Diagnostic> {
    let mut joins = Joins { streams, problems: Vec::new() };
    joins.needs_stream(&query.body);
    // The visitor never breaks off.
    let _ = query.visit(&mut joins);
    joins.problems
}

/// True if a table factor reads a stream, at whatever depth.
pub(in crate::plan) fn reads_stream(factor: &TableFactor, streams: &StreamSchemas) -> bool {
    any_relation(factor, |name| streams.contains_key(name))
}

fn any_relation(factor: &impl Visit, is: impl Fn(&str) -> bool) -> bool {
    let name = |relation: &ast::ObjectName| Some(relation.0.last()?.as_ident()?.value.clone());
    ast::visit_relations(factor, |relation| match name(relation) {
        Some(name) if is(&name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

struct Joins<'a> {
    streams: &'a StreamSchemas,
    problems: Vec<Diagnostic>,
}

/// What stands on one side of a join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    Table,
}

impl Joins<'_> {
    /// Every branch of a stream query reads a stream: a query of tables alone would end (§8.3).
    fn needs_stream(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) if !any_relation(&select.from, |name| self.streams.contains_key(name)) => {
                let hint = "Join the table with a stream; SELECT without STREAM reads tables alone.";
                let problem = match select.from.first().and_then(|table| first_name(&table.relation)) {
                    Some(ident) => {
                        Diagnostic::error(format!("\"{}\" is a table: a stream query needs a stream", ident.value)).at(ident.span)
                    }
                    None => Diagnostic::error("a stream query needs a stream").at(select.span()),
                };
                self.problems.push(problem.hint(hint));
            }
            SetExpr::Values(values) => {
                let problem = Diagnostic::error("a stream query needs a stream").at(values.span());
                self.problems.push(problem.hint("Join the rows with a stream; VALUES without STREAM is a query of its own."));
            }
            SetExpr::Query(query) => self.needs_stream(&query.body),
            SetExpr::SetOperation { left, right, .. } => {
                self.needs_stream(left);
                self.needs_stream(right);
            }
            _ => {}
        }
    }

    fn kind(&self, factor: &TableFactor) -> Kind {
        if reads_stream(factor, self.streams) { Kind::Stream } else { Kind::Table }
    }

    /// Checks `left JOIN … JOIN …`; says what the result is.
    fn table_with_joins(&mut self, table: &TableWithJoins) -> Kind {
        let mut left = self.kind(&table.relation);
        for join in &table.joins {
            let right = self.kind(&join.relation);
            let place = place(&join.relation);
            match &join.join_operator {
                JoinOperator::Join(constraint)
                | JoinOperator::Inner(constraint)
                | JoinOperator::Left(constraint)
                | JoinOperator::LeftOuter(constraint)
                | JoinOperator::Right(constraint)
                | JoinOperator::RightOuter(constraint)
                | JoinOperator::FullOuter(constraint) => {
                    if *constraint == JoinConstraint::None {
                        self.problems.push(
                            Diagnostic::error("JOIN without a condition")
                                .at(place)
                                .hint("Write ON condition or USING (columns) behind it; CROSS JOIN has no condition."),
                        );
                    }
                }
                JoinOperator::CrossJoin(JoinConstraint::None) => {}
                JoinOperator::CrossJoin(_) => {
                    let problem = Diagnostic::error("CROSS JOIN with a condition").at(place);
                    self.problems.push(problem.hint("Write JOIN … ON condition."));
                }
                other => self.problems.push(Diagnostic::error(format!("{} is not supported", words(other))).at(place)),
            }
            self.combination(left, &join.join_operator, right, &table.relation, &join.relation);
            left = if left == Kind::Stream || right == Kind::Stream { Kind::Stream } else { Kind::Table };
        }
        left
    }

    fn combination(&mut self, left: Kind, join: &JoinOperator, right: Kind, first: &TableFactor, second: &TableFactor) {
        use JoinOperator::{FullOuter, Left, LeftOuter, Right, RightOuter};
        let (keeps_left, keeps_right) =
            (matches!(join, Left(_) | LeftOuter(_) | FullOuter(_)), matches!(join, Right(_) | RightOuter(_) | FullOuter(_)));
        let table = match (left, right) {
            (Kind::Table, Kind::Stream) if keeps_left => first,
            (Kind::Stream, Kind::Table) if keeps_right => second,
            _ => return,
        };
        self.problems.push(
            Diagnostic::error(format!(
                "{} would keep the rows of a table until the stream ends, which it never does",
                words(join)
            ))
            .at(place(table))
            .label("this is a table")
            .hint("Keep the rows of the stream: stream LEFT JOIN table."),
        );
    }
}

impl Visitor for Joins<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut kinds = Vec::new();
        for table in &select.from {
            kinds.push(self.table_with_joins(table));
        }
        // Commas join as CROSS JOIN does.
        let comma = JoinOperator::CrossJoin(JoinConstraint::None);
        for (i, kind) in kinds.iter().enumerate().skip(1) {
            let before = if kinds[..i].contains(&Kind::Stream) { Kind::Stream } else { Kind::Table };
            self.combination(before, &comma, *kind, &select.from[0].relation, &select.from[i].relation);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.table_with_joins(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}

/// Where a table factor stands: its name, or that of the first relation in it.
pub(super) fn place(factor: &TableFactor) -> Span {
    match first_name(factor) {
        Some(ident) => ident.span.into(),
        None => factor.span().into(),
    }
}

/// The first name of a relation in a table factor.
fn first_name(factor: &TableFactor) -> Option<ast::Ident> {
    let mut first = None;
    // Breaks off at the first one.
    let _ = ast::visit_relations(factor, |relation| {
        first = relation.0.last().and_then(|part| part.as_ident()).cloned();
        ControlFlow::Break(())
    });
    first
}

/// A kind of join as it is written.
fn words(join: &JoinOperator) -> &'static str {
    match join {
        JoinOperator::Join(_) | JoinOperator::Inner(_) => "JOIN",
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => "LEFT JOIN",
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => "RIGHT JOIN",
        JoinOperator::FullOuter(_) => "FULL JOIN",
        JoinOperator::CrossJoin(_) => "CROSS JOIN",
        _ => "this kind of join",
    }
}
