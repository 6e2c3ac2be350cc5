//! Which objects were read: the offset of a split.
//!
//! Objects are read in the order of their keys. A writer may still make one appear with a key before the last that was read,
//! as Firehose does, whose keys carry the time at which an object was begun. So not one key is remembered but those of all
//! objects that are not much older than the newest, and behind them the *floor*: what sorts before it is never looked at again.
//!
//! ```text
//! key order:   a b c d │ e f   h i      g appears: it is behind the floor and not among {e, f, h, i}, so it is read
//!                    floor  done
//! ```
//!
//! The floor moves up to a key once the object there, and every one before it, is older than the newest by the late window:
//! an object is missed only if it appears that long after one with a greater key.

use std::collections::{BTreeMap, VecDeque};

use kinesql_engine::connector::Offset;
use kinesql_engine::{Error, Result};
use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// So many keys are remembered at most; beyond, the floor rises whatever their age.
const DONE_MAX: usize = 10_000;

/// What was read of a split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Keys up to this one are done.
    pub(super) floor: Option<String>,
    /// Keys behind the floor that are done, with the time of their last change in milliseconds.
    pub(super) done: BTreeMap<String, i64>,
    /// The latest change of any object that is done.
    pub(super) newest: i64,
    /// The object that is being read.
    pub(super) current: Option<Current>,
}

/// How far an object was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Current {
    /// Its key.
    pub(super) key: String,
    /// Its ETag when it was opened.
    pub(super) etag: Option<String>,
    /// Time of its last change, in milliseconds.
    pub(super) modified: i64,
    /// Bytes of its content, or rows if it is Parquet.
    pub(super) position: u64,
    /// Its JSON documents do not end with lines.
    pub(super) documents: bool,
}

impl Progress {
    /// Reads an offset.
    pub(super) fn restore(offset: &Offset, url: &str) -> Result<Self> {
        serde_json::from_value(offset.0.clone())
            .map_err(|error| Error::state(format!("the checkpoint holds no offset for '{url}'")).with_cause(error))
    }

    /// The offset.
    pub(super) fn save(&self) -> Offset {
        let Self { floor, done, newest, current } = self;
        Offset(json!({ "floor": floor, "done": done, "newest": newest, "current": current }))
    }

    /// Of a listing behind the floor, what is to be read, in key order.
    pub(super) fn new_objects(&self, mut listed: Vec<ObjectMeta>) -> VecDeque<ObjectMeta> {
        let done = |meta: &ObjectMeta| {
            let key = meta.location.as_ref();
            self.done.contains_key(key) || self.floor.as_deref().is_some_and(|floor| key <= floor)
        };
        listed.retain(|meta| !done(meta));
        listed.sort_by(|one, other| one.location.as_ref().cmp(other.location.as_ref()));
        listed.into()
    }

    /// The current object is read to its end.
    pub(super) fn finish(&mut self, late_window_ms: i64) {
        let Some(Current { key, modified, .. }) = self.current.take() else { return };
        self.newest = self.newest.max(modified);
        self.done.insert(key, modified);
        while let Some(first) = self.done.first_entry() {
            let settled = first.get().saturating_add(late_window_ms) < self.newest;
            if !settled && self.done.len() <= DONE_MAX {
                break;
            }
            self.floor = self.done.pop_first().map(|(key, _)| key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(progress: &mut Progress, key: &str, modified: i64) {
        progress.current = Some(Current { key: key.to_owned(), etag: None, modified, position: 0, documents: false });
        progress.finish(100);
    }

    fn meta(key: &str) -> ObjectMeta {
        ObjectMeta { location: key.into(), last_modified: Default::default(), size: 1, e_tag: None, version: None }
    }

    fn new(progress: &Progress, keys: &[&str]) -> Vec<String> {
        progress.new_objects(keys.iter().map(|key| meta(key)).collect()).iter().map(|meta| meta.location.to_string()).collect()
    }

    #[test]
    fn an_object_that_appears_late_within_the_window_is_read() {
        let mut progress = Progress::default();
        for (key, modified) in [("a", 0), ("b", 10), ("d", 90)] {
            read(&mut progress, key, modified);
        }
        assert_eq!(progress.floor, None);
        assert_eq!(new(&progress, &["e", "a", "c", "b", "d"]), ["c", "e"], "in key order, done ones left out");
        read(&mut progress, "c", 95);
        read(&mut progress, "e", 111);
        assert_eq!(progress.floor.as_deref(), Some("b"), "a and b are older than e by more than 100");
        assert_eq!(new(&progress, &["a", "aa", "bb", "c"]), ["bb"]);
    }

    #[test]
    fn an_old_object_behind_a_young_one_waits_for_it() {
        let mut progress = Progress::default();
        for (key, modified) in [("a", 1_000), ("b", 0), ("c", 1_050)] {
            read(&mut progress, key, modified);
        }
        assert_eq!((progress.floor.as_deref(), progress.done.len()), (None, 3));
    }

    #[test]
    fn an_offset_goes_through_json() {
        let mut progress = Progress::default();
        read(&mut progress, "a", 5);
        progress.current =
            Some(Current { key: "b".to_owned(), etag: Some("x".to_owned()), modified: 7, position: 9, documents: true });
        assert_eq!(Progress::restore(&progress.save(), "s3://b/").expect("saved"), progress);
        assert!(Progress::restore(&Offset(json!("?")), "s3://b/").is_err());
    }
}
