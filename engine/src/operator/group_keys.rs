//! The group keys of an operator, numbered: equal keys have the same number in every window.
//!
//! Hashing and comparing keys is most of the work of a GROUP BY, and sorting them most of the work of a closing window.
//! Streams repeat their keys from window to window, so both are done once per key and not once per key and window: a
//! window only holds numbers. Keys that no window uses any more are forgotten by [`GroupKeys::retain`].

use std::cmp::Ordering;

use arrow::array::{ArrayRef, AsArray, DynComparator, UInt32Array, make_comparator};
use arrow::compute::{SortColumn, SortOptions, concat, lexsort_to_indices, take_arrays};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::utils::normalize_float_zero;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::text_numbers::TextNumbers;
use crate::error::Result;

/// Ascending, NULL last (kda-sql-reference.md §8.5).
pub(super) const ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };

/// So many batches of new keys are kept as they came.
const ADDED_MAX: usize = 64;

/// Below this many keys nothing is forgotten.
const RETAINED_MIN: usize = 1_024;

/// Numbers for the keys that rows are grouped by.
pub struct GroupKeys {
    schema: SchemaRef,
    numbers: Numbers,
    /// From numbers to keys: a column per key.
    columns: Vec<ArrayRef>,
    /// Keys that are not in `columns` yet.
    added: Vec<Vec<ArrayRef>>,
    /// Numbers in the order of their keys, without those in `added`.
    ranked: Vec<u32>,
    len: usize,
}

/// From keys to numbers.
enum Numbers {
    /// Without keys all rows are one group.
    One,
    Text(TextNumbers),
    Any(Box<dyn GroupValues>),
}

impl GroupKeys {
    /// No keys yet.
    pub fn try_new(schema: SchemaRef) -> Result<Self> {
        let numbers = match schema.fields().as_ref() {
            [] => Numbers::One,
            [field] if *field.data_type() == DataType::Utf8 => Numbers::Text(TextNumbers::default()),
            _ => Numbers::Any(new_group_values(schema.clone(), &GroupOrdering::None)?),
        };
        let columns = schema.fields().iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect();
        Ok(Self { schema, numbers, columns, added: Vec::new(), ranked: Vec::new(), len: 0 })
    }

    /// How many numbers are given.
    pub fn count(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        let columns = self.columns.iter().chain(self.added.iter().flatten());
        let columns: usize = columns.map(|column| column.get_buffer_memory_size()).sum();
        let numbers = match &self.numbers {
            Numbers::One => 0,
            Numbers::Text(texts) => texts.size(),
            Numbers::Any(groups) => groups.size(),
        };
        numbers + columns + self.ranked.len() * size_of::<u32>()
    }

