//! Words of the dialect that are not built yet, and words that have no meaning on a stream: refused by name.

use sqlparser::tokenizer::{Token as SqlToken, TokenWithSpan};

use super::WITHIN;
use super::rewriter::{Rewriter, quoted};
use crate::diagnostic::Diagnostic;
use crate::sql::token::{Token, TokenKind};

impl<'a> Rewriter<'a> {
    /// Names what is not built, or not meant for streams; true if nothing is left to do with the word.
    pub(super) fn refuse(&mut self, word: &str, token: &'a Token) -> bool {
        let called = self.peek_is_symbol(0, "(");
        match word {
            "OVER" => {
                let windowed_item = match self.previous().map(|previous| &previous.kind) {
                    // `f(x) IGNORE NULLS OVER …` is a function, and so is `f(x, n) FROM LAST OVER …`.
                    Some(TokenKind::Word(word)) => word != "NULLS" && !self.is_behind_from_last(),
                    Some(TokenKind::Quoted(_)) => true,
                    Some(TokenKind::Symbol(")")) => self.group_is_query(self.at - 2),
                    _ => false,
                };
                if windowed_item && self.stream {
                    self.join_window(token);
                    return true;
                } else if windowed_item {
                    let problem = Diagnostic::error("a window in FROM (OVER) is for streams").at(token.span);
                    self.report(problem.hint("Write SELECT STREAM to join streams."));
                    self.skip_group();
                }
                windowed_item
            }
            // In a window it is refused where windows are planned.
            "ORDER" if self.stream && !self.in_join_window && self.peek_is_word(0, "BY") && !self.is_in_group() => {
                let first = (self.out.len() + 2, self.at + 1);
                if let Some(level) = self.level() {
                    level.order = Some(first);
                }
                false
            }
            "WITHIN" if !self.peek_is_word(0, "GROUP") => {
                self.within(token);
                true
            }
            "UNION" | "EXCEPT" | "INTERSECT" => {
                if let Some(level) = self.level() {
                    level.set_operators += 1;
                }
                if word != "UNION" || !self.peek_is_word(0, "ALL") {
                    let what = if word == "UNION" { "UNION without ALL" } else { word };
                    self.not_on_streams(
                        what,
                        token.span,
                        "Only UNION ALL works on streams: the others would have to keep all rows for ever.",
                    );
                }
                false
            }
            "FILTER" if called && self.peek_is_word(1, "WHERE") => {
                let hint = "Aggregate a CASE instead: SUM(CASE WHEN condition THEN value END).";
                self.not_on_streams("FILTER (WHERE …)", token.span, hint);
                false
            }
            "LIMIT" | "FETCH" => {
                self.not_on_streams(word, token.span, "A stream has no end; filter with WHERE.");
                false
            }
            "WITH" => {
                if self.at > 1 && !self.previous().is_some_and(|previous| previous.is_symbol("(")) {
                    self.report(
                        Diagnostic::error("unexpected \"WITH\"").at(token.span).label("WITH stands only at the start of a query"),
                    );
                }
                let hint = "Write the query of WITH into FROM, in parentheses, or create a stream and a pump for it.";
                self.not_on_streams("WITH", token.span, hint);
                false
            }
            "TABLE" | "STREAM" if called => {
                if self.window_table(token) || self.table_function(token) {
                    return true;
                }
                self.no_table_function(token);
                self.skip_group();
                true
            }
            "CURSOR" if called => {
                let problem = Diagnostic::error("CURSOR stands only in a table function").at(token.span);
                self.report(problem.hint("Write FROM TABLE(function(CURSOR(SELECT STREAM …), arguments))."));
                self.skip_group();
                true
            }
            // Behind a period it was read with the period.
            "OVERLAPS" => {
                self.misplaced_predicate(token);
                true
            }
            "TABLESAMPLE" => {
                self.report(Diagnostic::error("TABLESAMPLE is not supported").at(token.span));
                true
            }
            "MATCH_RECOGNIZE" | "PIVOT" | "UNPIVOT" if called && self.previous().is_some_and(Token::ends_operand) => {
                let hint = match word {
                    "MATCH_RECOGNIZE" => {
                        "Compare a row with earlier ones: LAG(…) OVER (…), or join the stream with itself over a window."
                    }
                    "PIVOT" => "Aggregate a CASE for each column: SUM(CASE WHEN key = 'a' THEN value END).",
                    _ => "Write one pump for each column, all into one stream.",
                };
                self.report(Diagnostic::error(format!("{word} is not supported")).at(token.span).hint(hint));
                self.skip_group();
                true
            }
            "APPLY" if self.previous().is_some_and(|previous| previous.is_word("CROSS") || previous.is_word("OUTER")) => {
                let problem = Diagnostic::error("APPLY is not supported").at(token.span);
                self.report(
                    problem.hint("Write JOIN … ON, or a table function in FROM: FROM TABLE(f(CURSOR(SELECT STREAM …)))."),
                );
                true
            }
            "INTO" => {
                self.report(
                    Diagnostic::error("SELECT … INTO is not supported")
                        .at(token.span)
                        .hint("A pump fills a stream: CREATE PUMP \"p\" AS INSERT INTO \"s\" SELECT STREAM …."),
                );
                true
            }
            _ => false,
        }
    }

