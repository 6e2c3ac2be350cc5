//! What a script consists of, after parsing: statements with the places of their names.
//!
//! Names are folded as the dialect demands: an unquoted name is in upper case, a quoted one is as written.
//! Options of connectors keep their text; they are checked when the statement is bound.

use std::sync::Arc;

use super::item_text::ItemTexts;
use crate::connector::options::OptionEntry;
use crate::diagnostic::{Diagnostic, Script, Span};
use crate::types::SqlType;

/// One statement of a script.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// From its first to its last word, without the semicolon.
    pub span: Span,
    /// The script it stands in; every span of the statement refers to it.
    pub script: Arc<Script>,
    /// Its text, comments inside included.
    pub text: String,
}

/// An identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name to look up: upper case unless quoted.
    pub value: String,
    /// Where it stands, quotes included.
    pub span: Span,
    /// True if it was written in double quotes.
    pub quoted: bool,
}

/// The kinds of statements.
#[derive(Debug, Clone)]
pub enum StatementKind {
    /// `CREATE STREAM`.
    CreateStream(CreateStream),
    /// `CREATE PUMP`.
    CreatePump(CreatePump),
    /// `CREATE SOURCE`.
    CreateSource(CreateSource),
    /// `CREATE SINK`.
    CreateSink(CreateSink),
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `CREATE FUNCTION`.
    CreateFunction(CreateFunction),
    /// `DROP` of anything but a function.
    Drop(Drop),
    /// `DROP FUNCTION`.
    DropFunction(DropFunction),
    /// `ALTER PUMP … START | STOP`.
    AlterPump(AlterPump),
    /// `SET name = value`: a switch of the engine, for the statements that follow.
    Set(OptionEntry),
    /// `REFRESH TABLE name`.
    Refresh(Name),
    /// A query on its own.
    Query(Query),
    /// `EXPLAIN` of a query or of a `CREATE PUMP`.
    Explain(Box<Statement>),
}

/// `CREATE [OR REPLACE] STREAM name [(columns)] [AS SELECT STREAM …]`; it has columns, a query or both.
#[derive(Debug, Clone)]
pub struct CreateStream {
    /// Written `OR REPLACE`.
    pub or_replace: bool,
    /// The stream.
    pub name: Name,
    /// Declared columns, without ROWTIME; empty if the query gives them.
    pub columns: Vec<ColumnDef>,
    /// The query that fills the stream.
    pub query: Option<Query>,
}

/// A column of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDef {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub sql_type: SqlType,
    /// Written `NOT NULL`.
    pub not_null: bool,
}

/// `CREATE [OR REPLACE] PUMP name [STARTED | STOPPED] AS INSERT INTO target [(columns)] query`.
#[derive(Debug, Clone)]
pub struct CreatePump {
    /// Written `OR REPLACE`.
    pub or_replace: bool,
    /// The pump.
    pub name: Name,
    /// False if written `STOPPED`.
    pub started: bool,
    /// The stream that it fills.
    pub target: Name,
    /// The columns that it fills, if listed; never empty.
    pub columns: Option<Vec<Name>>,
    /// What it inserts; always continuous, `STREAM` written or not.
    pub query: Query,
}

/// `CREATE [OR REPLACE] SOURCE name [(columns [, WATERMARK …])] WITH (options)`.
#[derive(Debug, Clone)]
pub struct CreateSource {
    /// Written `OR REPLACE`.
    pub or_replace: bool,
    /// The stream that the source feeds.
    pub name: Name,
    /// Declared columns, without ROWTIME; empty if the connector is to find them out.
    pub columns: Vec<SourceColumn>,
    /// Which column is the event time.
    pub watermark: Option<Watermark>,
    /// The options, in the order written.
    pub options: Vec<OptionEntry>,
    /// The whole WITH clause.
    pub options_span: Span,
}

/// A column of a source or of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceColumn {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub sql_type: SqlType,
    /// Written `NOT NULL`.
    pub not_null: bool,
    /// Written `PATH '…'`: where in a record its value is, and where the path stands.
    pub path: Option<(String, Span)>,
}

/// `WATERMARK FOR column AS column [- INTERVAL '…' …]`: the column is the ROWTIME, and rows may be this late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The event-time column.
    pub column: Name,
    /// How far the watermark stays behind the latest event time, in milliseconds, at least 0.
    pub delay_ms: i64,
    /// The whole clause.
    pub span: Span,
}

