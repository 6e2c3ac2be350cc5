//! The pattern language (kda-sql-reference.md §5.9.1), loosest binding first: `|`, `&`, sequence, repetition.

use std::iter::Peekable;
use std::str::Chars;

/// More than these make automata that no line needs.
const REPETITIONS_MAX: u32 = 1_000;
const DEPTH_MAX: usize = 100;
/// The parts of a pattern, repetitions counted out: the automaton's construction goes as deep as there are parts.
const PARTS_MAX: u32 = 2_000;

/// A pattern.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// No text at all, `#`.
    Nothing,
    /// One character of these ranges, sorted and apart.
    Class(Vec<(char, char)>),
    /// One after the other; the empty text if there is none.
    Concat(Vec<Node>),
    /// Any of them.
    Union(Vec<Node>),
    /// All of them.
    Intersection(Vec<Node>),
    /// At least and at most so many times.
    Repeat(Box<Node>, u32, Option<u32>),
    /// In parentheses.
    Group(Box<Node>),
}

impl Node {
    fn parts(&self) -> u32 {
        match self {
            Node::Nothing | Node::Class(_) => 1,
            Node::Concat(nodes) | Node::Union(nodes) | Node::Intersection(nodes) => {
                nodes.iter().fold(1, |parts, node| node.parts().saturating_add(parts))
            }
            Node::Repeat(node, least, most) => node.parts().saturating_mul(most.unwrap_or(*least).max(1)),
            Node::Group(node) => node.parts(),
        }
    }

    /// The length in characters of every text that matches, if there is one.
    pub fn fixed_length(&self) -> Option<usize> {
        match self {
            Node::Nothing => None,
            Node::Class(_) => Some(1),
            Node::Concat(nodes) => nodes.iter().map(Node::fixed_length).sum(),
            Node::Union(nodes) | Node::Intersection(nodes) => {
                let length = nodes.first()?.fixed_length()?;
                nodes.iter().all(|node| node.fixed_length() == Some(length)).then_some(length)
            }
            Node::Repeat(node, least, Some(most)) if least == most => Some(node.fixed_length()? * *least as usize),
            Node::Repeat(..) => None,
            Node::Group(node) => node.fixed_length(),
        }
    }
}

/// The pattern, or what is wrong with it.
pub(super) fn parse(pattern: &str) -> Result<Node, String> {
    let mut parser = Parser { rest: pattern.chars().peekable(), depth: 0 };
    let node = parser.union()?;
    match parser.rest.next() {
        None if node.parts() > PARTS_MAX => Err(format!("it has more than {PARTS_MAX} parts, repetitions counted out")),
        None => Ok(node),
        Some(character) => Err(format!("a {character} is not expected here; \\{character} means the character")),
    }
}

fn any() -> Node {
    Node::Class(vec![('\0', char::MAX)])
}

fn literal(character: char) -> Node {
    Node::Class(vec![(character, character)])
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn union(&mut self) -> Result<Node, String> {
        let mut nodes = vec![self.intersection()?];
        while self.rest.next_if_eq(&'|').is_some() {
            nodes.push(self.intersection()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Union(nodes) })
    }

    fn intersection(&mut self) -> Result<Node, String> {
        let mut nodes = vec![self.sequence()?];
        while self.rest.next_if_eq(&'&').is_some() {
            nodes.push(self.sequence()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Intersection(nodes) })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while self.rest.peek().is_some_and(|next| !"|&)".contains(*next)) {
            nodes.push(self.repetition()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Concat(nodes) })
    }

    fn repetition(&mut self) -> Result<Node, String> {
        let mut node = self.single()?;
        while let Some(operator) = self.rest.next_if(|next| "?*+{".contains(*next)) {
            let (least, most) = match operator {
                '?' => (0, Some(1)),
                '*' => (0, None),
                '+' => (1, None),
                _ => self.count()?,
            };
            node = Node::Repeat(Box::new(node), least, most);
        }
        Ok(node)
    }

    /// `n}`, `n,}` or `n,m}`.
    fn count(&mut self) -> Result<(u32, Option<u32>), String> {
        let text = self.up_to('}')?;
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number <= REPETITIONS_MAX);
        let counts = match text.split_once(',') {
            None => number(&text).map(|count| (count, Some(count))),
            Some((least, "")) => number(least).map(|least| (least, None)),
            Some((least, most)) => number(least).zip(number(most)).map(|(least, most)| (least, Some(most))),
        };
        counts
            .filter(|(least, most)| most.is_none_or(|most| least <= &most))
            .ok_or_else(|| format!("{{{text}}} is no number of repetitions up to {REPETITIONS_MAX}"))
    }

    fn up_to(&mut self, end: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some(character) if character == end => return Ok(text),
                Some(character) => text.push(character),
                None => return Err(format!("a {end} is missing")),
            }
        }
    }

    fn single(&mut self) -> Result<Node, String> {
        match self.rest.next() {
            Some('.') => Ok(any()),
            Some('#') => Ok(Node::Nothing),
            Some('@') => Ok(Node::Repeat(Box::new(any()), 0, None)),
            Some('"') => Ok(Node::Concat(self.up_to('"')?.chars().map(literal).collect())),
            Some('[') => self.class(),
            Some('<') => named(&self.up_to('>')?),
            Some('(') => self.group(),
            Some('\\') => self.rest.next().map(literal).ok_or_else(|| "it ends in a backslash".to_owned()),
            Some(character) if "?*+{}]>".contains(character) => {
                Err(format!("a {character} is not expected here; \\{character} means the character"))
            }
            Some(character) => Ok(literal(character)),
            None => Err("it ends too early".to_owned()),
        }
    }

    fn group(&mut self) -> Result<Node, String> {
        if self.rest.next_if_eq(&')').is_some() {
            return Ok(Node::Concat(Vec::new()));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it has more than {DEPTH_MAX} groups inside of each other"));
        }
        let inner = self.union()?;
        self.depth -= 1;
        if self.rest.next_if_eq(&')').is_some() { Ok(Node::Group(Box::new(inner))) } else { Err("a ) is missing".to_owned()) }
    }

    /// From behind the `[`.
    fn class(&mut self) -> Result<Node, String> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        let missing = || "a ] is missing".to_owned();
        loop {
            let first = match self.rest.next().ok_or_else(missing)? {
                ']' => break,
                '\\' => self.rest.next().ok_or_else(missing)?,
                character => character,
            };
            let mut last = first;
            if self.rest.next_if_eq(&'-').is_some() {
                match self.rest.peek() {
                    // A dash before the end is a member.
                    Some(']') => ranges.push(('-', '-')),
                    _ => {
                        last = match self.rest.next().ok_or_else(missing)? {
                            '\\' => self.rest.next().ok_or_else(missing)?,
                            character => character,
                        }
                    }
                }
            }
            if first > last {
                return Err(format!("the range {first}-{last} runs backwards"));
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return Err("a class [ ] is empty".to_owned());
        }
        Ok(Node::Class(if negated { complement(merged(ranges)) } else { merged(ranges) }))
    }
}

