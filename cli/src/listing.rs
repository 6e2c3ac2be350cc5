//! `kinesql connectors`: every connector with its options, as the connectors declare them.

use std::fmt::Write as _;

use kinesql_engine::connector::{ConnectorRegistry, OptionKind, OptionSpec, common};
use kinesql_engine::diagnostic::closest;
use kinesql_engine::{Error, Result};

/// The options of all connectors, or of the one called `name`.
pub fn connectors(registry: &ConnectorRegistry, name: Option<&str>) -> Result<String> {
    let sources = registry.sources().map(|source| (source.name(), "source", source.options(), source.formats()));
    let sinks = registry.sinks().map(|sink| (sink.name(), "sink", sink.options(), sink.formats()));
    let mut all: Vec<_> = sources.chain(sinks).collect();
    all.sort_by_key(|(connector, ..)| *connector);
    let shown: Vec<_> = all.iter().filter(|(connector, ..)| name.is_none_or(|name| name == *connector)).collect();
    if let (Some(name), true) = (name, shown.is_empty()) {
        let mut names: Vec<_> = all.iter().map(|(connector, ..)| *connector).collect();
        names.dedup();
        let missing = Error::config(format!("there is no connector '{name}'"));
        return Err(match closest(name, names.iter().copied()) {
            Some(candidate) => missing.with_hint(format!("Did you mean '{candidate}'?")),
            None => missing.with_hint(format!("Connectors are {}.", names.join(", "))),
        });
    }
    let mut text = String::new();
    for (connector, kind, options, formats) in &shown {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{connector} ({kind})");
        if !formats.is_empty() {
            let _ = writeln!(text, "  formats: {}", formats.join(", "));
        }
        write_options(&options.iter().collect::<Vec<_>>(), &mut text);
        text.push('\n');
    }
    let has = |kind: &str, with_formats: bool| {
        shown.iter().any(|(_, of, _, formats)| *of == kind && (!with_formats || !formats.is_empty()))
    };
    let format = common::format_option(&[]);
    for (title, is_shown, of_formats, options) in [
        ("every source and table with formats", has("source", true), true, common::RECORD_OPTIONS),
        ("every source", has("source", false), false, common::SOURCE_OPTIONS),
        ("every table", has("source", false), false, common::TABLE_OPTIONS),
        ("every sink with formats", has("sink", true), true, common::SINK_OPTIONS),
    ] {
        if is_shown {
            let _ = writeln!(text, "{title}");
            let first = Some(&format).filter(|_| of_formats);
            write_options(&first.into_iter().chain(options.iter().copied()).collect::<Vec<_>>(), &mut text);
            text.push('\n');
        }
    }
    text.push_str("In SQL: CREATE SOURCE name (…) WITH (connector = '…', option = '…'). On the command line: --source NAME=connector:value?option=…\n");
    Ok(text)
}

fn write_options(options: &[&OptionSpec], text: &mut String) {
    let kinds: Vec<_> = options.iter().map(|option| kind(option)).collect();
    let names = options.iter().map(|option| option.name.len()).max().unwrap_or(0);
    let width = kinds.iter().map(|kind| kind.chars().count()).filter(|width| *width <= KIND_WIDTH_MAX).max().unwrap_or(0);
    for (option, kind) in options.iter().zip(kinds) {
        let (name, help) = (option.name, option.help);
        let _ = writeln!(text, "  {name:names$}  {kind:width$}  {help}");
    }
    if options.is_empty() {
        text.push_str("  no options of its own\n");
    }
}

/// A longer list of words does not widen the column.
const KIND_WIDTH_MAX: usize = 32;

fn kind(option: &OptionSpec) -> String {
    let kind = match option.kind {
        OptionKind::Text => "text".to_owned(),
        OptionKind::Integer { .. } => "whole number".to_owned(),
        OptionKind::Number => "number".to_owned(),
        OptionKind::Boolean => "true or false".to_owned(),
        OptionKind::Duration => "time span".to_owned(),
        OptionKind::Bytes => "size".to_owned(),
        OptionKind::OneOf([]) => "a format".to_owned(),
        OptionKind::OneOf(words) => words.join(" | "),
    };
    if option.required { format!("{kind}, required") } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_are_listed_with_their_options() {
        let mut registry = ConnectorRegistry::default();
        kinesql_connectors::register_all(&mut registry);
        let all = connectors(&registry, None).expect("a list");
        assert!(all.contains("generator (source)\n"), "{all}");
        let file = connectors(&registry, Some("file")).expect("a list");
        assert!(file.contains("path") && file.contains("text, required") && !file.contains("generator"), "{file}");
        // Also what the engine reads itself.
        assert!(file.contains("file (source)\n  formats: json, csv, raw, parquet\n"), "{file}");
        for option in ["format", "rowtime", "idle_timeout", "late", "json.row_path", "refresh", "csv.header"] {
            assert!(file.contains(&format!("\n  {option} ")), "{option}: {file}");
        }
        let error = connectors(&registry, Some("fiel")).expect_err("unknown");
        assert_eq!(error.to_string(), "there is no connector 'fiel'\nhint: Did you mean 'file'?");
    }
}
