//! Says on standard error what keeps a running job from getting on: a service that fails and is tried again and again.
//!
//! ```text
//! sink OUT is stuck: POST of https://example.com/in: 503 Service Unavailable; it is tried again until it succeeds
//! sink OUT goes on after 12.0 s
//! stopping: waiting for sink OUT, stuck for 12.0 s: POST of https://example.com/in: 503 Service Unavailable (Ctrl-C again aborts)
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use kinesql_engine::connector::Trouble;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::runtime::metrics::Metrics;

use crate::summary::time;

/// What is over sooner is no news.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two reminders of what a job that is to stop waits for.
const REMINDER: Duration = Duration::from_secs(30);

/// The connectors that do not get on: who, for how long, and why.
pub fn troubles(metrics: &Metrics, now: EventTime) -> impl Iterator<Item = (String, Duration, String)> {
    let of_sources = metrics.sources.iter().map(|source| (format!("source {}", source.name), source.trouble()));
    let of_sinks = metrics.sinks.iter().map(|sink| (format!("sink {}", sink.name), sink.trouble()));
    lasting(of_sources.chain(of_sinks), now)
}

fn lasting(
    all: impl Iterator<Item = (String, Option<Trouble>)>,
    now: EventTime,
) -> impl Iterator<Item = (String, Duration, String)> {
    all.filter_map(move |(who, trouble)| {
        let Trouble { since, reason } = trouble?;
        let lasts = Duration::from_millis(u64::try_from(now - since).unwrap_or(0));
        (lasts >= PATIENCE).then_some((who, lasts, reason))
    })
}

/// Remembers what was said.
#[derive(Debug, Default)]
pub struct Told {
    troubles: BTreeMap<String, Duration>,
    /// When it was last said what the stop waits for.
    reminded_at: Option<EventTime>,
}

impl Told {
    /// What a job waits for that is to stop, from time to time: what was read is delivered before it ends, however long that takes.
    pub fn waiting(&mut self, metrics: &Metrics, now: EventTime) -> Option<String> {
        self.remind(&mut troubles(metrics, now), now)
    }

    fn remind(&mut self, troubles: &mut dyn Iterator<Item = (String, Duration, String)>, now: EventTime) -> Option<String> {
        if self.reminded_at.is_some_and(|last| now - last < REMINDER.as_millis() as i64) {
            return None;
        }
        let waits: Vec<_> = troubles.map(|(who, lasts, reason)| format!("{who}, stuck for {}: {reason}", time(lasts))).collect();
        if waits.is_empty() {
            return None;
        }
        self.reminded_at = Some(now);
        Some(format!("stopping: waiting for {} (Ctrl-C again aborts)", waits.join("; ")))
    }

    /// What is to be said now: each trouble once, and its end.
    pub fn notes(&mut self, metrics: &Metrics, now: EventTime) -> Vec<String> {
        self.tell(troubles(metrics, now))
    }

    fn tell(&mut self, troubles: impl Iterator<Item = (String, Duration, String)>) -> Vec<String> {
        let before = std::mem::take(&mut self.troubles);
        let mut notes = Vec::new();
        for (who, lasts, reason) in troubles {
            if !before.contains_key(&who) {
                notes.push(format!("{who} is stuck: {reason}; it is tried again until it succeeds"));
            }
            self.troubles.insert(who, lasts);
        }
        let over = before.into_iter().filter(|(who, _)| !self.troubles.contains_key(who));
        notes.extend(over.map(|(who, lasted)| format!("{who} goes on after {}", time(lasted))));
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_and_so_is_its_end() {
        let mut told = Told::default();
        let mut at = |now: EventTime, since: Option<EventTime>| {
            let trouble = since.map(|since| Trouble { since, reason: "firehose:PutRecordBatch: down".to_owned() });
            told.tell(lasting([("sink OUT".to_owned(), trouble), ("source IN".to_owned(), None)].into_iter(), now))
        };
        assert_eq!(at(1_000, Some(0)), Vec::<String>::new(), "it may be over in a moment");
        let stuck = "sink OUT is stuck: firehose:PutRecordBatch: down; it is tried again until it succeeds";
        assert_eq!(at(2_000, Some(0)), [stuck]);
        assert_eq!(at(9_000, Some(0)), Vec::<String>::new());
        assert_eq!(at(9_200, None), ["sink OUT goes on after 9.0 s"]);
        assert_eq!(at(9_400, None), Vec::<String>::new());
        assert_eq!(at(20_000, Some(10_000)), [stuck]);
    }

    #[test]
    fn what_a_stop_waits_for_is_said_from_time_to_time() {
        let mut told = Told::default();
        let mut at = |now: EventTime, stuck: bool| {
            let trouble = stuck.then(|| Trouble { since: 0, reason: "firehose:PutRecordBatch: down".to_owned() });
            told.remind(&mut lasting([("sink OUT".to_owned(), trouble)].into_iter(), now), now)
        };
        assert_eq!(at(5_000, false), None);
        let waiting = "stopping: waiting for sink OUT, stuck for 12.0 s: firehose:PutRecordBatch: down (Ctrl-C again aborts)";
        assert_eq!(at(12_000, true).as_deref(), Some(waiting));
        assert_eq!(at(41_999, true), None);
        assert!(at(42_000, true).is_some_and(|text| text.contains("stuck for 42.0 s")));
    }
}