fn merged(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let mut merged: Vec<(char, char)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end || after(*end) == Some(first) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn complement(ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    let mut gaps = Vec::with_capacity(ranges.len() + 1);
    let mut start = Some('\0');
    for (first, last) in ranges {
        if let Some(from) = start
            && let Some(to) = before(first)
            && from <= to
        {
            gaps.push((from, to));
        }
        start = after(last);
    }
    gaps.extend(start.map(|from| (from, char::MAX)));
    gaps
}

fn after(character: char) -> Option<char> {
    (character..=char::MAX).nth(1)
}

fn before(character: char) -> Option<char> {
    ('\0'..character).next_back()
}

/// `<name>` or `<n-m>`.
fn named(name: &str) -> Result<Node, String> {
    if let Some((least, most)) = name.split_once('-') {
        return interval(least, most).ok_or_else(|| format!("<{name}> is no interval of whole numbers"));
    }
    const PUNCTUATION: [(char, char); 4] = [('!', '/'), (':', '@'), ('[', '`'), ('{', '~')];
    let alphanumeric = [('0', '9'), ('A', 'Z'), ('a', 'z')];
    let ranges: Vec<(char, char)> = match name.to_ascii_lowercase().as_str() {
        "digit" => vec![('0', '9')],
        "upper" => vec![('A', 'Z')],
        "lower" => vec![('a', 'z')],
        "ascii" => vec![('\0', '\u{7F}')],
        "alpha" => vec![('A', 'Z'), ('a', 'z')],
        "alnum" => alphanumeric.to_vec(),
        "punct" => PUNCTUATION.to_vec(),
        "blank" => vec![('\t', '\t'), (' ', ' ')],
        "space" => vec![('\t', '\r'), (' ', ' ')],
        "cntrl" => vec![('\0', '\u{1F}'), ('\u{7F}', '\u{7F}')],
        "xdigit" => vec![('0', '9'), ('A', 'F'), ('a', 'f')],
        "print" | "graph" => [alphanumeric.as_slice(), PUNCTUATION.as_slice()].concat(),
        _ => return Err(format!("<{name}> is no named pattern")),
    };
    Ok(Node::Class(merged(ranges)))
}

/// Numbers written with as many digits as both bounds have, or with any number of zeros before them if these differ.
fn interval(least: &str, most: &str) -> Option<Node> {
    let (from, to): (u64, u64) = (least.parse().ok()?, most.parse().ok()?);
    if from > to || !least.bytes().chain(most.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if least.len() == most.len() {
        return Some(same_length(least.as_bytes(), most.as_bytes()));
    }
    let (shortest, longest) = (from.to_string().len(), to.to_string().len());
    let numbers = (shortest..=longest).map(|digits| {
        let low = if digits == shortest { from.to_string() } else { format!("1{}", "0".repeat(digits - 1)) };
        let high = if digits == longest { to.to_string() } else { "9".repeat(digits) };
        same_length(low.as_bytes(), high.as_bytes())
    });
    let zeros = Node::Repeat(Box::new(literal('0')), 0, None);
    Some(Node::Concat(vec![zeros, Node::Union(numbers.collect())]))
}

/// The numbers from `low` to `high`, digit by digit.
fn same_length(low: &[u8], high: &[u8]) -> Node {
    let (Some((&first, low_rest)), Some((&last, high_rest))) = (low.split_first(), high.split_first()) else {
        return Node::Concat(Vec::new());
    };
    let digits = |from: u8, to: u8| Node::Class(vec![(char::from(from), char::from(to))]);
    if first == last {
        return Node::Concat(vec![digits(first, last), same_length(low_rest, high_rest)]);
    }
    let nines = vec![b'9'; low_rest.len()];
    let zeros = vec![b'0'; low_rest.len()];
    let mut parts = vec![Node::Concat(vec![digits(first, first), same_length(low_rest, &nines)])];
    if first + 1 < last {
        let free = Node::Repeat(Box::new(digits(b'0', b'9')), low_rest.len() as u32, Some(low_rest.len() as u32));
        parts.push(Node::Concat(vec![digits(first + 1, last - 1), free]));
    }
    parts.push(Node::Concat(vec![digits(last, last), same_length(&zeros, high_rest)]));
    Node::Union(parts)
}
