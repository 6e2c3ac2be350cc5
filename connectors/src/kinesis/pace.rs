//! How often a shard is read, how much is asked for, and how long to wait after a call that failed for now.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use kinesql_engine::runtime::clock::EventTime;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::limits::{ANSWER_BYTES_MAX, ANSWER_RECORDS_MAX, BACKOFF_MAX, BACKOFF_MIN, READ_BYTES_PER_SECOND, READS_PER_SECOND};
use super::millis;

/// Shards that are silent are read in so many groups, one after the other. What a group does together costs less than what its shards
/// cost one by one: the processor has the code at hand, and is woken once.
const GROUPS: i64 = 8;

/// Shortest time between two reads of a shard.
const READ_INTERVAL_MS: i64 = 1_000 / READS_PER_SECOND as i64;

/// What the option values allow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaceOptions {
    /// Time between two reads of a shard that has no more records for now.
    pub(crate) poll_interval: Duration,
    /// What that time grows to while no records come.
    pub(crate) idle_poll_interval: Duration,
    /// Most records of an answer.
    pub(crate) max_records: i64,
}

/// When and how much to read next from a shard.
///
/// Reads are spaced by the two limits of a shard: a fifth of a second, and the time that the bytes of the answer before take at
/// 2 MiB/s. So that both are met at once, an answer is asked to be a fifth of what a second allows; throttling halves that.
#[derive(Debug)]
pub(crate) struct Pace {
    options: PaceOptions,
    next_read: EventTime,
    idle_interval_ms: i64,
    /// The group that the shard is read with while it is silent; None: it has none yet.
    group: Option<i64>,
    /// How large an answer should be.
    target_bytes: f64,
    /// Size of a record, smoothed.
    record_bytes: f64,
    /// How large the next answer may be, as far as can be told.
    expected_bytes: f64,
}

/// Size of a record before one was read. Ours: with it the first answers of many shards fit into the memory that they share.
const RECORD_BYTES: f64 = 1_024.0;

/// Least that an answer is expected to have. Ours: a few records that came meanwhile.
const EXPECTED_MIN: f64 = 4_096.0;

impl Pace {
    /// For a shard that may be read at once.
    pub(crate) fn new(options: PaceOptions, now: EventTime) -> Self {
        Self {
            options,
            next_read: now,
            idle_interval_ms: 0,
            group: None,
            target_bytes: Self::TARGET_MAX,
            record_bytes: RECORD_BYTES,
            expected_bytes: Self::TARGET_MAX,
        }
    }

    const TARGET_MAX: f64 = READ_BYTES_PER_SECOND as f64 / READS_PER_SECOND as f64;

    /// When the next read may be made.
    pub(crate) fn next_read(&self) -> EventTime {
        self.next_read
    }

    /// How many records to ask for.
    pub(crate) fn limit(&self) -> i32 {
        let allowed = self.options.max_records.clamp(1, ANSWER_RECORDS_MAX);
        ((self.target_bytes / self.record_bytes) as i64).clamp(1, allowed) as i32
    }

    /// How many bytes the next answer may have, as far as can be told.
    pub(crate) fn expected_bytes(&self) -> usize {
        self.expected_bytes.clamp(EXPECTED_MIN, ANSWER_BYTES_MAX as f64) as usize
    }

    /// A read that was made at `now` brought this; `behind` says whether the shard holds more records already.
    pub(crate) fn answered(&mut self, now: EventTime, records: usize, bytes: usize, behind: bool, random: &mut SmallRng) {
        if records > 0 {
            let size = bytes as f64 / records as f64;
            self.record_bytes = (0.5 * self.record_bytes + 0.5 * size).max(1.0);
        }
        self.target_bytes = (self.target_bytes * 1.1).min(Self::TARGET_MAX);
        self.expected_bytes = if behind { f64::from(self.limit()) * self.record_bytes } else { 2.0 * bytes as f64 };
        let poll_ms = millis(self.options.poll_interval).max(READ_INTERVAL_MS);
        let interval_ms = if behind {
            self.idle_interval_ms = 0;
            READ_INTERVAL_MS
        } else if records > 0 {
            self.idle_interval_ms = 0;
            poll_ms
        } else {
            let idle_ms = millis(self.options.idle_poll_interval).max(poll_ms);
            self.idle_interval_ms = (2 * self.idle_interval_ms).clamp(poll_ms, idle_ms);
            if self.idle_interval_ms == idle_ms && idle_ms > poll_ms {
                self.until_turn(now, random)
            } else {
                self.idle_interval_ms
            }
        };
        let bytes_ms = (bytes as u64 * 1_000).div_ceil(READ_BYTES_PER_SECOND) as i64;
        self.next_read = now + interval_ms.max(bytes_ms);
    }

    /// How long it is to the turn of the shard's group, which comes once in an idle interval.
    fn until_turn(&mut self, now: EventTime, random: &mut SmallRng) -> i64 {
        let interval_ms = self.idle_interval_ms;
        // Shards that fell silent together are not read together for ever, nor is one by all the jobs that read it.
        let group = *self.group.get_or_insert_with(|| (random.random_range(0..GROUPS) + now).rem_euclid(GROUPS));
        let latest = now + interval_ms;
        let turn = latest - (latest - group * interval_ms / GROUPS).rem_euclid(interval_ms);
        (turn - now).max(READ_INTERVAL_MS)
    }

