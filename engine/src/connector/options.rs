//! Typed options of `WITH (…)`: declared once, checked when the statement is bound.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Span};

/// The type of an option's value. Every value is written as a string or as a bare number or boolean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number within `[min, max]`.
    Integer {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A number of at least 0.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A time span such as `250ms`, `5s`, `1min`, `2h`.
    Duration,
    /// A size such as `512kb`, `64mb`.
    Bytes,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One option that a connector knows.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its name, lower case.
    pub name: &'static str,
    /// Type of its value.
    pub kind: OptionKind,
    /// True if it must be given.
    pub required: bool,
    /// Value when it is not given, as a user would write it.
    pub default: Option<&'static str>,
    /// What it does, one sentence with unit and default, for the documentation and for errors.
    pub help: &'static str,
}

/// One `key = 'value'` of a WITH clause, with its places.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionEntry {
    /// The key, lower case.
    pub key: String,
    /// Where the key stands.
    pub key_span: Option<Span>,
    /// The value as text.
    pub value: String,
    /// Where the value stands.
    pub value_span: Option<Span>,
}

impl OptionEntry {
    /// An entry that comes from the command line or from code.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), key_span: None, value: value.into(), value_span: None }
    }
}

/// Options that were checked against their [`OptionSpec`]s: getters cannot fail on a declared name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    values: BTreeMap<&'static str, Value>,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Duration(Duration),
    Bytes(u64),
}

impl Options {
    /// Checks `entries` against `specs`; `owner` names the connector in messages (`connector 'file'`), `span` is where
    /// a missing option is reported.
    ///
    /// Returns all problems at once: unknown, duplicate, missing, mistyped.
    pub fn check(
        owner: &str,
        specs: &[&OptionSpec],
        entries: &[OptionEntry],
        span: Option<Span>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut values = BTreeMap::new();
        let at = |diagnostic: Diagnostic, span: Option<Span>| match span {
            Some(span) => diagnostic.at(span),
            None => diagnostic,
        };
        for entry in entries {
            let Some(spec) = specs.iter().find(|spec| spec.name == entry.key) else {
                let names: Vec<_> = specs.iter().map(|spec| spec.name).collect();
                let unknown = at(Diagnostic::error(format!("unknown option \"{}\" of {owner}", entry.key)), entry.key_span);
                problems.push(unknown.label(format!("options are {}", names.join(", "))).did_you_mean(&entry.key, names));
                continue;
            };
            match parse(spec.kind, &entry.value) {
                Err(expected) => problems.push(
                    at(Diagnostic::error(format!("option \"{}\" cannot be '{}'", entry.key, entry.value)), entry.value_span)
                        .label(format!("expected {expected}"))
                        .hint(spec.help),
                ),
                Ok(value) => {
                    if values.insert(spec.name, value).is_some() {
                        problems.push(at(Diagnostic::error(format!("option \"{}\" is given twice", entry.key)), entry.key_span));
                    }
                }
            }
        }
        for spec in specs {
            if values.contains_key(spec.name) {
                continue;
            }
            if let Some(default) = spec.default {
                match parse(spec.kind, default) {
                    Ok(value) => drop(values.insert(spec.name, value)),
                    Err(expected) => {
                        problems.push(Diagnostic::error(format!("default of option \"{}\" is not {expected}", spec.name)))
                    }
                }
            } else if spec.required && !entries.iter().any(|entry| entry.key == spec.name) {
                problems.push(
                    at(Diagnostic::error(format!("{owner} needs option \"{}\"", spec.name)), span)
                        .hint(format!("Add {} = '…' to the WITH clause: {}", spec.name, spec.help)),
                );
            }
        }
        if problems.is_empty() { Ok(Self { values }) } else { Err(problems) }
    }

