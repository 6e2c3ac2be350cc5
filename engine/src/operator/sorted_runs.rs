//! Merges runs of group keys, as the partitions of a window emit them: each is sorted, and has no key twice.
//!
//! Nothing is hashed, and every column is read and written from its start to its end. Most comparisons are of two numbers: a
//! value of the first column is packed into 128 bits that sort as it does.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, DynComparator, StringArray, make_comparator};
use arrow::compute::{cast, concat, interleave};
use arrow::datatypes::{DataType, Int64Type};

use super::group_keys::ORDER;
use crate::error::Result;

/// The keys of several runs together, in order.
///
/// Keys also have numbers, in the order in which they appear from run to run: accumulators want their groups so.
pub struct MergedRuns {
    /// The keys in order, a column each.
    pub keys: Vec<ArrayRef>,
    /// Their numbers.
    pub order: Vec<u32>,
    /// Per run and row the number of its key.
    pub numbers: Vec<Vec<usize>>,
    /// Per run how many numbers it and those before it have.
    pub known: Vec<usize>,
}

impl MergedRuns {
    /// Merges `runs`, the columns of each, with so many rows each.
    pub fn of(runs: &[&[ArrayRef]], rows: &[usize]) -> Result<Self> {
        let order = Order::of(runs, rows)?;
        // Per run and row the place of its key in the order; per key the first run that has it, and its row there.
        let mut places: Vec<Vec<usize>> = rows.iter().map(|rows| Vec::with_capacity(*rows)).collect();
        let mut found: Vec<(usize, usize)> = Vec::with_capacity(rows.iter().max().copied().unwrap_or(0));
        // The next row of a run is behind those that have a place.
        let head = |places: &[Vec<usize>], run: usize| Some((run, places[run].len())).filter(|(run, row)| *row < rows[*run]);
        while let Some(least) = (0..runs.len()).filter_map(|run| head(&places, run)).min_by(|a, b| order.compare(*a, *b)) {
            for run in least.0..runs.len() {
                if head(&places, run).is_some_and(|head| order.compare(head, least).is_eq()) {
                    places[run].push(found.len());
                }
            }
            found.push(least);
        }
        let mut known = vec![0; runs.len()];
        found.iter().for_each(|(run, _)| known[*run] += 1);
        let mut next: Vec<u32> = known.iter().scan(0, |end, new| Some(std::mem::replace(end, *end + *new as u32))).collect();
        let number = |(run, _): &(usize, usize)| {
            next[*run] += 1;
            next[*run] - 1
        };
        let order: Vec<u32> = found.iter().map(number).collect();
        let numbers = places.into_iter().map(|places| places.into_iter().map(|place| order[place] as usize).collect());
        let column = |place: usize| match runs {
            [only] => Ok(only[place].clone()),
            _ => interleave(&runs.iter().map(|run| run[place].as_ref()).collect::<Vec<_>>(), &found),
        };
        let columns = runs.first().map_or(0, |run| run.len());
        Ok(Self {
            keys: (0..columns).map(column).collect::<Result<_, _>>()?,
            numbers: numbers.collect(),
            known: next.into_iter().map(|end| end as usize).collect(),
            order,
        })
    }
}

/// A value as a number that sorts as it does; different values may be the same number if the last byte is [`INEXACT`].
type Packed = u128;

/// Bytes of a text that are packed; its length stands behind them.
const TEXT_BYTES: usize = 15;

/// The last byte of a number that says too little.
const INEXACT: u8 = TEXT_BYTES as u8 + 1;

/// NULL is last.
const NULL: Packed = Packed::MAX;

/// The order of rows, a run and a row in it.
struct Order {
    /// Per run the first column.
    packed: Vec<Vec<Packed>>,
    /// For rows whose numbers say too little: where each run begins among all rows, and what compares those.
    starts: Vec<usize>,
    comparators: Vec<DynComparator>,
}

impl Order {
    fn of(runs: &[&[ArrayRef]], rows: &[usize]) -> Result<Self> {
        let packed = runs.iter().zip(rows).map(|(run, rows)| match run {
            [] => Ok(vec![0; *rows]),
            [only] => pack(only),
            [first, ..] => Ok(pack(first)?.into_iter().map(inexact).collect()),
        });
        let packed = packed.collect::<Result<Vec<_>>>()?;
        let starts = rows.iter().scan(0, |end, rows| {
            *end += rows;
            Some(*end - rows)
        });
        let mut order = Self { packed, starts: starts.collect(), comparators: Vec::new() };
        if order.packed.iter().flatten().any(|value| is_inexact(*value)) {
            for column in 0..runs[0].len() {
                let all = concat(&runs.iter().map(|run| run[column].as_ref()).collect::<Vec<_>>())?;
                order.comparators.push(make_comparator(&all, &all, ORDER)?);
            }
        }
        Ok(order)
    }

    #[inline]
    fn compare(&self, a: (usize, usize), b: (usize, usize)) -> Ordering {
        let value = self.packed[a.0][a.1];
        match value.cmp(&self.packed[b.0][b.1]) {
            Ordering::Equal if is_inexact(value) => {
                let (a, b) = (self.starts[a.0] + a.1, self.starts[b.0] + b.1);
                let orders = self.comparators.iter().map(|compare| compare(a, b));
                orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            }
            order => order,
        }
    }
}

