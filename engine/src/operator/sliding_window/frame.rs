//! The rows in the frames of all keys: which rows leave when a row comes (kda-sql-reference.md §4.4).
//!
//! A row in a frame has a *slot*, a place in columns that grow and are reused, so no key has memory of its own. The rows of
//! a key are chained from the oldest to the newest. RANGE frames lose rows by time, whatever their key, in the order of
//! arrival; ROWS frames lose the oldest row of the key.
//!
//! A batch is turned into [`Steps`] first, which every kernel then follows in a loop of its own. Slots that become free in
//! a batch are reused from the next batch on, so all values and links of a batch can be looked up until its end.

use std::collections::VecDeque;

use crate::runtime::clock::EventTime;

/// No slot.
pub const NOWHERE: u32 = u32::MAX;

/// Which rows before the current one are in its frame; it ends with the current row (§2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// Rows at most so many milliseconds older that have arrived before (§8.5: the far end is inclusive).
    Range(i64),
    /// The row itself and so many rows of its key before it.
    Rows(u32),
}

/// A row that left its frame: slot and key.
pub type Left = (u32, u32);

/// What happens in the frames while the rows of a batch come in.
#[derive(Debug, Default)]
pub struct Steps {
    /// Per row the number of its key.
    pub keys: Vec<u32>,
    /// Per row its slot.
    pub slots: Vec<u32>,
    /// Per row the slot of the oldest row in its frame.
    pub oldest: Vec<u32>,
    /// Per row the number of rows in its frame, itself included.
    pub counts: Vec<u32>,
    /// The rows that leave, in order.
    pub left: Vec<Left>,
    /// Per row how many of `left` leave before it comes.
    left_before: Vec<u32>,
}

impl Steps {
    /// How many rows come.
    pub fn rows(&self) -> usize {
        self.keys.len()
    }

    /// Follows the steps: `leave` for a row that leaves (slot, key), `come` for a row of the batch (its place in it).
    /// What leaves before a row is reported before it.
    #[inline]
    pub fn follow<K>(&self, kernel: &mut K, leave: impl Fn(&mut K, u32, u32), mut come: impl FnMut(&mut K, usize)) {
        let mut done = 0;
        for (row, before) in self.left_before.iter().enumerate() {
            for (slot, key) in &self.left[done..*before as usize] {
                leave(kernel, *slot, *key);
            }
            done = *before as usize;
            come(kernel, row);
        }
        for (slot, key) in &self.left[done..] {
            leave(kernel, *slot, *key);
        }
    }

    /// A row comes with its value in `slot`; what has left so far leaves before.
    pub fn come(&mut self, key: u32, slot: u32) {
        self.keys.push(key);
        self.slots.push(slot);
        self.left_before.push(self.left.len() as u32);
    }

    /// Nothing happens yet.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.slots.clear();
        self.oldest.clear();
        self.counts.clear();
        self.left.clear();
        self.left_before.clear();
    }
}

/// The frames of one key.
#[derive(Debug, Clone, Copy)]
struct KeyRows {
    oldest: u32,
    newest: u32,
    count: u32,
}

const NO_ROWS: KeyRows = KeyRows { oldest: NOWHERE, newest: NOWHERE, count: 0 };

/// The rows in the frames of all keys.
#[derive(Debug)]
pub struct FrameRows {
    frame: Frame,
    /// Per slot the row's ROWTIME, its key, and the next row of the key.
    times: Vec<EventTime>,
    keys: Vec<u32>,
    next: Vec<u32>,
    /// Slots without a row, in the order in which they became free: they are reused in that order, side by side.
    free: VecDeque<u32>,
    /// RANGE: the slots with a row in the order of arrival.
    arrivals: VecDeque<u32>,
    of_key: Vec<KeyRows>,
    keys_with_rows: usize,
}

impl FrameRows {
    /// No rows yet.
    pub fn new(frame: Frame) -> Self {
        Self {
            frame,
            times: Vec::new(),
            keys: Vec::new(),
            next: Vec::new(),
            free: VecDeque::new(),
            arrivals: VecDeque::new(),
            of_key: Vec::new(),
            keys_with_rows: 0,
        }
    }

