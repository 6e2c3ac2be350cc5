//! A random cut tree: points in leaves, cuts above them, kept under insertion and deletion.
//!
//! Guha, Mishra, Roy and Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on Streams", ICML 2016. A box is cut
//! in a dimension chosen in proportion to its side there, at a place uniform in the side; points with value ≤ cut go left.
//! Inserting and deleting leave a tree with the same distribution as one built afresh from the points.
//!
//! Everything lies in flat arrays that grow with the number of points, to 1000 leaves at most. A node is a 16-bit number:
//! twice the index of an inner node, or twice the index of a leaf plus one.

use super::boxes::{growth, larger, sides, smaller, stride};
use crate::model::random::Random;

/// An inner node or a leaf.
pub(super) type Node = u16;

/// The parent of the root.
pub(super) const NONE: Node = Node::MAX;

#[inline(always)]
pub(super) fn is_leaf(node: Node) -> bool {
    node & 1 == 1
}

#[inline(always)]
pub(super) fn index(node: Node) -> usize {
    usize::from(node >> 1)
}

fn inner_node(index: usize) -> Node {
    (index << 1) as Node
}

fn leaf_node(index: usize) -> Node {
    (index << 1 | 1) as Node
}

/// A cut: points whose value in `dimension` is at most `cut` are in the first child, the others in the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inner {
    pub(super) cut: f32,
    pub(super) dimension: u16,
    pub(super) children: [Node; 2],
    pub(super) parent: Node,
}

/// `mass` equal points, 0 when the place is free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub(super) mass: u16,
    pub(super) parent: Node,
}

/// The tree of one sample.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Most points that it will hold, 1 – 1000.
    capacity: usize,
    pub(super) dimensions: usize,
    pub(super) stride: usize,
    pub(super) root: Node,
    pub(super) inner: Vec<Inner>,
    /// Sum of the box's sides of each inner node.
    pub(super) sides: Vec<f32>,
    /// `min[stride] max[stride]` of each inner node.
    boxes: Vec<f32>,
    pub(super) leaves: Vec<Leaf>,
    /// `dimensions` values of each leaf.
    points: Vec<f32>,
    free_inner: Vec<u16>,
    free_leaves: Vec<u16>,
    /// Scratch space: one box.
    union: Vec<f32>,
}

impl Tree {
    /// An empty tree for at most `capacity` points.
    pub(super) fn new(dimensions: usize, capacity: usize) -> Self {
        let stride = stride(dimensions);
        Self {
            capacity,
            dimensions,
            stride,
            root: NONE,
            inner: Vec::new(),
            sides: Vec::new(),
            boxes: Vec::new(),
            leaves: Vec::new(),
            points: Vec::new(),
            free_inner: Vec::new(),
            free_leaves: Vec::new(),
            union: Vec::new(),
        }
    }

    /// The point of a leaf: `dimensions` values.
    #[inline(always)]
    pub(super) fn point(&self, leaf: usize) -> &[f32] {
        &self.points[leaf * self.dimensions..][..self.dimensions]
    }

    /// The box of an inner node, as its smallest and largest values: `stride` each.
    #[inline(always)]
    pub(super) fn bounds(&self, inner: usize) -> (&[f32], &[f32]) {
        self.boxes[2 * inner * self.stride..][..2 * self.stride].split_at(self.stride)
    }

