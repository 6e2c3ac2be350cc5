//! The panes of a block, each summed up to the end of the block.
//!
//! There is an entry per pane and group that has rows in it, so its size is that of the panes. The entries of a group are
//! chained from the oldest to the newest: when a pane leaves the window, the groups that are in it go on to their next entry,
//! and no other is touched.

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{concat, interleave, take_arrays};

use crate::error::Result;
use crate::operator::window_pane::{PaneLayout, states_of};
use crate::runtime::clock::EventTime;

/// So many pieces of equal size become one.
const FAN: usize = 8;

/// No entry.
const NONE: u32 = u32::MAX;

/// The states of one pane.
pub(super) struct PaneStates {
    pub(super) start: EventTime,
    /// Numbers of the groups' keys.
    pub(super) numbers: Vec<u32>,
    /// The columns of all aggregates, a row per group.
    pub(super) states: Vec<ArrayRef>,
}

impl PaneStates {
    pub(super) fn size(&self) -> usize {
        self.numbers.len() * size_of::<u32>() + bytes(&self.states)
    }
}

/// Bytes of columns.
pub(super) fn bytes(columns: &[ArrayRef]) -> usize {
    columns.iter().map(|column| column.get_array_memory_size()).sum()
}

/// The sums of a block's panes up to its end. Entries of newer panes have lower places.
#[derive(Default)]
pub(super) struct Suffixes {
    pieces: Vec<Piece>,
    /// By place: the number of the key.
    numbers: Vec<u32>,
    /// By place: the entry of the same group in a later pane.
    next: Vec<u32>,
    /// The panes with their first places, the oldest last.
    panes: Vec<(EventTime, usize)>,
    /// By the number of a key: the entry that holds what is left of its group.
    current: Vec<u32>,
}

/// The states of neighbouring entries.
struct Piece {
    /// How often it was put together from smaller ones.
    level: u32,
    start: usize,
    states: Vec<ArrayRef>,
}

impl Suffixes {
    /// Sums `panes`, which are in ascending order; `keys` is how many keys have numbers.
    pub(super) fn try_new(layout: &PaneLayout, keys: usize, panes: Vec<PaneStates>) -> Result<Self> {
        let mut sums = Self { current: vec![NONE; keys], ..Self::default() };
        for PaneStates { start, numbers, states } in panes.into_iter().rev() {
            let groups = numbers.len();
            let mut accumulators = layout.accumulators()?;
            layout.merge(&mut accumulators, &states, &(0..groups).collect::<Vec<_>>(), groups)?;
            let later = numbers.iter().enumerate().map(|(row, number)| (row, sums.current[*number as usize]));
            let (rows, places): (Vec<usize>, Vec<u32>) = later.filter(|(_, place)| *place != NONE).unzip();
            if !rows.is_empty() {
                layout.merge(&mut accumulators, &sums.states_at(&places)?, &rows, groups)?;
            }
            sums.add_piece(states_of(&mut accumulators)?)?;
            sums.add_pane(start, &numbers);
        }
        Ok(sums)
    }

    /// From what [`Suffixes::saved`] gives.
    pub(super) fn restored(starts: Vec<EventTime>, numbers: Vec<u32>, states: Vec<ArrayRef>, keys: usize) -> Self {
        let mut sums = Self { current: vec![NONE; keys], ..Self::default() };
        if !numbers.is_empty() {
            sums.pieces.push(Piece { level: 0, start: 0, states });
        }
        for pane in starts.chunk_by(|a, b| a == b) {
            let first = sums.numbers.len();
            sums.add_pane(pane[0], &numbers[first..first + pane.len()]);
        }
        sums
    }

    fn add_pane(&mut self, start: EventTime, numbers: &[u32]) {
        self.panes.push((start, self.numbers.len()));
        for number in numbers {
            let current = &mut self.current[*number as usize];
            self.next.push(*current);
            *current = self.numbers.len() as u32;
            self.numbers.push(*number);
        }
    }

