//! Characters to tokens: comments, literals, folded words, and the place of each token.
//!
//! Input:  any text at all.
//! Output: [`lex`]: one token per word, literal, symbol and comment; no text is lost but white space. Faulty text
//!         becomes a [`TokenKind::Bad`] token, so colours and completeness checks work on half-written input.
//!         [`scan`]: the tokens that the grammar sees: comments gone, `U&'…' UESCAPE '…'` decoded, `{d '…'}` reduced to
//!         `DATE '…'`, literals that continue on the next line joined.
//! See:    kda-sql-reference.md §1.1–1.4, §8.1.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Position, Span};

/// Longest identifier in characters (§1.2).
const IDENTIFIER_LENGTH_MAX: usize = 128;

/// One token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub kind: TokenKind,
    /// Bytes of the text.
    pub range: Range<usize>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// An unquoted word, in upper case.
    Word(String),
    /// A quoted identifier, `""` undone.
    Quoted(String),
    /// A character literal, `''` undone.
    Text(String),
    /// The content of `U&'…'`, escapes still inside; [`scan`] makes it a [`TokenKind::Text`].
    Unicode(String),
    /// The digits of `X'…'`.
    Hex(String),
    /// A number as written.
    Number(String),
    /// An operator or punctuation mark.
    Symbol(&'static str),
    /// A comment of any form.
    Comment,
    /// Text that is no token.
    Bad(Fault),
}

/// Why text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    UnterminatedText,
    UnterminatedQuoted,
    UnterminatedComment,
    Number,
    Character(char),
}

impl Token {
    /// True for this unquoted word, given in upper case.
    pub fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, TokenKind::Word(value) if value == word)
    }

    pub fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.kind, TokenKind::Symbol(value) if value == symbol)
    }

    /// True if an operand ends here, so that a minus behind it takes it away from something.
    pub fn ends_operand(&self) -> bool {
        match &self.kind {
            TokenKind::Symbol(symbol) => *symbol == ")",
            TokenKind::Word(word) => !BEFORE_OPERAND.contains(&word.as_str()),
            _ => true,
        }
    }

    /// The unquoted word, in upper case.
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Reserved words that an expression or an operand may follow.
const BEFORE_OPERAND: &[&str] = &[
    "ALL", "AND", "BETWEEN", "BY", "CASE", "DISTINCT", "ELSE", "FOR", "FROM", "HAVING", "IN", "LIKE", "NOT", "ON", "OR",
    "SELECT", "STREAM", "THEN", "VALUES", "WHEN", "WHERE",
];

/// Symbols, longest first.
const SYMBOLS: &[&str] =
    &["<>", "<=", ">=", "!=", "||", "(", ")", ",", ";", ".", "+", "-", "*", "/", "%", "<", "=", ">", "{", "}"];

