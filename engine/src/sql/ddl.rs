//! The grammar of statements: CREATE, DROP and ALTER of streams, pumps, sources, sinks, tables and functions.
//!
//! Input:  the tokens of one statement.
//! Output: a [`StatementKind`], or what is wrong with the statement: all wrong columns, else the first problem.
//! See:    kda-sql-reference.md §2; CREATE SOURCE, SINK and TABLE are this engine's own.

mod function;

use std::sync::Arc;

use super::cursor::{Cursor, Parsed};
use super::keywords::{OBJECTS, STATEMENTS};
use super::literal::{Interval, IntervalLiteral, interval, one_of, sql_type};
use super::query;
use super::statement::{
    AlterPump, ColumnDef, CreatePump, CreateSink, CreateSource, CreateStream, CreateTable, Drop, Name, ObjectKind, Query,
    SourceColumn, Statement, StatementKind, Watermark,
};
use super::token::{Token, TokenKind};
use crate::connector::options::OptionEntry;
use crate::diagnostic::{Diagnostic, Script, Span, closest};
use crate::types::{ROWTIME, SqlType};

pub(crate) use function::PARAMETERS;

/// The stream of failed rows; it exists by itself (§2.10).
pub(crate) const ERROR_STREAM: &str = "error_stream";

/// Parses the tokens of one statement, of which there must be at least one; what is wrong goes to `problems`. With problems after
/// which parsing could go on, there is a statement all the same, with something in the place of what is wrong.
pub(crate) fn statement(tokens: &[Token], script: &Arc<Script>, problems: &mut Vec<Diagnostic>) -> Option<Statement> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let mut grammar = Grammar { cursor: Cursor::new(tokens, &script.text), script, problems };
    let kind = match grammar.statement() {
        Ok(kind) => kind,
        Err(problem) => {
            problems.push(*problem);
            return None;
        }
    };
    let text = script.text[first.range.start..last.range.end].to_owned();
    Some(Statement { kind, span: first.span.union(last.span), script: script.clone(), text })
}

struct Grammar<'a, 'p> {
    cursor: Cursor<'a>,
    script: &'a Arc<Script>,
    /// Problems after which parsing could go on.
    problems: &'p mut Vec<Diagnostic>,
}

impl Grammar<'_, '_> {
    fn statement(&mut self) -> Parsed<StatementKind> {
        if self.cursor.at_symbol("(") {
            return self.query(false).map(StatementKind::Query);
        }
        match self.cursor.peek_word() {
            Some("SELECT" | "WITH" | "VALUES") => self.query(false).map(StatementKind::Query),
            Some("CREATE") => self.create(),
            Some("DROP") => self.drop(),
            Some("ALTER") => self.alter(),
            Some("REFRESH") => {
                self.cursor.next += 1;
                self.cursor.expect_word("TABLE")?;
                let name = self.cursor.object_name("the name of the table")?;
                self.end()?;
                Ok(StatementKind::Refresh(name))
            }
            Some("EXPLAIN") => {
                self.cursor.next += 1;
                self.explain()
            }
            Some("INSERT") => Err(Box::new(
                Diagnostic::error("INSERT stands only in a pump")
                    .at(self.cursor.span())
                    .hint("Write CREATE PUMP \"name\" AS INSERT INTO … SELECT STREAM …."),
            )),
            Some("SET") if self.cursor.rest().get(1).is_some_and(|token| token.is_word("SCHEMA")) => {
                self.cursor.next += 2;
                Err(Box::new(
                    Diagnostic::error("SET SCHEMA is not supported")
                        .at(self.cursor.span_from(0))
                        .hint("All objects of a script are in one schema; remove the statement."),
                ))
            }
            Some("SET") => {
                self.cursor.next += 1;
                let entry = option(&mut self.cursor)?;
                self.end()?;
                Ok(StatementKind::Set(entry))
            }
            word => Err(Box::new(self.unknown_statement(word))),
        }
    }

