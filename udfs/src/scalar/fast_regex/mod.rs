//! The patterns of FAST_REGEX_LOG_PARSE (kda-sql-reference.md §5.9.1, §8.6): automata that never go back.
//!
//! A pattern is a sequence of sub-patterns, one per group at its top level and one per stretch between groups. `x+` counts as
//! `xx*`. The fixed-length head of a sub-pattern moves to the end of the one before it. Then each matches in turn from where the
//! one before ended, a group with the shortest match, a stretch between groups with the longest, the last one with the rest of
//! the line, which it must match to its end. Groups inside of groups, and those that are repeated or one of several alternatives,
//! only group.

mod automaton;
mod syntax;

use automaton::Automaton;
use syntax::Node;

use super::pattern_cache::PatternCache;

/// Compiled patterns.
pub(super) static FAST: PatternCache<FastRegex> = PatternCache::new(|pattern, _| FastRegex::try_new(pattern));

pub(super) struct FastRegex {
    units: Vec<Unit>,
    /// Where each field starts and ends.
    fields: Vec<[Place; 2]>,
}

struct Unit {
    automaton: Automaton,
    is_longest: bool,
}

/// A number of characters before the end of a unit; the start of the line if there is none.
#[derive(Clone, Copy)]
struct Place {
    unit: Option<usize>,
    characters: usize,
}

impl FastRegex {
    fn try_new(pattern: &str) -> Result<Self, String> {
        let wrong = |reason: String| format!("the fast regular expression '{pattern}' is wrong: {reason}");
        let segments = segments(syntax::parse(pattern).map_err(wrong)?);
        if !segments.iter().any(|segment| segment.is_field) {
            return Err(wrong("it has no group ( ), so that the record would have no column".to_owned()));
        }
        // Each unit as its nodes, and the length of what was moved to its end.
        let mut units: Vec<(Vec<Node>, usize, bool)> = Vec::new();
        let mut starts = Vec::with_capacity(segments.len());
        for segment in &segments {
            let heads = match units.last() {
                Some(_) => segment.nodes.iter().take_while(|node| node.fixed_length().is_some()).count(),
                None => 0,
            };
            let (head, tail) = segment.nodes.split_at(heads);
            starts.push((units.len().checked_sub(1), units.last().map_or(0, |(_, moved, _)| *moved)));
            if let Some((nodes, moved, _)) = units.last_mut() {
                *moved += head.iter().filter_map(Node::fixed_length).sum::<usize>();
                nodes.extend_from_slice(head);
            }
            if !tail.is_empty() || units.is_empty() {
                units.push((tail.to_vec(), 0, !segment.is_field));
            }
        }
        let place = |&(unit, moved): &(Option<usize>, usize)| {
            let characters = unit.map_or(0, |unit: usize| units[unit].1 - moved);
            Place { unit, characters }
        };
        let end = Place { unit: Some(units.len() - 1), characters: 0 };
        let ends = starts.iter().skip(1).map(place).chain([end]);
        let spans = starts.iter().map(place).zip(ends).zip(&segments);
        let fields = spans.filter(|(_, segment)| segment.is_field).map(|((from, to), _)| [from, to]).collect();
        let automaton = |nodes: Vec<Node>| Automaton::try_new(&Node::Concat(nodes)).map_err(wrong);
        let units = units
            .into_iter()
            .map(|(nodes, _, is_longest)| Ok(Unit { automaton: automaton(nodes)?, is_longest }))
            .collect::<Result<_, String>>()?;
        Ok(Self { units, fields })
    }

    /// How many fields a match has.
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// Calls `field` for each field of a line that matches, in order; says whether it does. `ends` is room to work in.
    pub fn read<'a>(&self, line: &'a str, ends: &mut Vec<usize>, mut field: impl FnMut(&'a str)) -> bool {
        ends.clear();
        let mut at = 0;
        for (number, unit) in self.units.iter().enumerate() {
            let rest = &line[at..];
            let length = if number + 1 == self.units.len() {
                unit.automaton.matches(rest).then_some(rest.len())
            } else if unit.is_longest {
                unit.automaton.longest(rest)
            } else {
                unit.automaton.shortest(rest)
            };
            let Some(length) = length else { return false };
            at += length;
            ends.push(at);
        }
        let byte = |place: Place| match place.unit {
            None => 0,
            Some(unit) => {
                let before = &line[..ends[unit]];
                before.char_indices().rev().take(place.characters).last().map_or(before.len(), |(byte, _)| byte)
            }
        };
        for [from, to] in &self.fields {
            field(&line[byte(*from)..byte(*to)]);
        }
        true
    }
}

/// A group, or the stretch between two.
struct Segment {
    is_field: bool,
    nodes: Vec<Node>,
}

fn segments(pattern: Node) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for node in if let Node::Concat(nodes) = pattern { nodes } else { vec![pattern] } {
        match node {
            Node::Group(inner) => {
                let mut nodes = Vec::new();
                flatten(&inner, &mut nodes);
                segments.push(Segment { is_field: true, nodes });
            }
            node => match segments.last_mut() {
                Some(stretch) if !stretch.is_field => flatten(&node, &mut stretch.nodes),
                _ => {
                    let mut nodes = Vec::new();
                    flatten(&node, &mut nodes);
                    segments.push(Segment { is_field: false, nodes });
                }
            },
        }
    }
    segments
}

/// The parts of a sequence, each `xx*` for `x+`.
fn flatten(node: &Node, out: &mut Vec<Node>) {
    match node {
        Node::Concat(nodes) => nodes.iter().for_each(|node| flatten(node, out)),
        Node::Group(inner) => flatten(inner, out),
        Node::Repeat(inner, least, most) => {
            for _ in 0..*least {
                flatten(inner, out);
            }
            let more = most.map(|most| most - least);
            if more != Some(0) {
                out.push(Node::Repeat(inner.clone(), 0, more));
            }
        }
        node => out.push(node.clone()),
    }
}
