//! `TABLE(TUMBLE(TABLE s, DESCRIPTOR(ROWTIME), INTERVAL '1' MINUTE))`, HOP and SESSION in FROM: windows as table functions.
//!
//! sqlparser sees a query over the stream, which carries the windows as its sample, as table functions over a CURSOR do.
//! Positional arguments get their names:
//!
//! ```text
//! TABLE(HOP(TABLE s, DESCRIPTOR(ROWTIME), i, j)) AS a
//! (SELECT * FROM s AS "$windows" TABLESAMPLE ("$HOP"("$TIMECOL"(ROWTIME), "$SLIDE"(i), "$SIZE"(j)))) AS a
//! ```

use std::ops::Range;

use sqlparser::tokenizer::Token as SqlToken;

use super::rewriter::{Rewriter, keyword, quoted};
use crate::diagnostic::{Diagnostic, Span};
use crate::sql::cursor::{behind, quote};
use crate::sql::token::{Token, TokenKind};

/// Name of the relation that is cut into windows.
pub(crate) const WINDOWS: &str = "$windows";

/// A function that makes windows.
struct Form {
    name: &'static str,
    /// Names of the arguments in their order.
    arguments: &'static [&'static str],
    /// How many of them there must be.
    required: usize,
    example: &'static str,
}

const FORMS: [Form; 3] = [
    Form {
        name: "TUMBLE",
        arguments: &["DATA", "TIMECOL", "SIZE", "OFFSET"],
        required: 3,
        example: "Write TABLE(TUMBLE(TABLE s, DESCRIPTOR(ROWTIME), INTERVAL '1' MINUTE)).",
    },
    Form {
        name: "HOP",
        arguments: &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
        required: 4,
        example: "Write TABLE(HOP(TABLE s, DESCRIPTOR(ROWTIME), INTERVAL '10' SECOND, INTERVAL '1' MINUTE)): first the slide, then the size.",
    },
    Form {
        name: "SESSION",
        arguments: &["DATA", "TIMECOL", "GAP"],
        required: 3,
        example: "Write TABLE(SESSION(TABLE s PARTITION BY k, DESCRIPTOR(ROWTIME), INTERVAL '30' SECOND)).",
    },
];

type Checked<T> = Result<T, Box<Diagnostic>>;

impl<'a> Rewriter<'a> {
    /// Rewrites the call behind `table`, the word TABLE just read; false if it makes no windows.
    pub(super) fn window_table(&mut self, table: &'a Token) -> bool {
        let Some([open, name, inner]) = self.tokens.get(self.at..self.at + 3) else { return false };
        let form = name.word().and_then(|word| FORMS.iter().find(|form| form.name == word));
        let Some(form) = form.filter(|_| open.is_symbol("(") && inner.is_symbol("(")) else { return false };
        if !self.stream {
            let problem = Diagnostic::error(format!("{} needs SELECT STREAM", form.name)).at(table.span.union(name.span));
            self.report(problem);
            self.skip_group();
            return true;
        }
        let end = self.group_end(self.at + 2);
        let arguments = self.at + 3..end.saturating_sub(1);
        let outer = self.at;
        if let Err(problem) = self.window_call(form, open, name, arguments) {
            self.report(*problem);
            self.at = outer;
            self.skip_group();
            return true;
        }
        self.at = end;
        match self.peek(0) {
            Some(close) if close.is_symbol(")") => {
                self.at += 1;
                self.symbol(")", close);
                self.name_of_stream(outer + 3, close);
            }
            found => {
                let end = found.map_or_else(|| behind(self.tokens[end - 1].span), |found| found.span);
                let found = found.map_or_else(|| "the end".to_owned(), |found| quote(self.text, found));
                let problem = Diagnostic::error(format!("unexpected {found}")).at(end);
                self.report(problem.label(format!("expected ) behind {}", form.name)));
            }
        }
        true
    }

