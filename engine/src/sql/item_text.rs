//! The items of select lists as they are written, for the names of columns: `SELECT STREAM price * 2 …`.

use std::collections::BTreeMap;

use super::token::Token;
use crate::diagnostic::Position;

/// What a select list ends with, also where FROM is missing.
const ENDS: &[&str] = &["FROM", "WHERE", "UNION", "EXCEPT", "INTERSECT", "ORDER", "LIMIT"];

/// The items of each select list, by the place of its SELECT.
pub(crate) type ItemTexts = BTreeMap<Position, Vec<String>>;

/// The texts of all select lists of the query `tokens`.
pub(super) fn item_texts(tokens: &[Token], text: &str) -> ItemTexts {
    let selects = tokens.iter().enumerate().filter(|(_, token)| token.is_word("SELECT"));
    selects.map(|(place, select)| (select.span.start, list_texts(&tokens[place + 1..], text))).collect()
}

/// The texts of the items at the begin of `rest`, which end with one of [`ENDS`] or the parenthesis around, on one line each.
fn list_texts(rest: &[Token], text: &str) -> Vec<String> {
    let skipped = rest.iter().take_while(|token| ["STREAM", "DISTINCT", "ALL"].iter().any(|word| token.is_word(word))).count();
    let mut depth = 0;
    let end = rest.iter().position(|token| {
        depth += i32::from(token.is_symbol("(")) - i32::from(token.is_symbol(")"));
        depth < 0 || depth == 0 && ENDS.iter().any(|word| token.is_word(word))
    });
    depth = 0;
    let list = &rest[skipped..end.unwrap_or(rest.len()).max(skipped)];
    let items = list.split(|token| {
        depth += i32::from(token.is_symbol("(")) - i32::from(token.is_symbol(")"));
        depth == 0 && token.is_symbol(",")
    });
    let source = |item: &[Token]| match item {
        [first, .., last] => &text[first.range.start..last.range.end],
        [only] => &text[only.range.clone()],
        [] => "",
    };
    items.map(|item| source(item).split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
