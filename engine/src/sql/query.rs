//! Queries: tokens to a tree that DataFusion's planner understands.
//!
//! sqlparser parses, and only tokens reach it: what this dialect adds is rewritten in them first, so every place survives
//! and no other dialect's reading can slip in (stock parsers take `SELECT STREAM a` for a column STREAM named A).
//! Words that the dialect does not reserve arrive as plain identifiers, whatever they mean elsewhere.
//!
//! | Written | In the tree |
//! | --- | --- |
//! | `SELECT STREAM` | `SELECT`; [`Query::stream`] |
//! | unquoted names | upper case; names of functions lower case |
//! | `STEP(x BY y)` | `step(x, y)` |
//! | `FLOOR(x TO unit)`, `CEIL`, `CEILING` | `floor_to(x, 'UNIT')`, `ceil_to(x, 'UNIT')` |
//! | `INTERVAL '1:30' MINUTE TO SECOND` | `INTERVAL '90000 milliseconds'`; years and months: `INTERVAL '15 months'` |
//! | `TIMESTAMP '…'`, `DATE '…'`, `TIME '…'` | `CAST('…' AS TIMESTAMP)` and so on |
//! | `CAST(x AS type)` | the type's canonical name: `VARCHAR(65535)`, `DECIMAL(18, 0)`, `DOUBLE` |
//! | `UNKNOWN` | `CAST(NULL AS BOOLEAN)` |
//! | `1e3` | `CAST('1e3' AS DOUBLE)`: an approximate number even where `1.5` is a DECIMAL |
//! | `CURRENT_ROW_TIMESTAMP` | `current_row_timestamp()` |
//! | `error_stream` in FROM, any case | `error_stream` |
//!
//! What the dialect has and the engine has not is refused by name here, before anything could misread it.
//!
//! Errors: everything wrong or refused in the tokens, or else the first place that sqlparser cannot read.
//! See:    kda-sql-reference.md §2.5–2.8.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, GroupByExpr, LimitClause, ObjectName, ObjectNamePart, Select, SetExpr, Spanned, TableFactor, VisitMut, VisitorMut,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token as SqlToken, TokenWithSpan, Word};

use super::cursor::{Cursor, behind, quote};
use super::ddl::ERROR_STREAM;
use super::dialect::{KdaDialect, is_frame_word};
use super::item_text::item_texts;
use super::keywords::{self, UNITS};
use super::literal::{canonical_type, check_datetime, interval, sql_type, unknown_unit};
use super::statement::Query;
use super::token::{Token, TokenKind};
use crate::diagnostic::{Diagnostic, Position, Span};

/// Parentheses and CASEs inside each other.
const DEPTH_MAX: usize = 50;
/// How often sqlparser may call itself; one parenthesis costs up to three calls.
const RECURSION_MAX: usize = 200;
/// Queries that are nested deeper than this are parsed on a large stack.
const INLINE_DEPTH_MAX: usize = 6;
/// Height of an expression's tree: `a + b + c` has two operators above `a`. Dropping a tree needs stack in proportion.
const HEIGHT_MAX: usize = 500;

/// What a stream query can do, for hints.
const AVAILABLE: &str =
    "Streams can be filtered, projected, merged with UNION ALL and aggregated with GROUP BY STEP(…) or FLOOR(…).";

/// Parses a query. `stream`: it runs continuously even if STREAM is not written.
pub(crate) fn parse(tokens: &[Token], stream: bool, text: &str) -> Result<Query, Vec<Diagnostic>> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err(vec![Diagnostic::error("a query is missing")]);
    };
    let stream = stream || tokens.windows(2).any(|pair| pair[0].is_word("SELECT") && pair[1].is_word("STREAM"));
    let mut rewriter =
        Rewriter { tokens, text, stream, at: 0, out: Vec::new(), problems: Vec::new(), levels: vec![Level::root()], depth: 0 };
    rewriter.run();
    let Rewriter { out, mut problems, depth, .. } = rewriter;
    if !problems.is_empty() {
        return Err(problems);
    }
    let parsed = if depth <= INLINE_DEPTH_MAX {
        parse_tokens(out, tokens, text)
    } else {
        super::on_large_stack(|| parse_tokens(out, tokens, text))
            .unwrap_or_else(|| Err(Box::new(Diagnostic::error("the query is nested too deeply to parse it").at(first.span))))
    };
    let mut ast = parsed.map_err(|problem| vec![*problem])?;
    let span = first.span.union(last.span);
    let mut finish = Finish { stream, span, problems: &mut problems };
    // The visitor never breaks off.
    let _ = ast.visit(&mut finish);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Query { ast, stream, span, item_texts: item_texts(tokens, text) })
}