    fn unknown_statement(&self, word: Option<&str>) -> Diagnostic {
        let Some(token) = self.cursor.peek() else { return *self.cursor.unexpected("a statement") };
        let problem = Diagnostic::error(format!("no statement starts with {}", self.cursor.quote(token)))
            .at(token.span)
            .label(format!("expected {}", one_of(STATEMENTS)));
        match word {
            Some(word) => problem.did_you_mean(word, STATEMENTS.iter().copied()),
            None => problem,
        }
    }

    fn explain(&mut self) -> Parsed<StatementKind> {
        let rest = self.cursor.rest();
        let explains_pump = ["PUMP", "STREAM"]
            .iter()
            .any(|kind| self.cursor.at_words(&["CREATE", kind]) || self.cursor.at_words(&["CREATE", "OR", "REPLACE", kind]));
        let explains_query = self.cursor.at_symbol("(") || matches!(self.cursor.peek_word(), Some("SELECT" | "WITH" | "VALUES"));
        if !explains_pump && !explains_query {
            return Err(self.cursor.unexpected("a query, CREATE PUMP or CREATE STREAM"));
        }
        let found = self.problems.len();
        let inner = statement(rest, self.script, self.problems).filter(|_| self.problems.len() == found);
        self.cursor.next += rest.len();
        match inner {
            Some(inner) => Ok(StatementKind::Explain(Box::new(inner))),
            // Its problems are in the list; any error would do, and the last of them is one.
            None => Err(Box::new(self.problems.pop().unwrap_or_else(|| *self.cursor.unexpected("a query")))),
        }
    }

    /// The rest of the statement as a query.
    fn query(&mut self, stream: bool) -> Parsed<Query> {
        let rest = self.cursor.rest();
        if rest.is_empty() {
            return Err(self.cursor.unexpected("SELECT STREAM"));
        }
        self.cursor.next += rest.len();
        query::parse(rest, stream, &self.script.text).map_err(|mut found| {
            // The caller reports the error it gets, so the first ones go straight to the list.
            let last = found.pop();
            self.problems.append(&mut found);
            Box::new(last.unwrap_or_else(|| *self.cursor.unexpected("a query")))
        })
    }

    fn create(&mut self) -> Parsed<StatementKind> {
        let start = self.cursor.next;
        self.cursor.next += 1;
        let or_replace = self.cursor.accept_words(&["OR", "REPLACE"]);
        if self.cursor.accept_word("RENAME") {
            let problem = Diagnostic::error("CREATE OR REPLACE RENAME is not supported").at(self.cursor.last_span());
            return Err(Box::new(problem.hint("Drop or replace the old object; a script starts without any.")));
        }
        let kind = self.cursor.peek_word();
        self.cursor.next += usize::from(kind.is_some());
        let refuse = |grammar: &Self, message: &str, hint: &str| -> Parsed<StatementKind> {
            Err(Box::new(Diagnostic::error(message).at(grammar.cursor.span_from(start)).hint(hint)))
        };
        match kind {
            Some("STREAM") => self.create_stream(or_replace).map(StatementKind::CreateStream),
            Some("PUMP") => self.create_pump(or_replace).map(StatementKind::CreatePump),
            Some("SOURCE") => self.create_source(or_replace).map(StatementKind::CreateSource),
            Some("SINK") => self.create_sink(or_replace).map(StatementKind::CreateSink),
            Some("TABLE") => self.create_table(or_replace).map(StatementKind::CreateTable),
            Some("VIEW") => refuse(
                self,
                "CREATE VIEW is not supported",
                "Create a stream and a pump that fills it: CREATE STREAM v (…); CREATE PUMP p AS INSERT INTO v SELECT STREAM ….",
            ),
            Some("FUNCTION") => self.create_function(or_replace).map(StatementKind::CreateFunction),
            Some("SCHEMA") => {
                refuse(self, "CREATE SCHEMA is not supported", "All objects of a script are in one schema; remove the statement.")
            }
            Some("FOREIGN" | "SERVER") => {
                self.cursor.accept_word("STREAM");
                let written = format!("CREATE {}", if kind == Some("SERVER") { "SERVER" } else { "FOREIGN STREAM" });
                refuse(
                    self,
                    &format!("{written} is not supported"),
                    "Read with CREATE SOURCE name (columns) WITH (connector = '…'), write with CREATE SINK name FROM stream WITH \
                     (connector = '…').",
                )
            }
            _ => {
                self.cursor.next -= usize::from(kind.is_some());
                let problem = self.cursor.unexpected(&one_of(OBJECTS));
                Err(Box::new(match kind {
                    Some(word) => problem.did_you_mean(word, OBJECTS.iter().copied()),
                    None => *problem,
                }))
            }
        }
    }