/// Splits `text` into tokens; see the module's documentation.
pub(crate) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, position: Position { line: 1, column: 1 } };
    let mut tokens = Vec::new();
    // Editors leave a byte order mark at the start.
    lexer.accept("\u{feff}");
    loop {
        lexer.take_while(char::is_whitespace);
        let (start, from) = (lexer.at, lexer.position);
        let Some(kind) = lexer.token() else { return tokens };
        tokens.push(Token { kind, range: start..lexer.at, span: Span { start: from, end: lexer.position } });
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    position: Position,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&accept) {
            self.advance();
        }
        &self.text[start..self.at]
    }

    /// Steps over `prefix` if the text goes on with it, case ignored (ASCII only).
    fn accept(&mut self, prefix: &str) -> bool {
        let found = self.rest().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if found {
            for _ in prefix.chars() {
                self.advance();
            }
        }
        found
    }

    fn token(&mut self) -> Option<TokenKind> {
        let first = self.peek()?;
        // AWS pages print the two hyphens of a comment as en dash and hyphen, and people paste that.
        if ["--", "//", "\u{2013}-", "-\u{2013}"].iter().any(|opening| self.rest().starts_with(opening)) {
            self.take_while(|c| c != '\n');
            return Some(TokenKind::Comment);
        }
        if self.accept("/*") {
            return Some(self.block_comment());
        }
        if self.accept("'") || self.accept("N'") {
            return Some(self.quoted('\'').map_or(TokenKind::Bad(Fault::UnterminatedText), TokenKind::Text));
        }
        if self.accept("X'") {
            return Some(self.quoted('\'').map_or(TokenKind::Bad(Fault::UnterminatedText), TokenKind::Hex));
        }
        if self.accept("U&'") {
            return Some(self.quoted('\'').map_or(TokenKind::Bad(Fault::UnterminatedText), TokenKind::Unicode));
        }
        if self.accept("\"") {
            return Some(self.quoted('"').map_or(TokenKind::Bad(Fault::UnterminatedQuoted), TokenKind::Quoted));
        }
        if is_word_start(first) {
            return Some(TokenKind::Word(self.take_while(is_word_part).to_uppercase()));
        }
        let after_point = self.rest().strip_prefix('.').and_then(|rest| rest.chars().next());
        if first.is_ascii_digit() || after_point.is_some_and(|c| c.is_ascii_digit()) {
            return Some(self.number());
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.accept(symbol);
            return Some(TokenKind::Symbol(symbol));
        }
        self.advance();
        Some(TokenKind::Bad(Fault::Character(first)))
    }

    fn block_comment(&mut self) -> TokenKind {
        while self.peek().is_some() {
            if self.accept("*/") {
                return TokenKind::Comment;
            }
            self.advance();
        }
        TokenKind::Bad(Fault::UnterminatedComment)
    }

    /// The rest of a text in `quote`s, doubled quotes undone; None if it does not end.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut value = String::new();
        loop {
            // An identifier cannot contain a line end: the next line is read as if the quote had been closed.
            if quote == '"' && self.peek() == Some('\n') {
                return None;
            }
            let c = self.advance()?;
            if c != quote {
                value.push(c);
            } else if self.peek() == Some(quote) {
                self.advance();
                value.push(quote);
            } else {
                return Some(value);
            }
        }
    }

    fn number(&mut self) -> TokenKind {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        if self.accept(".") {
            self.take_while(|c| c.is_ascii_digit());
        }
        let mut exponent = self.rest().chars();
        if exponent.next().is_some_and(|c| c.eq_ignore_ascii_case(&'e')) {
            let (second, third) = (exponent.next(), exponent.next());
            let signed = matches!(second, Some('+' | '-'));
            if if signed { third } else { second }.is_some_and(|c| c.is_ascii_digit()) {
                self.advance();
                if signed {
                    self.advance();
                }
                self.take_while(|c| c.is_ascii_digit());
            }
        }
        let number = self.text[start..self.at].to_owned();
        if self.peek().is_some_and(|c| is_word_start(c) || c == '.') {
            self.take_while(|c| is_word_part(c) || c == '.');
            return TokenKind::Bad(Fault::Number);
        }
        TokenKind::Number(number)
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tokens that the grammar sees and, per faulty place, what is wrong. A [`TokenKind::Bad`] token stays in the list,
/// so that the statement it spoils is known.
pub(crate) fn scan(text: &str) -> (Vec<Token>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut of_earlier_statements = 0;
    let mut tokens: Vec<Token> = Vec::new();
    let mut lexed = lex(text).into_iter().filter(|token| token.kind != TokenKind::Comment).peekable();
    while let Some(mut token) = lexed.next() {
        match &token.kind {
            TokenKind::Bad(fault) => {
                let mut span = token.span;
                if let Fault::UnterminatedText | Fault::UnterminatedQuoted | Fault::UnterminatedComment = fault {
                    // What follows is probably not meant to be part of it.
                    span.end = Position { column: span.start.column + 1, ..span.start };
                }
                let problem = describe(*fault, &text[token.range.clone()]).at(span);
                // `a` and x::y are one mistake each.
                let in_statement: &[Diagnostic] = &problems[of_earlier_statements..];
                let repeated = in_statement.last().is_some_and(|last| {
                    last.message == problem.message && last.span.is_some_and(|last| last.start.line == span.start.line)
                });
                if !repeated {
                    problems.push(problem);
                }
            }
            TokenKind::Quoted(name) => problems.extend(check_quoted(name).map(|problem| problem.at(token.span))),
            TokenKind::Word(name) if name.chars().count() > IDENTIFIER_LENGTH_MAX => {
                problems.push(too_long(name.chars().count()).at(token.span));
            }
            TokenKind::Hex(digits) if !is_hexadecimal(digits) => {
                let problem = Diagnostic::error("malformed binary literal").at(token.span);
                problems.push(problem.label("expected an even number of hexadecimal digits"));
            }
            TokenKind::Symbol(";") => of_earlier_statements = problems.len(),
            TokenKind::Unicode(raw) => {
                let raw = raw.clone();
                let mut escape = '\\';
                if lexed.next_if(|next| next.is_word("UESCAPE")).is_some() {
                    let chosen = lexed.next_if(|next| matches!(next.kind, TokenKind::Text(_)));
                    token = Token { span: chosen.as_ref().map_or(token.span, |chosen| token.span.union(chosen.span)), ..token };
                    match chosen.map(|chosen| chosen.kind) {
                        Some(TokenKind::Text(chosen)) if chosen.chars().count() == 1 => {
                            escape = chosen.chars().next().unwrap_or(escape);
                        }
                        _ => problems.push(
                            Diagnostic::error("UESCAPE needs one character")
                                .at(token.span)
                                .label("expected UESCAPE '!' or the like"),
                        ),
                    }
                }
                token.kind = match decode_unicode(&raw, escape) {
                    Ok(value) => TokenKind::Text(value),
                    Err(problem) => {
                        problems.push(problem.at(token.span));
                        TokenKind::Text(String::new())
                    }
                };
            }
            _ => {}
        }
        // Two character literals with a line end between them are one; side by side they are a mistake.
        if let (TokenKind::Text(more), Some(Token { kind: TokenKind::Text(value), range, span })) =
            (&token.kind, tokens.last_mut())
        {
            if token.span.start.line == span.end.line {
                problems.push(
                    Diagnostic::error("two character literals in a row")
                        .at(token.span)
                        .label("expected an operator before this literal")
                        .hint("Join them with ||, or write '' for a quote inside a literal."),
                );
            }
            value.push_str(more);
            range.end = token.range.end;
            *span = span.union(token.span);
            continue;
        }
        tokens.push(token);
        reduce_escape(&mut tokens);
    }
    (tokens, problems)
}

/// `{d '…'}`, `{t '…'}` and `{ts '…'}` become `DATE '…'`, `TIME '…'` and `TIMESTAMP '…'`.
fn reduce_escape(tokens: &mut Vec<Token>) {
    let [.., open, kind, text, close] = tokens.as_mut_slice() else { return };
    if !open.is_symbol("{") || !close.is_symbol("}") || !matches!(text.kind, TokenKind::Text(_)) {
        return;
    }
    let name = match kind.word() {
        Some("D") => "DATE",
        Some("T") => "TIME",
        Some("TS") => "TIMESTAMP",
        _ => return,
    };
    open.kind = TokenKind::Word(name.to_owned());
    open.span = open.span.union(kind.span);
    open.range.end = kind.range.end;
    text.span = text.span.union(close.span);
    text.range.end = close.range.end;
    let text = text.clone();
    tokens.truncate(tokens.len() - 3);
    tokens.push(text);
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.len().is_multiple_of(2) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn check_quoted(name: &str) -> Option<Diagnostic> {
    let length = name.chars().count();
    if length == 0 {
        Some(Diagnostic::error("an identifier cannot be empty").label("expected a name between the quotes"))
    } else if length > IDENTIFIER_LENGTH_MAX {
        Some(too_long(length))
    } else if name.chars().any(|c| c < ' ') {
        Some(Diagnostic::error("an identifier cannot contain control characters"))
    } else {
        None
    }
}

fn too_long(length: usize) -> Diagnostic {
    Diagnostic::error(format!("identifier is {length} characters long")).label(format!("{IDENTIFIER_LENGTH_MAX} are allowed"))
}

fn describe(fault: Fault, text: &str) -> Diagnostic {
    match fault {
        Fault::UnterminatedText => Diagnostic::error("character literal does not end")
            .label("it starts here")
            .hint("Close it with a single quote; a quote inside it is written twice, as in 'it''s'."),
        Fault::UnterminatedQuoted => Diagnostic::error("quoted identifier does not end")
            .label("expected a closing double quote on the same line")
            .hint("Identifiers are in double quotes, character literals in single quotes."),
        Fault::UnterminatedComment => Diagnostic::error("comment does not end").label("it starts here").hint("Close it with */."),
        Fault::Number => Diagnostic::error(format!("malformed number \"{text}\""))
            .label("expected digits, as in 12, 1.5 or 1e6")
            .hint("A name that starts with a digit must be in double quotes."),
        Fault::Character(c) => {
            let problem = Diagnostic::error(format!("unexpected character \"{}\"", c.escape_debug()));
            match c {
                '\u{2018}' | '\u{2019}' => problem.label("a typographic quote").hint("Write a straight single quote: '."),
                '\u{201c}' | '\u{201d}' => problem.label("a typographic quote").hint("Write a straight double quote: \"."),
                '\u{2013}' | '\u{2014}' | '\u{2212}' => problem.label("a typographic dash").hint("Write a hyphen: -."),
                '`' | '[' | ']' => problem.hint("Names that need quotes are written in double quotes, as in \"order\"."),
                '$' | '#' | '@' => problem
                    .label("names consist of letters, digits and _")
                    .hint("Other names must be in double quotes, as in \"cost$\"."),
                ':' => problem.hint("Type conversion is written CAST(value AS type)."),
                _ => problem,
            }
        }
    }
}

/// Undoes `\XXXX` and `\+XXXXXX`; a doubled escape character is itself.
fn decode_unicode(raw: &str, escape: char) -> Result<String, Box<Diagnostic>> {
    let mut value = String::new();
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != escape {
            value.push(c);
        } else if let Some(after) = rest.strip_prefix(escape) {
            value.push(escape);
            rest = after;
        } else {
            let (digits, length) = rest.strip_prefix('+').map_or((rest, 4), |digits| (digits, 6));
            let code = digits.get(..length).and_then(|code| {
                // from_str_radix takes a sign, the literal does not.
                let code = code.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(code)?;
                u32::from_str_radix(code, 16).ok()
            });
            let Some(code) = code else {
                let problem = Diagnostic::error("malformed Unicode escape")
                    .label(format!("expected {escape}XXXX with four hexadecimal digits"));
                return Err(Box::new(problem.hint(format!("A {escape} that is no escape is written twice."))));
            };
            let Some(decoded) = char::from_u32(code) else {
                let problem = Diagnostic::error(format!("U+{code:04X} is no character"));
                return Err(Box::new(match code {
                    0xd800..0xe000 => problem
                        .label("one half of a UTF-16 surrogate pair")
                        .hint(format!("Write the character's own number with six digits: {escape}+01F600.")),
                    _ => problem.label("characters end at U+10FFFF"),
                }));
            };
            value.push(decoded);
            rest = &digits[length..];
        }
    }
    Ok(value)
}