    fn window_call(&mut self, form: &Form, open: &'a Token, name: &'a Token, arguments: Range<usize>) -> Checked<()> {
        let found = self.window_arguments(form, arguments)?;
        let argument = |place: usize| found.iter().find(|(other, _)| *other == place).map(|(_, tokens)| tokens.clone());
        let missing = |what: String| Box::new(Diagnostic::error(what).at(name.span).hint(form.example));
        let data = argument(0).ok_or_else(|| missing(format!("{} needs a stream: TABLE s", form.name)))?;
        let descriptor = argument(1).map(|tokens| self.descriptor(form, tokens)).transpose()?;
        for (place, wanted) in form.arguments.iter().enumerate().take(form.required).skip(1) {
            if argument(place).is_none() {
                return Err(missing(match place {
                    1 => format!("{} needs DESCRIPTOR(ROWTIME)", form.name),
                    _ => format!("{} needs its {wanted}, an interval", form.name),
                }));
            }
        }
        self.at += 1;
        self.symbol("(", open);
        self.push_all([keyword("SELECT"), SqlToken::Mul, keyword("FROM")], name);
        let partition = self.window_data(form, data)?;
        let carrier = [keyword("AS"), quoted(WINDOWS), keyword("TABLESAMPLE"), SqlToken::LParen];
        self.push_all(carrier.into_iter().chain([quoted(&format!("${}", form.name)), SqlToken::LParen]), name);
        let others = (2..form.arguments.len()).filter_map(|place| Some((form.arguments[place], argument(place)?)));
        let all = partition.map(|tokens| ("PARTITION", tokens)).into_iter();
        let all = all.chain(descriptor.map(|tokens| ("TIMECOL", tokens))).chain(others);
        for (i, (argument, tokens)) in all.enumerate() {
            if i > 0 {
                self.push(SqlToken::Comma, name);
            }
            self.end_expression();
            self.push_all([quoted(&format!("${argument}")), SqlToken::LParen], &self.tokens[tokens.start]);
            self.at = tokens.start;
            self.run_to(tokens.end);
            self.push(SqlToken::RParen, name);
        }
        self.push_all([SqlToken::RParen, SqlToken::RParen], name);
        Ok(())
    }

    /// The arguments by their places in the form, without their names.
    fn window_arguments(&mut self, form: &Form, all: Range<usize>) -> Checked<Vec<(usize, Range<usize>)>> {
        let mut found: Vec<(usize, Range<usize>)> = Vec::new();
        let (at, mut named) = (self.at, false);
        self.at = all.start;
        while self.at < all.end {
            let (start, end) = (self.at, self.argument_end(all.end));
            let first = &self.tokens[start];
            let option = first.word().filter(|_| self.peek_is_symbol(1, "=") && self.peek_is_symbol(2, ">"));
            let place = match option {
                Some(option) => {
                    named = true;
                    form.arguments.iter().position(|name| *name == option).ok_or_else(|| {
                        let problem = Diagnostic::error(format!("{} has no argument {option}", form.name)).at(first.span);
                        let problem = problem.label(format!("arguments are {}", form.arguments.join(", ")));
                        Box::new(problem.did_you_mean(option, form.arguments.iter().copied()))
                    })?
                }
                None if named => {
                    let problem = Diagnostic::error("an argument without a name behind one with a name").at(first.span);
                    return Err(Box::new(problem.hint("Write the arguments without names first.")));
                }
                None => found.len(),
            };
            let tokens = start + if option.is_some() { 3 } else { 0 }..end;
            if place >= form.arguments.len() {
                let problem = Diagnostic::error(format!("{} has too many arguments", form.name)).at(first.span);
                return Err(Box::new(problem.hint(form.example)));
            }
            if tokens.is_empty() || found.iter().any(|(other, _)| *other == place) {
                let what = if tokens.is_empty() { "is empty" } else { "is given twice" };
                return Err(Box::new(
                    Diagnostic::error(format!("argument {} of {} {what}", form.arguments[place], form.name)).at(first.span),
                ));
            }
            found.push((place, tokens));
            self.at = end + 1;
        }
        self.at = at;
        Ok(found)
    }

