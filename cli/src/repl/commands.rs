//! Commands of the prompt: they begin with a backslash and end with the line.

use std::fmt::Write as _;
use std::path::PathBuf;

use kinesql_engine::diagnostic::closest;
use kinesql_engine::types::sql_type_name;
use kinesql_engine::{Error, Object, Result};

/// What `\?` prints.
pub const HELP: &str = r#"A statement may take several lines; it ends with ;

  SELECT STREAM …;      prints rows as they arrive, until Ctrl-C
  SELECT …;             prints the rows of tables
  CREATE SOURCE | STREAM | PUMP | SINK | TABLE …;
  EXPLAIN SELECT …;     shows how a query runs

  \d                    lists streams, sources, pumps, sinks and tables
  \d NAME               shows the columns of one
  \i FILE               executes a script
  \run                  runs all pumps and sinks until Ctrl-C
  \timing               shows how long each statement takes, or stops it
  \clear                clears the screen
  \? or help            shows this
  \q, quit or Ctrl-D    quits

  Tab completes, Up and Down go through the history, Ctrl-R searches it, Ctrl-C drops what is typed.

An example:
  CREATE SOURCE ticks WITH (connector = 'generator', kind = 'ticks', rate = 5);
  SELECT STREAM * FROM ticks;"#;

/// A command, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An empty line.
    Nothing,
    /// `\?`.
    Help,
    /// `\q`.
    Quit,
    /// `\d`.
    List,
    /// `\d NAME`.
    Describe(String),
    /// `\i FILE`.
    Include(PathBuf),
    /// `\run`.
    Run,
    /// `\timing`.
    Timing,
    /// `\clear`.
    Clear,
}

/// All commands, for completion.
pub const NAMES: &[&str] = &["\\?", "\\clear", "\\d", "\\i", "\\q", "\\run", "\\timing"];

impl Command {
    /// The command that `text` is; None if it is SQL.
    pub fn parse(text: &str) -> Option<Result<Self>> {
        let text = text.trim();
        let plain = text.trim_end_matches(';').trim_end();
        match plain.to_ascii_lowercase().as_str() {
            "" => return Some(Ok(Command::Nothing)),
            "help" => return Some(Ok(Command::Help)),
            "quit" | "exit" => return Some(Ok(Command::Quit)),
            _ => {}
        }
        if !text.starts_with('\\') {
            return None;
        }
        let (name, argument) = plain.split_once(char::is_whitespace).unwrap_or((plain, ""));
        let argument = argument.trim();
        Some(match (name, argument) {
            ("\\?" | "\\h" | "\\help", _) => Ok(Command::Help),
            ("\\q" | "\\quit", _) => Ok(Command::Quit),
            ("\\d", "") => Ok(Command::List),
            ("\\d", name) => Ok(Command::Describe(name.to_owned())),
            ("\\i", "") => Err(Error::config("\\i needs the name of a file")),
            ("\\i", file) => Ok(Command::Include(PathBuf::from(file.trim_matches('\'')))),
            ("\\run", _) => Ok(Command::Run),
            ("\\timing", _) => Ok(Command::Timing),
            ("\\clear", _) => Ok(Command::Clear),
            (name, _) => Err(Error::config(format!("there is no command {name}")).with_hint("\\? lists the commands.")),
        })
    }
}

/// What `\d` prints: kind, name and detail of every object.
pub fn list(objects: &[Object]) -> String {
    let width = objects.iter().map(|object| object.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Object { kind, name, detail, .. } in objects {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", format!(" {kind:6}  {name:width$}  {detail}").trim_end());
    }
    text
}

/// What `\d NAME` prints: the columns of the objects called `name`, in any case unless that is ambiguous.
pub fn describe(name: &str, objects: &[Object]) -> Result<String> {
    let bare = name.trim_matches('"');
    let mut found: Vec<_> = objects.iter().filter(|object| object.name == bare).collect();
    if found.is_empty() {
        found = objects.iter().filter(|object| object.name.eq_ignore_ascii_case(bare)).collect();
    }
    if found.is_empty() {
        let missing = Error::config(format!("there is no object \"{bare}\""));
        return Err(match closest(bare, objects.iter().map(|object| object.name.as_str())) {
            Some(candidate) => missing.with_hint(format!("Did you mean \"{candidate}\"?")),
            None => missing.with_hint("\\d lists all objects."),
        });
    }
    let mut text = String::new();
    for Object { kind, name, columns, detail } in found {
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        let _ = writeln!(text, "{kind} {name}{detail}");
        let width = columns.iter().map(|column| column.name().chars().count()).max().unwrap_or(0);
        for column in columns {
            let not_null = if column.is_nullable() { "" } else { " NOT NULL" };
            let _ = writeln!(text, "  {:width$}  {}{not_null}", column.name(), sql_type_name(column));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use kinesql_engine::types::SqlType;

    use super::*;

    #[test]
    fn commands_and_sql_are_told_apart() {
        let parse = |text| Command::parse(text).map(|command| command.map_err(|error| error.message().to_owned()));
        for (text, command) in [
            ("  ;", Command::Nothing),
            ("HELP", Command::Help),
            ("\\?", Command::Help),
            ("quit;", Command::Quit),
            ("\\d", Command::List),
            ("\\d \"Ticks\";", Command::Describe("\"Ticks\"".to_owned())),
            ("\\i a b.sql", Command::Include(PathBuf::from("a b.sql"))),
            ("\\run", Command::Run),
        ] {
            assert_eq!(parse(text), Some(Ok(command)), "{text}");
        }
        assert_eq!(parse("SELECT 1;"), None);
        assert_eq!(parse("\\x"), Some(Err("there is no command \\x".to_owned())));
    }

    #[test]
    fn objects_are_listed_and_described() {
        let columns = vec![SqlType::Varchar(4).field("TICKER", false), SqlType::Double.field("PRICE", true)];
        let objects = [
            Object { kind: "source", name: "TICKS".to_owned(), columns, detail: "generator".to_owned() },
            Object { kind: "stream", name: "OUT".to_owned(), columns: Vec::new(), detail: String::new() },
        ];
        assert_eq!(list(&objects), " source  TICKS  generator\n stream  OUT\n");
        let expected = "source TICKS (generator)\n  TICKER  VARCHAR(4) NOT NULL\n  PRICE   DOUBLE\n";
        assert_eq!(describe("ticks", &objects).expect("found"), expected);
        let error = describe("tiks", &objects).expect_err("not found");
        assert_eq!(error.to_string(), "there is no object \"tiks\"\nhint: Did you mean \"TICKS\"?");
    }
}
