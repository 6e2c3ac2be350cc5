//! The `kinesis` source: reads a stream of Kinesis Data Streams.
//!
//! Calls:     `ListShards`, after a long stop `DescribeStreamSummary`; polling: `GetShardIterator`, `GetRecords`; enhanced fan-out:
//!            `DescribeStreamSummary`, `DescribeStreamConsumer`, `RegisterStreamConsumer`, `SubscribeToShard`, on request `DeregisterStreamConsumer`.
//! Splits:    lanes, `0/4` to `3/4`, each of which reads many shards.
//! Order:     that of the shard; within a lane across reshards that of the partition key.
//! Time:      a shard at its end holds the watermark until its children are read. A shard that is caught up raises no watermark:
//!            MillisBehindLatest = 0 says that nothing stored is unread, and arrival times, which are approximate and may go back
//!            (API: GetRecords), cannot be compared with this machine's clock. The engine lets go of silent shards, by `idle_timeout`.
//! Delivery:  exactly-once with checkpoints: an offset holds the last record handed over of each shard.
//! Retried:   throttling, time-outs, broken connections, failures of the service, expired credentials; for ever once the job runs.
//! Limits:    those of the service, limits.rs.
//! Errors:    `Config` for what is denied, missing or wrong; `Unavailable` when the service cannot be reached at the start;
//!            `State` for a checkpoint of another stream.
//! See:       docs/connectors/kinesis.md

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime};
use kinesql_engine::connector::{
    ConnectorMetric, Offset, OptionKind, OptionSpec, Options, Records, Sample, Source, SourceContext, SourceDefinition,
    SourceFactory, SplitReader, Trouble, kinesis_metadata,
};
use kinesql_engine::runtime::clock::{EventTime, SystemClock};
use kinesql_engine::{Error, Result};
use tokio::sync::{OnceCell, Semaphore, mpsc, watch};

use super::assignment::{All, ShardAssignment, Worker};
use super::client::{KinesisApi, SdkClient, StreamName};
use super::coordinator::{Closing, Control, Coordinator, CoordinatorOptions, Note, list_shards};
use super::lane::Lane;
use super::lease::{self, Leases};
use super::limits::READ_AHEAD_BYTES;
use super::millis;
use super::pace::PaceOptions;
use super::payload::{PayloadFormat, Piece, Unpacker, with_sequence_number};
use super::position::{LaneOffset, Position};
use super::reader::{ReadContext, ReadOptions, insist};
use super::shards::Shards;
use super::stats::Stats;
use crate::aws::{self, AwsOptions};
use crate::sample::sample_of;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "stream", kind: OptionKind::Text, required: true, default: None, help: "Name or ARN of the stream." },
    aws::REGION,
    OptionSpec {
        name: "scan.start",
        kind: OptionKind::OneOf(&["latest", "trim_horizon", "at_timestamp"]),
        required: false,
        default: Some("latest"),
        help: "Where a job without a checkpoint starts: latest (the default) at the records that come from now on, trim_horizon at the oldest record, at_timestamp at scan.timestamp.",
    },
    OptionSpec {
        name: "scan.timestamp",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "For at_timestamp: a time such as 2024-01-01T12:00:00Z or '2024-01-01 12:00:00' (UTC).",
    },
    OptionSpec {
        name: "mode",
        kind: OptionKind::OneOf(&["polling", "fan_out"]),
        required: false,
        default: Some("polling"),
        help: "polling (the default) shares 2 MB/s per shard with all other readers; fan_out has 2 MB/s of its own and less delay, and is paid for.",
    },
    OptionSpec {
        name: "consumer",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "For fan_out: name of the consumer, registered unless it is there, or ARN of one that is; default 'kinesql'.",
    },
    OptionSpec {
        name: "deregister",
        kind: OptionKind::Boolean,
        required: false,
        default: Some("false"),
        help: "For fan_out: deregister the consumer when the job stops gracefully; default false.",
    },
    OptionSpec {
        name: "max_records",
        kind: OptionKind::Integer { min: 1, max: super::limits::ANSWER_RECORDS_MAX },
        required: false,
        default: Some("10000"),
        help: "Most records asked for at once; default 10000, the service's own limit. Fewer are asked for as their size demands.",
    },
    OptionSpec {
        name: "poll_interval",
        kind: OptionKind::Duration,
        required: false,
        default: Some("200ms"),
        help: "Time between two reads of a shard that has no more records for now, at least 200ms; default 200ms, the service's limit of 5 reads per second, which all readers of a stream share.",
    },
    OptionSpec {
        name: "idle_poll_interval",
        kind: OptionKind::Duration,
        required: false,
        default: Some("2s"),
        help: "What poll_interval grows to on a shard while no records come; default 2s.",
    },
    OptionSpec {
        name: "discovery_interval",
        kind: OptionKind::Duration,
        required: false,
        default: Some("1min"),
        help: "Time between two listings of the stream's shards, at least 1s; reshards are noticed sooner, when a shard ends. Default 1min.",
    },
    OptionSpec {
        name: "max_skew",
        kind: OptionKind::Duration,
        required: false,
        default: Some("5min"),
        help: "A shard that is read so much further (by arrival time) than the slowest one that has records left is paused; 0 never pauses. Default 5min.",
    },
    OptionSpec {
        name: "max_record_bytes",
        kind: OptionKind::Bytes,
        required: false,
        default: Some("64mb"),
        help: "Longest record once it is decompressed; a longer one goes to error_stream. Default 64mb.",
    },
    OptionSpec {
        name: "hash_range_check",
        kind: OptionKind::Boolean,
        required: false,
        default: Some("true"),
        help: "Leave out records within aggregated ones whose hash key belongs to another shard: the KPL sends them again after a reshard. Default true; false for producers that aggregate without regard to keys.",
    },
    OptionSpec {
        name: "worker",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "Which part of the stream this process reads, such as 2/5: the second of five. Default: all of it.",
    },
    lease::LEASE,
    lease::LEASE_TABLE,
    lease::LEASE_WORKER,
    lease::LEASE_DURATION,
    lease::LEASE_RENEW_INTERVAL,
    lease::LEASE_ENDPOINT,
    aws::ENDPOINT,
    aws::PROFILE,
    aws::ROLE_ARN,
    aws::EXTERNAL_ID,
];