    /// Adds a point (`stride` values, of which the first `dimensions` count) and returns its leaf.
    pub(super) fn insert(&mut self, point: &[f32], random: &mut Random) -> u16 {
        let mut node = self.root;
        if node == NONE {
            let leaf = self.new_leaf(point, NONE);
            self.root = leaf_node(leaf);
            return leaf as u16;
        }
        // A cut of box and point parts the two exactly when it falls into what the point adds to the box. So one draw
        // decides against the growth, and the place of the cut is only drawn when there is one.
        while !is_leaf(node) {
            let inner = index(node);
            let (min, max) = self.bounds(inner);
            let growth = growth(point, min, max);
            if growth > 0.0 {
                let place = random.uniform() * f64::from(self.sides[inner] + growth);
                if place < f64::from(growth) {
                    let (dimension, cut, side) = parting_cut(&point[..self.dimensions], min, max, place, random);
                    return self.insert_above(node, point, dimension, cut, side);
                }
                self.extend_box(inner, point);
            }
            let Inner { cut, dimension, children, .. } = self.inner[inner];
            node = children[usize::from(point[usize::from(dimension)] > cut)];
        }
        let (leaf, point_here) = (index(node), &point[..self.dimensions]);
        if self.point(leaf) == point_here {
            self.leaves[leaf].mass += 1;
            return leaf as u16;
        }
        let place = random.uniform() * f64::from(sides_between(self.point(leaf), point_here));
        let (dimension, cut, side) = parting_cut(point_here, self.point(leaf), self.point(leaf), place, random);
        self.insert_above(node, point, dimension, cut, side)
    }

    /// Takes one point out of a leaf.
    pub(super) fn delete(&mut self, leaf: u16) {
        let leaf = usize::from(leaf);
        self.leaves[leaf].mass -= 1;
        if self.leaves[leaf].mass > 0 {
            return;
        }
        self.free_leaves.push(leaf as u16);
        let parent = self.leaves[leaf].parent;
        if parent == NONE {
            self.root = NONE;
            return;
        }
        let Inner { children, parent: grandparent, .. } = self.inner[index(parent)];
        let sibling = if children[0] == leaf_node(leaf) { children[1] } else { children[0] };
        self.free_inner.push(index(parent) as u16);
        self.replace_child(grandparent, parent, sibling);
        let mut node = grandparent;
        while node != NONE && self.shrink_box(index(node)) {
            node = self.inner[index(node)].parent;
        }
    }

    /// Puts a cut above `node`, with the point as a new leaf on its `side`.
    fn insert_above(&mut self, node: Node, point: &[f32], dimension: u16, cut: f32, side: usize) -> u16 {
        let parent = self.parent(node);
        let leaf = self.new_leaf(point, NONE);
        let mut children = [node; 2];
        children[side] = leaf_node(leaf);
        let above = self.new_inner(Inner { cut, dimension, children, parent: NONE });
        self.replace_child(parent, node, inner_node(above));
        self.set_parent(node, inner_node(above));
        self.set_parent(leaf_node(leaf), inner_node(above));
        self.shrink_box(above);
        leaf as u16
    }

    fn parent(&self, node: Node) -> Node {
        if is_leaf(node) { self.leaves[index(node)].parent } else { self.inner[index(node)].parent }
    }

    fn set_parent(&mut self, node: Node, parent: Node) {
        if is_leaf(node) {
            self.leaves[index(node)].parent = parent;
        } else {
            self.inner[index(node)].parent = parent;
        }
    }

    /// Puts `new` into the place of `old` below `parent`.
    fn replace_child(&mut self, parent: Node, old: Node, new: Node) {
        self.set_parent(new, parent);
        if parent == NONE {
            self.root = new;
        } else {
            let children = &mut self.inner[index(parent)].children;
            children[usize::from(children[1] == old)] = new;
        }
    }

    fn new_leaf(&mut self, point: &[f32], parent: Node) -> usize {
        let (point, leaf) = (&point[..self.dimensions], Leaf { mass: 1, parent });
        let Some(free) = self.free_leaves.pop() else { return index(self.push_leaf(point, leaf)) };
        let free = usize::from(free);
        self.leaves[free] = leaf;
        self.points[free * self.dimensions..][..self.dimensions].copy_from_slice(point);
        free
    }

    fn new_inner(&mut self, inner: Inner) -> usize {
        let Some(free) = self.free_inner.pop() else { return index(self.push_inner(inner)) };
        self.inner[usize::from(free)] = inner;
        usize::from(free)
    }