/// Rewrites the tokens of one query, in one pass.
struct Rewriter<'a> {
    tokens: &'a [Token],
    text: &'a str,
    stream: bool,
    /// Index of the token to read next.
    at: usize,
    out: Vec<TokenWithSpan>,
    problems: Vec<Diagnostic>,
    /// The parentheses and CASEs around the current token.
    levels: Vec<Level>,
    /// The most that there were.
    depth: usize,
}

/// One open parenthesis or CASE.
#[derive(Debug)]
struct Level {
    opening: Opening,
    /// Operators of the current expression.
    operators: usize,
    /// Height of the highest operand of the current expression.
    operand: usize,
    /// Height of the highest finished expression.
    height: usize,
    /// UNION, EXCEPT and INTERSECT.
    set_operators: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Query,
    Group,
    Case,
    Cast,
    /// `STEP(`; true once BY was read.
    Step(bool),
    /// `FLOOR(` or `CEIL(`: index in the output, and what the function is named with TO; None once TO was read.
    Round(Option<(usize, &'static str)>),
}

impl Level {
    fn new(opening: Opening) -> Self {
        Self { opening, operators: 0, operand: 0, height: 0, set_operators: 0 }
    }

    fn root() -> Self {
        Self::new(Opening::Query)
    }

    fn end_expression(&mut self) {
        self.height = self.height.max(self.operators + self.operand);
        self.operators = 0;
        self.operand = 0;
    }

    fn total(&mut self) -> usize {
        self.end_expression();
        self.height + self.set_operators
    }
}

impl<'a> Rewriter<'a> {
    fn run(&mut self) {
        while let Some(token) = self.tokens.get(self.at) {
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

    fn peek(&self, ahead: usize) -> Option<&'a Token> {
        self.tokens.get(self.at + ahead)
    }

    fn peek_is_word(&self, ahead: usize, word: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is_word(word))
    }

    fn peek_is_symbol(&self, ahead: usize, symbol: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is_symbol(symbol))
    }

    /// The token before the one being read.
    fn previous(&self) -> Option<&'a Token> {
        self.tokens.get(self.at.checked_sub(2)?)
    }

    fn push(&mut self, sql: SqlToken, at: &Token) {
        let location = |position: Position| Location { line: position.line, column: position.column };
        let span = sqlparser::tokenizer::Span { start: location(at.span.start), end: location(at.span.end) };
        self.out.push(TokenWithSpan { token: sql, span });
    }

    /// Adds synthetic tokens that stand where `at` stands.
    fn push_all(&mut self, sql: impl IntoIterator<Item = SqlToken>, at: &Token) {
        for sql in sql {
            self.push(sql, at);
        }
    }

    fn level(&mut self) -> Option<&mut Level> {
        self.levels.last_mut()
    }

    fn open(&mut self, opening: Opening) {
        self.levels.push(Level::new(opening));
    }