/// Name of the consumer of enhanced fan-out, unless one is given.
const CONSUMER: &str = "kinesql";

/// How far back a sample looks when the job itself would start at the newest record.
const SAMPLE_PERIOD: Duration = Duration::from_secs(3_600);

/// Calls that a sample makes at most for one shard. An answer may be empty although records follow.
const SAMPLE_CALLS: usize = 5;

/// Makes `kinesis` sources.
#[derive(Debug)]
pub struct KinesisSourceFactory;

impl SourceFactory for KinesisSourceFactory {
    fn name(&self) -> &'static str {
        "kinesis"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(KinesisSource::try_new(definition, options)?))
    }
}

/// Where a job without a checkpoint starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Latest,
    TrimHorizon,
    Timestamp(EventTime),
}

impl Start {
    fn of(options: &Options) -> Result<Self> {
        let timestamp = options.text("scan.timestamp");
        match (options.text("scan.start"), timestamp) {
            (Some("at_timestamp"), Some(text)) => parse_timestamp(text).map(Start::Timestamp),
            (Some("at_timestamp"), None) => Err(Error::config("scan.start = 'at_timestamp' of connector 'kinesis' needs a time")
                .with_hint("Add scan.timestamp = '2024-01-01T12:00:00Z'.")),
            (_, Some(_)) => Err(Error::config("option \"scan.timestamp\" of connector 'kinesis' has no meaning here")
                .with_hint("Add scan.start = 'at_timestamp'.")),
            (Some("trim_horizon"), None) => Ok(Start::TrimHorizon),
            _ => Ok(Start::Latest),
        }
    }

    fn position(self, now: EventTime) -> Position {
        match self {
            Start::Latest => Position::Latest(now),
            Start::TrimHorizon => Position::TrimHorizon,
            Start::Timestamp(time) => Position::Timestamp(time),
        }
    }
}

fn parse_timestamp(text: &str) -> Result<EventTime> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let utc = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let time = utc.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    time.map(|time| time.and_utc().timestamp_millis()).ok_or_else(|| {
        Error::config(format!("option \"scan.timestamp\" of connector 'kinesis' cannot be '{text}'"))
            .with_hint("Write a time such as '2024-01-01T12:00:00Z', or '2024-01-01 12:00:00' in UTC.")
    })
}

