//! Joins of three streams against their definition (kda-sql-reference.md §4.5): every two rows of a result are inside each
//! other's windows, whatever the kinds of joins, the number of splits and the restarts.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, TimestampMillisecondType};
use kinesql_engine::connector::memory::{MemorySink, MemorySource};
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::{CheckpointOptions, Engine};
use proptest::prelude::*;

use super::join_property::{DELAY_MS, Row, batch, columns, rows};

/// ROWTIME, the values of the three sides.
type Joined = (i64, [Option<i32>; 3]);

#[derive(Debug, Clone)]
struct Query {
    kinds: [&'static str; 2],
    /// Milliseconds preceding; no window if none.
    windows: [Option<i64>; 3],
}

/// Places of the rows of `a` and `b` that are joined, and when they come.
type Pair = (i64, Option<usize>, Option<usize>);

impl Query {
    fn sql(&self) -> String {
        let window = |ms: Option<i64>| match ms {
            None => String::new(),
            Some(ms) => format!("OVER (RANGE INTERVAL '{}.{:03}' SECOND(3, 3) PRECEDING)", ms / 1_000, ms % 1_000),
        };
        let ([first, second], [a, b, c]) = (self.kinds, self.windows.map(window));
        format!(
            "CREATE STREAM \"OUT\" (\"at\" TIMESTAMP, \"a\" INTEGER, \"b\" INTEGER, \"c\" INTEGER);
             CREATE PUMP \"P\" AS INSERT INTO \"OUT\" SELECT STREAM ROWTIME, a.\"v\", b.\"v\", c.\"v\"
             FROM \"A\" {a} AS a {first} JOIN \"B\" {b} AS b ON a.\"k\" = b.\"k\" {second} JOIN \"C\" {c} AS c ON a.\"k\" = c.\"k\""
        )
    }

    /// True if rows of two of the streams, at these times, are inside each other's windows.
    fn meet(&self, one: usize, at_one: i64, other: usize, at_other: i64) -> bool {
        let reach = |stream: usize| self.windows[stream].unwrap_or(0);
        at_other - at_one <= reach(one) && at_one - at_other <= reach(other)
    }

    fn pairs(&self, a: &[Row], b: &[Row]) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = Vec::new();
        for (i, one) in a.iter().enumerate() {
            for (j, other) in b.iter().enumerate() {
                if one.0.is_some() && one.0 == other.0 && self.meet(0, one.2, 1, other.2) {
                    pairs.push((one.2.max(other.2), Some(i), Some(j)));
                }
            }
        }
        let (keeps_a, keeps_b) = kept(self.kinds[0]);
        let alone = |of: &dyn Fn(&Pair) -> Option<usize>, place: usize| !pairs.iter().any(|pair| of(pair) == Some(place));
        let of_a: Vec<_> = (0..a.len()).filter(|i| keeps_a && alone(&|pair| pair.1, *i)).collect();
        let of_b: Vec<_> = (0..b.len()).filter(|j| keeps_b && alone(&|pair| pair.2, *j)).collect();
        pairs.extend(of_a.into_iter().map(|i| (a[i].2 + self.windows[0].unwrap_or(0), Some(i), None)));
        pairs.extend(of_b.into_iter().map(|j| (b[j].2 + self.windows[1].unwrap_or(0), None, Some(j))));
        pairs
    }

    fn expected(&self, [a, b, c]: [&[Row]; 3]) -> Vec<Joined> {
        let (keeps_pairs, keeps_c) = kept(self.kinds[1]);
        let mut out = Vec::new();
        let mut matched = vec![false; c.len()];
        for (at, i, j) in self.pairs(a, b) {
            let value = |rows: &[Row], place: Option<usize>| place.map(|place| rows[place].1);
            let times = [(0, i.map(|i| a[i].2)), (1, j.map(|j| b[j].2))];
            let mut is_alone = true;
            for (k, row) in c.iter().enumerate() {
                let has_key = i.is_some_and(|i| a[i].0.is_some() && a[i].0 == row.0);
                let in_windows = times.iter().all(|(of, time)| time.is_none_or(|time| self.meet(*of, time, 2, row.2)));
                if has_key && in_windows {
                    (is_alone, matched[k]) = (false, true);
                    out.push((at.max(row.2), [value(a, i), value(b, j), Some(row.1)]));
                }
            }
            if keeps_pairs && is_alone {
                let ends = times.iter().filter_map(|(of, time)| Some((*time)? + self.windows[*of].unwrap_or(0)));
                out.push((ends.min().map_or(at, |end| end.max(at)), [value(a, i), value(b, j), None]));
            }
        }
        // What waits in the first join can still come to the second.
        let (keeps_a, keeps_b) = kept(self.kinds[0]);
        let waits = |keeps: bool, stream: usize| if keeps { self.windows[stream].unwrap_or(0) } else { 0 };
        let end = self.windows[2].unwrap_or(0) + waits(keeps_a, 0).max(waits(keeps_b, 1));
        let alone = c.iter().zip(matched).filter(|(_, matched)| keeps_c && !matched);
        out.extend(alone.map(|(row, _)| (row.2 + end, [None, None, Some(row.1)])));
        out.sort_unstable();
        out
    }
}