    /// The name of a new stream, source or table.
    fn new_stream_name(&mut self, kind: &str) -> Parsed<Name> {
        let name = self.cursor.object_name(&format!("the name of the {kind}"))?;
        if name.value.eq_ignore_ascii_case(ERROR_STREAM) {
            self.problems.push(
                Diagnostic::error(format!("{kind} {ERROR_STREAM} cannot be created"))
                    .at(name.span)
                    .label("it exists in every application")
                    .hint("Rows that fail go to it by themselves; choose another name for your own stream."),
            );
        }
        Ok(name)
    }

    fn create_stream(&mut self, or_replace: bool) -> Parsed<CreateStream> {
        let name = self.new_stream_name("stream")?;
        let mut columns: Vec<ColumnDef> = Vec::new();
        if self.cursor.at_symbol("(") {
            let list = self.columns(false)?.0;
            columns = list
                .into_iter()
                .map(|SourceColumn { name, sql_type, not_null, .. }| ColumnDef { name, sql_type, not_null })
                .collect();
        }
        self.description_and_options()?;
        let query = if self.cursor.accept_word("AS") {
            Some(self.query(true)?)
        } else if columns.is_empty() && self.problems.is_empty() {
            return Err(self.cursor.unexpected("( and the columns, or AS and a query"));
        } else {
            self.end()?;
            None
        };
        Ok(CreateStream { or_replace, name, columns, query })
    }

    fn create_pump(&mut self, or_replace: bool) -> Parsed<CreatePump> {
        let name = self.cursor.object_name("the name of the pump")?;
        let stopped = self.cursor.accept_word("STOPPED");
        if !stopped {
            self.cursor.accept_word("STARTED");
        }
        self.description_and_options()?;
        self.cursor.expect_word("AS")?;
        if matches!(self.cursor.peek_word(), Some("SELECT" | "WITH" | "VALUES")) {
            let problem = self.cursor.unexpected("INSERT INTO and the stream to fill");
            return Err(Box::new(problem.hint("A pump fills a stream: CREATE PUMP p AS INSERT INTO s SELECT STREAM ….")));
        }
        self.cursor.expect_word("INSERT")?;
        self.cursor.accept_word("EXPEDITED");
        self.cursor.expect_word("INTO")?;
        let target = self.cursor.object_name("the stream to fill")?;
        // A parenthesis opens a column list or a query.
        let opens_query = |token: Option<&Token>| {
            token.is_some_and(|token| token.is_symbol("(") || matches!(token.word(), Some("SELECT" | "WITH" | "VALUES")))
        };
        let mut columns = None;
        if self.cursor.at_symbol("(") && !opens_query(self.cursor.rest().get(1)) {
            let names = self.cursor.list(|cursor| cursor.name("a column"))?;
            self.report_duplicates(names.iter());
            columns = Some(names);
        }
        if !opens_query(self.cursor.peek()) {
            return Err(self.cursor.unexpected("SELECT STREAM"));
        }
        let query = self.query(true)?;
        Ok(CreatePump { or_replace, name, started: !stopped, target, columns, query })
    }

    fn create_source(&mut self, or_replace: bool) -> Parsed<CreateSource> {
        let name = self.new_stream_name("source")?;
        let (columns, watermark) = if self.cursor.at_symbol("(") { self.columns(true)? } else { (Vec::new(), None) };
        let (options, options_span) = self.with()?;
        if let Some(watermark) = &watermark {
            self.check_watermark(watermark, &columns);
        }
        Ok(CreateSource { or_replace, name, columns, watermark, options, options_span })
    }

