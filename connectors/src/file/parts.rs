//! Writes a folder of files, one per checkpoint that had rows: `part-0000000001.jsonl`, `part-0000000002.jsonl`, ….
//!
//! | Step | File |
//! | --- | --- |
//! | rows arrive | `.part-next.jsonl.inprogress` is created and written |
//! | prepare 7 | it is closed, made durable and renamed to `.part-0000000007.jsonl.inprogress` |
//! | commit 7 | renamed to `part-0000000007.jsonl` |
//!
//! A restart renames what its checkpoint had prepared and deletes all other hidden files and every later part: a reader
//! that leaves hidden files out sees each row exactly once, and no file ever changes once it is visible.
//! A job without checkpoints writes one part, visible when the job ends. The folder belongs to one sink.

use std::path::{Path, PathBuf};
use std::{fs, io};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{SinkState, SinkWriter};
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use super::file_error;
use super::output::{Begin, OutputFile, OutputFormat, sync_folder};
use crate::blocking::unblock;

const STAGED: &str = ".inprogress";

/// What a checkpoint keeps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct PartsState {
    /// Number of the newest part that belongs to the checkpoint; its epoch is this minus `base`.
    number: u64,
    /// Parts up to this number were there before the job first started.
    base: u64,
    /// Names of parts that are complete but perhaps not visible.
    pending: Vec<String>,
}

/// Writes a folder of files.
pub(super) struct Parts {
    folder: PathBuf,
    format: OutputFormat,
    state: PartsState,
    /// Epochs of `state.pending`.
    pending_epochs: Vec<Epoch>,
    current: Option<OutputFile>,
    /// Bytes of complete parts.
    bytes: u64,
}

impl Parts {
    /// Opens the folder; `append` keeps the parts that are there on a first start.
    pub(super) async fn open(folder: PathBuf, format: OutputFormat, append: bool, state: Option<&SinkState>) -> Result<Self> {
        let restored = match state {
            Some(SinkState(state)) => {
                let wrong = || Error::state(format!("the checkpoint holds no parts of folder '{}'", folder.display()));
                Some(serde_json::from_value(state.clone()).map_err(|error| wrong().with_cause(error))?)
            }
            None => None,
        };
        let place = folder.clone();
        let state = unblock(move || {
            fs::create_dir_all(&place).map_err(|error| file_error("create folder", &place, error))?;
            match restored {
                Some(state) => restore(&place, state),
                None => start(&place, append),
            }
        })
        .await?;
        Ok(Self { folder, format, state, pending_epochs: Vec::new(), current: None, bytes: 0 })
    }

    fn part_name(&self, number: u64) -> String {
        format!("part-{number:010}{}", self.format.extension())
    }

    fn next_path(&self) -> PathBuf {
        self.folder.join(format!(".part-next{}{STAGED}", self.format.extension()))
    }

    /// Completes the current part under this name.
    async fn complete(&mut self, name: &str) -> Result<bool> {
        let Some(mut part) = self.current.take() else { return Ok(false) };
        self.bytes += part.seal().await?;
        drop(part);
        rename(vec![(self.next_path(), self.folder.join(name))]).await?;
        Ok(true)
    }
}

async fn rename(names: Vec<(PathBuf, PathBuf)>) -> Result<()> {
    unblock(move || {
        for (from, to) in &names {
            fs::rename(from, to).map_err(|error| file_error("write", to, error))?;
        }
        names.first().map_or(Ok(()), |(_, to)| sync_folder(to))
    })
    .await
}

#[async_trait]
impl SinkWriter for Parts {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.current.is_none() {
            self.current = Some(OutputFile::open(self.next_path(), &self.format, Begin::Empty).await?);
        }
        match &mut self.current {
            Some(part) => part.write(batch).await,
            None => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        // Rows become visible with their part only.
        Ok(())
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<SinkState> {
        let number = self.state.base + epoch;
        let name = self.part_name(number);
        if self.complete(&staged(&name)).await? {
            self.state.pending.push(name);
            self.pending_epochs.push(epoch);
        }
        self.state.number = number;
        let PartsState { number, base, pending } = &self.state;
        Ok(SinkState(serde_json::json!({ "number": number, "base": base, "pending": pending })))
    }

    async fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let committed = self.pending_epochs.iter().take_while(|pending| **pending <= epoch).count();
        let path = |name: &String| (self.folder.join(staged(name)), self.folder.join(name));
        rename(self.state.pending[..committed].iter().map(path).collect()).await?;
        self.state.pending.drain(..committed);
        self.pending_epochs.drain(..committed);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let name = self.part_name(self.state.number + 1);
        self.complete(&name).await?;
        Ok(())
    }

    fn bytes_written(&self) -> u64 {
        self.bytes + self.current.as_ref().map_or(0, OutputFile::length)
    }
}

fn staged(name: &str) -> String {
    format!(".{name}{STAGED}")
}

/// The number in a part's name.
fn part_number(name: &str) -> Option<u64> {
    let (digits, _) = name.strip_prefix("part-")?.split_once('.')?;
    if digits.len() >= 10 && digits.bytes().all(|digit| digit.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// First start: removes what an earlier job left, or counts on from its parts.
fn start(folder: &Path, append: bool) -> Result<PartsState> {
    let mut last = 0;
    for (name, number) in own_files(folder)? {
        match number {
            Some(number) if append => last = last.max(number),
            _ => remove(&folder.join(name))?,
        }
    }
    Ok(PartsState { number: last, base: last, pending: Vec::new() })
}

/// After a restart: completes what the checkpoint had prepared, removes what came after it.
fn restore(folder: &Path, state: PartsState) -> Result<PartsState> {
    for name in &state.pending {
        let (from, to) = (folder.join(staged(name)), folder.join(name));
        if part_number(name).is_none() || (!to.exists() && !from.exists()) {
            return Err(Error::state(format!("cannot resume writing '{}': part '{name}' is gone", folder.display()))
                .with_hint("Put the file back, or start the job without its checkpoint."));
        }
        if from.exists() {
            fs::rename(&from, &to).map_err(|error| file_error("write", &to, error))?;
        }
    }
    for (name, number) in own_files(folder)? {
        if number.is_none_or(|number| number > state.number) {
            remove(&folder.join(name))?;
        }
    }
    sync_folder(&folder.join("part"))?;
    Ok(PartsState { pending: Vec::new(), ..state })
}

/// Parts with their numbers, and staged files.
fn own_files(folder: &Path) -> Result<Vec<(String, Option<u64>)>> {
    let list = || -> io::Result<Vec<_>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let number = part_number(&name);
            if number.is_some() || (name.starts_with(".part-") && name.ends_with(STAGED)) {
                found.push((name, number));
            }
        }
        Ok(found)
    };
    list().map_err(|error| file_error("list", folder, error))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| file_error("remove", path, error))
}
