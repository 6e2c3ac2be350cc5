//! `TABLE(f(CURSOR(query), arguments…))` in FROM (kda-sql-reference.md §5.3, §5.10–5.13).
//!
//! sqlparser has no CURSOR. The call becomes a query over a derived table that carries the function as its sample, as
//! windows of joined streams do:
//!
//! ```text
//! TABLE(f(CURSOR(query) PARTITION BY k, 100, seed => 7)) AS a
//! (SELECT * FROM (query) AS "$cursor" TABLESAMPLE ("$F"("$PARTITION"(k), 100, "$SEED"(7)))) AS a
//! ```

use sqlparser::tokenizer::Token as SqlToken;

use super::rewriter::{Rewriter, keyword, quoted};
use crate::diagnostic::Diagnostic;
use crate::sql::cursor::{behind, quote};
use crate::sql::token::{Token, TokenKind};

/// Name of the derived table that is a cursor.
pub(crate) const CURSOR: &str = "$cursor";

/// The functions of a cursor.
pub(crate) const OF_CURSOR: [&str; 6] = [
    "COUNT_DISTINCT_ITEMS_TUMBLING",
    "GROUP_RANK",
    "HOTSPOTS",
    "RANDOM_CUT_FOREST",
    "RANDOM_CUT_FOREST_WITH_EXPLANATION",
    "TOP_K_ITEMS_TUMBLING",
];

/// How the rows of a table are judged instead.
fn over_tables(function: &str) -> Option<String> {
    let model = ["HOTSPOTS", "RANDOM_CUT_FOREST", "RANDOM_CUT_FOREST_WITH_EXPLANATION"].contains(&function);
    model.then(|| format!("Over a table write {}(column, …) OVER (ORDER BY …).", function.to_lowercase()))
}

impl<'a> Rewriter<'a> {
    /// Rewrites the call behind `table`, the word TABLE or STREAM just read; false if it is none with a cursor.
    pub(super) fn table_function(&mut self, table: &'a Token) -> bool {
        let Some([open, name, inner, cursor, query]) = self.tokens.get(self.at..self.at + 5) else { return false };
        let name_text = match &name.kind {
            TokenKind::Word(name) => name.clone(),
            TokenKind::Quoted(name) => name.to_uppercase(),
            _ => return false,
        };
        if !(open.is_symbol("(") && inner.is_symbol("(") && cursor.is_word("CURSOR") && query.is_symbol("(")) {
            return false;
        }
        if !self.stream {
            let problem = Diagnostic::error("a table function with a CURSOR needs SELECT STREAM").at(table.span.union(name.span));
            self.report(match over_tables(&name_text) {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
            self.skip_group();
            return true;
        }
        let end = self.group_end(self.at + 2);
        self.at += 1;
        self.symbol("(", open);
        self.push_all([keyword("SELECT"), SqlToken::Mul, keyword("FROM")], name);
        self.at += 3;
        let query_end = self.group_end(self.at);
        self.run_to(query_end);
        let carrier = [keyword("AS"), quoted(CURSOR), keyword("TABLESAMPLE"), SqlToken::LParen];
        self.push_all(carrier.into_iter().chain([quoted(&format!("${name_text}")), SqlToken::LParen]), name);
        self.arguments(end.saturating_sub(1));
        self.push_all([SqlToken::RParen, SqlToken::RParen], name);
        self.at = end;
        match self.peek(0) {
            Some(close) if close.is_symbol(")") => {
                self.at += 1;
                self.symbol(")", close);
            }
            found => {
                let problem = match found {
                    Some(found) => Diagnostic::error(format!("unexpected {}", quote(self.text, found))).at(found.span),
                    None => Diagnostic::error("the query ends too early").at(behind(self.tokens[end - 1].span)),
                };
                self.report(problem.label("expected ) behind the table function"));
            }
        }
        true
    }

    /// Reports a call behind `table` that has no cursor, or is of no function.
    pub(super) fn no_table_function(&mut self, table: &Token) {
        let Some(token) = self.peek(1) else { return };
        let (name, span) = (quote(self.text, token), table.span.union(token.span));
        let is_known = token.word().is_some_and(|word| OF_CURSOR.contains(&word));
        let problem = match is_known {
            true => Diagnostic::error(format!("table function {name} has no CURSOR")),
            false => Diagnostic::error(format!("table function {name} does not exist")),
        };
        let hint = match is_known {
            true => "Write FROM TABLE(function(CURSOR(SELECT STREAM …), arguments)).".to_owned(),
            false => format!("There are TUMBLE, HOP and SESSION of a TABLE; of a CURSOR {}.", OF_CURSOR.join(", ")),
        };
        self.report(problem.at(span).hint(hint));
    }

    /// The arguments behind the cursor, up to `end`; names become functions of one argument.
    fn arguments(&mut self, end: usize) {
        let mut is_first = true;
        if self.peek_is_word(0, "PARTITION") && self.peek_is_word(1, "BY") {
            let partition = &self.tokens[self.at];
            self.at += 2;
            self.push_all([quoted("$PARTITION"), SqlToken::LParen], partition);
            // Several columns stand in parentheses, as the comma ends the argument.
            let (inner, after) = match self.peek_is_symbol(0, "(") {
                true => (self.at + 1..self.group_end(self.at).min(end) - 1, self.group_end(self.at).min(end)),
                false => (self.at..self.argument_end(end), self.argument_end(end)),
            };
            self.at = inner.start;
            self.run_to(inner.end);
            self.at = after;
            self.push(SqlToken::RParen, partition);
            is_first = false;
        }
        while self.at < end {
            let comma = &self.tokens[self.at];
            if !comma.is_symbol(",") {
                let found = quote(self.text, comma);
                self.report(Diagnostic::error(format!("unexpected {found}")).at(comma.span).label("expected , or )"));
                return;
            }
            self.at += 1;
            if !std::mem::take(&mut is_first) {
                self.push(SqlToken::Comma, comma);
            }
            self.end_expression();
            let argument_end = self.argument_end(end);
            let option = self.peek(0).filter(|_| self.peek_is_symbol(1, "=") && self.peek_is_symbol(2, ">"));
            match option.and_then(|option| Some((option, option.word()?))) {
                Some((option, name)) => {
                    self.at += 3;
                    self.push_all([quoted(&format!("${name}")), SqlToken::LParen], option);
                    self.run_to(argument_end);
                    self.push(SqlToken::RParen, option);
                }
                None => self.run_to(argument_end),
            }
        }
    }

    /// The end of the argument that begins here: the next comma outside parentheses, or `end`.
    pub(super) fn argument_end(&self, end: usize) -> usize {
        let mut depth = 0_usize;
        for (place, token) in self.tokens[..end].iter().enumerate().skip(self.at) {
            match depth {
                0 if token.is_symbol(",") => return place,
                _ if token.is_symbol("(") => depth += 1,
                _ if token.is_symbol(")") => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        end
    }

    /// The place behind the parenthesis that closes the one at `open`, or the end of the tokens.
    pub(super) fn group_end(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (place, token) in self.tokens.iter().enumerate().skip(open) {
            if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return place + 1;
                }
            }
        }
        self.tokens.len()
    }
}