    /// Adds a leaf behind the others, linked to nothing.
    pub(super) fn push_leaf(&mut self, point: &[f32], leaf: Leaf) -> Node {
        reserve(&mut self.leaves, 1, self.capacity);
        reserve(&mut self.points, self.dimensions, self.capacity);
        self.leaves.push(leaf);
        self.points.extend_from_slice(point);
        leaf_node(self.leaves.len() - 1)
    }

    /// Adds an inner node behind the others, linked to nothing and with an empty box.
    pub(super) fn push_inner(&mut self, inner: Inner) -> Node {
        let capacity = self.capacity - 1;
        reserve(&mut self.inner, 1, capacity);
        reserve(&mut self.sides, 1, capacity);
        reserve(&mut self.boxes, 2 * self.stride, capacity);
        self.inner.push(inner);
        self.sides.push(0.0);
        self.boxes.resize(self.boxes.len() + self.stride, f32::NEG_INFINITY);
        self.boxes.resize(self.boxes.len() + self.stride, f32::INFINITY);
        inner_node(self.inner.len() - 1)
    }

    /// Makes all boxes of a tree whose nodes were added parents first; false if a point is on the wrong side of a cut.
    pub(super) fn restore_boxes(&mut self) -> bool {
        (0..self.inner.len()).rev().all(|inner| {
            self.shrink_box(inner);
            let Inner { cut, dimension, children: [left, right], .. } = self.inner[inner];
            self.bounds_of(left).1[usize::from(dimension)] <= cut && cut < self.bounds_of(right).0[usize::from(dimension)]
        })
    }

    /// Adds a point to a box.
    fn extend_box(&mut self, inner: usize, point: &[f32]) {
        let (min, max) = self.boxes[2 * inner * self.stride..][..2 * self.stride].split_at_mut(self.stride);
        for ((min, max), x) in min.iter_mut().zip(max.iter_mut()).zip(&point[..self.dimensions]) {
            *min = smaller(*min, *x);
            *max = larger(*max, *x);
        }
        self.sides[inner] = sides(min, max, self.dimensions);
    }

    /// Makes a box anew from those of its children; false if it was so before.
    fn shrink_box(&mut self, inner: usize) -> bool {
        let mut union = std::mem::take(&mut self.union);
        union.clear();
        let [(min_a, max_a), (min_b, max_b)] = self.inner[inner].children.map(|child| self.bounds_of(child));
        union.extend(min_a.iter().zip(min_b).map(|(a, b)| smaller(*a, *b)));
        union.extend(max_a.iter().zip(max_b).map(|(a, b)| larger(*a, *b)));
        let (min, max) = self.boxes[2 * inner * self.stride..][..2 * self.stride].split_at_mut(self.stride);
        let (min, max) = (&mut min[..self.dimensions], &mut max[..self.dimensions]);
        let (new_min, new_max) = union.split_at(self.dimensions);
        let changed = min != new_min || max != new_max;
        if changed {
            min.copy_from_slice(new_min);
            max.copy_from_slice(new_max);
            self.sides[inner] = sides(new_min, new_max, self.dimensions);
        }
        self.union = union;
        changed
    }

