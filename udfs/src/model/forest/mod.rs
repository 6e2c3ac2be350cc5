//! RANDOM_CUT_FOREST: how unlike the rows before it each row is (kda-sql-reference.md §5.11, §5.12).
//!
//! Input:  batches of one relation with 1 – 30 numeric columns; other columns play no part.
//! Output: for each row ANOMALY_SCORE DOUBLE, 0 – log2(subSampleSize), [`Scoring`] says by which formula, and
//!         ANOMALY_EXPLANATION VARCHAR if asked for. Each row is scored by the trees as they are and learned afterwards.
//! NULL:   a row with NULL, NaN or an infinite value in a numeric column scores NULL and is not learned.
//! State:  the trees and the last shingleSize - 1 rows.
//! Same:   scores depend on the seed and the rows alone, not on batches, threads or restarts.
//! Errors: an option out of its range, no numeric column, more than 30, or a DECIMAL one, when the model is made.
//!
//! A tree takes a point in only now and then, so the loops are turned: each tree goes through all rows of a block, for long
//! stretches without a change, and stays in the cache.

mod boxes;
mod explanation;
mod line;
mod member;
pub(super) mod options;
mod points;
mod sample;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use self::boxes::larger;
use self::explanation::{Attribution, ExplanationText};
use self::member::Member;
pub use self::options::{Explanation, ForestOptions, Scoring};
use self::points::Shingles;
use self::walk::{Points, Scratch, Tables};
use super::Model;
use super::columns::{Columns, Rows};

/// Most rows that go through the trees together, and most numbers kept for them on the way (8 MB).
const BLOCK_ROWS: usize = 1024;
const BLOCK_NUMBERS: usize = 1 << 20;

/// Trees whose scores are added up before those of other trees: sums do not depend on the number of threads.
const GROUP_TREES: usize = 5;

/// Work for which a second thread is not started: rows times trees.
const SMALL_WORK: usize = 20_000;

/// A random cut forest.
#[derive(Debug, Clone)]
pub struct RandomCutForest {
    options: ForestOptions,
    columns: Columns,
    text: Option<ExplanationText>,
    tables: Arc<Tables>,
    shingles: Shingles,
    /// Points seen.
    points: u64,
    members: Vec<Member>,
}

impl RandomCutForest {
    /// A forest that has seen nothing, for rows of `schema`.
    pub fn try_new(options: ForestOptions, schema: &Schema) -> Result<Self> {
        options.check()?;
        let columns = Columns::try_new(options.function(), schema)?;
        let text = match options.explanation {
            Explanation::None => None,
            Explanation::Attribution => Some(ExplanationText::new(columns.names(), false)),
            Explanation::Directionality => Some(ExplanationText::new(columns.names(), true)),
        };
        // Casts: the options are in their ranges.
        let (sample_size, shingle_size) = (options.sample_size as usize, options.shingle_size as usize);
        let dimensions = columns.len() * shingle_size;
        let member = |tree| Member::new(dimensions, sample_size, options.time_decay as u32, options.seed, tree);
        Ok(Self {
            members: (0..options.trees as u64).map(member).collect(),
            shingles: Shingles::new(columns.len(), shingle_size),
            tables: Arc::new(Tables::new(sample_size, options.scoring)),
            points: 0,
            text,
            columns,
            options,
        })
    }

    /// Numbers kept for a row: its score, the share without direction, and for each column what is too high and too low; the
    /// score alone without an explanation.
    fn width(&self) -> usize {
        if self.text.is_some() { 2 + 2 * self.columns.len() } else { 1 }
    }

    /// Appends the numbers of each row: means over the trees times the scale, log2(subSampleSize).
    fn show(&mut self, rows: &[f64], results: &mut Vec<f64>) {
        let width = self.width();
        let incomplete = self.shingles.extend(rows);
        results.resize(results.len() + incomplete * width, 0.0);
        let count = rows.len() / self.columns.len() - incomplete;
        if count > 0 {
            let points = self.shingles.points();
            let mut partials = vec![0.0; count * width * self.members.len().div_ceil(GROUP_TREES)];
            let threads = if count * self.members.len() < SMALL_WORK { 1 } else { self.options.threads };
            let show = Show { tables: &self.tables, points, count, first: self.points, columns: self.columns.len(), width };
            show.all(&mut self.members, &mut partials, threads);
            let (sums, others) = partials.split_at_mut(count * width);
            for other in others.chunks_exact(count * width) {
                sums.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
            }
            let scale = self.tables.scale / self.members.len() as f64;
            results.extend(sums.iter().map(|sum| sum * scale));
            self.points += count as u64;
        }
        self.shingles.forget();
    }

