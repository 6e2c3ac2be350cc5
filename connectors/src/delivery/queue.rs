//! Records that wait to be sent: which of them may leave now, and how they are gathered into requests.
//!
//! Plain order takes them as they come. By key, each key has a lane; with `exclusive` a lane gives one record and waits for
//! its acknowledgement, so that its records arrive in order whatever fails.

use std::collections::{HashMap, VecDeque};

use kinesql_engine::runtime::clock::EventTime;

use super::{Limits, Record};

/// In which order records leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they come.
    Plain,
    /// Keys take turns; of one key as they come.
    Keys,
    /// As `Keys`, and the next record of a key waits until the one before is acknowledged.
    ExclusiveKeys,
}

/// Puts a row into a record that still waits, if the service can take several rows as one record.
pub(crate) trait Pack: Send + Sync + std::fmt::Debug {
    /// Appends `row` to `record` and adjusts its cost; gives the row back if the two do not fit together.
    fn pack(&self, record: &mut Record, row: Record) -> Option<Record>;
}

/// Records that wait.
#[derive(Debug)]
pub(super) struct Queue {
    order: Order,
    plain: VecDeque<Record>,
    lanes: HashMap<Box<str>, Lane>,
    /// Keys that have a record to send, the one that has waited longest first.
    ready: VecDeque<Box<str>>,
    records: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Lane {
    records: VecDeque<Record>,
    /// A record of it is sent or is to be sent again (`Order::ExclusiveKeys`).
    busy: bool,
}

impl Queue {
    pub(super) fn new(order: Order) -> Self {
        Self { order, plain: VecDeque::new(), lanes: HashMap::new(), ready: VecDeque::new(), records: 0, bytes: 0 }
    }

    /// Adds a record behind the others, or to the last one that waits.
    pub(super) fn push(&mut self, record: Record, pack: Option<&dyn Pack>) {
        let queue = match self.order {
            Order::Plain => &mut self.plain,
            Order::Keys | Order::ExclusiveKeys => {
                let lane = match self.lanes.get_mut(&record.key) {
                    Some(lane) => lane,
                    None => self.lanes.entry(record.key.clone()).or_default(),
                };
                if lane.records.is_empty() && !lane.busy {
                    self.ready.push_back(record.key.clone());
                }
                &mut lane.records
            }
        };
        let record = match (pack, queue.back_mut()) {
            // What was sent before is sent as it was.
            (Some(pack), Some(last)) if last.failures == 0 => {
                let before = last.cost;
                let left = pack.pack(last, record);
                self.bytes += last.cost - before;
                left
            }
            _ => Some(record),
        };
        if let Some(record) = record {
            self.bytes += record.cost;
            self.records += 1;
            queue.push_back(record);
        }
    }

    /// Adds a record ahead of the others, to be sent again. With `Order::ExclusiveKeys` its key was busy since it was sent.
    pub(super) fn put_back(&mut self, record: Record) {
        self.bytes += record.cost;
        self.records += 1;
        if self.order == Order::Plain {
            self.plain.push_front(record);
            return;
        }
        let key = record.key.clone();
        let lane = self.lanes.entry(key.clone()).or_default();
        let was_ready = !lane.records.is_empty() && !lane.busy;
        lane.records.push_front(record);
        lane.busy = false;
        if !was_ready {
            self.ready.push_front(key);
        }
    }

    /// A record of `key` was acknowledged or given up: the next one may leave.
    pub(super) fn release(&mut self, key: &str) {
        if self.order != Order::ExclusiveKeys {
            return;
        }
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.busy = false;
        if lane.records.is_empty() {
            self.lanes.remove(key);
        } else {
            self.ready.push_back(key.into());
        }
    }

    /// The record that would leave first.
    fn first(&self) -> Option<&Record> {
        match self.order {
            Order::Plain => self.plain.front(),
            Order::Keys | Order::ExclusiveKeys => self.lanes.get(self.ready.front()?)?.records.front(),
        }
    }

    /// When the next request is due: a full one at once, and one with a record before `flush_through` or a failed one; others
    /// when their first record has waited for the linger. None if nothing can be sent.
    pub(super) fn due(&self, limits: &Limits, flush_through: u64) -> Option<EventTime> {
        let first = self.first()?;
        let records = if self.order == Order::ExclusiveKeys { self.ready.len() } else { self.records };
        let at_once =
            first.failures > 0 || first.sequence < flush_through || records >= limits.records || self.bytes >= limits.bytes;
        if at_once {
            return Some(EventTime::MIN);
        }
        // Without linger a request leaves with the next flush; a job that is busy flushes late.
        Some(first.since.saturating_add(limits.linger.as_millis().max(1) as i64))
    }

    /// The records of the next request.
    pub(super) fn take(&mut self, limits: &Limits) -> Vec<Record> {
        let mut taken: Vec<Record> = Vec::new();
        let mut bytes = 0;
        while taken.len() < limits.records {
            // A record that is larger than a request goes alone; the service has the last word.
            if !self.first().is_some_and(|first| taken.is_empty() || bytes + first.cost <= limits.bytes) {
                break;
            }
            let Some(record) = self.pop() else { break };
            bytes += record.cost;
            taken.push(record);
        }
        taken
    }

    fn pop(&mut self) -> Option<Record> {
        let record = match self.order {
            Order::Plain => self.plain.pop_front()?,
            Order::Keys | Order::ExclusiveKeys => {
                let key = self.ready.pop_front()?;
                let lane = self.lanes.get_mut(&key)?;
                let record = lane.records.pop_front()?;
                if self.order == Order::ExclusiveKeys {
                    lane.busy = true;
                } else if lane.records.is_empty() {
                    self.lanes.remove(&key);
                } else {
                    self.ready.push_back(key);
                }
                record
            }
        };
        self.bytes -= record.cost;
        self.records -= 1;
        Some(record)
    }
}
