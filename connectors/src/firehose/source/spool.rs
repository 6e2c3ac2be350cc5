//! Deliveries on disk: each is a file `00000000000000000007.delivery` with a line of JSON and the records.
//!
//! A file is complete under its name or not there: it is written under another one, synced and renamed. It is deleted when a
//! checkpoint covers it, in a job without checkpoints when the engine has taken it. A restart reads what is left, in order.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kinesql_engine::format::{RejectReason, Rejected};
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::deliveries::Delivery;
use crate::blocking::unblock;

/// A folder of deliveries.
#[derive(Debug)]
pub(super) struct Spool {
    folder: Arc<Path>,
    bytes_max: u64,
    files: Arc<Mutex<BTreeMap<u64, (String, u64)>>>,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    id: String,
    arrival: EventTime,
    /// Where each record ends, from the second line on.
    ends: Vec<u32>,
    /// Records that were too large: their first bytes in base64, and what is wrong.
    refused: Vec<(String, String)>,
}

impl Spool {
    /// Opens the folder; deliveries up to `covered` are processed.
    pub(super) async fn open(folder: PathBuf, bytes_max: u64, covered: u64) -> Result<Self> {
        let folder: Arc<Path> = folder.into();
        let place = Arc::clone(&folder);
        let files = unblock(move || {
            let list = || -> io::Result<BTreeMap<u64, (String, u64)>> {
                fs::create_dir_all(&place)?;
                let mut files = BTreeMap::new();
                for entry in fs::read_dir(&place)? {
                    let path = entry?.path();
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    match name.strip_suffix(".delivery").and_then(|number| number.parse::<u64>().ok()) {
                        Some(number) if number > covered => {
                            let content = fs::read(&path)?;
                            let (head, _) = split(&content)?;
                            files.insert(number, (head.id, content.len() as u64));
                        }
                        Some(_) => fs::remove_file(&path)?,
                        None if name.ends_with(".delivery.inprogress") => fs::remove_file(&path)?,
                        None => {}
                    }
                }
                Ok(files)
            };
            list().map_err(|error| failed(&place, error))
        });
        Ok(Self { folder, bytes_max, files: Arc::new(Mutex::new(files.await?)) })
    }

    /// Numbers and request ids of the deliveries, in order.
    pub(super) fn left(&self) -> Vec<(u64, String)> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().map(|(number, (id, _))| (*number, id.clone())).collect()
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).values().map(|(_, bytes)| bytes).sum()
    }

    fn path(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{number:020}.delivery"))
    }

    /// Fails if a delivery would be too much.
    pub(super) fn has_room_for(&self, delivery: &Delivery) -> Result<()> {
        if self.bytes() + delivery.bytes.len() as u64 <= self.bytes_max {
            return Ok(());
        }
        Err(Error::unavailable(format!("the spool '{}' is full", self.folder.display())))
    }

    /// Writes a delivery; it is on disk when this returns.
    pub(super) async fn write(&self, number: u64, delivery: &Delivery) -> Result<()> {
        let (folder, files, delivery) = (Arc::clone(&self.folder), Arc::clone(&self.files), delivery.clone());
        unblock(move || {
            use base64::Engine as _;
            let encode = |raw: &[u8]| base64::engine::general_purpose::STANDARD.encode(raw);
            let refused = delivery.rejected.iter().map(|record| (encode(&record.raw), record.message.clone())).collect();
            let head = Head { id: delivery.id.clone(), arrival: delivery.arrival, ends: delivery.ends.clone(), refused };
            let mut content =
                serde_json::to_vec(&head).map_err(|error| Error::internal("a delivery is no JSON").with_cause(error))?;
            content.push(b'\n');
            content.extend_from_slice(&delivery.bytes);
            let path = Self::path(&folder, number);
            let staged = path.with_extension("delivery.inprogress");
            let write = || -> io::Result<()> {
                let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&staged)?;
                file.write_all(&content)?;
                file.sync_data()?;
                fs::rename(&staged, &path)?;
                if cfg!(unix) { File::open(&folder)?.sync_all() } else { Ok(()) }
            };
            write().map_err(|error| failed(&folder, error))?;
            files.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (delivery.id, content.len() as u64));
            Ok(())
        })
        .await
    }

    /// Reads a delivery.
    pub(super) async fn read(&self, number: u64) -> Result<Delivery> {
        let folder = Arc::clone(&self.folder);
        unblock(move || {
            let content = fs::read(Self::path(&folder, number)).map_err(|error| failed(&folder, error))?;
            let (head, start) = split(&content).map_err(|error| failed(&folder, error))?;
            let rejected = head.refused.into_iter().map(|(raw, message)| {
                use base64::Engine as _;
                let raw = base64::engine::general_purpose::STANDARD.decode(raw).unwrap_or_default();
                Rejected { raw, position: 0, reason: RejectReason::TooLarge, message }
            });
            let (rejected, bytes) = (rejected.collect(), Bytes::from(content).slice(start..));
            Ok(Delivery { id: head.id, arrival: head.arrival, bytes, ends: head.ends, rejected })
        })
        .await
    }

    /// Deletes the deliveries up to `number`, in the background: one that stays is deleted by the next run.
    pub(super) fn forget(&self, number: u64) {
        let gone: Vec<u64> = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = files.split_off(&(number + 1));
            std::mem::replace(&mut *files, kept).into_keys().collect()
        };
        if gone.is_empty() {
            return;
        }
        let folder = Arc::clone(&self.folder);
        tokio::task::spawn_blocking(move || {
            for number in gone {
                let _ = fs::remove_file(Self::path(&folder, number));
            }
        });
    }
}

/// The first line and where the records begin.
fn split(content: &[u8]) -> io::Result<(Head, usize)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a delivery in it is damaged");
    let end = memchr::memchr(b'\n', content).ok_or_else(damaged)?;
    let head = serde_json::from_slice(&content[..end]).map_err(|_| damaged())?;
    Ok((head, end + 1))
}

fn failed(folder: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => ErrorKind::Config,
        io::ErrorKind::InvalidData => ErrorKind::State,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot use the spool '{}': {error}", folder.display())).with_cause(error)
}
