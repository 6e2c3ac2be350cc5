//! HOTSPOTS: where rows lie close together (kda-sql-reference.md §5.13).
//!
//! Input:  batches of one relation with 1 – 30 numeric columns; other columns play no part.
//! Output: for each row HOTSPOTS_RESULT VARCHAR: `{"hotspots":[{"density":…,"minValues":[…],"maxValues":[…]},…]}`, the hotspots
//!         of the last windowSize rows up to and with this one.
//! NULL:   a row with NULL, NaN or an infinite value in a numeric column gives NULL and does not enter the window.
//! State:  the last windowSize rows.
//! Errors: an option out of its range, no numeric column, more than 30, or a DECIMAL one, when the model is made.
//!
//! A row is *core* if at least minimumNumberOfPointsInAHotspot rows of the window, itself included, lie within scanRadius of
//! it (Euclidean distance over all numeric columns, unscaled). Core rows within scanRadius of each other belong together; each
//! connected component is a hotspot. Its records are its core rows and every row within scanRadius of one. This is DBSCAN
//! (Ester, Kriegel, Sander and Xu, 1996) with rows at the edge counted in each hotspot that they touch.

mod bits;
mod clusters;
pub(super) mod options;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use self::clusters::Clusters;
use self::options::FUNCTION;
pub use self::options::HotspotsOptions;
use self::window::Window;
use super::Model;
use super::bytes::{Reader, Writer};
use super::columns::Columns;

const TAG: [u8; 4] = *b"KRHS";
const VERSION: u16 = 1;

/// The hotspots of a window that follows the rows.
#[derive(Debug, Clone)]
pub struct Hotspots {
    options: HotspotsOptions,
    columns: Columns,
    window: Window,
    clusters: Clusters,
    /// The hotspots of the window.
    text: String,
}

impl Hotspots {
    /// An empty window for rows of `schema`.
    pub fn try_new(options: HotspotsOptions, schema: &Schema) -> Result<Self> {
        options.check()?;
        let columns = Columns::try_new(FUNCTION, schema)?;
        Ok(Self {
            window: empty_window(&options, columns.len()),
            clusters: Clusters::default(),
            text: String::new(),
            columns,
            options,
        })
    }

    fn shape(&self) -> [(&'static str, u64); 3] {
        [
            ("windowSize", self.options.window_size as u64),
            ("minimumNumberOfPointsInAHotspot", self.options.points_min as u64),
            ("a number of numeric columns of", self.columns.len() as u64),
        ]
    }
}

// Casts: the options are in their ranges.
fn empty_window(options: &HotspotsOptions, columns: usize) -> Window {
    Window::new(columns, options.window_size as usize, options.scan_radius, options.points_min as u16)
}

impl Model for Hotspots {
    fn fields(&self) -> Vec<FieldRef> {
        vec![Arc::new(Field::new("HOTSPOTS_RESULT", DataType::Utf8, true))]
    }

    fn update(&mut self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let rows = self.columns.read(batch)?;
        let mut results = StringBuilder::with_capacity(batch.num_rows(), batch.num_rows() * self.text.len().max(32));
        for row in rows.spread(batch.num_rows()) {
            let Some(row) = row else {
                results.append_null();
                continue;
            };
            let changed = self.window.push(&rows.values[row * self.columns.len()..][..self.columns.len()]);
            // The text of a new model or a restored one is empty.
            if changed || self.text.is_empty() {
                self.clusters.write(&self.window, self.options.scan_radius, &mut self.text);
            }
            results.append_value(&self.text);
        }
        Ok(vec![Arc::new(results.finish())])
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(TAG, VERSION);
        writer.f64(self.options.scan_radius);
        self.shape().iter().for_each(|(_, value)| writer.u64(*value));
        writer.u32(self.window.len() as u32);
        self.window.rows().for_each(|value| writer.f64(value));
        Ok(writer.finish())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        let mut reader = Reader::try_new(snapshot, TAG, VERSION)?;
        reader.expect_f64("scanRadius", self.options.scan_radius)?;
        for (name, value) in self.shape() {
            reader.expect(name, value)?;
        }
        let mut window = empty_window(&self.options, self.columns.len());
        let mut row = vec![0.0; self.columns.len()];
        for _ in 0..reader.length(self.options.window_size as usize)? {
            for value in &mut row {
                *value = reader.f64()?;
            }
            window.push(&row);
        }
        reader.finish()?;
        self.window = window;
        self.text.clear();
        Ok(())
    }

    fn memory_size(&self) -> usize {
        size_of::<Self>() + self.window.size() + self.clusters.size() + self.text.capacity()
    }

    /// The window is there from the start; a text is small beside it.
    fn growth(&self, _rows: usize) -> usize {
        0
    }
}
