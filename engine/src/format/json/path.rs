//! Where columns stand in a document: the subset of JSONPath that column mappings use (kda-sql-reference.md §6.7).
//!
//! `$` the record · `$.a.b` members · `$['a b']` a member whose name is no word · `$.list[0:]` a whole array.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// A parsed column path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// Member names from the root on.
    pub(super) members: Vec<String>,
    /// `[0:]`: only an array counts.
    pub(super) array: bool,
}

/// Deepest nesting of a column path: the decoder recurses once per step.
const DEPTH_MAX: usize = 100;

impl Path {
    /// The path of the member called `name`.
    pub(super) fn member(name: &str) -> Self {
        Self { members: vec![name.to_owned()], array: false }
    }

    /// `$.list[0:].x` as `$.list[0:]` and `.x`; None if the path does not go into the elements of an array.
    pub(super) fn split_at_elements(text: &str) -> Option<(&str, &str)> {
        let end = text.find("[0:]")? + "[0:]".len();
        let within = text[end..].trim_end();
        (!within.is_empty()).then_some((&text[..end], within))
    }

    /// Fails with `Config` on anything outside the subset, and on paths into the elements of an array.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::config(format!("the JSON path \"{text}\" {what}"))
                .with_hint("Write $.a.b for members, $['a b'] for names that are no words and $.list[0:] for a whole array.")
        };
        let Some(mut rest) = text.trim().strip_prefix('$') else {
            return Err(wrong("does not start with $"));
        };
        let mut path = Self { members: Vec::new(), array: false };
        while !rest.is_empty() {
            if path.array {
                return Err(Error::config(format!("the JSON path \"{text}\" goes on behind [0:]"))
                    .with_hint("End the path with [0:] to get the whole array as JSON text."));
            }
            if let Some(after) = rest.strip_prefix("[0:]") {
                path.array = true;
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let quote = after.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
                let Some((name, after)) = quote.and_then(|quote| after[1..].split_once(quote)) else {
                    return Err(wrong("has an index that is neither a quoted name nor [0:]"));
                };
                path.members.push(name.to_owned());
                rest = after.strip_prefix(']').ok_or_else(|| wrong("has an unclosed ["))?;
            } else if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return Err(wrong("has an empty member name"));
                }
                path.members.push(after[..end].to_owned());
                rest = &after[end..];
            } else {
                return Err(wrong("has something other than . or [ after a step"));
            }
        }
        if path.members.len() > DEPTH_MAX {
            return Err(wrong(&format!("is deeper than {DEPTH_MAX} members")));
        }
        Ok(path)
    }
}

/// A column that takes a whole value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Index of the column.
    pub(super) column: usize,
    /// NULL unless the value is an array.
    pub(super) array: bool,
}

/// What happens to the value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// No column needs it.
    Skip,
    /// One column takes it: the usual case.
    Column(usize),
    /// Anything else: an index into [`Tree::targets`].
    Target(usize),
}

/// A value that several columns, a column of a whole array or the columns of members take.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// Columns of the value itself.
    pub(super) leaves: Vec<Leaf>,
    /// The node of its members, if columns want some.
    pub(super) node: Option<usize>,
    /// Every column here and further down.
    pub(super) below: Vec<usize>,
}

/// An object that columns want members of.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What to do with members, by name. Others are skipped.
    pub(super) members: HashMap<String, Step>,
    /// The members as they last came, in order.
    pub(super) layout: Vec<Member>,
}

/// A member of the last object seen, to recognise the next one's by a comparison of bytes.
#[derive(Debug)]
pub(super) struct Member {
    /// The bytes from the end of the value before (or the start of the object) to the start of this value, such as
    /// `,"PRICE": `.
    pub(super) lead: Vec<u8>,
    /// What to do with the value.
    pub(super) step: Step,
}

/// All column paths; node 0 is the record.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) targets: Vec<Target>,
    /// Columns of the whole record.
    pub(super) root: Vec<Leaf>,
}

impl Tree {
    /// `paths` in column order.
    pub(super) fn new(paths: &[Path]) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], targets: Vec::new(), root: Vec::new() };
        for (column, path) in paths.iter().enumerate() {
            let leaf = Leaf { column, array: path.array };
            let Some((last, parents)) = path.members.split_last() else {
                tree.root.push(leaf);
                continue;
            };
            let mut node = 0;
            for name in parents {
                let target = tree.target(node, name);
                tree.targets[target].below.push(column);
                node = match tree.targets[target].node {
                    Some(child) => child,
                    None => {
                        tree.nodes.push(Node::default());
                        tree.targets[target].node = Some(tree.nodes.len() - 1);
                        tree.nodes.len() - 1
                    }
                };
            }
            if !leaf.array && !tree.nodes[node].members.contains_key(last) {
                tree.nodes[node].members.insert(last.clone(), Step::Column(column));
            } else {
                let target = tree.target(node, last);
                tree.targets[target].leaves.push(leaf);
                tree.targets[target].below.push(column);
            }
        }
        tree
    }

    /// The target of a member; a column that had the member to itself moves in.
    fn target(&mut self, node: usize, name: &str) -> usize {
        let before = self.nodes[node].members.get(name).copied();
        let target = match before {
            Some(Step::Target(target)) => return target,
            Some(Step::Column(column)) => Target { leaves: vec![Leaf { column, array: false }], node: None, below: vec![column] },
            Some(Step::Skip) | None => Target::default(),
        };
        self.targets.push(target);
        let index = self.targets.len() - 1;
        self.nodes[node].members.insert(name.to_owned(), Step::Target(index));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_subset() {
        let path = |members: &[&str], array| Path { members: members.iter().map(|&name| name.to_owned()).collect(), array };
        for (text, expected) in [
            ("$", path(&[], false)),
            ("$.a", path(&["a"], false)),
            ("$.a.b.c", path(&["a", "b", "c"], false)),
            ("$['a b'].c", path(&["a b", "c"], false)),
            ("$.a[\"x.y\"]", path(&["a", "x.y"], false)),
            ("$.list[0:]", path(&["list"], true)),
            ("$.PRICE per unit", path(&["PRICE per unit"], false)),
        ] {
            assert_eq!(Path::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn paths_into_elements_are_split_behind_the_array() {
        assert_eq!(Path::split_at_elements("$.a.list[0:].x.y"), Some(("$.a.list[0:]", ".x.y")));
        assert_eq!(Path::split_at_elements("$[0:]['x']"), Some(("$[0:]", "['x']")));
        assert_eq!(Path::split_at_elements("$.list[0:]"), None);
        assert_eq!(Path::split_at_elements("$.a"), None);
    }

    #[test]
    fn refuses_the_rest_with_the_path_in_the_message() {
        for (text, message) in [
            ("a.b", "the JSON path \"a.b\" does not start with $"),
            ("$.list[0:].x", "the JSON path \"$.list[0:].x\" goes on behind [0:]"),
            ("$.list[3]", "the JSON path \"$.list[3]\" has an index that is neither a quoted name nor [0:]"),
            ("$..a", "the JSON path \"$..a\" has an empty member name"),
            ("$.", "the JSON path \"$.\" has an empty member name"),
            ("$a", "the JSON path \"$a\" has something other than . or [ after a step"),
            ("$['a", "the JSON path \"$['a\" has an index that is neither a quoted name nor [0:]"),
            ("$['a'x", "the JSON path \"$['a'x\" has an unclosed ["),
        ] {
            let error = Path::parse(text).unwrap_err();
            assert_eq!((error.kind(), error.message()), (crate::ErrorKind::Config, message));
        }
    }
}
