//! URIs of `--source` and `--sink`: a short way to write the options of a connector.
//!
//! | URI | Options |
//! | --- | --- |
//! | `-` | `connector = 'stdin'`, for a sink `'stdout'` |
//! | `ticks.jsonl`, `out/`, `x.csv?csv.header=true` | `connector = 'file'`, `path = …` |
//! | `s3://bucket/prefix/?region=eu-west-1` | `connector = 's3'`, `path` = all before the `?`; `gs://` and `az://` likewise |
//! | `https://example.com/in` | `connector = 'http', url = …`, with what stands behind a `?` |
//! | `generator:ticks?rate=1000&rows=100` | `connector = 'generator'`, its main option, the others |
//!
//! The main option of a connector is the first one that it requires, else its first one: `path` of `file`, `kind` of
//! `generator`. In values behind the `?`, `%26` stands for `&` and so on.

use kinesql_engine::connector::{ConnectorRegistry, OptionEntry, OptionSpec};
use kinesql_engine::diagnostic::closest;
use kinesql_engine::{Error, Result};

/// Which connectors a URI can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `--source`.
    Source,
    /// `--sink`.
    Sink,
}

impl Direction {
    /// `source` or `sink`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Source => "source",
            Direction::Sink => "sink",
        }
    }

    fn options<'a>(self, registry: &'a ConnectorRegistry, connector: &str) -> Option<&'a [OptionSpec]> {
        match self {
            Direction::Source => registry.source(connector).map(|factory| factory.options()),
            Direction::Sink => registry.sink(connector).map(|factory| factory.options()),
        }
    }

    fn connectors(self, registry: &ConnectorRegistry) -> Vec<&'static str> {
        match self {
            Direction::Source => registry.sources().map(|factory| factory.name()).collect(),
            Direction::Sink => registry.sinks().map(|factory| factory.name()).collect(),
        }
    }
}

/// URLs that are the `path` of a connector as they stand, by their scheme.
const URLS: &[(&str, &str)] = &[("s3", "s3"), ("gs", "gcs"), ("az", "azure"), ("abfs", "azure"), ("abfss", "azure")];

/// The options that `uri` stands for. The connector checks them later; here only the URI itself can be wrong.
pub fn options(uri: &str, direction: Direction, registry: &ConnectorRegistry) -> Result<Vec<OptionEntry>> {
    if uri == "-" {
        let connector = if direction == Direction::Source { "stdin" } else { "stdout" };
        return Ok(vec![OptionEntry::new("connector", connector)]);
    }
    // An address is the endpoint as it is: what stands behind its '?' is part of it.
    let is_address = uri.starts_with("https://") || uri.starts_with("http://");
    if is_address && direction.options(registry, "http").is_some() {
        return Ok(vec![OptionEntry::new("connector", "http"), OptionEntry::new("url", uri)]);
    }
    let (target, query) = split_query(uri);
    let mut entries = Vec::new();
    let of_url = target.split_once("://").and_then(|(scheme, _)| URLS.iter().find(|(known, _)| *known == scheme));
    match connector_of(target) {
        _ if let Some((_, connector)) = of_url => {
            entries.push(OptionEntry::new("connector", *connector));
            entries.push(OptionEntry::new("path", target));
        }
        None => {
            entries.push(OptionEntry::new("connector", "file"));
            entries.push(OptionEntry::new("path", target));
        }
        Some((connector, rest)) => {
            let Some(specs) = direction.options(registry, connector) else {
                return Err(unknown_connector(connector, uri, direction, registry));
            };
            entries.push(OptionEntry::new("connector", connector));
            let main = specs.iter().find(|spec| spec.required).or(specs.first());
            match main {
                _ if rest.is_empty() => {}
                Some(main) => entries.push(OptionEntry::new(main.name, rest)),
                None => {
                    return Err(Error::config(format!(
                        "connector '{connector}' takes nothing between ':' and '?', not '{rest}'"
                    ))
                    .with_hint(format!("Write '{connector}:' or '{connector}:?key=value'.")));
                }
            }
        }
    }
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Error::config(format!("'{pair}' is not an option"))
                .with_hint("Behind '?' options are written key=value, with '&' between two of them."));
        };
        entries.push(OptionEntry::new(key.to_ascii_lowercase(), decode_percent(key, value)?));
    }
    Ok(entries)
}

