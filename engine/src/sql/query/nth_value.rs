//! `NTH_VALUE(x, n) FROM FIRST | LAST`, which sqlparser does not know (kda-sql-reference.md §5.2).

use sqlparser::tokenizer::Token as SqlToken;

use super::rewriter::Rewriter;
use crate::diagnostic::Diagnostic;
use crate::sql::token::Token;

impl Rewriter<'_> {
    /// Steps over `FROM FIRST` and `FROM LAST` behind a function; with LAST the function is NTH_VALUE_FROM_LAST.
    pub(super) fn nth_value_from(&mut self, token: &Token) -> bool {
        let from_last = self.peek_is_word(0, "LAST");
        let behind = ["OVER", "IGNORE", "RESPECT"].iter().any(|word| self.peek_is_word(1, word));
        let call = self.previous().is_some_and(|previous| previous.is_symbol(")"));
        if !(self.stream && call && behind && (from_last || self.peek_is_word(0, "FIRST"))) {
            return false;
        }
        let mut depth = 0;
        let open = self.out.iter().rposition(|written| {
            match written.token {
                SqlToken::RParen => depth += 1,
                SqlToken::LParen => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let name = open.and_then(|open| open.checked_sub(1)).and_then(|name| self.out.get_mut(name));
        match name.map(|name| &mut name.token) {
            Some(SqlToken::Word(word)) if word.value == "NTH_VALUE" => {
                if from_last {
                    word.value = "NTH_VALUE_FROM_LAST".to_owned();
                }
            }
            _ => {
                let span = self.peek(0).map_or(token.span, |last| token.span.union(last.span));
                self.report(Diagnostic::error("FROM FIRST and FROM LAST stand behind NTH_VALUE only").at(span));
            }
        }
        self.at += 1;
        true
    }
}