    /// The numbers of the keys of `rows` rows. −0.0 is the key 0.0.
    pub fn intern(&mut self, keys: &[ArrayRef], rows: usize, numbers: &mut Vec<usize>) -> Result<()> {
        let normalized: Vec<ArrayRef>;
        let keys = match keys.iter().any(|key| key.data_type().is_floating()) {
            true => {
                normalized = keys.iter().map(normalize_float_zero).collect();
                normalized.as_slice()
            }
            false => keys,
        };
        let known = self.len;
        let len = match &mut self.numbers {
            Numbers::One => {
                self.len = 1;
                numbers.clear();
                numbers.resize(rows, 0);
                return Ok(());
            }
            Numbers::Text(texts) => {
                texts.intern(keys[0].as_string(), numbers);
                texts.count()
            }
            Numbers::Any(groups) => {
                groups.intern(keys, numbers)?;
                groups.len()
            }
        };
        if len > known {
            let mut first_rows = vec![u32::MAX; len - known];
            for (row, number) in numbers.iter().enumerate() {
                if let Some(first) = number.checked_sub(known).map(|new| &mut first_rows[new])
                    && *first == u32::MAX
                {
                    *first = row as u32;
                }
            }
            self.added.push(take_arrays(keys, &UInt32Array::from(first_rows), None)?);
            self.len = len;
            // Seldom, so that appending costs a constant per key, and often enough for `added` to stay short.
            if self.added.len() > ADDED_MAX && self.columns[0].len() * 2 < len {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Every number in the order of the keys.
    pub fn ranked(&mut self) -> Result<&[u32]> {
        let known = self.ranked.len();
        if self.columns.is_empty() {
            self.ranked = (0..self.len as u32).collect();
        } else if known < self.len {
            self.settle()?;
            let new: Vec<_> = self.columns.iter().map(|column| column.slice(known, self.len - known)).collect();
            let sort = |values: &ArrayRef| SortColumn { values: values.clone(), options: Some(ORDER) };
            let new = lexsort_to_indices(&new.iter().map(sort).collect::<Vec<_>>(), None)?;
            let new: Vec<u32> = new.values().iter().map(|place| place + known as u32).collect();
            self.ranked = if known == 0 { new } else { self.merged(&new)? };
        }
        Ok(&self.ranked)
    }

    /// The keys of `numbers`; call [`GroupKeys::ranked`] or [`GroupKeys::settle`] before.
    pub fn take(&self, numbers: &UInt32Array) -> Result<Vec<ArrayRef>> {
        debug_assert!(self.added.is_empty());
        Ok(take_arrays(&self.columns, numbers, None)?)
    }

    /// Forgets all keys but those of `numbers`, if they are few. Gives the new numbers, in the order of `numbers`.
    pub fn retain(&mut self, in_use: usize, numbers: impl FnOnce() -> Vec<u32>) -> Result<Option<Vec<usize>>> {
        if self.len < RETAINED_MIN || self.len < in_use * 4 || self.columns.is_empty() {
            return Ok(None);
        }
        self.settle()?;
        let numbers = numbers();
        let keys = self.take(&UInt32Array::from(numbers))?;
        *self = Self::try_new(self.schema.clone())?;
        let mut renumbered = Vec::new();
        self.intern(&keys, keys[0].len(), &mut renumbered)?;
        Ok(Some(renumbered))
    }

    /// Makes all keys ready for [`GroupKeys::take`].
    pub fn settle(&mut self) -> Result<()> {
        let added = std::mem::take(&mut self.added);
        if added.is_empty() {
            return Ok(());
        }
        for (place, column) in self.columns.iter_mut().enumerate() {
            let parts: Vec<_> = std::iter::once(column.as_ref()).chain(added.iter().map(|keys| keys[place].as_ref())).collect();
            *column = concat(&parts)?;
        }
        Ok(())
    }

    /// `ranked` with `new`, which is sorted too.
    fn merged(&self, new: &[u32]) -> Result<Vec<u32>> {
        let comparators = self.columns.iter().map(|column| make_comparator(column, column, ORDER));
        let comparators = comparators.collect::<Result<Vec<DynComparator>, _>>()?;
        let is_less = |a: u32, b: u32| {
            let orders = comparators.iter().map(|compare| compare(a as usize, b as usize));
            orders.into_iter().find(|order| order.is_ne()) == Some(Ordering::Less)
        };
        let mut merged = Vec::with_capacity(self.len);
        let mut old = self.ranked.iter().copied().peekable();
        for number in new {
            while let Some(smaller) = old.next_if(|old| is_less(*old, *number)) {
                merged.push(smaller);
            }
            merged.push(*number);
        }
        merged.extend(old);
        Ok(merged)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Float64Array, Int32Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn keys() -> GroupKeys {
        let fields = vec![Field::new("name", DataType::Utf8, true), Field::new("n", DataType::Int32, true)];
        GroupKeys::try_new(Arc::new(Schema::new(fields))).expect("types that can be grouped")
    }

    fn columns(rows: &[(Option<&str>, i32)]) -> Vec<ArrayRef> {
        let names: StringArray = rows.iter().map(|(name, _)| *name).collect();
        let numbers: Int32Array = rows.iter().map(|(_, number)| Some(*number)).collect();
        vec![Arc::new(names), Arc::new(numbers)]
    }

    fn in_order(keys: &mut GroupKeys) -> Vec<String> {
        let ranked = UInt32Array::from(keys.ranked().expect("sorted").to_vec());
        let columns = keys.take(&ranked).expect("known");
        let (names, numbers) = (columns[0].as_string::<i32>(), columns[1].as_primitive::<arrow::datatypes::Int32Type>());
        let name = |row| if names.is_null(row) { "NULL" } else { names.value(row) };
        (0..names.len()).map(|row| format!("{} {}", name(row), numbers.value(row))).collect()
    }

    #[test]
    fn equal_keys_have_equal_numbers_and_all_are_kept_in_order() {
        let (mut keys, mut numbers) = (keys(), Vec::new());
        let first = [(Some("b"), 1), (None, 1), (Some("b"), 1), (Some("a"), 2)];
        keys.intern(&columns(&first), 4, &mut numbers).expect("interned");
        assert_eq!(numbers[0], numbers[2]);
        assert_eq!(in_order(&mut keys), ["a 2", "b 1", "NULL 1"]);
        let known = numbers.clone();
        let second = [(Some("a"), 2), (None, 0), (Some("b"), 0), (Some("c"), 9), (Some("b"), 1)];
        keys.intern(&columns(&second), 5, &mut numbers).expect("interned");
        assert_eq!((numbers[0], numbers[4]), (known[3], known[0]));
        assert_eq!(in_order(&mut keys), ["a 2", "b 0", "b 1", "c 9", "NULL 0", "NULL 1"]);
    }

    #[test]
    fn a_negative_zero_is_the_key_zero() {
        let fields = vec![Field::new("d", DataType::Float64, true), Field::new("n", DataType::Int32, true)];
        let (mut keys, mut numbers) = (GroupKeys::try_new(Arc::new(Schema::new(fields))).expect("types"), Vec::new());
        let values: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, 0.0, 1.0, -0.0]));
        let same: ArrayRef = Arc::new(Int32Array::from(vec![1; 4]));
        keys.intern(&[values, same], 4, &mut numbers).expect("interned");
        assert_eq!(numbers, [0, 0, 1, 0]);
        keys.settle().expect("settled");
        let kept = keys.take(&UInt32Array::from(vec![0])).expect("known");
        assert!(kept[0].as_primitive::<arrow::datatypes::Float64Type>().value(0).is_sign_positive());
    }

    #[test]
    fn forgotten_keys_leave_the_others_with_new_numbers() {
        let (mut keys, mut numbers) = (keys(), Vec::new());
        let rows: Vec<_> = (0..2_000).map(|n| (Some("k"), n)).collect();
        keys.intern(&columns(&rows), rows.len(), &mut numbers).expect("interned");
        assert!(keys.retain(1_000, Vec::new).expect("no error").is_none(), "half of them are in use");
        let used = [numbers[7] as u32, numbers[3] as u32];
        let renumbered = keys.retain(2, || used.to_vec()).expect("no error").expect("few are in use");
        assert_eq!((renumbered.len(), keys.count()), (2, 2));
        assert_eq!(in_order(&mut keys), ["k 3", "k 7"]);
        keys.intern(&columns(&[(Some("k"), 3), (Some("k"), 7)]), 2, &mut numbers).expect("interned");
        assert_eq!(numbers, [renumbered[1], renumbered[0]]);
    }

    #[test]
    fn without_keys_there_is_one_group() {
        let mut keys = GroupKeys::try_new(Arc::new(Schema::empty())).expect("no types");
        let mut numbers = Vec::new();
        keys.intern(&[], 3, &mut numbers).expect("interned");
        assert_eq!((numbers.as_slice(), keys.ranked().expect("one")), (&[0, 0, 0][..], &[0][..]));
    }
}
