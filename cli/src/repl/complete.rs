//! Completion: keywords and functions of the dialect, names of objects and of their columns.
//!
//! Behind FROM, JOIN, INTO and `\d` only objects are offered, behind a dot only columns: those of the object that is named before
//! it, by its name or by the alias that FROM gives it, in the parentheses of WITH only options of its connector. Keywords follow the case of what
//! is typed. Names that SQL would fold are offered in double quotes.

use kinesql_engine::connector::ConnectorRegistry;
use kinesql_engine::connector::common::{CONNECTOR, RECORD_OPTIONS, SINK_OPTIONS, SOURCE_OPTIONS, TABLE_OPTIONS};
use kinesql_engine::runtime::error_rows::ERROR_STREAM;
use kinesql_engine::sql::keywords;
use kinesql_engine::sql::{TokenClass, highlight_tokens};
use kinesql_engine::{Engine, Object};
use reedline::{Completer, CompletionResult, Span, Suggestion};

use super::commands;

/// Completes with what the engine knows when Tab is pressed.
pub struct SqlCompleter {
    engine: Engine,
}

impl SqlCompleter {
    /// Completes names of `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Completer for SqlCompleter {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let (start, candidates) = candidates(line, position, &self.engine.objects(), self.engine.connectors());
        let span = Span::new(start, position);
        let suggestions = candidates.into_iter().map(|Candidate { text, description }| Suggestion {
            append_whitespace: !text.starts_with('"'),
            value: text,
            description: Some(description),
            span,
            ..Suggestion::default()
        });
        CompletionResult::fresh(suggestions.collect::<Vec<_>>())
    }
}

/// Something that may be typed.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    text: String,
    description: String,
}

/// Where the word before `position` starts, and what it may become, best first.
fn candidates(line: &str, position: usize, objects: &[Object], connectors: &ConnectorRegistry) -> (usize, Vec<Candidate>) {
    let before = &line[..position];
    if before.starts_with('\\') && !before.contains(char::is_whitespace) {
        let names = commands::NAMES.iter().filter(|name| name.starts_with(before));
        let candidate = |name: &&str| Candidate { text: (*name).to_owned(), description: "command".to_owned() };
        return (0, names.map(candidate).collect());
    }
    let tokens = highlight_tokens(before);
    let last = tokens.last().filter(|(range, _)| range.end == position);
    let start = match last {
        Some((_, TokenClass::String | TokenClass::Comment | TokenClass::Number)) => return (position, Vec::new()),
        Some((range, TokenClass::Keyword | TokenClass::Identifier | TokenClass::QuotedIdentifier)) => range.start,
        _ => position,
    };
    let typed = &before[start..];
    let words: Vec<_> = tokens.iter().filter(|(range, _)| range.end <= start).map(|(range, _)| &before[range.clone()]).collect();
    if let Some(names) = options(&words, connectors) {
        let fits = |name: &&str| name.starts_with(&typed.to_lowercase());
        let candidate = |name: &str| Candidate { text: name.to_owned(), description: "option".to_owned() };
        return (start, names.into_iter().filter(fits).map(candidate).collect());
    }
    let previous = tokens.iter().rfind(|(range, _)| range.end <= start).map(|(range, _)| &before[range.clone()]);
    let place = match previous.map(str::to_ascii_uppercase).as_deref() {
        Some("FROM" | "JOIN" | "INTO") => Place::Object,
        Some(".") => Place::Column,
        _ if before.starts_with("\\d") => Place::Object,
        _ if typed.is_empty() => return (position, Vec::new()),
        _ => Place::Anything,
    };
    let mut found = Vec::new();
    let mut add = |text: String, description: &str| {
        if !found.iter().any(|candidate: &Candidate| candidate.text == text) {
            found.push(Candidate { text, description: description.to_owned() });
        }
    };
    if place != Place::Object {
        // Columns of objects that the statement names come before those of others, those of error_stream only with its name.
        let named = |object: &&Object| line.to_uppercase().contains(&object.name.to_uppercase());
        let (near, far): (Vec<_>, Vec<_>) = objects.iter().partition(named);
        let far = far.into_iter().filter(|object| object.name != ERROR_STREAM);
        let qualifier = (place == Place::Column).then(|| tokens.iter().rfind(|(range, _)| range.end < start)).flatten();
        let owner = qualifier.and_then(|(range, _)| named_by(&before[range.clone()], line, objects));
        let offered: Vec<_> = owner.map_or_else(|| near.into_iter().chain(far).collect(), |owner| vec![owner]);
        for object in offered {
            for column in object.columns.iter().filter_map(|column| offer(column.name(), typed)) {
                add(column, &format!("column of {}", object.name));
            }
        }
    }
    if place != Place::Column {
        for object in objects.iter().filter(|object| place == Place::Anything || !object.columns.is_empty()) {
            if let Some(name) = offer(&object.name, typed) {
                add(name, object.kind);
            }
        }
    }
    if place == Place::Anything && !typed.starts_with('"') {
        let upper = typed.to_uppercase();
        let case = |word: &str| if typed == upper { word.to_owned() } else { word.to_lowercase() };
        let words = [(keywords::RESERVED, "keyword"), (keywords::CONTEXTUAL, "keyword"), (keywords::FUNCTIONS, "function")];
        for (words, description) in words {
            for word in words.iter().filter(|word| word.starts_with(&upper)) {
                add(case(word), description);
            }
        }
    }
    (start, found)
}

