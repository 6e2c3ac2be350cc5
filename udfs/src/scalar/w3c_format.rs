//! The format of a web server's log (kda-sql-reference.md §5.9.2): specifiers of Apache's mod_log_config and text between them.
//!
//! A value ends where the text that follows it in the format comes first in the line; behind a quote, at a quote that no
//! backslash escapes; at the end of the format, at the end of the line. A time ends at its bracket. Values that are one word by
//! their nature, such as a status, have no blank. A query string begins with its `?` or is empty, so a path may stand right before
//! it: `%U%q`.

use std::ops::Range;

/// The specifiers that take an argument in `[ ]`, the ones that may, and those that never do.
const WITH_ARGUMENT: &str = "Ceino";
const WITH_OPTIONAL_ARGUMENT: &str = "tP";
const WITHOUT_ARGUMENT: &str = "aAbBDfhHlmpqrsTuUvVXIO";
const WORDS: &str = "aAbBDhHlmpPsTvVXIO";

/// A format, split.
pub(super) struct Format {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Value(Kind),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    /// With its `?`, or empty.
    Query,
    /// What a query string follows at once.
    Path,
    /// In brackets, which belong to the value unless the format has them.
    Time,
}

impl Format {
    pub fn try_new(format: &str) -> Result<Self, String> {
        let name = format.trim().to_ascii_uppercase();
        let format = match name.as_str() {
            "COMMON" => r#"%h %l %u %t "%r" %>s %b"#,
            "COMMON WITH VHOST" => r#"%v %h %l %u %t "%r" %>s %b"#,
            "NCSA EXTENDED" => r#"%h %l %u %t "%r" %>s %b "%[Referer]i" "%[User-agent]i""#,
            "REFERER" => "%[Referer]i ---> %U",
            "AGENT" => "%[User-agent]i",
            "IIS" => return Err("the format IIS has no definition: write its fields as a format of its own".to_owned()),
            _ => format,
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut characters = format.chars().peekable();
        while let Some(character) = characters.next() {
            let literal = if character == '%' {
                match specifier(&mut characters)? {
                    Some(kind) => {
                        match parts.last_mut() {
                            Some(Part::Value(path @ Kind::Text)) if kind == Kind::Query => *path = Kind::Path,
                            Some(Part::Value(_)) => {
                                return Err(format!("the format '{format}' has two values with nothing between them"));
                            }
                            _ => {}
                        }
                        parts.push(Part::Value(kind));
                        continue;
                    }
                    None => '%',
                }
            } else {
                character
            };
            match parts.last_mut() {
                Some(Part::Text(text)) => text.push(literal),
                _ => parts.push(Part::Text(literal.to_string())),
            }
        }
        let format = Self { parts };
        if format.value_count() == 0 {
            return Err(format!("'{name}' is neither a format of a web server's log nor one with a specifier such as %h"));
        }
        Ok(format)
    }

    pub fn value_count(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Value(_))).count()
    }

    /// Puts the places of the values into `values`; says whether the line has this format.
    pub fn read(&self, line: &str, values: &mut Vec<Range<usize>>) -> bool {
        values.clear();
        let mut at = 0;
        for (number, part) in self.parts.iter().enumerate() {
            let rest = &line[at..];
            let length = match part {
                Part::Text(text) => rest.starts_with(text).then_some(text.len()),
                Part::Value(kind) => self.value_length(number, *kind, rest),
            };
            let Some(length) = length else { return false };
            if let Part::Value(_) = part {
                values.push(at..at + length);
            }
            at += length;
        }
        at == line.len()
    }

    /// Bytes of the value that `rest` starts with.
    fn value_length(&self, number: usize, kind: Kind, rest: &str) -> Option<usize> {
        let text = |number: usize| match self.parts.get(number) {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        // A path and its query string end where both of them do.
        let follows_path = number > 0 && matches!(self.parts[number - 1], Part::Value(Kind::Path));
        let (first, last) = (number - usize::from(follows_path), number + usize::from(kind == Kind::Path));
        let (before, after) = (first.checked_sub(1).map_or("", text), text(last + 1));
        if kind == Kind::Time && !before.ends_with('[') {
            return if rest.starts_with('[') { Some(rest.find(']')? + 1) } else { None };
        }
        let length = if before.ends_with('"') && after.starts_with('"') {
            closing_quote(rest)?
        } else if last + 2 >= self.parts.len() {
            rest.strip_suffix(after)?.len()
        } else {
            rest.find(after)?
        };
        match kind {
            Kind::Word => (!rest[..length].contains(' ')).then_some(length),
            Kind::Path => Some(rest[..length].find('?').unwrap_or(length)),
            _ => Some(length),
        }
    }
}

/// The first quote that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// What follows a `%`: None for a second one.
fn specifier(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<Kind>, String> {
    // Status codes, `!` and `<`, `>` say when and of which request the server logs the value.
    while characters.next_if(|next| next.is_ascii_digit() || "!,<>".contains(*next)).is_some() {}
    let mut argument = None;
    if characters.next_if_eq(&'[').is_some() {
        let mut text = String::new();
        loop {
            match characters.next() {
                Some(']') => break,
                Some(character) => text.push(character),
                None => return Err(format!("the argument %[{text} of a format is not closed")),
            }
        }
        argument = Some(text);
    }
    let Some(letter) = characters.next() else { return Err("a format ends in a %; %% means the character".to_owned()) };
    match (letter, &argument) {
        ('%', None) => Ok(None),
        ('t', None) => Ok(Some(Kind::Time)),
        ('q', None) => Ok(Some(Kind::Query)),
        (_, Some(_)) if WITH_ARGUMENT.contains(letter) || WITH_OPTIONAL_ARGUMENT.contains(letter) => {
            Ok(Some(if letter == 'P' { Kind::Word } else { Kind::Text }))
        }
        (_, None) if WITH_ARGUMENT.contains(letter) => {
            Err(format!("the specifier %{letter} of a format needs a name: %[name]{letter}"))
        }
        (_, None) if WITHOUT_ARGUMENT.contains(letter) || WITH_OPTIONAL_ARGUMENT.contains(letter) => {
            Ok(Some(if WORDS.contains(letter) { Kind::Word } else { Kind::Text }))
        }
        ('{', None) => Err("the arguments of a format stand in brackets: %[name]i".to_owned()),
        (_, Some(argument)) => Err(format!("%[{argument}]{letter} is no specifier of a format")),
        (_, None) => Err(format!("%{letter} is no specifier of a format")),
    }
}
