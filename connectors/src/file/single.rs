//! Writes one file.
//!
//! Text is written in place. A checkpoint saves the file's length, and a restart cuts the file there: exactly-once,
//! though a reader in between may see rows that are cut off and written again.
//! Parquet has its directory at the end, so such a file is staged beside its place and renamed when the job ends; with
//! checkpoints it would have to be cut, so `sink` refuses that.

use std::fs;
use std::path::PathBuf;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{SinkState, SinkWriter};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use super::file_error;
use super::output::{Begin, OutputFile, OutputFormat, sync_folder};
use crate::blocking::unblock;

/// What a checkpoint keeps.
#[derive(Debug, Serialize, Deserialize)]
struct SingleState {
    /// Length of the file in bytes.
    length: u64,
}

/// Writes one file.
pub(super) struct SingleFile {
    output: OutputFile,
    /// Length when it was opened.
    opened_length: u64,
    /// From where to where the file is renamed when it is complete.
    rename: Option<(PathBuf, PathBuf)>,
}

impl SingleFile {
    /// Opens the file; `append` keeps what is there on a first start.
    pub(super) async fn open(path: PathBuf, format: &OutputFormat, append: bool, state: Option<&SinkState>) -> Result<Self> {
        let begin = match state {
            Some(SinkState(state)) => {
                let wrong = || Error::state(format!("the checkpoint holds no length of file '{}'", path.display()));
                let state: SingleState = serde_json::from_value(state.clone()).map_err(|error| wrong().with_cause(error))?;
                Begin::At(state.length)
            }
            None if append => Begin::Append,
            None => Begin::Empty,
        };
        let (written, rename) = if format.spec == FormatSpec::Parquet {
            // Renaming would replace a device by a file.
            if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
                return Err(Error::config(format!("cannot write '{}': it is not a regular file", path.display())));
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let staged = path.with_file_name(format!(".{name}.inprogress"));
            (staged.clone(), Some((staged, path)))
        } else {
            (path, None)
        };
        let output = OutputFile::open(written, format, begin).await?;
        Ok(Self { opened_length: output.length(), output, rename })
    }
}

#[async_trait]
impl SinkWriter for SingleFile {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.output.write(batch).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.output.flush().await
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
        let length = self.output.seal().await?;
        Ok(SinkState(serde_json::json!({ "length": length })))
    }

    async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.output.seal().await?;
        let Some((staged, path)) = self.rename.take() else { return Ok(()) };
        unblock(move || {
            fs::rename(&staged, &path).map_err(|error| file_error("write", &path, error))?;
            sync_folder(&path)
        })
        .await
    }

    fn bytes_written(&self) -> u64 {
        self.output.length().saturating_sub(self.opened_length)
    }
}
