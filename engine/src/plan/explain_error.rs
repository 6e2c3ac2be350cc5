//! DataFusion's planning errors in the words of a user of SQL.

use datafusion::common::{Column, DataFusionError, SchemaError};

use super::names::unknown_column;
use super::query::StreamSchemas;
use crate::diagnostic::{Diagnostic, Span};

/// DataFusion's planning error in our words.
pub(crate) fn explain_error(error: &DataFusionError, streams: &StreamSchemas) -> Diagnostic {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| Span {
        start: crate::diagnostic::Position { line: span.start.line, column: span.start.column },
        end: crate::diagnostic::Position { line: span.end.line, column: span.end.column },
    });
    let diagnostic = match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                // A name without a qualifier is looked up in the only stream there is.
                let relations = valid_fields.iter().filter_map(|column| column.relation.as_ref());
                let mut relations: Vec<_> = relations.map(|relation| relation.table().to_owned()).collect();
                relations.dedup();
                let only = relations.pop().filter(|_| relations.is_empty());
                let relation = field.relation.as_ref().map(|relation| relation.table().to_owned()).or(only);
                // Of several joined relations only the one that is named counts.
                let of_relation = |column: &&Column| match (&field.relation, &column.relation) {
                    (Some(named), Some(relation)) => named.table() == relation.table(),
                    _ => true,
                };
                let mut valid: Vec<_> = valid_fields.iter().filter(of_relation).map(|column| column.name.as_str()).collect();
                if valid.is_empty() {
                    valid = valid_fields.iter().map(|column| column.name.as_str()).collect();
                }
                let owner = match relation {
                    Some(relation) if streams.contains_key(&relation) => format!("stream \"{relation}\""),
                    Some(relation) => format!("\"{relation}\""),
                    None => "the streams of FROM".to_owned(),
                };
                unknown_column(&field.name, &owner, valid.into_iter())
            }
            SchemaError::AmbiguousReference { field } => Diagnostic::error(format!("column \"{}\" is ambiguous", field.name))
                .hint("Write it with the alias of its stream: alias.column."),
            other => Diagnostic::error(lower_first(&other.to_string())),
        },
        DataFusionError::Plan(message) if message.contains("must appear in the GROUP BY clause") => {
            let column = message.split('"').nth(1).and_then(|name| name.rsplit('.').next()).unwrap_or_default();
            Diagnostic::error(format!("column \"{column}\" is neither in GROUP BY nor inside an aggregate"))
                .hint("Add it to the GROUP BY, or use it inside an aggregate such as MAX.")
        }
        // What DataFusion takes for its own mistake is here a call that it cannot plan.
        DataFusionError::Internal(message) => {
            let first = message.lines().next().unwrap_or_default().split(".This issue").next().unwrap_or_default();
            Diagnostic::error(format!("this cannot be planned: {}", lower_first(first)))
        }
        root => Diagnostic::error(lower_first(&message_of(root))),
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
