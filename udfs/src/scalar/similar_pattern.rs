//! The patterns of SIMILAR TO and of SUBSTRING (s SIMILAR …) (kda-sql-reference.md §1.10, §5.8), translated for the `regex`
//! crate.
//!
//! | Token | Meaning |
//! | --- | --- |
//! | `_`, `%` | one character, any run of them |
//! | `( )`, `\|` | group, alternatives |
//! | `*` `+` `?` `{n}` `{n,}` `{n,m}` | repetition of what is before it |
//! | `[abc]`, `[a-e]`, `[^abc]` | a character in the set, or not in it |
//! | `[set^minus]` | a character in `set` and not in `minus` |
//!
//! The escape character makes any character literal. The reference wants every other character that is neither letter nor
//! digit escaped; here those without a meaning of their own stand for themselves, so that `'%foo bar%'` is what it looks like.
//! In a set all characters with a meaning must be escaped, so `[^(a-e)]` is wrong, as the reference says.

use std::fmt::Write;

use regex::Regex;

use super::pattern_cache::PatternCache;

/// Patterns that match a whole text.
pub(super) static WHOLE: PatternCache<Regex> = PatternCache::new(|pattern, escape| {
    let part = translate(pattern, escape, pattern)?;
    // `%` at an end needs no search for that end.
    let from = if part.starts_open { "" } else { "\\A" };
    let to = if part.ends_open { "" } else { "\\z" };
    compile(&format!("{from}(?:{}){to}", part.regex), pattern)
});

/// `before E" wanted E" after`, E the escape character: the first group is the wanted part, found anywhere in a text. The part
/// before it is as short as can be.
pub(super) static WANTED: PatternCache<Regex> = PatternCache::new(|pattern, escape| {
    let Some(escape) = escape else { return Err("SUBSTRING with SIMILAR needs an ESCAPE character".to_owned()) };
    let [first, second] = separators(pattern, escape)?;
    let length = 1 + escape.len_utf8();
    let part = |text: &str| translate(text, Some(escape), pattern).map(|part| part.regex);
    let (before, wanted) = (part(&pattern[..first])?, part(&pattern[first + length..second])?);
    let after = part(&pattern[second + length..])?;
    compile(&format!("(?U:{before})({wanted})(?:{after})"), pattern)
});

fn compile(regex: &str, pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("(?s){regex}")).map_err(|error| {
        let message = error.to_string();
        wrong(pattern, message.lines().last().unwrap_or_default().trim_start_matches("error: "))
    })
}

fn wrong(pattern: &str, reason: &str) -> String {
    format!("the SIMILAR pattern '{pattern}' is wrong: {reason}")
}

/// The places of the two marks around the wanted part.
fn separators(pattern: &str, escape: char) -> Result<[usize; 2], String> {
    let mut found = Vec::new();
    let mut characters = pattern.char_indices();
    while let Some((place, character)) = characters.next() {
        if character == escape && characters.next().is_some_and(|(_, escaped)| escaped == '"') {
            found.push(place);
        }
    }
    <[usize; 2]>::try_from(found).map_err(|_| wrong(pattern, &format!("the wanted part must stand between two marks {escape}\"")))
}

struct Part {
    regex: String,
    /// Anything may come before or after a match: the pattern starts or ends in `%`.
    starts_open: bool,
    ends_open: bool,
}