    /// A [`OptionKind::Text`] or [`OptionKind::OneOf`] option.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An [`OptionKind::Integer`] option.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.values.get(name)? {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// An [`OptionKind::Number`] option.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.values.get(name)? {
            Value::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// An [`OptionKind::Boolean`] option; false if it has no value.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Boolean(true)))
    }

    /// An [`OptionKind::Duration`] option.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.values.get(name)? {
            Value::Duration(value) => Some(*value),
            _ => None,
        }
    }

    /// An [`OptionKind::Bytes`] option.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        match self.values.get(name)? {
            Value::Bytes(value) => Some(*value),
            _ => None,
        }
    }
}

fn parse(kind: OptionKind, text: &str) -> Result<Value, String> {
    match kind {
        OptionKind::Text => Ok(Value::Text(text.to_owned())),
        OptionKind::Integer { min, max } => match text.parse::<i64>() {
            Ok(value) if (min..=max).contains(&value) => Ok(Value::Integer(value)),
            _ => Err(format!("a whole number from {min} to {max}")),
        },
        OptionKind::Number => match text.parse::<f64>() {
            Ok(value) if value >= 0.0 && value.is_finite() => Ok(Value::Number(value)),
            _ => Err("a number of at least 0".to_owned()),
        },
        OptionKind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err("true or false".to_owned()),
        },
        OptionKind::Duration => {
            parse_duration(text).map(Value::Duration).ok_or_else(|| "a time span such as 250ms, 5s, 1min, 2h".to_owned())
        }
        OptionKind::Bytes => parse_bytes(text).map(Value::Bytes).ok_or_else(|| "a size such as 512kb or 64mb".to_owned()),
        OptionKind::OneOf(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => Ok(Value::Text((*word).to_owned())),
            None => Err(format!("one of {}", words.join(", "))),
        },
    }
}

/// `250ms`, `5s`, `1min`, `2h`, `1d`; a bare number counts seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let seconds = match unit.as_str() {
        "ms" => 0.001,
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// `512kb`, `64mb`, `1gb` (powers of 1,024); a bare number counts bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit.as_str() {
        "" | "b" => 1u64,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    Some((number * factor as f64) as u64)
}

fn split_unit(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..digits].parse::<f64>().ok().filter(|number| *number >= 0.0)?;
    Some((number, text[digits..].trim().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[
        OptionSpec { name: "path", kind: OptionKind::Text, required: true, default: None, help: "File to read." },
        OptionSpec { name: "follow", kind: OptionKind::Boolean, required: false, default: Some("false"), help: "Wait for more." },
        OptionSpec { name: "idle_timeout", kind: OptionKind::Duration, required: false, default: None, help: "Silence." },
    ];

    fn check(entries: &[(&str, &str)]) -> Result<Options, Vec<String>> {
        let entries: Vec<_> = entries.iter().map(|(key, value)| OptionEntry::new(*key, *value)).collect();
        let specs: Vec<_> = SPECS.iter().collect();
        Options::check("connector 'file'", &specs, &entries, None)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn typed_values_and_defaults() {
        let options = check(&[("path", "a.json"), ("idle_timeout", "250ms")]).expect("valid");
        assert_eq!(options.text("path"), Some("a.json"));
        assert!(!options.flag("follow"));
        assert_eq!(options.duration("idle_timeout"), Some(Duration::from_millis(250)));
    }

    #[test]
    fn all_problems_at_once_and_each_says_what_exists() {
        let problems = check(&[("pth", "a.json"), ("follow", "maybe")]).expect_err("three problems");
        assert_eq!(
            problems,
            [
                "error: unknown option \"pth\" of connector 'file'\n  options are path, follow, idle_timeout\nhint: Did you mean \"path\"?",
                "error: option \"follow\" cannot be 'maybe'\n  expected true or false\nhint: Wait for more.",
                "error: connector 'file' needs option \"path\"\nhint: Add path = '…' to the WITH clause: File to read.",
            ]
        );
    }

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(parse_bytes("64mb"), Some(64 << 20));
        assert_eq!(parse_bytes("12 elephants"), None);
        assert_eq!(parse_duration("1.5 min"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("-1s"), None);
    }
}
