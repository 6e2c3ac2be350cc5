//! Reads a stream of the fake on a clock that moves only when nothing else is left to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinesql_engine::Result;
use kinesql_engine::connector::{
    Offset, OptionEntry, Options, Read, Records, Source, SourceContext, SourceDefinition, SourceFactory as _, SplitReader,
};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::runtime::clock::{Clock, EventTime, ManualClock};

use crate::kinesis::fake::FakeKinesis;
use crate::kinesis::source::{KinesisSource, KinesisSourceFactory};

/// Where the clocks of the tests start.
pub(crate) const START: EventTime = 1_700_000_000_000;

/// How far the clock is moved when nothing is left to do, at least.
const TICK_MS: i64 = 50;

/// In how many steps a long time passes.
const STEPS_MAX: i64 = 1_200;

/// Turns that every task gets before the clock is moved. A chain of wake-ups between the tasks of a reader is shorter.
const TURNS: usize = 40;

/// A bound source on `service`.
pub(crate) fn bind(service: &Arc<FakeKinesis>, options: &[(&str, &str)]) -> KinesisSource {
    try_bind(options).expect("valid options").with_api(Arc::clone(service) as _)
}

/// A bound source, or what is wrong with its options.
pub(in crate::kinesis) fn try_bind(options: &[(&str, &str)]) -> Result<KinesisSource> {
    let raw = options.contains(&("format", "raw"));
    let format = if raw { FormatSpec::Raw } else { FormatSpec::Json };
    let options = options.iter().filter(|(name, _)| *name != "format");
    let mut entries = vec![OptionEntry::new("stream", "fake")];
    entries.extend(options.map(|(key, value)| OptionEntry::new(*key, *value)));
    let specs: Vec<_> = KinesisSourceFactory.options().iter().collect();
    let options = Options::check("connector 'kinesis'", &specs, &entries, None).expect("known options");
    let definition = SourceDefinition { name: "S".to_owned(), schema: None, format };
    KinesisSource::try_new(&definition, &options)
}

/// A job that reads the stream, one reader per lane.
pub(in crate::kinesis) struct Job {
    pub(in crate::kinesis) source: Arc<KinesisSource>,
    pub(in crate::kinesis) clock: Arc<ManualClock>,
    lanes: Vec<(String, Box<dyn SplitReader>)>,
    /// The offsets that came with the last piece of each lane.
    pub(in crate::kinesis) offsets: BTreeMap<String, Offset>,
    /// Pieces as they came.
    pub(in crate::kinesis) pieces: Vec<Records>,
    /// Records by lane, in order.
    pub(in crate::kinesis) records: Vec<String>,
    /// The open shards of each lane.
    pub(in crate::kinesis) parts: BTreeMap<String, Vec<String>>,
    /// Every offset that came, in order.
    pub(in crate::kinesis) history: Vec<Offset>,
    /// All that the lanes said of their open shards, in order.
    pub(in crate::kinesis) said: Vec<(String, Vec<String>)>,
}

