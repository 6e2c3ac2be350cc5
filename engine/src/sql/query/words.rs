//! What each word of a query becomes.

use sqlparser::tokenizer::Token as SqlToken;

use super::STAGGER;
use super::interval_casts::MARKED;
use super::level::{Level, Opening};
use super::rewriter::{KEPT, Rewriter, cast, keyword, plain, quoted};
use crate::diagnostic::Diagnostic;
use crate::sql::Interval;
use crate::sql::cursor::{Cursor, behind};
use crate::sql::keywords::{self, UNITS};
use crate::sql::literal::{IntervalLiteral, canonical_type, check_datetime, interval, qualifier_text, sql_type, unknown_unit};
use crate::sql::token::{Token, TokenKind};

impl<'a> Rewriter<'a> {
    pub(super) fn word(&mut self, word: &str, token: &'a Token) {
        // Parts of a qualified name mean nothing else, reserved or not.
        if self.peek_is_symbol(0, ".") || self.previous().is_some_and(|previous| previous.is_symbol(".")) {
            self.push(plain(word), token);
            return;
        }
        let called = self.peek_is_symbol(0, "(");
        match word {
            "SELECT" => {
                self.end_expression();
                self.push(keyword(word), token);
                if self.peek_is_word(0, "STREAM") {
                    self.at += 1;
                }
                return;
            }
            "VALUES" => return self.values(token),
            "FROM" if self.nth_value_from(token) => return,
            // `TRIM(FROM s)` is `TRIM(s)`.
            "FROM" if self.at >= 3 && self.tokens[self.at - 2].is_symbol("(") && self.tokens[self.at - 3].is_word("TRIM") => {
                return;
            }
            "FROM" | "WHERE" | "GROUP" | "HAVING" | "ON" | "WHEN" | "THEN" | "ELSE" => self.end_expression(),
            "AND" | "OR" | "NOT" | "IS" | "LIKE" | "BETWEEN" | "IN" | "COLLATE" | "MEMBER" | "AT" => self.operator(),
            "CASE" => self.open(Opening::Case),
            "END" if matches!(self.levels.last(), Some(Level { opening: Opening::Case, .. })) => self.close(),
            "INTERVAL" => return self.interval(token),
            "TIMESTAMP" | "DATE" | "TIME" => {
                if let Some(Token { kind: TokenKind::Text(value), span, .. }) = self.peek(0) {
                    self.at += 1;
                    if let Err(problem) = check_datetime(word, value) {
                        self.report(problem.at(*span));
                    }
                    let at = Token { span: token.span.union(*span), ..token.clone() };
                    self.push_all(cast(SqlToken::SingleQuotedString(value.clone()), word), &at);
                    return;
                }
            }
            "UNKNOWN" => {
                let tested = self.previous().is_some_and(|previous| previous.is_word("IS") || previous.is_word("AS"))
                    || (self.at >= 3 && self.tokens[self.at - 3].is_word("IS") && self.tokens[self.at - 2].is_word("NOT"));
                if !tested {
                    self.push_all(cast(keyword("NULL"), "BOOLEAN"), token);
                    return;
                }
            }
            "CURRENT_DATE" | "CURRENT_TIME" | "CURRENT_TIMESTAMP" | "CURRENT_ROW_TIMESTAMP" | "LOCALTIME" | "LOCALTIMESTAMP"
                if called && (word.starts_with("LOCAL") || !self.peek_is_symbol(1, ")")) =>
            {
                let argument = self.peek(1).map_or(token.span, |argument| argument.span);
                let what = if self.peek_is_symbol(1, ")") { "parentheses" } else { "precision" };
                let problem = Diagnostic::error(format!("{word} has no {what}")).at(argument).label("unexpected");
                self.report(problem.hint(format!("Write {word} alone.")));
                self.skip_group();
            }
            "CURRENT_ROW_TIMESTAMP" if !called => {
                self.push_all([plain(word), SqlToken::LParen, SqlToken::RParen], token);
                return;
            }
            // Sessions have no time zones of their own: local is UTC.
            "LOCALTIMESTAMP" if !called => return self.push(keyword("CURRENT_TIMESTAMP"), token),
            "LOCALTIME" if !called => return self.push(keyword("CURRENT_TIME"), token),
            "STEP" if called => return self.call(plain(word), token, Opening::Step(false)),
            "FLOOR" if called => return self.call(plain(word), token, Opening::Round(Some((self.out.len(), "FLOOR_TO")))),
            "CEIL" | "CEILING" if called => {
                return self.call(plain("CEIL"), token, Opening::Round(Some((self.out.len(), "CEIL_TO"))));
            }
            // The parenthesis says as much.
            "PERIOD" if self.begins_period() => return,
            "WINDOWED" if self.peek_is_word(0, "BY") => return self.stagger(token),
            "RANGE" => {
                if let Some(Level { opening: opening @ Opening::Stagger(false), .. }) = self.level() {
                    *opening = Opening::Stagger(true);
                    self.end_expression();
                    self.check_stagger_range(token);
                    self.push_all([SqlToken::Comma, quoted(STAGGER), SqlToken::LParen], token);
                    return;
                }
            }
            "SUBSTRING" if called => return self.call(keyword(word), token, Opening::Substring(self.out.len())),
            // `SUBSTRING(s SIMILAR pattern ESCAPE e)` is a function of its own.
            "SIMILAR" if !self.peek_is_word(0, "TO") => {
                if let Some(Level { opening: Opening::Substring(name), .. }) = self.levels.last() {
                    self.out[*name].token = plain("SUBSTRING_SIMILAR");
                    self.end_expression();
                    self.push(SqlToken::Comma, token);
                    return;
                }
            }
            "ESCAPE" => {
                if let Some(Level { opening: Opening::Substring(name), .. }) = self.levels.last()
                    && self.out[*name].token == plain("SUBSTRING_SIMILAR")
                {
                    self.end_expression();
                    self.push(SqlToken::Comma, token);
                    return;
                }
            }
            "SIMILAR" => {
                self.operator();
                self.push(keyword(word), token);
                if let Some(to) = self.peek(0) {
                    self.at += 1;
                    self.push(keyword("TO"), to);
                }
                return;
            }
            // The character to trim may be left out.
            "LEADING" | "TRAILING" | "BOTH" if self.peek_is_word(0, "FROM") => {
                self.push(keyword(word), token);
                self.push(SqlToken::SingleQuotedString(" ".to_owned()), token);
                return;
            }
            "CAST" if called => return self.call(keyword(word), token, Opening::Cast),
            "EXTRACT" if called => {
                self.check_extract();
                return self.call(keyword(word), token, Opening::Extract);
            }
            "BY" => {
                if let Some(Level { opening: opening @ Opening::Step(false), .. }) = self.level() {
                    *opening = Opening::Step(true);
                    self.end_expression();
                    self.push(SqlToken::Comma, token);
                    return;
                }
            }
            "TO" => {
                if let Some(Level { opening: opening @ Opening::Round(Some(_)), .. }) = self.level() {
                    let Opening::Round(Some((name, with_unit))) = std::mem::replace(opening, Opening::Round(None)) else {
                        return;
                    };
                    self.end_expression();
                    // Of a difference of one field it rounds a number: see `interval_casts`.
                    self.out[name].token = plain(with_unit);
                    self.push(SqlToken::Comma, token);
                    return self.unit();
                }
            }
            "AS" => {
                if let Some(Level { opening: Opening::Cast, .. }) = self.levels.last() {
                    self.push(keyword(word), token);
                    return self.cast_type();
                }
            }
            // `x = ANY (…)` compares; anywhere else it is the aggregate.
            "ANY" if called && !self.previous().is_some_and(is_comparison) => return self.push(plain(word), token),
            _ => {
                if self.refuse(word, token) {
                    return;
                }
            }
        }
        self.push(if KEPT.contains(&word) || keywords::is_reserved(word) { keyword(word) } else { plain(word) }, token);
    }

