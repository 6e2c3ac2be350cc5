//! Java regular expressions (kda-sql-reference.md §5.8, §5.9), translated for the `regex` crate, which runs in linear time.
//!
//! Same in both and passed through: literals, groups (also named), alternation, greedy and lazy repetition, classes with `&&`,
//! `^ $ \A \z \b \B`, the flags `i m s x`. Translated: `\d \w \s` and POSIX classes are ASCII as in Java; `\Q…\E`, `\h \v \R`,
//! octal, `\cX`, `\uXXXX`, `\p{IsX}`. The dot stops at `\r` and `\n`. `$` and `\Z` mean the very end of the text, where Java
//! also stops before a last line break.
//! Refused by name: `\X`, the flags `d u U`, Unicode blocks.
//!
//! Back references, look-ahead, look-behind, atomic groups, possessive repetition and `\G` are not of linear time: a pattern
//! with one of them is matched by the crate `fancy-regex`, by trying, and fails the row when a million tries were in vain.

use std::fmt::Write;
use std::iter::Peekable;
use std::ops::Range;
use std::str::Chars;

use regex::CaptureLocations;

use super::pattern_cache::PatternCache;

/// Patterns that match anywhere in the text.
pub(super) static FIND: PatternCache<JavaRegex> = PatternCache::new(|pattern, _| find(pattern));
/// Patterns that match the whole text.
pub(super) static WHOLE: PatternCache<JavaRegex> = PatternCache::new(|pattern, _| {
    // Alone first: `a)(b` must not close the group around it.
    find(pattern)?;
    let (translated, backtracks) = translate(pattern)?;
    compile(&format!("\\A(?:{translated})\\z"), backtracks, pattern)
});

/// A compiled pattern.
pub(super) enum JavaRegex {
    /// It is matched in linear time.
    Linear(regex::Regex),
    /// It is matched by trying.
    Backtracking(Box<fancy_regex::Regex>),
}

/// Where the groups of a match are; group 0 is the whole match.
pub(super) enum Groups {
    Linear(CaptureLocations),
    Backtracking(Vec<Option<(usize, usize)>>),
}

impl Groups {
    /// Start and end of a group in the text; None if it took no part in the match.
    pub fn get(&self, group: usize) -> Option<(usize, usize)> {
        match self {
            Groups::Linear(groups) => groups.get(group),
            Groups::Backtracking(groups) => groups.get(group).copied().flatten(),
        }
    }
}

impl JavaRegex {
    /// Space for [`JavaRegex::captures_at`].
    pub fn groups(&self) -> Groups {
        match self {
            JavaRegex::Linear(regex) => Groups::Linear(regex.capture_locations()),
            JavaRegex::Backtracking(regex) => Groups::Backtracking(vec![None; regex.captures_len()]),
        }
    }

    /// How many groups there are, the whole match included.
    pub fn captures_len(&self) -> usize {
        match self {
            JavaRegex::Linear(regex) => regex.captures_len(),
            JavaRegex::Backtracking(regex) => regex.captures_len(),
        }
    }

    /// The number of a group that has a name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        match self {
            JavaRegex::Linear(regex) => regex.capture_names().position(|group| group == Some(name)),
            JavaRegex::Backtracking(regex) => regex.capture_names().position(|group| group == Some(name)),
        }
    }

    /// The first match at `at` or behind it. `groups` come from [`JavaRegex::groups`]. An error says that it takes too long.
    pub fn captures_at(&self, text: &str, at: usize, groups: &mut Groups) -> Result<Option<Range<usize>>, String> {
        match (self, groups) {
            (JavaRegex::Linear(regex), Groups::Linear(groups)) => {
                Ok(regex.captures_read_at(groups, text, at).map(|whole| whole.range()))
            }
            (JavaRegex::Backtracking(regex), Groups::Backtracking(groups)) => {
                let Some(found) = regex.captures_from_pos(text, at).map_err(|error| took_too_long(regex, &error))? else {
                    return Ok(None);
                };
                for (place, group) in groups.iter_mut().enumerate() {
                    *group = found.get(place).map(|part| (part.start(), part.end()));
                }
                Ok(groups[0].map(|(from, to)| from..to))
            }
            _ => Err("the groups are those of another regular expression".to_owned()),
        }
    }

    /// The first match in the text. An error says that it takes too long.
    pub fn find<'t>(&self, text: &'t str) -> Result<Option<&'t str>, String> {
        match self {
            JavaRegex::Linear(regex) => Ok(regex.find(text).map(|part| part.as_str())),
            JavaRegex::Backtracking(regex) => {
                let found = regex.find(text).map_err(|error| took_too_long(regex, &error))?;
                Ok(found.map(|part| part.as_str()))
            }
        }
    }
}

fn took_too_long(regex: &fancy_regex::Regex, error: &fancy_regex::Error) -> String {
    let pattern = regex.as_str().trim_start_matches("(?R)");
    format!("the regular expression '{pattern}' takes too long on this text: {error}")
}

