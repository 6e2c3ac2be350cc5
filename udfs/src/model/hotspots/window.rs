//! The last rows, who is a neighbour of whom, and which of them are core rows.
//!
//! At most 1000 rows need no index: a new row is compared with all others at once.

use super::bits::Bits;

/// Rows in a ring of places.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Rows it holds, 100 – 1000.
    capacity: usize,
    columns: usize,
    /// Square of the radius within which rows are neighbours.
    radius_squared: f64,
    /// Neighbours, itself included, that make a core row.
    points_min: u16,
    /// Column after column, the value at each place; NaN where no row is yet, which is near to nothing.
    values: Vec<f64>,
    /// Neighbours of the row at each place, itself included.
    neighbours: Vec<Bits>,
    counts: Vec<u16>,
    core: Bits,
    len: usize,
    /// Where the next row goes; the oldest one is there once the window is full.
    next: usize,
}

/// Places compared at a time.
const CHUNK: usize = 64;

impl Window {
    pub(super) fn new(columns: usize, capacity: usize, radius: f64, points_min: u16) -> Self {
        Self {
            capacity,
            columns,
            radius_squared: radius * radius,
            points_min,
            values: vec![f64::NAN; columns * capacity.next_multiple_of(CHUNK)],
            neighbours: vec![Bits::EMPTY; capacity],
            counts: vec![0; capacity],
            core: Bits::EMPTY,
            len: 0,
            next: 0,
        }
    }

    /// Takes a row in, the oldest one goes out of a full window. False if hotspots are as before.
    pub(super) fn push(&mut self, row: &[f64]) -> bool {
        let place = self.next;
        let mut changed = false;
        if self.len == self.capacity {
            changed = self.remove(place);
        }
        self.len = self.capacity.min(self.len + 1);
        self.next = if place + 1 == self.capacity { 0 } else { place + 1 };
        self.insert(place, row) | changed
    }

    fn remove(&mut self, place: usize) -> bool {
        let neighbours = self.neighbours[place];
        let changed = neighbours.intersects(&self.core);
        neighbours.for_each(|other| {
            self.neighbours[other].remove(place);
            self.counts[other] -= 1;
            if self.counts[other] + 1 == self.points_min {
                self.core.remove(other);
            }
        });
        self.core.remove(place);
        changed
    }

    fn insert(&mut self, place: usize, row: &[f64]) -> bool {
        let stride = self.stride();
        for (column, value) in row.iter().enumerate() {
            self.values[column * stride + place] = *value;
        }
        let neighbours = self.near(row);
        self.neighbours[place] = neighbours;
        self.counts[place] = 0;
        let mut count = 0;
        neighbours.for_each(|other| {
            count += 1;
            self.neighbours[other].insert(place);
            self.counts[other] += 1;
            if self.counts[other] == self.points_min {
                self.core.insert(other);
            }
        });
        self.counts[place] = count;
        if count >= self.points_min {
            self.core.insert(place);
        }
        neighbours.intersects(&self.core)
    }

    /// The places of rows within the radius.
    fn near(&self, row: &[f64]) -> Bits {
        let stride = self.stride();
        let mut near = Bits::EMPTY;
        for word in 0..self.len.div_ceil(CHUNK) {
            let mut squares = [0.0; CHUNK];
            for (x, values) in row.iter().zip(self.values.chunks_exact(stride)) {
                let values: &[f64; CHUNK] = values[word * CHUNK..].first_chunk().expect("whole chunks");
                for (square, value) in squares.iter_mut().zip(values) {
                    *square += (x - value) * (x - value);
                }
            }
            let bits = squares.iter().rev().fold(0, |bits, square| bits << 1 | u64::from(*square <= self.radius_squared));
            near.set_word(word, bits);
        }
        near
    }

    fn stride(&self) -> usize {
        self.capacity.next_multiple_of(CHUNK)
    }

    /// Rows with at least the least number of neighbours.
    pub(super) fn core(&self) -> &Bits {
        &self.core
    }

    /// Neighbours of the row at a place, itself included.
    #[inline(always)]
    pub(super) fn neighbours(&self, place: usize) -> &Bits {
        &self.neighbours[place]
    }

    /// For each column the values by place.
    pub(super) fn columns(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.stride())
    }

    /// The rows, oldest first, one after another.
    pub(super) fn rows(&self) -> impl Iterator<Item = f64> {
        let oldest = if self.len == self.capacity { self.next } else { 0 };
        let place = move |age| (oldest + age) % self.capacity;
        let stride = self.stride();
        (0..self.len).flat_map(move |age| (0..self.columns).map(move |column| self.values[column * stride + place(age)]))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
            + self.neighbours.capacity() * size_of::<Bits>()
            + self.counts.capacity() * size_of::<u16>()
    }
}