    fn explain(&self, text: &ExplanationText, rows: &Rows, count: usize, results: &[f64]) -> ArrayRef {
        let columns = self.columns.len();
        let mut explanations = StringBuilder::with_capacity(count, count * columns * 64);
        let mut scratch = String::new();
        for row in rows.spread(count) {
            let Some(row) = row else {
                explanations.append_null();
                continue;
            };
            let (totals, directed) = results[row * self.width()..][..self.width()].split_at(2);
            let (high, low) = directed.split_at(columns);
            // Half of a column's part of the share without direction.
            let share = totals[1] / (2 * columns) as f64;
            let attributions = high.iter().zip(low).map(|(high, low)| Attribution { high: high + share, low: low + share });
            scratch.clear();
            text.write(totals[0], attributions, &mut scratch);
            explanations.append_value(&scratch);
        }
        Arc::new(explanations.finish())
    }
}

impl Model for RandomCutForest {
    fn fields(&self) -> Vec<FieldRef> {
        let mut fields = vec![Arc::new(Field::new("ANOMALY_SCORE", DataType::Float64, true))];
        if self.text.is_some() {
            fields.push(Arc::new(Field::new("ANOMALY_EXPLANATION", DataType::Utf8, true)));
        }
        fields
    }

    fn update(&mut self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let rows = self.columns.read(batch)?;
        let width = self.width();
        let mut results = Vec::with_capacity(rows.values.len() / self.columns.len() * width);
        let block_rows = (BLOCK_NUMBERS / (width * self.members.len().div_ceil(GROUP_TREES))).clamp(1, BLOCK_ROWS);
        for block in rows.values.chunks(block_rows * self.columns.len()) {
            self.show(block, &mut results);
        }
        let scores = rows.spread(batch.num_rows()).map(|row| row.map(|row| results[row * width]));
        let mut output: Vec<ArrayRef> = vec![Arc::new(scores.collect::<Float64Array>())];
        if let Some(text) = &self.text {
            output.push(self.explain(text, &rows, batch.num_rows(), &results));
        }
        Ok(output)
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(snapshot::write(self))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        snapshot::read(self, snapshot)
    }

    fn memory_size(&self) -> usize {
        size_of::<Self>() + self.tables.size() + self.shingles.size() + self.members.iter().map(Member::size).sum::<usize>()
    }

    fn growth(&self, rows: usize) -> usize {
        self.members.iter().map(|member| member.growth(rows)).sum()
    }
}

/// One block of points on its way through all trees.
#[derive(Clone, Copy)]
struct Show<'a> {
    tables: &'a Tables,
    points: Points<'a>,
    count: usize,
    /// Number of the first point.
    first: u64,
    columns: usize,
    width: usize,
}

impl Show<'_> {
    /// Each group of trees adds its results to its own part of `partials`.
    fn all(self, members: &mut [Member], partials: &mut [f64], threads: usize) {
        let mut groups: Vec<_> = members.chunks_mut(GROUP_TREES).zip(partials.chunks_mut(self.count * self.width)).collect();
        let groups_per_thread = groups.len().div_ceil(threads.max(1));
        if groups_per_thread == groups.len() {
            groups.iter_mut().for_each(|(members, partial)| self.group(members, partial));
            return;
        }
        std::thread::scope(|scope| {
            for groups in groups.chunks_mut(groups_per_thread) {
                scope.spawn(move || groups.iter_mut().for_each(|(members, partial)| self.group(members, partial)));
            }
        });
    }

    fn group(self, members: &mut [Member], partial: &mut [f64]) {
        let (mut scratch, mut line) = (Scratch::default(), None);
        for member in members {
            if self.width == 1 {
                member.show(self.points, self.count, self.first, |tree, rows| {
                    walk::find(tree, self.points, rows, &mut line, |row, leaf, depth| {
                        let point = self.points.get(row, tree.stride);
                        partial[row] += walk::score(tree, self.tables, point, leaf, depth, |_, _, _, _| {}).0;
                    });
                });
            } else {
                member.show(self.points, self.count, self.first, |tree, rows| {
                    walk::find(tree, self.points, rows, &mut line, |row, leaf, depth| {
                        let point = self.points.get(row, tree.stride);
                        let (totals, directed) = partial[row * self.width..][..self.width].split_at_mut(2);
                        let (high, low) = directed.split_at_mut(self.columns);
                        let (score, amounts) = walk::explain(tree, self.tables, point, leaf, depth, &mut scratch);
                        totals[0] += score;
                        let Some(amounts) = amounts else {
                            totals[1] += score;
                            return;
                        };
                        for row in amounts.chunks_exact(self.columns) {
                            for ((high, low), amount) in high.iter_mut().zip(low.iter_mut()).zip(row) {
                                *high += f64::from(larger(*amount, 0.0));
                                *low += f64::from(larger(-*amount, 0.0));
                            }
                        }
                    });
                });
            }
        }
    }
}