const LINE_BREAK: &str = r"(?:\r\n|[\n\x0B\f\r\u{85}\u{2028}\u{2029}])";
const VERTICAL: &str = r"\n\x0B\f\r\u{85}\u{2028}\u{2029}";
const HORIZONTAL: &str = r" \t\u{A0}\u{1680}\u{180E}\u{2000}-\u{200A}\u{202F}\u{205F}\u{3000}";

fn find(pattern: &str) -> Result<JavaRegex, String> {
    let (translated, backtracks) = translate(pattern)?;
    compile(&translated, backtracks, pattern)
}

fn compile(translated: &str, backtracks: bool, pattern: &str) -> Result<JavaRegex, String> {
    // `R`: the dot stops at `\r`, too.
    let translated = format!("(?R){translated}");
    let compiled = if backtracks {
        fancy_regex::Regex::new(&translated)
            .map(|regex| JavaRegex::Backtracking(Box::new(regex)))
            .map_err(|error| error.to_string())
    } else {
        regex::Regex::new(&translated).map(JavaRegex::Linear).map_err(|error| error.to_string())
    };
    compiled.map_err(|message| {
        let reason = message.lines().last().unwrap_or_default();
        format!("the regular expression '{pattern}' is wrong: {}", reason.trim_start_matches("error: "))
    })
}

/// The pattern in the syntax of the crates `regex` and `fancy-regex`, and whether it needs the latter; or the feature that
/// both lack.
fn translate(pattern: &str) -> Result<(String, bool), String> {
    let (rest, out) = (pattern.chars().peekable(), String::with_capacity(pattern.len() + 8));
    let mut translation = Translation { pattern, rest, out, depth: 0, groups: 0, backtracks: false };
    translation.run()?;
    Ok((translation.out, translation.backtracks))
}

struct Translation<'a> {
    pattern: &'a str,
    rest: Peekable<Chars<'a>>,
    out: String,
    /// How many character classes are open.
    depth: usize,
    /// How many groups have been opened.
    groups: u32,
    /// Something is not of linear time.
    backtracks: bool,
}

