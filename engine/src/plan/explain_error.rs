//! DataFusion's planning errors in the words of a user of SQL.

use arrow::datatypes::Schema;
use datafusion::common::{Column, DataFusionError, SchemaError};

use super::names::{unknown_column, unknown_relation};
use super::planner_words::{about_names, about_types, with_sql_types};
use super::query::StreamSchemas;
use crate::diagnostic::{Diagnostic, Span};
use crate::error::arrow_message;
use crate::sql::CURSOR;
use crate::types::ROWTIME;

/// DataFusion's planning error in our words.
pub(crate) fn explain_error(error: &DataFusionError, streams: &StreamSchemas) -> Diagnostic {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| Span {
        start: crate::diagnostic::Position { line: span.start.line, column: span.start.column },
        end: crate::diagnostic::Position { line: span.end.line, column: span.end.column },
    });
    let diagnostic = match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => unknown_field(field, valid_fields, streams),
            SchemaError::AmbiguousReference { field } if field.name == ROWTIME => {
                Diagnostic::error("ROWTIME is ambiguous: the rows have one, and the select list gives them another")
                    .hint("Name the columns instead of a wildcard, or sort in a query in FROM.")
            }
            SchemaError::AmbiguousReference { field } => Diagnostic::error(format!("column \"{}\" is ambiguous", field.name))
                .hint("Write it with the alias of its stream: alias.column."),
            other => Diagnostic::error(lower_first(&other.to_string())),
        },
        DataFusionError::Plan(message) if message.starts_with("UNION queries have different number of columns") => {
            Diagnostic::error("the sides of UNION give different numbers of columns")
                .hint("Columns go together by their place: write NULL where one is missing.")
        }
        DataFusionError::Plan(message) if message.contains("must appear in the GROUP BY clause") => {
            let column = message.split('"').nth(1).and_then(|name| name.rsplit('.').next()).unwrap_or_default();
            Diagnostic::error(format!("column \"{column}\" is neither in GROUP BY nor inside an aggregate"))
                .hint("Add it to the GROUP BY, or use it inside an aggregate such as MAX.")
        }
        root if let Some(problem) = about_types(&message_of(root)).or_else(|| about_names(&message_of(root))) => problem,
        // A value that was computed while the query was planned.
        DataFusionError::ArrowError(error, _) => Diagnostic::error(arrow_message(error)),
        // What DataFusion takes for its own mistake is here a call that it cannot plan.
        DataFusionError::Internal(message) => {
            let first = message.lines().next().unwrap_or_default().split(".This issue").next().unwrap_or_default();
            Diagnostic::error(format!("this cannot be planned: {}", lower_first(first)))
        }
        root => Diagnostic::error(with_sql_types(&lower_first(&message_of(root)))),
    };
    // Our own errors bring a hint; DataFusion's helps speak of its functions.
    let own = error.diagnostic().filter(|own| own.message == message_of(error.find_root()));
    let diagnostic = match own.and_then(|own| own.helps.first()) {
        Some(help) => diagnostic.hint(help.message.clone()),
        None => diagnostic,
    };
    match span {
        Some(span) => diagnostic.at(span),
        None => diagnostic,
    }
}

/// A column that no relation has, or a relation that FROM has not.
fn unknown_field(field: &Column, valid_fields: &[Column], streams: &StreamSchemas) -> Diagnostic {
    // Columns without a relation are those of a select list, which clauses behind it may name; relations say more.
    let of_relations: Vec<&Column> = valid_fields.iter().filter(|column| column.relation.is_some()).collect();
    let mut known = if of_relations.is_empty() { valid_fields.iter().collect() } else { of_relations };
    let mut relations: Vec<&str> = known.iter().filter_map(|column| Some(column.relation.as_ref()?.table())).collect();
    relations.dedup();
    let named = field.relation.as_ref().map(|relation| relation.table());
    if let Some(named) = named.filter(|named| !relations.is_empty() && !relations.contains(named)) {
        // Names that begin so are the planner's.
        relations.retain(|relation| !relation.starts_with('$'));
        relations.sort_unstable();
        relations.dedup();
        return unknown_relation(named, &relations);
    }
    // Of several joined relations only the one that is named counts; a name without one is looked up in the only one there is.
    known.retain(|column| named.is_none() || column.relation.as_ref().is_none_or(|relation| Some(relation.table()) == named));
    let mut names: Vec<&str> = Vec::new();
    for column in &known {
        if !names.contains(&column.name.as_str()) {
            names.push(&column.name);
        }
    }
    let only = if let [only] = relations.as_slice() { Some(*only) } else { None };
    let owner = match named.or(only) {
        Some(internal) if internal.starts_with(CURSOR) => "the rows of the table function".to_owned(),
        // The query does not say the names that it was given.
        Some(internal) if internal.starts_with('$') => "the query in FROM".to_owned(),
        // The name may be an alias of something else.
        Some(name) if streams.get(name).is_some_and(|schema| has_columns(schema, &names)) => format!("stream \"{name}\""),
        Some(name) => format!("\"{name}\""),
        None => "the streams of FROM".to_owned(),
    };
    unknown_column(&field.name, &owner, names.into_iter())
}

fn has_columns(schema: &Schema, names: &[&str]) -> bool {
    schema.fields().len() == names.len() && names.iter().all(|name| schema.index_of(name).is_ok())
}

/// The message of an error's cause without the names of DataFusion's variants, and with SQL's names of types.
pub(crate) fn plain_message(error: &DataFusionError) -> String {
    with_sql_types(&lower_first(&message_of(error.find_root())))
}

/// The message without the name of the error's variant in front.
fn message_of(error: &DataFusionError) -> String {
    let text = error.message().into_owned();
    text.split("\n\nbacktrace:").next().unwrap_or_default().trim().to_owned()
}

fn lower_first(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    match characters.next() {
        // A word in capitals, such as TIMESTAMP, stays.
        Some(first) if !characters.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}