/// Options that may stand behind `words`, if these end where one begins: in the parentheses of WITH.
fn options<'a>(words: &[&str], connectors: &'a ConnectorRegistry) -> Option<Vec<&'a str>> {
    let with = words.windows(2).rposition(|pair| pair[0].eq_ignore_ascii_case("WITH") && pair[1] == "(")?;
    let given = &words[with + 2..];
    if given.contains(&")") || given.last().is_some_and(|last| *last != ",") {
        return None;
    }
    let is_connector = |part: &&[&str]| part[0].eq_ignore_ascii_case(CONNECTOR.name) && part[1] == "=";
    let connector = given.windows(3).find(is_connector).map(|part| part[2].trim_matches('\''));
    let Some(connector) = connector else { return Some(vec![CONNECTOR.name]) };
    let kind = words[..with].iter().rev().map(|word| word.to_uppercase());
    let kind = kind.into_iter().find(|word| ["SOURCE", "SINK", "TABLE"].contains(&word.as_str()))?;
    let (own, formats, of_records, of_kind) = match kind.as_str() {
        "SINK" => connectors.sink(connector).map(|sink| (sink.options(), sink.formats(), SINK_OPTIONS, &[][..])),
        kind => {
            let of_kind = if kind == "TABLE" { TABLE_OPTIONS } else { SOURCE_OPTIONS };
            connectors.source(connector).map(|source| (source.options(), source.formats(), RECORD_OPTIONS, of_kind))
        }
    }?;
    let of_records = if formats.is_empty() { &[][..] } else { of_records };
    let format = (!formats.is_empty()).then_some("format");
    let others = of_records.iter().chain(of_kind).map(|option| option.name);
    let names = own.iter().map(|option| option.name).chain(format).chain(others);
    Some(names.filter(|name| !given.iter().any(|word| word.eq_ignore_ascii_case(name))).collect())
}

/// The object that `name` means in the statement `line`: one of this name, or the one that stands before it in FROM.
fn named_by<'a>(name: &str, line: &str, objects: &'a [Object]) -> Option<&'a Object> {
    let folded = |word: &str| match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
        Some(quoted) => quoted.to_owned(),
        None => word.to_uppercase(),
    };
    let find = |word: &str| {
        let name = folded(word);
        // error_stream may be written in any case.
        let is_named =
            |object: &&Object| object.name == name || (object.name == ERROR_STREAM && name.eq_ignore_ascii_case(ERROR_STREAM));
        objects.iter().filter(is_named).find(|object| !object.columns.is_empty())
    };
    let words: Vec<_> = highlight_tokens(line).into_iter().map(|(range, _)| &line[range]).collect();
    let is_alias = |at: &usize| folded(words[*at]) == folded(name) && words.get(at + 1) != Some(&".");
    let mut aliases = (1..words.len()).filter(is_alias);
    find(name).or_else(|| {
        aliases.find_map(|at| match words[at - 1].eq_ignore_ascii_case("AS") {
            true => find(words[at.checked_sub(2)?]),
            false => find(words[at - 1]),
        })
    })
}

/// What may stand at the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Object,
    Column,
    Anything,
}

/// How `name` is written if it may be what is `typed` so far.
fn offer(name: &str, typed: &str) -> Option<String> {
    let bare = typed.trim_start_matches('"');
    let matches = name.get(..bare.len()).is_some_and(|start| start.eq_ignore_ascii_case(bare));
    let folds = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !keywords::is_reserved(name);
    match (matches, folds && !typed.starts_with('"')) {
        (false, _) => None,
        (true, true) if bare.chars().any(char::is_lowercase) => Some(name.to_lowercase()),
        (true, true) => Some(name.to_owned()),
        (true, false) => Some(format!("\"{}\"", name.replace('"', "\"\""))),
    }
}

#[cfg(test)]
mod tests {
    use kinesql_engine::types::SqlType;

    use super::*;