    /// `WINDOWED BY STAGGER (PARTITION BY keys RANGE interval)` is `GROUP BY keys, "$stagger"(interval)`.
    fn stagger(&mut self, token: &'a Token) {
        const WORDS: [&str; 5] = ["BY", "STAGGER", "(", "PARTITION", "BY"];
        self.end_expression();
        for (i, expected) in WORDS.iter().enumerate() {
            let found = self.peek(i);
            if !found.is_some_and(|found| found.is_word(expected) || found.is_symbol(expected)) {
                let found = found.map_or_else(|| behind(token.span), |found| found.span);
                self.report(
                    Diagnostic::error("the WINDOWED BY clause is not complete")
                        .at(found)
                        .label(format!("expected {expected}"))
                        .hint("Write WINDOWED BY STAGGER (PARTITION BY key, … RANGE INTERVAL '1' MINUTE)."),
                );
                return;
            }
        }
        if !self.stream {
            self.report(Diagnostic::error("WINDOWED BY STAGGER needs SELECT STREAM").at(token.span));
        }
        self.at += WORDS.len();
        self.push_all([keyword("GROUP"), keyword("BY")], token);
        self.open(Opening::Stagger(false));
    }

    /// Behind RANGE of a stagger window comes an interval of one length.
    fn check_stagger_range(&mut self, token: &Token) {
        const FORM: &str = "Write WINDOWED BY STAGGER (PARTITION BY key, … RANGE INTERVAL '1' MINUTE).";
        let mut cursor = Cursor::new(self.tokens, self.text);
        cursor.next = self.at;
        while cursor.peek().is_some_and(|token| token.is_symbol("(")) {
            cursor.next += 1;
        }
        if cursor.peek_word().is_none_or(|word| word != "INTERVAL") {
            let found = cursor.peek().map_or_else(|| behind(token.span), |found| found.span);
            let problem = Diagnostic::error("the RANGE of a stagger window is not an interval").at(found);
            return self.report(problem.label("expected INTERVAL").hint(FORM));
        }
        // What is wrong with the literal is found when it is read.
        let Ok(IntervalLiteral { value, span, .. }) = interval(&mut cursor) else { return };
        match value {
            Interval::Milliseconds(1..) => {}
            Interval::Milliseconds(_) => {
                let problem = Diagnostic::error("the RANGE of a stagger window must be longer than nothing").at(span);
                self.report(problem.hint(FORM));
            }
            Interval::Months(_) => {
                let problem = Diagnostic::error("the RANGE of a stagger window cannot be counted in months").at(span);
                self.report(problem.hint("Use days, hours, minutes or seconds, which all have one length."));
            }
        }
    }