/// A bound `kinesis` source.
pub(crate) struct KinesisSource {
    stream: StreamName,
    aws: AwsOptions,
    start: Start,
    format: PayloadFormat,
    read: ReadOptions,
    coordinator: CoordinatorOptions,
    deregister: bool,
    assignment: Arc<dyn ShardAssignment>,
    api: OnceCell<Arc<dyn KinesisApi>>,
    stats: Arc<Stats>,
    /// The lanes of a job that is being started.
    opening: Mutex<Option<Opening>>,
}

/// Lanes that were opened, until all of them are.
struct Opening {
    context: Arc<ReadContext>,
    lanes: Vec<Option<(mpsc::UnboundedSender<Control>, Option<LaneOffset>)>>,
    note_sender: mpsc::UnboundedSender<Note>,
    notes: mpsc::UnboundedReceiver<Note>,
    closing: Arc<Closing>,
    start: Position,
}

impl KinesisSource {
    pub(super) fn try_new(definition: &SourceDefinition, options: &Options) -> Result<Self> {
        let stream = StreamName::parse(options.text("stream").unwrap_or_default())?;
        let at_least = |name: &str, least: Duration| {
            let value = options.duration(name).unwrap_or(least);
            if value < least {
                return Err(Error::config(format!("option \"{name}\" of connector 'kinesis' cannot be less than {least:?}")));
            }
            Ok(value)
        };
        let read_interval = Duration::from_secs(1) / super::limits::READS_PER_SECOND;
        let pace = PaceOptions {
            poll_interval: at_least("poll_interval", read_interval)?,
            idle_poll_interval: at_least("idle_poll_interval", read_interval)?,
            max_records: options.integer("max_records").unwrap_or(super::limits::ANSWER_RECORDS_MAX),
        };
        let fan_out = options.text("mode") == Some("fan_out");
        let consumer = options.text("consumer");
        if !fan_out && (consumer.is_some() || options.flag("deregister")) {
            let name = if consumer.is_some() { "consumer" } else { "deregister" };
            return Err(Error::config(format!("option \"{name}\" of connector 'kinesis' has no meaning without fan-out"))
                .with_hint("Add mode = 'fan_out', or leave it out."));
        }
        let aws = AwsOptions::try_new(options, stream.arn())?;
        let assignment: Arc<dyn ShardAssignment> = match (Leases::of(options, &aws)?, options.text("worker")) {
            (Some(leases), _) => Arc::new(leases),
            (None, Some(worker)) => Arc::new(Worker::parse(worker)?),
            (None, None) => Arc::new(All),
        };
        let max_record_bytes = options.bytes("max_record_bytes").unwrap_or(64 << 20);
        if max_record_bytes == 0 {
            return Err(Error::config("option \"max_record_bytes\" of connector 'kinesis' cannot be 0"));
        }
        Ok(Self {
            aws,
            start: Start::of(options)?,
            format: PayloadFormat::of(&definition.format)?,
            read: ReadOptions {
                fan_out,
                pace,
                max_skew: options.duration("max_skew").unwrap_or_default(),
                max_record_bytes: max_record_bytes.min(u64::from(u32::MAX) / 2) as usize,
                hash_range_check: options.flag("hash_range_check"),
            },
            coordinator: CoordinatorOptions {
                discovery_interval: at_least("discovery_interval", Duration::from_secs(1))?,
                consumer: fan_out.then(|| consumer.unwrap_or(CONSUMER).to_owned()),
            },
            deregister: options.flag("deregister"),
            assignment,
            stream,
            api: OnceCell::new(),
            stats: Arc::default(),
            opening: Mutex::new(None),
        })
    }

    /// The same source on another service: a fake.
    #[cfg(test)]
    pub(super) fn with_api(mut self, api: Arc<dyn KinesisApi>) -> Self {
        self.api = OnceCell::new_with(Some(api));
        self
    }

    /// The same source with another share of the stream.
    #[cfg(test)]
    pub(super) fn with_assignment(mut self, assignment: Arc<dyn ShardAssignment>) -> Self {
        self.assignment = assignment;
        self
    }

    async fn connect(&self) -> Result<Arc<dyn KinesisApi>> {
        let connect = || async { Ok(Arc::new(SdkClient::connect(&self.aws, &self.stream).await?) as Arc<dyn KinesisApi>) };
        self.api.get_or_try_init(connect).await.cloned()
    }