    fn add_piece(&mut self, states: Vec<ArrayRef>) -> Result<()> {
        self.pieces.push(Piece { level: 0, start: self.numbers.len(), states });
        while let Some(level) = self.pieces.last().map(|piece| piece.level) {
            let equal = self.pieces.iter().rev().take_while(|piece| piece.level == level).count();
            if equal < FAN {
                break;
            }
            let parts = self.pieces.split_off(self.pieces.len() - equal);
            let column = |place: usize| concat(&parts.iter().map(|part| part.states[place].as_ref()).collect::<Vec<_>>());
            let states = (0..parts[0].states.len()).map(column).collect::<Result<_, _>>()?;
            self.pieces.push(Piece { level: level + 1, start: parts[0].start, states });
        }
        Ok(())
    }

    /// The states of the entries at `places`.
    fn states_at(&self, places: &[u32]) -> Result<Vec<ArrayRef>> {
        if let [piece] = self.pieces.as_slice() {
            return Ok(take_arrays(&piece.states, &UInt32Array::from(places.to_vec()), None)?);
        }
        let in_piece = |place: &u32| {
            let piece = self.pieces.partition_point(|piece| piece.start <= *place as usize) - 1;
            (piece, *place as usize - self.pieces[piece].start)
        };
        let indices: Vec<_> = places.iter().map(in_piece).collect();
        let width = self.pieces.first().map_or(0, |piece| piece.states.len());
        let column = |column: usize| {
            let parts: Vec<&dyn Array> = self.pieces.iter().map(|piece| piece.states[column].as_ref()).collect();
            interleave(&parts, &indices)
        };
        Ok((0..width).map(column).collect::<Result<_, _>>()?)
    }

    /// What is left of every group: the numbers of their keys, and their states.
    pub(super) fn sums(&self) -> Result<(Vec<usize>, Vec<ArrayRef>)> {
        let left = self.current.iter().enumerate().filter(|(_, place)| **place != NONE);
        let (numbers, places): (Vec<usize>, Vec<u32>) = left.unzip();
        let states = if places.is_empty() { Vec::new() } else { self.states_at(&places)? };
        Ok((numbers, states))
    }

    /// The start of the oldest pane.
    pub(super) fn oldest(&self) -> Option<EventTime> {
        self.panes.last().map(|(start, _)| *start)
    }

    /// Forgets the panes that start before `start`.
    pub(super) fn forget_before(&mut self, start: EventTime) {
        while let Some((_, first)) = self.panes.pop_if(|(oldest, _)| *oldest < start) {
            for (number, next) in self.numbers.drain(first..).zip(self.next.drain(first..)) {
                self.current[number as usize] = next;
            }
            while self.pieces.last().is_some_and(|piece| piece.start >= first) {
                self.pieces.pop();
            }
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The numbers of the entries' keys.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// How many groups are left.
    pub(super) fn keys_in_use(&self) -> usize {
        self.current.iter().filter(|place| **place != NONE).count()
    }

    /// Gives the entries' keys their new numbers, in the order of [`Suffixes::numbers`].
    pub(super) fn renumber(&mut self, keys: usize, numbers: &[usize]) {
        self.current = vec![NONE; keys];
        for (place, (old, new)) in self.numbers.iter_mut().zip(numbers).enumerate() {
            *old = *new as u32;
            self.current[*new] = place as u32;
        }
    }

    /// By entry the start of its pane and its states.
    pub(super) fn saved(&self) -> Result<(Vec<EventTime>, Vec<ArrayRef>)> {
        let mut starts = Vec::with_capacity(self.len());
        for (i, (start, first)) in self.panes.iter().enumerate() {
            let end = self.panes.get(i + 1).map_or(self.len(), |(_, next)| *next);
            starts.resize(starts.len() + end - first, *start);
        }
        let places: Vec<u32> = (0..self.len() as u32).collect();
        Ok((starts, self.states_at(&places)?))
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        let numbers = self.numbers.capacity() + self.next.capacity() + self.current.capacity();
        let pieces = self.pieces.iter().map(|piece| bytes(&piece.states)).sum::<usize>();
        numbers * size_of::<u32>() + pieces
    }
}