    fn close(&mut self) {
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

    fn operator(&mut self) {
        if let Some(level) = self.level() {
            level.operators += 1;
        }
    }

    fn end_expression(&mut self) {
        if let Some(level) = self.level() {
            level.end_expression();
        }
    }

    /// Each problem once: a second JOIN needs no second message.
    fn report(&mut self, problem: Diagnostic) {
        if !self.problems.iter().any(|known| known.message == problem.message) {
            self.problems.push(problem);
        }
    }

    /// `what` belongs to the dialect and is not built.
    fn not_yet(&mut self, what: &str, span: Span, hint: &str) {
        self.report(Diagnostic::error(format!("{what} is not supported yet")).at(span).hint(hint));
    }

    /// `what` has no meaning on a stream.
    fn not_on_streams(&mut self, what: &str, span: Span, hint: &str) {
        if self.stream {
            self.report(Diagnostic::error(format!("{what} is not allowed in a stream query")).at(span).hint(hint));
        }
    }

    /// Steps over a group in parentheses that comes next.
    fn skip_group(&mut self) {
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

    fn symbol(&mut self, symbol: &'static str, token: &'a Token) {
        match symbol {
            "(" => self.open(Opening::Group),
            ")" => {
                if let Some(Level { opening: Opening::Step(false), .. }) = self.levels.last() {
                    self.report(
                        Diagnostic::error("STEP without BY")
                            .at(token.span)
                            .label("expected BY and the width of a step")
                            .hint("Write STEP(s.ROWTIME BY INTERVAL '1' MINUTE)."),
                    );
                }
                self.close();
                self.push(SqlToken::RParen, token);
                self.after_group();
                return;
            }
            "," => self.end_expression(),
            "." => {}
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

    /// What may follow a parenthesis in this dialect and would be read as an alias.
    fn after_group(&mut self) {
        let Some(next) = self.peek(0) else { return };
        let Some(word) = next.word() else { return };
        if UNITS.contains(&word) {
            let mut span = next.span;
            if let (true, Some(last)) = (self.peek_is_word(1, "TO"), self.peek(2)) {
                span = span.union(last.span);
            }
            self.not_yet(
                &format!("the interval qualifier {word} after a parenthesis"),
                span,
                &format!("TSDIFF(a, b) is a difference in milliseconds. To name a column {word}, write AS \"{word}\"."),
            );
            return;
        }
        const PREDICATES: &[&str] = &["CONTAINS", "OVERLAPS", "EQUALS", "PRECEDES", "SUCCEEDS", "LEADS", "LAGS"];
        let strict = matches!(word, "STRICTLY" | "IMMEDIATELY");
        let predicate = self.peek(usize::from(strict)).and_then(Token::word).unwrap_or_default();
        let operand = self.peek(usize::from(strict) + 1);
        let has_operand = operand.is_some_and(|operand| {
            operand.is_symbol("(")
                || operand.is_word("PERIOD")
                || (predicate == "CONTAINS"
                    && match &operand.kind {
                        TokenKind::Quoted(_) => true,
                        TokenKind::Word(word) => matches!(word.as_str(), "TIMESTAMP" | "ROWTIME") || !keywords::is_reserved(word),
                        _ => false,
                    })
        });
        if PREDICATES.contains(&predicate) && (strict || has_operand) {
            let last = self.peek(usize::from(strict)).unwrap_or(next);
            self.temporal_predicate(predicate, next.span.union(last.span));
        }
    }

    fn temporal_predicate(&mut self, predicate: &str, span: Span) {
        self.not_yet(
            &format!("the temporal predicate {predicate}"),
            span,
            "Compare the ends of the periods: (s1, e1) overlaps (s2, e2) where s1 < e2 AND s2 < e1.",
        );
    }

    /// A character literal; sqlparser would take one behind an operand for its alias.
    fn text(&mut self, value: &str, token: &Token) {
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

    fn number(&mut self, number: &str, token: &Token) {
        if number.contains(['e', 'E']) {
            self.push_all(cast(SqlToken::SingleQuotedString(number.to_owned()), "DOUBLE"), token);
            return;
        }
        // Not every reader of numbers takes `.5` and `5.`.
        let number = if number.starts_with('.') { format!("0{number}") } else { number.to_owned() };
        let number = if number.ends_with('.') { format!("{number}0") } else { number };
        self.push(SqlToken::Number(number, false), token);
    }

    fn word(&mut self, word: &str, token: &'a Token) {
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
                if let (true, Some(distinct)) = (self.stream && self.peek_is_word(0, "DISTINCT"), self.peek(0)) {
                    self.not_yet("SELECT STREAM DISTINCT", distinct.span, AVAILABLE);
                }
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
            "CURRENT_ROW_TIMESTAMP" if !called => {
                self.push_all([plain(word), SqlToken::LParen, SqlToken::RParen], token);
                return;
            }
            "STEP" if called => return self.call(plain(word), token, Opening::Step(false)),
            "FLOOR" if called => return self.call(plain(word), token, Opening::Round(Some((self.out.len(), "FLOOR_TO")))),
            "CEIL" | "CEILING" if called => {
                return self.call(plain("CEIL"), token, Opening::Round(Some((self.out.len(), "CEIL_TO"))));
            }
            "CAST" if called => return self.call(keyword(word), token, Opening::Cast),
            "EXTRACT" if called => self.check_extract(),
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
            "COUNT" if called && self.peek_is_word(1, "DISTINCT") => {
                let span = self.peek(1).map_or(token.span, |distinct| token.span.union(distinct.span));
                self.not_on_streams(
                    "COUNT(DISTINCT …)",
                    span,
                    "Count in two steps: group by the column first, then count the groups.",
                );
            }
            _ => {
                if self.refuse(word, token) {
                    return;
                }
            }
        }
        self.push(if KEPT.contains(&word) || keywords::is_reserved(word) { keyword(word) } else { plain(word) }, token);
    }

    /// A function's name and its parenthesis.
    fn call(&mut self, name: SqlToken, token: &Token, opening: Opening) {
        self.push(name, token);
        if let Some(parenthesis) = self.peek(0) {
            self.at += 1;
            self.push(SqlToken::LParen, parenthesis);
            self.open(opening);
        }
    }

    /// Names what is not built, or not meant for streams; true if nothing is left to do with the word.
    fn refuse(&mut self, word: &str, token: &'a Token) -> bool {
        let called = self.peek_is_symbol(0, "(");
        match word {
            "OVER" => {
                let windowed_item = match self.previous().map(|previous| &previous.kind) {
                    // `f(x) IGNORE NULLS OVER …` is a function.
                    Some(TokenKind::Word(word)) => word != "NULLS",
                    Some(TokenKind::Quoted(_)) => true,
                    Some(TokenKind::Symbol(")")) => self.group_is_query(self.at - 2),
                    _ => false,
                };
                if windowed_item {
                    self.not_yet("a window on a stream in FROM (OVER)", token.span, AVAILABLE);
                } else if self.stream {
                    self.not_yet("a sliding window (OVER)", token.span, AVAILABLE);
                } else {
                    return false;
                }
                self.skip_group();
                true
            }
            "WINDOW" if self.stream && self.peek_is_word(1, "AS") && self.peek_is_symbol(2, "(") => {
                self.not_yet("the WINDOW clause", token.span, AVAILABLE);
                self.at += 2;
                self.skip_group();
                true
            }
            "WINDOWED" if self.peek_is_word(0, "BY") => {
                self.at += 1;
                let stagger = self.peek(0).filter(|next| next.is_word("STAGGER"));
                self.at += usize::from(stagger.is_some());
                let span = stagger.map_or(token.span, |stagger| token.span.union(stagger.span));
                self.not_yet(
                    "WINDOWED BY STAGGER",
                    span,
                    "Tumbling windows are written GROUP BY …, STEP(s.ROWTIME BY INTERVAL '1' MINUTE).",
                );
                self.skip_group();
                true
            }
            "ORDER" if self.stream && self.peek_is_word(0, "BY") => {
                let span = self.peek(0).map_or(token.span, |by| token.span.union(by.span));
                self.not_yet("ORDER BY in a stream query", span, "Rows are in the order of their ROWTIME already.");
                false
            }
            "JOIN" if self.stream => {
                const KINDS: &[&str] = &["NATURAL", "INNER", "LEFT", "RIGHT", "FULL", "OUTER", "CROSS"];
                let before = self.tokens[..self.at - 1].iter().rev();
                let start = before.take_while(|token| token.word().is_some_and(|word| KINDS.contains(&word))).last();
                let span = start.map_or(token.span, |start| start.span.union(token.span));
                self.not_yet("JOIN in a stream query", span, AVAILABLE);
                false
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
                let name = self.peek(1).map_or_else(String::new, |name| quote(self.text, name));
                let span = self.peek(1).map_or(token.span, |name| token.span.union(name.span));
                self.not_yet(&format!("table function {name}"), span, AVAILABLE);
                self.skip_group();
                true
            }
            "CURSOR" if called => {
                self.not_yet("CURSOR(…)", token.span, AVAILABLE);
                self.skip_group();
                true
            }
            "OVERLAPS" => {
                self.temporal_predicate(word, token.span);
                true
            }
            "SIMILAR" if self.peek_is_word(0, "TO") => {
                let span = self.peek(0).map_or(token.span, |to| token.span.union(to.span));
                self.at += 1;
                self.not_yet("SIMILAR TO", span, "LIKE compares with % and _.");
                true
            }
            "SIMILAR" => {
                self.not_yet("SUBSTRING(… SIMILAR …)", token.span, "SUBSTRING(text FROM 'pattern') finds a regular expression.");
                true
            }
            "TABLESAMPLE" => {
                self.report(Diagnostic::error("TABLESAMPLE is not supported").at(token.span));
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

    /// True if the group that the `)` at this index closes begins like a query.
    fn group_is_query(&self, close: usize) -> bool {
        let mut depth = 0;
        for index in (0..=close).rev() {
            if self.tokens[index].is_symbol(")") {
                depth += 1;
            } else if self.tokens[index].is_symbol("(") {
                depth -= 1;
            }
            if depth == 0 {
                let first = self.tokens.get(index + 1).and_then(Token::word);
                return matches!(first, Some("SELECT" | "VALUES" | "WITH"));
            }
        }
        false
    }

    fn interval(&mut self, token: &Token) {
        let mut cursor = Cursor::new(self.tokens, self.text);
        cursor.next = self.at - 1;
        match interval(&mut cursor) {
            Ok((value, span)) => {
                let at = Token { span, ..token.clone() };
                self.push_all([keyword("INTERVAL"), SqlToken::SingleQuotedString(value.to_planner_text())], &at);
                // sqlparser would read a unit behind the rewritten value as part of it.
                if cursor.peek_word().is_some_and(|word| UNITS.contains(&word)) {
                    self.report(*cursor.unexpected("the end of the interval"));
                }
            }
            Err(problem) => self.report(*problem),
        }
        self.at = cursor.next.max(self.at);
    }

    /// The unit of `FLOOR(x TO unit)`.
    fn unit(&mut self) {
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
    fn cast_type(&mut self) {
        let mut cursor = Cursor::new(self.tokens, self.text);
        cursor.next = self.at;
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

    fn check_extract(&mut self) {
        let mut cursor = Cursor::new(self.tokens, self.text);
        cursor.next = self.at + 1;
        if !cursor.peek_word().is_some_and(|word| UNITS.contains(&word)) {
            self.report(*unknown_unit(&cursor));
        }
    }
}

/// Words that the dialect does not reserve and that mean something to sqlparser all the same.
const KEPT: &[&str] =
    &["ASC", "DESC", "FIRST", "FOLLOWING", "LAST", "NEXT", "NULLS", "OFFSET", "PLACING", "PRECEDING", "SETS", "UNBOUNDED"];

/// An identifier that was not quoted; no keyword, whatever it is elsewhere.
fn plain(word: &str) -> SqlToken {
    SqlToken::Word(Word { value: word.to_owned(), quote_style: None, keyword: Keyword::NoKeyword })
}

fn quoted(name: &str) -> SqlToken {
    SqlToken::Word(Word { value: name.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword })
}

fn keyword(word: &str) -> SqlToken {
    // sqlparser reads these by rules of their own; here they are functions like any other.
    if matches!(word, "CONVERT" | "FLOOR" | "CEIL" | "CEILING") { plain(word) } else { SqlToken::make_word(word, None) }
}

/// `CAST(operand AS data_type)`.
fn cast(operand: SqlToken, data_type: &str) -> [SqlToken; 6] {
    [keyword("CAST"), SqlToken::LParen, operand, keyword("AS"), keyword(data_type), SqlToken::RParen]
}

/// Runs sqlparser; `tokens` and `text` are what the user wrote.
fn parse_tokens(out: Vec<TokenWithSpan>, tokens: &[Token], text: &str) -> Result<Box<ast::Query>, Box<Diagnostic>> {
    let attempt = |out: Vec<TokenWithSpan>| {
        let mut parser = Parser::new(&KdaDialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(out);
        let query = parser.parse_query()?;
        let next = parser.peek_token();
        if next.token == SqlToken::EOF { Ok(query) } else { parser.expected("the end of the query", next) }
    };
    let error = match attempt(out.clone()) {
        Ok(query) => return Ok(query),
        Err(error) => error,
    };
    // sqlparser tries a parenthesis after FROM as a query and, if that fails, as a join: its error is then about the
    // join, at the parenthesis. The innermost query that fails alone has the true one.
    let mut opened = Vec::new();
    for (index, token) in out.iter().enumerate() {
        if token.token == SqlToken::LParen {
            opened.push(index);
        } else if token.token == SqlToken::RParen
            && let Some(open) = opened.pop()
            && matches!(&out[open + 1].token, SqlToken::Word(word) if matches!(word.keyword, Keyword::SELECT | Keyword::WITH))
            && let Err(inner) = attempt(out[open + 1..index].to_vec())
        {
            let close = Span::from(token.span);
            return Err(Box::new(describe(inner, tokens, text, close)));
        }
    }
    let end = tokens.last().map_or_else(Span::default, |last| behind(last.span));
    Err(Box::new(describe(error, tokens, text, end)))
}

/// Words sqlparser's error; `end` is where it is when the tokens ended too early.
fn describe(error: ParserError, tokens: &[Token], text: &str, end: Span) -> Diagnostic {
    let message = match error {
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        ParserError::RecursionLimitExceeded => {
            let span = tokens.first().map_or(end, |first| first.span);
            return Diagnostic::error("the query is nested too deeply")
                .at(span)
                .hint("Divide it with a stream and a pump in between.");
        }
    };
    let (message, position) = split_location(&message);
    let token = position.and_then(|position| tokens.iter().find(|token| token.span.start == position));
    let expected = message.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")).map(|(expected, _)| expected);
    // Without a position it is at the end: of the text, or at the parenthesis that closes a query inside.
    let Some(token) = token.or_else(|| tokens.iter().find(|token| token.span.start == end.start)) else {
        let problem = Diagnostic::error("the query ends too early").at(end);
        return match expected {
            Some(expected) => problem.label(format!("expected {}", plain_expectation(expected))),
            None => problem,
        };
    };
    let problem = Diagnostic::error(format!("unexpected {}", quote(text, token))).at(token.span);
    match expected {
        // sqlparser says "end of …" where an operator would do as well.
        Some("the end of the query") => problem.label("expected an operator, the next clause or the end of the query"),
        Some(expected) => problem.label(format!("expected {}", plain_expectation(expected))),
        None => problem.label("the query cannot go on like this"),
    }
}

/// Cuts ` at Line: 1, Column: 2` off.
fn split_location(message: &str) -> (&str, Option<Position>) {
    let parts = message.rsplit_once(" at Line: ").and_then(|(message, location)| {
        let (line, column) = location.split_once(", Column: ")?;
        Some((message, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
    });
    parts.map_or((message, None), |(message, position)| (message, Some(position)))
}

/// sqlparser's name of what it expected, without its inner vocabulary.
fn plain_expectation(expected: &str) -> &str {
    match expected {
        "an expression" | "an expression:" => "an expression",
        "identifier" => "a name",
        "SELECT, VALUES, or a subquery in the query body" => "SELECT",
        "joined table" => "JOIN",
        "date/time field" => "a unit of time",
        "end of statement" => "the end of the query",
        other => other,
    }
}

/// The one pass over the tree.
struct Finish<'a> {
    stream: bool,
    /// Place of problems that have none of their own.
    span: Span,
    problems: &'a mut Vec<Diagnostic>,
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
            if let [_, second, ..] = select.from.as_slice() {
                let span = self.span_of(&second.relation);
                self.report("a comma in FROM, which joins, is not supported yet in a stream query", span, AVAILABLE);
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

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
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
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// DataFusion's functions have lower-case names and are looked up as written.
fn lower_function_name(name: &mut ObjectName) {
    if let Some(ObjectNamePart::Identifier(name)) = name.0.last_mut()
        && name.quote_style.is_none()
    {
        name.value = name.value.to_lowercase();
    }
}
