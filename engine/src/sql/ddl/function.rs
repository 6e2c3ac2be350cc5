//! CREATE FUNCTION and DROP FUNCTION (kda-sql-reference.md §2.3).
//!
//! The body is one expression. It is parsed as the query `SELECT body FROM "$parameters"`, in which the parameters are columns, so
//! every form of the dialect is one of the body too.

use super::Grammar;
use crate::diagnostic::{Diagnostic, Span};
use crate::sql::cursor::{Parsed, behind, quote};
use crate::sql::literal::sql_type;
use crate::sql::query;
use crate::sql::statement::{CreateFunction, DropFunction, Name, Parameter, Query};
use crate::sql::token::{Token, TokenKind};

/// The relation whose columns are the parameters of a function.
pub(crate) const PARAMETERS: &str = "$parameters";

/// Clauses between the type of the result and RETURN, each at most once. The standard's order is not demanded.
const CLAUSES: [(&[&str], Clause); 9] = [
    (&["LANGUAGE"], Clause::Language),
    (&["SPECIFIC"], Clause::Specific),
    (&["NOT", "DETERMINISTIC"], Clause::Deterministic(false)),
    (&["DETERMINISTIC"], Clause::Deterministic(true)),
    (&["CONTAINS", "SQL"], Clause::ContainsSql),
    (&["READS", "SQL", "DATA"], Clause::Data),
    (&["MODIFIES", "SQL", "DATA"], Clause::Data),
    (&["RETURNS", "NULL", "ON", "NULL", "INPUT"], Clause::OnNull(true)),
    (&["CALLED", "ON", "NULL", "INPUT"], Clause::OnNull(false)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clause {
    Language,
    Specific,
    Deterministic(bool),
    ContainsSql,
    /// READS SQL DATA or MODIFIES SQL DATA.
    Data,
    /// True for RETURNS NULL ON NULL INPUT.
    OnNull(bool),
}

impl Clause {
    /// True if not both can be written.
    fn excludes(self, other: Clause) -> bool {
        use Clause::*;
        match (self, other) {
            (Deterministic(_), Deterministic(_)) | (OnNull(_), OnNull(_)) => true,
            // MODIFIES may stand behind READS.
            (Data, Data) => false,
            _ => self == other,
        }
    }
}

/// What the clauses say.
#[derive(Debug, Default)]
struct Clauses {
    specific: Option<Name>,
    deterministic: Option<(bool, Span)>,
    null_on_null: bool,
    data: Option<Span>,
}

impl Grammar<'_, '_> {
    pub(super) fn create_function(&mut self, or_replace: bool) -> Parsed<CreateFunction> {
        let name = self.cursor.object_name("the name of the function")?;
        let parameters = self.parameters()?;
        self.cursor.expect_word("RETURNS")?;
        let returns = sql_type(&mut self.cursor)?;
        let mut clauses = Clauses::default();
        self.clauses(&mut clauses)?;
        if !self.cursor.accept_word("RETURN") {
            return Err(self.no_return());
        }
        let body = self.body()?;
        let Clauses { specific, deterministic, null_on_null, data } = clauses;
        Ok(CreateFunction { or_replace, name, specific, parameters, returns, deterministic, null_on_null, data, body })
    }

    /// `( [name type, …] )`.
    fn parameters(&mut self) -> Parsed<Vec<Parameter>> {
        if self.cursor.rest().get(1).is_some_and(|token| token.is_symbol(")")) && self.cursor.accept_symbol("(") {
            self.cursor.next += 1;
            return Ok(Vec::new());
        }
        let parameters = self.cursor.list(|cursor| {
            let name = cursor.name("a parameter")?;
            Ok(Parameter { name, sql_type: sql_type(cursor)? })
        })?;
        for (place, Parameter { name, .. }) in parameters.iter().enumerate() {
            if parameters[..place].iter().any(|other| other.name.value == name.value) {
                self.problems.push(Diagnostic::error(format!("parameter \"{}\" is declared twice", name.value)).at(name.span));
            }
        }
        Ok(parameters)
    }

    fn clauses(&mut self, clauses: &mut Clauses) -> Parsed<()> {
        let mut found: Vec<Clause> = Vec::new();
        loop {
            let start = self.cursor.next;
            let Some((_, clause)) = CLAUSES.iter().find(|(words, _)| self.cursor.accept_words(words)) else { return Ok(()) };
            match *clause {
                Clause::Language => {
                    let language = self.cursor.name("SQL")?;
                    if language.value != "SQL" {
                        let problem = Diagnostic::error(format!("functions in {} are not supported", language.value));
                        return Err(Box::new(
                            problem
                                .at(language.span)
                                .label("expected SQL")
                                .hint("A function is one expression: RETURN expression."),
                        ));
                    }
                }
                Clause::Specific => clauses.specific = Some(self.cursor.object_name("the specific name of the function")?),
                Clause::Deterministic(deterministic) => {
                    clauses.deterministic = Some((deterministic, self.cursor.span_from(start)));
                }
                Clause::ContainsSql => {}
                Clause::Data => clauses.data = Some(self.cursor.span_from(start)),
                Clause::OnNull(null_on_null) => clauses.null_on_null = null_on_null,
            }
            if found.iter().any(|other| other.excludes(*clause)) {
                let words: Vec<_> =
                    self.cursor.tokens_since(start).iter().map(|token| self.cursor.quote(token).replace('"', "")).collect();
                let problem = Diagnostic::error(format!("unexpected {}", words.join(" "))).at(self.cursor.span_from(start));
                return Err(Box::new(problem.label("this was said before")));
            }
            found.push(*clause);
        }
    }

    /// What stands where RETURN should.
    fn no_return(&self) -> Box<Diagnostic> {
        let problem = self.cursor.unexpected("RETURN and an expression");
        Box::new(match self.cursor.peek_word() {
            Some("BEGIN") => problem.hint("A function is one expression: RETURN expression. Use CASE for conditions."),
            Some("AS" | "EXTERNAL") => problem.hint("Functions are written in SQL: RETURN expression."),
            _ => problem.hint(
                "Before it may stand LANGUAGE SQL, SPECIFIC name, [NOT] DETERMINISTIC, CONTAINS SQL, and RETURNS NULL or CALLED ON \
                 NULL INPUT.",
            ),
        })
    }

    /// The rest of the statement as an expression of the parameters.
    fn body(&mut self) -> Parsed<Query> {
        let rest = self.cursor.rest();
        let (Some(first), Some(last)) = (rest.first(), rest.last()) else { return Err(self.cursor.unexpected("an expression")) };
        if let Some(stray) = stray(rest) {
            let problem = Diagnostic::error(format!("unexpected {}", quote(&self.script.text, stray))).at(stray.span);
            return Err(Box::new(problem.label("expected an operator or the end of the function")));
        }
        self.cursor.next += rest.len();
        let end = Token { kind: TokenKind::Comment, range: last.range.end..last.range.end, span: behind(last.span) };
        let word = |word: &str, at: &Token| Token { kind: TokenKind::Word(word.to_owned()), ..at.clone() };
        let relation = Token { kind: TokenKind::Quoted(PARAMETERS.to_owned()), ..end.clone() };
        let tokens: Vec<_> = [word("SELECT", first)].into_iter().chain(rest.iter().cloned()).collect();
        let tokens: Vec<_> = tokens.into_iter().chain([word("FROM", &end), relation]).collect();
        let mut body = query::parse(&tokens, true, &self.script.text).map_err(|mut found| {
            for problem in &mut found {
                // The end of the body is no token that the user wrote.
                if problem.span == Some(end.span) {
                    problem.message = "the function ends too early".to_owned();
                }
            }
            let last = found.pop();
            self.problems.append(&mut found);
            Box::new(last.unwrap_or_else(|| *self.cursor.unexpected("an expression")))
        })?;
        body.span = first.span.union(last.span);
        Ok(body)
    }

    /// `DROP FUNCTION [IF EXISTS] name [(types)] [RESTRICT]`, behind FUNCTION.
    pub(super) fn drop_function(&mut self) -> Parsed<DropFunction> {
        let if_exists = self.cursor.accept_words(&["IF", "EXISTS"]);
        let name: Name = self.cursor.object_name("the name of a function")?;
        let parameters = if self.cursor.at_symbol("(") {
            if self.cursor.rest().get(1).is_some_and(|token| token.is_symbol(")")) {
                self.cursor.next += 2;
                Some(Vec::new())
            } else {
                Some(self.cursor.list(sql_type)?)
            }
        } else {
            None
        };
        // Pumps and functions keep the bodies of what they call, so nothing depends on a function.
        if !self.cursor.accept_word("CASCADE") {
            self.cursor.accept_word("RESTRICT");
        }
        self.end()?;
        Ok(DropFunction { name, parameters, if_exists })
    }
}

/// The first token outside parentheses that goes on with a query, not with an expression.
fn stray(tokens: &[Token]) -> Option<&Token> {
    const WORDS: [&str; 14] = [
        "AS",
        "EXCEPT",
        "FETCH",
        "FROM",
        "GROUP",
        "HAVING",
        "INTERSECT",
        "INTO",
        "LIMIT",
        "ORDER",
        "SELECT",
        "UNION",
        "WHERE",
        "WINDOW",
    ];
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match &token.kind {
            TokenKind::Symbol("(") => depth += 1,
            TokenKind::Symbol(")") => depth = depth.saturating_sub(1),
            TokenKind::Symbol(",") if depth == 0 => return Some(token),
            // `a IS DISTINCT FROM b` is an expression.
            TokenKind::Word(word) if word == "FROM" && place > 0 && tokens[place - 1].is_word("DISTINCT") => {}
            TokenKind::Word(word) if depth == 0 && WORDS.contains(&word.as_str()) => return Some(token),
            _ => {}
        }
    }
    None
}
