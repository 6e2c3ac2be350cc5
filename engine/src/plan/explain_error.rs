//! DataFusion's planning errors in the words of a user of SQL.

use datafusion::common::{Column, DataFusionError, SchemaError};

use super::expr_text::function_name;
use super::names::unknown_column;
use super::query::StreamSchemas;
use crate::diagnostic::{Diagnostic, Span};
use crate::sql::CURSOR;

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
                    // The query does not say the names that it was given.
                    Some(relation) if relation.starts_with(CURSOR) => "the rows of the table function".to_owned(),
                    Some(relation) if relation.starts_with('$') => "the query in FROM".to_owned(),
                    Some(relation) => format!("\"{relation}\""),
                    None => "the streams of FROM".to_owned(),
                };
                unknown_column(&field.name, &owner, valid.into_iter())
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
        root if let Some(problem) = about_types(&message_of(root)) => problem,
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

/// How the message about a condition that is no BOOLEAN begins.
pub(super) const NO_CONDITION: &str = "the condition ";

/// DataFusion's messages about types that do not go together, in the words of SQL.
fn about_types(message: &str) -> Option<Diagnostic> {
    let between = |start: &str, end: &str| Some(message.split_once(start)?.1.split_once(end)?.0);
    if let Some(call) = between("argument types '", "'") {
        let (name, types) = call.split_once('(')?;
        let types = with_sql_types(types.strip_suffix(')').unwrap_or(types));
        let name = function_name(name);
        if types.is_empty() {
            return Some(Diagnostic::error(format!("{name} needs an argument")));
        }
        let problem = Diagnostic::error(format!("{name} cannot take {types}"));
        return Some(problem.hint("Convert the argument with CAST."));
    }
    if let Some((condition, data_type)) =
        message.strip_prefix("Cannot create filter with non-boolean predicate '").and_then(|rest| rest.split_once("' returning "))
    {
        let data_type = with_sql_types(data_type);
        let is_name = condition.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"'));
        let name = condition.rsplit('.').next().filter(|_| is_name).map(|name| format!("\"{}\" ", name.trim_matches('"')));
        return Some(Diagnostic::error(format!("{NO_CONDITION}{}is {data_type}, not BOOLEAN", name.unwrap_or_default())));
    }
    let computed = between("Cannot coerce arithmetic expression ", " to valid types");
    if let Some(computed) = computed {
        return Some(Diagnostic::error(format!("{} cannot be computed", with_sql_types(computed))));
    }
    if let Some(compared) = between("Cannot infer common argument type for comparison operation ", "\n") {
        return Some(Diagnostic::error(format!("{} cannot be compared", with_sql_types(compared))));
    }
    if let Some(compared) = message.strip_prefix("Cannot infer common argument type for comparison operation ") {
        return Some(Diagnostic::error(format!("{} cannot be compared", with_sql_types(compared))));
    }
    let (then, rest) = message.strip_prefix("Failed to coerce then (")?.split_once(") and else (")?;
    let otherwise = rest.split_once(") to common types")?.0;
    Some(Diagnostic::error(format!(
        "CASE gives {} in one branch and {} in another: they have no common type",
        with_sql_types(then),
        with_sql_types(otherwise)
    )))
}

/// Arrow's names of types and SQL's; the longer of two that begin alike first.
const TYPES: [(&str, &str); 18] = [
    ("Timestamp(ms)", "TIMESTAMP"),
    ("Time32(ms)", "TIME"),
    ("Interval(MonthDayNano)", "INTERVAL"),
    ("Duration(ms)", "INTERVAL"),
    ("Decimal128", "DECIMAL"),
    ("LargeUtf8", "VARCHAR"),
    ("Utf8View", "VARCHAR"),
    ("Utf8", "VARCHAR"),
    ("Boolean", "BOOLEAN"),
    ("Date32", "DATE"),
    ("Float64", "DOUBLE"),
    ("Float32", "REAL"),
    ("Int64", "BIGINT"),
    ("Int32", "INTEGER"),
    ("Int16", "SMALLINT"),
    ("Int8", "TINYINT"),
    ("Binary", "VARBINARY"),
    ("Null", "NULL"),
];

/// `message` with SQL's names of types.
pub(crate) fn with_sql_types(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let is_inside = out.chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_');
        let ends = |name: &str| !rest[name.len()..].chars().next().is_some_and(|next| next.is_alphanumeric() || next == '_');
        let found = TYPES.iter().find(|(name, _)| !is_inside && rest.starts_with(name) && ends(name));
        let (length, word) = match found {
            Some((name, sql)) => (name.len(), *sql),
            None => (first.len_utf8(), &rest[..first.len_utf8()]),
        };
        out.push_str(word);
        rest = &rest[length..];
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_names_in_sql() {
        assert_eq!(
            with_sql_types("Timestamp(ms) + Int32, Decimal128(10, 2), MyUtf8, Utf8"),
            "TIMESTAMP + INTEGER, DECIMAL(10, 2), MyUtf8, VARCHAR"
        );
        let said = |message: &str| about_types(message).map(|problem| problem.message);
        assert_eq!(
            said("No function matches the given name and argument types 'sum(Timestamp(ms))'. You might …").as_deref(),
            Some("SUM cannot take TIMESTAMP")
        );
        assert_eq!(
            said("No function matches the given name and argument types 'abs()'. You might …").as_deref(),
            Some("ABS needs an argument")
        );
        assert_eq!(
            said("Cannot coerce arithmetic expression Timestamp(ms) + Int32 to valid types").as_deref(),
            Some("TIMESTAMP + INTEGER cannot be computed")
        );
        assert_eq!(
            said("Cannot infer common argument type for comparison operation Timestamp(ms) = Int32").as_deref(),
            Some("TIMESTAMP = INTEGER cannot be compared")
        );
    }
}
