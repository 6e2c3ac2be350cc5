//! The score of a point in one tree, and what each dimension adds to it.
//!
//! Down to a leaf, then back up as long as the point lies outside the boxes:
//!
//! ```text
//! leaf at depth t, mass m, equal to the point    1 / (t + log2 m), or 1 / (1 + m) for t = 0
//! any other leaf at depth t                      S = 1 / (t + 1)
//! each ancestor, nearest first, depth k          p = growth of the box's sides / sides of the grown box
//!                                                S = p / (k + 1) + (1 - p) S, and stop where p = 0
//! ```
//!
//! That is the service's scoring. The open-source library of the same authors has other values where the point equals the leaf,
//! see [`Tables`].
//!
//! Boxes are nested: a value above a box is above every smaller one on the way. So each dimension has one direction in a
//! tree, and what it adds is one signed number, positive for too high.

use std::array;

use super::boxes::{LANES, excess, growth};
use super::line::{self, Line};
use super::options::Scoring;
use super::tree::{NONE, Node, Tree, index, is_leaf};

/// Rows that go down a tree at the same time: each step waits for memory, eight steps wait together.
const DESCENTS: usize = 8;

/// So few rows go down one after the other: places without a row cost as much as those with one.
const ALONE_MAX: usize = 2;

/// Values that depend on whole numbers up to the size n of a sample, looked up on the way.
///
/// ```text
///             a point equal to a leaf of mass m at depth t     the same, t = 0    times
/// service     1 / (t + log2 m)                                 1 / (1 + m)        log2 n
/// library     (1 - m / 2n) / (t + log2(m + 1))                 the same           log2(n + 1)
/// ```
#[derive(Debug)]
pub(super) struct Tables {
    /// 1 / k.
    inverse: Vec<f64>,
    /// By mass: the numerator of a leaf that equals the point, and what is added to its depth.
    leaf: Vec<(f64, f64)>,
    /// By mass: the score of a tree that is one leaf, equal to the point.
    only_leaf: Vec<f64>,
    /// What the mean over the trees is multiplied by.
    pub(super) scale: f64,
}

impl Tables {
    pub(super) fn new(sample_size: usize, scoring: Scoring) -> Self {
        let n = sample_size as f64;
        let leaf = |mass: usize| match (scoring, mass as f64) {
            (Scoring::Service, m) => (1.0, libm::log2(m)),
            (Scoring::Library, m) => (1.0 - m / (2.0 * n), libm::log2(m + 1.0)),
        };
        let only_leaf = |mass: usize| match scoring {
            Scoring::Service => 1.0 / (1 + mass) as f64,
            Scoring::Library => leaf(mass).0 / leaf(mass).1,
        };
        let upto = 0..=sample_size + 1;
        Self {
            inverse: upto.clone().map(|k| 1.0 / k as f64).collect(),
            leaf: upto.clone().map(leaf).collect(),
            only_leaf: upto.map(only_leaf).collect(),
            scale: match scoring {
                Scoring::Service => libm::log2(n),
                Scoring::Library => libm::log2(n + 1.0),
            },
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        (self.inverse.capacity() + self.only_leaf.capacity()) * size_of::<f64>() + self.leaf.capacity() * size_of::<(f64, f64)>()
    }
}

/// Points of equal distance in one array: point i is `values[i * step..][..stride]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Points<'a> {
    pub(super) values: &'a [f32],
    pub(super) step: usize,
}

impl<'a> Points<'a> {
    #[inline(always)]
    pub(super) fn get(&self, row: usize, stride: usize) -> &'a [f32] {
        &self.values[row * self.step..][..stride]
    }
}

/// Calls `found(row, leaf, depth)` for the points `rows`, in order; the tree is not empty.
#[inline(always)]
pub(super) fn find(
    tree: &Tree,
    points: Points<'_>,
    rows: std::ops::Range<usize>,
    line: &mut Option<Line>,
    found: impl FnMut(usize, usize, usize),
) {
    if tree.dimensions == 1 && rows.len() >= line::ROWS_MIN {
        let line = line.get_or_insert_default();
        line.follow(tree);
        line.find(points, rows, found);
    } else {
        descend(tree, points, rows, found);
    }
}

#[inline(always)]
fn descend_alone(tree: &Tree, point: &[f32]) -> (usize, usize) {
    let (mut node, mut depth) = (tree.root, 0);
    while !is_leaf(node) {
        let inner = &tree.inner[index(node)];
        node = inner.children[usize::from(point[usize::from(inner.dimension)] > inner.cut)];
        depth += 1;
    }
    (index(node), depth)
}

/// Goes down the tree.
#[inline(always)]
pub(super) fn descend(tree: &Tree, points: Points<'_>, rows: std::ops::Range<usize>, mut found: impl FnMut(usize, usize, usize)) {
    let mut first = rows.start;
    while first < rows.end {
        let count = DESCENTS.min(rows.end - first);
        if count <= ALONE_MAX {
            for row in first..rows.end {
                let (leaf, depth) = descend_alone(tree, points.get(row, tree.stride));
                found(row, leaf, depth);
            }
            return;
        }
        // Places without a row repeat the last one.
        let descending: [&[f32]; DESCENTS] = array::from_fn(|lane| points.get(first + lane.min(count - 1), tree.stride));
        let mut nodes = [tree.root; DESCENTS];
        let mut depths = [0usize; DESCENTS];
        while !nodes.iter().fold(true, |all, node| all & is_leaf(*node)) {
            for lane in 0..DESCENTS {
                let node = nodes[lane];
                // A leaf stays where it is; inner nodes are one fewer than leaves.
                let at = index(node).min(tree.inner.len() - 1);
                let inner = &tree.inner[at];
                let right = descending[lane][usize::from(inner.dimension)] > inner.cut;
                let child = if right { inner.children[1] } else { inner.children[0] };
                let below = !is_leaf(node);
                nodes[lane] = if below { child } else { node };
                depths[lane] += usize::from(below);
            }
        }
        for lane in 0..count {
            found(first + lane, index(nodes[lane]), depths[lane]);
        }
        first += count;
    }
}

