//! Places in shards, and the offset of a lane: what a checkpoint holds.
//!
//! ```json
//! {"since": {"latest": 1700000000000},
//!  "shards": {"shardId-000000000002": {"after": "4954…"}, "shardId-000000000003": {"after": "4955…", "sub": 12}},
//!  "finished": ["shardId-000000000000"],
//!  "left": {"shardId-000000000001": {"after": "4953…"}},
//!  "read_until": {"shardId-000000000002": 1700000000123}}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinesql_engine::connector::Offset;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// A shard's id.
pub(crate) type ShardId = Arc<str>;

/// Where to go on reading a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Position {
    /// Behind the newest record, as of this time. Once the time is past it means the first record since then.
    Latest(EventTime),
    /// At the oldest record.
    TrimHorizon,
    /// At the first record that the service received at this time or later.
    Timestamp(EventTime),
    /// Behind this record.
    #[serde(untagged)]
    After {
        /// Its sequence number.
        after: Arc<str>,
        /// If it is an aggregated record of which only a part was handed over: the last sub-record of that part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<u64>,
    },
}

impl Position {
    /// Behind the whole record with this sequence number.
    pub(crate) fn after(sequence: &str) -> Self {
        Position::After { after: sequence.into(), sub: None }
    }

    /// The one of two places in a shard that is further on; this one if they cannot be compared.
    pub(crate) fn or_further(self, other: Self) -> Self {
        match (&self, &other) {
            (Position::After { after, sub: own_sub }, Position::After { after: other_after, sub: other_sub }) => {
                // Behind the whole record is behind all of its parts.
                let sub = |sub: &Option<u64>| sub.unwrap_or(u64::MAX);
                let is_further = (as_number(other_after), sub(other_sub)) > (as_number(after), sub(own_sub));
                if is_further { other } else { self }
            }
            (_, Position::After { .. }) => other,
            _ => self,
        }
    }

    /// Where to read if the service says that the time of this place has not come yet: its clock is behind that of the process
    /// that noted the time, and what comes from now on is all that can be missing.
    pub(crate) fn not_yet(&self) -> Self {
        match self {
            Position::Timestamp(time) => Position::Latest(*time),
            other => other.clone(),
        }
    }

    /// The same place for a call that is not the first one: records may have come since LATEST was.
    pub(crate) fn again(&self) -> Self {
        match self {
            Position::Latest(since) => Position::Timestamp(*since),
            other => other.clone(),
        }
    }
}

/// A sequence number, which may have 128 digits, in a form that compares as numbers do.
pub(crate) fn as_number(sequence: &str) -> (usize, &str) {
    let digits = sequence.trim_start_matches('0');
    (digits.len(), digits)
}

/// The offset of a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LaneOffset {
    /// Where the job started: shards that no lane knows are read from there.
    pub(crate) since: Position,
    /// The shards being read, and those that wait for their parents.
    pub(crate) shards: BTreeMap<ShardId, Position>,
    /// Shards that were read to their ends and that the stream still lists.
    pub(crate) finished: BTreeSet<ShardId>,
    /// Shards, with a place, that are not read any further because another process asks for them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) parked: BTreeSet<ShardId>,
    /// Shards that are another process's, with the places up to which this one has read them: what came before is in its state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) left: BTreeMap<ShardId, Position>,
    /// Up to when all that came to a shard was read, where that is known: the arrival time of its last record, or when there was
    /// nothing left to read, noted every [`READ_UNTIL_INTERVAL`](super::limits::READ_UNTIL_INTERVAL).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) read_until: BTreeMap<ShardId, EventTime>,
}

impl LaneOffset {
    /// A lane without shards.
    pub(crate) fn new(since: Position) -> Self {
        Self {
            since,
            shards: BTreeMap::new(),
            finished: BTreeSet::new(),
            parked: BTreeSet::new(),
            left: BTreeMap::new(),
            read_until: BTreeMap::new(),
        }
    }

    /// Reads an offset of a checkpoint.
    pub(crate) fn parse(offset: &Offset) -> Result<Self> {
        Self::deserialize(&offset.0).map_err(|error| {
            Error::state("the checkpoint holds no offset for a Kinesis stream where a stream is read").with_cause(error)
        })
    }

    /// The offset as the engine keeps it.
    pub(crate) fn to_offset(&self) -> Offset {
        // The keys are strings and the values plain data, so this cannot fail.
        Offset(serde_json::to_value(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_further_of_two_places_is_that_of_the_greater_number() {
        let after = |sequence: &str, sub| Position::After { after: sequence.into(), sub };
        for (less, more) in [
            (Position::TrimHorizon, after("1", None)),
            (after("9", None), after("10", None)),
            (after("10", Some(3)), after("10", Some(4))),
            (after("10", Some(3)), after("10", None)),
        ] {
            assert_eq!(less.clone().or_further(more.clone()), more);
            assert_eq!(more.clone().or_further(less), more);
        }
        assert_eq!(Position::TrimHorizon.or_further(Position::Timestamp(3)), Position::TrimHorizon);
    }

    #[test]
    fn an_offset_is_written_and_read_again() {
        let mut lane = LaneOffset::new(Position::Latest(17));
        let positions = [
            Position::Latest(17),
            Position::TrimHorizon,
            Position::Timestamp(5),
            Position::after("49"),
            Position::After { after: "50".into(), sub: Some(3) },
        ];
        for (index, position) in positions.into_iter().enumerate() {
            lane.shards.insert(format!("shardId-{index}").into(), position);
        }
        lane.finished.insert("shardId-9".into());
        lane.left.insert("shardId-8".into(), Position::after("48"));
        lane.read_until.insert("shardId-3".into(), 18);
        let offset = lane.to_offset();
        let expected = json!({
            "since": {"latest": 17},
            "shards": {
                "shardId-0": {"latest": 17}, "shardId-1": "trim_horizon", "shardId-2": {"timestamp": 5},
                "shardId-3": {"after": "49"}, "shardId-4": {"after": "50", "sub": 3},
            },
            "finished": ["shardId-9"],
            "left": {"shardId-8": {"after": "48"}},
            "read_until": {"shardId-3": 18},
        });
        assert_eq!(offset.0, expected);
        assert_eq!(LaneOffset::parse(&offset).expect("the same"), lane);
        assert!(LaneOffset::parse(&Offset(json!({"row": 5}))).is_err());
    }
}
