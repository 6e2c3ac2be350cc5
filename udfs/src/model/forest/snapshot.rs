//! Saved forests. Trees are written from the root down, so equal forests give equal bytes whatever they went through.
//!
//! ```text
//! "KRCF" version  shape: trees, sample size, time decay, shingle size, seed, columns
//! points seen  the first row  the last rows
//! for each tree   state of its generator, number of the next point taken, nodes, sample
//!   a node        dimension and cut, its two children follow; or 65535 and a point
//!   the sample    length; key and number of the leaf for each, in the order of the heap
//! ```
//!
//! Boxes and masses are not written: they follow from points and sample exactly.

use datafusion::common::Result;

use super::RandomCutForest;
use super::member::Member;
use super::points::Shingles;
use super::sample::Sample;
use super::tree::{Inner, Leaf, NONE, Node, Tree, index, is_leaf};
use crate::model::bytes::{Reader, Writer, damaged};
use crate::model::random::Random;

const TAG: [u8; 4] = *b"KRCF";
const VERSION: u16 = 1;

/// Stands for the dimension of a leaf; dimensions are at most 900.
const LEAF: u16 = u16::MAX;

pub(super) fn write(forest: &RandomCutForest) -> Vec<u8> {
    let mut writer = Writer::new(TAG, VERSION);
    shape(forest).iter().for_each(|(_, value)| writer.u64(*value));
    writer.u64(forest.points);
    forest.shingles.write(&mut writer);
    for member in &forest.members {
        writer.u64(member.random.state());
        writer.u64(member.sample.next());
        let numbers = write_tree(&member.tree, &mut writer);
        let (keys, leaves) = member.sample.entries();
        writer.u32(keys.len() as u32);
        for (key, leaf) in keys.iter().zip(leaves) {
            writer.f64(*key);
            writer.u16(numbers[usize::from(*leaf)]);
        }
    }
    writer.finish()
}

/// Gives `forest` the saved state; it stays as it was if that fails.
pub(super) fn read(forest: &mut RandomCutForest, bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::try_new(bytes, TAG, VERSION)?;
    for (name, value) in shape(forest) {
        reader.expect(name, value)?;
    }
    let options = &forest.options;
    let (sample_size, shingle_size) = (options.sample_size as usize, options.shingle_size as usize);
    let points = reader.u64()?;
    let shingles = Shingles::read(forest.columns.len(), shingle_size, &mut reader)?;
    let mut members = Vec::with_capacity(forest.members.len());
    for _ in 0..forest.members.len() {
        let random = Random::from_state(reader.u64()?);
        let next = reader.u64()?;
        let mut tree = read_tree(forest.columns.len() * shingle_size, sample_size, &mut reader)?;
        let entries = reader.length(sample_size)?;
        let (mut keys, mut leaves) = (Vec::with_capacity(entries), Vec::with_capacity(entries));
        for _ in 0..entries {
            keys.push(reader.f64()?);
            let leaf = reader.u16()?;
            tree.leaves.get_mut(usize::from(leaf)).ok_or_else(|| damaged("a leaf is missing"))?.mass += 1;
            leaves.push(leaf);
        }
        // A tree takes every point until its sample is full.
        let waiting = if entries < sample_size { next == points && next == entries as u64 } else { next >= points };
        if !waiting || tree.leaves.iter().any(|leaf| leaf.mass == 0) {
            return Err(damaged("a sample is not that of its tree"));
        }
        if (1..keys.len()).any(|child| keys[(child - 1) / 2] < keys[child]) {
            return Err(damaged("a sample is out of order"));
        }
        let sample = Sample::from_entries(sample_size, options.time_decay as u32, (keys, leaves), next);
        members.push(Member { tree, sample, random });
    }
    reader.finish()?;
    (forest.points, forest.shingles, forest.members) = (points, shingles, members);
    Ok(())
}

fn shape(forest: &RandomCutForest) -> [(&'static str, u64); 6] {
    let options = &forest.options;
    [
        ("numberOfTrees", options.trees as u64),
        ("subSampleSize", options.sample_size as u64),
        ("timeDecay", options.time_decay as u64),
        ("shingleSize", options.shingle_size as u64),
        ("seed", options.seed),
        ("a number of numeric columns of", forest.columns.len() as u64),
    ]
}

/// Writes the nodes; returns the number of each leaf, counted from the left.
fn write_tree(tree: &Tree, writer: &mut Writer) -> Vec<u16> {
    let mut numbers = vec![0; tree.leaves.len()];
    let mut number = 0;
    let mut rest: Vec<Node> = if tree.root == NONE { Vec::new() } else { vec![tree.root] };
    writer.u16(rest.len() as u16);
    while let Some(node) = rest.pop() {
        let at = index(node);
        if is_leaf(node) {
            writer.u16(LEAF);
            tree.point(at).iter().for_each(|value| writer.f32(*value));
            numbers[at] = number;
            number += 1;
        } else {
            let Inner { cut, dimension, children: [left, right], .. } = tree.inner[at];
            writer.u16(dimension);
            writer.f32(cut);
            rest.extend([right, left]);
        }
    }
    numbers
}

/// Reads the nodes; masses are 0.
fn read_tree(dimensions: usize, capacity: usize, reader: &mut Reader<'_>) -> Result<Tree> {
    let mut tree = Tree::new(dimensions, capacity);
    let mut point = vec![0.0; dimensions];
    // Where the next nodes go: their parents, and which child they are.
    let mut rest: Vec<(Node, usize)> = if reader.u16()? == 0 { Vec::new() } else { vec![(NONE, 0)] };
    while let Some((parent, side)) = rest.pop() {
        let dimension = reader.u16()?;
        // Parents stand before their children, so each place that waits is one leaf at least.
        if tree.leaves.len() + rest.len() >= capacity {
            return Err(damaged("a tree is too large"));
        }
        let node = if dimension == LEAF {
            for value in &mut point {
                *value = reader.f32()?;
            }
            tree.push_leaf(&point, Leaf { mass: 0, parent })
        } else {
            if usize::from(dimension) >= dimensions {
                return Err(damaged("a cut is in no dimension"));
            }
            let node = tree.push_inner(Inner { cut: reader.f32()?, dimension, children: [NONE; 2], parent });
            rest.extend([(node, 1), (node, 0)]);
            node
        };
        if parent == NONE {
            tree.root = node;
        } else {
            tree.inner[index(parent)].children[side] = node;
        }
    }
    if !tree.restore_boxes() {
        return Err(damaged("a point is on the wrong side of a cut"));
    }
    Ok(tree)
}