fn kept(kind: &str) -> (bool, bool) {
    (matches!(kind, "LEFT" | "FULL"), matches!(kind, "RIGHT" | "FULL"))
}

fn results(sink: &MemorySink) -> Vec<Joined> {
    let mut results = Vec::new();
    for batch in sink.batches() {
        let times = batch.column(0).as_primitive::<TimestampMillisecondType>();
        for row in 0..batch.num_rows() {
            let value = |column: usize| {
                let column = batch.column(column).as_primitive::<Int32Type>();
                column.is_valid(row).then(|| column.value(row))
            };
            results.push((times.value(row), [value(1), value(2), value(3)]));
        }
    }
    results
}

/// Runs the join, each stream in pieces of `piece` rows, one stream after the other; before the pieces in `restarts` the job is
/// killed and started again from its checkpoint.
async fn run(query: &Query, sides: [&[Row]; 3], piece: usize, splits: usize, restarts: &[usize]) -> Vec<Joined> {
    let sources = [(); 3].map(|()| MemorySource::with_splits(columns(), splits));
    let sink = MemorySink::default();
    let folder = tempfile::tempdir().expect("a folder");
    let start = || async {
        let never = Duration::from_secs(1_000_000_000);
        let checkpoints = CheckpointOptions { interval: never, ..CheckpointOptions::new(folder.path()) };
        let engine = Engine::builder().clock(ManualClock::starting_at(0)).checkpoints(checkpoints).build().expect("an engine");
        for (name, source) in ["A", "B", "C"].iter().zip(&sources) {
            let delay = Duration::from_millis(DELAY_MS as u64);
            engine.add_source(name, Arc::new(source.clone()), Some(("t", delay))).expect("a time column");
        }
        engine.execute(&Script::new("app.sql", query.sql())).await.expect("right");
        engine.add_sink("R", "OUT", Arc::new(sink.clone())).expect("a stream");
        engine.start().await.expect("started")
    };
    let mut job = start().await;
    let mut count = 0;
    let mut pieces = sides.map(|rows| rows.chunks(piece));
    for round in 0.. {
        let (side, Some(rows)) = (round % 3, pieces[round % 3].next()) else {
            if pieces.iter().all(|pieces| pieces.len() == 0) {
                break;
            }
            continue;
        };
        if restarts.contains(&count) {
            job.sync().await.expect("running");
            job.checkpoint().await.expect("written");
            job.abort();
            job = start().await;
        }
        count += 1;
        sources[side].push(batch(rows));
    }
    sources.iter().for_each(MemorySource::finish);
    job.wait().await.expect("complete");
    results(&sink)
}

fn query() -> impl Strategy<Value = Query> {
    let window = || prop_oneof![1 => Just(None), 3 => (0i64..2_500).prop_map(Some)];
    let kind = || prop_oneof![2 => Just("INNER"), 2 => Just("LEFT"), 1 => Just("RIGHT"), 1 => Just("FULL")];
    // Each JOIN needs a window.
    let windows =
        [window(), window(), window()].prop_filter("a join needs a window", |windows| windows[..2].iter().any(Option::is_some));
    ([kind(), kind()], windows).prop_map(|(kinds, windows)| Query { kinds, windows })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn joins_of_three_streams_follow_their_definition(
        query in query(), a in rows(), b in rows(), c in rows(),
        piece in 1usize..15, splits in 1usize..4, restarts in prop::collection::vec(0usize..8, 0..3)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let sides = [a.as_slice(), &b, &c];
        let mut got = runtime.block_on(run(&query, sides, piece, splits, &restarts));
        prop_assert!(got.is_sorted_by_key(|row| row.0), "in the order of ROWTIME");
        got.sort_unstable();
        prop_assert_eq!(got, query.expected(sides), "{}", query.sql());
    }
}