impl Translation<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(next) = self.rest.next() {
            match next {
                '\\' => self.escape()?,
                '[' => self.open_class(),
                ']' if self.depth > 0 => {
                    self.depth -= 1;
                    self.out.push(']');
                }
                // The crate knows set operators that Java reads as characters.
                '-' | '~' if self.depth > 0 && self.out.ends_with(next) => {
                    self.out.push('\\');
                    self.out.push(next);
                }
                _ if self.depth > 0 => self.out.push(next),
                '(' => self.group()?,
                '*' | '+' | '?' => self.repetition(next)?,
                '{' => {
                    self.out.push('{');
                    let mut closed = false;
                    while let Some(digit) = self.rest.next_if(|next| !closed && (next.is_ascii_digit() || ",}".contains(*next))) {
                        self.out.push(digit);
                        closed = digit == '}';
                    }
                    if !closed {
                        return Err(self.wrong("a repetition {n}, {n,} or {n,m} is not closed"));
                    }
                    self.after_repetition()?;
                }
                _ => self.out.push(next),
            }
        }
        if self.depth > 0 { Err(self.wrong("a character class [ is not closed")) } else { Ok(()) }
    }

    fn wrong(&self, reason: &str) -> String {
        format!("the regular expression '{}' is wrong: {reason}", self.pattern)
    }

    fn unsupported(&self, feature: &str) -> String {
        format!("the regular expression '{}' uses {feature}, which is not supported", self.pattern)
    }

    fn open_class(&mut self) {
        self.depth += 1;
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        // A bracket that comes first is a member of the class.
        if self.rest.next_if_eq(&']').is_some() {
            self.out.push_str("\\]");
        }
    }

    fn repetition(&mut self, operator: char) -> Result<(), String> {
        self.out.push(operator);
        self.after_repetition()
    }

    fn after_repetition(&mut self) -> Result<(), String> {
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        } else if self.rest.next_if_eq(&'+').is_some() {
            self.out.push('+');
            self.backtracks = true;
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            self.groups += 1;
            return Ok(());
        }
        self.out.push('?');
        // Look-ahead and atomic groups.
        if let Some(kind) = self.rest.next_if(|next| "=!>".contains(*next)) {
            self.out.push(kind);
            self.backtracks = true;
            return Ok(());
        }
        match self.rest.peek() {
            Some('<') => {
                self.rest.next();
                self.out.push('<');
                if let Some('=' | '!') = self.rest.peek() {
                    self.backtracks = true;
                } else {
                    self.groups += 1;
                }
                Ok(())
            }
            _ => {
                while let Some(flag) = self.rest.next_if(|next| next.is_ascii_alphabetic() || *next == '-') {
                    if let 'd' | 'u' | 'U' = flag {
                        return Err(self.unsupported(&format!("the flag {flag}")));
                    }
                    self.out.push(flag);
                }
                Ok(())
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), String> {
        let Some(escaped) = self.rest.next() else { return Err(self.wrong("it ends in a backslash")) };
        match escaped {
            '1'..='9' => self.back_reference(escaped),
            'k' => {
                self.out.push_str("\\k");
                self.backtracks = true;
            }
            'G' => {
                self.out.push_str("\\G");
                self.backtracks = true;
            }
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            's' => self.out.push_str(r"[ \t\n\x0B\f\r]"),
            'S' => self.out.push_str(r"[^ \t\n\x0B\f\r]"),
            'h' => self.class(HORIZONTAL, false),
            'H' => self.class(HORIZONTAL, true),
            'v' => self.class(VERTICAL, false),
            'V' => self.class(VERTICAL, true),
            'R' => self.out.push_str(LINE_BREAK),
            'Z' => self.out.push_str(r"\z"),
            'A' | 'z' | 'b' | 'B' | 't' | 'n' | 'r' | 'f' | 'x' => {
                self.out.push('\\');
                self.out.push(escaped);
            }
            'a' => self.literal('\u{7}'),
            'e' => self.literal('\u{1B}'),
            'c' => match self.rest.next() {
                Some(letter) if letter.is_ascii() => self.literal(char::from(letter as u8 ^ 64)),
                _ => return Err(self.wrong("\\c needs a letter")),
            },
            '0' => self.octal()?,
            'u' => {
                let digits: String = self.rest.by_ref().take(4).collect();
                let character = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4).and_then(char::from_u32);
                match character {
                    Some(character) => self.literal(character),
                    None => return Err(self.wrong(&format!("\\u{digits} is no character"))),
                }
            }
            'p' | 'P' => self.property(escaped == 'P')?,
            'Q' => self.quoted(),
            letter if letter.is_ascii_alphabetic() => return Err(self.unsupported(&format!("\\{letter}"))),
            character => self.literal(character),
        }
        Ok(())
    }

    /// More digits belong to the number as long as there is such a group.
    fn back_reference(&mut self, first: char) {
        let value = |digit: char| digit.to_digit(10).unwrap_or(0);
        let (mut group, groups) = (value(first), self.groups);
        while let Some(more) = self.rest.next_if(|next| next.is_ascii_digit() && group * 10 + value(*next) <= groups) {
            group = group * 10 + value(more);
        }
        // In a group of its own: a digit may follow.
        let _ = write!(self.out, "(?:\\{group})");
        self.backtracks = true;
    }

    fn class(&mut self, members: &str, negated: bool) {
        self.out.push_str(if negated { "[^" } else { "[" });
        self.out.push_str(members);
        self.out.push(']');
    }

    fn literal(&mut self, character: char) {
        // Blanks and # would vanish under the flag x.
        let _ = match character {
            ' ' | '#' | '\0'..'\u{20}' => write!(self.out, "\\x{{{:X}}}", character as u32),
            _ if character.is_ascii_punctuation() => write!(self.out, "\\{character}"),
            _ => write!(self.out, "{character}"),
        };
    }

    fn octal(&mut self) -> Result<(), String> {
        let mut value = 0;
        for place in 0..3 {
            let fits = |next: &char| ('0'..='7').contains(next) && (place < 2 || value < 0o40);
            match self.rest.next_if(fits).and_then(|digit| digit.to_digit(8)) {
                Some(digit) => value = value * 8 + digit,
                None if place == 0 => return Err(self.wrong("\\0 needs octal digits")),
                None => break,
            }
        }
        self.literal(char::from_u32(value).unwrap_or('\0'));
        Ok(())
    }

    /// `\p{Name}` or `\pL`.
    fn property(&mut self, negated: bool) -> Result<(), String> {
        let name: String = match self.rest.next() {
            Some('{') => self.rest.by_ref().take_while(|next| *next != '}').collect(),
            Some(letter) => letter.to_string(),
            None => return Err(self.wrong("\\p needs the name of a class")),
        };
        let posix = ["Lower", "Upper", "ASCII", "Alpha", "Digit", "Alnum", "Punct", "Graph", "Print", "Blank", "Cntrl", "XDigit"];
        if posix.contains(&name.as_str()) || name == "Space" {
            let _ = write!(self.out, "[[:{}{}:]]", if negated { "^" } else { "" }, name.to_ascii_lowercase());
            return Ok(());
        }
        if name.starts_with("In") || name.starts_with("java") || name.starts_with("block=") {
            return Err(self.unsupported(&format!("\\p{{{name}}}")));
        }
        let property = if negated { 'P' } else { 'p' };
        let _ = write!(self.out, "\\{property}{{{}}}", name.strip_prefix("Is").unwrap_or(&name));
        Ok(())
    }

    fn quoted(&mut self) {
        while let Some(next) = self.rest.next() {
            if next == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(next);
        }
    }
}
