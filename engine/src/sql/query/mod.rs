//! Queries: tokens to a tree that DataFusion's planner understands.
//!
//! sqlparser parses, and only tokens reach it: what this dialect adds is rewritten in them first, so every place survives
//! and no other dialect's reading can slip in (stock parsers take `SELECT STREAM a` for a column STREAM named A).
//! Words that the dialect does not reserve arrive as plain identifiers, whatever they mean elsewhere.
//!
//! | Written | In the tree |
//! | --- | --- |
//! | `SELECT STREAM` | `SELECT`; [`Query::stream`] |
//! | unquoted names | upper case; names of functions lower case |
//! | `STEP(x BY y)` | `step(x, y)` |
//! | `ORDER BY t WITHIN i` | `ORDER BY "$within"(t, i)` |
//! | `WINDOWED BY STAGGER (PARTITION BY a RANGE i)` | `GROUP BY a, "$stagger"(i)` |
//! | `FLOOR(x TO unit)`, `CEIL`, `CEILING` | `floor_to(x, 'UNIT')`, `ceil_to(x, 'UNIT')` |
//! | `INTERVAL '1:30' MINUTE TO SECOND` | `INTERVAL '90000 milliseconds'`; years and months: `INTERVAL '15 months'` |
//! | `TIMESTAMP '…'`, `DATE '…'`, `TIME '…'` | `CAST('…' AS TIMESTAMP)` and so on |
//! | `CAST(x AS type)` | the type's canonical name: `VARCHAR(65535)`, `DECIMAL(18, 0)`, `DOUBLE` |
//! | `UNKNOWN` | `CAST(NULL AS BOOLEAN)` |
//! | `1e3` | `CAST('1e3' AS DOUBLE)`: an approximate number even where `1.5` is a DECIMAL |
//! | `(a, b) OVERLAPS (c, d)` | `compare_periods('OVERLAPS', a, b, c, d)` |
//! | `CURRENT_ROW_TIMESTAMP` | `current_row_timestamp()` |
//! | `TABLE(f(CURSOR(q), 1))` | `(SELECT * FROM (q) AS "$cursor" TABLESAMPLE ("$F"(1)))` |
//! | `TABLE(TUMBLE(TABLE s, DESCRIPTOR(ROWTIME), i))`, HOP, SESSION | `(SELECT * FROM s AS "$windows" TABLESAMPLE ("$TUMBLE"(…))) AS s` |
//! | `VALUES 1, 2` | `VALUES (1), (2)` |
//! | `schema.f(x)` | `f(x)` |
//! | `error_stream` in FROM, any case | `error_stream` |
//!
//! What the dialect has and the engine has not is refused by name here, before anything could misread it.
//!
//! Errors: everything wrong or refused in the tokens, or else the first place that sqlparser cannot read.
//! See:    kda-sql-reference.md §2.5–2.8.
mod calls;
mod finish;
mod grammar;
mod interval_casts;
mod join_window;
mod level;
mod named_cast;
mod nth_value;
mod numbers;
mod of_streams;
mod periods;
mod refuse;
mod rewriter;
mod row_in_query;
mod rows_of_values;
mod table_function;
mod values;
mod window_table;
mod words;

use sqlparser::ast::VisitMut;

use super::item_text::item_texts;
use super::statement::Query;
use super::token::Token;
use crate::diagnostic::Diagnostic;
use finish::Finish;
use grammar::parse_tokens;
pub(crate) use join_window::JOIN_WINDOW;
pub(crate) use named_cast::NAMED_CAST;
use rewriter::Rewriter;
pub(crate) use table_function::{CURSOR, OF_CURSOR};
pub(crate) use window_table::WINDOWS;

/// Queries that are nested deeper than this are parsed on a large stack.
const INLINE_DEPTH_MAX: usize = 6;

/// Name of the group key that stands for WINDOWED BY STAGGER; no user's function has a `$`.
pub(crate) const STAGGER: &str = "$stagger";

/// Name of the function that stands for WITHIN in ORDER BY.
pub(crate) const WITHIN: &str = "$within";

/// What a stream query can do, for hints.
const AVAILABLE: &str =
    "Streams can be filtered, projected, joined, merged with UNION ALL and aggregated with GROUP BY STEP(…) or FLOOR(…).";

/// Parses a query. `stream`: it runs continuously even if STREAM is not written.
pub(crate) fn parse(tokens: &[Token], stream: bool, text: &str) -> Result<Query, Vec<Diagnostic>> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err(vec![Diagnostic::error("a query is missing")]);
    };
    let stream = stream || tokens.windows(2).any(|pair| pair[0].is_word("SELECT") && pair[1].is_word("STREAM"));
    let mut rewriter = Rewriter::new(tokens, text, stream);
    rewriter.run();
    let Rewriter { out, mut problems, mut warnings, depth, of_streams: found, .. } = rewriter;
    let (certain, mut of_streams) = of_streams::divide(found, tokens);
    problems.extend(certain);
    if !problems.is_empty() {
        return Err(problems);
    }
    let parsed = if depth <= INLINE_DEPTH_MAX {
        parse_tokens(out, tokens, text)
    } else {
        super::on_large_stack(|| parse_tokens(out, tokens, text))
            .unwrap_or_else(|| Err(Box::new(Diagnostic::error("the query is nested too deeply to parse it").at(first.span))))
    };
    let mut ast = parsed.map_err(|problem| vec![*problem])?;
    let span = first.span.union(last.span);
    let mut finish = Finish { stream, span, problems: &mut problems, warnings: &mut warnings, of_streams: Vec::new() };
    // The visitor never breaks off.
    let _ = ast.visit(&mut finish);
    let (certain, possible) = of_streams::divide(finish.of_streams, tokens);
    problems.extend(certain);
    if !problems.is_empty() {
        return Err(problems);
    }
    of_streams.extend(possible);
    Ok(Query { ast, stream, span, item_texts: item_texts(tokens, text), warnings, of_streams })
}
