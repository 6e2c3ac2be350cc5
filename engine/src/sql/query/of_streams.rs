//! What a query cannot have if it reads a stream, such as LIMIT. Only the planner knows which names are streams, so a query in
//! parentheses that may read tables alone is left to it.

use crate::diagnostic::{Diagnostic, Span};
use crate::sql::statement::OfStreams;
use crate::sql::token::Token;

/// Divides `found` into problems whatever the names mean, each message once, and those of queries that may be of tables.
pub(super) fn divide(found: Vec<Diagnostic>, tokens: &[Token]) -> (Vec<Diagnostic>, Vec<OfStreams>) {
    let (mut certain, mut possible): (Vec<Diagnostic>, Vec<OfStreams>) = (Vec::new(), Vec::new());
    for problem in found {
        let around = problem.span.and_then(|span| query_around(tokens, span));
        match around.filter(|query| !says_stream(query)) {
            Some([first, .., last]) => possible.push(OfStreams { problem, within: first.span.union(last.span) }),
            _ if certain.iter().any(|known| known.message == problem.message) => {}
            _ => certain.push(problem),
        }
    }
    (certain, possible)
}

fn says_stream(tokens: &[Token]) -> bool {
    tokens.windows(2).any(|pair| pair[0].is_word("SELECT") && pair[1].is_word("STREAM"))
}

/// The innermost query in parentheses around the place; None outside of all.
fn query_around(tokens: &[Token], place: Span) -> Option<&[Token]> {
    let mut open = Vec::new();
    let mut found = None;
    for (index, token) in tokens.iter().enumerate() {
        if token.span.start > place.start && found.is_none() {
            found = Some(*open.iter().rfind(|open| begins_query(&tokens[**open..]))?);
        }
        if token.is_symbol("(") {
            open.push(index);
        } else if token.is_symbol(")")
            && let Some(start) = open.pop()
            && found == Some(start)
        {
            return Some(&tokens[start..=index]);
        }
    }
    None
}

/// True if the parenthesis that `tokens` begin with holds a query.
fn begins_query(tokens: &[Token]) -> bool {
    let first = tokens.iter().find(|token| !token.is_symbol("(")).and_then(Token::word);
    matches!(first, Some("SELECT" | "VALUES" | "WITH"))
}
