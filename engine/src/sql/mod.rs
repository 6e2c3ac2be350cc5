//! SQL text to statements: the one entry point for every statement of the engine.
//!
//! Input:  a script in KDA SQL, with this engine's CREATE SOURCE, SINK and TABLE.
//! Output: its statements, in order, and everything that is wrong with it, statement by statement.
//! Errors: never an `Err` and never a panic; a wrong statement becomes [`Diagnostic`]s, the others are still parsed.
//!
//! ```text
//! text ─ token: words, literals, places ─ split at ';' ─ ddl: statements ─ query: rewrite, sqlparser, one pass over the tree
//! ```
//!
//! See:    kda-sql-reference.md §1–2.

mod cursor;
mod ddl;
mod dialect;
mod item_text;
pub mod keywords;
mod literal;
mod mentions;
mod query;
pub(crate) mod reserved;
mod statement;
#[cfg(test)]
mod tests;
mod token;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use ddl::PARAMETERS;
pub(crate) use item_text::ItemTexts;
pub use literal::{Interval, sql_type_of_ast};
pub(crate) use query::{CURSOR, JOIN_WINDOW, NAMED_CAST, OF_CURSOR, STAGGER, WINDOWS, WITHIN};
pub use statement::*;

use crate::diagnostic::{Diagnostic, Script};
use token::{Fault, Token, TokenKind};

/// What [`parse_script`] found.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The statements without errors, in order.
    pub statements: Vec<Statement>,
    /// What is wrong, in order; the script can run only if there is no error among them.
    pub diagnostics: Vec<Diagnostic>,
    /// Statements with errors that leave the rest of them readable, such as a wrong type: they cannot be bound, but more may be wrong
    /// with them.
    pub faulty: Vec<Statement>,
    /// Streams, sources and tables whose own statement is wrong: what refers to them has no problem of its own.
    pub unparsed_names: Vec<String>,
}

/// Parses a script. After an error it goes on with the next statement.
pub fn parse_script(script: &Arc<Script>) -> Parsed {
    let (tokens, mut problems) = token::scan(&script.text);
    let faults: Vec<_> = problems.iter().filter_map(|problem| problem.span.map(|span| span.start)).collect();
    let (mut statements, mut faulty, mut unparsed_names) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in tokens.split(|token| token.is_symbol(";")) {
        for (tokens, missing_semicolon) in split_at_create(chunk) {
            if let Some(problem) = missing_semicolon {
                problems.push(problem);
            }
            // What else a statement with a faulty token says is guesswork.
            let spoilt = match tokens {
                [first, ..] => {
                    faults.iter().any(|at| tokens.last().is_some_and(|last| (first.span.start..last.span.end).contains(at)))
                }
                [] => true,
            };
            let found = problems.len();
            let statement = if spoilt { None } else { ddl::statement(tokens, script, &mut problems) };
            match statement {
                Some(statement) if problems.len() == found => statements.push(statement),
                wrong => {
                    unparsed_names.extend(created_name(tokens));
                    faulty.extend(wrong);
                }
            }
        }
    }
    problems.sort_by_key(|problem| problem.span.map(|span| span.start));
    let diagnostics = problems.into_iter().map(|problem| problem.in_script(script)).collect();
    Parsed { statements, diagnostics, faulty, unparsed_names }
}

/// Parses a stream query that the planner writes itself.
pub(crate) fn parse_own_query(text: &str) -> Option<Box<sqlparser::ast::Query>> {
    query::parse(&token::lex(text), true, text).ok().map(|query| query.ast)
}

/// The name in `CREATE [OR REPLACE] STREAM|SOURCE|TABLE|FUNCTION name`, whatever follows.
fn created_name(tokens: &[Token]) -> Option<String> {
    let is_kind = |token: &Token| ["STREAM", "SOURCE", "TABLE", "FUNCTION"].iter().any(|kind| token.is_word(kind));
    let place = tokens.iter().take(4).position(is_kind)?;
    match &tokens.get(place + 1)?.kind {
        TokenKind::Word(name) | TokenKind::Quoted(name) if tokens[0].is_word("CREATE") => Some(name.clone()),
        _ => None,
    }
}

