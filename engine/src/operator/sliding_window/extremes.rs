//! MIN and MAX.
//!
//! Of a frame only those rows matter that no later one beats: a row that comes drops the rows before it that are no better,
//! so what is left gets worse from the oldest to the newest, and the oldest is the result (a monotone queue). Each row is
//! added and dropped once. The queues of all keys are links between slots.

use arrow::array::ArrayRef;

use super::frame::NOWHERE;
use super::kernel::{Batch, Kernel, is_valid};
use crate::error::Result;

/// The queue of one key: its ends.
#[derive(Debug, Clone, Copy)]
struct Ends {
    oldest: u32,
    newest: u32,
}

const EMPTY: Ends = Ends { oldest: NOWHERE, newest: NOWHERE };

/// A row in the queue: its neighbours, and its value as a number that is the lower the better.
#[derive(Debug, Clone, Copy)]
struct Node {
    rank: i64,
    older: u32,
    newer: u32,
}

const UNUSED: Node = Node { rank: 0, older: NOWHERE, newer: NOWHERE };

/// MIN or MAX of any type that can be compared. NaN is greater than any number.
pub struct Extremes {
    max: bool,
    of_key: Vec<Ends>,
    /// By slot.
    nodes: Vec<Node>,
    /// Scratch space: the ranks of a batch.
    ranks: Vec<i64>,
}

impl Extremes {
    /// MAX if `max`, else MIN.
    pub fn new(max: bool) -> Self {
        Self { max, of_key: Vec::new(), nodes: Vec::new(), ranks: Vec::new() }
    }

    #[inline]
    fn leave(&mut self, slot: u32, key: u32) {
        let ends = &mut self.of_key[key as usize];
        // A row that was dropped before is in no queue; the oldest row of a frame can only be at its start.
        if ends.oldest == slot {
            ends.oldest = self.nodes[slot as usize].newer;
            match ends.oldest {
                NOWHERE => *ends = EMPTY,
                oldest => self.nodes[oldest as usize].older = NOWHERE,
            }
        }
    }

    /// `is_better` says of two rows of the same rank whether the first is better.
    #[inline]
    fn come(&mut self, slot: u32, key: u32, rank: i64, is_better: impl Fn(u32, u32) -> bool) {
        let ends = &mut self.of_key[key as usize];
        let mut older = ends.newest;
        while older != NOWHERE {
            let node = &self.nodes[older as usize];
            if node.rank < rank || (node.rank == rank && is_better(older, slot)) {
                break;
            }
            older = node.older;
        }
        self.nodes[slot as usize] = Node { rank, older, newer: NOWHERE };
        match older {
            NOWHERE => ends.oldest = slot,
            older => self.nodes[older as usize].newer = slot,
        }
        ends.newest = slot;
    }
}

impl Kernel for Extremes {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, rows, keys, .. } = *batch;
        self.of_key.resize(keys, EMPTY);
        self.nodes.resize(rows.capacity(), UNUSED);
        let argument = batch.argument()?;
        let (valid, max) = (argument.valid(), self.max);
        let mut ranks = std::mem::take(&mut self.ranks);
        ranks.clear();
        let exact = argument.ranks(&steps.slots, &mut ranks);
        if max {
            ranks.iter_mut().for_each(|rank| *rank = !*rank);
        }
        let mut results = Vec::with_capacity(steps.rows());
        steps.follow(
            self,
            |extremes, slot, key| extremes.leave(slot, key),
            |extremes, row| {
                let (slot, key) = (steps.slots[row], steps.keys[row]);
                if is_valid(valid, slot) {
                    let is_better = |a, b| !exact && if max { argument.is_less(b, a) } else { argument.is_less(a, b) };
                    extremes.come(slot, key, ranks[row], is_better);
                }
                results.push(extremes.of_key[key as usize].oldest);
            },
        );
        self.ranks = ranks;
        Ok(argument.gather(&results))
    }

    fn size(&self) -> usize {
        self.of_key.capacity() * size_of::<Ends>() + self.nodes.capacity() * size_of::<Node>()
    }
}