    /// The service refused a read at `now`: other consumers read the shard too.
    pub(crate) fn throttled(&mut self, now: EventTime) {
        self.target_bytes = (self.target_bytes / 2.0).max(Self::TARGET_MAX / 16.0);
        self.next_read = now + READ_INTERVAL_MS;
    }
}

/// Waits that double, each cut by a random half so that many readers do not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub(crate) fn next(&mut self, random: &mut SmallRng) -> Duration {
        let longest = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        longest.mul_f64(random.random_range(0.5..=1.0))
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The call succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A generator for the waits of one shard, seeded by its name.
pub(crate) fn random_for(name: &str) -> SmallRng {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    SmallRng::seed_from_u64(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: PaceOptions = PaceOptions {
        poll_interval: Duration::from_millis(200),
        idle_poll_interval: Duration::from_secs(1),
        max_records: 10_000,
    };

    #[test]
    fn a_shard_with_records_is_read_five_times_a_second() {
        let mut pace = Pace::new(OPTIONS, 0);
        pace.answered(0, 10, 1_000, true, &mut random_for(""));
        assert_eq!(pace.next_read(), 200);
        pace.answered(200, 10, 1_000, false, &mut random_for(""));
        assert_eq!(pace.next_read(), 400);
    }

    #[test]
    fn an_answer_of_10_mib_is_followed_by_five_seconds_without_reads() {
        let mut pace = Pace::new(OPTIONS, 0);
        pace.answered(0, 10, 10 << 20, true, &mut random_for(""));
        assert_eq!(pace.next_read(), 5_000);
    }

    #[test]
    fn the_batch_grows_to_what_five_reads_a_second_may_bring() {
        let mut pace = Pace::new(OPTIONS, 0);
        // 2 MiB/s in five reads of records of 1 KiB, which they are taken for at first.
        assert_eq!(pace.limit(), 409);
        pace.answered(0, 100, 100 << 10, true, &mut random_for(""));
        assert_eq!(pace.limit(), 409);
        pace.throttled(200);
        assert_eq!(pace.limit(), 204);
        assert_eq!(pace.next_read(), 400);
        for _ in 0..20 {
            pace.answered(400, 100, 100 << 10, true, &mut random_for(""));
        }
        assert_eq!(pace.limit(), 409);
        for _ in 0..20 {
            pace.answered(400, 1, 1 << 20, true, &mut random_for(""));
        }
        assert_eq!(pace.limit(), 1, "large records come one by one");
        assert!((1 << 20) - pace.expected_bytes() < 100, "{}", pace.expected_bytes());
        for _ in 0..30 {
            pace.answered(400, 1_000, 10_000, true, &mut random_for(""));
        }
        assert_eq!(pace.limit(), 10_000, "as many small ones as the service gives");
    }

    #[test]
    fn a_shard_that_is_caught_up_is_expected_to_bring_little() {
        let mut pace = Pace::new(OPTIONS, 0);
        pace.answered(0, 0, 0, false, &mut random_for(""));
        assert_eq!(pace.expected_bytes(), 4_096);
        pace.answered(0, 10, 10_000, false, &mut random_for(""));
        assert_eq!(pace.expected_bytes(), 20_000);
    }

    #[test]
    fn a_silent_shard_is_read_less_and_less_often() {
        let mut pace = Pace::new(OPTIONS, 0);
        let mut random = random_for("shardId-000000000000");
        let mut intervals = Vec::new();
        for _ in 0..6 {
            let now = pace.next_read();
            pace.answered(now, 0, 0, false, &mut random);
            intervals.push(pace.next_read() - now);
        }
        assert_eq!(intervals[..3], [200, 400, 800]);
        assert!((200..=1_000).contains(&intervals[3]), "until the turn of its group: {intervals:?}");
        assert_eq!(intervals[4..], [1_000, 1_000]);
        let now = pace.next_read();
        pace.answered(now, 1, 100, false, &mut random);
        assert_eq!(pace.next_read() - now, 200, "and as often as before when records come again");
    }

    #[test]
    fn silent_shards_are_read_in_eight_groups() {
        let mut turns = std::collections::BTreeMap::<i64, usize>::new();
        for shard in 0..200 {
            let (mut pace, mut random) = (Pace::new(OPTIONS, 1_700_000_000_123), random_for(&format!("shardId-{shard:012}")));
            for read in 0..10 {
                // Each is made a little later than it is due.
                pace.answered(pace.next_read() + read % 3, 0, 0, false, &mut random);
            }
            *turns.entry(pace.next_read() % 1_000).or_default() += 1;
        }
        assert_eq!(turns.keys().copied().collect::<Vec<_>>(), [0, 125, 250, 375, 500, 625, 750, 875]);
        assert!(turns.values().all(|shards| (10..=40).contains(shards)), "{turns:?}");
    }

    #[test]
    fn waits_double_up_to_ten_seconds_and_differ_between_shards() {
        let waits = |name: &str| -> Vec<_> {
            let (mut backoff, mut random) = (Backoff::default(), random_for(name));
            (0..9).map(|_| backoff.next(&mut random).as_millis()).collect()
        };
        let first = waits("shardId-000000000000");
        for (index, wait) in first.iter().enumerate() {
            let longest = (200u128 << index).min(10_000);
            assert!((longest / 2..=longest).contains(wait), "{first:?}");
        }
        assert_ne!(first, waits("shardId-000000000001"));
    }
}
