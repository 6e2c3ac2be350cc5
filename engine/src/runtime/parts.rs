//! The parts (shards) of a split: how far each has come, and which of them hold the split's watermark back.
//!
//! A part counts from the watermark that the split has when it is opened, so no part is ever behind it: the slowest part that is
//! not idle is where the split stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::clock::EventTime;

/// The open parts of a split.
#[derive(Debug, Default)]
pub struct Parts {
    by_name: BTreeMap<Arc<str>, Part>,
}

/// An open part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Greatest ROWTIME that counts for it; [`EventTime::MIN`] before the first.
    pub time: EventTime,
    /// True while it is silent: nobody waits for it.
    pub idle: bool,
    /// When it last had a row, or was opened.
    last_row: EventTime,
}

impl Parts {
    /// The parts of an earlier run, none of them idle.
    pub fn restored(saved: &BTreeMap<String, Option<EventTime>>, now: EventTime) -> Self {
        let part = |time: &Option<EventTime>| Part { time: time.unwrap_or(EventTime::MIN), idle: false, last_row: now };
        Self { by_name: saved.iter().map(|(name, time)| (name.as_str().into(), part(time))).collect() }
    }

    /// What a restart needs.
    pub fn saved(&self) -> BTreeMap<String, Option<EventTime>> {
        let time = |part: &Part| Some(part.time).filter(|time| *time != EventTime::MIN);
        self.by_name.iter().map(|(name, part)| (name.to_string(), time(part))).collect()
    }

    /// The open parts are these from now on; new ones count from `time`.
    pub fn set_open(&mut self, open: &[Arc<str>], time: EventTime, now: EventTime) {
        self.by_name.retain(|name, _| open.contains(name));
        for name in open {
            self.by_name.entry(name.clone()).or_insert(Part { time, idle: false, last_row: now });
        }
    }

    /// Rows of a part have come. It is open and not idle from now on, and counts from `time` at least.
    pub fn touch(&mut self, name: &Arc<str>, time: EventTime, now: EventTime) {
        let part = self.by_name.entry(name.clone()).or_insert(Part { time, idle: false, last_row: now });
        *part = Part { time: part.time.max(time), idle: false, last_row: now };
    }

    /// Every part is known to have no row before `time`: none is idle.
    pub fn touch_all(&mut self, time: EventTime, now: EventTime) {
        for part in self.by_name.values_mut() {
            *part = Part { time: part.time.max(time), idle: false, last_row: now };
        }
    }

    /// Raises the parts that are behind `time`, idle or not.
    pub fn raise(&mut self, time: EventTime) {
        self.by_name.values_mut().for_each(|part| part.time = part.time.max(time));
    }

    /// Raises one part.
    pub fn advance(&mut self, name: &str, time: EventTime) {
        if let Some(part) = self.by_name.get_mut(name) {
            part.time = part.time.max(time);
        }
    }

    /// How far a part has come.
    pub fn time(&self, name: &str) -> Option<EventTime> {
        self.by_name.get(name).map(|part| part.time)
    }

    /// How far the slowest part has come that is not idle; None if there is none.
    pub fn slowest(&self) -> Option<EventTime> {
        self.by_name.values().filter(|part| !part.idle).map(|part| part.time).min()
    }

    /// The slowest part besides `name` that is not idle; None if there is none.
    pub fn slowest_besides(&self, name: &str) -> Option<EventTime> {
        let others = self.by_name.iter().filter(|(other, part)| !part.idle && &***other != name);
        others.map(|(_, part)| part.time).min()
    }

    /// Parts that had no row for `timeout` are idle.
    pub fn expire(&mut self, timeout: Duration, now: EventTime) {
        let expired = |part: &Part| now >= due(part, timeout);
        self.by_name.values_mut().filter(|part| expired(part)).for_each(|part| part.idle = true);
    }

    /// When the next part becomes idle.
    pub fn next_expiry(&self, timeout: Duration) -> Option<EventTime> {
        self.by_name.values().filter(|part| !part.idle).map(|part| due(part, timeout)).min()
    }

    /// The open parts by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Part)> {
        self.by_name.iter()
    }
}

fn due(part: &Part, timeout: Duration) -> EventTime {
    part.last_row.saturating_add(timeout.as_millis() as i64)
}