/// Splits where a CREATE begins without a semicolon before it; the second part comes with the problem.
fn split_at_create(chunk: &[Token]) -> Vec<(&[Token], Option<Diagnostic>)> {
    const NEXT: &[&str] = &["OR", "STREAM", "PUMP", "SOURCE", "SINK", "TABLE", "FUNCTION"];
    let mut parts = Vec::new();
    let (mut start, mut depth, mut problem) = (0, 0_usize, None);
    for (index, token) in chunk.iter().enumerate() {
        match token.kind {
            TokenKind::Symbol("(") => depth += 1,
            TokenKind::Symbol(")") => depth = depth.saturating_sub(1),
            TokenKind::Word(ref word)
                if word == "CREATE"
                    && depth == 0
                    && index > start
                    && !chunk[index - 1].is_word("EXPLAIN")
                    && chunk.get(index + 1).and_then(Token::word).is_some_and(|next| NEXT.contains(&next)) =>
            {
                parts.push((&chunk[start..index], problem.take()));
                problem =
                    Some(Diagnostic::error("unexpected \"CREATE\"").at(token.span).label("expected ; before the next statement"));
                start = index;
            }
            _ => {}
        }
    }
    if start < chunk.len() {
        parts.push((&chunk[start..], problem));
    }
    parts
}

/// Runs `run` on a stack that suffices to parse, plan and drop the deepest query that [`parse_script`] lets through;
/// None if there is no such stack to be had.
///
/// Callers usually have 2 MB. In a build without optimisation sqlparser needs some 130 KB of it per parenthesised relation
/// behind JOIN, and DataFusion's planner as much per derived table; both check for 128 KB only.
pub fn on_large_stack<T: Send>(run: impl FnOnce() -> T + Send) -> Option<T> {
    // Address space: memory is used only as far as the stack grows.
    const BYTES: usize = 64 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(BYTES).spawn_scoped(scope, run).ok()?;
        match thread.join() {
            Ok(result) => Some(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// True if `text` ends a statement: its last token is a semicolon outside literals and comments. For prompts that read
/// a statement over several lines.
pub fn is_complete(text: &str) -> bool {
    let open = |token: &Token| matches!(token.kind, TokenKind::Bad(Fault::UnterminatedText | Fault::UnterminatedComment));
    let tokens = token::lex(text);
    !tokens.iter().any(open)
        && tokens.iter().rfind(|token| token.kind != TokenKind::Comment).is_some_and(|token| token.is_symbol(";"))
}

/// What a piece of text is, for colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenClass {
    /// A word with a meaning of its own.
    Keyword,
    /// Any other word.
    Identifier,
    /// An identifier in double quotes.
    QuotedIdentifier,
    /// A character or binary literal, unfinished ones included.
    String,
    /// A number.
    Number,
    /// A comment, unfinished ones included.
    Comment,
    /// An operator or punctuation mark.
    Operator,
    /// Text that is no token.
    Other,
}

/// The classes of all tokens of `text`, which may be unfinished, with their bytes; white space belongs to none.
pub fn highlight_tokens(text: &str) -> Vec<(Range<usize>, TokenClass)> {
    let class = |token: &Token| match &token.kind {
        TokenKind::Word(word) if keywords::is_keyword(word) => TokenClass::Keyword,
        TokenKind::Word(_) => TokenClass::Identifier,
        TokenKind::Quoted(_) | TokenKind::Bad(Fault::UnterminatedQuoted) => TokenClass::QuotedIdentifier,
        TokenKind::Text(_) | TokenKind::Unicode(_) | TokenKind::Hex(_) | TokenKind::Bad(Fault::UnterminatedText) => {
            TokenClass::String
        }
        TokenKind::Number(_) => TokenClass::Number,
        TokenKind::Comment | TokenKind::Bad(Fault::UnterminatedComment) => TokenClass::Comment,
        TokenKind::Symbol(_) => TokenClass::Operator,
        TokenKind::Bad(Fault::Number | Fault::Character(_)) => TokenClass::Other,
    };
    token::lex(text).iter().map(|token| (token.range.clone(), class(token))).collect()
}