    /// Rewrites `TABLE s`, `TABLE(query)` or `CURSOR(query)`; returns the columns of its PARTITION BY.
    fn window_data(&mut self, form: &Form, data: Range<usize>) -> Checked<Option<Range<usize>>> {
        let first = &self.tokens[data.start];
        let is_query = self.tokens.get(data.start + 1).is_some_and(|token| token.is_symbol("("));
        if !(first.is_word("TABLE") || (first.is_word("CURSOR") && is_query)) {
            let problem = Diagnostic::error(format!("the first argument of {} must be a stream", form.name)).at(first.span);
            return Err(Box::new(problem.label("expected TABLE and the name of a stream").hint(form.example)));
        }
        self.at = data.start + 1;
        let end = match is_query {
            true => self.group_end(self.at).min(data.end),
            false => (self.at..data.end).find(|at| self.tokens[*at].is_word("PARTITION")).unwrap_or(data.end),
        };
        self.run_to(end);
        if end == data.end {
            return Ok(None);
        }
        let rest = &self.tokens[end..data.end];
        let [partition, by, columns @ ..] = rest else {
            return Err(Box::new(Diagnostic::error(format!("unexpected {}", quote(self.text, &rest[0]))).at(rest[0].span)));
        };
        if !(partition.is_word("PARTITION") && by.is_word("BY")) || columns.is_empty() {
            let problem = Diagnostic::error(format!("unexpected {}", quote(self.text, partition))).at(partition.span);
            return Err(Box::new(problem.label("expected PARTITION BY column, or a comma")));
        }
        if form.name != "SESSION" {
            let problem = Diagnostic::error(format!("{} has no PARTITION BY", form.name)).at(partition.span);
            return Err(Box::new(problem.hint("Its windows are the same for all keys: name the keys in GROUP BY.")));
        }
        // Several columns stand in parentheses, as the comma ends the argument.
        let columns = match columns {
            [open, .., close] if open.is_symbol("(") && close.is_symbol(")") => end + 3..data.end - 1,
            _ => end + 2..data.end,
        };
        if columns.is_empty() {
            return Err(Box::new(Diagnostic::error("PARTITION BY without a column").at(partition.span).hint(form.example)));
        }
        Ok(Some(columns))
    }

    /// The column in `DESCRIPTOR(column)`.
    fn descriptor(&self, form: &Form, tokens: Range<usize>) -> Checked<Range<usize>> {
        let all = &self.tokens[tokens.clone()];
        let span = all.iter().fold(all[0].span, |span: Span, token| span.union(token.span));
        match all {
            [word, open, .., close]
                if word.is_word("DESCRIPTOR") && open.is_symbol("(") && close.is_symbol(")") && all.len() > 3 =>
            {
                Ok(tokens.start + 2..tokens.end - 1)
            }
            _ => {
                let problem = Diagnostic::error(format!("the second argument of {} must be DESCRIPTOR(ROWTIME)", form.name));
                Err(Box::new(problem.at(span).hint(form.example)))
            }
        }
    }

    /// Behind the call: a stream keeps its name if it gets no other. `data` is the place of the first argument.
    fn name_of_stream(&mut self, data: usize, at: &'a Token) {
        if self.alias_length(self.at) > 0 {
            return;
        }
        let named = self.tokens.get(data).and_then(Token::word).is_some_and(|word| word == "DATA");
        let mut place = data + if named { 4 } else { 1 };
        while self.tokens.get(place + 1).is_some_and(|token| token.is_symbol(".")) {
            place += 2;
        }
        if let Some(TokenKind::Word(name) | TokenKind::Quoted(name)) = self.tokens.get(place).map(|token| &token.kind) {
            self.push_all([keyword("AS"), quoted(name)], at);
        }
    }
}
