//! Temporal predicates: `(s1, e1) OVERLAPS (s2, e2)`, `PERIOD (s, e) CONTAINS t` (kda-sql-reference.md §1.11).
//!
//! sqlparser knows none of them. What it does know is an operator `<=>`, which this dialect has not, so the predicate becomes an
//! operand between two of these. The tree is put right once it is there, where the operands are expressions:
//!
//! ```text
//! (a, b) STRICTLY LEADS (c, d)             (a, b) CONTAINS (c, d) OVERLAPS (e, f)
//! (a, b) <=> '$STRICTLY LEADS' <=> (c, d)    (a, b) <=> '$CONTAINS' <=> (c, d) <=> '$OVERLAPS' <=> (e, f)
//! compare_periods('STRICTLY LEADS', a, b, c, d)
//! ```

use sqlparser::ast::{BinaryOperator, Expr, Spanned, Value, ValueWithSpan};
use sqlparser::tokenizer::Token as SqlToken;

use super::calls::{call, literal};
use super::rewriter::Rewriter;
use crate::diagnostic::Diagnostic;
use crate::sql::token::{Token, TokenKind};

/// Predicates with the words that may stand before them.
const PREDICATES: [(&str, &[&str]); 7] = [
    ("EQUALS", &[]),
    ("CONTAINS", &["STRICTLY"]),
    ("OVERLAPS", &["STRICTLY"]),
    ("PRECEDES", &["STRICTLY", "IMMEDIATELY"]),
    ("SUCCEEDS", &["STRICTLY", "IMMEDIATELY"]),
    ("LEADS", &["STRICTLY", "IMMEDIATELY"]),
    ("LAGS", &["STRICTLY", "IMMEDIATELY"]),
];

const HINT: &str =
    "Write (start1, end1) OVERLAPS (start2, end2); only CONTAINS takes one point in time instead of a second period.";

impl<'a> Rewriter<'a> {
    /// Rewrites the predicate behind a period that has just been closed; false if none follows.
    pub(super) fn temporal_predicate(&mut self) -> bool {
        let Some((text, tokens)) = self.predicate_at(self.at) else { return false };
        let first = &self.tokens[self.at];
        let at = Token { span: first.span.union(self.tokens[self.at + tokens - 1].span), ..first.clone() };
        self.at += tokens;
        self.operator();
        self.push_all([SqlToken::Spaceship, SqlToken::SingleQuotedString(format!("${text}")), SqlToken::Spaceship], &at);
        true
    }

    /// The predicate written at this place, and how many tokens it has.
    fn predicate_at(&self, place: usize) -> Option<(String, usize)> {
        let word = |place: usize| self.tokens.get(place).and_then(Token::word);
        let first = word(place)?;
        if PREDICATES.iter().any(|(name, _)| *name == first) {
            return Some((first.to_owned(), 1));
        }
        let second = word(place + 1)?;
        PREDICATES
            .iter()
            .any(|(name, before)| *name == second && before.contains(&first))
            .then(|| (format!("{first} {second}"), 2))
    }

    /// True if `PERIOD`, the word just read, begins a period: a predicate stands before it, or behind its parenthesis.
    pub(super) fn begins_period(&self) -> bool {
        let before = self.previous().and_then(Token::word);
        let follows = before.is_some_and(|before| PREDICATES.iter().any(|(name, _)| *name == before));
        self.peek_is_symbol(0, "(") && (follows || self.predicate_at(self.group_end(self.at)).is_some())
    }

    /// True if the parenthesis at this place of the output is no call of a function.
    pub(super) fn is_plain_group(&self, start: usize) -> bool {
        let before = start.checked_sub(1).map(|before| &self.out[before].token);
        !matches!(before, Some(SqlToken::Word(word)) if word.keyword == sqlparser::keywords::Keyword::NoKeyword)
    }

    /// Reports a predicate whose left side is no period.
    pub(super) fn misplaced_predicate(&mut self, token: &Token) {
        let name = match &token.kind {
            TokenKind::Word(word) => word.clone(),
            _ => String::new(),
        };
        self.report(
            Diagnostic::error(format!("{name} compares periods"))
                .at(token.span)
                .label("expected (start, end) before it")
                .hint(HINT),
        );
    }
}

/// Puts calls in place of `expr` if it is a chain of predicates; its operands are not visited yet.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), Box<Diagnostic>> {
    if !matches!(expr, Expr::BinaryOp { op: BinaryOperator::Spaceship, .. }) {
        return Ok(());
    }
    let mut operands = Vec::new();
    flatten(std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span())), &mut operands);
    let mut predicates = Vec::new();
    let mut rest = operands.as_slice();
    while let [left, predicate, right, ..] = rest {
        predicates.push(predicate_call(left, predicate, right)?);
        rest = &rest[2..];
    }
    let all = predicates.into_iter().reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    });
    if let Some(all) = all {
        // It binds as tightly as the predicate did.
        *expr = Expr::Nested(Box::new(all));
    }
    Ok(())
}

/// The operands of `a <=> b <=> c`, from left to right.
fn flatten(expr: Expr, operands: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Spaceship, right } => {
            flatten(*left, operands);
            flatten(*right, operands);
        }
        operand => operands.push(operand),
    }
}

fn predicate_call(left: &Expr, predicate: &Expr, right: &Expr) -> Result<Expr, Box<Diagnostic>> {
    let name = match predicate {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(name), .. }) => name.trim_start_matches('$'),
        _ => "",
    };
    let not_a_period = |expr: &Expr| {
        let span = if expr.span() == sqlparser::tokenizer::Span::empty() { predicate.span() } else { expr.span() };
        Box::new(Diagnostic::error(format!("{name} compares periods")).at(span).label("expected (start, end)").hint(HINT))
    };
    let Expr::Tuple(period) = left else { return Err(not_a_period(left)) };
    let bounds: Vec<Expr> = match right {
        Expr::Tuple(other) if period.len() == 2 && other.len() == 2 => period.iter().chain(other).cloned().collect(),
        Expr::Tuple(_) => return Err(not_a_period(right)),
        point if name.ends_with("CONTAINS") && period.len() == 2 => period.iter().chain([point]).cloned().collect(),
        _ => return Err(not_a_period(right)),
    };
    Ok(call("compare_periods", [literal(name)].into_iter().chain(bounds)))
}
