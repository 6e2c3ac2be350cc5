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

/// The neighbours of a row in the queue.
#[derive(Debug, Clone, Copy)]
struct Links {
    older: u32,
    newer: u32,
}

const UNLINKED: Links = Links { older: NOWHERE, newer: NOWHERE };

/// MIN or MAX of any type that can be compared. NaN is greater than any number.
pub struct Extremes {
    max: bool,
    of_key: Vec<Ends>,
    /// By slot.
    links: Vec<Links>,
}

impl Extremes {
    /// MAX if `max`, else MIN.
    pub fn new(max: bool) -> Self {
        Self { max, of_key: Vec::new(), links: Vec::new() }
    }

    #[inline]
    fn leave(&mut self, slot: u32, key: u32) {
        let ends = &mut self.of_key[key as usize];
        // A row that was dropped before is in no queue; the oldest row of a frame can only be at its start.
        if ends.oldest == slot {
            ends.oldest = self.links[slot as usize].newer;
            match ends.oldest {
                NOWHERE => *ends = EMPTY,
                oldest => self.links[oldest as usize].older = NOWHERE,
            }
        }
    }

    #[inline]
    fn come(&mut self, slot: u32, key: u32, is_better: impl Fn(u32, u32) -> bool) {
        let ends = &mut self.of_key[key as usize];
        let mut older = ends.newest;
        while older != NOWHERE && !is_better(older, slot) {
            older = self.links[older as usize].older;
        }
        self.links[slot as usize] = Links { older, newer: NOWHERE };
        match older {
            NOWHERE => ends.oldest = slot,
            older => self.links[older as usize].newer = slot,
        }
        ends.newest = slot;
    }
}

impl Kernel for Extremes {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, rows, keys, .. } = *batch;
        self.of_key.resize(keys, EMPTY);
        self.links.resize(rows.capacity(), UNLINKED);
        let argument = batch.argument()?;
        let mut results = Vec::with_capacity(steps.rows());
        let (valid, max) = (argument.valid(), self.max);
        steps.follow(
            self,
            |extremes, slot, key| extremes.leave(slot, key),
            |extremes, row| {
                let (slot, key) = (steps.slots[row], steps.keys[row]);
                if is_valid(valid, slot) {
                    extremes.come(slot, key, |a, b| if max { argument.is_less(b, a) } else { argument.is_less(a, b) });
                }
                results.push(extremes.of_key[key as usize].oldest);
            },
        );
        Ok(argument.gather(&results))
    }

    fn size(&self) -> usize {
        self.of_key.capacity() * size_of::<Ends>() + self.links.capacity() * size_of::<Links>()
    }
}