    /// Slots, free ones included.
    pub fn capacity(&self) -> usize {
        self.times.len()
    }

    /// Rows in frames.
    pub fn held(&self) -> usize {
        self.times.len() - self.free.len()
    }

    /// Keys that have rows.
    pub fn keys_with_rows(&self) -> usize {
        self.keys_with_rows
    }

    /// ROWTIME of the row in `slot`.
    pub fn time(&self, slot: u32) -> EventTime {
        self.times[slot as usize]
    }

    /// The key of the row in `slot`.
    pub fn key(&self, slot: u32) -> u32 {
        self.keys[slot as usize]
    }

    /// The next row of the key of the row in `slot`, [`NOWHERE`] if that is its newest.
    pub fn next(&self, slot: u32) -> u32 {
        self.next[slot as usize]
    }

    /// The slots from the oldest row of a frame to its newest.
    pub fn chain(&self, oldest: u32, newest: u32) -> impl Iterator<Item = u32> {
        let mut next = Some(oldest);
        std::iter::from_fn(move || {
            let slot = next?;
            next = (slot != newest).then(|| self.next[slot as usize]);
            Some(slot)
        })
    }

    /// Every slot with a row; the rows of a key in the order in which they came.
    pub fn slots(&self) -> Vec<u32> {
        match self.frame {
            Frame::Range(_) => self.arrivals.iter().copied().collect(),
            Frame::Rows(_) => {
                let keys = self.of_key.iter().filter(|rows| rows.count > 0);
                keys.flat_map(|rows| self.chain(rows.oldest, rows.newest)).collect()
            }
        }
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        let slots = self.times.capacity() * (size_of::<EventTime>() + 2 * size_of::<u32>());
        let queues = (self.free.capacity() + self.arrivals.capacity()) * size_of::<u32>();
        slots + queues + self.of_key.capacity() * size_of::<KeyRows>()
    }

    /// Rows come: their keys' numbers, of `keys` in all, and their ROWTIMEs, which do not fall.
    pub fn come(&mut self, numbers: &[usize], keys: usize, times: &[EventTime], steps: &mut Steps) {
        steps.clear();
        self.of_key.resize(keys, NO_ROWS);
        self.reserve(numbers.len());
        steps.keys.extend(numbers.iter().map(|number| *number as u32));
        match self.frame {
            Frame::Range(length_ms) => {
                // The loop needs no look into memory while no row leaves.
                let mut first = self.first_time();
                for (row, time) in times.iter().enumerate() {
                    let from = time.saturating_sub(length_ms);
                    while first < from {
                        self.leave_first(steps);
                        first = self.first_time();
                    }
                    let slot = self.add(row, *time, steps);
                    self.arrivals.push_back(slot);
                    if first == EventTime::MAX {
                        first = *time;
                    }
                }
            }
            Frame::Rows(before) => {
                for (row, time) in times.iter().enumerate() {
                    let rows = self.of_key[numbers[row]];
                    if rows.count > before {
                        self.leave(rows.oldest, steps);
                    }
                    self.add(row, *time, steps);
                }
            }
        }
        self.free.extend(steps.left.iter().map(|(slot, _)| *slot));
    }

    /// No row earlier than `watermark` comes any more: what no later frame contains leaves.
    pub fn pass(&mut self, watermark: EventTime, steps: &mut Steps) {
        steps.clear();
        if let Frame::Range(length_ms) = self.frame {
            while self.first_time() < watermark.saturating_sub(length_ms) {
                self.leave_first(steps);
            }
            self.free.extend(steps.left.iter().map(|(slot, _)| *slot));
        }
    }

    /// ROWTIME of the oldest row, the end of time if there is none.
    fn first_time(&self) -> EventTime {
        self.arrivals.front().map_or(EventTime::MAX, |slot| self.times[*slot as usize])
    }