    /// What becomes of payloads: who takes the records apart gets them as they came.
    fn payload_format(&self, context: &SourceContext) -> PayloadFormat {
        if context.raw { PayloadFormat::Original } else { self.format }
    }

    /// A job with so many lanes starts.
    fn begin(&self, lanes: usize, api: Arc<dyn KinesisApi>, context: &SourceContext) -> Opening {
        self.stats.restart(Arc::clone(&context.clock));
        let (note_sender, notes) = mpsc::unbounded_channel();
        let read = ReadContext {
            api,
            clock: Arc::clone(&context.clock),
            stats: Arc::clone(&self.stats),
            format: self.payload_format(context),
            metadata: with_sequence_number(&context.metadata),
            options: self.read.clone(),
            stream: self.stream.name().into(),
            memory: Arc::new(Semaphore::new(READ_AHEAD_BYTES)),
            consumer: watch::Sender::new(None),
        };
        Opening {
            context: Arc::new(read),
            lanes: (0..lanes).map(|_| None).collect(),
            note_sender,
            notes,
            closing: Arc::new(Closing {
                open_lanes: AtomicUsize::new(lanes),
                assignment: Arc::clone(&self.assignment),
                deregister: self.deregister,
            }),
            start: self.start.position(context.clock.now()),
        }
    }

    /// True if no lane of the job is open yet. A job that was started before and failed on the way is forgotten.
    fn is_first_lane(&self, index: usize, of: usize) -> bool {
        let slot = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        !slot.as_ref().is_some_and(|opening| opening.lanes.len() == of && opening.lanes[index].is_none())
    }

    /// Opens a lane; with the last one the shards are looked after.
    fn open_lane(
        &self,
        index: usize,
        of: usize,
        offset: Option<LaneOffset>,
        api: Arc<dyn KinesisApi>,
        context: &SourceContext,
    ) -> Lane {
        let mut slot = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        // A job that was started before and failed on the way is forgotten.
        let started = slot.take().filter(|opening| opening.lanes.len() == of && opening.lanes[index].is_none());
        let mut opening = started.unwrap_or_else(|| self.begin(of, api, context));
        let (control, control_receiver) = mpsc::unbounded_channel();
        let lane_offset = offset.clone().unwrap_or_else(|| LaneOffset::new(opening.start.clone()));
        opening.lanes[index] = Some((control, offset));
        let (read, notes) = (Arc::clone(&opening.context), opening.note_sender.clone());
        let lane = Lane::new(read, lane_offset, control_receiver, notes, Arc::clone(&opening.closing));
        if opening.lanes.iter().any(Option::is_none) {
            *slot = Some(opening);
            return lane;
        }
        let (lanes, offsets): (Vec<_>, Vec<_>) = opening.lanes.into_iter().flatten().unzip();
        let coordinator = Coordinator {
            context: opening.context,
            assignment: Arc::clone(&self.assignment),
            options: self.coordinator.clone(),
            shards: Shards::new(&offsets, opening.start),
            lanes,
            notes: opening.notes,
        };
        // It ends by itself when the lanes are gone.
        tokio::spawn(coordinator.run());
        lane
    }
}

impl fmt::Debug for KinesisSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisSource").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// `2/4`: the third of four lanes.
fn parse_lane(split: &str) -> Option<(usize, usize)> {
    let (index, of) = split.split_once('/')?;
    let (index, of) = (index.parse().ok()?, of.parse().ok()?);
    (index < of).then_some((index, of))
}

#[async_trait]
impl Source for KinesisSource {
    fn has_arrival_times(&self) -> bool {
        true
    }

    fn is_bounded(&self) -> bool {
        false
    }