    fn create_sink(&mut self, or_replace: bool) -> Parsed<CreateSink> {
        let name = self.cursor.object_name("the name of the sink")?;
        self.cursor.expect_word("FROM")?;
        let mut from = self.cursor.object_name("the stream to deliver")?;
        // No other stream can have this name, whatever its case.
        if from.value.eq_ignore_ascii_case(ERROR_STREAM) {
            from.value = ERROR_STREAM.to_owned();
        }
        let (options, options_span) = self.with()?;
        Ok(CreateSink { or_replace, name, from, options, options_span })
    }

    fn create_table(&mut self, or_replace: bool) -> Parsed<CreateTable> {
        let name = self.new_stream_name("table")?;
        let (columns, watermark) = if self.cursor.at_symbol("(") { self.columns(true)? } else { (Vec::new(), None) };
        if let Some(watermark) = watermark {
            self.problems.push(Diagnostic::error("a table has no watermark").at(watermark.span).label("only a source has one"));
        }
        let (options, options_span) = self.with()?;
        Ok(CreateTable { or_replace, name, columns, options, options_span })
    }

    /// The parenthesised columns; PATH and WATERMARK only if `source`.
    fn columns(&mut self, source: bool) -> Parsed<(Vec<SourceColumn>, Option<Watermark>)> {
        self.cursor.expect_symbol("(")?;
        let mut columns = Vec::new();
        let mut watermark = None;
        loop {
            if source && self.cursor.at_words(&["WATERMARK", "FOR"]) {
                let clause = self.watermark()?;
                if watermark.is_some() {
                    self.problems.push(Diagnostic::error("a source has one WATERMARK").at(clause.span).label("the second one"));
                }
                watermark = Some(clause);
            } else {
                columns.push(self.column(source)?);
            }
            if self.cursor.accept_symbol(")") {
                break;
            }
            if !self.cursor.accept_symbol(",") {
                let expected = if source { ", or ), NOT NULL or PATH '…'" } else { ", or ) or NOT NULL" };
                return Err(self.cursor.unexpected(expected));
            }
        }
        self.report_duplicates(columns.iter().map(|column| &column.name));
        Ok((columns, watermark))
    }

    fn column(&mut self, source: bool) -> Parsed<SourceColumn> {
        let name = self.cursor.name("a column")?;
        if name.value == ROWTIME {
            self.problems.push(
                Diagnostic::error("column ROWTIME cannot be declared")
                    .at(name.span)
                    .label("every stream has it")
                    .hint("Choose another name, and select ROWTIME into it where it is needed."),
            );
        }
        let start = self.cursor.next;
        let sql_type = match sql_type(&mut self.cursor) {
            Ok(sql_type) => sql_type,
            Err(problem) => {
                // Go on with the next column, to find all wrong types at once.
                self.problems.push(*problem);
                self.cursor.next = start;
                self.skip_column();
                SqlType::Integer
            }
        };
        let mut column = SourceColumn { name, sql_type, not_null: false, path: None };
        loop {
            if self.cursor.accept_words(&["NOT", "NULL"]) {
                column.not_null = true;
            } else if source && self.cursor.accept_word("PATH") {
                let (path, span) = self.cursor.expect_text("the path of the value, as in PATH '$.a.b'")?;
                column.path = Some((path.to_owned(), span));
            } else if let Some(word @ ("PRIMARY" | "DEFAULT" | "UNIQUE" | "CHECK" | "REFERENCES" | "CONSTRAINT")) =
                self.cursor.peek_word()
            {
                let problem = Diagnostic::error(format!("{word} is not supported")).at(self.cursor.span());
                return Err(Box::new(problem.label("a column has a name, a type and NOT NULL")));
            } else {
                return Ok(column);
            }
        }
    }

    /// Steps to the comma or parenthesis that ends the column.
    fn skip_column(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.cursor.peek() {
            match token.kind {
                TokenKind::Symbol("(") => depth += 1,
                TokenKind::Symbol(")" | ",") if depth == 0 => return,
                TokenKind::Symbol(")") => depth -= 1,
                _ => {}
            }
            self.cursor.next += 1;
        }
    }

