//! MIN and MAX.
//!
//! Of a frame only those rows matter that no later one beats: a row that comes drops the rows before it that are no better,
//! so what is left gets worse from the oldest to the newest, and the oldest is the result (a monotone queue). Each row is
//! added and dropped once. The newest row of a queue is kept with the key; those before it, seldom more than a few, lie side by
//! side in a ring of their own.

use arrow::array::ArrayRef;

use super::frame::NOWHERE;
use super::kernel::{Batch, Kernel, is_valid};
use crate::error::Result;

/// A row in a queue: its slot, and its value as a number that is the lower the better.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    rank: i64,
    slot: u32,
}

/// The queue of one key.
#[derive(Debug, Clone, Copy)]
struct Queue {
    /// Rank and slot of the newest row.
    rank: i64,
    newest: u32,
    /// The oldest row: the result.
    oldest: u32,
    /// The rows before the newest, in a ring of the rings.
    older: u32,
    /// Where the ring starts, its length less one, and the place of the oldest row in it.
    start: u32,
    mask: u32,
    head: u32,
}

const EMPTY: Queue = Queue { rank: 0, newest: NOWHERE, oldest: NOWHERE, older: 0, start: NOWHERE, mask: 0, head: 0 };

impl Queue {
    /// Where the row at `place` from the oldest is, of those before the newest.
    #[inline]
    fn at(&self, place: u32) -> usize {
        (self.start + ((self.head + place) & self.mask)) as usize
    }
}

/// Entries of the smallest ring: a line of the processor's cache.
const SMALLEST: u32 = 4;

/// Rings of entries, each as long as a power of two.
#[derive(Debug, Default)]
struct Rings {
    entries: Vec<Entry>,
    /// Starts of rings that are free, by the logarithm of their length.
    free: [Vec<u32>; u32::BITS as usize],
}

impl Rings {
    fn take(&mut self, length: u32) -> u32 {
        self.free[length.ilog2() as usize].pop().unwrap_or_else(|| {
            let start = self.entries.len();
            self.entries.resize(start + length as usize, Entry::default());
            start as u32
        })
    }

    fn give_back(&mut self, queue: &mut Queue) {
        if queue.start != NOWHERE {
            self.free[(queue.mask + 1).ilog2() as usize].push(queue.start);
            queue.start = NOWHERE;
        }
    }

    /// Moves the rows of a queue into a ring with more space.
    #[cold]
    fn grow(&mut self, queue: &mut Queue) {
        let length = if queue.start == NOWHERE { SMALLEST } else { 2 * (queue.mask + 1) };
        let start = self.take(length);
        for place in 0..queue.older {
            self.entries[(start + place) as usize] = self.entries[queue.at(place)];
        }
        self.give_back(queue);
        (queue.start, queue.mask, queue.head) = (start, length - 1, 0);
    }

    #[inline]
    fn push(&mut self, queue: &mut Queue) {
        if queue.start == NOWHERE || queue.older > queue.mask {
            self.grow(queue);
        }
        self.entries[queue.at(queue.older)] = Entry { rank: queue.rank, slot: queue.newest };
        queue.older += 1;
    }
}

/// MIN or MAX of any type that can be compared. NaN is greater than any number.
pub struct Extremes {
    max: bool,
    of_key: Vec<Queue>,
    rings: Rings,
    /// Scratch space: the ranks of a batch.
    ranks: Vec<i64>,
}

impl Extremes {
    /// MAX if `max`, else MIN.
    pub fn new(max: bool) -> Self {
        Self { max, of_key: Vec::new(), rings: Rings::default(), ranks: Vec::new() }
    }

    #[inline]
    fn leave(&mut self, slot: u32, key: u32) {
        let queue = &mut self.of_key[key as usize];
        // A row that was dropped before is in no queue; the oldest row of a frame can only be at its start.
        if queue.oldest != slot {
            return;
        }
        if queue.older == 0 {
            *queue = EMPTY;
            return;
        }
        queue.head = (queue.head + 1) & queue.mask;
        queue.older -= 1;
        if queue.older == 0 {
            queue.oldest = queue.newest;
            self.rings.give_back(queue);
        } else {
            queue.oldest = self.rings.entries[queue.at(0)].slot;
        }
    }

    /// `is_better` says of two rows of the same rank whether the first is better.
    #[inline]
    fn come(&mut self, slot: u32, key: u32, rank: i64, is_better: impl Fn(u32, u32) -> bool) {
        let queue = &mut self.of_key[key as usize];
        let stays = |entry: Entry| entry.rank < rank || (entry.rank == rank && is_better(entry.slot, slot));
        if queue.newest == NOWHERE {
            queue.oldest = slot;
        } else if stays(Entry { rank: queue.rank, slot: queue.newest }) {
            self.rings.push(queue);
        } else {
            while queue.older > 0 && !stays(self.rings.entries[queue.at(queue.older - 1)]) {
                queue.older -= 1;
            }
            if queue.older == 0 {
                queue.oldest = slot;
                self.rings.give_back(queue);
            }
        }
        (queue.rank, queue.newest) = (rank, slot);
    }
}

impl Kernel for Extremes {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, keys, .. } = *batch;
        self.of_key.resize(keys, EMPTY);
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
        let free: usize = self.rings.free.iter().map(|starts| starts.capacity() * size_of::<u32>()).sum();
        self.of_key.capacity() * size_of::<Queue>() + self.rings.entries.capacity() * size_of::<Entry>() + free
    }
}
