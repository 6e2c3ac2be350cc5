//! `stream OVER window [AS alias]` in FROM.
//!
//! sqlparser knows no window there. What it does know behind the alias of a relation is a sample, which this dialect has
//! not, so the window becomes one: `stream AS alias TABLESAMPLE ("$window"() OVER window)`.

use sqlparser::tokenizer::Token as SqlToken;

use super::rewriter::{KEPT, Rewriter, keyword, quoted};
use crate::sql::keywords;
use crate::sql::token::{Token, TokenKind};

/// The function that carries the window of a joined stream.
pub(crate) const JOIN_WINDOW: &str = "$window";

impl<'a> Rewriter<'a> {
    /// Rewrites the window and the alias behind `over`, the word just read.
    pub(super) fn join_window(&mut self, over: &'a Token) {
        let window = self.at;
        if self.peek_is_symbol(0, "(") {
            self.skip_group();
        } else {
            self.at += 1;
        }
        let alias = self.at.min(self.tokens.len());
        let end = alias + self.alias_length(alias);
        self.at = alias;
        self.run_to(end);
        self.push_all([keyword("TABLESAMPLE"), SqlToken::LParen, quoted(JOIN_WINDOW), SqlToken::LParen, SqlToken::RParen], over);
        self.push(keyword("OVER"), over);
        self.at = window;
        self.in_join_window = true;
        self.run_to(alias);
        self.in_join_window = false;
        self.push(SqlToken::RParen, over);
        self.at = end;
    }

    /// How many tokens from `at` on are `[AS] alias [(columns)]`.
    pub(super) fn alias_length(&self, at: usize) -> usize {
        let word_as = usize::from(self.tokens.get(at).is_some_and(|token| token.is_word("AS")));
        let is_name = match self.tokens.get(at + word_as).map(|token| &token.kind) {
            Some(TokenKind::Quoted(_)) => true,
            Some(TokenKind::Word(word)) => word_as == 1 || !(keywords::is_reserved(word) || KEPT.contains(&word.as_str())),
            _ => false,
        };
        if !is_name {
            return word_as;
        }
        let mut length = word_as + 1;
        if self.tokens.get(at + length).is_some_and(|token| token.is_symbol("(")) {
            let close = self.tokens[at + length..].iter().position(|token| token.is_symbol(")"));
            length += close.map_or(0, |close| close + 1);
        }
        length
    }
}