/// A URI as messages show it: without passwords, without the values of options that hold keys, and of an address without those
/// of its query, which may hold one under any name.
pub fn shown(uri: &str) -> String {
    let (target, query) = uri.split_once('?').map_or((uri, None), |(target, query)| (target, Some(query)));
    let mut text = match target.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", without_password(rest)),
        None => target.to_owned(),
    };
    let is_address = uri.starts_with("https://") || uri.starts_with("http://");
    if let Some(query) = query {
        let is_secret = |key: &str| {
            let key = key.to_ascii_lowercase();
            is_address || key == "access_key" || ["secret", "token", "password"].iter().any(|word| key.contains(word))
        };
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => format!("{key}=***"),
            _ => pair.to_owned(),
        });
        text.push('?');
        text.push_str(&pairs.collect::<Vec<_>>().join("&"));
    }
    text
}

/// `user:***@host/…` for `user:password@host/…`.
fn without_password(rest: &str) -> String {
    let host_end = rest.find('/').unwrap_or(rest.len());
    match rest[..host_end].rfind('@').and_then(|at| Some((rest[..at].split_once(':')?.0, &rest[at..]))) {
        Some((user, behind)) => format!("{user}:***{behind}"),
        None => rest.to_owned(),
    }
}

/// What stands before and behind the `?`. In a plain path a `?` belongs to the path unless `key=` follows.
fn split_query(uri: &str) -> (&str, Option<&str>) {
    let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    match uri.split_once('?') {
        Some((target, query)) if connector_of(uri).is_some() => (target, Some(query)),
        Some((target, query)) if query.split_once('=').is_some_and(|(key, _)| is_key(key)) => (target, Some(query)),
        _ => (uri, None),
    }
}

/// `connector:rest`. A single letter is a Windows drive.
fn connector_of(uri: &str) -> Option<(&str, &str)> {
    let (connector, rest) = uri.split_once(':')?;
    let is_name = connector.len() > 1
        && connector.starts_with(|c: char| c.is_ascii_lowercase())
        && connector.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    is_name.then_some((connector, rest))
}

fn unknown_connector(connector: &str, uri: &str, direction: Direction, registry: &ConnectorRegistry) -> Error {
    let known = direction.connectors(registry);
    let hint = match closest(connector, known.iter().copied()) {
        Some(candidate) => format!("Did you mean '{candidate}:'?"),
        None => format!("Connectors are {}; a path with a colon is written './{}'.", known.join(", "), shown(uri)),
    };
    Error::config(format!("there is no {} connector '{connector}'", direction.name())).with_hint(hint)
}

