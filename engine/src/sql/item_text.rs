//! The items of a select list as they are written, for the names of columns: `SELECT STREAM price * 2 …`.

use super::token::Token;

/// What a select list ends with, also where FROM is missing.
const ENDS: &[&str] = &["FROM", "WHERE", "UNION", "EXCEPT", "INTERSECT", "ORDER", "LIMIT"];

/// The texts between SELECT and FROM of the query `tokens`, on one line each; none if it starts with something else.
pub(super) fn item_texts(tokens: &[Token], text: &str) -> Vec<String> {
    let Some((first, rest)) = tokens.split_first() else { return Vec::new() };
    if !first.is_word("SELECT") {
        return Vec::new();
    }
    let skipped = rest.iter().take_while(|token| ["STREAM", "DISTINCT", "ALL"].iter().any(|word| token.is_word(word))).count();
    let mut depth = 0;
    let end = rest.iter().position(|token| {
        depth += i32::from(token.is_symbol("(")) - i32::from(token.is_symbol(")"));
        depth == 0 && ENDS.iter().any(|word| token.is_word(word))
    });
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
