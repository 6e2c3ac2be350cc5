//! One pass over the tree: what only the tree shows, and the names of functions in lower case.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, GroupByExpr, LimitClause, ObjectName, ObjectNamePart, Select, SetExpr, Spanned, TableFactor, UnaryOperator,
    VisitorMut,
};

use super::calls::take;
use super::{AVAILABLE, calls, interval_casts, named_cast, periods};
use crate::diagnostic::{Diagnostic, Span};
use crate::sql::ddl::ERROR_STREAM;
use crate::sql::dialect::is_frame_word;

/// The one pass over the tree.
pub(super) struct Finish<'a> {
    pub(super) stream: bool,
    /// Place of problems that have none of their own.
    pub(super) span: Span,
    /// Subqueries in expressions around: those need no stream.
    pub(super) subqueries: usize,
    pub(super) problems: &'a mut Vec<Diagnostic>,
}

impl Finish<'_> {
    fn span_of(&self, node: &impl Spanned) -> Span {
        let span = node.span();
        if span == sqlparser::tokenizer::Span::empty() { self.span } else { span.into() }
    }

    fn report(&mut self, message: &str, span: Span, hint: &str) {
        if !self.problems.iter().any(|known| known.message == message) {
            self.problems.push(Diagnostic::error(message).at(span).hint(hint));
        }
    }

    fn check_body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation { left, right, .. } => {
                self.check_body(left);
                self.check_body(right);
            }
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => {}
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) | SetExpr::Table(_) => {
                self.report("a query starts with SELECT or VALUES", self.span, "INSERT stands only in a pump.");
            }
        }
    }
}

impl VisitorMut for Finish<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        self.check_body(&query.body);
        if self.stream
            && let Some(LimitClause::LimitOffset { offset: Some(offset), .. }) = &query.limit_clause
        {
            let span = self.span_of(&offset.value);
            self.report("OFFSET is not allowed in a stream query", span, "A stream has no end; filter with WHERE.");
        }
        if !query.locks.is_empty() || query.for_clause.is_some() {
            self.report("FOR … is not supported", self.span, "Remove the clause.");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.stream {
            if select.from.is_empty() && self.subqueries == 0 {
                self.report("a stream query needs FROM", self.span, "Name the stream: SELECT STREAM … FROM \"stream\".");
            }
            if let GroupByExpr::All(_) = select.group_by {
                self.report("GROUP BY ALL is not allowed in a stream query", self.span, "List the expressions to group by.");
            }
        }
        if !select.sort_by.is_empty() {
            self.report("SORT BY is not supported", self.span, "Write ORDER BY.");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            if self.stream {
                let span = self.span_of(name);
                self.report(&format!("table function \"{name}\" is not supported yet"), span, AVAILABLE);
            }
            lower_function_name(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        // There is one catalog with one schema: their names say nothing (§1.2).
        if self.stream && matches!(relation.0.len(), 2 | 3) {
            relation.0.drain(..relation.0.len() - 1);
        }
        let [ObjectNamePart::Identifier(name)] = relation.0.as_mut_slice() else { return ControlFlow::Continue(()) };
        // sqlparser takes any word for a table: `FROM WHERE x` would be a table WHERE named X.
        if name.quote_style.is_none() && is_frame_word(&name.value) {
            let problem = Diagnostic::error(format!("unexpected \"{}\"", name.value)).at(name.span).label("expected a name");
            self.problems.push(problem);
        }
        // No stream of the user can have this name, whatever its case.
        if name.value.eq_ignore_ascii_case(ERROR_STREAM) {
            name.value = ERROR_STREAM.to_owned();
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.subqueries += usize::from(is_subquery(expr));
        if let Err(problem) = periods::rewrite(expr) {
            self.problems.push(*problem);
        }
        interval_casts::rewrite(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.subqueries -= usize::from(is_subquery(expr));
        match expr {
            Expr::Function(function) => lower_function_name(&mut function.name),
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) if self.stream => {
                let span = self.span_of(expr);
                self.report(
                    "ROLLUP, CUBE and GROUPING SETS are not allowed in a stream query",
                    span,
                    "Write one pump per grouping.",
                );
            }
            Expr::UnaryOp { op: UnaryOperator::Not, .. } => not_before_test(expr),
            _ => {}
        }
        calls::rewrite(expr);
        interval_casts::unmark(expr);
        named_cast::rewrite(expr);
        ControlFlow::Continue(())
    }
}

/// NOT binds closer than IS TRUE, IS FALSE and IS UNKNOWN (kda-sql-reference.md §1.9): `NOT UNKNOWN IS TRUE` is FALSE. sqlparser
/// reads it the other way round, as is right for IS NULL.
fn not_before_test(not: &mut Expr) {
    let Expr::UnaryOp { op: UnaryOperator::Not, expr: test } = not else { return };
    let (Expr::IsTrue(tested)
    | Expr::IsNotTrue(tested)
    | Expr::IsFalse(tested)
    | Expr::IsNotFalse(tested)
    | Expr::IsUnknown(tested)
    | Expr::IsNotUnknown(tested)) = test.as_mut()
    else {
        return;
    };
    **tested = Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(take(tested)) };
    *not = take(test);
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. })
}

/// DataFusion's functions have lower-case names and are looked up as written.
pub(super) fn lower_function_name(name: &mut ObjectName) {
    if let Some(ObjectNamePart::Identifier(name)) = name.0.last_mut()
        && name.quote_style.is_none()
    {
        name.value = name.value.to_lowercase();
    }
}
