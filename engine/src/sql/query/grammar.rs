//! sqlparser, with its errors in the user's words and at the user's places.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token as SqlToken, TokenWithSpan};

use crate::diagnostic::{Diagnostic, Position, Span, closest};
use crate::sql::cursor::{behind, quote};
use crate::sql::dialect::KdaDialect;
use crate::sql::keywords::is_reserved;
use crate::sql::token::Token;

/// How often sqlparser may call itself; one parenthesis costs up to three calls.
const RECURSION_MAX: usize = 200;

/// Runs sqlparser; `tokens` and `text` are what the user wrote.
pub(super) fn parse_tokens(out: Vec<TokenWithSpan>, tokens: &[Token], text: &str) -> Result<Box<ast::Query>, Box<Diagnostic>> {
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

/// Fails unless `out` is one expression; `tokens` are those that it was made of, and the one that ends it.
pub(super) fn check_expression(out: Vec<TokenWithSpan>, tokens: &[Token], text: &str) -> Result<(), Box<Diagnostic>> {
    let mut parser = Parser::new(&KdaDialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(out);
    let end = tokens.last().map_or_else(Span::default, |last| last.span);
    parser.parse_expr().map_err(|error| Box::new(describe(error, tokens, text, end)))?;
    let next = parser.peek_token();
    if next.token == SqlToken::EOF {
        return Ok(());
    }
    let span = Span::from(next.span);
    let found = tokens.iter().find(|token| token.span.start == span.start);
    let found = found.map_or_else(|| format!("\"{}\"", next.token), |token| quote(text, token));
    Err(Box::new(Diagnostic::error(format!("unexpected {found}")).at(span).label("expected an operator, a comma or )")))
}

/// Words sqlparser's error; `end` is where it is when the tokens ended too early.
pub(super) fn describe(error: ParserError, tokens: &[Token], text: &str, end: Span) -> Diagnostic {
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
        let problem = match expected {
            Some(expected) => problem.label(format!("expected {}", plain_expectation(expected))),
            None => problem,
        };
        return match unclosed(tokens) {
            Some(open) => problem.hint(not_closed(open)),
            None => problem,
        };
    };
    let place = tokens.iter().position(|other| other.span == token.span).unwrap_or_default();
    if lacks_by(tokens, place) {
        let next = tokens.get(place + 1);
        let found = next.map_or_else(|| behind(token.span), |next| next.span);
        let problem = match next {
            Some(next) => Diagnostic::error(format!("unexpected {}", quote(text, next))),
            None => Diagnostic::error("the query ends too early"),
        };
        return problem.at(found).label(format!("expected BY behind {}", quote(text, token).trim_matches('"')));
    }
    let problem = Diagnostic::error(format!("unexpected {}", quote(text, token))).at(token.span);
    let problem = match expected {
        // sqlparser says "end of …" where an operator would do as well.
        Some("the end of the query") => problem.label("expected an operator, the next clause or the end of the query"),
        Some(expected) => problem.label(format!("expected {}", plain_expectation(expected))),
        None => problem.label("the query cannot go on like this"),
    };
    match (meant(&tokens[..=place]), unclosed(tokens)) {
        (Some(keyword), _) => problem.hint(format!("Did you mean {keyword}?")),
        (None, Some(open)) => problem.hint(not_closed(open)),
        (None, None) => problem,
    }
}

/// The last parenthesis that is not closed.
fn unclosed(tokens: &[Token]) -> Option<&Token> {
    let mut open: Vec<&Token> = Vec::new();
    for token in tokens {
        if token.is_symbol("(") {
            open.push(token);
        } else if token.is_symbol(")") {
            open.pop();
        }
    }
    open.pop()
}

fn not_closed(open: &Token) -> String {
    format!("The ( in line {}, column {} is not closed.", open.span.start.line, open.span.start.column)
}

/// True for GROUP, ORDER and PARTITION without BY.
fn lacks_by(tokens: &[Token], place: usize) -> bool {
    let starts_clause = ["GROUP", "ORDER", "PARTITION"].iter().any(|word| tokens[place].is_word(word));
    starts_clause && !tokens.get(place + 1).is_some_and(|next| next.is_word("BY"))
}

/// The keyword that the last of `tokens` may be a slip of, or the one before, which was then read as a name.
fn meant(tokens: &[Token]) -> Option<&'static str> {
    const KEYWORDS: [&str; 19] = [
        "BETWEEN",
        "DISTINCT",
        "ESCAPE",
        "FROM",
        "GROUP",
        "HAVING",
        "INTERSECT",
        "INTERVAL",
        "JOIN",
        "LIKE",
        "ORDER",
        "OVER",
        "PARTITION",
        "PRECEDING",
        "SELECT",
        "UNION",
        "WHERE",
        "WINDOW",
        "WINDOWED",
    ];
    tokens.iter().rev().take(2).filter_map(Token::word).filter(|word| word.len() > 2 && !is_reserved(word)).find_map(|word| {
        let known = word == "GROUPS" || KEYWORDS.contains(&word);
        closest(word, KEYWORDS).filter(|_| !known)
    })
}

/// Cuts ` at Line: 1, Column: 2` off.
pub(super) fn split_location(message: &str) -> (&str, Option<Position>) {
    let parts = message.rsplit_once(" at Line: ").and_then(|(message, location)| {
        let (line, column) = location.split_once(", Column: ")?;
        Some((message, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
    });
    parts.map_or((message, None), |(message, position)| (message, Some(position)))
}

/// sqlparser's name of what it expected, without its inner vocabulary.
pub(super) fn plain_expectation(expected: &str) -> &str {
    match expected {
        "an expression" | "an expression:" => "an expression",
        "identifier" => "a name",
        "SELECT, VALUES, or a subquery in the query body" => "SELECT",
        "joined table" | "JOIN or APPLY after CROSS" => "JOIN",
        "ROWS, RANGE, GROUPS" => "PARTITION BY, ROWS, RANGE or )",
        "date/time field" => "a unit of time",
        "end of statement" => "the end of the query",
        other => other,
    }
}