    /// Makes sure that `rows` slots are free.
    fn reserve(&mut self, rows: usize) {
        let slots = self.times.len();
        let missing = rows.saturating_sub(self.free.len());
        self.times.resize(slots + missing, 0);
        self.keys.resize(slots + missing, 0);
        self.next.resize(slots + missing, NOWHERE);
        self.free.extend((slots..slots + missing).map(|slot| slot as u32));
    }

    fn add(&mut self, row: usize, time: EventTime, steps: &mut Steps) -> u32 {
        let slot = self.free.pop_front().expect("as many slots were made free as rows come");
        let key = steps.keys[row];
        self.times[slot as usize] = time;
        self.keys[slot as usize] = key;
        self.next[slot as usize] = NOWHERE;
        let rows = &mut self.of_key[key as usize];
        if rows.count == 0 {
            rows.oldest = slot;
            self.keys_with_rows += 1;
        } else {
            self.next[rows.newest as usize] = slot;
        }
        rows.newest = slot;
        rows.count += 1;
        steps.slots.push(slot);
        steps.oldest.push(rows.oldest);
        steps.counts.push(rows.count);
        steps.left_before.push(steps.left.len() as u32);
        slot
    }

    fn leave_first(&mut self, steps: &mut Steps) {
        if let Some(slot) = self.arrivals.pop_front() {
            self.leave(slot, steps);
        }
    }

    /// The oldest row of a key leaves.
    fn leave(&mut self, slot: u32, steps: &mut Steps) {
        let key = self.keys[slot as usize];
        let rows = &mut self.of_key[key as usize];
        rows.oldest = self.next[slot as usize];
        rows.count -= 1;
        if rows.count == 0 {
            *rows = NO_ROWS;
            self.keys_with_rows -= 1;
        }
        steps.left.push((slot, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Per row the ROWTIMEs in its frame.
    fn frames(rows: &mut FrameRows, numbers: &[usize], times: &[EventTime]) -> Vec<Vec<EventTime>> {
        let mut steps = Steps::default();
        rows.come(numbers, 3, times, &mut steps);
        let frame = |row: usize| {
            let frame: Vec<_> = rows.chain(steps.oldest[row], steps.slots[row]).map(|slot| rows.time(slot)).collect();
            assert_eq!(frame.len(), steps.counts[row] as usize);
            frame
        };
        (0..steps.rows()).map(frame).collect()
    }

    #[test]
    fn a_range_has_its_far_end_and_peers_that_came_before() {
        let mut rows = FrameRows::new(Frame::Range(5));
        let got = frames(&mut rows, &[0, 1, 0, 0, 0, 0], &[1, 2, 6, 7, 7, 12]);
        assert_eq!(got, [vec![1], vec![2], vec![1, 6], vec![6, 7], vec![6, 7, 7], vec![7, 7, 12]]);
        assert_eq!(frames(&mut rows, &[1, 0], &[12, 13]), [vec![12], vec![12, 13]]);
    }

    #[test]
    fn rows_are_counted_per_key() {
        let mut rows = FrameRows::new(Frame::Rows(1));
        let got = frames(&mut rows, &[0, 1, 0, 0, 1], &[1, 2, 3, 4, 5]);
        assert_eq!(got, [vec![1], vec![2], vec![1, 3], vec![3, 4], vec![2, 5]]);
        assert_eq!(frames(&mut rows, &[0, 0, 0], &[6, 7, 8]), [vec![4, 6], vec![6, 7], vec![7, 8]]);
        assert_eq!((rows.held(), rows.keys_with_rows()), (4, 2));
    }

    #[test]
    fn slots_are_reused_and_time_empties_frames() {
        let (mut rows, mut steps) = (FrameRows::new(Frame::Range(10)), Steps::default());
        for time in 0..1_000 {
            rows.come(&[0, 1], 2, &[time, time], &mut steps);
        }
        assert!(rows.capacity() <= 26, "{} slots for 22 rows", rows.capacity());
        rows.pass(1_005, &mut steps);
        assert_eq!((rows.held(), steps.left.len()), (10, 12));
        rows.pass(EventTime::MAX, &mut steps);
        assert_eq!((rows.held(), rows.keys_with_rows(), rows.slots()), (0, 0, vec![]));
    }
}
