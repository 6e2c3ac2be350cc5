//! Rewrites the tokens of one query, in one pass: the machinery, and all tokens that are no words.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token as SqlToken, TokenWithSpan, Word};

use super::level::{Level, Opening};
use super::numbers::check_number;
use crate::diagnostic::{Diagnostic, Position, Span};
use crate::sql::cursor::quote;
use crate::sql::keywords::{self, UNITS};
use crate::sql::token::{Token, TokenKind};

/// Parentheses and CASEs inside each other.
const DEPTH_MAX: usize = 50;
/// Height of an expression's tree: `a + b + c` has two operators above `a`. Dropping a tree needs stack in proportion.
const HEIGHT_MAX: usize = 500;

/// Rewrites the tokens of one query, in one pass.
pub(super) struct Rewriter<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) text: &'a str,
    pub(super) stream: bool,
    /// Index of the token to read next.
    pub(super) at: usize,
    pub(super) out: Vec<TokenWithSpan>,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Problems of queries that read a stream.
    pub(super) of_streams: Vec<Diagnostic>,
    /// The parentheses and CASEs around the current token.
    pub(super) levels: Vec<Level>,
    /// The most that there were.
    pub(super) depth: usize,
    /// True inside the window of a relation in FROM.
    pub(super) in_join_window: bool,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(tokens: &'a [Token], text: &'a str, stream: bool) -> Self {
        Self {
            tokens,
            text,
            stream,
            at: 0,
            out: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            of_streams: Vec::new(),
            levels: vec![Level::root()],
            depth: 0,
            in_join_window: false,
        }
    }

    pub(super) fn run(&mut self) {
        self.run_to(self.tokens.len());
    }

    /// Reads the tokens up to `end`.
    pub(super) fn run_to(&mut self, end: usize) {
        while let Some(token) = self.tokens.get(self.at).filter(|_| self.at < end) {
            self.at += 1;
            match &token.kind {
                TokenKind::Word(word) => self.word(word, token),
                TokenKind::Quoted(name) => self.push(quoted(name), token),
                TokenKind::Text(value) => self.text(value, token),
                TokenKind::Hex(digits) => self.push(SqlToken::HexStringLiteral(digits.clone()), token),
                TokenKind::Number(number) => self.number(number, token),
                TokenKind::Symbol(symbol) => self.symbol(symbol, token),
                // Neither reaches the grammar.
                TokenKind::Unicode(_) | TokenKind::Comment | TokenKind::Bad(_) => {}
            }
            self.depth = self.depth.max(self.levels.len() - 1);
            if self.depth > DEPTH_MAX {
                self.problems.push(
                    Diagnostic::error("the query is nested too deeply")
                        .at(token.span)
                        .label(format!("at most {DEPTH_MAX} parentheses and CASEs inside each other")),
                );
                return;
            }
            if self.levels.last().is_some_and(|level| level.operators + level.operand + level.set_operators > HEIGHT_MAX) {
                self.problems.push(
                    Diagnostic::error("the expression is too long")
                        .at(token.span)
                        .label(format!("at most {HEIGHT_MAX} operators in a row"))
                        .hint("Compare with a list, as in x IN ('a', 'b'), or divide the query."),
                );
                return;
            }
        }
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<&'a Token> {
        self.tokens.get(self.at + ahead)
    }

    pub(super) fn peek_is_word(&self, ahead: usize, word: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is_word(word))
    }

    pub(super) fn peek_is_symbol(&self, ahead: usize, symbol: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is_symbol(symbol))
    }

    /// The token before the one being read.
    pub(super) fn previous(&self) -> Option<&'a Token> {
        self.tokens.get(self.at.checked_sub(2)?)
    }

    pub(super) fn push(&mut self, sql: SqlToken, at: &Token) {
        let location = |position: Position| Location { line: position.line, column: position.column };
        let span = sqlparser::tokenizer::Span { start: location(at.span.start), end: location(at.span.end) };
        self.out.push(TokenWithSpan { token: sql, span });
    }

    /// Adds synthetic tokens that stand where `at` stands.
    pub(super) fn push_all(&mut self, sql: impl IntoIterator<Item = SqlToken>, at: &Token) {
        for sql in sql {
            self.push(sql, at);
        }
    }

    pub(super) fn level(&mut self) -> Option<&mut Level> {
        self.levels.last_mut()
    }

    pub(super) fn open(&mut self, opening: Opening) {
        self.levels.push(Level::new(opening));
    }

    pub(super) fn close(&mut self) {
        // The root stays: a parenthesis too many is the parser's to report.
        if self.levels.len() > 1
            && let Some(mut level) = self.levels.pop()
        {
            let height = level.total() + 1;
            if let Some(outer) = self.level() {
                outer.operand = outer.operand.max(height);
            }
        }
    }

    pub(super) fn operator(&mut self) {
        if let Some(level) = self.level() {
            level.operators += 1;
        }
    }

    pub(super) fn end_expression(&mut self) {
        if let Some(level) = self.level() {
            level.end_expression();
        }
    }

    /// Each problem once: a second JOIN needs no second message.
    pub(super) fn report(&mut self, problem: Diagnostic) {
        if !self.problems.iter().any(|known| known.message == problem.message) {
            self.problems.push(problem);
        }
    }

    /// `what` has no meaning on a stream.
    pub(super) fn not_on_streams(&mut self, what: &str, span: Span, hint: &str) {
        if self.stream {
            self.of_streams.push(Diagnostic::error(format!("{what} is not allowed in a stream query")).at(span).hint(hint));
        }
    }

    /// Steps over a group in parentheses that comes next.
    pub(super) fn skip_group(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.peek(0) {
            if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") {
                depth -= 1;
            }
            if depth == 0 && !token.is_symbol(")") {
                return;
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    pub(super) fn symbol(&mut self, symbol: &'static str, token: &'a Token) {
        match symbol {
            "(" => {
                let start = self.out.len();
                self.open(Opening::Group);
                if let Some(level) = self.level() {
                    level.start = start;
                }
            }
            ")" => {
                if let Some(Level { opening: Opening::Step(false), .. }) = self.levels.last() {
                    self.report(
                        Diagnostic::error("STEP without BY")
                            .at(token.span)
                            .label("expected BY and the width of a step")
                            .hint("Write STEP(s.ROWTIME BY INTERVAL '1' MINUTE)."),
                    );
                }
                if let Some(Level { opening: Opening::Stagger(false), .. }) = self.levels.last() {
                    self.report(
                        Diagnostic::error("STAGGER without RANGE")
                            .at(token.span)
                            .label("expected RANGE and the length of a window")
                            .hint("Write WINDOWED BY STAGGER (PARTITION BY key, … RANGE INTERVAL '1' MINUTE)."),
                    );
                }
                let group = self.levels.last().filter(|level| level.opening == Opening::Group);
                let difference = group.and_then(|level| Some((level.start, level.minus?)));
                let is_period = group.is_some_and(|level| level.commas == 1 && self.is_plain_group(level.start));
                self.close();
                self.push(SqlToken::RParen, token);
                if !(is_period && self.temporal_predicate()) {
                    self.after_group(difference);
                }
                return;
            }
            "," => {
                self.end_expression();
                if let Some(level) = self.level() {
                    level.order = None;
                    level.commas += 1;
                }
            }
            "." => {}
            "-" => {
                let minus = Some(self.out.len()).filter(|_| self.previous().is_some_and(Token::ends_operand));
                self.operator();
                if let Some(level) = self.level() {
                    level.minus = minus.or(level.minus);
                }
            }
            _ => self.operator(),
        }
        let sql = match symbol {
            "<>" | "!=" => SqlToken::Neq,
            "<=" => SqlToken::LtEq,
            ">=" => SqlToken::GtEq,
            "||" => SqlToken::StringConcat,
            "(" => SqlToken::LParen,
            "," => SqlToken::Comma,
            "." => SqlToken::Period,
            "+" => SqlToken::Plus,
            "-" => SqlToken::Minus,
            "*" => SqlToken::Mul,
            "/" => SqlToken::Div,
            "%" => SqlToken::Mod,
            "<" => SqlToken::Lt,
            "=" => SqlToken::Eq,
            ">" => SqlToken::Gt,
            "{" => SqlToken::LBrace,
            "}" => SqlToken::RBrace,
            // Statements are split at semicolons.
            _ => SqlToken::SemiColon,
        };
        if symbol == "{" || (symbol == "}" && self.problems.is_empty()) {
            self.report(
                Diagnostic::error(format!("unexpected \"{symbol}\""))
                    .at(token.span)
                    .label("only {d '…'}, {t '…'} and {ts '…'} are written in braces"),
            );
        }
        self.push(sql, token);
    }

    /// What may follow a parenthesis in this dialect and would be read as an alias. `difference` has the places of the
    /// parenthesis and of the minus in the output, if there is one.
    fn after_group(&mut self, difference: Option<(usize, usize)>) {
        let Some(next) = self.peek(0) else { return };
        let Some(word) = next.word().filter(|word| UNITS.contains(word)) else { return };
        match difference {
            Some((start, minus)) => self.difference(start, minus, next),
            None => self.report(
                Diagnostic::error(format!("unexpected \"{word}\""))
                    .at(next.span)
                    .label("an interval qualifier stands behind a difference, as in (a - b) SECOND")
                    .hint(format!("To name a column {word}, write AS \"{word}\".")),
            ),
        }
    }

    /// `(a - b) DAY TO SECOND` is `ts_minus(a, b, 'DAY TO SECOND')`; precisions say nothing that the value does not.
    fn difference(&mut self, start: usize, minus: usize, token: &'a Token) {
        let mut units = Vec::new();
        // In FLOOR(… TO unit) the last TO is FLOOR's.
        let to_of_floor = match self.levels.last() {
            Some(Level { opening: Opening::Round(Some(_)), .. }) => self.to_of_floor(),
            _ => None,
        };
        while let Some(unit) = self.peek(0).and_then(Token::word).filter(|word| UNITS.contains(word)) {
            units.push(unit);
            self.at += 1;
            if self.peek_is_symbol(0, "(") {
                self.skip_group();
            }
            if units.len() == 2 || to_of_floor == Some(self.at) || !self.peek_is_word(0, "TO") {
                break;
            }
            self.at += 1;
        }
        self.out[minus].token = SqlToken::Comma;
        self.out.pop();
        self.push_all([SqlToken::Comma, SqlToken::SingleQuotedString(units.join(" TO ")), SqlToken::RParen], token);
        let span = self.out[start].span;
        self.out.insert(start, TokenWithSpan { token: plain(DIFFERENCE), span });
    }

    /// A character literal; sqlparser would take one behind an operand for its alias.
    pub(super) fn text(&mut self, value: &str, token: &Token) {
        let misplaced = self.previous().is_some_and(|previous| match &previous.kind {
            TokenKind::Word(word) => word == "AS" || !(keywords::is_reserved(word) || KEPT.contains(&word.as_str())),
            TokenKind::Quoted(_) | TokenKind::Number(_) | TokenKind::Hex(_) => true,
            TokenKind::Symbol(symbol) => *symbol == ")" || *symbol == ".",
            _ => false,
        });
        if misplaced {
            self.report(
                Diagnostic::error(format!("unexpected {}", quote(self.text, token)))
                    .at(token.span)
                    .label("a character literal cannot stand here")
                    .hint("Names are in double quotes, character literals in single quotes."),
            );
        }
        self.push(SqlToken::SingleQuotedString(value.to_owned()), token);
    }

    pub(super) fn number(&mut self, number: &str, token: &Token) {
        let is_minus = self.previous().is_some_and(|previous| previous.is_symbol("-"));
        let before = self.at.checked_sub(3).and_then(|before| self.tokens.get(before));
        if let Err(problem) = check_number(number, is_minus && !before.is_some_and(Token::ends_operand)) {
            self.report(problem.at(token.span));
        }
        if number.contains(['e', 'E']) {
            self.push_all(cast(SqlToken::SingleQuotedString(number.to_owned()), "DOUBLE"), token);
            return;
        }
        // Not every reader of numbers takes `.5` and `5.`.
        let number = if number.starts_with('.') { format!("0{number}") } else { number.to_owned() };
        let number = if number.ends_with('.') { format!("{number}0") } else { number };
        self.push(SqlToken::Number(number, false), token);
    }
}

/// The function that `(a - b) qualifier` calls.
pub(super) const DIFFERENCE: &str = "TS_MINUS";

/// Words that the dialect does not reserve and that mean something to sqlparser all the same.
pub(super) const KEPT: &[&str] =
    &["ASC", "DESC", "FIRST", "FOLLOWING", "LAST", "NEXT", "NULLS", "OFFSET", "PLACING", "PRECEDING", "SETS", "UNBOUNDED"];

/// An identifier that was not quoted; no keyword, whatever it is elsewhere.
pub(super) fn plain(word: &str) -> SqlToken {
    SqlToken::Word(Word { value: word.to_owned(), quote_style: None, keyword: Keyword::NoKeyword })
}

pub(super) fn quoted(name: &str) -> SqlToken {
    SqlToken::Word(Word { value: name.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword })
}

pub(super) fn keyword(word: &str) -> SqlToken {
    // sqlparser reads these by rules of their own; here they are functions like any other.
    if matches!(word, "CONVERT" | "FLOOR" | "CEIL" | "CEILING") { plain(word) } else { SqlToken::make_word(word, None) }
}

/// `CAST(operand AS data_type)`.
pub(super) fn cast(operand: SqlToken, data_type: &str) -> [SqlToken; 6] {
    [keyword("CAST"), SqlToken::LParen, operand, keyword("AS"), keyword(data_type), SqlToken::RParen]
}
