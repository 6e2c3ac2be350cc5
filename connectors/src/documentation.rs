//! The tables of options in docs/connectors/*.md, made from the options themselves.
//!
//! A page marks where a table stands:
//!
//! ```text
//! <!-- options of the source -->
//! …
//! <!-- end of options -->
//! ```
//!
//! and likewise `sink`, on the page of the connector or, if it has one of its own, of its sink (`NAME-sink.md`); and `pre-processor`
//! on that of Lambda. The test fails when a table differs from the code; with `UPDATE_DOCS=1` it writes it.

use std::fmt::Write as _;
use std::path::Path;

use kinesql_engine::connector::{ConnectorRegistry, OptionKind, OptionSpec};

/// The options as a Markdown table.
fn table(options: &[OptionSpec]) -> String {
    let mut table = "| Option | Value | Default | Meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for option in options {
        let default = match option.default {
            Some(default) => format!("`{default}`"),
            None if option.required => "required".to_owned(),
            None => String::new(),
        };
        let (name, help) = (option.name, option.help.replace('|', "\\|"));
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{name}` | {} | {default} | {help} |", value(option.kind));
    }
    table
}

fn value(kind: OptionKind) -> String {
    match kind {
        OptionKind::Text => "text".to_owned(),
        OptionKind::Integer { min, max } => format!("{min} to {max}"),
        OptionKind::Number => "number".to_owned(),
        OptionKind::Boolean => "`true`, `false`".to_owned(),
        OptionKind::Duration => "time span".to_owned(),
        OptionKind::Bytes => "size".to_owned(),
        OptionKind::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
    }
}

/// `page` with the table of `direction`, if it asks for one.
fn with_table(page: &str, direction: &str, options: &[OptionSpec]) -> String {
    let start = format!("<!-- options of the {direction} -->\n");
    let Some((before, rest)) = page.split_once(&start) else { return page.to_owned() };
    let (_, after) = rest.split_once("<!-- end of options -->").expect("a table of options has an end");
    format!("{before}{start}{}<!-- end of options -->{after}", table(options))
}

#[test]
fn tables_of_options_are_those_of_the_code() {
    let mut registry = ConnectorRegistry::default();
    crate::register_all(&mut registry);
    let sources = registry.sources().map(|source| (source.name(), "source", source.options()));
    let sinks = registry.sinks().map(|sink| (sink.name(), "sink", sink.options()));
    let preprocessor = [("lambda", "pre-processor", crate::lambda::preprocessor::OPTIONS)];
    for (name, direction, options) in sources.chain(sinks).chain(preprocessor) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/connectors");
        let own_page = folder.join(format!("{name}-{direction}.md"));
        let path = if own_page.exists() { own_page } else { folder.join(format!("{name}.md")) };
        let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = with_table(&page, direction, options);
        if page != expected && std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, expected).expect("written");
        } else {
            assert_eq!(page, expected, "run with UPDATE_DOCS=1 to update {}", path.display());
        }
    }
}
