//! DISTINCT: of the equal values in a frame one counts, whichever. The function behind sees a value come with the first row that has
//! it and leave with the last.
//!
//! Values are numbered, those of each key for themselves. The function behind finds the value with number n in slot n + 1, and NULL in
//! slot 0, which is what every other row brings it.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::is_not_null;
use arrow::datatypes::{DataType, Field, Schema};

use super::super::group_keys::GroupKeys;
use super::frame::{NOWHERE, Steps};
use super::kernel::{Batch, Kernel};
use super::values::{Values, values_of};
use crate::error::Result;

/// Slot of what brings nothing new.
const NOTHING: u32 = 0;

/// A function of the different values of a frame.
pub struct Distinct {
    function: Box<dyn Kernel>,
    /// From key and value to the value's number.
    numbers: GroupKeys,
    seen: Seen,
    /// What the function sees: the values, or for COUNT that there is one.
    values: Box<dyn Values>,
    is_count: bool,
    /// Scratch space: the values' numbers of a batch.
    of_batch: Vec<usize>,
}

/// How often the values are in the frames, and what the function sees of it.
#[derive(Default)]
struct Seen {
    /// Per slot of a frame the number of its value, [`NOWHERE`] for NULL.
    of_slot: Vec<u32>,
    /// Per number the rows that have the value.
    rows: Vec<u32>,
    /// Values that are in a frame.
    held: usize,
    steps: Steps,
}

impl Seen {
    fn leave(&mut self, slot: u32, key: u32) {
        let number = self.of_slot[slot as usize];
        if number == NOWHERE {
            return;
        }
        let rows = &mut self.rows[number as usize];
        *rows -= 1;
        if *rows == 0 {
            self.held -= 1;
            self.steps.left.push((number + 1, key));
        }
    }

    fn come(&mut self, slot: u32, key: u32, number: u32) {
        self.of_slot[slot as usize] = number;
        let mut came = NOTHING;
        if number != NOWHERE {
            let rows = &mut self.rows[number as usize];
            *rows += 1;
            if *rows == 1 {
                self.held += 1;
                came = number + 1;
            }
        }
        self.steps.come(key, came);
    }
}

impl Distinct {
    /// `function` of the different values of type `argument`; `is_count` if it only asks whether there is one.
    pub fn try_new(function: Box<dyn Kernel>, argument: &DataType, is_count: bool) -> Result<Self> {
        let schema = Schema::new(vec![Field::new("$key", DataType::UInt32, false), Field::new("$value", argument.clone(), true)]);
        let seen = if is_count { &DataType::Boolean } else { argument };
        let mut values = values_of(seen)?;
        values.store(&[NOTHING], &new_null_array(seen, 1), 1);
        let numbers = GroupKeys::try_new(Arc::new(schema))?;
        Ok(Self { function, numbers, seen: Seen::default(), values, is_count, of_batch: Vec::new() })
    }

    /// Numbers the values of the rows that come.
    fn number(&mut self, steps: &Steps, argument: &dyn Values) -> Result<Vec<u32>> {
        if steps.rows() == 0 {
            return Ok(Vec::new());
        }
        let column = argument.gather(&steps.slots);
        let keys: ArrayRef = Arc::new(UInt32Array::from(steps.keys.clone()));
        self.numbers.intern(&[keys, column.clone()], steps.rows(), &mut self.of_batch)?;
        let count = self.numbers.count();
        self.seen.rows.resize(count, 0);
        let slots: Vec<u32> = self.of_batch.iter().map(|number| *number as u32 + 1).collect();
        let seen: ArrayRef = if self.is_count { Arc::new(is_not_null(&column)?) } else { column.clone() };
        self.values.store(&slots, &seen, count + 1);
        let number = |(row, number): (usize, &usize)| if column.is_null(row) { NOWHERE } else { *number as u32 };
        Ok(self.of_batch.iter().enumerate().map(number).collect())
    }

    /// Forgets the values that are in no frame any more, if they are most.
    fn forget(&mut self) -> Result<()> {
        let (seen, mut old) = (&mut self.seen, Vec::new());
        let in_use = |rows: &[u32]| (0..rows.len() as u32).filter(|number| rows[*number as usize] > 0).collect::<Vec<_>>();
        let renumbered = self.numbers.retain(seen.held, || {
            old = in_use(&seen.rows);
            old.clone()
        })?;
        let Some(renumbered) = renumbered else { return Ok(()) };
        let mut new_of = vec![NOWHERE; seen.rows.len()];
        let mut rows = vec![0; self.numbers.count()];
        for (old, new) in old.iter().zip(&renumbered) {
            new_of[*old as usize] = *new as u32;
            rows[*new] = seen.rows[*old as usize];
        }
        // Slots that are free have the number of a value that may be gone.
        seen.of_slot.iter_mut().filter(|number| **number != NOWHERE).for_each(|number| *number = new_of[*number as usize]);
        seen.rows = rows;
        let kept = self.values.gather(&old.iter().map(|number| number + 1).collect::<Vec<_>>());
        let mut values = values_of(kept.data_type())?;
        let capacity = self.numbers.count() + 1;
        values.store(&[NOTHING], &new_null_array(kept.data_type(), 1), capacity);
        values.store(&renumbered.iter().map(|number| *number as u32 + 1).collect::<Vec<_>>(), &kept, capacity);
        self.values = values;
        Ok(())
    }
}

impl Kernel for Distinct {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, rows, keys, .. } = *batch;
        let numbers = self.number(steps, batch.argument()?)?;
        let seen = &mut self.seen;
        seen.of_slot.resize(rows.capacity(), NOWHERE);
        seen.steps.clear();
        steps.follow(
            seen,
            |seen, slot, key| seen.leave(slot, key),
            |seen, row| seen.come(steps.slots[row], steps.keys[row], numbers[row]),
        );
        let of_slot = &seen.of_slot;
        let frame = |row: usize| {
            let slots = rows.chain(steps.oldest[row], steps.slots[row]);
            let numbers = slots.map(|slot| of_slot[slot as usize]).filter(|number| *number != NOWHERE);
            let mut values: Vec<u32> = numbers.map(|number| number + 1).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let argument = Some(self.values.as_ref());
        let batch = Batch { steps: &seen.steps, rows, keys, argument, otherwise: None, frame: Some(&frame) };
        let results = self.function.follow(&batch)?;
        self.forget()?;
        Ok(results)
    }

    fn size(&self) -> usize {
        let numbers = (self.seen.of_slot.capacity() + self.seen.rows.capacity()) * size_of::<u32>();
        self.numbers.size() + numbers + self.values.size() + self.function.size()
    }
}