    /// A function's name and its parenthesis.
    pub(super) fn call(&mut self, name: SqlToken, token: &Token, opening: Opening) {
        self.push(name, token);
        if let Some(parenthesis) = self.peek(0) {
            self.at += 1;
            self.push(SqlToken::LParen, parenthesis);
            self.open(opening);
        }
    }

    pub(super) fn interval(&mut self, token: &Token) {
        // In FLOOR(m - INTERVAL '5' SECOND TO MINUTE) the last TO is FLOOR's.
        let end = match self.levels.last() {
            Some(Level { opening: Opening::Round(Some(_)), .. }) => self.to_of_floor().unwrap_or(self.tokens.len()),
            _ => self.tokens.len(),
        };
        let mut cursor = Cursor::new(&self.tokens[..end], self.text);
        cursor.next = self.at - 1;
        match interval(&mut cursor) {
            Ok(IntervalLiteral { value, qualifier, span, warning }) => {
                let at = Token { span, ..token.clone() };
                self.warnings.extend(warning);
                // CAST and EXTRACT ask for the fields (`interval_casts`).
                let marked = self.levels.iter().any(|level| matches!(level.opening, Opening::Cast | Opening::Extract));
                if marked {
                    self.push_all([quoted(MARKED), SqlToken::LParen], &at);
                }
                self.push_all([keyword("INTERVAL"), SqlToken::SingleQuotedString(value.to_planner_text())], &at);
                if marked {
                    self.push_all([SqlToken::Comma, SqlToken::SingleQuotedString(qualifier), SqlToken::RParen], &at);
                }
                // sqlparser would read a unit behind the rewritten value as part of it.
                if cursor.peek_word().is_some_and(|word| UNITS.contains(&word)) {
                    self.report(*cursor.unexpected("the end of the interval"));
                }
            }
            Err(problem) => self.report(*problem),
        }
        self.at = cursor.next.max(self.at);
    }

