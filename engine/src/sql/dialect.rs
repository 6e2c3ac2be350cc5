//! What sqlparser is told about the dialect.
//!
//! Little: everything that only this dialect has is rewritten in the tokens before sqlparser sees them (module `query`),
//! and words that mean nothing here reach it as plain identifiers. What remains is which words cannot be names.

use sqlparser::ast::Expr;
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// Words that cannot begin an expression.
const FRAME: &[Keyword] = &[
    Keyword::ALTER,
    Keyword::AND,
    Keyword::AS,
    Keyword::BETWEEN,
    Keyword::BY,
    Keyword::CREATE,
    Keyword::DROP,
    Keyword::ELSE,
    Keyword::END,
    Keyword::ESCAPE,
    Keyword::EXCEPT,
    Keyword::FETCH,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::IN,
    Keyword::INSERT,
    Keyword::INTERSECT,
    Keyword::INTO,
    Keyword::IS,
    Keyword::JOIN,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::ON,
    Keyword::OR,
    Keyword::ORDER,
    Keyword::OVER,
    Keyword::SELECT,
    Keyword::THEN,
    Keyword::UNION,
    Keyword::USING,
    Keyword::WHEN,
    Keyword::WHERE,
    Keyword::WINDOW,
    Keyword::WITH,
];

/// True for a word in upper case that is part of a query's frame, so that it names no relation.
pub(crate) fn is_frame_word(word: &str) -> bool {
    matches!(Token::make_word(word, None), Token::Word(word) if FRAME.contains(&word.keyword))
}

/// The dialect that queries are parsed with.
#[derive(Debug)]
pub(crate) struct KdaDialect;

impl Dialect for KdaDialect {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('"')
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    /// `CAST(x AS INTERVAL DAY TO SECOND)`.
    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    /// Words of the query's frame are no columns: `SELECT a, FROM t` would be a column FROM named T.
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let next = parser.peek_token_ref();
        match &next.token {
            Token::Word(word) if FRAME.contains(&word.keyword) => Some(parser.expected_ref("an expression", next)),
            _ => None,
        }
    }

    /// After a faulty `CAST(…`, sqlparser would try a function named CAST, at every level of nesting: an error far from
    /// the fault, after time exponential in the depth.
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        matches!(
            keyword,
            Keyword::CASE
                | Keyword::CAST
                | Keyword::EXISTS
                | Keyword::EXTRACT
                | Keyword::INTERVAL
                | Keyword::NOT
                | Keyword::OVERLAY
                | Keyword::POSITION
                | Keyword::SUBSTRING
                | Keyword::TRIM
        )
    }

    /// Words that go on with the query or begin the next statement are no aliases, unless AS says so.
    fn is_column_alias(&self, keyword: &Keyword, _parser: &mut Parser) -> bool {
        !sqlparser::keywords::RESERVED_FOR_COLUMN_ALIAS.contains(keyword) && !begins_statement(keyword)
    }

    fn is_table_alias(&self, keyword: &Keyword, _parser: &mut Parser) -> bool {
        !sqlparser::keywords::RESERVED_FOR_TABLE_ALIAS.contains(keyword) && !begins_statement(keyword)
    }
}

fn begins_statement(keyword: &Keyword) -> bool {
    matches!(keyword, Keyword::CREATE | Keyword::ALTER | Keyword::DROP | Keyword::INSERT | Keyword::OVER)
}
