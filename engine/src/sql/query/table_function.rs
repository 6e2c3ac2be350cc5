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

use super::INLINE_DEPTH_MAX;
use super::grammar::check_expression;
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

type Checked<T> = Result<T, Box<Diagnostic>>;

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
        let start = self.at;
        let Some(end) = self.group_close(self.at + 2).map(|close| close + 1) else {
            let last = &self.tokens[self.tokens.len() - 1];
            let problem = Diagnostic::error("the query ends too early").at(behind(last.span));
            self.report(problem.label("expected ) behind the table function"));
            self.at = self.tokens.len();
            return true;
        };
        self.at += 1;
        self.symbol("(", open);
        self.push_all([keyword("SELECT"), SqlToken::Mul, keyword("FROM")], name);
        self.at += 3;
        let query_end = self.group_end(self.at);
        if let Err(problem) = self.check_cursor() {
            self.report(*problem);
            self.at = start;
            self.skip_group();
            return true;
        }
        self.run_to(query_end);
        let carrier = [keyword("AS"), quoted(CURSOR), keyword("TABLESAMPLE"), SqlToken::LParen];
        self.push_all(carrier.into_iter().chain([quoted(&format!("${name_text}")), SqlToken::LParen]), name);
        if let Err(problem) = self.arguments(end - 1) {
            self.report(*problem);
        }
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

    /// Fails if the parenthesis of a CURSOR, which comes next, holds no query.
    fn check_cursor(&self) -> Checked<()> {
        let Some(first) = self.peek(1) else { return Ok(()) };
        if first.is_word("SELECT") || first.is_word("WITH") || first.is_symbol("(") {
            return Ok(());
        }
        let stream = match first.kind {
            TokenKind::Word(_) | TokenKind::Quoted(_) => &self.text[first.range.clone()],
            _ => "stream",
        };
        let problem = Diagnostic::error("a CURSOR needs a query").at(first.span).label("expected SELECT STREAM");
        Err(Box::new(problem.hint(format!("Write CURSOR(SELECT STREAM * FROM {stream})."))))
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
    fn arguments(&mut self, end: usize) -> Checked<()> {
        let mut is_first = !self.partition_by(end)?;
        while self.at < end {
            let comma = &self.tokens[self.at];
            if !comma.is_symbol(",") {
                let problem = Diagnostic::error(format!("unexpected {}", quote(self.text, comma))).at(comma.span);
                return Err(Box::new(problem.label("expected , or )")));
            }
            self.at += 1;
            let argument_end = self.argument_end(end);
            if self.at == argument_end {
                let problem = Diagnostic::error("an argument is missing").at(comma.span);
                return Err(Box::new(problem.label("expected an argument behind this comma")));
            }
            if self.peek_is_word(0, "PARTITION") && self.peek_is_word(1, "BY") {
                let problem = Diagnostic::error("PARTITION BY behind a comma").at(self.tokens[self.at].span);
                return Err(Box::new(
                    problem.hint("It belongs to the cursor: CURSOR(…) PARTITION BY key, and then the arguments."),
                ));
            }
            if !std::mem::take(&mut is_first) {
                self.push(SqlToken::Comma, comma);
            }
            self.end_expression();
            self.argument(argument_end)?;
        }
        Ok(())
    }

    /// PARTITION BY behind the cursor, if it is there: several columns with or without parentheses.
    fn partition_by(&mut self, end: usize) -> Checked<bool> {
        if !(self.peek_is_word(0, "PARTITION") && self.peek_is_word(1, "BY")) {
            return Ok(false);
        }
        let partition = &self.tokens[self.at];
        self.at += 2;
        self.push_all([quoted("$PARTITION"), SqlToken::LParen], partition);
        let has_group = self.peek_is_symbol(0, "(");
        let group_end = self.group_end(self.at).min(end);
        self.at += usize::from(has_group);
        let last = if has_group { group_end - 1 } else { end };
        loop {
            let key_end = self.argument_end(last);
            if self.at == key_end {
                let problem = Diagnostic::error("PARTITION BY without a column").at(partition.span);
                return Err(Box::new(problem.hint("Write CURSOR(…) PARTITION BY key.")));
            }
            self.expression(key_end)?;
            // Without parentheses the columns end where the constants begin.
            if self.at >= last || !(has_group || self.is_column(self.at + 1, end)) {
                break;
            }
            self.push(SqlToken::Comma, partition);
            self.at += 1;
        }
        self.at += usize::from(has_group);
        self.push(SqlToken::RParen, partition);
        Ok(true)
    }

    /// True if the argument at `start` is the name of a column.
    fn is_column(&self, start: usize, end: usize) -> bool {
        const CONSTANTS: [&str; 4] = ["TRUE", "FALSE", "UNKNOWN", "NULL"];
        let rest = &self.tokens[start.min(end)..end];
        let argument = rest.split(|token| token.is_symbol(",")).next().unwrap_or_default();
        let is_name = |token: &Token| match &token.kind {
            TokenKind::Word(word) => !CONSTANTS.contains(&word.as_str()),
            kind => matches!(kind, TokenKind::Quoted(_)),
        };
        let is_path = |(place, token): (usize, &Token)| if place % 2 == 0 { is_name(token) } else { token.is_symbol(".") };
        argument.len() % 2 == 1 && argument.iter().enumerate().all(is_path)
    }

    /// A constant, or an option as in `seed => 7`, up to `end`.
    fn argument(&mut self, end: usize) -> Checked<()> {
        let first = &self.tokens[self.at];
        let name = match &first.kind {
            TokenKind::Word(name) => Some(name.clone()),
            TokenKind::Quoted(name) => Some(name.to_uppercase()),
            _ => None,
        };
        let Some(name) = name.filter(|_| self.peek_is_symbol(1, "=") && self.peek_is_symbol(2, ">")) else {
            return self.expression(end);
        };
        self.at += 3;
        if self.at >= end {
            let problem = Diagnostic::error(format!("option {} has no value", name.to_lowercase())).at(first.span);
            return Err(Box::new(problem));
        }
        self.push_all([quoted(&format!("${name}")), SqlToken::LParen], first);
        self.expression(end)?;
        self.push(SqlToken::RParen, first);
        Ok(())
    }

    /// Rewrites the tokens up to `end`, which must be one expression: the parser of the whole query would take its end for that
    /// of the cursor, and say that something is wrong there.
    fn expression(&mut self, end: usize) -> Checked<()> {
        let (start, out) = (self.at, self.out.len());
        self.run_to(end);
        self.at = end;
        let tokens = &self.tokens[start..self.tokens.len().min(end + 1)];
        let depth = tokens.iter().filter(|token| token.is_symbol("(")).count();
        if !self.problems.is_empty() || depth > INLINE_DEPTH_MAX {
            return Ok(());
        }
        check_expression(self.out[out..].to_vec(), tokens, self.text)
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
        self.group_close(open).map_or(self.tokens.len(), |close| close + 1)
    }

    /// The place of the parenthesis that closes the one at `open`.
    fn group_close(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (place, token) in self.tokens.iter().enumerate().skip(open) {
            if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(place);
                }
            }
        }
        None
    }
}