    /// Smallest and largest values of all points below a node: `dimensions` each.
    fn bounds_of(&self, node: Node) -> (&[f32], &[f32]) {
        if is_leaf(node) {
            (self.point(index(node)), self.point(index(node)))
        } else {
            let (min, max) = self.bounds(index(node));
            (&min[..self.dimensions], &max[..self.dimensions])
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + self.inner.capacity() * size_of::<Inner>()
            + self.leaves.capacity() * size_of::<Leaf>()
            + (self.sides.capacity() + self.boxes.capacity() + self.points.capacity() + self.union.capacity()) * size_of::<f32>()
            + (self.free_inner.capacity() + self.free_leaves.capacity()) * size_of::<u16>()
    }

    /// Bytes more that are held after the next `points` points, if no two are equal.
    pub(super) fn growth(&self, points: usize) -> usize {
        // A leaf, and the node and the box above.
        let size = size_of::<Inner>() + size_of::<Leaf>() + (1 + 2 * self.stride + self.dimensions) * size_of::<f32>();
        more_room(self.leaves.len(), self.leaves.capacity(), points, self.capacity) * size
    }
}

/// Where the cut falls when it parts `point` from a box: its dimension, its place, and the side of it the point is on
/// (0 for ≤). `place` is uniform between 0 and the growth.
fn parting_cut(point: &[f32], min: &[f32], max: &[f32], place: f64, random: &mut Random) -> (u16, f32, usize) {
    let mut rest = place;
    let mut chosen = 0;
    for (dimension, ((x, min), max)) in point.iter().zip(min).zip(max).enumerate() {
        let excess = f64::from(larger(x - max, min - x));
        if excess > 0.0 {
            chosen = dimension;
            if rest < excess {
                break;
            }
            rest -= excess;
        }
    }
    let x = point[chosen];
    let (low, high, side) = if x > max[chosen] { (max[chosen], x, 1) } else { (x, min[chosen], 0) };
    let cut = (f64::from(low) + random.uniform() * (f64::from(high) - f64::from(low))) as f32;
    // Rounding to f32 may reach the upper end, which must stay on the right.
    (chosen as u16, smaller(cut, high.next_down()), side)
}

/// The sides of the box of two points.
fn sides_between(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
}

/// For how many elements more [`reserve`] makes room when `more` are added to `len`.
pub(super) fn more_room(len: usize, room: usize, more: usize, capacity: usize) -> usize {
    let needed = len.saturating_add(more).min(capacity);
    let mut grown = room;
    while grown < needed {
        grown = (2 * grown).clamp(8, capacity.max(8));
    }
    grown - room
}

/// Makes room for one more element of `width` values, doubling, and never for more than `capacity` elements.
fn reserve<T>(values: &mut Vec<T>, width: usize, capacity: usize) {
    if values.len() == values.capacity() {
        let elements = (2 * values.len() / width).clamp(8, capacity.max(8));
        values.reserve_exact(elements * width - values.len());
    }
}

#[cfg(test)]
impl Tree {
    /// Panics unless every link, box and mass is right; returns the number of points.
    pub(super) fn check(&self) -> usize {
        fn check_below(tree: &Tree, node: Node, parent: Node) -> (usize, Vec<f32>, Vec<f32>) {
            assert_eq!(tree.parent(node), parent);
            if is_leaf(node) {
                let point = tree.point(index(node)).to_vec();
                let mass = tree.leaves[index(node)].mass;
                assert!(mass > 0);
                return (usize::from(mass), point.clone(), point);
            }
            let Inner { cut, dimension, children, .. } = tree.inner[index(node)];
            let (left_mass, left_min, left_max) = check_below(tree, children[0], node);
            let (right_mass, right_min, right_max) = check_below(tree, children[1], node);
            assert!(left_max[usize::from(dimension)] <= cut && cut < right_min[usize::from(dimension)]);
            let min: Vec<f32> = left_min.iter().zip(&right_min).map(|(a, b)| a.min(*b)).collect();
            let max: Vec<f32> = left_max.iter().zip(&right_max).map(|(a, b)| a.max(*b)).collect();
            let (tree_min, tree_max) = tree.bounds(index(node));
            assert_eq!((&tree_min[..tree.dimensions], &tree_max[..tree.dimensions]), (&*min, &*max));
            assert!(tree_min[tree.dimensions..].iter().all(|x| *x == f32::NEG_INFINITY));
            assert!(tree_max[tree.dimensions..].iter().all(|x| *x == f32::INFINITY));
            assert_eq!(tree.sides[index(node)], sides(&min, &max, tree.dimensions));
            (left_mass + right_mass, min, max)
        }
        if self.root == NONE { 0 } else { check_below(self, self.root, NONE).0 }
    }
}