    /// `ORDER BY t WITHIN INTERVAL '30' SECOND` is `ORDER BY "$within"(t, INTERVAL '30000 milliseconds')`.
    fn within(&mut self, token: &'a Token) {
        const FORM: &str = "Write SELECT STREAM t AS ROWTIME, … ORDER BY t WITHIN INTERVAL '30' SECOND.";
        let refuse = |this: &mut Self, problem: &str, span| this.report(Diagnostic::error(problem).at(span).hint(FORM));
        let Some((out, from)) = self.level().and_then(|level| level.order.take()) else {
            return refuse(self, "WITHIN stands only behind the first expression of ORDER BY in a stream query", token.span);
        };
        let item = &self.tokens[from..self.at - 1];
        if let Some(rowtime) = item.iter().find(|token| token.is_word("ROWTIME")) {
            return refuse(self, "ORDER BY … WITHIN sorts by a time of the rows, not by ROWTIME", rowtime.span);
        }
        if let Some(direction) = item.last().filter(|token| token.is_word("DESC")) {
            return refuse(self, "ORDER BY … WITHIN cannot sort falling", direction.span);
        }
        let (Some(first), Some(interval)) = (self.out.get(out), self.peek(0).filter(|next| next.is_word("INTERVAL"))) else {
            return refuse(self, "WITHIN needs an expression before it and an interval behind it", token.span);
        };
        let span = first.span;
        let call = [quoted(WITHIN), SqlToken::LParen];
        self.out.splice(out..out, call.map(|token| TokenWithSpan { token, span }));
        self.push(SqlToken::Comma, token);
        self.at += 1;
        self.interval(interval);
        self.push(SqlToken::RParen, token);
        if let Some(direction) = self.peek(0).filter(|next| next.is_word("DESC")) {
            refuse(self, "ORDER BY … WITHIN cannot sort falling", direction.span);
        }
    }

    /// True behind `) FROM FIRST` and `) FROM LAST`.
    fn is_behind_from_last(&self) -> bool {
        let Some([.., call, from, end, _]) = self.tokens.get(..self.at) else { return false };
        call.is_symbol(")") && from.is_word("FROM") && (end.is_word("FIRST") || end.is_word("LAST"))
    }

    /// True in a parenthesis that does not hold a query.
    fn is_in_group(&self) -> bool {
        let mut depth = 0;
        for index in (0..self.at - 1).rev() {
            if self.tokens[index].is_symbol(")") {
                depth += 1;
            } else if self.tokens[index].is_symbol("(") {
                if depth == 0 {
                    let first = self.tokens.get(index + 1).and_then(Token::word);
                    return !matches!(first, Some("SELECT" | "VALUES" | "WITH"));
                }
                depth -= 1;
            }
        }
        false
    }

    /// True if the group that the `)` at this index closes is a relation: a query or a call of a table function.
    pub(super) fn group_is_query(&self, close: usize) -> bool {
        let mut depth = 0;
        for index in (0..=close).rev() {
            if self.tokens[index].is_symbol(")") {
                depth += 1;
            } else if self.tokens[index].is_symbol("(") {
                depth -= 1;
            }
            if depth == 0 {
                let first = self.tokens.get(index + 1).and_then(Token::word);
                let before = index.checked_sub(1).and_then(|before| self.tokens[before].word());
                return matches!(first, Some("SELECT" | "VALUES" | "WITH")) || matches!(before, Some("TABLE" | "STREAM"));
            }
        }
        false
    }
}
