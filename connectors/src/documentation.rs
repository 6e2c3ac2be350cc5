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
//! on that of Lambda, to which those of the sources refer. The test fails when a table differs from the code; with
//! `UPDATE_DOCS=1` it writes it.

use std::fmt::Write as _;
use std::path::Path;

use kinesql_engine::connector::{ConnectorRegistry, OptionKind, OptionSpec};

use crate::lambda::preprocessor;

/// The options of a connector as a Markdown table; those of a pre-processor are one row that refers to theirs.
fn table(direction: &str, options: &[OptionSpec]) -> String {
    let mut table = "| Option | Value | Default | Meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let of_preprocessor = |option: &OptionSpec| preprocessor::OPTIONS.iter().any(|other| other.name == option.name);
    let own = options.iter().filter(|option| direction != "source" || !of_preprocessor(option));
    for option in own {
        let default = match option.default {
            Some(default) => format!("`{default}`"),
            None if option.required => "required".to_owned(),
            None => String::new(),
        };
        let (name, help) = (option.name, option.help.replace('|', "\\|"));
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{name}` | {} | {default} | {help} |", value(option.kind));
    }
    if direction == "source" && options.iter().any(of_preprocessor) {
        let what = "A Lambda function that the records go through before they are decoded; its own options are";
        let link = "[those of the pre-processor](lambda.md#pre-processor-of-a-source).";
        let _ = writeln!(table, "| `preprocessor`, `preprocessor.*` | text |  | {what} {link} |");
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
    format!("{before}{start}{}<!-- end of options -->{after}", table(direction, options))
}

#[test]
fn tables_of_options_are_those_of_the_code() {
    let mut registry = ConnectorRegistry::default();
    crate::register_all(&mut registry);
    let sources = registry.sources().map(|source| (source.name(), "source", source.options()));
    let sinks = registry.sinks().map(|sink| (sink.name(), "sink", sink.options()));
    let preprocessor = [("lambda", "pre-processor", preprocessor::OPTIONS)];
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
