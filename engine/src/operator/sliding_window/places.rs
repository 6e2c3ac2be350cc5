//! FIRST_VALUE, LAST_VALUE, NTH_VALUE and LAG: the value of one row of the frame (kda-sql-reference.md §5.2).
//!
//! Per key one slot is followed, the n-th from one end: it moves by one row when a row comes or leaves.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::kernels::zip::zip;

use super::frame::NOWHERE;
use super::kernel::{Batch, Kernel, is_valid};
use super::values::Values;
use crate::error::Result;

/// Which row of the frame; n counts from 1. NULL if there are fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The n-th from the oldest.
    FromFirst(u32),
    /// The n-th from the newest, which is the current row.
    FromLast(u32),
    /// The n-th before the current row.
    Before(u32),
}

#[derive(Debug, Clone, Copy)]
struct Followed {
    oldest: u32,
    newest: u32,
    /// Rows that count.
    count: u32,
    /// The n-th.
    at: u32,
}

const NOTHING: Followed = Followed { oldest: NOWHERE, newest: NOWHERE, count: 0, at: NOWHERE };

/// The value of one row of every frame.
pub struct Places {
    place: Place,
    ignore_nulls: bool,
    of_key: Vec<Followed>,
    /// By slot, the next row of the key that counts.
    next: Vec<u32>,
}

impl Places {
    /// Follows `place`; rows with NULL do not count if `ignore_nulls`.
    pub fn new(place: Place, ignore_nulls: bool) -> Self {
        Self { place, ignore_nulls, of_key: Vec::new(), next: Vec::new() }
    }

    fn leave(&mut self, slot: u32, key: u32) {
        let followed = &mut self.of_key[key as usize];
        followed.oldest = self.next[slot as usize];
        followed.count -= 1;
        if followed.count == 0 {
            *followed = NOTHING;
            return;
        }
        match self.place {
            Place::FromFirst(_) if followed.at != NOWHERE => followed.at = self.next[followed.at as usize],
            Place::FromFirst(_) => {}
            Place::FromLast(n) | Place::Before(n) if followed.count < n => followed.at = NOWHERE,
            Place::FromLast(_) | Place::Before(_) => {}
        }
    }

    fn come(&mut self, slot: u32, key: u32) {
        let followed = &mut self.of_key[key as usize];
        self.next[slot as usize] = NOWHERE;
        match followed.newest {
            NOWHERE => followed.oldest = slot,
            newest => self.next[newest as usize] = slot,
        }
        followed.newest = slot;
        followed.count += 1;
        match self.place {
            Place::FromFirst(n) if followed.count == n => followed.at = slot,
            Place::FromFirst(_) => {}
            Place::FromLast(n) | Place::Before(n) if followed.count == n => followed.at = followed.oldest,
            Place::FromLast(n) | Place::Before(n) if followed.count > n => followed.at = self.next[followed.at as usize],
            Place::FromLast(_) | Place::Before(_) => {}
        }
    }

    /// Per row the slot of the value, [`NOWHERE`] if there is none.
    fn slots(&mut self, batch: &Batch<'_>, argument: &dyn Values) -> Vec<u32> {
        let Batch { steps, rows, keys, .. } = *batch;
        self.of_key.resize(keys, NOTHING);
        self.next.resize(rows.capacity(), NOWHERE);
        let valid = argument.valid().filter(|_| self.ignore_nulls);
        let is_before = matches!(self.place, Place::Before(_));
        let mut results = Vec::with_capacity(steps.rows());
        steps.follow(
            self,
            |places, slot, key| {
                if is_valid(valid, slot) {
                    places.leave(slot, key);
                }
            },
            |places, row| {
                let (slot, key) = (steps.slots[row], steps.keys[row]);
                let before = places.of_key[key as usize].at;
                if is_valid(valid, slot) {
                    places.come(slot, key);
                }
                results.push(if is_before { before } else { places.of_key[key as usize].at });
            },
        );
        results
    }
}

impl Kernel for Places {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let argument = batch.argument()?;
        let slots = self.slots(batch, argument);
        let values = argument.gather(&slots);
        match batch.otherwise {
            Some(otherwise) => {
                let found: BooleanArray = slots.iter().map(|slot| Some(*slot != NOWHERE)).collect();
                Ok(zip(&found, &values, otherwise)?)
            }
            None => Ok(values),
        }
    }

    fn size(&self) -> usize {
        self.of_key.capacity() * size_of::<Followed>() + self.next.capacity() * size_of::<u32>()
    }
}
