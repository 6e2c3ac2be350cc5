//! Java regular expressions (kda-sql-reference.md §5.8, §5.9), translated for the `regex` crate, which runs in linear time.
//!
//! Same in both and passed through: literals, groups (also named), alternation, greedy and lazy repetition, classes with `&&`,
//! `^ $ \A \z \b \B`, the flags `i m s x`. Translated: `\d \w \s` and POSIX classes are ASCII as in Java; `\Q…\E`, `\h \v \R`,
//! octal, `\cX`, `\uXXXX`, `\p{IsX}`. The dot stops at `\r` and `\n`. `$` and `\Z` mean the very end of the text, where Java
//! also stops before a last line break.
//! Refused by name, because matching them is not linear: back references, look-ahead, look-behind, atomic groups, possessive
//! repetition, `\G`, `\X`.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

use super::pattern_cache::PatternCache;

/// Patterns that match anywhere in the text.
pub(super) static FIND: PatternCache<Regex> = PatternCache::new(|pattern, _| find(pattern));
/// Patterns that match the whole text.
pub(super) static WHOLE: PatternCache<Regex> = PatternCache::new(|pattern, _| {
    // Alone first: `a)(b` must not close the group around it.
    find(pattern)?;
    compile(&format!("\\A(?:{})\\z", translate(pattern)?), pattern)
});

const LINE_BREAK: &str = r"(?:\r\n|[\n\x0B\f\r\u{85}\u{2028}\u{2029}])";
const VERTICAL: &str = r"\n\x0B\f\r\u{85}\u{2028}\u{2029}";
const HORIZONTAL: &str = r" \t\u{A0}\u{1680}\u{180E}\u{2000}-\u{200A}\u{202F}\u{205F}\u{3000}";

fn find(pattern: &str) -> Result<Regex, String> {
    compile(&translate(pattern)?, pattern)
}

fn compile(translated: &str, pattern: &str) -> Result<Regex, String> {
    // `R`: the dot stops at `\r`, too.
    Regex::new(&format!("(?R){translated}")).map_err(|error| {
        let message = error.to_string();
        let reason = message.lines().last().unwrap_or_default();
        format!("the regular expression '{pattern}' is wrong: {}", reason.trim_start_matches("error: "))
    })
}

/// The pattern in the syntax of the `regex` crate, or the feature that it lacks.
fn translate(pattern: &str) -> Result<String, String> {
    let mut translation =
        Translation { pattern, rest: pattern.chars().peekable(), out: String::with_capacity(pattern.len() + 8), depth: 0 };
    translation.run()?;
    Ok(translation.out)
}

struct Translation<'a> {
    pattern: &'a str,
    rest: Peekable<Chars<'a>>,
    out: String,
    /// How many character classes are open.
    depth: usize,
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
        } else if self.rest.peek() == Some(&'+') {
            return Err(self.unsupported("a possessive repetition"));
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        match self.rest.peek() {
            Some('=' | '!') => Err(self.unsupported("look-ahead")),
            Some('>') => Err(self.unsupported("an atomic group")),
            Some('<') => {
                self.rest.next();
                if let Some('=' | '!') = self.rest.peek() {
                    return Err(self.unsupported("look-behind"));
                }
                self.out.push('<');
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
            '1'..='9' => return Err(self.unsupported(&format!("the back reference \\{escaped}"))),
            'k' => return Err(self.unsupported("a back reference \\k")),
            'G' | 'X' => return Err(self.unsupported(&format!("\\{escaped}"))),
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