impl Job {
    /// Starts a job with `lanes` lanes; from the offsets of an earlier one, if there are any.
    pub(in crate::kinesis) async fn start(
        source: KinesisSource,
        clock: &Arc<ManualClock>,
        lanes: usize,
        offsets: &BTreeMap<String, Offset>,
    ) -> Self {
        let context = SourceContext::new(Arc::clone(clock) as Arc<dyn Clock>, FormatSpec::Json);
        let context = SourceContext { checkpointed: true, metadata: source.metadata(), ..context };
        let mut readers = Vec::new();
        for index in 0..lanes {
            let split = format!("{index}/{lanes}");
            // Through text, as a checkpoint keeps it.
            let offset = offsets.get(&split).map(|offset| Offset(serde_json::from_str(&offset.0.to_string()).expect("JSON")));
            let reader = source.open(&split, offset.as_ref(), &context).await.expect("opening a lane");
            readers.push((split, reader));
        }
        Self {
            source: Arc::new(source),
            clock: Arc::clone(clock),
            lanes: readers,
            offsets: offsets.clone(),
            pieces: Vec::new(),
            records: Vec::new(),
            parts: BTreeMap::new(),
            history: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Everything that is there now, without the clock moving.
    pub(in crate::kinesis) async fn settle(&mut self) -> Result<()> {
        let mut quiet = 0;
        while quiet < TURNS {
            tokio::task::yield_now().await;
            quiet += 1;
            for index in 0..self.lanes.len() {
                let (split, lane) = &mut self.lanes[index];
                let polled = futures::poll!(lane.next());
                let std::task::Poll::Ready(read) = polled else { continue };
                quiet = 0;
                let split = split.clone();
                let offset = match read? {
                    Read::Records(records) => {
                        self.records.extend(records_of(&records));
                        self.records.extend(records.rejected.iter().map(|rejected| format!("rejected: {}", rejected.message)));
                        let offset = records.offset.clone();
                        self.pieces.push(records);
                        offset
                    }
                    Read::Parts { open, offset } => {
                        let open: Vec<_> = open.iter().map(ToString::to_string).collect();
                        self.said.push((split.clone(), open.clone()));
                        self.parts.insert(split.clone(), open);
                        offset
                    }
                    other => panic!("a stream does not end: {other:?}"),
                };
                self.history.push(offset.clone());
                self.offsets.insert(split, offset);
            }
        }
        Ok(())
    }

    /// Lets `ms` pass.
    pub(in crate::kinesis) async fn run(&mut self, ms: i64) -> Result<()> {
        let until = self.clock.now() + ms;
        let tick = TICK_MS.max(ms / STEPS_MAX);
        self.settle().await?;
        while self.clock.now() < until {
            self.clock.set((self.clock.now() + tick).min(until));
            self.settle().await?;
        }
        Ok(())
    }

    /// Lets `ms` pass while nobody takes what the lanes have.
    pub(in crate::kinesis) async fn neglect(&mut self, ms: i64) {
        let until = self.clock.now() + ms;
        while self.clock.now() < until {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            self.clock.set((self.clock.now() + TICK_MS.max(ms / STEPS_MAX)).min(until));
        }
    }

    /// What was read since the last call.
    pub(in crate::kinesis) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.records)
    }

    /// Stops gracefully.
    pub(in crate::kinesis) async fn close(mut self) -> Result<()> {
        for (_, lane) in &mut self.lanes {
            lane.close().await?;
        }
        Ok(())
    }

    /// A metric of a shard.
    pub(in crate::kinesis) fn metric(&self, shard: &str, name: &str) -> f64 {
        let metrics = self.source.metrics();
        let found = metrics.iter().find(|metric| metric.part == shard && metric.name == name);
        found.unwrap_or_else(|| panic!("no metric {name} of {shard}: {metrics:?}")).value
    }
}

/// The records of a piece as text.
pub(in crate::kinesis) fn records_of(piece: &Records) -> Vec<String> {
    let ends = piece.envelopes.iter().flat_map(|envelopes| envelopes.ends.iter().map(|end| *end as usize));
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).map(|(start, end)| String::from_utf8_lossy(&piece.bytes[start..end]).into_owned()).collect()
}

/// The job dies without notice, and another one goes on from its newest offsets.
pub(in crate::kinesis) async fn restart(job: Job, source: KinesisSource) -> Job {
    restart_after(job, source, || ()).await
}

/// The same, with what happens `meanwhile`.
pub(in crate::kinesis) async fn restart_after(job: Job, source: KinesisSource, meanwhile: impl FnOnce()) -> Job {
    let (clock, lanes, offsets) = (Arc::clone(&job.clock), job.lanes.len(), job.offsets.clone());
    drop(job);
    meanwhile();
    Job::start(source, &clock, lanes, &offsets).await
}

/// A clock, a service with so many shards on it, and nothing read yet.
pub(crate) fn service(shards: usize) -> (Arc<ManualClock>, Arc<FakeKinesis>) {
    let clock = ManualClock::starting_at(START);
    let service = FakeKinesis::new(Arc::clone(&clock) as Arc<dyn Clock>, shards);
    (clock, service)
}

/// A job with one lane and no checkpoint.
pub(in crate::kinesis) async fn job(service: &Arc<FakeKinesis>, clock: &Arc<ManualClock>, options: &[(&str, &str)]) -> Job {
    Job::start(bind(service, options), clock, 1, &BTreeMap::new()).await
}
