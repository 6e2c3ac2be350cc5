//! Reads tokens one by one for the grammars of this module, and words their errors.

use super::statement::Name;
use super::token::{Token, TokenKind};
use crate::diagnostic::{Diagnostic, Span};

/// Catalog and schema.
const QUALIFIERS_MAX: usize = 2;

/// What a grammar rule returns: its error is reported and the rest of the statement is skipped.
pub(crate) type Parsed<T> = Result<T, Box<Diagnostic>>;

/// A position in the tokens of one statement.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    tokens: &'a [Token],
    text: &'a str,
    /// Index of the token to read next.
    pub next: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first of `tokens`, which must not be empty; `text` is the whole script.
    pub fn new(tokens: &'a [Token], text: &'a str) -> Self {
        Self { tokens, text, next: 0 }
    }

    /// The tokens from here on.
    pub fn rest(&self) -> &'a [Token] {
        self.tokens.get(self.next..).unwrap_or_default()
    }

    pub fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    pub fn peek_word(&self) -> Option<&'a str> {
        self.peek().and_then(Token::word)
    }

    pub fn at_symbol(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|token| token.is_symbol(symbol))
    }

    /// True if these words come next.
    pub fn at_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, word)| self.rest().get(i).is_some_and(|token| token.is_word(word)))
    }

    /// The last token that was read, or the first one of the statement.
    pub fn last_span(&self) -> Span {
        self.tokens.get(self.next.saturating_sub(1)).or(self.tokens.last()).map_or_else(Span::default, |token| token.span)
    }

    /// Where the next token stands; at the end of the statement, the place behind its last one.
    pub fn span(&self) -> Span {
        match (self.peek(), self.tokens.last()) {
            (Some(token), _) => token.span,
            (None, Some(last)) => behind(last.span),
            (None, None) => Span::default(),
        }
    }

    /// The tokens from index `start` to the last one that was read.
    pub fn tokens_since(&self, start: usize) -> &'a [Token] {
        self.tokens.get(start..self.next).unwrap_or_default()
    }

    /// From the token at index `start` to the last one that was read.
    pub fn span_from(&self, start: usize) -> Span {
        self.tokens.get(start).map_or_else(|| self.span(), |token| token.span.union(self.last_span()))
    }

    /// Steps over this word if it comes next.
    pub fn accept_word(&mut self, word: &str) -> bool {
        self.accept_words(&[word])
    }

    /// Steps over these words if they come next.
    pub fn accept_words(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            self.next += words.len();
        }
        found
    }

    /// Steps over this symbol if it comes next.
    pub fn accept_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        self.next += usize::from(found);
        found
    }

    /// Steps over a character literal if one comes next.
    pub fn accept_text(&mut self) -> Option<(&'a str, Span)> {
        let Some(Token { kind: TokenKind::Text(value), span, .. }) = self.peek() else { return None };
        self.next += 1;
        Some((value, *span))
    }

    /// Steps over a whole number if one comes next; None also if it is too large for any use.
    pub fn accept_integer(&mut self) -> Option<u32> {
        let Some(Token { kind: TokenKind::Number(digits), .. }) = self.peek() else { return None };
        let value = digits.parse().ok()?;
        self.next += 1;
        Some(value)
    }

    pub fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.accept_word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    pub fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(self.unexpected(symbol)) }
    }

    pub fn expect_text(&mut self, what: &str) -> Parsed<(&'a str, Span)> {
        self.accept_text().ok_or_else(|| self.unexpected(what))
    }

    /// An identifier that names `what`. Any word will do where only a name can stand.
    pub fn name(&mut self, what: &str) -> Parsed<Name> {
        let name = match self.peek() {
            Some(Token { kind: TokenKind::Word(value), span, .. }) => Name { value: value.clone(), span: *span, quoted: false },
            Some(Token { kind: TokenKind::Quoted(value), span, .. }) => Name { value: value.clone(), span: *span, quoted: true },
            _ => return Err(self.unexpected(what)),
        };
        self.next += 1;
        Ok(name)
    }

    /// The name of an object: as [`Cursor::name`], or behind those of a catalog and a schema, of which there is one (§1.2).
    pub fn object_name(&mut self, what: &str) -> Parsed<Name> {
        let mut name = self.name(what)?;
        for _ in 0..QUALIFIERS_MAX {
            if !self.accept_symbol(".") {
                break;
            }
            name = self.name(what)?;
        }
        Ok(name)
    }

    /// `( item, item, … )`; stops at the first error.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect_symbol("(")?;
        let mut items = vec![item(self)?];
        while self.accept_symbol(",") {
            items.push(item(self)?);
        }
        if !self.accept_symbol(")") {
            return Err(self.unexpected(", or )"));
        }
        Ok(items)
    }

    /// The end of the statement.
    pub fn end(&self, expected: &str) -> Parsed<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// How the script writes `token`, for a message.
    pub fn quote(&self, token: &Token) -> String {
        quote(self.text, token)
    }

    /// The next token is not what the grammar needs.
    pub fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        Box::new(
            match self.peek() {
                Some(token) => Diagnostic::error(format!("unexpected {}", self.quote(token))),
                None => Diagnostic::error("the statement ends too early"),
            }
            .at(self.span())
            .label(format!("expected {expected}")),
        )
    }
}

/// The one-character span after `span`.
pub(crate) fn behind(span: Span) -> Span {
    let mut end = span.end;
    end.column += 1;
    Span { start: span.end, end }
}

/// How `text` writes `token`, for a message: literals and quoted names as they are, the rest in double quotes.
pub(crate) fn quote(text: &str, token: &Token) -> String {
    let written = &text[token.range.clone()];
    // Long literals and literals over several lines would hide the message.
    let short: String = written.chars().take_while(|c| *c != '\n').take(40).collect();
    let more = if short.len() < written.len() { "…" } else { "" };
    match token.kind {
        TokenKind::Word(_) | TokenKind::Symbol(_) | TokenKind::Number(_) => format!("\"{short}{more}\""),
        _ => format!("{short}{more}"),
    }
}
