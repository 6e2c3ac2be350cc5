//! From a window to the text of HOTSPOTS_RESULT.

use std::cmp::Ordering;

use super::bits::Bits;
use super::window::Window;

/// Finds hotspots and writes them down; keeps its scratch space.
#[derive(Debug, Clone, Default)]
pub(super) struct Clusters {
    /// Of each hotspot: `min[columns] max[columns]`.
    bounds: Vec<f64>,
    /// Density and number of each hotspot.
    order: Vec<(f64, usize)>,
}

impl Clusters {
    /// Replaces `text` by the hotspots of a window: densest first, then by their bounds.
    pub(super) fn write(&mut self, window: &Window, radius: f64, text: &mut String) {
        self.bounds.clear();
        self.order.clear();
        let mut left = *window.core();
        while let Some(first) = left.first() {
            let records = component(window, first, &mut left);
            let density = self.measure(window, &records, radius);
            self.order.push((density, self.order.len()));
        }
        text.clear();
        text.push_str(r#"{"hotspots":["#);
        if !self.order.is_empty() {
            self.write_all(text);
        }
        text.push_str("]}");
    }

    /// Appends the bounds of a hotspot; returns its density: records by the product of its sides, where a side without length
    /// counts as the radius.
    fn measure(&mut self, window: &Window, records: &Bits, radius: f64) -> f64 {
        let first = self.bounds.len();
        let columns = window.columns().count();
        self.bounds.resize(first + 2 * columns, 0.0);
        let (min, max) = self.bounds[first..].split_at_mut(columns);
        let mut size = 1.0;
        for ((values, min), max) in window.columns().zip(min).zip(max) {
            (*min, *max) = (f64::INFINITY, f64::NEG_INFINITY);
            records.for_each(|place| {
                let value = values[place];
                *min = if value < *min { value } else { *min };
                *max = if value > *max { value } else { *max };
            });
            size *= if min == max { radius } else { *max - *min };
        }
        // A size that underflows leaves a density that JSON can hold.
        (records.count() as f64 / size).min(f64::MAX)
    }

    fn write_all(&mut self, text: &mut String) {
        let width = self.bounds.len() / self.order.len();
        let bounds = |hotspot: usize| &self.bounds[hotspot * width..][..width];
        self.order.sort_unstable_by(|(density_a, a), (density_b, b)| {
            let by_bounds = || {
                let orders = bounds(*a).iter().zip(bounds(*b)).map(|(a, b)| a.total_cmp(b));
                orders.fold(Ordering::Equal, Ordering::then)
            };
            density_b.total_cmp(density_a).then_with(by_bounds)
        });
        let mut number = zmij::Buffer::new();
        for (place, (density, hotspot)) in self.order.iter().enumerate() {
            text.push_str(if place == 0 { r#"{"density":"# } else { r#",{"density":"# });
            text.push_str(number.format_finite(*density));
            let (min, max) = bounds(*hotspot).split_at(width / 2);
            for (start, values) in [(r#","minValues":["#, min), (r#"],"maxValues":["#, max)] {
                text.push_str(start);
                for (column, value) in values.iter().enumerate() {
                    if column > 0 {
                        text.push(',');
                    }
                    text.push_str(number.format_finite(*value));
                }
            }
            text.push_str("]}");
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.bounds.capacity() * size_of::<f64>() + self.order.capacity() * size_of::<(f64, usize)>()
    }
}

/// The records of the hotspot that core row `first` belongs to. Its core rows are taken out of `left`.
pub(super) fn component(window: &Window, first: usize, left: &mut Bits) -> Bits {
    let (mut records, mut waiting) = (Bits::EMPTY, Bits::EMPTY);
    left.remove(first);
    let mut next = Some(first);
    while let Some(core) = next {
        waiting.remove(core);
        let neighbours = window.neighbours(core);
        records.add(neighbours);
        left.move_common(neighbours, &mut waiting);
        next = waiting.first();
    }
    records
}
