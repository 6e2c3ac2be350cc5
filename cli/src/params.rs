//! Parameters of scripts: `${name}` is replaced by the value of `--param name=value` before parsing.
//!
//! Names are letters, digits and `_`, `-`, `.`, not beginning with a digit; any other `${…}` stays as it is, as do
//! comments. `$${` stands for a plain `${`. Values hold no line breaks, so lines keep their numbers, and an error behind
//! the replacement shows the text as it was parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinesql_engine::diagnostic::{Diagnostic, Position, Script, Span};
use kinesql_engine::sql::{TokenClass, highlight_tokens};
use kinesql_engine::{Error, Result};

use crate::args::Assignment;

/// The values of all parameters, and which of them were used.
#[derive(Debug, Default)]
pub struct Params {
    values: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Params {
    /// Checks the arguments: names that a script can refer to, values without line breaks.
    pub fn try_new(arguments: &[Assignment]) -> Result<Self> {
        let mut values = BTreeMap::new();
        for Assignment { name, value } in arguments {
            if reference(&format!("{name}}}")).is_none() {
                return Err(Error::config(format!("--param {name}=…: \"{name}\" cannot be the name of a parameter"))
                    .with_hint("Names are letters, digits, '_', '-' and '.', and do not begin with a digit."));
            }
            if value.contains(['\n', '\r']) {
                return Err(Error::config(format!("--param {name}=…: the value contains a line break"))
                    .with_hint("Write text of several lines into the script."));
            }
            if values.insert(name.clone(), value.clone()).is_some() {
                return Err(Error::config(format!("--param {name} is given twice")));
            }
        }
        Ok(Self { values, used: BTreeSet::new() })
    }

    /// The script with all parameters replaced. Reports every unknown one with its place.
    pub fn apply(&mut self, script: &Script) -> Result<Arc<Script>> {
        let source = script.text.as_str();
        let mut text = String::with_capacity(source.len());
        let mut problems = Vec::new();
        let mut comments = None;
        let mut at = 0;
        while let Some(found) = source[at..].find("${").map(|offset| at + offset) {
            if source[..found].ends_with('$') {
                text.push_str(&source[at..found - 1]);
                text.push_str("${");
                at = found + 2;
                continue;
            }
            text.push_str(&source[at..found]);
            at = found + 2;
            let name = reference(&source[at..]);
            let comments = comments.get_or_insert_with(|| {
                let tokens = highlight_tokens(source).into_iter();
                tokens.filter(|(_, class)| *class == TokenClass::Comment).map(|(range, _)| range).collect::<Vec<_>>()
            });
            match name {
                Some(name) if !comments.iter().any(|comment| comment.contains(&found)) => {
                    at += name.len() + 1;
                    match self.values.get(name) {
                        Some(value) => {
                            text.push_str(value);
                            self.used.insert(name.to_owned());
                        }
                        None => problems.push(self.unknown(name, span(source, found, at))),
                    }
                }
                _ => text.push_str("${"),
            }
        }
        if !problems.is_empty() {
            let script = Script::new(script.name.as_str(), source);
            return Err(Error::sql(problems.into_iter().map(|problem| problem.in_script(&script)).collect()));
        }
        text.push_str(&source[at..]);
        Ok(Script::new(script.name.as_str(), text))
    }

    /// Parameters that no script has asked for.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.values.keys().filter(|name| !self.used.contains(*name)).map(String::as_str)
    }

    fn unknown(&self, name: &str, span: Span) -> Diagnostic {
        let problem = Diagnostic::error(format!("parameter \"{name}\" has no value")).at(span);
        let known: Vec<_> = self.values.keys().map(String::as_str).collect();
        let problem = match known.as_slice() {
            [] => problem,
            known => problem.label(format!("parameters are {}", known.join(", "))),
        };
        let problem = problem.did_you_mean(name, known);
        match problem.hint {
            Some(_) => problem,
            None => problem.hint(format!("Give it one with --param {name}=…; to keep the text as it is write $${{{name}}}.")),
        }
    }
}

/// The name at the start of `text` if it is closed by `}`.
fn reference(text: &str) -> Option<&str> {
    let name = &text[..text.find('}')?];
    let first = |c: char| c.is_alphabetic() || c == '_';
    let rest = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    (name.starts_with(first) && name.chars().all(rest)).then_some(name)
}

fn span(text: &str, start: usize, end: usize) -> Span {
    let position = |offset: usize| {
        let before = &text[..offset];
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position { line: before.matches('\n').count() as u64 + 1, column: before[line..].chars().count() as u64 + 1 }
    };
    Span { start: position(start), end: position(end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let arguments: Vec<_> =
            pairs.iter().map(|(name, value)| Assignment { name: (*name).to_owned(), value: (*value).to_owned() }).collect();
        Params::try_new(&arguments).expect("valid")
    }

    fn apply(text: &str, pairs: &[(&str, &str)]) -> Result<String, String> {
        let script = Script::new("app.sql", text);
        params(pairs).apply(&script).map(|script| script.text.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_replace_names_anywhere_but_in_comments() {
        let text = "-- ${gone}\nSELECT '${region}' FROM \"${stream}\" /* ${region} */ WHERE x > ${min.x}${min.x}";
        let replaced = apply(text, &[("region", "eu"), ("stream", "T ü"), ("min.x", "1")]);
        assert_eq!(replaced.expect("known"), "-- ${gone}\nSELECT 'eu' FROM \"T ü\" /* ${region} */ WHERE x > 11");
    }

    #[test]
    fn other_dollars_stay() {
        for text in ["'a${2}b'", "cost $5", "${", "${a", "${}", "$", "'^x$'", "${a b}"] {
            assert_eq!(apply(text, &[("a", "1")]).expect("nothing to replace"), text);
        }
        assert_eq!(apply("'$${a}' ${a}", &[("a", "1")]).expect("escaped"), "'${a}' 1");
    }

    #[test]
    fn every_unknown_name_is_reported_with_its_place() {
        let error = apply("SELECT 'ü',\n  ${regoin}, ${x}", &[("region", "eu")]).expect_err("unknown");
        assert_eq!(
            error,
            "error: parameter \"regoin\" has no value\n --> app.sql:2:3\n  |\n2 |   ${regoin}, ${x}\n  |   ^^^^^^^^^ parameters are region\n\
             hint: Did you mean \"region\"?\n\
             error: parameter \"x\" has no value\n --> app.sql:2:14\n  |\n2 |   ${regoin}, ${x}\n  |              ^^^^ parameters are region\n\
             hint: Give it one with --param x=…; to keep the text as it is write $${x}."
        );
    }

    #[test]
    fn unused_parameters_are_known() {
        let mut params = params(&[("a", "1"), ("b", "2")]);
        params.apply(&Script::new("app.sql", "${b}")).expect("known");
        assert_eq!(params.unused().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for (name, value) in [("a b", "1"), ("1a", "1"), ("a", "two\nlines")] {
            let argument = Assignment { name: name.to_owned(), value: value.to_owned() };
            assert!(Params::try_new(&[argument]).is_err(), "{name}");
        }
    }
}
