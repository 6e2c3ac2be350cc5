//! Which streams and tables a statement reads, and which it makes, told without binding it.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Visit as _, Visitor};

use super::{ObjectKind, Query, Statement, StatementKind};
use crate::connector::common::LATE;

impl Statement {
    /// Names of the streams and tables that it reads, in the order in which they stand.
    pub fn reads(&self) -> Vec<String> {
        match &self.kind {
            StatementKind::Query(query) => query.reads(),
            StatementKind::CreatePump(pump) => pump.query.reads(),
            StatementKind::CreateStream(stream) => stream.query.as_ref().map_or_else(Vec::new, Query::reads),
            StatementKind::CreateFunction(function) => function.body.reads(),
            StatementKind::CreateSink(sink) => vec![sink.from.value.clone()],
            StatementKind::Refresh(name) => vec![name.value.clone()],
            StatementKind::Explain(statement) => statement.reads(),
            StatementKind::CreateSource(_)
            | StatementKind::CreateTable(_)
            | StatementKind::Drop(_)
            | StatementKind::DropFunction(_)
            | StatementKind::AlterPump(_)
            | StatementKind::Set(_) => Vec::new(),
        }
    }

    /// Streams, sources and tables that it makes: a source with late rows makes two.
    pub fn makes(&self) -> Vec<(ObjectKind, &str)> {
        match &self.kind {
            StatementKind::CreateStream(stream) => vec![(ObjectKind::Stream, &stream.name.value)],
            StatementKind::CreateTable(table) => vec![(ObjectKind::Table, &table.name.value)],
            StatementKind::CreateSource(source) => {
                let late = source.options.iter().filter(|option| option.key == LATE.name);
                let late = late.map(|option| (ObjectKind::Stream, option.value.as_str()));
                std::iter::once((ObjectKind::Source, source.name.value.as_str())).chain(late).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Query {
    fn reads(&self) -> Vec<String> {
        #[derive(Default)]
        struct Reads {
            /// Names that WITH gives to queries.
            with: Vec<String>,
            found: Vec<String>,
        }
        impl Visitor for Reads {
            type Break = ();
            fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
                self.with.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.clone()));
                ControlFlow::Continue(())
            }
            fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> ControlFlow<()> {
                let name = relation.0.last().and_then(|part| part.as_ident());
                // Names with a $ are those of rewritten clauses.
                self.found.extend(name.filter(|name| !name.value.starts_with('$')).map(|name| name.value.clone()));
                ControlFlow::Continue(())
            }
        }
        let mut reads = Reads::default();
        // The visitor never breaks off.
        let _ = self.ast.visit(&mut reads);
        reads.found.retain(|name| !reads.with.contains(name));
        reads.found
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::Script;
    use crate::sql::parse_script;

    #[test]
    fn statements_tell_what_they_read_and_what_they_make() {
        for (sql, reads, makes) in [
            ("SELECT STREAM a FROM s JOIN app.\"t\" ON s.a = \"t\".a", "S t", ""),
            (
                "CREATE PUMP p AS INSERT INTO o SELECT STREAM a FROM (SELECT STREAM a FROM s UNION ALL SELECT STREAM a FROM u)",
                "S U",
                "",
            ),
            ("CREATE STREAM o AS SELECT STREAM a FROM TABLE(HOTSPOTS(CURSOR(SELECT STREAM a FROM s), 1, 1, 1))", "S", "O"),
            ("EXPLAIN SELECT STREAM a FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '1' MINUTE))", "S", ""),
            ("SELECT STREAM a FROM s OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS x JOIN s AS y ON x.a = y.a", "S S", ""),
            ("SELECT a FROM t WHERE a IN (SELECT a FROM u)", "T U", ""),
            ("CREATE SINK k FROM o WITH (connector = 'stdout')", "O", ""),
            ("CREATE SOURCE s WITH (connector = 'stdin', late = 'L')", "", "S L"),
            ("CREATE TABLE t WITH (connector = 'file', path = 'x')", "", "T"),
            ("CREATE FUNCTION f (x INTEGER) RETURNS INTEGER RETURN x + 1", "", ""),
        ] {
            let parsed = parse_script(&Script::new("a.sql", sql));
            let [statement] = parsed.statements.as_slice() else { panic!("{sql}: {:?}", parsed.diagnostics) };
            let made: Vec<_> = statement.makes().into_iter().map(|(_, name)| name).collect();
            assert_eq!((statement.reads().join(" "), made.join(" ")), (reads.to_owned(), makes.to_owned()), "{sql}");
        }
    }
}
