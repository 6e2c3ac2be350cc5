//! A problem in a script: message, place, hint, and how it is shown.
//!
//! ```text
//! error: column "prise" does not exist in stream "orders"
//!  --> orders.sql:4:14
//!   |
//! 4 |   SELECT sum(prise) AS total FROM orders
//!   |              ^^^^^ columns are order_id, price, quantity, ordered_at
//! hint: Did you mean "price"?
//! ```

use std::fmt;
use std::sync::Arc;

use crate::error::ErrorKind;

/// A script as the user wrote it: the name to show and the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// File name, `<stdin>` or `<sql>`.
    pub name: String,
    /// The text; lines and columns of a [`Span`] refer to it.
    pub text: String,
}

impl Script {
    /// A script named `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }
}

/// A place in a script: line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// A half-open range `[start, end)` of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First character.
    pub start: Position,
    /// The character after the last one.
    pub end: Position,
}

impl Span {
    /// The smallest span that covers both.
    pub fn union(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl From<sqlparser::tokenizer::Span> for Span {
    /// sqlparser's spans end *on* the character after the last one too.
    fn from(span: sqlparser::tokenizer::Span) -> Self {
        let position = |location: sqlparser::tokenizer::Location| Position { line: location.line, column: location.column };
        Span { start: position(span.start), end: position(span.end) }
    }
}

impl From<Span> for sqlparser::tokenizer::Span {
    fn from(span: Span) -> Self {
        let location = |position: Position| sqlparser::tokenizer::Location::new(position.line, position.column);
        Self::new(location(span.start), location(span.end))
    }
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The script cannot run.
    Error,
    /// It runs, perhaps not as meant.
    Warning,
}

/// One problem of a script.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// The script that [`Diagnostic::span`] refers to.
    pub script: Option<Arc<Script>>,
    /// Where it is wrong.
    pub span: Option<Span>,
    /// Shown behind the carets: what was expected, or what exists.
    pub label: Option<String>,
    /// What to do: a full sentence.
    pub hint: Option<String>,
    /// The stream or table that does not exist, if that is what is wrong.
    pub missing: Option<String>,
    /// What the caller can do about it: Sql, unless binding a statement met with data or a service that cannot be used.
    pub kind: ErrorKind,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        let (severity, kind) = (Severity::Error, ErrorKind::Sql);
        Self { severity, message: message.into(), script: None, span: None, label: None, hint: None, missing: None, kind }
    }

    /// A warning without a place.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Adds the place.
    pub fn at(mut self, span: impl Into<Span>) -> Self {
        self.span = Some(span.into());
        self
    }

    /// Adds the script, unless there is one already.
    pub fn in_script(mut self, script: &Arc<Script>) -> Self {
        self.script.get_or_insert_with(|| script.clone());
        self
    }

    /// Adds the text behind the carets.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the name of the stream or table that does not exist.
    pub fn missing(mut self, name: impl Into<String>) -> Self {
        self.missing = Some(name.into());
        self
    }

    /// Adds `Did you mean "…"?` when one of `candidates` is close to `name`.
    pub fn did_you_mean<'a>(self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match closest(name, candidates) {
            Some(candidate) => self.hint(format!("Did you mean \"{candidate}\"?")),
            None => self,
        }
    }
}

/// `1 column`, `2 columns`.
pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The candidate closest to `name` (Jaro-Winkler, case ignored), if it is close enough to be a slip of the finger.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        // The first of those that are as close.
        .reduce(|best, other| if other.0 > best.0 { other } else { best })
        .map(|(_, candidate)| candidate)
}

/// What is shown of a line, and where the carets stand below it.
struct Excerpt {
    text: String,
    /// Characters before the first caret.
    before: usize,
    /// Carets, at least one.
    marked: usize,
}

impl Excerpt {
    /// A longer line is cut to the characters around what is marked.
    const LINE_MAX: usize = 200;
    /// How many of them are shown.
    const SHOWN: usize = 100;
    /// How many of these stand before what is marked.
    const BEFORE: usize = 30;

    /// The line with its characters from `start` to `end` marked.
    fn of(line: &str, start: usize, end: usize) -> Self {
        // A tab would shift the carets: show it as one blank, as the columns count it.
        let line: Vec<char> = line.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
        let (mut first, mut last) = (0, line.len());
        if line.len() > Self::LINE_MAX {
            last = (start.saturating_sub(Self::BEFORE) + Self::SHOWN).min(line.len());
            first = last - Self::SHOWN;
        }
        let (cut_before, cut_behind) = (first > 0, last < line.len());
        let mark = |is_cut: bool| if is_cut { "…" } else { "" };
        let text: String = line[first..last].iter().collect();
        Self {
            text: format!("{}{text}{}", mark(cut_before), mark(cut_behind)),
            before: start.saturating_sub(first) + usize::from(cut_before),
            marked: end.min(last).saturating_sub(start).max(1),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        if let (Some(script), Some(span)) = (&self.script, self.span) {
            let Position { line, column } = span.start;
            write!(f, "\n --> {}:{line}:{column}", script.name)?;
            if let Some(text) = script.text.lines().nth(line.saturating_sub(1) as usize) {
                let start = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
                let end = usize::try_from(span.end.column.saturating_sub(1)).unwrap_or(usize::MAX);
                let end = if span.end.line == line { end } else { usize::MAX };
                let Excerpt { text, before, marked } = Excerpt::of(text, start, end);
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                write!(f, "\n{margin} |\n{number} | {text}\n{margin} | ")?;
                write!(f, "{}{}", " ".repeat(before), "^".repeat(marked))?;
                if let Some(label) = &self.label {
                    write!(f, " {label}")?;
                }
            }
        } else if let Some(label) = &self.label {
            write!(f, "\n  {label}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that show the place of a problem.
    fn shown(text: &str, start: u64, end: u64) -> Vec<String> {
        let position = |column| Position { line: 1, column };
        let problem = Diagnostic::error("wrong").at(Span { start: position(start), end: position(end) });
        let problem = problem.in_script(&Script::new("app.sql", text)).to_string();
        problem.lines().skip(3).map(str::to_owned).collect()
    }

    #[test]
    fn of_a_long_line_only_the_characters_around_the_place_are_shown() {
        let digits = "0123456789".repeat(30);
        let (wrong, blank) = (format!("{digits}WRONG{digits}"), " ");
        let around = format!("1 | …{}WRONG{}…", "0123456789".repeat(3), &digits[..65]);
        assert_eq!(shown(&wrong, 301, 306), [around, format!("  | {}^^^^^", blank.repeat(31))]);
        let at_start = shown(&wrong, 1, 3);
        assert_eq!(at_start, [format!("1 | {}…", &digits[..100]), "  | ^^".to_owned()]);
        let at_end = shown(&wrong, 605, 606);
        assert_eq!(at_end, [format!("1 | …{}", &digits[200..]), format!("  | {}^", blank.repeat(100))]);
        // Carets end with what is shown.
        let all = shown(&wrong, 101, 606);
        assert_eq!(all[1], format!("  | {}{}", blank.repeat(31), "^".repeat(70)));
        // Behind the last character.
        assert_eq!(shown(&digits, 301, 302)[1], format!("  | {}^", blank.repeat(101)));
        assert_eq!(shown("\tSELEC 1", 2, 7), ["1 |  SELEC 1", "  |  ^^^^^"]);
    }
}
