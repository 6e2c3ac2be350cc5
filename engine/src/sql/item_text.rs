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

/// True for FROM in `a IS DISTINCT FROM b`, `NTH_VALUE(x, n) FROM FIRST OVER w` and FROM LAST.
fn is_part_of_item(tokens: &[Token], place: usize) -> bool {
    let is = |place: Option<usize>, words: &[&str]| {
        place.and_then(|place| tokens.get(place)).is_some_and(|token| words.iter().any(|word| token.is_word(word)))
    };
    if !tokens[place].is_word("FROM") {
        return false;
    }
    let is_comparison = is(place.checked_sub(1), &["DISTINCT"]) && is(place.checked_sub(2), &["IS", "NOT"]);
    is_comparison || is(Some(place + 1), &["FIRST", "LAST"]) && is(Some(place + 2), &["OVER", "IGNORE", "RESPECT"])
}

/// The texts of the items at the begin of `rest`, which end with one of [`ENDS`] or the parenthesis around, on one line each.
fn list_texts(rest: &[Token], text: &str) -> Vec<String> {
    let skipped = rest.iter().take_while(|token| ["STREAM", "DISTINCT", "ALL"].iter().any(|word| token.is_word(word))).count();
    let mut depth = 0;
    let end = rest.iter().enumerate().position(|(place, token)| {
        depth += i32::from(token.is_symbol("(")) - i32::from(token.is_symbol(")"));
        depth < 0 || depth == 0 && ENDS.iter().any(|word| token.is_word(word)) && !is_part_of_item(rest, place)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::token::lex;

    #[test]
    fn a_from_inside_of_an_item_does_not_end_the_list() {
        let of = |sql: &str| item_texts(&lex(sql), sql).into_values().next().unwrap_or_default();
        assert_eq!(
            of(
                "SELECT STREAM a IS DISTINCT FROM b, a IS NOT DISTINCT  FROM b, EXTRACT(HOUR FROM t), TRIM(BOTH 'x' FROM s), c FROM s"
            ),
            ["a IS DISTINCT FROM b", "a IS NOT DISTINCT FROM b", "EXTRACT(HOUR FROM t)", "TRIM(BOTH 'x' FROM s)", "c"]
        );
        assert_eq!(
            of(
                "SELECT STREAM NTH_VALUE(x, 2) FROM LAST OVER w, NTH_VALUE(x, 2) FROM FIRST IGNORE NULLS OVER w FROM s WINDOW w AS ()"
            ),
            ["NTH_VALUE(x, 2) FROM LAST OVER w", "NTH_VALUE(x, 2) FROM FIRST IGNORE NULLS OVER w"]
        );
        assert_eq!(of("SELECT DISTINCT a FROM first"), ["a"]);
    }
}