    fn report_duplicates<'n>(&mut self, names: impl Iterator<Item = &'n Name>) {
        let mut seen = std::collections::HashSet::new();
        for name in names {
            if !seen.insert(&name.value) {
                self.problems.push(Diagnostic::error(format!("column \"{}\" is listed twice", name.value)).at(name.span));
            }
        }
    }

    /// `WATERMARK FOR column AS column [- interval]`.
    fn watermark(&mut self) -> Parsed<Watermark> {
        let start = self.cursor.next;
        self.cursor.next += 2;
        let column = self.cursor.name("the event-time column")?;
        self.cursor.expect_word("AS")?;
        let base = self.cursor.name("the event-time column")?;
        if base.value != column.value {
            return Err(Box::new(
                Diagnostic::error(format!("WATERMARK of column \"{}\" is taken from column \"{}\"", column.value, base.value))
                    .at(base.span)
                    .label(format!("expected \"{}\"", column.value)),
            ));
        }
        let mut delay_ms = 0;
        if self.cursor.accept_symbol("-") {
            if !self.cursor.at_words(&["INTERVAL"]) {
                return Err(self.cursor.unexpected("an interval, as in INTERVAL '5' SECOND"));
            }
            let IntervalLiteral { value, span, .. } = interval(&mut self.cursor)?;
            match value {
                Interval::Milliseconds(delay @ 0..) => delay_ms = delay,
                _ => {
                    self.problems.push(
                        Diagnostic::error("the delay of a WATERMARK cannot be negative or in months")
                            .at(span)
                            .label("expected an interval of at least 0 in DAY, HOUR, MINUTE or SECOND"),
                    );
                }
            }
        }
        Ok(Watermark { column, delay_ms, span: self.cursor.span_from(start) })
    }

    fn check_watermark(&mut self, watermark: &Watermark, columns: &[SourceColumn]) {
        let Name { value, span, .. } = &watermark.column;
        if columns.is_empty() {
            return;
        }
        match columns.iter().find(|column| column.name.value == *value) {
            None => self.problems.push(unknown_column(value, *span, columns)),
            Some(column) if column.sql_type != SqlType::Timestamp => self.problems.push(
                Diagnostic::error(format!("column \"{value}\" cannot be the event time"))
                    .at(*span)
                    .label(format!("expected a TIMESTAMP, it is {}", column.sql_type)),
            ),
            Some(_) => {}
        }
    }

    /// `DESCRIPTION '…'` and `OPTIONS (name '…', …)` have no effect (§8.3).
    fn description_and_options(&mut self) -> Parsed<()> {
        loop {
            if self.cursor.accept_word("DESCRIPTION") {
                self.cursor.expect_text("a description in single quotes")?;
            } else if self.cursor.accept_word("OPTIONS") {
                self.cursor.list(|cursor| {
                    cursor.name("the name of an option")?;
                    cursor.expect_text("the value of the option in single quotes").map(|_| ())
                })?;
            } else {
                return Ok(());
            }
        }
    }

    /// `WITH (key = value, …)`, the last clause.
    fn with(&mut self) -> Parsed<(Vec<OptionEntry>, Span)> {
        let start = self.cursor.next;
        if !self.cursor.accept_word("WITH") {
            let problem = self.cursor.unexpected("WITH and the options of a connector");
            return Err(Box::new(problem.hint("Options are written WITH (connector = 'file', path = 'rows.json').")));
        }
        let options = self.cursor.list(option)?;
        let span = self.cursor.span_from(start);
        self.end()?;
        Ok((options, span))
    }

    fn drop(&mut self) -> Parsed<StatementKind> {
        let start = self.cursor.next;
        self.cursor.next += 1;
        let kind = match self.cursor.peek_word() {
            Some("STREAM") => ObjectKind::Stream,
            Some("PUMP") => ObjectKind::Pump,
            Some("SOURCE") => ObjectKind::Source,
            Some("SINK") => ObjectKind::Sink,
            Some("TABLE") => ObjectKind::Table,
            Some("FUNCTION") => {
                self.cursor.next += 1;
                return self.drop_function().map(StatementKind::DropFunction);
            }
            Some(word @ ("VIEW" | "SCHEMA" | "SERVER")) => {
                self.cursor.next += 1;
                let problem = Diagnostic::error(format!("DROP {word} is not supported")).at(self.cursor.span_from(start));
                return Err(Box::new(problem.hint(format!("A {} cannot be created either.", word.to_lowercase()))));
            }
            word => {
                let problem = self.cursor.unexpected(&one_of(OBJECTS));
                return Err(Box::new(match word {
                    Some(word) => problem.did_you_mean(word, OBJECTS.iter().copied()),
                    None => *problem,
                }));
            }
        };
        self.cursor.next += 1;
        let if_exists = self.cursor.accept_words(&["IF", "EXISTS"]);
        let name = self.cursor.object_name("a name")?;
        let restrict = !self.cursor.accept_word("CASCADE") && self.cursor.accept_word("RESTRICT");
        self.end()?;
        Ok(StatementKind::Drop(Drop { kind, name, if_exists, restrict }))
    }

    fn alter(&mut self) -> Parsed<StatementKind> {
        let start = self.cursor.next;
        self.cursor.next += 1;
        if self.cursor.accept_word("STREAM") {
            let problem = Diagnostic::error("ALTER STREAM is not supported").at(self.cursor.span_from(start));
            return Err(Box::new(problem.hint("Write CREATE OR REPLACE STREAM with the columns it shall have.")));
        }
        self.cursor.expect_word("PUMP")?;
        let mut names = Vec::new();
        // There is one schema: `schema.*` are all pumps.
        if let [_, dot, all, ..] = self.cursor.rest()
            && dot.is_symbol(".")
            && all.is_symbol("*")
        {
            self.cursor.next += 3;
        } else {
            names.push(self.cursor.object_name("the name of a pump")?);
            while self.cursor.accept_symbol(",") {
                names.push(self.cursor.object_name("the name of a pump")?);
            }
        }
        let start = if self.cursor.accept_word("START") {
            true
        } else if self.cursor.accept_word("STOP") {
            false
        } else {
            return Err(self.cursor.unexpected("START or STOP"));
        };
        self.end()?;
        Ok(StatementKind::AlterPump(AlterPump { names, start }))
    }

    fn end(&self) -> Parsed<()> {
        self.cursor.end("; and the next statement")
    }
}