fn decode_percent(key: &str, text: &str) -> Result<String> {
    // The value may be a secret.
    let wrong = || {
        Error::config(format!("the value of '{key}' cannot be read: '%' needs two hexadecimal digits that make up text"))
            .with_hint("Write '%25' for a percent sign.")
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, direction: Direction) -> Result<String, String> {
        let mut registry = ConnectorRegistry::default();
        kinesql_connectors::register_all(&mut registry);
        let entries = options(uri, direction, &registry).map_err(|error| error.to_string())?;
        Ok(entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn short_forms() {
        use Direction::{Sink, Source};
        for (uri, direction, expected) in [
            ("-", Source, "connector=stdin"),
            ("-", Sink, "connector=stdout"),
            ("ticks.jsonl", Source, "connector=file path=ticks.jsonl"),
            ("out/", Sink, "connector=file path=out/"),
            ("x.csv?csv.header=true", Source, "connector=file path=x.csv csv.header=true"),
            ("what?.json", Source, "connector=file path=what?.json"),
            ("C:\\x.json", Source, "connector=file path=C:\\x.json"),
            ("./a:b.json", Source, "connector=file path=./a:b.json"),
            ("file:/tmp/x y.json?follow=true", Source, "connector=file path=/tmp/x y.json follow=true"),
            ("s3://b/a/?region=eu-west-1", Source, "connector=s3 path=s3://b/a/ region=eu-west-1"),
            ("gs://b/a.csv", Source, "connector=gcs path=gs://b/a.csv"),
            ("az://c/a/", Source, "connector=azure path=az://c/a/"),
            ("generator:", Source, "connector=generator"),
            ("generator:nexmark_bids?rate=1000&rows=100", Source, "connector=generator kind=nexmark_bids rate=1000 rows=100"),
            ("generator:?Start=2024-01-01 00:00:00", Source, "connector=generator start=2024-01-01 00:00:00"),
            ("kinesis:ticks?region=eu-west-1", Source, "connector=kinesis stream=ticks region=eu-west-1"),
            (
                "kinesis:arn:aws:kinesis:eu-west-1:1:stream/ticks?endpoint=http://127.0.0.1:4568",
                Source,
                "connector=kinesis stream=arn:aws:kinesis:eu-west-1:1:stream/ticks endpoint=http://127.0.0.1:4568",
            ),
            ("stdout:?format=table", Sink, "connector=stdout format=table"),
            ("kinesis:ticks?region=eu-west-1&ordered=true", Sink, "connector=kinesis stream=ticks region=eu-west-1 ordered=true"),
            ("firehose:archive", Sink, "connector=firehose delivery_stream=archive"),
            ("lambda:notify:live?linger=0ms", Sink, "connector=lambda function=notify:live linger=0ms"),
            ("https://example.com/in?k=v", Sink, "connector=http url=https://example.com/in?k=v"),
            ("http:https://example.com/in?access_key=k", Sink, "connector=http url=https://example.com/in access_key=k"),
            ("file:x?csv.delimiter=%26&a=%C3%BC", Sink, "connector=file path=x csv.delimiter=& a=ü"),
        ] {
            assert_eq!(check(uri, direction).expect(uri), expected, "{uri}");
        }
    }

    #[test]
    fn messages_show_no_secret() {
        for (uri, expected) in [
            (
                "http:https://e.com/in?linger=1s&access_key=K&batch.records=2",
                "http:https://e.com/in?linger=1s&access_key=***&batch.records=2",
            ),
            ("https://e.com/in?api-key=K&x=y", "https://e.com/in?api-key=***&x=***"),
            ("https://me:K@e.com/in", "https://me:***@e.com/in"),
            ("http:http://me:K:K@e.com", "http:http://me:***@e.com"),
            ("s3://b/a@b:c/?region=eu-west-1", "s3://b/a@b:c/?region=eu-west-1"),
            ("kinesis:ticks?partition_key=NAME", "kinesis:ticks?partition_key=NAME"),
            ("x.csv?csv.header=true", "x.csv?csv.header=true"),
        ] {
            assert_eq!(shown(uri), expected);
        }
    }

    #[test]
    fn wrong_forms_say_what_is_expected() {
        use Direction::{Sink, Source};
        for (uri, direction, expected) in [
            ("fiel:x", Source, "there is no source connector 'fiel'\nhint: Did you mean 'file:'?"),
            (
                "stdout:x",
                Sink,
                "connector 'stdout' takes nothing between ':' and '?', not 'x'\nhint: Write 'stdout:' or 'stdout:?key=value'.",
            ),
            (
                "file:x?follow",
                Source,
                "'follow' is not an option\nhint: Behind '?' options are written key=value, with '&' between two of them.",
            ),
            (
                "file:x?a=%2",
                Source,
                "the value of 'a' cannot be read: '%' needs two hexadecimal digits that make up text\nhint: Write '%25' for a percent sign.",
            ),
        ] {
            assert_eq!(check(uri, direction).expect_err(uri), expected, "{uri}");
        }
        let error = check("zzz:x", Sink).expect_err("unknown");
        assert!(error.contains("a path with a colon is written './zzz:x'"), "{error}");
    }
}
