//! `VALUES 1, 2`: a row of one value needs no parentheses (kda-sql-reference.md §2.5), which sqlparser wants around every row.

use sqlparser::tokenizer::Token as SqlToken;

use super::level::Opening;
use super::rewriter::{Rewriter, keyword};
use crate::diagnostic::Diagnostic;
use crate::sql::cursor::{behind, quote};
use crate::sql::token::Token;

/// Words that go on with the query behind the last row.
const BEHIND: [&str; 7] = ["EXCEPT", "FETCH", "INTERSECT", "LIMIT", "OFFSET", "ORDER", "UNION"];

impl<'a> Rewriter<'a> {
    /// The rows behind VALUES, `token`.
    pub(super) fn values(&mut self, token: &'a Token) {
        self.end_expression();
        self.push(keyword("VALUES"), token);
        loop {
            let end = self.end_of_row();
            let row = &self.tokens[self.at..end];
            if row.is_empty() {
                let problem = match self.peek(0) {
                    Some(next) => Diagnostic::error(format!("unexpected {}", quote(self.text, next))).at(next.span),
                    None => Diagnostic::error("the query ends too early").at(behind(self.tokens[self.at - 1].span)),
                };
                return self.report(problem.label("expected an expression"));
            }
            match (row.first(), row.last()) {
                (Some(first), Some(last)) if !self.is_in_parentheses(end) => {
                    let start = self.out.len();
                    self.push(SqlToken::LParen, first);
                    self.open(Opening::Group);
                    if let Some(level) = self.level() {
                        level.start = start;
                    }
                    self.run_to(end);
                    self.close();
                    self.push(SqlToken::RParen, last);
                }
                _ => self.run_to(end),
            }
            // A row that is nested too deeply is not read to its end.
            if self.at != end || !self.peek_is_symbol(0, ",") {
                return;
            }
            self.run_to(end + 1);
        }
    }

    /// True if the row that begins here and ends before `end` is written `(…)` or `ROW (…)`.
    fn is_in_parentheses(&self, end: usize) -> bool {
        let open = self.at + usize::from(self.peek_is_word(0, "ROW"));
        self.tokens.get(open).is_some_and(|token| token.is_symbol("(")) && self.group_end(open) == end
    }

    /// Behind the last token of the row that begins here.
    fn end_of_row(&self) -> usize {
        let mut depth = 0_usize;
        for (place, token) in self.tokens.iter().enumerate().skip(self.at) {
            let ends = token.is_symbol(",") || token.is_symbol(")") || BEHIND.iter().any(|word| token.is_word(word));
            if depth == 0 && ends {
                return place;
            } else if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") {
                depth -= 1;
            }
        }
        self.tokens.len()
    }
}