    /// Fails early if the stream cannot be read at all.
    async fn splits(&self, parallelism: usize) -> Result<Vec<String>> {
        let api = self.connect().await?;
        let clock = SystemClock::shared();
        let shards = insist(&clock, &self.stats, || list_shards(api.as_ref())).await?;
        // What an assignment that changes gives out later is not known yet.
        let lanes = match self.assignment.poll_interval() {
            Some(_) => parallelism,
            None => {
                let owned = self.assignment.poll(&shards).await?.owned;
                let is_open = |id: &str| shards.iter().any(|shard| *shard.id == *id && !shard.closed);
                parallelism.min(owned.iter().filter(|owned| is_open(&owned.shard)).count())
            }
        }
        .max(1);
        Ok((0..lanes).map(|index| format!("{index}/{lanes}")).collect())
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let (index, of) = parse_lane(split)
            .ok_or_else(|| Error::state(format!("'{split}' is not a part of stream \"{}\"", self.stream.name())))?;
        let offset = offset.map(LaneOffset::parse).transpose()?;
        let api = self.connect().await?;
        if self.is_first_lane(index, of) {
            let now = context.clock.now();
            let start = self.start.position(now);
            if matches!(self.start, Start::Timestamp(time) if time > now && offset.is_none()) {
                return Err(Error::config("option \"scan.timestamp\" of connector 'kinesis' is in the future")
                    .with_hint("Write a time that has passed, or scan.start = 'latest' for what comes from now on."));
            }
            self.assignment.start(&context.clock, &start, context.checkpointed).await?;
        }
        Ok(Box::new(self.open_lane(index, of, offset, api, context)))
    }

    async fn sample(&self, max_bytes: usize, context: &SourceContext) -> Result<Sample> {
        Ok(sample_of(self.sample_records(max_bytes, context).await?.into_iter().flatten(), &context.format))
    }

    async fn sample_records(&self, max_bytes: usize, context: &SourceContext) -> Result<Option<Vec<Records>>> {
        let api = self.connect().await?;
        let now = context.clock.now();
        let first = match self.start {
            Start::Latest => Position::Timestamp(now - millis(SAMPLE_PERIOD)),
            start => start.position(now),
        };
        let sample = self.sample_from(&api, first, max_bytes, context).await?;
        if sample.is_empty() && self.start == Start::Latest {
            return self.sample_from(&api, Position::TrimHorizon, max_bytes, context).await.map(Some);
        }
        Ok(Some(sample))
    }

    fn metadata(&self) -> SchemaRef {
        kinesis_metadata()
    }

    fn checkpointed(&self, _split: &str, offset: &Offset) {
        // What the source itself made can be read.
        if let Ok(lane) = LaneOffset::parse(offset) {
            self.assignment.checkpointed(&lane);
        }
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        self.stats.metrics()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.stats.trouble().into_iter().chain(self.assignment.trouble()).min_by_key(|trouble| trouble.since)
    }
}

impl KinesisSource {
    /// Reads a little of each shard. Nothing is registered or remembered, so no reader is disturbed but by the calls.
    async fn sample_from(
        &self,
        api: &Arc<dyn KinesisApi>,
        position: Position,
        max_bytes: usize,
        context: &SourceContext,
    ) -> Result<Vec<Records>> {
        let (clock, stats) = (&context.clock, Stats::default());
        let shards = insist(clock, &stats, || list_shards(api.as_ref())).await?;
        let (mut sample, mut bytes) = (Vec::new(), 0);
        for shard in &shards {
            let origin: Arc<str> = format!("stream \"{}\", {}", self.stream.name(), shard.id).into();
            let metadata = with_sequence_number(&context.metadata);
            let max_record_bytes = self.read.max_record_bytes;
            let mut unpacker = Unpacker::new(self.payload_format(context), shard.id.clone(), None, max_record_bytes, metadata);
            let mut iterator = insist(clock, &stats, || api.shard_iterator(&shard.id, &position)).await?;
            for _ in 0..SAMPLE_CALLS {
                if bytes >= max_bytes {
                    return Ok(sample);
                }
                let answer = insist(clock, &stats, || api.get_records(&shard.id, &iterator, SAMPLE_RECORDS)).await?;
                for piece in unpacker.unpack(&answer.records, &position)? {
                    bytes += piece.bytes.len();
                    sample.push(records_of(piece, &origin));
                }
                match answer.next_iterator {
                    Some(next) if answer.behind_latest_ms > 0 => iterator = next,
                    _ => break,
                }
                clock.sleep(Duration::from_secs(1) / super::limits::READS_PER_SECOND).await;
            }
        }
        Ok(sample)
    }
}

/// A piece of a sample, which is nowhere gone on from.
fn records_of(piece: Piece, origin: &Arc<str>) -> Records {
    Records {
        bytes: piece.bytes,
        origin: Arc::clone(origin),
        position: 0,
        rejected: piece.rejected,
        arrival_time: piece.arrival_time,
        part: None,
        envelopes: Some(piece.envelopes),
        offset: Offset(serde_json::Value::Null),
    }
}

/// Records of one call of a sample.
const SAMPLE_RECORDS: i32 = 100;
