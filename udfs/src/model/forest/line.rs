//! A tree of one dimension as a line: its cuts from left to right, with a leaf between each two.
//!
//! Where a point falls is a search by halves: for 256 points eight steps, all of them the same for every point, where the way
//! down the tree has about eleven, and fifteen for the last of several that go down together. A tree is the same for long
//! stretches of rows, so the line is made for each of them anew.

use super::tree::{NONE, Node, Tree, index, is_leaf};
use super::walk::Points;

/// Rows for which a line is made: it costs about as much as to take so many down the tree.
pub(super) const ROWS_MIN: usize = 48;

/// Rows that are searched for at the same time: each step waits for memory.
const SEARCHES: usize = 8;

/// More than a tree has leaves, a power of two.
const LEAVES: usize = 1024;

/// The cuts and leaves of a tree.
#[derive(Debug)]
pub(super) struct Line {
    /// Rising, then ∞ up to one less than a power of two.
    cuts: Box<[f32; LEAVES]>,
    /// The first power of two above the number of cuts.
    size: usize,
    /// From left to right, each with its depth.
    leaves: Vec<(u16, u16)>,
    /// Scratch space: nodes whose left part is done, with their depths.
    open: Vec<(Node, u16)>,
}

impl Default for Line {
    fn default() -> Self {
        Self { cuts: Box::new([f32::INFINITY; LEAVES]), size: 1, leaves: Vec::new(), open: Vec::new() }
    }
}

impl Line {
    /// Becomes the line of `tree`, which has one dimension and is not empty.
    pub(super) fn follow(&mut self, tree: &Tree) {
        self.leaves.clear();
        let (mut node, mut depth) = (tree.root, 0);
        while node != NONE {
            while !is_leaf(node) {
                self.open.push((node, depth));
                node = tree.inner[index(node)].children[0];
                depth += 1;
            }
            self.leaves.push((index(node) as u16, depth));
            node = NONE;
            if let Some((above, of_above)) = self.open.pop() {
                let inner = &tree.inner[index(above)];
                self.cuts[self.leaves.len() - 1] = inner.cut;
                (node, depth) = (inner.children[1], of_above + 1);
            }
        }
        self.size = self.leaves.len().next_power_of_two();
        self.cuts[self.leaves.len() - 1..self.size].fill(f32::INFINITY);
    }

    /// Calls `found(row, leaf, depth)` for the points `rows`, in order.
    #[inline(always)]
    pub(super) fn find(&self, points: Points<'_>, rows: std::ops::Range<usize>, mut found: impl FnMut(usize, usize, usize)) {
        let mut first = rows.start;
        while first < rows.end {
            let count = SEARCHES.min(rows.end - first);
            // Places without a row repeat the last one.
            let values: [f32; SEARCHES] = std::array::from_fn(|lane| points.get(first + lane.min(count - 1), 1)[0]);
            // How many cuts are below the value.
            let mut below = [0; SEARCHES];
            for step in (0..self.size.ilog2()).rev() {
                for lane in 0..SEARCHES {
                    let cut = self.cuts[(below[lane] + (1 << step) - 1) % LEAVES];
                    // A sum, not a choice: which half it is cannot be predicted.
                    below[lane] += usize::from(values[lane] > cut) << step;
                }
            }
            for (lane, below) in below.into_iter().enumerate().take(count) {
                let (leaf, depth) = self.leaves[below];
                found(first + lane, usize::from(leaf), usize::from(depth));
            }
            first += count;
        }
    }
}
