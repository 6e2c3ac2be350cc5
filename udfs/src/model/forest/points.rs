//! From rows to points: narrow values, the last rows laid end to end.

use super::boxes::stride;
use super::walk::Points;
use crate::model::bytes::{Reader, Writer, damaged};

/// Values are kept as f32, so they are counted from the first row: 24 bits then hold what changes, not what stays. Beyond
/// these bounds they are cut off, so that no sum of 900 sides overflows and no quotient of sides either.
const LARGEST: f64 = (1u128 << 100) as f64;
const SMALLEST: f64 = 1.0 / LARGEST;

/// The last rows of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shingles {
    /// Values of a row, 1 – 30.
    columns: usize,
    /// Rows of a point, 1 – 30.
    shingle_size: usize,
    /// The first row; empty before it.
    origin: Vec<f64>,
    /// The last rows, at most shingle_size - 1 between calls.
    recent: Vec<f32>,
}

impl Shingles {
    pub(super) fn new(columns: usize, shingle_size: usize) -> Self {
        Self { columns, shingle_size, origin: Vec::new(), recent: Vec::new() }
    }

    /// Takes rows and returns how many of them, the first ones, do not complete a point yet. [`Shingles::points`] holds the
    /// points of the others until [`Shingles::forget`].
    pub(super) fn extend(&mut self, rows: &[f64]) -> usize {
        if self.origin.is_empty() {
            self.origin.extend(rows.iter().take(self.columns));
        }
        let before = self.recent.len() / self.columns;
        for row in rows.chunks_exact(self.columns) {
            self.recent.extend(row.iter().zip(&self.origin).map(|(value, origin)| narrow(value - origin)));
        }
        // The last point is read to the end of its stride.
        self.recent.resize(self.recent.len() + self.padding(), 0.0);
        (self.shingle_size - 1 - before.min(self.shingle_size - 1)).min(rows.len() / self.columns)
    }

    /// The points of the rows taken last.
    pub(super) fn points(&self) -> Points<'_> {
        Points { values: &self.recent, step: self.columns }
    }

    /// Drops the rows that no later point needs.
    pub(super) fn forget(&mut self) {
        self.recent.truncate(self.recent.len() - self.padding());
        let keep = self.columns * (self.shingle_size - 1);
        self.recent.drain(..self.recent.len().saturating_sub(keep));
    }

    fn padding(&self) -> usize {
        let dimensions = self.columns * self.shingle_size;
        stride(dimensions) - dimensions
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.origin.capacity() * size_of::<f64>() + self.recent.capacity() * size_of::<f32>()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u32(self.origin.len() as u32);
        self.origin.iter().for_each(|value| writer.f64(*value));
        writer.u32(self.recent.len() as u32);
        self.recent.iter().for_each(|value| writer.f32(*value));
    }

    pub(super) fn read(columns: usize, shingle_size: usize, reader: &mut Reader<'_>) -> datafusion::common::Result<Self> {
        let origin = reader.length(columns)?;
        let origin = (0..origin).map(|_| reader.f64()).collect::<datafusion::common::Result<Vec<_>>>()?;
        let recent = reader.length(columns * (shingle_size - 1))?;
        let recent = (0..recent).map(|_| reader.f32()).collect::<datafusion::common::Result<Vec<_>>>()?;
        let whole = origin.len() == columns || origin.is_empty() && recent.is_empty();
        if !whole || recent.len() % columns != 0 {
            return Err(damaged("a row is not whole"));
        }
        Ok(Self { columns, shingle_size, origin, recent })
    }
}

fn narrow(value: f64) -> f32 {
    if value.abs() < SMALLEST { 0.0 } else { value.clamp(-LARGEST, LARGEST) as f32 }
}