fn inexact(value: Packed) -> Packed {
    value & !0xff | Packed::from(INEXACT)
}

fn is_inexact(value: Packed) -> bool {
    value as u8 == INEXACT
}

fn pack(column: &ArrayRef) -> Result<Vec<Packed>> {
    let valid = |row: usize| column.is_valid(row);
    let rows = 0..column.len();
    Ok(match column.data_type() {
        DataType::Utf8 => {
            let texts: &StringArray = column.as_string();
            rows.map(|row| if valid(row) { pack_text(texts.value(row).as_bytes()) } else { NULL }).collect()
        }
        whole if whole.is_signed_integer() => {
            let numbers = cast(column, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>().values();
            // Signed numbers sort as unsigned ones do when the highest bit is turned round.
            let number = |row: usize| Packed::from(numbers[row] as u64 ^ 1 << 63) << 64;
            rows.map(|row| if valid(row) { number(row) } else { NULL }).collect()
        }
        _ => vec![inexact(0); column.len()],
    })
}

/// The first bytes, then the length.
#[inline]
fn pack_text(text: &[u8]) -> Packed {
    let mut bytes = [0; TEXT_BYTES + 1];
    let length = text.len().min(TEXT_BYTES);
    bytes[..length].copy_from_slice(&text[..length]);
    bytes[TEXT_BYTES] = text.len().min(usize::from(INEXACT)) as u8;
    Packed::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Int32Array};
    use proptest::prelude::*;

    use super::*;

    /// NULL last.
    type Key = (bool, Option<String>);

    fn key(text: Option<String>) -> Key {
        (text.is_none(), text)
    }

    fn texts(keys: &BTreeSet<Key>) -> ArrayRef {
        Arc::new(keys.iter().map(|(_, text)| text.as_deref()).collect::<StringArray>())
    }

    fn numbers(keys: &BTreeSet<Key>) -> ArrayRef {
        Arc::new(keys.iter().map(|(_, text)| text.as_ref().map(|text| text.len() as i32 - 8)).collect::<Int32Array>())
    }

    proptest! {
        #[test]
        fn every_row_finds_its_key_among_all(
            runs in prop::collection::vec(prop::collection::btree_set(prop::option::of("[ab\\x00]{0,3}|[ab]{14,18}").prop_map(key), 0..30), 1..4),
        ) {
            let all: BTreeSet<Key> = runs.iter().flatten().cloned().collect();
            let place = |key: &Key| all.iter().position(|other| other == key).expect("one of all");
            let expected: Vec<Vec<usize>> = runs.iter().map(|run| run.iter().map(place).collect()).collect();
            let rows: Vec<usize> = runs.iter().map(BTreeSet::len).collect();
            // As the only column, in front of another one, and behind one that cannot be packed.
            let one: Vec<Vec<ArrayRef>> = runs.iter().map(|run| vec![texts(run)]).collect();
            let two: Vec<Vec<ArrayRef>> = runs.iter().map(|run| vec![texts(run), numbers(run)]).collect();
            let constant = |rows: usize| Arc::new(BooleanArray::from(vec![true; rows])) as ArrayRef;
            let behind: Vec<Vec<ArrayRef>> = runs.iter().map(|run| vec![constant(run.len()), texts(run)]).collect();
            for (columns, at) in [(one, 0), (two, 0), (behind, 1)] {
                let merged = MergedRuns::of(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>(), &rows).expect("merged");
                prop_assert_eq!(&merged.keys[at], &texts(&all));
                let mut number = vec![0; all.len()];
                merged.order.iter().enumerate().for_each(|(place, of_place)| number[*of_place as usize] = place);
                let places: Vec<Vec<usize>> = merged.numbers.iter().map(|run| run.iter().map(|n| number[*n]).collect()).collect();
                prop_assert_eq!(&places, &expected);
                // Numbers are given in the order in which keys come.
                let mut known = 0;
                for (run, end) in merged.numbers.iter().zip(&merged.known) {
                    for number in run {
                        prop_assert!(*number <= known);
                        known = known.max(*number + 1);
                    }
                    prop_assert_eq!(known, *end);
                }
            }
        }
    }

    #[test]
    fn numbers_sort_with_their_sign_and_null_last() {
        let column = |numbers: &[Option<i32>]| vec![Arc::new(Int32Array::from(numbers.to_vec())) as ArrayRef];
        let (one, other) =
            (column(&[Some(-5), Some(0), Some(7), None]), column(&[Some(i32::MIN), Some(7), Some(i32::MAX), None]));
        let merged = MergedRuns::of(&[&one, &other], &[4, 4]).expect("merged");
        assert_eq!((merged.order, merged.known), (vec![4, 0, 1, 2, 5, 3], vec![4, 6]));
        assert_eq!(merged.numbers, [vec![0, 1, 2, 3], vec![4, 2, 5, 3]]);
    }

    #[test]
    fn without_keys_there_is_one_group() {
        let merged = MergedRuns::of(&[&[], &[]], &[1, 1]).expect("merged");
        assert_eq!((merged.order, merged.numbers, merged.known), (vec![0], vec![vec![0], vec![0]], vec![1, 1]));
    }
}