/// The regular expression of a part of `pattern`.
fn translate(part: &str, escape: Option<char>, pattern: &str) -> Result<Part, String> {
    let mut regex = String::with_capacity(part.len() + 16);
    let mut characters = part.chars().peekable();
    let mut groups = 0;
    let mut has_bar = false;
    // Whether there is something that a repetition can repeat; whether the token before was `%`.
    let (mut repeatable, mut after_any) = (false, false);
    // `%{0}` is nothing.
    let starts_open = part.starts_with('%') && !part.starts_with("%{") && escape != Some('%');
    while let Some(character) = characters.next() {
        after_any = false;
        if Some(character) == escape {
            let Some(literal) = characters.next() else { return Err(wrong(pattern, "it ends in the escape character")) };
            push_literal(&mut regex, literal);
            repeatable = true;
            continue;
        }
        match character {
            '_' => regex.push('.'),
            '%' => {
                regex.push_str("(?:.*)");
                after_any = true;
            }
            '(' => {
                groups += 1;
                regex.push_str("(?:");
                repeatable = false;
                continue;
            }
            ')' if groups == 0 => return Err(wrong(pattern, "a ) has no (")),
            ')' => {
                groups -= 1;
                regex.push(')');
            }
            '|' => {
                has_bar = true;
                regex.push('|');
                repeatable = false;
                continue;
            }
            '*' | '+' | '?' | '{' => {
                if !repeatable {
                    return Err(wrong(pattern, &format!("there is nothing that {character} can repeat")));
                }
                regex.push(character);
                if character == '{' {
                    let count: String = characters.by_ref().take_while(|next| *next != '}').collect();
                    if !is_count(&count) {
                        return Err(wrong(pattern, &format!("{{{count}}} is no number of repetitions such as {{3}} or {{3,6}}")));
                    }
                    let _ = write!(regex, "{count}}}");
                }
                repeatable = false;
                continue;
            }
            '[' => {
                let set = set(&mut characters, escape).map_err(|reason| wrong(pattern, &reason))?;
                regex.push_str(&set);
            }
            ']' | '}' => return Err(wrong(pattern, &format!("a {character} has nothing to close; it must be escaped"))),
            literal => push_literal(&mut regex, literal),
        }
        repeatable = true;
    }
    if groups > 0 {
        return Err(wrong(pattern, "a ( is not closed"));
    }
    Ok(Part { regex, starts_open: starts_open && !has_bar, ends_open: after_any && !has_bar })
}

fn push_literal(regex: &mut String, literal: char) {
    if literal.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(literal);
}

/// `n`, `n,` or `n,m`.
fn is_count(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once(',') {
        None => is_number(text),
        Some((from, to)) => is_number(from) && (to.is_empty() || is_number(to)),
    }
}

/// A set, from behind its `[` to its `]`.
fn set(characters: &mut impl Iterator<Item = char>, escape: Option<char>) -> Result<String, String> {
    let mut sets = [String::new(), String::new()];
    let mut minus = false;
    // A dash between two members is a range; it waits for the second one.
    let (mut last, mut dash) = (None, false);
    loop {
        let Some(mut member) = characters.next() else { return Err("a set [ is not closed".to_owned()) };
        let escaped = Some(member) == escape;
        if escaped {
            member = characters.next().ok_or("it ends in the escape character")?;
        }
        match member {
            ']' | '^' if !escaped => {
                if dash {
                    push_literal(&mut sets[usize::from(minus)], '-');
                }
                if member == ']' {
                    break;
                }
                if minus {
                    return Err("a set has one ^ at most; others must be escaped".to_owned());
                }
                (minus, last, dash) = (true, None, false);
            }
            '-' if !escaped && last.is_some() && !dash => dash = true,
            '_' | '%' | '(' | ')' | '|' | '*' | '+' | '?' | '{' | '}' | '[' if !escaped => {
                return Err(format!("a {member} in a set must be escaped"));
            }
            _ => {
                let out = &mut sets[usize::from(minus)];
                match last.filter(|_| dash) {
                    Some(first) if first > member => return Err(format!("the range {first}-{member} runs backwards")),
                    Some(_) => {
                        out.push('-');
                        (last, dash) = (None, false);
                    }
                    None => last = Some(member),
                }
                push_literal(out, member);
            }
        }
    }
    match sets {
        [members, minus_members] if members.is_empty() && minus_members.is_empty() => Err("a set is empty".to_owned()),
        [members, _] if !minus => Ok(format!("[{members}]")),
        [_, minus_members] if minus_members.is_empty() => Err("a set has nothing after ^".to_owned()),
        [members, minus_members] if members.is_empty() => Ok(format!("[^{minus_members}]")),
        [members, minus_members] => Ok(format!("[[{members}]--[{minus_members}]]")),
    }
}
