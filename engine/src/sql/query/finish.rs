//! One pass over the tree: what only the tree shows, and the names of functions in lower case.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, Expr, GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, Select, SelectItem, SetExpr,
    Spanned, TableAlias, TableFactor, UnaryOperator, Value, VisitorMut,
};

use super::calls::{binary, take};
use super::{AVAILABLE, STAGGER, calls, interval_casts, named_cast, periods, row_in_query, rows_of_values};
use crate::diagnostic::{Diagnostic, Span, count};
use crate::sql::ddl::ERROR_STREAM;
use crate::sql::dialect::is_frame_word;
use crate::sql::reserved::warning_of;

/// The one pass over the tree.
pub(super) struct Finish<'a> {
    pub(super) stream: bool,
    /// Place of problems that have none of their own.
    pub(super) span: Span,
    pub(super) problems: &'a mut Vec<Diagnostic>,
    pub(super) warnings: &'a mut Vec<Diagnostic>,
    /// Problems of queries that read a stream.
    pub(super) of_streams: Vec<Diagnostic>,
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

    /// A column is called `name`; each word is warned about once.
    fn check_name(&mut self, name: &Ident) {
        if name.quote_style.is_none()
            && let Some(warning) = warning_of(&name.value, name.span.into())
            && !self.warnings.iter().any(|known| known.message == warning.message)
        {
            self.warnings.push(warning);
        }
    }

    /// `message` is about a query that reads a stream.
    fn not_on_streams(&mut self, message: &str, span: Span, hint: &str) {
        if self.stream {
            self.of_streams.push(Diagnostic::error(message).at(span).hint(hint));
        }
    }

    fn check_body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation { op, left, right, .. } => {
                self.check_body(left);
                self.check_body(right);
                if let (Some(first), Some(second)) = (select_list(left), select_list(right))
                    && first.len() != second.len()
                {
                    let (one, other) = (count(first.len(), "column"), second.len());
                    let span = second.iter().map(|item| self.span_of(item)).reduce(Span::union).unwrap_or(self.span);
                    let problem = Diagnostic::error(format!("one side of {op} gives {one}, the other {other}")).at(span);
                    self.problems.push(problem.hint("Columns go together by their place: write NULL where one is missing."));
                }
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
        if let Some(LimitClause::LimitOffset { offset: Some(offset), .. }) = &query.limit_clause {
            let span = self.span_of(&offset.value);
            self.not_on_streams("OFFSET is not allowed in a stream query", span, "A stream has no end; filter with WHERE.");
        }
        if !query.locks.is_empty() || query.for_clause.is_some() {
            self.report("FOR … is not supported", self.span, "Remove the clause.");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.check_name(alias);
            }
        }
        if let Some(item) = repeated_wildcard(&select.projection) {
            let span = self.span_of(item);
            let hint = "List the columns; one that is to come twice needs two names: column, column AS other_name.";
            self.report("the select list has the same columns twice", span, hint);
        }
        // The word alone: the span of all of it takes a deep stack for a deep expression.
        let word = select.select_token.0.span;
        let span = if word == sqlparser::tokenizer::Span::empty() { self.span } else { word.into() };
        if select.from.is_empty() {
            self.not_on_streams("a stream query needs FROM", span, "Name the stream: SELECT STREAM … FROM \"stream\".");
        }
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by
            && keys.last().is_some_and(is_stagger)
        {
            keys.iter_mut().for_each(no_ordinal);
        }
        if let GroupByExpr::All(_) = select.group_by {
            self.not_on_streams("GROUP BY ALL is not allowed in a stream query", span, "List the expressions to group by.");
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
        // It is found under its name in any case, and so are its columns: as it is written here, it is written before them.
        if let TableFactor::Table { name, alias: alias @ None, .. } = factor
            && let Some(written) = name.0.last().and_then(|part| part.as_ident())
            && written.value.eq_ignore_ascii_case(ERROR_STREAM)
            && written.value != ERROR_STREAM
        {
            *alias = Some(TableAlias { explicit: false, name: written.clone(), columns: Vec::new(), at: None });
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
        for rewritten in [periods::rewrite(expr), row_in_query::rewrite(expr), rows_of_values::rewrite(expr)] {
            self.problems.extend(rewritten.err().map(|problem| *problem));
        }
        interval_casts::rewrite(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.check_name(name),
            Expr::CompoundIdentifier(parts) => parts.last().into_iter().for_each(|name| self.check_name(name)),
            Expr::Function(function) => {
                // As in FROM: there is one schema, and its name says nothing.
                if matches!(function.name.0.len(), 2 | 3) {
                    function.name.0.drain(..function.name.0.len() - 1);
                }
                lower_function_name(&mut function.name);
            }
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => {
                let span = self.span_of(expr);
                self.not_on_streams(
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

/// True for what stands for WINDOWED BY STAGGER.
fn is_stagger(key: &Expr) -> bool {
    matches!(key, Expr::Function(function) if function.name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| name.value == STAGGER))
}

/// `PARTITION BY 1` of a stagger window is one window for all rows: its keys are expressions (§4.3), where the planner would take the
/// number for the place of an item.
fn no_ordinal(key: &mut Expr) {
    let number = |digits: &str| Expr::Value(Value::Number(digits.to_owned(), false).into());
    if let Expr::Value(value) = key
        && let Value::Number(digits, _) = &value.value
        && digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        *key = binary(take(key), BinaryOperator::Plus, number("0"));
    }
}

/// The items of a query, the first one of a UNION; None if a wildcard hides how many they are.
fn select_list(body: &SetExpr) -> Option<&[SelectItem]> {
    match body {
        SetExpr::Select(select) => {
            let hides = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
            (!select.projection.iter().any(hides)).then_some(&select.projection)
        }
        SetExpr::Query(query) => select_list(&query.body),
        SetExpr::SetOperation { left, .. } => select_list(left),
        _ => None,
    }
}

/// A `*` or `s.*` whose columns an earlier one has already.
fn repeated_wildcard(items: &[SelectItem]) -> Option<&SelectItem> {
    let wildcards = items.iter().filter(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut before: Vec<&SelectItem> = Vec::new();
    for item in wildcards {
        let is_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
        let repeats = |other: &&SelectItem| match (other, item) {
            (SelectItem::QualifiedWildcard(one, _), SelectItem::QualifiedWildcard(other, _)) => {
                one.to_string() == other.to_string()
            }
            (one, other) => is_all(one) || is_all(other),
        };
        if before.iter().any(repeats) {
            return Some(item);
        }
        before.push(item);
    }
    None
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

/// DataFusion's functions have lower-case names and are looked up as written.
pub(super) fn lower_function_name(name: &mut ObjectName) {
    if let Some(ObjectNamePart::Identifier(name)) = name.0.last_mut()
        && name.quote_style.is_none()
    {
        name.value = name.value.to_lowercase();
    }
}