/// `CREATE [OR REPLACE] SINK name FROM stream WITH (options)`.
#[derive(Debug, Clone)]
pub struct CreateSink {
    /// Written `OR REPLACE`.
    pub or_replace: bool,
    /// The sink.
    pub name: Name,
    /// The stream that it delivers.
    pub from: Name,
    /// The options, in the order written.
    pub options: Vec<OptionEntry>,
    /// The whole WITH clause.
    pub options_span: Span,
}

/// `CREATE [OR REPLACE] TABLE name [(columns)] WITH (options)`: reference data.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// Written `OR REPLACE`.
    pub or_replace: bool,
    /// The table.
    pub name: Name,
    /// Declared columns; empty if the connector is to find them out.
    pub columns: Vec<SourceColumn>,
    /// The options, in the order written.
    pub options: Vec<OptionEntry>,
    /// The whole WITH clause.
    pub options_span: Span,
}

/// `CREATE [OR REPLACE] FUNCTION name (parameters) RETURNS type [clauses] RETURN expression`.
#[derive(Debug, Clone)]
pub struct CreateFunction {
    /// Written `OR REPLACE`.
    pub or_replace: bool,
    /// The function; others of its name have other types of parameters.
    pub name: Name,
    /// Written `SPECIFIC`: a name that no other function has.
    pub specific: Option<Name>,
    /// The parameters, of different names.
    pub parameters: Vec<Parameter>,
    /// Type of the result.
    pub returns: SqlType,
    /// False if written `NOT DETERMINISTIC`, and where that stands.
    pub deterministic: Option<(bool, Span)>,
    /// Written `RETURNS NULL ON NULL INPUT`.
    pub null_on_null: bool,
    /// Where `READS SQL DATA` or `MODIFIES SQL DATA` stands.
    pub data: Option<Span>,
    /// The body as the query `SELECT body FROM "$parameters"`.
    pub body: Query,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub sql_type: SqlType,
}

/// `DROP FUNCTION [IF EXISTS] name [(types)]`.
#[derive(Debug, Clone)]
pub struct DropFunction {
    /// Which one, by its name or its specific name.
    pub name: Name,
    /// Types of its parameters; may be left out if there is one function of the name.
    pub parameters: Option<Vec<SqlType>>,
    /// Written `IF EXISTS`.
    pub if_exists: bool,
}

/// Kinds of objects that a script creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// An in-application stream.
    Stream,
    /// A pump.
    Pump,
    /// A source connector.
    Source,
    /// A sink connector.
    Sink,
    /// A reference table.
    Table,
}

/// `DROP kind [IF EXISTS] name [CASCADE | RESTRICT]`.
#[derive(Debug, Clone)]
pub struct Drop {
    /// What kind of object.
    pub kind: ObjectKind,
    /// Which one.
    pub name: Name,
    /// Written `IF EXISTS`.
    pub if_exists: bool,
    /// Written `RESTRICT`: nothing may depend on it. Else what does goes with it, as in `CREATE OR REPLACE`.
    pub restrict: bool,
}

/// `ALTER PUMP names START | STOP`, or `ALTER PUMP schema.* START | STOP`.
#[derive(Debug, Clone)]
pub struct AlterPump {
    /// The pumps; all of them if none is named.
    pub names: Vec<Name>,
    /// True for START.
    pub start: bool,
}

/// A query, ready for DataFusion's planner.
#[derive(Debug, Clone)]
pub struct Query {
    /// The tree, with everything that only this dialect has rewritten (see the `query` module).
    pub ast: Box<sqlparser::ast::Query>,
    /// True if it runs continuously: `STREAM` is written anywhere in it, or it is the query of a pump or stream.
    pub stream: bool,
    /// From its first to its last word.
    pub span: Span,
    /// The items of select lists as they are written.
    pub(crate) item_texts: ItemTexts,
    /// What may not be meant.
    pub warnings: Vec<Diagnostic>,
    /// What is wrong if parts of it read a stream.
    pub of_streams: Vec<OfStreams>,
}

/// A problem of a stream query which a query of tables has not.
#[derive(Debug, Clone)]
pub struct OfStreams {
    /// The problem.
    pub problem: Diagnostic,
    /// The part, a query in parentheses: it is a stream query if it reads a stream.
    pub within: Span,
}