/// `key = value`; a key may be dotted or quoted.
fn option(cursor: &mut Cursor<'_>) -> Parsed<OptionEntry> {
    let start = cursor.next;
    let mut key = cursor.name("an option")?.value.to_lowercase();
    while cursor.accept_symbol(".") {
        key.push('.');
        key.push_str(&cursor.name("the rest of the option's name")?.value.to_lowercase());
    }
    let key_span = cursor.span_from(start);
    cursor.expect_symbol("=")?;
    let start = cursor.next;
    let sign = if cursor.accept_symbol("-") { "-" } else { "" };
    let value = match cursor.peek().map(|token| &token.kind) {
        Some(TokenKind::Text(value)) if sign.is_empty() => value.clone(),
        Some(TokenKind::Number(number)) => format!("{sign}{number}"),
        Some(TokenKind::Word(word)) if sign.is_empty() && (word == "TRUE" || word == "FALSE") => word.to_lowercase(),
        Some(TokenKind::Word(_) | TokenKind::Quoted(_)) => {
            let problem = cursor.unexpected("a text in single quotes, a number, TRUE or FALSE");
            return Err(Box::new(problem.hint("Texts are in single quotes, as in path = 'rows.json'.")));
        }
        _ => return Err(cursor.unexpected("a text in single quotes, a number, TRUE or FALSE")),
    };
    cursor.next += 1;
    Ok(OptionEntry { key, key_span: Some(key_span), value, value_span: Some(cursor.span_from(start)) })
}

fn unknown_column(name: &str, span: Span, columns: &[SourceColumn]) -> Diagnostic {
    let names: Vec<&str> = columns.iter().map(|column| column.name.value.as_str()).collect();
    let problem = Diagnostic::error(format!("column \"{name}\" is not declared"))
        .at(span)
        .label(format!("columns are {}", names.join(", ")));
    match closest(name, names.iter().copied()) {
        Some(candidate) => problem.hint(format!("Did you mean \"{candidate}\"?")),
        None => problem,
    }
}