    /// The place of the TO in `… TO unit )`, if the parenthesis that is open ends like this.
    pub(super) fn to_of_floor(&self) -> Option<usize> {
        let mut depth = 0_usize;
        for (place, token) in self.tokens.iter().enumerate().skip(self.at) {
            if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") && depth > 0 {
                depth -= 1;
            } else if token.is_symbol(")") {
                let to = place.checked_sub(2)?;
                return (to > self.at && self.tokens[to].is_word("TO")).then_some(to);
            }
        }
        None
    }

    /// The unit of `FLOOR(x TO unit)`.
    pub(super) fn unit(&mut self) {
        let mut cursor = Cursor::new(self.tokens, self.text);
        cursor.next = self.at;
        match (cursor.peek(), cursor.peek_word()) {
            (Some(token), Some(word)) if UNITS.contains(&word) => {
                self.at += 1;
                self.push(SqlToken::SingleQuotedString(word.to_owned()), token);
            }
            (token, _) => {
                self.report(*unknown_unit(&cursor));
                // Not a second time as the operand of the comma.
                self.at += usize::from(token.is_some_and(|token| token.word().is_some()));
            }
        }
    }

    /// The type of a CAST, in its canonical spelling.
    pub(super) fn cast_type(&mut self) {
        let mut cursor = Cursor::new(self.tokens, self.text);
        cursor.next = self.at;
        if cursor.accept_word("INTERVAL") {
            return self.cast_to_interval(cursor);
        }
        match sql_type(&mut cursor) {
            Ok(sql_type) => {
                let at = Token { span: cursor.span_from(self.at), ..self.tokens[self.at].clone() };
                for token in canonical_type(sql_type, &at) {
                    let sql = match &token.kind {
                        TokenKind::Word(word) => keyword(word),
                        TokenKind::Number(number) => SqlToken::Number(number.clone(), false),
                        TokenKind::Symbol("(") => SqlToken::LParen,
                        TokenKind::Symbol(")") => SqlToken::RParen,
                        _ => SqlToken::Comma,
                    };
                    self.push(sql, &at);
                }
            }
            Err(problem) => {
                self.report(*problem);
                // What is left of the type would only raise more questions.
                while cursor.peek().is_some_and(|token| !token.is_symbol(")")) {
                    cursor.next += 1;
                }
            }
        }
        self.at = cursor.next;
    }

    /// The qualifier of a CAST to an interval, behind INTERVAL.
    fn cast_to_interval(&mut self, mut cursor: Cursor<'a>) {
        match qualifier_text(&mut cursor) {
            Ok(qualifier) => {
                let at = Token { span: cursor.span_from(self.at), ..self.tokens[self.at].clone() };
                self.push_all(std::iter::once("INTERVAL").chain(qualifier.split(' ')).map(keyword), &at);
            }
            Err(problem) => self.report(*problem),
        }
        self.at = cursor.next;
    }

    pub(super) fn check_extract(&mut self) {
        let mut cursor = Cursor::new(self.tokens, self.text);
        cursor.next = self.at + 1;
        if !cursor.peek_word().is_some_and(|word| UNITS.contains(&word)) {
            return self.report(*unknown_unit(&cursor));
        }
        cursor.next += 1;
        if cursor.peek_word().is_none_or(|word| word != "FROM") {
            self.report(cursor.unexpected("FROM").hint("Write EXTRACT(HOUR FROM t)."));
        }
    }
}

fn is_comparison(token: &Token) -> bool {
    ["=", "<>", "!=", "<", "<=", ">", ">="].iter().any(|symbol| token.is_symbol(symbol))
}
