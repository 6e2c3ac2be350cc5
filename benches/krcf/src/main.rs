//! Scores and learns the rows of a file with the krcf crate: `krcf-bench FILE COLUMNS SHINGLE_SIZE`.
//!
//! Rows of little-endian f32; 100 trees, 256 samples, time decay 100,000, one thread, as the other side of the comparison.

use krcf::{RandomCutForest, RandomCutForestOptions};

/// The same allocator as the other side's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, columns, shingle_size] = arguments.as_slice() else {
        return Err("usage: krcf-bench FILE COLUMNS SHINGLE_SIZE".into());
    };
    let (columns, shingle_size): (usize, usize) = (columns.parse()?, shingle_size.parse()?);
    let values: Vec<f32> = std::fs::read(file)?.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let failed = |error| format!("{error:?}");
    let mut forest = RandomCutForest::new(RandomCutForestOptions {
        dimensions: columns,
        shingle_size,
        num_trees: Some(100),
        sample_size: Some(256),
        output_after: Some(256),
        random_seed: Some(1),
        parallel_execution_enabled: Some(false),
        lambda: Some(1.0 / 100_000.0),
        // A score takes the next row alone and the forest remembers those before it.
        internal_shingling: Some(true),
        ..Default::default()
    })
    .map_err(failed)?;
    let mut above = 0;
    for row in values.chunks(columns) {
        above += usize::from(forest.score(row).map_err(failed)? > 1.0);
        forest.update(row).map_err(failed)?;
    }
    if above == 0 {
        return Err("no row scores above 1".into());
    }
    Ok(())
}
