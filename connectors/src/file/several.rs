//! Reads the files of a folder or a pattern one after the other: one split, in the order of their names.
//!
//! An offset names the file that is being read. A restart goes on there, then with the files whose names come after it: also
//! those that were not there before.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use kinesql_engine::connector::{Offset, Records};
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::blocking::{BlockingReader, Step};

/// Name of the split.
pub(super) const SPLIT: &str = "files";

/// A place in one of the files.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    /// The file's name, without its folder.
    file: String,
    /// The place in it.
    at: Offset,
}

/// Opens a file at an offset, or at its beginning.
type Open<R> = Box<dyn FnMut(&Path, Option<&Offset>) -> Result<R> + Send>;

/// Reads several files, each with a reader of its own.
pub(super) struct Several<R> {
    open: Open<R>,
    name: String,
    reader: R,
    /// The files after that.
    rest: VecDeque<PathBuf>,
}

impl<R: BlockingReader> Several<R> {
    /// Begins with the first of `files`, which are in the order of their names, or goes on at `offset`; `path` is for messages.
    pub(super) fn start(path: &Path, files: Vec<PathBuf>, offset: Option<&Offset>, mut open: Open<R>) -> Result<Self> {
        let mut rest = VecDeque::from(files);
        let Some(offset) = offset else {
            let first = rest.pop_front().ok_or_else(|| Error::internal("a folder without files was opened"))?;
            return Ok(Self { reader: open(&first, None)?, name: name(&first), open, rest });
        };
        let cannot = |why: &str| Error::state(format!("cannot resume reading '{}': {why}", path.display()));
        let place: Place = serde_json::from_value(offset.0.clone())
            .map_err(|error| cannot("at the checkpoint it was read in another way").with_cause(error))?;
        while let Some(file) = rest.pop_front() {
            if name(&file) == place.file {
                return Ok(Self { reader: open(&file, Some(&place.at))?, name: place.file, open, rest });
            }
        }
        Err(cannot(&format!("file '{}', in which the checkpoint was taken, is gone", place.file))
            .with_hint("Put the file back, or start the job without its checkpoint."))
    }

    fn place(&self, at: Offset) -> Offset {
        Offset(serde_json::json!({ "file": self.name, "at": at.0 }))
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl<R: BlockingReader> BlockingReader for Several<R> {
    fn step(&mut self) -> Result<Step> {
        loop {
            match self.reader.step()? {
                Step::Records(records) => {
                    let offset = self.place(records.offset.clone());
                    return Ok(Step::Records(Records { offset, ..records }));
                }
                Step::Rows { rows, origin, before, offset } => {
                    return Ok(Step::Rows { rows, origin, before: self.place(before), offset: self.place(offset) });
                }
                Step::Idle => return Ok(Step::Idle),
                Step::End(at) => match self.rest.pop_front() {
                    Some(next) => {
                        self.reader = (self.open)(&next, None)?;
                        self.name = name(&next);
                    }
                    None => return Ok(Step::End(self.place(at))),
                },
            }
        }
    }
}
