//! Reads what a source holds, once and as a whole.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::catalog::SourceEntry;
use crate::connector::{Payload, Read, SourceContext};
use crate::error::{Error, Result};
use crate::format;
use crate::runtime::clock::Clock;

/// How often a source that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// One version of a table.
#[derive(Debug)]
pub struct Contents {
    /// Its rows.
    pub batches: Vec<RecordBatch>,
    /// What the source calls it.
    pub version: Option<String>,
    /// Records that became no row.
    pub refused: usize,
    /// What is wrong with the first of them.
    pub first_refused: Option<String>,
}

/// Reads the rows, of `schema`, and the version they are of.
pub(super) async fn read(entry: &SourceEntry, schema: &SchemaRef, clock: &Arc<dyn Clock>) -> Result<Contents> {
    let mut version = entry.source.version().await?;
    for _ in 0..ATTEMPTS {
        let contents = read_once(entry, schema, clock).await?;
        let now = entry.source.version().await?;
        if now == version {
            return Ok(Contents { version, ..contents });
        }
        // It changed meanwhile: the rows may be of both versions.
        version = now;
    }
    Err(Error::unavailable(format!("the data changed {ATTEMPTS} times while it was read")))
}

async fn read_once(entry: &SourceEntry, schema: &SchemaRef, clock: &Arc<dyn Clock>) -> Result<Contents> {
    let mut contents = Contents { batches: Vec::new(), version: None, refused: 0, first_refused: None };
    let context = SourceContext::new(clock.clone(), entry.format.clone());
    for split in entry.source.splits(1).await? {
        let mut reader = entry.source.open(&split, None, &context).await?;
        let mut decoder = match entry.source.payload() {
            Payload::Bytes => Some(format::decoder(&entry.format, entry.columns.clone())?),
            Payload::Batches(_) => None,
        };
        loop {
            match reader.next().await? {
                Read::Records(mut records) => {
                    let mut refused = std::mem::take(&mut records.rejected);
                    if let Some(decoder) = &mut decoder {
                        contents.batches.push(records.decode(decoder.as_mut(), None, &mut refused)?);
                    }
                    contents.refused += refused.len();
                    if let (None, Some(first)) = (&contents.first_refused, refused.first()) {
                        let place = records.position + first.position;
                        contents.first_refused = Some(format!("{}, byte {place}: {}", records.origin, first.message));
                    }
                }
                Read::Batch { batch, .. } => {
                    let indices = schema.fields().iter().map(|field| batch.schema_ref().index_of(field.name()));
                    let rows = batch.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
                    contents.batches.push(rows.with_schema(schema.clone())?);
                }
                Read::Watermark { .. } | Read::Parts { .. } => {}
                Read::End { .. } => break,
            }
        }
    }
    Ok(contents)
}
