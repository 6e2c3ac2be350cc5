//! What the service allows. Each number names its source; all of them are pages of the "Amazon Kinesis Data Streams Developer
//! Guide" or of the "Amazon Kinesis Data Streams API Reference". Numbers without a page are our own, and say why.

use std::time::Duration;

/// `GetRecords` calls per second and shard, of all consumers together (guide: "Quotas and limits", GetRecords).
pub(crate) const READS_PER_SECOND: u32 = 5;

/// Bytes per second and shard that `GetRecords` hands out, to all consumers together (guide: "Quotas and limits").
pub(crate) const READ_BYTES_PER_SECOND: u64 = 2 << 20;

/// Records that a `GetRecords` answer holds at most (API: GetRecords, "Limit").
pub(crate) const ANSWER_RECORDS_MAX: i64 = 10_000;

/// Bytes that a `GetRecords` answer holds at most (API: GetRecords, "10 MiB").
pub(crate) const ANSWER_BYTES_MAX: u64 = 10 << 20;

/// Time between two `SubscribeToShard` calls for a shard before which the second is refused with ResourceInUseException
/// (API: SubscribeToShard, "5 seconds").
pub(crate) const SUBSCRIBE_INTERVAL: Duration = Duration::from_secs(5);

/// Time without any event after which a subscription is taken for dead. Ours: the service sends an event, empty if need be, every
/// few seconds; the Kinesis Client Library gives up after 35 s.
pub(crate) const SUBSCRIPTION_SILENCE: Duration = Duration::from_secs(30);

/// Age at which a subscription is left although it has not ended. Ours: the five minutes of the service (API: SubscribeToShard)
/// and some seconds.
pub(crate) const SUBSCRIPTION_LIFE: Duration = Duration::from_secs(310);

/// Shards in a `ListShards` answer (API: ListShards, "MaxResults": 1,000 by default, 10,000 at most).
pub(crate) const LIST_SHARDS_MAX: i32 = 1_000;

/// Time after which a call without an answer is made again. Ours: an answer of 10 MiB at 3 Mbit/s.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// First wait after a call that failed for now. Ours: the time in which the service allows one more read.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// Longest wait after a call that failed for now. Ours: well within the five minutes that an iterator lives.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How often a call is made when a job starts, before its failure is the job's. Ours: about ten seconds of waiting.
pub(crate) const START_ATTEMPTS: u32 = 6;

/// Time that a new consumer may take to become ACTIVE. Ours; the service takes seconds.
pub(crate) const CONSUMER_TIMEOUT: Duration = Duration::from_secs(120);

/// Records of all shards that are read ahead of the engine. Ours: six answers of the greatest size.
pub(crate) const READ_AHEAD_BYTES: usize = 64 << 20;

/// Size at which a piece ends. Ours: the chunk of the file source, which the decoders are tuned for.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Listings from which a finished shard must be missing before it is forgotten. Ours: a listing that lacks a shard once,
/// while the stream is resharded, must not make it read again.
pub(crate) const LISTINGS_BEFORE_FORGOTTEN: u32 = 3;

/// Listings without a shard that follows a finished one, after which none is waited for. Ours: what follows comes with the last
/// answer of a shard, or is listed within seconds.
pub(crate) const LISTINGS_WITHOUT_CHILDREN: u32 = 10;

/// How long a stream keeps its records at least (API: CreateStream, "24 hours"; IncreaseStreamRetentionPeriod: up to 8,760).
pub(crate) const RETENTION_MIN: Duration = Duration::from_secs(24 * 3_600);

/// How often it is noted of a shard without records that it was read. Ours: little beside [`RETENTION_MIN`], and no work.
pub(crate) const READ_UNTIL_INTERVAL: Duration = Duration::from_secs(600);

/// Records of a PutRecords request (API: PutRecords).
pub(crate) const PUT_RECORDS_MAX: i64 = 500;

/// Bytes of a PutRecords request, partition keys included (API: PutRecords: 10 MiB; 5 MiB until 2025).
pub(crate) const PUT_RECORDS_BYTES_MAX: usize = 10 << 20;

/// Bytes of a record with its partition key, in a stream that was not told otherwise (API: PutRecords).
pub(crate) const RECORD_BYTES_DEFAULT: usize = 1 << 20;

/// The same in a stream that was (API: UpdateMaxRecordSize: 10,240 KiB).
pub(crate) const RECORD_BYTES_MAX: usize = 10 << 20;

/// Characters of a partition key (API: PutRecordsRequestEntry).
pub(crate) const PARTITION_KEY_CHARS_MAX: usize = 256;