    fn objects() -> Vec<Object> {
        let object = |kind, name: &str, columns: &[&str]| Object {
            kind,
            name: name.to_owned(),
            columns: columns.iter().map(|column| SqlType::Integer.field(column, true)).collect(),
            detail: String::new(),
        };
        vec![
            object("source", "TICKS", &["TICKER", "PRICE"]),
            object("stream", "Trades", &["price", "DATE"]),
            object("pump", "TICK_PUMP", &[]),
            object("stream", "error_stream", &["ERROR_NAME", "PUMP_NAME"]),
        ]
    }

    fn connectors() -> ConnectorRegistry {
        let mut registry = ConnectorRegistry::default();
        kinesql_connectors::register_all(&mut registry);
        registry
    }

    fn complete(line: &str) -> String {
        let (start, found) = candidates(line, line.len(), &objects(), &connectors());
        let texts: Vec<_> = found.into_iter().map(|candidate| candidate.text).collect();
        format!("{}|{}", &line[..start], texts.join(" "))
    }

    #[test]
    fn words_are_completed_by_place() {
        for (line, expected) in [
            ("\\", "|\\? \\clear \\d \\i \\q \\run \\timing"),
            ("\\d ", "\\d |TICKS \"Trades\" \"error_stream\""),
            ("SEL", "|SELECT"),
            ("sel", "|select"),
            ("SELECT STREAM * FROM ", "SELECT STREAM * FROM |TICKS \"Trades\" \"error_stream\""),
            ("select stream * from t", "select stream * from |ticks \"Trades\""),
            ("SELECT STREAM * FROM \"", "SELECT STREAM * FROM |\"TICKS\" \"Trades\" \"error_stream\""),
            ("SELECT STREAM t.p", "SELECT STREAM t.|price \"price\""),
            ("SELECT STREAM t.DA", "SELECT STREAM t.|\"DATE\""),
            ("DROP PUMP TICK_", "DROP PUMP |TICK_PUMP"),
            ("SELECT 'FRO", "SELECT 'FRO|"),
            ("SELECT -- FRO", "SELECT -- FRO|"),
            ("SELECT a, ", "SELECT a, |"),
        ] {
            assert_eq!(complete(line), expected, "{line}");
        }
    }

    #[test]
    fn behind_a_dot_stand_the_columns_of_what_is_named_before_it() {
        for (line, at, expected) in [
            ("SELECT STREAM TICKS.", 20, "TICKER PRICE"),
            ("SELECT STREAM ticks.p", 21, "price"),
            ("SELECT STREAM \"Trades\".", 23, "\"price\" \"DATE\""),
            ("SELECT STREAM e. FROM error_stream AS e", 16, "ERROR_NAME PUMP_NAME"),
            ("SELECT STREAM t. FROM TICKS t", 16, "TICKER PRICE"),
            ("SELECT STREAM x. FROM TICKS JOIN \"Trades\" AS x ON x.\"price\" = 1", 16, "\"price\" \"DATE\""),
            // Of what is not known yet, all but the columns that every engine has.
            ("SELECT STREAM x.", 16, "TICKER PRICE \"price\" \"DATE\""),
        ] {
            let (_, found) = candidates(line, at, &objects(), &connectors());
            let texts: Vec<_> = found.into_iter().map(|candidate| candidate.text).collect();
            assert_eq!(texts.join(" "), expected, "{line}");
        }
    }

    #[test]
    fn the_parentheses_of_with_have_options() {
        for (line, expected) in [
            ("CREATE SINK s FROM t WITH (conn", "CREATE SINK s FROM t WITH (|connector"),
            ("CREATE SINK s FROM t WITH (", "CREATE SINK s FROM t WITH (|connector"),
            ("CREATE SOURCE s WITH (connector = 'file', FOL", "CREATE SOURCE s WITH (connector = 'file', |follow"),
            ("CREATE TABLE s WITH (connector = 'file', ref", "CREATE TABLE s WITH (connector = 'file', |refresh"),
            ("CREATE SINK s FROM t WITH (connector = 'file', ref", "CREATE SINK s FROM t WITH (connector = 'file', |"),
            (
                "CREATE SINK s FROM t WITH (connector = 'file', csv",
                "CREATE SINK s FROM t WITH (connector = 'file', |csv.delimiter csv.header",
            ),
            (
                "CREATE SINK s FROM t WITH (connector = 'stdout'); SEL",
                "CREATE SINK s FROM t WITH (connector = 'stdout'); |SELECT",
            ),
            ("WITH SEL", "WITH |SELECT"),
        ] {
            assert_eq!(complete(line), expected, "{line}");
        }
    }

    #[test]
    fn columns_of_named_streams_come_first() {
        let offered = complete("SELECT STREAM * FROM \"Trades\" WHERE p");
        assert!(offered.contains("|\"price\" price "), "{offered}");
    }
}