/// The score of a point that ends in `leaf`, and whether it equals the leaf's. `step(inner, sides, p, 1 / (k + 1))` is called for
/// the ancestors outside which it lies, nearest first.
#[inline(always)]
pub(super) fn score(
    tree: &Tree,
    tables: &Tables,
    point: &[f32],
    leaf: usize,
    depth: usize,
    mut step: impl FnMut(usize, f64, f64, f64),
) -> (f64, bool) {
    let at = tree.point(leaf);
    if point[0] == at[0] && point[..at.len()] == *at {
        let mass = usize::from(tree.leaves[leaf].mass);
        if depth == 0 {
            return (tables.only_leaf[mass], true);
        }
        let (numerator, more) = tables.leaf[mass];
        return (numerator / (depth as f64 + more), true);
    }
    let mut score = tables.inverse[depth + 1];
    let mut node: Node = tree.leaves[leaf].parent;
    let mut depth = depth;
    while node != NONE {
        let inner = index(node);
        let (min, max) = tree.bounds(inner);
        let growth = growth(point, min, max);
        if growth == 0.0 {
            break;
        }
        let sides = f64::from(tree.sides[inner]) + f64::from(growth);
        let p = f64::from(growth) / sides;
        // The depth of this ancestor, plus 1.
        let weight = tables.inverse[depth];
        score = p * weight + (1.0 - p) * score;
        step(inner, sides, p, weight);
        node = tree.inner[inner].parent;
        depth -= 1;
    }
    (score, false)
}

/// What is kept of an ancestor on the way up: its index, 1 - p, and the weight of an excess in its box.
type Step = (usize, f64, f32);

/// Scratch space for the explanation of one point.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    steps: Vec<Step>,
    /// What each dimension adds to the score.
    amounts: Vec<f32>,
}

/// The score of a point that ends in `leaf`, and what each dimension adds to it; None if it has no direction, for then all add the
/// same in both.
#[inline(always)]
pub(super) fn explain<'a>(
    tree: &Tree,
    tables: &Tables,
    point: &[f32],
    leaf: usize,
    depth: usize,
    scratch: &'a mut Scratch,
) -> (f64, Option<&'a [f32]>) {
    let Scratch { steps, amounts } = scratch;
    steps.clear();
    let (score, equal) = score(tree, tables, point, leaf, depth, |inner, sides, p, weight| {
        steps.push((inner, 1.0 - p, (weight / sides) as f32));
    });
    if equal {
        return (score, None);
    }
    // What is added at an ancestor is multiplied by 1 - p of all those above it.
    let mut factor = 1.0;
    for (_, rest, weight) in steps.iter_mut().rev() {
        *weight *= factor as f32;
        factor *= *rest;
    }
    let at = tree.point(leaf);
    let leaf_weight = (factor * tables.inverse[depth + 1] / f64::from(distance(point, at))) as f32;
    amounts.resize(at.len(), 0.0);
    let mut first = 0;
    let walk = Walk { tree, steps, point, at, leaf_weight };
    while first + WIDE <= at.len() {
        walk.put_amounts::<WIDE>(first, amounts);
        first += WIDE;
    }
    while first + LANES <= at.len() {
        walk.put_amounts::<LANES>(first, amounts);
        first += LANES;
    }
    while first < at.len() {
        walk.put_amounts::<1>(first, amounts);
        first += 1;
    }
    (score, Some(amounts))
}

/// Dimensions whose amounts are held in registers on the way.
const WIDE: usize = 5 * LANES;

/// The way up from a leaf, with the weights of its steps.
struct Walk<'a> {
    tree: &'a Tree,
    steps: &'a [Step],
    point: &'a [f32],
    /// The leaf's point.
    at: &'a [f32],
    leaf_weight: f32,
}

impl Walk<'_> {
    /// What each of `N` dimensions from `first` on adds to the score.
    #[inline(always)]
    fn put_amounts<const N: usize>(&self, first: usize, into: &mut [f32]) {
        let part = |values: &[f32]| -> [f32; N] { *values[first..].first_chunk().expect("whole parts of a point or a box") };
        let (x, at) = (part(self.point), part(self.at));
        let mut amounts: [f32; N] = array::from_fn(|lane| self.leaf_weight * (x[lane] - at[lane]));
        for (inner, _, weight) in self.steps {
            let (min, max) = self.tree.bounds(*inner);
            let (min, max) = (part(min), part(max));
            for lane in 0..N {
                amounts[lane] += weight * excess(x[lane], min[lane], max[lane]);
            }
        }
        into[first..first + N].copy_from_slice(&amounts);
    }
}

/// Sum of the absolute differences.
#[inline(always)]
fn distance(point: &[f32], at: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, rest) = at.as_chunks::<LANES>();
    for (x, at) in point.as_chunks::<LANES>().0.iter().zip(chunks) {
        for lane in 0..LANES {
            sums[lane] += (x[lane] - at[lane]).abs();
        }
    }
    let rest: f32 = point[at.len() - rest.len()..].iter().zip(rest).map(|(x, at)| (x - at).abs()).sum();
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}
